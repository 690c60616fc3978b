"""Which bug of a core is to be found on what ground, by what check, and within how many seeds.

`catalogue` has those that are to be found in whole agents.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from time import process_time

from impl.gossip import Gossip
from impl.gossip.invariants import PropertyViolated as GossipViolated
from impl.raft import InvariantViolation, Raft
from impl.raft.invariants import PropertyViolated as RaftViolated
from tests.mutants import gossip, grounds, raft, state
from tests.mutants.acknowledges_before_replication import AcknowledgesBeforeReplication
from tests.mutants.grounds import Ground, PromiseBroken, System
from tests.mutants.never_refutes import NeverRefutes

THE_CORE = "the core's own check"
"""What caught it if the core stopped itself, by InvariantViolation."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A bug, where it is hunted, and what shall find it."""

    number: int
    """In docs/mutants.md; 0 if it is not one of the list."""
    system: System
    ground: Ground
    caught_by: tuple[str, ...]
    seeds: int
    """It is found within so many, from 0 on."""

    @property
    def name(self) -> str:
        return self._broken.__name__

    @property
    def bug(self) -> str:
        """In one sentence."""
        text = " ".join((self._broken.__doc__ or "").split())
        return text.partition(". ")[2] if self.number else text

    @property
    def _broken(self) -> type:
        good = System()
        pairs = [
            (self.system.raft, good.raft),
            (self.system.gossip, good.gossip),
            (self.system.state, good.state),
        ]
        return next(mine for mine, right in pairs if mine is not right)


@dataclass(slots=True)
class Catch:
    """What a hunt came to."""

    seeds: int = 0
    """How many were tried,"""
    seconds: float = 0.0
    """and how long that took the processor."""
    first_seed: int | None = None
    first_seconds: float = 0.0
    """Until the first was caught."""
    kinds: Counter[str] = field(default_factory=Counter)


def hunt(system: System, ground: Ground, seeds: Iterable[int], until: tuple[str, ...] | None = None) -> Catch:
    """Try seeds until one of these promises is broken; of all by default; an empty tuple tries every seed."""
    catch = Catch()
    start = process_time()
    for seed in seeds:
        kind = trial(system, ground, seed)
        catch.seeds += 1
        catch.seconds = process_time() - start
        if kind is None:
            continue
        catch.kinds[kind] += 1
        if catch.first_seed is None:
            catch.first_seed, catch.first_seconds = seed, catch.seconds
        if until is None or kind in until:
            break
    return catch


def trial(system: System, ground: Ground, seed: int) -> str | None:
    """The promise that is broken, if one is."""
    try:
        ground(system, seed)
    except (RaftViolated, GossipViolated, PromiseBroken) as violation:
        return violation.name
    except InvariantViolation:
        return THE_CORE
    return None


def _raft(number: int, core: type[Raft], ground: Ground, seeds: int, *caught_by: str) -> Mutant:
    return Mutant(number, System(raft=core), ground, caught_by, seeds)


def _gossip(number: int, core: type[Gossip], ground: Ground, seeds: int, *caught_by: str) -> Mutant:
    return Mutant(number, System(gossip=core), ground, caught_by, seeds)


MUTANTS = (
    _raft(1, raft.RepliesToVotesBeforeSync, grounds.contested_elections, 100, "One Vote"),
    _raft(2, raft.ForgetsVotes, grounds.contested_elections, 100, "One Vote"),
    _raft(3, raft.VotesTwice, grounds.mixed_faults, 40, "One Vote"),
    _raft(4, raft.SkipsLogFreshness, grounds.mixed_faults, 20, "Leader Completeness"),
    _raft(6, raft.AcceptsStaleTerms, grounds.skewed_clocks, 60, "Log Matching", THE_CORE),
    _raft(8, raft.CountsPreVotesAsVotes, grounds.mixed_faults, 40, "Election Safety"),
    _raft(11, raft.CountsVotesOfNonvoters, grounds.idle_observers, 40, "Election Safety"),
    _raft(12, raft.TimesOutAtOnce, grounds.a_leader_fails, 10, "Liveness"),
    _raft(13, raft.CampaignsWithoutAsking, grounds.a_deaf_server_hears_again, 10, "Undisturbed Leader"),
    _raft(15, raft.CommitsOldTermsByCounting, grounds.short_reigns, 80, "Leader Completeness"),
    _raft(16, raft.AcknowledgesBeforeSync, grounds.slow_disks, 10, "Acknowledged Entries Stay"),
    _raft(17, raft.CountsItselfUnsynced, grounds.slow_disks, 60, "Leader Completeness"),
    _raft(
        18,
        raft.KeepsConflictingEntries,
        grounds.mixed_faults,
        20,
        "Acknowledged Entries Stay",
        "Log Matching",
    ),
    _raft(20, raft.IgnoresPreviousTerm, grounds.mixed_faults, 10, "Log Matching"),
    _raft(22, raft.MatchesOnSending, grounds.mixed_faults, 10, "Acknowledged Entries Stay"),
    _raft(24, raft.AppliesBeforeCommit, grounds.mixed_faults, 10, "State Machine Safety"),
    _raft(29, raft.DropsAcknowledgedSuffix, grounds.many_snapshots, 60, "Acknowledged Entries Stay"),
    _raft(30, raft.LabelsSnapshotsWithCommit, grounds.many_snapshots, 20, "Equal States", THE_CORE),
    _raft(32, raft.OmitsMembershipFromSnapshots, grounds.many_snapshots, 20, "Latest Configuration"),
    Mutant(
        34,
        System(state=state.RestoresIntoOldState),
        grounds.many_snapshots_of_a_store,
        ("Equal States",),
        20,
    ),
    _raft(37, raft.ChangesMembersAtOnce, grounds.two_leaders_change_members, 10, "Leader Completeness"),
    _raft(40, raft.KeepsTruncatedConfiguration, grounds.changing_members, 20, "Latest Configuration"),
    _raft(42, raft.CountsContactOfNonvoters, grounds.idle_observers, 40, "Leader Lease"),
    _raft(43, raft.AcceptsWritesWhileHandingOver, grounds.a_transfer_under_load, 10, "Liveness"),
    _raft(44, raft.ReadsWithoutQuorumRound, grounds.mixed_faults, 40, "Linearizable Read"),
    _raft(46, raft.ReadsBeforeOwnTermCommit, grounds.mixed_faults, 20, "Linearizable Read"),
    _raft(48, raft.LeasesWithoutMargin, grounds.skewed_clocks, 60, "Leader Lease"),
    _gossip(63, gossip.RefutesFromItsOwnIncarnation, grounds.restart_after_many_lives, 2, "Convergence"),
    _gossip(64, gossip.ForgetsLaterDeaths, grounds.news_in_any_order, 100, "Last Word"),
    _gossip(65, gossip.BelievesOldLife, grounds.a_member_fails, 4, "Alive Overrides Only When Newer"),
    _gossip(67, gossip.NoIndirectProbes, grounds.one_bad_link, 2, "No False Suspicion"),
    _gossip(68, gossip.TakesAnyAck, grounds.late_acks, 10, "Detection"),
    _gossip(69, gossip.NeverDoubtsItself, grounds.a_deaf_member, 2, "Slow to Accuse"),
    _gossip(71, gossip.BuriesByHearsay, grounds.a_healed_partition, 4, "No False Failure"),
    _gossip(73, gossip.TakesLeavingForFailing, grounds.a_graceful_leave, 2, "Leaving"),
    _gossip(74, gossip.SaysThingsOnce, grounds.an_event_under_loss, 2, "Spread"),
    _gossip(75, gossip.WritesCountsInOneByte, grounds.a_storm_of_events, 4, "Well-Formed Packets"),
    _gossip(77, gossip.LetsNamesBeTaken, grounds.a_name_is_claimed, 2, "No Invented Incarnation"),
    _gossip(77, gossip.NeverLetsNamesMove, grounds.a_name_moves, 2, "Name Ownership"),
    _gossip(0, NeverRefutes, grounds.a_healed_partition, 4, "Convergence"),
    _raft(0, AcknowledgesBeforeReplication, grounds.mixed_faults, 20, "Leader Completeness"),
)

DRILLS: tuple[Ground, ...] = (
    grounds.a_leader_fails,
    grounds.a_deaf_server_hears_again,
    grounds.a_transfer_under_load,
    grounds.two_leaders_change_members,
    grounds.restart_after_many_lives,
    grounds.a_member_fails,
    grounds.one_bad_link,
    grounds.a_deaf_member,
    grounds.a_healed_partition,
    grounds.a_graceful_leave,
    grounds.an_event_under_loss,
    grounds.a_storm_of_events,
    grounds.a_name_is_claimed,
    grounds.a_name_moves,
)
"""Where all seeds tell nearly the same."""

EQUIVALENT = (
    (
        25,
        "The applied index is not saved together with the state: an entry is applied twice after a crash.",
        "The state lives in memory and is made anew from snapshot and log; a snapshot has its index inside.",
    ),
    (
        36,
        "A snapshot that is refused is not read to its end, and blocks what comes behind it.",
        "Chunks are messages like others, each with its length.",
    ),
    (
        39,
        "A server campaigns with a configuration that is committed but not applied.",
        "A configuration is in force from the moment it is in the log (thesis section 4.1).",
    ),
    (
        49,
        "A lease is checked, the server sleeps, and then the value is served.",
        "Lease and value are looked at in one step of the event loop: the value was current then.",
    ),
    (
        78,
        "A server that gossip takes for failed is removed from Raft.",
        "Only servers that have left are removed; failed ones stay members.",
    ),
)
"""Bugs of the list that cannot be made in proconsul: number, bug and reason."""

SESSIONS = "There are no sessions yet (Consul's, that hold locks)."
MISSING = (
    (33, "A snapshot omits sessions and locks.", SESSIONS),
    (53, "The lock-delay is not kept.", SESSIONS),
    (54, "A new leader does not begin sessions' times anew.", SESSIONS),
    (56, "A session is destroyed, and its locks stay.", SESSIONS),
    (59, "A query's index goes back.", "Only the model of the state machine is tested for it."),
    (79, "Records have no checksum.", "Only the log's own tests damage records (tests/storage)."),
    (
        81,
        "A directory is not synced after a rename.",
        "It is inside the disk port, which the simulator replaces.",
    ),
    (
        84,
        "A truncated suffix is back after a replay.",
        "Only the log's own tests look for it (tests/storage).",
    ),
)
"""Bugs of the list that are not hunted: number, bug and why."""
