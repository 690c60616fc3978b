"""Sessions: what a client may rely on from one operation to its next, and what each server owes its readers.

Every client writes and reads the same few keys, and reads a key again right after it has written it: that is
how one finds out whether a session sees its own writes. Values are unique, and where the system tells
versions they are recorded.

What is judged depends on how clients read. Stale reads promise nothing to a session; what they do promise is
that each server goes only forward through one log, and that is checked; how far sessions see their writes,
and how stale reads are, is measured and told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from operator import eq
from typing import Any

import msgspec

from checkers.availability import Availability
from checkers.performance import Performance
from checkers.servers import Servers
from checkers.sessions import SINGLE, Sessions
from checkers.staleness import Staleness
from checkers.stats import Stats
from harness import generator as gen
from harness.generator import PENDING, Context, Generator, Operation, Source, Step
from harness.history import Op, Versioned
from harness.interpreter import Client
from harness.systems import KV, Watching
from harness.test import Checker, Test, Workload
from harness.worlds import Cluster

KEYS = 3
WRITES = 0.35
"""Share of what is not the reading of one's own write."""


class Session(Workload):
    """Session guarantees, and one log per server."""

    name = "session"

    def generator(self, test: Test) -> Source:
        return Operations()

    def final_generator(self, test: Test) -> Source:
        """Every client writes a key twice and reads it: faults may have let so little succeed that no session
        did what a guarantee is about, and nothing could be said of it."""
        return gen.any_of(
            *(gen.on_threads(partial(eq, thread), _last(thread)) for thread in range(test.concurrency))
        )

    def probe(self) -> Operation:
        return Operation("read", key="probe")

    def recovery_seconds(self, test: Test) -> float:
        # Long enough to read what was written during the last fault.
        return 2.0

    async def open(self, test: Test, cluster: Cluster, node: str) -> Client:
        return SessionClient(await test.system.kv(cluster, test.options, node))

    def checkers(self, test: Test) -> Sequence[Checker]:
        stale = test.options.reads == "stale"
        servers = test.nodes[: test.options.servers]
        return (
            Servers(servers, one_sequence=True),
            Sessions(() if stale else (*SINGLE, "causal")),
            Staleness(0.0 if test.options.reads == "consistent" else None),
            Availability(test.system.recovery_bound(test.options)),
            Stats(),
            Performance(),
        )


def _last(thread: int) -> Iterator[Operation]:
    """A client's last operations. Values are counted downwards: nobody has written them before."""
    key = f"s{thread % KEYS}"
    for value in (-2 * thread - 1, -2 * thread - 2):
        yield Operation("write", value, key)
        yield Operation("read", None, key)


class SessionClient:
    """Implements `harness.interpreter.Client`."""

    def __init__(self, kv: KV) -> None:
        self._kv = kv

    async def invoke(self, operation: Operation) -> Any:
        key = str(operation.key)
        if operation.f == "write":
            await self._kv.write(key, operation.value)
            return operation.value
        if operation.f != "read":
            raise ValueError(f"no such operation on a register: {operation.f}")
        if not isinstance(self._kv, Watching):
            return await self._kv.read(key)
        value, version = await self._kv.watch(key, 0, 0.0)
        # The index of a missing key is the store's; of the key, nothing was written yet.
        return Versioned(value, version if value is not None else 0)

    async def close(self) -> None:
        await self._kv.close()


class Operations(msgspec.Struct, frozen=True):
    """Random reads and writes, and the reads that follow one's own writes. Never ends."""

    values: int = 0
    """How many values have been written."""
    wrote: tuple[tuple[int, int | str], ...] = ()
    """Processes that have just written, and the keys that they are to read."""

    def op(self, context: Context) -> Step:
        for number, (process, key) in enumerate(self.wrote):
            if context.is_free(process):
                rest = (*self.wrote[:number], *self.wrote[number + 1 :])
                return Operation("read", None, key, process, context.time), Operations(self.values, rest)
        some = context.some_free_process()
        if some is None:
            return PENDING
        key = f"s{context.random.randrange(KEYS)}"
        if context.random.random() >= WRITES:
            return Operation("read", None, key, some, context.time), self
        value = self.values + 1
        return Operation("write", value, key, some, context.time), Operations(value, self.wrote)

    def update(self, context: Context, event: Op) -> Generator:
        if event.f == "write" and event.type == "ok" and isinstance(event.process, int):
            return Operations(self.values, (*self.wrote, (event.process, event.key or "")))
        if event.type == "info" and any(process == event.process for process, _ in self.wrote):
            return Operations(self.values, tuple(one for one in self.wrote if one[0] != event.process))
        return self
