"""Scenarios for people: a script that one can read aloud, and a test that one can paste."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from harness.simulation.scenario import Fault, Scenario, Simulated
from harness.simulation.script import Invocation


def script(scenario: Scenario, played: Simulated | None = None) -> str:
    """What happens, a line each, in the order of time; and what came of it."""
    lines = [f"{scenario.system}: {scenario.workload}, reads {scenario.reads}: {scenario.size()}"]
    if scenario.agent:
        lines.append(f"agent: {' '.join(scenario.agent)}")
    events: list[tuple[float, str]] = []
    events += [(one.at, _operation(scenario, one)) for one in scenario.operations]
    events += [(one.at, _fault(one)) for one in scenario.faults]
    lines += [f"{at:10.3f} s  {text}" for at, text in sorted(events, key=lambda event: event[0])]
    for departed in scenario.departures:
        late = f" by {departed.delay_ms:g} ms" if departed.delay_ms else ""
        lines.append(f"            {departed.place} {departed.number}: {departed.kind}{late}")
    if scenario.left_out:
        lines.append(
            f"{'then':>12}  {', '.join(scenario.left_out)} stay away until the others have recovered"
        )
    if scenario.final:
        lines.append(f"{'at the end':>12}  every client reads once more")
    if scenario.failure:
        lines.append(f"{'':12}  -> {scenario.failure}")
    if played is not None:
        lines.append(f"{'':12}     {played.results.summary}")
        for verdict in played.results.verdicts:
            if verdict.valid == "invalid":
                lines += [f"{'':12}     {evidence.summary}" for evidence in verdict.evidence[:1]]
    return "\n".join(lines)


def _operation(scenario: Scenario, one: Invocation) -> str:
    node = one.thread % scenario.nodes + 1
    what = f"{one.f}"
    if one.key is not None:
        what += f" {one.key}"
    if one.f == "cas" and isinstance(one.value, list):
        what += f": {one.value[0]} -> {one.value[1]}"
    elif one.f == "txn" and isinstance(one.value, list):
        what = ", ".join(f"{f} {key}" if f == "r" else f"{f} {key} {value}" for f, key, value in one.value)
    elif one.value is not None:
        what += f" := {one.value}" if one.f == "write" else f" {one.value}"
    return f"client {one.thread} of n{node}: {what}"


def _fault(fault: Fault) -> str:
    return f"{fault.f.replace('-', ' ', 1)} {_value(fault.value)}".rstrip()


def _value(value: Any) -> str:
    if not isinstance(value, Mapping):
        return "" if value is None else str(value)
    parts = []
    if "cut" in value:
        parts.append(", ".join(f"{sender}>{receiver}" for sender, receiver in value["cut"]))
    if "nodes" in value:
        parts.append(", ".join(value["nodes"]) or "nobody")
    for name, item in value.items():
        if name not in ("cut", "nodes", "target", "note", "links"):
            parts.append(f"{name} {item}")
    if "links" in value:
        parts.append("on " + ", ".join(f"{sender}>{receiver}" for sender, receiver in value["links"]))
    return "; ".join(parts)


def test(scenario: Scenario) -> str:
    """A pytest test that fails as long as the bug is there."""
    name = re.sub(r"\W+", "_", f"{scenario.workload} {scenario.failure or 'holds'}").strip("_").lower()
    fields = []
    defaults = Scenario(workload="", time_limit=0.0)
    for name_of_field, value in msgspec.to_builtins(scenario).items():
        if name_of_field in ("version", "failure"):
            continue
        if name_of_field in ("operations", "faults", "departures"):
            if value:
                fields.append(f"        {name_of_field}=[\n{_items(name_of_field, value)}        ],")
        elif name_of_field in ("workload", "time_limit") or value != getattr(defaults, name_of_field):
            fields.append(f"        {name_of_field}={value!r},")
    body = "\n".join(fields)
    return (
        "from harness.simulation.scenario import Departed, Fault, Scenario, simulate\n"
        "from harness.simulation.script import Invocation\n\n\n"
        f"def test_{name}() -> None:\n"
        f"    # {scenario.failure or 'no failure'}\n"
        f"    scenario = Scenario(\n{body}\n    )\n"
        "    assert simulate(scenario).failure is None\n"
    )


_TYPES = {"operations": "Invocation", "faults": "Fault", "departures": "Departed"}


def _items(field: str, values: list[list[Any]]) -> str:
    return "".join(
        f"            {_TYPES[field]}({', '.join(repr(item) for item in value)}),\n" for value in values
    )
