"""Where bugs are hunted: situations that the system must survive, each decided by a seed.

A ground is called with the classes of a system and a seed, and raises PropertyViolated (of Raft or gossip) or
InvariantViolation (by which the Raft core stops itself) if the system breaks a promise there. Most are
mixtures of faults at random; a *drill* is one situation in which a certain step has to be right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from impl.gossip import Gossip
from impl.raft import AddVoter, ConfigurationChangeRefused, Entry, EntryKind, Raft, RemoveServer
from impl.raft.cluster import Checksum, Cluster, Machine, address_of
from impl.raft.invariants import PropertyViolated
from impl.raft.settings import CLOCK_PPM_MAX, HASTY, Faults, Load, PowerCut, Setting, swarm
from impl.raft.simulation import Simulation
from impl.raft.types import MILLISECOND_NS
from impl.state import Delete, Set, StateMachine, encode_command


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """The classes that make up a server: as they should be, or one of them with a bug."""

    raft: type[Raft] = Raft
    gossip: type[Gossip] = Gossip
    state: type[StateMachine] = StateMachine


Ground = Callable[[System, int], None]


# ---- Raft, under faults at random


def simulate(system: System, seed: int, setting: Setting, machine: Callable[[], Machine] = Checksum) -> None:
    """Two seconds of faults, which are twenty election timeouts, then at most five to converge."""
    simulation = Simulation(seed, setting, core=system.raft, machine=machine)
    simulation.run(2000 * MILLISECOND_NS)
    simulation.converge(5000 * MILLISECOND_NS)


def mixed_faults(system: System, seed: int) -> None:
    """Whatever `swarm` draws."""
    simulate(system, seed, swarm(Random(f"{seed} swarm")))


IDLE = Load(proposal_interval_ns=40 * MILLISECOND_NS, read_interval_ns=50 * MILLISECOND_NS)
WRITES = Load(proposal_interval_ns=20 * MILLISECOND_NS, read_interval_ns=0)


def contested_elections(system: System, seed: int) -> None:
    """Leaders fall at once, requests come late, and voters lose power when they have just voted."""
    faults = Faults(
        loss=0.1,
        late=0.1,
        delay_ns_max=10 * MILLISECOND_NS,
        sync_ns_max=5 * MILLISECOND_NS,
        leader_life_ns_max=30 * MILLISECOND_NS,
        power_cuts=(PowerCut("vote", "written", 0.3), PowerCut("vote", "sent", 0.6)),
        transfer_interval_ns=100 * MILLISECOND_NS,
    )
    config = replace(HASTY, election_timeout_ns=400 * MILLISECOND_NS)
    simulate(system, seed, Setting(servers=3, config=config, faults=faults, load=IDLE))


def short_reigns(system: System, seed: int) -> None:
    """Leaders fall before they have replicated what their predecessors left, one entry at a time."""
    faults = Faults(delay_ns_max=10 * MILLISECOND_NS, leader_life_ns_max=60 * MILLISECOND_NS)
    config = replace(HASTY, append_entries_max=1, append_in_flight_max=1, trailing_entries=50)
    simulate(system, seed, Setting(servers=3, config=config, faults=faults, load=WRITES))


def slow_disks(system: System, seed: int) -> None:
    """Messages are faster than disks, and power fails in between."""
    faults = Faults(
        loss=0.1,
        sync_ns_max=40 * MILLISECOND_NS,
        leader_life_ns_max=150 * MILLISECOND_NS,
        power_cuts=(PowerCut("entries", "written", 0.05),),
    )
    simulate(system, seed, Setting(servers=3, faults=faults, load=WRITES))


def many_snapshots(system: System, seed: int) -> None:
    """Logs are compacted all the time; who was asleep needs a snapshot, while old messages still come in."""
    simulate(system, seed, SNAPSHOTS)


def many_snapshots_of_a_store(system: System, seed: int) -> None:
    """The same, with the real state machine, whose keys come and go."""
    simulate(system, seed, SNAPSHOTS, lambda: _Store(system.state))


SNAPSHOTS = Setting(
    servers=3,
    config=replace(
        HASTY,
        append_entries_max=64,
        append_in_flight_max=16,
        snapshot_chunk_bytes=100_000,
        trailing_entries=0,
    ),
    faults=Faults(
        late=0.1,
        delay_ns_max=10 * MILLISECOND_NS,
        apply_ns_max=10 * MILLISECOND_NS,
        pause_interval_ns=100 * MILLISECOND_NS,
        crash_interval_ns=1000 * MILLISECOND_NS,
        membership_interval_ns=100 * MILLISECOND_NS,
        snapshot_interval_ns=5 * MILLISECOND_NS,
    ),
    load=Load(proposal_interval_ns=5 * MILLISECOND_NS, read_interval_ns=0),
)


class _Store:
    """The key/value store under clients that set and delete a few keys."""

    def __init__(self, state: type[StateMachine]) -> None:
        self._machine = state()

    def apply(self, entry: Entry) -> None:
        if entry.kind == EntryKind.COMMAND:
            self._machine.apply(entry.index, entry.data)
        else:
            self._machine.advance(entry.index)

    def snapshot(self) -> bytes:
        return self._machine.snapshot()

    def restore(self, data: bytes) -> None:
        self._machine.restore(data)

    def digest(self) -> object:
        return self._machine.digest()

    def command(self, number: int) -> bytes:
        key = f"key {number * 7 % 5}"
        return encode_command(Delete(key) if number % 3 == 0 else Set(key, b"%d" % number))


def idle_observers(system: System, seed: int) -> None:
    """Non-voters on either side of partitions, and clients that read."""
    load = Load(proposal_interval_ns=50 * MILLISECOND_NS, read_interval_ns=7 * MILLISECOND_NS)
    simulate(system, seed, Setting(servers=3, nonvoters=2, faults=Faults(partitions=8), load=load))


def skewed_clocks(system: System, seed: int) -> None:
    """Clocks as different as the lease's margin allows, and leaders that sleep or are cut off."""
    faults = Faults(
        leader_life_ns_max=150 * MILLISECOND_NS,
        pause_interval_ns=100 * MILLISECOND_NS,
        clock_ppm_max=CLOCK_PPM_MAX,
    )
    load = Load(proposal_interval_ns=50 * MILLISECOND_NS, read_interval_ns=7 * MILLISECOND_NS)
    simulate(system, seed, Setting(servers=3, faults=faults, load=load))


def changing_members(system: System, seed: int) -> None:
    """Members come and go, also while those who decide it are cut off from each other."""
    faults = Faults(
        leader_life_ns_max=60 * MILLISECOND_NS,
        membership_interval_ns=20 * MILLISECOND_NS,
        membership_at_election=1.0,
    )
    simulate(system, seed, Setting(servers=4, spares=1, faults=faults, load=WRITES))


# ---- Raft, drilled


STEADY = Faults(delay_ns_min=2 * MILLISECOND_NS, delay_ns_max=2 * MILLISECOND_NS, sync_ns_max=1)
"""All links and disks are alike."""


def a_leader_fails(system: System, seed: int) -> None:
    """Of five, all with the same delay to each other. Another leads within six election timeouts."""
    cluster = Cluster(seed, Setting(servers=5, faults=STEADY), core=system.raft)
    cluster.advance(1000 * MILLISECOND_NS)
    _demand(cluster.leaders(), "Liveness", "nobody leads after ten election timeouts")
    cluster.crash(cluster.servers[cluster.leader().id])
    cluster.advance(6 * cluster.config.election_timeout_ns)
    _demand(cluster.leaders(), "Liveness", "nobody leads six election timeouts after the leader failed")


def a_deaf_server_hears_again(system: System, seed: int) -> None:
    """It heard nobody for ten election timeouts, while everybody could hear it. That disturbs nobody
    (thesis section 9.6)."""
    cluster = Cluster(seed, Setting(servers=3, faults=STEADY), core=system.raft)
    cluster.advance(1000 * MILLISECOND_NS)
    leader, term = cluster.leader(), cluster.leader().term
    deaf = cluster.others(leader.id)[0]
    cluster.cut((other, deaf) for other in cluster.others(deaf))
    cluster.advance(10 * cluster.config.election_timeout_ns)
    cluster.heal()
    cluster.advance(5 * cluster.config.election_timeout_ns)
    undisturbed = leader in [core for _, core in cluster.leaders()] and leader.term == term
    _demand(undisturbed, "Undisturbed Leader", f"{deaf} came back, and term {term} of {leader.id} ended")


def a_transfer_under_load(system: System, seed: int) -> None:
    """Clients write faster than a round trip takes. The transfer is done within an election timeout."""
    load = Load(proposal_interval_ns=MILLISECOND_NS, read_interval_ns=0)
    cluster = Simulation(seed, Setting(servers=3, faults=STEADY, load=load), core=system.raft)
    cluster.run(1000 * MILLISECOND_NS)
    leader = cluster.leader()
    server = cluster.servers[leader.id]
    leader.transfer_leadership(None, server.local_ns(cluster.now_ns))
    cluster.pump(server, leader)
    cluster.run(cluster.config.election_timeout_ns)
    _demand(cluster.leader() is not leader, "Liveness", f"{leader.id} could not hand over")


def two_leaders_change_members(system: System, seed: int) -> None:
    """The bug of the published algorithm (Ongaro, raft-dev, 2015-07-10): two changes, each safe alone.

    1 of four adds 5 when only 5 hears it. 2 is elected by 3 and 4, at once removes 1, and commits that with 3
    alone. Then 1 is elected by 4 and 5, to whom all of this is news.
    """
    cluster = Cluster(seed, Setting(servers=4, spares=1, faults=STEADY), core=system.raft)
    cluster.advance(1000 * MILLISECOND_NS)
    one, five = cluster.leader().id, "5"
    rest = cluster.others(one, five)
    cluster.partition([one, five], rest)
    _change_members(cluster, one, AddVoter(five, address_of(five)))
    while not any(server.id in rest for server, _ in cluster.leaders()):
        cluster.advance(MILLISECOND_NS // 10)
    two = cluster.leader().id
    _, four = (name for name in rest if name != two)
    cluster.partition([four], cluster.others(four))
    try:
        _change_members(cluster, two, RemoveServer(one))
    except ConfigurationChangeRefused:
        return
    cluster.advance(40 * MILLISECOND_NS)
    cluster.heal()
    cluster.partition([one, four, five], [name for name in rest if name != four])
    cluster.advance(2000 * MILLISECOND_NS)


def _change_members(cluster: Cluster, name: str, change: AddVoter | RemoveServer) -> None:
    server = cluster.servers[name]
    assert server.core is not None
    server.core.propose_configuration(change, server.local_ns(cluster.now_ns))
    cluster.pump(server, server.core)


def _demand(holds: object, name: str, text: str) -> None:
    if not holds:
        raise PropertyViolated(name, text)
