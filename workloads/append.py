"""Transactions over lists: each reads a few lists and appends to some, and all of it happens at one moment.

A list tells its own history: whoever reads it sees all that was appended, and in which order. From that
`elle-py` infers which transaction must have come before which, and whether all of it can be true. What is
appended is unique per list. A few lists are in use at a time, some far more than others, so that transactions
meet. Each is given up when it has got long, and is read a while longer: what is missing then is lost.

Half of the clients only read, as in `register`: one that writes to a node in trouble hangs.

Source: Jepsen's list-append workload (jepsen.tests.cycle.append) and Kingsbury and Alvaro, Elle (VLDB 2020).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from checkers.availability import Availability
from checkers.performance import Performance
from checkers.stats import Stats
from checkers.transactions import Transactions
from harness.generator import PENDING, Context, Generator, Operation, Source, Step
from harness.history import Op
from harness.interpreter import Client
from harness.run import Checker, Test
from harness.systems import Options, System
from harness.worlds import Cluster
from workloads._transactions import TransactionClient, models

LISTS_AT_A_TIME = 5
"""Each is chosen twice as often as the one before it."""
APPENDS_PER_LIST = 40
RETIRED = 3
"""So many of those that were given up last are still read."""
LENGTH_MAX = 4
"""Micro-operations of a transaction."""


class Append:
    """Implements `harness.run.Workload`: strict serializability of transactions over lists."""

    name = "append"
    time_limit = 12.0
    rate = 100.0

    def generator(self, test: Test) -> Source:
        return Operations(tuple(_List(f"a{number}") for number in range(LISTS_AT_A_TIME)), LISTS_AT_A_TIME)

    def fault_seconds(self, system: System, options: Options) -> float:
        return 0.0

    def final_generator(self, test: Test) -> Source:
        return None

    def probe(self) -> Operation:
        return Operation("txn", [["r", "probe", None]])

    def recovery_seconds(self, test: Test) -> float:
        # Long enough to read what was appended during the last fault.
        return 2.0

    async def open(self, test: Test, cluster: Cluster, node: str) -> Client:
        return TransactionClient(await test.system.kv(cluster, test.options, node))

    def checkers(self, test: Test) -> Sequence[Checker]:
        return (
            Transactions("list-append", models(test.options)),
            Availability(test.system.recovery_bound(test.options)),
            Stats(),
            Performance(),
        )


class _List(msgspec.Struct, frozen=True):
    """A list in use."""

    key: str
    appended: int = 0


class Operations(msgspec.Struct, frozen=True):
    """Random transactions on a few lists at a time. Never ends."""

    lists: tuple[_List, ...]
    made: int
    """How many lists there have been."""
    retired: tuple[str, ...] = ()
    """Given up, the newest last."""

    def op(self, context: Context) -> Step:
        process = context.some_free_process()
        if not isinstance(process, int):
            return PENDING
        random = context.random
        after = self
        transaction: list[list[str | int | None]] = []
        for _ in range(random.randint(1, LENGTH_MAX)):
            if process % context.concurrency < context.concurrency // 2:
                keys = [*after.retired, *(one.key for one in after.lists)]
                weights = [1] * len(after.retired) + [1 << at for at in range(len(after.lists))]
                transaction.append(["r", random.choices(keys, weights)[0], None])
                continue
            (at,) = random.choices(range(len(after.lists)), [1 << at for at in range(len(after.lists))])
            if random.random() < 0.5:
                transaction.append(["r", after.lists[at].key, None])
            else:
                transaction.append(["append", after.lists[at].key, after.lists[at].appended + 1])
                after = after._appended(at)
        return Operation("txn", transaction, None, process, context.time), after

    def update(self, context: Context, event: Op) -> Generator:
        return self

    def _appended(self, at: int) -> Operations:
        """One more element was appended to the list."""
        one, made, retired = self.lists[at], self.made, self.retired
        one = _List(one.key, one.appended + 1)
        if one.appended == APPENDS_PER_LIST:
            retired = (*retired, one.key)[-RETIRED:]
            one, made = _List(f"a{made}"), made + 1
        return Operations((*self.lists[:at], one, *self.lists[at + 1 :]), made, retired)
