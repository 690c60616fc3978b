"""Counters within bounds."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkers.counter import Counter
from harness.history import History, Op

Record = Callable[..., History]


def add(at: float, process: int, amount: Any, outcome: str = "ok") -> list[tuple[Any, ...]]:
    return [(at, process, "invoke", "add", amount), (at + 0.1, process, outcome, "add", amount)]


def read(at: float, process: int, value: Any) -> list[tuple[Any, ...]]:
    return [(at, process, "invoke", "read", None), (at + 0.1, process, "ok", "read", value)]


@pytest.mark.parametrize(("value", "valid"), [(2, "invalid"), (3, "valid"), (8, "valid"), (9, "invalid")])
def test_a_read_sees_all_that_was_added_and_nothing_that_was_not_begun(
    recorded: Record, value: int, valid: str
) -> None:
    history = recorded(*add(1, 0, 3), *add(2, 1, 5, "info"), *read(3, 0, value), *add(4, 0, 7))
    assert Counter().check(history).valid == valid


@pytest.mark.parametrize(("value", "valid"), [(0, "invalid"), (1, "valid"), (3, "valid"), (4, "invalid")])
def test_what_goes_on_meanwhile_may_be_seen_or_not(recorded: Record, value: int, valid: str) -> None:
    history = recorded(
        *add(1, 0, 1),
        (2, 1, "invoke", "add", 2),
        (3, 0, "invoke", "read", None),
        (4, 0, "ok", "read", value),
        (5, 1, "ok", "add", 2),
    )
    assert Counter().check(history).valid == valid


@pytest.mark.parametrize(("value", "valid"), [(0, "invalid"), (1, "valid"), (4, "valid"), (5, "invalid")])
def test_a_negative_amount_lowers_the_lower_bound_as_soon_as_it_may_be_there(
    recorded: Record, value: int, valid: str
) -> None:
    history = recorded(*add(1, 0, 4), *add(2, 1, -3, "info"), *read(3, 0, value))
    assert Counter().check(history).valid == valid


def test_what_failed_was_not_added(recorded: Record) -> None:
    verdict = Counter().check(recorded(*add(1, 0, 4, "fail"), *read(2, 0, 4)))
    assert verdict.valid == "invalid"
    assert "at least 0 and at most 0 had been added" in verdict.evidence[0].summary


def test_counters_by_key_do_not_mix(recorded: Record) -> None:
    rows = [
        (1, 0, "invoke", "add", 1, "a"), (2, 0, "ok", "add", 1, "a"),
        (3, 0, "invoke", "read", None, "b"), (4, 0, "ok", "read", 0, "b"),
    ]  # fmt: skip
    assert Counter().check(recorded(*rows)).valid == "valid"


def test_without_a_read_there_is_nothing_to_judge(recorded: Record) -> None:
    verdict = Counter().check(recorded(*add(1, 0, 1)))
    assert verdict.valid == "unknown"
    assert verdict.details["reads"] == 0


def test_what_is_no_counter_is_not_judged(recorded: Record) -> None:
    assert "not write" in Counter().check(recorded((1, 0, "invoke", "write", 1))).summary
    assert "no number" in Counter().check(recorded(*read(1, 0, "many"))).summary


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-3, 3), st.integers(0, 3)), max_size=14), st.data())
def test_whatever_a_real_counter_shows_is_within_the_bounds(
    steps: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    """Every client adds or reads; an operation takes effect at its beginning or at its end, or never."""
    ops: list[Op] = []
    value = 0
    open_: dict[int, tuple[str, int, bool]] = {}
    process = [0, 1, 2, 3]

    def event(thread: int, type_: Any, f: str, what: Any) -> None:
        ops.append(Op(index=len(ops), time=len(ops), type=type_, process=process[thread], f=f, value=what))

    for thread, amount, how in steps:
        if thread not in open_:
            f = "read" if how == 3 else "add"
            event(thread, "invoke", f, None if f == "read" else amount)
            early = data.draw(st.booleans())
            if early:
                value += amount if f == "add" else 0
            open_[thread] = (f, value if f == "read" else amount, early)
            continue
        f, known, early = open_.pop(thread)
        if f == "read":
            event(thread, "ok", f, known if early else value)
        elif how == 0:
            event(thread, "info", f, known)
            process[thread] += 4
        else:
            value += 0 if early else known
            event(thread, "ok", f, known)
    assert Counter().check(History(ops)).valid != "invalid"


@pytest.mark.parametrize("amounts", [[1 << 62, 1 << 62], [1 << 63, -1], [-(1 << 63), -5, 1 << 70]])
def test_sums_beyond_64_bits_are_exact(recorded: Record, amounts: list[int]) -> None:
    rows = [row for n, amount in enumerate(amounts) for row in add(n, 0, amount)]
    for off, valid in ((0, "valid"), (1, "invalid"), (-1, "invalid")):
        assert Counter().check(recorded(*rows, *read(9, 1, sum(amounts) + off))).valid == valid
