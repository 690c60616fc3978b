"""What is wrong, one case at a time, so that a person can check it by hand.

A case names its transactions: T1, T2, ... in the order in which they began. Those of a cycle come with its
steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from checkers.elle import _findings
from checkers.elle._findings import NAMES
from checkers.elle.cycles import Cycle, Step
from checkers.elle.graph import KIND_NAMES
from checkers.elle.transactions import READ, Transactions
from checkers.elle.words import Names, Reason, transaction_text, value_text
from harness.verdict import Evidence


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """Equal only to itself: columns of arrays cannot be compared."""

    columns: Transactions
    """What the case's transactions are of."""
    type: str
    summary: str
    transactions: tuple[int, ...]
    """In the order of the cycle, if it is one."""
    edges: tuple[str, ...] = ()
    """The kind of the edge from each to the next one; the last one's leads to the first."""
    reasons: tuple[Reason, ...] = ()
    names: tuple[tuple[int, str], ...] = ()
    """What the summary and the reasons call the cycle's transactions, and others that they mention."""

    def evidence(self) -> Evidence:
        columns = self.columns
        events = set()
        for transaction in {*self.transactions, *dict(self.names)}:
            events |= {int(columns.invoke[transaction]), int(columns.complete[transaction])}
        details: dict[str, Any] = {"kind": self.type}
        if self.edges:
            details["cycle"] = [
                {
                    "op": columns.event(transaction),
                    "text": transaction_text(columns, transaction),
                    "edge": edge,
                    "why": reason.why,
                }
                for transaction, edge, reason in zip(self.transactions, self.edges, self.reasons, strict=True)
            ]
        return Evidence(
            summary=f"{self.type}: {self.summary}", operations=sorted(events - {-1}), details=details
        )


class Explainer(Protocol):
    """Why one transaction of a history comes before another."""

    @property
    def transactions(self) -> Transactions: ...

    def reason(self, names: Names, level: int, step: Step, to: int) -> Reason: ...


def of_cycle(explainer: Explainer, cycle: Cycle, preface: Callable[[Names], str] = lambda _: "") -> Case:
    """`preface`: what to say first, given what the transactions are called."""
    columns = explainer.transactions
    around = [step.transaction for step in cycle.steps]
    following = [*around[1:], around[0]]
    names = Names(columns, sorted(set(around)))
    reasons = [
        explainer.reason(names, cycle.level, step, to)
        for step, to in zip(cycle.steps, following, strict=True)
    ]
    before = "; ".join(
        f"{names[one]} is before {names[other]}: {reason.why}"
        for one, other, reason in zip(around, following, reasons, strict=True)
    )
    who = "; ".join(f"{name}: {transaction_text(columns, t)}" for t, name in names.items())
    return Case(
        columns=columns,
        type=cycle.type,
        summary=f"{preface(names)}{who}. {before}. So each would have to come before itself.",
        transactions=tuple(around),
        edges=tuple(KIND_NAMES[step.kind] for step in cycle.steps),
        reasons=tuple(reasons),
        names=tuple(names.items()),
    )


def of_component(columns: Transactions, name: str, members: list[int]) -> Case:
    return Case(
        columns=columns,
        type=name,
        summary=f"among {len(members)} transactions that all depend on each other there is such a cycle; the "
        f"search for one to show was cut short (--cycle-search-timeout)",
        transactions=tuple(members[:20]),
    )


# --- What needs no cycle -------------------------------------------------------------------------------


def of_findings(columns: Transactions, findings: _findings.Findings) -> dict[str, list[Case]]:
    """The first few of each kind that was found."""
    cases: dict[str, list[Case]] = {}
    for kind, name in enumerate(NAMES):
        shown = findings.shown[kind, : min(int(findings.counts[kind]), _findings.KEPT)].tolist()
        if shown:
            cases[name] = [_TELL[kind](_Found(columns, name, *pair)) for pair in shown]
    return cases


class _Found:
    """A micro-operation, and the other thing that makes it wrong."""

    def __init__(self, columns: Transactions, name: str, micro: int, other: int) -> None:
        self.columns = columns
        self.name = name
        self.micro = micro
        self.other = other
        self.one = columns.of_micro(micro)
        self.key = columns.keys[columns.key[micro]]

    def value(self, micro: int) -> str:
        transaction = self.columns.of_micro(micro)
        at = micro - int(self.columns.begin[transaction])
        return value_text(self.columns.micro_operations(transaction)[at][2])

    def element(self, at: int) -> str:
        """Of the list that was read."""
        return str(self.columns.name(int(self.columns.elements[self.columns.low[self.micro] + at])))

    @property
    def is_list(self) -> bool:
        return bool(self.columns.low[self.micro] >= 0)

    @property
    def reader(self) -> str:
        return self.read(self.micro)

    def read(self, micro: int) -> str:
        """Who read what."""
        columns, transaction = self.columns, self.columns.of_micro(micro)
        who = f"process {columns.process[transaction]} (event {columns.event(transaction)})"
        return f"{who} read {self.key} = {self.value(micro)}"

    def case(self, summary: str, *others: int) -> Case:
        chosen = sorted({self.one, *others})
        return Case(self.columns, self.name, summary, tuple(chosen))


def _internal(found: _Found) -> Case:
    columns = found.columns
    did = {0: "read", 1: "wrote", 2: "appended"}[int(columns.kind[found.other])]
    return found.case(
        f"{found.reader}, although in the same transaction it had before that {did} "
        f"{found.value(found.other)}: {transaction_text(columns, found.one)}"
    )


def _future_read(found: _Found) -> Case:
    return found.case(
        f"{found.reader}, and only after that did the same transaction write {found.value(found.other)}: "
        f"{transaction_text(found.columns, found.one)}"
    )


def _g1a(found: _Found) -> Case:
    writer = found.columns.of_micro(found.other)
    return found.case(
        f"{found.reader}, in which {found.value(found.other)} is of a transaction that failed: "
        f"{transaction_text(found.columns, writer)}",
        writer,
    )


def _g1b(found: _Found) -> Case:
    writer = found.columns.of_micro(found.other)
    return found.case(
        f"{found.reader}: the state in the middle of another transaction, which went on after "
        f"{found.value(found.other)}: {transaction_text(found.columns, writer)}",
        writer,
    )


def _garbage(found: _Found) -> Case:
    what = f"{found.element(found.other)}, " if found.is_list else ""
    return found.case(f"{found.reader}: {what}which nobody ever wrote")


def _duplicate(found: _Found) -> Case:
    return found.case(f"{found.reader}, in which {found.element(found.other)} stands twice")


def _incompatible(found: _Found) -> Case:
    if found.columns.kind[found.other] != READ:
        writer = found.columns.of_micro(found.other)
        return found.case(
            f"{found.reader}, in which {found.value(found.other)} does not stand right behind what its "
            f"transaction had appended there before: {transaction_text(found.columns, writer)}",
            writer,
        )
    return found.case(
        f"{found.reader}, and {found.read(found.other)}: neither is the beginning of the other, so the list "
        f"was not only appended to",
        found.columns.of_micro(found.other),
    )


def _dirty_update(found: _Found) -> Case:
    aborted = found.columns.of_micro(found.other)
    return found.case(
        f"{found.key} has {found.value(found.micro)} after {found.value(found.other)}, which is of a "
        f"transaction that failed: {transaction_text(found.columns, aborted)}",
        aborted,
    )


def _lost_update(found: _Found) -> Case:
    other = found.columns.of_micro(found.other)
    return found.case(
        f"two transactions both read {found.key} = {found.value(found.micro)} and wrote {found.key} after "
        f"that, so one did not see the other's update: {transaction_text(found.columns, other)}; "
        f"{transaction_text(found.columns, found.one)}",
        other,
    )


def _cyclic_versions(found: _Found) -> Case:
    return found.case(
        f"{found.key} went from {found.value(found.other)} to {found.value(found.micro)}, each written by a "
        f"transaction that had read the one before, and so on back to {found.value(found.other)}",
        found.columns.of_micro(found.other),
    )


_TELL: dict[int, Callable[[_Found], Case]] = {
    _findings.INTERNAL: _internal,
    _findings.FUTURE_READ: _future_read,
    _findings.G1A: _g1a,
    _findings.G1B: _g1b,
    _findings.GARBAGE: _garbage,
    _findings.DUPLICATE: _duplicate,
    _findings.INCOMPATIBLE: _incompatible,
    _findings.DIRTY_UPDATE: _dirty_update,
    _findings.LOST_UPDATE: _lost_update,
    _findings.CYCLIC_VERSIONS: _cyclic_versions,
}
