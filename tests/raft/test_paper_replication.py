"""The paper's sentences on log replication and commitment, one test each (sections 5.3, 5.4.2, 5.5).

Sources and manner of quoting as in test_paper_elections.py.
"""

import pytest

from impl.raft import (
    AppendEntries,
    AppendReply,
    Config,
    Entry,
    EntryKind,
    InvariantViolation,
    NotLeader,
    Raft,
    Role,
)
from impl.raft.progress import ProgressState
from impl.raft.settings import Faults, Setting
from impl.raft.simulation import Simulation
from impl.raft.testing import follower, leader, members, settle

LATER = 10 * Config().heartbeat_timeout_ns


def entry(index: int, term: int, data: bytes = b"x") -> Entry:
    return Entry(index, term, int(EntryKind.COMMAND), data)


def append(
    term: int, previous: tuple[int, int], *terms: int, commit: int = 0, target: str = "1"
) -> AppendEntries:
    entries = tuple(entry(index, of) for index, of in enumerate(terms, previous[0] + 1))
    return AppendEntries("2", target, term, *previous, entries, commit, 0, 0)


def terms_of(raft: Raft) -> list[int]:
    return [raft.term_at(index) for index in range(1, raft.last_index + 1)]


def accepted(raft: Raft) -> int | None:
    """The index acknowledged by the only answer, or None if it refuses."""
    (reply,) = settle(raft)
    assert isinstance(reply, AppendReply)
    return None if reply.rejected else reply.index


def acknowledge(raft: Raft, source: str, index: int) -> None:
    raft.receive(AppendReply(source, raft.id, raft.term, rejected=False, index=index), raft._now_ns)


# ---- Section 5.3, the leader


def test_the_leader_appends_a_command_and_sends_it_in_parallel_to_all_others() -> None:
    """5.3: "The leader appends the command to its log as a new entry, then issues AppendEntries RPCs in
    parallel to each of the other servers to replicate the entry." """
    raft = follower()
    now_ns = leader(raft)
    settle(raft)
    index = raft.propose(b"command", now_ns)
    effects = raft.take()
    assert effects.entries == (Entry(index, 2, EntryKind.COMMAND, b"command"),)
    assert {(m.target, m.entries) for m in effects.send_now if isinstance(m, AppendEntries)} == {
        ("2", effects.entries),
        ("3", effects.entries),
    }


def test_proposals_between_two_takes_share_a_message_and_a_sync() -> None:
    """10.2.2 of the thesis: batching."""
    raft = follower()
    now_ns = leader(raft)
    settle(raft)
    for _ in range(64):
        raft.propose(b"command", now_ns)
    effects = raft.take()
    assert (len(effects.entries), [len(m.entries) for m in effects.send_now]) == (64, [64, 64])  # type: ignore[union-attr]


def test_entries_are_sent_without_waiting_for_answers_up_to_the_limit() -> None:
    """10.2.2 of the thesis: pipelining. the leader sends its next AppendEntries before its previous one is
    acknowledged, assuming that it succeeds."""
    config = Config(append_in_flight_max=3)
    raft = follower(config=config)
    now_ns = leader(raft)
    settle(raft)
    sent = []
    for _ in range(5):
        raft.propose(b"command", now_ns)
        sent.append(len(settle(raft)))
    assert sent == [2, 2, 0, 0, 0]  # The no-op is the first of three.
    acknowledge(raft, "2", 1)
    (message,) = settle(raft)
    assert isinstance(message, AppendEntries)
    assert (message.target, [e.index for e in message.entries]) == ("2", [4, 5, 6])


def test_a_message_holds_no_more_than_the_limits_allow() -> None:
    config = Config(append_entries_max=3, append_bytes_max=10)
    raft = follower(configuration=members("1", "2"), config=config)
    now_ns = leader(raft)
    settle(raft)
    for size in (1, 1, 1, 1, 6, 6, 99):
        raft.propose(b"x" * size, now_ns)
    batches = [[len(e.data) for e in m.entries] for m in settle(raft) if isinstance(m, AppendEntries)]
    assert batches == [[1, 1, 1], [1, 6], [6], [99]]


def test_an_entry_is_committed_once_it_is_on_a_majority() -> None:
    """5.3: "A log entry is committed once the leader that created the entry has replicated it on a majority
    of the servers." """
    raft = follower(configuration=members("1", "2", "3", "4", "5"))
    leader(raft)
    settle(raft)
    acknowledge(raft, "2", 1)
    assert raft.commit_index == 0
    acknowledge(raft, "3", 1)
    assert raft.commit_index == 1
    assert [e.kind for e in raft.take().apply] == [EntryKind.NOOP]


def test_the_leader_counts_itself_only_for_what_it_has_on_disk() -> None:
    """10.2.1 of the thesis: the leader may even commit an entry before it has been written to its own
    disk, if a majority of followers have written it to their disks - and not otherwise."""
    raft = follower()
    leader(raft)
    effects = raft.take()
    acknowledge(raft, "2", 1)
    assert raft.commit_index == 0
    raft.synced(effects.batch, raft._now_ns)
    assert raft.commit_index == 1

    raft = follower()
    leader(raft)
    raft.take()
    acknowledge(raft, "2", 1)
    acknowledge(raft, "3", 1)
    assert raft.commit_index == 1


def test_committing_an_entry_commits_all_before_it() -> None:
    """5.3: "This also commits all preceding entries in the leader's log, including entries created by
    previous leaders." """
    raft = follower(term=2, log=(1, 2, 2))
    leader(raft)
    settle(raft)
    acknowledge(raft, "3", 4)
    assert [e.index for e in raft.take().apply] == [1, 2, 3, 4]


def test_followers_learn_of_commits_from_the_next_message() -> None:
    """5.3: "The leader keeps track of the highest index it knows to be committed, and it includes that
    index in future AppendEntries RPCs (including heartbeats) so that the other servers eventually find
    out." """
    raft = follower()
    now_ns = leader(raft)
    settle(raft)
    acknowledge(raft, "2", 1)
    raft.tick(raft.deadline_ns)
    assert raft._now_ns - now_ns == Config().commit_timeout_ns
    assert [m.commit_index for m in settle(raft) if isinstance(m, AppendEntries)] == [1, 1]


def test_a_slow_follower_is_tried_until_it_has_all_entries() -> None:
    """5.3: "If followers crash or run slowly, or if network packets are lost, the leader retries
    AppendEntries RPCs indefinitely (even after it has responded to the client) until all followers
    eventually store all log entries." """
    raft = follower()
    leader(raft)
    settle(raft)
    for _ in range(30):
        raft.tick(raft.deadline_ns)
        acknowledge(raft, "2", 1)
        settle(raft)
    acknowledge(raft, "3", 0)
    (message,) = settle(raft)
    assert isinstance(message, AppendEntries)
    assert (message.target, message.entries[0].index) == ("3", 1)


def test_a_silent_follower_gets_no_entries_until_it_answers() -> None:
    """Sending on in the hope that all arrives is for followers that answer."""
    raft = follower()
    now_ns = leader(raft)
    settle(raft)
    while raft._now_ns < now_ns + 2 * Config().heartbeat_timeout_ns:
        raft.tick(raft.deadline_ns)
        acknowledge(raft, "2", raft.last_index)
        settle(raft)
    raft.propose(b"command", raft._now_ns)
    assert [m.target for m in settle(raft)] == ["2"]
    assert raft.progress["3"].state is ProgressState.PROBE


# ---- Section 5.3, the follower


def test_a_follower_refuses_entries_that_do_not_follow_its_log() -> None:
    """5.3: "If the follower does not find an entry in its log with the same index and term, then it refuses
    the new entries." """
    raft = follower(log=(1, 1), term=2)
    for previous in ((3, 1), (2, 2)):
        raft.receive(append(2, previous, 2), LATER)
        assert accepted(raft) is None
    assert terms_of(raft) == [1, 1]


def test_conflicting_entries_are_replaced_by_the_leaders() -> None:
    """5.3: "conflicting entries in follower logs will be overwritten with entries from the leader's log";
    Figure 2: "delete the existing entry and all that follow it"."""
    raft = follower(log=(1, 2, 2, 2), term=3)
    raft.receive(append(3, (1, 1), 3), LATER)
    effects = raft.take()
    assert terms_of(raft) == [1, 3]
    assert [e.index for e in effects.entries] == [2]


def test_an_old_message_does_not_truncate_what_came_after_it() -> None:
    """Figure 2: "If an existing entry conflicts with a new one (same index but different terms), delete" -
    and only then: messages may be late or double."""
    raft = follower(log=(1, 1, 1, 1))
    raft.receive(append(1, (1, 1), 1), LATER)
    assert (accepted(raft), terms_of(raft)) == (2, [1, 1, 1, 1])


# Figure 7: the leader's log when it comes to power, and what its followers may have.
FIGURE_7_LEADER = (1, 1, 1, 4, 4, 5, 5, 6, 6, 6)
FIGURE_7 = {
    "a": (1, 1, 1, 4, 4, 5, 5, 6, 6),
    "b": (1, 1, 1, 4),
    "c": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6),
    "d": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7),
    "e": (1, 1, 1, 4, 4, 4, 4),
    "f": (1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3),
}


@pytest.mark.parametrize("name", list(FIGURE_7))
def test_the_leader_makes_every_log_of_figure_7_equal_its_own(name: str) -> None:
    """5.3: "the leader must find the latest log entry where the two logs agree, delete any entries in the
    follower's log after that point, and send the follower all of the leader's entries after that point"; "if
    desired, the protocol can be optimized to reduce the number of rejected AppendEntries RPCs": at most one
    per term in conflict."""
    ahead = follower("1", term=7, log=FIGURE_7_LEADER)
    behind = follower("2", term=7, log=FIGURE_7[name])
    now_ns = leader(ahead)
    rejections = 0
    for _ in range(20):
        for message in settle(ahead):
            if message.target == "2":
                behind.receive(message, now_ns)
        for message in settle(behind):
            rejections += isinstance(message, AppendReply) and message.rejected
            ahead.receive(message, now_ns)
    assert terms_of(behind) == [*FIGURE_7_LEADER, 8]
    assert rejections <= 2


def test_an_acknowledgement_waits_for_the_disk() -> None:
    """Figure 2: log[] is "updated on stable storage before responding to RPCs"."""
    raft = follower()
    raft.receive(append(1, (0, 0), 1, 1), LATER)
    effects = raft.take()
    assert not effects.send_now
    assert [m.index for m in effects.send_after_sync if isinstance(m, AppendReply)] == [2]


def test_a_heartbeat_is_answered_at_once_for_what_is_on_disk() -> None:
    """Reads and leases need not wait for a disk; what is claimed must still be true."""
    raft = follower()
    raft.receive(append(1, (0, 0), 1, 1), LATER)
    first = raft.take()
    raft.receive(append(1, (2, 1)), LATER)
    assert [m.index for m in raft.take().send_now if isinstance(m, AppendReply)] == [0]
    raft.synced(first.batch, LATER)
    raft.receive(append(1, (2, 1)), LATER)
    assert [m.index for m in raft.take().send_now if isinstance(m, AppendReply)] == [2]


def test_what_was_truncated_is_not_on_disk_when_its_write_completes() -> None:
    """The write of a suffix that was replaced meanwhile says nothing about its replacement."""
    raft = follower(log=(1,))
    raft.receive(append(1, (1, 1), 1, 1), LATER)
    old = raft.take()
    raft.receive(append(3, (1, 1), 3, 3), LATER)
    new = raft.take()
    raft.synced(old.batch, LATER)
    raft.receive(append(3, (3, 3)), LATER)
    assert not raft.take().send_now  # The new term is not on disk either.
    raft.synced(new.batch, LATER)
    raft.receive(append(3, (3, 3)), LATER)
    assert [m.index for m in raft.take().send_now if isinstance(m, AppendReply)] == [3]


def test_a_follower_applies_what_it_learns_is_committed_and_has() -> None:
    """Figure 2: "If leaderCommit > commitIndex, set commitIndex = min(leaderCommit, index of last new
    entry)".
    """
    raft = follower(log=(1, 1, 2), term=2)
    raft.receive(append(2, (1, 1), commit=3), LATER)
    assert [e.index for e in raft.take().apply] == [1]
    raft.receive(append(2, (1, 1), 1, commit=3), LATER)
    assert [e.index for e in raft.take().apply] == [2]


def test_a_committed_entry_is_never_replaced() -> None:
    """5.4 (State Machine Safety): a leader that wants to is not one."""
    raft = follower(log=(1, 1))
    raft.receive(append(1, (2, 1), commit=2), LATER)
    with pytest.raises(InvariantViolation, match=r"committed entry 2 of term 1 is replaced.*committed 2"):
        raft.receive(append(2, (1, 1), 2), LATER)
    raft = follower(log=(1, 1))
    raft.receive(append(1, (2, 1), commit=2), LATER)
    with pytest.raises(InvariantViolation, match="has term 2 at the committed entry 2 of term 1"):
        raft.receive(append(2, (2, 2), 2), LATER)


def test_a_follower_that_acknowledges_what_was_never_sent_is_an_invariant_violation() -> None:
    raft = follower()
    leader(raft)
    with pytest.raises(InvariantViolation, match="2 acknowledged entry 99"):
        acknowledge(raft, "2", 99)


def test_only_the_leader_takes_proposals_and_others_name_it() -> None:
    """8: "the server will reject the client's request and supply information about the most recent leader it
    has heard from"."""
    raft = follower()
    with pytest.raises(NotLeader) as refusal:
        raft.propose(b"", LATER)
    assert refusal.value.leader is None
    raft.receive(append(1, (0, 0)), LATER)
    with pytest.raises(NotLeader) as refusal:
        raft.propose(b"", LATER)
    assert refusal.value.leader == "2"


# ---- Section 5.4.2


def test_only_entries_of_the_own_term_are_committed_by_counting() -> None:
    """5.4.2: "Raft never commits log entries from previous terms by counting replicas. Only log entries from
    the leader's current term are committed by counting replicas; once an entry from the current term has been
    committed in this way, then all prior entries are committed indirectly" (Figure 8)."""
    raft = follower(term=3, log=(1, 2))
    leader(raft)
    settle(raft)
    acknowledge(raft, "2", 2)
    acknowledge(raft, "3", 2)
    assert raft.commit_index == 0
    acknowledge(raft, "2", 3)
    assert raft.commit_index == 3


def test_a_leader_never_changes_its_own_log_but_at_the_end() -> None:
    """5.3 (Leader Append-Only): "a leader never overwrites or deletes entries in its log"."""
    raft = follower(term=3, log=(1, 2))
    now_ns = leader(raft)
    raft.receive(append(3, (0, 0), 3, 3), now_ns)
    assert (raft.role, terms_of(raft)) == (Role.LEADER, [1, 2, 4])


# ---- Section 5.5


def test_messages_that_come_twice_do_no_harm() -> None:
    """5.5: "Raft RPCs are idempotent, so this causes no harm." Each message of a run is delivered twice."""
    simulation = Simulation(1, Setting(servers=3, faults=Faults(duplication=1.0)))
    simulation.run(10**9)
    simulation.converge(10**9)
    assert simulation.committed > 100
