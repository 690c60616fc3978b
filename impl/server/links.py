"""Raft messages to the other servers: one stream to each, opened when there is something to say.

Raft's messages may be lost, so nothing here is kept for long: what does not fit into a bounded buffer, or
comes while there is no connection, is dropped. A connection attempt is bounded in time and there is only one
per peer, so that dead and cut off peers cost next to nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from impl.ports import Address, Ports
from impl.raft import Message, ServerId, encode_message
from impl.server.frames import RAFT, Frames

MILLISECOND_NS = 1_000_000

CONNECT_TIMEOUT_NS = 1000 * MILLISECOND_NS
RETRY_NS = 100 * MILLISECOND_NS
"""Between two attempts to connect."""

UNSENT_BYTES_MAX = 8 * 1024 * 1024
"""A peer that does not read loses what exceeds this."""

WAITING_MAX = 64
"""Messages kept while a connection is being opened."""

log = logging.getLogger("agent.raft")


class Links:
    """The ways to the other servers."""

    def __init__(self, ports: Ports, address_of: Callable[[ServerId], Address | None]) -> None:
        self._ports = ports
        self._address_of = address_of
        self._links: dict[ServerId, _Link] = {}

    def send(self, message: Message) -> None:
        """Best effort."""
        link = self._links.get(message.target)
        address = self._address_of(message.target)
        if address is None:
            return
        if link is None or link.address != address:
            if link is not None:
                link.close()
            link = self._links[message.target] = _Link(self._ports, address)
        link.send(encode_message(message))

    def close(self) -> None:
        for link in self._links.values():
            link.close()
        self._links.clear()


class _Link:
    """One peer."""

    def __init__(self, ports: Ports, address: Address) -> None:
        self.address = address
        self._ports = ports
        self._frames: Frames | None = None
        self._waiting: list[bytes] = []
        self._connecting: asyncio.Task[None] | None = None
        self._not_before_ns = 0
        self._reachable = True

    def send(self, payload: bytes) -> None:
        if self._frames is not None:
            if self._frames.unsent_bytes < UNSENT_BYTES_MAX:
                self._frames.send(payload)
            return
        if self._connecting is None:
            if self._ports.clock.monotonic_ns() < self._not_before_ns:
                return
            self._connecting = asyncio.get_running_loop().create_task(self._connect())
        if len(self._waiting) < WAITING_MAX:
            self._waiting.append(payload)

    async def _connect(self) -> None:
        frames = Frames(RAFT)
        frames.lost = self._lost
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_NS / 1e9):
                await self._ports.network.connect(lambda: frames, self.address)
        except (OSError, TimeoutError) as error:
            self._waiting.clear()
            self._not_before_ns = self._ports.clock.monotonic_ns() + RETRY_NS
            if self._reachable:
                self._reachable = False
                log.warning("cannot reach %s:%d: %s", *self.address, error or "no answer")
            return
        finally:
            self._connecting = None
        if not self._reachable:
            self._reachable = True
            log.info("%s:%d is reachable again", *self.address)
        waiting, self._waiting = self._waiting, []
        if not frames.is_open:
            return
        self._frames = frames
        for payload in waiting:
            frames.send(payload)

    def _lost(self) -> None:
        self._frames = None

    def close(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
        if self._frames is not None:
            self._frames.abort()
