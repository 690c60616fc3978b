"""`pytest harness/` as people run it: in a process of its own, on the memory world."""

from __future__ import annotations

import importlib.metadata
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

import workloads
from harness import cli, store
from harness.history import History
from harness.plugin import NIGHTLY

ROOT = Path(__file__).resolve().parents[2]
SUITE = ROOT / "harness" / "test_promises.py"

# Where the project is not installed, nobody has told pytest of the plugin yet.
_INSTALLED = any(entry.name == "splitbrain" for entry in importlib.metadata.entry_points(group="pytest11"))
_PLUGIN = [] if _INSTALLED else ["-p", "harness.plugin"]


def arguments(*options: str, store: Path) -> list[str]:
    pytest_ = [sys.executable, "-m", "pytest", *_PLUGIN, "-p", "no:cacheprovider", str(SUITE)]
    return [*pytest_, "--world=memory", "--system=memory", f"--store={store}", *options]


def environment(*paths: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [ROOT, *paths])), "COLUMNS": "200"}


def run(
    *options: str, store: Path, paths: Sequence[Path] = (), expect: int = 0
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        arguments(*options, store=store),
        env=environment(*paths),
        cwd=store.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done


def begin(*options: str, store: Path) -> subprocess.Popen[str]:
    """Begin a run, and return once it has recorded some operations."""
    process = subprocess.Popen(
        arguments(*options, store=store),
        env=environment(),
        cwd=store.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    history = store / "latest" / "history.jsonl"
    deadline = time.monotonic() + 30
    while not history.exists() or history.stat().st_size < 5000:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    return process


def test_a_run_ends_with_a_verdict_a_report_and_everything_in_the_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    done = run("--workload=set", "--nemesis=partition,kill", "--time-limit=1", "--seed=7", store=results)
    directory = (results / "latest").resolve()
    assert f"splitbrain: memory in world memory, seed 7, results in {results}" in done.stdout
    assert re.search(r"^set-partition-kill  valid +[\d,]+ ops in .*/report.html$", done.stdout, re.M)
    assert (
        "main" in done.stdout and "heal" in done.stdout and "ops/s" in done.stdout
    )  # progress, shown meanwhile

    found = {path.name for path in directory.iterdir()}
    assert found == {"test.json", "history.jsonl", "history.columns", "verdicts.json", "report.html", "nodes"}
    assert (directory / "nodes" / "n1" / "log").exists()
    record = store.read_test(directory)
    assert "--seed=7" in record.command and "--nemesis=partition,kill" in record.command
    assert [mark.name for mark in record.marks] == ["partition", "kill"]
    judged = store.read_results(directory)
    assert (judged.outcome, judged.problems) == ("valid", [])
    assert judged.operations == sum(sum(count.values()) for count in judged.counts.values()) > 0

    # The stored run can be judged again, by itself or with its store.
    for path in (directory, results):
        assert cli.main(["check", str(path)]) == 0
        out = capsys.readouterr().out
        assert "valid" in out and out.count("\n") == 1


def test_a_broken_promise_fails_in_plain_words(tmp_path: Path) -> None:
    results = tmp_path / "results"
    options = ("--workload=set", "--time-limit=1", "--setting=fault=lose-writes")
    done = run(*options, store=results, expect=1)
    directory = (results / "latest").resolve()
    assert "set-none: invalid: " in done.stdout
    assert "Traceback" not in done.stdout and "def test_promise" not in done.stdout
    assert f"report: {directory / 'report.html'}" in done.stdout
    assert "again:  pytest " in done.stdout and "--setting=fault=lose-writes" in done.stdout
    evidence = store.read_results(directory).verdicts[0].evidence
    assert evidence and evidence[0].summary in done.stdout
    assert cli.main(["check", str(directory)]) == 1


def test_a_run_stops_at_its_first_violation_if_it_is_told_to(tmp_path: Path) -> None:
    results = tmp_path / "results"
    options = ("--workload=register", "--nemesis=partition", "--reads=stale", "--time-limit=60")
    done = run(*options, "--stop-on-violation", store=results, expect=1)
    directory = (results / "latest").resolve()
    assert re.search(r"^Stopped at the first violation, event \d+: Stale read on key r\d", done.stdout, re.M)
    assert f"  n3  10.0.0.3  running  {directory / 'nodes' / 'n3'}" in done.stdout
    assert "cannot be entered" in done.stdout
    assert "--stop-on-violation" in done.stdout.split("again:  ")[1]
    judged = store.read_results(directory)
    assert (judged.outcome, [problem.kind for problem in judged.problems]) == ("invalid", ["violation"])
    assert {verdict.checker: verdict.valid for verdict in judged.verdicts}["linearizable"] == "invalid"


def test_a_workload_that_cannot_be_followed_says_so(tmp_path: Path) -> None:
    done = run("--workload=gossip", "--time-limit=3", "--stop-on-violation", store=tmp_path / "results")
    assert "splitbrain: gossip cannot be followed: it is judged when it is over" in done.stdout


@pytest.mark.parametrize(
    ("options", "tests"),
    [
        ([], [f"{name}-none" for name in workloads.DEFAULT]),
        (["--workload=all"], [f"{name}-none" for name in workloads.registry()]),
        (["--workload=wr, set"], ["wr-none", "set-none"]),
        (["--nightly"], [f"{name}-{nemesis}" for name in workloads.registry() for nemesis in NIGHTLY]),
    ],
)
def test_the_quick_workloads_run_where_none_is_named_and_all_of_them_at_night(
    options: list[str], tests: list[str], tmp_path: Path
) -> None:
    listed = run("--collect-only", "-q", *options, store=tmp_path / "results").stdout
    assert sorted(re.findall(r"\[(.*)\]", listed)) == sorted(tests)


def test_a_system_that_does_not_come_up_fails_with_the_reason(tmp_path: Path) -> None:
    done = run("--workload=set", "--setting=fault=nonsense", store=tmp_path / "results", expect=1)
    assert "set-none: setup failed: the memory system knows no fault 'nonsense'" in done.stdout


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        (
            "--workload=registers",
            "no workload 'registers'; there are register, set, session, watch, append, wr, gossip",
        ),
        ("--nemesis=partition,flood", "no nemesis 'flood'; there are none, partition, network, clock,"),
        ("--system=zookeeper", "no system 'zookeeper'; there are proconsul, etcd, memory"),
        (
            "--workload=set,watch",
            "--workload=watch: memory promises nothing of watch with --reads=consistent",
        ),
        ("--servers=6", "--servers=6: there are only 5 nodes"),
    ],
)
def test_a_wrong_command_line_is_told_before_anything_runs(
    option: str, complaint: str, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    done = run(option, store=results, expect=pytest.ExitCode.USAGE_ERROR)
    assert f"ERROR: {complaint}" in done.stderr
    assert not results.exists()


def test_a_store_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("--workload=set", store=tmp_path / "file", expect=5)
    assert f"cannot write the store at {tmp_path / 'file'}" in done.stdout
    assert "Traceback" not in done.stdout


def test_what_is_not_promised_and_not_asked_for_by_name_is_skipped_aloud(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from harness.systems.memory import Memory\n"
        "class Modest(Memory):\n"
        "    name = 'modest'\n"
        "    def promise(self, workload, options):\n"
        "        return None\n"
    )
    results = tmp_path / "results"
    for options, names in (((), workloads.DEFAULT), (("--workload=all",), workloads.registry())):
        done = run("--system=mine:Modest", *options, store=results, paths=[tmp_path])
        for name in names:
            why = f"modest promises nothing of {name} with --reads=consistent"
            assert f"splitbrain: skipping {name}: {why}\n" in done.stdout
            assert re.search(rf"^{name}-none +skipped: {why}$", done.stdout, re.M)
        assert f"{len(names)} skipped" in done.stdout and not results.exists()


def test_ctrl_c_heals_judges_and_writes_the_report(tmp_path: Path) -> None:
    results = tmp_path / "results"
    process = begin("--workload=set", "--nemesis=partition", "--time-limit=60", store=results)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, out
    directory = (results / "latest").resolve()
    assert f"interrupted; set-partition so far: valid, see {directory}" in out
    assert (directory / "report.html").exists()
    judged = store.read_results(directory)
    assert [problem.kind for problem in judged.problems] == ["interrupted"]
    last = History.read(directory / "history.jsonl").nemesis[-1]
    assert last[0].f == "stop-partition" and last[1] is not None


def test_the_history_of_a_killed_run_can_still_be_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    process = begin("--workload=register", "--nemesis=kill", "--time-limit=60", store=results)
    process.kill()
    process.communicate(timeout=30)
    directory = (results / "latest").resolve()
    assert not (directory / "verdicts.json").exists()
    cli.main(["check", str(directory)])
    assert f"{directory}: " in capsys.readouterr().out
    # Now it has what the run would have left.
    verdicts = {verdict.checker: verdict.valid for verdict in store.read_results(directory).verdicts}
    assert verdicts["linearizable"] == "valid"
    assert (directory / "report.html").exists()
