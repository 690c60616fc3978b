"""What a server does besides answering: forming the cluster, keeping its members, and housekeeping.

Bootstrapping (Consul: server_serf.go, maybeBootstrap): with `bootstrap_expect`, a server waits until it sees
so many servers that expect the same, asks each whether it knows Raft peers, and if none does, begins a
cluster of exactly these. They all come to the same configuration, so it does not matter who is first. If one
has peers, there is a cluster already, whose leader will add us.

Membership (Consul: leader.go, reconcile): the leader makes a voter of every live server that gossip shows,
and takes out those that left, and those whose address another one has now: they lost their disk, and came
back as new ones. One that failed stays, since it may come back and counts towards no quorum but its own. One
change at a time, each committed before the next (Raft thesis 4.1).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence

from impl.config import AgentConfig
from impl.gossip import Member
from impl.ports import Ports
from impl.raft import (
    AddVoter,
    Configuration,
    ConfigurationChange,
    ProposalRefused,
    RemoveServer,
    Role,
    Server,
)
from impl.server.driver import Driver, LeadershipLost
from impl.server.routing import Router
from impl.server.rpc import ConnectionLost, Unreachable
from impl.server.servers import ServerInfo, server_info
from impl.state import ReapTombstones, encode_command

SECOND_NS = 1_000_000_000
RECONCILE_INTERVAL_NS = 60 * SECOND_NS
RETRY_NS = SECOND_NS // 5
ASK_PEERS_TIMEOUT_NS = 2 * SECOND_NS
ASK_AGAIN_NS = SECOND_NS // 20
REMOVAL_TIMEOUT_NS = 5 * SECOND_NS
"""How long a server that leaves waits to be taken out of the cluster (Consul: raftRemoveGracePeriod)."""

TOMBSTONE_TTL_NS = 900 * SECOND_NS
TOMBSTONE_GRANULARITY_NS = 30 * SECOND_NS

log = logging.getLogger("agent.server")


class Duties:
    """The standing duties of one server. `members_changed` is to be called after each change in gossip."""

    def __init__(
        self,
        config: AgentConfig,
        ports: Ports,
        driver: Driver,
        router: Router,
        members: Callable[[], Sequence[Member]],
    ) -> None:
        self._config = config
        self._ports = ports
        self._driver = driver
        self._router = router
        self._members = members
        self._changed = asyncio.Event()
        driver.observers.leadership.append(self._changed.set)
        driver.observers.configuration.append(self._changed.set)
        loop = asyncio.get_running_loop()
        duties = (self._bootstrap, self._reconcile, self._reap_tombstones, self._take_snapshots)
        self._tasks = [loop.create_task(duty()) for duty in duties]
        for task in self._tasks:
            task.add_done_callback(self._ended)

    def members_changed(self) -> None:
        self._changed.set()

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A duty that nobody does any more is worse than no server."""
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self._driver.fail(error)

    def _servers(self, status: str) -> list[ServerInfo]:
        found = [server_info(m, self._config.datacenter) for m in self._members() if m.status == status]
        return [server for server in found if server is not None]

    async def _wait_for_change(self, timeout_ns: int) -> None:
        """Until gossip, leadership or the configuration changes, or the time is over."""
        clock = self._ports.clock
        timer = clock.call_at(clock.monotonic_ns() + timeout_ns, self._changed.set)
        try:
            await self._changed.wait()
        finally:
            timer.cancel()
        self._changed.clear()

    # --- Bootstrapping

    async def _bootstrap(self) -> None:
        expect = self._config.bootstrap_expect
        while expect and not self._has_cluster():
            servers = self._servers("alive")
            if len(servers) < expect:
                await self._wait_for_change(RECONCILE_INTERVAL_NS)
                continue
            if any(server.expect != expect for server in servers):
                log.error("not bootstrapping: not all servers have bootstrap_expect %d", expect)
                await self._wait_for_change(RECONCILE_INTERVAL_NS)
                continue
            answers = await asyncio.gather(*(self._peers_of(server) for server in servers))
            if any(answers):
                log.info("there is a cluster already: waiting to be added")
                return
            if None not in answers and not self._has_cluster():
                members = tuple(Server(server.id, server.text) for server in sorted(servers, key=_by_id))
                log.info("bootstrapping with %s", ", ".join(server.name for server in servers))
                self._driver.bootstrap(Configuration(members))
                return
            await self._ports.clock.sleep(RETRY_NS)

    def _has_cluster(self) -> bool:
        core = self._driver.core
        return bool(core.configuration.servers) or core.last_index > 0

    async def _peers_of(self, server: ServerInfo) -> tuple[str, ...] | None:
        """The addresses of the Raft peers that it knows, itself among them; None if it does not answer."""
        if server.id == self._config.node_id:
            return tuple(peer.address for peer in self._driver.core.configuration.servers)
        try:
            async with asyncio.timeout(ASK_PEERS_TIMEOUT_NS / 1e9):
                return await self._router.peers_of(server.address)
        except (Unreachable, ConnectionLost, TimeoutError) as error:
            log.debug("asking %s for its peers: %s", server.name, error)
            return None

    # --- The leader's

    async def _reconcile(self) -> None:
        while True:
            # Nobody tells when the new leader's first entry is committed: look again soon.
            pause_ns = RECONCILE_INTERVAL_NS if self._driver.core.role is not Role.LEADER else RETRY_NS
            if self._leads():
                pause_ns = RECONCILE_INTERVAL_NS
                change = self._wanted_change()
                if change is not None:
                    pause_ns = RETRY_NS
                    try:
                        self._driver.change_configuration(change)
                        log.info("changing the configuration: %s", change)
                    except ProposalRefused as error:
                        log.debug("%s: %s", change, error)
            await self._wait_for_change(pause_ns)

    def _leads(self) -> bool:
        core = self._driver.core
        return core.role is Role.LEADER and core.own_term_is_committed

    def _wanted_change(self) -> ConfigurationChange | None:
        configuration = self._driver.core.configuration
        for server in self._servers("alive"):
            known = configuration.get(server.id)
            if known is None or known.address != server.text:
                return self._freed(server) or AddVoter(server.id, server.text)
        alive = {server.id for server in self._servers("alive")}  # perhaps under another name
        for server in self._servers("left"):
            if configuration.get(server.id) is not None and server.id not in alive:
                return RemoveServer(server.id)
        return None

    def _freed(self, server: ServerInfo) -> ConfigurationChange | None:
        """What has to happen first for a server that has the address of another, which is gone then.

        It lost its disk, and came back as a new one. (Consul: leader.go, joinConsulServer.)
        """
        for known in self._driver.core.configuration.servers:
            if known.address == server.text and known.id not in (server.id, self._config.node_id):
                return RemoveServer(known.id)
        return None

    async def _reap_tombstones(self) -> None:
        """Forget removals that everyone who waits for them has seen by now (Consul: tombstone_gc.go)."""
        clock, machine = self._ports.clock, self._driver.machine
        noted: deque[tuple[int, int]] = deque()
        while True:
            await clock.sleep(TOMBSTONE_GRANULARITY_NS)
            now_ns = clock.monotonic_ns()
            noted.append((now_ns + TOMBSTONE_TTL_NS, machine.last_applied))
            reaped_index = 0
            while noted[0][0] <= now_ns:
                reaped_index = noted.popleft()[1]
            if reaped_index and machine.kv.tombstone_count and self._leads():
                try:
                    await self._driver.propose(encode_command(ReapTombstones(reaped_index)))
                except (ProposalRefused, LeadershipLost) as error:
                    log.debug("reaping tombstones: %s", error)

    # --- Leaving

    async def hand_over(self) -> None:
        """Make another server the leader, if this one is and there is another (Consul: server.go, Leave)."""
        core = self._driver.core
        if core.role is not Role.LEADER or len(core.configuration.voters) < 2:
            return
        try:
            self._driver.transfer_leadership()
        except ProposalRefused as error:
            log.warning("cannot hand over leadership: %s", error)
            return
        while core.role is Role.LEADER and core.transfer_target is not None:
            await self._ports.clock.sleep(ASK_AGAIN_NS)
        if core.role is Role.LEADER:
            log.warning("nobody took over leadership: there is none until the next election")

    async def await_removal(self) -> None:
        """Return once the others do not count on this server any more, or have had time enough."""
        if len(self._driver.core.configuration.voters) < 2:
            return
        try:
            async with asyncio.timeout(REMOVAL_TIMEOUT_NS / 1e9):
                while not await self._is_removed():
                    await self._ports.clock.sleep(ASK_AGAIN_NS)
        except TimeoutError:
            log.warning("not taken out of the cluster in time: the others still count on this server")

    async def _is_removed(self) -> bool:
        """Whether a server has a configuration without this one.

        This one's own says nothing: the leader has no reason to replicate to a server that it removes.
        """
        others = [server for server in self._servers("alive") if server.id != self._config.node_id]
        answers = await asyncio.gather(*(self._peers_of(server) for server in others))
        address = f"{self._config.advertise_addr}:{self._config.server_port}"
        return any(peers and address not in peers for peers in answers)

    # --- Everyone's

    async def _take_snapshots(self) -> None:
        driver = self._driver
        while True:
            await self._ports.clock.sleep(self._config.raft_snapshot_interval_ns)
            if (
                driver.machine.last_applied - driver.core.snapshot_index()
                >= self._config.raft_snapshot_threshold
            ):
                await driver.take_snapshot()


def _by_id(server: ServerInfo) -> str:
    return server.id
