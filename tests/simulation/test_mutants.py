"""Every known bug is found in a whole agent by the kind of check that it should be found by.

By default those that a few seeds find; SPLITBRAIN_NIGHTLY=1 looks for all, as long as the catalogue says.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.mutants.catalogue import MUTANTS, Mutant

if TYPE_CHECKING:
    from tests.simulation.conftest import Play

NIGHTLY = bool(os.environ.get("SPLITBRAIN_NIGHTLY"))
FEW = 4
"""Seeds that are tried by default."""

QUICK = ("ReadsWithoutQuorum", "AppliesByChance", "NeverSyncs", "AcknowledgesBeforeReplication")
"""Those that so many seeds have to find."""


@pytest.mark.parametrize(
    "mutant", [one for one in MUTANTS if NIGHTLY or one.name in QUICK], ids=lambda mutant: mutant.name
)
def test_a_known_bug_is_found(play: Play, mutant: Mutant) -> None:
    adapter = {"system": mutant.name} if ":" in mutant.name else {}
    name = None if adapter else mutant.name
    failures = []
    for seed in range(mutant.seeds if NIGHTLY else FEW):
        played = play(mutant.workload, mutant.nemesis, seed, mutant=name, **adapter, **mutant.fields)
        failures.append(played.failure)
        if played.failure is not None and played.failure.startswith(mutant.finds):
            return
    pytest.fail(f"not found in {len(failures)} seeds: {[failure for failure in failures if failure]}")


@pytest.mark.parametrize(
    ("workload", "nemesis"),
    sorted({(one.workload, one.nemesis) for one in MUTANTS if NIGHTLY or one.name in QUICK}),
)
def test_the_same_faults_find_nothing_in_the_agent_itself(play: Play, workload: str, nemesis: str) -> None:
    for seed in range(200 if NIGHTLY else FEW):
        assert play(workload, nemesis, seed).failure is None
