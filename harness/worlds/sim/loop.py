"""An asyncio event loop in virtual time, on which many processes live and die.

Rules
-----
1. Time is an integer of nanoseconds, and passes only when nothing is left to do at the present moment: the
   loop then jumps to the next timer. Timers of one moment fire in the order in which they were set.
2. Nothing to do and nothing set is a `Deadlock`, which says who waits for what; a moment that never ends is
   a `Livelock`.
3. Every callback belongs to the process in whose context it was made, or to the harness. Those of a process
   that is paused wait until it is resumed; those of a dead one never run. Death is therefore no exception:
   no `finally` and no flush, not even at the end of the simulation, as nothing runs in a machine that has
   lost power.
4. A process that ends itself (`sys.exit`, `os._exit`) ends itself, and not the simulation.
5. Sets of tasks and futures keep one order in every run: their hash is a number, not their address.
   (`asyncio.wait` and `TaskGroup` go through sets.)
6. The garbage collector runs between callbacks, at fixed numbers of them, lest it decides when finalizers do.
7. There are no threads, sockets, subprocesses or signals here: what asks for one gets an error that says so.
8. The loop is everybody's: a process cannot stop it, and an exception handler that it sets is its own.

A subclass of BaseEventLoop, so that tasks, futures, time-outs and transports are asyncio's own.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import heapq
import signal
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import msgspec

from harness.worlds import WorldError
from harness.worlds.sim import graveyard
from harness.worlds.sim.endpoints import Endpoints
from harness.worlds.sim.process import CURRENT, Details, Handler, Process, current_process, harness_context
from harness.worlds.sim.process import Exited as Exited
from harness.worlds.sim.process import NotSimulated as NotSimulated

_Result = TypeVar("_Result")

LIVELOCK_CALLBACKS = 1_000_000
"""So many callbacks in one moment of virtual time are no progress."""

LOOK_CALLBACKS = 100_000
"""After every so many the collector runs, and the loop looks whether there is progress."""

ENDING_SECONDS = 60.0
"""So much of virtual time the harness's tasks have to end when they are cancelled at the end."""

_TIMERS_KEPT = 1000
"""Cancelled timers are dropped once so many more are set than were left the last time."""

_HERE, _LIBRARY = Path(__file__).parent, Path(asyncio.__file__).parents[1]

_all_tasks = asyncio.all_tasks
"""Everybody's, whoever is running. (`fences` replaces it.)"""

_TRACE_FACTOR = 0x9E3779B97F4A7C15
_TRACE_MASK = (1 << 64) - 1


class Deadlock(WorldError):
    """Nothing can ever happen again: the message says which tasks wait, and for what."""


class Livelock(WorldError):
    """Callbacks go on for ever in one moment of virtual time: the message says which tasks there are."""


class Callback(msgspec.Struct, eq=False):
    """A callback and the process that it belongs to: to asyncio, a `TimerHandle`."""

    when_ns: int
    """When it is due; when it was made, if it was made to run at once."""
    function: Callable[..., object] | None
    """None if it is cancelled."""
    args: tuple[Any, ...]
    context: contextvars.Context
    process: Process | None

    def cancel(self) -> None:
        """It stays where it is until its time comes, and is then passed over."""
        self.function, self.args = None, ()

    def cancelled(self) -> bool:
        return self.function is None

    def when(self) -> float:
        """As `loop.time()`."""
        return self.when_ns / 1e9


class Task(asyncio.Task[_Result]):
    """A task with a number, which is its hash, and the process that it belongs to."""

    def __init__(self, coro: Any, *, loop: SimulatedLoop, name: str | None = None, **options: Any) -> None:
        self.number = loop.next_number()
        context = options.get("context")
        self.process = current_process() if context is None else context.get(CURRENT)
        # asyncio's default name is a number that counts through the whole life of the interpreter.
        super().__init__(coro, loop=loop, name=name or f"task {self.number}", **options)

    def __hash__(self) -> int:
        return self.number


class Future(asyncio.Future[_Result]):
    """A future whose hash is a number. (It gets one when it is first asked for it: few ever are.)"""

    _number = 0

    def __hash__(self) -> int:
        if not self._number:
            loop = self.get_loop()
            assert isinstance(loop, SimulatedLoop)
            self._number = loop.next_number()
        return self._number


class SimulatedLoop(Endpoints):
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
        self.on_error: Callable[[Process | None, Details], None] | None = None
        """Told of exceptions that nobody handles; without it they go to the log."""
        self._queue: list[tuple[int, int, Callback]] = []
        self._compact_at = _TIMERS_KEPT
        self._numbers = 0
        self._moment_began = 0
        """How many callbacks had run when this moment began."""
        self._look_at = LOOK_CALLBACKS
        self._failure: BaseException | None = None
        self._dead: list[Any] = []
        """Tasks and asynchronous generators of dead processes."""
        self._over = False
        self._harness_signals: dict[int, Any] = {}
        self.set_exception_handler(self._unhandled)

    # --- Running

    def run(self, main: Coroutine[Any, Any, _Result]) -> _Result:
        """Run to the end of `main`, cancel what is left of the harness's, bury the rest, close.

        Raises Deadlock, Livelock, or what `main` or a `fail` raised.
        """
        asyncio.set_event_loop(self)
        with _collector_off():
            try:
                return self.run_until_complete(main)
            finally:
                try:
                    self._end_tasks()
                finally:
                    for number in list(self._harness_signals):
                        self.remove_signal_handler(number)
                    asyncio.set_event_loop(None)
                    self.close()

    def asking(self) -> Process | None:
        """Whose callback is running, if it is what calls this.

        Other threads are the harness's: a checker that was given up and goes on, or a progress bar.
        """
        return self.running if self._thread_id == threading.get_ident() else None  # type: ignore[attr-defined]

    def fail(self, error: BaseException) -> None:
        """Have `run` raise this, after the present callback."""
        if self._failure is None:
            self._failure = error
            self._stopping = True

    def refuse(self, call: str, use: str) -> NotSimulated:
        """The exception for whoever runs, which ends the simulation whatever a process makes of it."""
        where = caller(sys._getframe(1))
        if self.running is None:
            return NotSimulated(f"{call} at {where}: in a simulation, use {use}")
        error = NotSimulated(f"{self.running.name} calls {call} at {where}: a simulated process uses {use}")
        self.fail(error)
        return error

    @contextmanager
    def outside(self) -> Iterator[None]:
        """What is called now is the harness's doing, though a process's callback is running."""
        process, self.running = self.running, None
        try:
            yield
        finally:
            self.running = process

    def _run_once(self) -> None:
        """Everything, until `stop`. (There is nothing to poll for between rounds, so there are no rounds.)"""
        ready = self._ready  # type: ignore[attr-defined]
        while not self._stopping:
            if not ready:
                self._advance(ready)
            callback = ready.popleft()
            function = callback.function
            if function is None:
                continue
            process = callback.process
            if process is not None:
                if not process.runs:
                    if process.alive:
                        process.backlog.append(callback)
                    continue
                self.running = process
            try:
                callback.context.run(function, *callback.args)
            except BaseException as error:
                self._raised(callback, error)
            if process is not None:
                self.running = None
                trace = self.trace * _TRACE_FACTOR + self.now_ns
                self.trace = (trace ^ process.number) & _TRACE_MASK
                if process.observer is not None:
                    process.observer()
            self.callbacks += 1
            if self.callbacks >= self._look_at:
                self._look()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def _advance(self, ready: Any) -> None:
        """Jump to the next moment at which something is due."""
        queue, pop = self._queue, heapq.heappop
        while queue:
            when_ns, _, callback = pop(queue)
            if callback.function is not None:
                ready.append(callback)
                if when_ns != self.now_ns:
                    self.now_ns = when_ns
                    self._moment_began = self.callbacks
                while queue and queue[0][0] == when_ns:
                    ready.append(pop(queue)[2])
                return
        raise Deadlock(f"nothing is left to do at {self.now_ns / 1e9:.9f} s:\n{self._waiting()}")

    def _look(self) -> None:
        """Every now and then."""
        self._look_at = self.callbacks + LOOK_CALLBACKS
        if self.callbacks - self._moment_began >= LIVELOCK_CALLBACKS:
            raise Livelock(f"no end of callbacks at {self.now_ns / 1e9:.9f} s:\n{self._waiting()}")
        gc.collect()

    def _raised(self, callback: Callback, error: BaseException) -> None:
        """A callback did not return."""
        if isinstance(error, KeyboardInterrupt):
            self.running = None
            raise error
        process = callback.process
        if process is not None and not process.alive:
            return
        if isinstance(error, SystemExit):
            if process is None:
                raise error
            process.exit(error.code)
            return
        what = getattr(callback.function, "__qualname__", "a callback")
        self.call_exception_handler({"message": f"Exception in callback {what}", "exception": error})

    def _unhandled(self, loop: asyncio.AbstractEventLoop, context: Details) -> None:
        error = context.get("exception")
        process = self.running
        task = context.get("task", context.get("future"))
        if isinstance(task, Task):
            process = task.process
        if isinstance(error, NotSimulated):
            self.fail(error)
        elif process is not None and not process.alive:
            pass  # the dead complain of nothing
        elif self._over and not isinstance(task, Task):
            pass  # nor does what is collected now, and may have been theirs
        elif process is not None and process.exception_handler is not None:
            self._handled_by(process, process.exception_handler, context)
        elif self.on_error is not None:
            self.on_error(process, context)
        else:
            self.default_exception_handler(context)

    def _handled_by(self, process: Process, handler: Handler, context: Details) -> None:
        """By the process's own handler, in its name."""
        before, self.running = self.running, process
        try:
            process.context.copy().run(handler, self, context)
        except Exception as error:
            message = "Unhandled error in exception handler"
            if self.on_error is not None:
                self.on_error(process, {"message": message, "exception": error})
            else:
                self.default_exception_handler({"message": message, "exception": error})
        finally:
            self.running = before

    def set_exception_handler(self, handler: Handler | None) -> None:
        process = current_process()
        if process is None:
            super().set_exception_handler(handler)
        else:
            process.exception_handler = handler

    def get_exception_handler(self) -> Handler | None:
        process = current_process()
        return super().get_exception_handler() if process is None else process.exception_handler

    def default_exception_handler(self, context: Details) -> None:
        """Also what a process's own handler passes on."""
        if self.running is not None and self.on_error is not None:
            self.on_error(self.running, context)
        else:
            super().default_exception_handler(context)

    def stop(self) -> None:
        if self.running is not None:
            raise self.refuse("loop.stop", "a return from its `main`, or os._exit")
        super().stop()

    # --- Time

    def time(self) -> float:
        """Seconds of virtual time."""
        return self.now_ns / 1e9

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> Callback:
        if context is None:
            context = contextvars.copy_context()
        made = Callback(self.now_ns, callback, args, context, context.get(CURRENT))
        self._ready.append(made)  # type: ignore[attr-defined]
        return made

    call_soon_threadsafe = call_soon  # type: ignore[assignment]
    """There is one thread: no other may be started while processes run."""

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Callback:
        return self.at(self.now_ns + round(delay * 1e9), callback, *args, context=context)

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
        if when_ns < self.now_ns:
            when_ns = self.now_ns
        made = Callback(when_ns, callback, args, context, context.get(CURRENT))
        self.set(made)
        return made

    def set(self, callback: Callback) -> None:
        """Call it at its time, which is not in the past."""
        self._numbers += 1
        heapq.heappush(self._queue, (callback.when_ns, self._numbers, callback))
        if len(self._queue) > self._compact_at:
            self._compact()

    def set_anew(self, callbacks: Iterable[Callback]) -> None:
        """Their times have changed: they count as set now, in this order."""
        anew = {id(callback): callback for callback in callbacks}
        self._queue = [entry for entry in self._queue if id(entry[2]) not in anew]
        heapq.heapify(self._queue)
        for callback in anew.values():
            self.set(callback)

    def timers(self) -> list[Callback]:
        """All that are set, in the order in which they will fire."""
        return [callback for _, _, callback in sorted(self._queue) if not callback.cancelled()]

    def _compact(self) -> None:
        """Drop cancelled timers."""
        self._queue = [entry for entry in self._queue if not entry[2].cancelled()]
        heapq.heapify(self._queue)
        self._compact_at = 2 * len(self._queue) + _TIMERS_KEPT

    # --- Processes

    def start(self, process: Process, main: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine as the process's first task."""
        return self.create_task(main, context=process.context.copy())

    def kill(self, process: Process) -> None:
        """Nothing of the process runs ever again."""
        if not process.alive:
            return
        process.alive = process.runs = False
        process.observer = None
        # Kept: what would be collected as garbage would run its `finally` clauses. (The backlog may hold the
        # last references.)
        self._dead += [task for task in self._tasks() if task.process is process]
        process.backlog.clear()

    def pause(self, process: Process) -> None:
        process.paused, process.runs = True, False

    def resume(self, process: Process) -> None:
        """What has come due meanwhile runs now, in the order in which it did."""
        process.paused, process.runs = False, process.alive
        self._ready.extend(process.backlog)  # type: ignore[attr-defined]
        process.backlog.clear()

    # --- Tasks and futures

    def create_future(self) -> Future[Any]:
        return Future(loop=self)

    def create_task(  # type: ignore[override]
        self,
        coro: Any,
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
        **options: Any,
    ) -> Task[Any]:
        task: Task[Any] = Task(coro, loop=self, name=name, context=context, **options)
        if task.process is not None and not task.process.alive:
            self._dead.append(task)
        return task

    def next_number(self) -> int:
        """One that nothing else in this simulation has."""
        self._numbers += 1
        return self._numbers

    def _tasks(self) -> list[Task[Any]]:
        """All that are not done, in the order in which they were made."""
        tasks = [task for task in _all_tasks(self) if isinstance(task, Task)]
        return sorted(tasks, key=lambda task: task.number)

    def _waiting(self) -> str:
        """Who waits for what, for an error message."""
        lines = []
        for task in self._tasks():
            owner = "harness" if task.process is None else task.process.name
            if task.process is not None and task.process.paused:
                owner += " (paused)"
            lines.append(f"  {owner}, {task.get_name()}: waits in {_where(task)}")
        return "\n".join(lines) or "  no task is left"

    def _asyncgen_firstiter_hook(self, generator: AsyncGenerator[Any, Any]) -> None:
        """None is remembered: who is left at the end is not closed."""

    def _asyncgen_finalizer_hook(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Nobody will go on with it, and it has not come to its end: whoever dropped it closes it."""
        if self.running is not None and not self.running.alive:
            self._dead.append(generator)
        elif not self.is_closed():
            context = harness_context() if self.running is None else self.running.context.copy()
            self.call_soon(self._close_generator, generator, context=context)

    def _close_generator(self, generator: AsyncGenerator[Any, Any]) -> None:
        self.create_task(generator.aclose())

    def _end_tasks(self) -> None:
        """Cancel the harness's tasks, and let go of the dead without a word of theirs."""
        for process in {task.process: None for task in self._tasks() if task.process is not None}:
            self.kill(process)
        left = [task for task in self._tasks() if task.process is None]
        for task in left:
            task.cancel()
        if left:
            self.run_until_complete(asyncio.wait(left, timeout=ENDING_SECONDS))
            self._dead += [task for task in left if not task.done()]
        self._over = True
        tasks = [dead for dead in self._dead if isinstance(dead, Task)]
        graveyard.drop(task.get_coro() for task in tasks)
        for task in tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        self._dead.clear()
        self._queue.clear()

    # --- Signals

    def add_signal_handler(  # type: ignore[override]
        self, sig: int, callback: Callable[..., object], *args: Any
    ) -> None:
        """Of a process: what `Cluster.stop` calls. Of the harness: the real signal."""
        process = current_process()
        if process is not None:
            context = contextvars.copy_context()
            process.signals[sig] = partial(self.call_soon, callback, *args, context=context)
            return

        def received(number: int, frame: Any) -> None:
            self.call_soon(callback, *args, context=harness_context())

        self._harness_signals[sig] = signal.signal(sig, received)

    def remove_signal_handler(self, sig: int) -> bool:
        process = current_process()
        if process is not None:
            return process.signals.pop(sig, None) is not None
        if sig not in self._harness_signals:
            return False
        signal.signal(sig, self._harness_signals.pop(sig))
        return True

    # --- What BaseEventLoop asks of its subclasses

    def _process_events(self, event_list: Any) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody sleeps."""


def caller(frame: FrameType | None) -> str:
    """The line that called into this package, if it was by way of Python's library: of who called that."""
    found = None
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.parent != _HERE:
            found = found or frame
            if path.is_absolute() and (_LIBRARY not in path.parents or "site-packages" in path.parts):
                found = frame
                break
        frame = frame.f_back
    return f"{found.f_code.co_filename}:{found.f_lineno}" if found is not None else "nowhere"


def _where(task: Task[Any]) -> str:
    """The coroutines that a task is in, down to the one that waits."""
    steps = []
    awaited: Any = task.get_coro()
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", getattr(awaited, "gi_frame", getattr(awaited, "ag_frame", None)))
        if frame is None:
            break
        code = frame.f_code
        steps.append(f"{code.co_qualname} ({Path(code.co_filename).name}:{frame.f_lineno})")
        awaited = getattr(
            awaited, "cr_await", getattr(awaited, "gi_yieldfrom", getattr(awaited, "ag_await", None))
        )
    return " > ".join(steps)


@contextmanager
def _collector_off() -> Iterator[None]:
    """The collector runs when it is called. What there was before is not looked at again and again."""
    enabled = gc.isenabled()
    gc.disable()
    # Not where somebody else has frozen his objects, as they would thaw with ours. (3.12 starts with a few.)
    freeze = gc.get_freeze_count() < 1000
    if freeze:
        gc.freeze()
    try:
        yield
    finally:
        gc.collect()
        if freeze:
            gc.unfreeze()
        if enabled:
            gc.enable()
