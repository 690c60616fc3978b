"""Transactions and their dependencies in plain words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from checkers.elle.transactions import Transactions
from harness.history import FAIL, OK

SHOWN_MAX = 8
"""A longer list is shown by its beginning and its end."""

NAMED_MAX = 9


class Names(dict[int, str]):
    """What the transactions of one explanation are called: T1, T2, .... Whoever is mentioned gets the next
    name, up to NAMED_MAX; after that an event stands for the transaction."""

    def __init__(self, transactions: Transactions, first: Iterable[int]) -> None:
        super().__init__((transaction, f"T{number}") for number, transaction in enumerate(first, 1))
        self._transactions = transactions

    def __missing__(self, transaction: int) -> str:
        if len(self) >= NAMED_MAX:
            return f"the transaction at event {self._transactions.event(transaction)}"
        return self.setdefault(transaction, f"T{len(self) + 1}")


@dataclass(frozen=True, slots=True)
class Reason:
    """Why one transaction comes before another."""

    why: str
    key: Any = None
    value: Any = None
    """What the first one read or wrote of the key."""
    after: Any = None
    """What the second one wrote or read."""


def value_text(value: Any) -> str:
    if value is None:
        return "nothing"
    if not isinstance(value, list):
        return str(value)
    if len(value) > SHOWN_MAX:
        ends = [*map(str, value[:2]), "...", *map(str, value[-4:])]
        return f"[{' '.join(ends)}] ({len(value)})"
    return f"[{' '.join(map(str, value))}]"


def transaction_text(transactions: Transactions, transaction: int, *, short: bool = False) -> str:
    """ "process 3 read x = 4, wrote y = 5"; short: "r x 4, w y 5"."""
    ok = transactions.outcome[transaction] == OK
    done = []
    for f, key, value in transactions.micro_operations(transaction):
        text = value_text(value)
        if short:
            done.append(f"{f} {key} {text if ok or f != 'r' else '?'}")
        elif f == "r":
            done.append(f"read {key} = {text}" if ok else f"read {key}")
        else:
            done.append(f"appended {text} to {key}" if f == "append" else f"wrote {key} = {text}")
    what = ", ".join(done) or "did nothing"
    if short:
        return what
    outcome = "" if ok else " (failed)" if transactions.outcome[transaction] == FAIL else " (outcome unknown)"
    return f"process {transactions.process[transaction]}{outcome} {what}"


def moment(transactions: Transactions, event: int) -> str:
    """When an event happened: its time, or its place in a history without times."""
    time = int(transactions.time[event])
    return f"at {time / 1e9:.6f} s" if time > 0 else f"at event {event}"


def order_reason(transactions: Transactions, names: Names, one: int, other: int, kind: str) -> Reason:
    """Why real time or their process puts one transaction before the other."""
    over, begun = int(transactions.complete[one]), int(transactions.invoke[other])
    if kind == "process":
        return Reason(f"process {transactions.process[one]} did {names[one]} before {names[other]}")
    return Reason(
        f"{names[one]} was over {moment(transactions, over)}, before {names[other]} began "
        f"{moment(transactions, begun)}"
    )
