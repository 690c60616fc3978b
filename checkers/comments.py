"""Comments: who sees a reply sees what it replied to.

Verifies
    that no read sees a written value without all those whose writes were over before that value's write
    began. Strict serializability promises that, and linearizability of single values alone does not.
Does not verify
    values that were read and whose write is not in the history; freshness of reads; lost writes that nobody's
    later write reveals. Without a read and a write there is nothing to judge.
Algorithm and source
    Jepsen's test "comments" for CockroachDB, as elle-cli has it.
Complexity
    O(reads x writes).

Operations are `write` of a unique value, and `read` of all values. A value whose write failed, or has an
unknown outcome, may be written again.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

from checkers import _words
from harness.history import FAIL, OK, History
from harness.verdict import Evidence, Verdict

EVIDENCE_MAX = 5


@dataclass(frozen=True, slots=True)
class Comments:
    """The checker."""

    @property
    def name(self) -> str:
        return "comments"

    def check(self, history: History) -> Verdict:
        operations = history.operations
        fs = [history.fs[f] for f in operations.f]
        if strange := set(fs) - {"write", "read"}:
            return self._unknown(
                f"Not judged: comments have write and read, not {', '.join(sorted(strange))}."
            )
        values = [_plain(value) for value in history.arguments(operations)]
        # Of each value, the first write that may have brought it, and the first that is known to have.
        writer: dict[Any, int] = {}
        known: dict[Any, int] = {}
        for row, f in enumerate(fs):
            if f != "write":
                continue
            first = writer.setdefault(values[row], row)
            if operations.outcome[first] == FAIL != operations.outcome[row]:
                writer[values[row]] = row
            if operations.outcome[row] == OK:
                first = known.setdefault(values[row], row)
                if operations.complete[row] < operations.complete[first]:
                    known[values[row]] = row
        # The writes that are over, in the order in which they were: those before an event are a prefix.
        over = sorted((int(operations.complete[row]), row, value) for value, row in known.items())
        ends = [end for end, _, _ in over]
        evidence: list[Evidence] = []
        wrong = reads = 0
        for row, value in enumerate(history.results(operations)):
            if fs[row] != "read" or operations.outcome[row] != OK:
                continue
            if not isinstance(value, list | tuple | None):
                return self._unknown(
                    f"Not judged: {_words.describe(history, row)}: that is no set of values."
                )
            reads += 1
            seen = {_plain(one) for one in value or ()}
            written = [one for one in seen if one in writer]
            if not written:
                continue
            last = max(written, key=lambda one: int(operations.invoke[writer[one]]))
            due = bisect_left(ends, int(operations.invoke[writer[last]]))
            missing = [by for _, by, one in over[:due] if one not in seen]
            if missing:
                wrong += 1
                if len(evidence) < EVIDENCE_MAX:
                    evidence.append(self._evidence(history, row, values, missing, writer[last]))
        if not reads or not writer:
            return self._unknown("There is nothing to judge: no read succeeded, or nothing was written.")
        return Verdict(
            checker=self.name,
            valid="invalid" if wrong else "valid",
            summary=f"{wrong} of {reads} reads are wrong: {evidence[0].summary}"
            if wrong
            else f"All {reads} reads saw what came before what they saw.",
            evidence=evidence,
            details={"reads": reads, "wrong": wrong},
        )

    def _evidence(
        self, history: History, read: int, values: list[Any], missing: list[int], later: int
    ) -> Evidence:
        """`missing` and `later` are writes."""
        first = missing[0]
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        return Evidence(
            summary=f"{_words.who(history, read)} saw {values[later]} and not {values[first]}{more}, "
            f"which was written before: {_words.describe(history, first)}, "
            f"then {_words.describe(history, later)}.",
            operations=_words.events(history, [first, later, read]),
            details={"kind": "Missing", "missing": len(missing)},
        )

    def _unknown(self, summary: str) -> Verdict:
        return Verdict(checker=self.name, valid="unknown", summary=summary)


def _plain(value: Any) -> Any:
    """A value that can be looked up."""
    return value if isinstance(value, int | str | None) else str(value)
