"""Where bugs are hunted: situations that the system must survive, each decided by a seed.

A ground is called with the classes of a system and a seed. If the system breaks a promise there, it raises
PropertyViolated (of Raft or gossip), PromiseBroken, or InvariantViolation, by which the Raft core stops
itself. Most are mixtures of faults at random; a *drill* is one situation in which a certain step has to be
right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from impl.gossip import LAN, Gossip, MemberChanged, SendDatagram, UserEvent, Warned, formulas, wire
from impl.gossip.config import MILLISECOND, SECOND
from impl.gossip.invariants import GossipInvariants
from impl.gossip.invariants import PropertyViolated as GossipViolated
from impl.gossip.swim import VERSIONS
from impl.gossip.testing import Pool
from impl.gossip.wire import Ack, Alive, Dead, Ping
from impl.raft import AddVoter, ConfigurationChangeRefused, Entry, EntryKind, Raft, RemoveServer
from impl.raft.cluster import Checksum, Cluster, Machine, address_of
from impl.raft.settings import CLOCK_PPM_MAX, HASTY, Faults, Load, Moment, PowerCut, Setting, swarm
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


class PromiseBroken(AssertionError):
    """What a ground demands besides the invariants is not so; `name` says what."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name


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
    """Leaders fall at once, requests come late, and voters lose power while they vote, or just after."""
    when: Moment = "written" if seed % 2 else "sent"
    faults = Faults(
        loss=0.1,
        late=0.1,
        delay_ns_max=10 * MILLISECOND_NS,
        sync_ns_max=5 * MILLISECOND_NS,
        leader_life_ns_max=30 * MILLISECOND_NS,
        power_cuts=(PowerCut("vote", when, 0.6),),
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
    """It heard nobody for ten election timeouts, and everybody could hear it: that disturbs nobody."""
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


# ---- Gossip


def pool_of(system: System, seed: int, count: int, **options: Any) -> tuple[Pool, list[str], type[Gossip]]:
    """Agents n1 to n`count`, who know each other and are watched; and the class for more of them."""
    core = GossipInvariants().watching(system.gossip)
    pool = Pool(seed, **options)
    return pool, pool.start_joined(count, core), core


def news_in_any_order(system: System, seed: int) -> None:
    """News of a member's lives and deaths, late, doubled and reordered. What was said last is believed: of
    the highest incarnation, dead rather than alive (SWIM section 4.2)."""
    random = Random(f"{seed} news")
    core = GossipInvariants().watching(system.gossip)("n1", ("10.0.0.1", 7946), {}, LAN, Random(seed), 0)
    address = wire.address_bytes("10.0.0.2")
    news: list[Alive | Dead] = [Alive(1, "n2", address, 7946, b"", VERSIONS)]
    for _ in range(12):
        incarnation = random.randint(1, 8)
        if random.random() < 0.5:
            news.append(Alive(incarnation, "n2", address, 7946, b"", VERSIONS))
        else:
            news.append(Dead(incarnation, "n2", random.choice(("n3", "n4"))))
    # Whoever is not known cannot die: the first news that counts is of a life.
    random.shuffle(news)
    news.sort(key=lambda each: not isinstance(each, Alive) or each.incarnation > 1)
    for time_ns, each in enumerate([*news, random.choice(news)]):
        core.datagram(wire.packet([wire.encode(each)], checksum=False), ("10.0.0.3", 7946), time_ns)
        core.take()
    last = max(news, key=lambda each: (each.incarnation, isinstance(each, Dead)))
    member = core.member("n2")
    expected = "failed" if isinstance(last, Dead) else "alive"
    _demand(member and member.status == expected, "Last Word", f"{last} was said last, believed is {member}")


def restart_after_many_lives(system: System, seed: int) -> None:
    """A member that had refuted much fails, and comes back with its first incarnation. All see it alive soon,
    without having to forget it first."""
    pool, _, core = pool_of(system, seed, 5)
    for number in range(100):
        pool.input("n2", lambda agent, now_ns, number=number: agent.set_tags({"life": str(number)}, now_ns))  # type: ignore[misc]
    pool.run(3 * SECOND)
    pool.kill("n2")
    _within(pool, lambda: pool.seen_by_all("n2", "failed"), formulas.detection_bound_ns(LAN, 5), "Detection")
    pool.start("n2", core=core)
    pool.join("n2", "n1")
    _within(pool, pool.all_agree, LAN.gossip_to_the_dead_ns // 3, "Convergence")


def a_member_fails(system: System, seed: int) -> None:
    """Its death is found out within the bound, and nobody takes a suspicion back."""
    pool, _, _ = pool_of(system, seed, 4)
    pool.kill("n2")
    _within(pool, lambda: pool.seen_by_all("n2", "failed"), formulas.detection_bound_ns(LAN, 4), "Detection")
    _demand(not pool.changes("cleared", "n2"), "No Doubt", "the suspicion of a dead member was taken back")


def one_bad_link(system: System, seed: int) -> None:
    """Two members who reach each other only through others leave each other alone."""
    pool, names, _ = pool_of(system, seed, 5)
    pool.partition(names[:1], names[1:2])
    pool.run(60 * SECOND)
    _demand(not pool.changes("suspected"), "No False Suspicion", "a member is suspected because of one link")


def late_acks(system: System, seed: int) -> None:
    """Of nine others one is dead, and the rest answer pings when the next probe is under way."""
    core = GossipInvariants().watching(system.gossip)("n1", ("10.0.0.1", 7946), {}, LAN, Random(seed), 0)
    for number in range(2, 11):
        alive = Alive(1, f"n{number}", wire.address_bytes(f"10.0.0.{number}"), 7946, b"", VERSIONS)
        core.datagram(wire.packet([wire.encode(alive)], checksum=False), (f"10.0.0.{number}", 7946), 0)
    acks: list[tuple[int, Ack]] = []
    while core.now_ns < formulas.detection_bound_ns(LAN, 10):
        now_ns = min([core.deadline_ns, *(due_ns for due_ns, _ in acks)])
        for due_ns, ack in acks:
            if due_ns <= now_ns:
                core.datagram(wire.packet([wire.encode(ack)], checksum=False), ("10.0.0.3", 7946), now_ns)
        acks = [each for each in acks if each[0] > now_ns]
        core.tick(now_ns)
        for effect in core.take():
            if isinstance(effect, MemberChanged) and (effect.change, effect.member.name) == ("failed", "n2"):
                return
            if isinstance(effect, SendDatagram) and effect.to != ("10.0.0.2", 7946):
                pings = [each for each in wire.decode_packet(effect.data) if isinstance(each, Ping)]
                due_ns = now_ns + LAN.probe_interval_ns + 50 * MILLISECOND
                acks += [(due_ns, Ack(ping.sequence)) for ping in pings]
    raise PromiseBroken("Detection", "a dead member was not found out, because of others' late acks")


def a_deaf_member(system: System, seed: int) -> None:
    """It hears nobody for forty seconds. It is slow to accuse others, for it may be itself (Lifeguard)."""
    pool, names, _ = pool_of(system, seed, 20)
    pool.cut(names[1:], names[:1])
    pool.run(40 * SECOND)
    accused = [each for each in pool.changes("suspected") if each.node == "n1"]
    _demand(len(accused) <= 12, "Slow to Accuse", f"a deaf member accused {len(accused)} others in 40 s")


def a_healed_partition(system: System, seed: int) -> None:
    """Both sides had given each other up. Nobody is declared failed once more, and all are alive again."""
    pool, names, _ = pool_of(system, seed, 6)
    pool.partition(names[:3], names[3:])
    _within(pool, lambda: len(pool.changes("failed")) == 18, formulas.detection_bound_ns(LAN, 6), "Detection")
    pool.run(10 * SECOND)
    pool.heal()
    before = len(pool.changes("failed"))
    _within(pool, pool.all_agree, formulas.convergence_bound_ns(LAN, 6, 30 * SECOND), "Convergence")
    after = len(pool.changes("failed"))
    _demand(before == after, "No False Failure", "who is up and connected was declared failed after a heal")


def a_graceful_leave(system: System, seed: int) -> None:
    """Who leaves with a word has left, for everybody, and has not failed."""
    pool, _, _ = pool_of(system, seed, 5)
    pool.input("n2", lambda agent, now_ns: agent.leave(now_ns))
    pool.run(3 * SECOND)
    pool.kill("n2")
    _within(pool, lambda: pool.seen_by_all("n2", "left"), 30 * SECOND, "Leaving")


def an_event_under_loss(system: System, seed: int) -> None:
    """A user event reaches nearly everyone by gossip alone, though a fifth of the packets is lost."""
    pool, names, _ = pool_of(system, seed, 30)
    pool.run(2 * SECOND)
    pool.loss = 0.2
    pool.input("n1", lambda agent, now_ns: agent.fire("deploy", b"", False, now_ns))
    pool.run(2 * formulas.gossip_spread_ns(LAN, 30))
    reached = [each.node for each in pool.happened if isinstance(each.effect, UserEvent)]
    _demand(len(reached) >= 0.9 * len(names), "Spread", f"an event reached {len(reached)} of {len(names)}")


def a_storm_of_events(system: System, seed: int) -> None:
    """More short messages wait than a packet can count, and there is room for them in one."""
    pool, names, _ = pool_of(system, seed, 3, config=replace(LAN, packet_bytes_max=60_000))
    for number in range(400):
        pool.input("n1", lambda agent, now_ns, number=number: agent.fire(str(number), b"", False, now_ns))  # type: ignore[misc]
    pool.run(5 * SECOND)
    warnings = [each.effect.text for each in pool.happened if isinstance(each.effect, Warned)]
    _demand(not warnings, "Well-Formed Packets", "; ".join(warnings[:1]))
    reached = len([each for each in pool.happened if isinstance(each.effect, UserEvent)])
    _demand(reached >= 0.9 * 400 * len(names), "Spread", f"{reached} of {400 * len(names)} events arrived")


def a_name_is_claimed(system: System, seed: int) -> None:
    """Somebody else says that a living member's name is his. Nobody believes it."""
    pool, _, _ = pool_of(system, seed, 4)
    claim = Alive(9, "n2", wire.address_bytes("10.9.9.9"), 7946, b"", VERSIONS)
    packet = wire.packet([wire.encode(claim)], checksum=False)
    before = pool.core("n1").member("n2")
    pool.input("n1", lambda agent, now_ns: agent.datagram(packet, ("10.9.9.9", 7946), now_ns))
    pool.run(2 * SECOND)
    after = pool.core("n1").member("n2")
    same = before and after and before.address == after.address
    _demand(same, "Name Ownership", f"the living {before} was replaced by {after}")


def a_name_moves(system: System, seed: int) -> None:
    """A member leaves, and comes back from another address. All see it there."""
    pool, _, core = pool_of(system, seed, 4)
    pool.input("n2", lambda agent, now_ns: agent.leave(now_ns))
    pool.run(10 * SECOND)
    pool.kill("n2")
    pool.start("n2", core=core, address=("10.9.9.9", 7946))
    pool.join("n2", "n1")
    _within(pool, pool.all_agree, formulas.convergence_bound_ns(LAN, 4, 0), "Name Ownership")


def _within(pool: Pool, condition: Callable[[], bool], limit_ns: int, name: str) -> None:
    try:
        pool.run_until(condition, limit_ns)
    except AssertionError as error:
        if isinstance(error, GossipViolated):
            raise
        raise PromiseBroken(name, str(error)) from None


def _demand(holds: object, name: str, text: str) -> None:
    if not holds:
        raise PromiseBroken(name, text)
