"""The log in memory: what follows the base, how much of it storage has been given, how much is on disk.

    base_index        synced_index     persisted_index     last_index
        |                  |                  |                |
    ....[=== on disk ======][= being written =][= not handed ==]

`base_index` is the entry before the first one kept; its term is known, itself it is not. All operations are
O(1) or proportional to the entries they return, except for `compact` and the binary searches.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence

from impl.raft.errors import InvariantViolation
from impl.raft.messages import Entry, Snapshot


def _term(entry: Entry) -> int:
    return entry.term


class Log:
    """A contiguous run of entries after `base_index`."""

    def __init__(self, base_index: int, base_term: int, entries: Sequence[Entry]) -> None:
        """The log as found on disk: all of it counts as synced. Raises InvariantViolation for a gap."""
        self.base_index = base_index
        self.base_term = base_term
        self._entries = list(entries)
        for index, entry in enumerate(self._entries, base_index + 1):
            if entry.index != index:
                raise InvariantViolation(f"the log has entry {entry.index} where {index} belongs")
        self.last_index = base_index + len(self._entries)
        self.last_term = self._entries[-1].term if self._entries else base_term
        self.persisted_index = self.last_index
        self.synced_index = self.last_index
        self.rewrites = 0
        """How often entries were taken back: as long as it stays the same, the log only grows at its end."""
        self._syncing: deque[tuple[int, int]] = deque()
        self._batch: tuple[Entry, ...] = ()

    @classmethod
    def after_snapshot(cls, snapshot: Snapshot, entries: Sequence[Entry]) -> Log:
        """What a server restarts with: `entries`, unless the snapshot contradicts or has overtaken them.

        Raises InvariantViolation if they begin too late to follow the snapshot.
        """
        index, term = snapshot.index, snapshot.term
        if entries and entries[0].index <= index:
            position = index - entries[0].index
            if position < len(entries) and entries[position].term == term:
                index, term = entries[0].index, entries[0].term
                entries = entries[1:]
            else:
                entries = ()
        return cls(index, term, entries)

    def term_at(self, index: int) -> int | None:
        """The term of the entry at `index`; None before the base and after the end."""
        position = index - self.base_index - 1
        if position < 0:
            return self.base_term if position == -1 else None
        return self._entries[position].term if index <= self.last_index else None

    def slice(self, first: int, last: int) -> tuple[Entry, ...]:
        """The entries from `first` through `last`, all of which must be there."""
        if first > last:
            return ()
        if first <= self.base_index or last > self.last_index:
            raise InvariantViolation(
                f"entries {first} to {last} wanted of a log of {self.base_index + 1} to {self.last_index}"
            )
        return tuple(self._entries[first - self.base_index - 1 : last - self.base_index])

    def batch(self, first: int, entries_max: int, bytes_max: int) -> tuple[Entry, ...]:
        """The entries from `first` on, at least one, within the limits.

        The last answer is kept, since a leader asks the same for one follower after the other.
        """
        last = min(self.last_index, first + entries_max - 1)
        batch = self._batch
        if batch and batch[0].index == first and batch[-1].index == last:
            return batch
        batch = self.slice(first, last)
        size = 0
        for count, entry in enumerate(batch):
            size += len(entry.data)
            if size > bytes_max and count:
                batch = batch[:count]
                break
        self._batch = batch
        return batch

    def append(self, entry: Entry) -> None:
        """Add one entry at the end."""
        self._entries.append(entry)
        self.last_index = entry.index
        self.last_term = entry.term

    def extend(self, entries: Sequence[Entry]) -> None:
        """Add entries at the end, of which there must be some."""
        self._entries.extend(entries)
        self.last_index = entries[-1].index
        self.last_term = entries[-1].term

    def truncate(self, first: int) -> None:
        """Drop `first` and all that follow it."""
        del self._entries[first - self.base_index - 1 :]
        self.last_index = first - 1
        self.last_term = self._entries[-1].term if self._entries else self.base_term
        self._forget_after(first - 1)

    def reset(self, index: int, term: int, common_index: int) -> None:
        """Start anew after `index`: a snapshot replaces everything.

        Up to `common_index` the old log told the same as the snapshot: what was durable of that still is.
        """
        self._entries.clear()
        self.base_index = self.last_index = index
        self.base_term = self.last_term = term
        self._forget_after(common_index)
        self.persisted_index = index

    def compact(self, index: int) -> None:
        """Drop everything up to and including `index`, which becomes the base."""
        term = self.term_at(index)
        if term is None:
            raise InvariantViolation(
                f"cannot compact to {index} a log of {self.base_index + 1} to {self.last_index}"
            )
        del self._entries[: index - self.base_index]
        self.base_index, self.base_term = index, term

    def last_index_within(self, index: int, term: int) -> int:
        """The last entry not after `index` whose term is at most `term`; not before the base.

        Two logs cannot agree at a later entry, if the other has `term` at `index`, or ends there (the
        optimisation of Raft section 5.3, in the form of etcd-io/raft, findConflictByTerm).
        """
        if index <= self.base_index:
            return index
        position = min(index, self.last_index) - self.base_index
        return self.base_index + bisect_right(self._entries, term, 0, position, key=_term)

    def hand_over(self, batch: int) -> tuple[Entry, ...]:
        """The entries that storage has not been given yet, now given as part of `batch`."""
        entries = self.slice(self.persisted_index + 1, self.last_index)
        self.persisted_index = self.last_index
        self._syncing.append((batch, self.last_index))
        return entries

    def synced(self, batch: int) -> None:
        """`batch` and all before it are on disk."""
        syncing = self._syncing
        while syncing and syncing[0][0] <= batch:
            self.synced_index = syncing.popleft()[1]

    def _forget_after(self, index: int) -> None:
        """What was handed over after `index` no longer belongs to the log, even once it is on disk."""
        self.rewrites += 1
        self.persisted_index = min(self.persisted_index, index)
        self.synced_index = min(self.synced_index, index)
        self._syncing = deque((batch, min(last, index)) for batch, last in self._syncing)
        self._batch = ()
