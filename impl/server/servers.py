"""The servers of this datacenter, as gossip tells of them.

Every agent advertises what it is in its tags, named as Consul names them (agent/metadata/server.go), so that
no agent need be told where the servers are.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

from impl.config import AgentConfig
from impl.gossip import Member
from impl.ports import Address

VERSION = "1.0.0"
"""Of the interface that is followed, as clients ask for it."""


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """A server agent."""

    id: str
    name: str
    address: Address
    """Of its server port."""
    expect: int
    """With how many servers it waits to bootstrap; 0: it does not."""

    @property
    def text(self) -> str:
        return f"{self.address[0]}:{self.address[1]}"


def tags_of(config: AgentConfig) -> dict[str, str]:
    """What this agent advertises."""
    tags = {
        "role": "consul" if config.server else "node",
        "dc": config.datacenter,
        "id": config.node_id,
        "vsn": "2",
        "vsn_min": "2",
        "vsn_max": "3",
        "build": VERSION,
    }
    if config.server:
        tags |= {"port": str(config.server_port), "raft_vsn": "3"}
        if config.bootstrap_expect:
            tags["expect"] = str(config.bootstrap_expect)
    return tags


def server_info(member: Member, datacenter: str) -> ServerInfo | None:
    """The server that this member is; None if it is none of this datacenter, or its tags make no sense."""
    tags = member.tags
    if tags.get("role") != "consul" or tags.get("dc") != datacenter or "id" not in tags:
        return None
    port, expect = tags.get("port", ""), tags.get("expect", "0")
    if not port.isdecimal() or not expect.isdecimal() or not 0 < int(port) < 65536:
        return None
    return ServerInfo(tags["id"], member.name, (member.address[0], int(port)), int(expect))


class ServerList:
    """Whom to ask: the live servers, one of them in front until it fails.

    Source: Consul, agent/router/manager.go.
    """

    def __init__(self, source: random.Random) -> None:
        self._random = source
        self._servers: list[ServerInfo] = []

    def update(self, servers: Iterable[ServerInfo]) -> None:
        """These are there now. Those that were keep their places, new ones come in anywhere."""
        present = {server.id: server for server in servers}
        self._servers = [present.pop(old.id) for old in self._servers if old.id in present]
        for server in present.values():
            self._servers.insert(self._random.randrange(len(self._servers) + 1), server)

    def front(self) -> ServerInfo | None:
        return self._servers[0] if self._servers else None

    def failed(self, server: ServerInfo) -> None:
        """Put it last, if it is still first."""
        if self._servers and self._servers[0].id == server.id:
            self._servers.append(self._servers.pop(0))
