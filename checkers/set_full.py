"""A set that grows: what was added stays.

Verifies
    from operations `add` (an element) and `read` (all elements), for each key by itself:
    - no element is *lost*: acknowledged (or seen), then missing, and in no read that ended after that;
    - nothing *unexpected*: what is read had been asked to be added before the read ended, and not refused;
    - nothing *duplicated* within one read;
    - with `linearizable`, no read is *stale*: none that began after an element was known misses it.
    Without `linearizable`, stale elements are counted and timed, but allowed.
Does not verify
    order or removals; whether a final read is fresh (if the system does not promise that, a node that lags
    can make an element look lost). Elements that no read looked for after they were acknowledged make the
    verdict unknown, as does a history without a single acknowledged add or read.
Algorithm and source
    Jepsen's `checker/set-full`: a timeline for each element. Here an element whose presence and absence were
    read at the same time is stale, not lost; and duplicates are reported.
Complexity
    O(reads x elements), in set differences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from checkers import _words
from checkers._quantiles import quantiles
from checkers._values import hashable, original
from harness.history import History, Op
from harness.verdict import Evidence, Validity, Verdict, worst

EVIDENCE_MAX = 5


@dataclass(frozen=True, slots=True)
class SetFull:
    """The checker. `linearizable`: every read must see all that was known when it began."""

    linearizable: bool = False

    @property
    def name(self) -> str:
        return "set-full"

    def check(self, history: History) -> Verdict:
        sets: dict[Any, _Set] = {}
        for invoke, completion in history.pairs():
            if invoke.f in ("add", "read"):
                if invoke.key not in sets:
                    sets[invoke.key] = _Set(invoke.key, history)
                sets[invoke.key].record(invoke, completion)
        for one in sets.values():
            one.judge()
        total: Counter[str] = Counter()
        evidence: list[Evidence] = []
        latencies: list[float] = []
        for one in sets.values():
            total.update(one.counts)
            latencies += one.stable_latencies
            evidence += one.evidence(self.linearizable)
        validities: list[Validity] = ["valid"]
        if evidence:
            validities.append("invalid")
            summary = evidence[0].summary
        elif not total["acknowledged"] or not total["reads"]:
            validities.append("unknown")
            missing = "no add was acknowledged" if not total["acknowledged"] else "no read succeeded"
            summary = f"There is nothing to judge: {missing}."
        elif total["never read"]:
            validities.append("unknown")
            summary = (
                f"{total['never read']} of {total['acknowledged']} acknowledged elements were never looked "
                f"for: no read that began after their acknowledgement succeeded. A final read is missing."
            )
        else:
            summary = (
                f"All {total['acknowledged']} acknowledged elements are there; {total['recovered']} more of "
                f"unknown outcome were added after all; {total['stale']} were missing for a while."
            )
        return Verdict(
            checker=self.name,
            valid=worst(validities),
            summary=summary,
            evidence=evidence[:EVIDENCE_MAX],
            details={
                **{what: total[what] for what in _COUNTS},
                "stable latency seconds": quantiles(latencies),
                "linearizable": self.linearizable,
            },
        )


_COUNTS = (
    "attempted",
    "acknowledged",
    "reads",
    "lost",
    "stale",
    "never read",
    "recovered",
    "unexpected",
    "duplicated",
)


@dataclass(slots=True)
class _Element:
    """One element's timeline. Events are indices of the history."""

    value: Any
    row: Op
    """The first invocation of an add."""
    begun: int | None = None
    """The first invocation of an add that was not refused."""
    known: int | None = None
    """The first completion that proves it: of its add, or of a read that saw it."""
    acknowledged: Op | None = None
    missing: list[tuple[Op, Op]] = field(default_factory=list)
    """Reads that began after it was known and did not see it."""
    last_seen: int = -1
    """The last completion of a read that saw it."""
    looked_for: bool = False
    """A read began after its acknowledgement."""

    @property
    def lost(self) -> bool:
        return bool(self.missing) and self.last_seen < self.missing[-1][0].index


class _Set:
    """All that happened to one key's set."""

    def __init__(self, key: int | str | None, history: History) -> None:
        self.key = key
        self.history = history
        self.where = "" if key is None else f" of key {key}"
        self.elements: dict[Any, _Element] = {}
        self.reads: list[tuple[Op, Op]] = []
        self.counts: Counter[str] = Counter()
        self.stable_latencies: list[float] = []
        self.unexpected: list[tuple[Any, Op, Op]] = []
        self.duplicated: list[tuple[Any, Op, Op]] = []

    def record(self, invoke: Op, completion: Op | None) -> None:
        if invoke.f == "read":
            if completion is not None and completion.type == "ok":
                self.reads.append((invoke, completion))
            return
        element = self.elements.setdefault(hashable(invoke.value), _Element(invoke.value, invoke))
        if completion is not None and completion.type == "fail":
            return
        if element.begun is None:
            element.begun = invoke.index
        if completion is None or completion.type != "ok":
            return
        if element.known is None or completion.index < element.known:
            element.known, element.acknowledged = completion.index, completion

    def judge(self) -> None:
        views: list[tuple[Op, Op, set[Any]]] = []
        for invoke, completion in self.reads:
            values = [hashable(value) for value in completion.value or ()]
            view = set(values)
            if len(view) < len(values):
                repeated = [value for value, count in Counter(values).items() if count > 1]
                self.duplicated += [(value, invoke, completion) for value in repeated]
            views.append((invoke, completion, view))
            for token in view:
                element = self.elements.get(token)
                if element is None or element.begun is None or element.begun > completion.index:
                    self.unexpected.append((token, invoke, completion))
                    continue
                element.last_seen = max(element.last_seen, completion.index)
                if element.known is None or completion.index < element.known:
                    element.known = completion.index
        by_known = [
            (element.known, token) for token, element in self.elements.items() if element.known is not None
        ]
        by_known.sort(key=lambda known: known[0])  # elements of several types have no order
        expected: set[Any] = set()
        at = 0
        for invoke, completion, view in views:  # in the order of their invocations
            while at < len(by_known) and by_known[at][0] < invoke.index:
                expected.add(by_known[at][1])
                at += 1
            for token in expected - view:
                self.elements[token].missing.append((invoke, completion))
        last_read = views[-1][0].index if views else -1
        for element in self.elements.values():
            element.looked_for = element.known is not None and last_read > element.known
        self._count()

    def _count(self) -> None:
        elements = self.elements.values()
        self.counts.update(
            {
                "attempted": len(elements),
                "acknowledged": sum(one.acknowledged is not None for one in elements),
                "reads": len(self.reads),
                "lost": sum(one.lost for one in elements),
                "stale": sum(bool(one.missing) and not one.lost for one in elements),
                "never read": sum(
                    one.acknowledged is not None and not one.looked_for and one.last_seen < 0
                    for one in elements
                ),
                "recovered": sum(one.acknowledged is None and one.last_seen >= 0 for one in elements),
                "unexpected": len({token for token, _, _ in self.unexpected}),
                "duplicated": len({token for token, _, _ in self.duplicated}),
            }
        )
        time = self.history.time
        for one in elements:
            if one.last_seen >= 0 and one.known is not None and not one.lost:
                last = one.missing[-1][0].index if one.missing else one.known
                self.stable_latencies.append(float(time[last] - time[one.known]) / 1e9)

    def evidence(self, linearizable: bool) -> list[Evidence]:
        found: list[Evidence] = []
        lost = [one for one in self.elements.values() if one.lost]
        if lost:
            found.append(self._missing("lost", "Lost", lost))
        if linearizable:
            stale = [one for one in self.elements.values() if one.missing and not one.lost]
            if stale:
                found.append(self._missing("stale", "Stale read", stale))
        if self.unexpected:
            token, invoke, completion = self.unexpected[0]
            element = self.elements.get(token)
            why = (
                "nobody had added"
                if element is None or element.row.index > completion.index
                else f"{element.row.node or f'process {element.row.process}'} had refused to add"
            )
            found.append(
                self._evidence(
                    "unexpected",
                    f"Unexpected: the read at {self._at(completion)}{self._by(completion)} shows "
                    f"{_words.value_text(original(token))}{self.where}, which {why}"
                    + _more(len({one for one, _, _ in self.unexpected}) - 1),
                    [invoke, completion] + ([element.row] if element is not None else []),
                    [original(one) for one, _, _ in self.unexpected],
                )
            )
        if self.duplicated:
            token, invoke, completion = self.duplicated[0]
            found.append(
                self._evidence(
                    "duplicated",
                    f"Duplicated: the read at {self._at(completion)}{self._by(completion)} shows "
                    f"{_words.value_text(original(token))}{self.where} more than once"
                    + _more(len({one for one, _, _ in self.duplicated}) - 1),
                    [invoke, completion],
                    [original(one) for one, _, _ in self.duplicated],
                )
            )
        return found

    def _missing(self, kind: str, word: str, elements: Sequence[_Element]) -> Evidence:
        one = elements[0]
        invoke, completion = one.missing[-1]
        assert one.known is not None
        known = self.history.ops[one.known]
        proof = "acknowledged" if one.acknowledged is not None else "seen"
        return self._evidence(
            kind,
            f"{word}: {_words.value_text(one.value)}{self.where} was {proof} at {self._at(known)}"
            f"{self._by(known)}, and is missing from the read that began at {self._at(invoke)}"
            f"{self._by(completion)}" + _more(len(elements) - 1),
            [one.row, known, invoke, completion],
            [element.value for element in elements],
        )

    def _evidence(self, kind: str, summary: str, shown: list[Op], elements: list[Any]) -> Evidence:
        return Evidence(
            summary=summary + ".",
            operations=sorted({op.index for op in shown}),
            key=self.key,
            details={"kind": kind, "elements": elements[:100]},
        )

    def _at(self, op: Op) -> str:
        return _words.seconds(self.history, op.index)

    def _by(self, op: Op) -> str:
        return f" by {op.node}" if op.node else f" by process {op.process}"


def _more(count: int) -> str:
    return f" ({count} more elements likewise)" if count > 0 else ""
