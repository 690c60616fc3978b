"""Histories of transactions, written down in a few characters.

A transaction is words: `ax1` appends 1 to x, `wx1` writes it; `rx12` reads the list [1 2] from x, `rx` the
empty one; `rx1` reads 1 from a register, `rx_` nothing. A `!` before all of it says that it failed, a `?`
that nobody knows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from checkers.elle.analysis import Analysis, Options, analyse
from checkers.elle.transactions import Workload, from_history
from harness.history import History, Op, OpType

Row = tuple[int, OpType, str]


def micro_operations(text: str) -> list[list[Any]]:
    """What the words say. Registers read one digit or `_`; if anything is appended, lists are read."""
    lists = any(word[0] == "a" for word in text.split()) or any(
        word[0] == "r" and len(word) != 3 for word in text.split()
    )
    found: list[list[Any]] = []
    for word in text.split():
        f, key, value = word[0], word[1], word[2:]
        if f == "r":
            read: Any = None if value == "_" else [*map(int, value)] if lists else int(value)
            found.append(["r", key, read])
        else:
            found.append([{"a": "append", "w": "w"}[f], key, int(value)])
    return found


def recorded(rows: list[Row], *, lists: bool) -> History:
    """Events in their order: process, type, and the transaction."""
    ops = []
    for index, (process, type_, text) in enumerate(rows):
        value = micro_operations(text)
        for micro in value:
            if micro[0] == "r":
                if type_ != "ok":
                    micro[2] = None
                elif lists and not isinstance(micro[2], list):
                    micro[2] = [] if micro[2] is None else [micro[2]]
        ops.append(Op(index=index, time=index, type=type_, process=process, f="txn", value=value))
    return History(ops)


def _outcome(text: str) -> tuple[OpType, str]:
    if text[0] == "!":
        return "fail", text[1:]
    return ("info", text[1:]) if text[0] == "?" else ("ok", text)


def concurrent(*texts: str) -> list[Row]:
    """All of them at once, each by a process of its own: nothing is before anything."""
    ends = [_outcome(text) for text in texts]
    begun: list[Row] = [(process, "invoke", text) for process, (_, text) in enumerate(ends)]
    return [*begun, *((process, type_, text) for process, (type_, text) in enumerate(ends))]


def in_turn(*texts: str) -> list[Row]:
    """One after the other, each by a process of its own."""
    rows: list[Row] = []
    for process, text in enumerate(texts):
        type_, rest = _outcome(text)
        rows += [(process, "invoke", rest), (process, type_, rest)]
    return rows


def in_session(first: str, *texts: str, beside: str) -> list[Row]:
    """One after the other by one process; and all the while, another transaction."""
    type_, rest = _outcome(beside)
    rows: list[Row] = [(9, "invoke", rest)]
    for text in (first, *texts):
        rows += [(0, "invoke", text), (0, "ok", text)]
    return [*rows, (9, type_, rest)]


Analyse = Callable[..., Analysis]


@pytest.fixture
def analysed() -> Analyse:
    """(workload, rows, models...) -> the analysis; of strict serializability by default."""

    def run(workload: Workload, rows: list[Row], *models: str, anomalies: tuple[str, ...] = ()) -> Analysis:
        history = recorded(rows, lists=workload == "list-append")
        options = Options(models or ("strict-serializable",), anomalies)
        return analyse(from_history(history), workload, options)

    return run


@pytest.fixture
def at_once() -> Callable[..., list[Row]]:
    return concurrent


@pytest.fixture
def one_by_one() -> Callable[..., list[Row]]:
    return in_turn


@pytest.fixture
def by_one_process() -> Callable[..., list[Row]]:
    return in_session
