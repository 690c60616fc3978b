"""Blocking queries: half of the clients wait for changes, the other half make them.

Each client that waits has a key of its own choice, and goes on from the index that it was shown last, as
Consul asks of its clients: back to 0 if the index fell. The keys are written at different paces. One of them
is written seldom, so that most who wait for it wait in vain, but then twice in a row: the second write meets
those whom the first one has woken just as they begin to wait again, and if they miss it, nothing else wakes
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from checkers.availability import Availability
from checkers.performance import Performance
from checkers.stats import Stats
from checkers.watch import Watch as WatchChecker
from harness.generator import PENDING, Context, Generator, Operation, Source, Step
from harness.history import Op
from harness.interpreter import Client
from harness.systems import KV, Watching
from harness.test import Checker, Test, Workload
from harness.worlds import Cluster, SetupError

WAIT = 2.0
"""Seconds that a watch waits for a change."""
WAKE = 1.5
"""Seconds from a change to the answer, at most, in a cluster that is whole."""
PACES = (0.7, 0.28, 0.02)
"""Shares of the writes that go to each key, the last one's in pairs."""


class Watch(Workload):
    """No missed wake-up, and an index that never goes back."""

    name = "watch"
    rate = 60.0

    def generator(self, test: Test) -> Source:
        return Operations((0,) * test.concurrency)

    def probe(self) -> Operation:
        return Operation("watch", {"index": 0, "wait": 0.0}, "w0")

    def recovery_seconds(self, test: Test) -> float:
        # Delays count again once the cluster has had time to recover: then a few more waits.
        return test.system.recovery_bound(test.options) + 2 * WAIT

    async def open(self, test: Test, cluster: Cluster, node: str) -> Client:
        return WatchClient(await test.system.kv(cluster, test.options, node))

    def checkers(self, test: Test) -> Sequence[Checker]:
        bound = test.system.recovery_bound(test.options)
        servers = test.nodes[: test.options.servers]
        return (
            WatchChecker(WAKE, bound, fresh=test.options.reads != "stale", nodes=servers),
            Availability(bound),
            Stats(),
            Performance(),
        )


class WatchClient:
    """Implements `harness.interpreter.Client`."""

    def __init__(self, kv: KV) -> None:
        if not isinstance(kv, Watching):
            raise SetupError(f"{type(kv).__name__} has no watch: what the adapter promises of it is too much")
        self._kv = kv
        self._watching: Watching = kv

    async def invoke(self, operation: Operation) -> Any:
        key = str(operation.key)
        if operation.f == "write":
            await self._kv.write(key, operation.value)
            return operation.value
        if operation.f != "watch":
            raise ValueError(f"no such operation on a watched register: {operation.f}")
        asked = operation.value
        value, index = await self._watching.watch(key, asked["index"], asked["wait"])
        return {"index": index, "value": value}

    async def close(self) -> None:
        await self._kv.close()


class Operations(msgspec.Struct, frozen=True):
    """Watches by the upper half of the threads, writes by the lower one. Never ends."""

    seen: tuple[int, ...]
    """The index that each thread was shown last; 0: none."""
    values: int = 0
    """How many values have been written."""
    again: bool = False
    """The second write of a pair is due."""

    def op(self, context: Context) -> Step:
        # Who waits first: the writers are quick, and would never let them have a turn.
        some = context.narrow(_watchers(context)).some_free_process()
        if some is None:
            some = context.some_free_process()
        if not isinstance(some, int):
            return PENDING
        thread = some % context.concurrency
        if context.bit(thread) & _watchers(context):
            asked = {"index": self.seen[thread], "wait": WAIT}
            return Operation("watch", asked, f"w{thread % len(PACES)}", some, context.time), self
        value, seldom = self.values + 1, len(PACES) - 1
        number = seldom if self.again else context.random.choices(range(len(PACES)), PACES)[0]
        again = number == seldom and not self.again
        return Operation("write", value, f"w{number}", some, context.time), Operations(
            self.seen, value, again
        )

    def update(self, context: Context, event: Op) -> Generator:
        if event.f != "watch" or event.type != "ok" or not isinstance(event.process, int):
            return self
        thread = event.process % context.concurrency
        shown = event.value["index"]
        seen = shown if shown >= self.seen[thread] else 0
        all_seen = (*self.seen[:thread], seen, *self.seen[thread + 1 :])
        return Operations(all_seen, self.values, self.again)


def _watchers(context: Context) -> int:
    """The mask of the upper half of the clients' threads."""
    half = context.concurrency // 2
    return context.client_mask >> half << half
