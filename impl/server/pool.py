"""Runs the gossip core: datagrams, streams and time in, effects out.

A gossip message may be lost, so a local error in sending a datagram is no error. An exchange over a stream is
one connection: a request, an answer, the end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, cast

from impl.gossip import (
    Address,
    Gossip,
    JoinFinished,
    LeaveFinished,
    Malformed,
    MemberChanged,
    OpenStream,
    SendDatagram,
    StreamReader,
    Warned,
)
from impl.ports import Listener, Ports, Timer

EXCHANGES_MAX = 128
"""Streams served at a time (memberlist: maxPushStateRequests)."""

log = logging.getLogger("agent.serf.lan")


class Pool:
    """One agent's part in a gossip pool, alive. `changed` is called after each change of a member."""

    def __init__(self, gossip: Gossip, ports: Ports, bind: Address, changed: Callable[[], None]) -> None:
        self.gossip = gossip
        self._ports = ports
        self._bind = bind
        self._changed = changed
        self._datagrams: asyncio.DatagramTransport | None = None
        self._listener: Listener | None = None
        self._timer: Timer | None = None
        self._timer_ns = 0
        self._exchanges: dict[_Exchange, None] = {}
        self._joining: dict[Address, list[asyncio.Future[str]]] = {}
        self._closed = False
        self._left: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def open(self) -> None:
        """Bind both sockets. OSError if the port is taken."""
        network = self._ports.network
        self._listener = await network.listen(lambda: _Exchange(self, None), self._bind)
        bound = (self._bind[0], self._listener.address[1])
        self._datagrams = await network.datagrams(lambda: _Datagrams(self), bound)
        self.settle()

    def close(self) -> None:
        """Vanish, as a crash would."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._listener is not None:
            self._listener.close()
        if self._datagrams is not None:
            self._datagrams.close()
        for exchange in list(self._exchanges):
            if exchange.task is not None:
                exchange.task.cancel()
            exchange.abort()

    def now_ns(self) -> int:
        return self._ports.clock.monotonic_ns()

    async def join(self, addresses: Sequence[Address]) -> list[str]:
        """Exchange states with each address. Returns for each what went wrong, or ""."""
        loop = asyncio.get_running_loop()
        futures = []
        for address in addresses:
            future: asyncio.Future[str] = loop.create_future()
            self._joining.setdefault(address, []).append(future)
            futures.append(future)
        self.gossip.join(list(addresses), self.now_ns())
        self.settle()
        return await asyncio.gather(*futures)

    async def leave(self) -> None:
        """Go with a word; returns when the others can know."""
        self.gossip.leave(self.now_ns())
        self.settle()
        await asyncio.shield(self._left)

    def force_leave(self, name: str, prune: bool) -> bool:
        known = self.gossip.force_leave(name, prune, self.now_ns())
        self.settle()
        return known

    # --- The core's effects

    def settle(self) -> None:
        """Carry out what the core wants, and set its timer. To be called after every input."""
        if self._closed:
            return
        members_changed = False
        for effect in self.gossip.take():
            match effect:
                case SendDatagram():
                    self._send(effect)
                case OpenStream():
                    self._open_stream(effect)
                case MemberChanged():
                    members_changed = True
                    log.info("member %s %s", effect.member.name, effect.change)
                case JoinFinished():
                    self._join_finished(effect)
                case LeaveFinished():
                    if not self._left.done():
                        self._left.set_result(None)
                case Warned():
                    log.warning("%s", effect.text)
        self._set_timer()
        if members_changed:
            self._changed()

    def _set_timer(self) -> None:
        deadline_ns = self.gossip.deadline_ns
        if deadline_ns == self._timer_ns:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ns = deadline_ns
        self._timer = self._ports.clock.call_at(deadline_ns, self._tick)

    def _tick(self) -> None:
        self._timer, self._timer_ns = None, 0
        self.gossip.tick(self.now_ns())
        self.settle()

    def _send(self, effect: SendDatagram) -> None:
        if self._datagrams is None or self._datagrams.is_closing():
            return
        try:
            self._datagrams.sendto(effect.data, effect.to)
        except OSError as error:  # as good as lost on the way
            log.debug("sending to %s:%d: %s", *effect.to, error)

    def _join_finished(self, effect: JoinFinished) -> None:
        waiting = self._joining.get(effect.address)
        if waiting:
            future = waiting.pop(0)
            if not future.done():
                future.set_result(effect.error)

    def _open_stream(self, effect: OpenStream) -> None:
        exchange = _Exchange(self, effect)
        self._exchanges[exchange] = None
        exchange.task = asyncio.get_running_loop().create_task(self._exchange(exchange, effect))

    async def _exchange(self, exchange: _Exchange, effect: OpenStream) -> None:
        try:
            async with asyncio.timeout(effect.timeout_ns / 1e9):
                await self._ports.network.connect(lambda: exchange, effect.to)
                # Shielded: else the time-out would cancel the very future that is to say that it has come.
                await asyncio.shield(exchange.finished)
        except (OSError, TimeoutError) as failure:
            exchange.end(str(failure) or "no answer")
        finally:
            exchange.abort()
        error = exchange.finished.result()
        if error:
            self.gossip.stream_failed(effect.token, error, self.now_ns())
            self.settle()

    def exchange_began(self, exchange: _Exchange) -> bool:
        """A peer opened a stream. False if there are too many."""
        if len(self._exchanges) >= EXCHANGES_MAX:
            return False
        self._exchanges[exchange] = None
        return True

    def exchange_ended(self, exchange: _Exchange) -> None:
        self._exchanges.pop(exchange, None)


class _Datagrams(asyncio.DatagramProtocol):
    """The pool's datagrams."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        self._pool.gossip.datagram(data, (addr[0], addr[1]), self._pool.now_ns())
        self._pool.settle()

    def error_received(self, exc: Exception) -> None:
        log.debug("datagrams: %s", exc)


class _Exchange(asyncio.Protocol):
    """One stream: ours, with a request to send and an answer to wait for, or a peer's."""

    def __init__(self, pool: Pool, effect: OpenStream | None) -> None:
        self.task: asyncio.Task[None] | None = None
        self._pool = pool
        self._effect = effect
        self._reader = StreamReader()
        self._transport: asyncio.Transport | None = None
        self._deadline: Timer | None = None
        self._source: Address = ("?", 0)
        self.finished: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Why there is no answer; "" if there is."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        if peer:  # nothing if it has gone again already
            self._source = (peer[0], peer[1])
        if self._effect is not None:
            self._transport.write(self._effect.request)
            return
        if not self._pool.exchange_began(self):
            log.warning("refused a stream of %s:%d: %d are open already", *self._source, EXCHANGES_MAX)
            self.abort()
            return
        deadline_ns = self._pool.now_ns() + self._pool.gossip.config.stream_timeout_ns
        self._deadline = self._pool._ports.clock.call_at(deadline_ns, self.abort)

    def data_received(self, data: bytes) -> None:
        try:
            message = self._reader.feed(data)
        except Malformed as error:
            log.warning("malformed stream of %s:%d: %s", *self._source, error)
            self.end(str(error))
            self.abort()
            return
        if message is None or self.finished.done():
            return
        now_ns = self._pool.now_ns()
        if self._effect is not None:
            self.finished.set_result("")
            self._pool.gossip.stream_reply(self._effect.token, message, now_ns)
        else:
            assert self._transport is not None
            self.finished.set_result("")
            self._transport.write(self._pool.gossip.stream_request(message, self._source, now_ns))
            self._transport.close()
        self._pool.settle()

    def connection_lost(self, exc: Exception | None) -> None:
        self.end(str(exc) if exc else "closed without an answer")
        self._pool.exchange_ended(self)
        if self._deadline is not None:
            self._deadline.cancel()

    def abort(self) -> None:
        self.end("aborted")
        if self._transport is not None:
            self._transport.abort()
        self._pool.exchange_ended(self)

    def end(self, why: str) -> None:
        """The exchange is over, if it is not already."""
        if not self.finished.done():
            self.finished.set_result(why)
