"""Many seeds: none of them breaks proconsul, every failure is kept, and nothing is green that ran nothing."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import workloads
from harness.cli import main
from harness.progress import Phases
from harness.simulation.scenario import Fault, Scenario, read, simulate
from harness.simulation.sweep import Plan, Seed, Tally, parse_seeds, reached, run_seed, sweep

if TYPE_CHECKING:
    from tests.simulation.conftest import Play

NIGHTLY = bool(os.environ.get("SPLITBRAIN_NIGHTLY"))
WORKLOADS = tuple(workloads.registry())


def test_no_seed_breaks_proconsul(tmp_path: Path) -> None:
    """Every workload, every fault: no violation, and no lost liveness."""
    seeds = range(1000) if NIGHTLY else range(500, 508)
    tally = sweep(Plan(workloads=WORKLOADS, time_limit=15.0), seeds, failures=tmp_path)
    assert not tally.failures, "\n".join(tally.lines())
    assert tally.seeds == len(seeds) * len(WORKLOADS)
    reached = {
        "partition",
        "kill",
        "pause",
        "power",
        "crash-point",
        "network",
        "clock",
        "disk",
        "trap sprung",
    }
    assert reached <= set(tally.reached), "a fault that is never injected proves nothing"


def test_failures_are_kept_as_scenarios_that_fail_again(tmp_path: Path) -> None:
    from tests.simulation.conftest import mutated

    plan = Plan(
        workloads=("register",), nemesis="none", agent=mutated("AppliesByChance"), time_limit=3.0, rate=20.0
    )
    tally = sweep(plan, range(2), jobs=1, failures=tmp_path)
    assert {failure: len(seeds) for failure, seeds in tally.failures.items()} == {"invalid: Equal States": 2}
    for seed in range(2):
        scenario = read(tmp_path / f"register-{seed}.json")
        assert scenario.failure == simulate(scenario).failure == "invalid: Equal States"


DYING = """
import os, pathlib, signal, sys

def program(arguments):
    already = pathlib.Path(__file__).with_suffix(".once")
    if arguments[0] == "always" or not already.exists():
        already.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    sys.exit(3)
"""
"""An agent that takes down with it the process in which it is simulated."""


@pytest.mark.parametrize(
    ("when", "failure"), [("always", "simulator: its process died"), ("once", "setup failed")]
)
def test_the_death_of_a_worker_is_the_failure_of_its_seed_alone(
    when: str, failure: str, tmp_path: Path
) -> None:
    agent = tmp_path / "dying.py"
    agent.write_text(DYING)
    plan = Plan(workloads=("register",), nemesis="none", agent=["python", str(agent), when], time_limit=1.0)
    tally = sweep(plan, range(3), jobs=2)
    assert {failure: sorted(seed.seed for seed in seeds) for failure, seeds in tally.failures.items()} == {
        failure: [0, 1, 2]
    }


def test_a_scenario_that_cannot_be_written_does_not_end_the_sweep(tmp_path: Path) -> None:
    from tests.simulation.conftest import mutated

    (tmp_path / "file").touch()
    plan = Plan(
        workloads=("register",), nemesis="none", agent=mutated("AppliesByChance"), time_limit=3.0, rate=20.0
    )
    tally = sweep(plan, range(2), jobs=1, failures=tmp_path / "file" / "failures")
    assert [len(seeds) for seeds in tally.failures.values()] == [2]
    assert tally.kept == 0 and len(tally.lost) == 2
    (told,) = (line for line in tally.lines() if "could not be written" in line)
    assert "register-0.json: Not a directory" in told


@pytest.mark.parametrize("phase", ["setup", "main", "final"])
def test_ctrl_c_ends_a_sweep_and_not_only_the_seed_that_is_under_way(
    phase: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt_at(monkeypatch, phase, run=2)
    arguments = ["--seeds=0:9", "--workload=register", "--nemesis=none", "--time-limit=1", "--jobs=1"]
    assert main(["sweep", *arguments, f"--failures={tmp_path / 'none'}"]) == 130
    told = capsys.readouterr().out
    assert "1 seeds" in told and "stopped by Ctrl-C" in told


def interrupt_at(monkeypatch: pytest.MonkeyPatch, phase: str, run: int) -> None:
    """Press Ctrl-C when this phase of this run begins."""
    seen: list[str] = []

    def begin(self: Phases, name: str) -> None:
        seen.append(name)
        original(self, name)
        if name == phase and seen.count(name) == run:
            signal.raise_signal(signal.SIGINT)

    original = Phases.phase
    monkeypatch.setattr(Phases, "phase", begin)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_is_heard_even_in_a_finalizer() -> None:
    class Finalized:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    def on_seed(seed: Seed, tally: Tally) -> None:
        Finalized()

    plan, tally = Plan(workloads=("register",), nemesis="none", time_limit=1.0), Tally()
    with pytest.raises(KeyboardInterrupt):
        sweep(plan, range(5), jobs=1, on_seed=on_seed, tally=tally)
    assert tally.seeds == 1


def test_ctrl_c_ends_a_shrink_with_the_smallest_that_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.simulation.conftest import mutated

    interrupt_at(monkeypatch, "main", run=8)
    agent, out = " ".join(mutated("AppliesByChance")), tmp_path / "small.json"
    arguments = ["--nemesis=none", f"--agent={agent}", "--rate=20", "--time-limit=2", f"--out={out}"]
    assert main(["shrink", "0", "--workload=register", *arguments]) == 130
    assert "stopped by Ctrl-C" in capsys.readouterr().out
    assert read(out).failure == "invalid: Equal States"


def test_a_fault_that_hit_nobody_is_not_among_those_that_were_reached() -> None:
    faults = [Fault(0.2, "start-kill", {"nodes": ["n3"]}), Fault(0.4, "start-kill", {"nodes": []})]
    faults += [Fault(0.6, "start-pause", {"nodes": ["n3"]})]  # it is dead
    scenario = Scenario(workload="register", nodes=3, servers=3, time_limit=1.0, faults=faults, final=False)
    assert reached(simulate(scenario)) == {"kill": 1}


def test_what_cannot_be_set_up_is_no_valid_seed() -> None:
    broken = run_seed(
        Plan(workloads=("register",), agent=["python", "/nowhere.py"], time_limit=2.0), "register", 0
    )
    assert broken.outcome == "setup failed"
    assert "/nowhere.py" in broken.summary


def test_seeds_are_given_as_one_or_as_a_range() -> None:
    assert list(parse_seeds("7")) == [7]
    assert list(parse_seeds("3:6")) == [3, 4, 5]
    assert list(parse_seeds(":2")) == [0, 1]
    for wrong in ("", "5:5", "a:b"):
        with pytest.raises(ValueError, match="seeds"):
            parse_seeds(wrong)


def test_the_command_sweeps_with_progress_and_exits_by_the_weightiest_outcome(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "sweep",
        "--seeds=0:2",
        "--workload=register",
        "--nemesis=none",
        "--time-limit=2",
        "--jobs=1",
    ]
    assert main([*arguments, f"--failures={tmp_path / 'none'}"]) == 0
    told = capsys.readouterr().out
    assert "2 seeds" in told and "virtual seconds a second" in told and "no faults" in told
    from tests.simulation.conftest import mutated

    agent = f"--agent={' '.join(mutated('AppliesByChance'))}"
    assert main([*arguments, agent, f"--failures={tmp_path / 'some'}"]) == 1
    assert "invalid: Equal States: 2 of 2" in capsys.readouterr().out
    assert len(list((tmp_path / "some").glob("*.json"))) == 2


def test_wrong_usage_of_a_sweep_names_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "--seeds=0:2", "--workload=nonsense"]) == 64
    assert "register, set, session, watch, append, wr, gossip" in capsys.readouterr().err
    assert main(["sweep", "--seeds=5:5"]) == 64


@pytest.mark.parametrize("command", [["sweep", "--seeds=0:1"], ["shrink", "0"]])
@pytest.mark.parametrize(
    "option",
    [
        "--nodes=0", "--nodes=x", "--servers=-1", "--servers=9", "--concurrency=0", "--rate=0", "--rate=-1",
        "--rate=nan", "--time-limit=-1", "--time-limit=inf", "--op-timeout=0", "--op-timeout=nan",
        "--setting=x", "--agent='",
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_with_its_option_before_anything_runs(
    command: list[str], option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code([*command, "--workload=register", option]) == 64
    assert option.partition("=")[0] in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    "arguments",
    [
        ["sweep", "--seeds=0:1", "--jobs=-1"],
        ["sweep", "--seeds=0:1", "--jobs=0"],
        ["sweep", "--seeds=0:1", "--workload=register", f"--failures={__file__}"],
        ["shrink", "0", "--runs=0"],
        ["shrink", "0", "--out=/no/such/folder/small.json"],
        ["shrink", "/no/such/scenario.json"],
        ["replay", "/no/such/scenario.json"],
    ],
)
def test_wrong_usage_of_one_command_is_told_before_anything_runs(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(arguments) == 64
    assert arguments[-1].rpartition("=")[2] in capsys.readouterr().err.splitlines()[-1]


def exit_code(arguments: list[str]) -> Any:
    try:
        return main(arguments)
    except SystemExit as ended:
        return ended.code


def test_a_majority_recovers_without_the_rest(play: Play) -> None:
    """Some seeds demand it: the others are taken out after the heal, and come back."""
    cores = (play("register", "swarm", seed, time_limit=3.0, rate=20.0) for seed in range(100))
    played = next(run for run in cores if run.scenario.left_out)
    assert played.failure is None
    assert 0 < len(played.scenario.left_out) <= 2
