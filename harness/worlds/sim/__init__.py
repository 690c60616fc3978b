"""The `sim` world: the whole cluster in one process, in virtual time, decided by a seed.

Rules
-----
1. The same seed gives the same run, to the byte: everything that happens is a function of the seed, the test
   and the program under test.
2. Programs run unmodified on simulated ports (`programs` has the convention); what they ask of the real
   machine is refused by name (`fences`).
3. What chance decides is drawn by place and number (`chance`), and what departs from the ordinary is listed
   (`departures`), so that a run can be repeated with less.

No root, no namespaces, no sockets: it works wherever Python does.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from harness.worlds import SetupError
from harness.worlds.sim.cluster import SIM_CAPABILITIES, SimCluster
from harness.worlds.sim.departures import Departure, Departures
from harness.worlds.sim.fences import fences
from harness.worlds.sim.loop import SimulatedLoop
from harness.worlds.sim.output import output
from harness.worlds.sim.watchdog import watched

_Result = TypeVar("_Result")

NODES_MAX = 65_000


class Sim:
    """The world as `--world=sim` finds it: for one run at a time."""

    name = "sim"
    capabilities = SIM_CAPABILITIES

    def __init__(self, departures: Mapping[tuple[str, int], Departure] | None = None) -> None:
        """`departures`: those that happen, instead of what chance would draw."""
        self.cluster: SimCluster | None = None
        """The last one opened."""
        self.loop: SimulatedLoop | None = None
        self._departures = departures

    def missing(self) -> str | None:
        return None

    def run(self, main: Coroutine[Any, Any, _Result]) -> _Result:
        """Raises `loop.Deadlock`, `loop.Livelock`, `loop.NotSimulated` and `watchdog.Endless`, besides what
        `main` raises."""
        loop = self.loop = SimulatedLoop()
        with fences(loop), output(loop), watched(loop):
            return loop.run(main)

    async def open(self, nodes: tuple[str, ...], directory: Path, seed: int) -> SimCluster:
        if not 1 <= len(nodes) <= NODES_MAX or len(set(nodes)) != len(nodes):
            raise SetupError(f"a sim cluster has 1 to {NODES_MAX} nodes with different names, not {nodes!r}")
        if self.loop is None:
            raise SetupError("a sim cluster lives on the sim world's own event loop: use `Sim.run`")
        self.cluster = SimCluster(self.loop, nodes, directory, seed, Departures(seed, self._departures))
        return self.cluster
