"""Simulated runs for tests."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.simulation.scenario import Simulated, simulate_seed
from harness.simulation.sweep import Plan

MUTANTS = Path(__file__).parents[1] / "mutants" / "agent.py"

Play = Callable[..., Simulated]


def mutated(mutant: str) -> list[str]:
    """The command line of an agent with a known bug."""
    return [sys.executable, str(MUTANTS), mutant]


@pytest.fixture(scope="session")
def play() -> Play:
    """Runs what a seed draws: `play("register", "partition", 7)`; keywords are `Plan`'s, or a `mutant`."""

    def played(
        workload: str, nemesis: str, seed: int, *, mutant: str | None = None, **fields: Any
    ) -> Simulated:
        fields = {"time_limit": 15.0, "agent": mutated(mutant) if mutant else None, **fields}
        return simulate_seed(Plan(workloads=(workload,), nemesis=nemesis, **fields).record(workload, seed))

    return played
