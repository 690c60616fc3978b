"""Negative controls: what is broken on purpose is found broken, and the evidence names it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def mutant(name: str) -> str:
    return f"--agent={sys.executable} {Path(__file__).parents[1] / 'mutants' / name}.py"


def test_stale_reads_of_proconsul_are_found_not_linearizable(suite: Callable[..., Any]) -> None:
    run = suite("--nemesis=partition", "--workload=register", "--reads=stale", "--time-limit=12")
    assert run.exit_code == 1, run.output
    verdict = run.verdict("register-partition", "linearizable")
    assert verdict.valid == "invalid"
    assert any("Stale read" in evidence.summary for evidence in verdict.evidence), verdict
    assert all(evidence.operations for evidence in verdict.evidence)
    assert "Stale read" in run.output


@pytest.mark.usefixtures("etcd")
def test_serializable_reads_of_etcd_are_found_not_linearizable(suite: Callable[..., Any]) -> None:
    # Long enough for partitions that outlast an election and the timeouts of clients that hang meanwhile.
    run = suite(
        "--system=etcd", "--nemesis=partition", "--workload=register", "--reads=stale", "--time-limit=30"
    )
    assert run.exit_code == 1, run.output
    assert run.verdict("register-partition", "linearizable").valid == "invalid"


def test_a_leader_that_acknowledges_before_replication_loses_writes_and_the_checker_says_which(
    suite: Callable[..., Any],
) -> None:
    run = suite(
        "--nemesis=partition", "--workload=set", "--time-limit=12", mutant("acknowledges_before_replication")
    )
    assert run.exit_code == 1, run.output
    verdict = run.verdict("set-partition", "set-full")
    assert verdict.valid == "invalid"
    lost = [evidence for evidence in verdict.evidence if "lost" in evidence.summary.lower()]
    assert lost, verdict
    assert all(evidence.operations for evidence in lost)


def test_an_agent_that_never_refutes_is_caught(suite: Callable[..., Any]) -> None:
    run = suite("--nemesis=partition", "--workload=gossip", mutant("never_refutes"))
    assert run.exit_code == 1, run.output
    assert run.verdict("gossip-partition", "gossip").valid == "invalid"
