"""Histories on disk at full speed: the kernel reads what the decoder reads, and the copy is believed only if
it is one."""

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.history import BrokenHistory, History, Op, encode, sidecar, stored
from harness.history.columns import columns_of, values_of
from harness.history.op import NotAnEvent, decode
from harness.history.stored import Events

# --- The kernel and the decoder ------------------------------------------------------------------------

names = st.sampled_from(["read", "write", "cas", "txn"]) | st.text(max_size=5)
integers = st.integers(-5, 5) | st.integers(-(2**70), 2**70)
scalars = st.none() | st.booleans() | integers | st.floats(allow_nan=False, allow_infinity=False) | names
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
values = st.none() | st.integers() | st.lists(st.none() | integers, min_size=2, max_size=2) | anything
rows = st.builds(
    Op,
    index=st.integers(0, 2**62),
    time=st.integers(-(2**62), 2**62),
    type=st.sampled_from(["invoke", "ok", "fail", "info"]),
    process=st.integers(-3, 2**40) | st.just("nemesis") | names,
    f=names,
    key=st.none() | st.integers(-3, 2**40) | names,
    value=values,
    error=st.none() | names,
    node=st.none() | names,
    version=st.none() | st.integers(0, 2**40),
)


def scanned(lines: bytes) -> Events:
    events = stored._scanned(Path("history.jsonl"), lines)
    assert events is not None
    return events


def agree(events: Events, ops: list[Op]) -> None:
    """The columns say what the rows say."""
    got, expected = events.columns, columns_of(ops)
    assert events.values is not None and events.index is not None
    for column in ("time", "type", "process", "version"):
        assert np.array_equal(getattr(got, column), getattr(expected, column)), column
    assert events.index.tolist() == [op.index for op in ops]
    for codes, table in (("f", "fs"), ("key", "keys"), ("node", "nodes")):
        for columns in (got, expected):
            decoded = [getattr(columns, table)[code] for code in getattr(columns, codes)]
            assert decoded == [getattr(op, codes) for op in ops]
    plain = values_of([op.value for op in ops])
    for i, kind in enumerate(events.values.kind.tolist()):
        if kind != 2:  # what it takes for an integer or a pair is one
            assert kind == plain.kind[i]
            assert (events.values.first[i], events.values.second[i]) == (plain.first[i], plain.second[i])


@settings(max_examples=300, deadline=None)
@given(st.lists(rows, min_size=1, max_size=6))
def test_the_kernel_reads_what_was_written_as_the_decoder_does(ops: list[Op]) -> None:
    lines = b"".join(map(encode, ops))
    agree(scanned(lines), [decode(line) for line in lines.splitlines()])


@settings(max_examples=300, deadline=None)
@given(rows, st.data())
def test_the_kernel_reads_any_json_like_it(op: Op, data: st.DataObject) -> None:
    """Fields in any order, others among them, spaces between."""
    fields = {**msgspec.to_builtins(op), "other": data.draw(anything)}
    shuffled = data.draw(st.permutations(sorted(fields)))
    line = json.dumps({name: fields[name] for name in shuffled}, ensure_ascii=data.draw(st.booleans()))
    try:
        decoded = decode(line.encode())
    except NotAnEvent:  # integers that are too large for the field
        return
    agree(scanned(line.encode() + b"\n"), [decoded])


@settings(max_examples=1000, deadline=None)
@given(rows, st.data())
def test_the_kernel_accepts_no_line_that_the_decoder_refuses(op: Op, data: st.DataObject) -> None:
    line = bytearray(encode(op)[:-1])
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.integers(0, len(line) - 1))
        line[place : place + data.draw(st.integers(0, 2))] = data.draw(
            st.sampled_from(
                [b"", b'"', b",", b"{", b"}", b"[", b"]", b":", b"0", b"-", b".", b"e", b"\\", b" ", b"n"]
            )
        )
    if b"\n" in line or not line:
        return
    try:
        expected = decode(bytes(line))
    except NotAnEvent:
        with pytest.raises(BrokenHistory):
            scanned(bytes(line) + b"\n")
        return
    agree(scanned(bytes(line) + b"\n"), [expected])


# --- The copy ------------------------------------------------------------------------------------------


def events(count: int, value: Any = None) -> list[Op]:
    return [
        Op(i, 1000 * i, ("invoke", "ok")[i % 2], 0, "write", f"k{i // 2 % 3}", i if value is None else value)
        for i in range(count)
    ]


def written(folder: Path, ops: list[Op]) -> Path:
    path = folder / "history.jsonl"
    path.write_bytes(b"".join(map(encode, ops)))
    return path


def same(one: History, other: History) -> None:
    assert one.ops == other.ops
    for column in ("time", "type", "process", "f", "key", "node", "version"):
        assert np.array_equal(getattr(one, column), getattr(other, column)), column
    assert (one.fs, one.keys, one.nodes) == (other.fs, other.keys, other.nodes)
    for half in ("kind", "first", "second"):
        assert np.array_equal(getattr(one.values, half), getattr(other.values, half)), half
    for column in ("invoke", "complete", "outcome", "process", "f", "key"):
        assert np.array_equal(getattr(one.operations, column), getattr(other.operations, column)), column


@settings(max_examples=100, deadline=None)
@given(value=values)
def test_a_history_read_twice_is_the_same_history(
    tmp_path_factory: pytest.TempPathFactory, value: Any
) -> None:
    ops = [decode(encode(op)) for op in events(10, value)]
    path = written(tmp_path_factory.mktemp("run"), ops)
    first = History.read(path, keep=True)
    assert sidecar.path_of(path).exists()
    again = History.read(path, keep=True)
    same(again, first)
    same(again, History(ops))
    operations = again.operations
    assert again.arguments(operations) == first.arguments(operations) == [op.value for op in ops[::2]]
    assert again.warnings == []


def test_rows_are_decoded_one_by_one_when_a_few_are_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path, events(100))
    History.read(path, keep=True)
    history = History.read(path, keep=True)
    assert history.ops[7] == events(100)[7]
    assert history.ops[-1] == events(100)[-1]
    assert history.ops[3:5] == events(100)[3:5]
    assert list(history.ops) == events(100)


def test_a_large_history_is_read_by_the_kernel_and_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, [*events(200), Op(200, 10**6, "invoke", 7, 'odd "f"', None, {"a": [1.5, "é"]})])
    first = History.read(path, keep=True)
    sidecar.path_of(path).unlink()
    monkeypatch.setattr(stored, "_SCAN_BYTES", 0)
    same(History.read(path, keep=True), first)
    same(History.read(path, keep=True), first)


def test_an_event_that_contradicts_others_is_named_by_line_in_a_large_history_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "_SCAN_BYTES", 0)
    path = written(tmp_path, [*events(6), Op(6, 10**6, "ok", 3, "read")])
    for _ in range(2):
        with pytest.raises(
            BrokenHistory, match=r"history\.jsonl:7: a completion without .* process 3, ok read"
        ):
            History.read(path, keep=True)
    assert not sidecar.path_of(path).exists()


def test_a_history_that_changed_is_read_again(tmp_path: Path) -> None:
    path = written(tmp_path, events(10))
    History.read(path, keep=True)
    times = path.stat()
    path.write_bytes(path.read_bytes().replace(b'"value":8', b'"value":9'))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    history = History.read(path, keep=True)
    assert history.values.first.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 9, 9]
    assert "history.columns: ignored: it was made of another history.jsonl" in history.warnings[0]
    assert History.read(path, keep=True).warnings == []


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda data: b"", "of another version"),
        (lambda data: b"PAR1" + data, "of another version"),
        (lambda data: data.replace(b"columns 1", b"columns 9", 1), "of another version"),
        (lambda data: data[:-1], "damaged"),
        (lambda data: data[:40], "damaged"),
        (lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:], "damaged"),
        (lambda data: data.replace(b'"write"', b'"wrote"', 1), "damaged"),
    ],
)
def test_a_torn_or_foreign_copy_is_ignored_with_a_word(tmp_path: Path, damage: Any, why: str) -> None:
    path = written(tmp_path, events(10))
    History.read(path, keep=True)
    copy = sidecar.path_of(path)
    whole = copy.read_bytes()
    copy.write_bytes(damage(whole))
    history = History.read(path, keep=True)
    same(history, History(events(10)))
    assert why in history.warnings[0]
    assert copy.read_bytes() == whole


def test_a_copy_remembers_that_the_last_line_was_torn(tmp_path: Path) -> None:
    path = written(tmp_path, events(10))
    path.write_bytes(path.read_bytes()[:-5])
    first, again = History.read(path, keep=True), History.read(path, keep=True)
    same(again, first)
    assert len(again) == 9
    assert again.warnings == first.warnings
    assert "history.jsonl:10: the last line is cut short" in again.warnings[0]


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, data: bytes) -> int:
        raise PermissionError(13, "Permission denied")

    path = written(tmp_path, events(4))
    monkeypatch.setattr(Path, "write_bytes", refuse)
    assert History.read(path, keep=True).warnings == []
    assert not sidecar.path_of(path).exists()


def test_a_reader_leaves_no_copy_unless_told_to(tmp_path: Path) -> None:
    path = written(tmp_path, events(4))
    History.read(path)
    assert not sidecar.path_of(path).exists()


def test_rows_of_a_file_that_was_changed_meanwhile_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, events(10))
    History.read(path, keep=True)
    history = History.read(path, keep=True)
    path.write_bytes(b"\n" * 1000)
    with pytest.raises(BrokenHistory, match="was changed while"):
        history.ops[3]
