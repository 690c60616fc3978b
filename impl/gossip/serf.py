"""Serf: what tells leaving from failing, on top of memberlist; and the object that the shell drives.

Rules
-----
1. A member is alive, leaving, left or failed. Alive with a leave intent is leaving; whoever is then gone has
   left, and whoever is gone without one has failed. Failed with a leave intent (`force_leave`) has left.
2. Intents are ordered by a Lamport clock: one that is not newer than the member's last is void. An intent
   about somebody unknown is kept for a while, for it may overtake the news that there is such a member.
3. A leave intent about us while we stay is answered with a newer join intent.
4. Failed members are tried again now and then, until they are forgotten; members that left are not.
5. User events are delivered once each, in no order.

Difference to Serf 0.9: death announced by the member itself is leaving even if its leave intent was lost.

Source: serf.go (`handleNodeJoin`, `handleNodeLeave`, `handleNodeLeaveIntent`, `reconnect`, `reap`, `Leave`),
delegate.go (`LocalState`, `MergeRemoteState`), lamport.go.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from . import formulas, serf_messages, wire
from .broadcasts import TransmitQueue
from .config import Config
from .effects import (
    Address,
    Change,
    JoinFinished,
    LeaveFinished,
    Member,
    MemberChanged,
    Status,
    UserEvent,
)
from .errors import InvalidName, Malformed, TooLarge
from .layered import Layered
from .memberlist import Memberlist
from .serf_messages import EventMessage, Events, JoinIntent, LeaveIntent, UserState
from .table import Node
from .timers import Timer
from .wire import LEFT, SUSPECT, Dead, Versions

NAME_BYTES_MAX = 128
_QUEUE_DEPTH_MAX = 4096

_Phase = Literal["member", "leaving", "lingering", "left"]


class LamportClock:
    """Serf's: one ahead of everything it has seen."""

    def __init__(self) -> None:
        # One, because zero is the status time of members about which there was no intent yet.
        self.time = 1

    def witness(self, time: int) -> None:
        self.time = max(self.time, time + 1)

    def increment(self) -> None:
        self.time += 1


@dataclass(slots=True, eq=False)
class _Record:
    """Serf's record of a member; it outlives memberlist's."""

    name: str
    address: Address
    tags: Mapping[str, str]
    versions: Versions
    incarnation: int
    status: Status
    status_time: int
    changed_ns: int
    tried_ns: int = 0
    """When this agent last tried to reach it; 0: not since it failed."""


@dataclass(frozen=True, slots=True)
class _KeptIntent:
    """The newest intent about somebody unknown."""

    intent: JoinIntent | LeaveIntent
    received_ns: int


@dataclass(slots=True)
class _Joining:
    """One call of `join`."""

    pending: int
    succeeded: bool = False


class Gossip(Memberlist):
    """One agent's part in a gossip pool.

    Raises `InvalidName`, or `TooLarge` for the tags; ValueError if the address is not an IPv4 one.
    """

    def __init__(
        self,
        name: str,
        address: Address,
        tags: Mapping[str, str],
        config: Config,
        random: random.Random,
        now_ns: int,
    ) -> None:
        if not name or len(name.encode()) > NAME_BYTES_MAX or not name.isprintable():
            raise InvalidName(f"node name {name!r} must be 1 to {NAME_BYTES_MAX} printable bytes")
        super().__init__(name, address, serf_messages.encode_tags(tags), config, random, now_ns)
        self._clock, self._event_clock, self._query_clock = LamportClock(), LamportClock(), LamportClock()
        self._records: Layered[_Record] = Layered({})
        self._failed: dict[str, _Record] = {}
        self._left: dict[str, _Record] = {}
        self._kept_intents: dict[str, _KeptIntent] = {}
        self._intents_queue = TransmitQueue(_QUEUE_DEPTH_MAX)
        self._events_queue = TransmitQueue(_QUEUE_DEPTH_MAX)
        self._events: list[Events | None] = [None] * config.event_buffer
        self._event_time_min = 0
        self._joins_pending = 0
        self._phase: _Phase = "member"
        self._leave_timer: Timer | None = None
        self._on_alive(self._me)
        self._timers.at(now_ns + config.reap_interval_ns, self._reap_tick)
        self._timers.at(now_ns + config.reconnect_interval_ns, self._reconnect_tick)

    # --- the shell's side

    def members(self) -> list[Member]:
        """Everyone known, ourselves included, sorted by name."""
        return [self._member(self._records[name]) for name in sorted(self._records)]

    def member(self, name: str) -> Member | None:
        """One of them, None if there is no such."""
        record = self._records.get(name)
        return None if record is None else self._member(record)

    def join(self, addresses: Sequence[Address], now_ns: int) -> None:
        """Exchange states with each address; one `JoinFinished` for each follows.

        User events from before the join are not delivered.
        """
        self._advance(now_ns)
        joining = _Joining(len(addresses))
        for address in addresses:
            if self._phase != "member":
                self._effects.append(JoinFinished(address, "this agent is leaving"))
                continue
            self._joins_pending += 1
            self._start_push_pull(address, join=True, done=partial(self._join_done, joining, address))

    def leave(self, now_ns: int) -> None:
        """Tell the others that we go: the intent first, then our death; then stay up until that is known.

        `LeaveFinished` follows within twice `broadcast_timeout_ns` and `leave_propagate_delay_ns`; at once if
        there is nobody to tell. A further call does nothing. There is no way back: rejoin with a new object.
        """
        self._advance(now_ns)
        if self._phase != "member":
            return
        self._phase = "leaving"
        intent = LeaveIntent(self._clock.time, self.name)
        self._clock.increment()
        self._leave_intent(intent)
        if self._table.live <= 1:
            self._depart()
            return
        self._leave_timer = self._timers.at(self._now + self.config.broadcast_timeout_ns, self._depart)
        self._queue(self._intents_queue, intent, on_done=self._depart)

    def force_leave(self, name: str, prune: bool, now_ns: int) -> bool:
        """Turn a failed member into a left one everywhere, or with `prune` into nothing. False if unknown.

        A member that is alive refutes it.
        """
        self._advance(now_ns)
        known = name in self._records
        intent = LeaveIntent(self._clock.time, name, prune)
        self._clock.increment()
        self._leave_intent(intent)
        self._queue(self._intents_queue, intent)
        return known

    def set_tags(self, tags: Mapping[str, str], now_ns: int) -> None:
        """Replace our tags and tell the others. Raises `TooLarge` above 512 encoded bytes."""
        meta = serf_messages.encode_tags(tags)
        self._advance(now_ns)
        self._change_meta(meta)
        self._on_update(self._me)

    def fire(self, name: str, payload: bytes, coalesce: bool, now_ns: int) -> None:
        """Send a user event to everyone, ourselves included. Raises `TooLarge`."""
        self._advance(now_ns)
        event = EventMessage(self._event_clock.time, name, payload, coalesce)
        size, size_max = len(serf_messages.encode(event)), self.config.user_event_bytes_max
        if size > size_max:
            raise TooLarge(f"user event {name!r} takes {size} bytes, {size_max} are allowed")
        self._event_clock.increment()
        self._event(event)
        self._queue(self._events_queue, event)

    # --- what memberlist tells us

    def _on_alive(self, node: Node) -> None:
        record = self._records.get(node.name)
        if record is None:
            record = _Record(
                name=node.name,
                address=node.address,
                tags={},
                versions=node.versions,
                incarnation=node.incarnation,
                status="alive",
                status_time=0,
                changed_ns=self._now,
            )
            self._records[node.name] = record
            kept = self._kept_intents.pop(node.name, None)
            if kept is not None:
                record.status_time = kept.intent.lamport_time
                if isinstance(kept.intent, LeaveIntent):
                    record.status = "leaving"
        else:
            record = self._records.own(node.name)
            record.status = "alive"
            record.changed_ns = self._now
            self._failed.pop(node.name, None)
            self._left.pop(node.name, None)
        self._copy(node, record)
        self._changed("joined", record)

    def _on_update(self, node: Node) -> None:
        record = self._records.get(node.name)
        if record is not None:
            record = self._records.own(node.name)
            self._copy(node, record)
            self._changed("updated", record)

    def _on_suspect(self, node: Node) -> None:
        record = self._records.get(node.name)
        if record is not None:
            self._changed("suspected", record)

    def _on_cleared(self, node: Node) -> None:
        record = self._records.get(node.name)
        if record is not None:
            self._changed("cleared", record)

    def _on_gone(self, node: Node) -> None:
        record = self._records.get(node.name)
        if record is None or record.status in ("left", "failed"):
            return
        record = self._records.own(node.name)
        self._copy(node, record)
        record.changed_ns = self._now
        if record.status == "leaving" or node.state is LEFT:
            record.status = "left"
            self._left[record.name] = record
            self._changed("left", record)
        else:
            record.status, record.tried_ns = "failed", 0
            self._failed[record.name] = record
            self._changed("failed", record)

    def _copy(self, node: Node, record: _Record) -> None:
        record.address, record.versions, record.incarnation = node.address, node.versions, node.incarnation
        try:
            record.tags = serf_messages.decode_tags(node.meta)
        except Malformed as error:
            self._warn(f"{node.name} has no tags: {error}")
            record.tags = {}

    def _changed(self, change: Change, record: _Record) -> None:
        self._effects.append(MemberChanged(change, self._member(record)))

    def _member(self, record: _Record) -> Member:
        node = self._table.get(record.name)
        return Member(
            name=record.name,
            address=record.address,
            tags=record.tags,
            status=record.status,
            suspect=node is not None and node.state is SUSPECT,
            incarnation=record.incarnation if node is None else node.incarnation,
            versions=record.versions,
            changed_ns=record.changed_ns,
        )

    # --- intents

    def _leave_intent(self, intent: LeaveIntent) -> bool:
        """Take in a leave intent; whether it is news to be told on."""
        self._clock.witness(intent.lamport_time)
        record = self._records.get(intent.node)
        if record is None:
            return self._keep(intent)
        if record.name == self.name and self._phase == "member":
            # Of equal age it is somebody else's and may have come first elsewhere: answer that as well.
            if intent.lamport_time >= record.status_time:
                self._announce_join()
            return False
        if intent.lamport_time <= record.status_time:
            return False
        record = self._records.own(intent.node)
        record.status_time = intent.lamport_time
        if record.status == "alive":
            record.status = "leaving"
        elif record.status == "failed":
            record.status = "left"
            del self._failed[record.name]
            self._left[record.name] = record
            self._changed("left", record)
        if intent.prune and record.name != self.name:
            self._prune(record)
        return True

    def _join_intent(self, intent: JoinIntent) -> bool:
        """Take in a join intent; whether it is news to be told on."""
        self._clock.witness(intent.lamport_time)
        record = self._records.get(intent.node)
        if record is None:
            return self._keep(intent)
        if intent.lamport_time <= record.status_time:
            return False
        record = self._records.own(intent.node)
        record.status_time = intent.lamport_time
        if record.status == "leaving":
            record.status = "alive"
        return True

    def _keep(self, intent: JoinIntent | LeaveIntent) -> bool:
        kept = self._kept_intents.get(intent.node)
        if kept is not None and intent.lamport_time <= kept.intent.lamport_time:
            return False
        self._kept_intents[intent.node] = _KeptIntent(intent, self._now)
        return True

    def _announce_join(self) -> None:
        """A join intent newer than everything we know of."""
        intent = JoinIntent(self._clock.time, self.name)
        self._join_intent(intent)
        self._queue(self._intents_queue, intent)

    def _prune(self, record: _Record) -> None:
        """Forget a member, once it can have finished leaving."""
        if record.status == "leaving":
            delay_ns = self.config.broadcast_timeout_ns + self.config.leave_propagate_delay_ns
            self._timers.at(self._now + delay_ns, partial(self._prune_left, record))
        else:
            self._forget(record)

    def _prune_left(self, record: _Record) -> None:
        if self._left.get(record.name) is record:
            self._forget(record)

    def _forget(self, record: _Record) -> None:
        del self._records[record.name]
        self._failed.pop(record.name, None)
        self._left.pop(record.name, None)
        self._changed("reaped", record)

    # --- joining and leaving

    def _join_done(self, joining: _Joining, address: Address, error: str) -> None:
        self._joins_pending -= 1
        joining.pending -= 1
        joining.succeeded |= not error
        self._effects.append(JoinFinished(address, error))
        if joining.pending == 0 and joining.succeeded and self._phase == "member":
            self._announce_join()

    def _depart(self) -> None:
        """Our leave intent has been told, or cannot be: announce our death."""
        if self._leaving:
            return
        self._leaving = True
        self._cancel_leave_timer()
        alone = self._table.live <= 1
        self._dead(Dead(self._me.incarnation, self.name, self.name))
        if alone:
            self._finish_leave()
        else:
            timeout_ns = self._now + self.config.broadcast_timeout_ns
            self._leave_timer = self._timers.at(timeout_ns, self._on_departure_sent)

    def _on_departure_sent(self) -> None:
        """Stay up a little longer, to answer the probes of those who have not heard."""
        if self._phase == "leaving":
            self._phase = "lingering"
            self._cancel_leave_timer()
            self._timers.at(self._now + self.config.leave_propagate_delay_ns, self._finish_leave)

    def _finish_leave(self) -> None:
        self._phase = "left"
        self._effects.append(LeaveFinished())

    def _cancel_leave_timer(self) -> None:
        if self._leave_timer is not None:
            self._leave_timer.cancel()

    # --- tickers

    def _reap_tick(self) -> None:
        """Forget members that failed or left long ago, and intents of members that never came."""
        self._timers.at(self._now + self.config.reap_interval_ns, self._reap_tick)
        for gone, timeout_ns in (
            (self._failed, self.config.reconnect_timeout_ns),
            (self._left, self.config.tombstone_timeout_ns),
        ):
            for record in [each for each in gone.values() if self._now - each.changed_ns > timeout_ns]:
                self._forget(record)
        expired_ns = self._now - self.config.recent_intent_timeout_ns
        self._kept_intents = {
            name: kept for name, kept in self._kept_intents.items() if kept.received_ns >= expired_ns
        }

    def _reconnect_tick(self) -> None:
        """Try a failed member, so often that all of us together try each about once per interval.

        One of those whose last attempt is the longest ago. (Serf takes any, and may so try a dead one again
        and again while one that is alive, and as alone as this agent, waits.)
        """
        alive = len(self._records) - len(self._failed) - len(self._left)
        chance = formulas.reconnect_probability(len(self._failed), alive)
        if self._phase != "member" or self._random.random() >= chance:
            self._reconnect_later("")
            return
        longest_ago_ns = min(record.tried_ns for record in self._failed.values())
        waiting = [record for record in self._failed.values() if record.tried_ns == longest_ago_ns]
        record = self._random.choice(waiting)
        record.tried_ns = self._now
        self._start_push_pull(record.address, join=True, done=self._reconnect_later)

    def _reconnect_later(self, error: str) -> None:
        """The interval begins when the attempt has ended. That one failed is no news: the member has."""
        self._timers.at(self._now + self.config.reconnect_interval_ns, self._reconnect_tick)

    # --- messages

    def _queue(
        self,
        queue: TransmitQueue,
        message: serf_messages.Message,
        on_done: Callable[[], None] | None = None,
    ) -> None:
        queue.add(wire.encode(wire.User(serf_messages.encode(message))), on_done=on_done)

    def _user_message(self, payload: bytes) -> None:
        try:
            message = serf_messages.decode(payload)
        except Malformed as error:
            self._warn(f"dropped a Serf message: {error}")
            return
        match message:
            case LeaveIntent():
                news, queue = self._leave_intent(message), self._intents_queue
            case JoinIntent():
                news, queue = self._join_intent(message), self._intents_queue
            case EventMessage():
                news, queue = self._event(message), self._events_queue
            case None:
                return
        if news:
            self._queue(queue, message)

    def _user_broadcasts(self, bytes_free: int, count_max: int) -> list[bytes]:
        limit = self._retransmit_limit()
        intents = self._intents_queue.take(bytes_free, wire.COMPOUND_OVERHEAD, limit, count_max)
        bytes_free -= wire.joined_size(intents)
        events = self._events_queue.take(bytes_free, wire.COMPOUND_OVERHEAD, limit, count_max - len(intents))
        return intents + events

    def _has_broadcasts(self) -> bool:
        return super()._has_broadcasts() or len(self._intents_queue) > 0 or len(self._events_queue) > 0

    def _event(self, event: EventMessage) -> bool:
        """Deliver a user event unless it was before; whether it is news to be told on."""
        self._event_clock.witness(event.lamport_time)
        size = self.config.event_buffer
        if event.lamport_time < max(self._event_time_min, self._event_clock.time - size):
            return False
        slot = event.lamport_time % size
        seen = self._events[slot]
        if seen is None or seen.lamport_time != event.lamport_time:
            seen = Events(event.lamport_time, ())
        if (event.name, event.payload) in seen.events:
            return False
        self._events[slot] = Events(event.lamport_time, (*seen.events, (event.name, event.payload)))
        self._effects.append(UserEvent(event.lamport_time, event.name, event.payload, event.coalesce))
        return True

    # --- push/pull

    def _user_state(self, join: bool) -> bytes:
        state = UserState(
            lamport_time=self._clock.time,
            status_times={record.name: record.status_time for record in self._records.values()},
            left=tuple(self._left),
            event_time=self._event_clock.time,
            events=tuple(self._events),
            query_time=self._query_clock.time,
        )
        return serf_messages.encode_state(state)

    def _merge_user_state(self, state: bytes, join: bool) -> None:
        if not state:
            return
        remote = serf_messages.decode_state(state)
        for clock, time in (
            (self._clock, remote.lamport_time),
            (self._event_clock, remote.event_time),
            (self._query_clock, remote.query_time),
        ):
            # The clock's own value has not been used for a message yet.
            clock.witness(time - 1)
        left = dict.fromkeys(remote.left)
        for name in left:
            # The intent must have been newer than the member's last, or it would not have left.
            self._leave_intent(LeaveIntent(remote.status_times.get(name, 0) + 1, name))
        get, now = self._records.get, self._clock.time
        for name, time in remote.status_times.items():
            record = get(name)
            known = record is not None and time <= record.status_time and time < now
            if not known and name not in left:
                self._join_intent(JoinIntent(time, name))
        if join and self._joins_pending:
            self._event_time_min = max(self._event_time_min, remote.event_time)
        for events in remote.events:
            if events is not None:
                for event_name, payload in events.events:
                    self._event(EventMessage(events.lamport_time, event_name, payload, coalesce=False))


def acquaint(cores: Sequence[Gossip]) -> None:
    """Let agents of one process that know nobody yet know each other, as if they had joined long ago.

    They share what they know until it changes, so that this takes much less than agents × members of memory.
    """
    nodes = {core.name: copy.copy(core._me) for core in cores}
    records = {core.name: copy.copy(core._records[core.name]) for core in cores}
    for core in cores:
        core._acquaint(nodes)
        core._records = Layered(records)
