"""The watch workload: what its clients do, in virtual time, against a store that answers as Consul does."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import msgspec
import pytest

from harness import generator as gen
from harness.generator import Operation
from harness.generator.simulate import invocations, simulate
from harness.history import Op, Versioned
from harness.worlds import SetupError
from workloads.watch import PACES, WAIT, Operations, WatchClient

CONCURRENCY = 10
WATCHERS = range(CONCURRENCY // 2, CONCURRENCY)


def against(answer: Any, count: int = 600) -> list[Op]:
    """The events with a store that shows `answer(asked)` 100 ms after each watch."""

    def complete(op: Op) -> Op:
        value = answer(op.value) if op.f == "watch" else op.value
        return msgspec.structs.replace(op, type="ok", value=value, time=op.time + 100_000_000)

    source = gen.clients(gen.limit(count, gen.stagger(0.02, Operations((0,) * CONCURRENCY))))
    return simulate(source, complete, concurrency=CONCURRENCY)


def rising(asked: dict[str, Any]) -> dict[str, Any]:
    return {"index": asked["index"] + 1, "value": 1}


def test_half_of_the_clients_wait_and_the_others_write() -> None:
    begun = invocations(against(rising))
    assert {op.process for op in begun if op.f == "watch"} == set(WATCHERS)
    assert {op.process for op in begun if op.f == "write"} == set(range(CONCURRENCY)) - set(WATCHERS)


def test_who_waits_goes_on_from_the_index_that_it_was_shown() -> None:
    asked: dict[Any, list[int]] = {}
    for op in invocations(against(rising)):
        if op.f == "watch":
            assert op.value["wait"] == WAIT
            asked.setdefault(op.process, []).append(op.value["index"])
    assert all(indices == list(range(len(indices))) for indices in asked.values())


def test_who_is_shown_an_index_that_fell_starts_over() -> None:
    shown = iter((9, 5))
    events = against(lambda asked: {"index": next(shown, 7), "value": 1})
    first = next(op.process for op in events if op.f == "watch")
    mine = [op.value["index"] for op in events if op.process == first and op.type == "invoke"]
    assert mine[:4] == [0, 9, 0, 7]


def test_the_seldom_key_is_written_twice_in_a_row_and_values_are_unique() -> None:
    writes = [op for op in invocations(against(rising, 3000)) if op.f == "write"]
    assert len({op.value for op in writes}) == len(writes)
    seldom = f"w{len(PACES) - 1}"
    counts = Counter(op.key for op in writes)
    assert 0 < counts[seldom] < counts["w1"] < counts["w0"]
    runs = "".join("x" if op.key == seldom else " " for op in writes).split()
    assert all(len(run) % 2 == 0 for run in runs[:-1])


class Store:
    """A KV with a watch."""

    async def watch(self, key: str, index: int, wait: float) -> Versioned:
        return Versioned(f"{key} after {index}", index + 1)

    async def close(self) -> None: ...


def test_a_watch_is_recorded_as_its_index_and_value() -> None:
    store: Any = Store()
    shown = asyncio.run(WatchClient(store).invoke(Operation("watch", {"index": 3, "wait": 2.0}, "w0")))
    assert shown == {"index": 4, "value": "w0 after 3"}


def test_a_system_without_watches_cannot_be_tested_for_them() -> None:
    plain: Any = object()
    with pytest.raises(SetupError, match="has no watch"):
        WatchClient(plain)
