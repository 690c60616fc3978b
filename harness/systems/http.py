"""HTTP to one node of a cluster, told apart by what a failure means.

A request whose connection was never made has not happened: `Refused`. Once a byte may have left, anything but
an answer is `Indeterminate`. Nothing is ever sent twice: a client that resends a PUT over a dropped
connection turns its own first try into a foreign write, and a checker into a liar. (That is why httpcore
serves here, and higher-level clients, which resend "idempotent" methods by themselves, do not.)
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import httpcore

from harness.systems import Indeterminate, Refused
from harness.worlds import Cluster


@dataclass(frozen=True, slots=True)
class Answer:
    """What a node said. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def text(self) -> str:
        return self.body.decode(errors="replace").strip()


class HttpClient:
    """One keep-alive connection to one node's port, opened on first use and again after it was lost.

    Bounded by whoever awaits: cancelling a request closes the connection.
    """

    def __init__(self, cluster: Cluster, node: str, port: int) -> None:
        self._node = node
        self._base = f"http://{cluster.address(node)}:{port}"
        self._pool = httpcore.AsyncConnectionPool(
            max_connections=1, retries=0, network_backend=_ClusterBackend(cluster, node)
        )

    async def request(self, method: str, path: str, body: bytes = b"") -> Answer:
        """Send once. Raises Refused (not sent) or Indeterminate (sent, and no answer)."""
        headers = [("Host", self._node), ("Content-Length", str(len(body)))]
        try:
            response = await self._pool.request(method, self._base + path, headers=headers, content=body)
        except (httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.PoolTimeout) as error:
            raise Refused(f"{self._node}: {error}") from error
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            raise Indeterminate(f"{self._node}: {type(error).__name__} {error}".rstrip()) from error
        return Answer(
            status=response.status,
            headers={name.decode().lower(): value.decode("latin-1") for name, value in response.headers},
            body=response.content,
        )

    async def close(self) -> None:
        await self._pool.aclose()


class _ClusterBackend(httpcore.AsyncNetworkBackend):
    """Connects where the cluster says, whatever host the URL names."""

    def __init__(self, cluster: Cluster, node: str) -> None:
        self._cluster = cluster
        self._node = node

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        reader = asyncio.StreamReader()
        try:
            transport, protocol = await self._cluster.connect(
                lambda: asyncio.StreamReaderProtocol(reader), self._node, port
            )
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        writer = asyncio.StreamWriter(
            transport,
            cast(asyncio.StreamReaderProtocol, protocol),
            reader,
            asyncio.get_running_loop(),
        )
        return _Stream(reader, writer)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Stream(httpcore.AsyncNetworkStream):
    """An asyncio stream as httpcore wants it. Time-outs are the caller's."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            return await self._reader.read(max_bytes)
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if not buffer:
            return
        try:
            self._writer.write(buffer)
            await self._writer.drain()
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    async def aclose(self) -> None:
        # Not awaited: a peer that is paused or cut off would hold the close back for minutes.
        self._writer.transport.abort()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise httpcore.ConnectError("no adapter speaks TLS yet")

    def get_extra_info(self, info: str) -> Any:
        # httpcore asks before it reuses an idle connection: one that the server has closed is dead.
        if info == "is_readable":
            return self._reader.at_eof() or self._writer.transport.is_closing()
        return None
