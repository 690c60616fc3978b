"""A cluster of cores in one thread and in virtual time: servers with disks and clocks, a network, invariants.

    cluster = Cluster(seed, Setting(servers=3))
    cluster.advance(1000 * MILLISECOND_NS)
    leader = cluster.leader()
    cluster.partition([leader.id], cluster.others(leader.id))
    cluster.advance(500 * MILLISECOND_NS)
    cluster.converge(within_ns=5000 * MILLISECOND_NS)

`impl.raft.invariants` says what is verified at every step; PropertyViolated is what any of these may raise.
`Simulation` adds clients, and faults at random times. Those of the setting that belong to messages, disks and
clocks are at work here already.

A run is decided by its seed, its setting, the classes under test, and what is done to it. Each purpose draws
from a stream of its own, so that one fault less leaves the other draws as they were, as long as the run does.
"""

from __future__ import annotations

import heapq
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

from impl.raft.core import Raft
from impl.raft.errors import ProposalRefused
from impl.raft.invariants import PropertyViolated, RaftInvariants
from impl.raft.messages import Configuration, Entry, Message, Server, ServerId, Snapshot
from impl.raft.settings import Faults, Moment, RecordKind, Setting
from impl.raft.testing import Disk
from impl.raft.types import NEVER_NS, Effects, Role

PPM = 1_000_000

QUEUE_MAX = 20_000
"""More events than this cannot be under way at a time, unless messages beget messages."""


class Machine(Protocol):
    """A state machine to replicate."""

    def apply(self, entry: Entry) -> None:
        """Take in the next entry, of whatever kind."""

    def snapshot(self) -> bytes:
        """The state as of now."""

    def restore(self, data: bytes) -> None:
        """Become what a snapshot says."""

    def digest(self) -> object:
        """Equal where the states are equal. Asked for after every entry."""

    def command(self, number: int) -> bytes:
        """Something for a client to propose."""


class Checksum:
    """A state machine whose state is a checksum of everything it was given."""

    def __init__(self) -> None:
        self._value = 0

    def apply(self, entry: Entry) -> None:
        self._value = zlib.crc32(entry.data, self._value ^ entry.index)

    def snapshot(self) -> bytes:
        return self._value.to_bytes(4, "big") * 4

    def restore(self, data: bytes) -> None:
        if data != data[:4] * 4:
            raise PropertyViolated("Equal States", f"a snapshot was assembled wrongly: {data!r}")
        self._value = int.from_bytes(data[:4], "big")

    def digest(self) -> object:
        return self._value

    def command(self, number: int) -> bytes:
        return b"command %d" % number


@dataclass(slots=True, eq=False)
class SimulatedServer:
    """One server: its disk, and while it runs, its core and its state machine."""

    id: ServerId
    disk: Disk
    core: Raft | None = None
    life: int = 0
    machine: Machine = field(default_factory=Checksum)
    applied_index: int = 0
    applying: deque[Effects] = field(default_factory=deque)
    """What the state machine has yet to take in."""
    wake_ns: int = NEVER_NS
    """When its core is looked at next, on its own clock."""
    resume_ns: int = 0
    """It is paused until then."""
    clock_offset_ns: int = 0
    clock_rate: int = PPM
    reads: dict[int, int] = field(default_factory=dict)
    """By request: the index that was committed when it was asked for."""

    def local_ns(self, now_ns: int) -> int:
        """What its clock shows."""
        return self.clock_offset_ns + now_ns * self.clock_rate // PPM

    def global_ns(self, local_ns: int) -> int:
        """When its clock will show at least that."""
        return -((self.clock_offset_ns - local_ns) * PPM // self.clock_rate)


class Cluster:
    """Servers in virtual time."""

    def __init__(
        self,
        seed: int,
        setting: Setting,
        *,
        core: type[Raft] = Raft,
        machine: Callable[[], Machine] = Checksum,
    ) -> None:
        self.now_ns = 0
        self.config = setting.config
        self.faults = Faults()
        member_count = setting.servers + setting.nonvoters
        names = [str(number) for number in range(1, member_count + setting.spares + 1)]
        self.servers = {name: SimulatedServer(name, Disk(self.config.trailing_entries)) for name in names}
        self.invariants = RaftInvariants(lambda name: self.servers[name].local_ns(self.now_ns))
        self.reached: Counter[str] = Counter()
        """How often what happened: which faults and rare events this run has seen."""
        self.events = 0
        """How many events there were, as a measure of work."""
        self._seed = seed
        self._core = self.invariants.watching(core)
        self._machine = machine
        self._network = self.stream("network")
        self._disks = self.stream("disks")
        self._queue: list[tuple[int, int, Callable[[Any, Any], None], Any, Any]] = []
        self._serial = 0
        self._cut: dict[tuple[ServerId, ServerId], None] = {}
        self._leaders = 0
        clocks = self.stream("clocks")
        for server in self.servers.values():
            server.clock_rate += clocks.randint(-setting.faults.clock_ppm_max, setting.faults.clock_ppm_max)
        members = [
            Server(name, address_of(name), voter=place < setting.servers)
            for place, name in enumerate(names[:member_count])
        ]
        self._bootstrap(Configuration(tuple(members)))
        self.faults = setting.faults

    def _bootstrap(self, members: Configuration) -> None:
        """Start them all, and have the members' first configuration on disk before anything can fail."""
        for server in self.servers.values():
            core = self.start(server)
            if members.get(server.id) is not None:
                core.bootstrap(members)
                self.pump(server, core)
        self.advance(self.faults.sync_ns_max)

    # ---- Looking

    @property
    def committed(self) -> int:
        """How many entries are committed."""
        return self.invariants.committed_index

    def live(self) -> list[tuple[SimulatedServer, Raft]]:
        """The servers that run."""
        return [(server, server.core) for server in self.servers.values() if server.core is not None]

    def leaders(self) -> list[tuple[SimulatedServer, Raft]]:
        """Running servers that believe to be leader."""
        return [
            (server, core)
            for server, core in self.live()
            if core.role is Role.LEADER and self.now_ns >= server.resume_ns
        ]

    def leader(self) -> Raft:
        """The leader of the latest term, which must exist."""
        return max((core for _, core in self.leaders()), key=lambda core: core.term)

    def others(self, *names: ServerId) -> list[ServerId]:
        """All servers but these."""
        return [name for name in self.servers if name not in names]

    def fingerprint(self) -> int:
        """Equal for equal runs."""
        states = [
            (server.id, server.life, server.applied_index, server.machine.digest())
            for server in self.servers.values()
        ]
        told = (self.now_ns, self._serial, self.committed, sorted(self.invariants.leaders.items()), states)
        return zlib.crc32(repr((told, self._network.random(), self._disks.random())).encode())

    # ---- Time

    def advance(self, duration_ns: int) -> None:
        """Let so much time pass."""
        queue, pop = self._queue, heapq.heappop
        end_ns = self.now_ns + duration_ns
        while queue and queue[0][0] <= end_ns:
            self.now_ns, _, handler, subject, argument = pop(queue)
            handler(subject, argument)
            self.events += 1
            if len(queue) > QUEUE_MAX:
                raise PropertyViolated("Message Storm", f"{len(queue)} events are under way")
        self.now_ns = end_ns

    def at(self, when_ns: int, handler: Callable[[Any, Any], None], subject: Any, argument: Any) -> None:
        """Call `handler(subject, argument)` then."""
        self._serial += 1
        heapq.heappush(self._queue, (when_ns, self._serial, handler, subject, argument))

    def stream(self, purpose: str) -> Random:
        """Randomness for one purpose."""
        return Random(f"{self._seed} {purpose}")

    def converge(self, within_ns: int) -> None:
        """The liveness phase: heal everything, then demand that a command is applied by every member."""
        self.faults = Faults()
        self.heal()
        for server in self.servers.values():
            if server.core is None:
                self.start(server)
        end_ns = self.now_ns + within_ns
        index, term = 0, 0
        while self.now_ns < end_ns:
            self.advance(self.config.heartbeat_interval_ns)
            if not self.leaders():
                continue
            leader = self.leader()
            server = self.servers[leader.id]
            if term != leader.term:
                try:
                    index = leader.propose(server.machine.command(0), server.local_ns(self.now_ns))
                except ProposalRefused:
                    continue
                term = leader.term
                self.pump(server, leader)
            members = [self.servers[member.id] for member in leader.configuration.servers]
            if all(member.applied_index >= index for member in members):
                return
        states = [
            f"{core.id}: {core.role.value} term {core.term} last {core.last_index} "
            f"applied {core.applied_index}"
            for _, core in self.live()
        ]
        raise PropertyViolated("Liveness", f"no convergence within {within_ns} ns after healing: {states}")

    # ---- Servers

    def start(self, server: SimulatedServer) -> Raft:
        """Start a server from what its disk holds."""
        restored = server.disk.restored()
        server.life += 1
        random = self.stream(f"server {server.id}, life {server.life}")
        # The time of another boot has another origin.
        server.clock_offset_ns = int(random.random() * 1e9) - self.now_ns * server.clock_rate // PPM
        server.machine = self._machine()
        server.applying.clear()
        server.applied_index = 0
        if restored.snapshot is not None:
            server.machine.restore(restored.snapshot.data)
            server.applied_index = restored.snapshot.index
        server.reads = {}
        server.wake_ns = NEVER_NS
        core = self._core(server.id, self.config, restored, random, server.local_ns(self.now_ns))
        server.core = core
        self.pump(server, core)
        return core

    def crash(self, server: SimulatedServer, survivors: int = 0) -> None:
        """Cut a server's power: of the writes under way only the first so many have happened."""
        server.core = None
        self.invariants.stopped(server.id)
        server.disk.crash(survivors)

    def restart_later(self, server: SimulatedServer, down_ns: int) -> None:
        """Start a server that has crashed, unless somebody else does."""
        self.at(self.now_ns + down_ns, self._restart, server, server.life)

    def _restart(self, server: SimulatedServer, life: int) -> None:
        if server.core is None and server.life == life:
            self.start(server)

    def lose_power(self, server: SimulatedServer, survivors: int) -> None:
        """Crash, and start again: half of the time at once, when others still remember what it promised."""
        self.crash(server, survivors)
        at_once = self._disks.random() < 0.5
        down_ns = self._disks.random() * self.config.heartbeat_timeout_ns * (0.05 if at_once else 2)
        self.restart_later(server, int(down_ns))

    def elected(self, server: SimulatedServer, core: Raft) -> None:
        """There is a new leader. For subclasses."""

    def pump(self, server: SimulatedServer, core: Raft) -> None:
        """Carry out what the core wants, and see to it that it is woken. To be called after any input."""
        effects = core.take()
        if effects:
            for message in effects.send_now:
                self._send(message)
            if effects.must_sync or effects.send_after_sync:
                self.write(server, effects)
                if server.core is not core:
                    return
            if effects.apply or effects.snapshot is not None:
                self._apply(server, effects)
            for request, index in effects.reads:
                self.reached["reads"] += 1
                self.invariants.read(server.id, server.reads.pop(request), index)
            for request in effects.reads_failed:
                del server.reads[request]
        if len(self.invariants.leaders) != self._leaders:
            self._leaders = len(self.invariants.leaders)
            self.elected(server, core)
        if core.deadline_ns < server.wake_ns:
            self._plan_wake(server, core)

    def _plan_wake(self, server: SimulatedServer, core: Raft) -> None:
        """See to it that it is woken in time. Too early does no harm: most deadlines are put off again."""
        server.wake_ns = core.deadline_ns
        self.at(max(self.now_ns, server.global_ns(server.wake_ns)), self._wake, server, core)

    def _wake(self, server: SimulatedServer, core: Raft) -> None:
        if server.core is not core:
            return
        if self.now_ns < server.resume_ns:
            self.at(server.resume_ns, self._wake, server, core)
            return
        now_ns = server.local_ns(self.now_ns)
        if now_ns < server.wake_ns:
            return  # another is due earlier
        server.wake_ns = NEVER_NS
        if now_ns >= core.deadline_ns:
            core.tick(now_ns)
            self.pump(server, core)
        elif core.deadline_ns != NEVER_NS:
            self._plan_wake(server, core)

    # ---- Disks

    def write(self, server: SimulatedServer, write: Effects | Snapshot) -> None:
        """Begin a write; a Snapshot is one of the server's own."""
        server.disk.writing.append(write)
        at_once = bool(self.faults.power_cuts) and self._disks.random() < 0.5
        if at_once and self._power_fails(server, write, "written"):
            self.lose_power(server, int(self._disks.random() * len(server.disk.writing)))
        elif len(server.disk.writing) == 1:
            self._start_sync(server)

    def _start_sync(self, server: SimulatedServer) -> None:
        """One sync for all that waits for the disk; what comes meanwhile waits for the next one."""
        when_ns = self.now_ns + int(self._disks.random() * self.faults.sync_ns_max)
        self.at(when_ns, self._synced, server, (server.core, len(server.disk.writing)))

    def _synced(self, server: SimulatedServer, what: tuple[Raft, int]) -> None:
        core, count = what
        if server.core is not core:
            return
        if self.now_ns < server.resume_ns:
            self.at(server.resume_ns, self._synced, server, what)
            return
        if self.faults.power_cuts and self._sync_fails(server, count):
            return
        now_ns = server.local_ns(self.now_ns)
        for remaining in reversed(range(count)):
            write = server.disk.complete()
            if isinstance(write, Snapshot):
                self.reached["snapshots"] += 1
                core.compact(write)
                continue
            core.synced(write.batch, now_ns)
            for message in write.send_after_sync:
                self._send(message)
            if self.faults.power_cuts and self._power_fails(server, write, "sent"):
                self.lose_power(server, remaining)
                return
        if server.disk.writing:
            self._start_sync(server)
        self.pump(server, core)

    def _sync_fails(self, server: SimulatedServer, count: int) -> bool:
        """Whether power fails in a sync of so many writes, or after it and before anybody was told."""
        for position in range(count):
            write = server.disk.writing[position]
            if self._power_fails(server, write, "written"):
                self.lose_power(server, int(self._disks.random() * (position + 1)))
                return True
            if self._power_fails(server, write, "synced"):
                self.lose_power(server, count)
                return True
        return False

    def _power_fails(self, server: SimulatedServer, write: Effects | Snapshot, when: Moment) -> bool:
        kind = _kind(server, write)
        fails = any(
            cut.record == kind and cut.when == when and self._disks.random() < cut.probability
            for cut in self.faults.power_cuts
        )
        if fails:
            self.reached[f"power cut: {kind} {when}"] += 1
        return fails

    # ---- State machines

    def _apply(self, server: SimulatedServer, effects: Effects) -> None:
        """Give the state machine what is committed; it may take its time."""
        server.applying.append(effects)
        if len(server.applying) > 1:
            return
        if self.faults.apply_ns_max:
            self._apply_later(server)
        else:
            self._apply_next(server)

    def _apply_later(self, server: SimulatedServer) -> None:
        when_ns = self.now_ns + int(self._disks.random() * self.faults.apply_ns_max)
        self.at(when_ns, self._applied, server, server.core)

    def _applied(self, server: SimulatedServer, core: Raft) -> None:
        if server.core is core:
            self._apply_next(server)
            if server.applying:
                self._apply_later(server)
            self.pump(server, core)

    def _apply_next(self, server: SimulatedServer) -> None:
        effects = server.applying.popleft()
        machine, invariants = server.machine, self.invariants
        if effects.snapshot is not None:
            self.reached["snapshots installed"] += 1
            machine.restore(effects.snapshot.data)
            server.applied_index = effects.snapshot.index
            invariants.state(server.id, server.applied_index, machine.digest())
        for entry in effects.apply:
            machine.apply(entry)
            invariants.state(server.id, entry.index, machine.digest())
            server.applied_index = entry.index
        assert server.core is not None
        server.core.applied(server.applied_index)

    # ---- Network

    def cut(self, links: Iterable[tuple[ServerId, ServerId]]) -> None:
        """Nothing arrives over these any more, each in one direction."""
        self._cut |= dict.fromkeys(links)

    def partition(self, *parts: Iterable[ServerId]) -> None:
        """Cut all links between the parts."""
        groups = [list(part) for part in parts]
        self.cut((a, b) for one in groups for other in groups if one is not other for a in one for b in other)

    def mend(self, links: Iterable[tuple[ServerId, ServerId]]) -> None:
        """These work again."""
        for link in links:
            self._cut.pop(link, None)

    def heal(self) -> None:
        """All links work again."""
        self._cut = {}

    def _send(self, message: Message) -> None:
        faults, random = self.faults, self._network.random
        if faults.loss and random() < faults.loss:
            self.reached["losses"] += 1
            return
        self._transmit(message)
        if faults.duplication and random() < faults.duplication:
            self.reached["duplicates"] += 1
            self._transmit(message)

    def _transmit(self, message: Message) -> None:
        faults, random = self.faults, self._network.random
        delay_ns = faults.delay_ns_min + int(random() * (faults.delay_ns_max - faults.delay_ns_min))
        if faults.late and random() < faults.late:
            delay_ns *= 1 + int(random() * 99)
        self.at(self.now_ns + delay_ns, self._deliver, self.servers[message.target], message)

    def _deliver(self, server: SimulatedServer, message: Message) -> None:
        core = server.core
        if core is None:
            return
        if self.now_ns < server.resume_ns:
            self.at(server.resume_ns, self._deliver, server, message)
        elif not self._cut or (message.source, message.target) not in self._cut:
            core.receive(message, server.local_ns(self.now_ns))
            self.pump(server, core)


def address_of(name: ServerId) -> str:
    """A made-up address."""
    return f"10.0.0.{name}:8300"


def _kind(server: SimulatedServer, write: Effects | Snapshot) -> RecordKind | None:
    """What a crash in the middle of this write is about; None if there is nothing to write."""
    if isinstance(write, Snapshot) or write.snapshot is not None:
        return "snapshot"
    if write.hard_state is not None:
        assert server.core is not None
        return "term" if server.core.vote in (None, server.id) else "vote"
    return "entries" if write.entries else None
