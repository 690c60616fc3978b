"""splitbrain's side of the counter: how to start it and speak to it, what clients do, and who judges that.

pytest harness/ --system=counter_system:ReplicatedCounter --workload=counter_system:Counting --nodes=3
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from checkers.availability import Availability
from checkers.counter import Counter
from checkers.stats import Stats
from harness import generator as gen
from harness.generator import Operation, Source
from harness.interpreter import Client
from harness.systems import Indeterminate, Options, Refused, System, await_nodes
from harness.systems.streams import open_stream
from harness.test import Checker, Test, Workload
from harness.worlds import Cluster

PORT = 7000


class ReplicatedCounter(System):
    """The program, as it is started on any machine."""

    name = "counter"
    program = "counter.py"

    def promise(self, workload: str, options: Options) -> str | None:
        if workload != "counter":
            return None
        return "As long as a node lives, a read on any of them includes all that was acknowledged before."

    async def start(self, cluster: Cluster, options: Options, node: str) -> None:
        peers = ",".join(f"{name}={cluster.address(name)}:{PORT}" for name in options.nodes)
        program = options.agent or [sys.executable, str(Path(__file__).with_name(self.program))]
        await cluster.start(node, [*program, "--node", node, "--peers", peers], {})

    async def await_ready(self, cluster: Cluster, options: Options, timeout: float) -> None:
        async def not_ready(node: str) -> str:
            client = await CounterClient.open(cluster, node)
            try:
                await client.invoke(Operation("read"))
            finally:
                await client.close()
            return ""

        await await_nodes(cluster, timeout, not_ready)

    async def leader(self, cluster: Cluster, options: Options) -> str | None:
        return options.nodes[0]

    def recovery_bound(self, options: Options) -> float:
        return 5.0  # streams that outlived a cut, and a second of patience of whoever uses a new one


class MendedCounter(ReplicatedCounter):
    """Without the race."""

    name = "mended-counter"
    program = "counter_mended.py"


class Counting(Workload):
    """Additions of one, and as many reads, on every node."""

    name = "counter"

    def generator(self, test: Test) -> Source:
        return gen.mix(gen.repeat(Operation("add", 1)), gen.repeat(Operation("read")))

    def final_generator(self, test: Test) -> Source:
        return gen.each_thread(gen.until_ok(gen.repeat(Operation("read"))))

    def probe(self) -> Operation:
        return Operation("read")

    async def open(self, test: Test, cluster: Cluster, node: str) -> Client:
        return await CounterClient.open(cluster, node)

    def checkers(self, test: Test) -> Sequence[Checker]:
        return Counter(), Availability(test.system.recovery_bound(test.options)), Stats()


class CounterClient:
    """One connection to one node."""

    def __init__(self, reader: Any, writer: Any) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, cluster: Cluster, node: str) -> CounterClient:
        return cls(*await open_stream(cluster, node, PORT))

    async def invoke(self, operation: Operation) -> Any:
        """Refused if it was not done, Indeterminate if nobody knows: a client never guesses."""
        request = {"do": operation.f} | ({"amount": operation.value} if operation.f == "add" else {})
        try:
            self._writer.write(json.dumps(request).encode() + b"\n")
            line = await self._reader.readline()
        except OSError as error:
            raise Indeterminate(str(error)) from error
        if not line:
            raise Indeterminate("closed without an answer")
        match json.loads(line):
            case {"total": total}:
                return operation.value if operation.f == "add" else total
            case {"refused": why}:
                raise Refused(why)
            case answer:
                raise Indeterminate(str(answer))

    async def close(self) -> None:
        self._writer.close()
