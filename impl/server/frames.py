"""Streams cut into frames: a length (u32, big-endian), then so many bytes.

The first byte of a connection says what it carries, as on Consul's server port (agent/pool/conn.go, RPCType).
Whoever sends anything else loses the connection, and nothing but the connection.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Callable
from typing import Final, cast

RPC: Final = 0
RAFT: Final = 1

FRAME_BYTES_MAX = 64 * 1024 * 1024
"""A longer frame is not believed. (A query over all keys comes in one frame.)"""

_LENGTH = struct.Struct(">I")

log = logging.getLogger("agent.rpc")


class Frames(asyncio.Protocol):
    """One end of a connection. `received` is called per frame, `lost` once; both on the event loop."""

    def __init__(self, kind: int | None = None) -> None:
        """`kind` is what we open the connection for; None if the peer opens it and says."""
        self.kind = kind
        self.peer = "?"
        self.received: Callable[[bytes], None] = _discard
        self.lost: Callable[[], None] = _do_nothing
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance
        peer = transport.get_extra_info("peername")
        if peer:  # nothing if it has gone again already
            self.peer = f"{peer[0]}:{peer[1]}"
        if self.kind is not None:
            self._transport.write(bytes((self.kind,)))

    def opened(self, kind: int) -> None:
        """The peer said what the connection is for: set `received` and `lost`, or `reject`."""

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        if buffer:
            buffer += data
            del buffer[: self._take_frames(buffer)]
        else:
            taken = self._take_frames(data)
            if taken < len(data):
                buffer += data[taken:]

    def _take_frames(self, data: bytes | bytearray) -> int:
        """Take in what is whole; returns how many bytes that was."""
        start, size = 0, len(data)
        if self.kind is None:
            self.kind = data[0]
            start = 1
            self.opened(self.kind)
        while self._transport is not None and size - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(data, start)
            if length > FRAME_BYTES_MAX:
                self.reject(f"a frame of {length} bytes; at most {FRAME_BYTES_MAX} are taken")
                break
            first, end = start + _LENGTH.size, start + _LENGTH.size + length
            if size < end:
                break
            start = end
            self.received(bytes(data[first:end]))
        return start

    def send(self, payload: bytes) -> None:
        """Into nothing if the connection is lost."""
        if self._transport is not None:
            self._transport.write(_LENGTH.pack(len(payload)) + payload)

    @property
    def is_open(self) -> bool:
        return self._transport is not None

    @property
    def unsent_bytes(self) -> int:
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def reject(self, why: str) -> None:
        """The peer does not speak our language."""
        log.warning("closed the connection with %s: %s", self.peer, why)
        self.abort()

    def abort(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.lost()


def _discard(frame: bytes) -> None:
    """Until somebody listens."""


def _do_nothing() -> None:
    """Until somebody cares."""
