"""A node's clock: off by an offset, fast or slow, and never back; its timers come exactly when it says so."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.worlds.sim.clock import EPOCH_NS, Clock
from harness.worlds.sim.loop import SimulatedLoop
from harness.worlds.sim.process import Process

if TYPE_CHECKING:
    from tests.worlds.sim.conftest import Simulate

SECOND = 1_000_000_000

RATES = st.floats(0.01, 100.0) | st.sampled_from([1.0, 0.85, 1.15, 1 / 3])


def test_the_monotonic_clock_starts_at_its_own_time_and_the_wall_clock_at_2026(simulate: Simulate) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        clock = Clock(loop, 12345)
        await asyncio.sleep(2)
        assert clock.monotonic_ns() == 12345 + 2 * SECOND
        assert clock.wall_ns() == EPOCH_NS + 2 * SECOND
        assert clock.rate == 1.0

    simulate(scenario)


def test_the_wall_clock_jumps_either_way_and_the_monotonic_clock_does_not(simulate: Simulate) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        clock = Clock(loop, 0)
        for offset_ns in (3600 * SECOND, -3600 * SECOND, 0):
            clock.wall_offset_ns = offset_ns
            await asyncio.sleep(1)
            assert clock.wall_ns() == EPOCH_NS + loop.now_ns + offset_ns
            assert clock.monotonic_ns() == loop.now_ns

    simulate(scenario)


def test_the_rate_is_how_fast_the_monotonic_clock_goes_from_then_on(simulate: Simulate) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        clock = Clock(loop, 0)
        await asyncio.sleep(1)
        clock.run_at(1.5)
        assert clock.monotonic_ns() == SECOND
        await asyncio.sleep(2)
        assert clock.monotonic_ns() == 4 * SECOND
        clock.run_at(0.5)
        await asyncio.sleep(2)
        assert clock.monotonic_ns() == 5 * SECOND
        assert clock.rate == 0.5
        assert clock.wall_ns() == EPOCH_NS + 5 * SECOND

    simulate(scenario)


@pytest.mark.parametrize("rate", [0.0, -1.0, 1e-12])
def test_a_clock_does_not_stand_still_or_go_back(rate: float, simulate: Simulate) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        with pytest.raises(ValueError, match="must be positive"):
            Clock(loop, 0).run_at(rate)

    simulate(scenario)


@settings(deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, 3 * SECOND), RATES), max_size=8),
    timers=st.lists(st.integers(-SECOND, 20 * SECOND), max_size=10),
)
def test_timers_come_neither_early_nor_late_by_their_clock_whatever_its_rate_becomes(
    simulate: Simulate, changes: list[tuple[int, float]], timers: list[int]
) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        clock = Clock(loop, 77)
        fired: dict[int, int] = {}

        def fire(number: int) -> None:
            fired[number] = clock.monotonic_ns()

        for number, delay_ns in enumerate(timers):
            clock.call_at(77 + delay_ns, partial(fire, number))
        before_ns, rate = clock.monotonic_ns(), 1.0
        for pause_ns, changed in changes:
            await asyncio.sleep(pause_ns / SECOND)
            assert clock.monotonic_ns() >= before_ns
            clock.run_at(changed)
            before_ns, rate = clock.monotonic_ns(), changed
        await asyncio.sleep(30 / rate)
        for number, delay_ns in enumerate(timers):
            due_ns = max(77 + delay_ns, 77)
            # At a rate above 1 the clock does not show every nanosecond.
            assert due_ns <= fired[number] <= due_ns + 100, (number, delay_ns)

    simulate(scenario)


def test_timers_that_were_set_again_and_those_of_other_clocks_keep_their_order(simulate: Simulate) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        fast, other = Clock(loop, 0), Clock(loop, 0)
        for number in range(5):
            fast.call_at(10 * SECOND, lambda n=number: fired.append((loop.time(), f"fast {n}")))  # type: ignore[misc]
        other.call_at(6 * SECOND, lambda: fired.append((loop.time(), "other")))
        cancelled = fast.call_at(8 * SECOND, lambda: fired.append((loop.time(), "cancelled")))
        await asyncio.sleep(2)
        fast.run_at(2.0)
        cancelled.cancel()
        await asyncio.sleep(10)

    fired: list[tuple[float, str]] = []
    simulate(scenario)
    assert fired == [(6.0, "other"), *((6.0, f"fast {n}") for n in range(5))]


def test_a_timer_belongs_to_the_process_that_set_it_also_after_the_rate_has_changed(
    simulate: Simulate,
) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        async def main() -> None:
            clock.call_at(4 * SECOND, lambda: ran.append(loop.running))
            clock.call_at(20 * SECOND, lambda: ran.append("never"))
            await clock.sleep(SECOND)

        clock, process = Clock(loop, 0), Process("n1", 1)
        await loop.start(process, main())
        clock.run_at(1.5)
        await asyncio.sleep(5)
        assert ran == [process]
        loop.kill(process)
        await asyncio.sleep(60)
        assert ran == [process]

    ran: list[object] = []
    simulate(scenario)


def test_sleeping_goes_by_the_nodes_clock_and_a_cancelled_sleep_leaves_no_timer(simulate: Simulate) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        clock = Clock(loop, 0)
        clock.run_at(0.5)
        await clock.sleep(SECOND)
        assert loop.now_ns == 2 * SECOND
        sleep = asyncio.create_task(clock.sleep(SECOND))
        await asyncio.sleep(0)
        assert len(loop.timers()) == 1
        sleep.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleep
        assert not loop.timers()

    simulate(scenario)


def test_a_sleep_cancelled_in_the_turn_in_which_it_ends_is_no_error(simulate: Simulate) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        clock = Clock(loop, 0)
        loop.on_error = lambda process, details: errors.append(details)
        # The cancellation was set first, and so comes first.
        loop.call_later(1, lambda: sleep.cancel())
        sleep = asyncio.create_task(clock.sleep(SECOND))
        with pytest.raises(asyncio.CancelledError):
            await sleep
        await asyncio.sleep(1)

    errors: list[object] = []
    simulate(scenario)
    assert errors == []
