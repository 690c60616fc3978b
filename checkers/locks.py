"""Who believed to hold a lock, and whether a fencing token would have saved the day.

Verifies
    from operations `acquire` (a fencing token, or null) and `release`, for each key by itself:
    - without `fencing`: no two processes hold the lock at the same time. A process holds it from the moment
      when it learns so (its acquire completes) until it asks to release it; with `lease_seconds`, at most so
      long after it asked to acquire it, since then the lock may be another's;
    - with `fencing`: overlapping holds are counted, and allowed. No token is given out twice, and none is
      less than one that had been given out before it was asked for; and of operations `use` (of a token; one
      that fails was refused), none is accepted after the resource had accepted a greater token.
Does not verify
    that a lock is ever given to anybody; that some order explains all of it: the models mutex, owner-mutex
    and fenced-mutex of `checkers.linearizable` do, for locks that never expire.
Crashed operations
    A crashed acquire may have got the lock, but nobody believes so: it says nothing. A crashed release ends
    what its process believes. A crashed use may have been accepted, or not: it says nothing.
Algorithm and source
    Sweeps over the holds in the order of their beginnings. M. Kleppmann, "How to do distributed locking",
    2016, for what fencing is for.
Complexity
    O(n log n) for n operations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checkers import _words
from checkers._going_back import went_back
from checkers._values import hashable
from harness.history import OK, History
from harness.verdict import Evidence, Validity, Verdict, worst

EVIDENCE_MAX = 5

_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Locks:
    """The checker."""

    fencing: bool = False
    lease_seconds: float | None = None
    """How long after it asked for it a process may believe that it holds the lock; None: until it releases
    it."""

    @property
    def name(self) -> str:
        return "locks"

    def check(self, history: History) -> Verdict:
        operations = history.operations
        concerned = np.array([f in ("acquire", "release", "use") for f in history.fs], np.bool_)
        rows = np.flatnonzero(concerned[operations.f])
        locks = [
            _Lock(history, rows[operations.key[rows] == key], self.lease_seconds)
            for key in np.unique(operations.key[rows]).tolist()
        ]
        holds = sum(len(lock.acquire) for lock in locks)
        tokens = sum(len(lock.tokens) for lock in locks)
        overlaps = [lock.overlapping() for lock in locks]
        evidence: list[Evidence] = []
        for lock, (pairs, _) in zip(locks, overlaps, strict=True):
            if self.fencing:
                evidence += lock.token_evidence()
            elif pairs:
                evidence.append(lock.overlap_evidence(*pairs[0]))
        overlapping = sum(len(pairs) for pairs, _ in overlaps)
        validities: list[Validity] = ["valid"]
        if evidence:
            validities.append("invalid")
            summary = evidence[0].summary
        elif not holds:
            validities.append("unknown")
            summary = "There is nothing to judge: nobody acquired a lock."
        elif self.fencing and not tokens:
            validities.append("unknown")
            summary = f"There is nothing to judge: none of {holds} acquires gave a fencing token."
        elif self.fencing:
            summary = (
                f"{tokens} fencing tokens grow; {overlapping} of {holds} holds overlapped an earlier one."
            )
        else:
            summary = f"None of {holds} holds overlapped another."
        return Verdict(
            checker=self.name,
            valid=worst(validities),
            summary=summary,
            evidence=evidence[:EVIDENCE_MAX],
            details={
                "holds": holds,
                "overlapping holds": overlapping,
                "seconds overlapping": round(sum(seconds for _, seconds in overlaps), 6),
                "tokens": tokens,
                "fencing": self.fencing,
                "lease seconds": self.lease_seconds,
            },
        )


class _Lock:
    """One lock. Rows are positions in `History.operations`."""

    def __init__(self, history: History, rows: _Ints, lease_seconds: float | None) -> None:
        self.history = history
        operations = history.operations
        f = [history.fs[code] for code in operations.f[rows].tolist()]
        ok = operations.outcome[rows] == OK
        self.key = history.keys[int(operations.key[rows[0]])]
        held: dict[int, int] = {}  # by process: which hold
        holds: list[tuple[int, int]] = []
        for row, name, done, process in zip(
            rows.tolist(), f, ok.tolist(), operations.process[rows].tolist(), strict=True
        ):
            acquires = name == "acquire" and done
            if process in held and (name == "release" or (acquires and lease_seconds is not None)):
                hold = held.pop(process)
                holds[hold] = holds[hold][0], row
            if acquires and process not in held:  # else it is reentrant
                held[process] = len(holds)
                holds.append((row, -1))
        holds.sort(key=lambda hold: int(operations.complete[hold[0]]))
        self.acquire, self.release = np.array(holds, np.int64).reshape(-1, 2).T
        """Of each hold, in the order of their beginnings: what began it, and what ended it; -1: nothing."""
        self.begin = operations.complete[self.acquire]
        self.end = np.where(self.release >= 0, operations.invoke[self.release], len(history))
        """The event at which nobody can be sure of it any more."""
        if lease_seconds is not None:
            asked = history.time[operations.invoke[self.acquire]]
            expiry = np.searchsorted(history.time, asked + round(lease_seconds * 1e9))
            self.end = np.minimum(self.end, expiry)
        given = history.results(operations.take(self.acquire))
        told = [at for at, one in enumerate(given) if one is not None]
        asked_first = sorted(told, key=lambda at: int(operations.invoke[self.acquire[at]]))
        self.token_row: _Ints = self.acquire[asked_first]
        self.tokens: list[Any] = [given[at] for at in asked_first]
        self.use_row: _Ints = rows[ok & np.array([name == "use" for name in f], np.bool_)]
        self.used: list[Any] = history.arguments(operations.take(self.use_row))

    def overlapping(self) -> tuple[list[tuple[int, int]], float]:
        """Holds that began during an earlier one, each with that one; and the seconds that they overlap."""
        time = self.history.time
        found: list[tuple[int, int]] = []
        seconds, longest = 0.0, -1
        for hold in np.flatnonzero(self.begin < self.end).tolist():
            if longest >= 0 and self.begin[hold] < self.end[longest]:
                found.append((longest, hold))
                until = min(int(self.end[hold]), int(self.end[longest]), len(time) - 1)
                seconds += float(time[until] - time[self.begin[hold]]) / 1e9
            if longest < 0 or self.end[hold] > self.end[longest]:
                longest = hold
        return found, seconds

    def overlap_evidence(self, one: int, other: int) -> Evidence:
        said = f"{self._say(self.acquire[other])}, but the lock was held: {self._say(self.acquire[one])}"
        if self.release[one] >= 0 and self.end[one] == self.history.operations.invoke[self.release[one]]:
            said += f", until {self._say(self.release[one])}"
        elif self.end[one] < len(self.history):
            said += f", with a lease until {_words.seconds(self.history, int(self.end[one]))}"
        else:
            said += ", and never asked to release it"
        rows = [int(row) for hold in (one, other) for row in (self.acquire[hold], self.release[hold])]
        return self._evidence("two holders at once", said, [row for row in rows if row >= 0])

    def token_evidence(self) -> list[Evidence]:
        """Tokens given out twice, or less than before, or accepted after a greater one."""
        operations = self.history.operations
        found = []
        holders: dict[Any, int] = {}
        for row, given in zip(self.token_row.tolist(), self.tokens, strict=True):
            other = holders.setdefault(hashable(given), row)
            if other != row:
                said = f"{self._say(row)}, and {self._say(other)}"
                found.append(self._evidence("token given twice", said, [other, row]))
                break
        for kind, rows, tokens in (
            ("token did not grow", self.token_row, self.tokens),
            ("stale token accepted", self.use_row, self.used),
        ):
            for one, other in went_back(operations.invoke[rows], operations.complete[rows], tokens)[:1]:
                said = f"{self._say(rows[other])}, after {self._say(rows[one])}"
                found.append(self._evidence(kind, said, [int(rows[one]), int(rows[other])]))
        return found

    def _say(self, row: int) -> str:
        return _words.describe(self.history, int(row))

    def _evidence(self, kind: str, said: str, rows: list[int]) -> Evidence:
        where = "" if self.key is None else f" on key {self.key}"
        return Evidence(
            summary=f"{kind.capitalize()}{where}: {said}.",
            operations=_words.events(self.history, rows),
            key=self.key,
            details={"kind": kind, "operations": [self._say(row) for row in rows]},
        )
