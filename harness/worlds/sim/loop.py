"""An asyncio event loop in virtual time, on which many processes live and die.

Rules
-----
1. Time is an integer of nanoseconds, and passes only when nothing is left to do at the present moment: the
   loop then jumps to the next timer. Timers of one moment fire in the order in which they were set.
2. Nothing to do and nothing set is a `Deadlock`, which says who waits for what; a moment that never ends is
   a `Livelock`.
3. Every callback belongs to the process in whose context it was made, or to the harness. Those of a process
   that is paused wait until it is resumed; those of a dead one never run. Death is therefore no exception:
   no `finally` and no flush, as nothing runs in a machine that has lost power.
4. Sets of tasks and futures keep one order in every run: their hash is their number, not their address.
   (`asyncio.wait` and `TaskGroup` go through sets.)
5. There are no threads, sockets, subprocesses or signals here: what asks for one gets an error that says so.

A subclass of BaseEventLoop, so that tasks, futures, time-outs and transports are asyncio's own.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import heapq
import signal
import sys
import warnings
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar, cast

_Result = TypeVar("_Result")

LIVELOCK_CALLBACKS = 1_000_000
"""So many callbacks in one moment of virtual time are no progress."""


_TASKS_KEPT = 1000
"""Tasks that are done are dropped from the list once there are so many."""


class Deadlock(Exception):
    """Nothing can ever happen again: the message says which tasks wait, and for what."""


class Livelock(Exception):
    """Callbacks go on for ever in one moment of virtual time: the message says whose."""


class NotSimulated(BaseException):
    """A simulated process has asked the real machine for something: use the ports instead.

    No `Exception`, lest the process takes it for an error of its own and goes on.
    """


class Process:
    """One process on a node, as the loop knows it: where callbacks belong, and whether they run."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.alive = True
        self.paused = False
        self.backlog: list[Callback] = []
        """What would have run while it was paused."""
        self.observer: Callable[[], None] | None = None
        """Called after each of its callbacks."""
        self.signals: dict[int, Callable[[], object]] = {}
        self.stopping = False
        """Whether it was asked to end."""
        self.wall_ns: Callable[[], int] = lambda: 0
        """The time of what it logs."""
        self.log: Callable[[str], None] = lambda text: None
        """Writes to its log."""
        self.context = contextvars.copy_context()
        self.context.run(_current.set, self)

    def __repr__(self) -> str:
        return f"<Process {self.name}>"

    async def halt_if_dead(self) -> None:
        """For the ports: who died in the middle of a callback of its own gets no further than this."""
        if not self.alive:
            await asyncio.get_running_loop().create_future()


_current: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


def current_process() -> Process | None:
    """The process whose code is running; None if it is the harness's."""
    return _current.get()


class Callback(asyncio.TimerHandle):
    """A callback and the process that it belongs to."""

    __slots__ = ("process",)

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context,
    ) -> None:
        # What TimerHandle's own constructor does, but for what only debugging needs.
        self._context = context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None
        self._when = when
        self._scheduled = False
        self.process: Process | None = context.get(_current)


class Task(asyncio.Task[_Result]):
    """A task with a number, which is its hash, and the process that it belongs to."""

    def __init__(
        self,
        coro: Generator[Any, None, _Result] | Coroutine[Any, Any, _Result],
        *,
        loop: SimulatedLoop,
        **options: Any,
    ) -> None:
        self.number = loop._next_number()
        context = options.get("context")
        self.process = _current.get() if context is None else context.get(_current)
        if options.get("name") is None:
            # The default is a number that counts through the whole life of the interpreter.
            options["name"] = f"task {self.number}"
        super().__init__(coro, loop=loop, **options)

    def __hash__(self) -> int:
        return self.number


class Future(asyncio.Future[_Result]):
    """A future with a number, which is its hash."""

    def __init__(self, *, loop: SimulatedLoop) -> None:
        self.number = loop._next_number()
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.number


class SimulatedLoop(asyncio.BaseEventLoop):
    """The loop of one simulation. `run` is the way to use it."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ns = 0
        self.running: Process | None = None
        """Whose callback is running."""
        self.trace = 0
        """A hash of which process ran when, so far: equal traces mean equal runs."""
        self.callbacks = 0
        """How many have run."""
        self.on_error: Callable[[Process | None, dict[str, Any]], None] | None = None
        """Told of exceptions that nobody handles; without it they go to the log."""
        self._queue: list[tuple[int, int, Callback]] = []
        self._numbers = 0
        self._moment_callbacks = 0
        self._failure: BaseException | None = None
        self._graveyard: list[Task[Any]] = []
        self._tasks: list[Task[Any]] = []
        """All that are not done, and some that are."""
        self._prune_at = _TASKS_KEPT
        self._harness_signals: dict[int, Any] = {}
        self.set_task_factory(cast(Any, self._make_task))
        self.set_exception_handler(self._unhandled)

    # --- Running

    def run(self, main: Coroutine[Any, Any, _Result]) -> _Result:
        """Run to the end of `main`, cancel what is left of the harness's, bury the rest, close.

        Raises Deadlock, Livelock, or what `main` or a `fail` raised.
        """
        collecting = gc.isenabled()
        # When the collector runs decides when finalizers do: it runs between simulations.
        gc.disable()
        asyncio.set_event_loop(self)
        try:
            return self.run_until_complete(main)
        finally:
            try:
                self._end_tasks()
            finally:
                asyncio.set_event_loop(None)
                self.close()
                if collecting:
                    gc.enable()

    def fail(self, error: BaseException) -> None:
        """Have `run` raise this, after the present callback."""
        if self._failure is None:
            self._failure = error

    def _run_once(self) -> None:
        """One round of asyncio's loop: all that is due."""
        ready = self._ready  # type: ignore[attr-defined]
        if not ready:
            self._advance(ready)
        now_ns = self.now_ns
        for _ in range(len(ready)):
            callback = ready.popleft()
            if callback._cancelled:
                continue
            process = callback.process
            if process is None:
                callback._run()
            elif process.paused and process.alive:
                process.backlog.append(callback)
                continue
            elif process.alive:
                self.running = process
                callback._run()
                self.running = None
                self.trace = hash((self.trace, now_ns, process.number))
                if process.observer is not None and process.alive:
                    process.observer()
            self.callbacks += 1
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
        self._moment_callbacks += 1
        if self._moment_callbacks > LIVELOCK_CALLBACKS:
            raise Livelock(f"no end of callbacks at {now_ns / 1e9:.9f} s:\n{self._waiting()}")

    def _advance(self, ready: Any) -> None:
        """Jump to the next moment at which something is due."""
        queue = self._queue
        while queue and queue[0][2]._cancelled:
            heapq.heappop(queue)
        if not queue:
            raise Deadlock(f"nothing is left to do at {self.now_ns / 1e9:.9f} s:\n{self._waiting()}")
        self._moment_callbacks = 0
        self.now_ns = queue[0][0]
        while queue and queue[0][0] == self.now_ns:
            ready.append(heapq.heappop(queue)[2])

    def _waiting(self) -> str:
        """Who waits for what, for an error message."""
        lines = []
        for task in self._tasks:
            if task.done():
                continue
            process = task.process
            owner = "harness" if process is None else process.name
            frames = task.get_stack(limit=1)
            where = "not started"
            if frames:
                code = frames[-1].f_code
                where = f"{code.co_qualname} ({code.co_filename}:{frames[-1].f_lineno})"
            lines.append(f"  {owner}, {task.get_name()}: waits in {where}")
        return "\n".join(lines) or "  no task is left"

    # --- Time

    def time(self) -> float:
        """Seconds of virtual time."""
        return self.now_ns / 1e9

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> Callback:
        made = Callback(0.0, callback, args, self, contextvars.copy_context() if context is None else context)
        self._ready.append(made)  # type: ignore[attr-defined]
        return made

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Callback:
        return self.at(self.now_ns + max(0, round(delay * 1e9)), callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Callback:
        return self.at(round(when * 1e9), callback, *args, context=context)

    def at(
        self,
        when_ns: int,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Callback:
        """Call once the time has come, in a context (a process's own, to have it run there)."""
        if context is None:
            context = contextvars.copy_context()
        made = Callback(when_ns / 1e9, callback, args, self, context)
        self._numbers += 1
        heapq.heappush(self._queue, (max(when_ns, self.now_ns), self._numbers, made))
        return made

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are left where they are until their time comes."""

    # --- Processes

    def start(self, process: Process, main: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine as the process's first task."""
        return self.create_task(main, context=process.context.copy())

    def kill(self, process: Process) -> None:
        """Nothing of the process runs ever again."""
        process.alive = False
        process.backlog.clear()
        process.observer = None
        # Kept: what would be collected as garbage would run its `finally` clauses.
        self._graveyard += [task for task in self._tasks if task.process is process and not task.done()]
        self._tasks = [task for task in self._tasks if task.process is not process and not task.done()]

    def pause(self, process: Process) -> None:
        process.paused = True

    def resume(self, process: Process) -> None:
        """What has come due meanwhile runs now, in the order in which it did."""
        process.paused = False
        self._ready.extend(process.backlog)  # type: ignore[attr-defined]
        process.backlog.clear()

    # --- Tasks and futures

    def create_future(self) -> Future[Any]:
        return Future(loop=self)

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, _Result], **options: Any
    ) -> asyncio.Task[_Result]:
        task = Task(coro, loop=self, **options)
        self._tasks.append(task)
        if len(self._tasks) > self._prune_at:
            self._tasks = [task for task in self._tasks if not task.done()]
            self._prune_at = 2 * len(self._tasks) + _TASKS_KEPT
        return task

    def _next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _end_tasks(self) -> None:
        """Cancel the harness's tasks, and let go of the dead without a word of theirs."""
        for process in {task.process: None for task in self._tasks if task.process is not None}:
            self.kill(process)
        left = [task for task in self._tasks if not task.done()]
        for task in left:
            task.cancel()
        try:
            if left:
                self.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        except Deadlock:  # one that does not let itself be cancelled waits for ever for what is gone
            self._graveyard += [task for task in left if not task.done()]
        # What is collected from now on has nothing to say that was not said.
        self.set_exception_handler(lambda loop, context: None)
        with _silence():
            for task in self._graveyard:
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                close = getattr(task.get_coro(), "close", None)
                try:
                    if close is not None:
                        close()
                except BaseException:  # the last words of the dead
                    pass
            self._graveyard.clear()
            self._queue.clear()
            gc.collect()

    def _unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, NotSimulated):
            self.fail(error)
        elif self.on_error is not None:
            self.on_error(self.running, context)
        else:
            self.default_exception_handler(context)

    # --- What there is not

    def add_signal_handler(  # type: ignore[override]
        self, sig: int, callback: Callable[..., object], *args: Any
    ) -> None:
        """Of a process: what `Cluster.stop` calls. Of the harness: the real signal."""
        process = _current.get()
        if process is not None:
            context = contextvars.copy_context()
            process.signals[sig] = partial(self.call_soon, callback, *args, context=context)
            return

        def received(number: int, frame: Any) -> None:
            self.call_soon(callback, *args, context=_HARNESS)

        self._harness_signals[sig] = signal.signal(sig, received)

    def remove_signal_handler(self, sig: int) -> bool:
        process = _current.get()
        if process is not None:
            return process.signals.pop(sig, None) is not None
        if sig not in self._harness_signals:
            return False
        signal.signal(sig, self._harness_signals.pop(sig))
        return True

    def call_soon_threadsafe(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        raise NotSimulated("call_soon_threadsafe: there are no threads in a simulation")

    def run_in_executor(self, *args: Any) -> Any:  # type: ignore[override]
        raise NotSimulated("run_in_executor (to_thread, getaddrinfo): there are no threads in a simulation")

    def _process_events(self, event_list: Any) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody sleeps."""


_HARNESS = contextvars.Context()
"""Belongs to no process."""


@contextmanager
def _silence() -> Iterator[None]:
    """Nobody hears what finalizers complain about."""
    hook = sys.unraisablehook
    sys.unraisablehook = lambda _: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.unraisablehook = hook
