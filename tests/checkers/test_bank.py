"""Banks."""

from collections.abc import Callable
from typing import Any

import pytest

from checkers.bank import Bank
from harness.history import History

Record = Callable[..., History]


def read(at: float, process: int, balances: Any) -> list[tuple[Any, ...]]:
    return [(at, process, "invoke", "read", None), (at + 0.1, process, "ok", "read", balances)]


def test_every_read_sees_all_of_the_money(recorded: Record) -> None:
    history = recorded(*read(1, 0, {"a": 6, "b": 4}), *read(2, 0, {"a": 3, "b": 7}))
    verdict = Bank().check(history)
    assert verdict.valid == "valid"
    assert verdict.summary == "All 2 reads sum to 10."


def test_a_read_that_sees_a_transfer_in_part_has_the_wrong_total(recorded: Record) -> None:
    verdict = Bank().check(recorded(*read(1, 0, {"a": 6, "b": 4}), *read(2, 3, {"a": 3, "b": 4})))
    assert verdict.valid == "invalid"
    [evidence] = verdict.evidence
    assert evidence.summary == "Wrong total: process 3 read balances that sum to 7, not 10 (2.100 s)."
    assert evidence.operations == [2, 3]


@pytest.mark.parametrize(("allowed", "valid"), [(True, "valid"), (False, "invalid")])
def test_negative_balances_are_allowed_only_if_they_are(recorded: Record, allowed: bool, valid: str) -> None:
    history = recorded(*read(1, 0, {"a": 6, "b": 4}), *read(2, 0, {"a": 11, "b": -1}))
    assert Bank(negative_balances=allowed).check(history).valid == valid


def test_the_total_that_is_given_counts_not_the_first_reads(recorded: Record) -> None:
    assert Bank(total=11).check(recorded(*read(1, 0, {"a": 6, "b": 4}))).valid == "invalid"


@pytest.mark.parametrize(
    ("balances", "kind"), [({"a": 6, "c": 4}, "Unknown account"), ({"a": 10, "b": None}, "No balance")]
)
def test_accounts_do_not_appear_nor_lose_their_balance(
    recorded: Record, balances: dict[str, Any], kind: str
) -> None:
    verdict = Bank().check(recorded(*read(1, 0, {"a": 6, "b": 4}), *read(2, 0, balances)))
    assert verdict.details["errors"] == {kind: 1}


def test_reads_that_failed_and_transfers_are_not_looked_at(recorded: Record) -> None:
    history = recorded(
        *read(1, 0, {"a": 6, "b": 4}),
        (2, 0, "invoke", "transfer", {"from": "a", "to": "b", "amount": 1}),
        (3, 0, "info", "transfer", {"from": "a", "to": "b", "amount": 1}),
        (4, 1, "invoke", "read", None),
        (5, 1, "fail", "read", {"a": 0}),
    )
    assert Bank().check(history).valid == "valid"


def test_without_a_read_there_is_nothing_to_judge(recorded: Record) -> None:
    assert Bank().check(recorded()).valid == "unknown"
    assert Bank().check(recorded((1, 0, "invoke", "read", None))).valid == "unknown"


def test_what_is_no_bank_is_not_judged(recorded: Record) -> None:
    assert "not write" in Bank().check(recorded((1, 0, "invoke", "write", 1))).summary
    assert "no map of balances" in Bank().check(recorded(*read(1, 0, [1, 2]))).summary


def test_the_first_read_is_the_first_to_end(recorded: Record) -> None:
    rows = [(1, 0, "invoke", "read", None), *read(2, 1, {"a": 6, "b": 4, "c": 0})]
    assert Bank().check(recorded(*rows, (3, 0, "ok", "read", {"a": 6, "b": 4}))).valid == "valid"
    assert Bank().check(recorded(*rows, (3, 0, "ok", "read", {"d": 10}))).valid == "invalid"
