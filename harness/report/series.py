"""What the charts show, computed from a history: rows of operations, faults, rates, quantiles, membership.

All times are seconds since the run began. An operation's place is its position in `History.operations`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.history import FAIL, INFO, OK, History
from harness.report.words import duration_text, fault_text, operation_text, outcome_hint
from harness.store import MarkRecord, TestRecord

Floats = NDArray[np.float64]

ROWS_MAX = 120
"""More clients than this share a row per node in the timeline."""
BINS_MAX = 240
BIN_OPERATIONS_MIN = 20
"""On average: rates of fewer are noise."""
OBSERVERS_MAX = 12
"""In a cluster larger than this, membership is one row per node: the worst that anybody saw of it."""
STATUSES = ("alive", "suspect", "failed", "left", "unknown")
_WORST = ("alive", "left", "suspect", "failed")


@dataclass(frozen=True, slots=True)
class Operations:
    """Clients' operations as the browser wants them; all columns of one length, in order of invocation."""

    start: Floats
    end: Floats
    """Of an operation that nothing completed: the end of the run."""
    outcome: NDArray[np.uint8]
    f: NDArray[np.uint8]
    process: NDArray[np.int32]
    row: NDArray[np.uint16]
    fs: list[str]
    rows: list[str]
    """Each row's node; rows of one node stand together. Empty names where the history has no nodes."""
    text: list[str]
    hints: dict[int, str]
    """What there is to say of those that are not ok."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One stretch of damage."""

    mark: int
    """Index into the test's marks."""
    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class Rates:
    """Completions per second in the bins between `edges`; and quantiles of the latency (seconds) of the ok
    ones, NaN where there were none."""

    edges: Floats
    ok: Floats
    fail: Floats
    info: Floats
    quantiles: dict[str, Floats]


@dataclass(frozen=True, slots=True)
class Latencies:
    """One function's figures for the table."""

    f: str
    ok: int
    fail: int
    info: int
    quantiles: list[str]
    """Of the ok ones, in words: p50, p95, p99, max."""


@dataclass(frozen=True, slots=True)
class Band:
    """For how long an observer held one opinion of a target."""

    observer: str
    target: str
    status: str
    start: float
    end: float


def seconds(history: History) -> float:
    """From the beginning of the run to the last event."""
    return float(history.time[-1]) / 1e9 if len(history) else 0.0


def operations(history: History, test: TestRecord | None, nodes: Sequence[str]) -> Operations:
    columns = history.operations
    start = history.time[columns.invoke] / 1e9
    completed = columns.complete >= 0
    end = np.where(completed, history.time[columns.complete] / 1e9, seconds(history))
    row, rows = _rows(history, test, nodes)
    text: list[str] = []
    hints: dict[int, str] = {}
    for place, ((invoke, complete), outcome) in enumerate(
        zip(history.pairs(), columns.outcome.tolist(), strict=True)
    ):
        key = "" if invoke.key is None else f" · key {str(invoke.key)[:40]}"
        text.append(operation_text(invoke, complete, outcome) + key)
        if outcome != OK:
            hints[place] = outcome_hint(outcome, complete.error if complete is not None else None)[:200]
    return Operations(
        start=start,
        end=end,
        outcome=columns.outcome.astype(np.uint8),
        f=np.minimum(columns.f, 255).astype(np.uint8),
        process=columns.process.astype(np.int32),
        row=row,
        fs=history.fs,
        rows=rows,
        text=text,
        hints=hints,
    )


def _rows(
    history: History, test: TestRecord | None, nodes: Sequence[str]
) -> tuple[NDArray[np.uint16], list[str]]:
    """A row for each client thread, or for each node if there are too many threads."""
    columns = history.operations
    order = {node: place for place, node in enumerate(nodes)}
    place = np.array([order.get(history.ops[i].node or "", len(order)) for i in columns.invoke.tolist()], int)
    threads = columns.process % test.concurrency if test is not None else columns.process
    combined = place * (int(threads.max(initial=0)) + 1) + threads
    found, row = np.unique(combined, return_inverse=True)
    if len(found) > ROWS_MAX:
        found, row = np.unique(place, return_inverse=True)
        places = found
    else:
        places = found // (int(threads.max(initial=0)) + 1)
    names = [*nodes, ""]
    return row.astype(np.uint16), [names[i] for i in places.tolist()]


def faults(history: History, marks: Sequence[MarkRecord], nodes: Sequence[str]) -> list[Fault]:
    """Each stretch from the completion of a `start` to that of the next `stop` or `start` of the same mark,
    or to the end of the run."""
    found: list[Fault] = []
    for number, mark in enumerate(marks):
        since: tuple[float, str] | None = None
        for order, completion in history.nemesis:
            done = completion if completion is not None else order
            at = done.time / 1e9
            if order.f not in mark.start and order.f not in mark.stop:
                continue
            if since is not None:
                found.append(Fault(number, since[0], at, since[1]))
            since = (at, fault_text(nodes, done.value)) if order.f in mark.start else None
        if since is not None:
            found.append(Fault(number, since[0], seconds(history), since[1]))
    return sorted(found, key=lambda fault: fault.start)


def rates(history: History) -> Rates:
    columns = history.operations
    total = max(seconds(history), 1e-6)
    width = _nice(total / min(max(len(columns) / BIN_OPERATIONS_MIN, 10), BINS_MAX))
    count = max(1, round(total / width))
    edges = np.append(np.arange(count, dtype=np.float64) * width, total)  # the last one takes what is left
    done = columns.complete >= 0
    bins = np.minimum(history.time[columns.complete[done]] / 1e9 / width, count - 1).astype(np.int64)
    outcome = columns.outcome[done]
    latency = (history.time[columns.complete[done]] - history.time[columns.invoke[done]]) / 1e9

    def per_second(which: int) -> Floats:
        return np.bincount(bins[outcome == which], minlength=count) / np.diff(edges)

    quantiles = {name: np.full(count, np.nan) for name in ("p50", "p95", "p99", "max")}
    ok = np.flatnonzero(outcome == OK)
    ok = ok[np.argsort(bins[ok], kind="stable")]
    bounds = np.searchsorted(bins[ok], np.arange(count + 1))
    for i in np.flatnonzero(np.diff(bounds)).tolist():
        values = np.quantile(latency[ok[bounds[i] : bounds[i + 1]]], [0.5, 0.95, 0.99, 1.0])
        for series, value in zip(quantiles.values(), values.tolist(), strict=True):
            series[i] = value
    return Rates(edges, per_second(OK), per_second(FAIL), per_second(INFO), quantiles)


def latencies(history: History) -> list[Latencies]:
    """A row per function, and one of all together if there are several."""
    columns = history.operations
    latency = (history.time[columns.complete] - history.time[columns.invoke]) / 1e9
    groups = [(f, columns.f == code) for code, f in enumerate(history.fs) if (columns.f == code).any()]
    if len(groups) > 1:
        groups.append(("all", np.ones(len(columns), np.bool_)))
    table = []
    for f, chosen in groups:
        outcome = columns.outcome[chosen]
        ok = latency[chosen][outcome == OK]
        quantiles = np.quantile(ok, [0.5, 0.95, 0.99, 1.0]).tolist() if len(ok) else []
        succeeded, failed = (int((outcome == which).sum()) for which in (OK, FAIL))
        unknown = len(outcome) - succeeded - failed
        table.append(Latencies(f, succeeded, failed, unknown, [duration_text(value) for value in quantiles]))
    return table


def membership(history: History, nodes: Sequence[str]) -> list[Band]:
    """What each observer held of each target, from its samples (`members` operations).

    An opinion lasts until the observer's next sample; from a sample that failed to the next one nothing is
    known. In a cluster of more than OBSERVERS_MAX nodes: per target the worst that anybody held, with
    observer "anybody".
    """
    if "members" not in history.fs:
        return []
    columns = history.operations
    chosen = columns.take(columns.f == history.fs.index("members"))
    end = seconds(history)
    held: dict[str, dict[str, tuple[str, float]]] = {}
    bands: list[Band] = []
    order = np.argsort(np.where(chosen.complete >= 0, chosen.complete, chosen.invoke), kind="stable").tolist()
    for i in order:
        complete = int(chosen.complete[i])
        op = history.ops[complete if complete >= 0 else int(chosen.invoke[i])]
        observer, at = op.node or "?", op.time / 1e9
        seen = op.value if op.type == "ok" and isinstance(op.value, dict) else {}
        opinions = held.setdefault(observer, {})
        for target, (status, since) in list(opinions.items()):
            if status != seen.get(target):
                bands.append(Band(observer, target, status, since, at))
                del opinions[target]
        for target, status in seen.items():
            opinions.setdefault(target, (str(status), at))
    for observer, opinions in held.items():
        bands += [Band(observer, target, status, since, end) for target, (status, since) in opinions.items()]
    return bands if len(nodes) <= OBSERVERS_MAX else _worst(bands)


def _worst(bands: list[Band]) -> list[Band]:
    """Per target one row: at each moment the worst status that another node held of it."""
    changes: dict[str, dict[float, list[tuple[str, int]]]] = {}
    for band in bands:
        if band.observer != band.target and band.status in _WORST:
            at = changes.setdefault(band.target, {})
            at.setdefault(band.start, []).append((band.status, 1))
            at.setdefault(band.end, []).append((band.status, -1))
    merged: list[Band] = []
    for target, moments in changes.items():
        held = dict.fromkeys(_WORST, 0)
        worst, since = "", 0.0
        for moment, steps in sorted(moments.items()):
            for status, step in steps:
                held[status] += step
            now = max(
                (status for status, observers in held.items() if observers), key=_WORST.index, default=""
            )
            if now != worst:
                if worst:
                    merged.append(Band("anybody", target, worst, since, moment))
                worst, since = now, moment
    return merged


def _nice(least: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is at least this."""
    power = 10.0 ** np.floor(np.log10(least))
    return float(next(step * power for step in (1, 2, 5, 10) if step * power >= least * 0.999999))
