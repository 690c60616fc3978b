"""Swarm: every seed another mixture of faults, some kinds left out and the others in other proportions.

A run with every fault all the time hides what only shows when one of them stays away (Groce et al., "Swarm
Testing", ISSTA 2012). So a seed draws which kinds there are, how often each comes and how long it lasts, and
whether the cluster has to recover with some nodes missing; and one seed in eight goes beyond what any system
can promise to survive (disks that fill up, fail and rot), where nothing but safety is judged.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

import nemesis
from harness.generator import Operation
from harness.test import Package
from nemesis.machine import broken_disk
from nemesis.process import kill
from nemesis.schedule import PERIODS, Timing

CHANCE = 0.45
"""That a kind of fault takes part."""
BEYOND = 1 / 8
"""The share of seeds that go beyond what a system promises to survive."""
CORE = 1 / 3
"""The share of the others in which a majority has to recover alone."""


def swarm(capabilities: frozenset[str], nodes: int, timing: Timing, seed: int) -> Package:
    """The mixture that a seed draws, of what the world can do."""
    random = Random(f"{seed}/swarm")
    factories = dict(nemesis.registry())
    drawn = [name for name in factories if random.random() < CHANCE] or [random.choice(list(factories))]
    beyond = random.random() < BEYOND and "disk" in capabilities
    core = random.random() < CORE and not beyond and "kill" in capabilities and nodes >= 3
    if beyond:
        factories["disk"] = broken_disk
        drawn.append("disk")
    packages: list[Package] = []
    skipped: dict[str, str] = {}
    for name, factory in factories.items():
        own = replace(timing, period=random.choice(PERIODS))
        package = factory(nodes, own, Random(f"{seed}/nemesis/{name}"))
        lacking = package.capabilities - capabilities
        if name in drawn and lacking:
            skipped[name] = nemesis.incapable(lacking)
        elif name in drawn:
            packages.append(package)
        elif name == "kill" and core:
            packages.append(replace(kill(nodes, own, random), generator=None))
    made = nemesis.compose(packages, name="swarm", skipped=skipped)
    return replace(made, core=Operation("start-kill", "minority") if core else None)
