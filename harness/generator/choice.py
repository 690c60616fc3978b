"""Combinators for choice: which of several generators, and on which threads.

Each takes sources (`harness.generator.lift`) and returns a generator.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

import msgspec

from harness.generator.core import (
    PENDING,
    Context,
    Generator,
    Operation,
    Pending,
    Source,
    Step,
    Thread,
    Wrapper,
    lift,
    put,
    update_all,
)
from harness.history import NEMESIS, Op


# --- Which of several --------------------------------------------------------------------------------
class _Soonest:
    """Picks the earliest of several steps; among equals, each with a chance in proportion to its weight."""

    __slots__ = ("context", "pending", "step", "weight", "which")

    def __init__(self, context: Context) -> None:
        self.context = context
        self.pending = False
        self.step: tuple[Operation, Generator] | None = None
        self.which: Any = None
        self.weight = 0

    def offer(self, step: Step, which: Any, weight: int = 1) -> None:
        if step is None:
            return
        if isinstance(step, Pending):
            self.pending = True
            return
        if self.step is not None:
            assert step[0].time is not None and self.step[0].time is not None
            if step[0].time > self.step[0].time:
                return
            if step[0].time == self.step[0].time:
                self.weight += weight
                if self.context.random.random() * self.weight >= weight:
                    return
                self.step, self.which = step, which
                return
        self.step, self.which, self.weight = step, which, weight


class _AnyOf(msgspec.Struct, frozen=True):
    sources: tuple[Generator, ...]
    ends: Literal["all", "first"]

    def op(self, context: Context) -> Step:
        soonest = _Soonest(context)
        for index, source in enumerate(self.sources):
            step = source.op(context)
            if step is None and self.ends == "first":
                return None
            soonest.offer(step, index)
        if soonest.step is None:
            return PENDING if soonest.pending else None
        operation, source = soonest.step
        return operation, _AnyOf(put(self.sources, soonest.which, source), self.ends)

    def update(self, context: Context, event: Op) -> Generator:
        sources = update_all(self.sources, context, event)
        return self if sources is self.sources else _AnyOf(sources, self.ends)


def any_of(*sources: Source) -> Generator:
    """The soonest operation of any source; ends when all have ended."""
    return _AnyOf(tuple(lift(source) for source in sources), "all")


def shortest_any(*sources: Source) -> Generator:
    """The soonest operation of any source; ends when the first of them ends."""
    return _AnyOf(tuple(lift(source) for source in sources), "first")


class _Mix(msgspec.Struct, frozen=True):
    sources: tuple[Generator, ...]

    def op(self, context: Context) -> Step:
        sources = self.sources
        while sources:
            count = len(sources)
            first = int(context.random.random() * count)
            ended: int | None = None
            for offset in range(count):
                index = (first + offset) % count
                step = sources[index].op(context)
                if isinstance(step, tuple):
                    rest = put(sources, index, step[1])
                    return step[0], self if rest is self.sources else _Mix(rest)
                if step is None:
                    ended = index
                    break
            if ended is None:
                return PENDING
            sources = (*sources[:ended], *sources[ended + 1 :])
        return None

    def update(self, context: Context, event: Op) -> Generator:
        return self


def mix(*sources: Source) -> Generator:
    """A random one of the sources each time; ends when all have ended. Sources do not hear of events.

    (Unlike Jepsen's, it does not stall while the one it drew is pending: the next in order goes instead.)
    """
    return _Mix(tuple(lift(source) for source in sources))


class _FlipFlop(msgspec.Struct, frozen=True):
    sources: tuple[Generator, ...]
    turn: int

    def op(self, context: Context) -> Step:
        step = self.sources[self.turn].op(context)
        if not isinstance(step, tuple):
            return step
        sources = put(self.sources, self.turn, step[1])
        return step[0], _FlipFlop(sources, (self.turn + 1) % len(sources))

    def update(self, context: Context, event: Op) -> Generator:
        sources = update_all(self.sources, context, event)
        return self if sources is self.sources else _FlipFlop(sources, self.turn)


def flip_flop(first: Source, second: Source) -> Generator:
    """An operation of the first, one of the second, and so on; ends as soon as the next one has none."""
    return _FlipFlop((lift(first), lift(second)), 0)


# --- On which threads --------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _mask(predicate: Callable[[Thread], bool], concurrency: int, threads: int) -> int:
    """Those of the threads that the predicate takes."""
    names = [*range(concurrency), NEMESIS]
    return sum(1 << i for i, name in enumerate(names) if threads >> i & 1 and predicate(name))


class _OnThreads(Wrapper, frozen=True):
    predicate: Callable[[Thread], bool]

    def op(self, context: Context) -> Step:
        mask = _mask(self.predicate, context.concurrency, context.threads)
        if not context.free & mask:
            return PENDING if mask else None
        step = self.source.op(context.narrow(mask))
        return (step[0], _OnThreads(step[1], self.predicate)) if isinstance(step, tuple) else step

    def update(self, context: Context, event: Op) -> Generator:
        mask = _mask(self.predicate, context.concurrency, context.threads)
        if not mask & context.bit(context.thread(event.process)):
            return self
        source = self.source.update(context.narrow(mask), event)
        return self if source is self.source else _OnThreads(source, self.predicate)


def on_threads(predicate: Callable[[Thread], bool], source: Source) -> Generator:
    """The source on the threads that the predicate takes; it hears of their events alone.

    The predicate must always say the same of a thread.
    """
    return _OnThreads(lift(source), predicate)


def _is_client(thread: Thread) -> bool:
    return thread != NEMESIS


def _is_nemesis(thread: Thread) -> bool:
    return thread == NEMESIS


def clients(source: Source) -> Generator:
    """The source on the clients' threads."""
    return on_threads(_is_client, source)


def nemesis(source: Source) -> Generator:
    """The source on the nemesis's thread."""
    return on_threads(_is_nemesis, source)


class _Each(msgspec.Struct, frozen=True):
    """A copy of `fresh` for every thread (or process) that came up so far; the others' is `fresh` itself."""

    fresh: Generator
    by: Literal["thread", "process"]
    copies: dict[Thread, Generator]

    def op(self, context: Context) -> Step:
        soonest = _Soonest(context)
        for name in context.names(context.free):
            bit = context.bit(name)
            who = name if self.by == "thread" else context.processes[bit.bit_length() - 1]
            soonest.offer(self.copies.get(who, self.fresh).op(context.narrow(bit)), who)
        if soonest.step is not None:
            operation, source = soonest.step
            return operation, _Each(self.fresh, self.by, {**self.copies, soonest.which: source})
        if soonest.pending or context.free != context.threads:
            return PENDING  # a busy thread's copy may have more
        return None

    def update(self, context: Context, event: Op) -> Generator:
        thread = context.thread(event.process)
        who = thread if self.by == "thread" else event.process
        copy = self.copies.get(who)
        if copy is None:
            return self
        updated = copy.update(context.narrow(context.bit(thread)), event)
        return self if updated is copy else _Each(self.fresh, self.by, {**self.copies, who: updated})


def each_thread(source: Source) -> Generator:
    """Every thread does the whole source by itself."""
    return _Each(lift(source), "thread", {})


def each_process(source: Source) -> Generator:
    """Every process does the whole source by itself: a thread whose process crashed begins again."""
    return _Each(lift(source), "process", {})


class _Reserve(msgspec.Struct, frozen=True):
    counts: tuple[int, ...]
    sources: tuple[Generator, ...]
    """One for each count, and the default."""
    everyone: int = 0
    masks: tuple[int, ...] = ()

    def op(self, context: Context) -> Step:
        masks = self._masks(context)
        soonest = _Soonest(context)
        for index, (mask, source) in enumerate(zip(masks, self.sources, strict=True)):
            if mask:
                soonest.offer(source.op(context.narrow(mask)), index, mask.bit_count())
        if soonest.step is None:
            return PENDING if soonest.pending else None
        operation, source = soonest.step
        return operation, _Reserve(
            self.counts, put(self.sources, soonest.which, source), context.threads, masks
        )

    def update(self, context: Context, event: Op) -> Generator:
        bit = context.bit(context.thread(event.process))
        for index, mask in enumerate(self._masks(context)):
            if mask & bit:
                source = self.sources[index].update(context.narrow(mask), event)
                return msgspec.structs.replace(self, sources=put(self.sources, index, source))
        return self

    def _masks(self, context: Context) -> tuple[int, ...]:
        if context.threads == self.everyone:
            return self.masks
        left = context.threads
        masks = []
        for count in self.counts:
            mask = 0
            for _ in range(count):
                mask |= left & -left
                left &= left - 1 if left else 0
            masks.append(mask)
        return (*masks, left)


def reserve(*reservations: tuple[int, Source], default: Source = None) -> Generator:
    """`reserve((5, writes), (2, cas), default=reads)`: five threads write, the next two cas, the rest read.

    Among operations for the same time, each generator has a chance in proportion to its threads.
    """
    counts = tuple(count for count, _ in reservations)
    return _Reserve(counts, (*(lift(source) for _, source in reservations), lift(default)))
