"""Long forks: two reads that disagree which of two writes came first.

Verifies
    that in each group of keys that are read together, of any two reads one saw all that the other saw:
    no read sees x but not y while another sees y but not x. Snapshot isolation promises that; parallel
    snapshot isolation does not.
Does not verify
    other anomalies, nor anything of keys that are never read together. Each key must be written at most once
    and hold nothing before; otherwise, or if a read has another number of keys than the group, the verdict is
    unknown, as it is without a read.
Algorithm and source
    Jepsen's `tests/long-fork`. There all pairs of reads are compared; here those that saw more are put after
    those that saw less, and neighbours are compared.
Complexity
    O(reads x (keys of a group + log reads)).

An operation's value is a list of micro-operations: one write `["w", key, value]`, or reads
`["r", key, value]` alone, in which nothing (nil) says that the key was not written yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from checkers import _words
from harness.history import OK, History
from harness.verdict import Evidence, Verdict

EVIDENCE_MAX = 5


@dataclass(frozen=True, slots=True)
class LongFork:
    """The checker. `group_size`: how many keys every read must have; 0: any number."""

    group_size: int = 0

    @property
    def name(self) -> str:
        return "long-fork"

    def check(self, history: History) -> Verdict:
        try:
            groups = self._groups(history)
        except _NotJudged as why:
            return Verdict(checker=self.name, valid="unknown", summary=f"Not judged: {why}.")
        reads = sum(map(len, groups.values()))
        if not reads:
            summary = "There is nothing to judge: no read succeeded."
            return Verdict(checker=self.name, valid="unknown", summary=summary)
        evidence = [fork for group in groups.values() for fork in _forks(history, group)]
        return Verdict(
            checker=self.name,
            valid="invalid" if evidence else "valid",
            summary=f"{len(evidence)} long forks: {evidence[0].summary}"
            if evidence
            else f"No long fork in {reads} reads of {len(groups)} groups of keys.",
            evidence=evidence[:EVIDENCE_MAX],
            details={"reads": reads, "groups": len(groups), "forks": len(evidence)},
        )

    def _groups(self, history: History) -> dict[tuple[str, ...], list[_Read]]:
        """The reads, by the keys that they read."""
        operations = history.operations
        groups: dict[tuple[str, ...], list[_Read]] = {}
        written: dict[str, int] = {}
        values: dict[str, Any] = {}
        for row, (argument, result) in enumerate(
            zip(history.arguments(operations), history.results(operations), strict=True)
        ):
            ok = operations.outcome[row] == OK
            micro = result if ok else argument
            said = _words.describe(history, row)
            if not _is_transaction(micro):
                raise _NotJudged(f"{said}: that is no list of reads and writes")
            if [f for f, _, _ in micro] == ["w"]:
                key = str(micro[0][1])
                if written.setdefault(key, row) != row:
                    raise _NotJudged(f"key {key} is written more than once: {said}")
            elif any(f != "r" for f, _, _ in micro):
                raise _NotJudged(f"{said}: a transaction is one write, or reads alone")
            elif ok and micro:
                seen = {str(key): value for _, key, value in micro}
                if self.group_size and len(seen) != self.group_size:
                    raise _NotJudged(f"{said}: {len(seen)} keys, and a group has {self.group_size}")
                for key, value in seen.items():
                    if value is not None and values.setdefault(key, value) != value:
                        raise _NotJudged(f"key {key} held both {values[key]} and {value}")
                groups.setdefault(tuple(sorted(seen)), []).append((row, seen))
        return groups


_Read = tuple[int, dict[str, Any]]
"""An operation, and what it saw in each key."""


class _NotJudged(Exception):
    """The history is none that this checker understands."""


def _is_transaction(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(micro, list) and len(micro) == 3 and isinstance(micro[0], str) for micro in value
    )


def _forks(history: History, reads: list[_Read]) -> list[Evidence]:
    """If any two reads disagree, two neighbours do, of those that are put in order by how much they saw."""
    order = sorted(reads, key=lambda read: sum(value is not None for value in read[1].values()))
    found = []
    for (one, less), (other, more) in pairwise(order):
        missed = [key for key, value in less.items() if value is not None and more[key] is None]
        gained = [key for key, value in more.items() if value is not None and less[key] is None]
        if missed:
            summary = (
                f"{_words.who(history, one)} saw {missed[0]} and not {gained[0]}, and "
                f"{_words.who(history, other)} saw {gained[0]} and not {missed[0]}: they disagree which was "
                f"written first."
            )
            found.append(
                Evidence(
                    summary=summary,
                    operations=_words.events(history, [one, other]),
                    details={"kind": "Long fork", "keys": [missed[0], gained[0]]},
                )
            )
    return found
