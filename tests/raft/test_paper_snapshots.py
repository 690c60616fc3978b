"""The paper's sentences on log compaction, one test each (section 7, Figure 13).

Sources and manner of quoting as in test_paper_elections.py.
"""

from random import Random

import pytest

from impl.raft import (
    AppendEntries,
    AppendReply,
    Config,
    Entry,
    EntryKind,
    HardState,
    InstallSnapshot,
    InvariantViolation,
    Raft,
    Restored,
    Snapshot,
    SnapshotReply,
    encode_configuration,
)
from impl.raft.progress import ProgressState
from impl.raft.testing import follower, leader, members, settle

LATER = 10 * Config().heartbeat_timeout_ns
THREE = members("1", "2", "3")


def chunk(
    index: int, term: int, offset: int, data: bytes, done: bool, leader_term: int = 5
) -> InstallSnapshot:
    return InstallSnapshot("2", "1", leader_term, index, term, THREE, offset, data, done)


def committed(length: int, config: Config) -> tuple[Raft, int]:
    """A leader whose log of `length` entries is committed and applied; "3" has nothing of it."""
    raft = follower(term=1, log=(1,) * (length - 1), config=config)
    now_ns = leader(raft)
    settle(raft)
    raft.receive(AppendReply("2", "1", raft.term, rejected=False, index=length), now_ns)
    settle(raft)
    raft.applied(length)
    return raft, now_ns


def test_what_a_snapshot_covers_is_dropped_but_for_trailing_entries() -> None:
    """7: "Once a server completes writing a snapshot, it may delete all log entries up through the last
    included index". Trailing entries (hashicorp/raft) spare slow followers a snapshot."""
    raft, _ = committed(10, Config(trailing_entries=3))
    raft.compact(Snapshot(8, 1, THREE, b"state"))
    assert raft.term_at(5) == 1
    with pytest.raises(InvariantViolation, match="term of entry 4"):
        raft.term_at(4)


def test_a_snapshot_holds_the_configuration_as_of_its_index() -> None:
    """7: "the snapshot also includes the latest configuration in the log as of last included index"."""
    four = members("1", "2", "3", "4")
    raft = follower(term=1, log=(1, 1))
    entry = Entry(3, 1, int(EntryKind.CONFIGURATION), encode_configuration(four))
    raft.receive(AppendEntries("2", "1", 1, 2, 1, (entry,), 3, 0, 0), LATER)
    assert [raft.configuration_at(index) for index in (1, 2, 3)] == [THREE, THREE, four]


def test_a_snapshot_of_what_is_not_applied_is_an_invariant_violation() -> None:
    """7: a snapshot covers "just the committed entries"; what is not applied cannot be in it."""
    raft, _ = committed(10, Config())
    with pytest.raises(InvariantViolation, match="snapshot at 11, applied only up to 10"):
        raft.compact(Snapshot(11, 2, THREE, b""))
    with pytest.raises(InvariantViolation, match="of term 7, but the entry there has term 1"):
        raft.compact(Snapshot(9, 7, THREE, b""))


def test_the_leader_sends_a_snapshot_when_what_comes_next_is_dropped() -> None:
    """7: "the leader must occasionally send snapshots to followers that lag behind. This happens when the
    leader has already discarded the next log entry that it needs to send". In chunks (Figure 13), then the
    log."""
    raft, now_ns = committed(10, Config(trailing_entries=0, snapshot_chunk_bytes=3))
    raft.compact(Snapshot(9, 1, THREE, b"the state"))
    raft.receive(AppendReply("3", "1", raft.term, rejected=True, index=9, hint_index=0), now_ns)
    empty = follower("3", term=1)
    received = b""
    for _ in range(12):
        for message in settle(raft):
            if message.target == "3":
                empty.receive(message, now_ns)
        while effects := empty.take():
            received += effects.snapshot.data if effects.snapshot is not None else b""
            empty.synced(effects.batch, now_ns)
            for message in (*effects.send_now, *effects.send_after_sync):
                raft.receive(message, now_ns)
    assert received == b"the state"
    assert (empty.commit_index, empty.last_index) == (10, 10)
    assert raft.progress["3"].match_index == 10


def test_no_snapshot_is_sent_to_a_silent_follower() -> None:
    """It would be lost, whole and repeatedly."""
    raft, now_ns = committed(10, Config(trailing_entries=0))
    settle(raft)
    sent = []
    raft.compact(Snapshot(10, raft.term, THREE, b""))
    while raft._now_ns < now_ns + 2 * Config().heartbeat_timeout_ns:
        raft.tick(raft.deadline_ns)
        raft.receive(AppendReply("2", "1", raft.term, rejected=False, index=10), raft._now_ns)
        sent += [m for m in settle(raft) if isinstance(m, InstallSnapshot)]
    assert (sent, raft.progress["3"].state) == ([], ProgressState.PROBE)


def test_a_chunk_is_sent_again_when_no_answer_comes() -> None:
    """5.5: RPCs are retried."""
    raft, now_ns = committed(10, Config(trailing_entries=0))
    raft.compact(Snapshot(9, 1, THREE, b"state"))
    raft.receive(AppendReply("3", "1", raft.term, rejected=True, index=9, hint_index=0), now_ns)
    sent = 0
    while raft._now_ns < now_ns + 2 * Config().election_timeout_ns:
        sent += sum(isinstance(message, InstallSnapshot) for message in settle(raft))
        raft.tick(raft.deadline_ns)
        for voter in "23":
            raft.receive(AppendReply(voter, "1", raft.term, rejected=False, index=0), raft._now_ns)
    assert sent == 2


def test_step_1_a_past_term_is_refused() -> None:
    """Figure 13: "Reply immediately if term < currentTerm"."""
    raft = follower(term=6)
    raft.receive(chunk(9, 4, 0, b"", done=True), LATER)
    assert settle(raft) == [AppendReply("1", "2", 6, rejected=True, index=0)]


def test_steps_2_to_4_chunks_are_put_together_in_order() -> None:
    """Figure 13: "Create new snapshot file if first chunk (offset is 0). Write data into snapshot file at
    given offset. Reply and wait for more data chunks if done is false"."""
    raft = follower(term=5)
    offsets = []
    # The third is out of order, the fourth comes twice.
    for offset, data, done in ((0, b"ab", False), (0, b"ab", False), (4, b"ef", True), (2, b"cd", False)):
        raft.receive(chunk(9, 4, offset, data, done), LATER)
        (reply,) = settle(raft)
        assert isinstance(reply, SnapshotReply)
        offsets.append(reply.offset)
    assert (offsets, raft.commit_index) == ([2, 2, 2, 4], 0)
    raft.receive(chunk(9, 4, 4, b"ef", done=True), LATER)
    effects = raft.take()
    assert effects.snapshot == Snapshot(9, 4, THREE, b"abcdef")
    assert effects.send_after_sync == (AppendReply("1", "2", 5, rejected=False, index=9),)


def test_a_restarted_follower_asks_for_the_first_chunk() -> None:
    raft = follower(term=5)
    raft.receive(chunk(9, 4, 4, b"ef", done=True), LATER)
    assert settle(raft) == [SnapshotReply("1", "2", 5, 9, 0)]


def test_step_5_a_partial_snapshot_gives_way_to_a_later_one() -> None:
    """Figure 13: "discard any existing or partial snapshot with a smaller index"."""
    raft = follower(term=5)
    raft.receive(chunk(9, 4, 0, b"old", done=False), LATER)
    raft.receive(chunk(12, 4, 0, b"new", done=False), LATER)
    settle(raft)
    raft.receive(chunk(9, 4, 3, b"old", done=True), LATER)
    assert settle(raft) == []
    raft.receive(chunk(12, 4, 3, b"er", done=True), LATER)
    assert raft.take().snapshot == Snapshot(12, 4, THREE, b"newer")


def test_two_leaders_chunks_do_not_mix() -> None:
    raft = follower(term=5)
    raft.receive(chunk(9, 4, 0, b"one", done=False), LATER)
    settle(raft)
    raft.receive(chunk(9, 4, 3, b"two", done=True, leader_term=6), LATER)
    assert settle(raft) == [SnapshotReply("1", "2", 6, 9, 0)]


def test_step_6_what_follows_the_snapshot_is_retained_if_the_log_agrees() -> None:
    """Figure 13: "If existing log entry has same index and term as snapshot's last included entry, retain log
    entries following it and reply": they may have been acknowledged and counted."""
    raft = follower(term=5, log=(1, 1, 4, 4, 5))
    raft.receive(chunk(3, 4, 0, b"state", done=True), LATER)
    effects = raft.take()
    assert effects.snapshot is None
    assert (raft.commit_index, raft.last_index) == (3, 5)
    assert [entry.index for entry in effects.apply] == [1, 2, 3]


def test_steps_7_and_8_the_log_is_discarded_and_the_state_machine_reset() -> None:
    """Figure 13: "Discard the entire log. Reset state machine using snapshot contents (and load snapshot's
    cluster configuration)"."""
    for log in ((), (1, 1), (1, 1, 2, 2)):
        raft = follower(configuration=members("1"), term=5, log=log)
        raft.receive(chunk(3, 4, 0, b"state", done=True), LATER)
        effects = raft.take()
        assert effects.snapshot == Snapshot(3, 4, THREE, b"state")
        assert (raft.commit_index, raft.last_index, effects.apply) == (3, 3, ())
        assert raft.configuration == THREE


def test_a_snapshot_behind_the_commit_index_is_ignored() -> None:
    """7: what is committed is not undone."""
    raft = follower(term=5, log=(1, 1, 4, 4, 5))
    raft.receive(AppendEntries("2", "1", 5, 5, 5, (), 5, 0, 0), LATER)
    settle(raft)
    raft.receive(chunk(3, 4, 0, b"state", done=True), LATER)
    effects = raft.take()
    assert effects.snapshot is None
    assert effects.send_after_sync == (AppendReply("1", "2", 5, rejected=False, index=5),)
    assert (raft.commit_index, raft.last_index) == (5, 5)


def entry(index: int, term: int) -> Entry:
    return Entry(index, term, int(EntryKind.COMMAND), b"")


@pytest.mark.parametrize(
    ("entries", "last_index"),
    [
        ([], 5),
        ([entry(6, 2)], 6),
        ([entry(3, 1), entry(4, 2), entry(5, 2), entry(6, 2)], 6),
        ([entry(3, 1), entry(4, 2)], 5),  # The snapshot has overtaken the log,
        ([entry(4, 1), entry(5, 1), entry(6, 1)], 5),  # or contradicts it:
        # a crash came between installing the snapshot and dropping the log.
    ],
)
def test_a_server_restarts_from_its_snapshot_and_what_follows_it(
    entries: list[Entry], last_index: int
) -> None:
    restored = Restored(HardState(2, None), Snapshot(5, 2, THREE, b"state"), entries)
    raft = Raft("1", Config(), restored, Random(1), 0)
    assert (raft.commit_index, raft.applied_index, raft.last_index) == (5, 5, last_index)
    assert raft.configuration == THREE


def test_what_storage_cannot_have_written_is_an_invariant_violation() -> None:
    with pytest.raises(InvariantViolation, match="the log has entry 7 where 6 belongs"):
        snapshot = Snapshot(5, 2, THREE, b"")
        Raft("1", Config(), Restored(HardState(2, None), snapshot, [entry(7, 2)]), Random(1), 0)
    with pytest.raises(InvariantViolation, match="ends with an entry of the later term 2"):
        Raft("1", Config(), Restored(HardState(1, None), None, [entry(1, 2)]), Random(1), 0)
