"""The HTTP client says what has happened: refused, answered, or nobody knows; and it sends nothing twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest

from harness.systems import Indeterminate, Refused
from harness.systems.http import ANSWER_BYTES_MAX, HEAD_BYTES_MAX, Answer, HttpClient
from harness.worlds import Cluster

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


class Peer(asyncio.Transport):
    """The server's end of one connection, and the transport of the client's."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.protocol = protocol
        self.received = b""
        self.asked = asyncio.Event()
        self.closed = False
        protocol.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.received += data
        self.asked.set()

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self._lose(None)

    close = abort

    def say(self, data: bytes) -> None:
        if not self.closed:
            self.protocol.data_received(data)

    def end(self) -> None:
        """As a server that closes in order."""
        if not self.protocol.eof_received():
            self.close()

    def reset(self) -> None:
        self._lose(ConnectionResetError("Connection reset by peer"))

    def _lose(self, error: Exception | None) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, error)


class Server:
    """All connections of one client; as much of `Cluster` as it needs."""

    def __init__(self) -> None:
        self.peers: list[Peer] = []
        self.refuses = False
        self.closes_at_once = False
        self.client = HttpClient(cast(Cluster, self), "n1", 8500)

    async def connect(
        self, factory: Callable[[], asyncio.Protocol], node: str, port: int
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        if self.refuses:
            raise ConnectionRefusedError("Connection refused")
        peer = Peer(factory())
        self.peers.append(peer)
        if self.closes_at_once:
            peer.end()
        return peer, peer.protocol

    async def ask(self, method: str = "GET", body: bytes = b"") -> tuple[asyncio.Task[Answer], Peer]:
        """A request that has come to the server, and the connection on which it did."""
        task = asyncio.create_task(self.client.request(method, "/v1/kv/a?raw", body))
        await asyncio.sleep(0)
        peer = self.peers[-1]
        await peer.asked.wait()
        peer.asked.clear()
        return task, peer


def run(scenario: Callable[[Server], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(10):
            await scenario(Server())

    asyncio.run(bounded())


def test_a_request_is_sent_as_it_stands() -> None:
    async def scenario(server: Server) -> None:
        _, peer = await server.ask("PUT", b"hello")
        assert peer.received == (b"PUT /v1/kv/a?raw HTTP/1.1\r\nHost: n1\r\nContent-Length: 5\r\n\r\nhello")

    run(scenario)


@pytest.mark.parametrize("path", ["/a b", "/a\r\nx: y", "/ä", "/a\x00"])
def test_a_path_that_is_not_encoded_is_a_bug_and_not_sent(path: str) -> None:
    async def scenario(server: Server) -> None:
        with pytest.raises(ValueError, match="percent-encoded"):
            await server.client.request("GET", path)
        assert server.peers == []

    run(scenario)


ANSWERS = {
    "with a length": (OK, Answer(200, {"content-length": "2"}, b"hi")),
    "without a body": (b"HTTP/1.1 204 No Content\r\nX-Index: 7\r\n\r\n", Answer(204, {"x-index": "7"}, b"")),
    "in chunks, with a trailer": (
        b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1\r\ni\r\n0\r\nX-T: 1\r\n\r\n",
        Answer(404, {"transfer-encoding": "chunked"}, b"hi"),
    ),
    "after a provisional one": (
        b"HTTP/1.1 100 Continue\r\nX-P: 1\r\n\r\n" + OK,
        Answer(200, {"content-length": "2"}, b"hi"),
    ),
    "with a header twice": (
        b"HTTP/1.1 200 OK\r\nA: 1\r\na: 2\r\nContent-Length: 0\r\n\r\n",
        Answer(200, {"a": "1, 2", "content-length": "0"}, b""),
    ),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_an_answer_is_the_same_however_it_is_cut_into_pieces(kind: str) -> None:
    text, expected = ANSWERS[kind]

    async def scenario(server: Server) -> None:
        for cut in range(len(text)):
            task, peer = await server.ask()
            for piece in (text[:cut], text[cut:]):
                if piece:
                    peer.say(piece)
                    await asyncio.sleep(0)
            assert await task == expected
        assert len(server.peers) == 1, "the connection was not kept"

    run(scenario)


@pytest.mark.parametrize("kind", ANSWERS)
@pytest.mark.parametrize("how", [Peer.end, Peer.reset])
def test_after_a_part_of_an_answer_nobody_knows(kind: str, how: Callable[[Peer], None]) -> None:
    text, _ = ANSWERS[kind]

    async def scenario(server: Server) -> None:
        for cut in range(len(text)):
            task, peer = await server.ask("PUT", b"x")
            if cut:
                peer.say(text[:cut])
            how(peer)
            with pytest.raises(Indeterminate, match=r"n1: .+"):
                await task
            assert len(server.peers) == cut + 1, "it was sent again"

    run(scenario)


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    async def scenario(server: Server) -> None:
        task, peer = await server.ask()
        peer.say(b"HTTP/1.0 200 OK\r\n\r\nh")
        peer.say(b"i")
        peer.end()
        assert await task == Answer(200, {}, b"hi")
        task, peer = await server.ask()
        peer.say(b"HTTP/1.0 200 OK\r\n\r\nh")
        peer.reset()
        with pytest.raises(Indeterminate, match="reset"):
            await task

    run(scenario)


def test_what_could_not_be_sent_is_refused() -> None:
    async def scenario(server: Server) -> None:
        server.refuses = True
        with pytest.raises(Refused, match="n1: Connection refused"):
            await server.client.request("PUT", "/x")
        server.refuses, server.closes_at_once = False, True
        with pytest.raises(Refused, match="closed at once"):
            await server.client.request("PUT", "/x")
        assert server.peers[0].received == b""

    run(scenario)


@pytest.mark.parametrize("how", [Peer.end, Peer.reset])
def test_a_connection_that_was_lost_while_idle_costs_a_new_one_and_no_doubt(
    how: Callable[[Peer], None],
) -> None:
    async def scenario(server: Server) -> None:
        for text in (OK, ANSWERS["without a body"][0]):
            task, peer = await server.ask()
            peer.say(text)
            await task
            how(peer)
            before = peer.received
            task, other = await server.ask("PUT")
            other.say(OK)
            assert (await task).status == 200
            assert other is not peer
            assert peer.received == before
            other.end()

    run(scenario)


@pytest.mark.parametrize("text", [OK.replace(b"OK", b"OK\r\nConnection: close"), OK.replace(b"1.1", b"1.0")])
def test_a_connection_that_the_server_does_not_keep_is_not_used_again(text: bytes) -> None:
    async def scenario(server: Server) -> None:
        task, peer = await server.ask()
        peer.say(text)
        assert (await task).body == b"hi"
        assert peer.closed

    run(scenario)


def test_the_answer_to_a_request_that_was_given_up_is_nobodys() -> None:
    async def scenario(server: Server) -> None:
        task, peer = await server.ask()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        peer.say(OK)
        task, other = await server.ask()
        assert other is not peer
        other.say(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        assert (await task).status == 404

    run(scenario)


@pytest.mark.parametrize("before_the_next", [True, False])
def test_an_answer_that_nobody_asked_for_is_not_taken_for_the_next_one(before_the_next: bool) -> None:
    async def scenario(server: Server) -> None:
        unasked = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
        task, peer = await server.ask()
        peer.say(OK if before_the_next else OK + unasked)
        assert (await task).body == b"hi"
        if before_the_next:
            peer.say(unasked)
        assert peer.closed
        task, other = await server.ask()
        assert other is not peer
        other.say(OK)
        assert (await task).status == 200

    run(scenario)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nhi", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "not HTTP"),
        (b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * HEAD_BYTES_MAX, "too long"),
    ],
)
def test_what_is_no_answer_is_said_and_ends_the_connection(text: bytes, why: str) -> None:
    async def scenario(server: Server) -> None:
        task, peer = await server.ask()
        peer.say(text)
        with pytest.raises(Indeterminate, match=why):
            await task
        assert peer.closed

    run(scenario)


def test_an_endless_body_is_given_up() -> None:
    async def scenario(server: Server) -> None:
        task, peer = await server.ask()
        peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = bytes(2**24)
        for _ in range(ANSWER_BYTES_MAX // len(piece) + 1):
            peer.say(b"%x\r\n%b\r\n" % (len(piece), piece))
        with pytest.raises(Indeterminate, match="too long"):
            await task
        assert peer.closed

    run(scenario)


def test_two_requests_at_a_time_are_a_bug_of_the_caller() -> None:
    async def scenario(server: Server) -> None:
        await server.ask()
        with pytest.raises(RuntimeError, match="one request at a time"):
            await server.client.request("GET", "/")

    run(scenario)


def test_closing_ends_the_connection_and_the_request_under_way() -> None:
    async def scenario(server: Server) -> None:
        task, peer = await server.ask()
        await server.client.close()
        with pytest.raises(Indeterminate):
            await task
        assert peer.closed

    run(scenario)
