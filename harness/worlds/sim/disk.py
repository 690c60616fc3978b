"""A simulated disk: what a process writes, what survives its death, and what survives a power cut.

Rules
-----
1. The death of a process loses nothing that was written. A power cut loses what was not synced: of each file
   the changes up to some point survive, and of the next one perhaps a part, if it appends: cut short at any
   byte, or with sectors that were allotted and not written, which read as zeros. Of different files, any.
2. A file whose creation was not synced may vanish; one whose removal was not may be back.
3. `sync` covers what was written before it began; what a power cut meets half-way is lost or not, as chance
   has it. `replace` is all or nothing; one that its process did not see end was done or not.
4. A disk can be slow. On a full one appending fails, having written a part, and so does replacing; on a
   failing one flushing does, and replacing, after which the file is as it was, or new and not safe. A flush
   that failed has dropped what it should have written: the system shows it to processes as before, and later
   flushes do not write it. (Rebello et al., Can Applications Recover from fsync Failures?, USENIX ATC 2020.)
5. On purpose only, a disk rots (one bit of what is safe on it changes), or it turns out that it misdirected a
   write long ago: a sector of what is safe is where another one was, and at its own place there is nothing.
   (Bairavasundaram et al., An Analysis of Data Corruption in the Storage Stack, FAST 2008.)

Errors are OSErrors with the errno of the cause and the file's name, as from a real disk.

`on_step` is told at every step of writing, so that a nemesis can cut the power exactly there.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from harness.worlds import ORDINARY, CrashStep, DiskCondition, Shape
from harness.worlds.sim.chance import Stream
from harness.worlds.sim.departures import Departures
from harness.worlds.sim.loop import SimulatedLoop
from harness.worlds.sim.process import Process

MILLISECOND = 1_000_000

SYNC_NS = 1 * MILLISECOND
"""What a flush takes on an ordinary disk."""

SECTOR_BYTES = 512
"""What a disk writes as a whole or not at all."""

TAIL_BYTES = 8 * SECTOR_BYTES
"""At a file's end, what is never misdirected: a log cannot tell it from a write that a power cut has torn."""

SLOW = Shape(late=0.5, delay_ms_max=400.0)
"""How the syncs of a slow disk are."""


@dataclass(frozen=True, slots=True)
class _Change:
    """What was done to a file, and with what."""

    kind: Literal["append", "replace", "truncate", "remove"]
    data: bytes = b""
    size: int = 0


@dataclass
class _File:
    """What is under one name."""

    content: bytearray | None = None
    """As processes see it; None if they see no file."""
    safe: bytearray | None = None
    """As it is on the disk in any case."""
    changes: list[_Change] = field(default_factory=list)
    """What makes the one of the other, in order."""
    synced: int = 0
    """How many changes were made safe so far."""

    def do(self, change: _Change) -> None:
        self.content = _changed(self.content, change)
        self.changes.append(change)

    def show_what_is_safe(self) -> None:
        """Processes see what became of it, and what they have written since."""
        self.content = None if self.safe is None else bytearray(self.safe)
        for change in self.changes:
            self.content = _changed(self.content, change)

    def make_safe(self, upto: int) -> None:
        """All changes up to the one of this number."""
        count = max(0, upto - self.synced)
        for change in self.changes[:count]:
            self.safe = _changed(self.safe, change)
        del self.changes[:count]
        self.synced += count


class Disk:
    """One node's disk. It outlives the node's processes; `of` gives one of them its port."""

    def __init__(self, node: str, loop: SimulatedLoop, seed: int, departures: Departures) -> None:
        self.condition: DiskCondition = "ordinary"
        self.on_step: Callable[[CrashStep, str, bytes], None] | None = None
        """Told of a step, the file, and what of it is or was not safe."""
        self._loop = loop
        self._departures = departures
        self._chance = Stream(seed, f"{node} disk")
        self._moment = (0, 0)
        self._place = f"{node} sync"
        self._syncs = 0
        self._files: dict[str, _File] = {}
        self._replacing: dict[str, _Change] = {}
        """What is about to be a file's content, and may be already."""

    def of(self, process: Process) -> ProcessDisk:
        return ProcessDisk(self, process)

    # --- What processes do

    def names(self) -> list[str]:
        return sorted(name for name, file in self._files.items() if file.content is not None)

    def read(self, name: str) -> bytes:
        return bytes(self._content(name))

    def append(self, name: str, data: bytes) -> None:
        file = self._files.setdefault(_checked(name), _File())
        if self.condition == "full" and data:
            file.do(_Change("append", bytes(data[: self._draw(len(data))])))
            raise _error(errno.ENOSPC, name)
        file.do(_Change("append", bytes(data)))

    def truncate(self, name: str, size: int) -> None:
        self._content(name)
        self._files[name].do(_Change("truncate", size=size))

    def remove(self, name: str) -> None:
        self._content(name)
        self._files[name].do(_Change("remove"))

    async def sync(self, name: str) -> None:
        self._content(name)
        file = self._files[name]
        upto = file.synced + len(file.changes)
        written = list(file.changes)
        self._tell("written", name, written)
        await self._take_time()
        if self.condition == "failing":
            self._drop(file, upto - file.synced)
            raise _error(errno.EIO, name)
        file.make_safe(upto)
        self._tell("synced", name, written)

    async def replace(self, name: str, data: bytes) -> None:
        if self.condition == "full":
            raise _error(errno.ENOSPC, _checked(name))
        change = _Change("replace", bytes(data))
        self._replacing[_checked(name)] = change
        self._tell("written", name, [change])
        await self._take_time()
        del self._replacing[name]
        if self.condition == "failing":
            if self._draw(2):  # it was the directory's flush that failed
                self._files.setdefault(name, _File()).do(change)
            raise _error(errno.EIO, name)
        file = self._files.setdefault(name, _File())
        file.do(change)
        file.make_safe(file.synced + len(file.changes))
        self._tell("synced", name, [change])

    def _content(self, name: str) -> bytearray:
        file = self._files.get(_checked(name))
        if file is None or file.content is None:
            raise _error(errno.ENOENT, name)
        return file.content

    def _tell(self, step: CrashStep, name: str, changes: list[_Change]) -> None:
        if self.on_step is not None:
            self.on_step(step, name, b"".join(change.data for change in changes))

    async def _take_time(self) -> None:
        self._syncs += 1
        duration_ns = SYNC_NS
        shape = SLOW if self.condition == "slow" else ORDINARY
        departure = self._departures.at(self._place, self._syncs, shape)
        if departure is not None:
            duration_ns += departure.delay_ns
        await asyncio.sleep(duration_ns / 1e9)

    def _drop(self, file: _File, count: int) -> None:
        """Of what was appended, the disk will never have but some sectors."""
        offset = 0 if file.safe is None else len(file.safe)
        for number, change in enumerate(file.changes[: max(0, count)]):
            if change.kind == "append":
                file.changes[number] = replace(change, data=self._with_holes(change.data, offset))
                offset += len(change.data)

    # --- What a nemesis does

    def process_died(self) -> None:
        """What it was replacing is as it was, or new, though not safely. What it wrote is the kernel's."""
        for name, change in self._replacing.items():
            if self._draw(2):
                self._files.setdefault(name, _File()).do(change)
        self._replacing.clear()

    def cut_power(self) -> None:
        """Lose what was not synced, as chance has it. The processes must be dead."""
        for name, change in self._replacing.items():
            self._files.setdefault(name, _File()).do(change)
        self._replacing.clear()
        for name, file in list(self._files.items()):
            left = self._left(file)
            if left is None:
                del self._files[name]
            else:
                self._files[name] = _File(left, bytearray(left))

    def rot(self, name: str) -> int | None:
        """Change one bit of what is safe; returns in which byte, or None if there is nothing."""
        file = self._files.get(name)
        if file is None or not file.safe:
            return None
        at = self._draw(len(file.safe))
        file.safe[at] ^= 1 << self._draw(8)
        file.show_what_is_safe()
        return at

    def misdirect(self, name: str) -> tuple[int, int] | None:
        """Move a sector of what is safe to where another was; returns from and to which byte.

        None if the file is too short for that.
        """
        file = self._files.get(name)
        sectors = 0 if file is None or file.safe is None else (len(file.safe) - TAIL_BYTES) // SECTOR_BYTES
        if file is None or file.safe is None or sectors < 2:
            return None
        source = self._draw(sectors)
        target = (source + 1 + self._draw(sectors - 1)) % sectors
        source_at, target_at = source * SECTOR_BYTES, target * SECTOR_BYTES
        file.safe[target_at : target_at + SECTOR_BYTES] = file.safe[source_at : source_at + SECTOR_BYTES]
        file.safe[source_at : source_at + SECTOR_BYTES] = bytes(SECTOR_BYTES)
        file.show_what_is_safe()
        return source_at, target_at

    def _left(self, file: _File) -> bytearray | None:
        """The file after a power cut."""
        survivors = self._draw(len(file.changes) + 1)
        left = file.safe
        for change in file.changes[:survivors]:
            left = _changed(left, change)
        if survivors < len(file.changes):
            change = file.changes[survivors]
            if change.kind == "append" and self._draw(2):
                left = bytearray() if left is None else left
                left += self._torn(change.data, len(left))
        return left

    def _torn(self, data: bytes, offset: int) -> bytes:
        if self._draw(2):
            return data[: self._draw(len(data) + 1)]
        return self._with_holes(data, offset)

    def _with_holes(self, data: bytes, offset: int) -> bytes:
        """As long as it should be, but some sectors were not written."""
        left = bytearray(data)
        begin = 0
        while begin < len(data):
            end = min(len(data), begin + SECTOR_BYTES - (offset + begin) % SECTOR_BYTES)
            if self._draw(2):
                left[begin:end] = bytes(end - begin)
            begin = end
        return bytes(left)

    def _draw(self, limit: int) -> int:
        """By the moment, so that what was drawn at another one makes no difference."""
        moment, draws = self._moment
        draws = draws + 1 if moment == self._loop.now_ns else 0
        self._moment = (self._loop.now_ns, draws)
        return self._chance.below(limit, self._loop.now_ns << 16 | draws & 0xFFFF)


def _changed(content: bytearray | None, change: _Change) -> bytearray | None:
    """What a change makes of a file. Takes what it is given to pieces."""
    if change.kind == "remove":
        return None
    if change.kind == "replace":
        return bytearray(change.data)
    content = bytearray() if content is None else content
    if change.kind == "append":
        content += change.data
    else:
        content += bytes(max(0, change.size - len(content)))
        del content[change.size :]
    return content


def _checked(name: str) -> str:
    if name.startswith(".") or "/" in name or not name:
        raise ValueError(f"{name!r} cannot be a file's name: no slash, no dot at the start, not empty")
    return name


def _error(number: int, name: str) -> OSError:
    return OSError(number, os.strerror(number), name)


class ProcessDisk:
    """The disk port of one process: what the process does after its death changes nothing."""

    def __init__(self, disk: Disk, process: Process) -> None:
        self._disk = disk
        self._process = process

    def names(self) -> list[str]:
        return self._disk.names()

    def read(self, name: str) -> bytes:
        return self._disk.read(name)

    def append(self, name: str, data: bytes) -> None:
        if self._process.alive:
            self._disk.append(name, data)

    def truncate(self, name: str, size: int) -> None:
        if self._process.alive:
            self._disk.truncate(name, size)

    def remove(self, name: str) -> None:
        if self._process.alive:
            self._disk.remove(name)

    async def sync(self, name: str) -> None:
        await self._process.halt_if_dead()
        await self._disk.sync(name)
        await self._process.halt_if_dead()

    async def replace(self, name: str, data: bytes) -> None:
        await self._process.halt_if_dead()
        await self._disk.replace(name, data)
        await self._process.halt_if_dead()
