"""What servers owe even to readers of stale values: one log, and forward."""

import os
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checkers.servers import Servers
from harness.history import NEMESIS, History

Recorded = Callable[..., History]
Row = tuple[Any, ...]

THOROUGH = bool(os.environ.get("SPLITBRAIN_NIGHTLY"))


def did(
    at: float, process: int, f: str, value: Any, key: str, node: str, version: int | None = None
) -> list[Row]:
    return [
        (at, process, "invoke", f, None if f == "read" else value, key, node),
        (at + 0.5, process, "ok", f, value, key, node, version),
    ]


WRITTEN = [
    *did(0, 0, "write", 1, "x", "n1"),
    *did(1, 0, "write", 2, "y", "n1"),
    *did(2, 0, "write", 3, "x", "n1"),
    *did(3, 0, "write", 4, "y", "n1"),
]


def test_a_server_may_lag_as_far_as_it_likes(recorded: Recorded) -> None:
    rows = [
        *WRITTEN,
        *did(4, 1, "read", None, "x", "n2"),
        *did(5, 1, "read", 1, "x", "n2"),
        *did(6, 1, "read", 2, "y", "n2"),
    ]
    verdict = Servers().check(recorded(*rows))
    assert verdict.valid == "valid", verdict
    assert "in 2 reads" in verdict.summary


def test_a_server_that_goes_back_on_a_key_is_caught(recorded: Recorded) -> None:
    rows = [*WRITTEN, *did(4, 1, "read", 3, "x", "n2"), *did(5, 2, "read", 1, "x", "n2")]
    verdict = Servers().check(recorded(*rows))
    assert verdict.valid == "invalid"
    assert verdict.summary == (
        "n2 broke monotonic-reads on key x: process 1 on n2 read 3 (4.000 s to 4.500 s), and then process 2 "
        "on n2 read 1 (5.000 s to 5.500 s), which is older: process 0 on n1 wrote 1 (0.000 s to 0.500 s), "
        "before 3 was written: process 0 on n1 wrote 3 (2.000 s to 2.500 s)."
    )


def test_another_server_may_be_behind(recorded: Recorded) -> None:
    rows = [
        *WRITTEN,
        *did(4, 1, "read", 3, "x", "n2"),
        *did(5, 2, "read", 1, "x", "n3"),
        *did(6, 2, "read", 2, "y", "n3"),
    ]
    assert Servers().check(recorded(*rows)).valid == "valid"


def test_a_server_that_shows_a_write_and_lacks_an_earlier_one_of_another_key_is_caught(
    recorded: Recorded,
) -> None:
    rows = [*WRITTEN, *did(4, 1, "read", 4, "y", "n2"), *did(5, 1, "read", 1, "x", "n2")]
    verdict = Servers().check(recorded(*rows))
    assert verdict.valid == "invalid"
    assert "n2 broke prefix on key x" in verdict.summary
    assert "1 had been overwritten before 4 was written" in verdict.summary
    assert verdict.evidence[0].operations == [4, 5, 6, 7, 8, 9, 10, 11]


def test_reads_that_overlap_have_no_order(recorded: Recorded) -> None:
    rows = [
        *WRITTEN,
        (4, 1, "invoke", "read", None, "x", "n2"),
        *did(5, 2, "read", 3, "x", "n2"),
        (6, 1, "ok", "read", 1, "x", "n2"),
    ]
    assert Servers().check(recorded(*rows)).valid != "invalid"


def test_back_and_forth_between_concurrent_writes_is_caught_though_their_order_is_not_known(
    recorded: Recorded,
) -> None:
    concurrent = [
        (0, 0, "invoke", "write", 1, "x", "n1"),
        (0, 1, "invoke", "write", 2, "x", "n1"),
        (1, 0, "ok", "write", 1, "x", "n1"),
        (1, 1, "ok", "write", 2, "x", "n1"),
    ]
    there = [*did(2, 2, "read", 1, "x", "n2"), *did(3, 2, "read", 2, "x", "n2")]
    assert Servers().check(recorded(*concurrent, *there)).valid == "valid"
    verdict = Servers().check(recorded(*concurrent, *there, *did(4, 3, "read", 1, "x", "n2")))
    assert verdict.valid == "invalid" and "the server went back" in verdict.summary


def test_versions_order_what_time_does_not(recorded: Recorded) -> None:
    concurrent = [
        (0, 0, "invoke", "write", 1, "x", "n1"),
        (0, 1, "invoke", "write", 2, "y", "n1"),
        (0, 2, "invoke", "write", 3, "x", "n1"),
        *(
            (1, process, "ok", "write", process + 1, "y" if process == 1 else "x", "n1")
            for process in range(3)
        ),
    ]
    seen = [
        *did(2, 3, "read", 3, "x", "n3", 7),
        *did(3, 4, "read", 2, "y", "n2", 8),
        *did(4, 4, "read", 1, "x", "n2", 6),
    ]
    history = recorded(*concurrent, *seen)
    assert Servers().check(history).valid == "valid"
    verdict = Servers(one_sequence=True).check(history)
    assert verdict.valid == "invalid"
    assert "1 was overwritten at version 7, and what the server had shown has version 8" in verdict.summary


@pytest.mark.parametrize("fault", ["kill", "power", "crash-point"])
def test_a_server_that_died_begins_anew(recorded: Recorded, fault: str) -> None:
    killed = [
        (5, NEMESIS, "info", f"start-{fault}"),
        (6, NEMESIS, "info", f"start-{fault}", {"nodes": ["n2"]}),
        (7, NEMESIS, "info", f"stop-{fault}"),
        (8, NEMESIS, "info", f"stop-{fault}", {"nodes": ["n2"]}),
    ]
    before, after = did(4, 1, "read", 3, "x", "n2"), did(9, 1, "read", 1, "x", "n2")
    history = recorded(*WRITTEN, *before, *killed, *after, *did(10, 1, "read", 1, "x", "n2"))
    assert Servers().check(history).valid == "valid"
    other = [row if row[4:] == () else (*row[:4], {"nodes": ["n3"]}) for row in killed]
    if fault != "crash-point":
        assert Servers().check(recorded(*WRITTEN, *before, *other, *after)).valid == "invalid"


@given(st.integers(0, 10**9))
@settings(
    max_examples=100_000 if THOROUGH else 300,
    deadline=None,
    derandomize=not THOROUGH,
    suppress_health_check=list(HealthCheck),
)
def test_honest_servers_are_never_accused(replicated: Callable[..., Any], seed: int) -> None:
    history = replicated(seed).history
    assert Servers(one_sequence=True).check(history).valid != "invalid"


@given(st.integers(0, 10**9))
@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_a_server_that_forgets_is_caught_if_versions_are_told(
    replicated: Callable[..., Any], seed: int
) -> None:
    history = replicated(2 * seed + 1, steps=200).history
    reads = [op for op in history.ops if op.f == "read" and op.type == "ok" and op.version]
    begun = {op.index: invoke.index for invoke, op in history.pairs() if op is not None}
    for late in reversed(reads):
        for early in reads:
            if early.node == late.node and early.key == late.key and early.index < begun[late.index]:
                ops = list(history.ops)
                ops[late.index] = msgspec.structs.replace(late, value=None, version=0)
                assert Servers(one_sequence=True).check(History(ops)).valid == "invalid"
                return


def test_only_the_named_nodes_are_judged(recorded: Recorded) -> None:
    rows = [*WRITTEN, *did(4, 1, "read", 3, "x", "n2"), *did(5, 2, "read", 1, "x", "n2")]
    assert Servers(nodes=("n1",)).check(recorded(*rows)).valid == "unknown"


def test_without_reads_or_nodes_nothing_is_known(recorded: Recorded) -> None:
    assert Servers().check(recorded()).valid == "unknown"
    assert "no server was read twice" in Servers().check(recorded(*WRITTEN)).summary
    homeless = [(0, 0, "invoke", "read", None), (1, 0, "ok", "read", None)]
    assert "which node it talked to" in Servers().check(recorded(*homeless)).summary
