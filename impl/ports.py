"""The only ways out of the process: time, disk and network.

Rules
-----
1. Nothing in `impl/` reads a clock, opens a file or makes a socket except through these ports.
2. The cores (`impl/raft`, `impl/gossip`) do not even see the ports: they take inputs and return effects.
3. A write is a promise only after `sync` or `replace` has returned.

The shell runs on `impl.system` (uvloop, sockets, files) or on any other implementation of these protocols,
such as a simulator's. The network port is asyncio's own split into transports and protocols, so that a server
from the ecosystem (uvicorn) runs on any implementation of it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

Address = tuple[str, int]
"""An IPv4 address in dotted form, and a port."""


class Timer(Protocol):
    """A pending call."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Time as this node sees it."""

    def monotonic_ns(self) -> int:
        """Never goes back, does not count while the machine sleeps. For timers and leases."""
        ...

    def wall_ns(self) -> int:
        """Since the Unix epoch. May jump either way: for logs and people, never for safety."""
        ...

    def call_at(self, when_ns: int, callback: Callable[[], None]) -> Timer:
        """Call once the monotonic clock has reached `when_ns`."""
        ...

    async def sleep(self, duration_ns: int) -> None: ...


class Disk(Protocol):
    """A flat directory of files owned by one agent.

    Errors are OSError with the errno of the cause (ENOSPC, EIO, ...) and the file's name.
    """

    def names(self) -> list[str]:
        """The files there are, sorted."""
        ...

    def read(self, name: str) -> bytes:
        """The whole file; FileNotFoundError if there is none."""
        ...

    def append(self, name: str, data: bytes) -> None:
        """Write at the end, creating the file if need be. Not durable before `sync`."""
        ...

    def truncate(self, name: str, size: int) -> None:
        """Cut to `size` bytes. Not durable before `sync`."""
        ...

    def remove(self, name: str) -> None:
        """Unlink. Not durable by itself: after a power cut the file may be back."""
        ...

    async def sync(self, name: str) -> None:
        """The file's content and its directory entry are on disk when this returns."""
        ...

    async def replace(self, name: str, data: bytes) -> None:
        """Make `data` the file's content: old or new, never a mixture. Durable when this returns."""
        ...


class Network(Protocol):
    """Datagrams (lost, duplicated, reordered) and streams (held or reset, never reordered)."""

    async def listen(self, factory: Callable[[], asyncio.Protocol], address: Address) -> Listener:
        """Accept streams at `address`; port 0 picks one. OSError EADDRINUSE if it is taken."""
        ...

    async def connect(self, factory: Callable[[], asyncio.Protocol], address: Address) -> asyncio.Transport:
        """Open a stream. OSError if refused or unreachable; may hang for minutes, so bound it."""
        ...

    async def datagrams(
        self, factory: Callable[[], asyncio.DatagramProtocol], address: Address
    ) -> asyncio.DatagramTransport:
        """Send and receive datagrams at `address`."""
        ...


class Listener(Protocol):
    """A bound listening address."""

    @property
    def address(self) -> Address: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything an agent may touch."""

    clock: Clock
    disk: Disk
    network: Network
    random: random.Random
    """The only source of randomness. Seeded by the operating system on a real node."""
