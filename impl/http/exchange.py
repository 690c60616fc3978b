"""One request and its response, as the handlers see them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

import msgspec

Header = tuple[bytes, bytes]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

TEXT: Header = (b"content-type", b"text/plain; charset=utf-8")
JSON: Header = (b"content-type", b"application/json")


class HttpError(Exception):
    """The request is answered with this status, and the text as its body."""

    def __init__(self, status: int, text: str, *headers: Header) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers


class ClientGone(Exception):
    """The client has closed the connection: there is nobody to answer."""


class Response(NamedTuple):
    """What is sent back. The body's length is added to the headers."""

    status: int
    headers: tuple[Header, ...] = ()
    body: bytes = b""


class Exchange(NamedTuple):
    """A request, in the form in which it came."""

    method: str
    path: bytes
    """Percent-encoded, and without the prefix that the handler was found by."""
    query: bytes
    """What stands behind the question mark."""
    headers: list[Header]
    """Names in lower case."""
    pretty: bool
    """JSON for people to read."""
    receive: Receive

    def json(self, value: object, *headers: Header) -> Response:
        """A response with the value as JSON."""
        body = _encode(value)
        if self.pretty:
            body = msgspec.json.format(body, indent=4) + b"\n"
        return Response(200, (JSON, *headers), body)

    def content_length(self) -> int | None:
        """As announced; None if the body comes in chunks until it ends."""
        for name, value in self.headers:
            if name == b"content-length":
                return int(value)
        return None

    async def body(self, size_max: int) -> bytes:
        """The whole body. Raises HttpError if it is larger, ClientGone if it never comes."""
        announced = self.content_length()
        if announced is not None and announced > size_max:
            raise _too_large(announced, size_max)
        body = bytearray()
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            body += message["body"]
            if len(body) > size_max:
                raise _too_large(len(body), size_max)
            if not message["more_body"]:
                return bytes(body)

    async def client_gone(self) -> None:
        """Returns when the client has closed the connection."""
        while (await self.receive())["type"] != "http.disconnect":
            pass


_encode = msgspec.json.Encoder().encode


def _too_large(size: int, size_max: int) -> HttpError:
    return HttpError(
        413,
        f"Request body({size} bytes) too large, max size: {size_max} bytes. "
        "See https://developer.hashicorp.com/docs/agent/config/config-files#kv_max_value_size.",
    )
