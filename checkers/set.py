"""A set that is read once, at the end: everything that was acknowledged is there, and nothing else.

Verifies
    of the last successful `read` (all elements), for each key by itself:
    - *lost*: an element whose `add` succeeded is missing;
    - *unexpected*: an element that nobody asked to add, or whose `add` was refused, is there.
Does not verify
    any read before the last one, nor when an element appeared: `checkers.set_full` does. Without a successful
    read there is nothing to judge.
Algorithm and source
    Jepsen's `checker/set`. There, an element whose `add` failed may be read; here it may not: a failed
    operation has not happened.
Complexity
    O(elements).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from checkers import _words
from harness.history import FAIL, OK, History
from harness.verdict import Evidence, Validity, Verdict, worst

EVIDENCE_MAX = 5


@dataclass(frozen=True, slots=True)
class Set:
    """The checker."""

    @property
    def name(self) -> str:
        return "set"

    def check(self, history: History) -> Verdict:
        operations = history.operations
        fs = [history.fs[f] for f in operations.f]
        if strange := set(fs) - {"add", "read"}:
            return self._unknown(f"Not judged: a set has add and read, not {', '.join(sorted(strange))}.")
        keys = sorted(set(operations.key.tolist()))
        if not keys:
            return self._unknown("There is nothing to judge: no client did anything.")
        evidence: list[Evidence] = []
        validities: list[Validity] = ["valid"]
        counts = dict.fromkeys(("acknowledged", "lost", "unexpected", "recovered"), 0)
        unread = 0
        for key in keys:
            rows = [row for row in range(len(operations)) if operations.key[row] == key]
            reads = [row for row in rows if fs[row] == "read" and operations.outcome[row] == OK]
            if not reads:
                unread += 1
                validities.append("unknown")
                continue
            last = max(reads, key=lambda row: int(operations.complete[row]))
            self._judge(history, [row for row in rows if fs[row] == "add"], last, counts, evidence)
        if evidence:
            validities.append("invalid")
            summary = evidence[0].summary
        elif unread:
            summary = "There is nothing to judge: no read succeeded" + (
                "." if len(keys) == 1 else f" of {unread} of {len(keys)} sets."
            )
        else:
            summary = (
                f"All {counts['acknowledged']} acknowledged elements were read at the end; "
                f"{counts['recovered']} more of unknown outcome were added after all."
            )
        return Verdict(
            checker=self.name,
            valid=worst(validities),
            summary=summary,
            evidence=evidence[:EVIDENCE_MAX],
            details=dict(counts),
        )

    def _judge(
        self, history: History, adds: list[int], read: int, counts: dict[str, int], evidence: list[Evidence]
    ) -> None:
        operations = history.operations
        arguments = history.arguments(operations)
        outcome = {_text(arguments[row]): int(operations.outcome[row]) for row in adds}
        # Tried again under the same name, it is enough that it succeeded once.
        outcome |= {_text(arguments[row]): OK for row in adds if operations.outcome[row] == OK}
        row_of = {_text(arguments[row]): row for row in adds}
        seen = {_text(element) for element in history.ops[int(operations.complete[read])].value or ()}
        lost = [element for element, how in outcome.items() if how == OK and element not in seen]
        unexpected = [element for element in sorted(seen) if outcome.get(element, FAIL) == FAIL]
        counts["acknowledged"] += sum(how == OK for how in outcome.values())
        counts["recovered"] += sum(
            how not in (OK, FAIL) and element in seen for element, how in outcome.items()
        )
        counts["lost"] += len(lost)
        counts["unexpected"] += len(unexpected)
        where = (
            "" if history.keys[operations.key[read]] is None else f" of {history.keys[operations.key[read]]}"
        )
        when = _words.seconds(history, int(operations.complete[read]))
        for element in lost[:EVIDENCE_MAX]:
            added = _words.describe(history, row_of[element])
            summary = f"Lost: {added}, and the last read{where} ({when}) has no {element}."
            self._show(history, evidence, "Lost", summary, [row_of[element], read])
        for element in unexpected[:EVIDENCE_MAX]:
            tried = row_of.get(element)
            why = "nobody added it" if tried is None else _words.describe(history, tried)
            summary = f"Unexpected: the last read{where} ({when}) has {element}: {why}."
            self._show(history, evidence, "Unexpected", summary, [read] if tried is None else [tried, read])

    def _show(
        self, history: History, evidence: list[Evidence], kind: str, summary: str, rows: list[int]
    ) -> None:
        evidence.append(
            Evidence(
                summary=summary,
                operations=_words.events(history, rows),
                key=history.keys[history.operations.key[rows[-1]]],
                details={"kind": kind},
            )
        )

    def _unknown(self, summary: str) -> Verdict:
        return Verdict(checker=self.name, valid="unknown", summary=summary)


def _text(element: Any) -> str:
    return json.dumps(element, sort_keys=True)
