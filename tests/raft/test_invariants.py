"""The observers of Raft's promises see each of them broken, and nothing wrong where nothing is."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from impl.raft import NEVER_NS, Configuration, Entry, EntryKind, Raft, RequestVote, Role, Snapshot
from impl.raft.cluster import Cluster
from impl.raft.invariants import PropertyViolated, RaftInvariants
from impl.raft.settings import Setting
from impl.raft.testing import follower, leader, members, settle
from impl.raft.types import MILLISECOND_NS


@pytest.fixture
def cluster() -> Cluster:
    """Three servers, a leader, and a few entries that everybody has applied."""
    cluster = Cluster(1, Setting(servers=3))
    cluster.advance(1000 * MILLISECOND_NS)
    server = cluster.servers[cluster.leader().id]
    for number in range(5):
        cluster.leader().propose(b"%d" % number, server.local_ns(cluster.now_ns))
    cluster.pump(server, cluster.leader())
    cluster.advance(500 * MILLISECOND_NS)
    assert cluster.committed >= 6
    assert all(other.applied_index == cluster.committed for other in cluster.servers.values())
    return cluster


def follower_of(cluster: Cluster) -> Raft:
    core = cluster.servers[cluster.others(cluster.leader().id)[0]].core
    assert core is not None
    return core


def rewritten(core: Raft, first: int, *terms: int) -> None:
    """Replace its log from `first` on."""
    core.log.truncate(first)
    for index, term in enumerate(terms, first):
        core.log.append(Entry(index, term, int(EntryKind.COMMAND), b"other %d" % index))


def lead_too(cluster: Cluster) -> Raft:
    core = follower_of(cluster)
    core.role = Role.LEADER
    return core


def lead_without_the_last_entry(cluster: Cluster) -> Raft:
    core = follower_of(cluster)
    core.log.truncate(core.last_index)
    core.role, core.term, core.vote = Role.LEADER, core.term + 1, core.id
    return core


def forget_what_was_acknowledged(cluster: Cluster) -> Raft:
    core = follower_of(cluster)
    core.log.truncate(core.last_index)
    return core


def rewrite_as_leader(cluster: Cluster) -> Raft:
    core = cluster.leader()
    rewritten(core, core.last_index, core.term)
    return core


def have_another_entry(cluster: Cluster) -> Raft:
    core = follower_of(cluster)
    rewritten(core, core.last_index, core.log.last_term)
    return core


def have_another_past(cluster: Cluster) -> Raft:
    """The last entry is the same as on other servers, the one before it is not."""
    core = follower_of(cluster)
    last = core.log.slice(core.last_index, core.last_index)[0]
    rewritten(core, last.index - 1, last.term + 5)
    core.log.append(last)
    return core


def commit_another_entry(cluster: Cluster) -> Raft:
    """One that was not there to compare with what others have: of a term of its own."""
    leader, core = cluster.leader(), follower_of(cluster)
    for server, term in ((leader, leader.term), (core, core.term + 1)):
        server.log.append(Entry(server.last_index + 1, term, int(EntryKind.COMMAND), b""))
    leader.commit_index += 1
    cluster.invariants.observe(leader)
    core.commit_index += 1
    return core


def uncommit(cluster: Cluster) -> Raft:
    core = follower_of(cluster)
    core.commit_index -= 1
    return core


def change_its_vote(cluster: Cluster) -> Raft:
    core = follower_of(cluster)
    core.vote = "somebody"
    return core


def go_back_in_terms(cluster: Cluster) -> Raft:
    core = follower_of(cluster)
    core.term -= 1
    return core


def use_another_configuration(cluster: Cluster) -> Raft:
    core = follower_of(cluster)
    core.configuration = members("1", "2")
    return core


def keep_a_configuration_that_was_dropped(cluster: Cluster) -> Raft:
    core = cluster.leader()
    server = cluster.servers[core.id]
    core.log.append(Entry(core.last_index + 1, core.term, int(EntryKind.CONFIGURATION), b""))
    core.log.truncate(core.last_index)
    core.role = Role.FOLLOWER
    core.configuration = Configuration(core.configuration.servers[:2])
    assert server.core is core
    return core


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        (lead_too, "Election Safety"),
        (rewrite_as_leader, "Leader Append-Only"),
        (have_another_entry, "Log Matching"),
        (have_another_past, "Log Matching"),
        (lead_without_the_last_entry, "Leader Completeness"),
        (forget_what_was_acknowledged, "Acknowledged Entries Stay"),
        (commit_another_entry, "State Machine Safety"),
        (uncommit, "Monotonic Commit"),
        (change_its_vote, "Stable Vote"),
        (go_back_in_terms, "Stable Vote"),
        (use_another_configuration, "Latest Configuration"),
        (keep_a_configuration_that_was_dropped, "Latest Configuration"),
    ],
)
def test_a_broken_promise_is_seen_at_the_next_observation(
    cluster: Cluster, wrong: Callable[[Cluster], Raft], name: str
) -> None:
    core = wrong(cluster)
    with pytest.raises(PropertyViolated) as caught:
        cluster.invariants.observe(core)
    assert caught.value.name == name
    assert core.id in caught.value.servers
    assert caught.value.expected != caught.value.found
    assert cluster.invariants.violation is caught.value


def test_a_violation_names_servers_term_index_and_both_values(cluster: Cluster) -> None:
    core = have_another_entry(cluster)
    with pytest.raises(PropertyViolated) as caught:
        cluster.invariants.observe(core)
    violation = caught.value
    assert violation.index == core.last_index
    assert violation.term == core.log.last_term
    for value in (violation.expected, violation.found, *violation.servers):
        assert str(value[1] if isinstance(value, tuple) else value) in str(violation)


def test_an_observation_of_every_server_at_any_time_finds_nothing_in_a_good_cluster(cluster: Cluster) -> None:
    for _ in range(100):
        cluster.advance(MILLISECOND_NS)
        for _, core in cluster.live():
            cluster.invariants.observe(core)
    assert cluster.invariants.violation is None


def test_a_server_that_leads_a_term_again_after_a_restart_is_seen() -> None:
    """It must have voted for itself twice, and may have told others another log."""
    invariants = RaftInvariants()
    lives = [follower("1"), follower("1")]
    for core in lives:
        leader(core)
    invariants.started(lives[0])
    invariants.stopped("1")
    with pytest.raises(PropertyViolated, match="again after a restart"):
        invariants.started(lives[1])


def voter(invariants: RaftInvariants) -> Raft:
    """A server in term 1 that knows of no vote, as after a restart, long after it heard a leader."""
    core = follower("1", core=invariants.watching(Raft))
    core.leader_contact_ns = -NEVER_NS
    return core


def test_a_vote_that_others_were_told_of_and_the_disk_was_not_is_seen_when_there_is_a_second_one() -> None:
    invariants = RaftInvariants()
    core = voter(invariants)
    core.receive(RequestVote("2", "1", 2, 0, 0, False), 0)
    core.synced(core.take().batch, 0)
    invariants.stopped("1")
    core = voter(invariants)
    core.receive(RequestVote("3", "1", 2, 0, 0, False), 0)
    batch = core.take().batch
    with pytest.raises(PropertyViolated, match="One Vote: 1 votes for 3 in term 2, where it has voted for 2"):
        core.synced(batch, 0)


def test_a_vote_that_nobody_was_told_of_may_be_forgotten() -> None:
    invariants = RaftInvariants()
    core = voter(invariants)
    core.receive(RequestVote("2", "1", 2, 0, 0, False), 0)
    core.take()  # and the power fails before that is on disk
    invariants.stopped("1")
    core = voter(invariants)
    core.receive(RequestVote("3", "1", 2, 0, 0, False), 0)
    core.synced(core.take().batch, 0)
    assert invariants.violation is None


def applied(*entries: Entry) -> RaftInvariants:
    """Server 1 has applied all of the log, servers 2 and 3 the given entries."""
    invariants = RaftInvariants()
    cores = [follower(name, log=(1, 1, 1)) for name in "123"]
    for core in cores:
        invariants.started(core)
        core.commit_index = 3
        invariants.observe(core)
    for entry in cores[0].log.slice(1, 3):
        invariants.applied("1", entry)
    for entry in entries:
        invariants.applied("2", entry)
    return invariants


def test_an_entry_that_is_applied_is_the_committed_one() -> None:
    good = Entry(1, 1, int(EntryKind.COMMAND), b"1")
    applied(good)
    for wrong in (msgspec.structs.replace(good, data=b"x"), msgspec.structs.replace(good, term=2)):
        with pytest.raises(PropertyViolated, match="State Machine Safety"):
            applied(wrong)


def test_nothing_is_left_out_when_entries_are_applied() -> None:
    with pytest.raises(PropertyViolated, match="applies entry 2 after 0"):
        applied(Entry(2, 1, int(EntryKind.COMMAND), b"2"))


def test_after_a_snapshot_applying_goes_on_behind_it() -> None:
    invariants = applied()
    invariants.loaded("2", 2)
    invariants.applied("2", Entry(3, 1, int(EntryKind.COMMAND), b"3"))
    with pytest.raises(PropertyViolated, match="State Machine Safety"):
        invariants.applied("2", Entry(3, 1, int(EntryKind.COMMAND), b"3"))


def test_states_after_the_same_entry_are_equal() -> None:
    invariants = applied()
    invariants.state("1", 3, b"digest")
    invariants.state("2", 3, b"digest")
    with pytest.raises(PropertyViolated, match="Equal States"):
        invariants.state("2", 3, b"other")


def test_a_read_is_not_older_than_its_question() -> None:
    invariants = applied()
    invariants.read("1", invariants.committed_index, 3)
    with pytest.raises(PropertyViolated, match="Linearizable Read"):
        invariants.read("1", invariants.committed_index, 2)


def test_a_lease_that_outlives_its_leaders_time_is_seen() -> None:
    now_ns = 0

    class Sure(Raft):
        def lease_is_valid(self, now_ns: int) -> bool:
            return self.role is Role.LEADER

    invariants = RaftInvariants(clock=lambda server: now_ns)
    old = follower("1", core=Sure)
    leader(old)
    settle(old)
    invariants.started(old)
    new = follower("2", term=2)
    leader(new)
    with pytest.raises(PropertyViolated, match="Leader Lease"):
        invariants.started(new)


def test_a_snapshot_of_what_nobody_has_committed_is_seen(cluster: Cluster) -> None:
    core = follower_of(cluster)
    index = core.last_index + 10
    core.log.reset(index, core.term, core.commit_index)
    core.commit_index = index
    with pytest.raises(PropertyViolated, match="nobody had committed"):
        cluster.invariants.observe(core)


def test_a_snapshot_is_taken_on_trust_only_at_the_beginning() -> None:
    invariants = RaftInvariants()
    snapshot = Snapshot(7, 1, members("1", "2", "3"), b"")
    cores = []
    for name in "12":
        core = follower(name)
        core.log.reset(7, 1, 0)
        core.commit_index = core.applied_index = snapshot.index
        cores.append(core)
    invariants.started(cores[0])
    assert invariants.committed_index == 7
    invariants.started(cores[1])
    late = follower("3")
    late.log.reset(9, 1, 0)
    late.commit_index = late.applied_index = 9
    with pytest.raises(PropertyViolated, match="nobody had committed"):
        invariants.started(late)


def test_watching_reports_starts_inputs_and_what_is_applied() -> None:
    invariants = RaftInvariants()
    core = follower(configuration=members("1"), core=invariants.watching(Raft))
    leader(core)
    settle(core)
    assert invariants.leaders == {core.term: "1"}
    assert invariants.committed_index == core.last_index == 1
    with pytest.raises(PropertyViolated, match="after 1"):
        invariants.applied("1", Entry(1, core.term, int(EntryKind.NOOP), b""))
    assert type(core).__name__ == "Raft"
    assert isinstance(core, Raft)


def test_an_observation_costs_no_more_with_a_longer_log() -> None:
    """What is read of a log is what is new in it."""
    looked_at = []
    for length in (10, 1000):
        invariants = RaftInvariants()
        core = follower(log=(1,) * length)
        invariants.started(core)
        core.log.append(Entry(length + 1, 1, int(EntryKind.COMMAND), b""))
        slices: list[tuple[int, int]] = []
        original = core.log.slice

        def counted(first: int, last: int, original=original, slices=slices):  # type: ignore[no-untyped-def]
            slices.append((first, last))
            return original(first, last)

        core.log.slice = counted  # type: ignore[method-assign]
        invariants.observe(core)
        looked_at.append(sum(last - first + 1 for first, last in slices))
    assert looked_at == [1, 1]
