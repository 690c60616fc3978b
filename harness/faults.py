"""What the nemesis had done to the cluster at each time, read from the history alone.

Rules
-----
1. A fault begins somewhere between the two events of the operation that causes it, and ends likewise. So the
   cluster's condition is known from a nemesis operation's completion to the next one's invocation; in between
   it is in doubt, and belongs to no `Condition`.
2. The values are those that the package `nemesis` documents: `start-partition` carries the complete set of
   directed links that are cut from then on, `start-kill` and `start-pause` the nodes hit, `stop-pause` the
   nodes that go on; after a `stop-kill` every node runs.
3. While traps are set, packets are lost or clocks run at other speeds, nobody knows who is dead when, and who
   hears whom (`Condition.vague`).
4. After an operation of which one cannot tell what it did (it did not complete), nothing is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from harness.history import History, Op

Link = tuple[str, str]
"""A directed pair of nodes: what the first sends, the second does not receive."""

_KINDS = ("partition", "kill", "power", "pause", "crash-point", "network", "clock", "disk")
_VAGUE = ("crash-point", "network", "clock")
"""While one of these goes on, who is dead and who hears whom is not known."""

FAULTS = frozenset(f"{verb}-{kind}" for verb in ("start", "stop") for kind in _KINDS)
"""The functions that are understood; others leave the condition as it is."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What is cut, dead and paused for a while."""

    begin_ns: int
    """Completion of the operation that brought it about; the start of the run for the first."""
    end_ns: int
    """Invocation of the operation that ended it; the last event for the last."""
    cut: frozenset[Link] = frozenset()
    dead: frozenset[str] = frozenset()
    paused: frozenset[str] = frozenset()
    vague: frozenset[str] = frozenset()
    """What else goes on of which nobody knows whom it hits when."""

    @property
    def whole(self) -> bool:
        """Nothing is broken."""
        return not (self.cut or self.dead or self.paused or self.vague)

    def running(self, nodes: Iterable[str]) -> list[str]:
        return [node for node in nodes if node not in self.dead and node not in self.paused]

    def components(self, nodes: Iterable[str]) -> Iterator[frozenset[str]]:
        """The running nodes in groups that nothing passes between, in either direction.

        None at all while something vague goes on: nobody knows.
        """
        left = [] if self.vague else self.running(nodes)
        while left:
            group = {left[0]}
            grown = True
            while grown:
                more = {
                    node
                    for node in left
                    if node not in group
                    and any((node, one) not in self.cut or (one, node) not in self.cut for one in group)
                }
                group |= more
                grown = bool(more)
            yield frozenset(group)
            left = [node for node in left if node not in group]


def conditions(history: History) -> list[Condition]:
    """The cluster's conditions in order of time; what is between two of them is in doubt."""
    end_ns = int(history.time[-1]) if len(history) else 0
    found: list[Condition] = []
    current = Condition(0, end_ns)
    for begun, completed in history.nemesis:
        if begun.f not in FAULTS:
            continue
        found.append(replace(current, end_ns=begun.time))
        after = _after(current, completed) if completed is not None else None
        if after is None:
            return found
        current = after
    return [*found, replace(current, end_ns=max(end_ns, current.begin_ns))]


def _after(current: Condition, completed: Op) -> Condition | None:
    """The condition that the operation left, or None if one cannot tell."""
    value = completed.value
    if completed.error is not None or not isinstance(value, dict):
        return None
    began = replace(current, begin_ns=completed.time)
    verb, _, kind = completed.f.partition("-")
    starts = verb == "start"
    if kind == "partition":
        return replace(began, cut=frozenset((sender, receiver) for sender, receiver in value["cut"]))
    if kind in _VAGUE:
        vague = current.vague | {kind} if starts else current.vague - {kind}
        began = replace(began, vague=vague)
    if completed.f == "start-crash-point":  # who leads is killed with it
        began = replace(began, paused=current.paused - {value.get("leader")})
    if kind == "disk" and value.get("condition", "slow") != "slow":
        return None  # agents may end by themselves
    nodes = frozenset(value.get("nodes", ()))
    if kind in ("kill", "power") and starts:
        return replace(began, dead=current.dead | nodes, paused=current.paused - nodes)
    if kind in ("kill", "power") or (kind == "crash-point" and not starts):
        # Whatever did not run was started: by a trap, it may have died while it was paused.
        return replace(began, dead=frozenset(), paused=current.paused - nodes)
    if kind == "pause":
        return replace(began, paused=current.paused | nodes if starts else current.paused - nodes)
    return began


def last_heal_ns(history: History) -> int | None:
    """When the last fault was over: the cluster is whole from then to the end. None if it is not whole at the
    end, or if one cannot tell."""
    known = conditions(history)
    faults = [pair for pair in history.nemesis if pair[0].f in FAULTS]
    if len(known) != len(faults) + 1 or not known[-1].whole:
        return None
    heal = known[-1].begin_ns
    for condition in reversed(known):
        if not condition.whole:
            break
        heal = condition.begin_ns
    return heal
