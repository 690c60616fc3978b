"""Target specifications: `one`, `minority`, `majority`, `leader`, `next-leader`, `all`. They are looked up
when the fault comes.

A specification never names a node, so that a test fits any cluster. (A scenario does, to repeat what one
came to: `{"nodes": [...]}`, as the completion of the fault says it.) `leader` waits a little for there to be
one; a cluster without any is no reason to spare it, so another node is taken then, and the history says so.
`next-leader` first waits a little for the present one to be given up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from harness.test import Environment
from nemesis.grudges import majority
from nemesis.schedule import LEADER, NEXT_LEADER

PROCESS_TARGETS = ("leader", "one", "minority", "majority", "all")

_LEADER_PATIENCE = 3.0
"""Seconds: an election under way is over by then."""

_LEADER_POLL = 0.1

_REIGNS = (0.0, 0.1, 1.0)
"""Seconds that a next leader may lead at most: about what a message takes, on fast links and on slow ones."""


async def leader(environment: Environment, target: str = LEADER) -> tuple[str, dict[str, Any]]:
    """The node that `leader` or `next-leader` means now, and what else the history should say about it.

    The next leader is taken soon after it is elected; it is who leads now, if that one goes on.
    """
    if target == LEADER:
        return await _present_leader(environment)
    await _end_of_reign(environment)
    found = await _present_leader(environment)
    await asyncio.sleep(environment.random.random() * environment.random.choice(_REIGNS))
    return found


async def _present_leader(environment: Environment) -> tuple[str, dict[str, Any]]:
    cluster = environment.cluster
    try:
        async with asyncio.timeout(_LEADER_PATIENCE):
            while True:
                node = await environment.system.leader(cluster, environment.options)
                if node is not None:
                    return node, {}
                await asyncio.sleep(_LEADER_POLL)
    except TimeoutError:
        pass
    servers = cluster.nodes[: environment.options.servers]
    running = [node for node in servers if cluster.running(node)]
    return environment.random.choice(running or servers), {
        "note": "no leader was known; another node was taken"
    }


async def _end_of_reign(environment: Environment) -> None:
    """Wait until the present leader leads no more, if there is one; a little, at most."""
    present = await environment.system.leader(environment.cluster, environment.options)
    try:
        async with asyncio.timeout(_LEADER_PATIENCE):
            while present is not None:
                await asyncio.sleep(_LEADER_POLL)
                if await environment.system.leader(environment.cluster, environment.options) != present:
                    break
    except TimeoutError:
        pass


def name(target: Any) -> Any:
    """What the history says of a target: its specification, whether or not it was spelt out."""
    return target.get("target", "given") if isinstance(target, Mapping) else target


async def processes(
    environment: Environment, target: str | Mapping[str, Any]
) -> tuple[list[str], dict[str, Any]]:
    """The running nodes that the specification means now, in the cluster's order, and what else to say."""
    cluster, random = environment.cluster, environment.random
    servers = cluster.nodes[: environment.options.servers]
    note: dict[str, Any] = {}
    if isinstance(target, Mapping):
        chosen = target["nodes"]
    elif target in (LEADER, NEXT_LEADER):
        node, note = await leader(environment, target)
        chosen = [node]
    elif target == "one":
        chosen = [random.choice(cluster.nodes)]
    elif target == "minority":
        chosen = random.sample(servers, len(servers) - majority(len(servers)))
    elif target == "majority":
        chosen = random.sample(servers, majority(len(servers)))
    elif target == "all":
        chosen = list(cluster.nodes)
    else:
        raise ValueError(f"no such target: {target!r}; there are {', '.join(PROCESS_TARGETS)}")
    return [node for node in cluster.nodes if node in chosen and cluster.running(node)], note
