"""The session workload: what its clients do, in virtual time, and what they record."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from harness import generator as gen
from harness.generator import Operation
from harness.generator.simulate import imperfect, invocations, perfect
from harness.history import Op, Versioned
from workloads.session import KEYS, Operations, Session, SessionClient


def events(count: int, simulated: Any = perfect) -> list[Op]:
    found: list[Op] = simulated(gen.clients(gen.limit(count, Operations())), concurrency=4)
    return found


def test_a_client_reads_what_it_has_just_written_before_anything_else() -> None:
    by_process: dict[Any, list[Op]] = {}
    for op in events(500):
        by_process.setdefault(op.process, []).append(op)
    written = 0
    for mine in by_process.values():
        for at, op in enumerate(mine[:-1]):
            if op.type == "ok" and op.f == "write":
                written += 1
                assert (mine[at + 1].f, mine[at + 1].key) == ("read", op.key)
    assert written > 50


def test_values_are_unique_and_the_keys_are_few() -> None:
    begun = invocations(events(500))
    values = [op.value for op in begun if op.f == "write"]
    assert len(values) == len(set(values)) > 50
    assert {op.key for op in begun} == {f"s{number}" for number in range(KEYS)}


def test_it_goes_on_when_operations_fail_and_clients_crash() -> None:
    assert len(invocations(events(500, imperfect))) == 500


def test_at_the_end_every_session_does_what_each_guarantee_is_about() -> None:
    test: Any = SimpleNamespace(concurrency=4)
    begun = invocations(perfect(gen.clients(Session().final_generator(test)), concurrency=4))
    values = [op.value for op in begun if op.f == "write"]
    assert len(values) == len(set(values)) == 8 and max(values) < 0
    by_process: dict[Any, list[Op]] = {}
    for op in begun:
        by_process.setdefault(op.process, []).append(op)
    assert len(by_process) == 4
    for mine in by_process.values():
        assert [op.f for op in mine] == ["write", "read", "write", "read"]
        assert len({op.key for op in mine}) == 1, "the guarantees are about one key each"


class Plain:
    """A KV that does not tell versions."""

    async def read(self, key: str) -> Any:
        return f"{key}'s"

    async def close(self) -> None: ...


class Telling(Plain):
    """One that does."""

    def __init__(self, value: Any, index: int) -> None:
        self.answer = Versioned(value, index)

    async def watch(self, key: str, index: int, wait: float) -> Versioned:
        assert (index, wait) == (0, 0.0)
        return self.answer


def read(kv: Any) -> Any:
    return asyncio.run(SessionClient(kv).invoke(Operation("read", None, "s0")))


def test_versions_are_recorded_where_the_system_tells_them() -> None:
    assert read(Plain()) == "s0's"
    assert read(Telling(7, 12)) == Versioned(7, 12)


def test_a_missing_key_has_no_version_yet_whatever_the_stores_index_is() -> None:
    assert read(Telling(None, 12)) == Versioned(None, 0)
