"""Membership by gossip: who is seen alive, and who failed, by each agent at each time.

Verifies
    from samples of every agent's view (operations `members`) and from what the nemesis did
    (`harness.faults`):
    - *completeness*: an agent that nothing reaches (killed, paused, or cut off in both directions) for longer
      than `detect` is seen failed by every agent that runs;
    - *accuracy*: agents that run and reach each other, all of them, both ways, undisturbed for longer than
      `converge`, do not see each other failed;
    - *convergence*: `converge` after the last fault has healed, all agents see all agents alive. (That is
      accuracy over the whole cluster, and one that was never looked at since is a doubt.)
Does not verify
    what views should be while a component is disturbed (somebody in it dies, pauses, or loses one link of
    several: there a false suspicion and its refutation are part of the protocol), how fast rumours spread
    below the bounds, the order of events, or user events. "suspect" counts as alive: it is the question, not
    the answer.
Algorithm and source
    Interval arithmetic over the nemesis's operations. The promises are those of A. Das, I. Gupta, A.
    Motivala, "SWIM", DSN 2002, section 2 (strong completeness, accuracy), with time bounds from the
    protocol's parameters.
Complexity
    O(samples x nodes x fault operations).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from harness.faults import FAULTS, Condition, conditions, last_heal_ns
from harness.history import History
from harness.verdict import Evidence, Validity, Verdict, worst

EVIDENCE_MAX = 5
_SEEN_ALIVE = frozenset({"alive", "suspect"})


@dataclass(frozen=True, slots=True)
class Gossip:
    """The checker, with the bounds that the protocol's parameters give, in seconds."""

    detect: float
    """After an agent becomes unreachable, every running agent sees it failed within this."""
    converge: float
    """After the last change among agents that reach each other, they see each other alive within this."""
    formula: str = ""
    """How the bounds were derived, in words."""
    nodes: tuple[str, ...] = ()
    """Every agent; by default, every node that a client of the history talked to."""

    @property
    def name(self) -> str:
        return "gossip"

    def check(self, history: History) -> Verdict:
        samples = list(_samples(history))
        bounds = f"bounds: detect {self.detect:g} s, converge {self.converge:g} s"
        if self.formula:
            bounds += f" ({self.formula})"
        if not samples:
            return Verdict(
                checker=self.name, valid="unknown", summary=f"No agent's view was ever sampled; {bounds}."
            )
        nodes = self.nodes or tuple(sorted({sample.observer for sample in samples}))
        findings = _Findings()
        known = conditions(history)
        for begin, end, component in _undisturbed(known, nodes):
            self._accuracy(samples, begin, end, component, findings)
        for observer in nodes:
            for begin, end, target in _unreachable(known, nodes, observer):
                self._completeness(samples, begin, end, observer, target, findings)
        findings.evidence.sort(key=lambda one: one.operations)
        heal = last_heal_ns(history)
        converged, doubts = self._convergence(samples, heal, nodes)
        validities: list[Validity] = ["valid"]
        if findings.evidence:
            validities.append("invalid")
            summary = findings.evidence[0].summary
        elif doubts:
            validities.append("unknown")
            summary = doubts[0]
        else:
            measured = [f"converged {converged:.1f} s after the last heal"] if converged is not None else []
            if findings.detections:
                measured.append(f"slowest detection {max(findings.detections):.1f} s")
            summary = f"{len(samples)} views agree with what happened; " + ", ".join(measured)
        ignored = sorted({op.f for op, _ in history.nemesis} - FAULTS)
        return Verdict(
            checker=self.name,
            valid=worst(validities),
            summary=f"{summary.rstrip('.')}; {bounds}.",
            evidence=findings.evidence[:EVIDENCE_MAX],
            details={
                "samples": len(samples),
                "nodes": list(nodes),
                "violations": len(findings.evidence),
                "doubts": doubts,
                "detect seconds bound": self.detect,
                "converge seconds bound": self.converge,
                "converged seconds": converged,
                "detections seconds": sorted(round(seconds, 3) for seconds in findings.detections),
                "views judged for accuracy": findings.accurate,
                "views judged for completeness": findings.complete,
                "views with a suspect": sum("suspect" in sample.view.values() for sample in samples),
                "formula": self.formula,
                "faults not taken into account": ignored,
            },
        )

    def _accuracy(
        self, samples: list[_Sample], begin: int, end: int, component: frozenset[str], findings: _Findings
    ) -> None:
        """`component` is undisturbed from begin to end: after `converge`, its members see each other
        alive."""
        since = begin + int(self.converge * 1e9)
        reported: set[tuple[str, str]] = set()
        for sample in samples:
            if sample.observer not in component or sample.begin_ns < since or sample.end_ns > end:
                continue
            findings.accurate += 1
            for target in sorted(component):
                status = sample.view.get(target, "missing")
                if status not in _SEEN_ALIVE and (sample.observer, target) not in reported:
                    reported.add((sample.observer, target))
                    others = f" and {len(component) - 2} more" if len(component) > 2 else ""
                    findings.evidence.append(
                        Evidence(
                            summary=(
                                f"{sample.observer} saw {target} {status} at {sample.begin_ns / 1e9:.3f} s, "
                                f"although it was running and the two{others} had reached each other "
                                f"undisturbed since {begin / 1e9:.3f} s, "
                                f"{(sample.begin_ns - begin) / 1e9:.1f} s before"
                            ),
                            operations=sample.events,
                            details={"kind": "accuracy", "observer": sample.observer, "target": target},
                        )
                    )

    def _completeness(
        self, samples: list[_Sample], begin: int, end: int, observer: str, target: str, findings: _Findings
    ) -> None:
        """Nothing passes between observer and target from begin to end: after `detect`, it is seen failed."""
        due = begin + int(self.detect * 1e9)
        detected = reported = False
        for sample in samples:
            if sample.observer != observer or sample.begin_ns < begin or sample.end_ns > end:
                continue
            status = sample.view.get(target, "missing")
            if status not in _SEEN_ALIVE and not detected:
                detected = True
                findings.detections.append((sample.end_ns - begin) / 1e9)
            if sample.begin_ns < due:
                continue
            findings.complete += 1
            if status in _SEEN_ALIVE and not reported:
                reported = True
                findings.evidence.append(
                    Evidence(
                        summary=(
                            f"{observer} still saw {target} {status} at {sample.begin_ns / 1e9:.3f} s, "
                            f"although nothing had passed between them since {begin / 1e9:.3f} s, "
                            f"{(sample.begin_ns - begin) / 1e9:.1f} s before"
                        ),
                        operations=sample.events,
                        details={"kind": "completeness", "observer": observer, "target": target},
                    )
                )

    def _convergence(
        self, samples: list[_Sample], heal: int | None, nodes: tuple[str, ...]
    ) -> tuple[float | None, list[str]]:
        """Seconds from the last heal until all agents saw all alive for good; and what stays in doubt."""
        if heal is None:
            return None, ["Convergence cannot be judged: the cluster was not whole at the end of the history"]
        slowest = 0.0
        doubts: list[str] = []
        for observer in nodes:
            mine = [one for one in samples if one.observer == observer and one.begin_ns >= heal]
            wrong = [i for i, one in enumerate(mine) if any(one.view.get(node) != "alive" for node in nodes)]
            if not mine:
                doubts.append(f"Convergence cannot be judged: {observer} was not looked at after the heal")
            elif wrong and wrong[-1] == len(mine) - 1:
                last = mine[-1]
                bad = {node: last.view.get(node, "missing") for node in nodes}
                seen = ", ".join(f"{node} {status}" for node, status in bad.items() if status != "alive")
                doubts.append(
                    f"Convergence cannot be judged: {observer} saw {seen} in its last view, "
                    f"{(last.begin_ns - heal) / 1e9:.1f} s after the last heal"
                )
            elif mine:
                right = mine[wrong[-1] + 1] if wrong else mine[0]
                slowest = max(slowest, (right.end_ns - heal) / 1e9)
        return (None if doubts else slowest), doubts


@dataclass(frozen=True, slots=True)
class _Sample:
    """One agent's view of all, taken some time between two events."""

    observer: str
    begin_ns: int
    end_ns: int
    view: dict[str, str]
    events: list[int]


@dataclass(slots=True)
class _Findings:
    evidence: list[Evidence] = field(default_factory=list)
    detections: list[float] = field(default_factory=list)
    accurate: int = 0
    complete: int = 0


def _samples(history: History) -> Iterator[_Sample]:
    for invoke, completion in history.pairs():
        if invoke.f != "members" or completion is None or completion.type != "ok":
            continue
        observer: Any = completion.node or invoke.node
        if observer is None or not isinstance(completion.value, dict):
            raise ValueError(f"event {completion.index}: a view needs its node, and a map of node to status")
        yield _Sample(
            observer, invoke.time, completion.time, completion.value, [invoke.index, completion.index]
        )


def _undisturbed(known: list[Condition], nodes: tuple[str, ...]) -> Iterator[tuple[int, int, frozenset[str]]]:
    """Each group of nodes that reach each other and nobody else, no link or node among them broken, with the
    longest time (begin, end) that it stays so. A change elsewhere does not end it."""
    open_since: dict[frozenset[str], int] = {}
    for condition, following in zip(known, [*known[1:], None], strict=True):
        for component in _clean(condition, nodes):
            open_since.setdefault(component, condition.begin_ns)
        after = _clean(following, nodes) if following is not None else []
        for component in list(open_since):
            if component not in after:
                yield open_since.pop(component), condition.end_ns, component


def _clean(condition: Condition, nodes: tuple[str, ...]) -> list[frozenset[str]]:
    return [
        component
        for component in condition.components(nodes)
        if not any(sender in component and receiver in component for sender, receiver in condition.cut)
    ]


def _unreachable(
    known: list[Condition], nodes: tuple[str, ...], observer: str
) -> Iterator[tuple[int, int, str]]:
    """Each node with every longest time (begin, end) in which the observer ran and nothing passed between
    them."""
    open_since: dict[str, int] = {}
    for condition, following in zip(known, [*known[1:], None], strict=True):
        for target in _cut_off(condition, nodes, observer):
            open_since.setdefault(target, condition.begin_ns)
        after = _cut_off(following, nodes, observer) if following is not None else []
        for target in list(open_since):
            if target not in after:
                yield open_since.pop(target), condition.end_ns, target


def _cut_off(condition: Condition, nodes: tuple[str, ...], observer: str) -> list[str]:
    for component in condition.components(nodes):
        if observer in component:
            return [node for node in nodes if node not in component]
    return []  # it does not run itself
