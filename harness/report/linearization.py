"""The picture of an order that gets stuck: time against process, the steps of the order as numbered dots, the
object's state after each, and the operation that fits nowhere.

Rules
-----
1. What is drawn is a checker's own data, "picture" of its evidence (`checkers._picture` has the form). Data
   of another form is no picture; a field that is missing makes a simpler one.
2. The order of all starts and ends is exact, distances are not (as in `harness.report.evidence`). Each step
   is as far left as its own start and the step before allow: a dot within its bar is a moment at which the
   operation may have taken effect.
3. At most OPERATIONS_MAX operations are drawn, the ones nearest to the one that is stuck. Steps keep their
   numbers; a state that is followed by a step not drawn ends in an ellipsis.

Starts and ends are compared by their events where the history has them, because simulated ones often share
a time; else by their times, in which a start comes before an end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from harness.history import History
from harness.report.evidence import BREAK_SECONDS, CHARACTER, Break, Row
from harness.report.words import duration_text, value_text
from harness.verdict import Evidence

OPERATIONS_MAX = 40
LABEL_MAX, STATE_MAX = 34, 20  # characters that are drawn; the whole is in the note

_LANE = 34  # the lane of states, above the rows
_ROW, _BAR_AT, _BAR = 60, 24, 26
_PAD, _STEP, _DOT = 12, 16.0, 8.0
_BREAK = 3 * _STEP

_Moment = tuple[float, int, int]
"""Orders starts and ends."""


class _Operation(msgspec.Struct):
    event: int = -1
    process: int | str = "?"
    text: str = "?"
    start: float | None = None
    finish: float | None = None


class _Given(msgspec.Struct):
    operations: list[_Operation]
    kind: str = "linearization"
    order: list[int] = []
    states: list[Any] = []
    stuck: int | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One operation taking effect: the dot, and the state that it leaves in the lane above."""

    number: int
    x: float
    width: float
    """Of the state, until the next step."""
    state: str
    """Empty if the evidence has no states."""


@dataclass(frozen=True, slots=True)
class Bar:
    x: float
    y: float
    width: float
    label: str
    kind: str
    """ "ok", "info" (open to the right), or "stuck"."""
    note: str
    """Everything known of it."""
    step: Step | None


@dataclass(frozen=True, slots=True)
class Linearization:
    width: float
    height: float
    bars: list[Bar]
    rows: list[Row]
    breaks: list[Break]
    before: Step | None
    """The state before the first step that is drawn."""
    path: str
    """Through the dots, as points of a polyline."""
    stuck: float | None
    """Where the stuck operation ends: no order gets past it."""
    words: list[str]
    """The steps in words, in order, then the stuck operation."""
    omitted: int


def picture(history: History | None, evidence: Evidence) -> Linearization | None:
    """None if the evidence carries no such picture."""
    try:
        given = msgspec.convert(evidence.details.get("picture"), _Given)
    except msgspec.ValidationError:
        return None
    if given.kind != "linearization" or not given.operations:
        return None
    return _Layout(history, given, evidence.summary).drawn()


class _Layout:
    def __init__(self, history: History | None, given: _Given, summary: str) -> None:
        self.given = given
        self.summary = summary
        """What it says already need not be said again."""
        self.operations = given.operations
        count = len(self.operations)
        self.stuck = given.stuck if given.stuck is not None and 0 <= given.stuck < count else None
        self.order = [at for at in dict.fromkeys(given.order) if 0 <= at < count and at != self.stuck]
        self.states = _states(given.states, len(given.order)) if self.order == given.order else []
        self.number = {at: number for number, at in enumerate(self.order, 1)}
        self.places = _places(history, self.operations)
        self.moments = _moments(history, self.operations, self.places)
        self.names = [
            _name(history, one, place) for one, place in zip(self.operations, self.places, strict=True)
        ]
        self.timed = any(one.start or one.finish for one in self.operations)
        self.shown = self._nearest()

    def drawn(self) -> Linearization:
        labels = {at: self._label(at) for at in self.shown}
        x, dots, breaks, width = self._positions(labels)
        by_node = sorted(self.shown, key=lambda at: self.names[at])
        rows = list(dict.fromkeys(self.names[at][2] for at in by_node))
        y = {name: _LANE + number * _ROW + _BAR_AT for number, name in enumerate(rows)}
        steps = [at for at in self.order if at in dots]
        ends = [*(dots[at] for at in steps[1:]), width]
        step = {
            at: Step(self.number[at], dots[at], end - dots[at], self._state(self.number[at]))
            for at, end in zip(steps, ends, strict=False)  # one end is left over if there is no step
        }
        first = step[steps[0]] if steps else None
        before = None
        if self.states:
            before = Step(0, 0.0, first.x if first else width, self._state(first.number - 1 if first else 0))
        bars = []
        for at in self.shown:
            start, finish = self.moments[at]
            end = width if finish is None else x[finish]
            kind = "stuck" if at == self.stuck else "info" if finish is None else "ok"
            name = self.names[at][2]
            bars.append(
                Bar(x[start], y[name], end - x[start], labels[at], kind, self._note(at), step.get(at))
            )
        finish = self.moments[self.stuck][1] if self.stuck is not None else None
        return Linearization(
            width=width + 4,
            height=_LANE + len(rows) * _ROW + _STEP,
            bars=bars,
            rows=[Row(at + _BAR / 2, name) for name, at in y.items()],
            breaks=breaks,
            before=before,
            path=" ".join(f"{dots[at]:.1f},{y[self.names[at][2]] - 2}" for at in steps),
            stuck=x[finish] if finish is not None else None,
            words=[self._note(at) for at in (*self.order, *([self.stuck] if self.stuck is not None else []))],
            omitted=len(self.operations) - len(self.shown),
        )

    def _nearest(self) -> list[int]:
        """The operations that are drawn, in the order of their starts."""
        everyone = range(len(self.operations))
        if len(everyone) <= OPERATIONS_MAX:
            return sorted(everyone, key=lambda at: self.moments[at][0])
        start, finish = self.moments[self.stuck if self.stuck is not None else everyone[-1]]

        def distance(at: int) -> tuple[float, float]:
            began, ended = self.moments[at]
            before = start[0] - ended[0] if ended is not None else 0.0
            after = began[0] - finish[0] if finish is not None else 0.0
            return max(before, after, 0.0), abs(start[0] - began[0])

        nearest = sorted(everyone, key=distance)[:OPERATIONS_MAX]
        return sorted(nearest, key=lambda at: self.moments[at][0])

    def _positions(
        self, labels: dict[int, str]
    ) -> tuple[dict[_Moment, float], dict[int, float], list[Break], float]:
        """The x of every start and end, of every step, where the axis jumps, and where it ends."""
        owner = {moment: at for at in self.shown for moment in self.moments[at] if moment is not None}
        moments = sorted(owner)
        waiting = [at for at in self.order if at in labels]
        x: dict[_Moment, float] = {}
        dots: dict[int, float] = {}
        breaks = []
        at_x, lane, previous = (
            1.0 - _STEP,
            self._state_width(self.number[waiting[0]] - 1 if waiting else 0),
            None,
        )
        for moment in moments:
            at_x += _STEP
            who = owner[moment]
            gap = self._gap(previous, moment, owner)
            if gap >= BREAK_SECONDS:
                breaks.append(Break(at_x + _STEP, duration_text(gap)))
                at_x += _BREAK
            if moment == self.moments[who][1]:
                at_x = max(at_x, x[self.moments[who][0]] + _width(labels[who]))
            x[moment] = at_x
            while waiting and self.moments[waiting[0]][0] <= moment:
                step = waiting.pop(0)
                dots[step] = at_x = max(at_x + _DOT + 6, lane)
                lane = at_x + max(self._state_width(self.number[step]), 2 * _DOT + 4)
                at_x += _DOT - _STEP + 6
            previous = moment
        # What is open reaches beyond everything that has an end.
        ends = [x[self.moments[at][0]] + _width(labels[at]) for at in self.shown if not self._ended(at)]
        open_end = max([*x.values(), *ends]) + 40 if ends else 0.0
        return x, dots, breaks, max([*x.values(), open_end, lane])

    def _ended(self, at: int) -> bool:
        return self.moments[at][1] is not None

    def _gap(self, one: _Moment | None, other: _Moment, owner: dict[_Moment, int]) -> float:
        """Seconds between two neighbours, if their times are known."""
        if one is None:
            return 0.0
        before, after = (self._time(moment, owner[moment]) for moment in (one, other))
        return 0.0 if before is None or after is None else (after - before) / 1e9

    def _time(self, moment: _Moment, at: int) -> float | None:
        one = self.operations[at]
        return one.start if moment == self.moments[at][0] else one.finish

    def _label(self, at: int) -> str:
        text = value_text(self.operations[at].text, LABEL_MAX)
        return f"✕ {text}" if at == self.stuck else text if self._ended(at) else f"{text} (unknown)"

    def _state(self, number: int) -> str:
        """After so many steps; empty if that is not told."""
        if not self.states:
            return ""
        following = self.order[number] if number < len(self.order) else None
        cut = following is not None and following not in self.shown
        return value_text(self.states[number], STATE_MAX) + (" …" if cut else "")

    def _state_width(self, number: int) -> float:
        return _width(self._state(number)) if self.states else 0.0

    def _note(self, at: int) -> str:
        one = self.operations[at]
        said = f"{self.names[at][2]}: {one.text}"
        if self.timed and one.start is not None:
            until = ", outcome unknown" if one.finish is None else f" to {one.finish / 1e9:.6f} s"
            said += f", {'from ' if one.finish is None else ''}{one.start / 1e9:.6f} s{until}"
        if at == self.stuck:
            after = f" The state is {self.states[-1]} after the last step." if self.states else ""
            why = f" {self.given.why}" if self.given.why not in self.summary else ""
            return f"{said}. It fits nowhere in the order.{after}{why}"
        number = self.number.get(at)
        if number is None:
            return f"{said}. Not in the order as far as it gets."
        state = f", after which the state is {self.states[number]}" if self.states else ""
        return f"{said}. Step {number} of {len(self.order)}{state}."


def _states(states: list[Any], steps: int) -> list[str]:
    """The state before the first step, and after each; empty if they are not that many."""
    texts = [value_text(state, 400) for state in states]
    if len(texts) == steps:
        texts.insert(0, "not told")
    return texts if len(texts) == steps + 1 else []


def _places(history: History | None, operations: list[_Operation]) -> list[int | None]:
    """Each one's position in `History.operations`."""
    if history is None or not len(history.operations):
        return [None] * len(operations)
    invoke = history.operations.invoke
    order = invoke.argsort(kind="stable")
    found = invoke.searchsorted([one.event for one in operations], sorter=order).tolist()
    return [
        int(order[i]) if i < len(order) and invoke[order[i]] == one.event else None
        for i, one in zip(found, operations, strict=True)
    ]


def _moments(
    history: History | None, operations: list[_Operation], places: list[int | None]
) -> list[tuple[_Moment, _Moment | None]]:
    """Start and end of each, to be compared; an end of None is beyond all others."""
    made: list[tuple[_Moment, _Moment | None]] = []
    if history is not None and None not in places and len(set(places)) == len(places):
        for number, (one, place) in enumerate(zip(operations, places, strict=True)):
            complete = int(history.operations.complete[place])
            ended = one.finish is not None and complete >= 0
            made.append(((one.event, 0, number), (complete, 1, number) if ended else None))
        return made
    start = 0.0
    for number, one in enumerate(operations):
        start = one.start if one.start is not None else start
        finish = None if one.finish is None else max(one.finish, start)
        made.append(((start, 0, number), None if finish is None else (finish, 1, number)))
    return made


def _name(history: History | None, one: _Operation, place: int | None) -> tuple[str, int, str]:
    """By which rows are sorted: node, process; and what the row is called."""
    node = history.ops[int(history.operations.invoke[place])].node if history and place is not None else None
    number = one.process if isinstance(one.process, int) else -1
    name = f"process {one.process}"
    return node or "", number, f"{node} · {name}" if node else name


def _width(text: str) -> float:
    return len(text) * CHARACTER + 2 * _PAD
