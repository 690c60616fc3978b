"""A Raft server's durable state over the Disk port.

Files: `snapshot`, and the log in segments `log-<number, 16 hexadecimal digits>`. Segments rather than one
file, for then dropping the old part of a log is removing files, and no entry that is kept is copied. (The
same choice as etcd's and Kafka's.) Bytes in place are never changed: an entry that replaces others is
appended like any other, and it is the order of writing that decides at replay, so a replaced suffix cannot
come back. A segment begins with the hard state of its time, so removing older ones loses neither term nor
vote.

Group commit: `append` only collects. `sync` writes all that was collected as one batch with one write,
flushes it, and in doing so covers everyone who appended before; what is appended meanwhile waits for the
next `sync`, so there is never more than one write that is not flushed. `format` tells torn tails from
damage by that.

Order of events, so that a power cut anywhere leaves something to go on with:

- A new segment is created by `Disk.replace` with its first batch in it, after all older ones are flushed:
  it is there as a whole or not at all.
- `install` first flushes the log, then replaces the snapshot, then begins a new segment, and then removes
  segments that only hold entries long before the snapshot. The new segment says which is the oldest that
  still counts, so a removed file that is back after a power cut is known as a left-over, and one that is
  missing is missed. If a snapshot is found that the log does not reach, or whose last entry has another
  term in the log, then the cut came before the new segment, and `open` gives up the log as `install` would
  have done. (Raft section 7: a log that has the snapshot's last entry is kept beyond it, otherwise all of
  it goes.)
- `open` writes the newest segment anew, by `Disk.replace`, and only then returns. That cuts the torn tail for
  good. It also makes durable what a killed process left in the kernel's memory, and what a failed flush left
  there, wrongly marked as written: nothing that was read is handed on before it is safe.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterator, Sequence

from impl.ports import Disk
from impl.raft import Entry, HardState, Restored, Snapshot
from impl.storage.errors import DiskFailed
from impl.storage.format import (
    Batch,
    Cut,
    SegmentHeader,
    encode_batch,
    encode_segment_header,
    encode_snapshot,
)
from impl.storage.replay import SNAPSHOT_FILE, Found, SegmentInUse, replay, segment_file

TRAILING_ENTRIES = 10240
"""Entries kept before a snapshot. (hashicorp/raft, config.go, TrailingLogs.)"""

SEGMENT_BYTES = 16 * 1024 * 1024
"""A segment that has grown so large is followed by another."""


class Storage:
    """One server's term, vote, log and snapshot. Made by `open`; the disk stays the caller's to close.

    Files of other names on the same disk are not touched.

    Every method may raise DiskFailed, after which nothing more is accepted. So it is if `sync` or `install`
    is cancelled half-way: it is then not known what is on disk.
    """

    cut: Cut | None
    """The torn tail that `open` cut, to be told to the operator."""

    def __init__(self, disk: Disk, found: Found, trailing_entries: int, segment_bytes: int) -> None:
        """Use `open`."""
        self.cut = found.cut
        self._disk = disk
        self._trailing_entries = trailing_entries
        self._segment_bytes = segment_bytes
        self._segments = found.segments
        self._next_batch = found.next_batch
        self._terms = found.terms
        self._hard_state = found.restored.hard_state
        self._snapshot_index = found.restored.snapshot.index if found.restored.snapshot else 0
        self._pending_hard_state = False
        self._pending_entries: list[Entry] = []
        self._gives_up_log = False
        self._writing = asyncio.Lock()
        self._installing = asyncio.Lock()
        self._failure: DiskFailed | None = None

    @classmethod
    async def open(
        cls, disk: Disk, *, trailing_entries: int = TRAILING_ENTRIES, segment_bytes: int = SEGMENT_BYTES
    ) -> tuple[Storage, Restored]:
        """Read what there is (nothing, on a new disk) and make it durable. Raises Corrupt or DiskFailed.

        `Restored.entries` begins `trailing_entries` before the snapshot's end at the earliest.
        """
        found = replay(disk, trailing_entries)
        storage = cls(disk, found, trailing_entries, segment_bytes)
        if found.restart is not None or not found.segments:
            await storage._begin_segment([], found.restart)
        else:
            await storage._replace(segment_file(found.segments[-1].number), found.newest)
        storage._remove(found.leftovers)
        return storage, found.restored

    def append(self, hard_state: HardState | None, entries: Sequence[Entry]) -> None:
        """Take what the next `sync` will make durable. Does not touch the disk.

        The first entry follows the last one of the log, or replaces the log from its index on; the others
        follow it. Raises ValueError for a gap, for an entry that a snapshot covers, and for any entry while
        `install` is giving up the log.
        """
        self._check()
        self._check_fit(entries)
        if hard_state is not None:
            self._hard_state = hard_state
            self._pending_hard_state = True
        self._pending_entries.extend(entries)
        for entry in entries:
            self._terms.append(entry.index, entry.term)

    async def sync(self) -> None:
        """Everything that was appended before this call is durable when it returns."""
        async with self._writing:
            await self._write_pending()

    async def install(self, snapshot: Snapshot) -> None:
        """Make a snapshot durable, this server's own or the leader's, and drop the log that it covers.

        Covers everything appended before, as `sync` does. Entries beyond the snapshot stay if the log has the
        snapshot's last entry; otherwise the whole log goes, and only after that entries that follow the
        snapshot can be appended. A snapshot that is not newer than the present one changes nothing.
        """
        async with self._installing:
            self._check()
            if snapshot.index <= self._snapshot_index:
                return
            self._gives_up_log = self._terms.at(snapshot.index) != snapshot.term
            await self.sync()
            await self._replace(SNAPSHOT_FILE, encode_snapshot(snapshot))
            self._snapshot_index = snapshot.index
            async with self._writing:
                await self._drop_covered(snapshot)

    async def _drop_covered(self, snapshot: Snapshot) -> None:
        restart = None
        kept_after_index = snapshot.index - self._trailing_entries
        kept = list(itertools.dropwhile(lambda s: s.last_index <= kept_after_index, self._segments))
        if self._gives_up_log:
            restart, kept = (snapshot.index, snapshot.term), []
            self._terms.restart(*restart)
        dropped = self._segments[: len(self._segments) - len(kept)]
        await self._begin_segment(kept, restart)
        self._gives_up_log = False
        self._remove([segment.number for segment in dropped])

    async def _write_pending(self) -> None:
        self._check()
        if not self._pending_hard_state and not self._pending_entries:
            return
        newest = self._segments[-1]
        if newest.size >= self._segment_bytes:
            await self._begin_segment(self._segments, None)
            return
        batch = Batch(self._hard_state if self._pending_hard_state else None, None, self._take_pending())
        data = encode_batch(batch, newest.number, self._next_batch)
        file = segment_file(newest.number)
        with self._failing(file):
            self._disk.append(file, data)
            await self._disk.sync(file)
        self._next_batch += 1
        newest.add(len(data), batch.entries)

    async def _begin_segment(self, kept: list[SegmentInUse], restart: tuple[int, int] | None) -> None:
        """Write what is pending into a new segment, after which only it and `kept` are the log."""
        number = self._segments[-1].number + 1 if self._segments else 1
        header = SegmentHeader(number, kept[0].number if kept else number, self._next_batch)
        batch = Batch(self._hard_state, restart, self._take_pending())
        data = encode_segment_header(header) + encode_batch(batch, number, self._next_batch)
        await self._replace(segment_file(number), data)
        self._next_batch += 1
        segment = SegmentInUse(number)
        segment.add(len(data), batch.entries)
        self._segments = [*kept, segment]

    def _take_pending(self) -> list[Entry]:
        entries, self._pending_entries = self._pending_entries, []
        self._pending_hard_state = False
        return entries

    async def _replace(self, file: str, data: bytes) -> None:
        with self._failing(file):
            await self._disk.replace(file, data)

    def _remove(self, segments: Sequence[int]) -> None:
        for number in segments:
            with self._failing(segment_file(number)):
                self._disk.remove(segment_file(number))

    def _check(self) -> None:
        if self._failure is not None:
            raise DiskFailed(self._failure.file, self._failure.errno, f"{self._failure.why} (earlier)")

    def _check_fit(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        if self._gives_up_log:
            raise ValueError("no entry can be appended while the log is being given up for a snapshot")
        if not self._snapshot_index < entries[0].index <= self._terms.last_index + 1:
            raise ValueError(
                f"entry {entries[0].index} is neither behind the snapshot, which ends at "
                f"{self._snapshot_index}, nor fits the log, which ends at {self._terms.last_index}"
            )
        for before, after in itertools.pairwise(entries):
            if after.index != before.index + 1:
                raise ValueError(f"entry {after.index} comes after entry {before.index}")

    @contextlib.contextmanager
    def _failing(self, file: str) -> Iterator[None]:
        """Whatever interrupts work on the disk ends the use of it."""
        try:
            yield
        except OSError as error:
            self._failure = DiskFailed(file, error.errno, error.strerror or str(error))
            raise self._failure from error
        except BaseException:
            self._failure = DiskFailed(file, None, "abandoned half-way")
            raise
