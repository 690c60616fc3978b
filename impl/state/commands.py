"""What is replicated: commands, as msgpack maps with their name under "type".

A command is decided when it is applied, never when it is proposed: what a compare-and-set compares with is
the state at its place in the log. A new kind of command is a new struct in the union; a field that is added
to an old one needs a default, so that logs and snapshots of older versions stay readable.

Keys are text. (Consul takes any bytes; through its JSON only UTF-8 comes out whole.) Values are any bytes.
Flags and indexes are unsigned 64-bit integers.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

Unsigned = Annotated[int, msgspec.Meta(ge=0)]
"""Up to 2^64-1, which is where msgpack ends."""


class Set(msgspec.Struct, frozen=True, tag="set"):
    """Create or overwrite. Always true."""

    key: str
    value: bytes
    flags: Unsigned = 0


class CompareAndSet(msgspec.Struct, frozen=True, tag="cas"):
    """Set if the key's ModifyIndex is `modify_index`; with 0, if there is no such key. True if it was set."""

    key: str
    value: bytes
    modify_index: Unsigned
    flags: Unsigned = 0


class Delete(msgspec.Struct, frozen=True, tag="delete"):
    """Remove the key if it is there. Always true."""

    key: str


class CompareAndDelete(msgspec.Struct, frozen=True, tag="delete-cas"):
    """Remove the key if its ModifyIndex is `modify_index`. True if it is gone, even if it never was."""

    key: str
    modify_index: Unsigned


class DeleteTree(msgspec.Struct, frozen=True, tag="delete-tree"):
    """Remove all keys that begin with `prefix`; an empty one begins them all. Always true."""

    prefix: str


class ReapTombstones(msgspec.Struct, frozen=True, tag="reap-tombstones"):
    """Forget deletions up to `index`. Always true. See `kv` for what tombstones are for.

    The leader proposes it: it notes the time and `StateMachine.last_applied` every 30 s, and reaps up to
    what it noted 15 minutes ago. (Consul: state/tombstone_gc.go, TombstoneTTL, TombstoneTTLGranularity.)
    """

    index: Unsigned


class Operation(msgspec.Struct, frozen=True, omit_defaults=True):
    """A step of a transaction. Its verb says which of the other fields count: see `transactions`."""

    verb: str
    key: str
    value: bytes = b""
    flags: Unsigned = 0
    index: Unsigned = 0
    """The ModifyIndex that is expected."""
    session: str = ""


class Transaction(msgspec.Struct, frozen=True, tag="txn"):
    """All of the operations or none. Its result is an `Outcome`."""

    operations: tuple[Operation, ...]


Command = Set | CompareAndSet | Delete | CompareAndDelete | DeleteTree | ReapTombstones | Transaction

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)


def encode_command(command: Command) -> bytes:
    """As the data of a log entry."""
    return _encoder.encode(command)


def decode_command(data: bytes) -> Command:
    """The inverse of `encode_command`. Raises msgspec.DecodeError."""
    return _decoder.decode(data)
