"""Operations per second that the harness drives and records, against a key-value store in its own process.

    python benchmarks/run_loop.py [OPERATIONS]

Reads, writes and compare-and-sets over 100 keys by 10 clients, as fast as the loop goes, every event recorded
in a history.jsonl. Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import generator as gen
from harness.generator import Operation, Source
from harness.history import Op
from harness.interpreter import Client
from harness.run import run
from harness.systems import KV, Options, Refused, System
from harness.systems.memory import Memory as MemorySystem
from harness.test import Checker, Environment, Package, Test
from harness.worlds import Cluster
from harness.worlds.memory import Memory as MemoryWorld


class RegisterClient:
    """Operations on a KV."""

    def __init__(self, kv: KV) -> None:
        self.kv = kv

    async def invoke(self, operation: Operation) -> Any:
        key = str(operation.key)
        if operation.f == "read":
            return await self.kv.read(key)
        if operation.f == "write":
            await self.kv.write(key, operation.value)
        elif not await self.kv.cas(key, *operation.value):
            raise Refused("the value was another")
        return operation.value

    async def close(self) -> None:
        await self.kv.close()


class Registers:
    """A hundred registers; values are unique."""

    name = "registers"
    time_limit = 3600.0
    rate = 1e9  # as fast as it goes

    def __init__(self, operations: int) -> None:
        self.operations = operations

    def generator(self, test: Test) -> Source:
        random = test.random("registers")
        values = iter(range(10**12))
        last = dict.fromkeys(range(100), 0)

        def read() -> Operation:
            return Operation("read", key=random.randrange(100))

        def write() -> Operation:
            key = random.randrange(100)
            last[key] = next(values)
            return Operation("write", last[key], key)

        def cas() -> Operation:
            key = random.randrange(100)
            return Operation("cas", [last[key], next(values)], key)

        return gen.limit(self.operations, gen.mix(read, write, cas))

    def long_fault_seconds(self, system: System, options: Options) -> float:
        return 0.0

    def final_generator(self, test: Test) -> Source:
        return None

    def probe(self) -> Operation:
        return Operation("read", key=0)

    def recovery_seconds(self, test: Test) -> float:
        return 0.0

    async def open(self, test: Test, cluster: Cluster, node: str) -> Client:
        return RegisterClient(await test.system.kv(cluster, test.options, node))

    def checkers(self, test: Test) -> Sequence[Checker]:
        return ()


class NoFaults:
    """A nemesis with nothing to do."""

    fs: frozenset[str] = frozenset()

    async def invoke(self, environment: Environment, operation: Operation) -> Any:
        raise AssertionError(operation)


class Silent:
    """Nobody watches."""

    def phase(self, name: str) -> None:
        pass

    def event(self, event: Op) -> None:
        pass


def measure(operations: int) -> dict[str, float]:
    """Drive so many operations; returns the figures."""
    test = Test(
        name="run-loop",
        system=MemorySystem(),
        options=Options(nodes=("n1", "n2", "n3", "n4", "n5"), servers=5),
        workload=Registers(operations),
        nemesis=Package("none", frozenset(), NoFaults(), None, None, ()),
        concurrency=10,
        rate=Registers.rate,
        time_limit=Registers.time_limit,
        operation_timeout=5.0,
        seed=1,
    )
    with tempfile.TemporaryDirectory() as directory:
        began = time.perf_counter()
        result = asyncio.run(run(test, MemoryWorld(), Path(directory), Silent()))
        seconds = time.perf_counter() - began
    done = sum(count["invoke"] for count in result.counts.values())
    assert done >= operations and not result.problems, result.problems
    return {"operations": done, "seconds": round(seconds, 3), "operations_per_second": round(done / seconds)}


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)))
