"""A counter: no read is out of the bounds that the additions give it.

Verifies
    of each successful read, for each key by itself, that what it saw lies between
    - the sum of all that was certainly added before the read began and of all negative amounts that may have
      been added before it ended, and
    - the sum of all that may have been added before the read ended and of all negative amounts that were
      certainly added before it began.
    An addition that failed was not made; one of unknown outcome may have been.
Does not verify
    more than the bounds: two reads that each keep them may still contradict each other (linearizability of a
    counter does: `--model=counter` of `checkers.linearizable`). Without a read there is nothing to judge.
Algorithm and source
    Jepsen's `checker/counter`, and decrements as well.
Complexity
    O(operations x log operations).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checkers import _words
from harness.history import FAIL, OK, History
from harness.verdict import Evidence, Verdict

EVIDENCE_MAX = 5


@dataclass(frozen=True, slots=True)
class Counter:
    """The checker."""

    @property
    def name(self) -> str:
        return "counter"

    def check(self, history: History) -> Verdict:
        operations = history.operations
        fs = [history.fs[f] for f in operations.f]
        if strange := set(fs) - {"add", "read"}:
            return self._unknown(f"Not judged: a counter has add and read, not {', '.join(sorted(strange))}.")
        amounts, results = history.arguments(operations), history.results(operations)
        adds = np.array([f == "add" for f in fs], np.bool_) & (operations.outcome != FAIL)
        reads = np.array([f == "read" for f in fs], np.bool_) & (operations.outcome == OK)
        for row in np.flatnonzero(adds | reads).tolist():
            value = amounts[row] if adds[row] else results[row]
            if not isinstance(value, int | float) or isinstance(value, bool):
                return self._unknown(f"Not judged: {_words.describe(history, row)}: that is no number.")
        if not reads.any():
            return self._unknown("There is nothing to judge: no read succeeded.", reads=0)
        evidence: list[Evidence] = []
        wrong = 0
        by_key = np.argsort(operations.key, kind="stable")
        for rows in np.split(by_key, np.flatnonzero(np.diff(operations.key[by_key])) + 1):
            added = rows[adds[rows]]
            which = rows[reads[rows]]
            if not len(which):
                continue
            key = int(operations.key[rows[0]])
            low, high = _bounds(
                _exact([amounts[row] for row in added]),
                operations.invoke[added],
                np.where(operations.outcome[added] == OK, operations.complete[added], -1),
                operations.invoke[which],
                operations.complete[which],
            )
            seen = _exact([results[row] for row in which])
            out = np.flatnonzero((seen < low) | (seen > high))
            wrong += len(out)
            for at in out[: EVIDENCE_MAX - len(evidence)].tolist():
                row = int(which[at])
                bounds = f"at least {low[at]} and at most {high[at]} had been added"
                evidence.append(
                    Evidence(
                        summary=f"{_words.describe(history, row)}, but {bounds}.",
                        operations=_words.events(history, [row]),
                        key=history.keys[key],
                        details={"kind": "Out of bounds"},
                    )
                )
        total = int(reads.sum())
        return Verdict(
            checker=self.name,
            valid="invalid" if wrong else "valid",
            summary=f"{wrong} of {total} reads are out of bounds: {evidence[0].summary}"
            if wrong
            else f"All {total} reads are within the bounds of what was added.",
            evidence=evidence,
            details={"reads": total, "adds": int(adds.sum()), "out of bounds": wrong},
        )

    def _unknown(self, summary: str, **details: int) -> Verdict:
        return Verdict(checker=self.name, valid="unknown", summary=summary, details=dict(details))


def _exact(values: list[Any]) -> NDArray[Any]:
    """Numbers as a column; as Python's own if they, or their sums, may be beyond 64 bits."""
    large = all(isinstance(value, int) for value in values) and sum(map(abs, values)) >= 1 << 62
    return np.array(values, object if large else None)


def _bounds(
    amount: NDArray[Any],
    begun: NDArray[np.int64],
    over: NDArray[np.int64],
    read_begun: NDArray[np.int64],
    read_over: NDArray[np.int64],
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The least and the most that each read may have seen. `over`: -1 for additions of unknown outcome."""

    def before(at: NDArray[np.int64], chosen: NDArray[np.bool_], events: NDArray[np.int64]) -> NDArray[Any]:
        """Of each of the events, the sum of the chosen amounts whose event is before it."""
        rows = np.flatnonzero(chosen)
        rows = rows[np.argsort(at[rows])]
        gained = np.zeros(len(rows) + 1, amount.dtype if len(amount) else np.int64)
        gained[1:] = np.cumsum(amount[rows])
        return gained[np.searchsorted(at[rows], events)]

    certain = over >= 0
    up, down = amount > 0, amount < 0
    low = before(over, certain & up, read_begun) + before(begun, down, read_over)
    high = before(begun, up, read_over) + before(over, certain & down, read_begun)
    return low, high
