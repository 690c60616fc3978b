"""Identifiers: each once, and in order where that is promised."""

from collections.abc import Callable
from typing import Any

import pytest

from checkers.unique_ids import UniqueIds
from harness.history import History

Recorded = Callable[..., History]


def generate(at: float, given: object, process: int = 0, outcome: str = "ok") -> tuple[tuple[Any, ...], ...]:
    return ((at, process, "invoke", "generate"), (at + 0.5, process, outcome, "generate", given))


def test_different_identifiers_are_fine(recorded: Recorded) -> None:
    found = UniqueIds().check(recorded(*generate(0, 2), *generate(1, 1), *generate(2, "1")))
    assert (found.valid, found.details["different"]) == ("valid", 3)


def test_an_identifier_handed_out_twice_is_found(recorded: Recorded) -> None:
    found = UniqueIds().check(recorded(*generate(0, 1), *generate(1, 2), *generate(2, 1, process=5)))
    assert found.valid == "invalid"
    assert found.summary == (
        "Duplicate: process 0 did generate -> 1 (0.000 s to 0.500 s), and process 5 did generate -> 1 "
        "(2.000 s to 2.500 s)."
    )
    assert found.evidence[0].operations == [0, 1, 4, 5]


def test_what_crashed_or_failed_says_nothing(recorded: Recorded) -> None:
    rows = (*generate(0, 1), *generate(1, 1, outcome="fail"), *generate(2, 2), *generate(3, 1, 4, "info"))
    assert UniqueIds().check(recorded(*rows)).valid == "valid"


def test_identifiers_may_have_to_grow(recorded: Recorded) -> None:
    history = recorded(*generate(0, 5), *generate(1, 4), *generate(2, 6))
    assert UniqueIds().check(history).valid == "valid"
    found = UniqueIds(increasing=True).check(history)
    assert (found.valid, found.details["decreasing"]) == ("invalid", 1)
    assert found.evidence[0].operations == [0, 1, 2, 3]


def test_identifiers_asked_for_at_the_same_time_have_no_order(recorded: Recorded) -> None:
    history = recorded(
        (0, 0, "invoke", "generate"), *generate(0.1, 5, process=1), (1, 0, "ok", "generate", 4)
    )
    assert UniqueIds(increasing=True).check(history).valid == "valid"


def test_each_key_has_identifiers_of_its_own(recorded: Recorded) -> None:
    events = [("invoke", "a"), ("ok", "a"), ("invoke", "b"), ("ok", "b")]
    rows = [
        (at, 0, type_, "generate", 1 if type_ == "ok" else None, key)
        for at, (type_, key) in enumerate(events)
    ]
    assert UniqueIds().check(recorded(*rows)).valid == "valid"


@pytest.mark.parametrize("rows", [(), generate(0, 1), generate(0, 1, outcome="info")])
def test_too_few_are_unknown(recorded: Recorded, rows: tuple[Any, ...]) -> None:
    assert UniqueIds().check(recorded(*rows)).valid == "unknown"
