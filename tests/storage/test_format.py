"""The bytes on disk: what they are, and that damage to them is refused with file and offset."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import pairwise, product
from typing import Any

import pytest

from impl.raft import Configuration, Entry, HardState, Restored, Server, Snapshot
from impl.storage import Corrupt, Storage, UnknownVersion

NewDisk = Callable[..., Any]

SEGMENT = "log-0000000000000001"
CONFIGURATION = Configuration((Server("a", "10.0.0.1:8300"),))


def stored(new_disk: NewDisk) -> Any:
    """Two segments and a snapshot."""

    async def scenario() -> Any:
        disk = new_disk()
        storage, _ = await Storage.open(disk)
        storage.append(HardState(2, "a"), [Entry(1, 1, 2, b"first"), Entry(2, 2, 0, b"second" * 100)])
        await storage.sync()
        await storage.install(Snapshot(1, 1, CONFIGURATION, b"state"))
        storage.append(None, [Entry(3, 2, 0, b"third")])
        await storage.sync()
        storage.append(None, [Entry(4, 2, 0, b"fourth" * 100)])
        await storage.sync()
        storage.append(None, [Entry(5, 2, 0, b"fifth")])
        await storage.sync()
        return disk

    return asyncio.run(scenario())


def opened(disk: Any) -> Restored:
    return asyncio.run(Storage.open(disk))[1]


def test_the_format_of_a_segment_is_this(new_disk: NewDisk) -> None:
    async def scenario() -> Any:
        disk = new_disk()
        storage, _ = await Storage.open(disk)
        storage.append(HardState(2, "a"), [Entry(1, 1, 2, b"first"), Entry(2, 2, 0, b"second")])
        await storage.sync()
        return disk

    disk = asyncio.run(scenario())
    assert disk.names() == [SEGMENT]
    assert disk.read(SEGMENT).hex(" ", -8).split() == GOLDEN_SEGMENT.split()


def test_the_format_of_a_snapshot_is_this(new_disk: NewDisk) -> None:
    assert stored(new_disk).read("snapshot").hex(" ", -8).split() == GOLDEN_SNAPSHOT.split()


def test_files_written_in_this_format_can_be_read(new_disk: NewDisk) -> None:
    disk = new_disk({SEGMENT: bytes.fromhex(GOLDEN_SEGMENT), "snapshot": bytes.fromhex(GOLDEN_SNAPSHOT)})
    assert opened(disk) == Restored(
        HardState(2, "a"),
        Snapshot(1, 1, CONFIGURATION, b"state"),
        [Entry(1, 1, 2, b"first"), Entry(2, 2, 0, b"second")],
    )


@pytest.mark.parametrize("kind", ["log", "snapshot"])
def test_another_version_of_the_format_is_refused_by_its_number(new_disk: NewDisk, kind: str) -> None:
    disk = stored(new_disk)
    file = max(name for name in disk.names() if name.startswith(kind))
    content = bytearray(disk.read(file))
    content[8] = 2
    with pytest.raises(UnknownVersion, match=r"format version 2 .* this program knows version 1") as refusal:
        opened(new_disk({**disk.durable, file: bytes(content)}))
    assert refusal.value.file == file


def flipped(content: bytes) -> Iterator[tuple[int, bytes]]:
    for offset in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[offset] ^= 1 << bit
            yield offset, bytes(damaged)


async def damage_found(disk: Any) -> Corrupt:
    with pytest.raises(Corrupt) as damage:
        await Storage.open(disk)
    return damage.value


def test_any_flipped_bit_is_refused_with_file_and_offset(new_disk: NewDisk) -> None:
    # Even in the last batch: what a power cut leaves of one is short or has an empty sector.
    async def scenario(disk: Any) -> None:
        assert len(disk.names()) == 3
        for file in disk.names():
            for position, content in flipped(disk.read(file)):
                damage = await damage_found(new_disk({**disk.durable, file: content}))
                assert damage.file == file
                assert 0 <= position - damage.offset < 700

    asyncio.run(scenario(stored(new_disk)))


def test_bytes_that_went_to_another_place_are_refused_even_if_they_are_whole_batches(
    new_disk: NewDisk,
) -> None:
    async def scenario(disk: Any) -> None:
        for file in (name for name in disk.names() if name.startswith("log")):
            content = disk.read(file)
            starts = [at for at in range(len(content)) if content.startswith(b"BTCH", at)]
            pieces = list(pairwise(starts))
            for (begin, end), target in product(pieces, starts[:-1]):
                damaged = bytearray(content)
                damaged[begin:end] = bytes(end - begin)
                damaged[target : target + end - begin] = content[begin:end]
                if target != begin and target + end - begin <= starts[-1]:
                    damage = await damage_found(new_disk({**disk.durable, file: bytes(damaged)}))
                    assert damage.file == file

    asyncio.run(scenario(stored(new_disk)))


def test_damage_before_the_last_batch_is_refused_even_where_it_looks_like_a_torn_write(
    new_disk: NewDisk,
) -> None:
    async def scenario(disk: Any) -> None:
        for file in (name for name in disk.names() if name.startswith("log")):
            content = disk.read(file)
            last_batch = content.rindex(b"BTCH")
            for start in range(content.index(b"BTCH"), last_batch):
                for size in (1, 32, 512):
                    zeros = bytes(min(size, last_batch - start))
                    damaged = content[:start] + zeros + content[start + len(zeros) :]
                    if damaged != content:
                        damage = await damage_found(new_disk({**disk.durable, file: damaged}))
                        assert damage.file == file
                        assert damage.offset <= start

    asyncio.run(scenario(stored(new_disk)))


def test_an_older_segment_that_is_cut_short_is_refused(new_disk: NewDisk) -> None:
    async def scenario(disk: Any) -> None:
        content = disk.read(SEGMENT)
        for size in range(len(content)):
            damage = await damage_found(new_disk({**disk.durable, SEGMENT: content[:size]}))
            assert damage.file == SEGMENT

    asyncio.run(scenario(stored(new_disk)))


def test_a_batch_of_another_place_is_not_taken_for_the_one_that_is_due(new_disk: NewDisk) -> None:
    disk = stored(new_disk)
    newest = max(name for name in disk.names() if name.startswith("log"))
    content = disk.read(newest)
    last_batch = content.rindex(b"BTCH")
    with pytest.raises(Corrupt, match="is due") as damage:
        opened(new_disk({**disk.durable, newest: content + content[last_batch:]}))
    assert damage.value.offset == len(content)


GOLDEN_SEGMENT = """
726166742d6c6f67 0100000001000000 0000000001000000 0000000001000000 00000000bc6cfa80 4254434810000000
0100000000000000 0100000000000000 a23e15743261bafa 9382a47465726d00 a4766f7465c0c090 ff42544348280000
0001000000000000 0002000000000000 00e2de18992e6677 879382a47465726d 02a4766f7465a161 c09294010102c405
6669727374940202 00c4067365636f6e 64ff
"""

GOLDEN_SNAPSHOT = """
726166742d736e70 0100000030000000 0500000000000000 91e0be70746555f0 93010181a7736572 766572739183a269
64a161a761646472 657373ad31302e30 2e302e313a383330 30a5766f746572c3 7374617465
"""
