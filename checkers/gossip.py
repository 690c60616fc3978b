"""Membership by gossip: who is seen alive, and who failed or left, by each agent at each time.

Verifies
    from samples of every agent's view (`checkers._membership` has their form) and from what the nemesis and
    departing agents did:
    - *completeness*: an agent that nothing reaches (killed, paused, gone, or cut off in both directions) for
      longer than `detect` is not seen alive by any agent that runs. Seen alive again after it was seen gone,
      it is a *resurrection*;
    - *accuracy*: agents that run and reach each other, all of them, both ways, undisturbed for longer than
      `converge`, do not see each other failed;
    - *convergence*: `converge` after the last heal, which is also that an agent has come back, all agents see
      all agents alive. (That is accuracy over the whole cluster, and one that was never looked at since is a
      doubt.)
    - *agreement*: agents that reach each other undisturbed hold the same of everybody. Of themselves and of
      those out of their reach that is accuracy and completeness; and once that has lasted for `converge`,
      within `converge` after one sees that an agent has left, no other sees it failed;
    - *leaving*: an agent that left in order is seen to have left, and not failed, within `converge` by those
      that it could tell;
    - *incarnation*, where views tell it: while neither agent dies, none sees the other's incarnation fall,
      nor, within the time `remember` that the dead are remembered, sees it alive in an incarnation in which
      it was dead (*resurrection*).
Does not verify
    what views should be while a component is disturbed (somebody in it dies, pauses, or loses one link of
    several: there a false suspicion and its refutation are part of the protocol), or while nobody knows what
    is broken; how fast rumours spread below the bounds (`checkers.rumours` does); coordinates
    (`checkers.coordinates`). "suspect" counts as alive: it is the question, not the answer. "missing" is
    compatible with "failed" and "left": the dead are forgotten one day.
Algorithm and source
    Interval arithmetic over what was done. Completeness and accuracy are those of A. Das, I. Gupta, A.
    Motivala, "SWIM", DSN 2002, section 2, with time bounds from the protocol's parameters; incarnations are
    those of its section 4.2; leaving is Serf's (serf.go, `handleNodeLeave`).
Complexity
    O(samples x nodes x changes) at worst; views are looked up by observer and time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from checkers._membership import SEEN_ALIVE, Departure, Membership, Sample, Stretch
from harness.faults import FAULTS, last_heal_ns
from harness.history import History
from harness.verdict import Evidence, Validity, Verdict, worst

EVIDENCE_MAX = 5


@dataclass(frozen=True, slots=True)
class Gossip:
    """The checker, with the bounds that the protocol's parameters give, in seconds."""

    detect: float
    """After an agent becomes unreachable, no running agent sees it alive after this."""
    converge: float
    """After the last change among agents that reach each other, they see each other alive within this."""
    formula: str = ""
    """How the bounds were derived, in words."""
    nodes: Sequence[str] = ()
    """Every agent; by default, every node that was asked for its view."""
    remember: float = 0.0
    """How long an agent knows the incarnation of a member that it holds for dead (memberlist:
    GossipToTheDeadTime). 0: not judged."""

    @property
    def name(self) -> str:
        return "gossip"

    def check(self, history: History) -> Verdict:
        membership = Membership.of(history, self.nodes)
        bounds = f"bounds: detect {self.detect:g} s, converge {self.converge:g} s"
        if self.remember:
            bounds += f", remember {self.remember:g} s"
        if self.formula:
            bounds += f" ({self.formula})"
        if not membership.samples:
            return Verdict(
                checker=self.name, valid="unknown", summary=f"No agent's view was ever sampled; {bounds}."
            )
        found = _Findings()
        for stretch, component in membership.undisturbed():
            self._accuracy(membership, stretch, component, found)
            self._agreement(membership, stretch, component, found)
        for observer in membership.nodes:
            for stretch, target in membership.unreachable(observer):
                self._completeness(membership, stretch, observer, target, found)
            self._incarnations(membership, observer, found)
        for departure in membership.departures:
            self._leaving(membership, departure, found)
        found.evidence.sort(key=lambda one: one.operations)
        converged, doubts = _convergence(membership, last_heal_ns(history))
        return self._weigh(history, membership, found, converged, doubts, bounds)

    # --- The rules -----------------------------------------------------------------------------------------

    def _accuracy(
        self, membership: Membership, stretch: Stretch, component: frozenset[str], found: _Findings
    ) -> None:
        """After `converge`, undisturbed agents see each other alive."""
        for observer in sorted(component):
            reported: set[str] = set()
            for sample in membership.views(observer, stretch.begin_ns + _ns(self.converge), stretch.end_ns):
                found.accurate += 1
                for target in sorted(component):
                    status = sample.status(target)
                    if status in SEEN_ALIVE or target in reported:
                        continue
                    reported.add(target)
                    others = f" and {len(component) - 2} more" if len(component) > 2 else ""
                    found.add(
                        "accuracy",
                        f"{observer} saw {target} {status} at {_at(sample)}, although it was running and the "
                        f"two{others} had reached each other undisturbed since {_seconds(stretch.begin_ns)}, "
                        f"{(sample.begin_ns - stretch.begin_ns) / 1e9:.1f} s before",
                        sample.events,
                        observer,
                        target,
                    )

    def _completeness(
        self, membership: Membership, stretch: Stretch, observer: str, target: str, found: _Findings
    ) -> None:
        """After `detect`, whom nothing reaches is seen gone."""
        due = stretch.begin_ns + _ns(self.detect)
        detected: Sample | None = None
        for sample in membership.views(observer, *stretch):
            status = sample.status(target)
            if status not in SEEN_ALIVE and detected is None:
                detected = sample
                found.detections.append((sample.end_ns - stretch.begin_ns) / 1e9)
            if sample.begin_ns < due:
                continue
            found.complete += 1
            if status not in SEEN_ALIVE:
                continue
            since = (
                f"although nothing had passed between them since {_seconds(stretch.begin_ns)}, "
                f"{(sample.begin_ns - stretch.begin_ns) / 1e9:.1f} s before"
            )
            if detected is None:
                said = f"{observer} still saw {target} {status} at {_at(sample)}, {since}"
                found.add("completeness", said, sample.events, observer, target)
            else:
                said = (
                    f"{observer} saw {target} {status} at {_at(sample)}, {since}, and it had been seen "
                    f"{detected.status(target)} at {_at(detected)}"
                )
                found.add("resurrection", said, [*detected.events, *sample.events], observer, target)
            return

    def _agreement(
        self, membership: Membership, stretch: Stretch, component: frozenset[str], found: _Findings
    ) -> None:
        """Within `converge`, undisturbed agents tell each other who has left."""
        # What one saw before that may be old news, such as the other side of a partition keeps.
        settled_ns = stretch.begin_ns + _ns(self.converge)
        outside = sorted(set(membership.nodes) - component)
        left: dict[str, Sample] = {}
        views = (view for observer in sorted(component) for view in membership.views(observer, *stretch))
        for sample in sorted(views, key=lambda view: view.begin_ns):
            for name in outside:
                known = left.get(name)
                if known is None or known.end_ns + _ns(self.converge) > sample.begin_ns:
                    if sample.begin_ns >= settled_ns and sample.status(name) == "left":
                        left.setdefault(name, sample)
                    continue
                found.agreed += 1
                if sample.status(name) == "failed":
                    del left[name]  # told once
                    found.add(
                        "agreement",
                        f"{sample.observer} saw {name} failed at {_at(sample)}, although {known.observer} "
                        f"saw it left at {_at(known)}, and the two had reached each other undisturbed since "
                        f"{_seconds(stretch.begin_ns)}",
                        [*known.events, *sample.events],
                        sample.observer,
                        name,
                    )

    def _leaving(self, membership: Membership, departure: Departure, found: _Findings) -> None:
        """Whoever could be told that an agent leaves sees it as one that has left."""
        if departure.left_ns is None:
            return
        since = departure.left_ns + _ns(self.converge)
        for observer in sorted(membership.told(departure)):
            for sample in membership.views(observer, since, departure.back_ns):
                if not membership.lived_through(observer, departure.leaving_ns, sample.end_ns):
                    break
                found.left += 1
                if sample.status(departure.node) == "failed":
                    found.add(
                        "leaving",
                        f"{observer} saw {departure.node} failed at {_at(sample)}, although it had left in "
                        f"order by {_seconds(departure.left_ns)}, and could tell it",
                        [*departure.events, *sample.events],
                        observer,
                        departure.node,
                    )
                    break

    def _incarnations(self, membership: Membership, observer: str, found: _Findings) -> None:
        """What an agent knows of another's incarnation does not fall, nor do the dead come back in theirs."""
        last: dict[str, Sample] = {}
        alive: dict[str, Sample] = {}
        for sample in membership.views(observer, 0, membership.end_ns):
            for target, incarnation in sample.incarnations.items():
                found.incarnations += 1
                before = last.get(target)
                apart = before is not None and before.events[1] < sample.events[0]
                if before is not None and apart and membership.same_lives((observer, target), before, sample):
                    known, status = before.incarnations[target], sample.status(target)
                    fell = incarnation < known
                    seen = alive.get(target)  # then it had not died yet
                    again = (
                        incarnation == known
                        and status in SEEN_ALIVE
                        and before.status(target) not in SEEN_ALIVE
                        and seen is not None
                        and sample.end_ns < seen.begin_ns + _ns(self.remember)
                    )
                    if fell or again:
                        found.add(
                            "incarnation" if fell else "resurrection",
                            f"{observer} saw {target} {status} in incarnation {incarnation} at "
                            f"{_at(sample)}, after it had seen it {before.status(target)} in incarnation "
                            f"{known} at {_at(before)}, and neither had died in between",
                            [*before.events, *sample.events],
                            observer,
                            target,
                        )
                last[target] = sample
                if sample.status(target) in SEEN_ALIVE:
                    alive[target] = sample

    # --- The verdict ---------------------------------------------------------------------------------------

    def _weigh(
        self,
        history: History,
        membership: Membership,
        found: _Findings,
        converged: float | None,
        doubts: list[str],
        bounds: str,
    ) -> Verdict:
        validities: list[Validity] = ["valid"]
        if found.evidence:
            validities.append("invalid")
            summary = found.evidence[0].summary
        elif doubts:
            validities.append("unknown")
            summary = doubts[0]
        else:
            measured = [f"converged {converged:.1f} s after the last heal"] if converged is not None else []
            if found.detections:
                measured.append(f"slowest detection {max(found.detections):.1f} s")
            summary = f"{len(membership.samples)} views agree with what happened; " + ", ".join(measured)
        ignored = sorted({op.f for op, _ in history.nemesis} - FAULTS)
        return Verdict(
            checker=self.name,
            valid=worst(validities),
            summary=f"{summary.rstrip('.')}; {bounds}.",
            evidence=found.evidence[:EVIDENCE_MAX],
            details={
                "samples": len(membership.samples),
                "nodes": list(membership.nodes),
                "violations": len(found.evidence),
                "violations by kind": dict(Counter(str(one.details["kind"]) for one in found.evidence)),
                "doubts": doubts,
                "detect seconds bound": self.detect,
                "converge seconds bound": self.converge,
                "converged seconds": converged,
                "detections seconds": sorted(round(seconds, 3) for seconds in found.detections),
                "views judged for accuracy": found.accurate,
                "views judged for completeness": found.complete,
                "members judged for agreement": found.agreed,
                "views judged for leaving": found.left,
                "incarnations judged": found.incarnations,
                "views with a suspect": sum("suspect" in one.view.values() for one in membership.samples),
                "formula": self.formula,
                "faults not taken into account": ignored,
            },
        )


def _convergence(membership: Membership, heal: int | None) -> tuple[float | None, list[str]]:
    """Seconds from the last heal until all agents saw all alive for good; and what stays in doubt."""
    if heal is None:
        return None, ["Convergence cannot be judged: the cluster was not whole at the end of the history"]
    away = [one for one in membership.departures if one.there_ns > membership.end_ns]
    heal = max([heal, *(one.there_ns for one in membership.departures if one not in away)])
    gone = {one.node for one in away if one.left_ns is not None}
    nodes = [node for node in membership.nodes if node not in gone]
    slowest = 0.0
    doubts: list[str] = []
    for observer in nodes:
        mine = list(membership.views(observer, heal, membership.end_ns))
        wrong = [i for i, one in enumerate(mine) if any(one.view.get(node) != "alive" for node in nodes)]
        if not mine:
            doubts.append(f"Convergence cannot be judged: {observer} was not looked at after the heal")
        elif wrong and wrong[-1] == len(mine) - 1:
            last = mine[-1]
            seen = ", ".join(f"{node} {last.status(node)}" for node in nodes if last.status(node) != "alive")
            doubts.append(
                f"Convergence cannot be judged: {observer} saw {seen} in its last view, "
                f"{(last.begin_ns - heal) / 1e9:.1f} s after the last heal"
            )
        else:
            right = mine[wrong[-1] + 1] if wrong else mine[0]
            slowest = max(slowest, (right.end_ns - heal) / 1e9)
    return (None if doubts else slowest), doubts


@dataclass(slots=True)
class _Findings:
    evidence: list[Evidence] = field(default_factory=list)
    detections: list[float] = field(default_factory=list)
    accurate: int = 0
    complete: int = 0
    agreed: int = 0
    left: int = 0
    incarnations: int = 0

    def add(self, kind: str, said: str, events: list[int], observer: str, target: str) -> None:
        details: dict[str, Any] = {"kind": kind, "observer": observer, "target": target}
        self.evidence.append(Evidence(summary=said, operations=events, details=details))


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)


def _at(sample: Sample) -> str:
    return _seconds(sample.begin_ns)


def _seconds(ns: int) -> str:
    return f"{ns / 1e9:.3f} s"
