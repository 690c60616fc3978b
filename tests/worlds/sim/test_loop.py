"""The simulated loop: virtual time, processes that live and die, and one order in every run."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.worlds.sim import loop as loop_module
from harness.worlds.sim.loop import Deadlock, Livelock, NotSimulated, SimulatedLoop
from harness.worlds.sim.process import Process, current_process

if TYPE_CHECKING:
    from tests.worlds.sim.conftest import Simulate

SECOND = 1_000_000_000


# --- Time


def test_an_hour_of_waiting_takes_no_time_and_ends_exactly_then(simulate: Simulate) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        await asyncio.sleep(3600)
        assert (loop.now_ns, loop.time()) == (3600 * SECOND, 3600.0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.25):
                await asyncio.sleep(1)
        assert loop.now_ns == 3600 * SECOND + SECOND // 4
        await asyncio.sleep(1e-9)
        assert loop.now_ns == 3600 * SECOND + SECOND // 4 + 1

    simulate(scenario)


def test_time_stands_still_while_there_is_something_to_do(simulate: Simulate) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        loop.call_later(1e-9, seen.append, "timer")
        for number in range(100):
            seen.append(number)
            await asyncio.sleep(0)
        assert loop.now_ns == 0

    seen: list[object] = []
    simulate(scenario)
    assert seen == list(range(100))


@given(delays=st.lists(st.integers(0, 5), max_size=30))
def test_timers_fire_at_their_times_and_those_of_one_moment_in_the_order_in_which_they_were_set(
    delays: list[int],
) -> None:
    async def scenario() -> None:
        for number, delay in enumerate(delays):
            when = (loop.at, loop.call_at, loop.call_later)[number % 3]
            unit: Any = 1 if number % 3 == 0 else 1e-9
            when(delay * unit, lambda n=number: fired.append((loop.now_ns, n)))
        await asyncio.sleep(1)

    loop = SimulatedLoop()
    fired: list[tuple[int, int]] = []
    loop.run(scenario())
    assert fired == sorted((delay, number) for number, delay in enumerate(delays))


def test_a_timer_in_the_past_fires_now_but_never_from_within_the_call(simulate: Simulate) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        await asyncio.sleep(1)
        loop.call_at(0.5, seen.append, "past")
        loop.call_later(-1, seen.append, "negative")
        assert not seen
        await asyncio.sleep(1e-9)
        assert seen == ["past", "negative"]

    seen: list[str] = []
    simulate(scenario)


def test_cancelled_timers_do_not_fire_and_do_not_pile_up(simulate: Simulate) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        kept = loop.call_later(3600, seen.append, "kept")
        for _ in range(100_000):
            loop.call_later(3600, seen.append, "cancelled").cancel()
        assert len(loop._queue) < 10_000
        assert loop.timers() == [kept]
        await asyncio.sleep(3601)

    seen: list[str] = []
    simulate(scenario)
    assert seen == ["kept"]


# --- No progress


def test_a_deadlock_says_who_waits_for_what(simulate: Simulate) -> None:
    async def inner(event: asyncio.Event) -> None:
        await event.wait()

    async def outer() -> None:
        await inner(asyncio.Event())

    async def scenario(loop: SimulatedLoop) -> None:
        await asyncio.sleep(2)
        loop.start(Process("n1", 1), outer())
        paused = Process("n2", 2)
        loop.start(paused, asyncio.sleep(10))
        await asyncio.sleep(1)
        loop.pause(paused)
        await loop.create_task(outer(), name="the harness's own")

    with pytest.raises(Deadlock) as caught:
        simulate(scenario)
    said = str(caught.value)
    assert said.startswith("nothing is left to do at 12.000000000 s:\n")
    lines = said.splitlines()[1:]
    assert [line.split(":")[0] for line in lines] == [
        "  harness, task 1",
        "  n1, task 3",
        "  n2 (paused), task 4",
        "  harness, the harness's own",
    ]
    own = lines[3]
    assert "outer (test_loop.py:" in own
    assert " > test_a_deadlock_says_who_waits_for_what.<locals>.inner (test_loop.py:" in own
    assert " > Event.wait (locks.py:" in own


@pytest.mark.parametrize("way", ["sleep", "soon", "timer"])
def test_a_moment_that_never_ends_is_a_livelock(
    way: str, simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module, "LOOK_CALLBACKS", 100)
    monkeypatch.setattr(loop_module, "LIVELOCK_CALLBACKS", 1000)

    async def scenario(loop: SimulatedLoop) -> None:
        def again() -> None:
            loop.call_soon(again) if way == "soon" else loop.call_later(0, again)

        await asyncio.sleep(1)
        if way != "sleep":
            again()
            await asyncio.sleep(1)
        while True:  # noqa: ASYNC110
            await asyncio.sleep(0)

    with pytest.raises(
        Livelock, match=r"no end of callbacks at 1\.000000000 s:\n  harness, task 1: waits in"
    ):
        simulate(scenario)


def test_a_long_run_that_makes_progress_is_no_livelock(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module, "LOOK_CALLBACKS", 10)
    monkeypatch.setattr(loop_module, "LIVELOCK_CALLBACKS", 100)

    async def scenario(loop: SimulatedLoop) -> None:
        for _ in range(1000):
            await asyncio.sleep(1e-9)

    simulate(scenario)


# --- Processes


def test_what_a_process_sets_in_motion_belongs_to_it(simulate: Simulate) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        def note(what: str) -> None:
            seen[what] = (current_process(), loop.running)

        async def main() -> None:
            note("main")
            loop.call_soon(note, "callback")
            loop.call_later(1, note, "timer")
            done = loop.create_future()
            done.add_done_callback(lambda _: note("future"))
            loop.call_later(1, done.set_result, None)
            await asyncio.gather(child(), child())
            async with asyncio.TaskGroup() as group:
                group.create_task(child())

        async def child() -> None:
            note("task")
            await asyncio.sleep(1)
            note("task later")

        seen: dict[str, object] = {}
        process = Process("n1", 1)
        await loop.start(process, main())
        assert set(seen) == {"main", "callback", "timer", "future", "task", "task later"}
        assert set(seen.values()) == {(process, process)}
        assert (current_process(), loop.running) == (None, None)

    simulate(scenario)


def test_a_killed_process_does_nothing_ever_again(simulate: Simulate) -> None:
    """No `finally`, no handler, no `with`, no generator's end; not at the death, nor when the collector runs,
    nor when the simulation ends."""

    @contextlib.contextmanager
    def managed() -> Iterator[None]:
        try:
            yield
        finally:
            said.append("context manager")

    @contextlib.asynccontextmanager
    async def managed_asynchronously() -> AsyncIterator[None]:
        try:
            yield
        finally:
            said.append("asynchronous context manager")

    async def generate() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            said.append("asynchronous generator")

    async def stubborn(depth: int) -> None:
        try:
            with managed():
                async with managed_asynchronously():
                    if depth:
                        await stubborn(depth - 1)
                    async for _ in generate():
                        await asyncio.sleep(10)
        except BaseException:
            said.append("handler")
            while True:  # noqa: ASYNC110
                await asyncio.sleep(1)
        finally:
            said.append("finally")

    async def shielded() -> None:
        await asyncio.shield(asyncio.gather(stubborn(1), stubborn(2)))

    async def scenario(loop: SimulatedLoop) -> None:
        process, other = Process("n1", 1), Process("n2", 2)
        for depth in range(30):
            loop.start(process, stubborn(depth))
        loop.start(process, shielded())
        future = loop.create_future()
        process.context.copy().run(future.add_done_callback, lambda _: said.append("callback"))
        loop.start(other, alive())
        await asyncio.sleep(5)
        left.append(weakref.ref(next(task for task in loop._tasks() if task.process is process)))
        loop.kill(process)
        future.set_result(None)
        gc.collect()
        await asyncio.sleep(100)
        gc.collect()

    async def alive() -> None:
        try:
            await asyncio.sleep(50)
        finally:
            said.append("the other one")

    said: list[str] = []
    left: list[weakref.ref[Any]] = []
    simulate(scenario)
    gc.collect()
    assert said == ["the other one"]
    assert left[0]() is None, "the dead are let go of when the simulation is over"


def test_processes_that_live_at_the_end_of_a_simulation_end_as_by_a_power_cut(simulate: Simulate) -> None:
    async def main() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            said.append("finally")

    async def scenario(loop: SimulatedLoop) -> None:
        loop.start(Process("n1", 1), main())
        await asyncio.sleep(1)

    said: list[str] = []
    simulate(scenario)
    gc.collect()
    assert said == []


def test_a_process_can_be_killed_from_within(simulate: Simulate) -> None:
    """As a trap does: what is left of its callback runs, and nothing that it sets in motion."""

    async def scenario(loop: SimulatedLoop) -> None:
        async def main() -> None:
            loop.kill(process)
            said.append("the rest of the callback")
            loop.call_soon(said.append, "a callback")
            loop.create_task(asyncio.sleep(0)).add_done_callback(lambda _: said.append("a task"))
            try:
                await asyncio.sleep(1)
            finally:
                said.append("finally")

        process = Process("n1", 1)
        loop.start(process, main())
        await asyncio.sleep(10)

    said: list[str] = []
    simulate(scenario)
    assert said == ["the rest of the callback"]


def test_a_paused_process_does_later_and_in_order_what_came_due_meanwhile(simulate: Simulate) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        async def main() -> None:
            for delay in (3, 1, 2):
                loop.call_later(delay, note, f"timer {delay}")
            await asyncio.sleep(1.5)
            note("task")

        def note(what: str) -> None:
            said.append((loop.time(), what))

        said: list[tuple[float, str]] = []
        process = Process("n1", 1)
        loop.start(process, main())
        await asyncio.sleep(0.5)
        loop.pause(process)
        loop.pause(process)
        process.context.copy().run(loop.call_soon, note, "soon")
        await asyncio.sleep(2)
        assert not said
        loop.resume(process)
        await asyncio.sleep(2)
        assert said == [(2.5, "soon"), (2.5, "timer 1"), (2.5, "timer 2"), (2.5, "task"), (3.0, "timer 3")]

    simulate(scenario)


def test_a_process_killed_while_paused_stays_dead_when_resumed(simulate: Simulate) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        async def main() -> None:
            try:
                await asyncio.sleep(1)
            finally:
                said.append("finally")

        process = Process("n1", 1)
        process.context.copy().run(loop.call_later, 1, said.append, "timer")
        loop.start(process, main())
        await asyncio.sleep(0.5)
        loop.pause(process)
        loop.start(process, main())
        await asyncio.sleep(2)
        loop.kill(process)
        loop.resume(process)
        await asyncio.sleep(2)

    said: list[str] = []
    simulate(scenario)
    assert not said


def test_the_observer_looks_after_every_callback_of_a_process_that_lives(simulate: Simulate) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        async def main() -> None:
            steps.append("step")
            await asyncio.sleep(1)
            steps.append("step")
            loop.kill(process)

        process = Process("n1", 1)
        process.observer = lambda: steps.append(f"look, {loop.running}")
        loop.start(process, main())
        await asyncio.sleep(2)

    steps: list[str] = []
    simulate(scenario)
    # asyncio.sleep's own timer is a callback of the process's, too.
    assert steps == ["step", "look, None", "look, None", "step"]


# --- What ends by itself, or goes wrong


@pytest.mark.parametrize(
    ("code", "status", "logged"),
    [
        (3, "exit status 3", ""),
        (None, "exit status 0", ""),
        ("why", "exit status 1", "why\n"),
        (256, "exit status 0", ""),
    ],
)
@pytest.mark.parametrize("where", ["task", "callback"])
def test_a_process_that_exits_ends_itself_and_not_the_simulation(
    where: str, code: Any, status: str, logged: str, simulate: Simulate
) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        async def main() -> None:
            if where == "callback":
                loop.call_soon(sys.exit, code)
                await asyncio.sleep(1)
            sys.exit(code)

        process = Process("n1", 1)
        process.ended = ended.append
        process.log = log.append
        loop.start(process, main())
        await asyncio.sleep(0.5)

    ended: list[str] = []
    log: list[str] = []
    simulate(scenario)
    assert (ended, "".join(log)) == ([status], logged)


def test_errors_that_nobody_handles_are_told_with_whose_they_are(simulate: Simulate) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        async def main(what: str) -> None:
            loop.call_soon(fail, f"{what}'s callback")
            loop.create_task(fails(f"{what}'s task"))
            await asyncio.sleep(0)

        def fail(what: str) -> None:
            raise ValueError(what)

        async def fails(what: str) -> None:
            raise ValueError(what)

        loop.on_error = lambda process, details: told.append(
            (process.name if process else None, str(details["exception"]))
        )
        await loop.start(Process("n1", 1), main("n1"))
        await loop.start(Process("n2", 2), main("n2"))
        await main("harness")
        dead = Process("n3", 3)
        task = loop.start(dead, fails("a dead one's task"))
        await asyncio.sleep(1)
        loop.kill(dead)
        del task  # the last one that could have looked at its exception
        gc.collect()

    told: list[tuple[str | None, str]] = []
    simulate(scenario)
    assert sorted(told, key=str) == sorted(
        [
            *((None, f"harness's {what}") for what in ("callback", "task")),
            *((name, f"{name}'s {what}") for name in ("n1", "n2") for what in ("callback", "task")),
        ],
        key=str,
    )


def test_a_process_that_cancels_all_tasks_cancels_its_own(simulate: Simulate) -> None:
    """As many a program does on its way out."""
    heard: list[str] = []

    async def wait(name: str, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
            heard.append(f"{name} waited")
        except asyncio.CancelledError:
            heard.append(f"{name} was cancelled")
            raise

    async def leave() -> None:
        kept = asyncio.create_task(wait("its own", 5.0))
        await asyncio.sleep(1)
        assert {task.get_coro().__name__ for task in asyncio.all_tasks()} == {"leave", "wait"}  # type: ignore[union-attr]
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.wait([kept])

    async def scenario(loop: SimulatedLoop) -> None:
        loop.start(Process("n2", 2), wait("another's", 3.0))
        loop.start(Process("n1", 1), leave())
        await wait("the harness", 4.0)

    simulate(scenario)
    assert heard == ["its own was cancelled", "another's waited", "the harness waited"]


def test_a_process_cannot_stop_the_loop(simulate: Simulate) -> None:
    async def stop() -> None:
        asyncio.get_running_loop().stop()

    async def scenario(loop: SimulatedLoop) -> None:
        loop.start(Process("n1", 1), stop())
        await asyncio.sleep(1)

    with pytest.raises(NotSimulated, match=r"n1 calls loop\.stop at .*test_loop\.py"):
        simulate(scenario)


def test_an_exception_handler_that_a_process_sets_hears_of_its_own_errors_alone(simulate: Simulate) -> None:
    told: list[tuple[str, Any]] = []
    n1, n2 = Process("n1", 1), Process("n2", 2)

    def fails(name: str) -> None:
        raise ValueError(name)

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        told.append(("its own", str(context["exception"])))
        assert current_process() is n1
        loop.default_exception_handler(context)
        if len(told) > 3:
            raise RuntimeError("the handler itself")

    async def sets() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(handle)
        assert loop.get_exception_handler() is handle
        loop.call_soon(fails, "n1")
        await asyncio.sleep(1)
        loop.call_soon(fails, "n1 again")

    async def other() -> None:
        await asyncio.sleep(0.5)
        asyncio.get_running_loop().call_soon(fails, "n2")

    async def scenario(loop: SimulatedLoop) -> None:
        loop.on_error = lambda process, details: told.append(
            ("nobody" if process is None else process.name, str(details["exception"]))
        )
        loop.start(n1, sets())
        loop.start(n2, other())
        await asyncio.sleep(2)

    simulate(scenario)
    first = [("its own", "n1"), ("n1", "n1"), ("n2", "n2")]
    assert told == [
        *first, ("its own", "n1 again"), ("n1", "n1 again"), ("n1", "the handler itself"),
    ]  # fmt: skip


def test_what_main_returns_and_raises_comes_out(simulate: Simulate) -> None:
    async def returns(loop: SimulatedLoop) -> int:
        return 7

    async def raises(loop: SimulatedLoop) -> None:
        raise LookupError("out")

    assert simulate(returns) == 7
    with pytest.raises(LookupError, match="out"):
        simulate(raises)


def test_what_fails_a_simulation_ends_it_after_the_present_callback(simulate: Simulate) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        try:
            loop.fail(LookupError("first"))
            loop.fail(LookupError("second"))
            said.append("goes on")
            await asyncio.sleep(0)
            said.append("never")
        finally:
            said.append("finally")

    said: list[str] = []
    with pytest.raises(LookupError, match="first"):
        simulate(scenario)
    assert said == ["goes on", "finally"]


def test_the_harnesss_own_tasks_are_cancelled_at_the_end_and_may_take_their_time(simulate: Simulate) -> None:
    async def orderly() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(5)
            said.append("closed")

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                said.append("no")

    async def scenario(loop: SimulatedLoop) -> None:
        tasks = [loop.create_task(orderly()), loop.create_task(stubborn())]
        await asyncio.sleep(1)
        assert len(tasks) == 2

    said: list[str] = []
    simulate(scenario)
    assert said == ["no", "closed"]


# --- One order


def order_of_sets() -> list[object]:
    """What depends on the order of sets of tasks and futures, in one simulation."""

    async def scenario() -> None:
        tasks = [loop.create_task(asyncio.sleep(1, number)) for number in range(20)]
        done, _ = await asyncio.wait(tasks)
        seen.extend(task.result() for task in done)
        futures = [loop.create_future() for _ in range(20)]
        for number, future in enumerate(futures):
            future.set_result(number)
        seen.extend(future.result() for future in {*reversed(futures)})
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(20):
                    group.create_task(is_cancelled(number))
                await asyncio.sleep(1)
                raise LookupError
        except* LookupError:
            pass
        seen.append(tasks[3].get_name())

    async def is_cancelled(number: int) -> None:
        try:
            await asyncio.sleep(10)
        finally:
            seen.append(number)

    loop = SimulatedLoop()
    seen: list[object] = []
    loop.run(scenario())
    return [*seen, loop.trace]


def test_sets_of_tasks_and_futures_have_one_order_in_every_run() -> None:
    first = order_of_sets()
    hoard = []
    for size in range(1, 6):
        hoard.append([bytearray(size * 8) for _ in range(size * 997)])  # what comes now is elsewhere
        assert order_of_sets() == first
    assert hoard


def test_the_trace_tells_runs_apart(simulate: Simulate) -> None:
    def trace(*steps: tuple[str, float]) -> int:
        async def scenario(loop: SimulatedLoop) -> int:
            processes = {"n1": Process("n1", 1), "n2": Process("n2", 2)}
            for name, delay in steps:
                processes[name].context.copy().run(loop.call_later, delay, int)
            await asyncio.sleep(10)
            return loop.trace

        result: int = simulate(scenario)
        return result

    same = trace(("n1", 1), ("n2", 2))
    assert same == trace(("n1", 1), ("n2", 2))
    assert len({same, trace(("n2", 1), ("n1", 2)), trace(("n1", 1), ("n2", 3)), trace(("n1", 1))}) == 4


def test_the_collector_runs_at_fixed_numbers_of_callbacks_and_is_left_as_it_was(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module, "LOOK_CALLBACKS", 50)

    class Cycle:
        def __init__(self, loop: SimulatedLoop) -> None:
            self.myself = self
            self.loop = loop

        def __del__(self) -> None:
            collected.append((self.loop.callbacks, self.loop.running))

    async def scenario(loop: SimulatedLoop) -> None:
        loop._look_at = 50
        assert not gc.isenabled()
        for _ in range(3):
            Cycle(loop)
            for _ in range(60):
                await asyncio.sleep(0)

    collected: list[tuple[int, object]] = []
    assert gc.isenabled()
    frozen = gc.get_freeze_count()
    simulate(scenario)
    assert gc.isenabled()
    assert gc.get_freeze_count() <= frozen
    assert collected == [(50, None), (100, None), (150, None)]


# --- Asynchronous generators


def test_a_generator_that_is_dropped_is_closed_by_its_own_process(simulate: Simulate) -> None:
    async def generate() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(1)
            said.append(current_process())

    async def main() -> None:
        async for _ in generate():
            break
        await asyncio.sleep(2)

    async def scenario(loop: SimulatedLoop) -> None:
        process = Process("n1", 1)
        await loop.start(process, main())
        assert said == [process]
        await main()
        assert said == [process, None]

    said: list[object] = []
    simulate(scenario)


# --- Signals


def test_a_processs_signal_handlers_are_the_harnesss_to_call(simulate: Simulate) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        async def main() -> None:
            loop.add_signal_handler(signal.SIGTERM, lambda: said.append(loop.running))
            loop.add_signal_handler(signal.SIGINT, said.append, "wrong")
            assert loop.remove_signal_handler(signal.SIGINT)
            assert not loop.remove_signal_handler(signal.SIGINT)
            await asyncio.sleep(10)

        process = Process("n1", 1)
        loop.start(process, main())
        await asyncio.sleep(1)
        assert set(process.signals) == {signal.SIGTERM}
        process.signals[signal.SIGTERM]()
        await asyncio.sleep(1)
        assert said == [process]

    before = signal.getsignal(signal.SIGTERM)
    said: list[object] = []
    simulate(scenario)
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_harnesss_signal_handlers_are_real_and_are_taken_back(simulate: Simulate) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        loop.add_signal_handler(signal.SIGUSR1, said.append, "caught")
        os.kill(os.getpid(), signal.SIGUSR1)
        await asyncio.sleep(1)
        assert said == ["caught"]

    before = signal.getsignal(signal.SIGUSR1)
    said: list[str] = []
    simulate(scenario)
    assert signal.getsignal(signal.SIGUSR1) is before


# --- What there is not


@pytest.mark.parametrize(
    "call",
    [
        lambda loop: loop.run_in_executor(None, int),
        lambda loop: asyncio.to_thread(int),
        lambda loop: asyncio.create_subprocess_exec("true"),
        lambda loop: loop.sock_recv(None, 1),
        lambda loop: loop.create_unix_connection(None, "path"),
        lambda loop: loop.add_reader(0, int),
        lambda loop: loop.start_tls(None, None, None),
        lambda loop: loop.getnameinfo(("10.0.0.1", 1)),
        lambda loop: loop.create_connection(asyncio.Protocol, "10.0.0.1", 1),
        lambda loop: loop.create_server(asyncio.Protocol, "10.0.0.1", 1),
    ],
)
@pytest.mark.parametrize("who", ["harness", "n1"])
def test_what_the_loop_has_not_is_refused_by_name(
    call: Callable[[Any], Any], who: str, simulate: Simulate
) -> None:
    async def asks(loop: SimulatedLoop) -> None:
        await call(loop)

    async def scenario(loop: SimulatedLoop) -> None:
        if who == "harness":
            await asks(loop)
        await loop.start(Process("n1", 1), asks(loop))

    with pytest.raises(NotSimulated) as caught:
        simulate(scenario)
    assert "test_loop.py:" in str(caught.value) or "asyncio/" in str(caught.value)
    assert str(caught.value).startswith("n1 calls ") == (who == "n1")


def test_nothing_here_needs_a_thread(simulate: Simulate) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        loop.call_soon_threadsafe(said.append, "said")  # from the one thread there is
        await asyncio.sleep(0)

    said: list[str] = []
    threads = threading.active_count()
    simulate(scenario)
    assert said == ["said"]
    assert threading.active_count() == threads
