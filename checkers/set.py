"""A set that is read once, at the end: everything that was acknowledged is there, and nothing else.

Verifies
    of the last successful `read` (all elements) to begin, for each key by itself:
    - *lost*: an element whose `add` had succeeded before the read began is missing;
    - *unexpected*: an element that nobody had asked to add before the read was over, or whose `add` was
      refused, is there.
Does not verify
    any read before the last one, nor when an element appeared: `checkers.set_full` does. Without a successful
    read there is nothing to judge; what was acknowledged after the last one had begun makes the verdict
    unknown, unless that read saw it.
Algorithm and source
    Jepsen's `checker/set`. There, an element whose `add` failed may be read; here it may not: a failed
    operation has not happened. There, whatever was acknowledged must have been read, also if that was later.
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
        rows_of: dict[int, list[int]] = {}
        for row, key in enumerate(operations.key.tolist()):
            rows_of.setdefault(key, []).append(row)
        if not rows_of:
            return self._unknown("There is nothing to judge: no client did anything.")
        arguments = history.arguments(operations)
        evidence: list[Evidence] = []
        validities: list[Validity] = ["valid"]
        counts = dict.fromkeys(("acknowledged", "lost", "unexpected", "recovered", "not looked for"), 0)
        unread = 0
        for _, rows in sorted(rows_of.items()):
            reads = [row for row in rows if fs[row] == "read" and operations.outcome[row] == OK]
            if not reads:
                unread += 1
                continue
            adds = [(row, _text(arguments[row])) for row in rows if fs[row] == "add"]
            self._judge(history, adds, reads[-1], counts, evidence)
        if unread or counts["not looked for"]:
            validities.append("unknown")
        if evidence:
            validities.append("invalid")
            summary = evidence[0].summary
        elif unread:
            summary = "There is nothing to judge: no read succeeded" + (
                "." if len(rows_of) == 1 else f" of {unread} of {len(rows_of)} sets."
            )
        elif counts["not looked for"]:
            summary = (
                f"{counts['not looked for']} of {counts['acknowledged']} acknowledged elements were never "
                f"looked for: they were acknowledged after the last read had begun. A final read is missing."
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
        self,
        history: History,
        adds: list[tuple[int, str]],
        read: int,
        counts: dict[str, int],
        evidence: list[Evidence],
    ) -> None:
        operations = history.operations
        begins, over = int(operations.invoke[read]), int(operations.complete[read])
        # An element may be tried again under its name: of several adds, one is enough.
        tried: dict[str, int] = {}
        asked: dict[str, int] = {}
        acknowledged: dict[str, int] = {}
        for row, element in adds:
            tried.setdefault(element, row)
            if operations.outcome[row] != FAIL:
                asked.setdefault(element, row)
            if operations.outcome[row] == OK:
                known = acknowledged.setdefault(element, row)
                if operations.complete[row] < operations.complete[known]:
                    acknowledged[element] = row
        seen = {_text(element) for element in history.ops[over].value or ()}
        missing = {element: row for element, row in acknowledged.items() if element not in seen}
        lost = [element for element, row in missing.items() if operations.complete[row] < begins]
        unexpected = [
            element
            for element in sorted(seen)
            if element not in asked or operations.invoke[asked[element]] > over
        ]
        counts["acknowledged"] += len(acknowledged)
        counts["recovered"] += len((asked.keys() - acknowledged.keys() - set(unexpected)) & seen)
        counts["lost"] += len(lost)
        counts["not looked for"] += len(missing) - len(lost)
        counts["unexpected"] += len(unexpected)
        where = (
            "" if history.keys[operations.key[read]] is None else f" of {history.keys[operations.key[read]]}"
        )
        when = _words.seconds(history, over)
        for element in lost[:EVIDENCE_MAX]:
            row = acknowledged[element]
            added = _words.describe(history, row)
            summary = f"Lost: {added}, and the last read{where} ({when}) has no {element}."
            self._show(history, evidence, "Lost", summary, [row, read])
        for element in unexpected[:EVIDENCE_MAX]:
            by = asked.get(element, tried.get(element))
            why = "nobody added it" if by is None else _words.describe(history, by)
            summary = f"Unexpected: the last read{where} ({when}) has {element}: {why}."
            self._show(history, evidence, "Unexpected", summary, [read] if by is None else [by, read])

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
