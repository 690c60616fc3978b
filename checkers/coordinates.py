"""Network coordinates: how far the distances that they give are from the real ones.

An operation `coordinates` is answered with what its node believes of others: a map from name to {"estimate":
seconds, "measured": seconds}, both round-trip times, the latter measured at about the same time by something
else than the protocol.

Verifies
    that `settle` seconds after the last change of the network, the relative error |estimate - measured| /
    measured of all pairs has no median above `median`, and no 95th percentile above `p95`, if given.
Does not verify
    any single pair: coordinates in a space of few dimensions cannot fit networks that violate the triangle
    inequality. Nor how fast they converge, but for `settle`.
Algorithm and source
    F. Dabek et al., "Vivaldi: A Decentralized Network Coordinate System", SIGCOMM 2004, section 5, measures
    the same and finds a median of about 11 % on the real Internet; the bounds are whoever's that makes the
    checker.
Complexity
    O(samples x pairs).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from checkers._quantiles import quantiles
from harness.faults import conditions
from harness.history import History
from harness.verdict import Evidence, Verdict

EVIDENCE_MAX = 5
LEAST_SECONDS = 1e-6
"""Round trips are at least so long, as in Serf's coordinates (their zero threshold)."""


@dataclass(frozen=True, slots=True)
class Coordinates:
    """The checker. The bounds are relative errors: 0.2 is 20 %."""

    median: float | None
    p95: float | None = None
    settle: float = 0.0
    """Seconds after a fault begins or ends until coordinates count again."""
    formula: str = ""
    """Where the bounds come from, in words."""

    @property
    def name(self) -> str:
        return "coordinates"

    def check(self, history: History) -> Verdict:
        pairs = list(_pairs(history))
        calm = [
            (one.begin_ns + (int(self.settle * 1e9) if one.begin_ns else 0), one.end_ns)
            for one in conditions(history)
            if one.whole
        ]
        judged = [
            one for one in pairs if any(begin <= one.begin_ns and one.end_ns <= end for begin, end in calm)
        ]
        bound = self._bound()
        if not judged:
            why = "no coordinates were sampled" if not pairs else "they were sampled only near faults"
            return Verdict(
                checker=self.name, valid="unknown", summary=f"There is nothing to judge: {why}; {bound}."
            )
        errors = np.array([one.error for one in judged])
        found = quantiles(errors)
        beyond = [
            f"the {words} of the relative error is {found[q]:.3g}"
            for q, limit, words in (("0.5", self.median, "median"), ("0.95", self.p95, "95th percentile"))
            if limit is not None and found[q] > limit
        ]
        worst_first = sorted(judged, key=lambda one: -one.error)[:EVIDENCE_MAX]
        error = f"{found['0.5']:.3g} in the median, {found['0.95']:.3g} p95"
        summary = f"{len(judged)} estimates: relative error {error}"
        return Verdict(
            checker=self.name,
            valid="invalid" if beyond else "valid",
            summary=(f"Coordinates are off: {', '.join(beyond)}" if beyond else summary) + f"; {bound}.",
            evidence=[_evidence(one) for one in worst_first] if beyond else [],
            details={
                "estimates": len(judged),
                "left out near faults": len(pairs) - len(judged),
                "relative error": found,
                "bound of the median": self.median,
                "bound of the 95th percentile": self.p95,
                "settle seconds": self.settle,
                "formula": self.formula,
            },
        )

    def _bound(self) -> str:
        bounds = [f"median {self.median:g}"] if self.median is not None else []
        bounds += [f"p95 {self.p95:g}"] if self.p95 is not None else []
        text = f"bounds: {', '.join(bounds) or 'none'}, {self.settle:g} s after faults"
        return f"{text} ({self.formula})" if self.formula else text


class _Pair(NamedTuple):
    """What one agent believed of the way to another."""

    observer: str
    target: str
    begin_ns: int
    end_ns: int
    estimate: float
    measured: float
    events: list[int]

    @property
    def error(self) -> float:
        real = max(self.measured, LEAST_SECONDS)
        return abs(self.estimate - real) / real


def _pairs(history: History) -> Iterator[_Pair]:
    for invoke, completion in history.pairs():
        if invoke.f != "coordinates" or completion is None or completion.type != "ok":
            continue
        observer, value = invoke.node, completion.value
        if observer is None or not isinstance(value, dict):
            raise ValueError(
                f"event {completion.index}: coordinates need their node, and a map of node to both times"
            )
        for target, held in value.items():
            times: Any = held
            if not isinstance(times, dict) or not times.keys() >= {"estimate", "measured"}:
                raise ValueError(
                    f'event {completion.index}: {target} needs {{"estimate": ..., "measured": ...}}'
                )
            yield _Pair(
                observer, target, invoke.time, completion.time, float(times["estimate"]),
                float(times["measured"]), [invoke.index, completion.index],
            )  # fmt: skip


def _evidence(one: _Pair) -> Evidence:
    return Evidence(
        summary=(
            f"{one.observer} believed at {one.end_ns / 1e9:.3f} s that {one.target} is "
            f"{one.estimate * 1e3:.3g} ms away; it was {one.measured * 1e3:.3g} ms."
        ),
        operations=one.events,
        details={"kind": "coordinates", "observer": one.observer, "target": one.target, "error": one.error},
    )
