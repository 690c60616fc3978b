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
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from checkers import _words
from harness.history import FAIL, OK, History
from harness.verdict import Evidence, Validity, Verdict

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
        sets: list[_LastRead] = []
        for _, rows in sorted(rows_of.items()):
            reads = [row for row in rows if fs[row] == "read" and operations.outcome[row] == OK]
            if reads:
                adds = [(row, _text(arguments[row])) for row in rows if fs[row] == "add"]
                sets.append(_look(history, adds, reads[-1]))
        unread = len(rows_of) - len(sets)
        counts = {
            "acknowledged": sum(len(one.acknowledged) for one in sets),
            "lost": sum(len(one.lost) for one in sets),
            "unexpected": sum(len(one.unexpected) for one in sets),
            "recovered": sum(one.recovered for one in sets),
            "not looked for": sum(one.not_looked_for for one in sets),
        }
        evidence = [shown for one in sets for shown in _evidence(history, one)]
        valid: Validity = "valid"
        if evidence:
            valid = "invalid"
            summary = evidence[0].summary
        elif unread:
            valid = "unknown"
            summary = "There is nothing to judge: no read succeeded" + (
                "." if len(rows_of) == 1 else f" of {unread} of {len(rows_of)} sets."
            )
        elif counts["not looked for"]:
            valid = "unknown"
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
            valid=valid,
            summary=summary,
            evidence=evidence[:EVIDENCE_MAX],
            details=dict(counts),
        )

    def _unknown(self, summary: str) -> Verdict:
        return Verdict(checker=self.name, valid="unknown", summary=summary)


@dataclass(frozen=True, slots=True)
class _LastRead:
    """What the last read of one set shows. Elements are their JSON, operations their rows."""

    row: int
    added_by: dict[str, int]
    """Who first asked for an element, if that was not refused; otherwise who was refused."""
    acknowledged: dict[str, int]
    """By element: the add of it that was over first."""
    lost: list[str]
    unexpected: list[str]
    recovered: int
    not_looked_for: int


def _look(history: History, adds: list[tuple[int, str]], read: int) -> _LastRead:
    operations = history.operations
    begins, over = int(operations.invoke[read]), int(operations.complete[read])
    # An element may be tried again under its name: of several adds, one is enough.
    refused: dict[str, int] = {}
    asked: dict[str, int] = {}
    acknowledged: dict[str, int] = {}
    for row, element in adds:
        (refused if operations.outcome[row] == FAIL else asked).setdefault(element, row)
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
    return _LastRead(
        row=read,
        added_by=refused | asked,
        acknowledged=acknowledged,
        lost=lost,
        unexpected=unexpected,
        recovered=len((asked.keys() - acknowledged.keys() - set(unexpected)) & seen),
        not_looked_for=len(missing) - len(lost),
    )


def _evidence(history: History, read: _LastRead) -> Iterator[Evidence]:
    operations = history.operations
    key = history.keys[operations.key[read.row]]
    when = _words.seconds(history, int(operations.complete[read.row]))
    last_read = f"the last read{'' if key is None else f' of {key}'} ({when})"

    def evidence(kind: str, summary: str, rows: list[int]) -> Evidence:
        events = _words.events(history, rows)
        return Evidence(summary=f"{kind}: {summary}", operations=events, key=key, details={"kind": kind})

    for element in read.lost[:EVIDENCE_MAX]:
        row = read.acknowledged[element]
        added = _words.describe(history, row)
        yield evidence("Lost", f"{added}, and {last_read} has no {element}.", [row, read.row])
    for element in read.unexpected[:EVIDENCE_MAX]:
        by = read.added_by.get(element)
        why = "nobody added it" if by is None else _words.describe(history, by)
        rows = [read.row] if by is None else [by, read.row]
        yield evidence("Unexpected", f"{last_read} has {element}: {why}.", rows)


def _text(element: Any) -> str:
    return json.dumps(element, sort_keys=True)
