"""Every known bug is found in a whole agent by the kind of check that it should be found by.

By default those that a few seeds find; SPLITBRAIN_NIGHTLY=1 looks for all, as long as the catalogue says.
Three were found, shrunk, and kept in `tests/mutants/found/`; when the agent's timing changes they may have to
be found again: `python -m benchmarks.simulated_mutants --names NAME`.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from harness.simulation import words
from harness.simulation.scenario import Scenario, encode, read, simulate
from harness.simulation.shrink import shrink
from harness.simulation.sweep import run_seed
from tests.mutants.catalogue import KEPT, MUTANTS, Mutant

NIGHTLY = bool(os.environ.get("SPLITBRAIN_NIGHTLY"))
FEW = 6
"""Seeds that are tried by default."""

QUICK = (
    "AcknowledgesBeforeReplication",
    "AppliesByChance",
    "NeverSyncs",
    "ReadsWithoutQuorum",
    "SkipsLogFreshness",
)
"""Those that so many seeds have to find."""

FOUND = Path(__file__).parents[1] / "mutants" / "found"


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents with bugs are named by their path in the repository."""
    monkeypatch.chdir(Path(__file__).parents[2])


@pytest.mark.parametrize(
    "mutant", [one for one in MUTANTS if NIGHTLY or one.name in QUICK], ids=lambda mutant: mutant.name
)
def test_a_known_bug_is_found(mutant: Mutant) -> None:
    failures = []
    for seed in range(mutant.seeds if NIGHTLY else FEW):
        failures.append(run_seed(mutant.plan(), mutant.workload, seed).failure)
        if (failures[-1] or "").startswith(mutant.finds):
            return
    pytest.fail(f"not found in {len(failures)} seeds: {[failure for failure in failures if failure]}")


@pytest.mark.parametrize(
    "mutant", [one for one in MUTANTS if NIGHTLY or one.name in QUICK], ids=lambda mutant: mutant.name
)
def test_the_same_hunt_finds_nothing_in_the_agent_itself(mutant: Mutant) -> None:
    plan = msgspec.structs.replace(mutant.plan(), agent=None, system="proconsul")
    for seed in range(mutant.seeds if NIGHTLY else FEW // 2):
        assert run_seed(plan, mutant.workload, seed).failure is None


def kept(name: str) -> Scenario:
    return read(FOUND / f"{name}.json")


@pytest.mark.parametrize("name", KEPT)
def test_a_famous_bug_shows_itself_in_few_steps(name: str) -> None:
    scenario = kept(name)
    assert scenario.nodes <= 5 and len(scenario.faults) <= 5 and len(scenario.operations) <= 10
    played = simulate(scenario)
    assert played.failure == scenario.failure, words.script(scenario, played)


@pytest.mark.parametrize("name", KEPT)
def test_the_same_steps_do_no_harm_to_the_agent_itself(name: str) -> None:
    played = simulate(msgspec.structs.replace(kept(name), agent=None))
    assert not (played.failure or "").startswith(("invalid", "crashed", "no liveness")), (
        played.results.summary
    )


@pytest.mark.skipif(not NIGHTLY, reason="minutes: SPLITBRAIN_NIGHTLY=1 shrinks them again")
@pytest.mark.parametrize("name", KEPT)
def test_whoever_shrinks_a_famous_bug_gets_the_same_few_steps(name: str) -> None:
    (mutant,) = (one for one in MUTANTS if one.name == name)
    for seed in range(mutant.seeds):
        run = run_seed(mutant.plan(), mutant.workload, seed)
        if run.scenario is not None and (run.failure or "").startswith(mutant.finds):
            assert encode(shrink(run.scenario)) == encode(kept(name))
            return
    pytest.fail("not found")
