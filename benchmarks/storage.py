"""What a durable entry costs: `python benchmarks/storage.py [DIRECTORY]`, by default in the present
directory.

Appends entries of 100 bytes to a storage on a real disk, so many per sync, as an agent under load does that
answers so many writes with one flush. The last line is the disk's own limit: a file that grows by 100 bytes
and is flushed each time, without anything of ours.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from impl.raft import Entry
from impl.storage import Storage
from impl.system import SystemDisk

ENTRY_BYTES = 100
SECONDS_PER_LINE = 2.0


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="benchmark-storage-", dir=parent) as directory:
        yield Path(directory)


async def appends_per_second(directory: Path, entries_per_sync: int) -> float:
    disk = SystemDisk(directory)
    storage, _ = await Storage.open(disk)
    data = os.urandom(ENTRY_BYTES)
    index = 0
    start = time.perf_counter()
    while time.perf_counter() - start < SECONDS_PER_LINE:
        storage.append(None, [Entry(index + offset, 1, 0, data) for offset in range(1, entries_per_sync + 1)])
        await storage.sync()
        index += entries_per_sync
    duration = time.perf_counter() - start
    disk.close()
    return index / duration


def flushes_per_second(directory: Path) -> float:
    descriptor = os.open(directory / "plain", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    data = os.urandom(ENTRY_BYTES)
    count = 0
    start = time.perf_counter()
    while time.perf_counter() - start < SECONDS_PER_LINE:
        os.write(descriptor, data)
        os.fdatasync(descriptor)
        count += 1
    duration = time.perf_counter() - start
    os.close(descriptor)
    return count / duration


def main() -> None:
    parent = Path(sys.argv[1]) if len(sys.argv) > 1 else Path.cwd()
    for entries_per_sync in (1, 8, 64):
        with scratch(parent) as directory:
            rate = uvloop.run(appends_per_second(directory, entries_per_sync))
        syncs = rate / entries_per_sync
        print(f"{entries_per_sync:3} entries per sync: {rate:9,.0f} appends/s, {syncs:7,.0f} syncs/s")
    with scratch(parent) as directory:
        print(f"  write and fdatasync: {flushes_per_second(directory):9,.0f} /s")


if __name__ == "__main__":
    main()
