"""Serf's messages, which travel as memberlist's user messages and as the user state of a push/pull.

Rules
-----
1. One type byte and a msgpack map, as memberlist's own messages; reading gives a value or raises `Malformed`.
2. Tags are a member's meta data: the byte FF and a msgpack map; other meta data are the `role` of old agents.
3. Messages of queries, their answers, the keyring and relays are not for us: `decode` gives None for them.

Source: serf/messages.go, serf/delegate.go, serf.go (`encodeTags`, `decodeTags`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from . import wire
from .errors import Malformed, TooLarge
from .wire import Fields

_TAGS = 0xFF
_LAMPORT_MAX = 0xFFFF_FFFF_FFFF_FFFF
_NODES_MAX = 65_536
_RELAY = 9


class _Kind(IntEnum):
    LEAVE = 0
    JOIN = 1
    PUSH_PULL = 2
    USER_EVENT = 3


@dataclass(frozen=True, slots=True)
class LeaveIntent:
    """`node` is about to leave, or somebody declared a failed one to have left."""

    lamport_time: int
    node: str
    prune: bool = False
    """Forget it at once."""


@dataclass(frozen=True, slots=True)
class JoinIntent:
    """`node` is in the cluster on purpose, as of this Lamport time."""

    lamport_time: int
    node: str


@dataclass(frozen=True, slots=True)
class EventMessage:
    """A user event."""

    lamport_time: int
    name: str
    payload: bytes
    coalesce: bool


@dataclass(frozen=True, slots=True)
class Events:
    """The user events of one tick of the event clock, as name and payload."""

    lamport_time: int
    events: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class UserState:
    """What Serf adds to a push/pull."""

    lamport_time: int
    status_times: Mapping[str, int]
    """For each member, the Lamport time of its latest intent."""
    left: tuple[str, ...]
    event_time: int
    events: tuple[Events | None, ...]
    """The ring buffer of recent events, with its gaps."""
    query_time: int


Message = LeaveIntent | JoinIntent | EventMessage


def encode(message: Message) -> bytes:
    """The payload of a user message."""
    match message:
        case LeaveIntent():
            fields = {"LTime": message.lamport_time, "Node": message.node, "Prune": message.prune}
            return bytes((_Kind.LEAVE,)) + wire.pack(fields)
        case JoinIntent():
            return bytes((_Kind.JOIN,)) + wire.pack({"LTime": message.lamport_time, "Node": message.node})
        case EventMessage():
            fields = {
                "LTime": message.lamport_time,
                "Name": message.name,
                "Payload": message.payload,
                "CC": message.coalesce,
            }
            return bytes((_Kind.USER_EVENT,)) + wire.pack(fields)


def decode(data: bytes) -> Message | None:
    """The message of a payload, None for kinds that are not for us. Raises `Malformed`."""
    if not data:
        raise Malformed("empty Serf message")
    match data[0]:
        case _Kind.LEAVE:
            fields = Fields("leave intent", wire.unpack(data[1:]))
            return LeaveIntent(_time(fields, "LTime"), fields.name("Node"), fields.boolean("Prune"))
        case _Kind.JOIN:
            fields = Fields("join intent", wire.unpack(data[1:]))
            return JoinIntent(_time(fields, "LTime"), fields.name("Node"))
        case _Kind.USER_EVENT:
            fields = Fields("user event", wire.unpack(data[1:]))
            return EventMessage(
                _time(fields, "LTime"),
                fields.text("Name"),
                fields.octets("Payload", wire.PACKET_BYTES_MAX),
                fields.boolean("CC"),
            )
        case kind if _Kind.USER_EVENT < kind <= _RELAY:
            return None
        case kind:
            raise Malformed(f"Serf message type {kind}")


def encode_state(state: UserState) -> bytes:
    fields = {
        "LTime": state.lamport_time,
        "StatusLTimes": dict(state.status_times),
        "LeftMembers": list(state.left),
        "EventLTime": state.event_time,
        "Events": [
            events
            and {
                "LTime": events.lamport_time,
                "Events": [{"Name": name, "Payload": payload} for name, payload in events.events],
            }
            for events in state.events
        ],
        "QueryLTime": state.query_time,
    }
    return bytes((_Kind.PUSH_PULL,)) + wire.pack(fields)


def decode_state(data: bytes) -> UserState:
    """Raises `Malformed`."""
    if data[:1] != bytes((_Kind.PUSH_PULL,)):
        raise Malformed("user state is not Serf's push/pull")
    fields = Fields("Serf push/pull", wire.unpack(data[1:], _NODES_MAX))
    times = fields.raw("StatusLTimes") or {}
    if not isinstance(times, dict) or not all(
        type(time) is int and 0 <= time <= _LAMPORT_MAX for time in times.values()
    ):
        raise fields.wrong("StatusLTimes", "is not a map of Lamport times")
    return UserState(
        lamport_time=_time(fields, "LTime"),
        status_times=dict(zip(_names(fields, "StatusLTimes", times), times.values(), strict=True)),
        left=tuple(_names(fields, "LeftMembers", _list(fields, "LeftMembers"))),
        event_time=_time(fields, "EventLTime"),
        events=_decode_event_buffer(_list(fields, "Events")),
        query_time=_time(fields, "QueryLTime"),
    )


def encode_tags(tags: Mapping[str, str]) -> bytes:
    """Raises `TooLarge` above 512 bytes."""
    meta = bytes((_TAGS,)) + wire.pack(dict(tags))
    if len(meta) > wire.META_BYTES_MAX:
        raise TooLarge(f"tags take {len(meta)} bytes, {wire.META_BYTES_MAX} are allowed")
    return meta


def decode_tags(meta: bytes) -> dict[str, str]:
    """Raises `Malformed`."""
    if meta[:1] != bytes((_TAGS,)):
        return {"role": meta.decode(errors="replace")}
    value = wire.unpack(meta[1:])
    if not isinstance(value, dict):
        raise Malformed("tags are not a map")
    try:
        return {key.decode(): text.decode() for key, text in value.items()}
    except (AttributeError, UnicodeDecodeError):
        raise Malformed("tags are not all UTF-8 strings") from None


def _decode_event_buffer(values: list[object]) -> tuple[Events | None, ...]:
    if values.count(None) == len(values):  # as it nearly always is, all 512 of them
        return (None,) * len(values)
    return tuple(None if value is None else _decode_events(value) for value in values)


def _decode_events(value: object) -> Events:
    fields = Fields("events", value)
    events = []
    for item in _list(fields, "Events"):
        event = Fields("event", item)
        events.append((event.text("Name"), event.octets("Payload", wire.PACKET_BYTES_MAX)))
    return Events(_time(fields, "LTime"), tuple(events))


def _time(fields: Fields, field: str) -> int:
    return fields.integer(field, _LAMPORT_MAX)


def _list(fields: Fields, field: str) -> list[object]:
    value = fields.raw(field)
    if value is None:
        return []
    if not isinstance(value, list):
        raise fields.wrong(field, "is not an array")
    return value


def _names(fields: Fields, field: str, values: Iterable[Any]) -> list[str]:
    try:
        return [value.decode() for value in values]
    except (AttributeError, UnicodeDecodeError):
        raise fields.wrong(field, "holds a name that is not UTF-8") from None
