"""Sets that are read once, at the end."""

from collections.abc import Callable
from typing import Any

import pytest

from checkers.set import Set
from harness.history import History

Record = Callable[..., History]


def added(*outcomes: str) -> list[tuple[Any, ...]]:
    """Element n, with the n-th outcome."""
    rows = []
    for n, outcome in enumerate(outcomes):
        rows += [(n, n, "invoke", "add", n), (n + 0.5, n, outcome, "add", n)]
    return rows


def read(value: Any) -> list[tuple[Any, ...]]:
    return [(90, 90, "invoke", "read", None), (91, 90, "ok", "read", value)]


@pytest.mark.parametrize(
    ("elements", "kind"),
    [
        ([0, 1], None),
        ([0, 1, 2], None),
        ([1], "Lost"),
        ([0, 1, 3], "Unexpected"),
        ([0, 1, 9], "Unexpected"),
    ],
)
def test_all_that_was_acknowledged_is_there_and_nothing_else(
    recorded: Record, elements: list[int], kind: str | None
) -> None:
    verdict = Set().check(recorded(*added("ok", "ok", "info", "fail"), *read(elements)))
    assert verdict.valid == ("valid" if kind is None else "invalid")
    assert [evidence.details["kind"] for evidence in verdict.evidence] == ([] if kind is None else [kind])


def test_the_last_read_decides(recorded: Record) -> None:
    early: list[tuple[Any, ...]] = [(10, 80, "invoke", "read", None), (11, 80, "ok", "read", [])]
    assert Set().check(recorded(*added("ok"), *early, *read([0]))).valid == "valid"


def test_what_was_lost_is_told_with_its_add_and_the_read(recorded: Record) -> None:
    [evidence] = Set().check(recorded(*added("ok", "ok"), *read([1]))).evidence
    assert evidence.summary.startswith("Lost: process 0 added 0 (0.000 s to 0.500 s), and the last read")
    assert evidence.operations == [0, 1, 4, 5]


def test_elements_may_be_lists(recorded: Record) -> None:
    rows = [(1, 0, "invoke", "add", [0, 1]), (2, 0, "ok", "add", [0, 1])]
    assert Set().check(recorded(*rows, *read([[0, 1]]))).valid == "valid"


def test_what_failed_and_was_added_again_may_be_there(recorded: Record) -> None:
    again = [(50, 50, "invoke", "add", 0), (51, 50, "ok", "add", 0)]
    assert Set().check(recorded(*added("fail"), *again, *read([0]))).valid == "valid"


@pytest.mark.parametrize("outcomes", [("info", "fail"), ("fail", "info")])
def test_what_was_tried_twice_may_be_there_unless_it_failed_both_times(
    recorded: Record, outcomes: tuple[str, str]
) -> None:
    again = [
        (n + 1, n, type_, "add", 7) for n, outcome in enumerate(outcomes) for type_ in ("invoke", outcome)
    ]
    verdict = Set().check(recorded(*again, *read([7])))
    assert verdict.valid == "valid"
    assert verdict.details["recovered"] == 1


def test_what_was_acknowledged_after_the_last_read_had_begun_is_not_lost_but_not_looked_for(
    recorded: Record,
) -> None:
    late = [(90.2, 5, "invoke", "add", 5), (90.4, 5, "ok", "add", 5)]
    begun, over = read([0])
    verdict = Set().check(recorded(*added("ok"), begun, *late, over))
    assert verdict.valid == "unknown"
    assert verdict.summary.startswith("1 of 2 acknowledged elements were never looked for")
    assert Set().check(recorded(*added("ok"), begun, *late, read([0, 5])[1])).valid == "valid"
    # Another read that ends later, but began before, decides nothing.
    early: list[tuple[Any, ...]] = [(0.1, 80, "invoke", "read", None), (95, 80, "ok", "read", [])]
    rows = sorted([*added("ok"), *early, *read([0])])
    assert Set().check(recorded(*rows)).valid == "valid"


def test_what_is_asked_for_only_after_the_read_was_not_there(recorded: Record) -> None:
    rows = [*read([5]), (95, 5, "invoke", "add", 5), (96, 5, "ok", "add", 5)]
    [evidence] = Set().check(recorded(*rows)).evidence
    assert evidence.summary.startswith(
        "Unexpected: the last read (91.000 s) has 5: process 5 added 5 (95.000 s"
    )


def test_every_key_is_a_set_of_its_own(recorded: Record) -> None:
    rows = [
        (1, 0, "invoke", "add", 1, "a"), (2, 0, "ok", "add", 1, "a"),
        (3, 0, "invoke", "read", None, "a"), (4, 0, "ok", "read", [1], "a"),
        (5, 0, "invoke", "add", 2, "b"), (6, 0, "ok", "add", 2, "b"),
    ]  # fmt: skip
    verdict = Set().check(recorded(*rows))
    assert verdict.valid == "unknown"
    assert "no read succeeded of 1 of 2 sets" in verdict.summary


def test_without_a_read_there_is_nothing_to_judge(recorded: Record) -> None:
    assert Set().check(recorded(*added("ok"))).valid == "unknown"
    assert Set().check(recorded()).valid == "unknown"


def test_what_is_no_set_is_not_judged(recorded: Record) -> None:
    assert "not write" in Set().check(recorded((1, 0, "invoke", "write", 1))).summary
