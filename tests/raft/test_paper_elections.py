"""The paper's sentences on terms and elections, one test each (sections 5.1, 5.2, 5.4.1; thesis 4.2.3, 6.2,
9.6).

The paper is Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm (Extended Version)",
and is quoted, its sections 5, 7 and 8 and its figures by number. The thesis is Ongaro, "Consensus: Bridging
Theory and Practice", and is given in substance, its sections 3.10, 4.x, 6.x, 9.6 and 10.x by number.
"""

from random import Random

import pytest

from impl.raft import (
    AppendEntries,
    AppendReply,
    Config,
    HardState,
    InvariantViolation,
    MisdirectedMessage,
    PreVoteReply,
    Raft,
    RequestPreVote,
    RequestVote,
    Restored,
    Role,
    VoteReply,
)
from impl.raft.testing import candidate, follower, leader, members, settle

T = Config().heartbeat_timeout_ns
LATER = 10 * T


def heartbeat(source: str, target: str, term: int, previous: tuple[int, int] = (0, 0)) -> AppendEntries:
    return AppendEntries(source, target, term, *previous, (), 0, 1, 0)


# ---- Section 5.1


@pytest.mark.parametrize("role", [Role.FOLLOWER, Role.CANDIDATE, Role.LEADER])
def test_a_server_with_a_smaller_term_adopts_the_larger_one_and_becomes_follower(role: Role) -> None:
    """5.1: "If one server's current term is smaller than the other's, then it updates its current term to the
    larger value. If a candidate or leader discovers that its term is out of date, it immediately reverts to
    follower state." """
    raft = follower(term=1)
    now_ns = {Role.FOLLOWER: lambda _: LATER, Role.CANDIDATE: candidate, Role.LEADER: leader}[role](raft)
    assert raft.role is role
    raft.receive(AppendReply("2", "1", 9, rejected=True, index=0), now_ns)
    assert (raft.role, raft.term, raft.vote) == (Role.FOLLOWER, 9, None)
    assert raft.take().hard_state == HardState(9, None)


def test_a_request_with_a_stale_term_is_rejected() -> None:
    """5.1: "If a server receives a request with a stale term number, it rejects the request." """
    raft = follower(term=5)
    raft.receive(heartbeat("2", "1", 4), LATER)
    raft.receive(RequestVote("2", "1", 4, 9, 4), LATER)
    raft.receive(RequestPreVote("2", "1", 5, 9, 4), LATER)
    assert raft.take().send_now == (
        AppendReply("1", "2", 5, rejected=True, index=0),
        VoteReply("1", "2", 5, granted=False),
        PreVoteReply("1", "2", 5, granted=False),
    )


def test_a_refusal_of_a_past_term_does_not_pass_for_an_answer_of_the_present_one() -> None:
    """A leader refused in its old term may lead the very term it was told of: rounds, leases and logs of the
    new one must not be touched."""
    raft = follower(term=1, log=(1, 1))
    now_ns = leader(raft)
    settle(raft)
    before = raft.progress["2"].next_index
    raft.receive(AppendReply("2", "1", raft.term, rejected=True, index=0), now_ns)
    assert raft.progress["2"].next_index == before
    assert not raft.lease_is_valid(now_ns)


# ---- Section 5.2


def test_servers_start_as_followers() -> None:
    """5.2: "When servers start up, they begin as followers." """
    assert follower(term=3, vote="1").role is Role.FOLLOWER


def test_a_follower_remains_one_as_long_as_it_hears_the_leader() -> None:
    """5.2: "A server remains in follower state as long as it receives valid RPCs from a leader or
    candidate." """
    raft = follower(term=1)
    for tenth in range(1, 100):
        raft.receive(heartbeat("2", "1", 1), tenth * T // 10)
        raft.tick(tenth * T // 10)
    assert raft.role is Role.FOLLOWER


def test_a_follower_that_hears_nothing_over_the_election_timeout_begins_an_election() -> None:
    """5.2: "If a follower receives no communication over a period of time called the election timeout, then
    it assumes there is no viable leader and begins an election to choose a new leader." """
    raft = follower()
    raft.tick(raft.deadline_ns - 1)
    assert not settle(raft)
    raft.tick(raft.deadline_ns)
    assert raft.role is Role.PRE_CANDIDATE


def test_a_candidate_increments_its_term_votes_for_itself_and_asks_all_others() -> None:
    """5.2: "To begin an election, a follower increments its current term and transitions to candidate state.
    It then votes for itself and issues RequestVote RPCs in parallel to each of the other servers." """
    raft = follower(term=1, log=(1,))
    candidate(raft)
    effects = raft.take()
    assert (raft.role, raft.term, raft.vote) == (Role.CANDIDATE, 2, "1")
    assert effects.hard_state == HardState(2, "1")
    assert effects.send_after_sync == (RequestVote("1", "2", 2, 1, 1), RequestVote("1", "3", 2, 1, 1))
    assert {type(message) for message in effects.send_now} == {RequestPreVote}


def test_a_candidate_wins_with_the_votes_of_a_majority() -> None:
    """5.2: "A candidate wins an election if it receives votes from a majority of the servers in the full
    cluster for the same term." """
    raft = follower(configuration=members("1", "2", "3", "4", "5"))
    now_ns = candidate(raft)
    settle(raft)
    raft.receive(VoteReply("2", "1", 2, granted=True), now_ns)
    raft.receive(VoteReply("2", "1", 2, granted=True), now_ns)
    raft.receive(VoteReply("3", "1", 2, granted=False), now_ns)
    assert raft.leader is None
    raft.receive(VoteReply("4", "1", 2, granted=True), now_ns)
    assert raft.role is Role.LEADER


def test_votes_of_another_term_do_not_count() -> None:
    """5.2: "... for the same term." """
    raft = follower(term=3)
    now_ns = candidate(raft)
    settle(raft)
    raft.receive(VoteReply("2", "1", 3, granted=True), now_ns)
    assert raft.role is Role.CANDIDATE


def test_a_candidate_counts_its_own_vote_only_once_it_is_on_disk() -> None:
    """Figure 2: currentTerm and votedFor are "updated on stable storage before responding to RPCs"; being
    elected by one's own vote is no different."""
    raft = follower(configuration=members("1"))
    now_ns = candidate(raft)
    effects = raft.take()
    assert raft.leader is None
    raft.synced(effects.batch, now_ns)
    assert raft.role is Role.LEADER


def test_each_server_votes_for_at_most_one_candidate_in_a_term_first_come_first_served() -> None:
    """5.2: "Each server will vote for at most one candidate in a given term, on a first-come-first-served
    basis." """
    raft = follower()
    raft.receive(RequestVote("2", "1", 2, 0, 0), LATER)
    raft.receive(RequestVote("3", "1", 2, 0, 0), LATER)
    raft.receive(RequestVote("2", "1", 2, 0, 0), LATER)
    yes, no = VoteReply("1", "2", 2, granted=True), VoteReply("1", "3", 2, granted=False)
    effects = raft.take()
    assert (effects.send_after_sync, effects.send_now) == ((yes, yes), (no,))


def test_a_vote_is_sent_only_after_it_is_on_disk() -> None:
    """Figure 2: votedFor is "updated on stable storage before responding to RPCs"."""
    raft = follower()
    raft.receive(RequestVote("2", "1", 2, 0, 0), LATER)
    effects = raft.take()
    assert effects.hard_state == HardState(2, "2")
    assert effects.send_after_sync == (VoteReply("1", "2", 2, granted=True),)
    assert not effects.send_now


def test_a_vote_is_remembered_over_a_restart() -> None:
    """Figure 2: votedFor is persistent."""
    raft = follower(term=2, vote="2")
    raft.receive(RequestVote("3", "1", 2, 9, 9), LATER)
    assert settle(raft) == [VoteReply("1", "3", 2, granted=False)]


def test_a_new_leader_tells_everybody_to_prevent_new_elections() -> None:
    """5.2: "Once a candidate wins an election, it becomes leader. It then sends heartbeat messages to all of
    the other servers to establish its authority and prevent new elections." Ours carry the no-op already."""
    raft = follower()
    leader(raft)
    sent = [message for message in settle(raft) if isinstance(message, AppendEntries)]
    assert [message.target for message in sent] == ["2", "3"]


def test_a_candidate_that_hears_from_the_leader_of_its_term_returns_to_follower() -> None:
    """5.2: "If the leader's term (included in its RPC) is at least as large as the candidate's current term,
    then the candidate recognizes the leader as legitimate and returns to follower state." """
    raft = follower()
    now_ns = candidate(raft)
    raft.receive(heartbeat("2", "1", 2), now_ns)
    assert (raft.role, raft.leader) == (Role.FOLLOWER, "2")


def test_a_candidate_ignores_a_leader_of_a_smaller_term() -> None:
    """5.2: "If the term in the RPC is smaller than the candidate's current term, then the candidate rejects
    the RPC and continues in candidate state." """
    raft = follower()
    now_ns = candidate(raft)
    raft.receive(heartbeat("2", "1", 1), now_ns)
    assert raft.role is Role.CANDIDATE


def test_a_candidate_without_a_result_times_out_and_starts_over() -> None:
    """5.2: "When this happens, each candidate will time out and start a new election by incrementing its term
    and initiating another round of RequestVote RPCs." Here it asks for pre-votes first."""
    raft = follower()
    candidate(raft)
    assert raft.term == 2
    candidate(raft)
    assert (raft.role, raft.term) == (Role.CANDIDATE, 3)


def test_election_timeouts_are_random_in_a_fixed_interval() -> None:
    """5.2: "election timeouts are chosen randomly from a fixed interval": ours is [T, 2T)."""
    timeouts = [Raft("1", Config(), Restored(), Random(seed), 0)._random_timeout_ns(T) for seed in range(100)]
    assert all(T <= timeout < 2 * T for timeout in timeouts)
    assert max(timeouts) - min(timeouts) > T * 9 // 10


def test_two_leaders_in_one_term_are_an_invariant_violation() -> None:
    """5.2: "at most one candidate can win the election for a particular term (the Election Safety
    Property)"."""
    raft = follower(term=1)
    raft.receive(heartbeat("2", "1", 1), LATER)
    with pytest.raises(InvariantViolation, match="two leaders in one term: 2 and 3"):
        raft.receive(heartbeat("3", "1", 1), LATER)


def test_a_message_for_another_server_is_not_taken() -> None:
    """A server that lost its disk comes back under its old address with a new id."""
    with pytest.raises(MisdirectedMessage, match="for 7 came to 1"):
        follower().receive(heartbeat("2", "7", 1), LATER)


# ---- Section 5.4.1


@pytest.mark.parametrize(
    ("last_term", "last_index", "granted"),
    [(3, 1, True), (2, 9, False), (3, 2, True), (3, 3, True), (4, 1, True), (2, 3, False)],
)
def test_the_vote_goes_only_to_an_up_to_date_log(last_term: int, last_index: int, granted: bool) -> None:
    """5.4.1: "If the logs have last entries with different terms, then the log with the later term is more
    up-to-date. If the logs end with the same term, then whichever log is longer is more up-to-date." """
    granted = granted and not (last_term == 3 and last_index < 2)
    for request, reply in ((RequestVote, VoteReply), (RequestPreVote, PreVoteReply)):
        raft = follower(term=4, log=(1, 3))
        raft.receive(request("2", "1", 5, last_index, last_term), LATER)
        (answer,) = settle(raft)
        assert isinstance(answer, reply)
        assert answer.granted is granted


# ---- Thesis section 9.6 (pre-vote), 4.2.3 (disruptive servers)


def test_a_pre_vote_changes_neither_term_nor_vote() -> None:
    """9.6: a candidate only increments its term if it first learns from a majority of the cluster that they
    would be willing to grant the candidate their votes."""
    asking, asked = follower("1", term=3), follower("2", term=3)
    now_ns = asking.deadline_ns
    asking.tick(now_ns)
    (request, _) = settle(asking)
    assert request == RequestPreVote("1", "2", 4, 0, 0)
    asked.receive(request, now_ns)
    assert settle(asked) == [PreVoteReply("2", "1", 4, granted=True)]
    assert [(raft.term, raft.vote) for raft in (asking, asked)] == [(3, None), (3, None)]


def test_a_server_that_cannot_win_does_not_raise_its_term() -> None:
    """9.6: the Pre-Vote algorithm solves the issue of a partitioned server disrupting the cluster when it
    rejoins."""
    raft = follower(term=3)
    for _ in range(50):
        raft.tick(raft.deadline_ns)
        settle(raft)
    assert (raft.role, raft.term) == (Role.PRE_CANDIDATE, 3)


def test_a_pre_vote_is_not_a_vote() -> None:
    """Late pre-vote replies must not elect: they promise nothing."""
    raft = follower(configuration=members("1", "2", "3", "4", "5"))
    now_ns = candidate(raft)
    settle(raft)
    for voter in "2345":
        raft.receive(PreVoteReply(voter, "1", raft.term, granted=True), now_ns)
    assert raft.role is Role.CANDIDATE


def test_a_pre_candidate_of_a_past_term_learns_the_present_one_and_waits() -> None:
    """9.6 with 5.1: the refusal tells the term. To ask again at once would be to overtake whoever began that
    term, just as it is being elected."""
    raft = follower(term=3)
    now_ns = raft.deadline_ns
    raft.tick(now_ns)
    settle(raft)
    raft.receive(PreVoteReply("2", "1", 8, granted=False), now_ns)
    assert (raft.role, raft.term) == (Role.FOLLOWER, 8)
    assert raft.deadline_ns >= now_ns + T
    raft.tick(raft.deadline_ns)
    assert [message.term for message in settle(raft)] == [9, 9]


@pytest.mark.parametrize("request_type", [RequestVote, RequestPreVote])
def test_who_heard_the_leader_lately_takes_no_part_in_an_election(
    request_type: type[RequestVote] | type[RequestPreVote],
) -> None:
    """4.2.3: if a server receives a RequestVote request within the minimum election timeout of hearing
    from a current leader, it does not update its term or grant its vote."""
    raft = follower(term=1)
    raft.receive(heartbeat("2", "1", 1), LATER)
    settle(raft)
    raft.receive(request_type("3", "1", 2, 9, 9), LATER + T - 1)
    assert (settle(raft), raft.term) == ([], 1)
    raft.receive(request_type("3", "1", 2, 9, 9), LATER + T)
    assert len(settle(raft)) == 1


def test_a_leader_takes_no_part_in_an_election() -> None:
    """4.2.3: it hears itself. (If it were cut off, it would step down by check-quorum.)"""
    raft = follower()
    now_ns = leader(raft)
    settle(raft)
    raft.receive(RequestVote("3", "1", 9, 9, 9), now_ns)
    assert (raft.role, settle(raft)) == (Role.LEADER, [])


def test_a_restarted_server_assumes_that_it_heard_the_leader_just_before() -> None:
    """4.2.3 and 6.4.1: its answer may be what the leader's lease rests on."""
    raft = follower(term=1)
    raft.receive(RequestVote("3", "1", 2, 9, 9), T - 1)
    assert settle(raft) == []


def test_a_pre_candidate_repeats_its_question_until_those_who_heard_the_leader_later_answer() -> None:
    """So a leader's death costs the timeout of the first to notice, not that of the second."""
    raft = follower()
    raft.tick(raft.deadline_ns)
    settle(raft)
    assert raft.deadline_ns - raft._now_ns == Config().heartbeat_interval_ns
    raft.tick(raft.deadline_ns)
    assert [type(message) for message in settle(raft)] == [RequestPreVote, RequestPreVote]


# ---- Section 6.2 of the thesis (check-quorum)


def test_a_leader_that_does_not_hear_a_quorum_within_the_lease_steps_down() -> None:
    """Thesis 6.2: a leader in Raft steps down if an election timeout elapses without a successful round of
    heartbeats to a majority of its cluster; as in hashicorp/raft, the leader lease timeout is the time."""
    raft = follower()
    elected_ns = leader(raft)
    settle(raft)
    while raft.role is Role.LEADER:
        now_ns = raft.deadline_ns
        raft.tick(now_ns)
        settle(raft)
    waited_ns = now_ns - elected_ns
    assert 0 <= waited_ns - Config().leader_lease_timeout_ns <= Config().heartbeat_interval_ns


def test_a_leader_that_hears_a_quorum_stays() -> None:
    raft = follower(configuration=members("1", "2", "3", "4", "5"))
    leader(raft)
    for _ in range(100):
        raft.tick(raft.deadline_ns)
        for message in settle(raft):
            if isinstance(message, AppendEntries) and message.target in "23":
                raft.receive(AppendReply(message.target, "1", raft.term, False, 0), raft._now_ns)
    assert raft.role is Role.LEADER
