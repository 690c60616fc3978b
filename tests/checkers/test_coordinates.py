"""Network coordinates against measured round trips."""

from collections.abc import Callable
from typing import Any

import pytest

from checkers.coordinates import Coordinates
from harness.history import NEMESIS, History

Recorded = Callable[..., History]
Row = tuple[Any, ...]


def believed(at: float, estimate: float, measured: float, count: int = 1) -> list[Row]:
    value = {f"n{number + 2}": {"estimate": estimate, "measured": measured} for number in range(count)}
    return [
        (at, 0, "invoke", "coordinates", None, None, "n1"),
        (at, 0, "ok", "coordinates", value, None, "n1"),
    ]


def test_estimates_within_the_bounds_are_as_promised(recorded: Recorded) -> None:
    verdict = Coordinates(0.2, 0.5, formula="Vivaldi").check(recorded(*believed(1, 0.011, 0.010, 9)))
    assert verdict.valid == "valid"
    assert verdict.summary == (
        "9 estimates: relative error 0.1 in the median, 0.1 p95; "
        "bounds: median 0.2, p95 0.5, 0 s after faults (Vivaldi)."
    )


@pytest.mark.parametrize(
    ("median", "p95", "said"),
    [
        (0.05, None, "the median of the relative error is 0.1"),
        (0.2, 0.5, "the 95th percentile of the relative"),
    ],
)
def test_estimates_that_are_off_are_caught(
    recorded: Recorded, median: float, p95: float | None, said: str
) -> None:
    rows = [*believed(1, 0.011, 0.010, 9), *believed(2, 0.030, 0.010, 1)]
    verdict = Coordinates(median, p95).check(recorded(*rows))
    assert verdict.valid == "invalid" and said in verdict.summary
    assert verdict.evidence[0].summary == "n1 believed at 2.000 s that n2 is 30 ms away; it was 10 ms."


def test_a_few_pairs_may_be_off(recorded: Recorded) -> None:
    rows = [*believed(1, 0.011, 0.010, 99), *believed(2, 0.030, 0.010, 1)]
    assert Coordinates(0.2, 0.5).check(recorded(*rows)).valid == "valid"


def test_estimates_soon_after_a_fault_do_not_count(recorded: Recorded) -> None:
    cut: list[Row] = [
        (1, NEMESIS, "info", "start-partition"),
        (1, NEMESIS, "info", "start-partition", {"cut": [["n1", "n2"]]}),
        (2, NEMESIS, "info", "stop-partition"),
        (2, NEMESIS, "info", "stop-partition", {"cut": []}),
    ]
    checker = Coordinates(0.2, settle=5.0)
    off = believed(4, 0.030, 0.010)
    assert checker.check(recorded(*cut, *off, *believed(8, 0.01, 0.01))).valid == "valid"
    only_then = checker.check(recorded(*cut, *off))
    assert only_then.valid == "unknown" and "only near faults" in only_then.summary
    assert checker.check(recorded(*cut, *believed(8, 0.030, 0.010))).valid == "invalid"


def test_without_samples_nothing_is_known(recorded: Recorded) -> None:
    assert Coordinates(0.2).check(recorded()).valid == "unknown"


@pytest.mark.parametrize("held", [3, {"estimate": 0.01}, {"estimate": 0.01, "rtt": 0.01}])
def test_a_sample_of_another_form_is_an_error_that_says_where(recorded: Recorded, held: object) -> None:
    rows = [
        (0, 0, "invoke", "coordinates", None, None, "n1"),
        (0, 0, "ok", "coordinates", {"n2": held}, None, "n1"),
    ]
    with pytest.raises(ValueError, match="event 1: n2 needs"):
        Coordinates(0.2).check(recorded(*rows))
