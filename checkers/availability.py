"""Whether the system comes back: after the last heal, operations succeed again, on every node.

Verifies
    that on each node some operation that began within `recovery` seconds after the last fault had healed was
    answered `ok`, by then. An `invalid` verdict is a failure of liveness, not of safety.
Does not verify
    that the system was available during the faults (that is reported as figures, for a system that gives up
    availability in a partition keeps its promise), nor that it stays available after it has come back.
Algorithm and source
    Columns and `harness.faults`; the idea of a liveness phase after the safety phase is TigerBeetle's VOPR.
Complexity
    O(operations).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from harness.faults import FAULTS, conditions, last_heal_ns
from harness.history import History, Op
from harness.verdict import Evidence, Verdict

_Pair = tuple[Op, Op | None]


@dataclass(frozen=True, slots=True)
class Availability:
    """The checker. `recovery`: seconds after the last heal within which every node must serve again."""

    recovery: float
    nodes: tuple[str, ...] = ()
    """The nodes that must serve; by default, every node that a client of the history talked to."""

    @property
    def name(self) -> str:
        return "availability"

    def check(self, history: History) -> Verdict:
        pairs = list(history.pairs())
        nodes = self.nodes or tuple(sorted({invoke.node for invoke, _ in pairs if invoke.node is not None}))
        details: dict[str, Any] = {"recovery seconds bound": self.recovery, **_figures(history, pairs)}
        heal = last_heal_ns(history)
        if heal is None:
            return self._doubt("The cluster was not whole at the end: recovery cannot be judged.", details)
        if not nodes:
            return self._doubt("No client talked to any node: there is nothing to judge.", details)
        if not any(begun.f in FAULTS for begun, _ in history.nemesis):
            details["note"] = "there was no fault; the time counts from the start of the run"
        bound = heal + int(self.recovery * 1e9)
        recovered: dict[str, float] = {}
        silent: list[str] = []
        evidence: list[Evidence] = []
        for node in nodes:
            tried = [
                (invoke, completion)
                for invoke, completion in pairs
                if invoke.node == node and heal <= invoke.time <= bound
            ]
            answers = [done.time for _, done in tried if done is not None and done.type == "ok"]
            if answers and min(answers) <= bound:
                recovered[node] = round((min(answers) - heal) / 1e9, 3)
            elif not tried or int(history.time[-1]) < bound:
                silent.append(node)
            else:
                evidence.append(self._not_back(node, tried, heal))
        details["recovered seconds"] = recovered
        if evidence:
            names = ", ".join(str(one.details["node"]) for one in evidence)
            return Verdict(
                checker=self.name,
                valid="invalid",
                outcome="liveness",
                summary=f"No operation succeeded on {names} within {self.recovery:g} s after the last heal.",
                evidence=evidence[:5],
                details=details,
            )
        if silent:
            return self._doubt(
                f"Recovery cannot be judged: on {', '.join(silent)} nothing succeeded after the last heal at "
                f"{heal / 1e9:.3f} s, and clients did not try until the bound of "
                f"{self.recovery:g} s had passed.",
                details,
            )
        return Verdict(
            checker=self.name,
            valid="valid",
            outcome="liveness",
            summary=(
                f"Every node served again {max(recovered.values()):.1f} s after the last heal or sooner "
                f"(bound {self.recovery:g} s)."
            ),
            details=details,
        )

    def _not_back(self, node: str, tried: list[_Pair], heal: int) -> Evidence:
        last, answer = tried[-1]
        ended = f"{answer.type}: {answer.error}" if answer is not None else "no answer"
        return Evidence(
            summary=(
                f"On {node}, {len(tried)} operations began within {self.recovery:g} s after the last heal at "
                f"{heal / 1e9:.3f} s, and none succeeded by then; the last: "
                f"{last.f} at {last.time / 1e9:.3f} s ({ended})."
            ),
            operations=[op.index for op in tried[-1] if op is not None],
            details={"node": node, "tried": len(tried)},
        )

    def _doubt(self, summary: str, details: dict[str, Any]) -> Verdict:
        return Verdict(
            checker=self.name, valid="unknown", outcome="liveness", summary=summary, details=details
        )


def _figures(history: History, pairs: Iterable[_Pair]) -> dict[str, Any]:
    """Shares of operations that succeeded, by the cluster's condition when they began, and by node."""
    broken = [
        (condition.begin_ns, condition.end_ns) for condition in conditions(history) if not condition.whole
    ]
    counts: dict[str, list[int]] = {}
    for invoke, completion in pairs:
        fault = any(begin <= invoke.time <= end for begin, end in broken)
        for group in ("during faults" if fault else "without faults", f"node {invoke.node}"):
            tally = counts.setdefault(group, [0, 0])
            tally[0] += completion is not None and completion.type == "ok"
            tally[1] += 1
    return {"succeeded": {group: {"ok": ok, "of": of} for group, (ok, of) in sorted(counts.items())}}
