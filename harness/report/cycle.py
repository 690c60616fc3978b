"""The picture of a cycle: transactions as boxes, each with an arrow to the one that has to come after it.

What is drawn is a checker's own data, "cycle" of its evidence: in order around it, the completion's event
("op"), the transaction in words ("text"), the kind of the edge to the next one ("edge"), and why that is
there ("why"). Data of another form is no picture; a field that is missing is left out.

Two boxes stand in a row; more of them on an ellipse, as wide as the shortest arrow needs for its label.
Transactions are called T1, T2, ... in the order in which they began, as in the checker's sentences.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import cos, hypot, pi, sin
from textwrap import wrap

import msgspec

from harness.history import History
from harness.report.evidence import CHARACTER
from harness.report.words import value_text
from harness.verdict import Evidence

WORDS_MAX = 8
"""More boxes hold their names alone."""
BOXES_MAX = 40
"""More are told in words alone."""

_LINE, _CHARACTERS, _LINES_MAX = 16, 26, 4
_PAD = 12
_ARROW = 112.0  # the shortest: room for "realtime" and its head
_BEND = 34.0  # of the arrows of two boxes


class _Given(msgspec.Struct):
    op: int = -1
    text: str = ""
    edge: str = ""
    why: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Box:
    x: float
    y: float
    width: float
    height: float
    name: str
    lines: list[str]
    note: str


@dataclass(frozen=True, slots=True)
class Arrow:
    line: str
    """An SVG path."""
    head: str
    """Points of a polygon."""
    x: float
    y: float
    """Where the label is."""
    label: str
    width: float
    note: str


@dataclass(frozen=True, slots=True)
class Word:
    """One transaction and its edge, in words."""

    name: str
    text: str
    following: str
    edge: str
    why: str


@dataclass(frozen=True, slots=True)
class Cycle:
    width: float
    height: float
    boxes: list[Box]
    """None if there are too many to draw."""
    arrows: list[Arrow]
    words: list[Word]


def picture(history: History | None, evidence: Evidence) -> Cycle | None:
    """None if the evidence carries no cycle."""
    try:
        steps = msgspec.convert(evidence.details.get("cycle"), list[_Given])
    except msgspec.ValidationError:
        return None
    if not steps:
        return None
    names = _names(history, steps)
    words = [
        Word(name, step.text, following, step.edge, step.why)
        for step, name, following in zip(steps, names, [*names[1:], names[0]], strict=True)
    ]
    if not 2 <= len(words) <= BOXES_MAX:
        return Cycle(0, 0, [], [], words)
    lines = [_lines(word.text) if len(words) <= WORDS_MAX else [] for word in words]
    characters = max(4, *(len(line) for each in lines for line in each)) if any(lines) else 4
    width = characters * CHARACTER + 2 * _PAD
    height = (1 + max(map(len, lines))) * _LINE + _PAD
    centres = _centres(len(words), width, height)
    left, top = min(x for x, _ in centres) - width / 2 - 2, min(y for _, y in centres) - height / 2 - 2
    if len(words) == 2:
        top -= _BEND
    centres = [(x - left, y - top) for x, y in centres]
    boxes = [
        Box(x - width / 2, y - height / 2, width, height, word.name, each, f"{word.name}: {word.text}")
        for (x, y), word, each in zip(centres, words, lines, strict=True)
    ]
    around = list(pairwise([*centres, centres[0]]))
    arrows = [
        _arrow(word, *ends, width, height, bend=_BEND if len(words) == 2 else 0.0)
        for word, ends in zip(words, around, strict=True)
    ]
    bottom = max(y for _, y in centres) + height / 2 + 2 + (_BEND if len(words) == 2 else 0)
    return Cycle(max(x for x, _ in centres) + width / 2 + 2, bottom, boxes, arrows, words)


def _names(history: History | None, steps: list[_Given]) -> list[str]:
    """In the order of invocation if the history tells it, else of completion."""
    began = [step.op for step in steps]
    if history is not None:
        invoked = dict(
            zip(history.operations.complete.tolist(), history.operations.invoke.tolist(), strict=True)
        )
        invoked.pop(-1, None)
        began = [invoked.get(event, event) for event in began]
    ordered = sorted(range(len(steps)), key=lambda at: (began[at], at))
    number = {at: place for place, at in enumerate(ordered, 1)}
    return [step.name or f"T{number[at]}" for at, step in enumerate(steps)]


def _lines(text: str) -> list[str]:
    lines = wrap(text, _CHARACTERS) if text else []
    return lines if len(lines) <= _LINES_MAX else [*lines[: _LINES_MAX - 1], "…"]


def _centres(count: int, width: float, height: float) -> list[tuple[float, float]]:
    if count == 2:
        return [(0.0, 0.0), (width + 1.4 * _ARROW, 0.0)]
    across, down = width * 0.6 + 40, height + 40.0
    while True:
        angles = [2 * pi * at / count - pi / 2 for at in range(count)]
        centres = [(across * cos(angle), down * sin(angle)) for angle in angles]
        around = pairwise([*centres, centres[0]])
        if all(_between(*ends, width, height) >= _ARROW for ends in around):
            return centres
        across, down = across * 1.08, down * 1.08


def _edge(dx: float, dy: float, width: float, height: float) -> float:
    """The part of the way from a box's centre along (dx, dy) that is within the box."""
    return min(width / 2 / abs(dx) if dx else 1.0, height / 2 / abs(dy) if dy else 1.0, 1.0)


def _between(one: tuple[float, float], other: tuple[float, float], width: float, height: float) -> float:
    """How long the line between two boxes is, outside of them."""
    dx, dy = other[0] - one[0], other[1] - one[1]
    return hypot(dx, dy) * (1 - 2 * _edge(dx, dy, width, height))


def _arrow(
    word: Word,
    one: tuple[float, float],
    other: tuple[float, float],
    width: float,
    height: float,
    *,
    bend: float,
) -> Arrow:
    """From the edge of a box to that of the next one; bent to its own left, so that two of them differ."""
    dx, dy = other[0] - one[0], other[1] - one[1]
    within = _edge(dx, dy, width, height)
    length = hypot(dx, dy)
    start = one[0] + dx * within, one[1] + dy * within
    end = other[0] - dx * (within + 4 / length), other[1] - dy * (within + 4 / length)
    side = dy / length * bend, -dx / length * bend
    middle = (start[0] + end[0]) / 2 + side[0], (start[1] + end[1]) / 2 + side[1]
    # A quadratic curve passes half way between its control point and the middle of its ends.
    control = middle[0] + side[0], middle[1] + side[1]
    ux, uy = end[0] - control[0], end[1] - control[1]
    size = hypot(ux, uy) or 1.0
    ux, uy = ux / size, uy / size
    back = end[0] - 10 * ux, end[1] - 10 * uy
    head = [end, (back[0] - 5 * uy, back[1] + 5 * ux), (back[0] + 5 * uy, back[1] - 5 * ux)]
    label = value_text(word.edge or "before", 12)
    return Arrow(
        line=f"M{start[0]:.1f} {start[1]:.1f}Q{control[0]:.1f} {control[1]:.1f} {back[0]:.1f} {back[1]:.1f}",
        head=" ".join(f"{x:.1f},{y:.1f}" for x, y in head),
        x=middle[0],
        y=middle[1],
        label=label,
        width=len(label) * CHARACTER + 12,
        note=f"{word.name} is before {word.following} ({word.edge or 'before'})"
        + (f": {word.why}" if word.why else ""),
    )
