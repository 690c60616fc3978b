"""The `splitbrain` command."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from harness import cli, store
from harness import generator as gen
from harness.cli import BROKEN_INPUT, OWN_BUG, USAGE_ERROR
from harness.generator.simulate import invocations, perfect
from harness.history import Op, encode
from harness.history_formats import read
from harness.simulation.sweep import Plan
from harness.store import EXIT_CODES

GOOD = [
    Op(0, 0, "invoke", 0, "write", value=1),
    Op(1, 10, "ok", 0, "write", value=1),
    Op(2, 20, "invoke", 0, "read"),
    Op(3, 30, "ok", 0, "read", value=1),
]
STALE = [*GOOD[:3], Op(3, 30, "ok", 0, "read", value=None)]


def history(path: Path, ops: list[Op]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(map(encode, ops)))
    return path


def test_one_verdict_a_line_and_the_weightiest_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, stale = history(tmp_path / "good.jsonl", GOOD), history(tmp_path / "stale.jsonl", STALE)
    assert cli.main(["check", str(good)]) == EXIT_CODES["valid"]
    assert cli.main(["check", str(good), str(stale)]) == EXIT_CODES["invalid"]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        [str(good), "valid"],
        [str(good), "valid"],
        [str(stale), "invalid"],
    ]


def test_a_jepsen_history_is_read_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "history.edn"
    path.write_text(
        "{:type :invoke, :f :write, :value 1, :process 0, :time 0}\n"
        "{:type :ok, :f :write, :value 1, :process 0, :time 1}\n"
        "{:type :invoke, :f :read, :value nil, :process 1, :time 2}\n"
        "{:type :ok, :f :read, :value nil, :process 1, :time 3}\n"
    )
    assert cli.main(["check", "--model=cas-register", str(path)]) == EXIT_CODES["invalid"]


def test_broken_input_names_file_and_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = history(tmp_path / "broken.jsonl", GOOD)
    path.write_bytes(path.read_bytes().replace(b'"type":"ok"', b'"type":"so-so"', 1))
    assert cli.main(["check", str(path)]) == BROKEN_INPUT
    assert f"{path}:2: " in capsys.readouterr().err


def test_broken_input_does_not_keep_the_others_from_being_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "history.jsonl").write_text("nonsense\nnonsense\n")
    history(tmp_path / "b" / "history.jsonl", GOOD)
    assert cli.main(["check", str(tmp_path)]) == BROKEN_INPUT
    assert f"{tmp_path / 'b'}: valid" in capsys.readouterr().out


def test_a_folder_without_runs_is_broken_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(tmp_path)]) == BROKEN_INPUT
    assert "no history.jsonl" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [[], ["check"], ["sweep"], ["check", "--failed-cas=maybe", "x"], ["check", "/nonexistent"]],
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code: int | str | None = cli.main(arguments)
    except SystemExit as exit_:
        code = exit_.code
    assert code == USAGE_ERROR
    assert capsys.readouterr().err.startswith(("usage: splitbrain", "splitbrain"))


def test_an_unknown_model_lists_the_known_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "--model=heap", str(history(tmp_path / "h.jsonl", GOOD))]) == USAGE_ERROR
    assert "no model 'heap'; there are register, cas-register" in capsys.readouterr().err


def test_a_bug_of_splitbrains_own_does_not_read_as_a_broken_promise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError("what was not foreseen")

    monkeypatch.setattr("harness.judge.weightiest", broken)
    assert (
        cli.main(["check", str(history(tmp_path / "good.jsonl", GOOD))]) == OWN_BUG not in EXIT_CODES.values()
    )
    assert "RuntimeError: what was not foreseen" in capsys.readouterr().err


def test_clean_keeps_the_newest_of_each_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("set-kill", "register-kill"):
        for day in (1, 2, 3):
            directory = tmp_path / name / f"2026010{day}T000000"
            directory.mkdir(parents=True)
            (directory / "test.json").write_text("{}")
    (tmp_path / "set-kill" / "latest").symlink_to("20260103T000000")
    (tmp_path / "notes.txt").write_text("mine")
    assert cli.main(["clean", "--keep=1", str(tmp_path)]) == 0
    assert [path.name for path in store.runs(tmp_path)] == ["20260103T000000"] * 2
    assert cli.main(["clean", str(tmp_path)]) == 0
    assert store.runs(tmp_path) == []
    assert not (tmp_path / "set-kill" / "latest").is_symlink()
    assert (tmp_path / "notes.txt").exists()
    assert capsys.readouterr().out.count("deleted") == 6


@pytest.mark.parametrize("name", ["out.edn", "out.json"])
def test_an_exported_history_is_the_same_history_to_others(name: str, tmp_path: Path) -> None:
    ops = [Op(op.index, op.time, op.type, op.process, op.f, "x", op.value, node="n1") for op in STALE]
    source, target = history(tmp_path / "history.jsonl", ops), tmp_path / name
    assert cli.main(["export", str(source), str(target)]) == 0
    assert read(target, keyed=True).ops == ops
    assert cli.main(["check", "--keyed", str(target)]) == EXIT_CODES["invalid"]


def test_what_cannot_be_exported_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = history(tmp_path / "history.jsonl", GOOD)
    assert cli.main(["export", str(source), str(tmp_path / "out.csv")]) == USAGE_ERROR
    assert "out.csv: ends neither in .edn nor in .json" in capsys.readouterr().err
    assert cli.main(["export", str(tmp_path / "none"), str(tmp_path / "out.edn")]) == USAGE_ERROR
    assert f"{tmp_path / 'none'}: there is no such file" in capsys.readouterr().err
    (tmp_path / "folder.edn").mkdir()
    for target, why in (("folder.edn", "Is a directory"), ("none/out.edn", "No such file or directory")):
        assert cli.main(["export", str(source), str(tmp_path / target)]) == USAGE_ERROR
        said = f"splitbrain export: {tmp_path / target}: cannot be written: {why}\n"
        assert capsys.readouterr().err == said
    source.write_bytes(b"{\n" + source.read_bytes())
    assert cli.main(["export", str(source), str(tmp_path / "out.edn")]) == BROKEN_INPUT
    assert f"{source}:1: " in capsys.readouterr().err
    assert not (tmp_path / "out.edn").exists()


@pytest.mark.parametrize("seed", range(20))
def test_faults_last_until_the_system_goes_on_without_those_hit(seed: int) -> None:
    """A run of etcd showed no stale read: its partitions ended before its clients wrote again."""
    plan = Plan(workloads=("register",), nemesis="partition", system="etcd", time_limit=30.0)
    record = msgspec.structs.replace(plan.record("register", seed), world="netns")
    schedule = invocations(perfect(gen.nemesis(cli.test_of(record).nemesis.generator)))
    assert [step.f for step in schedule] == ["start-partition", "stop-partition"] * 2
    assert all(
        stop.time - start.time >= 7 * gen.SECOND
        for start, stop in zip(schedule[::2], schedule[1::2], strict=True)
    )
