"""uvicorn's HTTP protocol on the agent's own listener, without uvicorn's server.

The protocol class speaks HTTP/1.1 on whatever transport it is given; what its server adds (signals, workers,
sockets, the Date header) belongs to the agent or is not needed.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from impl.http.application import Application, HttpAgent
from impl.ports import Listener, Ports

KEEP_ALIVE_SECONDS = 90
"""An idle connection is closed after this (Go's default for clients, so that they close first, is 90 s)."""

HEAD_BYTES_MAX = 1024 * 1024
"""More in front of a body, or behind it, is not taken (Go's default, net/http, DefaultMaxHeaderBytes)."""

CLOSE_SECONDS = 1.0
"""How long requests in progress have when the server closes, and once more to notice that it has."""


class _InOrder(dict[Any, None]):
    """As much of a set as uvicorn needs, in the order in which it was filled.

    Of connections, a plain one has the order of addresses in memory: they would be closed in another one each
    time.
    """

    def add(self, value: Any) -> None:
        self[value] = None

    def discard(self, value: Any) -> None:
        self.pop(value, None)


class _Protocol(HttpToolsProtocol):
    """uvicorn's, which would take in a head without end."""

    _head_bytes = 0
    """What has come since the parser last had something to show for it, roughly: the head is not over yet."""

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete:  # else it would pass for that answer
                self.transport.write(_HEAD_TOO_LARGE)
            self.transport.close()

    def on_headers_complete(self) -> None:
        self._head_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        super().on_message_complete()


_HEAD_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-type: text/plain; charset=utf-8\r\nconnection: close\r\ncontent-length: 31\r\n\r\n"
    b"Request Header Fields Too Large"
)


class HttpServer:
    """A listening API."""

    def __init__(self, listener: Listener, state: ServerState) -> None:
        self._listener = listener
        self._state = state

    @property
    def port(self) -> int:
        return self._listener.address[1]

    async def close(self) -> None:
        """Take no more connections, give requests in progress a moment, and end the rest."""
        self._listener.close()
        for protocol in list(self._state.connections):
            cast(Any, protocol).shutdown()
        await self._await_requests()
        # Handlers notice that their client has gone, and end by themselves.
        for protocol in list(self._state.connections):
            cast(Any, protocol).transport.abort()
        await self._await_requests()
        for task in list(self._state.tasks):
            task.cancel()

    async def _await_requests(self) -> None:
        if self._state.tasks:
            await asyncio.wait(list(self._state.tasks), timeout=CLOSE_SECONDS)


async def serve(agent: HttpAgent, ports: Ports) -> HttpServer:
    """Listen where the configuration says. Raises OSError if the port is taken."""
    config = Config(
        cast(Any, Application(agent)),
        interface="asgi3",
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    config.load()
    state = ServerState()
    state.connections = cast(Any, _InOrder())
    state.tasks = cast(Any, _InOrder())
    loop = asyncio.get_running_loop()

    def protocol() -> asyncio.Protocol:
        return _Protocol(config, state, {}, loop)

    address = (agent.config.client_addr, agent.config.http_port)
    return HttpServer(await ports.network.listen(protocol, address), state)
