"""Runs a scenario in any world, with everything that a run of pytest leaves: store, verdicts, report."""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness import registry, store
from harness.cli import checkers_of
from harness.history import History
from harness.judge import conclude
from harness.progress import Phases
from harness.run import run_in
from harness.simulation.scenario import Scenario, encode
from harness.store import MarkRecord, Results
from harness.worlds import World
from harness.worlds.sim import Sim


def replay(scenario: Scenario, world_name: str, root: Path) -> tuple[Path, Results, list[str]]:
    """Run it; the folder of the run, its results, and what this world could not repeat.

    Raises what `Scenario.test` raises (a fault that the world cannot do is a NemesisError), and StoreError.
    """
    test = scenario.test(world_name)
    world: World = Sim(scenario.departed()) if world_name == Sim.name else registry.world(world_name)
    notes = []
    if world_name != Sim.name and scenario.departures:
        notes.append(
            f"{len(scenario.departures)} departures are left out: only the sim world can repeat them"
        )
    if world_name != Sim.name:
        notes.append("a real world has its own timing: that it does not fail here does not mean much")
    directory = store.create(root, scenario.record(world_name).name).resolve()
    (directory / "scenario.json").write_bytes(encode(scenario))
    package = test.nemesis
    record = msgspec.structs.replace(
        scenario.record(world_name),
        started=store.now(),
        command=["splitbrain", "replay", f"--world={world_name}", str(directory / "scenario.json")],
        promise=test.system.promise(test.workload.name, test.options) or "nothing is promised",
        marks=[
            MarkRecord(name=mark.name, start=sorted(mark.start), stop=sorted(mark.stop), colour=mark.colour)
            for mark in package.marks
        ],
        versions=store.versions(),
    )
    store.write_test(directory, record)
    problems = run_in(test, world, directory, Phases())
    history = History.read(directory / "history.jsonl")
    results = conclude(directory, history, checkers_of(test), problems, package.safety_only)
    return directory, results, notes
