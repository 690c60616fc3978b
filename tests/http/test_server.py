"""The HTTP server itself: what it does with its connections."""

from __future__ import annotations

import asyncio
from pathlib import Path

from harness.systems import Options
from harness.systems.proconsul import HTTP_PORT, Proconsul
from harness.worlds.sim import Sim

CONNECTIONS = 40


def test_an_agent_that_stops_closes_its_connections_in_the_order_in_which_they_were_opened(
    tmp_path: Path,
) -> None:
    """Any other order would be that of addresses in memory, and a simulated stop another one each time."""

    class Connection(asyncio.Protocol):
        def __init__(self, number: int) -> None:
            self.number = number

        def connection_lost(self, exc: Exception | None) -> None:
            lost.append(self.number)

    async def main() -> None:
        cluster = await world.open(("n1",), tmp_path, seed=0)
        options = Options(nodes=("n1",), servers=1)
        system = Proconsul()
        await system.start(cluster, options, "n1")
        await system.await_ready(cluster, options, timeout=30)
        for number in range(CONNECTIONS):
            connection = Connection(number)
            await cluster.connect(lambda connection=connection: connection, "n1", HTTP_PORT)  # type: ignore[misc]
        await cluster.stop("n1")
        await asyncio.sleep(1)
        await cluster.close()

    world, lost = Sim(), list[int]()
    world.run(main())
    assert lost == list(range(CONNECTIONS))
