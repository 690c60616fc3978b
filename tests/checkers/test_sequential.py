"""Sequential inserts."""

from collections.abc import Callable
from typing import Any

import pytest

from checkers.sequential import Sequential
from harness.history import History

Record = Callable[..., History]


def read(value: Any) -> list[tuple[Any, ...]]:
    return [(1, 0, "invoke", "read", 5), (2, 0, "ok", "read", value)]


@pytest.mark.parametrize(
    ("parts", "valid"),
    [
        (["5_2", "5_1", "5_0"], "valid"),
        ([None, "5_1", "5_0"], "valid"),
        ([None, None, None], "valid"),
        (["5_2", None, "5_0"], "invalid"),
        ([None, "5_1", None], "invalid"),
    ],
)
def test_after_a_part_that_was_there_none_is_missing(recorded: Record, parts: list[Any], valid: str) -> None:
    verdict = Sequential().check(recorded(*read([5, parts])))
    assert verdict.valid == valid
    assert verdict.details["bad"] == (valid == "invalid")


def test_the_evidence_names_what_was_seen_and_what_was_not(recorded: Record) -> None:
    [evidence] = Sequential().check(recorded(*read([5, ["5_2", None, "5_0"]]))).evidence
    assert "it saw number 3 and not number 2, which was inserted before" in evidence.summary


def test_without_a_read_there_is_nothing_to_judge(recorded: Record) -> None:
    assert Sequential().check(recorded()).valid == "unknown"
    assert Sequential().check(recorded((1, 0, "invoke", "add", 5), (2, 0, "ok", "add", 5))).valid == "unknown"


def test_what_is_of_another_kind_is_not_judged(recorded: Record) -> None:
    assert "no [key, values]" in Sequential().check(recorded(*read(7))).summary
