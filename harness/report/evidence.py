"""The small picture of a violation: just its operations, time to the right, one row per process.

Layout
------
Real time would draw two operations of a millisecond, ten seconds apart, as two dots. So the order of events
is kept exactly and the distances are not: an operation is at least as wide as its words, and what came later
stands further right. Events are placed from the earliest on, each as far left as its predecessor and its own
operation's width allow. Where more than BREAK_SECONDS passed between two neighbours, a line says how long.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.history import OK, History
from harness.report.words import duration_text, operation_text, outcome_hint, value_text
from harness.verdict import Evidence

OPERATIONS_MAX = 40
"""More of them are no small picture; the rest is counted."""
BREAK_SECONDS = 0.05

CHARACTER = 7.3  # width of one at the font size of the picture
_ROW, _BAR = 54, 26
_TOP, _PAD = 22, 12
_STEP = 16.0
_MARKS = {
    "Stale read": "stale",
    "Read from the future": "too early",
    "Read from nowhere": "never written",
    "Read of a failed write": "never happened",
    "no order": "fits in no order",
}


@dataclass(frozen=True, slots=True)
class Bar:
    """One operation: position and size in pixels."""

    x: float
    y: float
    width: float
    label: str
    outcome: str
    """"ok", "fail", or "info"; open ones are info."""
    culprit: bool
    title: str
    """Everything known of it, in one line."""


@dataclass(frozen=True, slots=True)
class Row:
    y: float
    label: str


@dataclass(frozen=True, slots=True)
class Break:
    """Time passed between two neighbours."""

    x: float
    text: str


@dataclass(frozen=True, slots=True)
class Picture:
    width: float
    height: float
    bars: list[Bar]
    rows: list[Row]
    breaks: list[Break]
    omitted: int
    """Operations not drawn."""
    places: list[int]
    """All operations of the evidence: positions in `History.operations`."""
    start: float
    end: float
    """Seconds since the run began: where the timeline shows them."""


def picture(history: History, evidence: Evidence) -> Picture | None:
    """None if the evidence names no client's operation that the history has."""
    all_places = places(history, evidence)
    if not all_places:
        return None
    shown = all_places[:OPERATIONS_MAX]
    columns = history.operations
    horizon = len(history)
    spans = [
        (int(columns.invoke[i]), int(columns.complete[i]) if columns.complete[i] >= 0 else horizon)
        for i in shown
    ]
    culprit = _culprit(evidence, all_places)
    labels = [_label(history, place, evidence, place == culprit) for place in shown]
    widths = [len(label) * CHARACTER + 2 * _PAD for label in labels]
    x, breaks = _positions(history, spans, widths)
    by_node = sorted(shown, key=lambda place: _node_and_process(history, place))
    names = list(dict.fromkeys(_row_label(history, place) for place in by_node))
    rows = [Row(_TOP + number * _ROW + _BAR / 2, name) for number, name in enumerate(names)]
    bars = [
        Bar(
            x=x[begin],
            y=_TOP + names.index(_row_label(history, place)) * _ROW,
            width=x[end] - x[begin],
            label=label,
            outcome=("", "ok", "fail", "info", "info")[int(columns.outcome[place])],
            culprit=place == culprit,
            title=_title(history, place),
        )
        for place, (begin, end), label in zip(shown, spans, labels, strict=True)
    ]
    times = [history.time[columns.invoke[i]] / 1e9 for i in all_places]
    ends = [history.time[columns.complete[i]] / 1e9 for i in all_places if columns.complete[i] >= 0]
    return Picture(
        width=max(x.values()) + 4,
        height=_TOP + len(names) * _ROW,
        bars=bars,
        rows=rows,
        breaks=breaks,
        omitted=len(all_places) - len(shown),
        places=all_places,
        start=min(times),
        end=max(times + ends),
    )


def places(history: History, evidence: Evidence) -> list[int]:
    """The clients' operations whose invocation or completion the evidence names, in order of invocation."""
    columns = history.operations
    named = [event for event in evidence.operations if 0 <= event < len(history)]
    found = set()
    for column in (columns.invoke, columns.complete):
        order = column.argsort(kind="stable")
        at = column.searchsorted(named, sorter=order)
        found |= {
            int(order[i]) for i, event in zip(at.tolist(), named, strict=True)
            if i < len(order) and column[order[i]] == event
        }  # fmt: skip
    return sorted(found)


def _positions(
    history: History, spans: list[tuple[int, int]], widths: list[float]
) -> tuple[dict[int, float], list[Break]]:
    """The x of every event, and where the axis jumps."""
    events = sorted({event for span in spans for event in span})
    horizon = len(history)
    x: dict[int, float] = {}
    breaks = []
    at, previous = 1.0, None
    for event in events:
        if previous is not None:
            at += _STEP
            if event < horizon:
                gap = float(history.time[event] - history.time[previous]) / 1e9
                if gap >= BREAK_SECONDS:
                    breaks.append(Break(at + _STEP, duration_text(gap)))
                    at += 3 * _STEP
            previous_of_same = [
                x[b] + width for (b, e), width in zip(spans, widths, strict=True) if e == event
            ]
            at = max([at, *previous_of_same])
        x[event] = at
        previous = event
    return x, breaks


def _node_and_process(history: History, place: int) -> tuple[str, int]:
    columns = history.operations
    return history.ops[int(columns.invoke[place])].node or "", int(columns.process[place])


def _row_label(history: History, place: int) -> str:
    op = history.ops[int(history.operations.invoke[place])]
    return f"{op.node} · process {op.process}" if op.node else f"process {op.process}"


def _label(history: History, place: int, evidence: Evidence, culprit: bool) -> str:
    columns = history.operations
    complete = int(columns.complete[place])
    outcome = int(columns.outcome[place])
    invoke = history.ops[int(columns.invoke[place])]
    label = operation_text(invoke, history.ops[complete] if complete >= 0 else None, outcome)
    if invoke.key is not None and evidence.key is None:
        label = f"{label} · key {value_text(invoke.key, 20)}"
    if culprit:
        mark = _MARKS.get(str(evidence.details.get("kind")))
        return f"{label} ({mark})" if mark else label
    return label if outcome == OK else f"{label} ({'failed' if outcome == 2 else 'unknown'})"


def _culprit(evidence: Evidence, named: list[int]) -> int | None:
    """The operation that the summary is about: the one whose words come first in it, if the checker gives the
    operations in words, in order of invocation."""
    words = evidence.details.get("operations")
    if not isinstance(words, list) or len(words) != len(named):
        return None
    found = [(evidence.summary.find(str(said)), place) for said, place in zip(words, named, strict=True)]
    return min(((at, place) for at, place in found if at >= 0), default=(0, None))[1]


def _title(history: History, place: int) -> str:
    columns = history.operations
    complete = int(columns.complete[place])
    outcome = int(columns.outcome[place])
    invoke = history.ops[int(columns.invoke[place])]
    end = history.ops[complete] if complete >= 0 else None
    until = f" to {end.time / 1e9:.6f} s" if end is not None else ""
    hint = outcome_hint(outcome, end.error if end is not None else None)
    did = f"{_row_label(history, place)}: {operation_text(invoke, end, outcome)}"
    return f"{did}, {invoke.time / 1e9:.6f} s{until}{f' ({hint})' if hint else ''}"
