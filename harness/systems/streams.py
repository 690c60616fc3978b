"""Streams to one node of a cluster, for adapters of systems that speak a protocol of their own."""

from __future__ import annotations

import asyncio

from harness.systems import Refused
from harness.worlds import Cluster


async def open_stream(
    cluster: Cluster, node: str, port: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """What `asyncio.open_connection` does, over a network that no fault touches.

    Raises Refused if the node does not take connections: nothing was sent.
    """
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    try:
        transport, _ = await cluster.connect(lambda: protocol, node, port)
    except OSError as error:
        raise Refused(f"{node}: {error}") from error
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
