"""Crash points: the power goes exactly when a kind of record is written and not safe, or safe and unknown, or
known and what waited for it just sent.

Chance hits such moments once in thousands of runs; a trap hits them every time. A node that fell into one
boots again a moment later, while what it did or forgot still matters to the others, and traps stay set for a
while. Setting traps for votes also kills the leader, since nobody votes without a reason; it may stay away
for longer than the election takes. And whoever is elected while voters fall may be killed before they are
back, so that their disks alone know of the vote.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from random import Random
from typing import Any

from harness.generator import Operation
from harness.raised import raised
from harness.test import Environment, Mark, Package
from harness.worlds import InjectionError, SetupError
from nemesis import targets
from nemesis.process import start_again
from nemesis.schedule import Timing, faults

RECORDS = ("vote", "term", "entries", "snapshot")
STEPS = ("written", "synced", "sent")

BOOT_SECONDS = (0.02, 0.6)
"""How long a node that fell into a trap is away: less than an election takes, or a little more."""

ABSENCE_SECONDS = (1.5, 4.0)
"""How long a leader is away that is to miss the election of its successor."""


class CrashPoint:
    """The nemesis: `start-crash-point` with [target, step, record] as its value, and `stop-crash-point`.

    Belongs to one run: it remembers the traps that are set.
    """

    fs = frozenset({"start-crash-point", "stop-crash-point"})

    def __init__(self) -> None:
        self._boots: dict[asyncio.Task[None], None] = {}
        self._failed: str | None = None

    async def invoke(self, environment: Environment, operation: Operation) -> Any:
        if operation.f == "stop-crash-point":
            return await self._stop(environment)
        plan = await _plan(environment, operation.value)
        for node in plan["nodes"]:
            if environment.cluster.running(node):
                await self._set(environment, node, plan)
        leader = plan.get("leader")
        if leader is not None and environment.cluster.running(leader):
            await environment.cluster.kill(leader)
            self._start_later(environment, leader, plan["absence"], plan)
        return plan

    async def _set(self, environment: Environment, node: str, plan: Mapping[str, Any]) -> None:
        def sprung() -> None:
            self._start_later(environment, node, plan["boot"], plan)

        await environment.cluster.set_trap(node, plan["step"], plan["record"], sprung)

    def _start_later(
        self, environment: Environment, node: str, delay: float, plan: Mapping[str, Any]
    ) -> None:
        """Start the node again after so many seconds, perhaps with its trap set once more."""

        async def start() -> None:
            await asyncio.sleep(delay)
            cluster, system = environment.cluster, environment.system
            if plan.get("heirless") and node != plan["leader"]:
                heir = await system.leader(cluster, environment.options)
                if heir is not None:
                    await cluster.kill(heir)
            if cluster.running(node):
                return
            await system.start(cluster, environment.options, node)
            # It may have ended at once, as the world reports then.
            if plan["again"] and node in plan["nodes"] and cluster.running(node):
                await self._set(environment, node, plan)

        def started(task: asyncio.Task[None]) -> None:
            self._boots.pop(task, None)
            error = None if task.cancelled() else task.exception()
            if error is not None:  # whatever it is: a node that was to be there is not
                self._failed = str(error) if isinstance(error, SetupError) else raised(error)

        task = asyncio.get_running_loop().create_task(start())
        self._boots[task] = None
        task.add_done_callback(started)

    async def _stop(self, environment: Environment) -> Any:
        for task in list(self._boots):
            task.cancel()
        if self._failed is not None:
            raise InjectionError(f"a node that fell into a trap did not start again: {self._failed}")
        for node in environment.cluster.nodes:
            await environment.cluster.clear_traps(node)
        return {"nodes": await start_again(environment)}


async def _plan(environment: Environment, given: Any) -> dict[str, Any]:
    """Everything that is decided of these traps: as given, or drawn."""
    if isinstance(given, Mapping):
        return dict(given)
    target, step, record = given
    nodes, note = await targets.processes(environment, target)
    random = environment.random
    plan = {
        "target": target,
        "nodes": nodes,
        "step": step,
        "record": record,
        "boot": round(random.uniform(*BOOT_SECONDS), 3),
        "again": random.random() < 0.5,
        **note,
    }
    if record in ("vote", "term"):
        plan["leader"], _ = await targets.leader(environment)
        plan["heirless"] = random.random() < 0.5
        longer = plan["heirless"] or random.random() < 0.5
        plan["absence"] = round(random.uniform(*(ABSENCE_SECONDS if longer else BOOT_SECONDS)), 3)
    return plan


def crash_point(nodes: int, timing: Timing, random: Random) -> Package:
    """Traps for every kind of record and step, over the time limit."""
    specifications = [
        [target, step, record]
        for record in RECORDS
        for step in STEPS
        for target in ("majority", "all", "one")
    ]
    # Votes and entries are what most depends on.
    specifications += [
        [target, step, record]
        for record, step in (("vote", "written"), ("vote", "sent"), ("term", "sent"), ("entries", "written"))
        for target in ("all", "majority")
    ]
    return Package(
        name="crash-point",
        capabilities=frozenset({"crash point", "kill"}),
        nemesis=CrashPoint(),
        generator=faults("crash-point", specifications, timing, random),
        final_generator=Operation("stop-crash-point"),
        marks=(Mark("traps", frozenset({"start-crash-point"}), frozenset({"stop-crash-point"}), "#b2182b"),),
    )
