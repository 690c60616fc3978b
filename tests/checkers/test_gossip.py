"""Membership: who must be seen failed, who must not, and when nobody can tell."""

from collections.abc import Callable
from typing import Any

import pytest

from checkers.gossip import Gossip
from harness.history import NEMESIS, History
from harness.verdict import Verdict

Recorded = Callable[..., History]
Row = tuple[Any, ...]

NODES = ("n1", "n2", "n3")
CHECKER = Gossip(detect=5.0, converge=10.0, formula="from the parameters", nodes=NODES)


def fault(at: float, f: str, value: Any) -> list[Row]:
    return [(at, NEMESIS, "info", f), (at, NEMESIS, "info", f, value)]


def views(at: float, **failed: str) -> list[Row]:
    """Every node's view at a time: all alive, but for `observer="target status"`."""
    rows: list[Row] = []
    for process, node in enumerate(NODES):
        view = dict.fromkeys(NODES, "alive")
        for seen in filter(None, failed.get(node, "").split(",")):
            target, status = seen.split()
            view[target] = status
        rows += [
            (at, process, "invoke", "members", None, None, node),
            (at, process, "ok", "members", view, None, node),
        ]
    return rows


def cut(*sides: str) -> dict[str, Any]:
    """What start-partition says of nodes cut from all others."""
    return {
        "cut": [
            [a, b]
            for one in sides
            for other in NODES
            if other != one
            for a, b in ((one, other), (other, one))
        ]
    }


def judged(recorded: Recorded, *rows: list[Row]) -> Verdict:
    return CHECKER.check(recorded(*(row for some in rows for row in some)))


def test_a_quiet_cluster_that_sees_itself_alive_is_valid(recorded: Recorded) -> None:
    verdict = judged(recorded, views(1), views(20))
    assert verdict.valid == "valid"
    assert "bounds: detect 5 s, converge 10 s (from the parameters)" in verdict.summary


def test_a_live_agent_seen_failed_without_any_fault_is_a_false_accusation(recorded: Recorded) -> None:
    verdict = judged(recorded, views(1), views(20, n1="n2 failed"), views(30))
    assert verdict.valid == "invalid"
    assert "n1 saw n2 failed at 20.000 s" in verdict.summary
    assert verdict.evidence[0].details == {"kind": "accuracy", "observer": "n1", "target": "n2"}
    assert verdict.evidence[0].operations == [6, 7]


def test_a_suspicion_is_not_an_accusation(recorded: Recorded) -> None:
    assert judged(recorded, views(1), views(20, n1="n2 suspect"), views(30)).valid == "valid"


KILLED = fault(10, "start-kill", {"nodes": ["n3"]})
STARTED = fault(30, "stop-kill", {"nodes": ["n3"]})
SEEN = {"n1": "n3 failed", "n2": "n3 failed"}


def test_a_killed_agent_that_all_see_failed_in_time_is_as_promised(recorded: Recorded) -> None:
    verdict = judged(recorded, KILLED, views(12), views(14, **SEEN), views(29, **SEEN), STARTED, views(41))
    assert verdict.valid == "valid"
    assert verdict.details["detections seconds"] == [4.0, 4.0]
    assert verdict.details["converged seconds"] == 11.0


def test_a_killed_agent_that_one_still_sees_alive_after_the_bound_is_caught(recorded: Recorded) -> None:
    verdict = judged(recorded, KILLED, views(14), views(20, n1="n3 failed"), STARTED, views(41))
    assert verdict.valid == "invalid"
    assert "n2 still saw n3 alive at 20.000 s" in verdict.summary
    assert verdict.evidence[0].details["kind"] == "completeness"


def test_an_agent_that_never_refutes_is_caught_after_the_heal(recorded: Recorded) -> None:
    verdict = judged(recorded, KILLED, STARTED, views(35, **SEEN), views(41, n1="n3 failed"))
    assert verdict.valid == "invalid"
    assert "n1 saw n3 failed at 41.000 s" in verdict.summary


@pytest.mark.parametrize("fault_name", ["start-pause", "start-kill"])
def test_the_others_must_not_be_accused_meanwhile(recorded: Recorded, fault_name: str) -> None:
    stop = fault_name.replace("start", "stop")
    verdict = judged(
        recorded,
        fault(10, fault_name, {"nodes": ["n3"]}),
        views(25, n1="n2 failed,n3 failed", n2="n3 failed"),
        fault(30, stop, {"nodes": ["n3"]}),
        views(41),
    )
    assert verdict.valid == "invalid"
    assert "n1 saw n2 failed at 25.000 s" in verdict.summary


def test_both_sides_of_a_partition_must_see_each_other_failed(recorded: Recorded) -> None:
    right = {"n1": "n3 failed", "n2": "n3 failed", "n3": "n1 failed,n2 failed"}
    start, stop = fault(10, "start-partition", cut("n3")), fault(30, "stop-partition", {"cut": []})
    assert judged(recorded, start, views(16, **right), stop, views(41)).valid == "valid"
    wrong = judged(recorded, start, views(16, **SEEN), stop, views(41))
    assert wrong.valid == "invalid"
    assert "n3 still saw n1 alive" in wrong.summary


def test_a_one_way_cut_promises_nothing(recorded: Recorded) -> None:
    one_way = {"cut": [["n1", "n3"], ["n2", "n3"]]}
    start, stop = fault(10, "start-partition", one_way), fault(30, "stop-partition", {"cut": []})
    assert judged(recorded, start, views(25, n1="n3 failed"), stop, views(41)).valid == "valid"
    assert judged(recorded, start, views(25, n3="n1 failed"), stop, views(41)).valid == "valid"


def test_a_fault_elsewhere_does_not_excuse_an_accusation(recorded: Recorded) -> None:
    # n1 and n2 are a component of their own from 10 s on, whatever becomes of n3.
    verdict = judged(
        recorded,
        fault(10, "start-partition", cut("n3")),
        fault(15, "start-kill", {"nodes": ["n3"]}),
        views(21, n1="n2 failed,n3 failed", n2="n3 failed"),
    )
    assert verdict.valid == "invalid"


def test_a_view_taken_while_a_fault_is_being_injected_proves_nothing(recorded: Recorded) -> None:
    slow_kill = [(10, NEMESIS, "info", "start-kill"), (19, NEMESIS, "info", "start-kill", {"nodes": ["n3"]})]
    stop = fault(21, "stop-kill", {"nodes": ["n3"]})
    verdict = judged(recorded, [slow_kill[0]], views(15, **SEEN), [slow_kill[1]], stop, views(32))
    assert verdict.valid == "valid"


def test_a_cluster_nobody_looked_at_after_the_heal_is_unknown(recorded: Recorded) -> None:
    verdict = judged(recorded, KILLED, views(29, **SEEN), STARTED)
    assert verdict.valid == "unknown"
    assert "was not looked at after the heal" in verdict.summary


def test_a_last_view_that_is_still_wrong_within_the_bound_is_unknown(recorded: Recorded) -> None:
    verdict = judged(recorded, KILLED, STARTED, views(33, **SEEN))
    assert verdict.valid == "unknown"
    assert "n1 saw n3 failed in its last view, 3.0 s after the last heal" in verdict.summary


def test_without_a_view_nothing_is_known(recorded: Recorded) -> None:
    assert CHECKER.check(recorded()).valid == "unknown"


def test_a_fault_that_is_not_understood_is_named(recorded: Recorded) -> None:
    verdict = judged(recorded, fault(1, "start-clock-skew", {}), views(2))
    assert verdict.details["faults not taken into account"] == ["start-clock-skew"]
