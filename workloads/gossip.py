"""Membership: what every agent says of every other, sampled through all faults.

Each client asks its own node alone, over a network that no fault touches, so that a cut off agent's view is
seen as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from checkers.availability import Availability
from checkers.gossip import Gossip as GossipChecker
from checkers.performance import Performance
from checkers.stats import Stats
from harness import generator as gen
from harness.generator import Operation, Source
from harness.interpreter import Client
from harness.systems import MembershipBounds, Options, System
from harness.test import Checker, Test, Workload
from harness.worlds import Cluster, SetupError


class Gossip(Workload):
    """Failure detection and convergence of membership."""

    name = "gossip"
    time_limit = 50.0
    rate = 20.0

    def generator(self, test: Test) -> Source:
        return gen.repeat(Operation("members"))

    def long_fault_seconds(self, system: System, options: Options) -> float:
        # The detection bound, and a second in which it is looked at.
        bounds = system.membership_bounds(options)
        return 0.0 if bounds is None else bounds.detect + 1.0

    def probe(self) -> Operation:
        return Operation("members")

    def recovery_seconds(self, test: Test) -> float:
        # The convergence bound, and a second in which it is looked at.
        return _bounds(test).converge + 1.0

    async def open(self, test: Test, cluster: Cluster, node: str) -> Client:
        return GossipClient(test, cluster, node)

    def checkers(self, test: Test) -> Sequence[Checker]:
        bounds = _bounds(test)
        return (
            GossipChecker(bounds.detect, bounds.converge, bounds.formula, test.nodes),
            Availability(test.system.recovery_bound(test.options)),
            Stats(),
            Performance(),
        )


class GossipClient:
    """Implements `harness.interpreter.Client`."""

    def __init__(self, test: Test, cluster: Cluster, node: str) -> None:
        self._test = test
        self._cluster = cluster
        self._node = node

    async def invoke(self, operation: Operation) -> Any:
        return await self._test.system.members(self._cluster, self._test.options, self._node)

    async def close(self) -> None:
        """Every question is a connection of its own."""


def _bounds(test: Test) -> MembershipBounds:
    bounds = test.system.membership_bounds(test.options)
    if bounds is None:
        raise SetupError(f"{test.system.name} has no gossip membership")
    return bounds
