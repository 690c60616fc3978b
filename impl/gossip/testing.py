"""A gossip pool in one process and in virtual time: many cores on an in-memory network.

Rules
-----
1. A seed decides everything: the cores' randomness, latencies and losses, each from a stream of its own.
2. Datagrams are lost, delayed and therefore reordered. Streams are held while they cannot pass and tried
   again at TCP's intervals, so that a connection attempted during a cut may come about after its heal.
3. A killed process's host still refuses streams; a paused process loses nothing that fits its socket's
   buffer, takes it in when it resumes, and only then looks at the clock.
4. Cuts are per direction. Nothing sent over a cut direction arrives, whatever its way back.

For tests of the core and for studies of pools larger than one machine can run as processes.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

from .config import LAN, MILLISECOND, SECOND, Config
from .effects import Address, Effect, Member, MemberChanged, OpenStream, SendDatagram
from .serf import Gossip, acquaint
from .stream import StreamReader

_PORT = 7946
_STREAM_RETRY_NS = (0, 1 * SECOND, 3 * SECOND, 7 * SECOND, 15 * SECOND)
"""When TCP sends a segment again that was not acknowledged, from the first time on."""
_SOCKET_BUFFER_PACKETS = 256


@dataclass(slots=True, eq=False)
class _Process:
    core: Gossip
    address: Address
    alive: bool = True
    paused: bool = False
    scheduled_ns: int = -1
    inbox: list[Callable[[], None]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Happened:
    """An effect that is not for the network."""

    time_ns: int
    node: str
    effect: Effect


class Pool:
    """Add agents, let time pass, damage things, look at what everyone believes."""

    def __init__(
        self,
        seed: int,
        config: Config = LAN,
        latency_ns: tuple[int, int] = (200_000, 1 * MILLISECOND),
        loss: float = 0.0,
    ) -> None:
        self.now_ns = 0
        self.config = config
        self.loss = loss
        self.datagrams = 0
        self.happened: list[Happened] = []
        self._seed = seed
        self._latency_ns = latency_ns
        self._random = random.Random(f"{seed} network")
        self._processes: dict[str, _Process] = {}
        self._by_address: dict[Address, str] = {}
        self._cut: dict[tuple[str, str], None] = {}
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._serial = 0

    # --- agents

    def start(
        self,
        name: str,
        tags: Mapping[str, str] | None = None,
        core: type[Gossip] = Gossip,
        address: Address | None = None,
    ) -> Gossip:
        """Start an agent, or start it again after it was killed."""
        if address is None:
            known = self._processes.get(name)
            index = len(self._processes) + 1
            address = (
                known.address if known else (f"10.{index >> 16}.{index >> 8 & 255}.{index & 255}", _PORT)
            )
        stream = random.Random(f"{self._seed} {name} {self.now_ns}")
        process = _Process(core(name, address, tags or {}, self.config, stream, self.now_ns), address)
        self._processes[name] = process
        self._by_address[address] = name
        self._settle(name, process)
        return process.core

    def start_joined(self, count: int, core: type[Gossip] = Gossip) -> list[str]:
        """Start n1 … n`count`, joined through n1, and wait until everyone knows everyone."""
        names = [f"n{number}" for number in range(1, count + 1)]
        for name in names:
            self.start(name, {"role": "test"}, core)
        for name in names[1:]:
            self.join(name, names[0])
        self.run_until(self.all_agree, 120 * SECOND)
        return names

    def start_acquainted(self, count: int, core: type[Gossip] = Gossip) -> list[str]:
        """Start n1 … n`count` as a pool that joined long ago: nothing of that is simulated."""
        names = [f"n{number}" for number in range(1, count + 1)]
        acquaint([self.start(name, {"role": "test"}, core) for name in names])
        return names

    def core(self, name: str) -> Gossip:
        return self._processes[name].core

    def join(self, name: str, seed: str) -> None:
        self.input(name, lambda core, now_ns: core.join([self._processes[seed].address], now_ns))

    def input(self, name: str, call: Callable[[Gossip, int], object]) -> None:
        """Call a method of a core and carry out what follows from it."""
        process = self._processes[name]
        call(process.core, self.now_ns)
        self._settle(name, process)

    def kill(self, name: str) -> None:
        self._processes[name].alive = False

    def pause(self, name: str) -> None:
        self._processes[name].paused = True

    def resume(self, name: str) -> None:
        process = self._processes[name]
        process.paused = False
        inbox, process.inbox = process.inbox, []
        for deliver in inbox:
            deliver()
        process.scheduled_ns = -1
        self._settle(name, process)

    def live(self) -> list[str]:
        """Whoever was not killed."""
        return [name for name, process in self._processes.items() if process.alive]

    # --- links

    def cut(self, sources: Iterable[str], targets: Iterable[str]) -> None:
        """Cut this direction."""
        targets = list(targets)
        for source in sources:
            self._cut |= dict.fromkeys((source, target) for target in targets)

    def partition(self, *parts: Iterable[str]) -> None:
        """Cut both directions between all parts."""
        groups = [list(part) for part in parts]
        for one in groups:
            for other in groups:
                if one is not other:
                    self.cut(one, other)

    def heal(self) -> None:
        self._cut = {}

    # --- time

    def run(self, duration_ns: int) -> None:
        """Let time pass."""
        self._run_to(self.now_ns + duration_ns, lambda: False)

    def run_until(self, condition: Callable[[], bool], limit_ns: int) -> int:
        """Let time pass until a condition holds; returns how long. AssertionError after `limit_ns`."""
        start_ns = self.now_ns
        if not condition() and not self._run_to(start_ns + limit_ns, condition):
            raise AssertionError(f"not within {limit_ns / SECOND:.1f} s:\n{self.describe()}")
        return self.now_ns - start_ns

    def _run_to(self, end_ns: int, condition: Callable[[], bool]) -> bool:
        seen = len(self.happened)
        while self._heap and self._heap[0][0] <= end_ns:
            self.now_ns, _, action = heapq.heappop(self._heap)
            action()
            # Beliefs change only with an event, so the condition need not be looked at more often.
            if len(self.happened) != seen:
                seen = len(self.happened)
                if condition():
                    return True
        self.now_ns = end_ns
        return condition()

    # --- looking

    def status(self, observer: str, name: str) -> str:
        """What the observer believes, "unknown" if it does not know the name."""
        member = self.core(observer).member(name)
        return "unknown" if member is None else member.status

    def seen_by_all(self, name: str, status: str) -> bool:
        """Whether every other live agent believes it."""
        return all(self.status(observer, name) == status for observer in self.live() if observer != name)

    def all_agree(self) -> bool:
        """Whether every live agent sees every live agent alive, and no suspect."""
        live = self.live()
        return all(_is_well(self.core(observer).member(name)) for observer in live for name in live)

    def changes(self, change: str, name: str | None = None) -> list[Happened]:
        """The `MemberChanged` of one kind so far, about one member or all."""
        return [
            each
            for each in self.happened
            if isinstance(each.effect, MemberChanged)
            and each.effect.change == change
            and name in (None, each.effect.member.name)
        ]

    def describe(self) -> str:
        """One line per live agent: whom it sees how."""
        return "\n".join(
            f"{observer}: "
            + " ".join(
                f"{member.name}={'suspect' if member.suspect else member.status}@{member.incarnation}"
                for member in self.core(observer).members()
            )
            for observer in self.live()
        )

    # --- machinery

    def _later(self, time_ns: int, action: Callable[[], None]) -> None:
        self._serial += 1
        heapq.heappush(self._heap, (time_ns, self._serial, action))

    def _latency(self) -> int:
        return self._random.randint(*self._latency_ns)

    def _settle(self, name: str, process: _Process) -> None:
        """Carry out the effects of an input and plan the next tick."""
        for effect in process.core.take():
            match effect:
                case SendDatagram():
                    self._send(name, effect)
                case OpenStream():
                    self._open(name, process, effect, self.now_ns)
                case _:
                    self.happened.append(Happened(self.now_ns, name, effect))
        deadline_ns = process.core.deadline_ns
        if not self.now_ns <= process.scheduled_ns <= deadline_ns:
            process.scheduled_ns = deadline_ns
            self._later(max(deadline_ns, self.now_ns), partial(self._tick, name, process))

    def _tick(self, name: str, process: _Process) -> None:
        if process.alive and not process.paused:
            process.core.tick(self.now_ns)
            process.scheduled_ns = -1
            self._settle(name, process)

    def _send(self, source: str, effect: SendDatagram) -> None:
        self.datagrams += 1
        target = self._by_address.get(effect.to)
        if target is None or (source, target) in self._cut or self._random.random() < self.loss:
            return
        origin = self._processes[source].address
        self._later(self.now_ns + self._latency(), partial(self._deliver, target, effect.data, origin))

    def _deliver(self, name: str, data: bytes, origin: Address) -> None:
        process = self._processes[name]
        if not process.alive:
            return
        if process.paused:
            if len(process.inbox) < _SOCKET_BUFFER_PACKETS:
                process.inbox.append(partial(self._deliver, name, data, origin))
            return
        process.core.datagram(data, origin, self.now_ns)
        self._settle(name, process)

    def _open(self, source: str, process: _Process, effect: OpenStream, since_ns: int) -> None:
        """Find the first moment at which the request passes, and the answer passes back."""
        target = self._by_address.get(effect.to)
        deadline_ns = since_ns + effect.timeout_ns
        for offset_ns in _STREAM_RETRY_NS:
            if since_ns + offset_ns < deadline_ns:
                attempt = partial(self._attempt, source, process, effect, target)
                self._later(since_ns + offset_ns + 3 * self._latency(), attempt)
        self._later(deadline_ns, partial(self._answer, source, process, effect.token, None, "timed out"))

    def _attempt(self, source: str, process: _Process, effect: OpenStream, target: str | None) -> None:
        if effect.token not in process.core.open_streams or not process.alive:
            return
        if target is None or (source, target) in self._cut or (target, source) in self._cut:
            return
        server = self._processes[target]
        if not server.alive:
            self._answer(source, process, effect.token, None, "connection refused")
        elif server.paused:
            server.inbox.append(partial(self._attempt, source, process, effect, target))
        else:
            message = StreamReader().feed(effect.request)
            assert message is not None, "a core asked for an incomplete request to be sent"
            reply = server.core.stream_request(message, process.address, self.now_ns)
            self._settle(target, server)
            self._answer(source, process, effect.token, reply, "closed without an answer")

    def _answer(self, name: str, process: _Process, token: int, reply: bytes | None, reason: str) -> None:
        if token not in process.core.open_streams or not process.alive:
            return
        if process.paused:
            process.inbox.append(partial(self._answer, name, process, token, reply, reason))
            return
        message = StreamReader().feed(reply) if reply else None
        if message is None:
            process.core.stream_failed(token, reason, self.now_ns)
        else:
            process.core.stream_reply(token, message, self.now_ns)
        self._settle(name, process)


def _is_well(member: Member | None) -> bool:
    return member is not None and member.status == "alive" and not member.suspect
