"""What can go wrong with a server's storage. After any of these the agent has to stop."""

from __future__ import annotations


class StorageError(Exception):
    """The server's storage cannot be used."""


class Corrupt(StorageError):
    """What is on disk is not what was written there.

    Do not repair it by hand: the server may have told others that it holds what is damaged. Remove the server
    from the cluster, empty its data directory, and let it join as a new one.
    """

    def __init__(self, file: str, offset: int, why: str) -> None:
        super().__init__(f"{file}, offset {offset}: {why}")
        self.file = file
        self.offset = offset
        """In bytes from the file's beginning: where the damaged header, batch or content begins."""
        self.why = why


class UnknownVersion(Corrupt):
    """Written by another version of this program: start that version, or one that can read its files."""


class DiskFailed(StorageError):
    """The operating system could not read, write or flush (ENOSPC, EIO, ...).

    What the store then holds is not known until it has been opened again, so it accepts nothing more. Make
    room or replace the disk, and start the agent again.
    """

    def __init__(self, file: str, errno: int | None, why: str) -> None:
        super().__init__(f"{file}: {why}")
        self.file = file
        self.errno = errno
        """Of the system call; None if the write was abandoned half-way (its task was cancelled)."""
        self.why = why
