"""The HTTP server runs on whatever transports the network port has: here, on one that is a list of bytes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from impl.http import serve
from impl.http.server import HEAD_BYTES_MAX
from impl.ports import Address, Ports
from impl.system import SystemClock


class Wire(asyncio.Transport):
    """A transport without a socket."""

    def __init__(self) -> None:
        super().__init__({"peername": ("10.0.0.9", 4000), "sockname": ("10.0.0.1", 8500)})
        self.written = b""
        self.closed = False
        self.answered = asyncio.Event()
        self.protocol: asyncio.Protocol | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data
        self.answered.set()

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.close()
        assert self.protocol is not None
        asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def pause_reading(self) -> None:
        """Nobody reads ahead here."""

    def resume_reading(self) -> None:
        """The same."""


class Listening:
    """A network that only remembers who listens."""

    def __init__(self) -> None:
        self.address: Address = ("10.0.0.1", 8500)
        self.open = False
        self.factory: Callable[[], asyncio.Protocol] | None = None

    async def listen(self, factory: Callable[[], asyncio.Protocol], address: Address) -> Listening:
        self.factory = factory
        self.open = True
        return self

    def close(self) -> None:
        self.open = False


def test_it_answers_on_a_transport_without_a_socket(api: Any) -> None:
    async def scenario() -> None:
        network: Any = Listening()
        server = await serve(api.agent, Ports(SystemClock(), None, network, random.Random()))  # type: ignore[arg-type]
        protocol, wire = network.factory(), Wire()
        wire.protocol = protocol
        protocol.connection_made(wire)
        for request, expected in (
            (b"PUT /v1/kv/a HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi", b"true"),
            (b"GET /v1/kv/a?raw HTTP/1.1\r\nhost: x\r\n\r\n", b"hi"),
        ):
            wire.written = b""
            wire.answered.clear()
            protocol.data_received(request)
            async with asyncio.timeout(5):
                while not wire.written.endswith(b"\r\n\r\n" + expected):
                    await wire.answered.wait()
                    wire.answered.clear()
            assert wire.written.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"date:" not in wire.written.lower()
        await server.close()
        assert wire.closed and not network.open
        protocol.connection_lost(None)

    asyncio.run(scenario())


def test_closing_ends_a_request_that_would_never_end(api: Any) -> None:
    async def scenario() -> None:
        network: Any = Listening()
        server = await serve(api.agent, Ports(SystemClock(), None, network, random.Random()))  # type: ignore[arg-type]
        protocol, wire = network.factory(), Wire()
        wire.protocol = protocol
        protocol.connection_made(wire)
        api.agent.hangs = True
        protocol.data_received(b"GET /v1/kv/a?index=9 HTTP/1.1\r\nhost: x\r\n\r\n")
        async with asyncio.timeout(5):
            await api.agent.asked.wait()
            await server.close()
        assert wire.closed
        await asyncio.sleep(0)
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []

    asyncio.run(scenario())


@pytest.mark.parametrize("in_body", [False, True], ids=["head", "trailer"])
@pytest.mark.parametrize("line", [b"x: " + b"y" * 8000 + b"\r\n", b"y" * 8000], ids=["many", "endless"])
def test_a_head_without_end_is_not_taken_in(api: Any, line: bytes, in_body: bool) -> None:
    async def scenario() -> None:
        network: Any = Listening()
        await serve(api.agent, Ports(SystemClock(), None, network, random.Random()))  # type: ignore[arg-type]
        protocol, wire = network.factory(), Wire()
        wire.protocol = protocol
        protocol.connection_made(wire)
        protocol.data_received(b"PUT /v1/kv/a HTTP/1.1\r\n")
        if in_body:
            protocol.data_received(b"transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n")
        sent = 0
        while not wire.closed and sent < 2 * HEAD_BYTES_MAX:
            protocol.data_received(line)
            sent += len(line)
        assert wire.closed
        assert wire.written[:13] == (b"" if in_body else b"HTTP/1.1 431 ")
        protocol.connection_lost(None)
        await asyncio.sleep(0)
        assert api.agent.requests == []

    asyncio.run(scenario())


def test_requests_without_end_on_one_connection_are_no_head_without_end(api: Any) -> None:
    async def scenario() -> None:
        network: Any = Listening()
        await serve(api.agent, Ports(SystemClock(), None, network, random.Random()))  # type: ignore[arg-type]
        protocol, wire = network.factory(), Wire()
        wire.protocol = protocol
        protocol.connection_made(wire)
        request = b"GET /v1/status/leader HTTP/1.1\r\nx: " + b"y" * 60_000 + b"\r\n\r\n"
        for _ in range(2 * HEAD_BYTES_MAX // len(request)):
            wire.answered.clear()
            for start in range(0, len(request), 10_000):
                protocol.data_received(request[start : start + 10_000])
            await wire.answered.wait()
        assert not wire.closed
        protocol.connection_lost(None)

    asyncio.run(scenario())
