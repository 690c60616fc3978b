"""One agent: a member of the gossip pool, and a server of the Raft cluster if it is told to be one.

The classes of its parts are parameters, so that a test can put in one with a known bug.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from random import Random

import msgspec

from impl.config import AgentConfig, parse_address
from impl.gossip import Gossip, Member
from impl.ports import Address, Listener, Ports, Timer
from impl.raft import Config as RaftConfig
from impl.raft import Raft, Role, decode_message
from impl.server.driver import Driver
from impl.server.duties import Duties
from impl.server.frames import RAFT, RPC, Frames
from impl.server.links import Links
from impl.server.pool import Pool
from impl.server.requests import Reply, Request, RequestFailed
from impl.server.routing import Router
from impl.server.rpc import Servant
from impl.server.servers import ServerList, server_info, tags_of
from impl.state import StateMachine
from impl.storage import Storage

SECOND_NS = 1_000_000_000
FIRST_RETRY_NS = SECOND_NS // 5
"""Joining is retried at intervals that double from this to `retry_interval_ns`."""

FIRST_BYTE_TIMEOUT_NS = 5 * SECOND_NS
"""Whoever connects to the server port says what for within this (Consul: rpc.go, HandshakeTimeout)."""

log = logging.getLogger("agent")


class Agent:
    """A server or client agent on its ports."""

    def __init__(
        self,
        config: AgentConfig,
        ports: Ports,
        *,
        raft: type[Raft] = Raft,
        gossip: type[Gossip] = Gossip,
        state: Callable[[], StateMachine] = StateMachine,
        driver: type[Driver] = Driver,
        duties: type[Duties] = Duties,
    ) -> None:
        self.config = config
        self._ports = ports
        self._raft = raft
        self._state = state
        self._make_driver = driver
        self._make_duties = duties
        self._addresses: dict[str, Address] = {}
        """Of the servers that gossip shows, by id."""
        # Of its own, so that who is elected does not depend on what gossip and clients draw: a simulated run
        # in which one of them does less is then the same run otherwise.
        self._election_chance = Random(ports.random.getrandbits(64))
        self._servers = ServerList(ports.random)
        self._router = Router(config, ports, self._servers, self._address_of)
        self._links = Links(ports, self._address_of)
        self._pool = Pool(
            gossip(
                config.node_name,
                (config.advertise_addr, config.serf_lan_port),
                tags_of(config),
                config.gossip_lan,
                ports.random,
                ports.clock.monotonic_ns(),
            ),
            ports,
            (config.bind_addr, config.serf_lan_port),
            self._members_changed,
        )
        self._driver: Driver | None = None
        self._duties: Duties | None = None
        self._listener: Listener | None = None
        self._joining: asyncio.Task[None] | None = None
        self._connections: dict[Frames, None] = {}
        self._stopped = asyncio.Event()
        self._leaving = False
        self._leave: asyncio.Task[None] | None = None

    # --- Life

    async def start(self) -> None:
        """Bring it up. Raises OSError (a port is taken), Corrupt or DiskFailed; then it must be stopped."""
        if self.config.server:
            await self._start_server()
        await self._pool.open()
        self._members_changed()
        self._joining = asyncio.get_running_loop().create_task(self._join_configured())
        log.info(
            "agent %s of datacenter %s started: %s, id %s",
            self.config.node_name,
            self.config.datacenter,
            "server" if self.config.server else "client",
            self.config.node_id,
        )

    @property
    def raft(self) -> Raft | None:
        """The core, to look at, if this is a server that has started."""
        return None if self._driver is None else self._driver.core

    async def _start_server(self) -> None:
        config, ports = self.config, self._ports
        storage, restored = await Storage.open(ports.disk, trailing_entries=config.raft_trailing_logs)
        if storage.cut is not None:
            log.warning("cut a torn tail off the log: %s", storage.cut)
        machine = self._state()
        if restored.snapshot is not None:
            machine.restore(restored.snapshot.data)
        raft_config = replace(
            RaftConfig.multiplied(config.raft_multiplier),
            append_entries_max=config.raft_append_entries_max,
            append_in_flight_max=config.raft_append_in_flight_max,
            trailing_entries=config.raft_trailing_logs,
        )
        now_ns = ports.clock.monotonic_ns()
        core = self._raft(config.node_id, raft_config, restored, self._election_chance, now_ns)
        self._driver = self._make_driver(core, storage, machine, ports.clock, self._links.send)
        self._router.serve(self._driver)
        self._listener = await ports.network.listen(
            lambda: _ServerConnection(self), (config.bind_addr, config.server_port)
        )
        self._duties = self._make_duties(config, ports, self._driver, self._router, self.members)

    async def run(self) -> None:
        """Until it is stopped. Raises what ended it otherwise (DiskFailed, InvariantViolation, ...)."""
        stopped = asyncio.get_running_loop().create_task(self._stopped.wait())
        waiting: list[asyncio.Future[object]] = [asyncio.ensure_future(stopped)]
        if self._driver is not None:
            waiting.append(asyncio.ensure_future(self._driver.failed))
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if self._driver is not None and self._driver.failed.done() and not self._stopped.is_set():
            self._driver.failed.result()

    async def stop(self, leave: bool) -> None:
        """End it, after a word to the others if `leave`. Idempotent."""
        if self._stopped.is_set():
            return
        if leave:
            await self.leave()
            return
        if self._joining is not None:
            self._joining.cancel()
        if self._duties is not None:
            self._duties.close()
        if self._listener is not None:
            self._listener.close()
        for connection in list(self._connections):
            connection.abort()
        self._pool.close()
        self._links.close()
        self._router.close()
        if self._driver is not None:
            self._driver.close()
        self._stopped.set()

    async def leave(self) -> None:
        """Leave the cluster gracefully and stop (Consul: server.go, Leave).

        A leader hands over first. Then gossip says that we leave, whereupon the leader takes a server out of
        the Raft configuration, which is waited for.
        """
        if self._leaving:
            await self._stopped.wait()
            return
        self._leaving = True
        log.info("leaving")
        if self._duties is not None:
            await self._duties.hand_over()
        await self._pool.leave()
        if self._duties is not None:
            await self._duties.await_removal()
        await self.stop(leave=False)

    # --- Requests

    async def request(self, request: Request) -> Reply:
        """Answer it, from here or wherever the answer is. Raises RequestFailed."""
        return await self._router.request(request)

    # --- Members

    def members(self) -> list[Member]:
        """Everyone known to gossip, sorted by name."""
        return self._pool.gossip.members()

    def local_member(self) -> Member:
        member = self._pool.gossip.member(self.config.node_name)
        assert member is not None
        return member

    async def join(self, addresses: Sequence[str]) -> int:
        """Join the agents at "ip" or "ip:port". How many were reached; RequestFailed if none."""
        try:
            parsed = [parse_address(text, self.config.serf_lan_port) for text in addresses]
        except ValueError as error:
            raise RequestFailed(str(error)) from error
        errors = await self._pool.join(parsed)
        joined = errors.count("")
        if not joined and errors:
            failures = "; ".join(f"{a[0]}:{a[1]}: {e}" for a, e in zip(parsed, errors, strict=True))
            raise RequestFailed(f"{len(errors)} errors occurred: {failures}")
        return joined

    def begin_leaving(self) -> None:
        """`leave`, without waiting for it."""
        if self._leave is None:
            self._leave = asyncio.get_running_loop().create_task(self.leave())

    def wall_time(self) -> str:
        """The present, in ISO 8601, for people."""
        return datetime.fromtimestamp(self._ports.clock.wall_ns() / 1e9, UTC).isoformat()

    def force_leave(self, name: str, prune: bool) -> None:
        """Turn a failed member into one that left. Unknown names are no error, as in Consul."""
        self._pool.force_leave(name, prune)

    def _address_of(self, server: str) -> Address | None:
        """Of a server's port: as gossip has it, else as the Raft configuration has it."""
        address = self._addresses.get(server)
        if address is None and self._driver is not None:
            known = self._driver.core.configuration.get(server)
            if known is not None:
                return parse_address(known.address, self.config.server_port)
        return address

    def _members_changed(self) -> None:
        servers = []
        for member in self.members():
            server = server_info(member, self.config.datacenter)
            if server is not None:
                self._addresses[server.id] = server.address
                if member.status == "alive":
                    servers.append(server)
        self._servers.update(servers)
        if self._duties is not None:
            self._duties.members_changed()

    async def _join_configured(self) -> None:
        """Try the configured addresses, until each has answered or is known as a member's.

        (Consul is content with one that answers. Where agents start while the network is cut, that leaves
        islands which nobody joins any more: neither side knows a member of the other to reconnect to.)
        """
        port, pause_ns = self.config.serf_lan_port, FIRST_RETRY_NS
        retried = {parse_address(text, port) for text in self.config.retry_join}
        configured = (*self.config.start_join, *self.config.retry_join)
        left = list(dict.fromkeys(parse_address(text, port) for text in configured))
        joined = 0
        while left:
            errors = dict(zip(left, await self._pool.join(left), strict=True))
            failed = {address: error for address, error in errors.items() if error}
            if len(failed) < len(errors):
                joined += len(errors) - len(failed)
                log.info("joined the pool by %d of %d addresses", joined, len(configured))
            if failed:
                text = "; ".join(f"{host}:{port}: {error}" for (host, port), error in failed.items())
                log.log(
                    logging.INFO if joined else logging.WARNING,
                    "join failed, retrying in %.1f s: %s",
                    pause_ns / 1e9,
                    text,
                )
            await self._ports.clock.sleep(pause_ns)
            pause_ns = min(2 * pause_ns, self.config.retry_interval_ns)
            known = {member.address for member in self.members()}
            left = [address for address in failed if address in retried and address not in known]

    # --- For the metrics

    def stats(self) -> dict[str, dict[str, str]]:
        """Figures for people, in groups, as Consul's `/v1/agent/self` has them."""
        groups = {
            "agent": {"check_monitors": "0", "services": "0"},
            "consul": {"server": str(self.config.server).lower(), "known_datacenters": "1"},
            "serf_lan": {"members": str(len(self.members()))},
        }
        if self._driver is not None:
            core = self._driver.core
            leader = None if core.leader is None else self._address_of(core.leader)
            groups["consul"] |= {
                "leader": str(core.role is Role.LEADER).lower(),
                "leader_addr": "" if leader is None else f"{leader[0]}:{leader[1]}",
            }
            groups["raft"] = {
                "state": core.role.value.capitalize(),
                "term": str(core.term),
                "last_log_index": str(core.last_index),
                "commit_index": str(core.commit_index),
                "applied_index": str(core.applied_index),
                "num_peers": str(max(0, len(core.configuration.voters) - 1)),
                "last_snapshot_index": str(core.snapshot_index()),
            }
        return groups

    def gauges(self) -> dict[str, float]:
        """Present values, named as Consul names them where it has them."""
        gauges = {"consul.serf.lan.members": float(len(self.members()))}
        if self._driver is not None:
            core = self._driver.core
            gauges |= {
                "consul.raft.term": float(core.term),
                "consul.raft.commitIndex": float(core.commit_index),
                "consul.raft.appliedIndex": float(core.applied_index),
                "consul.raft.lastIndex": float(core.last_index),
                "consul.server.isLeader": float(core.role is Role.LEADER),
                "consul.kv.keys": float(len(self._driver.machine.kv)),
            }
        return gauges

    def counters(self) -> dict[str, int]:
        """What has happened since the start."""
        counters = {"consul.rpc.request": self._router.requests}
        if self._driver is not None:
            counts = self._driver.counts
            counters |= {
                "consul.raft.apply": counts.proposals,
                "consul.raft.state.leader": counts.elections_won,
                "consul.raft.leader.changes": counts.leader_changes,
                "consul.raft.disk.syncs": counts.syncs,
                "consul.raft.messages.sent": counts.messages_sent,
                "consul.raft.messages.received": counts.messages_received,
                "consul.raft.snapshots": counts.snapshots,
            }
        return counters

    # --- The server port

    def connection_made(self, connection: Frames) -> Timer:
        """Somebody has connected, and has until the timer fires to say what for."""
        self._connections[connection] = None
        clock = self._ports.clock
        return clock.call_at(clock.monotonic_ns() + FIRST_BYTE_TIMEOUT_NS, connection.abort)

    def connection_opened(self, connection: Frames, kind: int) -> None:
        """Another agent has said what its connection is for."""
        if kind == RAFT:
            connection.received = lambda frame: self._raft_message(connection, frame)
        elif kind == RPC:
            Servant(connection, self._router.answer)
        else:
            connection.reject(f"first byte {kind}: expected {RPC} (RPC) or {RAFT} (Raft)")

    def connection_closed(self, connection: Frames) -> None:
        self._connections.pop(connection, None)

    def _raft_message(self, connection: Frames, frame: bytes) -> None:
        assert self._driver is not None
        try:
            message = decode_message(frame)
        except msgspec.DecodeError as error:
            connection.reject(f"not a Raft message: {error}")
            return
        self._driver.receive(message)


class _ServerConnection(Frames):
    """A connection that another agent opened."""

    def __init__(self, agent: Agent) -> None:
        super().__init__()
        self._agent = agent
        self._deadline: Timer | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._deadline = self._agent.connection_made(self)

    def opened(self, kind: int) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._agent.connection_opened(self, kind)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._deadline is not None:
            self._deadline.cancel()
        self._agent.connection_closed(self)
