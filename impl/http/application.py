"""The ASGI application: finds the handler of a request, and turns what goes wrong into an answer.

Rules (Consul: agent/http.go)
-----------------------------
1. A path is looked up whole, then by its prefix; what is not there is 404 with a text.
2. OPTIONS answers what is allowed; another method is 405 with the same.
3. What the request did wrong is 4xx; an error of the cluster is 500 with its text as the body.
4. A blocking query ends when its client goes away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, NamedTuple, Protocol, cast

from impl.config import AgentConfig
from impl.gossip import Member
from impl.http import agent as agent_handlers
from impl.http import kv, status, txn
from impl.http.exchange import TEXT, ClientGone, Exchange, HttpError, Response
from impl.http.parameters import parse_parameters
from impl.server.requests import Done, KVApply, Query, QueryReply, Reply, Request, RequestFailed

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Handler = Callable[[Exchange], Awaitable[Response]]

log = logging.getLogger("agent.http")


class HttpAgent(agent_handlers.LocalAgent, Protocol):
    """What the API needs of an agent."""

    config: AgentConfig

    async def request(self, request: Request) -> Reply:
        """Raises RequestFailed."""
        ...

    def members(self) -> list[Member]: ...


class Route(NamedTuple):
    """Where requests go."""

    methods: tuple[str, ...]
    handler: Handler


class Application:
    """The /v1 API of one agent, as an ASGI application."""

    def __init__(self, agent: HttpAgent) -> None:
        self._agent = agent
        local = agent_handlers.LocalHandlers(agent)
        peers = status.StatusHandlers(agent.request)
        keys = kv.KeyValue(self._query, self._apply, agent.config.kv_max_value_size)
        transactions = txn.Transactions(
            self._query, self._apply, agent.config.kv_max_value_size, agent.config.txn_max_req_len
        )
        self._pretty = agent.config.dev
        self._keys = Route(kv.METHODS, keys.handle)
        self._exact: Mapping[str, Route] = {
            "/v1/txn": Route(txn.METHODS, transactions.handle),
            "/v1/status/leader": Route(("GET",), peers.leader),
            "/v1/status/peers": Route(("GET",), peers.peers),
            "/v1/agent/self": Route(("GET",), local.self_),
            "/v1/agent/members": Route(("GET",), local.members),
            "/v1/agent/metrics": Route(("GET",), local.metrics),
            "/v1/agent/host": Route(("GET",), local.host),
            "/v1/agent/version": Route(("GET",), local.version),
            "/v1/agent/leave": Route(("PUT",), local.leave),
        }
        self._prefixes: Mapping[str, Route] = {
            "/v1/agent/join/": Route(("PUT",), local.join),
            "/v1/agent/force-leave/": Route(("PUT",), local.force_leave),
        }

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Send) -> None:
        """One request. uvicorn's protocol calls it."""
        path: bytes = scope["raw_path"]
        try:
            response = await self._respond(scope, path, receive)
        except ClientGone:
            return
        except HttpError as error:
            response = Response(error.status, (TEXT, *error.headers), str(error).encode())
        except RequestFailed as error:
            response = Response(500, (TEXT,), str(error).encode())
        except Exception as error:
            log.exception("%s %s", scope["method"], path.decode("latin-1"))
            response = Response(500, (TEXT,), f"internal error: {type(error).__name__}: {error}".encode())
        headers = [*response.headers, (b"content-length", b"%d" % len(response.body))]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})

    async def _respond(self, scope: MutableMapping[str, Any], path: bytes, receive: Any) -> Response:
        route, rest = self._find(path)
        method = scope["method"]
        if method not in route.methods:
            return self._other_method(method, route)
        query: bytes = scope["query_string"]
        pretty = self._pretty or (b"pretty" in query and "pretty" in parse_parameters(query))
        return await route.handler(Exchange(method, rest, query, scope["headers"], pretty, receive))

    def _find(self, path: bytes) -> tuple[Route, bytes]:
        if path.startswith(b"/v1/kv/"):
            return self._keys, path[len(b"/v1/kv/") :]
        text = path.decode("latin-1")
        route = self._exact.get(text)
        if route is not None:
            return route, b""
        for prefix, prefix_route in self._prefixes.items():
            if text.startswith(prefix):
                return prefix_route, path[len(prefix) :]
        if text.startswith("/v1/"):
            raise HttpError(404, "Invalid URL path: not a recognized HTTP API endpoint")
        raise HttpError(404, "404 page not found")

    def _other_method(self, method: str, route: Route) -> Response:
        allowed = (b"allow", ",".join(("OPTIONS", *route.methods)).encode())
        if method == "OPTIONS":
            return Response(200, (allowed,))
        raise HttpError(405, f"method {method} not allowed", allowed)

    async def _query(self, exchange: Exchange, query: Query) -> QueryReply:
        if not query.options.min_index:
            return cast(QueryReply, await self._agent.request(query))
        return await self._query_while_there(exchange, query)

    async def _query_while_there(self, exchange: Exchange, query: Query) -> QueryReply:
        """A blocking query, given up when nobody waits for it any more."""
        asking = asyncio.ensure_future(self._agent.request(query))
        gone = asyncio.ensure_future(exchange.client_gone())
        try:
            await asyncio.wait((asking, gone), return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise ClientGone
            return cast(QueryReply, asking.result())
        finally:
            asking.cancel()
            gone.cancel()

    async def _apply(self, request: KVApply) -> Done:
        return cast(Done, await self._agent.request(request))
