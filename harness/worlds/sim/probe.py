"""The conformance suite's probe for the sim world: it answers the requests of `conformance.PROBE`.

    python -m harness.worlds.sim.probe [stubborn]

It is also an example of a program that takes ports, and uses asyncio's own streams beside them.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from harness.worlds.sim.programs import Ports

ARGV = (sys.executable, "-m", "harness.worlds.sim.probe")
"""How it is started."""

CLIENTS, DATAGRAMS, STREAMS = 7000, 7001, 7002

FILE = "kept"


def program(arguments: Sequence[str]) -> Probe:
    return Probe("stubborn" in arguments, dict(os.environ))


class Probe(asyncio.DatagramProtocol):
    """One process."""

    def __init__(self, stubborn: bool, environment: dict[str, str]) -> None:
        self._stubborn = stubborn
        self._environment = environment
        self._ports: Ports
        self._datagrams: Any = None
        self._received: Counter[str] = Counter()
        self._streams: dict[str, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}
        self._operations: dict[str, Callable[..., Any]] = {
            "pid": os.getpid,
            "environment": environment.get,
            "append": self._append,
            "sync": self._sync,
            "read": self._read,
            "clocks": lambda: [self._ports.clock.monotonic_ns() / 1e9, self._ports.clock.wall_ns() / 1e9],
            "exit": lambda code: os._exit(code),
            "abort": lambda: os.abort(),
            "send": self._send,
            "received": lambda: self._received,
            "dial": self._dial,
            "exchange": self._exchange,
        }

    async def __call__(self, ports: Ports) -> int:
        self._ports = ports
        asked = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
        await ports.network.datagrams(lambda: self, ("0.0.0.0", DATAGRAMS))
        await asyncio.start_server(self._echo, "", STREAMS)
        await asyncio.start_server(self._answer, "", CLIENTS)
        print("probe serves", flush=True)  # noqa: T201
        await asked.wait()
        print("asked to stop", flush=True)  # noqa: T201
        if self._stubborn:
            await asyncio.Event().wait()
        return 0

    # --- What the harness asks for

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            operation, *arguments = json.loads(line)
            answer = self._operations[operation](*arguments)
            if isinstance(answer, Awaitable):
                answer = await answer
            writer.write(json.dumps(answer).encode() + b"\n")
        writer.close()

    def _append(self, text: str) -> str | None:
        try:
            self._ports.disk.append(FILE, text.encode())
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        return None

    async def _sync(self) -> str | None:
        try:
            await self._ports.disk.sync(FILE)
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        return None

    def _read(self) -> str | None:
        if FILE not in self._ports.disk.names():
            return None
        return self._ports.disk.read(FILE).decode("latin-1")

    def _send(self, to: str, tag: str, count: int) -> None:
        for _ in range(count):
            self._datagrams.sendto(tag.encode(), (to, DATAGRAMS))

    async def _dial(self, name: str, to: str) -> bool:
        try:
            async with asyncio.timeout(0.4):
                self._streams[name] = await asyncio.open_connection(to, STREAMS)
        except OSError:  # TimeoutError is one
            return False
        return True

    async def _exchange(self, name: str, text: str, timeout: float) -> bool:
        reader, writer = self._streams[name]
        try:
            async with asyncio.timeout(timeout):
                writer.write(text.encode())
                await reader.readuntil(text.encode())
        except (OSError, asyncio.IncompleteReadError):
            return False
        return True

    # --- What other probes send

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._datagrams = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._received[data.decode()] += 1

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()
