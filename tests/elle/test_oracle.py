"""elle-py against brute force, under every model that the brute force knows: what any execution explains is
never accused, and what none explains is never missed."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checkers.elle.analysis import Options, analyse
from checkers.elle.transactions import Workload, from_history
from harness.history import History, Op, OpType
from tests.elle.brute_force import Oracle, Order, read_committed, serializable, snapshot_isolated
from tests.elle.small_histories import hearsay, histories

THOROUGH = bool(os.environ.get("SPLITBRAIN_NIGHTLY"))
EXHAUSTIVE = settings(
    max_examples=100_000 if THOROUGH else 300,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    derandomize=not THOROUGH,
)

MODELS: list[tuple[str, Oracle, Order]] = [
    ("read-committed", read_committed, ""),
    ("strong-session-read-committed", read_committed, "process"),
    ("strong-read-committed", read_committed, "realtime"),
    ("snapshot-isolation", snapshot_isolated, ""),
    ("strong-session-snapshot-isolation", snapshot_isolated, "process"),
    ("strong-snapshot-isolation", snapshot_isolated, "realtime"),
    ("serializable", serializable, ""),
    ("strong-session-serializable", serializable, "process"),
    ("strict-serializable", serializable, "realtime"),
]


def agree(history: History, workload: Workload) -> None:
    transactions = from_history(history)
    for model, oracle, order in MODELS:
        analysis = analyse(transactions, workload, Options((model,), ("garbage-read",)))
        if analysis.nothing:
            continue
        told = [case.summary for cases in analysis.cases.values() for case in cases]
        expected = "valid" if oracle(history, order) else "invalid"
        assert analysis.valid == expected, (model, analysis.valid, told)


@EXHAUSTIVE
@given(st.one_of(histories("list-append"), hearsay("list-append")))
def test_lists_are_accused_if_and_only_if_no_execution_explains_them(history: History) -> None:
    agree(history, "list-append")


@EXHAUSTIVE
@given(st.one_of(histories("rw-register"), hearsay("rw-register")))
def test_registers_are_accused_if_and_only_if_no_execution_explains_them(history: History) -> None:
    agree(history, "rw-register")


def history_of(*events: tuple[OpType, int, list[Any]]) -> History:
    return History(
        [
            Op(index=at, time=at, type=type_, process=process, f="txn", value=value)
            for at, (type_, process, value) in enumerate(events)
        ]
    )


def test_a_violation_whichever_of_two_appends_nobody_read_was_first_is_found() -> None:
    """T0 and T3 had both begun before T1 was over, and were not over when T2 began: both append to x."""
    agree(
        history_of(
            ("invoke", 0, [["r", "y", None], ["append", "x", 1]]),
            ("invoke", 2, [["r", "x", None], ["append", "y", 2]]),
            ("ok", 0, [["r", "y", None], ["append", "x", 1]]),
            ("invoke", 1, [["r", "y", None], ["append", "x", 3]]),
            ("ok", 2, [["r", "x", None], ["append", "y", 2]]),
            ("invoke", 2, [["r", "x", None]]),
            ("ok", 1, [["r", "y", None], ["append", "x", 3]]),
            ("ok", 2, [["r", "x", None]]),
        ),
        "list-append",
    )


def test_a_violation_whichever_of_two_blind_writes_was_first_is_found() -> None:
    """Both write y after T0, which saw none of it, and before the first write of x, which T0 overwrites."""
    transactions = [
        [["w", "x", 1], ["w", "x", 2], ["w", "x", 3], ["r", "y", None]],
        [["r", "x", None], ["w", "x", 4]],
        [["r", "x", None], ["w", "y", 5]],
        [["r", "x", None], ["w", "y", 6]],
    ]
    events: list[tuple[OpType, int, list[Any]]]
    events = [(type_, 0, one) for one in transactions for type_ in ("invoke", "ok")]
    agree(history_of(*events), "rw-register")


@pytest.mark.parametrize(("model", "oracle", "order"), MODELS)
def test_the_oracles_can_tell_a_write_skew_from_a_lost_update(
    model: str, oracle: Oracle, order: Order
) -> None:
    def history(*values: list[list[Any]]) -> History:
        ops = [Op(index=i, time=i, type="invoke", process=i, f="txn", value=v) for i, v in enumerate(values)]
        count = len(ops)
        ops += [
            Op(index=count + i, time=count + i, type="ok", process=i, f="txn", value=v)
            for i, v in enumerate(values)
        ]
        return History(ops)

    skew = history([["r", "x", None], ["w", "y", 1]], [["r", "y", None], ["w", "x", 2]])
    lost = history([["r", "x", None], ["w", "x", 1]], [["r", "x", None], ["w", "x", 2]])
    assert oracle(skew, order) == ("serializable" not in model)
    assert oracle(lost, order) == ("committed" in model)
