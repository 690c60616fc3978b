"""The paper's sentences on reads, leases and leadership transfer, one test each (section 8; thesis 3.10,
6.4).

Sources and manner of quoting as in test_paper_elections.py.
"""

import pytest

from impl.raft import (
    AppendEntries,
    AppendReply,
    Config,
    EntryKind,
    LeadershipTransferInProgress,
    NotLeader,
    Raft,
    RequestVote,
    Role,
    TimeoutNow,
    TransferRefused,
)
from impl.raft.testing import follower, leader, members, settle

CONFIG = Config()


def acknowledge(raft: Raft, source: str, index: int, heartbeat_round: int = 0, sent_ns: int = 0) -> None:
    reply = AppendReply(source, raft.id, raft.term, False, index, heartbeat_round, sent_ns)
    raft.receive(reply, raft._now_ns)


def established(raft: Raft) -> int:
    """Elect it and have its no-op committed: the time."""
    now_ns = leader(raft)
    settle(raft)
    for voter in raft.configuration.voters:
        if voter != raft.id:
            acknowledge(raft, voter, raft.last_index)
    settle(raft)
    return now_ns


def heartbeats(raft: Raft) -> list[AppendEntries]:
    return [message for message in raft.take().send_now if isinstance(message, AppendEntries)]


# ---- Section 8 and thesis section 6.4


def test_a_leader_commits_a_no_op_at_the_start_of_its_term() -> None:
    """8: "Raft handles this by having each leader commit a blank no-op entry into the log at the start of its
    term." """
    raft = follower(log=(1,))
    leader(raft)
    (entry,) = raft.take().entries
    assert (entry.index, entry.term, entry.kind, entry.data) == (2, 2, EntryKind.NOOP, b"")


def test_a_read_waits_for_a_commit_of_the_leaders_own_term() -> None:
    """6.4: If the leader has not yet marked an entry from its current term committed, it waits until it has
    done so."""
    raft = follower(log=(1,))
    now_ns = leader(raft)
    settle(raft)
    raft.read_index(1, now_ns)
    assert heartbeats(raft) == []
    acknowledge(raft, "2", 2)
    (first, _) = heartbeats(raft)
    acknowledge(raft, "2", 2, first.round)
    assert raft.take().reads == ((1, 2),)


def test_a_read_waits_for_a_round_of_heartbeats_from_a_majority() -> None:
    """6.4: it issues a new round of heartbeats and waits for their acknowledgments from a majority of the
    cluster; the read index is the commit index when the round began."""
    raft = follower(configuration=members("1", "2", "3", "4", "5"))
    now_ns = established(raft)
    raft.read_index(7, now_ns)
    round_now = heartbeats(raft)[0].round
    acknowledge(raft, "2", 1, round_now)
    acknowledge(raft, "3", 1, round_now - 1)  # Of a round that began before the request.
    assert raft.take().reads == ()
    acknowledge(raft, "4", 1, round_now)
    assert raft.take().reads == ((7, 1),)


def test_reads_share_a_round() -> None:
    """6.4: the leader can amortize this cost: a single round of heartbeats for any number of read-only
    queries that it has accumulated. Those that come while a round is under way share the next one."""
    raft = follower()
    now_ns = established(raft)
    for request in range(100):
        raft.read_index(request, now_ns)
    sent = heartbeats(raft)
    assert len(sent) == 2
    raft.read_index(100, now_ns)
    assert heartbeats(raft) == []
    acknowledge(raft, "2", 1, sent[0].round)
    effects = raft.take()
    assert [request for request, _ in effects.reads] == list(range(100))
    acknowledge(raft, "2", 1, next(m.round for m in effects.send_now if isinstance(m, AppendEntries)))
    assert raft.take().reads == ((100, 1),)


def test_a_lost_round_is_made_good_by_the_next_heartbeat() -> None:
    raft = follower()
    now_ns = established(raft)
    raft.read_index(1, now_ns)
    heartbeats(raft)
    raft.tick(raft.deadline_ns)
    raft.tick(raft.deadline_ns)
    acknowledge(raft, "3", 1, heartbeats(raft)[-1].round)
    assert raft.take().reads == ((1, 1),)


def test_a_rejection_confirms_leadership_as_well_as_an_acceptance() -> None:
    """6.4 asks for acknowledgements of leadership: a follower that lacks entries gives them too."""
    raft = follower()
    now_ns = established(raft)
    raft.read_index(1, now_ns)
    heartbeat = heartbeats(raft)[0]
    raft.receive(AppendReply("2", "1", raft.term, True, 1, heartbeat.round, heartbeat.sent_ns), now_ns)
    assert raft.take().reads == ((1, 1),)


def test_a_single_voter_confirms_its_reads_by_itself() -> None:
    raft = follower(configuration=members("1"))
    now_ns = raft.deadline_ns
    raft.tick(now_ns)
    settle(raft)
    raft.read_index(1, now_ns)
    assert raft.take().reads == ((1, 1),)


def test_reads_fail_when_leadership_is_lost() -> None:
    """6.4: a deposed leader might return stale results; so it must return none."""
    raft = follower()
    now_ns = established(raft)
    raft.read_index(1, now_ns)
    heartbeats(raft)
    raft.read_index(2, now_ns)
    raft.receive(AppendReply("2", "1", raft.term + 1, rejected=True, index=0), now_ns)
    assert raft.take().reads_failed == (1, 2)
    with pytest.raises(NotLeader):
        raft.read_index(3, now_ns)


def test_the_lease_runs_from_when_the_answered_message_was_sent() -> None:
    """6.4.1: Once the leader's heartbeats were acknowledged by a majority of the cluster, the leader would
    extend its lease to start + election timeout / clock drift bound."""
    raft = follower(configuration=members("1", "2", "3", "4", "5"))
    now_ns = leader(raft)
    settle(raft)
    assert not raft.lease_is_valid(now_ns)
    acknowledge(raft, "2", 1, sent_ns=now_ns)
    assert not raft.lease_is_valid(now_ns)
    acknowledge(raft, "3", 1, sent_ns=now_ns)
    acknowledge(raft, "2", 1, sent_ns=now_ns - 1)  # Late, and no news.
    lease_ns = CONFIG.leader_lease_timeout_ns
    assert raft.lease_is_valid(now_ns + lease_ns - 1)
    assert not raft.lease_is_valid(now_ns + lease_ns)


def test_a_lease_does_not_rest_on_non_voters() -> None:
    raft = follower(configuration=members("1", "2", "3", nonvoters=("4", "5")))
    now_ns = leader(raft)
    settle(raft)
    acknowledge(raft, "4", 1, sent_ns=now_ns)
    acknowledge(raft, "5", 1, sent_ns=now_ns)
    assert not raft.lease_is_valid(now_ns)


def test_a_follower_has_no_lease() -> None:
    assert not follower(configuration=members("1")).lease_is_valid(0)


# ---- Thesis section 3.10


def test_a_leader_that_hands_over_takes_no_proposals() -> None:
    """3.10: The prior leader stops accepting new client requests."""
    raft = follower()
    now_ns = established(raft)
    raft.transfer_leadership("2", now_ns)
    with pytest.raises(LeadershipTransferInProgress):
        raft.propose(b"", now_ns)
    with pytest.raises(LeadershipTransferInProgress):
        raft.transfer_leadership("3", now_ns)


def test_the_target_is_brought_up_to_date_before_it_is_told() -> None:
    """3.10: The prior leader fully updates the target server's log to match its own [...] The prior leader
    sends a TimeoutNow request to the target server."""
    raft = follower()
    now_ns = established(raft)
    raft.propose(b"command", now_ns)
    raft.transfer_leadership("2", now_ns)
    assert TimeoutNow("1", "2", 2) not in settle(raft)
    acknowledge(raft, "3", 2)
    assert TimeoutNow("1", "2", 2) not in settle(raft)
    acknowledge(raft, "2", 2)
    assert TimeoutNow("1", "2", 2) in settle(raft)


def test_the_target_starts_an_election_without_waiting_or_asking() -> None:
    """3.10: This request has the same effect as the target server's election timer firing: the target server
    starts a new election (incrementing its term and becoming a candidate)."""
    raft = follower("2", term=2)
    raft.receive(AppendEntries("1", "2", 2, 0, 0, (), 0, 0, 0), 1)
    settle(raft)
    raft.receive(TimeoutNow("1", "2", 2), 2)
    assert (raft.role, raft.term) == (Role.CANDIDATE, 3)
    assert settle(raft) == [RequestVote("2", other, 3, 0, 0, transfer=True) for other in ("1", "3")]


def test_a_vote_for_a_transfer_is_given_in_spite_of_a_live_leader() -> None:
    """4.2.3: a special flag to indicate this behavior ('I have permission to disrupt the leader - it told me
    to!')."""
    raft = follower("3", term=2)
    raft.receive(AppendEntries("1", "3", 2, 0, 0, (), 0, 0, 0), 1)
    settle(raft)
    raft.receive(RequestVote("2", "3", 3, 0, 0, transfer=True), 2)
    assert (raft.term, raft.vote) == (3, "2")


def test_a_stale_or_misplaced_timeout_now_is_ignored() -> None:
    for raft in (follower("2", term=3), follower("2", members("1", "3", nonvoters=("2",)), term=2)):
        raft.receive(TimeoutNow("1", "2", 2), 1)
        assert (raft.role, raft.take().send_after_sync) == (Role.FOLLOWER, ())


def test_a_transfer_that_does_not_finish_in_an_election_timeout_is_given_up() -> None:
    """3.10: If leadership transfer does not complete after about an election timeout, the prior leader
    aborts the transfer and resumes accepting client requests."""
    raft = follower()
    now_ns = established(raft)
    raft.transfer_leadership("2", now_ns)
    while raft.transfer_target is not None:
        raft.tick(raft.deadline_ns)
        acknowledge(raft, "3", 1)
        settle(raft)
    assert raft._now_ns == now_ns + CONFIG.election_timeout_ns
    assert raft.propose(b"", raft._now_ns) == 2


def test_who_is_handing_over_has_no_lease() -> None:
    """6.4.1: the lease must be given up, since the voters of a transfer do not wait for its end."""
    raft = follower()
    now_ns = established(raft)
    acknowledge(raft, "2", 1, sent_ns=now_ns)
    assert raft.lease_is_valid(now_ns)
    raft.transfer_leadership("2", now_ns)
    assert not raft.lease_is_valid(now_ns)


def test_without_a_target_the_most_up_to_date_voter_is_chosen() -> None:
    raft = follower(configuration=members("1", "2", "3", nonvoters=("4",)))
    now_ns = established(raft)
    raft.propose(b"", now_ns)
    settle(raft)
    acknowledge(raft, "3", 2)
    acknowledge(raft, "4", 2)
    raft.transfer_leadership(None, now_ns)
    assert raft.transfer_target == "3"


@pytest.mark.parametrize("target", ["1", "4", "9"])
def test_only_another_voter_can_be_a_target(target: str) -> None:
    raft = follower(configuration=members("1", "2", "3", nonvoters=("4",)))
    now_ns = established(raft)
    with pytest.raises(TransferRefused, match=f"^{target} "):
        raft.transfer_leadership(target, now_ns)
