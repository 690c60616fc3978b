"""proconsul's KV store over HTTP: operations per second and latencies on a cluster of real processes.

    python benchmarks/kv.py [--servers=5] [--connections=64] [--seconds=5]

All servers and the load generator share this machine's cores, over loopback, with an fsync for every group
of writes. Each keep-alive connection has one request in flight. `cpu us/op` is what the servers together
spend on an operation: times the rate, it says how many cores they were given.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import httptools
import uvloop
from _cluster import HTTP_PORT, LocalCluster


@dataclass
class Load:
    """One kind of request, repeated on every connection until the deadline."""

    render: Callable[[int], bytes]
    """The request with that number, as bytes."""
    deadline: float = 0.0
    begun: int = 0
    latencies: list[float] = field(default_factory=list)
    failures: dict[int, int] = field(default_factory=dict)


class Connection(asyncio.Protocol):
    """One connection: a request, its response, the next request."""

    def __init__(self, load: Load, done: asyncio.Future[None]) -> None:
        self._load = load
        self._done = done
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status == 200:
            self._load.latencies.append(time.perf_counter() - self._sent)
        else:
            self._load.failures[status] = self._load.failures.get(status, 0) + 1
        self._parser = httptools.HttpResponseParser(self)
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._load.failures[0] = self._load.failures.get(0, 0) + 1
            self._done.set_result(None)

    def _next(self) -> None:
        if time.perf_counter() >= self._load.deadline:
            self._done.set_result(None)
            self._transport.close()
            return
        self._load.begun += 1
        self._sent = time.perf_counter()
        self._transport.write(self._load.render(self._load.begun))


async def drive(load: Load, addresses: list[str], connections: int, seconds: float) -> None:
    """Put the load on the servers, the connections spread over them evenly."""
    loop = asyncio.get_running_loop()
    load.deadline = time.perf_counter() + seconds
    waiting = []
    for number in range(connections):
        done: asyncio.Future[None] = loop.create_future()
        waiting.append(done)
        address = addresses[number % len(addresses)]
        await loop.create_connection(partial(Connection, load, done), address, HTTP_PORT)
    await asyncio.gather(*waiting)


def put(number: int) -> bytes:
    value = b"value %d" % number
    return b"PUT /v1/kv/key%d HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (
        number % 1000,
        len(value),
        value,
    )


def get(query: bytes) -> Callable[[int], bytes]:
    return lambda number: b"GET /v1/kv/key%d%b HTTP/1.1\r\nhost: x\r\n\r\n" % (number % 1000, query)


LOADS: dict[str, Callable[[int], bytes]] = {
    "PUT": put,
    "GET stale": get(b"?stale"),
    "GET default": get(b""),
    "GET consistent": get(b"?consistent"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--servers", type=int, default=5)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    print(f"{options.servers} servers, {options.connections} connections, {os.cpu_count()} cores")
    print(f"{'':<15} {'ops/s':>7} {'p50 ms':>7} {'p95 ms':>7} {'p99 ms':>7} {'max ms':>7} {'cpu us/op':>9}")
    with LocalCluster(options.servers) as cluster:
        for name, render in LOADS.items():
            load = Load(render)
            cpu = cluster.cpu_seconds()
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(drive(load, cluster.addresses, options.connections, options.seconds))
            cpu = cluster.cpu_seconds() - cpu
            report(name, load, options.seconds, cpu)


def report(name: str, load: Load, seconds: float, cpu: float) -> None:
    """One line of the table, and what went wrong."""
    latencies = sorted(load.latencies)
    count = len(latencies)
    if not count:
        raise SystemExit(f"{name}: nothing succeeded: {load.failures}")
    quantiles = [latencies[min(count - 1, int(count * q))] * 1000 for q in (0.5, 0.95, 0.99, 1.0)]
    figures = " ".join(f"{ms:>7.2f}" for ms in quantiles)
    print(f"{name:<15} {count / seconds:>7.0f} {figures} {cpu / count * 1e6:>9.0f}")
    for status, failures in sorted(load.failures.items()):
        print(f"  {failures} failed: {f'status {status}' if status else 'connection lost'}")


if __name__ == "__main__":
    main()
