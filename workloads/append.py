"""Transactions over lists: each reads a few lists and appends to some, and all of it happens at one moment.

A list tells its own history: whoever reads it sees all that was appended, and in which order. From that
`elle-py` infers which transaction must have come before which, and whether all of it can be true. What is
appended is unique per list, and each list is given up when it has got long.

Source: Jepsen's list-append workload (jepsen.tests.cycle.append) and Kingsbury and Alvaro, Elle (VLDB 2020).
"""

from __future__ import annotations

from collections.abc import Sequence

from checkers.availability import Availability
from checkers.elle.transactions import Workload as Model
from checkers.performance import Performance
from checkers.stats import Stats
from checkers.transactions import Transactions
from harness.generator import Operation, Source
from harness.interpreter import Client
from harness.test import Checker, Test, Workload
from harness.worlds import Cluster
from workloads._transactions import PROBE, TransactionClient, Write, models, operations


class Append(Workload):
    """Strict serializability of transactions over lists."""

    name = "append"
    model: Model = "list-append"
    """What `elle-py` takes the transactions for."""
    write: Write = "append"
    """The micro-operation that writes."""

    def generator(self, test: Test) -> Source:
        return operations(self.write)

    def probe(self) -> Operation:
        return PROBE

    def recovery_seconds(self, test: Test) -> float:
        # Long enough to read what was written during the last fault.
        return 2.0

    async def open(self, test: Test, cluster: Cluster, node: str) -> Client:
        return TransactionClient(await test.system.kv(cluster, test.options, node))

    def checkers(self, test: Test) -> Sequence[Checker]:
        return (
            Transactions(self.model, models(test.options)),
            Availability(test.system.recovery_bound(test.options)),
            Stats(),
            Performance(),
        )
