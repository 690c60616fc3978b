"""Reading back what a server stored, and finding out what it means. Changes nothing.

The newest segment's header says which segments make up the log; all of them have to be there. They are read
in order, and what comes later wins: a hard state over the one before, an entry over those from its index
on, a restart over the whole log. Then the snapshot is held against the log.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from impl.ports import Disk
from impl.raft import Entry, HardState, Restored, Snapshot
from impl.storage.errors import Corrupt, DiskFailed
from impl.storage.format import (
    Batch,
    Cut,
    decode_segment,
    decode_segment_header,
    decode_snapshot,
)

SNAPSHOT_FILE = "snapshot"
_SEGMENT_FILE = re.compile(r"log-([0-9a-f]{16})")


def segment_file(number: int) -> str:
    return f"log-{number:016x}"


@dataclass(slots=True)
class SegmentInUse:
    """What has to be known of a segment to go on with it and to drop it in time."""

    number: int
    size: int = 0
    last_index: int = 0
    """The highest index of any entry in it; 0 if there is none."""

    def add(self, size: int, entries: Sequence[Entry]) -> None:
        self.size += size
        self.last_index = max(self.last_index, entries[-1].index if entries else 0)


class LogTerms:
    """The term of every entry of a log, as runs of equal terms: small however long the log is."""

    def __init__(self) -> None:
        self.last_index = 0
        self._first_indexes: list[int] = []
        self._terms: list[int] = []

    def at(self, index: int) -> int | None:
        """The term of the entry at `index`, if that is known."""
        run = bisect.bisect_right(self._first_indexes, index) - 1
        return self._terms[run] if run >= 0 and index <= self.last_index else None

    def append(self, index: int, term: int) -> None:
        """The log now ends at `index`, with `term`."""
        while self._first_indexes and self._first_indexes[-1] >= index:
            self._first_indexes.pop()
            self._terms.pop()
        if not self._terms or self._terms[-1] != term:
            self._first_indexes.append(index)
            self._terms.append(term)
        self.last_index = index

    def restart(self, index: int, term: int) -> None:
        """Nothing is known before `index`."""
        self._first_indexes.clear()
        self._terms.clear()
        self.append(index, term)


@dataclass(slots=True)
class Found:
    """What there is, and what `Storage.open` has to do about it."""

    restored: Restored
    terms: LogTerms
    segments: list[SegmentInUse]
    """Oldest first; empty if nothing was ever stored here."""
    next_batch: int
    newest: bytes
    """The newest segment without a torn tail."""
    restart: tuple[int, int] | None
    """(index, term) of the snapshot for which the log is to be given up."""
    leftovers: list[int]
    """Segments to be removed."""
    cut: Cut | None


@dataclass(slots=True)
class _Log:
    """The log as replayed so far."""

    hard_state: HardState = field(default_factory=HardState)
    restart: tuple[int, int] | None = None
    entries: list[Entry] = field(default_factory=list)

    def replay(self, file: str, offset: int, batch: Batch) -> None:
        if batch.hard_state is not None:
            self.hard_state = batch.hard_state
        if batch.restart is not None:
            self.restart = batch.restart
            self.entries.clear()
        for entry in batch.entries:
            if self.entries:
                last_index = self.entries[-1].index
                if entry.index > last_index + 1:
                    raise Corrupt(file, offset, f"entry {entry.index} comes after entry {last_index}")
                del self.entries[max(0, entry.index - self.entries[0].index) :]
            self.entries.append(entry)

    @property
    def base(self) -> int | None:
        """The index before the first entry; None if nothing is said of it."""
        if self.entries:
            return self.entries[0].index - 1
        return self.restart[0] if self.restart else None


def replay(disk: Disk, trailing_entries: int) -> Found:
    """Read everything. Raises Corrupt or DiskFailed."""
    names = _names(disk)
    snapshot = decode_snapshot(SNAPSHOT_FILE, _read(disk, SNAPSHOT_FILE)) if SNAPSHOT_FILE in names else None
    numbers = [int(match[1], 16) for name in names if (match := _SEGMENT_FILE.fullmatch(name))]
    if not numbers:
        if snapshot is not None:
            raise Corrupt(SNAPSHOT_FILE, 0, "there is a snapshot, but the log with term and vote is gone")
        return Found(Restored(), LogTerms(), [], 1, b"", None, [], None)

    newest_data = _read(disk, segment_file(numbers[-1]))
    oldest = decode_segment_header(segment_file(numbers[-1]), newest_data, numbers[-1]).oldest
    log = _Log()
    segments: list[SegmentInUse] = []
    next_batch: int | None = None
    cut: Cut | None = None
    for number in range(oldest, numbers[-1] + 1):
        file = segment_file(number)
        if number not in numbers:
            raise Corrupt(file, 0, "the file is missing")
        data = newest_data if number == numbers[-1] else _read(disk, file)
        header = decode_segment_header(file, data, number)
        if next_batch is not None and header.first_batch != next_batch:
            why = f"the next batch here is {next_batch}, but {file} begins with batch {header.first_batch}"
            raise Corrupt(segment_file(number - 1), segments[-1].size, why)
        batches, next_batch, size, cut = decode_segment(file, data, header, newest=number == numbers[-1])
        segment = SegmentInUse(number, size)
        for offset, batch in batches:
            log.replay(file, offset, batch)
            segment.add(0, batch.entries)
        segments.append(segment)
    assert next_batch is not None, "the header's checksum covers that oldest <= number"

    terms, restart = _reconcile(log, snapshot)
    if restart is not None:
        log.entries.clear()
    if snapshot is not None:
        kept_from_index = snapshot.index - trailing_entries + 1
        log.entries = [entry for entry in log.entries if entry.index >= kept_from_index]
    return Found(
        restored=Restored(log.hard_state, snapshot, log.entries),
        terms=terms,
        segments=segments,
        next_batch=next_batch,
        newest=newest_data[: segments[-1].size],
        restart=restart,
        leftovers=[n for n in numbers if n < oldest or restart is not None],
        cut=cut,
    )


def _reconcile(log: _Log, snapshot: Snapshot | None) -> tuple[LogTerms, tuple[int, int] | None]:
    """Hold the snapshot against the log: its terms, and where it has to restart if they do not fit."""
    terms = LogTerms()
    index = snapshot.index if snapshot else 0
    if log.base is not None and log.base > index:
        raise Corrupt(
            SNAPSHOT_FILE, 0, f"the log begins after index {log.base}, but the snapshot ends at {index}"
        )
    if snapshot is not None and (not log.entries or log.base == index):
        terms.restart(index, snapshot.term)
    for entry in log.entries:
        terms.append(entry.index, entry.term)
    if snapshot is not None and terms.at(index) != snapshot.term:
        terms.restart(index, snapshot.term)
        return terms, (index, snapshot.term)
    return terms, None


def _names(disk: Disk) -> list[str]:
    try:
        return disk.names()
    except OSError as error:
        raise DiskFailed("the directory", error.errno, error.strerror or str(error)) from error


def _read(disk: Disk, file: str) -> bytes:
    try:
        return disk.read(file)
    except OSError as error:
        raise DiskFailed(file, error.errno, error.strerror or str(error)) from error
