"""History: what is written is what is read, damage is named by file and line, rows and columns agree."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.history import FAIL, INFO, OK, OPEN, BrokenHistory, History, Op, encode

EVENTS = [
    Op(0, 10, "invoke", 0, "write", "x", 1, node="n1"),
    Op(1, 11, "invoke", 1, "read", "y", node="n2"),
    Op(2, 12, "info", "nemesis", "start-partition", value="halves"),
    Op(3, 13, "ok", 0, "write", "x", 1, node="n1"),
    Op(4, 14, "info", "nemesis", "start-partition", value={"cut": []}),
    Op(5, 15, "info", 1, "read", "y", error="timeout", node="n2"),
    Op(6, 16, "invoke", 0, "cas", "x", [1, 2], node="n1"),
    Op(7, 17, "invoke", 6, "read", "y", node="n2"),
    Op(8, 18, "fail", 0, "cas", "x", [1, 2], node="n1"),
]


def written(path: Path, events: list[Op]) -> Path:
    path.write_bytes(b"".join(map(encode, events)))
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    history = History.read(written(tmp_path / "history.jsonl", EVENTS))
    assert history.ops == EVENTS
    assert history.warnings == []


def test_columns_say_what_rows_say() -> None:
    history = History(EVENTS)
    assert history.time.tolist() == [op.time for op in EVENTS]
    assert [history.fs[f] for f in history.f] == [op.f for op in EVENTS]
    assert [history.keys[key] for key in history.key] == [op.key for op in EVENTS]
    assert history.process.tolist() == [0, 1, -1, 0, -1, 1, 0, 6, 0]


def test_operations_pair_invocations_with_completions() -> None:
    history = History(EVENTS)
    operations = history.operations
    assert operations.invoke.tolist() == [0, 1, 6, 7]
    assert operations.complete.tolist() == [3, 5, 8, -1]
    assert operations.outcome.tolist() == [OK, INFO, FAIL, OPEN]
    assert history.arguments(operations) == [1, None, [1, 2], None]
    assert history.results(operations) == [1, None, [1, 2], None]
    assert next(history.pairs()) == (EVENTS[0], EVENTS[3])
    assert len(operations.take(operations.outcome == OK)) == 1


def test_nemesis_events_are_paired_by_alternation() -> None:
    assert History(EVENTS).nemesis == [(EVENTS[2], EVENTS[4])]


def test_an_empty_history_is_a_history(tmp_path: Path) -> None:
    history = History.read(written(tmp_path / "history.jsonl", []))
    assert len(history) == len(history.operations) == 0


@pytest.mark.parametrize("cut", [1, 2, 30])
def test_a_torn_last_line_is_cut_with_a_warning(tmp_path: Path, cut: int) -> None:
    path = written(tmp_path / "history.jsonl", EVENTS)
    path.write_bytes(path.read_bytes()[: -cut if cut > 1 else -2])
    history = History.read(path)
    assert history.ops == EVENTS[:-1]
    assert "history.jsonl:9: the last line is cut short" in history.warnings[0]


def test_a_last_line_that_lacks_only_its_newline_is_kept(tmp_path: Path) -> None:
    path = written(tmp_path / "history.jsonl", EVENTS)
    path.write_bytes(path.read_bytes()[:-1])
    history = History.read(path)
    assert history.ops == EVENTS
    assert history.warnings == []


@pytest.mark.parametrize(
    "garbage", [b"garbage\n", b"\n", b'{"index": 4}\n', b"\xff\xfe\n", b'{"index":4,"time":"x"}\n']
)
def test_a_garbled_line_is_named_by_file_and_line(tmp_path: Path, garbage: bytes) -> None:
    lines = [encode(op) for op in EVENTS]
    path = tmp_path / "history.jsonl"
    path.write_bytes(b"".join([*lines[:4], garbage, *lines[5:]]))
    with pytest.raises(BrokenHistory, match=r"history\.jsonl:5: ") as raised:
        History.read(path)
    assert raised.value.line == 5


def test_two_events_in_one_line_are_refused(tmp_path: Path) -> None:
    lines = [encode(op) for op in EVENTS]
    path = tmp_path / "history.jsonl"
    path.write_bytes(lines[0].rstrip() + b" " + b"".join(lines[1:]))
    with pytest.raises(BrokenHistory, match=r"history\.jsonl:1: "):
        History.read(path)


def op(index: int, type_: Any, process: Any = 0, f: str = "read", **rest: Any) -> Op:
    return Op(index, rest.pop("time", index), type_, process, f, **rest)


@pytest.mark.parametrize(
    ("events", "line", "why"),
    [
        ([op(0, "invoke"), op(1, "invoke")], 2, "still open"),
        ([op(0, "ok")], 1, "without an operation"),
        ([op(0, "invoke"), op(1, "ok"), op(2, "ok")], 3, "without an operation"),
        ([op(0, "invoke"), op(1, "info"), op(2, "invoke")], 3, "is dead"),
        ([op(0, "invoke", time=5), op(1, "ok", time=4)], 2, "the time is before"),
        ([op(0, "invoke"), op(2, "ok")], 2, "events are missing"),
        ([op(0, "invoke"), op(1, "ok", f="write")], 2, "f is not its invocation"),
        ([op(0, "invoke", key="a"), op(1, "ok", key="b")], 2, "key is not its invocation"),
        ([op(0, "invoke", "nemesis")], 1, "all info"),
        ([op(0, "invoke", -2)], 1, "from 0 up"),
    ],
)
def test_events_that_contradict_each_other_are_named(
    tmp_path: Path, events: list[Op], line: int, why: str
) -> None:
    path = written(tmp_path / "history.jsonl", events)
    with pytest.raises(BrokenHistory, match=rf"history\.jsonl:{line}: .*{why}"):
        History.read(path)


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["ok", "fail", "info"])), max_size=60))
def test_pairs_are_those_of_a_walk_event_by_event(steps: list[tuple[int, Any]]) -> None:
    events: list[Op] = []
    busy: dict[int, int] = {}
    crashes = [0, 0, 0, 0]
    expected: dict[int, int] = {}
    for client, outcome in steps:
        process = client + 4 * crashes[client]
        index = len(events)
        if client in busy:
            expected[busy.pop(client)] = index
            crashes[client] += outcome == "info"
            events.append(op(index, outcome, process))
        else:
            busy[client] = index
            expected[index] = -1
            events.append(op(index, "invoke", process))
    operations = History(events).operations
    assert dict(zip(operations.invoke.tolist(), operations.complete.tolist(), strict=True)) == expected
    assert np.array_equal(operations.invoke, np.sort(operations.invoke))
