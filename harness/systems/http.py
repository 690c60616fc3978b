"""HTTP to one node of a cluster, told apart by what a failure means.

Rules
-----
1. What was not sent has not happened: no connection, or one that was lost before a byte went out, is
   `Refused`. Once a byte may have left, anything but a whole answer is `Indeterminate`.
2. Nothing is ever sent twice: a client that resends a PUT over a dropped connection turns its own first try
   into a foreign write, and a checker into a liar. (HTTP clients resend "idempotent" methods by themselves,
   most of them; hence one of our own, around the parser of llhttp.)
3. An answer belongs to the one request that is under way. What comes when nothing was asked, or after a
   request that was given up, ends the connection. So does whatever is not HTTP, or more than the limits.
4. A connection is kept for the next request if the server keeps it, and is looked at before that: one that
   has ended meanwhile costs a new connection, and no doubt. If its end arrives only after the request has
   left, that is `Indeterminate`, as nobody knows which came first.

An `asyncio.Protocol` on whatever transport the cluster gives: no buffers, tasks or time-outs of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from harness.systems import Indeterminate, Refused
from harness.worlds import Cluster

HEAD_BYTES_MAX = 64 * 1024
"""Of status line and headers, as far as they come without the rest."""

ANSWER_BYTES_MAX = 256 * 1024 * 1024
"""Of a whole answer, as it is sent. (proconsul's may have 64 MiB, before base64.)"""


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

    One request at a time, bounded by whoever awaits it: cancelling a request closes the connection.
    """

    def __init__(self, cluster: Cluster, node: str, port: int) -> None:
        self._cluster = cluster
        self._node = node
        self._port = port
        self._connection: _Connection | None = None

    async def request(self, method: str, path: str, body: bytes = b"") -> Answer:
        """Send once. `path` is percent-encoded, with its query.

        Raises Refused (not sent) or Indeterminate (sent, and no answer).
        """
        if not path.isascii() or not path.isprintable() or " " in path:
            raise ValueError(f"{path!r} is not percent-encoded")
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._node}\r\nContent-Length: {len(body)}\r\n\r\n"
        connection = self._connection
        if connection is None or not connection.is_open():
            connection = self._connection = await self._connect()
        return await connection.ask(head.encode() + body)

    async def _connect(self) -> _Connection:
        connection = _Connection(self._node)
        try:
            await self._cluster.connect(lambda: connection, self._node, self._port)
        except OSError as error:
            raise Refused(f"{self._node}: {error}") from error
        if not connection.is_open():
            raise Refused(f"{self._node}: the connection was closed at once")
        return connection

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.abort()


class _Connection(asyncio.Protocol):
    """One connection, and what the parser calls while an answer comes in."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        """Of the request under way."""
        # Of the answer, as far as it has come:
        self._parser = HttpResponseParser(self)
        self._bytes = 0
        self._status = 0
        """0 until the headers are complete."""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._keep_alive = False

    def is_open(self) -> bool:
        """Whether a request can be sent, as far as one can know."""
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, request: bytes) -> Answer:
        """Send it and await the answer. Raises Indeterminate."""
        if self._answer is not None:
            raise RuntimeError("one request at a time")
        assert self._transport is not None
        self._expect()
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._answer = answer
        self._transport.write(request)
        try:
            return await answer
        finally:
            self._answer = None
            if not self._keep_alive:
                self.abort()

    def abort(self) -> None:
        # Not closed in order: a peer that is paused or cut off would hold that back for minutes.
        if self._transport is not None:
            self._transport.abort()

    def _expect(self) -> None:
        """The first byte of an answer is next."""
        self._bytes, self._status, self._keep_alive = 0, 0, False
        self._headers, self._body = {}, []

    def _fail(self, why: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Indeterminate(f"{self._node}: {why}"))
        self._keep_alive = False
        self.abort()

    # --- What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._fail(f"the answer is not HTTP/1.1: {error.__context__ or error}")
            return
        self._bytes += len(data)
        if self._bytes > (ANSWER_BYTES_MAX if self._status else HEAD_BYTES_MAX):
            self._fail(f"the answer is too long: {self._bytes} bytes, and no end of its headers or body")

    def eof_received(self) -> None:
        ends_with_connection = (
            self._status and not {"content-length", "transfer-encoding"} & self._headers.keys()
        )
        if ends_with_connection and self._answer is not None:
            self.on_message_complete()
        self._fail("the connection ended before the answer did")

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(str(exc) if exc else "the connection was lost")
        self._transport = None

    # --- What the parser calls

    def on_message_begin(self) -> None:
        if self._answer is None or self._answer.done():
            raise ValueError("nothing was asked")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._status:
            return  # behind the body: nothing that anybody needs
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        known = self._headers.get(key)
        self._headers[key] = text if known is None else f"{known}, {text}"

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        assert self._answer is not None
        if self._status < 200:  # "100 Continue" and the like: the answer is yet to come
            self._expect()
            return
        self._keep_alive = self._parser.should_keep_alive()
        if not self._answer.done():  # given up a moment ago
            self._answer.set_result(Answer(self._status, self._headers, b"".join(self._body)))
