"""Sequential inserts: who sees a later one sees the earlier ones.

Verifies
    of each successful read `[key, values]`, in which one client read the parts of a key in the reverse of the
    order in which another had inserted them: after a part that was there, none is missing. Sequential
    consistency promises that, since the inserts are of one process.
Does not verify
    anything else of sequential consistency: what was read when, or by whom.
Algorithm and source
    Jepsen's test "sequential" for CockroachDB, as elle-cli has it.
Complexity
    O(reads x parts).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from checkers import _words
from harness.history import OK, History
from harness.verdict import Evidence, Verdict

EVIDENCE_MAX = 5


@dataclass(frozen=True, slots=True)
class Sequential:
    """The checker."""

    @property
    def name(self) -> str:
        return "sequential"

    def check(self, history: History) -> Verdict:
        operations = history.operations
        counts = dict.fromkeys(("all", "some", "none", "bad"), 0)
        evidence: list[Evidence] = []
        for row, value in enumerate(history.results(operations)):
            if operations.outcome[row] != OK or history.fs[operations.f[row]] != "read":
                continue
            if not isinstance(value, list) or len(value) != 2 or not isinstance(value[1], list):
                return self._unknown(
                    f"Not judged: {_words.describe(history, row)}: that is no [key, values]."
                )
            key, parts = value
            there = [part is not None for part in parts]
            counts["all" if all(there) else "some" if any(there) else "none"] += 1
            if any(there) and not all(there[there.index(True) :]):
                counts["bad"] += 1
                if len(evidence) < EVIDENCE_MAX:
                    evidence.append(self._evidence(history, row, key, parts, there))
        reads = counts["all"] + counts["some"] + counts["none"]
        if not reads:
            return self._unknown("There is nothing to judge: no read succeeded.")
        return Verdict(
            checker=self.name,
            valid="invalid" if evidence else "valid",
            summary=f"{counts['bad']} of {reads} reads are wrong: {evidence[0].summary}"
            if evidence
            else f"All {reads} reads saw inserts in their order.",
            evidence=evidence,
            details=dict(counts),
        )

    def _evidence(
        self, history: History, row: int, key: Any, parts: list[Any], there: list[bool]
    ) -> Evidence:
        seen = there.index(True)
        missing = there.index(False, seen)
        return Evidence(
            summary=f"{_words.who(history, row)} read of key {key}, the last insert first: {parts}; it saw "
            f"number {len(parts) - seen} and not number {len(parts) - missing}, which was inserted before.",
            operations=_words.events(history, [row]),
            details={"kind": "Missing"},
        )

    def _unknown(self, summary: str) -> Verdict:
        return Verdict(checker=self.name, valid="unknown", summary=summary)
