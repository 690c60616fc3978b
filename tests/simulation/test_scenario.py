"""A run is data: what a seed drew can be read, changed, and made to happen again without the seed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from harness.cli import main
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
        ('{"workload": "register", "time_limit": NaN}', "invalid character"),
        ('{"workload": "register", "time_limit": 1e999}', "out of range - at `$.time_limit`"),
        ('{"workload": "\udcff", "time_limit": 1}', "utf-8"),
        ('{"workload": "register", "time_limit": 1, "fault": []}', "unknown field `fault`"),
        ('{"workload": "register", "time_limit": -1}', "time_limit is -1"),
        ('{"workload": "register", "time_limit": 1, "rate": 0}', "rate is 0"),
        ('{"workload": "register", "time_limit": 1, "operation_timeout": -5}', "operation_timeout is -5"),
        ('{"workload": "register", "time_limit": 1, "servers": 9}', "servers is 9; there are only 5 nodes"),
        ('{"workload": "register", "time_limit": 1, "left_out": ["n6"]}', "left_out: there is no node n6"),
        ('{"workload": "register", "time_limit": 1, "operations": [[-1, 0, "read"]]}', ">= 0"),
    ],
)
def test_what_is_no_scenario_is_told_with_file_and_reason(tmp_path: Path, content: str, text: str) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(BrokenScenario, match=re.escape(text)) as caught:
        read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ('[-1, "start-kill", {"nodes": ["n1"]}]', ">= 0.0 - at `$.faults[0][0]`"),
        ('[1, "start-kill", {"nodes": ["n1"]}, "more"]', "at most length 3"),
        ('[1, "start-fire", {"nodes": ["n1"]}]', "fault 0: no 'start-fire'; there are start-clock, "),
        ('[1, "heal-kill"]', "fault 0: no 'heal-kill'"),
        ('[1, "kill", {"nodes": ["n1"]}]', "fault 0: no 'kill'"),
        ('[1, "start-kill", {"nodes": ["n6"]}]', "fault 0, start-kill: there is no node n6"),
        ('[1, "start-pause", {"node": ["n1"]}]', "start-pause: Object missing required field `nodes`"),
        ('[1, "start-partition", {"cut": [["n1", "n6"]]}]', "there is no link from n1 to n6"),
        ('[1, "start-partition", {"cut": [["n1", "n1"]]}]', "there is no link from n1 to n1"),
        ('[1, "start-network", {"links": [["n1", "n6"]]}]', "there is no link from n1 to n6"),
        ('[1, "start-network", {"links": "some"}]', "start-network: "),
        ('[1, "start-network", {"links": "all", "losst": 0.5}]', "unexpected keyword argument 'losst'"),
        ('[1, "start-network", {"links": "all", "lost": 1.5}]', "lost is a probability, not 1.5"),
        ('[1, "start-clock", {"clocks": {"n6": {"offset": 1, "rate": 1}}}]', "there is no node n6"),
        ('[1, "start-clock", {"clocks": {"n1": {"offset": 1, "rate": -1}}}]', "> 0.0"),
        ('[1, "start-disk", {"nodes": ["n1"], "condition": "wet"}]', "'wet' - at `$.condition`"),
        (
            '[1, "start-crash-point", {"nodes": ["n1"], "step": "dreamt", "record": "vote", "boot": 1, '
            '"again": true}]',
            "'dreamt' - at `$.step`",
        ),
        (
            '[1, "start-crash-point", {"nodes": [], "step": "sent", "record": "vote", "boot": 1, '
            '"again": true, "leader": "n1"}]',
            "needs its `absence`",
        ),
    ],
)
def test_a_fault_that_cannot_be_done_is_told_before_anything_runs(
    tmp_path: Path, fault: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "broken.json"
    path.write_text(f'{{"workload": "register", "time_limit": 1, "faults": [{fault}]}}')
    assert main(["replay", str(path), f"--store={tmp_path}"]) == 65
    told = capsys.readouterr().err
    assert text in told and str(path) in told and len(told.splitlines()) == 1


@pytest.mark.parametrize(
    ("departure", "text"),
    [
        ('["nowhere", 3, "lost"]', "departure 0: no place 'nowhere'"),
        ('["n1>n6 datagram", 3, "lost"]', "departure 0: no place 'n1>n6 datagram'"),
        ('["harness>n1 stream", 3, "late", 9]', "departure 0: no place 'harness>n1 stream'"),
        ('["n1>n2 datagram", 0, "lost"]', ">= 1 - at `$.departures[0][1]`"),
        ('["n1>n2 datagram", 3, "exploded"]', "'exploded' - at `$.departures[0][2]`"),
        ('["n1>n2 datagram", 3, "late", -5]', ">= 0.0 - at `$.departures[0][3]`"),
    ],
)
def test_a_departure_that_cannot_be_is_no_scenario(tmp_path: Path, departure: str, text: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(f'{{"workload": "register", "time_limit": 1, "departures": [{departure}]}}')
    with pytest.raises(BrokenScenario, match=re.escape(text)):
        read(path)


def test_what_a_hand_added_at_the_end_comes_in_its_time() -> None:
    played = simulate(
        Scenario(
            workload="register",
            nodes=3,
            servers=3,
            time_limit=2.0,
            operations=[Invocation(1.0, 0, "write", "r0", 1), Invocation(0.2, 1, "write", "r0", 2)],
            faults=[Fault(0.9, "stop-pause"), Fault(0.1, "start-pause", {"nodes": ["n3"]})],
            final=False,
        )
    )
    begun = [(op.time / 1e9, op.f) for op in played.history.ops if op.type == "invoke" and op.f == "write"]
    assert begun == [(0.2, "write"), (1.0, "write")]
    injected = [(begun.time / 1e9, begun.f) for begun, _ in played.history.nemesis][:2]
    assert injected == [(0.1, "start-pause"), (0.9, "stop-pause")]


def test_a_scenario_that_hits_a_node_that_is_not_there_hits_nothing_and_is_not_green() -> None:
    """Also one that no file was read for."""
    fault = Fault(0.5, "start-kill", {"nodes": ["n9"]})
    played = simulate(Scenario(workload="register", nodes=3, servers=3, time_limit=1.0, faults=[fault]))
    assert played.failure == "injection failed"
    assert "there is no node n9" in played.results.summary


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
