"""The harness's end of the `netns` world's control sockets: one `Channel` to the hub, one `Host` per node.

The messages are those of `netns_init` and `netns_node`. The other ends answer in the order of the requests,
so that an answer, and the file descriptor that comes with it, belongs to the oldest request without one.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.worlds import Completed, Exit, InjectionError, SetupError

_MESSAGE_BYTES_MAX = 1 << 20
_ANSWER_TIMEOUT_SECONDS = 30.0
"""Far above what anything takes: a process that waits for a dead disk cannot even be killed."""


class Channel:
    """Requests out, answers back in order, notices in between. Takes over `sock`, a SEQPACKET socket."""

    def __init__(
        self,
        sock: socket.socket,
        peer: str,
        on_notice: Callable[[dict[str, Any]], None],
        on_lost: Callable[[], None],
    ) -> None:
        """`on_lost` is called once, when the other end is gone or after `close`."""
        sock.setblocking(False)
        self._sock = sock
        self._peer = peer
        self._on_notice = on_notice
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[asyncio.Future[list[int]]] = deque()
        self._writable: asyncio.Future[None] | None = None
        self._open = True
        self._loop.add_reader(sock.fileno(), self._receive)

    async def request(self, message: Mapping[str, Any], fds: Sequence[int] = ()) -> list[int]:
        """Send, and wait for the answer: the file descriptors it carries, which are the caller's to close.

        Raises InjectionError with the other end's words if it refuses, and if it is gone.
        """
        data = json.dumps(message).encode()
        while True:
            if not self._open:
                raise InjectionError(f"{self._peer} of the netns world is gone")
            try:
                socket.send_fds(self._sock, [data], fds)
            except BlockingIOError:
                await self._await_writable()
            except BrokenPipeError:
                self.close()
            else:
                break
        answer: asyncio.Future[list[int]] = self._loop.create_future()
        self._waiting.append(answer)
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_SECONDS):
                return await answer
        except TimeoutError:
            raise InjectionError(
                f"{self._peer} of the netns world has not answered {message['op']!r} "
                f"for {_ANSWER_TIMEOUT_SECONDS:g} s"
            ) from None
        except asyncio.CancelledError:
            if answer.done() and not answer.cancelled() and answer.exception() is None:
                _close_all(answer.result())  # the answer and the cancellation came in one turn of the loop
            raise

    def close(self) -> None:
        """Fail what is waiting. The other end sees the socket's end, and ends itself. Idempotent."""
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._sock.fileno())
        if self._writable is not None:
            self._loop.remove_writer(self._sock.fileno())
            self._writable.set_result(None)
        self._sock.close()
        for answer in self._waiting:
            if not answer.done():
                answer.set_exception(InjectionError(f"{self._peer} of the netns world is gone"))
        self._on_lost()

    def _receive(self) -> None:
        while self._open:
            try:
                data, fds, _, _ = socket.recv_fds(self._sock, _MESSAGE_BYTES_MAX, 1, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            except ConnectionResetError:
                data, fds = b"", []
            if not data:
                self.close()
                return
            message = json.loads(data)
            if "ended" in message:
                self._on_notice(message)
                continue
            answer = self._waiting.popleft()
            if answer.done():  # whoever asked was cancelled
                _close_all(fds)
            elif "error" in message:
                answer.set_exception(InjectionError(message["error"]))
            else:
                answer.set_result(fds)

    async def _await_writable(self) -> None:
        if self._writable is None:
            self._writable = self._loop.create_future()
            self._loop.add_writer(self._sock.fileno(), self._wake_writers)
        await asyncio.shield(self._writable)

    def _wake_writers(self) -> None:
        assert self._writable is not None
        self._loop.remove_writer(self._sock.fileno())
        self._writable.set_result(None)
        self._writable = None


class Host:
    """One node: what runs on it, and the channel to its init."""

    def __init__(self, node: str, sock: socket.socket, on_exit: Callable[[Exit], None]) -> None:
        self._node = node
        self._on_exit = on_exit
        self._ids = itertools.count()
        self._running: dict[int, asyncio.Future[int]] = {}  # id -> wait status, when it has ended
        self._main: int | None = None
        self._closing = False
        self._channel = Channel(sock, f"the init of {node}", self._ended, self._lost)

    @property
    def running(self) -> bool:
        return self._main is not None

    async def request(self, message: Mapping[str, Any]) -> None:
        await self._channel.request(message)

    async def start(self, argv: Sequence[str], env: Mapping[str, str], log: int) -> None:
        if self._main is not None:
            raise SetupError(f"{self._node} already runs a process: stop or kill it first")
        self._main = next(self._ids)
        try:
            await self._spawn(self._main, argv, env, log, log, alone=True)
        except SetupError:
            self._main = None
            raise

    async def stop(self, timeout: float) -> None:
        if self._main is not None:
            ended = self._running[self._main]
            await self.request({"op": "terminate", "id": self._main})
            await asyncio.wait([ended], timeout=timeout)
        await self.request({"op": "kill"})

    async def run(self, argv: Sequence[str], env: Mapping[str, str], timeout: float) -> Completed:
        """Raises TimeoutError after killing it, and SetupError if it cannot be started."""
        process = next(self._ids)
        stdout_read, stdout_write = os.pipe()
        stderr_read, stderr_write = os.pipe()
        try:
            try:
                ended = await self._spawn(process, argv, env, stdout_write, stderr_write, alone=False)
            finally:
                os.close(stdout_write)
                os.close(stderr_write)
        except BaseException:
            os.close(stdout_read)
            os.close(stderr_read)
            raise
        try:
            async with asyncio.timeout(timeout):
                stdout, stderr = await asyncio.gather(_read_to_end(stdout_read), _read_to_end(stderr_read))
                status = await ended
        except BaseException as error:
            await self.request({"op": "kill", "id": process})
            if isinstance(error, TimeoutError):
                words = f"{argv[0]} on {self._node} did not end within {timeout:g} s"
                raise TimeoutError(words) from None
            raise
        return Completed(os.waitstatus_to_exitcode(status), stdout, stderr)

    def close(self) -> None:
        """Idempotent. What runs is about to be killed."""
        self._closing = True
        self._channel.close()

    async def _spawn(
        self,
        process: int,
        argv: Sequence[str],
        env: Mapping[str, str],
        stdout: int,
        stderr: int,
        *,
        alone: bool,
    ) -> asyncio.Future[int]:
        # Known before it is asked for: it may end before this coroutine runs again.
        ended = self._running[process] = asyncio.get_running_loop().create_future()
        request = {"op": "spawn", "id": process, "argv": list(argv), "env": dict(env), "alone": alone}
        try:
            await self._channel.request(request, [stdout, stderr])
        except InjectionError as error:
            self._running.pop(process, None)
            raise SetupError(f"cannot start {argv[0]} on {self._node}: {error}") from error
        return ended

    def _ended(self, notice: dict[str, Any]) -> None:
        self._end(notice["ended"], notice["status"], in_words(notice["status"]), notice["asked"])

    def _lost(self) -> None:
        lost = "killed with its node" if self._closing else "lost: the init of its node is gone"
        for process in list(self._running):
            self._end(process, int(signal.SIGKILL), lost, self._closing)

    def _end(self, process: int, status: int, words: str, expected: bool) -> None:
        ended = self._running.pop(process)
        if not ended.done():
            ended.set_result(status)
        if process == self._main:
            self._main = None
            self._on_exit(Exit(self._node, words, expected))


def in_words(status: int) -> str:
    """A wait status (wait(2)) as people say it: "exit status 1", "killed by SIGSEGV"."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal has no name
        return f"killed by signal {-code}"


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)


async def _read_to_end(fd: int) -> bytes:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb")
    )
    try:
        return await reader.read()
    finally:
        transport.close()
