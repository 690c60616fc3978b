"""Drives a generator: asks it for operations, has workers perform them, tells it what happened.

Rules
-----
1. Every thread performs one operation at a time; its invocation is recorded before the client is asked, and
   its completion when the answer is in. One event loop does it all, so the record's order is the real one.
2. How an operation ends is decided here alone (`_perform`): returned is `ok`, `Refused` is `fail`, a client
   that could not be opened is `fail`, and everything else, the timeout too, is `info`.
3. After an `info`, a thread goes on as process + concurrency, with a new client of the same node.
4. An exception that no client should raise is `info` and a problem of the run.

Theory of operation
-------------------
`_pump` asks the generator until it has nothing for now; it runs after every completion and when the time of
the next operation has come. A worker is a task that waits for its next operation, so the price of an
operation is two wake-ups. This is `jepsen.generator.interpreter`, with tasks for threads.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Protocol

from harness.generator import PENDING, Context, Generator, Operation, Source, Thread, lift, validate
from harness.generator.core import EXHAUSTED
from harness.history import NEMESIS, Op, OpType
from harness.raised import raised
from harness.recorder import Recorder, Unrecordable
from harness.systems import Indeterminate, Refused
from harness.worlds import InjectionError

NEMESIS_TIMEOUT = 60.0
"""Seconds after which a fault counts as not injected."""

_PENDING_POLL = 0.005
"""Seconds until a pending generator is asked again though nothing happened: it may wait for anything."""

_CLOSE_TIMEOUT = 1.0

_log = logging.getLogger("harness.run")


class Client(Protocol):
    """One thread's connection to one node, for one workload."""

    async def invoke(self, operation: Operation) -> Any:
        """Do it, and return the value of the `ok` event (of a write: what was written); as a
        `harness.history.Versioned` where the system tells the version as well.

        Raises `harness.systems.Refused` if it has definitely not happened (a cas whose old value was
        another, too: its `fail`), `Indeterminate` if that is not known. Anything else is a bug in the
        client: it becomes `info`, and the run is not green. The run loop bounds the time it takes
        by cancelling it.
        """
        ...

    async def close(self) -> None: ...


class Interpreter:
    """The workers of one run. `run` may be called several times: threads, processes and clients live on."""

    def __init__(
        self,
        *,
        concurrency: int,
        seed: int,
        operation_timeout: float,
        recorder: Recorder,
        node: Callable[[int], str],
        open_client: Callable[[str], Awaitable[Client]],
        nemesis: Callable[[Operation], Awaitable[Any]],
        on_bug: Callable[[str], None],
        on_injection_failure: Callable[[str], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._context = Context.initial(concurrency, seed)
        self._seed = seed
        self._everyone = self._context.threads
        self._operation_timeout = operation_timeout
        self._recorder = recorder
        self._nodes = [node(thread) for thread in range(concurrency)]
        self._open_client = open_client
        self._nemesis = nemesis
        self._on_bug = on_bug
        self._on_injection_failure = on_injection_failure
        self._clients: list[Client | None] = [None] * concurrency
        self._closing: set[asyncio.Task[None]] = set()
        self._mail: dict[Thread, asyncio.Future[Operation]] = {}
        self._workers: list[asyncio.Task[None]] = []
        self._sleeps: dict[Thread, asyncio.TimerHandle] = {}
        # Of the `run` under way:
        self._generator: Generator = EXHAUSTED
        self._deadline: int | None = None
        self._stop_when: Callable[[Op], bool] | None = None
        self._awaited = self._everyone
        self._ending = True
        self._finished: asyncio.Future[None] | None = None
        self._timer: asyncio.Handle | None = None
        self._pump_soon = False

    async def run(
        self,
        source: Source,
        *,
        purpose: str = "",
        deadline: int | None = None,
        stop_when: Callable[[Op], bool] | None = None,
        await_clients: bool = True,
    ) -> Generator:
        """Drive the source until it is exhausted, `deadline` (ns of the recorder's clock) has come,
        `stop_when` took a completion, or `stop` was called; and everything begun has ended (but for what
        clients do, if not `await_clients`).

        Returns what is left of the source, to go on with. Raises what the generator raised. What it draws
        beyond its own streams depends on `purpose`, and not on what others drew before.
        """
        assert self._finished is None, "one run at a time"
        if not self._workers:
            names: list[Thread] = [*range(len(self._clients)), NEMESIS]
            self._mail = {name: self._loop.create_future() for name in names}
            self._workers = [asyncio.create_task(self._work(name), name=f"worker {name}") for name in names]
        self._context = self._context.using(Random(f"{self._seed}/{purpose}"))
        self._generator = validate(lift(source))
        self._deadline, self._stop_when, self._ending = deadline, stop_when, False
        self._awaited = self._everyone if await_clients else self._context.nemesis_mask
        self._finished = self._loop.create_future()
        try:
            self._pump()
            await self._finished
            return self._generator
        finally:
            self._finished = None
            self._ending = True
            self._cancel_timer()

    def stop(self) -> None:
        """Let the `run` under way begin nothing more."""
        self._end()

    def fail(self, error: BaseException) -> None:
        """Have the `run` under way raise this."""
        self._ending = True
        if self._finished is not None and not self._finished.done():
            self._finished.set_exception(error)

    async def close(self) -> None:
        """End the workers, whatever they do, and close all clients."""
        for handle in self._sleeps.values():
            handle.cancel()
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        for thread, client in enumerate(self._clients):
            if client is not None:
                self._discard(thread)
        if self._closing:
            await asyncio.wait(self._closing)

    # --- Asking the generator --------------------------------------------------------------------------

    def _pump(self) -> None:
        """Begin everything that is due."""
        self._pump_soon = False
        self._cancel_timer()
        try:
            while not self._ending:
                now = self._recorder.now()
                if self._deadline is not None and now >= self._deadline:
                    self._end()
                    return
                context = self._context = self._context.at(now)
                step = self._generator.op(context)
                if step is None:
                    self._end()
                    return
                if step is PENDING:
                    self._wake_at(now + int(_PENDING_POLL * 1e9), now)
                    return
                assert isinstance(step, tuple)
                operation, generator = step
                assert operation.time is not None
                if operation.time > now:
                    self._wake_at(operation.time, now)
                    return
                self._generator = generator
                self._begin(operation)
        except Exception as error:  # the generator's, or the recorder's: whoever awaits `run` gets it
            self.fail(error)

    def _wake_at(self, time: int, now: int) -> None:
        if self._deadline is not None and time > self._deadline:
            time = self._deadline
        self._timer = self._loop.call_later((time - now) / 1e9, self._pump)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin(self, operation: Operation) -> None:
        process = operation.process
        assert process is not None
        thread = self._context.thread(process)
        if operation.kind == "invoke":
            node = None if isinstance(thread, str) else self._nodes[thread]
            kind: OpType = "info" if isinstance(thread, str) else "invoke"
            # May raise, and then nothing has begun.
            event = self._recorder.record(
                kind, process, operation.f, operation.key, operation.value, None, node
            )
            self._context = self._context.busy(thread)
            self._mail[thread].set_result(operation)
            self._generator = self._generator.update(self._context, event)
            return
        self._context = self._context.busy(thread)
        if operation.kind == "log":
            _log.info("%s", operation.value)
        seconds = operation.value / 1e9 if operation.kind == "sleep" else 0.0
        self._sleeps[thread] = self._loop.call_later(seconds, self._wake, thread)

    def _wake(self, thread: Thread) -> None:
        """A sleeping thread is free again."""
        self._sleeps.pop(thread).cancel()
        self._context = self._context.freed(thread)
        self._freed()

    def _complete(
        self, thread: Thread, operation: Operation, kind: OpType, value: Any, error: str | None
    ) -> None:
        process = operation.process
        assert process is not None
        context = self._context.freed(thread)
        if isinstance(thread, str):
            node = None
        else:
            node = self._nodes[thread]
            if kind == "info":
                context = context.crashed(thread)
        event = self._recorder.record(kind, process, operation.f, operation.key, value, error, node)
        context = self._context = context.at(event.time)
        try:
            self._generator = self._generator.update(context, event)
            # Asked of every completion, also of those that come when nothing is begun any more.
            if self._stop_when is not None and self._stop_when(event) and not self._ending:
                self._end()
        except Exception as failure:  # as in `_pump`
            self.fail(failure)
        self._freed()

    def _freed(self) -> None:
        """Go on after a thread has become free."""
        if self._ending:
            self._finish_if_idle()
        elif not self._pump_soon:
            self._pump_soon = True
            self._loop.call_soon(self._pump)

    def _end(self) -> None:
        """Begin nothing more; finished once nothing is under way."""
        self._ending = True
        self._cancel_timer()
        for thread in list(self._sleeps):
            self._wake(thread)
        self._finish_if_idle()

    def _finish_if_idle(self) -> None:
        idle = not self._awaited & ~self._context.free
        if idle and self._finished is not None and not self._finished.done():
            self._finished.set_result(None)

    # --- Performing operations -------------------------------------------------------------------------

    async def _work(self, thread: Thread) -> None:
        """One thread's life."""
        try:
            while True:
                operation = await self._mail[thread]
                self._mail[thread] = self._loop.create_future()
                if isinstance(thread, str):
                    kind, value, error = await self._inject(operation)
                else:
                    kind, value, error = await self._perform(thread, operation)
                    if kind == "info":
                        self._discard(thread)
                try:
                    self._complete(thread, operation, kind, value, error)
                except Unrecordable as bug:
                    self._on_bug(str(bug))
                    self._complete(thread, operation, "info", operation.value, f"cannot be recorded: {bug}")
        except Exception as failure:  # nothing may end a worker silently: whoever awaits `run` gets it
            self.fail(failure)

    async def _perform(self, thread: int, operation: Operation) -> tuple[OpType, Any, str | None]:
        client = self._clients[thread]
        if client is None:
            client, error = await self._open(thread)
            if client is None:
                return "fail", operation.value, error
        try:
            async with asyncio.timeout(self._operation_timeout):
                return "ok", await client.invoke(operation), None
        except Refused as refusal:
            return "fail", operation.value, str(refusal) or "refused"
        except Indeterminate as doubt:
            return "info", operation.value, str(doubt) or "indeterminate"
        except TimeoutError:
            return "info", operation.value, f"no answer within {self._operation_timeout:g} s"
        except Exception as bug:  # a client's bug must not look like the system's fault, nor like nothing
            self._on_bug(f"client of {self._nodes[thread]}, {operation.f}: {raised(bug)}")
            return "info", operation.value, f"bug in the client: {type(bug).__name__}: {bug}"

    async def _open(self, thread: int) -> tuple[Client | None, str | None]:
        """A client for the thread, or why there is none. Nothing was sent then."""
        node = self._nodes[thread]
        try:
            async with asyncio.timeout(self._operation_timeout):
                client = await self._open_client(node)
        except (Refused, Indeterminate, OSError) as error:  # TimeoutError is an OSError
            return None, f"no client: {error or type(error).__name__}"
        except Exception as bug:  # as in `_perform`
            self._on_bug(f"opening a client of {node}: {raised(bug)}")
            return None, f"no client: bug: {type(bug).__name__}: {bug}"
        self._clients[thread] = client
        return client, None

    async def _inject(self, operation: Operation) -> tuple[OpType, Any, str | None]:
        try:
            async with asyncio.timeout(NEMESIS_TIMEOUT):
                return "info", await self._nemesis(operation), None
        except InjectionError as failure:
            error = f"{operation.f}: {failure}"
        except TimeoutError:
            error = f"{operation.f}: not done within {NEMESIS_TIMEOUT:g} s"
        except Exception as bug:  # a fault that did not happen must end the run, whatever the reason
            error = f"nemesis, {operation.f}: {raised(bug)}"
        self._on_injection_failure(error)
        return "info", operation.value, error

    def _discard(self, thread: int) -> None:
        """Close the thread's client without waiting for it."""
        client, self._clients[thread] = self._clients[thread], None
        if client is not None:
            task = asyncio.create_task(self._close(client, self._nodes[thread]))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _close(self, client: Client, node: str) -> None:
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                await client.close()
        except OSError:
            pass  # it was broken already, or the node is cut off: closing changes nothing for the history
        except Exception as bug:  # as in `_perform`
            self._on_bug(f"closing a client of {node}: {raised(bug)}")
