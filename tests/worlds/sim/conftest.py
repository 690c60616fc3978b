"""Shared by the tests of the sim world: scenarios on a simulated loop, and hosts on a simulated network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

import pytest

from harness.worlds.sim.departures import Departure, Departures
from harness.worlds.sim.fences import fences
from harness.worlds.sim.hosts import Host
from harness.worlds.sim.loop import SimulatedLoop
from harness.worlds.sim.network import Network, ProcessNetwork
from harness.worlds.sim.process import Process

_Result = TypeVar("_Result")

Simulate = Callable[[Callable[[SimulatedLoop], Coroutine[Any, Any, Any]]], Any]

MILLISECOND = 1_000_000
SECOND = 1_000_000_000


@pytest.fixture(scope="session")
def simulate() -> Simulate:
    """Runs a scenario, which gets the loop, as the harness's code with the fences up."""

    def run(scenario: Callable[[SimulatedLoop], Coroutine[Any, Any, _Result]]) -> _Result:
        loop = SimulatedLoop()
        with fences(loop):
            return loop.run(scenario(loop))

    return run


class Net:
    """Hosts n1, n2 and n3 on a network, and a process on each."""

    def __init__(self, loop: SimulatedLoop, listed: Mapping[tuple[str, int], Departure] | None) -> None:
        self.loop = loop
        self.network = Network(loop, 0, Departures(0, listed))
        self.processes: dict[str, Process] = {}
        for number, name in enumerate(("n1", "n2", "n3"), 1):
            self.network.add(Host(name, f"10.0.0.{number}", number))
            self.start(name)

    def start(self, name: str) -> None:
        """A new process on the host."""
        process = self.processes[name] = Process(name, len(self.processes) + 1)
        host = self.network.hosts[name]
        host.up = True
        process.network = ProcessNetwork(self.network, host, process)

    def kill(self, name: str) -> None:
        self.loop.kill(self.processes[name])
        self.network.process_ended(self.network.hosts[name], self.processes[name])

    def power_off(self, name: str) -> None:
        self.loop.kill(self.processes[name])
        self.network.power_off(self.network.hosts[name])

    def pause(self, name: str) -> None:
        self.loop.pause(self.processes[name])

    def resume(self, name: str) -> None:
        self.loop.resume(self.processes[name])

    def cut(self, *links: str) -> None:
        """Exactly these links, each as "n1>n2"."""
        self.network.cut([(link[:2], link[3:]) for link in links])

    def port(self, name: str) -> ProcessNetwork:
        network = self.processes[name].network
        assert network is not None
        return network

    async def on(self, name: str, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Have the process on the host do this."""
        result: _Result = await self.loop.start(self.processes[name], work)
        return result

    async def serve(self, name: str, port: int = 7000) -> list[Peer]:
        """Listen; returns the list of those who will have connected."""
        accepted: list[Peer] = []

        def accept() -> Peer:
            accepted.append(Peer(self.loop))
            return accepted[-1]

        await self.on(name, self.port(name).listen(accept, ("0.0.0.0", port)))
        return accepted

    async def dial(self, name: str, to: str, port: int = 7000) -> Peer:
        peer = Peer(self.loop)
        await self.on(name, self.port(name).connect(lambda: peer, (f"10.0.0.{to[1:]}", port)))
        return peer

    async def bind(self, name: str, port: int = 7001, to: str | None = None) -> Mailbox:
        mailbox = Mailbox(self.loop)
        remote = None if to is None else (f"10.0.0.{to[1:]}", port)
        await self.on(name, self.port(name).datagrams(lambda: mailbox, ("0.0.0.0", port), remote))
        return mailbox

    async def until(self, seconds: float) -> None:
        """Wait for a moment of the simulation."""
        await asyncio.sleep(seconds - self.loop.now_ns / SECOND)


class Peer(asyncio.Protocol):
    """One end of a stream: keeps what happens to it, and when."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self.loop = loop
        self.transport: asyncio.Transport
        self.received = b""
        self.events: list[tuple[float, str]] = []
        """Data by its text, "end", "lost" with the error's name, "pause" and "resume"."""
        self.half_open = False
        """Whether it goes on writing after the peer's end."""

    def heard(self) -> list[str]:
        return [event for _, event in self.events]

    def when(self, event: str) -> float:
        return next(when for when, one in self.events if one == event)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        self._note(data.decode("latin-1")[:20])

    def eof_received(self) -> bool:
        self._note("end")
        return self.half_open

    def connection_lost(self, exc: Exception | None) -> None:
        self._note("lost" if exc is None else f"lost: {type(exc).__name__}")

    def pause_writing(self) -> None:
        self._note("pause")

    def resume_writing(self) -> None:
        self._note("resume")

    def _note(self, event: str) -> None:
        self.events.append((self.loop.now_ns / SECOND, event))


class Mailbox(asyncio.DatagramProtocol):
    """A datagram socket: keeps what arrives, and when."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self.loop = loop
        self.transport: asyncio.DatagramTransport
        self.received: list[tuple[float, str]] = []
        self.sources: list[tuple[str, int]] = []

    def heard(self) -> list[str]:
        return [text for _, text in self.received]

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.received.append((self.loop.now_ns / SECOND, data.decode("latin-1")))
        self.sources.append(addr)

    def send(self, to: str, text: str, port: int = 7001) -> None:
        self.transport.sendto(text.encode("latin-1"), (f"10.0.0.{to[1:]}", port))


OnNet = Callable[..., Any]


@pytest.fixture(scope="session")
def on_net() -> OnNet:
    """Runs a scenario, which gets a `Net`; with the departures that happen, if they are given."""

    def run(
        scenario: Callable[[Net], Coroutine[Any, Any, _Result]],
        departures: Mapping[tuple[str, int], Departure] | None = None,
    ) -> _Result:
        loop = SimulatedLoop()
        with fences(loop):
            return loop.run(scenario(Net(loop, departures)))

    return run
