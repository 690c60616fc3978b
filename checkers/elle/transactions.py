"""Transactions as columns: what each did, in what order, and how it ended.

Rules
-----
1. A transaction is one operation of a client whose value is a list of micro-operations `[f, key, value]`:
   "r" reads, "append" adds to a list, "w" sets a register.
2. What an `ok` transaction did is its completion's value: only that says what it read. Of all others it is
   the invocation's.
3. Keys are dense codes, in order of first appearance. Values stay the integers that they are; what is no
   integer (a string, a keyword) is a number from ATOM up, and has its text in `atoms`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.history import OK, BrokenHistory, History

Workload = Literal["list-append", "rw-register"]

READ, WRITE, APPEND = range(3)
NIL = -(1 << 62)
"""The value that is nothing."""
ATOM = 1 << 62
"""A value that is no integer is ATOM + its index in `atoms`."""

FUNCTIONS = {"r": READ, "w": WRITE, "append": APPEND}
NAMES = ("r", "w", "append")


class NotTransactions(Exception):
    """The history is of another kind: an operation is no list of reads and appends (or writes)."""


@dataclass(frozen=True, slots=True)
class Transactions:
    """One history's transactions, in the order of their invocations."""

    source: str
    time: NDArray[np.int64]
    """Nanoseconds since the run began, per event of the history; -1: not told."""
    invoke: NDArray[np.int64]
    """The event that began each transaction."""
    complete: NDArray[np.int64]
    """The event that ended it, or -1."""
    outcome: NDArray[np.int8]
    """OK, FAIL, INFO or OPEN, as in `harness.history`."""
    process: NDArray[np.int64]
    begin: NDArray[np.int64]
    """The micro-operations of transaction t are begin[t]:begin[t + 1]."""
    kind: NDArray[np.int8]
    key: NDArray[np.int64]
    """Index into `keys`."""
    value: NDArray[np.int64]
    """What was written, or what a register held when it was read."""
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    """The list that was read is elements[low:high]; low is -1 if no list was."""
    elements: NDArray[np.int64]
    keys: list[int | str]
    atoms: list[str]
    lines: tuple[int, ...] | NDArray[np.int64]
    """Where each event stands: byte offsets into the file `source`, or empty: one line an event."""

    def __len__(self) -> int:
        return len(self.invoke)

    @property
    def events(self) -> int:
        """Of the history, the nemesis's included."""
        return len(self.time)

    @property
    def writers(self) -> NDArray[np.int64]:
        """The transaction that each micro-operation belongs to."""
        return np.repeat(np.arange(len(self)), np.diff(self.begin))

    def take(self, which: NDArray[np.bool_]) -> Transactions:
        """Those that a mask selects, as if there had been no others."""
        chosen = np.flatnonzero(which)
        counts = np.diff(self.begin)[chosen]
        begin = np.concatenate([[0], np.cumsum(counts)])
        micro = np.repeat(self.begin[chosen] - begin[:-1], counts) + np.arange(begin[-1])
        columns = {name: getattr(self, name)[chosen] for name in ("invoke", "complete", "outcome", "process")}
        columns |= {name: getattr(self, name)[micro] for name in ("kind", "key", "value", "low", "high")}
        return replace(self, begin=begin, **columns)

    def of_micro(self, micro: int) -> int:
        """The transaction that a micro-operation belongs to."""
        return int(np.searchsorted(self.begin, micro, side="right")) - 1

    def event(self, transaction: int) -> int:
        """The event that tells what it did: its completion, if it has one."""
        complete = int(self.complete[transaction])
        return complete if complete >= 0 else int(self.invoke[transaction])

    def name(self, value: int) -> Any:
        """The value itself."""
        if value == NIL:
            return None
        return self.atoms[value - ATOM] if value >= ATOM else value

    def micro_operations(self, transaction: int) -> list[list[Any]]:
        """As the history has them: [["r", "x", [1, 2]], ["append", "x", 3]]."""
        found: list[list[Any]] = []
        for at in range(int(self.begin[transaction]), int(self.begin[transaction + 1])):
            value: Any = self.name(int(self.value[at]))
            if self.low[at] >= 0:
                value = [self.name(one) for one in self.elements[self.low[at] : self.high[at]].tolist()]
            elif self.kind[at] == READ and self.outcome[transaction] != OK:
                value = None
            found.append([NAMES[self.kind[at]], self.keys[self.key[at]], value])
        return found

    def broken(self, event: int, why: str) -> BrokenHistory:
        """The error that names the event's line."""
        return BrokenHistory(self.source, self.line(event), why)

    def line(self, event: int) -> int:
        """Where the event stands, from 1."""
        if not len(self.lines):
            return event + 1
        with open(self.source, "rb") as file:
            return file.read(int(self.lines[event])).count(b"\n") + 1


def from_history(history: History) -> Transactions:
    """The transactions of a history in memory.

    Raises NotTransactions; BrokenHistory if a completion contradicts its invocation.
    """
    operations = history.operations
    values = [
        result if outcome == OK else argument
        for argument, result, outcome in zip(
            history.arguments(operations),
            history.results(operations),
            operations.outcome.tolist(),
            strict=True,
        )
    ]
    columns = _Columns(history)
    told = np.where(operations.outcome == OK, operations.complete, operations.invoke)
    counts = [columns.add(event, value) for event, value in zip(told.tolist(), values, strict=True)]
    begin = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    made = Transactions(
        source=history.source,
        time=history.time,
        invoke=operations.invoke,
        complete=operations.complete,
        outcome=operations.outcome,
        process=operations.process,
        begin=begin,
        kind=np.array(columns.kind, np.int8),
        key=np.array(columns.key, np.int64),
        value=np.array(columns.value, np.int64),
        low=np.array(columns.low, np.int64),
        high=np.array(columns.high, np.int64),
        elements=np.array(columns.elements, np.int64),
        keys=list(columns.keys),
        atoms=list(columns.atoms),
        lines=(),
    )
    for argument, result, outcome, event in zip(
        history.arguments(operations), values, operations.outcome.tolist(), told.tolist(), strict=True
    ):
        if outcome == OK and isinstance(argument, list) and not _agree(argument, result):
            raise made.broken(event, "the transaction that completed is not the one that began")
    return made


def _agree(began: list[Any], completed: list[Any]) -> bool:
    """Whether they are the same but for what was read."""
    return len(began) == len(completed) and all(
        isinstance(one, list | tuple)
        and len(one) == len(other)
        and one[:2] == other[:2]
        and (one[0] == "r" or one[2] == other[2])
        for one, other in zip(began, completed, strict=True)
    )


class _Columns:
    """Micro-operations, as they are added."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.kind: list[int] = []
        self.key: list[int] = []
        self.value: list[int] = []
        self.low: list[int] = []
        self.high: list[int] = []
        self.elements: list[int] = []
        self.keys: dict[int | str, int] = {}
        self.atoms: dict[str, int] = {}

    def add(self, event: int, transaction: Any) -> int:
        """Returns how many micro-operations the transaction has."""
        if not isinstance(transaction, list | tuple):
            raise self._strange(event, transaction)
        for micro in transaction:
            if not isinstance(micro, list | tuple) or len(micro) != 3 or micro[0] not in NAMES:
                raise self._strange(event, micro)
            f, key, value = micro
            if not isinstance(key, int | str) or isinstance(key, bool):
                key = json.dumps(key)
            self.kind.append(FUNCTIONS[f])
            self.key.append(self.keys.setdefault(key, len(self.keys)))
            if isinstance(value, list | tuple):
                self.low.append(len(self.elements))
                self.elements += map(self._code, value)
                self.high.append(len(self.elements))
                self.value.append(NIL)
            else:
                self.low.append(-1)
                self.high.append(-1)
                self.value.append(self._code(value))
        return len(transaction)

    def _code(self, value: Any) -> int:
        if value is None:
            return NIL
        if isinstance(value, int) and not isinstance(value, bool) and -ATOM < value < ATOM:
            return value
        text = value if isinstance(value, str) else json.dumps(value)
        return ATOM + self.atoms.setdefault(text, len(self.atoms))

    def _strange(self, event: int, value: Any) -> NotTransactions:
        what = f"event {event} ({self.history.ops[event].f}) of {self.history.source}"
        return NotTransactions(
            f"{what} is no transaction: {json.dumps(value)[:60]} is not "
            f'["r", key, value], ["append", key, value] or ["w", key, value]'
        )


def of_workload(transactions: Transactions, workload: Workload) -> Transactions:
    """The same, certain to be of that workload. Raises NotTransactions, and BrokenHistory for a write of
    nothing."""
    writes = APPEND if workload == "list-append" else WRITE
    for at in _positions((transactions.kind != READ) & (transactions.kind != writes)):
        f, key, value = _micro(transactions, at)
        other = "rw-register" if workload == "list-append" else "list-append"
        raise NotTransactions(
            f"line {transactions.line(_event_of(transactions, at))} of {transactions.source} has "
            f"[{f} {key} {value}]: that is {other}, not {workload}"
        )
    nothing = (transactions.kind == writes) & ((transactions.value == NIL) | (transactions.low >= 0))
    for at in _positions(nothing):
        key = transactions.keys[transactions.key[at]]
        raise transactions.broken(
            _event_of(transactions, at),
            f"key {key} is written nothing, or a list: a written value is an integer or a string, so that "
            f"whoever reads it is known to have read this write",
        )
    read = transactions.kind == READ
    if workload == "list-append":
        wrong = read & (transactions.low < 0) & (transactions.value != NIL)
    else:
        wrong = read & (transactions.low >= 0)
    for at in _positions(wrong):
        f, key, value = _micro(transactions, at)
        raise NotTransactions(
            f"line {transactions.line(_event_of(transactions, at))} of {transactions.source} reads {value} "
            f"from key {key}: {workload} reads {'a list' if workload == 'list-append' else 'one value'}"
        )
    return transactions


def _positions(mask: NDArray[np.bool_]) -> Iterator[int]:
    """The first position that is set, if any is."""
    if mask.any():
        yield int(mask.argmax())


def _event_of(transactions: Transactions, at: int) -> int:
    return transactions.event(transactions.of_micro(at))


def _micro(transactions: Transactions, at: int) -> list[Any]:
    transaction = transactions.of_micro(at)
    return transactions.micro_operations(transaction)[at - int(transactions.begin[transaction])]
