"""Shared by the tests of the gossip core: an agent on real sockets, driven by asyncio."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from impl.gossip import (
    LOCAL,
    Address,
    Effect,
    Gossip,
    Malformed,
    OpenStream,
    SendDatagram,
    StreamReader,
)


class SocketAgent(asyncio.DatagramProtocol):
    """The smallest shell that a core can have. `changed` hears of every effect not for the network."""

    def __init__(self, name: str, address: Address, tags: dict[str, str]) -> None:
        self.loop = asyncio.get_running_loop()
        self.address = address
        self.effects: list[Effect] = []
        self.changed = asyncio.Condition()
        self.core = Gossip(name, address, tags, LOCAL, random.Random(name), self.now_ns())
        self.timer: asyncio.TimerHandle | None = None
        self.tasks: set[asyncio.Task[None]] = set()

    def now_ns(self) -> int:
        return int(self.loop.time() * 1e9)

    async def open(self) -> None:
        host, port = self.address
        self.transport, _ = await self.loop.create_datagram_endpoint(lambda: self, self.address)
        self.server = await asyncio.start_server(self.serve, host, port)
        self.settle()

    async def close(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.transport.close()
        self.server.close()
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.server.wait_closed()

    def call(self, method: Callable[..., Any], *arguments: Any) -> Any:
        """Call a method of the core whose last parameter is the time, and carry out what follows."""
        result = method(*arguments, self.now_ns())
        self.settle()
        return result

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.call(self.core.datagram, data, (addr[0], addr[1]))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        whole = StreamReader()
        try:
            while chunk := await reader.read(65536):
                message = whole.feed(chunk)
                if message is not None:
                    writer.write(
                        self.call(self.core.stream_request, message, writer.get_extra_info("peername"))
                    )
                    await writer.drain()
                    break
        finally:
            writer.close()

    async def exchange(self, effect: OpenStream) -> None:
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(effect.timeout_ns / 1e9):
                reader, writer = await asyncio.open_connection(*effect.to)
                writer.write(effect.request)
                whole = StreamReader()
                while chunk := await reader.read(65536):
                    message = whole.feed(chunk)
                    if message is not None:
                        self.call(self.core.stream_reply, effect.token, message)
                        return
            self.call(self.core.stream_failed, effect.token, "closed without an answer")
        except (OSError, TimeoutError, Malformed) as error:
            self.call(self.core.stream_failed, effect.token, str(error) or type(error).__name__)
        finally:
            if writer is not None:
                writer.close()

    def settle(self) -> None:
        for effect in self.core.take():
            match effect:
                case SendDatagram():
                    self.transport.sendto(effect.data, effect.to)
                case OpenStream():
                    self.spawn(self.exchange(effect))
                case _:
                    self.effects.append(effect)
                    self.spawn(self.notify())
        if self.timer is not None:
            self.timer.cancel()
        self.timer = self.loop.call_at(self.core.deadline_ns / 1e9, self.call, self.core.tick)

    def spawn(self, work: Any) -> None:
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def until(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
        """Wait for a condition that changes with an effect."""
        try:
            async with asyncio.timeout(seconds), self.changed:
                await self.changed.wait_for(condition)
        except TimeoutError:
            members = {member.name: member.status for member in self.core.members()}
            raise AssertionError(
                f"not within {seconds} s; members are {members}; {self.effects[-5:]}"
            ) from None


@pytest.fixture
def socket_agent() -> type[SocketAgent]:
    return SocketAgent
