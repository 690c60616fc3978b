"""Files of transactions: the fast way reads what the exact one reads, or leaves it to it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checkers.elle import reader
from checkers.elle.transactions import NotTransactions, Transactions, from_history, of_workload
from harness import edn, history_formats
from harness.edn import Keyword
from harness.history import BrokenHistory, History, Op, OpType

Event = dict[str, Any]
BOTH: tuple[OpType, OpType] = ("invoke", "ok")


def told(transactions: Transactions) -> list[Any]:
    return [
        (
            transactions.micro_operations(one),
            int(transactions.invoke[one]),
            int(transactions.complete[one]),
            int(transactions.outcome[one]),
            int(transactions.process[one]),
        )
        for one in range(len(transactions))
    ]


keys = st.one_of(st.integers(-(10**17), 10**17), st.sampled_from(["x", "y", "long key", "ö"]))
values = st.one_of(st.none(), st.integers(-5, 10**12), st.sampled_from(["a", "b"]))
micro = st.one_of(
    st.tuples(st.just("r"), keys, st.one_of(values, st.lists(st.integers(0, 99), max_size=3))),
    st.tuples(st.sampled_from(["append", "w"]), keys, values),
)


@st.composite
def events(draw: st.DrawFn) -> list[Event]:
    """Of three clients and a nemesis, each with a value that looks like something."""
    found: list[Event] = []
    open_: dict[int, list[Any]] = {}
    processes = [0, 1, 2]
    for _ in range(draw(st.integers(1, 12))):
        thread = draw(st.integers(0, 3))
        if thread == 3:
            value = draw(st.sampled_from([None, {"cut": [["n1", "n2"]]}, ["n1"], "all"]))
            found.append({"type": "info", "f": "start", "process": "nemesis", "value": value})
        elif thread in open_:
            value = open_.pop(thread)
            type_ = draw(st.sampled_from(["ok", "ok", "fail", "info"]))
            found.append({"type": type_, "f": "txn", "process": processes[thread], "value": value})
            if type_ == "info":
                processes[thread] += 3
        else:
            open_[thread] = [list(one) for one in draw(st.lists(micro, max_size=3))]
            begun = [[f, key, None if f == "r" else value] for f, key, value in open_[thread]]
            found.append({"type": "invoke", "f": "txn", "process": processes[thread], "value": begun})
    for index, event in enumerate(found):
        event |= {"index": index, "time": index * 10}
    return found


def as_edn(event: Event) -> str:
    def keyed(value: Any) -> Any:
        if (
            isinstance(value, list)
            and value
            and all(isinstance(one, list) and len(one) == 3 for one in value)
        ):
            return [[Keyword(one[0]), *one[1:]] for one in value]
        return value

    plain = {
        **event,
        "type": Keyword(event["type"]),
        "f": Keyword(event["f"]),
        "value": keyed(event["value"]),
    }
    if event["process"] == "nemesis":
        plain["process"] = Keyword("nemesis")
    return edn.dumps(plain)


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


FORMATS: dict[str, Callable[[list[Event]], str]] = {
    "history.jsonl": lambda found: "".join(as_json(event) + "\n" for event in found),
    "array.json": lambda found: "[" + ",\n ".join(map(as_json, found)) + "]",
    "one-line.json": as_json,
    "history.edn": lambda found: "\n".join(map(as_edn, found)) + "\n",
    "vector.edn": lambda found: "; a comment\n[" + " ".join(map(as_edn, found)) + "]",
}


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=events())
def test_the_scanner_reads_what_the_general_reader_reads(
    tmp_path: Path, name: str, found: list[Event]
) -> None:
    file = tmp_path / name
    file.write_text(FORMATS[name](found))
    scanned = reader._scan(file)
    assert scanned is not None
    assert told(reader.read(file)) == told(from_history(history_formats.read(file)))


OTHERS = {
    "vague": [["r", "x", [9]]],
    "product": 7,
    "problem": "timeout",
    "tick": 3,
    "indux": -1,
    "tyke": "fail",
}


@pytest.mark.parametrize("name", ["array.json", "history.edn"])
def test_fields_of_other_names_say_nothing(tmp_path: Path, name: str) -> None:
    sides = [("invoke", None), ("ok", [1]), ("invoke", None), ("info", None)]
    found: list[Event] = [
        {
            "index": n,
            "time": n,
            "type": type_,
            "f": "txn",
            "process": n // 2,
            "value": [["r", "x", value]],
            **OTHERS,
        }
        for n, (type_, value) in enumerate(sides)
    ]
    file = tmp_path / name
    file.write_text(FORMATS[name](found))
    scanned = reader._scan(file)
    assert scanned is not None
    assert told(scanned) == told(from_history(history_formats.read(file)))
    assert told(scanned) == [([["r", "x", [1]]], 0, 1, 1, 0), ([["r", "x", None]], 2, 3, 3, 1)]


def test_a_type_is_its_whole_word(tmp_path: Path) -> None:
    file = tmp_path / "history.json"
    file.write_text(
        '[{"process": 0, "type": "invoke", "value": []}, {"process": 0, "type": "failing", "value": []}]'
    )
    with pytest.raises(BrokenHistory, match="Invalid enum value 'failing'"):
        reader.read(file)


def test_keys_that_are_equal_to_python_are_two_keys() -> None:
    micro = [["append", True, 1], ["append", 1, 2]]
    ops = [Op(index=n, time=n, type=type_, process=0, f="txn", value=micro) for n, type_ in enumerate(BOTH)]
    assert from_history(History(ops)).keys == ["true", 1]


def test_it_does_not_matter_where_a_piece_of_the_file_ends(tmp_path: Path, monkeypatch: Any) -> None:
    found = [
        {
            "type": type_,
            "f": "txn",
            "process": 0,
            "index": 2 * n + i,
            "time": n,
            "value": [["append", "x", n]],
        }
        for n in range(50)
        for i, type_ in enumerate(("invoke", "ok"))
    ]
    file = tmp_path / "history.jsonl"
    file.write_text(FORMATS["history.jsonl"](found))
    whole = told(reader.read(file))
    for size in (60, 97, 128, 1000):
        monkeypatch.setattr(reader, "PIECE_BYTES", size)
        scanned = reader._scan(file)
        assert scanned is not None
        assert told(scanned) == whole


def test_columns_grow_with_the_file(tmp_path: Path) -> None:
    count = 3000
    ops = [
        {
            "type": type_,
            "process": 0,
            "value": [["append", f"key {n}", n], ["r", f"key {n}", None if type_ == "invoke" else [n] * 30]],
        }
        for n in range(count)
        for type_ in ("invoke", "ok")
    ]
    file = tmp_path / "history.json"
    file.write_text("[" + ",\n".join(map(json.dumps, ops)) + "]")
    scanned = reader._scan(file)
    assert scanned is not None
    assert len(scanned) == len(scanned.keys) == count
    assert scanned.micro_operations(count - 1) == ops[-1]["value"]


def test_one_read_may_be_longer_than_all_the_room_for_tokens(tmp_path: Path) -> None:
    elements = list(range(100_000))
    found = [
        {"type": "invoke", "f": "txn", "process": 0, "index": 0, "time": 0, "value": [["r", "x", None]]},
        {"type": "ok", "f": "txn", "process": 0, "index": 1, "time": 1, "value": [["r", "x", elements]]},
    ]
    file = tmp_path / "history.jsonl"
    file.write_text(FORMATS["history.jsonl"](found))
    scanned = reader._scan(file)
    assert scanned is not None
    assert scanned.micro_operations(0) == [["r", "x", elements]]


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=events(), data=st.data())
def test_damaged_bytes_are_read_as_the_general_reader_reads_them_or_left_to_it(
    tmp_path: Path, name: str, found: list[Event], data: st.DataObject
) -> None:
    text = bytearray(FORMATS[name](found).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, max(0, len(text) - 1)))
        piece = data.draw(
            st.sampled_from([b"", *(bytes([byte]) for byte in b'[](){}#:;,"\\- \n0a9'), b"null", b"#{"])
        )
        text[at : at + data.draw(st.integers(0, 2))] = piece
    file = tmp_path / name
    file.write_bytes(text)
    scanned = reader._scan(file)
    try:
        general = from_history(history_formats.read(file))
    except (BrokenHistory, NotTransactions):
        return  # the scanner is lenient about commas, brackets of two kinds and the like
    assert scanned is None or told(scanned) == told(general)


LINE = '{"index":%d,"time":%d,"type":"%s","process":%d,"f":"txn","value":[["append","x",%d]]}\n'


@pytest.mark.parametrize(
    ("lines", "line", "why"),
    [
        ([(0, 0, "invoke", 0, 1), (1, 1, "invoke", 0, 2)], 2, "while its last one is still open"),
        ([(0, 0, "invoke", 0, 1), (1, 1, "ok", 0, 1), (2, 2, "ok", 0, 1)], 3, "without an operation"),
        ([(0, 0, "invoke", 0, 1), (1, 1, "info", 0, 1), (2, 2, "invoke", 0, 2)], 3, "the process is dead"),
        ([(0, 5, "invoke", 0, 1), (1, 4, "ok", 0, 1)], 2, "the time is before"),
        ([(0, 0, "invoke", 0, 1), (2, 1, "ok", 0, 1)], 2, "events are missing"),
        ([(0, 0, "invoke", 0, 1), (1, 1, "ok", 0, 2)], 2, "not the one that began"),
    ],
)
def test_an_impossible_history_is_told_with_its_line(
    tmp_path: Path, lines: list[Any], line: int, why: str
) -> None:
    file = tmp_path / "history.jsonl"
    file.write_text("".join(LINE % one for one in lines))
    with pytest.raises(BrokenHistory, match=why) as caught:
        reader.read(file)
    assert caught.value.line == line
    assert caught.value.file == str(file)


@pytest.mark.parametrize("garbage", ["hello", '{"index": 0}\n', "[1 2 3]", '[{"type": "invoke"'])
def test_garbage_is_told_with_its_line(tmp_path: Path, garbage: str) -> None:
    file = tmp_path / "history.edn"
    file.write_text(garbage)
    with pytest.raises(BrokenHistory, match=r"history\.edn:1"):
        reader.read(file)


def test_a_value_that_is_written_twice_is_told_with_both_lines(tmp_path: Path) -> None:
    from checkers.elle.analysis import analyse

    file = tmp_path / "history.jsonl"
    rows = [(0, 0, "invoke", 0, 1), (1, 1, "ok", 0, 1), (2, 2, "invoke", 1, 1), (3, 3, "ok", 1, 1)]
    file.write_text("".join(LINE % row for row in rows))
    with pytest.raises(BrokenHistory, match="1 is written to key x here and on line 1") as caught:
        analyse(reader.read(file), "list-append")
    assert caught.value.line == 3


def test_what_failed_may_be_tried_again_with_the_same_value(tmp_path: Path) -> None:
    from checkers.elle.analysis import analyse

    file = tmp_path / "history.jsonl"
    rows = [(0, 0, "invoke", 0, 1), (1, 1, "fail", 0, 1), (2, 2, "invoke", 1, 1), (3, 3, "ok", 1, 1)]
    read = '{"index":%d,"time":%d,"type":"%s","process":2,"f":"txn","value":[["r","x",%s]]}\n'
    text = "".join(LINE % row for row in rows)
    file.write_text(text + read % (4, 4, "invoke", "null") + read % (5, 5, "ok", "[1]"))
    assert analyse(reader.read(file), "list-append").valid == "valid"


@pytest.mark.parametrize("began", ['[["append","x"]]', "[7]", '[["r","x",null],["r","x",null]]'])
def test_a_transaction_completes_as_what_began_or_the_line_is_told(tmp_path: Path, began: str) -> None:
    file = tmp_path / "history.jsonl"
    invocation = (LINE % (0, 0, "invoke", 0, 1)).replace('[["append","x",1]]', began)
    file.write_text(invocation + LINE % (1, 1, "ok", 0, 1))
    with pytest.raises(BrokenHistory, match="is not the one that began") as caught:
        reader.read(file)
    assert caught.value.line == 2


@pytest.mark.parametrize("function", ['["r"]', "{}", "null"])
def test_what_a_micro_operation_does_is_a_name(tmp_path: Path, function: str) -> None:
    file = tmp_path / "history.jsonl"
    lines = LINE % (0, 0, "invoke", 0, 1) + LINE % (1, 1, "ok", 0, 1)
    file.write_text(lines.replace('"append"', function))
    with pytest.raises(NotTransactions, match="is no transaction"):
        reader.read(file)


def test_another_workload_is_said_to_be_one(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    file.write_text(LINE % (0, 0, "invoke", 0, 1) + LINE % (1, 1, "ok", 0, 1))
    with pytest.raises(NotTransactions, match="that is list-append, not rw-register"):
        of_workload(reader.read(file), "rw-register")
    file.write_text('{"index":0,"time":0,"type":"invoke","process":0,"f":"read"}\n')
    with pytest.raises(NotTransactions, match="no transaction"):
        reader.read(file)


def test_nothing_cannot_be_written(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    file.write_text('{"index":0,"time":0,"type":"invoke","process":0,"f":"txn","value":[["w","x",null]]}\n')
    with pytest.raises(BrokenHistory, match="key x is written nothing"):
        of_workload(reader.read(file), "rw-register")
