"""The ports on a real machine: the running event loop (uvloop in an agent), sockets, a directory of files.

Rules
-----
1. The event loop never waits for the disk: whatever flushes (`sync`, `replace`) runs in a worker thread.
2. A directory belongs to one agent: it is locked (flock) for as long as it is open.
3. An error keeps its errno and names the file or address it is about.

Durability, step by step
------------------------
`append` hands the bytes to the kernel, which survives the death of the process but not a power cut. `sync`
calls fdatasync, which flushes the data and the length that is needed to read it back; the first `sync` of
a file flushes the directory too, for otherwise the file itself may vanish. `replace` writes a temporary file,
flushes it, renames it over the old one, and flushes the directory: rename before flush could leave an empty
file, rename without the last flush could bring the old file back. (Pillai et al., All File Systems Are Not
Created Equal, OSDI 2014.)

A flush that failed must not be tried again: Linux marks the pages clean whether or not they reached the disk,
so the second flush succeeds having written nothing (Rebello et al., Can Applications Recover from fsync
Failures?, USENIX ATC 2020). This module reports the error; not to try again is the caller's part.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import itertools
import os
import random
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

from impl.ports import Address, Ports

LISTEN_BACKLOG = 1024
"""Connections the kernel may hold until they are accepted; it lowers this to net.core.somaxconn."""

DATAGRAM_RECEIVE_BUFFER_BYTES = 2 * 1024 * 1024
"""Asked for; the kernel lowers it to net.core.rmem_max. (memberlist, net_transport.go, udpRecvBufSize.)"""


UNACKNOWLEDGED_MS_MAX = 5000
"""A stream whose peer has acknowledged nothing for so long breaks (TCP_USER_TIMEOUT). Otherwise the kernel
goes on at ever longer intervals, and a stream that outlives a partition stays silent for as long again."""


IDLE_S_MAX = 15
"""After so many silent seconds the kernel asks whether the peer is still there (TCP_KEEPIDLE; Go's default).
Otherwise whoever waits for an answer would wait for ever for a peer that lost power."""


class DirectoryInUse(OSError):
    """Another process holds the directory: stop that agent, or give this one a directory of its own."""


class SystemClock:
    """`ports.Clock` on CLOCK_MONOTONIC, CLOCK_REALTIME and the running loop's timers."""

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        return time.time_ns()

    def call_at(self, when_ns: int, callback: Callable[[], None]) -> SystemTimer:
        return SystemTimer(when_ns, callback)

    async def sleep(self, duration_ns: int) -> None:
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not over.done():  # cancelled in the very turn in which the time is over
                over.set_result(None)

        timer = self.call_at(self.monotonic_ns() + duration_ns, wake)
        try:
            await over
        finally:
            timer.cancel()


class SystemTimer:
    """A pending call that never comes early.

    Loops count in coarse ticks from the start of their current turn (libuv: whole milliseconds), so a timer
    of theirs may fire a little before its time; it is then set again for what is left.
    """

    def __init__(self, when_ns: int, callback: Callable[[], None]) -> None:
        self._when_ns = when_ns
        self._callback = callback
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle
        self._arm()

    def cancel(self) -> None:
        self._handle.cancel()

    def _arm(self) -> None:
        left_ns = max(0, self._when_ns - time.monotonic_ns())
        self._handle = self._loop.call_later(left_ns / 1e9, self._fire)

    def _fire(self) -> None:
        if time.monotonic_ns() < self._when_ns:
            self._arm()
        else:
            self._callback()


class SystemDisk:
    """`ports.Disk` over one directory, which is created if it is missing and locked until `close`.

    Names starting with a dot are this class's own: the lock, and temporary files, whose left-overs from
    a process that died are removed at the start. Subdirectories are not touched and not listed.

    No two calls about the same file may overlap, but for `append` during `sync` (whether that `sync` covers
    it is then open). Raises DirectoryInUse if another process holds the directory.
    """

    def __init__(self, directory: Path) -> None:
        _make_directory(directory)
        self._directory = directory
        self._lock = self._take_lock()
        self._descriptors: dict[str, int] = {}
        self._listed: set[str] = set()
        """Files whose directory entry is known to be flushed."""
        self._temporary_numbers = itertools.count()
        for path in directory.glob(".*.tmp"):
            path.unlink()

    def close(self) -> None:
        """Close all files and release the lock. Flushes nothing: what was not synced is not promised."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()
        os.close(self._lock)

    def names(self) -> list[str]:
        with os.scandir(self._directory) as entries:
            return sorted(e.name for e in entries if not e.name.startswith(".") and e.is_file())

    def read(self, name: str) -> bytes:
        return self._path(name).read_bytes()

    def append(self, name: str, data: bytes) -> None:
        path = self._path(name)
        with _naming(path):
            _write_all(self._descriptor(name, path, os.O_CREAT), data)

    def truncate(self, name: str, size: int) -> None:
        os.truncate(self._path(name), size)

    def remove(self, name: str) -> None:
        path = self._path(name)
        self._forget(name)
        self._listed.discard(name)
        path.unlink()

    async def sync(self, name: str) -> None:
        path = self._path(name)
        # A descriptor of its own, so that it stays valid whatever happens to the file meanwhile.
        with _naming(path):
            own = os.dup(self._descriptor(name, path))
        await asyncio.to_thread(self._flush, path, own, name not in self._listed)
        self._listed.add(name)

    async def replace(self, name: str, data: bytes) -> None:
        path = self._path(name)
        temporary = self._directory / f".{name}.{next(self._temporary_numbers)}.tmp"
        self._forget(name)  # it would go on pointing at the old content
        await asyncio.to_thread(self._write_and_rename, temporary, path, data)
        self._listed.add(name)

    def _path(self, name: str) -> Path:
        if name.startswith(".") or "/" in name or not name:
            raise ValueError(
                f"{name!r} cannot be a file's name here: no slash, no dot at the start, not empty"
            )
        return self._directory / name

    def _take_lock(self) -> int:
        path = self._directory / ".lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            why = f"in use by process {holder}: stop it, or choose another directory"
            raise DirectoryInUse(errno.EWOULDBLOCK, why, str(self._directory)) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return descriptor

    def _descriptor(self, name: str, path: Path, create: int = 0) -> int:
        descriptor = self._descriptors.get(name)
        if descriptor is None:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | create, 0o600)
            self._descriptors[name] = descriptor
        return descriptor

    def _forget(self, name: str) -> None:
        descriptor = self._descriptors.pop(name, None)
        if descriptor is not None:
            os.close(descriptor)

    def _flush(self, path: Path, descriptor: int, with_directory: bool) -> None:
        try:
            with _naming(path):
                os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        if with_directory:
            _flush_directory(self._directory)

    def _write_and_rename(self, temporary: Path, path: Path, data: bytes) -> None:
        try:
            with _naming(path):
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                try:
                    _write_all(descriptor, data)
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
                os.rename(temporary, path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        _flush_directory(self._directory)


class SystemNetwork:
    """`ports.Network` on the running loop.

    Streams do not delay small writes (TCP_NODELAY), and do not wait for ever for a peer that is gone.
    """

    async def listen(self, factory: Callable[[], asyncio.Protocol], address: Address) -> SystemListener:
        loop = asyncio.get_running_loop()
        with _naming_address(address):
            server = await loop.create_server(
                factory, *address, family=socket.AF_INET, backlog=LISTEN_BACKLOG
            )
        _bound_silence(server.sockets[0])  # accepted streams inherit it
        return SystemListener(server)

    async def connect(self, factory: Callable[[], asyncio.Protocol], address: Address) -> asyncio.Transport:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(factory, *address, family=socket.AF_INET)
        _bound_silence(transport.get_extra_info("socket"))
        return transport

    async def datagrams(
        self, factory: Callable[[], asyncio.DatagramProtocol], address: Address
    ) -> asyncio.DatagramTransport:
        # Bound here and not by the loop: uvloop's error does not say whether the address is taken.
        bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            bound.setblocking(False)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, DATAGRAM_RECEIVE_BUFFER_BYTES)
            with _naming_address(address):
                bound.bind(address)
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(factory, sock=bound)
        except BaseException:
            bound.close()
            raise
        return transport


class SystemListener:
    """A listening socket. `close` stops accepting; streams already accepted live on."""

    def __init__(self, server: asyncio.Server) -> None:
        self._server = server
        self._address = cast(Address, server.sockets[0].getsockname())

    @property
    def address(self) -> Address:
        return self._address

    def close(self) -> None:
        self._server.close()


@contextlib.contextmanager
def _naming_address(address: Address) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise OSError(error.errno, f"cannot listen on {address[0]}:{address[1]}: {why}") from error


def _bound_silence(stream: socket.socket) -> None:
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, IDLE_S_MAX)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, IDLE_S_MAX)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS_MAX)


def system_ports(disk: SystemDisk) -> Ports:
    """The real ports around an open directory, with randomness seeded by the operating system."""
    return Ports(clock=SystemClock(), disk=disk, network=SystemNetwork(), random=random.Random())


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Calls on descriptors do not know what file they are about: say it."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def _make_directory(directory: Path) -> None:
    """Create it and its parents, durably: a synced file in a directory that vanishes has vanished too."""
    if directory.is_dir():
        return
    _make_directory(directory.parent)
    directory.mkdir(mode=0o700, exist_ok=True)
    _flush_directory(directory.parent)


def _flush_directory(directory: Path) -> None:
    with _naming(directory):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
