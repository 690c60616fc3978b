"""How stale a read was: never more than the bounds say, never less."""

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checkers._versions import versions
from checkers.staleness import Staleness, _Measured
from harness.history import History

Recorded = Callable[..., History]
Row = tuple[Any, ...]

THOROUGH = bool(os.environ.get("SPLITBRAIN_NIGHTLY"))


def did(at: float, process: int, f: str, value: Any, node: str = "n1") -> list[Row]:
    return [
        (at, process, "invoke", f, None if f == "read" else value, None, node),
        (at + 0.5, process, "ok", f, value, None, node),
    ]


WRITTEN = [*did(0, 0, "write", 1), *did(1, 0, "write", 2), *did(2, 0, "write", 3)]


def test_a_fresh_read_is_not_stale_at_all(recorded: Recorded) -> None:
    verdict = Staleness(0.0, 0).check(recorded(*WRITTEN, *did(3, 1, "read", 3)))
    assert verdict.valid == "valid"
    assert verdict.details["seconds at most"]["1.0"] == 0.0
    assert verdict.summary.startswith("0 of 1 reads were certainly stale")


def test_a_stale_read_is_measured_in_seconds_and_versions(recorded: Recorded) -> None:
    history = recorded(*WRITTEN, *did(5, 1, "read", 1, "n2"))
    verdict = Staleness().check(history)
    assert verdict.valid == "valid"
    # 2 was there by 1.5 s, and began at 1 s.
    assert verdict.details["seconds at least"]["1.0"] == 3.5
    assert verdict.details["seconds at most"]["1.0"] == 4.5
    assert verdict.details["versions at least"]["1.0"] == verdict.details["versions at most"]["1.0"] == 2
    assert verdict.details["by node"] == {
        "n2": {"reads": 1, "certainly stale": 1, "seconds at least, at worst": 3.5}
    }


def test_a_read_beyond_the_bound_is_caught_with_what_had_overwritten_its_value(recorded: Recorded) -> None:
    history = recorded(*WRITTEN, *did(5, 1, "read", 1))
    assert Staleness(seconds=4.0, versions=2).check(history).valid == "valid"
    for checker in (Staleness(seconds=3.0), Staleness(versions=1)):
        verdict = checker.check(history)
        assert verdict.valid == "invalid"
        assert "at least 3.500 s and 2 versions after that was overwritten: process 0 on n1 wrote 2" in (
            verdict.summary
        )
        assert verdict.evidence[0].operations == [0, 1, 2, 3, 6, 7]


def test_what_is_only_perhaps_beyond_the_bound_is_counted_and_breaks_nothing(recorded: Recorded) -> None:
    verdict = Staleness(seconds=4.0).check(recorded(*WRITTEN, *did(5, 1, "read", 1)))
    assert verdict.details["perhaps beyond the bound"] == 1
    assert verdict.details["certainly beyond the bound"] == 0


def test_a_write_that_overlaps_the_read_makes_it_perhaps_stale(recorded: Recorded) -> None:
    history = recorded(
        *did(0, 0, "write", 1), (1, 0, "invoke", "write", 2), *did(2, 1, "read", 1), (3, 0, "ok", "write", 2)
    )
    details = Staleness().check(history).details
    assert details["seconds at least"]["1.0"] == 0.0
    assert details["seconds at most"]["1.0"] == 1.5


def test_nothing_is_overwritten_before_it_was_there(recorded: Recorded) -> None:
    # b may have been written before a or after it: if after, not before a began.
    rows = [
        (0, 0, "invoke", "write", "b"), (5, 1, "invoke", "write", "a"), (6, 1, "ok", "write", "a"),
        (7, 0, "ok", "write", "b"), (8, 2, "invoke", "read"), (9, 2, "ok", "read", "a"),
    ]  # fmt: skip
    assert Staleness().check(recorded(*rows)).details["seconds at most"]["1.0"] == 4.0


def test_a_crashed_write_overwrites_for_certain_once_it_was_read(recorded: Recorded) -> None:
    crashed = [*did(0, 0, "write", 1), (1, 0, "invoke", "write", 2), (2, 0, "info", "write", 2)]
    unseen = Staleness().check(recorded(*crashed, *did(5, 1, "read", 1)))
    assert unseen.details["certainly stale"] == 0
    seen = Staleness().check(recorded(*crashed, *did(3, 1, "read", 2), *did(5, 1, "read", 1)))
    assert seen.details["seconds at least"]["1.0"] == 1.5


def test_versions_tell_which_of_concurrent_writes_came_later(recorded: Recorded) -> None:
    concurrent = [
        (0, 0, "invoke", "write", 1), (0, 1, "invoke", "write", 2),
        (1, 0, "ok", "write", 1, None, None, 4), (1, 1, "ok", "write", 2, None, None, 5),
    ]  # fmt: skip
    assert Staleness().check(recorded(*concurrent, *did(3, 2, "read", 1))).details["certainly stale"] == 1
    assert Staleness().check(recorded(*concurrent, *did(3, 2, "read", 2))).details["certainly stale"] == 0


def test_without_a_read_of_a_unique_value_nothing_is_known(recorded: Recorded) -> None:
    assert Staleness().check(recorded(*WRITTEN)).valid == "unknown"
    twice = [*did(0, 0, "write", 1), *did(1, 0, "write", 1), *did(2, 0, "read", 1)]
    assert Staleness().check(recorded(*twice)).valid == "unknown"
    assert Staleness().check(recorded()).valid == "unknown"


@given(st.integers(0, 10**9), st.floats(0.05, 0.9))
@settings(
    max_examples=100_000 if THOROUGH else 300,
    deadline=None,
    derandomize=not THOROUGH,
    suppress_health_check=list(HealthCheck),
)
def test_the_truth_is_within_the_bounds(replicated: Callable[..., Any], seed: int, lag: float) -> None:
    found = replicated(seed, lag=lag)
    if not found.staleness:
        return
    known = versions(found.history)
    measured = _Measured.of(known)
    assert len(measured.read) == len(found.staleness)
    for i, read in enumerate(measured.read.tolist()):
        behind, seconds = found.staleness[int(known.registers.finish[read])]
        assert measured.versions_least[i] <= behind <= measured.versions_most[i]
        assert measured.seconds_least[i] <= seconds + 1 and seconds <= measured.seconds_most[i] + 1
