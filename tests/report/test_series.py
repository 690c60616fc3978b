"""What the charts are drawn from."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.history import History, Op
from harness.report import series
from harness.store import MarkRecord

S = 1_000_000_000
NODES = ("n1", "n2", "n3")
MARKS = [MarkRecord(name="kill", start=["start-kill"], stop=["stop-kill"], colour="#c44e52")]


def history(*rows: tuple[float, str, int | str, str, Any, str | None]) -> History:
    """Events from (seconds, type, process, f, value, node)."""
    return History(
        [
            Op(index, int(at * S), kind, process, f, None, value, None, node)  # type: ignore[arg-type]
            for index, (at, kind, process, f, value, node) in enumerate(rows)
        ]
    )


def nemesis(*rows: tuple[float, str, Any]) -> History:
    return history(*((at, "info", "nemesis", f, value, None) for at, f, value in rows))


def sample(
    at: float, observer: int, seen: dict[str, str] | None
) -> list[tuple[float, str, int, str, Any, str]]:
    node = f"n{observer}"
    ended = "fail" if seen is None else "ok"
    return [(at, "invoke", observer, "members", None, node), (at, ended, observer, "members", seen, node)]


def test_a_fault_lasts_from_the_completion_of_its_start_to_that_of_its_stop() -> None:
    recorded = nemesis(
        (1.0, "start-kill", "one"), (1.5, "start-kill", {"nodes": ["n1"]}),
        (4.0, "stop-kill", None), (4.5, "stop-kill", {"nodes": ["n1"]}),
    )  # fmt: skip
    assert series.faults(recorded, MARKS, NODES) == [series.Fault(0, 1.5, 4.5, "n1")]


def test_a_second_fault_before_the_stop_begins_a_stretch_of_its_own() -> None:
    recorded = nemesis(
        (1.0, "start-kill", "one"), (1.0, "start-kill", {"nodes": ["n1"]}),
        (2.0, "start-kill", "one"), (2.0, "start-kill", {"nodes": ["n2"]}),
        (4.0, "stop-kill", None), (4.0, "stop-kill", {"nodes": ["n1", "n2"]}),
    )  # fmt: skip
    assert [(fault.start, fault.end, fault.text) for fault in series.faults(recorded, MARKS, NODES)] == [
        (1.0, 2.0, "n1"),
        (2.0, 4.0, "n2"),
    ]


def test_a_fault_that_nobody_ended_lasts_to_the_end() -> None:
    recorded = nemesis(
        (1.0, "start-kill", "one"), (1.5, "start-kill", {"nodes": ["n1"]}), (9.0, "other", None)
    )
    assert [(fault.start, fault.end) for fault in series.faults(recorded, MARKS, NODES)] == [(1.5, 9.0)]


def test_an_opinion_lasts_until_the_next_sample_that_differs() -> None:
    recorded = history(
        *sample(1, 1, {"n2": "alive"}), *sample(2, 1, {"n2": "alive"}), *sample(3, 1, {"n2": "failed"}),
        *sample(5, 1, {"n2": "failed"}),
    )  # fmt: skip
    assert series.membership(recorded, NODES) == [
        series.Band("n1", "n2", "alive", 1, 3),
        series.Band("n1", "n2", "failed", 3, 5),
    ]


def test_nothing_is_known_after_a_sample_that_failed() -> None:
    recorded = history(
        *sample(1, 1, {"n2": "alive"}), *sample(2, 1, None), *sample(4, 1, {"n2": "alive"}), *sample(5, 2, {})
    )
    bands = [(band.start, band.end) for band in series.membership(recorded, NODES)]
    assert bands == [(1, 2), (4, 5)]


def test_a_large_cluster_shows_the_worst_that_another_node_held() -> None:
    nodes = tuple(f"n{number}" for number in range(1, series.OBSERVERS_MAX + 2))
    recorded = history(
        *sample(0, 1, {"n1": "failed", "n2": "alive"}), *sample(1, 3, {"n2": "alive"}),
        *sample(2, 3, {"n2": "suspect"}), *sample(3, 3, {"n2": "alive"}), *sample(4, 1, {"n2": "alive"}),
    )  # fmt: skip
    assert [
        (band.target, band.status, band.start, band.end) for band in series.membership(recorded, nodes)
    ] == [
        ("n2", "alive", 0, 2),
        ("n2", "suspect", 2, 3),
        ("n2", "alive", 3, 4),
    ]


def test_rates_count_every_completion_once() -> None:
    rows: list[tuple[float, str, int | str, str, Any, str | None]] = []
    for number in range(1_000):
        at = number / 100
        ended = "fail" if number % 10 == 0 else "ok"
        rows += [(at, "invoke", 0, "read", None, "n1"), (at + 0.001, ended, 0, "read", 1, "n1")]
    rates = series.rates(history(*rows))
    assert round(float((rates.ok * np.diff(rates.edges)).sum())) == 900
    assert round(float((rates.fail * np.diff(rates.edges)).sum())) == 100
    assert np.nanmax(np.abs(rates.quantiles["p99"] - 0.001)) < 1e-6


def test_rows_of_one_node_stand_together() -> None:
    rows: list[tuple[float, str, int | str, str, Any, str | None]] = [
        (0.0, "invoke", process, "read", None, f"n{process % 3 + 1}") for process in range(6)
    ]
    drawn = series.operations(history(*rows), None, NODES)
    assert drawn.rows == ["n1", "n1", "n2", "n2", "n3", "n3"]
    assert drawn.row.tolist() == [0, 2, 4, 1, 3, 5]
    assert drawn.hints[0] == "no completion was recorded"
