"""Foreign histories: recognised by content, read with the meaning they have, refused by file and line."""

import json
import os
from pathlib import Path

import pytest

from harness.history import BrokenHistory, Op, encode
from harness.history_formats import read, write_edn


def file(tmp_path: Path, text: str, name: str = "history") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


JEPSEN = """\
; a comment
{:type :invoke, :f :write, :value [1 7], :process 0, :time 5, :index 0}
{:type :info, :f :start, :value nil, :process :nemesis, :time 6, :index 1}
{:type :info, :f :start, :value "cut", :process :nemesis, :time 7, :index 2}
{:type :info, :f :write, :value [1 7], :process 0, :time 8, :index 3, :error [:oops 1]}
"""


def test_jepsens_edn_is_read(tmp_path: Path) -> None:
    history = read(file(tmp_path, JEPSEN))
    assert history.ops == [
        Op(0, 5, "invoke", 0, "write", None, [1, 7]),
        Op(1, 6, "info", "nemesis", "start"),
        Op(2, 7, "info", "nemesis", "start", value="cut"),
        Op(3, 8, "info", 0, "write", None, [1, 7], '["oops" 1]'),
    ]
    assert history.warnings == []


def test_independent_values_are_split_by_key_when_asked(tmp_path: Path) -> None:
    history = read(file(tmp_path, JEPSEN), keyed=True)
    assert (history.ops[0].key, history.ops[0].value) == (1, 7)


def test_a_vector_around_the_events_is_taken_off(tmp_path: Path) -> None:
    body = JEPSEN.removeprefix("; a comment\n")
    assert read(file(tmp_path, f"[{body}]")).ops == read(file(tmp_path, body)).ops


def test_a_torn_last_form_is_cut_with_a_warning(tmp_path: Path) -> None:
    history = read(file(tmp_path, JEPSEN[:-20]))
    assert len(history) == 3
    assert "cut short" in history.warnings[0]


def test_elle_clis_json_array_is_read(tmp_path: Path) -> None:
    events = [
        {"type": "invoke", "f": "add", "value": 1, "process": 0, "time": 3, "index": 4},
        {"type": "ok", "f": "add", "value": 1, "process": 0, "time": 4, "index": 9},
    ]
    history = read(file(tmp_path, json.dumps(events)))
    assert history.ops == [Op(0, 3, "invoke", 0, "add", value=1), Op(1, 4, "ok", 0, "add", value=1)]


def test_jepsens_console_log_is_read(tmp_path: Path) -> None:
    lines = [
        "INFO  jepsen.util - 0\t:invoke\t:cas\t[1 2]",
        "INFO  jepsen.util - :nemesis\t:info\t:start\tnil",
        "INFO  jepsen.core - something else",
        "INFO  jepsen.util - 0\t:info\t:cas\t:timed-out",
    ]
    history = read(file(tmp_path, "\n".join(lines)))
    assert history.ops == [
        Op(0, 0, "invoke", 0, "cas", value=[1, 2]),
        Op(1, 0, "info", 0, "cas", error="timed-out"),
    ]
    assert "2 of 2 events have no time" in history.warnings[0]


def test_a_runs_folder_is_its_history(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_bytes(encode(Op(0, 1, "invoke", 0, "read")))
    assert len(read(tmp_path)) == 1


def test_times_that_go_back_are_raised_with_a_warning(tmp_path: Path) -> None:
    history = read(
        file(
            tmp_path,
            "{:type :invoke :f :r :process 0 :time 9}\n{:type :ok :f :r :process 0 :time 4}\n",
        )
    )
    assert history.time.tolist() == [9, 9]
    assert "times go back" in history.warnings[0]


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("hello\n", 1, "none of the known formats"),
        ("{:type :invoke :f :read}\n", 1, "without a process"),
        ("{:type :invoke :f :read :process 0}\n{:type :odd :f :read :process 0}\n", 2, "not an event"),
        ("{:type :invoke :f :read :process 0}\n\n{:type :invoke :f :read :process 0}\n", 3, "still open"),
        ("{:type :invoke :f :read :process 0\n{:a\n", 2, "not EDN"),
        ('[{"type": "invoke",\n"f": }]', 2, "not JSON"),
        ("INFO  jepsen.util - 0\t:invoke\n", 1, "not an operation"),
        (
            "{:type :invoke :f :a :process 0 :index 4}\n{:type :ok :f :a :process 0 :index 4}\n",
            2,
            "follows index",
        ),
    ],
)
def test_damage_is_named_by_file_and_line(tmp_path: Path, text: str, line: int, why: str) -> None:
    with pytest.raises(BrokenHistory, match=why) as raised:
        read(file(tmp_path, text))
    assert raised.value.line == line


def test_what_is_written_as_edn_is_read_back(tmp_path: Path) -> None:
    ops = [
        Op(0, 1, "invoke", 0, "txn", None, [["append", "x", 1], ["r", "y", None]], node="n1"),
        Op(1, 2, "info", "nemesis", "start-partition", value="halves"),
        Op(2, 3, "info", "nemesis", "start-partition", value={"cut": [["n1", "n2"]]}),
        Op(3, 4, "fail", 0, "txn", None, [["append", "x", 1], ["r", "y", None]], "refused", "n1"),
    ]
    source = tmp_path / "history.jsonl"
    source.write_bytes(b"".join(map(encode, ops)))
    write_edn(read(source), tmp_path / "history.edn")
    assert ":append" in (tmp_path / "history.edn").read_text()
    assert read(tmp_path / "history.edn").ops == ops


def test_keys_survive_the_way_through_edn(tmp_path: Path) -> None:
    ops = [Op(0, 1, "invoke", 0, "write", "x", 3), Op(1, 2, "ok", 0, "write", "x", 3)]
    source = tmp_path / "history.jsonl"
    source.write_bytes(b"".join(map(encode, ops)))
    write_edn(read(source), tmp_path / "history.edn")
    assert read(tmp_path / "history.edn", keyed=True).ops == ops


@pytest.mark.skipif("SPLITBRAIN_HISTORIES" not in os.environ, reason="SPLITBRAIN_HISTORIES is not set")
def test_edn_and_json_twins_of_elle_cli_are_one_history() -> None:
    twins = [
        path
        for path in (Path(os.environ["SPLITBRAIN_HISTORIES"]) / "elle-cli").glob("**/*.json")
        if path.with_suffix(".edn").exists()
    ]
    assert twins
    for path in twins:
        ours, theirs = read(path), read(path.with_suffix(".edn"))
        assert [op.f for op in ours.ops] == [op.f for op in theirs.ops], path
        assert ours.operations.complete.tolist() == theirs.operations.complete.tolist(), path
