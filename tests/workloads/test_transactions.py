"""The workloads append and wr: what clients do, in virtual time, and what a transaction does to a store."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from harness import generator as gen
from harness.generator import Operation
from harness.generator.simulate import imperfect, invocations, perfect
from harness.history import Op, Versioned
from harness.systems import Indeterminate, Options, Refused
from harness.worlds import SetupError
from workloads._transactions import (
    KEYS_AT_A_TIME,
    LENGTH_MAX,
    WRITES_PER_KEY,
    TransactionClient,
    models,
    operations,
)

CONCURRENCY = 6


def events(count: int, simulated: Any = perfect, write: Any = "append") -> list[Op]:
    found: list[Op] = simulated(gen.clients(gen.limit(count, operations(write))), concurrency=CONCURRENCY)
    return found


def test_transactions_are_short_and_half_of_the_clients_only_read() -> None:
    begun = invocations(events(1000))
    assert {len(op.value) for op in begun} == set(range(1, LENGTH_MAX + 1))
    writers = {op.process for op in begun if any(f == "append" for f, _, _ in op.value)}
    assert writers == set(range(CONCURRENCY // 2, CONCURRENCY))
    assert {op.process for op in begun} == set(range(CONCURRENCY))
    assert {f for op in begun for f, _, _ in op.value} == {"r", "append"}


@pytest.mark.parametrize("write", ["append", "w"])
def test_what_is_written_to_a_key_is_unique_and_ends_after_so_many(write: str) -> None:
    written: dict[str, list[int]] = {}
    for op in invocations(events(3000, write=write)):
        for f, key, value in op.value:
            if f == write:
                written.setdefault(key, []).append(value)
    assert all(values == list(range(1, len(values) + 1)) for values in written.values())
    lengths = Counter(map(len, written.values()))
    assert max(lengths) == WRITES_PER_KEY and lengths[WRITES_PER_KEY] > 10
    assert sum(lengths.values()) - lengths[WRITES_PER_KEY] <= KEYS_AT_A_TIME


def test_a_list_is_still_read_after_it_was_given_up() -> None:
    given_up: dict[str, bool] = {}
    for op in invocations(events(3000)):
        for f, key, value in op.value:
            if f == "append" and value == WRITES_PER_KEY:
                given_up[key] = False
            elif key in given_up:
                given_up[key] = True
    assert len(given_up) > 10
    assert list(given_up.values()).count(False) <= 1


def test_it_goes_on_when_transactions_fail_and_clients_crash() -> None:
    assert len(invocations(events(500, imperfect))) == 500


class Store:
    """A transactional KV of lists x (version 3) and y (missing)."""

    def __init__(self, interrupted: bool = False, broken: bool = False) -> None:
        self.interrupted, self.broken = interrupted, broken
        self.asked: list[Sequence[str]] = []
        self.wrote: list[tuple[Mapping[str, Any], Mapping[str, int]]] = []

    async def read_all(self, keys: Sequence[str]) -> dict[str, Versioned]:
        if self.broken:
            raise Indeterminate("connection lost")
        self.asked.append(keys)
        held = {"x": Versioned([1, 2], 3), "y": Versioned(None, 0)}
        return {key: held[key] for key in keys}

    async def write_all(self, values: Mapping[str, Any], versions: Mapping[str, int]) -> bool:
        self.wrote.append((values, versions))
        return not self.interrupted

    async def close(self) -> None: ...


def invoke(store: Any, *micro_operations: list[Any]) -> Any:
    return asyncio.run(TransactionClient(store).invoke(Operation("txn", list(micro_operations))))


def test_a_transaction_reads_once_and_writes_once_guarded_by_the_versions_of_all_it_read() -> None:
    store = Store()
    done = invoke(store, ["r", "x", None], ["append", "y", 1], ["append", "y", 2], ["r", "y", None])
    assert done == [["r", "x", [1, 2]], ["append", "y", 1], ["append", "y", 2], ["r", "y", [1, 2]]]
    assert store.asked == [["x", "y"]]
    assert store.wrote == [({"y": [1, 2]}, {"x": 3, "y": 0})]


def test_a_read_shows_the_list_as_it_was_at_that_point_of_the_transaction() -> None:
    done = invoke(Store(), ["r", "x", None], ["append", "x", 3], ["r", "x", None], ["append", "x", 4])
    assert [value for f, _, value in done if f == "r"] == [[1, 2], [1, 2, 3]]


def test_a_transaction_that_only_reads_writes_nothing() -> None:
    store = Store()
    assert invoke(store, ["r", "y", None], ["r", "x", None]) == [["r", "y", None], ["r", "x", [1, 2]]]
    assert (store.asked, store.wrote) == ([["y", "x"]], [])


def test_what_is_overwritten_unseen_needs_neither_a_read_nor_a_guard() -> None:
    store = Store()
    assert invoke(store, ["w", "y", 5], ["r", "y", None]) == [["w", "y", 5], ["r", "y", 5]]
    assert (store.asked, store.wrote) == ([], [({"y": 5}, {})])


def test_a_transaction_that_another_came_in_between_of_has_not_happened() -> None:
    with pytest.raises(Refused, match="came in between"):
        invoke(Store(interrupted=True), ["append", "x", 3])


def test_a_transaction_whose_reading_broke_has_not_happened() -> None:
    store = Store(broken=True)
    with pytest.raises(Refused, match="nothing was written yet: connection lost"):
        invoke(store, ["append", "x", 3])
    assert store.wrote == []


def test_a_system_without_transactions_cannot_be_tested_for_them() -> None:
    plain: Any = object()
    with pytest.raises(SetupError, match="has no transactions"):
        TransactionClient(plain)


@pytest.mark.parametrize(
    ("reads", "owed"),
    [("consistent", "strict-serializable"), ("default", "serializable"), ("stale", "serializable")],
)
def test_only_consistent_reads_owe_real_time(reads: Any, owed: str) -> None:
    assert models(Options(nodes=("n1",), servers=1, reads=reads)) == (owed,)
