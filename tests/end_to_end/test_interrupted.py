"""Runs that are ended from outside: nothing is left behind, and what was recorded still counts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

Start = Callable[..., "subprocess.Popen[str]"]


def processes_of(store: Path) -> list[int]:
    """Processes whose command line, environment or working directory is about that store."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        if int(process.name) == os.getpid():
            continue
        try:
            about = process.joinpath("cmdline").read_bytes() + os.readlink(process / "cwd").encode()
        except OSError:
            continue
        if str(store).encode() in about:
            found.append(int(process.name))
    return found


def await_events(store: Path, name: str, count: int, seconds: float = 40.0) -> None:
    """Until the run's history has so many lines."""
    deadline = time.monotonic() + seconds
    history = store / name / "latest" / "history.jsonl"
    while time.monotonic() < deadline:
        if history.exists() and history.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.05)
    pytest.fail(f"{history} did not get {count} lines within {seconds:g} s")


def check(store: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness.cli", "check", str(store)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("events", [20, 600])
def test_kill_9_of_the_run_leaves_nothing_and_its_history_still_checks(
    start_suite: Start, tmp_path: Path, events: int
) -> None:
    links, mounts = Path("/proc/net/dev").read_text().count("\n"), Path("/proc/mounts").read_text()
    run = start_suite("--nemesis=partition", "--workload=register")
    await_events(tmp_path, "register-partition", events)
    assert len(processes_of(tmp_path)) > 5, "the agents are not found: the test would prove nothing"
    run.kill()
    run.wait()
    deadline = time.monotonic() + 2
    while processes_of(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not processes_of(tmp_path)
    assert Path("/proc/net/dev").read_text().count("\n") == links
    assert Path("/proc/mounts").read_text() == mounts
    checked = check(tmp_path)
    # Whatever the verdict on a history that ends in mid-air, it is one about the system, not about the file.
    assert checked.returncode in (0, 2, 3), checked.stdout + checked.stderr
    assert "register-partition" in checked.stdout


def test_ctrl_c_heals_collects_logs_and_writes_the_report(start_suite: Start, tmp_path: Path) -> None:
    run = start_suite("--nemesis=partition", "--workload=register")
    await_events(tmp_path, "register-partition", 600)
    os.killpg(run.pid, signal.SIGINT)
    output, _ = run.communicate(timeout=60)
    directory = tmp_path / "register-partition" / "latest"
    assert (directory / "report.html").is_file(), output
    assert (directory / "verdicts.json").is_file()
    assert all((directory / "nodes" / f"n{number}" / "log").stat().st_size for number in range(1, 6))
    faults = [line for line in (directory / "history.jsonl").read_text().splitlines() if "nemesis" in line]
    assert "stop-partition" in faults[-1]
    assert "interrupted" in output
    assert not processes_of(tmp_path)
