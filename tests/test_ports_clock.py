"""The system's clock: timers that never come early, on either event loop."""

from __future__ import annotations

import asyncio
import functools
import time

import pytest
import uvloop

from impl.system import SystemClock

MILLISECOND_NS = 1_000_000


@pytest.fixture(params=[uvloop.new_event_loop, asyncio.SelectorEventLoop], ids=["uvloop", "asyncio"])
def runner(request: pytest.FixtureRequest) -> asyncio.Runner:
    return asyncio.Runner(loop_factory=request.param)


def test_timers_and_sleeps_never_end_early(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        clock = SystemClock()
        for microseconds in (1, 300, 900, 1100, 1900, 2500):
            end_ns = clock.monotonic_ns() + microseconds * 1000
            fired = asyncio.Event()
            clock.call_at(end_ns, fired.set)
            await fired.wait()
            assert clock.monotonic_ns() >= end_ns
            end_ns = clock.monotonic_ns() + microseconds * 1000
            await clock.sleep(microseconds * 1000)
            assert clock.monotonic_ns() >= end_ns

    with runner:
        runner.run(scenario())


def test_timers_fire_in_the_order_of_their_times_and_those_in_the_past_at_once(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> None:
        clock = SystemClock()
        fired: list[int] = []
        done = asyncio.Event()
        now_ns = clock.monotonic_ns()
        for milliseconds in (20, 10, -5, 30):
            when_ns = now_ns + milliseconds * MILLISECOND_NS
            clock.call_at(when_ns, functools.partial(fired.append, milliseconds))
        clock.call_at(now_ns + 40 * MILLISECOND_NS, done.set)
        assert fired == []  # never from within call_at
        await done.wait()
        assert fired == [-5, 10, 20, 30]

    with runner:
        runner.run(scenario())


def test_a_cancelled_timer_does_not_fire(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        clock = SystemClock()
        fired: list[str] = []
        done = asyncio.Event()
        timer = clock.call_at(clock.monotonic_ns() + MILLISECOND_NS, lambda: fired.append("cancelled"))
        timer.cancel()
        timer.cancel()
        clock.call_at(clock.monotonic_ns() + 5 * MILLISECOND_NS, done.set)
        await done.wait()
        assert fired == []

    with runner:
        runner.run(scenario())


def test_a_cancelled_sleep_leaves_no_timer(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        sleep = asyncio.create_task(SystemClock().sleep(5 * MILLISECOND_NS))
        await asyncio.sleep(0)
        sleep.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleep
        await SystemClock().sleep(10 * MILLISECOND_NS)  # a timer left behind would set a cancelled future

    errors: list[object] = []
    with runner:
        runner.get_loop().set_exception_handler(lambda loop, context: errors.append(context))
        runner.run(scenario())
    assert errors == []


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()


def test_a_sleep_cancelled_in_the_turn_in_which_it_ends_is_no_error(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        clock = SystemClock()
        sleep = asyncio.create_task(clock.sleep(5 * MILLISECOND_NS))
        await asyncio.sleep(0)
        when_ns = clock.monotonic_ns() + 4 * MILLISECOND_NS
        clock.call_at(when_ns, functools.partial(_cancel, sleep))
        while clock.monotonic_ns() < when_ns + 5 * MILLISECOND_NS:
            pass  # both timers are due when the loop gets to look
        with pytest.raises(asyncio.CancelledError):
            await sleep

    errors: list[object] = []
    with runner:
        runner.get_loop().set_exception_handler(lambda loop, context: errors.append(context))
        runner.run(scenario())
    assert errors == []


def test_wall_time_is_unix_time_and_monotonic_time_does_not_go_back() -> None:
    clock = SystemClock()
    assert abs(clock.wall_ns() - time.time_ns()) < 10 * 1000 * MILLISECOND_NS
    times = [clock.monotonic_ns() for _ in range(1000)]
    assert times == sorted(times)
