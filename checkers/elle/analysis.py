"""The whole analysis of one history of transactions: what is wrong with it, and which promises that
breaks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from checkers.elle import consistency
from checkers.elle.graph import LEVELS
from checkers.elle.transactions import Transactions, Workload, of_workload
from harness.history import OK
from harness.verdict import Validity, Verdict

if TYPE_CHECKING:
    from checkers.elle import _findings, cases, graph, orders

EVIDENCE_MAX = 5


@dataclass(frozen=True, slots=True)
class Options:
    """What to look for."""

    models: Sequence[str] = ("strict-serializable",)
    """The consistency models that are promised."""
    anomalies: Sequence[str] = ("G0",)
    """What is forbidden besides."""
    cycle_search_timeout: int = 1000
    """Milliseconds of search per component, about."""


@dataclass(frozen=True)
class Analysis:
    """What was found. `cases` has a handful of each anomaly, `counts` says how many there are."""

    workload: Workload
    options: Options
    transactions: Transactions
    forbidden: frozenset[str]
    cases: dict[str, list[cases.Case]]
    counts: dict[str, int]
    unsure: tuple[str, ...] = ()
    """Anomalies that the search, or inference, cut short, can neither show nor rule out."""
    unfinished: bool = False
    """It was inference: in which order a register's values were written."""
    nothing: str = ""
    """Why there is nothing to judge; empty if there is."""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def broken(self) -> list[str]:
        """The anomalies that break a promise, the worst first."""
        return [name for name in self.cases if name in self.forbidden]

    @property
    def valid(self) -> Validity:
        if self.broken:
            return "invalid"
        return "unknown" if self.nothing or self.forbidden.intersection(self.unsure) else "valid"

    def verdict(self, checker: str = "transactions") -> Verdict:
        shown = [case for name in self.broken for case in self.cases[name]]
        shown.sort(key=lambda case: len(case.summary))  # the simplest first
        one_of_each = list({case.type: case for case in reversed(shown)}.values())[::-1]
        rest = [case for case in shown if case not in one_of_each]
        ruled_out, also = consistency.boundary(self.cases)
        return Verdict(
            checker=checker,
            valid=self.valid,
            summary=self._summary(ruled_out),
            evidence=[case.evidence() for case in (one_of_each + rest)[:EVIDENCE_MAX]],
            details={
                "workload": self.workload,
                "consistency models": list(self.options.models),
                "transactions": len(self.transactions),
                "anomalies": {name: self.counts[name] for name in self.cases},
                "not": ruled_out,
                "also not": also,
                **self.details,
            },
        )

    def _summary(self, ruled_out: list[str]) -> str:
        promised = ", ".join(self.options.models) or ", ".join(self.options.anomalies)
        count = len(self.transactions)
        if self.valid == "invalid":
            found = ", ".join(
                name + (f" ({self.counts[name]})" if self.counts[name] > 1 else "") for name in self.broken
            )
            beside = f"; it is not even {' or '.join(ruled_out)}" if ruled_out else ""
            return f"Not {promised}: {found} among {count} transactions{beside}."
        if self.nothing:
            return f"There is nothing to judge: {self.nothing}."
        if self.unfinished:
            return (
                f"Not decided: to infer in which order {count} transactions wrote would take too long; of a "
                f"shorter history, or with fewer clients, it would not."
            )
        if self.valid == "unknown":
            names = ", ".join(sorted(self.forbidden.intersection(self.unsure)))
            return f"Not decided: the search for {names} was cut short (--cycle-search-timeout)."
        beside = f" ({', '.join(self.cases)} found, which is allowed)" if self.cases else ""
        return f"No anomaly that {promised} forbids among {count} transactions{beside}."


class History(Protocol):
    """`lists.ListAppend` or `registers.RwRegister`."""

    @property
    def transactions(self) -> Transactions: ...

    @property
    def findings(self) -> _findings.Findings: ...

    inferred_effort: ClassVar[int]
    """How many plain dependencies an inferred one is worth, to a reader."""

    explained: ClassVar[bool]
    """Whether whatever has no cycles has an execution, too."""

    @property
    def edges(self) -> int: ...

    @property
    def unfinished(self) -> bool:
        """Whether less was inferred than can be."""

    def suspect(self, level: int) -> tuple[History, int] | None: ...

    def graph(self, level: int) -> graph.Graph: ...

    def unordered(self) -> list[list[orders.Write]]: ...

    def explainer(self) -> cases.Explainer: ...


def analyse(transactions: Transactions, workload: Workload, options: Options | None = None) -> Analysis:
    """Raises NotTransactions, BrokenHistory, consistency.UnknownName."""
    from checkers.elle import cases, cycles, orders
    from checkers.elle._findings import NAMES

    options = options or Options()
    forbidden = consistency.forbidden(options.models, options.anomalies)
    of_workload(transactions, workload)
    if workload == "rw-register" and "garbage-read" not in options.anomalies:
        # What nobody wrote may have been there before the history began.
        forbidden.discard("garbage-read")
    history = _history(transactions, workload)
    found = cases.of_findings(transactions, history.findings)
    counts = {name: int(count) for name, count in zip(NAMES, history.findings.counts, strict=True) if count}
    unsure: list[str] = []
    details: dict[str, Any] = {}
    highest = max(level for level, suffix in enumerate(LEVELS) if _needs(forbidden, suffix))
    suspicion = history.suspect(highest)
    suspect, lowest = suspicion or (history, highest + 1)
    known: dict[int, dict[str, int]] = {}
    for level in range(lowest, highest + 1):
        cyclic = cycles.find(
            suspect.graph(level), level, options.cycle_search_timeout, suspect.inferred_effort, known
        )
        unsure += cyclic.unsure
        for cycle in cyclic.cycles:
            counts[cycle.type] = counts.get(cycle.type, 0) + 1
            found.setdefault(cycle.type, []).append(cases.of_cycle(suspect.explainer(), cycle))
        for name, members in cyclic.proven.items():
            counts[name] = 1
            found[name] = [cases.of_component(suspect.transactions, name, members)]
        details |= {"components": cyclic.components, "largest component": cyclic.largest}
    unfinished = history.unfinished or suspect.unfinished
    if unfinished:
        unsure += [name for name in cycles.inferable() if name not in unsure]
    explained = suspicion is None and history.explained
    if not explained and not forbidden.intersection([*found, *unsure]) and history.edges:
        try:
            hidden = orders.find(history, forbidden)
        except orders.TooLong as error:
            details["orders of writes that nobody saw"] = str(error)
        else:
            counts |= dict.fromkeys(hidden, 1)
            found |= hidden
    return Analysis(
        workload=workload,
        options=options,
        transactions=transactions,
        forbidden=frozenset(forbidden),
        cases=found,
        counts=counts,
        unsure=tuple(unsure),
        unfinished=unfinished,
        nothing=_nothing(transactions, history.edges),
        details=details,
    )


def _history(transactions: Transactions, workload: Workload) -> History:
    if workload == "list-append":
        from checkers.elle.lists import ListAppend

        return ListAppend.of(transactions)
    from checkers.elle.registers import RwRegister

    return RwRegister.of(transactions)


def _needs(forbidden: Iterable[str], suffix: str) -> bool:
    """Whether any of them needs the order that the suffix names."""
    return not suffix or any(name.endswith(suffix) for name in forbidden)


def _nothing(transactions: Transactions, edges: int) -> str:
    if not len(transactions):
        return "no client did anything"
    if not (transactions.outcome == OK).any():
        return f"none of {len(transactions)} transactions succeeded"
    return "" if edges else "no transaction has anything to do with another"
