"""Single cores and their disks, for tests that play the network themselves.

`impl.raft.simulation` has whole clusters in virtual time.
"""

from __future__ import annotations

from collections import deque
from random import Random

from impl.raft.core import Raft
from impl.raft.messages import (
    Configuration,
    Entry,
    EntryKind,
    Message,
    PreVoteReply,
    Server,
    ServerId,
    Snapshot,
    VoteReply,
)
from impl.raft.types import Config, Effects, HardState, Restored, Role


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

    def __init__(self, trailing_entries: int) -> None:
        """So many entries stay before a snapshot of the server's own."""
        self.hard_state = HardState()
        self.snapshot: Snapshot | None = None
        self.entries: list[Entry] = []
        self.writing: deque[Effects | Snapshot] = deque()
        self._trailing_entries = trailing_entries

    def complete(self) -> Effects | Snapshot:
        """The oldest write is done."""
        write = self.writing.popleft()
        if isinstance(write, Snapshot):
            self.compact(write)
            return write
        if write.hard_state is not None:
            self.hard_state = write.hard_state
        if write.snapshot is not None:
            self.snapshot = write.snapshot
            self.entries = []
        if write.entries:
            self._append(write.entries)
        return write

    def _append(self, entries: tuple[Entry, ...]) -> None:
        """The first entry cuts the log; what does not reach up to it is out of date."""
        kept = entries[0].index - self.entries[0].index if self.entries else 0
        if not 0 <= kept <= len(self.entries):
            kept = 0
        del self.entries[kept:]
        self.entries.extend(entries)

    def compact(self, snapshot: Snapshot) -> None:
        """A snapshot of the server's own. The log stays beyond it, and a little before it."""
        if self.snapshot is None or snapshot.index > self.snapshot.index:
            self.snapshot = snapshot
            first = snapshot.index - self._trailing_entries + 1
            self.entries = [entry for entry in self.entries if entry.index >= first]

    def crash(self, survivors: int) -> None:
        """The first `survivors` of the writes under way have happened."""
        for _ in range(survivors):
            self.complete()
        self.writing.clear()

    def restored(self) -> Restored:
        return Restored(self.hard_state, self.snapshot, list(self.entries))
