"""Partitions: links between nodes that drop everything. Clients reach every node throughout."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from harness.generator import Operation
from harness.test import Environment, Mark, Package
from nemesis import NemesisError, grudges, targets
from nemesis.grudges import Grudge
from nemesis.schedule import Timing, faults, short_reigns

TARGETS: Mapping[str, str] = {
    "leader": "the leader alone, the rest together",
    "one": "a random node alone, the rest together",
    "halves": "the first half of the nodes against the second",
    "random-halves": "a random half against the other",
    "minority": "a random minority of the servers against the rest",
    "majorities-ring": "every node sees a majority, no two the same one",
    "bridge": "two halves that only one node connects",
    "one-way": "a random half does not hear the other, but is heard by it",
}
"""Every way to cut a cluster, and what it is."""


class Partition:
    """The nemesis: `start-partition` with a target as its value, and `stop-partition`.

    A target may also be what a completion says, `{"cut": [[sender, receiver], ...]}`: exactly these links.
    """

    fs = frozenset({"start-partition", "stop-partition"})

    async def invoke(self, environment: Environment, operation: Operation) -> Any:
        if operation.f == "stop-partition":
            await environment.cluster.cut(())
            return {"cut": []}
        grudge, note = await _grudge(environment, operation.value)
        await environment.cluster.cut(grudge)
        return {"target": targets.name(operation.value), "cut": sorted(grudge), **note}


async def _grudge(environment: Environment, target: str | Mapping[str, Any]) -> tuple[Grudge, dict[str, Any]]:
    """The links to cut for a target, and what else the history should say of it."""
    nodes, random = environment.cluster.nodes, environment.random
    servers = nodes[: environment.options.servers]
    note: dict[str, Any] = {}
    if isinstance(target, Mapping):
        return frozenset((sender, receiver) for sender, receiver in target["cut"]), note
    match target:
        case "leader" | "next-leader":
            node, note = await targets.leader(environment, target)
            sides = grudges.split_one(nodes, node)
        case "one":
            sides = grudges.split_one(nodes, random.choice(nodes))
        case "halves":
            sides = grudges.bisect(nodes)
        case "random-halves" | "one-way":
            sides = grudges.bisect(random.sample(nodes, len(nodes)))
        case "minority":
            lost = random.sample(servers, len(servers) - grudges.majority(len(servers)))
            sides = tuple(lost), tuple(node for node in nodes if node not in lost)
        case "majorities-ring":
            return grudges.majorities_ring(servers, random), note
        case "bridge":
            return grudges.bridge(random.sample(servers, len(servers))), note
        case _:
            raise ValueError(f"no such target: {target!r}; there are {', '.join(TARGETS)}")
    if target == "one-way":
        senders, receivers = random.sample(sides, 2)
        return grudges.one_way(senders, receivers), note
    return grudges.complete_grudge(sides), note


def partition(nodes: int, timing: Timing, random: Random) -> Package:
    """Cuts of every kind that so many nodes allow, over the time limit."""
    if nodes < 2:
        raise NemesisError("a partition needs at least 2 nodes")
    possible = [target for target in TARGETS if nodes >= _LEAST_NODES.get(target, 2)]
    return Package(
        name="partition",
        capabilities=frozenset({"cut"}),
        nemesis=Partition(),
        generator=short_reigns("partition", timing, random)
        if timing.short_reigns
        else faults("partition", possible, timing, random),
        final_generator=Operation("stop-partition"),
        marks=(Mark("partition", frozenset({"start-partition"}), frozenset({"stop-partition"}), "#d62728"),),
    )


_LEAST_NODES = {"minority": 3, "majorities-ring": 3, "bridge": 3}
"""Below, these would cut nothing."""
