"""The ways of Raft's messages: cheap when a peer is gone, quick when it is back, and never without bound."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from impl.ports import Address, Ports
from impl.raft import Message, TimeoutNow, decode_message
from impl.server import links as links_module
from impl.server.frames import RAFT, Frames
from impl.server.links import UNSENT_BYTES_MAX, WAITING_MAX, Links
from impl.system import SystemDisk, SystemNetwork, system_ports

pytestmark = pytest.mark.anyio


class Peer:
    """A server that keeps what it receives."""

    def __init__(self) -> None:
        self.received: list[Message] = []
        self.connections: list[Frames] = []
        self.changed = asyncio.Event()

    def connection(self) -> Frames:
        peer = self

        class Connection(Frames):
            def opened(self, kind: int) -> None:
                assert kind == RAFT
                peer.connections.append(self)
                self.received = peer.receive

        return Connection()

    def receive(self, frame: bytes) -> None:
        self.received.append(decode_message(frame))
        self.changed.set()

    async def until_received(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.received) < count:
                self.changed.clear()
                await self.changed.wait()


class CountingNetwork(SystemNetwork):
    """Counts attempts to connect, and lets them hang while it is told to."""

    def __init__(self) -> None:
        self.attempts = 0
        self.hangs = False

    async def connect(self, factory: Callable[[], asyncio.Protocol], address: Address) -> asyncio.Transport:
        self.attempts += 1
        if self.hangs:
            await asyncio.Event().wait()
        return await super().connect(factory, address)


@pytest.fixture
def network() -> CountingNetwork:
    return CountingNetwork()


@pytest.fixture
def ports(tmp_path: Path, network: CountingNetwork) -> Ports:
    return replace(system_ports(SystemDisk(tmp_path)), network=network)


def message(number: int) -> Message:
    return TimeoutNow("s1", "s2", number)


async def test_messages_arrive_in_order_over_one_connection(ports: Ports, network: CountingNetwork) -> None:
    peer = Peer()
    listener = await ports.network.listen(peer.connection, ("127.0.0.1", 0))
    links = Links(ports, lambda server: listener.address)
    for number in range(20):
        links.send(message(number))
    await peer.until_received(20)
    assert peer.received == [message(number) for number in range(20)]
    assert network.attempts == 1
    links.close()
    listener.close()


async def test_a_message_to_nobody_known_is_dropped(ports: Ports, network: CountingNetwork) -> None:
    links = Links(ports, lambda server: None)
    links.send(message(1))
    await asyncio.sleep(0)
    assert network.attempts == 0


async def test_attempts_to_reach_a_peer_that_is_cut_off_do_not_pile_up(
    ports: Ports, network: CountingNetwork
) -> None:
    network.hangs = True
    links = Links(ports, lambda server: ("127.0.0.1", 1))
    for number in range(1000):
        links.send(message(number))
        if number % 100 == 0:
            await asyncio.sleep(0)
    assert network.attempts == 1
    assert len(links._links["s2"]._waiting) == WAITING_MAX
    links.close()


async def test_a_refused_connection_is_not_tried_again_at_once(
    ports: Ports, network: CountingNetwork
) -> None:
    links = Links(ports, lambda server: ("127.0.0.1", 1))
    for number in range(200):
        links.send(message(number))
        await asyncio.sleep(0)
    assert network.attempts <= 2
    links.close()


async def test_a_peer_that_is_back_is_reached_within_the_next_attempts(
    ports: Ports, network: CountingNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links_module, "CONNECT_TIMEOUT_NS", 50_000_000)
    monkeypatch.setattr(links_module, "RETRY_NS", 10_000_000)
    peer = Peer()
    listener = await ports.network.listen(peer.connection, ("127.0.0.1", 0))
    network.hangs = True
    links = Links(ports, lambda server: listener.address)
    links.send(message(1))
    async with asyncio.timeout(5):
        while links._links["s2"]._connecting is not None:
            await asyncio.wait([links._links["s2"]._connecting])
    network.hangs = False
    async with asyncio.timeout(5):
        while not peer.received:  # as heartbeats do
            links.send(message(2))
            await asyncio.sleep(0.005)
    assert message(1) not in peer.received, "what is that old is of no use"
    links.close()
    listener.close()


async def test_a_broken_connection_is_opened_anew(ports: Ports, network: CountingNetwork) -> None:
    peer = Peer()
    listener = await ports.network.listen(peer.connection, ("127.0.0.1", 0))
    links = Links(ports, lambda server: listener.address)
    links.send(message(1))
    await peer.until_received(1)
    peer.connections[0].abort()
    async with asyncio.timeout(5):
        while len(peer.received) < 2:
            links.send(message(2))
            await asyncio.sleep(0.005)
    assert network.attempts == 2
    links.close()
    listener.close()


async def test_a_peer_with_a_new_address_is_reached_there(ports: Ports, network: CountingNetwork) -> None:
    old, new = Peer(), Peer()
    listeners = [await ports.network.listen(peer.connection, ("127.0.0.1", 0)) for peer in (old, new)]
    address = listeners[0].address
    links = Links(ports, lambda server: address)
    links.send(message(1))
    await old.until_received(1)
    address = listeners[1].address
    links.send(message(2))
    await new.until_received(1)
    assert old.received == [message(1)]
    assert new.received == [message(2)]
    links.close()
    for listener in listeners:
        listener.close()


async def test_what_a_peer_does_not_read_is_kept_within_bounds(ports: Ports) -> None:
    class Deaf(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            cast(asyncio.ReadTransport, transport).pause_reading()

    listener = await ports.network.listen(Deaf, ("127.0.0.1", 0))
    links = Links(ports, lambda server: listener.address)
    big = TimeoutNow("s" * 100_000, "s2", 1)
    links.send(big)
    connecting = links._links["s2"]._connecting
    assert connecting is not None
    await connecting
    for _ in range(1000):  # 100 MB
        links.send(big)
    frames = links._links["s2"]._frames
    assert frames is not None
    assert frames.unsent_bytes <= UNSENT_BYTES_MAX + 200_000
    links.close()
    listener.close()
