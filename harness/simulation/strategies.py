"""Hypothesis strategies: scenarios for simulated runs, and histories for checkers.

    from hypothesis import given, settings
    from harness.simulation.scenario import simulate
    from harness.simulation.strategies import scenarios

    @settings(deadline=None, max_examples=50)
    @given(scenarios())
    def test_registers_are_linearizable(scenario):
        assert simulate(scenario).failure is None

What Hypothesis finds it also makes small; `splitbrain shrink` does that better, since it knows what a run is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from harness.history import History, Op
from harness.simulation.scenario import Fault, Scenario
from harness.simulation.script import Invocation


@st.composite
def scenarios(
    draw: st.DrawFn,
    /,
    *,
    nodes: int = 3,
    keys: int = 2,
    operations_max: int = 30,
    faults_max: int = 4,
    seconds: float = 8.0,
    reads: Any = "consistent",
    **fields: Any,
) -> Scenario:
    """Runs of the register workload: operations of a few clients, and partitions, kills, pauses, power cuts.

    `fields`: others of `Scenario`, such as `agent` or `system`.
    """
    threads = 2 * nodes
    names = [f"n{number}" for number in range(1, nodes + 1)]
    at = st.integers(0, round(seconds * 100)).map(lambda hundredths: hundredths / 100)
    operations = draw(
        st.lists(
            st.tuples(at, st.integers(0, threads - 1), st.integers(0, keys - 1), st.booleans()),
            max_size=operations_max,
        )
    )
    some = st.lists(st.sampled_from(names), min_size=1, max_size=nodes, unique=True)
    faults: list[Fault] = []
    for kind in draw(st.lists(st.sampled_from(("partition", "kill", "pause", "power")), max_size=faults_max)):
        begin, end = sorted((draw(at), draw(at)))
        group = sorted(draw(some))
        value: dict[str, Any] = {"nodes": group}
        if kind == "partition":
            others = [name for name in names if name not in group]
            value = {"cut": [[a, b] for a in group for b in others] + [[b, a] for a in group for b in others]}
        faults += [Fault(begin, f"start-{kind}", value), Fault(end, f"stop-{kind}")]
    return Scenario(
        workload="register",
        reads=reads,
        nodes=nodes,
        servers=nodes,
        concurrency=threads,
        time_limit=seconds,
        entropy=draw(st.integers(0, 2**16)),
        operations=[
            Invocation(when, thread, "write" if writes else "read", f"r{key}", number if writes else None)
            for number, (when, thread, key, writes) in enumerate(sorted(operations))
        ],
        faults=sorted(faults, key=lambda fault: fault.at),
        **fields,
    )


@st.composite
def histories(
    draw: st.DrawFn,
    /,
    *,
    processes: int = 4,
    operations_max: int = 12,
    keys: Sequence[int | str | None] = (None,),
    values: int = 5,
    fs: Sequence[str] = ("read", "write", "cas"),
    crashes: bool = True,
) -> History:
    """Histories of registers that obey the rules of `harness.history`, and nothing else: most are wrong.

    Reads return any value or None, operations overlap, fail, crash and stay open.
    """
    value = st.one_of(st.none(), st.integers(0, values - 1))
    ends = ("ok", "ok", "ok", "fail", *(("info", "open") if crashes else ()))
    events: list[Op] = []
    open_: dict[int, tuple[Op, str]] = {}
    names = list(range(processes))

    def append(kind: Any, process: int, f: str, key: int | str | None, what: Any) -> Op:
        op = Op(len(events), len(events) * 1000, kind, process, f, key, what)
        events.append(op)
        return op

    def complete(thread: int) -> None:
        invoked, end = open_.pop(thread)
        result = draw(value) if invoked.f == "read" and end == "ok" else invoked.value
        if end != "open":
            append(end, names[thread], invoked.f, invoked.key, result)
        if end in ("info", "open"):
            names[thread] += processes

    for thread in draw(st.lists(st.integers(0, processes - 1), max_size=2 * operations_max)):
        if thread in open_:
            complete(thread)
            continue
        f = draw(st.sampled_from(fs))
        argument: Any = None
        if f == "write":
            argument = draw(st.integers(0, values - 1))
        elif f == "cas":
            argument = [draw(st.integers(0, values - 1)), draw(st.integers(0, values - 1))]
        invoked = append("invoke", names[thread], f, draw(st.sampled_from(keys)), argument)
        open_[thread] = (invoked, draw(st.sampled_from(ends)))
    for thread in list(open_):
        complete(thread)
    return History(events)
