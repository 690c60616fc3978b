"""The conformance suite's tools: what a check is, the probe, and how checks talk to it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.worlds import Cluster, Link, World

NODES = ("n1", "n2", "n3")
ALL_LINKS: tuple[Link, ...] = tuple((a, b) for a in NODES for b in NODES if a != b)

SILENCE_SECONDS = 0.3
PATIENCE_SECONDS = 10.0
"""How long what must happen may take on a busy machine."""

POWER_CUTS = 12
"""So many times is tried what is up to chance."""
DATAGRAMS = 20

PROBE_PORT = 7000
DAEMON_PORT = 7003

PROBE = r"""
import collections, errno, json, os, signal, socket, sys, threading, time

CLIENTS, DATAGRAMS, STREAMS, DAEMON = 7000, 7001, 7002, 7003
received = collections.Counter()
streams = {}

def receive_datagrams():
    while True:
        received[datagrams.recv(100).decode()] += 1

def serve_each(server, serve):
    while True:
        stream, _ = server.accept()
        threading.Thread(target=serve, args=(stream,), daemon=True).start()

def echo(stream):
    while data := stream.recv(100):
        stream.sendall(data)

def daemon():
    # Everything a process can do to outlive the one that started it.
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
            serve_each(socket.create_server(("", DAEMON)), answer)
        os._exit(0)
    os.wait()

def run_away():
    # Never the same process for longer than it takes to fork the next.
    if os.fork() == 0:
        while os.fork() == 0:
            with open("data/hops", "a") as file:
                file.write(".")
        os._exit(0)
    os.wait()

def dial(name, to):
    try:
        streams[name] = socket.create_connection((to, STREAMS), timeout=0.4)
    except OSError:
        return False
    return True

def exchange(name, text, timeout):
    stream = streams[name]
    stream.settimeout(timeout)
    try:
        stream.sendall(text.encode())
        heard = b""
        while not heard.endswith(text.encode()):
            heard += stream.recv(100)
    except OSError:
        return False
    return True

def send(to, tag, count):
    for _ in range(count):
        datagrams.sendto(tag.encode(), (to, DATAGRAMS))

def append(text):
    # The error's name, if it fails; written and nothing more.
    try:
        with open("data/kept", "a") as file:
            file.write(text)
    except OSError as error:
        return errno.errorcode[error.errno]

def sync():
    try:
        for path in ("data/kept", "data"):
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
    except OSError as error:
        return errno.errorcode[error.errno]

def read():
    # None if there is no such file.
    if not os.path.exists("data/kept"):
        return None
    with open("data/kept", encoding="latin-1") as file:
        return file.read()

OPERATIONS = {
    "pid": os.getpid,
    "environment": os.environ.get,
    "append": append,
    "sync": sync,
    "read": read,
    "clocks": lambda: [time.monotonic(), time.time()],
    "daemon": daemon,
    "run_away": run_away,
    "exit": os._exit,
    "abort": os.abort,
    "send": send,
    "received": lambda: received,
    "dial": dial,
    "exchange": exchange,
}

def answer(stream):
    for line in stream.makefile("r"):
        operation, *arguments = json.loads(line)
        stream.sendall(json.dumps(OPERATIONS[operation](*arguments)).encode() + b"\n")

def on_term(signum, frame):
    print("asked to stop", flush=True)
    if "stubborn" not in sys.argv:
        os._exit(0)

signal.signal(signal.SIGTERM, on_term)
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind(("", DATAGRAMS))
threading.Thread(target=receive_datagrams, daemon=True).start()
threading.Thread(target=serve_each, args=(socket.create_server(("", STREAMS)), echo), daemon=True).start()
clients = socket.create_server(("", CLIENTS))
print("probe serves", flush=True)
serve_each(clients, answer)
"""


PROBE_ARGV = (sys.executable, "-S", "-c", PROBE)


@dataclass(frozen=True)
class Check:
    """One promise. Calling it tests it; `probe` is how the probe is started on the nodes."""

    name: str
    needs: frozenset[str]
    """The capabilities without which it does not apply."""
    body: Callable[[Probes], Awaitable[None]]

    def __str__(self) -> str:
        return self.name

    async def __call__(self, world: World, directory: Path, probe: Sequence[str] = PROBE_ARGV) -> None:
        cluster = await world.open(NODES, directory, 0)
        try:
            await self.body(Probes(cluster, probe))
        finally:
            await cluster.close()


CHECKS: list[Check] = []
"""Every check there is."""


def checks_of(world: World) -> list[Check]:
    """Those that apply to the world. That it refuses what it cannot do is a check as well."""
    return [one for one in CHECKS if one.needs <= world.capabilities]


def check(*needs: str) -> Callable[[Callable[[Probes], Awaitable[None]]], None]:
    """A check, which applies to worlds that can do all of this."""

    def add(body: Callable[[Probes], Awaitable[None]]) -> None:
        name = getattr(body, "__name__")  # noqa: B009 (Callable has no __name__)
        CHECKS.append(Check(name, frozenset(needs), body))

    return add


class Probes:
    """The probes on a cluster's nodes, as a client sees them."""

    def __init__(self, cluster: Cluster, probe: Sequence[str]) -> None:
        self.cluster = cluster
        self._probe = probe
        self._rounds = 0

    async def start(self, *nodes: str, arguments: Sequence[str] = ()) -> None:
        """Start probes and wait until they serve. On all nodes if none are named."""
        for node in nodes or NODES:
            await self.cluster.start(node, [*self._probe, *arguments], {"PROBE_OF": node})
        await asyncio.gather(*(self.ask(node, "pid") for node in nodes or NODES))

    async def ask(self, node: str, *request: Any, port: int = PROBE_PORT) -> Any:
        """One request; waits for the server to come up, and fails if none does."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    async with self.stream(node, port) as (reader, writer):
                        return await exchange(reader, writer, *request)
                except ConnectionRefusedError:
                    await asyncio.sleep(0.01)

    @asynccontextmanager
    async def stream(
        self, node: str, port: int = PROBE_PORT
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader = asyncio.StreamReader()
        transport, protocol = await self.cluster.connect(
            lambda: asyncio.StreamReaderProtocol(reader), node, port
        )
        writer = asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop())
        try:
            yield reader, writer
        finally:
            transport.abort()

    async def refuses(self, node: str, port: int = PROBE_PORT) -> bool:
        try:
            async with self.stream(node, port):
                return False
        except ConnectionRefusedError:
            return True

    async def is_silent(self, node: str) -> bool:
        """Whether nothing answers, not even to say that it is not there."""
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                await self.refuses(node)
        except TimeoutError:
            return True
        return False

    async def links_that_pass(self, at_least: Collection[Link]) -> set[Link]:
        """The links on which datagrams arrive, found by sending some on each.

        Waits for those of `at_least`, as long as patience lasts, and then a while for any other.
        """
        self._rounds += 1
        tag = f"round {self._rounds} from "
        nodes = self.cluster.nodes
        for a in nodes:
            others = [self.cluster.address(b) for b in nodes if a != b]
            await asyncio.gather(*(self.ask(a, "send", address, tag + a, 5) for address in others))

        async def arrived() -> set[Link]:
            counts = await asyncio.gather(*(self.ask(node, "received") for node in nodes))
            received = dict(zip(nodes, counts, strict=True))
            return {(a, b) for a in nodes for b in nodes if received[b].get(tag + a)}

        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while not await arrived() >= set(at_least) and asyncio.get_running_loop().time() < deadline:
            pass
        await asyncio.sleep(SILENCE_SECONDS)
        return await arrived()

    async def assert_passing(self, links: Collection[Link]) -> None:
        """Assert that datagrams arrive on these links and on no other."""
        passing = await self.links_that_pass(links)
        assert passing == set(links), f"{sorted(passing)} pass instead of {sorted(links)}"


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *request: Any) -> Any:
    writer.write(json.dumps(request).encode() + b"\n")
    line = await reader.readline()
    if not line:
        raise ConnectionResetError("the probe ended")
    return json.loads(line)


async def discard(attempt: Awaitable[Any]) -> None:
    await attempt


async def raises(
    kind: type[BaseException] | tuple[type[BaseException], ...], attempt: Awaitable[Any]
) -> None:
    try:
        await attempt
    except kind:
        return
    raise AssertionError(f"no {kind} was raised")


async def until(condition: Callable[[], bool]) -> None:
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it did not come true"
        await asyncio.sleep(0.01)


async def ends(reader: asyncio.StreamReader) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        try:
            assert await reader.read() == b""
        except ConnectionResetError:
            pass
