"""Who answers a request, and what is tried again.

A server answers stale queries itself, passes everything else on to the leader, and holds it for a while if
there is none. A client agent asks one server, and another if that fails.

Rules (Consul: agent/consul/rpc.go, canRetry)
---------------------------------------------
1. Within the hold timeout (and the time that a blocking query waits): "no leader" is always tried again, for
   nothing has happened; so is what could not be sent, or was one call too many; a lost connection only for
   queries.
2. A write whose answer was lost is never sent again: nobody knows whether it happened, and the text says so.
3. A request that a server has passed on is answered or refused, not passed on again.
4. An error that has crossed an RPC is prefixed "rpc error making call: ", once per crossing.
5. What another agent wants to have replicated is looked at before it is proposed: a command that makes no
   sense ends every server that applies it, and one that fits into no frame is never replicated, nor anything
   behind it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from impl.config import AgentConfig
from impl.ports import Address, Ports
from impl.raft import NotLeader, ProposalRefused
from impl.server.driver import Driver, LeadershipLost
from impl.server.frames import FRAME_BYTES_MAX
from impl.server.queries import NoLeader, Queries, wait_ns_max
from impl.server.requests import (
    Done,
    Failure,
    KVApply,
    KVGet,
    KVKeys,
    KVTree,
    Query,
    QueryReply,
    Reply,
    Request,
    RequestFailed,
    StatusLeader,
    StatusPeers,
    Text,
    Texts,
    TxnRead,
)
from impl.server.rpc import TOO_MANY_CALLS, Clients, ConnectionLost, Unreachable
from impl.server.servers import ServerList
from impl.state import decode_command

NO_LEADER = "No cluster leader"
NO_SERVERS = "No known Consul servers"
NO_PATH = "No path to datacenter"
NOTHING_HAPPENED = (NO_LEADER, TOO_MANY_CALLS)
"""What another agent refuses with these words can be tried again, whatever it is."""
CALL_TIMEOUT_NS = 60_000_000_000
"""For the answer of another agent, on top of what a blocking query may wait (Consul: RPCClientTimeout)."""

RETRY_FRACTION = 16
"""Of the hold timeout: the longest pause between two tries (Consul: structs.JitterFraction)."""

COMMAND_BYTES_MAX = FRAME_BYTES_MAX - 1024 * 1024
"""Something goes around it on its way to the other servers."""

log = logging.getLogger("agent.rpc")


class _TryAgain(Exception):
    """Nothing has happened; the text is for when there is no time left to try again."""


class Router:
    """Routes the requests of one agent."""

    def __init__(
        self,
        config: AgentConfig,
        ports: Ports,
        servers: ServerList,
        address_of: Callable[[str], Address | None],
    ) -> None:
        self._config = config
        self._ports = ports
        self._servers = servers
        self._address_of = address_of
        self._clients = Clients(ports)
        self._driver: Driver | None = None
        self._queries: Queries | None = None
        self.requests = 0

    def serve(self, driver: Driver) -> None:
        """This agent is a server with this state."""
        self._driver = driver
        self._queries = Queries(driver, self._ports)

    def close(self) -> None:
        self._clients.close()

    async def request(self, request: Request) -> Reply:
        """Get an answer. Raises RequestFailed with Consul's text."""
        self.requests += 1
        if request_datacenter(request) not in ("", self._config.datacenter):
            raise RequestFailed(NO_PATH)
        reply = await self._hold(request)
        if isinstance(reply, QueryReply) and isinstance(request, Query):
            max_stale_ns = request.options.max_stale_ns
            if max_stale_ns and reply.last_contact_ms * 1_000_000 > max_stale_ns:
                fresh = msgspec.structs.replace(request.options, consistency="default", max_stale_ns=0)
                return await self._hold(msgspec.structs.replace(request, options=fresh))
        return reply

    async def answer(self, request: Request, forwarded: bool) -> Reply:
        """Answer another agent's call. Failures are replies."""
        if isinstance(request, KVApply):
            if len(request.command) > COMMAND_BYTES_MAX:
                return Failure(f"a command of {len(request.command)} bytes; at most {COMMAND_BYTES_MAX}")
            try:
                decode_command(request.command)
            except msgspec.DecodeError as error:
                # Once committed, it would end every server, and again at each start.
                return Failure(f"not a command: {error}")
        try:
            if not forwarded:
                return await self.request(request)
            return await self._serve(request, forwarded=True)
        except (RequestFailed, _TryAgain) as error:
            return Failure(str(error))

    async def peers_of(self, address: Address) -> tuple[str, ...]:
        """The Raft peers that a server knows. Raises Unreachable or ConnectionLost."""
        reply = await self._clients.call(address, StatusPeers(), True, CALL_TIMEOUT_NS)
        if not isinstance(reply, Texts):  # which does not say that it knows none
            raise ConnectionLost(reply.text if isinstance(reply, Failure) else "not an answer to this")
        return reply.texts

    async def _hold(self, request: Request) -> Reply:
        """Try until it is answered or the hold timeout is over."""
        clock = self._ports.clock
        hold_ns = self._config.rpc_hold_timeout_ns
        deadline_ns = clock.monotonic_ns() + hold_ns + wait_ns_max(request)
        while True:
            try:
                if self._driver is not None:
                    return await self._serve(request, forwarded=False)
                return await self._ask_a_server(request)
            except _TryAgain as error:
                pause_ns = self._ports.random.randrange(hold_ns // RETRY_FRACTION + 1)
                if clock.monotonic_ns() + pause_ns >= deadline_ns:
                    raise RequestFailed(str(error)) from error
                await clock.sleep(pause_ns)

    # --- On a server

    async def _serve(self, request: Request, forwarded: bool) -> Reply:
        assert self._driver is not None
        assert self._queries is not None
        core = self._driver.core
        try:
            match request:
                case KVGet() | KVTree() | KVKeys() | TxnRead():
                    # Without ever having heard a leader, nobody knows how old this server's state is.
                    stale = request.options.consistency == "stale"
                    if core.leader == core.id or (stale and self._driver.leader_contact_age_ns() is not None):
                        return await self._queries.answer(request)
                case KVApply():
                    if core.leader == core.id:
                        return Done(await self._driver.propose(request.command))
                case StatusLeader():
                    leader = None if core.leader is None else self._address_of(core.leader)
                    return Text("" if leader is None else f"{leader[0]}:{leader[1]}")
                case StatusPeers():
                    return Texts(tuple(server.address for server in core.configuration.servers))
        except (NoLeader, NotLeader, ProposalRefused):
            raise _TryAgain(NO_LEADER) from None
        except LeadershipLost as error:
            raise RequestFailed(str(error)) from error
        if forwarded:
            raise _TryAgain(NO_LEADER)
        return await self._ask_the_leader(request, core.leader)

    async def _ask_the_leader(self, request: Request, leader: str | None) -> Reply:
        address = None if leader is None else self._address_of(leader)
        if address is None:
            raise _TryAgain(NO_LEADER)
        return await self._call(address, request, forwarded=True)

    # --- On a client agent

    async def _ask_a_server(self, request: Request) -> Reply:
        server = self._servers.front()
        if server is None:
            raise RequestFailed(NO_SERVERS)
        try:
            return await self._call(server.address, request, forwarded=False)
        except (_TryAgain, RequestFailed):
            self._servers.failed(server)
            raise

    async def _call(self, address: Address, request: Request, forwarded: bool) -> Reply:
        """One try at another server."""
        try:
            reply = await self._clients.call(
                address, request, forwarded, CALL_TIMEOUT_NS + wait_ns_max(request)
            )
        except Unreachable as error:
            raise _TryAgain(f"rpc error getting client: failed to get conn: {error}") from error
        except ConnectionLost as error:
            text = f"rpc error making call: {error}"
            raise (RequestFailed if isinstance(request, KVApply) else _TryAgain)(text) from error
        if not isinstance(reply, Failure):
            return reply
        text = f"rpc error making call: {reply.text}"
        raise (_TryAgain if reply.text.endswith(NOTHING_HAPPENED) else RequestFailed)(text)


def request_datacenter(request: Request) -> str:
    """Which datacenter is asked; "" for the agent's own."""
    if isinstance(request, Query):
        return request.options.datacenter
    return request.datacenter
