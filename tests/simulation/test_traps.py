"""Crash points in a cluster that is falling apart anyway."""

from __future__ import annotations

from typing import Any

from harness.simulation.scenario import Fault, Scenario, Simulated, simulate
from harness.simulation.script import Invocation

NODES = ["n1", "n2", "n3"]


def played(*faults: Fault) -> Simulated:
    writes = [Invocation(at / 10, at % 3, "write", "r0", at) for at in range(10, 60)]
    return simulate(
        Scenario(
            workload="register",
            nodes=3,
            servers=3,
            concurrency=3,
            time_limit=8.0,
            operations=writes,
            faults=list(faults),
            final=False,
        )
    )


def plan(record: str, **others: Any) -> dict[str, Any]:
    return {"nodes": NODES, "step": "sent", "record": record, "boot": 0.1, "again": False, **others}


def test_who_is_down_already_needs_no_trap() -> None:
    run = played(
        Fault(1.0, "start-kill", {"nodes": ["n1"]}),
        Fault(2.0, "start-crash-point", plan("entries")),
        Fault(5.0, "stop-crash-point"),
        Fault(5.1, "stop-kill"),
    )
    assert run.failure is None, run.results.summary
    assert run.traps_sprung == 2


def test_voters_fall_when_their_vote_is_sent_and_whoever_is_elected_by_it_before_they_are_back() -> None:
    missing = {}
    for leader in NODES:
        run = played(
            Fault(2.0, "start-crash-point", plan("vote", leader=leader, absence=2.0, heirless=True)),
            Fault(6.0, "stop-crash-point"),
        )
        assert run.failure is None, run.results.summary
        if run.traps_sprung:
            _, stopped = run.history.nemesis[1]
            assert stopped is not None
            missing[leader] = stopped.value["nodes"]
    ((leader, gone),) = missing.items()  # the fall of nobody else makes the others vote
    assert len(gone) == 1 and gone != [leader], "who was elected had fallen, and came back at the end only"
