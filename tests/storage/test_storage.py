"""What `Storage` promises, sentence by sentence, on a disk that forgets what was not synced."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from typing import Any

import pytest

from impl.raft import Configuration, Entry, HardState, Restored, Server, Snapshot
from impl.storage import Corrupt, Cut, DiskFailed, Storage

NewDisk = Callable[..., Any]

CONFIGURATION = Configuration((Server("a", "10.0.0.1:8300"), Server("b", "10.0.0.2:8300", voter=False)))


def entries(first: int, last: int, term: int = 1) -> list[Entry]:
    return [Entry(index, term, 0, b"%d of %d" % (index, term)) for index in range(first, last + 1)]


def snapshot(index: int, term: int = 1) -> Snapshot:
    return Snapshot(index, term, CONFIGURATION, b"state at %d" % index)


async def after_kill(disk: Any, trailing_entries: int = 10240) -> Restored:
    _, restored = await Storage.open(disk.after_kill(), trailing_entries=trailing_entries)
    return restored


async def after_losing_all_that_is_not_durable(disk: Any, trailing_entries: int = 10240) -> Restored:
    _, restored = await Storage.open(type(disk)(disk.durable), trailing_entries=trailing_entries)
    return restored


def test_a_new_disk_holds_nothing(new_disk: NewDisk) -> None:
    async def scenario() -> None:
        storage, restored = await Storage.open(new_disk())
        assert restored == Restored(HardState(0, None), None, [])
        assert storage.cut is None

    asyncio.run(scenario())


def test_what_was_synced_is_there_after_a_power_cut(new_disk: NewDisk) -> None:
    async def scenario() -> None:
        disk = new_disk()
        storage, _ = await Storage.open(disk)
        storage.append(HardState(3, "a"), entries(1, 2, term=3))
        await storage.sync()
        storage.append(HardState(4, "b"), entries(3, 4, term=3))
        restored = await after_losing_all_that_is_not_durable(disk)
        assert restored == Restored(HardState(3, "a"), None, entries(1, 2, term=3))

    asyncio.run(scenario())


def test_what_open_hands_on_survives_a_power_cut_although_it_was_never_synced(new_disk: NewDisk) -> None:
    # A killed process leaves bytes in the kernel's memory. The next one reads them, and would tell others of
    # them: so they have to be made durable first.
    async def scenario() -> None:
        disk = new_disk()
        storage, _ = await Storage.open(disk)
        storage.append(HardState(1, "a"), entries(1, 5))
        disk.errors["sync"] = errno.EIO
        with pytest.raises(DiskFailed):
            await storage.sync()
        disk = disk.after_kill()
        _, handed_on = await Storage.open(disk)
        assert handed_on.entries == entries(1, 5)
        assert await after_losing_all_that_is_not_durable(disk) == handed_on

    asyncio.run(scenario())


def test_an_entry_at_an_old_index_replaces_the_log_from_there_for_good(new_disk: NewDisk) -> None:
    async def scenario() -> None:
        disk = new_disk()
        storage, _ = await Storage.open(disk)
        storage.append(None, entries(1, 10))
        await storage.sync()
        storage.append(None, entries(4, 5, term=2))
        await storage.sync()
        assert (await after_kill(disk)).entries == entries(1, 3) + entries(4, 5, term=2)
        storage, _ = await Storage.open(disk := disk.after_kill())
        storage.append(None, entries(6, 6, term=3))
        await storage.sync()
        expected = entries(1, 3) + entries(4, 5, term=2) + entries(6, 6, term=3)
        assert (await after_kill(disk)).entries == expected

    asyncio.run(scenario())


def test_a_torn_tail_is_cut_and_reported(new_disk: NewDisk) -> None:
    async def scenario() -> None:
        disk = new_disk()
        storage, _ = await Storage.open(disk)
        storage.append(None, entries(1, 2))
        await storage.sync()
        (file,) = disk.names()
        size = len(disk.read(file))
        storage.append(None, entries(3, 4))
        await storage.sync()
        for torn_size in range(size, len(disk.read(file))):
            torn = new_disk({file: disk.read(file)[:torn_size]})
            reopened, restored = await Storage.open(torn)
            assert restored.entries == entries(1, 2)
            assert reopened.cut == (Cut(file, size, torn_size - size) if torn_size > size else None)
            assert len(torn.read(file)) == size

    asyncio.run(scenario())


def test_sync_covers_what_was_appended_before_it_and_nothing_written_meanwhile(new_disk: NewDisk) -> None:
    async def scenario() -> None:
        disk = new_disk()
        storage, _ = await Storage.open(disk)
        disk.gate = asyncio.Event()
        storage.append(None, entries(1, 1))
        first = asyncio.create_task(storage.sync())
        await asyncio.sleep(0)
        storage.append(None, entries(2, 2))
        second = asyncio.create_task(storage.sync())
        storage.append(None, entries(3, 3))
        third = asyncio.create_task(storage.sync())
        await asyncio.sleep(0)
        assert not first.done()
        assert (await after_kill(disk)).entries == entries(1, 1)
        disk.gate.set()
        await asyncio.gather(first, second, third)
        assert (await after_losing_all_that_is_not_durable(disk)).entries == entries(1, 3)
        # Those who waited were served together: one write and one flush each for the first and the rest.
        assert disk.calls == ["replace", "append", "sync", "append", "sync"]

    asyncio.run(scenario())


def test_sync_with_nothing_new_does_not_touch_the_disk(new_disk: NewDisk) -> None:
    async def scenario() -> None:
        disk = new_disk()
        storage, _ = await Storage.open(disk)
        await storage.sync()
        assert disk.calls == ["replace"]

    asyncio.run(scenario())


@pytest.mark.parametrize("operation", ["append", "sync"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_failed_write_or_flush_ends_the_use_of_the_store(
    new_disk: NewDisk, operation: str, number: int
) -> None:
    async def scenario() -> None:
        disk = new_disk()
        storage, _ = await Storage.open(disk)
        disk.errors[operation] = number
        storage.append(None, entries(1, 1))
        with pytest.raises(DiskFailed) as failure:
            await storage.sync()
        assert (failure.value.errno, failure.value.file) == (number, disk.names()[0])
        disk.errors.clear()  # the disk is well again, and still nothing may be pretended
        before = list(disk.calls)
        with pytest.raises(DiskFailed):
            await storage.sync()
        with pytest.raises(DiskFailed):
            storage.append(None, entries(2, 2))
        with pytest.raises(DiskFailed):
            await storage.install(snapshot(1))
        assert disk.calls == before

    asyncio.run(scenario())


def test_everyone_who_waits_for_a_failed_sync_is_told(new_disk: NewDisk) -> None:
    async def scenario() -> None:
        disk = new_disk()
        storage, _ = await Storage.open(disk)
        disk.gate = asyncio.Event()
        disk.errors["sync"] = errno.EIO
        storage.append(None, entries(1, 1))
        waiting = [asyncio.create_task(storage.sync()) for _ in range(3)]
        await asyncio.sleep(0)
        disk.gate.set()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [DiskFailed] * 3

    asyncio.run(scenario())


def test_a_cancelled_sync_ends_the_use_of_the_store(new_disk: NewDisk) -> None:
    async def scenario() -> None:
        disk = new_disk()
        storage, _ = await Storage.open(disk)
        disk.gate = asyncio.Event()
        storage.append(None, entries(1, 1))
        sync = asyncio.create_task(storage.sync())
        await asyncio.sleep(0)
        sync.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sync
        with pytest.raises(DiskFailed, match="abandoned half-way"):
            await storage.sync()

    asyncio.run(scenario())


def test_an_unreadable_disk_is_a_disk_failure(new_disk: NewDisk) -> None:
    async def scenario() -> None:
        disk = new_disk()
        await Storage.open(disk)
        disk.errors["read"] = errno.EIO
        with pytest.raises(DiskFailed):
            await Storage.open(disk)

    asyncio.run(scenario())


def test_a_snapshot_comes_back_with_its_configuration_and_trailing_entries(new_disk: NewDisk) -> None:
    async def scenario() -> None:
        disk = new_disk()
        storage, _ = await Storage.open(disk, trailing_entries=3)
        storage.append(HardState(1, "a"), entries(1, 10))
        await storage.install(snapshot(8))
        assert await after_losing_all_that_is_not_durable(disk, trailing_entries=3) == Restored(
            HardState(1, "a"), snapshot(8), entries(6, 10)
        )

    asyncio.run(scenario())


def test_snapshots_remove_what_they_cover_but_neither_term_nor_vote(new_disk: NewDisk) -> None:
    async def scenario() -> None:
        disk = new_disk()
        storage, _ = await Storage.open(disk, trailing_entries=0)
        storage.append(HardState(7, "b"), entries(1, 100))
        await storage.sync()
        size = sum(len(disk.read(name)) for name in disk.names())
        for index in (50, 99, 100):
            await storage.install(snapshot(index))
        assert sum(len(disk.read(name)) for name in disk.names()) < size / 5
        restored = await after_losing_all_that_is_not_durable(disk, trailing_entries=0)
        assert restored == Restored(HardState(7, "b"), snapshot(100), [])

    asyncio.run(scenario())


def test_a_leaders_snapshot_does_not_drop_the_suffix_of_a_log_that_has_its_last_entry(
    new_disk: NewDisk,
) -> None:
    async def scenario() -> None:
        disk = new_disk()
        storage, _ = await Storage.open(disk, trailing_entries=0)
        storage.append(None, entries(1, 5, term=1) + entries(6, 9, term=2))
        await storage.install(snapshot(7, term=2))
        restored = await after_kill(disk, trailing_entries=0)
        assert restored.entries == entries(8, 9, term=2)

    asyncio.run(scenario())


@pytest.mark.parametrize(("index", "term"), [(7, 3), (20, 2)])
def test_a_snapshot_that_the_log_contradicts_or_does_not_reach_replaces_the_log(
    new_disk: NewDisk, index: int, term: int
) -> None:
    async def scenario() -> None:
        disk = new_disk()
        storage, _ = await Storage.open(disk)
        storage.append(HardState(3, None), entries(1, 9, term=2))
        await storage.install(snapshot(index, term))
        assert await after_kill(disk) == Restored(HardState(3, None), snapshot(index, term), [])
        storage.append(None, entries(index + 1, index + 2, term=3))
        await storage.sync()
        assert (await after_kill(disk)).entries == entries(index + 1, index + 2, term=3)

    asyncio.run(scenario())


def test_an_older_snapshot_does_not_take_the_place_of_a_newer_one(new_disk: NewDisk) -> None:
    async def scenario() -> None:
        disk = new_disk()
        storage, _ = await Storage.open(disk)
        storage.append(None, entries(1, 9))
        await asyncio.gather(storage.install(snapshot(8)), storage.install(snapshot(5)))
        restored = await after_kill(disk)
        assert restored.snapshot == snapshot(8)

    asyncio.run(scenario())


def test_entries_can_be_appended_and_synced_while_an_own_snapshot_is_installed(new_disk: NewDisk) -> None:
    async def scenario() -> None:
        disk = new_disk()
        storage, _ = await Storage.open(disk)
        storage.append(None, entries(1, 9))
        await storage.sync()
        disk.gate = asyncio.Event()
        storage.append(None, entries(10, 10))
        install = asyncio.create_task(storage.install(snapshot(8)))
        await asyncio.sleep(0)
        storage.append(None, entries(11, 12))
        disk.gate.set()
        await asyncio.gather(install, storage.sync())
        restored = await after_losing_all_that_is_not_durable(disk)
        assert restored.entries == entries(1, 12)

    asyncio.run(scenario())


def test_segments_grow_to_their_size_and_the_log_goes_on_in_the_next(new_disk: NewDisk) -> None:
    async def scenario() -> None:
        disk = new_disk()
        storage, _ = await Storage.open(disk, segment_bytes=200)
        storage.append(HardState(5, "a"), ())
        for index in range(1, 31):
            storage.append(None, entries(index, index))
            await storage.sync()
        assert len(disk.names()) > 3
        assert all(len(disk.read(name)) < 300 for name in disk.names())
        restored = await after_losing_all_that_is_not_durable(disk)
        assert restored == Restored(HardState(5, "a"), None, entries(1, 30))

    asyncio.run(scenario())


def test_a_removed_segment_that_a_power_cut_brings_back_is_removed_again(new_disk: NewDisk) -> None:
    async def scenario() -> None:
        disk = new_disk()
        storage, _ = await Storage.open(disk, trailing_entries=0)
        (first,) = disk.names()
        storage.append(None, entries(1, 9))
        await storage.sync()
        old = disk.read(first)
        await storage.install(snapshot(9))
        assert first not in disk.names()
        disk = new_disk({**disk.durable, first: old})
        _, restored = await Storage.open(disk)
        assert restored == Restored(HardState(0, None), snapshot(9), [])
        assert first not in disk.names()

    asyncio.run(scenario())


@pytest.mark.parametrize("position", [0, 1, -2])
def test_a_missing_segment_is_missed(new_disk: NewDisk, position: int) -> None:
    async def scenario() -> None:
        disk = new_disk()
        storage, _ = await Storage.open(disk, segment_bytes=100)
        for index in range(1, 10):
            storage.append(None, entries(index, index))
            await storage.sync()
        file = disk.names()[position]
        del disk.durable[file]
        with pytest.raises(Corrupt, match="missing") as damage:
            await after_losing_all_that_is_not_durable(disk)
        assert damage.value.file == file

    asyncio.run(scenario())


@pytest.mark.parametrize("lost", ["snapshot", "log"])
def test_a_snapshot_without_its_log_and_a_log_without_its_snapshot_are_refused(
    new_disk: NewDisk, lost: str
) -> None:
    async def scenario() -> None:
        disk = new_disk()
        storage, _ = await Storage.open(disk, trailing_entries=0)
        storage.append(None, entries(1, 9))
        await storage.install(snapshot(9))
        storage.append(None, entries(10, 11))
        await storage.sync()
        for name in [name for name in disk.durable if name.startswith(lost)]:
            del disk.durable[name]
        with pytest.raises(Corrupt) as damage:
            await after_losing_all_that_is_not_durable(disk)
        assert damage.value.file == "snapshot"

    asyncio.run(scenario())


def test_appends_that_do_not_fit_the_log_are_refused(new_disk: NewDisk) -> None:
    async def scenario() -> None:
        storage, _ = await Storage.open(new_disk())
        with pytest.raises(ValueError, match="nor fits the log, which ends at 0"):
            storage.append(None, entries(2, 2))
        with pytest.raises(ValueError, match="entry 3 comes after entry 1"):
            storage.append(None, entries(1, 1) + entries(3, 3))
        storage.append(None, entries(1, 5))
        await storage.install(snapshot(4))
        with pytest.raises(ValueError, match="the snapshot, which ends at 4"):
            storage.append(None, entries(4, 4, term=2))

    asyncio.run(scenario())


def test_files_of_others_on_the_same_disk_are_left_alone(new_disk: NewDisk) -> None:
    async def scenario() -> None:
        disk = new_disk({"node-id": b"1", "log-of-something": b"2", "log-1": b"3"})
        storage, _ = await Storage.open(disk)
        storage.append(None, entries(1, 1))
        await storage.install(snapshot(1))
        assert (disk.read("node-id"), disk.read("log-of-something"), disk.read("log-1")) == (b"1", b"2", b"3")

    asyncio.run(scenario())
