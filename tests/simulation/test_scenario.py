"""A run is data: what a seed drew can be read, changed, and made to happen again without the seed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from harness.history import encode as encode_op
from harness.simulation.scenario import (
    BrokenScenario,
    Departed,
    Fault,
    Scenario,
    Simulated,
    encode,
    read,
    simulate,
)
from harness.simulation.script import Invocation

if TYPE_CHECKING:
    from tests.simulation.conftest import Play


def clients(played: Simulated) -> bytes:
    """What the clients did and saw, to the byte and the nanosecond."""
    return b"".join(
        encode_op(msgspec.structs.replace(op, index=0))
        for op in played.history.ops
        if op.process != "nemesis"
    )


@pytest.mark.parametrize(
    ("workload", "seed"), [("register", 0), ("register", 29), ("set", 16), ("gossip", 1)]
)
def test_a_scenario_makes_the_run_of_a_seed_happen_again(play: Play, workload: str, seed: int) -> None:
    first = play(workload, "swarm", seed)
    again = simulate(first.scenario)
    assert clients(again) == clients(first)
    assert again.failure == first.failure
    assert simulate(again.scenario).trace == again.trace


@pytest.mark.parametrize("seed", [5, 22])
def test_a_fault_that_was_begun_in_time_and_done_later_is_so_in_the_scenario_too(
    play: Play, seed: int
) -> None:
    first = play("set", "partition,kill", seed, time_limit=4.0, nodes=3, servers=3, concurrency=3, rate=10.0)
    assert first.scenario.faults[-1].at > first.scenario.time_limit
    assert clients(simulate(first.scenario)) == clients(first)


def test_a_run_can_be_judged_however_long_its_history_is(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long ones are read from their file when they are asked, and a simulation keeps no file."""
    monkeypatch.setattr("harness.history.stored._SCAN_BYTES", 0)
    played = play("register", "none", 0, rate=20.0, time_limit=2.0)
    assert played.results.outcome == "valid" and len(played.history.ops[:]) == len(played.history)


def test_a_scenario_survives_its_file(play: Play, tmp_path: Path) -> None:
    scenario = play("register", "network,crash-point", 3).scenario
    assert scenario.departures and scenario.faults and scenario.operations
    path = tmp_path / "scenario.json"
    path.write_bytes(encode(scenario))
    assert read(path) == scenario
    assert len(path.read_text().splitlines()) > len(scenario.departures), "one a line, to be compared"


def test_what_is_left_out_of_a_scenario_changes_nothing_else() -> None:
    """Chance is drawn by place: without the lost datagrams, everything else is as it was."""
    with_them = Scenario(
        workload="register",
        nodes=3,
        servers=3,
        time_limit=4.0,
        operations=[Invocation(at / 10, at % 10, "write", "r0", at) for at in range(30)],
        departures=[Departed("n1>n2 datagram", number, "lost") for number in range(20, 24)],
    )
    without = msgspec.structs.replace(with_them, departures=[])
    assert clients(simulate(with_them)) == clients(simulate(without)), "gossip is not on the clients' way"
    assert simulate(with_them).trace != simulate(without).trace


def test_operations_wait_for_their_thread_and_not_for_each_other() -> None:
    played = simulate(
        Scenario(
            workload="register",
            nodes=3,
            servers=3,
            time_limit=8.0,
            operation_timeout=2.0,
            operations=[
                Invocation(1.5, 0, "write", "r0", 1),
                Invocation(1.6, 0, "write", "r0", 2),
                Invocation(1.7, 1, "write", "r0", 3),
            ],
            faults=[Fault(1.0, "start-pause", {"nodes": ["n1"]}), Fault(5.0, "stop-pause")],
            final=False,
        )
    )
    begun = [(op.value, round(op.time / 1e9, 1)) for op in played.history.ops if op.type == "invoke"][:3]
    assert begun == [(1, 1.5), (3, 1.7), (2, 3.5)], "the second write of the client of n1 waits for the first"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("[]", "Expected `object`"),
        ('{"workload": "register"}', "missing required field `time_limit`"),
        ('{"workload": "register", "time_limit": 1, "version": 7}', "version 7"),
        ('{"workload": "register", "time_limit": 1, "nodes": 0}', "nodes is 0"),
        ('{"workload": "register", "time_limit": 1, "operations": [[0.1, 99, "read"]]}', "thread 99 of 10"),
        ('{"workload": "register", "time_limit": 1', "truncated"),
    ],
)
def test_what_is_no_scenario_is_told_with_file_and_reason(tmp_path: Path, content: str, text: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(content)
    with pytest.raises(BrokenScenario, match=text) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_a_cluster_that_does_not_come_back_is_told_apart_from_a_broken_promise() -> None:
    played = simulate(
        Scenario(
            workload="register",
            nodes=3,
            servers=3,
            time_limit=3.0,
            left_out=["n1", "n2"],
            operations=[Invocation(1.0, thread, "read", "r0") for thread in range(3)],
        )
    )
    assert played.failure == "no liveness", "one of three cannot recover alone"
    assert "n3" in played.results.summary
    assert "without n1, n2" in played.results.summary
