"""Streams: one message each way, whose end is found by reading it, for memberlist writes no length in front.

Rules
-----
1. `feed` what arrives: None until the message is whole, then the message. Bytes behind it are ignored.
2. `Malformed` is raised as soon as the bytes cannot become a message.
3. Memory is bounded by `wire.STREAM_BYTES_MAX`, and claimed as bytes arrive, not as headers promise.

Source: memberlist net.go `readStream`, `readRemoteState`, `readUserMsg`, `sendLocalState`.
"""

from __future__ import annotations

import msgpack

from . import wire
from .errors import Malformed
from .wire import Fields, Kind


def encode_user(payload: bytes) -> bytes:
    """A user message as streams carry it: with its length in front."""
    return bytes((Kind.USER,)) + wire.pack({"UserMsgLen": len(payload)}) + payload


class StreamReader:
    """Finds the one message on a stream."""

    def __init__(self) -> None:
        self._kind: int | None = None
        self._unpacker = _unpacker()
        self._received = 0
        self._header: Fields | None = None
        self._body = bytearray()
        """Of a push/pull: what the unpacker was given,"""
        self._whole = 0
        """and how much of that are whole values."""
        self._nodes: list[wire.NodeState] = []
        self._tail: bytearray | None = None
        self._compressible = True

    def feed(self, data: bytes) -> wire.StreamMessage | None:
        """Take the next bytes. Raises `Malformed`."""
        self._received += len(data)
        if self._received > wire.STREAM_BYTES_MAX:
            raise Malformed(f"stream of more than {wire.STREAM_BYTES_MAX} bytes")
        if self._kind is None:
            if not data:
                return None
            self._kind, data = data[0], data[1:]
        if self._tail is not None:
            self._tail += data
        else:
            self._unpacker.feed(data)
            if self._kind == Kind.PUSH_PULL:
                self._body += data
        return self._read()

    def _read(self) -> wire.StreamMessage | None:
        match self._kind:
            case Kind.COMPRESS if self._compressible:
                value = self._next()
                return None if value is _MISSING else self._decompressed(value)
            case Kind.PUSH_PULL:
                return self._read_push_pull()
            case Kind.USER:
                payload = self._read_tail("user message", "UserMsgLen")
                return None if payload is None else wire.User(payload)
            case Kind.PING | Kind.ACK | Kind.ERROR:
                value = self._next()
                return None if value is _MISSING else self._decoded(value)
            case _:
                raise Malformed(f"message type {self._kind} on a stream")

    def _decoded(self, value: object) -> wire.Ping | wire.Ack | wire.ErrorReply:
        if self._kind == Kind.PING:
            return wire.decode_ping(value)
        return wire.decode_ack(value) if self._kind == Kind.ACK else wire.decode_error(value)

    def _decompressed(self, value: object) -> wire.StreamMessage:
        inner = StreamReader()
        inner._compressible = False
        message = inner.feed(wire.decode_compressed(value, wire.STREAM_BYTES_MAX))
        if message is None:
            raise Malformed("compressed stream ends within its message")
        return message

    def _read_push_pull(self) -> wire.PushPull | None:
        header = self._read_header("push/pull header")
        if header is None:
            return None
        count = header.integer("Nodes", wire.PUSH_PULL_NODES_MAX)
        while self._tail is None and len(self._nodes) < count:
            data = self._next_undecoded()
            if data is None:
                return None
            self._nodes.append(wire.decode_node_state(data))
        user_state = self._read_tail("push/pull header", "UserStateLen")
        if user_state is None:
            return None
        return wire.PushPull(header.boolean("Join"), tuple(self._nodes), user_state)

    def _read_header(self, name: str) -> Fields | None:
        if self._header is None:
            value = self._next()
            if value is not _MISSING:
                self._header = Fields(name, value)
                self._whole = self._unpacker.tell()
        return self._header

    def _read_tail(self, name: str, field: str) -> bytes | None:
        """The raw bytes at the end, as many as the header's `field` says."""
        header = self._read_header(name)
        if header is None:
            return None
        size = header.integer(field, wire.STREAM_BYTES_MAX)
        if self._tail is None:
            # What the unpacker was fed beyond the last value is the beginning of the tail.
            self._tail = bytearray(self._unpacker.read_bytes(self._received))
        return bytes(self._tail[:size]) if len(self._tail) >= size else None

    def _next(self) -> object:
        """The next msgpack value, or `_MISSING` while it is not whole."""
        try:
            return self._unpacker.unpack()
        except msgpack.OutOfData:
            return _MISSING
        except wire.MSGPACK_ERRORS as error:
            raise Malformed(f"not msgpack: {error or type(error).__name__}") from None

    def _next_undecoded(self) -> bytes | None:
        """The bytes of the next msgpack value of a push/pull, None while it is not whole."""
        try:
            self._unpacker.skip()
        except msgpack.OutOfData:
            return None
        except wire.MSGPACK_ERRORS as error:
            raise Malformed(f"not msgpack: {error or type(error).__name__}") from None
        start, self._whole = self._whole, self._unpacker.tell()
        return bytes(self._body[start : self._whole])


_MISSING = object()


def _unpacker() -> msgpack.Unpacker:
    # The limits are on single values: a compress message holds one long string, every other value is small.
    size = wire.STREAM_BYTES_MAX
    return msgpack.Unpacker(
        raw=True, max_buffer_size=size, max_str_len=size, max_bin_len=size, max_array_len=1024
    )
