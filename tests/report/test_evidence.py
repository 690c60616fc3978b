"""The small picture of a violation."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from harness.history import History, Op
from harness.report import evidence
from harness.verdict import Evidence

MS = 1_000_000


def history(*rows: tuple[int, str, int, str, Any]) -> History:
    """Events from (milliseconds, type, process, f, value)."""
    return History(
        [
            Op(index, at * MS, kind, process, f, None, value, None, f"n{process + 1}")  # type: ignore[arg-type]
            for index, (at, kind, process, f, value) in enumerate(rows)
        ]
    )


STALE = history(
    (0, "invoke", 0, "write", 6), (2, "ok", 0, "write", 6),
    (3_000, "invoke", 1, "write", 7), (3_004, "ok", 1, "write", 7),
    (3_010, "invoke", 2, "read", None), (3_012, "ok", 2, "read", 6),
    (3_020, "invoke", 3, "write", 8),
)  # fmt: skip


def test_the_operation_that_the_sentence_is_about_is_marked() -> None:
    one = Evidence(
        summary="Stale read: process 2 read 6, but before, process 1 wrote 7.",
        operations=[1, 3, 5],
        details={
            "kind": "Stale read",
            "operations": ["process 0 wrote 6", "process 1 wrote 7", "process 2 read 6"],
        },
    )
    drawn = evidence.picture(STALE, one)
    assert drawn is not None
    assert [(bar.label, bar.culprit) for bar in drawn.bars] == [
        ("write 6", False),
        ("write 7", False),
        ("read 6 (stale)", True),
    ]
    assert [row.label for row in drawn.rows] == ["n1 · process 0", "n2 · process 1", "n3 · process 2"]
    assert [one.text for one in drawn.breaks] == ["3.00 s"]
    assert (drawn.start, drawn.end) == (0.0, 3.012)


def test_either_event_names_the_operation() -> None:
    assert evidence.places(STALE, Evidence(summary="", operations=[0])) == [0]
    assert evidence.places(STALE, Evidence(summary="", operations=[1])) == [0]
    assert evidence.places(STALE, Evidence(summary="", operations=[0, 1, 5])) == [0, 2]


def test_events_that_the_history_has_not_are_no_error() -> None:
    assert evidence.places(STALE, Evidence(summary="", operations=[-1, 99])) == []
    assert evidence.picture(STALE, Evidence(summary="")) is None


def test_an_unfinished_operation_reaches_to_the_right_edge_and_says_so() -> None:
    drawn = evidence.picture(STALE, Evidence(summary="", operations=[1, 6]))
    assert drawn is not None
    assert drawn.bars[-1].label == "write 8 (unknown)"
    assert drawn.bars[-1].x + drawn.bars[-1].width == drawn.width - 4


def test_more_operations_than_a_small_picture_holds_are_counted() -> None:
    rows = [
        (2 * i + half, kind, 0, "write", i) for i in range(60) for half, kind in enumerate(("invoke", "ok"))
    ]
    drawn = evidence.picture(history(*rows), Evidence(summary="", operations=list(range(120))))
    assert drawn is not None
    assert len(drawn.bars) == evidence.OPERATIONS_MAX
    assert drawn.omitted == 20


@st.composite
def histories(draw: st.DrawFn) -> History:
    open_: set[int] = set()
    rows: list[tuple[int, str, int, str, Any]] = []
    at = 0
    for _ in range(draw(st.integers(1, 30))):
        at += draw(st.sampled_from([0, 1, 5, 400]))
        process = draw(st.integers(0, 4))
        kind = "ok" if process in open_ else "invoke"
        rows.append((at, kind, process, "write", draw(st.integers(0, 10**9))))
        open_ ^= {process}
    return history(*rows)


@given(histories())
def test_the_picture_keeps_the_order_of_events_and_room_for_the_words(recorded: History) -> None:
    drawn = evidence.picture(recorded, Evidence(summary="", operations=list(range(len(recorded)))))
    assert drawn is not None
    columns = recorded.operations
    x: dict[int, float] = {}
    for bar, place in zip(drawn.bars, drawn.places, strict=True):
        x[int(columns.invoke[place])] = bar.x
        if columns.complete[place] >= 0:
            x[int(columns.complete[place])] = bar.x + bar.width
        assert bar.width >= 7 * len(bar.label)
    in_order = [x[event] for event in sorted(x)]
    assert in_order == sorted(set(in_order))
    assert max(in_order) <= drawn.width
