"""Requests between agents: many at a time over one connection, each answered once, in any order.

The caller is told how a call failed, since that decides whether it may try again:
- `Unreachable`: there was no connection. The request was not sent.
- `ConnectionLost`: it was sent, and the connection broke, or time ran out, before an answer came. It may have
  been done.
An answer that is a `Failure` is an answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec

from impl.ports import Address, Ports
from impl.server.frames import FRAME_BYTES_MAX, RPC, Frames
from impl.server.requests import Failure, Reply, Request

CONNECT_TIMEOUT_NS = 1_000_000_000

CALLS_IN_PROGRESS_MAX = 65536
"""Per connection: a server passes on all the blocking queries of its client agents over one."""

UNREAD_BYTES_MAX = 4 * FRAME_BYTES_MAX
"""A caller that leaves more than this unread loses the connection, not the server its memory."""

TOO_MANY_CALLS = "RPC rate limit exceeded"
"""The answer to a call beyond that, which is not done. (Consul: structs.ErrRPCRateExceeded.)"""

log = logging.getLogger("agent.rpc")


class Unreachable(Exception):
    """No connection to the server: the request was not sent."""


class ConnectionLost(Exception):
    """No answer to a request that was sent: it may or may not have been done."""


class Call(msgspec.Struct, array_like=True, frozen=True):
    """A request on the wire."""

    id: int
    forwarded: bool
    """Whether a server passes it on: the receiver then answers or refuses, lest it go round for ever."""
    request: Request


class Answer(msgspec.Struct, array_like=True, frozen=True):
    """A reply on the wire."""

    id: int
    reply: Reply


_encode = msgspec.msgpack.Encoder().encode
_decode_call = msgspec.msgpack.Decoder(Call).decode
_decode_answer = msgspec.msgpack.Decoder(Answer).decode


class Servant:
    """Answers the calls that come in on one connection."""

    def __init__(self, frames: Frames, answer: Callable[[Request, bool], Awaitable[Reply]]) -> None:
        self._frames = frames
        self._answer = answer
        self._tasks: dict[asyncio.Task[None], None] = {}
        frames.received = self._received
        frames.lost = self._lost

    def _received(self, frame: bytes) -> None:
        try:
            call = _decode_call(frame)
        except msgspec.DecodeError as error:
            self._frames.reject(f"not a call: {error}")
            return
        if len(self._tasks) >= CALLS_IN_PROGRESS_MAX:
            # Not by closing the connection: the others' calls are on it too, and some of them are writes.
            self._frames.send(_encode(Answer(call.id, Failure(TOO_MANY_CALLS))))
            return
        task = asyncio.get_running_loop().create_task(self._serve(call))
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)

    async def _serve(self, call: Call) -> None:
        try:
            reply = await self._answer(call.request, call.forwarded)
        except Exception as error:  # a bug must not be taken for silence
            log.exception("answering %s", type(call.request).__name__)
            reply = Failure(f"internal error: {type(error).__name__}: {error}")
        answer = _encode(Answer(call.id, reply))
        if len(answer) > FRAME_BYTES_MAX:
            why = f"the answer has {len(answer)} bytes, at most {FRAME_BYTES_MAX} can be sent: ask for less"
            answer = _encode(Answer(call.id, Failure(why)))
        self._frames.send(answer)
        if self._frames.unsent_bytes > UNREAD_BYTES_MAX:
            self._frames.reject(f"it leaves {self._frames.unsent_bytes} bytes of answers unread")

    def _lost(self) -> None:
        # Nobody waits for these any more. What was proposed may be committed yet, as the caller must assume.
        for task in list(self._tasks):
            task.cancel()


class Clients:
    """Connections to other servers, opened when needed and shared."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._clients: dict[Address, _Client] = {}

    async def call(self, address: Address, request: Request, forwarded: bool, timeout_ns: int) -> Reply:
        """Ask the server at `address`. Raises Unreachable or ConnectionLost."""
        client = self._clients.get(address)
        if client is None:
            client = self._clients[address] = _Client(self._ports, address)
        return await client.call(request, forwarded, timeout_ns)

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()


class _Client:
    """One connection."""

    def __init__(self, ports: Ports, address: Address) -> None:
        self._ports = ports
        self._address = address
        self._frames: Frames | None = None
        self._opening: asyncio.Task[Frames] | None = None
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._next_id = 0

    async def call(self, request: Request, forwarded: bool, timeout_ns: int) -> Reply:
        frames = self._frames or await self._open()
        if not frames.is_open:  # closed since it was opened, before we had our turn
            raise Unreachable(f"{self._address[0]}:{self._address[1]}: closed")
        self._next_id += 1
        call_id = self._next_id
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[call_id] = future
        frames.send(_encode(Call(call_id, forwarded, request)))
        try:
            async with asyncio.timeout(timeout_ns / 1e9):
                return await future
        except TimeoutError:
            raise ConnectionLost("i/o deadline reached") from None
        finally:
            self._waiting.pop(call_id, None)

    async def _open(self) -> Frames:
        """Share one attempt between all who wait for it; the one who gives up does not end it."""
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._connect())
            self._opening.add_done_callback(_look_at)
        return await asyncio.shield(self._opening)

    async def _connect(self) -> Frames:
        frames = Frames(RPC)
        frames.received = self._received
        frames.lost = self._lost
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_NS / 1e9):
                await self._ports.network.connect(lambda: frames, self._address)
        except (OSError, TimeoutError) as error:
            raise Unreachable(f"{self._address[0]}:{self._address[1]}: {error or 'no answer'}") from error
        finally:
            self._opening = None
        if not frames.is_open:
            raise Unreachable(f"{self._address[0]}:{self._address[1]}: closed at once")
        self._frames = frames
        return frames

    def _received(self, frame: bytes) -> None:
        try:
            answer = _decode_answer(frame)
        except msgspec.DecodeError as error:
            assert self._frames is not None
            self._frames.reject(f"not an answer: {error}")
            return
        future = self._waiting.get(answer.id)
        if future is not None and not future.done():
            future.set_result(answer.reply)

    def _lost(self) -> None:
        self._frames = None
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ConnectionLost("EOF"))

    def close(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
        if self._frames is not None:
            self._frames.abort()


def _look_at(task: asyncio.Task[Frames]) -> None:
    """All who waited for a connection may have given up before it failed: that is no error of its own."""
    if not task.cancelled():
        task.exception()
