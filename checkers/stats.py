"""How many operations of each kind ended how.

Verifies
    that something happened: a function that was tried and never succeeded once makes the verdict unknown, and
    so does a history without operations. (Jepsen calls the former invalid. But a cas may rightly never
    succeed, and a system that refuses everything breaks no promise of safety: what one has then is a history
    that proves nothing.)
Does not verify
    any promise.
Algorithm and source
    Counting, as Jepsen's `checker/stats`.
Complexity
    O(operations).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.history import FAIL, INFO, OK, OPEN, History
from harness.verdict import Validity, Verdict

_OUTCOMES = {"ok": OK, "fail": FAIL, "info": INFO, "open": OPEN}


@dataclass(frozen=True, slots=True)
class Stats:
    """The checker."""

    @property
    def name(self) -> str:
        return "stats"

    def check(self, history: History) -> Verdict:
        operations = history.operations
        counts: dict[str, dict[str, int]] = {}
        for f in np.unique(operations.f).tolist():
            mine = operations.outcome[operations.f == f]
            counts[history.fs[f]] = {
                name: int((mine == code).sum()) for name, code in _OUTCOMES.items() if (mine == code).any()
            }
        never = [f for f, outcomes in counts.items() if not outcomes.get("ok")]
        valid: Validity = "valid"
        if not counts:
            valid, summary = "unknown", "No client did anything."
        elif never:
            valid = "unknown"
            tried = ", ".join(f"{f} ({sum(counts[f].values())} tried)" for f in never)
            summary = f"Never succeeded: {tried}."
        else:
            ok = int((operations.outcome == OK).sum())
            summary = f"{ok} of {len(operations)} operations succeeded."
        return Verdict(checker=self.name, valid=valid, summary=summary, details={"counts": counts})
