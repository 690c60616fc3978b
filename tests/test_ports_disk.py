"""The system's disk: a locked directory, and which calls to the kernel stand behind which promise."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from impl.system import DirectoryInUse, SystemDisk


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "new" / "data"


@pytest.fixture
def disk(directory: Path) -> Iterator[SystemDisk]:
    disk = SystemDisk(directory)
    yield disk
    disk.close()


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The flushes and renames in the order in which they were done, and whether in the loop's thread."""
    calls: list[str] = []
    loop_thread = threading.get_ident()

    def spied(name: str) -> None:
        real: Callable[..., object] = getattr(os, name)

        def spy(*arguments: object) -> object:
            assert threading.get_ident() != loop_thread, f"{name} in the loop's thread"
            subject = arguments[-1]
            if isinstance(subject, int):
                subject = "directory" if stat.S_ISDIR(os.fstat(subject).st_mode) else "file"
            else:
                subject = Path(str(subject)).name
            calls.append(f"{name} {subject}")
            return real(*arguments)

        monkeypatch.setattr(os, name, spy)

    for name in ("fsync", "fdatasync", "rename"):
        spied(name)
    return calls


def test_what_is_appended_can_be_read_by_this_process_and_the_next(directory: Path) -> None:
    disk = SystemDisk(directory)
    disk.append("log", b"one ")
    disk.append("log", b"two ")
    assert disk.read("log") == b"one two "
    disk.close()
    disk = SystemDisk(directory)
    disk.append("log", b"three")
    assert (disk.names(), disk.read("log")) == (["log"], b"one two three")
    disk.close()


def test_names_are_sorted_and_leave_out_directories_and_hidden_files(
    directory: Path, disk: SystemDisk
) -> None:
    for name in ("b", "a", "c"):
        disk.append(name, b"")
    (directory / "subdirectory").mkdir()
    assert disk.names() == ["a", "b", "c"]


@pytest.mark.parametrize("name", ["", ".hidden", "..", "a/b", "/etc/passwd"])
def test_a_name_that_would_leave_the_directory_is_refused(disk: SystemDisk, name: str) -> None:
    for operation in (
        disk.read,
        disk.remove,
        lambda name: disk.append(name, b""),
        lambda n: disk.truncate(n, 0),
    ):
        with pytest.raises(ValueError, match="cannot be a file's name"):
            operation(name)


def test_files_can_be_truncated_and_appended_to_again(disk: SystemDisk) -> None:
    disk.append("log", b"one two")
    disk.truncate("log", 4)
    disk.append("log", b"three")
    assert disk.read("log") == b"one three"


def test_a_removed_file_is_gone_and_can_be_made_again(disk: SystemDisk) -> None:
    disk.append("log", b"old")
    disk.remove("log")
    assert disk.names() == []
    disk.append("log", b"new")
    assert disk.read("log") == b"new"


def test_replace_makes_the_content_and_later_appends_go_behind_it(disk: SystemDisk) -> None:
    disk.append("log", b"old")
    asyncio.run(disk.replace("log", b"new "))
    disk.append("log", b"more")
    asyncio.run(disk.sync("log"))
    assert (disk.names(), disk.read("log")) == (["log"], b"new more")


def test_the_first_sync_of_a_file_flushes_its_directory_entry_too(
    disk: SystemDisk, kernel: list[str]
) -> None:
    disk.append("log", b"one")
    asyncio.run(disk.sync("log"))
    assert kernel == ["fdatasync file", "fsync directory"]
    disk.append("log", b"two")
    asyncio.run(disk.sync("log"))
    assert kernel[2:] == ["fdatasync file"]


def test_a_file_made_again_under_an_old_name_is_new(disk: SystemDisk, kernel: list[str]) -> None:
    disk.append("log", b"one")
    asyncio.run(disk.sync("log"))
    disk.remove("log")
    disk.append("log", b"two")
    asyncio.run(disk.sync("log"))
    assert kernel == ["fdatasync file", "fsync directory"] * 2


def test_replace_flushes_the_file_before_the_rename_and_the_directory_after_it(
    disk: SystemDisk, kernel: list[str]
) -> None:
    asyncio.run(disk.replace("snapshot", b"state"))
    assert kernel == ["fsync file", "rename snapshot", "fsync directory"]


def test_the_loop_goes_on_while_the_disk_is_slow(disk: SystemDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    disk_is_done = threading.Event()
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: disk_is_done.wait(10))

    async def scenario() -> None:
        disk.append("log", b"one")
        sync = asyncio.create_task(disk.sync("log"))
        await asyncio.sleep(0)
        disk.append("log", b"two")
        assert not sync.done()
        disk_is_done.set()
        await sync

    asyncio.run(scenario())
    assert disk.read("log") == b"onetwo"


def test_a_directory_is_for_one_process_at_a_time_and_says_for_which(
    directory: Path, disk: SystemDisk
) -> None:
    program = f"from impl.system import *; SystemDisk(Path({str(directory)!r}))"
    other = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert other.returncode == 1
    assert f"DirectoryInUse: [Errno 11] in use by process {os.getpid()}: stop it, or choose" in other.stderr
    assert str(directory) in other.stderr
    with pytest.raises(DirectoryInUse):
        SystemDisk(directory)


def test_a_closed_directory_can_be_opened_again(directory: Path) -> None:
    SystemDisk(directory).close()
    SystemDisk(directory).close()


def test_left_overs_of_a_replace_that_died_are_removed_at_the_start(directory: Path) -> None:
    directory.mkdir(parents=True)
    (directory / ".snapshot.0.tmp").write_bytes(b"half")
    disk = SystemDisk(directory)
    assert [path.name for path in directory.iterdir()] == [".lock"]
    disk.close()


def test_errors_keep_their_errno_and_name_the_file(
    directory: Path, disk: SystemDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(number: int) -> Callable[..., None]:
        def failing(*arguments: object) -> None:
            raise OSError(number, os.strerror(number))

        return failing

    disk.append("log", b"")
    monkeypatch.setattr(os, "write", fail(errno.ENOSPC))
    monkeypatch.setattr(os, "fdatasync", fail(errno.EIO))
    with pytest.raises(OSError, match="No space left") as failure:
        disk.append("log", b"one")
    assert (failure.value.errno, failure.value.filename) == (errno.ENOSPC, str(directory / "log"))
    with pytest.raises(OSError, match="Input/output") as failure:
        asyncio.run(disk.sync("log"))
    assert (failure.value.errno, failure.value.filename) == (errno.EIO, str(directory / "log"))
    with pytest.raises(OSError, match="No space left") as failure:
        asyncio.run(disk.replace("log", b"two"))
    assert (failure.value.errno, failure.value.filename) == (errno.ENOSPC, str(directory / "log"))
    assert disk.read("log") == b""
    assert sorted(path.name for path in directory.iterdir()) == [".lock", "log"]
    for missing in (disk.read, disk.remove, lambda name: asyncio.run(disk.sync(name))):
        with pytest.raises(FileNotFoundError) as missed:
            missing("missing")
        assert missed.value.filename == str(directory / "missing")


def test_a_write_that_the_kernel_takes_in_pieces_is_written_whole(
    disk: SystemDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:3]))
    disk.append("log", b"one two three")
    assert disk.read("log") == b"one two three"
