"""A simulated disk: what a process writes, what survives its death, and what survives a power cut.

Rules
-----
1. The death of a process loses nothing that was written. A power cut loses what was not synced: of each file
   a prefix of the unsynced changes survives, the next one perhaps torn: cut short at any byte, or with
   sectors that were allotted and not written, which read as zeros. Of different files, any.
2. A file whose creation was not synced may vanish; one whose removal was not may be back.
3. `sync` covers what was written before it began; what a power cut meets half-way is lost or not, as chance
   has it. `replace` is all or nothing.
4. A disk can be slow, be full, fail, and on purpose rot: change a byte of what it had safe.

Errors are OSErrors with the errno of the cause and the file's name, as from a real disk.

`on_step` is told at every step of writing, so that a nemesis can cut the power exactly there.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from harness.worlds import ORDINARY, CrashStep, DiskCondition, Shape
from harness.worlds.sim.chance import Stream
from harness.worlds.sim.departures import Departures
from harness.worlds.sim.loop import Process, SimulatedLoop

MILLISECOND = 1_000_000

SYNC_NS = 1 * MILLISECOND
"""What a flush takes on an ordinary disk."""

SECTOR_BYTES = 512
"""What a disk writes as a whole or not at all."""

SLOW = Shape(late=0.5, delay_ms_max=400.0)
"""How the syncs of a slow disk are."""

_ERRORS: Mapping[DiskCondition, int] = {"full": errno.ENOSPC, "failing": errno.EIO}


@dataclass
class _File:
    """A file: its content as processes see it, and what of it is safe."""

    content: bytearray = field(default_factory=bytearray)
    named: bool = False
    """Whether its name is safe, too."""
    safe_size: int = 0
    """So much of the content is safe."""
    safe: bytes | None = None
    """What is safe, if it is no longer the beginning of the content."""
    ends: list[int] = field(default_factory=list)
    """The sizes after each change since the last sync."""
    removed: bool = False
    """It is gone, but not safely."""

    def unsynced(self) -> bytes:
        return bytes(self.content[self.safe_size :])

    def what_is_safe(self) -> bytes:
        return bytes(self.content[: self.safe_size]) if self.safe is None else self.safe

    def make_safe(self, size: int) -> None:
        """What it held when it had this size is safe."""
        self.named = True
        self.safe, self.safe_size = None, min(size, len(self.content))
        self.ends = [end for end in self.ends if end > size]


class Disk:
    """One node's disk. It outlives the node's processes; `of` gives one of them its port."""

    def __init__(self, node: str, loop: SimulatedLoop, seed: int, departures: Departures) -> None:
        self.node = node
        self.condition: DiskCondition = "ordinary"
        self.on_step: Callable[[CrashStep, str, bytes], None] | None = None
        """Told of a step, the file, and what was written last."""
        self._loop = loop
        self._departures = departures
        self._chance = Stream(seed, f"{node} disk")
        self._draws = 0
        self._place = f"{node} sync"
        self._syncs = 0
        self._files: dict[str, _File] = {}
        self._replacing: dict[str, bytes] = {}
        """What is about to be a file's content, and may be already when power is cut."""

    def of(self, process: Process) -> ProcessDisk:
        return ProcessDisk(self, process)

    # --- What processes do

    def names(self) -> list[str]:
        return sorted(name for name, file in self._files.items() if not file.removed)

    def read(self, name: str) -> bytes:
        return bytes(self._file(name).content)

    def append(self, name: str, data: bytes) -> None:
        self._check(name)
        file = self._files.get(name)
        if file is None or file.removed:
            file = self._files[name] = _File()
        file.content += data
        file.ends.append(len(file.content))

    def truncate(self, name: str, size: int) -> None:
        file = self._file(name)
        if size < file.safe_size:
            file.safe, file.safe_size = file.what_is_safe(), 0
        del file.content[size:]
        file.ends.append(size)

    def remove(self, name: str) -> None:
        self._file(name).removed = True

    async def sync(self, name: str) -> None:
        file = self._file(name)
        self._check(name)
        size, data = len(file.content), file.unsynced()
        self._tell("written", name, data)
        await self._take_time()
        self._check(name)
        file.make_safe(size)
        self._tell("synced", name, data)

    async def replace(self, name: str, data: bytes) -> None:
        self._check(name)
        self._replacing[name] = data
        self._tell("written", name, data)
        await self._take_time()
        del self._replacing[name]
        self._check(name)
        self._files[name] = _kept(data)
        self._tell("synced", name, data)

    def _file(self, name: str) -> _File:
        file = self._files.get(name)
        if file is None or file.removed:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return file

    def _check(self, name: str) -> None:
        number = _ERRORS.get(self.condition)
        if number is not None:
            raise OSError(number, os.strerror(number), name)

    def _tell(self, step: CrashStep, name: str, data: bytes) -> None:
        if self.on_step is not None:
            self.on_step(step, name, data)

    async def _take_time(self) -> None:
        self._syncs += 1
        duration_ns = SYNC_NS
        departure = self._departures.at(
            self._place, self._syncs, SLOW if self.condition == "slow" else ORDINARY
        )
        if departure is not None:
            duration_ns += departure.delay_ns
        await asyncio.sleep(duration_ns / 1e9)

    # --- What a nemesis does

    def process_died(self) -> None:
        """What it was replacing is as it was. What it wrote is the kernel's, and stays."""
        self._replacing.clear()

    def cut_power(self) -> None:
        """Lose what was not synced, as chance has it. The processes must be dead."""
        for name, data in sorted(self._replacing.items()):
            if self._draw(2):
                self._files[name] = _kept(data)
        self._replacing.clear()
        for name, file in sorted(self._files.items()):
            self._lose(name, file)

    def rot(self, name: str) -> int | None:
        """Change one bit of a file, for good; returns in which byte, or None if there is none."""
        file = self._files.get(name)
        if file is None or file.removed or not file.content:
            return None
        at = self._draw(len(file.content))
        file.content[at] ^= 1 << self._draw(8)
        file.make_safe(len(file.content))
        return at

    def _lose(self, name: str, file: _File) -> None:
        if file.removed:
            if file.named and self._draw(2):
                self._files[name] = _kept(file.what_is_safe())
            else:
                del self._files[name]
        elif not file.named and self._draw(2):
            del self._files[name]
        elif file.ends:
            self._files[name] = _kept(self._torn(file))

    def _torn(self, file: _File) -> bytes:
        """Some of what was written since the last sync, and perhaps a part of the next."""
        survivors = self._draw(len(file.ends) + 1)
        if file.ends != sorted(file.ends) or file.safe is not None:  # it was cut, too: all of it or nothing
            return bytes(file.content) if survivors == len(file.ends) else file.what_is_safe()
        whole = file.ends[survivors - 1] if survivors else file.safe_size
        left = bytes(file.content[:whole])
        if survivors == len(file.ends):
            return left
        torn = bytes(file.content[whole : file.ends[survivors]])
        if self._draw(4):
            return left + torn[: self._draw(len(torn) + 1)]
        return left + self._with_holes(torn, whole)

    def _with_holes(self, data: bytes, offset: int) -> bytes:
        """The file is as long as it should be, but some sectors were not written."""
        left = bytearray(data)
        begin = 0
        while begin < len(data):
            end = min(len(data), begin + SECTOR_BYTES - (offset + begin) % SECTOR_BYTES)
            if self._draw(2):
                left[begin:end] = bytes(end - begin)
            begin = end
        return bytes(left)

    def _draw(self, limit: int) -> int:
        self._draws += 1
        return self._chance.below(limit, self._draws)


def _kept(content: bytes) -> _File:
    """A file all of which is safe."""
    return _File(bytearray(content), named=True, safe_size=len(content))


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
