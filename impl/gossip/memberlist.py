"""memberlist: SWIM's failure detector with Lifeguard's refinements, gossip and anti-entropy, on a schedule.

Rules
-----
1. One probe at a time: a ping; after `probe_timeout_ns` without its ack, `indirect_checks` others are asked
   to ping as well and a stream is tried. If nothing has come by the end of the probe interval, the target is
   suspect.
2. The probe interval is stretched by our awareness score. A probe that succeeds lowers the score; one that
   fails raises it by the nacks that were missing: helpers that did not even say "no" put the blame on us.
3. Acks and nacks belong to a probe by sequence number, never by sender.
4. Whatever is sent carries along as many broadcasts as fit. Gossip takes what is left to a few random
   members, also to the recently dead, who may refute.
5. Push/pull exchanges everything with one random member now and then, for what the broadcasts missed.

Difference to memberlist 0.2: whoever missed our refutation is told again, by `_remind`.

Sources: SWIM sections 3 and 4; Lifeguard section IV; memberlist state.go (`probeNode`, `gossip`, `pushPull`),
net.go.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import assert_never

from . import formulas, wire
from .config import Config
from .effects import Address, Effect, OpenStream, SendDatagram
from .errors import Malformed
from .swim import Swim
from .table import Node
from .timers import Timer
from .wire import ALIVE, DEAD, LEFT, Ack, IndirectPing, Nack, Ping, PushPull, Suspect

_PROTOCOL_STREAM_PING, _PROTOCOL_NACK, _PROTOCOL_CHECKSUM = 3, 4, 5


@dataclass(slots=True, eq=False)
class _Probe:
    """The probe under way."""

    sequence: int
    target: Node
    incarnation: int
    """As known at its start: if the target refutes meanwhile, the accusation is void."""
    deadline_ns: int
    helpers_timer: Timer
    end_timer: Timer
    nacks_expected: int = 0
    nacks: int = 0
    stream_acked: bool = False


@dataclass(slots=True, eq=False)
class _Relay:
    """A ping that we sent for somebody else."""

    requester: Address
    requester_name: str
    sequence: int
    """The requester's."""
    timer: Timer


@dataclass(frozen=True, slots=True)
class _Stream:
    """A stream that we opened."""

    address: Address
    reply: Callable[[wire.StreamMessage], str]
    """Takes in the answer; returns what is wrong with it, or nothing."""
    done: Callable[[str], None]
    """Called at the end with an error, or nothing."""


class Memberlist(Swim):
    """The protocol: timers, packets and streams. `Gossip` adds Serf and is what a shell uses."""

    def __init__(
        self, name: str, address: Address, meta: bytes, config: Config, random: random.Random, now_ns: int
    ) -> None:
        super().__init__(name, address, meta, config, random, now_ns)
        self._sequence = 0
        self._probe: _Probe | None = None
        self._probe_overdue = False
        self._relays: dict[int, _Relay] = {}
        self._streams: dict[int, _Stream] = {}
        self._next_token = 0
        self._gossip_rested_ns: int | None = None
        """Since when nothing was left to gossip."""
        # Each ticker starts at a random moment, lest nodes that were started together act together for ever.
        self._start_ticker(config.probe_interval_ns, self._probe_tick)
        self._start_ticker(config.gossip_interval_ns, self._gossip_tick)
        self._push_pull_timer = self._start_ticker(config.push_pull_interval_ns, self._push_pull_tick)

    # --- the shell's side

    @property
    def deadline_ns(self) -> int:
        """When `tick` is due next. Look again after every `take`."""
        return self._timers.deadline_ns

    @property
    def open_streams(self) -> Collection[int]:
        """The tokens of streams that await `stream_reply` or `stream_failed`."""
        return self._streams.keys()

    def take(self) -> list[Effect]:
        """The effects since the last call, in order. Sets `deadline_ns` anew."""
        if self._gossip_rested_ns is not None and self._has_broadcasts():
            self._rest_no_more(self._gossip_rested_ns)
        effects, self._effects = self._effects, []
        return effects

    def tick(self, now_ns: int) -> None:
        """Do what is due. Harmless when nothing is."""
        self._advance(now_ns)
        self._timers.run(self._now)

    def datagram(self, data: bytes, source: Address, now_ns: int) -> None:
        """A datagram came in. A malformed one is dropped, with a `Warned`."""
        self._advance(now_ns)
        try:
            messages = wire.decode_packet(data)
        except Malformed as error:
            self._warn(f"dropped a packet from {source[0]}:{source[1]}: {error}")
            return
        for message in messages:
            self._receive(message, source)

    def stream_request(self, message: wire.StreamMessage, source: Address, now_ns: int) -> bytes:
        """A whole message came on a stream that a peer opened: returns what to answer before closing it."""
        self._advance(now_ns)
        match message:
            case PushPull():
                reply = self._push_pull(message.join)
                error = self._take_in(message)
                if error:
                    self._warn(f"refused the state of {source[0]}:{source[1]}: {error}")
                return reply
            case Ping():
                return wire.encode(Ack(message.sequence)) if self._is_for_us(message, source) else b""
            case wire.User():
                self._user_message(message.payload)
                return b""
            case Ack() | wire.ErrorReply():
                self._warn(f"{source[0]}:{source[1]} opened a stream with {type(message).__name__}")
                return b""
            case _:
                assert_never(message)

    def stream_reply(self, token: int, message: wire.StreamMessage, now_ns: int) -> None:
        """The answer on the stream opened for `OpenStream(token)`."""
        self._advance(now_ns)
        stream = self._streams.pop(token)
        stream.done(stream.reply(message))

    def stream_failed(self, token: int, reason: str, now_ns: int) -> None:
        """No answer came on the stream opened for `OpenStream(token)`."""
        self._advance(now_ns)
        self._streams.pop(token).done(reason or "no answer")

    def _start_ticker(self, interval_ns: int, tick: Callable[[], None]) -> Timer:
        return self._timers.at(self._now + 1 + self._random.randrange(interval_ns), tick)

    def _acquaint(self, nodes: Mapping[str, Node]) -> None:
        """Know these from now on, and push/pull as seldom as the oldest of so large a pool."""
        self._table.acquaint(nodes)
        self._push_pull_timer.cancel()
        interval_ns = formulas.push_pull_interval_ns(self.config.push_pull_interval_ns, len(self._table))
        self._push_pull_timer = self._start_ticker(interval_ns, self._push_pull_tick)

    def _advance(self, now_ns: int) -> None:
        self._now = max(self._now, now_ns)

    # --- the layer above

    def _user_message(self, payload: bytes) -> None:
        """A message of the layer above came in."""

    def _user_state(self, join: bool) -> bytes:
        """What the layer above adds to a push/pull."""
        return b""

    def _merge_user_state(self, state: bytes, join: bool) -> None:
        """What the other side's layer above added. Raises `Malformed`."""

    def _user_broadcasts(self, bytes_free: int, count_max: int) -> list[bytes]:
        """Whole user messages to fill the rest of a packet."""
        return []

    def _has_broadcasts(self) -> bool:
        """Whether there is anything to gossip."""
        return len(self._broadcasts) > 0

    # --- probing

    def _probe_tick(self) -> None:
        self._timers.at(self._now + self.config.probe_interval_ns, self._probe_tick)
        if self._probe is None:
            self._start_probe()
        else:
            self._probe_overdue = True

    def _start_probe(self) -> None:
        target = self._table.next_to_probe(lambda node: node is not self._me and not node.gone, self._now)
        if target is None:
            return
        end_ns = self._now + self.config.probe_interval_ns * (self._health + 1)
        helpers_ns = min(end_ns, self._now + self.config.probe_timeout_ns)
        self._probe = _Probe(
            sequence=self._new_sequence(),
            target=target,
            incarnation=target.incarnation,
            deadline_ns=end_ns,
            helpers_timer=self._timers.at(helpers_ns, self._ask_others),
            end_timer=self._timers.at(end_ns, self._fail_probe),
        )
        ping = wire.encode(self._ping(self._probe.sequence, target.name))
        if target.state is ALIVE:
            self._send(target.address, ping, target)
        else:
            # Lifeguard's buddy system: the suspect hears of it from whoever probes it, and can refute at
            # once.
            suspicion = wire.encode(Suspect(target.incarnation, target.name, self.name))
            self._send_parts(target.address, [ping, suspicion], target)

    def _ping(self, sequence: int, target_name: str) -> Ping:
        return Ping(sequence, target_name, self._me.address_bytes, self._me.port, self.name)

    def _ask_others(self) -> None:
        """No ack in time: ask helpers to ping, and try a stream, which may pass where datagrams do not."""
        probe = self._probe
        if probe is None:
            return
        target = probe.target
        self._indirect_probe(probe)
        if target.versions[1] >= _PROTOCOL_STREAM_PING and probe.deadline_ns > self._now:
            self._open_stream(
                target.address,
                wire.encode(self._ping(probe.sequence, target.name)),
                probe.deadline_ns - self._now,
                reply=partial(self._stream_ping_reply, probe),
                done=lambda error: None,
            )

    def _indirect_probe(self, probe: _Probe) -> None:
        helpers = self._table.pick(
            self.config.indirect_checks,
            lambda node: node.state is ALIVE and node is not self._me and node.name != probe.target.name,
        )
        for helper in helpers:
            nack = helper.versions[1] >= _PROTOCOL_NACK
            probe.nacks_expected += nack
            request = IndirectPing(
                sequence=probe.sequence,
                target=probe.target.address_bytes,
                port=probe.target.port,
                node=probe.target.name,
                nack=nack,
                source_address=self._me.address_bytes,
                source_port=self._me.port,
                source_node=self.name,
            )
            self._send(helper.address, wire.encode(request), helper)

    def _stream_ping_reply(self, probe: _Probe, message: wire.StreamMessage) -> str:
        if not isinstance(message, Ack) or message.sequence != probe.sequence:
            return f"{type(message).__name__} instead of the ack of a ping"
        probe.stream_acked = True
        return ""

    def _end_probe(self, probe: _Probe, health_delta: int) -> None:
        self._probe = None
        probe.helpers_timer.cancel()
        probe.end_timer.cancel()
        self._change_health(health_delta)
        if self._probe_overdue:
            self._probe_overdue = False
            self._start_probe()

    def _fail_probe(self) -> None:
        """The end of the probe interval without an ack."""
        probe = self._probe
        if probe is None:
            return
        if probe.stream_acked:
            self._warn(f"reached {probe.target.name} by stream but not by datagrams: check the network")
            self._end_probe(probe, -1)
            return
        # Without helpers that could say no, any failed probe counts against us.
        missing = probe.nacks_expected - probe.nacks if probe.nacks_expected else 1
        self._end_probe(probe, missing)
        self._suspect(Suspect(probe.incarnation, probe.target.name, self.name))

    # --- packets in

    def _receive(self, message: wire.PacketMessage, source: Address) -> None:
        match message:
            case Ping():
                self._answer_ping(message, source)
            case IndirectPing():
                self._relay_ping(message, source)
            case Ack():
                self._take_ack(message)
            case Nack():
                if self._probe is not None and self._probe.sequence == message.sequence:
                    self._probe.nacks += 1
            case Suspect():
                if message.node == self.name and message.incarnation < self._me.incarnation:
                    self._remind(message.accuser, source)
                self._suspect(message)
            case wire.Alive():
                self._alive(message)
            case wire.Dead():
                self._dead(message)
            case wire.User():
                self._user_message(message.payload)
            case _:
                assert_never(message)

    def _remind(self, accuser: str, source: Address) -> None:
        """Tell our refutation again to who probes us as a suspect at an old incarnation, having missed it.

        Our acks would not clear us there, so that it would bury us when its suspicion times out.
        """
        node = self._table.get(accuser)
        if node is not None and node.address == source and not self._leaving:
            self._send(source, wire.encode(self._own_alive()), node)

    def _is_for_us(self, ping: Ping, source: Address) -> bool:
        """A ping for a name that had our address before must not be answered: its owner is dead."""
        if ping.node in ("", self.name):
            return True
        self._warn(f"ping for {ping.node} from {source[0]}:{source[1]}")
        return False

    def _answer_ping(self, ping: Ping, source: Address) -> None:
        if self._is_for_us(ping, source):
            address = _origin(ping, source)
            self._send(address, wire.encode(Ack(ping.sequence)), self._table.get(ping.source_node))

    def _relay_ping(self, request: IndirectPing, source: Address) -> None:
        """Ping for somebody else, under a sequence number of ours."""
        sequence = self._new_sequence()
        self._relays[sequence] = _Relay(
            requester=_origin(request, source),
            requester_name=request.source_node,
            sequence=request.sequence,
            timer=self._timers.at(
                self._now + self.config.probe_timeout_ns, partial(self._relay_timeout, sequence, request.nack)
            ),
        )
        address = wire.address_of(request.target, request.port)
        self._send(address, wire.encode(self._ping(sequence, request.node)), self._table.get(request.node))

    def _relay_timeout(self, sequence: int, nack: bool) -> None:
        relay = self._relays.pop(sequence)
        if nack:
            requester = self._table.get(relay.requester_name)
            self._send(relay.requester, wire.encode(Nack(relay.sequence)), requester)

    def _take_ack(self, ack: Ack) -> None:
        if self._probe is not None and self._probe.sequence == ack.sequence:
            self._end_probe(self._probe, -1)
            return
        relay = self._relays.pop(ack.sequence, None)
        if relay is not None:
            relay.timer.cancel()
            requester = self._table.get(relay.requester_name)
            self._send(relay.requester, wire.encode(Ack(relay.sequence)), requester)

    def _new_sequence(self) -> int:
        self._sequence = (self._sequence + 1) & 0xFFFF_FFFF
        return self._sequence

    # --- packets out

    def _send(self, to: Address, message: bytes, node: Node | None) -> None:
        """One message, and what broadcasts fit behind it. `node` is who lives there, if known."""
        bytes_free = self.config.packet_bytes_max - 2 * wire.COMPOUND_OVERHEAD - len(message)
        broadcasts = self._take_broadcasts(bytes_free, wire.COMPOUND_PARTS_MAX - 1)
        self._send_parts(to, [message, *broadcasts], node)

    def _send_parts(self, to: Address, parts: list[bytes], node: Node | None) -> None:
        checksum = node is not None and node.versions[1] >= _PROTOCOL_CHECKSUM
        self._effects.append(SendDatagram(to, wire.packet(parts, checksum)))

    def _take_broadcasts(self, bytes_free: int, count_max: int) -> list[bytes]:
        if not self._has_broadcasts():
            return []
        limit = self._retransmit_limit()
        taken = self._broadcasts.take(bytes_free, wire.COMPOUND_OVERHEAD, limit, count_max)
        return taken + self._user_broadcasts(bytes_free - wire.joined_size(taken), count_max - len(taken))

    def _retransmit_limit(self) -> int:
        return formulas.retransmit_limit(self.config.retransmit_multiplier, len(self._table))

    # --- gossip

    def _gossip_tick(self) -> None:
        if not self._has_broadcasts():
            self._gossip_rested_ns = self._now
            return
        self._timers.at(self._now + self.config.gossip_interval_ns, self._gossip_tick)
        for node in self._table.pick(self.config.gossip_nodes, self._is_gossiped_to):
            bytes_free = self.config.packet_bytes_max - wire.COMPOUND_OVERHEAD
            parts = self._take_broadcasts(bytes_free, wire.COMPOUND_PARTS_MAX)
            if not parts:
                return
            self._send_parts(node.address, parts, node)

    def _rest_no_more(self, since_ns: int) -> None:
        """There is something to gossip again: at the next moment at which it was due all the same."""
        interval_ns = self.config.gossip_interval_ns
        due_ns = since_ns + ((self._now - since_ns) // interval_ns + 1) * interval_ns
        self._timers.at(due_ns, self._gossip_tick)
        self._gossip_rested_ns = None

    def _is_gossiped_to(self, node: Node) -> bool:
        if node is self._me or node.state is LEFT:
            return False
        if node.state is DEAD:
            return self._now - node.changed_ns <= self.config.gossip_to_the_dead_ns
        return True

    # --- push/pull

    def _push_pull_tick(self) -> None:
        interval_ns = formulas.push_pull_interval_ns(self.config.push_pull_interval_ns, len(self._table))
        self._timers.at(self._now + interval_ns, self._push_pull_tick)
        for node in self._table.pick(1, lambda node: node.state is ALIVE and node is not self._me):
            self._start_push_pull(node.address, join=False, done=partial(self._push_pull_done, node.name))

    def _push_pull_done(self, name: str, error: str) -> None:
        if error:
            self._warn(f"push/pull with {name} failed: {error}")

    def _start_push_pull(self, address: Address, join: bool, done: Callable[[str], None]) -> None:
        """Exchange states with whoever lives at the address."""
        timeout_ns = self.config.stream_timeout_ns
        self._open_stream(address, self._push_pull(join), timeout_ns, reply=self._push_pull_reply, done=done)

    def _push_pull_reply(self, message: wire.StreamMessage) -> str:
        if isinstance(message, wire.ErrorReply):
            return f"the other side says: {message.text}"
        if not isinstance(message, PushPull):
            return f"{type(message).__name__} instead of a push/pull"
        return self._take_in(message)

    def _push_pull(self, join: bool) -> bytes:
        """Our state, encoded."""
        nodes = tuple(node.to_wire() for node in self._table.nodes())
        return wire.encode(PushPull(join, nodes, self._user_state(join)))

    def _take_in(self, state: PushPull) -> str:
        """Merge the other side's state; returns why not, if not."""
        error = self._incompatibility(state.nodes)
        if error:
            return error
        self._merge(state.nodes)
        try:
            self._merge_user_state(state.user_state, state.join)
        except Malformed as malformed:
            return str(malformed)
        return ""

    def _open_stream(
        self,
        address: Address,
        request: bytes,
        timeout_ns: int,
        reply: Callable[[wire.StreamMessage], str],
        done: Callable[[str], None],
    ) -> None:
        self._next_token += 1
        self._streams[self._next_token] = _Stream(address, reply, done)
        self._effects.append(OpenStream(self._next_token, address, request, timeout_ns))


def _origin(message: Ping | IndirectPing, source: Address) -> Address:
    """Where the answer goes: what the message says, or else where the packet came from."""
    if message.source_address and message.source_port:
        return wire.address_of(message.source_address, message.source_port)
    return source
