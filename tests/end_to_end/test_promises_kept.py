"""What is promised is kept, and found kept, under every fault: on proconsul, and on etcd, a foreigner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.parametrize("nemesis", ["kill", "pause", "partition,kill"])
def test_proconsul_keeps_its_promises_under(nemesis: str, suite: Callable[..., Any]) -> None:
    run = suite(f"--nemesis={nemesis}", "--workload=register,set", "--time-limit=10")
    assert run.exit_code == 0, run.output


@pytest.mark.parametrize("nemesis", ["kill", "pause"])
def test_the_gossip_of_proconsul_finds_the_dead_and_only_the_dead_under(
    nemesis: str, suite: Callable[..., Any]
) -> None:
    run = suite(f"--nemesis={nemesis}", "--workload=gossip")
    assert run.exit_code == 0, run.output


@pytest.mark.parametrize("reads", ["consistent", "stale"])
def test_sessions_and_servers_are_served_as_their_reads_promise(
    reads: str, suite: Callable[..., Any]
) -> None:
    run = suite("--nemesis=partition", "--workload=session", f"--reads={reads}", "--time-limit=8")
    assert run.exit_code == 0, run.output
    assert run.verdict("session-partition", "servers").valid == "valid"
    broken = run.verdict("session-partition", "sessions").details["violations"]["read-your-writes"]
    # What is not promised is seen all the same: Consul says so of its stale reads.
    assert (broken > 0) == (reads == "stale")


def test_watches_are_woken_under_partition(suite: Callable[..., Any]) -> None:
    run = suite("--nemesis=partition", "--workload=watch", "--time-limit=6")
    assert run.exit_code == 0, run.output
    assert run.verdict("watch-partition", "watch").details["woken"] > 20


def test_client_agents_forward_to_servers_under_partition(suite: Callable[..., Any]) -> None:
    run = suite("--nemesis=partition", "--workload=register", "--nodes=5", "--servers=3", "--time-limit=10")
    assert run.exit_code == 0, run.output


@pytest.mark.usefixtures("etcd")
@pytest.mark.parametrize("nemesis", ["partition", "kill", "pause"])
def test_etcd_keeps_its_promises_under(nemesis: str, suite: Callable[..., Any]) -> None:
    run = suite("--system=etcd", f"--nemesis={nemesis}", "--workload=register,set", "--time-limit=10")
    assert run.exit_code == 0, run.output


def test_transactions_of_proconsul_are_strict_serializable(suite: Callable[..., Any]) -> None:
    run = suite("--nemesis=partition,kill", "--workload=append", "--time-limit=8")
    assert run.exit_code == 0, run.output
    assert run.verdict("append-partition-kill", "transactions").valid == "valid"


@pytest.mark.usefixtures("etcd")
def test_transactions_of_etcd_are_strict_serializable(suite: Callable[..., Any]) -> None:
    run = suite("--system=etcd", "--nemesis=partition", "--workload=append", "--time-limit=8")
    assert run.exit_code == 0, run.output
    assert run.verdict("append-partition", "transactions").valid == "valid"
