"""Strategies for users: scenarios that run, and histories that obey the rules and nothing else."""

from __future__ import annotations

from hypothesis import HealthCheck, find, given, settings

from checkers.linearizable import Linearizable
from harness.history import History
from harness.simulation.scenario import Scenario, simulate
from harness.simulation.strategies import histories, scenarios


@settings(deadline=None, max_examples=8, derandomize=True, suppress_health_check=list(HealthCheck))
@given(scenarios())
def test_registers_are_linearizable_in_any_scenario(scenario: Scenario) -> None:
    assert simulate(scenario).results.outcome in ("valid", "unknown"), "unknown: nothing was written or read"


@settings(deadline=None, max_examples=200, derandomize=True)
@given(histories())
def test_histories_obey_the_rules(history: History) -> None:
    assert Linearizable("cas-register").check(history).valid in ("valid", "invalid", "unknown")


def test_histories_reach_what_a_checker_must_reject_and_what_it_must_accept() -> None:
    for wanted in ("valid", "invalid"):
        found = find(histories(), lambda history, w=wanted: Linearizable().check(history).valid == w)  # type: ignore[misc]
        assert len(found) <= 4
