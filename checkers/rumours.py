"""How events spread by gossip: to everybody, in time, once.

An operation `fire` has an event's name as its value, unique in the history, and is fired by the operation's
node. An operation `events` is answered with the names of all events that its node has delivered so far, in
the order in which it delivered them.

Verifies
    - *lost*: an event that an agent fired is delivered by every agent that was undisturbed with it for longer
      than `spread` after that;
    - *late*: and within that time, as far as anybody looked;
    - *duplicated*: no agent delivers one twice, nor
    - *unexpected*: one that nobody had fired;
    - *forgotten*: an agent that lives does not forget what it delivered.
Does not verify
    the order of events (gossip promises none), or spreading through disturbed components: an event may reach
    them in part, or by a later exchange of states. Events that nobody looked for in time are a doubt.
Algorithm and source
    The bound is that of a rumour's infection of the whole group, O(log n) rounds (SWIM, section 4.1;
    memberlist's retransmit limit), and a push/pull exchange for those that all its copies missed; whoever
    makes the checker derives it from the protocol's parameters and says so in `formula`.
Complexity
    O(events x agents + samples x events).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from checkers import _words
from checkers._membership import Membership, Stretch
from checkers._quantiles import quantiles
from harness.history import History, Op
from harness.verdict import Evidence, Validity, Verdict, worst

EVIDENCE_MAX = 5


@dataclass(frozen=True, slots=True)
class Rumours:
    """The checker. `spread`: seconds within which an event reaches every agent."""

    spread: float
    formula: str = ""
    """How the bound was derived, in words."""
    nodes: Sequence[str] = ()
    """Every agent; by default, every node that fired or was asked."""

    @property
    def name(self) -> str:
        return "rumours"

    def check(self, history: History) -> Verdict:
        fired, looks = _fired(history), _looks(history)
        bound = f"bound: {self.spread:g} s" + (f" ({self.formula})" if self.formula else "")
        if not fired or not looks:
            missing = "no event was fired" if not fired else "no agent was asked what it had delivered"
            return Verdict(
                checker=self.name, valid="unknown", summary=f"There is nothing to judge: {missing}; {bound}."
            )
        nodes = tuple(self.nodes) or tuple(
            sorted({look.node for look in looks} | {one.node for one in fired})
        )
        check = _Check(self, Membership.of(history, nodes), fired, looks)
        check.deliveries()
        check.spreading()
        validities: list[Validity] = ["valid"]
        if check.evidence:
            validities.append("invalid")
            summary = check.evidence[0].summary.rstrip(".")
        elif not check.seconds or check.unseen:
            validities.append("unknown")
            summary = (
                f"Of {check.unseen} deliveries nobody looked in time whether they had been made"
                if check.unseen
                else "There is nothing to judge: no event had undisturbed agents to spread to"
            )
        else:
            summary = (
                f"{len(fired)} events reached every undisturbed agent; the slowest of {len(check.seconds)} "
                f"deliveries was seen after {max(check.seconds):.3g} s"
            )
        return Verdict(
            checker=self.name,
            valid=worst(validities),
            summary=f"{summary}; {bound}.",
            evidence=check.evidence[:EVIDENCE_MAX],
            details={
                "events": len(fired),
                "looks": len(looks),
                "deliveries judged": len(check.seconds),
                "deliveries that nobody looked for in time": check.unseen,
                "spread seconds": quantiles(check.seconds),
                "violations by kind": dict(Counter(str(one.details["kind"]) for one in check.evidence)),
                "spread seconds bound": self.spread,
                "formula": self.formula,
            },
        )


@dataclass(frozen=True, slots=True)
class _Fired:
    """An event, which some agent has fired by the end of the operation."""

    name: Any
    node: str
    begin: Op
    end: Op | None
    """None: nobody knows whether it was."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What one agent had delivered."""

    node: str
    begin: Op
    end: Op
    names: Counter[Any]


def _fired(history: History) -> list[_Fired]:
    found = []
    for invoke, completion in history.pairs():
        if invoke.f == "fire" and (completion is None or completion.type != "fail"):
            ok = completion is not None and completion.type == "ok"
            found.append(_Fired(invoke.value, _node(invoke), invoke, completion if ok else None))
    return found


def _looks(history: History) -> list[_Look]:
    found = []
    for invoke, completion in history.pairs():
        if invoke.f == "events" and completion is not None and completion.type == "ok":
            if not isinstance(completion.value, list):
                raise ValueError(f"event {completion.index}: what was delivered must be a list of names")
            found.append(_Look(_node(invoke), invoke, completion, Counter(completion.value)))
    return found


def _node(op: Op) -> str:
    if op.node is None:
        raise ValueError(f"event {op.index}: {op.f} needs the node that it was asked of")
    return op.node


@dataclass(slots=True)
class _Check:
    """One check: what was delivered wrongly, and how fast the rest was."""

    checker: Rumours
    membership: Membership
    fired: list[_Fired]
    looks: list[_Look]
    evidence: list[Evidence] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    unseen: int = 0

    def deliveries(self) -> None:
        """Each agent delivers what was fired, once, and does not forget it."""
        begun = {one.name: one for one in self.fired}
        last: dict[str, _Look] = {}
        told: set[tuple[str, Any]] = set()
        for look in self.looks:
            for name, count in look.names.items():
                if (look.node, name) in told:
                    continue
                if count > 1:
                    told.add((look.node, name))
                    self._found("duplicated", f"delivered {_text(name)} {count} times", look)
                one = begun.get(name)
                if one is None or one.begin.index > look.end.index:
                    told.add((look.node, name))
                    self._found("unexpected", f"delivered {_text(name)}, which nobody had fired", look)
            before = last.get(look.node)
            if before is None or before.end.index < look.begin.index:
                last[look.node] = look
            if before is None or before.end.index > look.begin.index:
                continue
            forgotten = [name for name in before.names if name not in look.names]
            if forgotten and self.membership.lived_through(look.node, before.begin.time, look.end.time):
                said = f"had delivered {_text(forgotten[0])} at {_at(before.end)}, and no longer knows of it"
                self._found("forgotten", said, look, before.begin, before.end)

    def spreading(self) -> None:
        """Whoever is undisturbed with the one that fired delivers it in time."""
        stretches = list(self.membership.undisturbed())
        by_node: dict[str, list[_Look]] = {}
        for look in self.looks:
            by_node.setdefault(look.node, []).append(look)
        for one in self.fired:
            if one.end is None:
                continue
            for stretch, component in stretches:
                if one.node in component and stretch.begin_ns <= one.begin.time <= stretch.end_ns:
                    for node in sorted(component):
                        self._delivery(one, one.end, node, stretch, by_node.get(node, []))

    def _delivery(self, one: _Fired, end: Op, node: str, stretch: Stretch, looks: list[_Look]) -> None:
        due = end.time + int(self.checker.spread * 1e9)
        inside = [look for look in looks if look.end.time <= stretch.end_ns]
        # What was delivered had been delivered by the end of the look that shows it.
        first = next((look for look in inside if one.name in look.names), None)
        missed = next((look for look in inside if look is first or look.begin.time >= due), None)
        if missed is first or missed is None:
            if first is not None and first.begin.time <= due:
                self.seconds.append(max(0, first.end.time - end.time) / 1e9)
            else:
                self.unseen += due <= stretch.end_ns
            return
        kind = "late" if any(one.name in look.names for look in looks) else "lost"
        after = (missed.begin.time - end.time) / 1e9
        said = (
            f"had not delivered {_text(one.name)}, which {one.node} had fired by {_at(end)}, {after:.1f} s "
            f"before, and the two had reached each other undisturbed"
        )
        self._found(kind, said, missed, one.begin, end)

    def _found(self, kind: str, said: str, look: _Look, *others: Op) -> None:
        events = sorted({op.index for op in (look.begin, look.end, *others)})
        details: dict[str, Any] = {"kind": kind, "node": look.node}
        summary = f"At {_at(look.end)} {look.node} {said}."
        self.evidence.append(Evidence(summary=summary, operations=events, details=details))


def _text(name: Any) -> str:
    return _words.value_text(name)


def _at(op: Op) -> str:
    return f"{op.time / 1e9:.3f} s"
