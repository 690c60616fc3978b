"""Bugs of transactions are found in whole agents, and called by their names; and what is promised holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from checkers.transactions import Transactions
from tests.mutants.catalogue import MUTANTS

if TYPE_CHECKING:
    from harness.simulation.scenario import Simulated
    from harness.verdict import Verdict
    from tests.simulation.conftest import Play

SEEDS = 8

NAMED = {
    "ChecksTransactionsWhenProposed": ("lost-update", "G-single-item"),
    "AppliesTransactionsInPart": ("G1a", "dirty-update"),
    "ReadsTransactionsAnywhere": ("G-single-item-realtime",),
}


def verdict(played: Simulated) -> Verdict:
    return next(one for one in played.results.verdicts if one.checker == "transactions")


@pytest.mark.parametrize("name", NAMED)
def test_a_bug_of_transactions_is_found_as_the_anomaly_that_it_makes(play: Play, name: str) -> None:
    mutant = next(one for one in MUTANTS if one.name == name)
    unnamed = set(NAMED[name])
    for seed in range(SEEDS):
        played = play(mutant.workload, mutant.nemesis, seed, mutant=name, **mutant.fields)
        found = verdict(played)
        if found.valid == "invalid":
            unnamed -= {anomaly for anomaly in unnamed if anomaly in found.summary}
            assert (played.failure or "").startswith(mutant.finds)
            assert all(one.operations for one in found.evidence)
        if not unnamed:
            return
    pytest.fail(f"not named in {SEEDS} seeds: {unnamed}")


@pytest.mark.parametrize("nemesis", ["none", "swarm"])
def test_transactions_are_strict_serializable_under_whatever_faults(play: Play, nemesis: str) -> None:
    for seed in range(2):
        played = play("append", nemesis, seed, time_limit=10.0)
        assert (played.failure, verdict(played).valid) == (None, "valid")


@pytest.mark.parametrize("mutant", [None, "ReadsTransactionsAnywhere"])
def test_what_judges_in_the_simulators_process_judges_as_elle_py_does(play: Play, mutant: str | None) -> None:
    played = play("append", "partition", 3, mutant=mutant)
    assert verdict(played) == Transactions().check(played.history)


def test_stale_transactions_are_serializable_and_no_more(play: Play) -> None:
    played = play("append", "partition", 0, reads="stale")
    assert (played.failure, verdict(played).valid) == (None, "valid")
    assert verdict(played).details["consistency models"] == ["serializable"]
    strict = Transactions().check(played.history)
    assert strict.valid == "invalid"
    assert "realtime" in strict.summary


def test_registers_show_stale_transactions_too(play: Play) -> None:
    assert verdict(play("wr", "swarm", 0, time_limit=10.0)).valid == "valid"
    summaries = []
    for seed in range(SEEDS):
        found = verdict(play("wr", "partition", seed, mutant="ReadsTransactionsAnywhere"))
        summaries.append(found.summary)
        if found.valid == "invalid" and "realtime" in found.summary:
            return
    pytest.fail(f"not found in {SEEDS} seeds: {summaries}")
