"""A cluster in virtual time with clients that propose and read, and with faults at random times.

    simulation = Simulation(seed, swarm(Random(seed)))
    simulation.run(2000 * MILLISECOND_NS)           safety: PropertyViolated at the first broken promise
    simulation.converge(5000 * MILLISECOND_NS)      then liveness

`impl.raft.settings` says what can go wrong, and `impl.raft.invariants` what must not.

Does not verify
---------------
- The shell: that effects are carried out in the order they demand. Here they are.
- Clocks that diverge more than the lease's margin, disks that lie about `sync`, forged messages: Raft
  promises nothing then.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from impl.raft.cluster import Checksum, Cluster, Machine, SimulatedServer, address_of
from impl.raft.core import Raft
from impl.raft.errors import ProposalRefused
from impl.raft.membership import AddNonvoter, AddVoter, ConfigurationChange, DemoteVoter, RemoveServer
from impl.raft.messages import Snapshot
from impl.raft.settings import Setting
from impl.raft.types import Role

BACKLOG_MAX = 100
"""Clients wait while a leader has more than so many entries that are not committed."""


class Simulation(Cluster):
    """A cluster with clients and a nemesis."""

    def __init__(
        self,
        seed: int,
        setting: Setting,
        *,
        core: type[Raft] = Raft,
        machine: Callable[[], Machine] = Checksum,
    ) -> None:
        super().__init__(seed, setting, core=core, machine=machine)
        self._load = setting.load
        self._fates = self.stream("fates of leaders")
        self._proposals = 0
        self._requests = 0

    def run(self, duration_ns: int) -> None:
        """Clients propose and read, and faults happen, for so long."""
        faults, load = self.faults, self._load
        for interval_ns, action in (
            (load.proposal_interval_ns, self._propose),
            (load.read_interval_ns, self._read),
            (faults.crash_interval_ns, self._crash_some),
            (faults.pause_interval_ns, self._pause_one),
            (faults.membership_interval_ns, self._change_membership),
            (faults.transfer_interval_ns, self._transfer),
            (faults.snapshot_interval_ns, self._snapshot_one),
        ):
            if interval_ns:
                self._repeat(interval_ns, self.now_ns + duration_ns, action)
        random = self.stream("partitions")
        slot_ns = duration_ns // max(1, faults.partitions)
        for number in range(faults.partitions):
            cut_ns = self.now_ns + number * slot_ns + int(random.random() * slot_ns * 0.5)
            heal_ns = cut_ns + int((0.2 + 0.8 * random.random()) * slot_ns * 0.5)
            self.at(cut_ns, _call, self._partition, random)
            self.at(heal_ns, _call, self._heal, random)
        self.advance(duration_ns)

    def _repeat(self, interval_ns: int, end_ns: int, action: Callable[[Random], None]) -> None:
        """Do it at random times until the end, with randomness of its own."""

        def again(random: Random) -> None:
            if self.now_ns < end_ns:
                action(random)
                plan()

        def plan() -> None:
            self.at(self.now_ns + 1 + int(random.random() * 2 * interval_ns), _call, again, random)

        random = self.stream(action.__name__)
        plan()

    def _some_leader(self, random: Random) -> tuple[SimulatedServer, Raft] | None:
        """Somebody who believes to be leader: not always the true one."""
        leaders = self.leaders()
        return leaders[int(random.random() * len(leaders))] if leaders else None

    # ---- Clients

    def _propose(self, random: Random) -> None:
        leader = self._some_leader(random)
        count = 9 if random.random() < 0.25 else 1
        if leader is None:
            return
        server, core = leader
        if core.last_index - core.commit_index > BACKLOG_MAX:
            return
        now_ns = server.local_ns(self.now_ns)
        for _ in range(count):
            self._proposals += 1
            try:
                core.propose(server.machine.command(self._proposals), now_ns)
            except ProposalRefused:
                break
        self.pump(server, core)

    def _read(self, random: Random) -> None:
        leader = self._some_leader(random)
        if leader is not None:
            self._read_at(*leader)

    def _read_at(self, server: SimulatedServer, core: Raft) -> None:
        if server.core is core and core.role is Role.LEADER:
            self._requests += 1
            server.reads[self._requests] = self.committed
            core.read_index(self._requests, server.local_ns(self.now_ns))
            self.pump(server, core)

    # ---- Faults of servers

    def elected(self, server: SimulatedServer, core: Raft) -> None:
        """Leaders die young, or change the world at once."""
        faults, random = self.faults, self._fates
        if faults.leader_life_ns_max:
            life_ns = int(random.random() * faults.leader_life_ns_max)
            self.at(self.now_ns + life_ns, self._depose, server, server.life)
        if random.random() < faults.membership_at_election:
            self._change_members_at(server, core, random)

    def _depose(self, server: SimulatedServer, life: int) -> None:
        """End a leader's time: it loses power, or nobody hears it, or it is cut off altogether."""
        if server.core is None or server.life != life or server.core.role is not Role.LEADER:
            return
        self.reached["leaders deposed"] += 1
        random = self._fates.random
        if random() < 0.5:
            self.lose_power(server, int(random() * (len(server.disk.writing) + 1)))
            return
        links = [(server.id, other) for other in self.others(server.id)]
        if random() < 0.7:
            links += [(other, server.id) for other in self.others(server.id)]
        self.cut(links)
        duration_ns = int(random() * 4 * self.config.heartbeat_timeout_ns)
        self.at(self.now_ns + duration_ns, _call, self.mend, links)

    def _crash_some(self, random: Random) -> None:
        """The leader, one server, two, or all: the power of the whole site."""
        count = random.choice((1, 1, 1, 2, len(self.servers)))
        servers = random.sample(list(self.servers.values()), count)
        leader = self._some_leader(random)
        if leader and count == 1 and random.random() < 0.7:
            servers = [leader[0]]
        for server in servers:
            survivors = int(random.random() * (len(server.disk.writing) + 1))
            down_ns = int(random.random() * 2 * self.config.heartbeat_timeout_ns)
            if server.core is not None:
                self.reached["crashes"] += 1
                self.crash(server, survivors)
                self.restart_later(server, down_ns)

    def _pause_one(self, random: Random) -> None:
        """Stop a process for a while, of the leader or another.

        A client's read is the first thing it meets afterwards.
        """
        leader = self._some_leader(random) if random.random() < 0.5 else None
        server, core = leader or random.choice(self.live() or [(None, None)])
        duration_ns = int(random.random() * 6 * self.config.heartbeat_timeout_ns)
        if server is not None:
            self.reached["pauses"] += 1
            server.resume_ns = self.now_ns + duration_ns
            self.at(server.resume_ns, self._read_at, server, core)

    # ---- Faults of links

    def _partition(self, random: Random) -> None:
        """Cut the cluster in two, or some links in one direction, or the leader off in one direction."""
        names = list(self.servers)
        self.reached["partitions"] += 1
        match random.randrange(4):
            case 0 | 1:
                side = {name: random.random() < 0.5 for name in names}
                links = [(a, b) for a in names for b in names if side[a] != side[b]]
            case 2:
                links = [(a, b) for a in names for b in names if random.random() < 0.25]
            case _:
                leader = self._some_leader(random)
                one = leader[0].id if leader else random.choice(names)
                deaf = random.random() < 0.5
                links = [(other, one) if deaf else (one, other) for other in names]
        self.heal()
        self.cut(links)

    def _heal(self, random: Random) -> None:
        self.heal()

    # ---- What operators do

    def _change_membership(self, random: Random) -> None:
        leader = self._some_leader(random)
        if leader is not None:
            self._change_members_at(*leader, random)

    def _change_members_at(self, server: SimulatedServer, core: Raft, random: Random) -> None:
        """Ask a leader for some change."""
        name = random.choice(list(self.servers))
        address = address_of(name)
        choices: list[ConfigurationChange] = [AddVoter(name, address), AddNonvoter(name, address)]
        if len(core.configuration.voters) > 2:
            choices += [RemoveServer(name), DemoteVoter(name)]
        try:
            core.propose_configuration(random.choice(choices), server.local_ns(self.now_ns))
        except ProposalRefused:
            return
        self.reached["membership changes"] += 1
        self.pump(server, core)

    def _transfer(self, random: Random) -> None:
        leader = self._some_leader(random)
        if leader is not None:
            server, core = leader
            try:
                core.transfer_leadership(None, server.local_ns(self.now_ns))
            except ProposalRefused:
                return
            self.reached["transfers"] += 1
            self.pump(server, core)

    def _snapshot_one(self, random: Random) -> None:
        """A server makes a snapshot of its own, unless a newer one is on its way to its disk."""
        live = self.live()
        if not live:
            return
        server, core = live[int(random.random() * len(live))]
        index = server.applied_index
        snapshots = [server.disk.snapshot]
        snapshots += [
            write if isinstance(write, Snapshot) else write.snapshot for write in server.disk.writing
        ]
        if index > max(snapshot.index if snapshot else 0 for snapshot in snapshots):
            data = server.machine.snapshot()
            self.write(server, Snapshot(index, core.term_at(index), core.configuration_at(index), data))


def _call(action: Callable[[Any], object], argument: Any) -> None:
    action(argument)
