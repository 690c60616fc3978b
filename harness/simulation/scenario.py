"""Scenarios: everything that determines a simulated run, as data that a person can read and change.

A run under a seed draws operations, faults and departures, and is written down as a scenario; a scenario
draws none of them, and makes the same happen again. What is left to its `entropy` is what nobody wants to
spell out: the agents' own randomness, the links' latencies, what a power cut leaves of unsynced bytes.

The file is JSON. Times are seconds since the first operation, with nanoseconds behind the point.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import msgspec

from harness import fault_values
from harness.cli import checkers_here, test_of
from harness.cli import workload as workload_of
from harness.faults import FAULTS
from harness.generator import Operation, nanoseconds
from harness.history import History
from harness.history.op import decode_lines
from harness.judge import judge
from harness.progress import Phases
from harness.run import run_in
from harness.simulation.script import Invocation, Scripted
from harness.store import Results, TestRecord
from harness.systems import Reads
from harness.test import Script, Test
from harness.worlds.sim import Sim
from harness.worlds.sim.departures import Departure, Kind

VERSION = 1

MILLISECOND_NS = 1_000_000


class BrokenScenario(Exception):
    """The file is no scenario: the message names it, and what is wrong in it."""


class Fault(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The nemesis's, written [at, f, value]; the value in full, as the package `nemesis` says."""

    at: Annotated[float, msgspec.Meta(ge=0)]
    f: str
    value: Any = None

    @property
    def kind(self) -> str:
        """The package that understands it."""
        return self.f.partition("-")[2]


class Departed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What did not go its ordinary way, written [place, number, kind, delay in ms]."""

    place: str
    number: Annotated[int, msgspec.Meta(ge=1)]
    kind: Kind
    delay_ms: Annotated[float, msgspec.Meta(ge=0)] = 0.0


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One simulated run."""

    version: int = VERSION
    failure: str | None = None
    """What came of it when it was written down (`failure_of`)."""
    system: str = "proconsul"
    agent: list[str] | None = None
    workload: str
    reads: Reads = "consistent"
    nodes: int = 5
    servers: int = 5
    concurrency: int = 10
    rate: float = 20.0
    """Operations per second of what is not spelt out: the final ones."""
    time_limit: float
    operation_timeout: float = 5.0
    extra: dict[str, str] = {}
    entropy: int = 0
    safety_only: bool = False
    final: bool = True
    """Whether the workload's final operations follow."""
    left_out: list[str] = []
    """Nodes that are killed after the heal, for the others to recover without them; then they come back."""
    operations: list[Invocation] = []
    faults: list[Fault] = []
    departures: list[Departed] = []

    @property
    def nemesis(self) -> str:
        """The packages whose faults occur, as on the command line."""
        kinds = {fault.kind for fault in self.faults} | ({"kill"} if self.left_out else set())
        return ",".join(sorted(kinds)) or "none"

    def size(self) -> str:
        """In words."""
        parts = [(self.nodes, "node"), (len(self.operations), "operation"), (len(self.faults), "fault")]
        parts.append((len(self.departures), "departure"))
        return ", ".join(f"{count} {what}{'s' * (count != 1)}" for count, what in parts)

    def record(self, world: str) -> TestRecord:
        """The record of a run of it. Raises `registry.UnknownName`."""
        return TestRecord(
            name=f"{workload_of(self.workload).name}-scenario",
            started="",
            command=[],
            seed=self.entropy,
            world=world,
            system=self.system,
            workload=self.workload,
            nemesis=self.nemesis,
            nodes=[f"n{number}" for number in range(1, self.nodes + 1)],
            servers=self.servers,
            reads=self.reads,
            agent=self.agent,
            concurrency=self.concurrency,
            rate=self.rate,
            time_limit=self.time_limit,
            operation_timeout=self.operation_timeout,
            promise="",
            marks=[],
            extra=self.extra,
        )

    def test(self, world: str = "sim") -> Test:
        """The test that repeats it. Raises `registry.UnknownName` or `nemesis.NemesisError`."""
        test = test_of(self.record(world))
        # A hand may have added to them at the end, and whatever comes first is waited for.
        operations = tuple(sorted(self.operations, key=attrgetter("at")))
        faults = [
            Operation(fault.f, fault.value, time=nanoseconds(fault.at))
            for fault in sorted(self.faults, key=attrgetter("at"))
        ]
        core = Operation("start-kill", {"nodes": self.left_out}) if self.left_out else None
        return replace(
            test,
            script=Script(Scripted(operations), faults, self.final),
            nemesis=replace(test.nemesis, core=core, safety_only=self.safety_only),
        )

    def departed(self) -> dict[tuple[str, int], Departure]:
        """The departures, as the sim world takes them."""
        return {
            (one.place, one.number): Departure(one.kind, round(one.delay_ms * MILLISECOND_NS))
            for one in self.departures
        }


_PLACE = re.compile(r"(\S+)>(\S+) (?:datagram|stream)|(\S+) sync")
"""Of a departure: `harness.worlds.sim.departures`."""


def read(path: Path) -> Scenario:
    """The scenario in a file. Raises BrokenScenario; OSError if there is no such file."""
    try:
        scenario = msgspec.json.decode(path.read_bytes(), type=Scenario)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BrokenScenario(f"{path}: {error}") from error
    if scenario.version != VERSION:
        raise BrokenScenario(f"{path}: version {scenario.version}; this program knows version {VERSION}")
    for wrong in _wrong(scenario):
        raise BrokenScenario(f"{path}: {wrong}")
    return scenario


def _wrong(scenario: Scenario) -> Iterator[str]:
    """What cannot be, though it has the right types."""
    for name, least in (("nodes", 1), ("servers", 1), ("concurrency", 1)):
        if getattr(scenario, name) < least:
            yield f"{name} is {getattr(scenario, name)}; at least {least} is needed"
    if scenario.servers > scenario.nodes:
        yield f"servers is {scenario.servers}; there are only {scenario.nodes} nodes"
    for name in ("rate", "time_limit", "operation_timeout"):
        if not getattr(scenario, name) > 0:
            yield f"{name} is {getattr(scenario, name):g}; it must be more than 0"
    nodes = [f"n{number}" for number in range(1, scenario.nodes + 1)]
    for number, invocation in enumerate(scenario.operations):
        if not 0 <= invocation.thread < scenario.concurrency:
            yield f"operation {number}: thread {invocation.thread} of {scenario.concurrency}"
    for number, fault in enumerate(scenario.faults):
        if fault.f not in FAULTS:
            yield f"fault {number}: no {fault.f!r}; there are {', '.join(sorted(FAULTS))}"
        elif why := fault_values.wrong(fault.f, fault.value, nodes):
            yield f"fault {number}, {fault.f}: {why}"
    for number, departed in enumerate(scenario.departures):
        place = _PLACE.fullmatch(departed.place)
        if place is None or not {name for name in place.groups() if name} <= {*nodes}:
            yield (
                f"departure {number}: no place {departed.place!r}; places are 'n1>n2 datagram', "
                f"'n1>n2 stream' and 'n1 sync', of n1 to {nodes[-1]}"
            )
    for name in scenario.left_out:
        if name not in nodes:
            yield f"left_out: there is no node {name}"


def encode(scenario: Scenario) -> bytes:
    """As JSON, one operation, fault or departure a line, so that a difference is one line, too."""
    fields = msgspec.to_builtins(scenario)
    lines = []
    for name, value in fields.items():
        if name in ("operations", "faults", "departures") and value:
            items = ",\n    ".join(msgspec.json.encode(item).decode() for item in value)
            lines.append(f'  "{name}": [\n    {items}\n  ]')
        else:
            lines.append(f'  "{name}": {msgspec.json.encode(value).decode()}')
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


# --- Running ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Simulated:
    """What came of a simulated run."""

    results: Results
    failure: str | None
    """What kind of failure it is, such that the same bug gives the same words; None if it is none."""
    scenario: Scenario
    """What happened, spelt out."""
    history: History
    trace: int
    """Equal for equal runs."""
    seconds: float
    """Of virtual time."""
    traps_sprung: int
    """Power cuts at crash points."""


def simulate(scenario: Scenario) -> Simulated:
    """Run it. Raises KeyboardInterrupt if Ctrl-C cut it short: what a part of a run shows is chance."""
    return _simulate(scenario.test(), scenario.record("sim"), scenario.departed())


def simulate_seed(record: TestRecord) -> Simulated:
    """Run what the record's seed draws. Raises as `simulate` does."""
    return _simulate(test_of(record), record, None)


def _simulate(
    test: Test, record: TestRecord, departures: dict[tuple[str, int], Departure] | None
) -> Simulated:
    world, phases = Sim(departures), Phases()
    with TemporaryDirectory(prefix="splitbrain-") as folder:
        directory = Path(folder)
        try:
            problems = run_in(test, world, directory, phases)
        except asyncio.CancelledError:  # in the set-up, or by a second Ctrl-C
            raise KeyboardInterrupt from None
        if any(problem.kind == "interrupted" for problem in problems):
            raise KeyboardInterrupt
        # `History.read` would come back to the file, which is gone by then.
        history = History(decode_lines((directory / "history.jsonl").read_bytes()))
    results = judge(history, checkers_here(test), problems, test.nemesis.safety_only)
    assert world.cluster is not None and world.loop is not None
    failure = failure_of(results)
    scenario = spell_out(record, test, history, phases, world, failure)
    return Simulated(
        results,
        failure,
        scenario,
        history,
        world.loop.trace,
        world.loop.now_ns / 1e9,
        sum(exit_.status.startswith("power cut when") for exit_ in world.cluster.exits),
    )


def failure_of(results: Results) -> str | None:
    """What kind of failure the results are: the outcome, and which promise or checker it is about."""
    if results.outcome == "valid":
        return None
    if results.outcome == "invalid":
        for problem in results.problems:
            if problem.kind == "violation":
                return f"invalid: {problem.message.partition(':')[0]}"
        for verdict in results.verdicts:
            if verdict.valid == "invalid" and verdict.outcome == "safety":
                return f"invalid: {verdict.checker}"
    return results.outcome


def spell_out(
    record: TestRecord, test: Test, history: History, phases: Phases, world: Sim, failure: str | None
) -> Scenario:
    """The scenario of a run that has been."""
    assert world.cluster is not None
    faults, left_out = _faults(history, phases.first.get("heal", len(history)))
    final = phases.first.get("final", len(history))
    return Scenario(
        failure=failure,
        system=record.system,
        agent=record.agent,
        workload=record.workload,
        reads=record.reads,
        nodes=len(record.nodes),
        servers=record.servers,
        concurrency=record.concurrency,
        rate=record.rate,
        time_limit=record.time_limit,
        operation_timeout=record.operation_timeout,
        extra=record.extra,
        entropy=record.seed,
        safety_only=test.nemesis.safety_only,
        final=test.script is None or test.script.final,
        left_out=left_out,
        operations=[
            Invocation(op.time / 1e9, op.process % record.concurrency, op.f, op.key, op.value)
            for op in history.ops[:final]
            if op.type == "invoke" and isinstance(op.process, int)
        ],
        faults=faults,
        departures=[
            Departed(place, number, departure.kind, departure.delay_ns / MILLISECOND_NS)
            for (place, number), departure in world.cluster.departures.happened.items()
        ],
    )


def _faults(history: History, heal: int) -> tuple[list[Fault], list[str]]:
    """What was done before the event `heal`, as it was done; and who was left out of the core after it."""
    faults: list[Fault] = []
    left_out: list[str] = []
    for begun, completed in history.nemesis:
        if completed is None or completed.error is not None:
            continue
        if begun.index < heal:
            value = None if completed.f.startswith("stop-") else completed.value
            faults.append(Fault(completed.time / 1e9, completed.f, value))
        elif completed.f.startswith("start-"):
            left_out = list(completed.value["nodes"])
    return faults, left_out
