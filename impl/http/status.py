"""/v1/status/: the leader and the Raft peers, as the server that is asked knows them.

Source: Consul, agent/status_endpoint.go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

from impl.http.exchange import Exchange, Response
from impl.http.parameters import parse_options
from impl.server.requests import Reply, Request, StatusLeader, StatusPeers, Text, Texts


class StatusHandlers:
    """The handlers, around the way of asking the agent."""

    def __init__(self, request: Callable[[Request], Awaitable[Reply]]) -> None:
        self._request = request

    async def leader(self, exchange: Exchange) -> Response:
        """The leader's address, or ""."""
        datacenter = parse_options(exchange.query).datacenter
        return exchange.json(cast(Text, await self._request(StatusLeader(datacenter))).text)

    async def peers(self, exchange: Exchange) -> Response:
        """All servers' addresses."""
        datacenter = parse_options(exchange.query).datacenter
        return exchange.json(cast(Texts, await self._request(StatusPeers(datacenter))).texts)
