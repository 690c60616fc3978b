"""Faults of what carries the agents: `network` (loss, delay, duplicates), `clock`, and `disk`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import permutations
from random import Random
from typing import Any

from harness.generator import Operation, nanoseconds
from harness.test import Environment, Mark, Package
from harness.worlds import Link, Shape
from nemesis import targets
from nemesis.schedule import LEAD_IN, Timing, faults

RATES = (0.85, 1.15)
"""How fast clocks run: within what a leader's lease allows for (half a heartbeat timeout)."""

OFFSETS = (0.1, 3.0, 3600.0, -0.1, -3.0, -3600.0)
"""Seconds that wall clocks are off."""


SLOW_LINKS = {"links": "all", "latency_ms": 100.0}


class Network:
    """The nemesis: `start-network` with a specification like {"links": "all", "lost": 0.1}, `stop-network`.

    `links`: "all", "one" (all of a random node), "half" (a random half of them, each way for itself), or a
    list of [sender, receiver]. The rest: the fields of `harness.worlds.Shape`.
    """

    fs = frozenset({"start-network", "stop-network"})

    async def invoke(self, environment: Environment, operation: Operation) -> Any:
        if operation.f == "stop-network":
            await environment.cluster.shape({})
            return {}
        fields: dict[str, Any] = dict(operation.value)
        links = _links(environment, fields.pop("links"))
        await environment.cluster.shape(dict.fromkeys(links, Shape(**fields)))
        return {"links": links, **fields}


def _links(environment: Environment, specification: Any) -> list[Link]:
    everything = list(permutations(environment.cluster.nodes, 2))
    match specification:
        case "all":
            return everything
        case "one":
            one = environment.random.choice(environment.cluster.nodes)
            return [link for link in everything if one in link]
        case "half":
            return sorted(environment.random.sample(everything, len(everything) // 2))
    return [(sender, receiver) for sender, receiver in specification]


class Clock:
    """The nemesis: `start-clock` sets clocks off on a target's nodes, `stop-clock` sets all right."""

    fs = frozenset({"start-clock", "stop-clock"})

    async def invoke(self, environment: Environment, operation: Operation) -> Any:
        cluster, random = environment.cluster, environment.random
        if operation.f == "stop-clock":
            for node in cluster.nodes:
                await cluster.set_clock(node, 0.0, 1.0)
            return {}
        if isinstance(operation.value, Mapping):
            clocks = operation.value["clocks"]
        else:
            nodes, _ = await targets.processes(environment, operation.value)
            clocks = {
                node: {"offset": random.choice(OFFSETS), "rate": round(random.uniform(*RATES), 3)}
                for node in nodes
            }
        for node, clock in clocks.items():
            await cluster.set_clock(node, clock["offset"], clock["rate"])
        return {"clocks": clocks}


class Disk:
    """The nemesis: `start-disk` with [target, condition] as its value, `stop-disk` makes all ordinary.

    `condition`: a `harness.worlds.DiskCondition`, or once and for ever "rotten" (a bit of the log changes) or
    "misdirected" (one of its sectors is found in another's place).
    """

    fs = frozenset({"start-disk", "stop-disk"})

    async def invoke(self, environment: Environment, operation: Operation) -> Any:
        cluster = environment.cluster
        if operation.f == "stop-disk":
            for node in cluster.nodes:
                await cluster.set_disk(node, "ordinary")
            return {}
        given = operation.value
        target, condition = (given, given["condition"]) if isinstance(given, Mapping) else given
        nodes, note = await targets.processes(environment, target)
        if condition in ("rotten", "misdirected"):
            damage = cluster.rot if condition == "rotten" else cluster.misdirect
            note["damaged"] = {node: await damage(node, "log") for node in nodes}
        else:
            for node in nodes:
                await cluster.set_disk(node, condition)
        return {"target": targets.name(target), "nodes": nodes, "condition": condition, **note}


def network(nodes: int, timing: Timing, random: Random) -> Package:
    """Loss, duplicates and delays, mild and heavy, on all links or some; or all slow, with short reigns.

    (Otherwise messages would take so much less time than a leader leads that it has always done its work.
    All by as much, so that there is nothing to shrink in it.)
    """
    specifications = [
        {"links": "all", "lost": 0.05, "late": 0.1, "twice": 0.02},
        {"links": "half", "lost": 0.3, "late": 0.2, "delay_ms_max": 300.0},
        {"links": "one", "lost": 0.5, "twice": 0.1, "late": 0.2},
        SLOW_LINKS,
    ]
    return Package(
        name="network",
        capabilities=frozenset({"shape"}),
        nemesis=Network(),
        generator=Operation("start-network", SLOW_LINKS, time=nanoseconds(LEAD_IN / 2))
        if timing.short_reigns
        else faults("network", specifications, timing, random),
        final_generator=Operation("stop-network"),
        marks=(Mark("network", frozenset({"start-network"}), frozenset({"stop-network"}), "#1b9e77"),),
    )


def clock(nodes: int, timing: Timing, random: Random) -> Package:
    """Clocks that are off and run fast or slow."""
    return Package(
        name="clock",
        capabilities=frozenset({"clock"}),
        nemesis=Clock(),
        generator=faults("clock", ["one", "majority", "all"], timing, random),
        final_generator=Operation("stop-clock"),
        marks=(Mark("clock", frozenset({"start-clock"}), frozenset({"stop-clock"}), "#386cb0"),),
    )


def broken_disk(nodes: int, timing: Timing, random: Random) -> Package:
    """Disks that fill up, fail, lose bits and misplace sectors.

    An agent may refuse to go on, but must not go on wrongly.
    """
    specifications = [
        [target, condition]
        for condition in ("full", "failing", "rotten", "misdirected")
        for target in ("one", "minority")
    ]
    ordinary = disk(nodes, timing, random)
    return replace(ordinary, generator=faults("disk", specifications, timing, random), safety_only=True)


def disk(nodes: int, timing: Timing, random: Random) -> Package:
    """Slow disks."""
    return Package(
        name="disk",
        capabilities=frozenset({"disk"}),
        nemesis=Disk(),
        generator=faults("disk", [["one", "slow"], ["majority", "slow"], ["all", "slow"]], timing, random),
        final_generator=Operation("stop-disk"),
        marks=(Mark("disk", frozenset({"start-disk"}), frozenset({"stop-disk"}), "#666666"),),
    )
