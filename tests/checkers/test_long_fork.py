"""Long forks."""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkers.long_fork import LongFork
from harness.history import History, Op, OpType

Record = Callable[..., History]


def reads(*seen: str) -> list[tuple[Any, ...]]:
    """One after the other: "xy" saw x and y of x, y and z."""
    rows: list[tuple[Any, ...]] = []
    for n, keys in enumerate(seen):
        value = [["r", key, 1 if key in keys else None] for key in "xyz"]
        asked = [["r", key, None] for key in "xyz"]
        rows += [(n, n, "invoke", "txn", asked), (n + 0.5, n, "ok", "txn", value)]
    return rows


@pytest.mark.parametrize(
    ("seen", "valid"),
    [
        (["", "x", "xy", "xyz"], "valid"),
        (["xyz", "x", "", "xy"], "valid"),
        (["x", "x"], "valid"),
        (["x", "y"], "invalid"),
        (["xz", "y"], "invalid"),
        (["", "x", "xyz", "yz"], "invalid"),
    ],
)
def test_of_any_two_reads_one_saw_all_that_the_other_saw(
    recorded: Record, seen: list[str], valid: str
) -> None:
    assert LongFork().check(recorded(*reads(*seen))).valid == valid


def test_a_fork_is_told_with_both_reads(recorded: Record) -> None:
    [evidence] = LongFork(3).check(recorded(*reads("x", "y"))).evidence
    assert "process 0 saw x and not y, and process 1 saw y and not x" in evidence.summary
    assert evidence.operations == [0, 1, 2, 3]


@given(st.lists(st.sets(st.sampled_from("xyz")), min_size=1, max_size=8))
def test_the_verdict_is_that_of_comparing_all_pairs(seen: list[set[str]]) -> None:
    ops: list[Op] = []
    for n, keys in enumerate(seen):
        value = [["r", key, 1 if key in keys else None] for key in "xyz"]
        types: tuple[OpType, OpType] = ("invoke", "ok")
        for type_ in types:
            index = len(ops)
            ops.append(Op(index=index, time=index, type=type_, process=n, f="txn", value=value))
    forks = any(not (one <= other or other <= one) for one, other in combinations(seen, 2))
    assert LongFork().check(History(ops)).valid == ("invalid" if forks else "valid")


def test_reads_of_different_groups_are_not_compared(recorded: Record) -> None:
    rows = [
        (1, 0, "invoke", "txn", [["r", "a", None]]), (2, 0, "ok", "txn", [["r", "a", 1]]),
        (3, 0, "invoke", "txn", [["r", "b", None]]), (4, 0, "ok", "txn", [["r", "b", None]]),
    ]  # fmt: skip
    verdict = LongFork().check(recorded(*rows))
    assert (verdict.valid, verdict.details["groups"]) == ("valid", 2)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ([["w", "x", 1], ["r", "y", None]], "one write, or reads alone"),
        (7, "no list of reads and writes"),
        ([["r", "x", 1]], "1 keys, and a group has 3"),
    ],
)
def test_what_is_of_another_kind_is_not_judged(recorded: Record, value: Any, why: str) -> None:
    verdict = LongFork(3).check(recorded((1, 0, "invoke", "txn", value), (2, 0, "ok", "txn", value)))
    assert verdict.valid == "unknown"
    assert why in verdict.summary


def test_a_key_that_is_written_twice_makes_it_unknown(recorded: Record) -> None:
    rows = [(n, 50 + n, "invoke", "txn", [["w", "x", n]]) for n in (0, 1)]
    verdict = LongFork().check(recorded(*rows))
    assert verdict.valid == "unknown"
    assert "written more than once" in verdict.summary


def test_without_a_read_there_is_nothing_to_judge(recorded: Record) -> None:
    assert LongFork().check(recorded()).valid == "unknown"
