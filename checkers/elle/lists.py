"""list-append: the dependencies of transactions over lists, and what is wrong without any cycle.

The theory is in `checkers.elle._lists`, which does the work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from checkers.elle import _findings, _index, _lists, cycles
from checkers.elle.cycles import Step
from checkers.elle.graph import KIND_NAMES, Graph, with_order
from checkers.elle.orders import Write, by_key
from checkers.elle.transactions import READ, Transactions
from checkers.elle.words import Names, Reason, order_reason, value_text
from harness.history import FAIL, OK


@dataclass(frozen=True)
class ListAppend:
    """One history's lists."""

    inferred_effort: ClassVar[int] = 1
    unfinished: ClassVar[bool] = False
    explained: ClassVar[bool] = True
    transactions: Transactions
    lists: _lists.Lists
    orders: _lists.Orders
    view: NDArray[np.int64]
    """How many elements each read found there; see `_lists.views`."""
    seen: NDArray[np.int64]
    """How many if they are a prefix of the key's order; see `_lists.read_prefixes`."""
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
        view = _lists.views(lists)
        orders = _lists.version_orders(lists, view, keys)
        seen = _lists.read_prefixes(lists, orders, view)
        happened = _lists.happened(lists, orders, seen)
        findings = _findings.nothing_found()
        _lists.direct(lists, orders, seen, findings)
        room = _lists.room(lists)
        source, target, edge = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.int8)
        used, nodes = _lists.edges(lists, orders, view, seen, happened, source, target, edge)
        graph = Graph(len(transactions), nodes, source[:used], target[:used], edge[:used])
        return cls(transactions, lists, orders, view, seen, happened, findings, graph)

    @property
    def edges(self) -> int:
        return len(self.dependencies.edge)

    def suspect(self, level: int) -> tuple[ListAppend, int] | None:
        """None if the transactions have no cycle at the level, nor, then, at a lower one. Else the history in
        which to look for cycles, and from which level on."""
        return None if cycles.is_acyclic(self.graph(level)) else (self, 0)

    def unordered(self) -> list[list[Write]]:
        """By key: what was appended, and read by nobody who tells where it came; a transaction's first."""
        tails: dict[tuple[int, int], Write] = {}
        lists = self.lists
        for micro in np.flatnonzero(~lists.reads & (self.orders.position < 0)).tolist():
            transaction, key = int(lists.of[micro]), int(lists.key[micro])
            if self.happened[transaction]:
                tails.setdefault((key, transaction), Write(micro, transaction, ()))
        return by_key(tails)

    def explainer(self) -> ListReasons:
        return ListReasons(self)

    def graph(self, level: int) -> Graph:
        """All edges that hold at the level."""
        return with_order(self.dependencies, level, self.transactions, self.happened)


def appended_twice(transactions: Transactions, one: int, other: int, micro: int) -> Exception:
    key = transactions.keys[transactions.key[micro]]
    value = transactions.name(int(transactions.value[micro]))
    where = (
        "twice" if one == other else f"here and on line {transactions.line(int(transactions.invoke[one]))}"
    )
    return transactions.broken(
        int(transactions.invoke[other]),
        f"{value} is written to key {key} {where}: every value must be written once, so that whoever reads "
        f"it is known to have read that write",
    )


@dataclass(frozen=True)
class ListReasons:
    """Why one transaction over lists comes before another. Implements `cases.Explainer`."""

    history: ListAppend

    @property
    def transactions(self) -> Transactions:
        return self.history.transactions

    def reason(self, names: Names, level: int, step: Step, to: int) -> Reason:
        kind = KIND_NAMES[step.kind]
        one, other = names[step.transaction], names[to]
        if kind in ("process", "realtime"):
            return order_reason(self.transactions, names, step.transaction, to, kind)
        if kind == "ww":
            return self._written(step.transaction, to, one, other)
        if kind == "wr":
            return self._read(step.transaction, to, one, other)
        return self._missed(step.transaction, to, one, other)

    def _written(self, a: int, b: int, one: str, other: str) -> Reason:
        position = self.history.orders.position
        for micro in self._micro(b, reads=False):
            for before in self._micro(a, reads=False):
                if self._key(before) != self._key(micro):
                    continue
                key, value, earlier = self._key(micro), self._value(micro), self._value(before)
                if position[micro] > position[before] >= 0:
                    return Reason(
                        f"{other} appended {value} to {key} after {one}'s {earlier}", key, earlier, value
                    )
                if position[micro] < 0 <= position[before]:
                    why = (
                        f"{other} appended {value} to {key}, and the longest list that anybody read there "
                        f"has {one}'s {earlier}, not {value}"
                    )
                    return Reason(why, key, earlier, value)
                if position[micro] < 0:
                    why = (
                        f"{one} missed what {other} appended, and both appended to {key} ({earlier} and "
                        f"{value}), so {earlier} came first"
                    )
                    return Reason(why, key, earlier, value)
        raise AssertionError("a ww edge follows from two appends")

    def _read(self, a: int, b: int, one: str, other: str) -> Reason:
        for micro in self._micro(b, reads=True):
            history = self.history
            append = _lists.last_seen(
                history.lists, history.orders, history.view, history.seen, history.happened, micro
            )
            if append >= 0 and history.lists.of[append] == a:
                key, value = self._key(micro), self._value(append)
                return Reason(f"{other} read {one}'s {value} in {key}", key, value, self._list(micro))
        raise AssertionError("a wr edge follows from a read")

    def _missed(self, a: int, b: int, one: str, other: str) -> Reason:
        history = self.history
        for read in self._micro(a, reads=True):
            for micro in self._micro(b, reads=False):
                if history.lists.key[micro] != history.lists.key[read] or history.seen[read] < 0:
                    continue
                position = history.orders.position[micro]
                if position < 0 or position >= history.seen[read]:
                    key, value = self._key(micro), self._value(micro)
                    saw = self._list(read)
                    why = f"{one} read {key} = {value_text(saw)}, without {other}'s {value}"
                    return Reason(why, key, saw, value)
        raise AssertionError("an rw edge follows from a read and an append")

    def _micro(self, transaction: int, *, reads: bool) -> list[int]:
        """Its reads, or its appends."""
        begin = self.transactions.begin
        span = range(int(begin[transaction]), int(begin[transaction + 1]))
        return [micro for micro in span if bool(self.history.lists.reads[micro]) == reads]

    def _key(self, micro: int) -> Any:
        return self.transactions.keys[self.transactions.key[micro]]

    def _value(self, micro: int) -> Any:
        return self.transactions.name(int(self.transactions.value[micro]))

    def _list(self, micro: int) -> list[Any]:
        low, high = self.transactions.low[micro], self.transactions.high[micro]
        return [self.transactions.name(value) for value in self.transactions.elements[low:high].tolist()]
