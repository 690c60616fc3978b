"""A simulation ends even if a callback does not."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from harness.worlds.sim import Sim, watchdog
from harness.worlds.sim.process import Process
from harness.worlds.sim.watchdog import Endless


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "ENDLESS_SECONDS", 0.1)


def run(main: Coroutine[Any, Any, None]) -> None:
    """The process's, in a simulation of a minute."""

    async def scenario() -> None:
        assert world.loop is not None
        world.loop.start(Process("n1", 1), main)
        await asyncio.sleep(60)

    world = Sim()
    world.run(scenario())


def compute(seconds: float) -> None:
    began = time.thread_time()
    while time.thread_time() - began < seconds:
        pass


def test_a_callback_that_does_not_return_is_told_with_its_process_and_its_line() -> None:
    async def spin() -> None:
        await asyncio.sleep(3)
        while True:
            try:
                sum(range(100))
            except Exception:  # whatever it is, the process goes on
                continue

    with pytest.raises(
        Endless, match=r"n1 has computed for 0.1 s .* at 3\.000000000 s: .*test_watchdog\.py:\d+"
    ):
        run(spin())


def test_many_callbacks_may_take_long_and_so_may_the_harness() -> None:
    async def work() -> None:
        while True:
            sum(range(100_000))
            await asyncio.sleep(0.5)

    run(work())

    async def judge() -> None:
        compute(0.5)

    Sim().run(judge())


def test_nothing_is_left_of_it_and_what_somebody_else_has_set_is_left_alone() -> None:
    async def nothing() -> None:
        pass

    Sim().run(nothing())
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGVTALRM) is signal.SIG_DFL
    signal.signal(signal.SIGVTALRM, signal.SIG_IGN)
    try:
        Sim().run(nothing())
        assert signal.getsignal(signal.SIGVTALRM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
