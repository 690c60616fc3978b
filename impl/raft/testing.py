"""A cluster of cores in one thread, with a network, disks and servers that fail; for tests of the core.

Verifies, at every step
-----------------------
- Election Safety: at most one leader in a term (Raft section 5.2).
- Log Matching: two entries of one index and term are the same, and so are those before them (section 5.3).
- Leader Completeness: a new leader has every entry known as committed (section 5.4).
- State Machine Safety: no two servers apply different entries at one index, or differ in state (5.4.3).
- Monotonic Commit: a server's commit index never goes back while it runs.
- Linearizable Read: the index given to a read is not before what was committed when it was asked for.
- Leader Lease: while a lease is valid there is no leader of a later term (all clocks here run alike). Not for
  a leader that has sent TimeoutNow in its term: that may arrive after it has given up the transfer.

Does not verify
---------------
- The shell: that effects are carried out in the order they demand.
- Clocks that run at different speeds, disks that lie about `sync`, forged messages: Raft promises nothing.

A run is decided by its seed, its faults and the class under test.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from random import Random

from impl.raft.core import Raft
from impl.raft.errors import ProposalRefused
from impl.raft.membership import AddNonvoter, AddVoter, ConfigurationChange, DemoteVoter, RemoveServer
from impl.raft.messages import (
    Configuration,
    Entry,
    EntryKind,
    Message,
    PreVoteReply,
    Server,
    ServerId,
    Snapshot,
    TimeoutNow,
    VoteReply,
)
from impl.raft.types import MILLISECOND_NS, Config, Effects, HardState, Restored, Role


class PropertyViolated(AssertionError):
    """A promise of Raft is broken; `name` says which."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name


def members(*voters: ServerId, nonvoters: tuple[ServerId, ...] = ()) -> Configuration:
    """A configuration with made-up addresses."""
    return Configuration(
        tuple(Server(name, f"10.0.0.{name}:8300", name in voters) for name in (*voters, *nonvoters))
    )


def follower(
    name: ServerId = "1",
    configuration: Configuration = members("1", "2", "3"),  # noqa: B008 - immutable
    *,
    term: int = 1,
    vote: ServerId | None = None,
    log: tuple[int, ...] = (),
    config: Config = Config(),  # noqa: B008 - immutable
    core: type[Raft] = Raft,
) -> Raft:
    """A server restarted at time 0, whose log has entries of the terms `log`, from index 1."""
    start = Snapshot(0, 0, configuration, b"")
    entries = [Entry(index, of, EntryKind.COMMAND, b"%d" % index) for index, of in enumerate(log, 1)]
    restored = Restored(HardState(term, vote), start, entries)
    return core(name, config, restored, Random(name), 0)


def candidate(raft: Raft) -> int:
    """Let its election timer fire and its pre-votes be granted, so that it asks for votes: the time then.

    What it has sent is still to be taken.
    """
    now_ns = raft.deadline_ns
    raft.tick(now_ns)
    for voter in raft.configuration.voters:
        if raft.role is Role.PRE_CANDIDATE and voter != raft.id:
            raft.receive(PreVoteReply(voter, raft.id, raft.term + 1, granted=True), now_ns)
    return now_ns


def leader(raft: Raft) -> int:
    """Have it elected: the time then. It has sent nothing yet; its first entry is not on disk yet."""
    now_ns = candidate(raft)
    settle(raft)
    for voter in raft.configuration.voters:
        if raft.role is Role.CANDIDATE and voter != raft.id:
            raft.receive(VoteReply(voter, raft.id, raft.term, granted=True), now_ns)
    return now_ns


def settle(raft: Raft) -> list[Message]:
    """Take and sync until nothing is left to do: every message, in the order of sending."""
    messages: list[Message] = []
    while effects := raft.take():
        messages += effects.send_now
        raft.synced(effects.batch, raft._now_ns)
        messages += effects.send_after_sync
    return messages


class Disk:
    """What a server has on disk, and the writes under way, which a crash loses from some point on."""

    def __init__(self) -> None:
        self.hard_state = HardState()
        self.snapshot: Snapshot | None = None
        self.entries: list[Entry] = []
        self.writing: deque[Effects] = deque()

    def complete(self) -> Effects:
        """The oldest write is done."""
        effects = self.writing.popleft()
        if effects.hard_state is not None:
            self.hard_state = effects.hard_state
        if effects.snapshot is not None:
            self.snapshot = effects.snapshot
            self.entries = []
        if effects.entries:
            first = effects.entries[0].index
            kept = [entry for entry in self.entries if entry.index < first]
            contiguous = bool(kept) and kept[-1].index == first - 1
            self.entries = [*(kept if contiguous else []), *effects.entries]
        return effects

    def compact(self, snapshot: Snapshot, trailing_entries: int) -> None:
        """A snapshot of the server's own, which is written at once."""
        self.snapshot = snapshot
        self.entries = [entry for entry in self.entries if entry.index > snapshot.index - trailing_entries]

    def crash(self, survivors: int) -> None:
        """The first `survivors` of the writes under way have happened."""
        for _ in range(survivors):
            self.complete()
        self.writing.clear()

    def restored(self) -> Restored:
        return Restored(self.hard_state, self.snapshot, list(self.entries))


@dataclass(slots=True)
class SimulatedServer:
    """One server: its core while it runs, its disk, and its state, which is a digest of what it applied."""

    id: ServerId
    disk: Disk
    core: Raft | None = None
    incarnation: int = 0
    wake_ns: int = 0
    resume_ns: int = 0
    """It is paused until then."""
    commit_index: int = 0
    applied_index: int = 0
    digest: bytes = b""
    reads: dict[int, int] = field(default_factory=dict)
    """By request: the index that was committed when it was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How often what goes wrong: probabilities per message, and mean intervals in nanoseconds (0: never)."""

    loss: float = 0.0
    duplication: float = 0.0
    delay_ns_max: int = 2 * MILLISECOND_NS
    late: float = 0.0
    """The probability that a message takes up to a hundred times as long."""
    sync_ns_max: int = 2 * MILLISECOND_NS
    crash_interval_ns: int = 0
    pause_interval_ns: int = 0
    partition_interval_ns: int = 0
    membership_interval_ns: int = 0
    transfer_interval_ns: int = 0
    snapshot_interval_ns: int = 0


HASTY = Config(
    heartbeat_timeout_ns=100 * MILLISECOND_NS,
    election_timeout_ns=100 * MILLISECOND_NS,
    leader_lease_timeout_ns=50 * MILLISECOND_NS,
    heartbeat_interval_ns=10 * MILLISECOND_NS,
    commit_timeout_ns=5 * MILLISECOND_NS,
    append_entries_max=4,
    append_bytes_max=64,
    append_in_flight_max=3,
    snapshot_chunk_bytes=7,
    trailing_entries=5,
)
"""Short timeouts and small limits, so that every limit is met."""


class Simulation:
    """`servers` bootstrapped voters and `spares` empty servers, in virtual time."""

    def __init__(
        self,
        seed: int,
        servers: int,
        faults: Faults,
        *,
        spares: int = 0,
        config: Config = HASTY,
        core: type[Raft] = Raft,
    ) -> None:
        self.now_ns = 0
        self.faults = faults
        self.servers = {str(number): SimulatedServer(str(number), Disk()) for number in range(1, servers + 1)}
        self._seed = seed
        self._random = Random(seed)
        self._config = config
        self._core = core
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._event_count = 0
        self._cut: dict[tuple[ServerId, ServerId], bool] = {}
        self._proposals = 0
        self._requests = 0
        self._transfers: dict[int, bool] = {}
        """By term: whether its leader has told another to take over."""
        self.reads_confirmed = 0
        self.leaders: dict[int, ServerId] = {}
        """By term: who was elected."""
        self._entries: dict[tuple[int, int], tuple[int, bytes, int]] = {}
        self.committed: dict[int, tuple[Entry, bytes, int]] = {}
        """By index: what was applied, the state after it, and the term of the server that did so first."""
        configuration = Configuration(tuple(Server(name, f"10.0.0.{name}:8300") for name in self.servers))
        for number in range(servers + 1, servers + spares + 1):
            self.servers[str(number)] = SimulatedServer(str(number), Disk())
        for server in self.servers.values():
            self.start(server)
            if configuration.get(server.id) is not None:
                assert server.core is not None
                server.core.bootstrap(configuration)
                self._pump(server)

    # ---- Running

    def run(self, duration_ns: int) -> None:
        """Clients propose and read, and faults happen, for so long."""
        faults = self.faults
        end_ns = self.now_ns + duration_ns
        self._every(3 * MILLISECOND_NS, end_ns, self._propose)
        self._every(7 * MILLISECOND_NS, end_ns, self._read)
        self._every(faults.crash_interval_ns, end_ns, self._crash_some)
        self._every(faults.pause_interval_ns, end_ns, self._pause_one)
        self._every(faults.partition_interval_ns, end_ns, self._partition)
        self._every(faults.membership_interval_ns, end_ns, self._change_membership)
        self._every(faults.transfer_interval_ns, end_ns, self._transfer)
        self._every(faults.snapshot_interval_ns, end_ns, self._compact_one)
        self._run_until(end_ns)

    def converge(self, within_ns: int) -> None:
        """The liveness phase: heal everything, then demand that a command is applied by every member."""
        self.faults = Faults()
        self._cut.clear()
        for server in self.servers.values():
            if server.core is None:
                self.start(server)
        end_ns = self.now_ns + within_ns
        index = 0
        while self.now_ns < end_ns:
            self._run_until(self.now_ns + self._config.heartbeat_interval_ns)
            leaders = [
                server.core for server in self._live() if server.core and server.core.leader == server.id
            ]
            if not leaders:
                continue
            leader = max(leaders, key=lambda core: core.term)
            if index not in self.committed:
                try:
                    index = leader.propose(b"converge", self.now_ns)
                except ProposalRefused:
                    continue
                self._pump(self.servers[leader.id])
            members = [self.servers[member.id] for member in leader.configuration.servers]
            if all(member.applied_index >= index > 0 for member in members):
                return
        states = [
            f"{server.id}: {server.core.role.value} term {server.core.term} last {server.core.last_index} "
            f"applied {server.applied_index}"
            for server in self.servers.values()
            if server.core is not None
        ]
        raise PropertyViolated("Liveness", f"no convergence within {within_ns} ns after healing: {states}")

    def _run_until(self, end_ns: int) -> None:
        events = self._events
        while events and events[0][0] <= end_ns:
            self.now_ns, _, action = heapq.heappop(events)
            action()
        self.now_ns = end_ns

    def _at(self, when_ns: int, action: Callable[[], None]) -> None:
        self._event_count += 1
        heapq.heappush(self._events, (when_ns, self._event_count, action))

    def _every(self, interval_ns: int, end_ns: int, action: Callable[[], None]) -> None:
        if not interval_ns:
            return

        def again() -> None:
            if self.now_ns < end_ns:
                action()
                self._at(self.now_ns + self._random.randrange(1, 2 * interval_ns), again)

        self._at(self.now_ns + self._random.randrange(1, 2 * interval_ns), again)

    # ---- Servers

    def start(self, server: SimulatedServer) -> None:
        """Start a server from what its disk holds."""
        restored = server.disk.restored()
        server.incarnation += 1
        random = Random(f"{self._seed}:{server.id}:{server.incarnation}")
        server.core = self._core(server.id, self._config, restored, random, self.now_ns)
        server.applied_index = server.commit_index = 0
        server.digest = b""
        if restored.snapshot is not None:
            self._load(server, restored.snapshot)
        server.reads = {}
        server.wake_ns = 0
        self._pump(server)

    def crash(self, server: SimulatedServer) -> None:
        """Cut a server's power: what was not synced is lost, from some write on."""
        server.core = None
        server.disk.crash(self._random.randint(0, len(server.disk.writing)))

    def _live(self) -> list[SimulatedServer]:
        return [server for server in self.servers.values() if server.core is not None]

    def _pump(self, server: SimulatedServer) -> None:
        """Carry out what the core wants."""
        core = server.core
        assert core is not None
        self._check(server, core)
        while effects := core.take():
            self._check_entries(core, effects)
            for message in effects.send_now:
                self._send(message)
            if effects.must_sync or effects.send_after_sync:
                self._write(server, effects)
            if effects.snapshot is not None:
                self._load(server, effects.snapshot)
            for entry in effects.apply:
                self._apply(server, entry)
            core.applied(server.applied_index)
            for request, index in effects.reads:
                self._check_read(server, request, index)
            for request in effects.reads_failed:
                del server.reads[request]
        self._check(server, core)
        if core.deadline_ns != server.wake_ns:
            server.wake_ns = core.deadline_ns
            when_ns = max(core.deadline_ns, self.now_ns)
            self._at(when_ns, lambda: self._unless_paused(server, lambda: self._wake(server, core)))

    def _unless_paused(self, server: SimulatedServer, action: Callable[[], None]) -> None:
        """Do it, as soon as the server runs."""
        if self.now_ns < server.resume_ns:
            self._at(server.resume_ns, lambda: self._unless_paused(server, action))
        else:
            action()

    def _wake(self, server: SimulatedServer, core: Raft) -> None:
        if server.core is core and self.now_ns >= core.deadline_ns:
            server.wake_ns = 0
            core.tick(self.now_ns)
            self._pump(server)

    def _write(self, server: SimulatedServer, effects: Effects) -> None:
        server.disk.writing.append(effects)
        if len(server.disk.writing) == 1:
            self._sync(server)

    def _sync(self, server: SimulatedServer) -> None:
        """One sync for all that waits for the disk; what comes meanwhile waits for the next one."""
        core, count = server.core, len(server.disk.writing)

        def done() -> None:
            if core is None or server.core is not core:
                return
            for _ in range(count):
                completed = server.disk.complete()
                core.synced(completed.batch, self.now_ns)
                for message in completed.send_after_sync:
                    self._send(message)
            if server.disk.writing:
                self._sync(server)
            self._pump(server)

        when_ns = self.now_ns + self._random.randrange(self.faults.sync_ns_max)
        self._at(when_ns, lambda: self._unless_paused(server, done))

    def _apply(self, server: SimulatedServer, entry: Entry) -> None:
        if entry.index != server.applied_index + 1:
            raise PropertyViolated(
                "State Machine Safety", f"{server.id} applies {entry.index} after {server.applied_index}"
            )
        server.applied_index = entry.index
        server.digest = blake2b(
            b"%b %d %d %b" % (server.digest, entry.index, entry.kind, entry.data), digest_size=16
        ).digest()
        assert server.core is not None
        known, digest, _ = self.committed.setdefault(entry.index, (entry, server.digest, server.core.term))
        if known != entry or digest != server.digest:
            raise PropertyViolated(
                "State Machine Safety", f"{server.id} applies {entry}, where {known} was applied"
            )

    def _load(self, server: SimulatedServer, snapshot: Snapshot) -> None:
        server.applied_index = snapshot.index
        server.commit_index = max(server.commit_index, snapshot.index)
        server.digest = snapshot.data
        if self.committed[snapshot.index][1] != server.digest:
            raise PropertyViolated("State Machine Safety", f"{server.id} loads a wrong snapshot, {snapshot}")

    # ---- Network

    def _send(self, message: Message) -> None:
        if isinstance(message, TimeoutNow):
            self._transfers[message.term] = True
        if self._random.random() < self.faults.loss:
            return
        self._transmit(message)
        if self._random.random() < self.faults.duplication:
            self._transmit(message)

    def _transmit(self, message: Message) -> None:
        delay_ns = self._random.randrange(self.faults.delay_ns_max)
        if self._random.random() < self.faults.late:
            delay_ns *= self._random.randrange(1, 100)
        server = self.servers[message.target]
        self._at(
            self.now_ns + delay_ns,
            lambda: self._unless_paused(server, lambda: self._deliver(server, message)),
        )

    def _deliver(self, server: SimulatedServer, message: Message) -> None:
        if server.core is not None and not self._cut.get((message.source, message.target), False):
            server.core.receive(message, self.now_ns)
            self._pump(server)

    # ---- Clients

    def _leader(self) -> SimulatedServer | None:
        """A running server that believes to be leader: not always the true one."""
        leaders = [
            server
            for server in self._live()
            if server.core and server.core.role is Role.LEADER and self.now_ns >= server.resume_ns
        ]
        return self._random.choice(leaders) if leaders else None

    def _propose(self) -> None:
        server = self._leader()
        if server is not None and server.core is not None:
            for _ in range(self._random.choice((1, 1, 1, 9))):
                self._proposals += 1
                try:
                    server.core.propose(b"command %d" % self._proposals, self.now_ns)
                except ProposalRefused:
                    break
            self._pump(server)

    def _read(self) -> None:
        server = self._leader()
        if server is not None:
            self._read_at(server)

    def _read_at(self, server: SimulatedServer) -> None:
        if server.core is not None and server.core.role is Role.LEADER:
            self._requests += 1
            server.reads[self._requests] = len(self.committed)
            server.core.read_index(self._requests, self.now_ns)
            self._check_lease(server.core)
            self._pump(server)

    # ---- Faults

    def _crash_some(self) -> None:
        """One server, two, or all: the power of the whole site."""
        servers = list(self.servers.values())
        for server in self._random.sample(servers, self._random.choice((1, 1, 1, 2, len(servers)))):
            if server.core is not None:
                self.crash(server)
                down_ns = self._random.randrange(1, 4 * self._config.heartbeat_timeout_ns)
                self._at(self.now_ns + down_ns, lambda server=server: self._restart(server))  # type: ignore[misc]

    def _restart(self, server: SimulatedServer) -> None:
        if server.core is None:
            self.start(server)

    def _pause_one(self) -> None:
        """Stop a server's process for a while; a client's read is the first thing it meets afterwards."""
        server = self._leader() or self._random.choice(list(self.servers.values()))
        server.resume_ns = self.now_ns + self._random.randrange(1, 6 * self._config.heartbeat_timeout_ns)
        self._at(server.resume_ns, lambda: self._read_at(server))

    def _partition(self) -> None:
        """Cut the cluster in two, or some links in one direction, or heal everything."""
        names = list(self.servers)
        self._cut.clear()
        match self._random.randrange(3):
            case 0:
                side = {name: self._random.random() < 0.5 for name in names}
                self._cut = {(a, b): side[a] != side[b] for a in names for b in names}
            case 1:
                self._cut = {(a, b): self._random.random() < 0.25 for a in names for b in names}

    def _change_membership(self) -> None:
        server = self._leader()
        if server is None or server.core is None:
            return
        name = self._random.choice(list(self.servers))
        address = f"10.0.0.{name}:8300"
        choices: list[ConfigurationChange] = [AddVoter(name, address), AddNonvoter(name, address)]
        if len(server.core.configuration.voters) > 2:
            choices += [RemoveServer(name), DemoteVoter(name)]
        try:
            server.core.propose_configuration(self._random.choice(choices), self.now_ns)
        except ProposalRefused:
            return
        self._pump(server)

    def _transfer(self) -> None:
        server = self._leader()
        if server is not None and server.core is not None:
            try:
                server.core.transfer_leadership(None, self.now_ns)
            except ProposalRefused:
                return
            self._pump(server)

    def _compact_one(self) -> None:
        server = self._random.choice(self._live() or [None])
        if server is None or server.core is None or server.applied_index == 0:
            return
        index = server.applied_index
        if server.disk.snapshot is not None and server.disk.snapshot.index >= index:
            return
        configuration = server.core.configuration_at(index)
        snapshot = Snapshot(index, server.core.term_at(index), configuration, server.digest)
        if any(effects.snapshot is not None for effects in server.disk.writing):
            return  # The leader's snapshot is being written.
        server.disk.compact(snapshot, self._config.trailing_entries)
        server.core.compact(snapshot)

    # ---- Properties

    def _check(self, server: SimulatedServer, core: Raft) -> None:
        if core.commit_index < server.commit_index:
            raise PropertyViolated(
                "Monotonic Commit", f"{server.id} went from {server.commit_index} to {core.commit_index}"
            )
        server.commit_index = core.commit_index
        if core.role is not Role.LEADER:
            return
        known = self.leaders.setdefault(core.term, core.id)
        if known != core.id:
            raise PropertyViolated("Election Safety", f"{known} and {core.id} both lead term {core.term}")
        if not core.own_term_is_committed:
            self._check_completeness(core)
            for other in self._live():
                if other.core is not None and other.core.term < core.term:
                    self._check_lease(other.core)

    def _check_completeness(self, core: Raft) -> None:
        """The leader has all that was committed in earlier terms; by Log Matching the last of it tells.

        What a leader of a later term has committed since, it need not have: it may have been asleep.
        """
        for index in range(len(self.committed), 0, -1):
            entry, _, term = self.committed[index]
            if term < core.term:
                if core.last_index < index or core.term_at(index) != entry.term:
                    raise PropertyViolated(
                        "Leader Completeness",
                        f"{core.id} leads term {core.term} without the committed {entry}",
                    )
                return

    def _check_entries(self, core: Raft, effects: Effects) -> None:
        if not effects.entries:
            return
        previous_term = core.term_at(effects.entries[0].index - 1)
        for entry in effects.entries:
            content = (entry.kind, entry.data, previous_term)
            known = self._entries.setdefault((entry.index, entry.term), content)
            if known != content:
                raise PropertyViolated(
                    "Log Matching", f"{core.id} has {entry} after term {previous_term}; elsewhere: {known}"
                )
            previous_term = entry.term

    def _check_read(self, server: SimulatedServer, request: int, index: int) -> None:
        committed = server.reads.pop(request)
        self.reads_confirmed += 1
        if index < committed:
            raise PropertyViolated(
                "Linearizable Read", f"{server.id} reads at {index}, but {committed} was committed before"
            )

    def _check_lease(self, core: Raft) -> None:
        latest_term = max(self.leaders)
        if self._transfers.get(core.term, False):
            return
        if latest_term > core.term and core.lease_is_valid(self.now_ns):
            raise PropertyViolated(
                "Leader Lease",
                f"{core.id} leads term {core.term} with a valid lease, while {self.leaders[latest_term]} "
                f"leads term {latest_term}",
            )
