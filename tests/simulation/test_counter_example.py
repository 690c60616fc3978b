"""docs/examples/counter: somebody else's program in the simulator, as its README tells it."""

from __future__ import annotations

import doctest
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from harness.cli import USAGE_ERROR, main
from harness.simulation.replay import replay
from harness.simulation.scenario import Scenario, Simulated, encode, read, simulate, simulate_seed
from harness.simulation.script import Invocation
from harness.simulation.shrink import shrink
from harness.simulation.sweep import Plan
from harness.worlds.netns import Netns

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "counter"
FILES = ("counter.py", "counter_mended.py", "counter_system.py")

RACY, MENDED = "counter_system:ReplicatedCounter", "counter_system:MendedCounter"
WORKLOAD = "counter_system:Counting"
SEEDS = range(3)

NO_NETNS = Netns().missing()


@pytest.fixture(autouse=True)
def _there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example's folder is the current directory."""
    monkeypatch.chdir(EXAMPLE)
    monkeypatch.setattr(sys, "path", list(sys.path))


def play(system: str, seed: int, agent: list[str] | None = None) -> Simulated:
    faults = "partition,pause,network"
    plan = Plan(workloads=(WORKLOAD,), nemesis=faults, system=system, agent=agent, nodes=3, servers=3)
    return simulate_seed(plan.record(WORKLOAD, seed))


def on_system(scenario: Scenario, system: str) -> Scenario:
    return msgspec.structs.replace(scenario, system=system)


def test_the_race_is_found_by_every_one_of_a_few_seeds_and_not_where_it_is_mended() -> None:
    assert [play(RACY, seed).failure for seed in SEEDS] == ["invalid: counter"] * len(SEEDS)
    assert [play(MENDED, seed).failure for seed in SEEDS] == [None] * len(SEEDS)


def test_a_seed_gives_the_same_run_of_a_program_that_takes_no_ports() -> None:
    first, again, other = play(MENDED, 1), play(MENDED, 1), play(MENDED, 2)
    assert (first.trace, first.history.ops) == (again.trace, again.history.ops)
    assert first.trace != other.trace


def test_it_shrinks_to_two_additions_which_fail_wherever_they_are_run_again(tmp_path: Path) -> None:
    found = play(RACY, 2).scenario
    assert len(found.operations) > 100 and found.faults and found.departures
    small = shrink(found)
    assert [(one.f, one.at) for one in small.operations] == [("add", 0.0)] * 2
    assert (small.faults, small.departures, small.final) == ([], [], False)
    (tmp_path / "small.json").write_bytes(encode(small))
    kept = read(tmp_path / "small.json")
    assert simulate(kept).failure == kept.failure == "invalid: counter"
    assert simulate(on_system(kept, MENDED)).failure is None


@pytest.mark.parametrize(
    ("was", "wrong", "outcome", "summary"),
    [
        (
            "total = self.total + amount",
            "__import__('time').sleep(1)",
            "unknown",
            r"NotSimulated: n1 calls time.sleep\(\) at .*wrong.py:86: a simulated process uses asyncio.sleep",
        ),
        (
            "PATIENCE = 1.0",
            "PATIENCE = 1 / 0",
            "setup failed",
            r'n1 ended by itself:\n.*Traceback.*\n.*File ".*wrong.py", line 27, in <module>\n'
            r"[^F]*n1\| ZeroDivisionError: division by zero",
        ),
        (
            'case {"do": "read"}:',
            'case {"do": "read"}:\n                if self.total > 2: raise SystemExit("no more")',
            "crashed",
            r"n\d ended on its own: exit status 1 \(log: .*\) n\d\| no more",
        ),
    ],
    ids=["sleeps", "raises", "exits"],
)
def test_a_program_that_goes_wrong_is_told_with_its_reason(
    was: str, wrong: str, outcome: str, summary: str, tmp_path: Path
) -> None:
    text = (EXAMPLE / "counter.py").read_text()
    assert text.count(was) == 1
    (tmp_path / "wrong.py").write_text(text.replace(was, wrong))
    results = play(RACY, 0, ["python", str(tmp_path / "wrong.py")]).results
    assert results.outcome == outcome
    assert re.match(summary, results.summary, re.DOTALL), results.summary


def test_a_scenario_whose_system_is_not_here_says_so_before_anything_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = Scenario(system="nobodys_module:System", workload=WORKLOAD, time_limit=1.0)
    (tmp_path / "scenario.json").write_bytes(encode(scenario))
    for command in ("replay", "shrink"):
        assert main([command, str(tmp_path / "scenario.json")]) == USAGE_ERROR
        said = capsys.readouterr()
        assert said.err.startswith(
            f"splitbrain {command}: system 'nobodys_module:System': there is no module nobodys_module, "
            f"neither here ({EXAMPLE})"
        )
        assert said.out == ""


@pytest.mark.parametrize("command", [["sweep", "--seeds=1"], ["shrink", "1"]])
def test_a_workload_that_the_system_promises_nothing_of_is_wrong_usage(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, f"--system={RACY}", "--workload=set"]) == USAGE_ERROR
    assert (
        "--workload=set: counter promises nothing of set with --reads=consistent" in capsys.readouterr().err
    )


def without_numbers(text: str) -> str:
    """A seed draws something else whenever the simulator or a nemesis learns something new."""
    return re.sub(r"\d+(?:[.,]\d+)*", "#", text)


def test_the_walk_through_does_what_it_says(tmp_path: Path) -> None:
    """Every command of the README, in a folder with nothing but the example; `...` stands for anything,
    and numbers for others."""
    for name in FILES:
        shutil.copy(EXAMPLE / name, tmp_path)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "COLUMNS": "200"}
    blocks = re.findall(r"^```console\n\$ (.*)\n((?s:.*?))^```$", (EXAMPLE / "README.md").read_text(), re.M)
    assert [command.split()[:2] for command, _ in blocks] == [
        ["pytest", "-q"],
        ["splitbrain", "sweep"],
        ["splitbrain", "shrink"],
        ["splitbrain", "replay"],
        ["splitbrain", "sweep"],
    ]
    for command, wanted in blocks:
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        expected, seen = without_numbers(wanted), without_numbers(done.stdout)
        same = doctest.OutputChecker().check_output(expected, seen, doctest.ELLIPSIS)
        assert same, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.mark.skipif(NO_NETNS is not None, reason=str(NO_NETNS))
def test_real_processes_have_the_race_too_and_the_mended_ones_do_not(tmp_path: Path) -> None:
    clients = range(6)
    together = [Invocation(at / 10, client, "add", None, 1) for at in range(10) for client in clients]
    scenario = Scenario(
        system=RACY,
        workload=WORKLOAD,
        nodes=3,
        servers=3,
        concurrency=len(clients),
        time_limit=1.1,
        operations=together,
    )
    _, results, _ = replay(scenario, "netns", tmp_path)
    assert results.outcome == "invalid"
    _, results, _ = replay(on_system(scenario, MENDED), "netns", tmp_path)
    assert (results.outcome, results.problems) == ("valid", [])
