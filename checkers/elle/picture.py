"""The picture of a cycle: its transactions in a circle, an arrow from each to the next, and why below.

Plain SVG text, made by counting: no layout engine, no font files. It reads in light and in dark.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from checkers.elle.cases import Case
from checkers.elle.transactions import Transactions
from checkers.elle.words import transaction_text, value_text

_CHARACTER, _LINE = 7.3, 17.0
_PAD, _GAP = 10.0, 110.0
_LINES_MAX = 8
_REASON_WIDTH = 96

_STYLE = """
text { font: 12px ui-monospace, Menlo, Consolas, monospace; fill: #1c2733 }
.title { font-weight: 600 } .why { font-size: 12px }
rect { fill: #f4f7fa; stroke: #b9c6d3; rx: 6px }
.halo { stroke: #fff; stroke-width: 4px; paint-order: stroke }
path { fill: none; stroke-width: 1.8px }
svg { background: #fff }
@media (prefers-color-scheme: dark) {
  svg { background: #14191f } text { fill: #dbe4ec } rect { fill: #1e262f; stroke: #41505e }
  .halo { stroke: #14191f }
}
"""
_COLOURS = {"ww": "#c0392b", "wr": "#1f7a4d", "rw": "#b36b00", "process": "#5b6bc0", "realtime": "#2b7fb8"}


@dataclass(frozen=True, slots=True)
class _Box:
    x: float
    y: float
    width: float
    height: float
    lines: list[str]

    @property
    def centre(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y + self.height / 2

    def edge(self, towards: tuple[float, float]) -> tuple[float, float]:
        """Where the line from the centre leaves the box."""
        x, y = self.centre
        dx, dy = towards[0] - x, towards[1] - y
        scale = min(
            (self.width / 2 + 3) / abs(dx) if dx else math.inf,
            (self.height / 2 + 3) / abs(dy) if dy else math.inf,
        )
        return x + dx * min(scale, 1.0), y + dy * min(scale, 1.0)


def cycle_svg(case: Case) -> str:
    """The picture as a file."""
    transactions = case.columns
    names = dict(case.names)
    texts = [_lines(transactions, names[one], one) for one in case.transactions]
    boxes = _placed(texts)
    bottom = max(box.y + box.height for box in boxes) + 2 * _PAD
    reasons = [
        line
        for number, (edge, reason) in enumerate(zip(case.edges, case.reasons, strict=True))
        for line in textwrap.wrap(
            f"{names[case.transactions[number]]} → "
            f"{names[case.transactions[(number + 1) % len(case.transactions)]]} ({edge}): {reason.why}",
            _REASON_WIDTH,
            subsequent_indent="    ",
        )
    ]
    others = [one for one in names if one not in case.transactions]
    reasons += [f"{names[one]}: {transaction_text(transactions, one)}" for one in others]
    width = max(
        max(box.x + box.width for box in boxes) + _PAD,
        max(map(len, [*reasons, case.type])) * _CHARACTER + 2 * _PAD,
    )
    height = bottom + (len(reasons) + 1) * _LINE + _PAD
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}">',
        f"<title>{escape(case.type)}</title><style>{_STYLE}</style><defs>{_heads()}</defs>",
        f'<text class="title" x="{_PAD}" y="{_LINE}">{escape(case.type)}</text>',
        *(_arrow(boxes, number, edge) for number, edge in enumerate(case.edges)),
        *(_box(box) for box in boxes),
        *(_label(boxes, number, edge) for number, edge in enumerate(case.edges)),
    ]
    for number, line in enumerate(reasons):
        parts.append(_text(_PAD, bottom + (number + 1) * _LINE, line, "why"))
    return "\n".join([*parts, "</svg>\n"])


def _lines(transactions: Transactions, name: str, transaction: int) -> list[str]:
    """The transaction, a line a micro-operation."""
    process, event = transactions.process[transaction], transactions.event(transaction)
    lines = [f"{name}  process {process}, event {event}"]
    micro = [f"{f} {key} {value_text(value)}" for f, key, value in transactions.micro_operations(transaction)]
    if len(micro) > _LINES_MAX:
        micro = [*micro[: _LINES_MAX - 1], f"... {len(micro) - _LINES_MAX + 1} more"]
    return lines + micro


def _placed(texts: Sequence[list[str]]) -> list[_Box]:
    """Two stand side by side, more on an ellipse, clockwise, wide enough that neighbours do not touch."""
    sizes = [(max(map(len, lines)) * _CHARACTER + 2 * _PAD, len(lines) * _LINE + 2 * _PAD) for lines in texts]
    if len(texts) == 2:
        left = _PAD
        right = left + sizes[0][0] + _GAP
        centres = [
            (left + sizes[0][0] / 2, 0.0),
            (right + sizes[1][0] / 2, 0.0),
        ]
    else:
        widest, highest = max(width for width, _ in sizes), max(height for _, height in sizes)
        around = len(texts) / (2 * math.pi)
        across = max((widest + _GAP) * around * 1.1, widest * 0.75)
        up = max((highest + _GAP * 0.7) * around * 1.1, highest)
        angles = [2 * math.pi * number / len(texts) - math.pi * 0.75 for number in range(len(texts))]
        centres = [(across * math.cos(angle), up * math.sin(angle)) for angle in angles]
    corners = [
        (x - width / 2, y - height / 2) for (x, y), (width, height) in zip(centres, sizes, strict=True)
    ]
    dx = _PAD - min(x for x, _ in corners)
    dy = 2 * _PAD + 2 * _LINE - min(y for _, y in corners)
    return [
        _Box(x + dx, y + dy, width, height, lines)
        for (x, y), (width, height), lines in zip(corners, sizes, texts, strict=True)
    ]


def _ends(boxes: list[_Box], number: int) -> tuple[tuple[float, float], tuple[float, float]]:
    one, other = boxes[number], boxes[(number + 1) % len(boxes)]
    if len(boxes) > 2:
        return one.edge(other.centre), other.edge(one.centre)
    # Of two, the way there is above the way back.
    shift = (-1 if number == 0 else 1) * min(one.height, other.height) / 4
    (x1, y1), (x2, y2) = one.edge(other.centre), other.edge(one.centre)
    return (x1, y1 + shift), (x2, y2 + shift)


def _arrow(boxes: list[_Box], number: int, edge: str) -> str:
    (x1, y1), (x2, y2) = _ends(boxes, number)
    colour = _COLOURS.get(edge, "#777")
    return f'<path d="M{x1:.1f} {y1:.1f} L{x2:.1f} {y2:.1f}" stroke="{colour}" marker-end="url(#{edge})"/>'


def _label(boxes: list[_Box], number: int, edge: str) -> str:
    (x1, y1), (x2, y2) = _ends(boxes, number)
    x, y = (x1 + x2) / 2, (y1 + y2) / 2 + 4
    colour = _COLOURS.get(edge, "#777")
    at = f'x="{x:.1f}" y="{y:.1f}" text-anchor="middle"'
    return f'<text class="halo title" {at} style="fill:{colour}">{edge}</text>'


def _box(box: _Box) -> str:
    lines = [
        _text(box.x + _PAD, box.y + _PAD + (number + 0.75) * _LINE, line, "" if number else "title")
        for number, line in enumerate(box.lines)
    ]
    return (
        f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}"/>'
        + "".join(lines)
    )


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" xml:space="preserve">{escape(text)}</text>'


def _heads() -> str:
    return "".join(
        f'<marker id="{edge}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        f'orient="auto-start-reverse"><polygon points="0,0 8,4 0,8" fill="{colour}"/></marker>'
        for edge, colour in _COLOURS.items()
    )
