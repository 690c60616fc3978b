"""Identifiers that are handed out once.

Verifies
    from operations `generate` (an identifier), for each key by itself: no identifier was handed out twice;
    with `increasing`, none is less than another one that had been handed out before it was asked for.
Does not verify
    that identifiers are dense, or random. A history in which fewer than two were handed out is unknown.
Crashed operations
    Nobody knows which identifier a crashed generate got, or whether it got one: it says nothing.
Algorithm and source
    Counting, as Jepsen's `checker/unique-ids`; for the order, the greatest identifier handed out before each
    request.
Complexity
    O(n), or O(n log n) with `increasing`, for n operations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from checkers import _words
from checkers._going_back import went_back
from checkers._values import hashable
from harness.history import OK, History
from harness.verdict import Evidence, Validity, Verdict, worst

EVIDENCE_MAX = 5


@dataclass(frozen=True, slots=True)
class UniqueIds:
    """The checker. `increasing`: identifiers are numbers (or strings) that grow."""

    increasing: bool = False

    @property
    def name(self) -> str:
        return "unique-ids"

    def check(self, history: History) -> Verdict:
        operations = history.operations
        asked = np.array([f == "generate" for f in history.fs], np.bool_)[operations.f]
        rows = np.flatnonzero(asked & (operations.outcome == OK))
        ids = history.results(operations.take(rows))
        holders: dict[tuple[int, Any], list[int]] = {}
        for row, key, given in zip(rows.tolist(), operations.key[rows].tolist(), ids, strict=True):
            holders.setdefault((key, hashable(given)), []).append(row)
        twice = [given for given in holders.values() if len(given) > 1]
        evidence = [_evidence(history, "duplicate", given) for given in twice[:EVIDENCE_MAX]]
        back: list[tuple[int, int]] = []
        if self.increasing:
            for key in np.unique(operations.key[rows]):
                mine = rows[operations.key[rows] == key]
                given = history.results(operations.take(mine))
                pairs = went_back(operations.invoke[mine], operations.complete[mine], given)
                back += [(int(mine[one]), int(mine[other])) for one, other in pairs]
            evidence += [_evidence(history, "decreasing", pair) for pair in back[:EVIDENCE_MAX]]
        validities: list[Validity] = ["valid"]
        if evidence:
            validities.append("invalid")
            summary = evidence[0].summary
        elif len(ids) < 2:
            validities.append("unknown")
            summary = f"There is nothing to judge: {len(ids)} identifiers were handed out."
        else:
            summary = f"All {len(ids)} identifiers are different" + (
                ", and grow." if self.increasing else "."
            )
        return Verdict(
            checker=self.name,
            valid=worst(validities),
            summary=summary,
            evidence=evidence,
            details={
                "attempted": int(asked.sum()),
                "handed out": len(ids),
                "different": len(holders),
                "duplicates": len(twice),
                "decreasing": len(back),
            },
        )


def _evidence(history: History, kind: str, rows: list[int] | tuple[int, int]) -> Evidence:
    said = [_words.describe(history, row) for row in rows]
    key = history.keys[int(history.operations.key[rows[0]])]
    where = "" if key is None else f" on key {key}"
    joined = ", and ".join(said[:3]) if kind == "duplicate" else f"{said[1]}, after {said[0]}"
    return Evidence(
        summary=f"{kind.capitalize()}{where}: {joined}.",
        operations=_words.events(history, list(rows)),
        key=key,
        details={"kind": kind, "operations": said},
    )
