"""What the gossip core asks of its shell, and what it tells it.

The core keeps effects in order until `Gossip.take()`. The shell carries out `SendDatagram` and `OpenStream`
and may show the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

Address = tuple[str, int]
"""An IPv4 address in dotted form, and a port."""

Status = Literal["alive", "leaving", "left", "failed"]
"""Serf's view of a member. A suspect is still `alive` (with `Member.suspect`)."""

Change = Literal["joined", "updated", "suspected", "cleared", "failed", "left", "reaped"]
"""What happened to a member. `joined` also when a failed one is alive again; `cleared` ends a suspicion."""


class Member(msgspec.Struct, frozen=True):
    """One member as this agent sees it at one moment."""

    name: str
    address: Address
    tags: Mapping[str, str]
    status: Status
    suspect: bool
    incarnation: int
    versions: tuple[int, int, int, int, int, int]
    """Protocol min, max, current, then the same of the delegate (Serf) protocol."""
    changed_ns: int
    """When this agent last saw it come alive or fail, on this agent's monotonic clock."""


class SendDatagram(msgspec.Struct, frozen=True):
    """Send `data` to `to`, best effort. A local error (EPERM, ENETUNREACH) counts as a lost datagram."""

    to: Address
    data: bytes


class OpenStream(msgspec.Struct, frozen=True):
    """Connect to `to`, write `request`, read one reply with a `StreamReader`, close.

    Answer once, by `Gossip.stream_reply(token, message, now)`, or by `Gossip.stream_failed(token, reason,
    now)` after any error, after an end without a whole reply, or `timeout_ns` after this effect was taken.
    """

    token: int
    to: Address
    request: bytes
    timeout_ns: int


class MemberChanged(msgspec.Struct, frozen=True):
    """A member's status or tags changed; `member` is as it is after the change."""

    change: Change
    member: Member


class UserEvent(msgspec.Struct, frozen=True):
    """A user event reached this agent, once. Also delivered where it was fired."""

    lamport_time: int
    name: str
    payload: bytes
    coalesce: bool


class JoinFinished(msgspec.Struct, frozen=True):
    """The exchange with an address given to `Gossip.join` ended. `error` is empty if it went well."""

    address: Address
    error: str


class LeaveFinished(msgspec.Struct, frozen=True):
    """Everyone could know by now that we left: the shell may close its sockets and stop."""


class Warned(msgspec.Struct, frozen=True):
    """Something an operator may want to read: a malformed packet, a name conflict, a one-way link."""

    text: str


Effect = SendDatagram | OpenStream | MemberChanged | UserEvent | JoinFinished | LeaveFinished | Warned
