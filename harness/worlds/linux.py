"""The Linux system calls that namespaces need and Python 3.11 does not have.

Each raises OSError with the kernel's errno. Flag names and values are those of <sched.h> and <sys/mount.h>.
"""

from __future__ import annotations

import ctypes
import os
import signal

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_REC = 0x4000
MS_PRIVATE = 0x40000

_PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, call: str) -> None:
    if result != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"{call}: {os.strerror(errno)}")


def unshare(flags: int) -> None:
    """Move the calling process into new namespaces; with CLONE_NEWPID, its future children."""
    _check(_libc.unshare(flags), "unshare")


def setns(fd: int, flag: int) -> None:
    """Move the calling thread into the namespace that `fd` refers to; with CLONE_NEWPID, future children."""
    _check(_libc.setns(fd, flag), "setns")


def mount(source: str, target: str, kind: str | None, flags: int = 0) -> None:
    kind_bytes = None if kind is None else kind.encode()
    _check(_libc.mount(source.encode(), target.encode(), kind_bytes, flags, None), f"mount {target}")


def die_with_parent() -> None:
    """Have the kernel SIGKILL this process when the thread that started it ends.

    Changing credentials (an id map too) clears this, so it is set again after any such change.
    """
    _check(_libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0), "prctl")
