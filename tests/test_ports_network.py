"""The system's network: streams and datagrams over real sockets, on either event loop."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import cast

import pytest
import uvloop

from impl.ports import Address
from impl.system import SystemNetwork

ANY_PORT: Address = ("127.0.0.1", 0)


@pytest.fixture(params=[uvloop.new_event_loop, asyncio.SelectorEventLoop], ids=["uvloop", "asyncio"])
def runner(request: pytest.FixtureRequest) -> asyncio.Runner:
    return asyncio.Runner(loop_factory=request.param)


class Recorder(asyncio.Protocol):
    """Keeps what it gets; `lost` is done when the stream has ended."""

    def __init__(self) -> None:
        self.received = b""
        self.transport: asyncio.Transport
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.transport.write(data.upper())

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)


class Collector(Recorder):
    def data_received(self, data: bytes) -> None:
        self.received += data
        if self.received == b"HELLO":
            self.transport.close()


class DatagramCollector(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.received: asyncio.Queue[tuple[bytes, Address]] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self.received.put_nowait((data, addr))


def test_streams_carry_bytes_both_ways_without_delay_for_small_writes(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        network = SystemNetwork()
        accepted: list[Recorder] = []

        def accept() -> Recorder:
            accepted.append(Recorder())
            return accepted[-1]

        listener = await network.listen(accept, ANY_PORT)
        assert listener.address[0] == "127.0.0.1"
        assert listener.address[1] > 0
        collector = Collector()
        transport = await network.connect(lambda: collector, listener.address)
        transport.write(b"hello")
        await asyncio.wait_for(asyncio.gather(collector.lost, accepted[0].lost), timeout=10)
        assert (accepted[0].received, collector.received) == (b"hello", b"HELLO")
        listener.close()

    with runner:
        runner.run(scenario())


def test_both_ends_of_a_stream_have_no_delay_set(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        network = SystemNetwork()
        accepted = asyncio.get_running_loop().create_future()

        class Accepting(Recorder):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                accepted.set_result(self)

        listener = await network.listen(Accepting, ANY_PORT)
        collector = Collector()
        await network.connect(lambda: collector, listener.address)
        for end in (collector, await accepted):
            raw = end.transport.get_extra_info("socket")
            assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        collector.transport.close()
        await asyncio.wait_for(asyncio.gather(collector.lost, (await accepted).lost), timeout=10)
        listener.close()

    with runner:
        runner.run(scenario())


def test_an_address_that_is_taken_and_one_where_nobody_listens_are_os_errors(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        network = SystemNetwork()
        listener = await network.listen(Recorder, ANY_PORT)
        with pytest.raises(OSError, match=str(listener.address[1])) as taken:
            await network.listen(Recorder, listener.address)
        assert taken.value.errno == errno.EADDRINUSE
        listener.close()
        with pytest.raises(ConnectionRefusedError):
            await network.connect(Collector, await unused(network))

    async def unused(network: SystemNetwork) -> Address:
        bound = socket.socket()  # bound but not listening: nobody else gets the port meanwhile
        sockets.append(bound)
        bound.bind(ANY_PORT)
        host, port = bound.getsockname()
        return host, port

    sockets: list[socket.socket] = []
    with runner:
        runner.run(scenario())
    for bound in sockets:
        bound.close()


def test_datagrams_arrive_with_their_sender_and_have_room_to_wait(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        network = SystemNetwork()
        here, there = DatagramCollector(), DatagramCollector()
        sender = await network.datagrams(lambda: here, ANY_PORT)
        receiver = await network.datagrams(lambda: there, ANY_PORT)
        size = receiver.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
            assert size >= plain.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        sender.sendto(b"ping", receiver.get_extra_info("sockname"))
        data, source = await asyncio.wait_for(there.received.get(), timeout=10)
        assert (data, source) == (b"ping", sender.get_extra_info("sockname"))
        sender.close()
        receiver.close()
        await asyncio.sleep(0)

    with runner:
        runner.run(scenario())
