"""memberlist's messages, as bytes and as values.

Rules
-----
1. A message is one type byte and a msgpack map keyed by Go's field names. Strings and byte strings are both
   written as msgpack's old `raw` type: go-msgpack 0.5 refuses `bin`. Both are read.
2. A packet is `crc(compress(compound(message...)))`, each wrapper optional, in this order and no deeper.
3. Reading bytes either gives values whose every field is in range, or raises `Malformed`: nothing else is
   raised, and memory is bounded by the limits below.
4. Fields that Go leaves out when empty are empty when missing; unknown fields are ignored.

We never send compressed packets: receivers must accept both.

Source: memberlist net.go (message types and structs, `handleCommand`), util.go (`makeCompoundMessage`).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import IntEnum
from functools import lru_cache
from typing import Any, NamedTuple

import msgpack
import msgspec

from .effects import Address
from .errors import Malformed
from .lzw import decompress

PACKET_BYTES_MAX = 65_536
"""A datagram, or what it expands to."""
STREAM_BYTES_MAX = 20 * 1024 * 1024
"""A whole stream, or what it expands to (memberlist: maxPushStateBytes)."""
PUSH_PULL_NODES_MAX = 1024 * 1024
NODES_REMEMBERED = 16_384
"""One push/pull tells nearly the same as the last: so many members' bytes are not written and read anew."""
NODE_STATE_BYTES_REMEMBERED = 2048
"""At most, of each: more than whatever memberlist writes of one."""
META_BYTES_MAX = 512
COMPOUND_PARTS_MAX = 255
"""The count is one byte; memberlist once wrote longer compounds and lost the rest (memberlist 8d2a27a)."""
COMPOUND_OVERHEAD = 2
"""Of a compound itself, and again of each part."""

_ARRAY_MAX = 1024

Versions = tuple[int, int, int, int, int, int]
"""Protocol min, max, current; delegate protocol min, max, current."""


class Kind(IntEnum):
    """The type byte."""

    PING = 0
    INDIRECT_PING = 1
    ACK = 2
    SUSPECT = 3
    ALIVE = 4
    DEAD = 5
    PUSH_PULL = 6
    COMPOUND = 7
    USER = 8
    COMPRESS = 9
    ENCRYPT = 10
    NACK = 11
    CRC = 12
    ERROR = 13


(
    _PING, _INDIRECT_PING, _ACK, _SUSPECT, _ALIVE, _DEAD, _PUSH_PULL, _COMPOUND, _USER, _COMPRESS, _ENCRYPT,
    _NACK, _CRC, _ERROR,
) = (bytes((kind,)) for kind in Kind)  # fmt: skip


class State(IntEnum):
    """What a member is believed to be, as numbered in a push/pull."""

    ALIVE = 0
    SUSPECT = 1
    DEAD = 2
    LEFT = 3


ALIVE, SUSPECT, DEAD, LEFT = State
"""For what is asked of every member: Python 3.11 finds a global ten times as fast as a member of an enum."""


class Ping(msgspec.Struct, frozen=True):
    sequence: int
    node: str
    """Who should answer; empty is anyone."""
    source_address: bytes = b""
    source_port: int = 0
    source_node: str = ""


class IndirectPing(msgspec.Struct, frozen=True):
    """Please ping `node` at `target` for me, and tell me its ack under my `sequence`."""

    sequence: int
    target: bytes
    port: int
    node: str
    nack: bool
    """Also tell me if there was none."""
    source_address: bytes = b""
    source_port: int = 0
    source_node: str = ""


class Ack(msgspec.Struct, frozen=True):
    sequence: int
    payload: bytes = b""


class Nack(msgspec.Struct, frozen=True):
    sequence: int


class Suspect(msgspec.Struct, frozen=True):
    incarnation: int
    node: str
    accuser: str


class Alive(msgspec.Struct, frozen=True):
    incarnation: int
    node: str
    address: bytes
    port: int
    meta: bytes
    versions: Versions


class Dead(msgspec.Struct, frozen=True):
    """`node` is dead, says `accuser`; if that is the node itself, it left."""

    incarnation: int
    node: str
    accuser: str


class User(msgspec.Struct, frozen=True):
    """A message of the layer above."""

    payload: bytes


class NodeState(NamedTuple):
    """One member in a push/pull. A tuple, since there are very many."""

    name: str
    address: bytes
    port: int
    meta: bytes
    incarnation: int
    state: State
    versions: Versions


class PushPull(msgspec.Struct, frozen=True):
    """Everything the sender knows. `join` is set when it is meant to merge two clusters."""

    join: bool
    nodes: tuple[NodeState, ...]
    user_state: bytes


class ErrorReply(msgspec.Struct, frozen=True):
    """The other end could not read our stream."""

    text: str


PacketMessage = Ping | IndirectPing | Ack | Nack | Suspect | Alive | Dead | User
StreamMessage = PushPull | Ping | Ack | User | ErrorReply


# --- writing


def encode(message: PacketMessage | StreamMessage) -> bytes:
    """One message, without any wrapper; a `User` as in packets (on streams it has a header)."""
    match message:
        case Ping():
            fields = {"SeqNo": message.sequence, "Node": message.node} | _source(message)
            return _PING + pack(fields)
        case IndirectPing():
            fields = {
                "SeqNo": message.sequence,
                "Target": message.target,
                "Port": message.port,
                "Node": message.node,
                "Nack": message.nack,
            }
            return _INDIRECT_PING + pack(fields | _source(message))
        case Ack():
            return _ACK + pack({"SeqNo": message.sequence, "Payload": message.payload or None})
        case Nack():
            return _NACK + pack({"SeqNo": message.sequence})
        case Suspect() | Dead():
            fields = {"Incarnation": message.incarnation, "Node": message.node, "From": message.accuser}
            return (_SUSPECT if isinstance(message, Suspect) else _DEAD) + pack(fields)
        case Alive():
            fields = {
                "Incarnation": message.incarnation,
                "Node": message.node,
                "Addr": message.address,
                "Port": message.port,
                "Meta": message.meta,
                "Vsn": bytes(message.versions),
            }
            return _ALIVE + pack(fields)
        case User():
            return _USER + message.payload
        case PushPull():
            return _encode_push_pull(message)
        case ErrorReply():
            return _ERROR + pack({"Error": message.text})


def pack(value: object) -> bytes:
    """msgpack as go-msgpack 0.5 reads it."""
    packed: bytes = msgpack.packb(value, use_bin_type=False)
    return packed


def packet(parts: Sequence[bytes], checksum: bool) -> bytes:
    """Encoded messages as one datagram. `checksum` needs a receiver of protocol version 5 or newer.

    There must be 1 to 255 parts of less than 65,536 bytes each.
    """
    if not 0 < len(parts) <= COMPOUND_PARTS_MAX:
        raise ValueError(f"a packet has 1 to {COMPOUND_PARTS_MAX} parts, not {len(parts)}")
    if len(parts) == 1:
        body = parts[0]
    else:
        lengths = b"".join(len(part).to_bytes(2, "big") for part in parts)
        body = _COMPOUND + bytes((len(parts),)) + lengths + b"".join(parts)
    if checksum:
        return _CRC + zlib.crc32(body).to_bytes(4, "big") + body
    return body


def _source(message: Ping | IndirectPing) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if message.source_address:
        fields["SourceAddr"] = message.source_address
    if message.source_port:
        fields["SourcePort"] = message.source_port
    if message.source_node:
        fields["SourceNode"] = message.source_node
    return fields


def _encode_push_pull(message: PushPull) -> bytes:
    pieces = [
        _PUSH_PULL,
        pack({"Nodes": len(message.nodes), "UserStateLen": len(message.user_state), "Join": message.join}),
    ]
    pieces += map(encode_node_state, message.nodes)
    pieces.append(message.user_state)
    return b"".join(pieces)


@lru_cache(NODES_REMEMBERED)
def encode_node_state(node: NodeState) -> bytes:
    """One member's place in a push/pull."""
    return pack(
        {
            "Name": node.name,
            "Addr": node.address,
            "Port": node.port,
            "Meta": node.meta,
            "Incarnation": node.incarnation,
            "State": int(node.state),
            "Vsn": bytes(node.versions),
        }
    )


# --- reading


def decode_packet(data: bytes) -> list[PacketMessage]:
    """The messages of a datagram, in order. Raises `Malformed`."""
    if len(data) > PACKET_BYTES_MAX:
        raise Malformed(f"packet of {len(data)} bytes")
    if data[:1] == _CRC:
        if len(data) < 5:
            raise Malformed("packet ends within its checksum")
        expected, data = int.from_bytes(data[1:5], "big"), data[5:]
        if zlib.crc32(data) != expected:
            raise Malformed(f"packet checksum is {zlib.crc32(data):08x}, its header says {expected:08x}")
    if data[:1] == _COMPRESS:
        data = decode_compressed(unpack(data[1:]), PACKET_BYTES_MAX)
    if data[:1] == _COMPOUND:
        return [_decode_message(part) for part in _split_compound(data)]
    return [_decode_message(data)]


def unpack(data: bytes, array_max: int = _ARRAY_MAX) -> object:
    """One msgpack value, byte strings as bytes, with nothing behind it. Raises `Malformed`."""
    try:
        return msgpack.unpackb(data, raw=True, max_array_len=array_max)
    except MSGPACK_ERRORS as error:
        raise Malformed(f"not msgpack: {error or type(error).__name__}") from None


MSGPACK_ERRORS = (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException)
"""What msgpack raises on bytes that are not msgpack, as its documentation and its source have it."""


def decode_compressed(value: object, size_max: int) -> bytes:
    """The content of a compress message."""
    fields = Fields("compress", value)
    algorithm = fields.integer("Algo", 0xFF)
    if algorithm != 0:
        raise Malformed(f"compress: algorithm {algorithm} is not known, only LZW (0)")
    return decompress(fields.octets("Buf", size_max), size_max)


def _split_compound(data: bytes) -> list[bytes]:
    if len(data) < 2:
        raise Malformed("compound ends before its count")
    count = data[1]
    start = 2 + 2 * count
    if len(data) < start:
        raise Malformed(f"compound of {count} parts ends within its lengths")
    parts: list[bytes] = []
    for offset in range(2, start, 2):
        end = start + int.from_bytes(data[offset : offset + 2], "big")
        if end > len(data):
            raise Malformed(f"compound ends within part {len(parts) + 1} of {count}")
        parts.append(data[start:end])
        start = end
    return parts


def _decode_message(data: bytes) -> PacketMessage:
    if not data:
        raise Malformed("empty message")
    if data[:1] == _USER:
        return User(data[1:])
    decoder = _PACKET_DECODERS.get(data[0])
    if decoder is None:
        raise Malformed(f"message type {data[0]} in a packet")
    return decoder(unpack(data[1:]))


def decode_ping(value: object) -> Ping:
    fields = Fields("ping", value)
    return Ping(
        sequence=fields.integer("SeqNo", 0xFFFF_FFFF),
        node=fields.text("Node"),
        source_address=fields.address("SourceAddr", optional=True),
        source_port=fields.integer("SourcePort", 0xFFFF),
        source_node=fields.text("SourceNode"),
    )


def _decode_indirect_ping(value: object) -> IndirectPing:
    fields = Fields("indirect ping", value)
    return IndirectPing(
        sequence=fields.integer("SeqNo", 0xFFFF_FFFF),
        target=fields.address("Target"),
        port=fields.integer("Port", 0xFFFF),
        node=fields.text("Node"),
        nack=fields.boolean("Nack"),
        source_address=fields.address("SourceAddr", optional=True),
        source_port=fields.integer("SourcePort", 0xFFFF),
        source_node=fields.text("SourceNode"),
    )


def decode_ack(value: object) -> Ack:
    fields = Fields("ack", value)
    return Ack(fields.integer("SeqNo", 0xFFFF_FFFF), fields.octets("Payload", PACKET_BYTES_MAX))


def _decode_nack(value: object) -> Nack:
    return Nack(Fields("nack", value).integer("SeqNo", 0xFFFF_FFFF))


def _decode_suspect(value: object) -> Suspect:
    fields = Fields("suspect", value)
    return Suspect(fields.integer("Incarnation", 0xFFFF_FFFF), fields.name("Node"), fields.text("From"))


def _decode_dead(value: object) -> Dead:
    fields = Fields("dead", value)
    return Dead(fields.integer("Incarnation", 0xFFFF_FFFF), fields.name("Node"), fields.text("From"))


def _decode_alive(value: object) -> Alive:
    fields = Fields("alive", value)
    return Alive(
        incarnation=fields.integer("Incarnation", 0xFFFF_FFFF),
        node=fields.name("Node"),
        address=fields.address("Addr"),
        port=fields.integer("Port", 0xFFFF),
        meta=fields.octets("Meta", META_BYTES_MAX),
        versions=fields.versions(),
    )


def decode_node_state(data: bytes) -> NodeState:
    """The inverse of `encode_node_state`. Raises `Malformed`."""
    # Fields that nobody knows may make it as long as a stream can be: such ones are not remembered.
    return (_remembered if len(data) <= NODE_STATE_BYTES_REMEMBERED else _decode_node_state)(data)


def _decode_node_state(data: bytes) -> NodeState:
    fields = Fields("push/pull node", unpack(data))
    return NodeState(
        name=fields.name("Name"),
        address=fields.address("Addr"),
        port=fields.integer("Port", 0xFFFF),
        meta=fields.octets("Meta", META_BYTES_MAX),
        incarnation=fields.integer("Incarnation", 0xFFFF_FFFF),
        state=State(fields.integer("State", max(State))),
        versions=fields.versions(),
    )


_remembered = lru_cache(NODES_REMEMBERED)(_decode_node_state)


def decode_error(value: object) -> ErrorReply:
    return ErrorReply(Fields("error", value).text("Error"))


_PACKET_DECODERS: Mapping[int, Callable[[object], PacketMessage]] = {
    Kind.PING: decode_ping,
    Kind.INDIRECT_PING: _decode_indirect_ping,
    Kind.ACK: decode_ack,
    Kind.NACK: _decode_nack,
    Kind.SUSPECT: _decode_suspect,
    Kind.ALIVE: _decode_alive,
    Kind.DEAD: _decode_dead,
}


class Fields:
    """Checked access to a decoded map: every failure is `Malformed` and names message and field."""

    def __init__(self, message: str, value: object) -> None:
        if not isinstance(value, dict):
            raise Malformed(f"{message}: {_kind(value)} instead of a map")
        self._message = message
        self._values = value

    def raw(self, field: str) -> object:
        """Whatever is there, None if nothing is."""
        return self._values.get(field.encode())

    def integer(self, field: str, largest: int) -> int:
        """0 if missing."""
        value = self.raw(field)
        if value is None:
            return 0
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.wrong(field, f"is {_kind(value)}, not an integer")
        if not 0 <= value <= largest:
            raise self.wrong(field, f"is {value}, not within 0 to {largest}")
        return value

    def boolean(self, field: str) -> bool:
        """False if missing."""
        value = self.raw(field)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(field, f"is {_kind(value)}, not a boolean")
        return bool(value)

    def octets(self, field: str, size_max: int) -> bytes:
        """Empty if missing."""
        value = self.raw(field)
        if value is None:
            return b""
        if not isinstance(value, bytes):
            raise self.wrong(field, f"is {_kind(value)}, not a string")
        if len(value) > size_max:
            raise self.wrong(field, f"is {len(value)} bytes long, over {size_max}")
        return value

    def text(self, field: str) -> str:
        """Empty if missing."""
        try:
            return self.octets(field, PACKET_BYTES_MAX).decode()
        except UnicodeDecodeError:
            raise self.wrong(field, "is not UTF-8") from None

    def name(self, field: str) -> str:
        name = self.text(field)
        if not name:
            raise self.wrong(field, "is empty")
        return name

    def address(self, field: str, optional: bool = False) -> bytes:
        """An IPv4 address in Go's 4 or 16 byte form, kept as it came."""
        value = self.octets(field, 16)
        if not value and optional:
            return value
        if len(value) == 4 or (len(value) == 16 and value.startswith(_MAPPED)):
            return value
        raise self.wrong(field, f"is not an IPv4 address: {value.hex()}")

    def versions(self) -> Versions:
        """Six small integers: a string from go-msgpack, an array from newer codecs. Zeros if missing."""
        value = self.raw("Vsn")
        if value is None or value == b"":
            return (0, 0, 0, 0, 0, 0)
        numbers = list(value) if isinstance(value, bytes | list) else []
        if len(numbers) != 6 or not all(isinstance(n, int) and 0 <= n <= 0xFF for n in numbers):
            raise self.wrong("Vsn", "is not six small integers")
        first, second, third, fourth, fifth, sixth = numbers
        return (first, second, third, fourth, fifth, sixth)

    def wrong(self, field: str, what: str) -> Malformed:
        return Malformed(f"{self._message}: {field} {what}")


def _kind(value: object) -> str:
    return type(value).__name__


# --- addresses

_MAPPED = bytes(10) + b"\xff\xff"


def address_bytes(host: str) -> bytes:
    """The 4 bytes of a dotted IPv4 address; ValueError for anything else."""
    numbers = host.split(".")
    if len(numbers) != 4 or not all(number.isdecimal() and int(number) <= 0xFF for number in numbers):
        raise ValueError(f"{host!r} is not an IPv4 address")
    return bytes(int(number) for number in numbers)


def address_of(raw: bytes, port: int) -> Address:
    """Back from 4 or 16 bytes."""
    return ".".join(map(str, raw[-4:])), port


def joined_size(parts: Iterable[bytes]) -> int:
    """How many bytes the parts take within a compound."""
    return sum(COMPOUND_OVERHEAD + len(part) for part in parts)
