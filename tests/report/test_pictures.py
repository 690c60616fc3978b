"""The interactive pictures of evidence: an order that gets stuck, and a cycle of transactions."""

from __future__ import annotations

import copy
import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import harness.report
from checkers._picture import picture as picture_of
from checkers.models import MODELS
from harness.history import History, Op
from harness.report import cycle, linearization
from harness.verdict import Evidence, Verdict

MS = 1_000_000
ATTACK = "</svg><script>alert(1)</script><img src=x onerror=alert(1)>\"'"


def evidence(**details: Any) -> Evidence:
    return Evidence(summary="It is wrong.", details=details)


def operation(event: int, text: str, start: int, finish: int | None, process: int = 0) -> dict[str, Any]:
    return {
        "event": event,
        "process": process,
        "text": text,
        "start": start * MS,
        "finish": None if finish is None else finish * MS,
    }


QUEUE: dict[str, Any] = {
    "kind": "linearization",
    "operations": [
        operation(0, "enqueue 5", 1, 4),
        operation(1, "enqueue 6 ?", 2, None, 1),
        operation(2, "dequeue -> 5", 5, 9, 2),
        operation(3, "dequeue -> 5", 10, 12, 3),
    ],
    "order": [0, 2],
    "states": ["[]", "[5]", "[]"],
    "stuck": 3,
    "why": "5 came out twice.",
}
CYCLE: list[dict[str, Any]] = [
    {"op": 3, "text": "process 0 read x = 1, wrote y = 2", "edge": "rw", "why": "T2 read y before that"},
    {"op": 2, "text": "process 1 read y = nothing, wrote x = 3", "edge": "realtime", "why": "it was over"},
]


def test_every_operation_and_every_step_is_drawn() -> None:
    drawn = linearization.picture(None, evidence(picture=QUEUE))
    assert drawn is not None
    assert [bar.label for bar in drawn.bars] == [
        "enqueue 5", "enqueue 6 ? (unknown)", "dequeue -> 5", "✕ dequeue -> 5"
    ]  # fmt: skip
    assert [bar.kind for bar in drawn.bars] == ["ok", "info", "ok", "stuck"]
    assert [(bar.step.number, bar.step.state) if bar.step else None for bar in drawn.bars] == [
        (1, "[5]"), None, (2, "[]"), None
    ]  # fmt: skip
    assert drawn.before is not None
    assert drawn.before.state == "[]"
    assert drawn.stuck == drawn.bars[3].x + drawn.bars[3].width
    assert drawn.bars[3].note.endswith("The state is [] after the last step. 5 came out twice.")
    assert [row.label for row in drawn.rows] == [f"process {number}" for number in range(4)]


def test_the_pictures_that_checkers_make_are_drawn_from_their_history() -> None:
    rows = [
        ("invoke", 0, "enqueue", 5), ("ok", 0, "enqueue", 5),
        ("invoke", 1, "dequeue", None), ("ok", 1, "dequeue", 5),
        ("invoke", 2, "dequeue", None), ("ok", 2, "dequeue", 5),
    ]  # fmt: skip
    history = History(
        [Op(i, 7, kind, process, f, None, value, None, f"n{process}")  # type: ignore[arg-type]
         for i, (kind, process, f, value) in enumerate(rows)]
    )  # fmt: skip
    made = picture_of(history, MODELS["queue"](), [0, 1, 2], "5 came out twice.")
    drawn = linearization.picture(history, evidence(picture=made))
    assert drawn is not None
    assert [bar.kind for bar in drawn.bars] == ["ok", "ok", "stuck"]
    assert [row.label for row in drawn.rows] == ["n0 · process 0", "n1 · process 1", "n2 · process 2"]
    # All at one time: the events tell the order.
    ends = [x for bar in drawn.bars for x in (bar.x, bar.x + bar.width)]
    assert ends == sorted(set(ends))


def test_of_many_operations_the_nearest_are_drawn_and_steps_keep_their_numbers() -> None:
    count = 100
    many = {
        **QUEUE,
        "operations": [operation(i, f"enqueue {i}", 2 * i, 2 * i + 1) for i in range(count)],
        "order": list(range(count - 1)),
        "states": [f"after {i}" for i in range(count)],
        "stuck": count - 1,
    }
    drawn = linearization.picture(None, evidence(picture=many))
    assert drawn is not None
    assert len(drawn.bars) == linearization.OPERATIONS_MAX
    assert drawn.omitted == count - linearization.OPERATIONS_MAX
    assert drawn.bars[-1].kind == "stuck"
    assert drawn.bars[0].step is not None
    assert drawn.bars[0].step.number == drawn.omitted + 1
    assert drawn.before is not None
    assert drawn.before.state == f"after {drawn.omitted}"


GONE = object()
STRANGE = st.sampled_from([GONE, None, True, -1, 0, 3, 99, 2.5, 1e30, "", "x", [], [0], [0, 0, 7], ["x"], {}])


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 5), STRANGE), max_size=4))
def test_missing_and_strange_fields_make_a_simpler_picture_never_an_error(
    damage: list[tuple[int, int, Any]],
) -> None:
    order, around = copy.deepcopy(QUEUE), copy.deepcopy(CYCLE)
    parts: list[dict[str, Any]] = [order, *order["operations"], *around]
    for part, field, value in damage:
        name = list(parts[part])[field % len(parts[part])] if parts[part] else "text"
        if value is GONE:
            parts[part].pop(name, None)
        else:
            parts[part][name] = value
    one = evidence(picture=order, cycle=around)
    drawn = linearization.picture(None, one)
    assert drawn is None or len(drawn.bars) == len(order["operations"])
    cyclic = cycle.picture(None, one)
    assert cyclic is None or len(cyclic.boxes) == 2


def test_evidence_that_carries_neither_has_no_picture() -> None:
    cases: list[dict[str, Any]] = [
        {},
        {"picture": None, "cycle": []},
        {"picture": {"kind": "other"}, "cycle": "T1"},
    ]
    for details in cases:
        assert linearization.picture(None, evidence(**details)) is None
        assert cycle.picture(None, evidence(**details)) is None


def test_a_cycle_names_its_transactions_in_the_order_in_which_they_began() -> None:
    history = History(
        [Op(0, 0, "invoke", 0, "txn"), Op(1, 1, "invoke", 1, "txn"),
         Op(2, 2, "ok", 1, "txn"), Op(3, 3, "ok", 0, "txn")]
    )  # fmt: skip
    drawn = cycle.picture(history, evidence(cycle=CYCLE))
    assert drawn is not None
    assert [(word.name, word.edge, word.following) for word in drawn.words] == [
        ("T1", "rw", "T2"),
        ("T2", "realtime", "T1"),
    ]
    assert drawn.arrows[0].note == "T1 is before T2 (rw): T2 read y before that"
    assert " ".join(drawn.boxes[0].lines) == CYCLE[0]["text"]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 9, 20, 40, 41])
def test_boxes_of_a_cycle_lie_apart_and_within_the_picture(count: int) -> None:
    steps = [{"op": at, "text": f"process {at} " + "appended 5 to x, " * (at % 7)} for at in range(count)]
    drawn = cycle.picture(None, evidence(cycle=steps))
    assert drawn is not None
    assert [word.name for word in drawn.words] == [f"T{at}" for at in range(1, count + 1)]
    assert len(drawn.boxes) == len(drawn.arrows) == (count if 2 <= count <= cycle.BOXES_MAX else 0)
    for at, one in enumerate(drawn.boxes):
        assert 0 <= one.x <= one.x + one.width <= drawn.width
        assert 0 <= one.y <= one.y + one.height <= drawn.height
        for other in drawn.boxes[:at]:
            assert abs(one.x - other.x) >= one.width or abs(one.y - other.y) >= one.height


def test_the_page_shows_both_and_takes_their_words_as_text(
    synthetic: Callable[..., Any], tmp_path: Path
) -> None:
    run = synthetic(200)
    hostile = {
        **QUEUE,
        "operations": [{**one, "text": ATTACK} for one in QUEUE["operations"]],
        "states": [ATTACK] * 3,
        "why": ATTACK,
    }
    around = [{"op": at, "text": ATTACK, "edge": ATTACK, "why": ATTACK} for at in range(3)]
    run.results.verdicts = [
        Verdict(checker="x", valid="invalid", summary="", evidence=[evidence(picture=hostile, cycle=around)])
    ]
    page = harness.report.write(run.write(tmp_path)).read_text(encoding="utf-8")
    assert "<img" not in page
    assert "alert(1)</script>" not in page
    assert not re.search(r"@import|url\(", page)
    notes = [html.unescape(note) for note in re.findall(r'data-note="([^"]*)"', page)]
    assert len(notes) == len(QUEUE["operations"]) + 2 * len(around)
    assert all(ATTACK in note for note in notes)
