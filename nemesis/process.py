"""Faults of processes and machines: `kill` (SIGKILL), `power` (the unsynced is lost), `pause` (SIGSTOP).

What was killed or lost its power starts again over what is left of its data.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

from harness.generator import Operation
from harness.test import Environment, Mark, Package
from harness.worlds import InjectionError, SetupError
from nemesis import targets
from nemesis.schedule import Timing, faults, short_reigns


class Kill:
    """The nemesis: `start-kill` with a target as its value; `stop-kill` starts whatever does not run."""

    fs = frozenset({"start-kill", "stop-kill"})

    async def invoke(self, environment: Environment, operation: Operation) -> Any:
        if operation.f == "stop-kill":
            return {"nodes": await start_again(environment)}
        nodes, note = await targets.processes(environment, operation.value)
        await asyncio.gather(*(environment.cluster.kill(node) for node in nodes))
        return {"target": targets.name(operation.value), "nodes": nodes, **note}


class Power:
    """The nemesis: `start-power` with a target as its value; `stop-power` starts whatever does not run."""

    fs = frozenset({"start-power", "stop-power"})

    async def invoke(self, environment: Environment, operation: Operation) -> Any:
        if operation.f == "stop-power":
            return {"nodes": await start_again(environment)}
        nodes, note = await targets.processes(environment, operation.value)
        await asyncio.gather(*(environment.cluster.power_off(node) for node in nodes))
        return {"target": targets.name(operation.value), "nodes": nodes, **note}


async def start_again(environment: Environment) -> list[str]:
    """Start every node that does not run; returns them. Raises InjectionError."""
    cluster = environment.cluster
    nodes = [node for node in cluster.nodes if not cluster.running(node)]
    try:
        starts = (environment.system.start(cluster, environment.options, node) for node in nodes)
        await asyncio.gather(*starts)
    except SetupError as error:
        raise InjectionError(f"a node that was killed did not start again: {error}") from error
    return nodes


class Pause:
    """The nemesis: `start-pause` with a target as its value; `stop-pause` resumes whatever was paused.

    Belongs to one run: it remembers whom it paused.
    """

    fs = frozenset({"start-pause", "stop-pause"})

    def __init__(self) -> None:
        self._paused: set[str] = set()

    async def invoke(self, environment: Environment, operation: Operation) -> Any:
        cluster = environment.cluster
        if operation.f == "start-pause":
            nodes, note = await targets.processes(environment, operation.value)
            self._paused.update(nodes)
            await asyncio.gather(*(cluster.pause(node) for node in nodes))
            return {"target": targets.name(operation.value), "nodes": nodes, **note}
        # One that was killed meanwhile runs again, or will, without our help.
        nodes = [node for node in cluster.nodes if node in self._paused and cluster.running(node)]
        await asyncio.gather(*(cluster.resume(node) for node in nodes))
        self._paused.clear()
        return {"nodes": nodes}


def kill(nodes: int, timing: Timing, random: Random) -> Package:
    """Kills of every kind, over the time limit; all start again at the end of each."""
    return Package(
        name="kill",
        capabilities=frozenset({"kill"}),
        nemesis=Kill(),
        generator=_kills("kill", nodes, timing, random),
        final_generator=Operation("stop-kill"),
        marks=(Mark("kill", frozenset({"start-kill"}), frozenset({"stop-kill"}), "#7f4fbf"),),
    )


def power(nodes: int, timing: Timing, random: Random) -> Package:
    """Power cuts of every kind, over the time limit; all start again at the end of each."""
    return Package(
        name="power",
        capabilities=frozenset({"power"}),
        nemesis=Power(),
        generator=_kills("power", nodes, timing, random),
        final_generator=Operation("stop-power"),
        marks=(Mark("power cut", frozenset({"start-power"}), frozenset({"stop-power"}), "#8c510a"),),
    )


def pause(nodes: int, timing: Timing, random: Random) -> Package:
    """Pauses of every kind, over the time limit."""
    return Package(
        name="pause",
        capabilities=frozenset({"pause"}),
        nemesis=Pause(),
        generator=faults("pause", _targets(nodes), timing, random),
        final_generator=Operation("stop-pause"),
        marks=(Mark("pause", frozenset({"start-pause"}), frozenset({"stop-pause"}), "#e69f00"),),
    )


def _kills(name: str, nodes: int, timing: Timing, random: Random) -> list[Operation]:
    if timing.short_reigns:
        return short_reigns(name, timing, random, starts_again=True)
    return faults(name, _targets(nodes), timing, random)


def _targets(nodes: int) -> list[str]:
    """A minority of fewer than three nodes is nobody."""
    return [target for target in targets.PROCESS_TARGETS if nodes >= 3 or target != "minority"]
