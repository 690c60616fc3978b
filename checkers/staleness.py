"""How stale reads are: in time, and in versions.

Verifies
    that no read is certainly staler than a bound, if one is given: in `seconds` since its value was
    overwritten, in `versions` since then. Without a bound it measures.
    Of each read, as far as the history tells:
    - *at least*: from the moment by which its value had certainly been overwritten to the read's beginning;
      and the versions that certainly came and were there in between;
    - *at most*: from the first moment at which it may have been overwritten to the read's end; and the
      versions that may have come in between.
Does not verify
    that a read whose staleness is only perhaps beyond the bound is within it (`at most` says how many are),
    which of two reads that contradict each other is the stale one, reads of what nobody wrote, or keys on
    which a value was written twice.
Algorithm and source
    What is known of the order of versions (`checkers._versions`). The bounds in versions are those of
    k-atomicity, in time those of delta-atomicity, taken read by read (W. Golab, X. Li, M. Shah, "Analyzing
    Consistency Properties for Fun and Profit", PODC 2011): lower bounds of what the history as a whole needs.
Complexity
    O(n log n) for n operations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checkers._quantiles import quantiles
from checkers._registers import READ, NotARegister
from checkers._version_words import Words
from checkers._versions import Versions, versions
from harness.history import History
from harness.verdict import Evidence, Verdict

EVIDENCE_MAX = 5


@dataclass(frozen=True, slots=True)
class Staleness:
    """The checker, with the bounds that hold for every read."""

    seconds: float | None = None
    versions: int | None = None

    @property
    def name(self) -> str:
        return "staleness"

    def check(self, history: History) -> Verdict:
        try:
            known = versions(history)
        except NotARegister as error:
            return self._unknown(f"Not judged: {error}.")
        measured = _Measured.of(known)
        if not len(measured.read):
            return self._unknown("There is nothing to measure: no read succeeded on a key of unique values.")
        wrong = np.zeros(len(measured.read), np.bool_)
        if self.seconds is not None:
            wrong |= measured.seconds_least > self.seconds
        if self.versions is not None:
            wrong |= measured.versions_least > self.versions
        worst_first = np.argsort(-measured.seconds_least, kind="stable")
        stale = int((measured.seconds_least > 0).sum())
        figures = quantiles(measured.seconds_least)
        summary = (
            f"{stale} of {len(measured.read)} reads were certainly stale: {figures['0.5']:.3g} s in the "
            f"median of all, at worst {figures['1.0']:.3g} s and {measured.versions_least.max()} versions"
            f"{self._bounds()}."
        )
        evidence = [
            _evidence(known, measured, at) for at in worst_first[wrong[worst_first]][:EVIDENCE_MAX].tolist()
        ]
        if evidence:
            summary = (
                f"{int(wrong.sum())} reads were staler than promised{self._bounds()}: {evidence[0].summary}"
            )
        return Verdict(
            checker=self.name,
            valid="invalid" if evidence else "valid",
            summary=summary,
            evidence=evidence,
            details=self._details(known, measured, int(wrong.sum())),
        )

    def _bounds(self) -> str:
        bounds = [f"{self.seconds:g} s"] if self.seconds is not None else []
        bounds += [f"{self.versions} versions"] if self.versions is not None else []
        return f" (bound: {', '.join(bounds)})" if bounds else ""

    def _details(self, known: Versions, measured: _Measured, wrong: int) -> dict[str, Any]:
        perhaps = np.zeros(len(measured.read), np.bool_)
        if self.seconds is not None:
            perhaps |= measured.seconds_most > self.seconds
        if self.versions is not None:
            perhaps |= measured.versions_most > self.versions
        return {
            "reads": len(measured.read),
            "certainly stale": int((measured.seconds_least > 0).sum()),
            "seconds at least": quantiles(measured.seconds_least),
            "seconds at most": quantiles(measured.seconds_most),
            "versions at least": quantiles(measured.versions_least),
            "versions at most": quantiles(measured.versions_most),
            "bound seconds": self.seconds,
            "bound versions": self.versions,
            "certainly beyond the bound": wrong,
            "perhaps beyond the bound": int(perhaps.sum()) - wrong,
            "by node": _by_node(known, measured),
            "keys not judged": int(known.repeated.sum()),
        }

    def _unknown(self, summary: str) -> Verdict:
        return Verdict(checker=self.name, valid="unknown", summary=summary)


@dataclass(frozen=True, slots=True)
class _Measured:
    """Reads, as positions in the columns of `Registers`, and how stale each was."""

    read: NDArray[np.int64]
    seconds_least: NDArray[np.float64]
    seconds_most: NDArray[np.float64]
    versions_least: NDArray[np.int64]
    versions_most: NDArray[np.int64]

    @staticmethod
    def of(known: Versions) -> _Measured:
        from checkers import _order  # numba takes longer to import than most histories take to check

        columns, horizon = known.registers, known.horizon
        observed = columns.observed
        written = (observed < columns.keys) | (known.writer[observed] >= 0)
        read = np.flatnonzero((columns.kind == READ) & ~known.repeated[columns.key] & written)
        value, start, finish = observed[read], columns.start[read], columns.finish[read]
        time = np.append(known.history.time, 0) / 1e9
        # Nothing is overwritten before it was written.
        over, maybe = known.over[value], np.maximum(known.maybe_over[value], known.since[value])
        least = np.where(over < start, time[start] - time[np.minimum(over, horizon)], 0.0)
        most = np.where(maybe < finish, time[finish] - time[np.minimum(maybe, horizon)], 0.0)
        versions_least, versions_most = _order.behind(
            known.key, known.writer, known.since, known.by, known.repeated, value, start, finish,
            columns.keys, horizon,
        )  # fmt: skip
        return _Measured(read, least, most, versions_least, versions_most)


def _evidence(known: Versions, measured: _Measured, at: int) -> Evidence:
    words, read = Words(known), int(measured.read[at])
    version = int(known.registers.observed[read])
    successor = int(known.over_by[version])
    witness = words.witness(successor)
    seconds, behind = float(measured.seconds_least[at]), int(measured.versions_least[at])
    return Evidence(
        summary=(
            f"Stale read{words.where(version)}: {words.say(read)}, at least {seconds:.3f} s and {behind} "
            f"versions after that was overwritten: {words.say(witness)}."
        ),
        operations=words.events([words.writer(version), read, words.writer(successor), witness]),
        key=words.key(version),
        details={
            "kind": "stale read",
            "seconds": round(seconds, 6),
            "versions": behind,
            "operations": words.described([words.writer(version), read, words.writer(successor), witness]),
        },
    )


def _by_node(known: Versions, measured: _Measured) -> dict[str, dict[str, float]]:
    """Of each node's reads: how many, how many certainly stale, and the stalest."""
    node = known.history.node[known.registers.start[measured.read]]
    found: dict[str, dict[str, float]] = {}
    for code in np.unique(node).tolist():
        name = known.history.nodes[code]
        if name is not None:
            seconds = measured.seconds_least[node == code]
            found[name] = {
                "reads": len(seconds),
                "certainly stale": int((seconds > 0).sum()),
                "seconds at least, at worst": round(float(seconds.max()), 6),
            }
    return dict(sorted(found.items()))
