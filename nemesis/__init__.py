"""Faults and their composition.

What the history says of them (both events of a nemesis operation are `info`; the first carries the target
specification, the second what was really done, in full):

| f                   | value of the first            | value of the second                               |
|---------------------|-------------------------------|---------------------------------------------------|
| `start-partition`   | `"majorities-ring"`, ...      | `{"target": ..., "cut": [[sender, receiver], ...]}` |
| `stop-partition`    | `None`                        | `{"cut": []}`                                     |
| `start-kill`        | `"leader"`, `"minority"`, ... | `{"target": ..., "nodes": ["n1", ...]}`: now dead |
| `stop-kill`         | `None`                        | `{"nodes": [...]}`: started again                 |
| `start-pause`       | `"leader"`, `"minority"`, ... | `{"target": ..., "nodes": [...]}`: now stopped    |
| `stop-pause`        | `None`                        | `{"nodes": [...]}`: running again                 |
| `start-power`       | `"leader"`, `"minority"`, ... | `{"target": ..., "nodes": [...]}`: without power  |
| `stop-power`        | `None`                        | `{"nodes": [...]}`: started again                 |
| `start-crash-point` | `["all", "written", "vote"]`  | `{"nodes": [...], "step": ..., "record": ..., ...}` |
| `stop-crash-point`  | `None`                        | `{"nodes": [...]}`: started again                 |
| `start-network`     | `{"links": "all", "lost": 0.1}` | `{"links": [...], "lost": 0.1, ...}`            |
| `start-clock`       | `"one"`, `"all"`, ...         | `{"clocks": {"n1": {"offset": ..., "rate": ...}}}` |
| `start-disk`        | `["one", "slow"]`             | `{"nodes": [...], "condition": ..., ...}`         |
| `stop-network`, `stop-clock`, `stop-disk` | `None`  | `{}`                                              |

An order may also carry what a completion says, in full, in place of a specification: that is how a scenario
repeats exactly what happened. What cannot be done (`harness.fault_values`) is an InjectionError.

A fault lasts from the completion of its `start-` to that of its `stop-`. The `stop-`s after the main phase
(`Package.final_generator`) undo whatever is left: the last of them is the final heal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from harness import fault_values
from harness import generator as gen
from harness.generator import Operation
from harness.test import Environment, Nemesis, Package
from harness.worlds import CAPABILITIES, InjectionError
from nemesis.schedule import Timing as Timing

Factory = Callable[[int, Timing, Random], Package]
"""Makes a package for so many nodes and so much time, with a stream of randomness of its own."""


class NemesisError(Exception):
    """No such nemesis, or none that this world can do; the message lists what there is."""


def registry() -> Mapping[str, Factory]:
    """Every package by name, in the order in which their final generators heal."""
    # Here, because these modules stand on this package themselves.
    from nemesis.machine import clock, disk, network
    from nemesis.partition import partition
    from nemesis.process import kill, pause, power
    from nemesis.traps import crash_point

    return {
        "partition": partition,
        "network": network,
        "clock": clock,
        "disk": disk,
        "pause": pause,
        "crash-point": crash_point,
        "power": power,
        "kill": kill,
    }


def beyond() -> Mapping[str, Factory]:
    """Packages of which no system can promise to come back, so that only safety is judged. They are had by
    their names, and are no part of `all`."""
    from nemesis.machine import broken_disk

    return {"broken-disk": broken_disk}


def package(names: str, *, capabilities: frozenset[str], nodes: int, timing: Timing, seed: int) -> Package:
    """The package of a comma-separated list of names, of `none`, of `all` that the world can do, or `swarm`.

    Raises NemesisError for a name that is not known, or whose faults the world cannot do.
    """
    known = {**registry(), **beyond()}
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if wanted == ["none"]:
        return NONE
    if wanted == ["swarm"]:
        from nemesis.swarm import swarm

        return swarm(capabilities, nodes, timing, seed)
    everything = wanted == ["all"]
    if {"disk", "broken-disk"} <= set(wanted):
        raise NemesisError("disk and broken-disk are the same disks: name one of them")
    unknown = [name for name in wanted if name not in known]
    if not wanted or (unknown and not everything):
        raise NemesisError(
            f"no nemesis {', '.join(unknown) or names!r}; there are none, {', '.join(known)}, swarm and all "
            "(several: joined by commas)"
        )
    chosen: list[Package] = []
    skipped: dict[str, str] = {}
    for name, factory in known.items():
        if name in (registry() if everything else wanted):
            made = factory(nodes, timing, Random(f"{seed}/nemesis/{name}"))
            lacking = made.capabilities - capabilities
            if lacking:
                skipped[name] = incapable(lacking)
            else:
                chosen.append(made)
    if skipped and not everything:
        raise NemesisError("; ".join(f"{name}: {why}" for name, why in skipped.items()))
    return compose(chosen, name=names if not everything else "all", skipped=skipped)


def incapable(lacking: frozenset[str]) -> str:
    """What a world cannot do, in words."""
    return "the world cannot " + ", ".join(f"{name} ({CAPABILITIES[name]})" for name in sorted(lacking))


def compose(packages: Sequence[Package], *, name: str, skipped: Mapping[str, str]) -> Package:
    """One package that does what all of them do, each at its own times; they heal in the order given."""
    return Package(
        name=name,
        capabilities=frozenset[str]().union(*(package.capabilities for package in packages)),
        nemesis=Composed([package.nemesis for package in packages]),
        generator=gen.any_of(*(package.generator for package in packages)),
        final_generator=gen.concat(*(package.final_generator for package in packages)),
        marks=tuple(mark for package in packages for mark in package.marks),
        safety_only=any(package.safety_only for package in packages),
        skipped=skipped,
    )


class Composed:
    """Sends each operation to the nemesis that understands its function."""

    def __init__(self, nemeses: Sequence[Nemesis]) -> None:
        self._by_f = {f: nemesis for nemesis in nemeses for f in nemesis.fs}
        if len(self._by_f) != sum(len(nemesis.fs) for nemesis in nemeses):
            raise ValueError("two nemeses understand the same function; rename one with f_map")
        self.fs = frozenset(self._by_f)

    async def invoke(self, environment: Environment, operation: Operation) -> Any:
        if wrong := fault_values.wrong(operation.f, operation.value, environment.cluster.nodes):
            raise InjectionError(wrong)
        return await self._by_f[operation.f].invoke(environment, operation)


NONE = compose([], name="none", skipped={})
"""No faults."""
