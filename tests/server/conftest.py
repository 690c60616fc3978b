"""Shared by the tests of the server: clusters of agents in this process, on real sockets and files.

The agents are whole; only the network between them can be cut, by a wrapper around the real one, and their
Raft is quicker than a real one may be. Each cluster lives on loopback addresses of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from impl.config import AgentConfig
from impl.gossip import LOCAL
from impl.ports import Address, Listener, Ports
from impl.raft import Config as RaftConfig
from impl.raft import Raft, Role
from impl.server.agent import Agent
from impl.server.requests import Done, KVApply, KVGet, Options, QueryReply, RequestFailed
from impl.state import Pair, Set, encode_command
from impl.system import SystemDisk, SystemNetwork, system_ports

MILLISECOND_NS = 1_000_000

QUICK_GOSSIP = replace(
    LOCAL, probe_interval_ns=200 * MILLISECOND_NS, leave_propagate_delay_ns=100 * MILLISECOND_NS
)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": True}


class QuickRaft(Raft):
    """Elects in half a second."""

    def __init__(self, server: str, config: RaftConfig, *others: Any) -> None:
        quick = replace(
            config,
            heartbeat_timeout_ns=300 * MILLISECOND_NS,
            election_timeout_ns=300 * MILLISECOND_NS,
            leader_lease_timeout_ns=250 * MILLISECOND_NS,
            heartbeat_interval_ns=30 * MILLISECOND_NS,
        )
        super().__init__(server, quick, *others)


class Switch:
    """Which host's packets reach which other host. Streams are held while cut, datagrams are lost."""

    def __init__(self) -> None:
        self._cut: set[tuple[str, str]] = set()
        self._gates: list[_Gate] = []
        self._changed = asyncio.Condition()

    def carries(self, source: str, target: str) -> bool:
        return (source, target) not in self._cut

    async def cut(self, source: str, target: str) -> None:
        self._cut.add((source, target))

    async def isolate(self, host: str, others: list[str]) -> None:
        """Cut it off from all of them, both ways."""
        for other in others:
            await self.cut(host, other)
            await self.cut(other, host)

    async def heal(self) -> None:
        """Everything arrives again, what was held first."""
        self._cut.clear()
        for gate in list(self._gates):
            gate.release()
        async with self._changed:
            self._changed.notify_all()

    def reset(self, one: str, other: str) -> None:
        """Break every stream between two hosts, with what is held in it."""
        for gate in list(self._gates):
            if {gate.host, gate.peer} == {one, other}:
                gate.break_off()

    async def until_carried(self, one: str, other: str) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self.carries(one, other) and self.carries(other, one))

    def add(self, gate: _Gate) -> None:
        self._gates.append(gate)

    def remove(self, gate: _Gate) -> None:
        if gate in self._gates:
            self._gates.remove(gate)


class _Gate(asyncio.Protocol):
    """Holds back what a host may not receive on one stream."""

    def __init__(self, switch: Switch, host: str, inner: asyncio.Protocol) -> None:
        self.host = host
        self.peer = ""
        self._switch = switch
        self._inner = inner
        self._held: list[bytes] = []
        self._end: tuple[Exception | None] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.peer = peer[0] if peer else ""
        self._switch.add(self)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._held or not self._switch.carries(self.peer, self.host):
            self._held.append(data)
        else:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return None if self._held else self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._switch.carries(self.peer, self.host):
            self._end = (exc,)
            return
        self._switch.remove(self)
        self._inner.connection_lost(exc)

    def release(self) -> None:
        held, self._held = self._held, []
        for data in held:
            self._inner.data_received(data)
        if self._end is not None:
            self._switch.remove(self)
            self._inner.connection_lost(self._end[0])

    def break_off(self) -> None:
        assert self._transport is not None
        self._held.clear()
        self._switch.remove(self)
        if self._end is None:
            self._transport.abort()
        self._inner.connection_lost(ConnectionResetError("broken by the test"))


class _LossyDatagrams(asyncio.DatagramProtocol):
    def __init__(self, switch: Switch, host: str, inner: asyncio.DatagramProtocol) -> None:
        self._switch, self._host, self._inner = switch, host, inner

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._inner.connection_made(cast(asyncio.DatagramTransport, transport))

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        if self._switch.carries(addr[0], self._host):
            self._inner.datagram_received(data, addr)


class CuttableNetwork:
    """`ports.Network` of one host, behind a switch."""

    def __init__(self, switch: Switch, host: str) -> None:
        self._switch = switch
        self._host = host
        self._system = SystemNetwork()

    async def listen(self, factory: Callable[[], asyncio.Protocol], address: Address) -> Listener:
        return await self._system.listen(lambda: _Gate(self._switch, self._host, factory()), address)

    async def connect(self, factory: Callable[[], asyncio.Protocol], address: Address) -> asyncio.Transport:
        await self._switch.until_carried(self._host, address[0])
        transport, _ = await asyncio.get_running_loop().create_connection(
            lambda: _Gate(self._switch, self._host, factory()), *address, local_addr=(self._host, 0)
        )
        return transport

    async def datagrams(
        self, factory: Callable[[], asyncio.DatagramProtocol], address: Address
    ) -> asyncio.DatagramTransport:
        return await self._system.datagrams(
            lambda: _LossyDatagrams(self._switch, self._host, factory()), address
        )


class Node:
    """One agent, which can be stopped and started again over its data."""

    def __init__(self, config: AgentConfig, switch: Switch, directory: Path, raft: type[Raft]) -> None:
        self.config = config
        self.name = config.node_name
        self.host = config.bind_addr
        self.directory = directory
        self._switch = switch
        self._raft = raft
        self._disk: SystemDisk | None = None
        self._agent: Agent | None = None

    @property
    def agent(self) -> Agent:
        assert self._agent is not None, f"{self.name} is not running"
        return self._agent

    @property
    def running(self) -> bool:
        return self._agent is not None

    async def start(self, wrap: Callable[[Ports], Ports] = lambda ports: ports) -> None:
        self._disk = SystemDisk(self.directory)
        ports = replace(system_ports(self._disk), network=CuttableNetwork(self._switch, self.host))
        self._agent = Agent(self.config, wrap(ports), raft=self._raft)
        await self._agent.start()

    async def stop(self, leave: bool = False) -> None:
        """Without leaving it vanishes in the middle of whatever it does, like a killed process."""
        if self._agent is not None:
            await self._agent.stop(leave)
            self._agent = None
        if self._disk is not None:
            self._disk.close()
            self._disk = None

    # What the node says, in short

    async def put(self, key: str, value: bytes) -> bool:
        reply = await self.agent.request(KVApply(encode_command(Set(key, value))))
        assert isinstance(reply, Done)
        assert isinstance(reply.result, bool)
        return reply.result

    async def query(self, key: str, **options: Any) -> QueryReply:
        reply = await self.agent.request(KVGet(key, Options(**options)))
        assert isinstance(reply, QueryReply)
        return reply

    async def get(self, key: str, **options: Any) -> bytes | None:
        pairs: tuple[Pair, ...] = (await self.query(key, **options)).pairs
        return pairs[0].value if pairs else None

    @property
    def leads(self) -> bool:
        return (
            self.running and self.agent.stats().get("raft", {}).get("state") == Role.LEADER.value.capitalize()
        )

    def raft(self, figure: str) -> str:
        return self.agent.stats()["raft"][figure]

    def statuses(self) -> dict[str, str]:
        return {member.name: member.status for member in self.agent.members()}


class Cluster:
    """Servers s1, s2, ... and client agents c1, c2, ..."""

    def __init__(
        self, servers: int, clients: int, directory: Path, raft: type[Raft], settings: dict[str, Any]
    ) -> None:
        self.switch = Switch()
        source = random.SystemRandom()
        self._subnet = f"127.{source.randrange(16, 255)}.{source.randrange(256)}"
        self._directory = directory
        self._raft = raft
        self._settings = settings
        self._expect = servers
        self.nodes: list[Node] = []
        for number in range(servers):
            self.add_node(f"s{number + 1}", server=True, bootstrap_expect=servers)
        for number in range(clients):
            self.add_node(f"c{number + 1}", server=False)

    def add_node(self, name: str, **settings: Any) -> Node:
        number = len(self.nodes) + 1
        host = f"{self._subnet}.{number}"
        join = settings.pop("join", (1, 2))
        config = AgentConfig(
            node_name=name,
            node_id=f"00000000-0000-0000-0000-{number:012}",
            bind_addr=host,
            advertise_addr=host,
            retry_join=tuple(f"{self._subnet}.{seed}" for seed in join if seed != number),
            retry_interval_ns=200 * MILLISECOND_NS,
            gossip_lan=QUICK_GOSSIP,
            **({"rpc_hold_timeout_ns": 3000 * MILLISECOND_NS} | self._settings | settings),
        )
        node = Node(config, self.switch, self._directory / name, self._raft)
        self.nodes.append(node)
        return node

    def __getitem__(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    @property
    def servers(self) -> list[Node]:
        return [node for node in self.nodes if node.config.server]

    @property
    def followers(self) -> list[Node]:
        return [node for node in self.servers if node.running and not node.leads]

    def hosts_but(self, node: Node) -> list[str]:
        return [other.host for other in self.nodes if other is not node]

    async def isolate(self, node: Node) -> None:
        await self.switch.isolate(node.host, self.hosts_but(node))

    async def start(self) -> None:
        await asyncio.gather(*(node.start() for node in self.nodes))

    async def stop(self) -> None:
        await asyncio.gather(*(node.stop() for node in self.nodes))

    async def leader(self) -> Node:
        """The one whose leadership is beyond doubt: it answers a consistent read."""
        found: list[Node] = []

        async def answers() -> bool:
            found[:] = [node for node in self.servers if node.leads]
            if len(found) != 1:
                return False
            try:
                async with asyncio.timeout(1):
                    await found[0].query("any", consistency="consistent")
            except (RequestFailed, TimeoutError):
                return False
            return found[0].leads

        await eventually(answers, "one leader")
        return found[0]


async def eventually(condition: Callable[[], Any], what: str, timeout: float = 15.0) -> None:
    """Wait until a condition (perhaps a coroutine function) holds; AssertionError if it never does."""
    try:
        async with asyncio.timeout(timeout):
            while True:
                result = condition()
                if asyncio.iscoroutine(result):
                    result = await result
                if result:
                    return
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {timeout} s: {what}") from None


ClusterFactory = Callable[..., contextlib.AbstractAsyncContextManager[Cluster]]


@pytest.fixture
def cluster(tmp_path: Path) -> ClusterFactory:
    """`async with cluster(servers, clients, **settings) as c:` settings are AgentConfig's."""

    @contextlib.asynccontextmanager
    async def run(
        servers: int, clients: int = 0, *, raft: type[Raft] = QuickRaft, **settings: Any
    ) -> AsyncIterator[Cluster]:
        running = Cluster(servers, clients, tmp_path, raft, settings)
        try:
            await running.start()
            yield running
        finally:
            await running.stop()

    return run


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[..., Any]:
    return eventually
