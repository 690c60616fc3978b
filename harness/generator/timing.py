"""Combinators for time: when operations happen. Durations are in seconds.

Each takes sources (`harness.generator.lift`) and returns a generator.
"""

from __future__ import annotations

import msgspec

from harness.generator.core import (
    PENDING,
    SECOND,
    Context,
    Generator,
    GeneratorError,
    Operation,
    Source,
    Step,
    Wrapper,
    lift,
    put,
    update_all,
)
from harness.history import Op


def nanoseconds(seconds: float) -> int:
    """Seconds as integer nanoseconds."""
    return round(seconds * SECOND)


class _TimeLimit(Wrapper, frozen=True):
    duration: int
    end: int | None

    def op(self, context: Context) -> Step:
        if self.end is not None and context.time >= self.end:
            return None
        step = self.source.op(context)
        if not isinstance(step, tuple):
            return step
        time = step[0].time
        assert time is not None
        end = time + self.duration if self.end is None else self.end
        return None if time >= end else (step[0], _TimeLimit(step[1], self.duration, end))


def time_limit(seconds: float, source: Source) -> Generator:
    """The source for so long, counted from its first operation."""
    return _TimeLimit(lift(source), nanoseconds(seconds), None)


class _Stagger(Wrapper, frozen=True):
    interval: int
    next_time: int

    def op(self, context: Context) -> Step:
        step = self.source.op(context)
        if not isinstance(step, tuple):
            return step
        operation, source = step
        assert operation.time is not None
        if operation.time < self.next_time:
            operation = _at(operation, self.next_time)
        time = operation.time
        assert time is not None
        gap = int(context.random.random() * 2 * self.interval)
        return operation, _Stagger(source, self.interval, time + gap)


def stagger(seconds: float, source: Source) -> Generator:
    """The source at random intervals of `seconds` on average (uniform from 0 to twice that).

    The interval is between any two operations: a total rate, whatever the number of threads. Time that was
    lost is not made up for: a cluster that comes back does not meet a burst.
    """
    return _Stagger(lift(source), nanoseconds(seconds), 0)


class _Delay(Wrapper, frozen=True):
    interval: int
    next_time: int | None

    def op(self, context: Context) -> Step:
        step = self.source.op(context)
        if not isinstance(step, tuple):
            return step
        operation, source = step
        assert operation.time is not None
        next_time = operation.time if self.next_time is None else self.next_time
        if operation.time < next_time:
            operation = _at(operation, next_time)
        return operation, _Delay(source, self.interval, next_time + self.interval)


def delay(seconds: float, source: Source) -> Generator:
    """The source at even intervals; having fallen behind, faster until it has caught up."""
    return _Delay(lift(source), nanoseconds(seconds), None)


def _at(operation: Operation, time: int) -> Operation:
    return Operation(operation.f, operation.value, operation.key, operation.process, time, operation.kind)


def sleep(seconds: float) -> Operation:
    """A thread does nothing for so long. Not part of the history."""
    return Operation("sleep", value=nanoseconds(seconds), kind="sleep")


def log(message: str) -> Operation:
    """A line in the harness's log. Not part of the history."""
    return Operation("log", value=message, kind="log")


class _CycleTimes(msgspec.Struct, frozen=True):
    durations: tuple[int, ...]
    sources: tuple[Generator, ...]
    start: int | None

    def op(self, context: Context) -> Step:
        start = context.time if self.start is None else self.start
        period = sum(self.durations)
        time = context.time
        # One more than there are windows: the window under way, each other one, and the first one's next.
        for _ in range(len(self.sources) + 1):
            window_end = start + (time - start) // period * period
            for current, duration in enumerate(self.durations):  # noqa: B007 - `current` is used below
                window_end += duration
                if time < window_end:
                    break
            step = self.sources[current].op(context.at(time))
            if not isinstance(step, tuple):
                # Nothing in this window: whether it is exhausted or waits for an event, it is its turn.
                if step is PENDING:
                    return PENDING
                return None
            assert step[0].time is not None
            if step[0].time < window_end:
                return step[0], _CycleTimes(self.durations, put(self.sources, current, step[1]), start)
            time = window_end
        return PENDING

    def update(self, context: Context, event: Op) -> Generator:
        sources = update_all(self.sources, context, event)
        return self if sources is self.sources else _CycleTimes(self.durations, sources, self.start)


def cycle_times(*schedule: float | Source) -> Generator:
    """`cycle_times(5, a, 10, b)`: `a` for five seconds, `b` for ten, `a` again, each going on where it was.

    Ends when the one whose turn it is does.
    """
    if not schedule or len(schedule) % 2:
        raise GeneratorError("cycle_times takes seconds and generators in turn")
    durations: list[int] = []
    sources: list[Generator] = []
    for duration, source in zip(schedule[::2], schedule[1::2], strict=True):
        if not isinstance(duration, int | float) or duration <= 0 or isinstance(source, int | float):
            raise GeneratorError("cycle_times takes seconds (more than 0) and generators in turn")
        durations.append(nanoseconds(duration))
        sources.append(lift(source))
    return _CycleTimes(tuple(durations), tuple(sources), None)
