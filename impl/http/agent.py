"""/v1/agent/: the agent itself, and its view of the gossip pool.

Source: Consul, agent/agent_endpoint.go; the numbers of a member's status are Serf's (serf.go, MemberStatus).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from impl.config import AgentConfig
from impl.gossip import Member
from impl.http.exchange import Exchange, HttpError, Response
from impl.http.parameters import parse_key, parse_parameters
from impl.server.servers import VERSION

STATUS = {"alive": 1, "leaving": 2, "left": 3, "failed": 4}


class LocalAgent(Protocol):
    """What these handlers need of an agent."""

    config: AgentConfig

    def members(self) -> list[Member]: ...

    def local_member(self) -> Member: ...

    async def join(self, addresses: Sequence[str]) -> int:
        """Raises RequestFailed if none was reached."""
        ...

    def begin_leaving(self) -> None:
        """Leave and stop; returns at once."""
        ...

    def force_leave(self, name: str, prune: bool) -> None: ...

    def stats(self) -> dict[str, dict[str, str]]: ...

    def gauges(self) -> dict[str, float]: ...

    def counters(self) -> dict[str, int]: ...

    def wall_time(self) -> str:
        """Now, in ISO 8601."""
        ...


class LocalHandlers:
    """The handlers of one agent."""

    def __init__(self, agent: LocalAgent) -> None:
        self._agent = agent

    async def self_(self, exchange: Exchange) -> Response:
        """Configuration, membership and figures."""
        config = self._agent.config
        return exchange.json(
            {
                "Config": {
                    "Datacenter": config.datacenter,
                    "NodeName": config.node_name,
                    "NodeID": config.node_id,
                    "Server": config.server,
                    "Revision": "",
                    "Version": VERSION,
                    "AdvertiseAddr": config.advertise_addr,
                },
                "DebugConfig": {
                    "BindAddr": config.bind_addr,
                    "BootstrapExpect": config.bootstrap_expect,
                    "DevMode": config.dev,
                    "HTTPPort": config.http_port,
                    "SerfPortLAN": config.serf_lan_port,
                    "ServerPort": config.server_port,
                },
                "Member": _member(self._agent.local_member()),
                "Stats": self._agent.stats(),
                "Meta": {},
            }
        )

    async def members(self, exchange: Exchange) -> Response:
        """Everyone whom this agent knows of."""
        if "wan" in parse_parameters(exchange.query):
            return exchange.json([])  # there is one datacenter, and no pool between datacenters
        return exchange.json([_member(member) for member in self._agent.members()])

    async def metrics(self, exchange: Exchange) -> Response:
        """Gauges and counters in the shape of go-metrics."""
        return exchange.json(
            {
                "Timestamp": self._agent.wall_time(),
                "Gauges": [
                    {"Name": name, "Value": value, "Labels": {}}
                    for name, value in sorted(self._agent.gauges().items())
                ],
                "Points": [],
                "Counters": [
                    {"Name": name, "Count": count, "Sum": count, "Labels": {}}
                    for name, count in sorted(self._agent.counters().items())
                ],
                "Samples": [],
            }
        )

    async def host(self, exchange: Exchange) -> Response:
        """What is known of the machine without asking it: the name."""
        return exchange.json({"Host": {"hostname": self._agent.config.node_name}, "CollectionTime": 0})

    async def version(self, exchange: Exchange) -> Response:
        return exchange.json({"SHA": "", "BuildDate": "", "HumanVersion": VERSION, "FIPS": ""})

    async def join(self, exchange: Exchange) -> Response:
        """Join the agent at the address in the path."""
        if "wan" in parse_parameters(exchange.query):
            raise HttpError(400, "?wan: there is no pool between datacenters")
        await self._agent.join([parse_key(exchange.path)])
        return Response(200)

    async def leave(self, exchange: Exchange) -> Response:
        """Answered before it has left: the answer could not get out afterwards."""
        self._agent.begin_leaving()
        return Response(200)

    async def force_leave(self, exchange: Exchange) -> Response:
        """Declare the failed member in the path to have left."""
        self._agent.force_leave(parse_key(exchange.path), "prune" in parse_parameters(exchange.query))
        return Response(200)


def _member(member: Member) -> Mapping[str, Any]:
    protocol_min, protocol_max, protocol, delegate_min, delegate_max, delegate = member.versions
    return {
        "Name": member.name,
        "Addr": member.address[0],
        "Port": member.address[1],
        "Tags": dict(member.tags),
        "Status": STATUS[member.status],
        "ProtocolMin": protocol_min,
        "ProtocolMax": protocol_max,
        "ProtocolCur": protocol,
        "DelegateMin": delegate_min,
        "DelegateMax": delegate_max,
        "DelegateCur": delegate,
    }
