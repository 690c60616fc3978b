"""Calls between agents: each answered once, and each failure told for what it is."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from impl.ports import Address, Ports
from impl.server import rpc
from impl.server.frames import RPC, Frames
from impl.server.requests import Done, Failure, KVApply, KVGet, Reply, Request, StatusLeader, Text, Texts
from impl.server.rpc import Clients, ConnectionLost, Servant, Unreachable
from impl.system import SystemDisk, SystemNetwork, system_ports

pytestmark = pytest.mark.anyio

SECOND_NS = 1_000_000_000


@pytest.fixture
def ports(tmp_path: Path) -> Ports:
    return system_ports(SystemDisk(tmp_path))


@contextlib.asynccontextmanager
async def serving(
    ports: Ports, answer: Callable[[Request, bool], Awaitable[Reply]]
) -> AsyncIterator[tuple[Clients, Address, list[Frames]]]:
    """A server that answers like this, clients for it, and its ends of their connections."""
    connections: list[Frames] = []

    class Connection(Frames):
        def opened(self, kind: int) -> None:
            connections.append(self)
            Servant(self, answer)

    listener = await ports.network.listen(Connection, ("127.0.0.1", 0))
    clients = Clients(ports)
    try:
        yield clients, listener.address, connections
    finally:
        clients.close()
        listener.close()
        for connection in connections:
            connection.abort()


async def for_ever() -> Reply:
    future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    return await future


def ask(clients: Clients, address: Address, name: str, timeout_ns: int = 10 * SECOND_NS) -> Any:
    return asyncio.ensure_future(clients.call(address, StatusLeader(name), False, timeout_ns))


async def test_calls_share_a_connection_and_are_answered_in_any_order(ports: Ports) -> None:
    gates = {name: asyncio.Event() for name in "abc"}

    async def answer(request: Request, forwarded: bool) -> Reply:
        assert isinstance(request, StatusLeader)
        await gates[request.datacenter].wait()
        return Text(request.datacenter)

    async with serving(ports, answer) as (clients, address, connections):
        calls = {name: ask(clients, address, name) for name in "abc"}
        for name in "cab":
            gates[name].set()
            assert await calls[name] == Text(name)
        assert len(connections) == 1


async def test_a_failure_is_an_answer(ports: Ports) -> None:
    async def answer(request: Request, forwarded: bool) -> Reply:
        return Failure("No cluster leader")

    async with serving(ports, answer) as (clients, address, _):
        assert await ask(clients, address, "a") == Failure("No cluster leader")


async def test_whether_a_call_was_forwarded_already_is_passed_on(ports: Ports) -> None:
    async def answer(request: Request, forwarded: bool) -> Reply:
        return Done(forwarded)

    async with serving(ports, answer) as (clients, address, _):
        for forwarded in (False, True):
            assert await clients.call(address, StatusLeader(), forwarded, SECOND_NS) == Done(forwarded)


async def test_a_bug_in_the_answer_is_told_to_the_caller(ports: Ports) -> None:
    async def answer(request: Request, forwarded: bool) -> Reply:
        raise RuntimeError("a bug")

    async with serving(ports, answer) as (clients, address, _):
        assert await ask(clients, address, "a") == Failure("internal error: RuntimeError: a bug")


async def test_nobody_listening_is_told_apart_from_an_answer_that_was_lost(ports: Ports) -> None:
    asked = asyncio.Event()

    async def never(request: Request, forwarded: bool) -> Reply:
        asked.set()
        return await for_ever()

    async with serving(ports, never) as (clients, address, connections):
        call = ask(clients, address, "a")
        await asked.wait()
        connections[0].abort()
        with pytest.raises(ConnectionLost):
            await call
    with pytest.raises(Unreachable):
        await ask(clients, address, "a")


async def test_the_next_call_after_a_lost_connection_opens_another(ports: Ports) -> None:
    async def answer(request: Request, forwarded: bool) -> Reply:
        return Text("here")

    async with serving(ports, answer) as (clients, address, connections):
        await ask(clients, address, "a")
        connections[0].abort()
        with contextlib.suppress(ConnectionLost):
            await ask(clients, address, "b")  # whether it goes out before the loss is noticed is open
        assert await ask(clients, address, "c") == Text("here")
        assert len(connections) == 2


async def test_a_connection_that_closes_before_anything_was_sent_on_it_is_unreachable(ports: Ports) -> None:
    """Not a call that waits for ever for an answer to what was never sent."""

    class Void(asyncio.Transport):
        def write(self, data: object) -> None:
            pass

        def writelines(self, list_of_data: object) -> None:
            pass

    class ClosingNetwork(SystemNetwork):
        async def connect(
            self, factory: Callable[[], asyncio.Protocol], address: Address
        ) -> asyncio.Transport:
            protocol, transport = factory(), Void()
            protocol.connection_made(transport)
            asyncio.get_running_loop().call_soon(protocol.connection_lost, None)
            return transport

    clients = Clients(replace(ports, network=ClosingNetwork()))
    async with asyncio.timeout(5):
        with pytest.raises(Unreachable):
            await ask(clients, ("127.0.0.1", 1), "a")


async def test_an_answer_that_does_not_come_in_time_is_lost(ports: Ports) -> None:
    async def never(request: Request, forwarded: bool) -> Reply:
        return await for_ever()

    async with serving(ports, never) as (clients, address, _):
        with pytest.raises(ConnectionLost, match="i/o deadline reached"):
            await ask(clients, address, "a", timeout_ns=SECOND_NS // 20)


async def test_who_gives_up_waiting_for_a_connection_does_not_end_it_for_others(ports: Ports) -> None:
    async def answer(request: Request, forwarded: bool) -> Reply:
        return Text("here")

    async with serving(ports, answer) as (clients, address, connections):
        impatient, patient = ask(clients, address, "a"), ask(clients, address, "b")
        await asyncio.sleep(0)
        impatient.cancel()
        assert await patient == Text("here")
        assert len(connections) == 1


async def test_a_caller_that_goes_takes_its_calls_with_it(ports: Ports) -> None:
    asked, cancelled = asyncio.Event(), asyncio.Event()

    async def never(request: Request, forwarded: bool) -> Reply:
        asked.set()
        try:
            return await for_ever()
        finally:
            cancelled.set()

    async with serving(ports, never) as (clients, address, _):
        call = ask(clients, address, "a")
        await asked.wait()
        clients.close()
        async with asyncio.timeout(5):
            await cancelled.wait()
        with pytest.raises(ConnectionLost):
            await call


async def send_and_await_the_end(ports: Ports, address: Address, frame: bytes) -> None:
    lost = asyncio.Event()
    frames = Frames(RPC)
    frames.lost = lost.set
    await ports.network.connect(lambda: frames, address)
    frames.send(frame)
    async with asyncio.timeout(5):
        await lost.wait()


async def test_one_call_too_many_is_refused_and_the_others_go_on(
    ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc, "CALLS_IN_PROGRESS_MAX", 2)
    may_answer = asyncio.Event()

    async def answer(request: Request, forwarded: bool) -> Reply:
        await may_answer.wait()
        return Text("done")

    async with serving(ports, answer) as (clients, address, _):
        calls = [ask(clients, address, name) for name in ("a", "b", "c")]
        assert await calls[2] == Failure("RPC rate limit exceeded")
        may_answer.set()
        assert await asyncio.gather(*calls[:2]) == [Text("done")] * 2
        assert await ask(clients, address, "d") == Text("done")


async def test_who_never_reads_the_answers_loses_the_connection_and_costs_no_more_memory(
    ports: Ports, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rpc, "UNREAD_BYTES_MAX", 1_000_000)

    gone = asyncio.Event()

    async def answer(request: Request, forwarded: bool) -> Reply:
        if request == StatusLeader("deaf"):
            connections[1].lost = gone.set
        return Text("x" * 100_000)

    class Deaf(Frames):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            cast(asyncio.Transport, transport).pause_reading()

    async with serving(ports, answer) as (clients, address, connections):
        assert await ask(clients, address, "a") == Text("x" * 100_000)
        deaf = Deaf(RPC)
        await ports.network.connect(lambda: deaf, address)
        for number in range(1000):
            deaf.send(msgspec.msgpack.encode(rpc.Call(number, False, StatusLeader("deaf"))))
        async with asyncio.timeout(10):
            await gone.wait()
        found = re.search(r"it leaves (\d+) bytes of answers unread", caplog.text)
        assert found is not None
        assert 1_000_000 < int(found[1]) < 1_200_000
        assert [connection.is_open for connection in connections] == [True, False]
        assert await ask(clients, address, "b") == Text("x" * 100_000)
        deaf.abort()


async def test_what_is_no_call_closes_the_connection(ports: Ports) -> None:
    async def answer(request: Request, forwarded: bool) -> Reply:
        raise AssertionError("nothing was asked")

    async with serving(ports, answer) as (_, address, _):
        for garbage in (b"", b"\xc1", b"\x93\x01\xc2\x81\xa4type\xa3odd", b"\x00" * 100):
            await send_and_await_the_end(ports, address, garbage)


async def test_an_answer_too_long_to_be_sent_is_a_failure_that_says_so(
    ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc, "FRAME_BYTES_MAX", 1000)

    async def answer(request: Request, forwarded: bool) -> Reply:
        return Texts(("x" * 2000,))

    async with serving(ports, answer) as (clients, address, _):
        reply = await ask(clients, address, "a")
        assert isinstance(reply, Failure)
        assert "at most 1000 can be sent" in reply.text


async def test_requests_and_replies_cross_the_wire_unchanged(ports: Ports) -> None:
    seen: list[Request] = []

    async def answer(request: Request, forwarded: bool) -> Reply:
        seen.append(request)
        return Done(False)

    requests: list[Request] = [KVApply(b"\x00\xff", "dc2"), KVGet("schlüssel/\x00"), StatusLeader()]
    async with serving(ports, answer) as (clients, address, _):
        for request in requests:
            assert await clients.call(address, request, False, SECOND_NS) == Done(False)
    assert seen == requests
