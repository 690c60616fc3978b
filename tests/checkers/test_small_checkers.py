"""Recovery, statistics, performance, and several checkers as one."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from checkers.availability import Availability
from checkers.compose import Compose
from checkers.performance import Performance
from checkers.stats import Stats
from harness.history import NEMESIS, History
from harness.verdict import Validity, Verdict

Recorded = Callable[..., History]

KILL = (
    (1, NEMESIS, "info", "start-kill"),
    (2, NEMESIS, "info", "start-kill", {"nodes": ["n1"]}),
    (5, NEMESIS, "info", "stop-kill"),
    (6, NEMESIS, "info", "stop-kill", {"nodes": ["n1"]}),
)


def operation(at: float, process: int, outcome: str, node: str = "n1") -> tuple[tuple[object, ...], ...]:
    return (
        (at, process, "invoke", "read", None, None, node),
        (at + 0.5, process, outcome, "read", None, None, node),
    )


def test_a_node_that_serves_again_within_the_bound_has_recovered(recorded: Recorded) -> None:
    verdict = Availability(recovery=5).check(
        recorded(*KILL, *operation(7, 0, "fail"), *operation(8, 0, "ok"), *operation(12, 0, "ok"))
    )
    assert (verdict.valid, verdict.outcome) == ("valid", "liveness")
    assert verdict.details["recovered seconds"] == {"n1": 2.5}


def test_a_node_that_does_not_serve_within_the_bound_has_not_come_back(recorded: Recorded) -> None:
    verdict = Availability(recovery=5).check(
        recorded(*KILL, *operation(7, 0, "ok", "n2"), *operation(8, 1, "fail"), *operation(12, 1, "ok"))
    )
    assert (verdict.valid, verdict.outcome) == ("invalid", "liveness")
    assert "No operation succeeded on n1 within 5 s" in verdict.summary


@pytest.mark.parametrize(
    "rows",
    [
        (*KILL,),
        (*KILL, *operation(7, 0, "fail")),
        (*KILL[:2], *operation(7, 0, "ok")),
    ],
    ids=["nobody tried", "too short", "never healed"],
)
def test_recovery_that_was_not_observed_is_unknown(recorded: Recorded, rows: tuple[object, ...]) -> None:
    assert Availability(recovery=5, nodes=("n1",)).check(recorded(*rows)).valid == "unknown"


def test_availability_during_faults_is_a_figure_not_a_verdict(recorded: Recorded) -> None:
    rows = (*KILL[:2], *operation(3, 0, "fail"), *KILL[2:], *operation(7, 0, "ok"))
    verdict = Availability(recovery=5).check(recorded(*rows))
    assert verdict.valid == "valid"
    assert verdict.details["succeeded"]["during faults"] == {"ok": 0, "of": 1}
    assert verdict.details["succeeded"]["without faults"] == {"ok": 1, "of": 1}


def test_stats_count_by_function_and_outcome(recorded: Recorded) -> None:
    verdict = Stats().check(
        recorded(*operation(1, 0, "ok"), *operation(2, 0, "info"), *operation(3, 9, "fail"))
    )
    assert verdict.valid == "valid"
    assert verdict.details["counts"] == {"read": {"ok": 1, "info": 1, "fail": 1}}


def test_a_function_that_never_succeeded_is_unknown(recorded: Recorded) -> None:
    verdict = Stats().check(recorded(*operation(1, 0, "fail"), *operation(2, 0, "fail")))
    assert verdict.valid == "unknown"
    assert verdict.summary == "Never succeeded: read (2 tried)."


def test_no_operations_are_unknown(recorded: Recorded) -> None:
    assert Stats().check(recorded(*KILL)).valid == "unknown"
    assert Performance().check(recorded(*KILL)).valid == "unknown"


def test_performance_gives_quantiles_and_rates_over_time(recorded: Recorded) -> None:
    rows = [row for at in range(10) for row in operation(at, 0, "ok" if at < 8 else "fail")]
    verdict = Performance(window=2.0).check(recorded(*rows))
    assert verdict.valid == "valid"
    series = verdict.details["series"]["read"]
    assert series["ok"] == [1.0, 1.0, 1.0, 1.0, 0.0]
    assert series["fail"] == [0.0, 0.0, 0.0, 0.0, 1.0]
    assert verdict.details["latency ms"]["0.99"] == 500.0
    assert series["latency ms over time"]["0.5"] == [500.0, 500.0, 500.0, 500.0, None]


@dataclass
class Says:
    """A checker that says what it is told, or raises."""

    name: str
    valid: Validity | None
    liveness: bool = False

    def check(self, history: History) -> Verdict:
        if self.valid is None:
            raise RuntimeError("out of ideas")
        return Verdict(
            checker=self.name,
            valid=self.valid,
            summary=f"{self.name} says so",
            outcome="liveness" if self.liveness else "safety",
        )


def test_the_worst_verdict_wins_and_all_are_kept(recorded: Recorded) -> None:
    checkers = [Says("a", "valid"), Says("b", "invalid"), Says("c", "unknown")]
    verdict = Compose(checkers).check(recorded())
    assert (verdict.valid, verdict.summary) == ("invalid", "b: b says so")
    assert [one["checker"] for one in verdict.details["verdicts"]] == ["a", "b", "c"]


def test_a_checker_that_raises_is_unknown_and_says_why(recorded: Recorded) -> None:
    verdict = Compose([Says("a", "valid"), Says("b", None)]).check(recorded())
    assert verdict.valid == "unknown"
    assert "RuntimeError: out of ideas" in verdict.summary


def test_a_broken_promise_weighs_more_than_a_failed_recovery(recorded: Recorded) -> None:
    verdict = Compose([Says("a", "invalid", liveness=True), Says("b", "invalid")]).check(recorded())
    assert verdict.outcome == "safety"


def test_nothing_to_check_with_is_unknown(recorded: Recorded) -> None:
    assert Compose([]).check(recorded()).valid == "unknown"
