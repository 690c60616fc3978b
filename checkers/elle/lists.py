"""list-append: the dependencies of transactions over lists, and what is wrong without any cycle.

The theory is in `checkers.elle._lists`, which does the work.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from checkers.elle import _findings, _graph, _index, _lists
from checkers.elle.graph import Graph, with_order
from checkers.elle.transactions import READ, Transactions
from harness.history import FAIL, OK


@dataclass(frozen=True)
class ListAppend:
    """One history's lists."""

    transactions: Transactions
    lists: _lists.Lists
    orders: _lists.Orders
    seen: NDArray[np.int64]
    """Of each read, how many elements of its key's order it saw; -1: other ones."""
    happened: NDArray[np.bool_]
    findings: _findings.Findings
    dependencies: Graph

    @classmethod
    def of(cls, transactions: Transactions) -> ListAppend:
        """Raises BrokenHistory if an element is appended twice."""
        keys = len(transactions.keys)
        of = transactions.writers.astype(np.int32)
        reads = transactions.kind == READ
        failed = transactions.outcome == FAIL
        slots, first, second = _index.writes(
            transactions.key,
            transactions.value,
            np.flatnonzero(~reads & ~failed[of]),
            np.flatnonzero(~reads & failed[of]),
        )
        if second >= 0:
            raise appended_twice(transactions, int(of[first]), int(of[second]), second)
        previous, overwritten = _index.neighbours(transactions.begin, transactions.key, ~reads, keys)
        lists = _lists.Lists(
            begin=transactions.begin,
            of=of,
            reads=reads,
            key=transactions.key,
            value=transactions.value,
            low=transactions.low,
            high=transactions.high,
            elements=transactions.elements,
            ok=transactions.outcome == OK,
            failed=failed,
            slots=slots,
            previous=previous,
            overwritten=overwritten,
        )
        orders = _lists.version_orders(lists, keys)
        seen = _lists.read_prefixes(lists, orders)
        happened = _lists.happened(lists, orders, seen)
        findings = _findings.nothing_found()
        _lists.direct(lists, orders, seen, findings)
        room = _lists.room(lists)
        source, target, edge = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.int8)
        used, nodes = _lists.edges(lists, orders, seen, happened, source, target, edge)
        graph = Graph(len(transactions), nodes, source[:used], target[:used], edge[:used])
        return cls(transactions, lists, orders, seen, happened, findings, graph)

    def graph(self, level: int) -> Graph:
        """All edges that hold at the level."""
        return with_order(self.dependencies, level, self.transactions, self.happened)


def appended_twice(transactions: Transactions, one: int, other: int, micro: int) -> Exception:
    key = transactions.keys[transactions.key[micro]]
    value = transactions.name(int(transactions.value[micro]))
    where = "twice" if one == other else f"here and on line {transactions.line(int(transactions.invoke[one]))}"
    return transactions.broken(
        int(transactions.invoke[other]),
        f"{value} is written to key {key} {where}: every value must be written once, so that whoever reads it is "
        f"known to have read that write",
    )
