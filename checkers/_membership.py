"""What agents said of each other, and who ran and reached whom meanwhile: the ground of the gossip checkers.

An operation `members` is answered with what its node holds of every member: a map from name to a status
("alive", "suspect", "failed", "left"), or to {"status": ..., "incarnation": ...} where that is known. A
client's `leave` means that its node leaves in order, and has left once that succeeded; its `join`, that the
node comes back, and is there once that succeeded; those of one node do not overlap. All else is the
nemesis's doing (`harness.faults`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

from harness.faults import Condition, conditions
from harness.history import History

SEEN_ALIVE = frozenset({"alive", "suspect"})
""" "suspect" is the question, not the answer."""


class Sample(NamedTuple):
    """One agent's view of all, taken some time between two events."""

    observer: str
    begin_ns: int
    end_ns: int
    view: dict[str, str]
    """Name to status."""
    incarnations: dict[str, int]
    """Of those of which it is known."""
    events: list[int]

    def status(self, target: str) -> str:
        return self.view.get(target, "missing")


class Stretch(NamedTuple):
    """A time in which something held, from the completion of what began it to the invocation of what ended
    it."""

    begin_ns: int
    end_ns: int


@dataclass(frozen=True)
class Membership:
    """One history, as the checkers of membership see it."""

    nodes: tuple[str, ...]
    """Every agent."""
    samples: list[Sample]
    """In the order in which they began."""
    injected: list[Condition]
    """Who ran and reached whom, as far as the nemesis decided it."""
    known: list[Condition]
    """The same, departures included: see `_departed`."""
    departures: list[Departure]
    end_ns: int

    @staticmethod
    def of(history: History, nodes: Sequence[str] = ()) -> Membership:
        """`nodes`: by default, every node that was asked for its view."""
        found = sorted(_samples(history), key=lambda sample: sample.begin_ns)
        names = tuple(nodes) or tuple(sorted({sample.observer for sample in found}))
        departures = list(_departures(history))
        end_ns = int(history.time[-1]) if len(history) else 0
        injected = conditions(history)
        known = injected
        for departure in departures:
            known = list(_departed(known, departure))
        return Membership(names, found, injected, known, departures, end_ns)

    @cached_property
    def _by_observer(self) -> dict[str, tuple[list[int], list[Sample]]]:
        grouped: dict[str, list[Sample]] = {}
        for sample in self.samples:
            grouped.setdefault(sample.observer, []).append(sample)
        return {name: ([one.begin_ns for one in mine], mine) for name, mine in grouped.items()}

    def views(self, observer: str, begin_ns: int, end_ns: int) -> Iterator[Sample]:
        """The observer's views that were taken within a time."""
        begins, mine = self._by_observer.get(observer, ([], []))
        for at in range(bisect_left(begins, begin_ns), len(mine)):
            if mine[at].begin_ns > end_ns:
                return
            if mine[at].end_ns <= end_ns:
                yield mine[at]

    def undisturbed(self) -> Iterator[tuple[Stretch, frozenset[str]]]:
        """Each group of agents that reach each other and nobody else, no link or agent among them broken,
        with the longest time that it stays so. A change elsewhere does not end it."""
        open_since: dict[frozenset[str], int] = {}
        for condition, following in self._steps():
            for component in self._clean(condition):
                open_since.setdefault(component, condition.begin_ns)
            after = self._clean(following) if following is not None else []
            for component in list(open_since):
                if component not in after:
                    yield Stretch(open_since.pop(component), condition.end_ns), component

    def unreachable(self, observer: str) -> Iterator[tuple[Stretch, str]]:
        """Each agent, with every longest time in which the observer ran and nothing passed between them."""
        open_since: dict[str, int] = {}
        for condition, following in self._steps():
            for target in self._cut_off(condition, observer):
                open_since.setdefault(target, condition.begin_ns)
            after = self._cut_off(following, observer) if following is not None else []
            for target in list(open_since):
                if target not in after:
                    yield Stretch(open_since.pop(target), condition.end_ns), target

    def lived_through(self, node: str, begin_ns: int, end_ns: int) -> bool:
        """Whether its process certainly was the same all the time."""
        own = [one for one in self.departures if one.node == node]
        if any(one.leaving_ns <= end_ns and one.there_ns >= begin_ns for one in own):
            return False
        if end_ns > self.injected[-1].end_ns:
            return False
        for at, condition in enumerate(self.injected):
            if node in condition.dead or condition.vague:
                before = self.injected[at - 1].end_ns if at else 0
                after = self.injected[at + 1].begin_ns if at + 1 < len(self.injected) else self.end_ns + 1
                if before <= end_ns and after >= begin_ns:
                    return False
        return True

    def same_lives(self, nodes: Iterable[str], first: Sample, last: Sample) -> bool:
        """Whether these agents certainly were the same processes from one view to another."""
        return all(self.lived_through(node, first.begin_ns, last.end_ns) for node in nodes)

    def told(self, departure: Departure) -> frozenset[str]:
        """Those that reached the departing agent, undisturbed, before and while it left, and each other
        after."""
        leaving_ns, left_ns = departure.leaving_ns, departure.left_ns
        if left_ns is None:
            return frozenset()
        before = [one for one in self.known if one.begin_ns <= leaving_ns]
        during = [one for one in self.injected if one.end_ns >= leaving_ns and one.begin_ns <= left_ns]
        after = [one for one in self.known if one.begin_ns >= left_ns]
        if not before or not after:
            return frozenset()
        with_it = next((one for one in self._clean(before[-1]) if departure.node in one), frozenset())
        others = with_it - {departure.node}
        undisturbed = all(self._together(with_it, one) for one in during)
        return others if undisturbed and self._together(others, after[0]) else frozenset()

    def _steps(self) -> Iterator[tuple[Condition, Condition | None]]:
        return zip(self.known, [*self.known[1:], None], strict=True)

    def _clean(self, condition: Condition) -> list[frozenset[str]]:
        return [
            component
            for component in condition.components(self.nodes)
            if not any(sender in component and receiver in component for sender, receiver in condition.cut)
        ]

    def _together(self, nodes: frozenset[str], condition: Condition) -> bool:
        return any(nodes <= component for component in self._clean(condition))

    def _cut_off(self, condition: Condition, observer: str) -> list[str]:
        for component in condition.components(self.nodes):
            if observer in component:
                return [node for node in self.nodes if node not in component]
        return []  # it does not run itself


def _samples(history: History) -> Iterator[Sample]:
    for invoke, completion in history.pairs():
        if invoke.f != "members" or completion is None or completion.type != "ok":
            continue
        observer: Any = completion.node or invoke.node
        if observer is None or not isinstance(completion.value, dict):
            raise ValueError(f"event {completion.index}: a view needs its node, and a map of node to status")
        view: dict[str, str] = {}
        incarnations: dict[str, int] = {}
        for name, held in completion.value.items():
            if isinstance(held, dict):
                view[name] = held["status"]
                if "incarnation" in held:
                    incarnations[name] = held["incarnation"]
            else:
                view[name] = held
        events = [invoke.index, completion.index]
        yield Sample(observer, invoke.time, completion.time, view, incarnations, events)


@dataclass(frozen=True, slots=True)
class Departure:
    """A node left in order; it is in doubt while it was leaving, and while it was coming back."""

    node: str
    leaving_ns: int
    left_ns: int | None
    """None: nobody knows."""
    back_ns: int
    """When it began to come back; after the history if it did not."""
    there_ns: int
    events: list[int]


def _departures(history: History) -> Iterator[Departure]:
    never = (int(history.time[-1]) if len(history) else 0) + 1
    open_: dict[str, Departure] = {}
    over: dict[str, int] = {}
    for invoke, completion in history.pairs():
        if invoke.f not in ("leave", "join") or (completion is not None and completion.type == "fail"):
            continue
        node = invoke.node
        if node is None:
            raise ValueError(f"event {invoke.index}: {invoke.f} needs the node that does it")
        if over.get(node, -1) > invoke.index:
            raise ValueError(f"event {invoke.index}: {node} had not ended its last leave or join")
        over[node] = completion.index if completion is not None else len(history)
        ended = completion.time if completion is not None and completion.type == "ok" else None
        if invoke.f == "leave":
            events = [invoke.index, *([completion.index] if completion is not None else [])]
            began_ns = open_[node].leaving_ns if node in open_ else invoke.time
            open_[node] = Departure(node, began_ns, ended, never, never, events)
        elif node in open_:
            yield replace(open_.pop(node), back_ns=invoke.time, there_ns=never if ended is None else ended)
    yield from open_.values()


def _departed(known: list[Condition], departure: Departure) -> Iterator[Condition]:
    """The conditions, with the node gone while it had left.

    While it leaves or comes back, nobody knows whether it runs, and what holds is what holds with it and
    without it. So each condition of such a time stands there twice, with it and without it, as two moments.
    """
    left_ns, back_ns, there_ns = departure.left_ns, departure.back_ns, departure.there_ns
    if left_ns is None:  # it was never certainly gone
        left_ns = back_ns = there_ns
    for condition in known:
        without = replace(condition, dead=condition.dead | {departure.node})
        for begin_ns, end_ns, held in (
            (condition.begin_ns, departure.leaving_ns, [condition]),
            (departure.leaving_ns, left_ns, [condition, without]),
            (left_ns, back_ns, [without]),
            (back_ns, there_ns, [without, condition]),
            (there_ns, condition.end_ns, [condition]),
        ):
            begin, end = max(begin_ns, condition.begin_ns), min(end_ns, condition.end_ns)
            if begin > end:
                continue
            if len(held) == 1:
                yield replace(held[0], begin_ns=begin, end_ns=end)
            else:
                yield replace(held[0], begin_ns=begin, end_ns=begin)
                yield replace(held[1], begin_ns=end, end_ns=end)
