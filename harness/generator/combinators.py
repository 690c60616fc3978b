"""Combinators for order, number and content: which operations there are, and how often.

Each takes sources (`harness.generator.lift`) and returns a generator.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import msgspec

from harness.generator.core import (
    PENDING,
    Context,
    Generator,
    GeneratorError,
    Operation,
    Source,
    Step,
    Wrapper,
    is_generator,
    lift,
)
from harness.history import Op

_log = logging.getLogger("harness.generator")


# --- One after another -------------------------------------------------------------------------------


def concat(*sources: Source) -> Generator:
    """The operations of each source, one source after another."""
    return lift(list(sources))


def then(first: Source, second: Source) -> Generator:
    """`first`; when it is exhausted and every thread is free, `second`."""
    return concat(first, synchronize(second))


def phases(*sources: Source) -> Generator:
    """Each source in turn, none before every thread is free."""
    return lift([synchronize(source) for source in sources])


class _Synchronize(Wrapper, frozen=True):
    def op(self, context: Context) -> Step:
        return self.source.op(context) if context.free == context.threads else PENDING


def synchronize(source: Source) -> Generator:
    """`source`, once all threads are free together."""
    return _Synchronize(lift(source))


# --- How often ---------------------------------------------------------------------------------------


class _Limit(Wrapper, frozen=True):
    remaining: int

    def op(self, context: Context) -> Step:
        if self.remaining <= 0:
            return None
        step = self.source.op(context)
        return (step[0], _Limit(step[1], self.remaining - 1)) if isinstance(step, tuple) else step


def limit(count: int, source: Source) -> Generator:
    """At most `count` operations of the source."""
    return _Limit(lift(source), count)


def once(source: Source) -> Generator:
    """One operation of the source."""
    return limit(1, source)


class _Repeat(Wrapper, frozen=True):
    remaining: int

    def op(self, context: Context) -> Step:
        if self.remaining == 0:
            return None
        step = self.source.op(context)
        return (step[0], _Repeat(self.source, self.remaining - 1)) if isinstance(step, tuple) else step


def repeat(source: Source, count: int = -1) -> Generator:
    """The source's first operation again and again, `count` times or for ever.

    The source does not advance.
    """
    return _Repeat(lift(source), count)


class _Cycle(Wrapper, frozen=True):
    original: Generator
    remaining: int

    def op(self, context: Context) -> Step:
        if self.remaining == 0:
            return None
        step = self.source.op(context)
        if isinstance(step, tuple):
            return step[0], _Cycle(step[1], self.original, self.remaining)
        if step is PENDING or self.remaining == 1:
            return step
        step = self.original.op(context)
        if isinstance(step, tuple):
            return step[0], _Cycle(step[1], self.original, self.remaining - 1)
        return step


def cycle(source: Source, count: int = -1) -> Generator:
    """The whole source, from the start again whenever it is exhausted; `count` times or for ever."""
    generator = lift(source)
    return _Cycle(generator, generator, count)


class _ProcessLimit(Wrapper, frozen=True):
    count: int
    seen: frozenset[int | str]

    def op(self, context: Context) -> Step:
        step = self.source.op(context)
        if not isinstance(step, tuple):
            return step
        process = step[0].process
        assert process is not None
        seen = self.seen if process in self.seen else self.seen | {process}
        return None if len(seen) > self.count else (step[0], _ProcessLimit(step[1], self.count, seen))


def process_limit(count: int, source: Source) -> Generator:
    """The source until it would need more than `count` distinct processes.

    Bounds how many operations of unknown outcome a checker may meet. (Counts the processes that did
    something; Jepsen's counts those that could have.)
    """
    return _ProcessLimit(lift(source), count, frozenset())


class _ConcurrencyLimit(Wrapper, frozen=True):
    count: int
    busy: frozenset[int | str]

    def op(self, context: Context) -> Step:
        if len(self.busy) >= self.count:
            return PENDING
        step = self.source.op(context)
        if not isinstance(step, tuple):
            return step
        assert step[0].process is not None
        return step[0], _ConcurrencyLimit(step[1], self.count, self.busy | {step[0].process})

    def update(self, context: Context, event: Op) -> Generator:
        busy = self.busy
        if event.process in busy and _completes(event):
            busy = busy - {event.process}
        return _ConcurrencyLimit(self.source.update(context, event), self.count, busy)


def concurrency_limit(count: int, source: Source) -> Generator:
    """The source, with at most `count` of its operations under way at a time. For clients' operations."""
    return _ConcurrencyLimit(lift(source), count, frozenset())


def _completes(event: Op) -> bool:
    return event.type != "invoke"


class _UntilOk(Wrapper, frozen=True):
    active: frozenset[int | str]
    done: bool

    def op(self, context: Context) -> Step:
        if self.done:
            return None
        step = self.source.op(context)
        if not isinstance(step, tuple):
            return step
        assert step[0].process is not None
        return step[0], _UntilOk(step[1], self.active | {step[0].process}, False)

    def update(self, context: Context, event: Op) -> Generator:
        source, active, done = self.source.update(context, event), self.active, self.done
        if event.process in active and _completes(event):
            active, done = active - {event.process}, done or event.type == "ok"
        return _UntilOk(source, active, done)


def until_ok(source: Source) -> Generator:
    """The source until one of its operations is `ok`."""
    return _UntilOk(lift(source), frozenset(), False)


# --- What --------------------------------------------------------------------------------------------


class _Map(Wrapper, frozen=True):
    function: Callable[[Operation], Operation]

    def op(self, context: Context) -> Step:
        step = self.source.op(context)
        return (self.function(step[0]), _Map(step[1], self.function)) if isinstance(step, tuple) else step


def map_operations(function: Callable[[Operation], Operation], source: Source) -> Generator:
    """The source's operations, each changed by the function. (Jepsen's `map`.)"""
    return _Map(lift(source), function)


def f_map(names: dict[str, str], source: Source) -> Generator:
    """The source with its functions renamed, so that two copies of something can live in one test."""

    def rename(operation: Operation) -> Operation:
        return msgspec.structs.replace(operation, f=names.get(operation.f, operation.f))

    return map_operations(rename, source)


class _Filter(Wrapper, frozen=True):
    predicate: Callable[[Operation], bool]

    def op(self, context: Context) -> Step:
        source = self.source
        while True:
            step = source.op(context)
            if not isinstance(step, tuple):
                return step
            if self.predicate(step[0]):
                return step[0], _Filter(step[1], self.predicate)
            source = step[1]


def filter_operations(predicate: Callable[[Operation], bool], source: Source) -> Generator:
    """Those of the source's operations that the predicate takes. (Jepsen's `filter`.)"""
    return _Filter(lift(source), predicate)


class _OnUpdate(Wrapper, frozen=True):
    function: Callable[[Generator, Context, Op], Source]

    def op(self, context: Context) -> Step:
        step = self.source.op(context)
        return (step[0], _OnUpdate(step[1], self.function)) if isinstance(step, tuple) else step

    def update(self, context: Context, event: Op) -> Generator:
        source = lift(self.function(self.source, context, event))
        return self if source is self.source else _OnUpdate(source, self.function)


def on_update(function: Callable[[Generator, Context, Op], Source], source: Source) -> Generator:
    """The source; at each event, the function gives what to go on with (it may call `source.update`)."""
    return _OnUpdate(lift(source), function)


class _Keyed(Wrapper, frozen=True):
    name: str
    position: int

    def op(self, context: Context) -> Step:
        step = self.source.op(context.using(context.streams.at(self.name, self.position)))
        return (step[0], _Keyed(step[1], self.name, self.position + 1)) if isinstance(step, tuple) else step


def keyed(name: str, source: Source) -> Generator:
    """The source with a random stream of its own, at a new place for each operation.

    What others draw, and how often this one was asked in vain, does not change what it does.
    """
    return _Keyed(lift(source), name, 0)


# --- Looking inside ----------------------------------------------------------------------------------


class _Trace(Wrapper, frozen=True):
    label: str
    write: Callable[[str], None]

    def op(self, context: Context) -> Step:
        step = self.source.op(context)
        self.write(f"{self.label} op at {context.time}: {step[0] if isinstance(step, tuple) else step}")
        return (step[0], _Trace(step[1], self.label, self.write)) if isinstance(step, tuple) else step

    def update(self, context: Context, event: Op) -> Generator:
        self.write(f"{self.label} update at {context.time}: {event}")
        return _Trace(self.source.update(context, event), self.label, self.write)


def trace(label: str, source: Source, write: Callable[[str], None] = _log.info) -> Generator:
    """The source, with a line for all that it is asked and told."""
    return _Trace(lift(source), label, write)


class _Validate(Wrapper, frozen=True):
    def op(self, context: Context) -> Step:
        try:
            step = self.source.op(context)
        except Exception as error:
            raise GeneratorError(
                f"{type(error).__name__}: {error}\nin op of {self.source!r}\nat {context.time} ns"
            ) from error
        if step is None or step is PENDING:
            return step
        fault = _fault_of(step, context)
        if fault:
            raise GeneratorError(f"{fault}\nin {step!r}\nfrom {self.source!r}")
        assert isinstance(step, tuple)
        return step[0], self if step[1] is self.source else _Validate(step[1])

    def update(self, context: Context, event: Op) -> Generator:
        try:
            source = self.source.update(context, event)
        except Exception as error:
            raise GeneratorError(
                f"{type(error).__name__}: {error}\nin update of {self.source!r}\nwith {event!r}"
            ) from error
        return self if source is self.source else _Validate(source)


def _fault_of(step: Any, context: Context) -> str | None:
    """What is wrong with a step."""
    if not isinstance(step, tuple) or len(step) != 2 or not isinstance(step[0], Operation):
        return "op must return (Operation, Generator), PENDING or None"
    operation = step[0]
    if operation.process is None or operation.time is None:
        return "the operation has no process or no time (see harness.generator.fill)"
    if operation.time < context.time:
        return f"the operation's time is before now, {context.time}"
    if not context.is_free(operation.process):
        return f"process {operation.process!r} is not free"
    if not is_generator(step[1]):
        return f"{step[1]!r} is no generator (see harness.generator.lift)"
    return None


def validate(source: Source) -> Generator:
    """The source with its contract checked: a breach, or an exception, is a GeneratorError that says where.

    The run loop always applies it.
    """
    return _Validate(lift(source))
