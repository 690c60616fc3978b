"""Run a generator in virtual time, without a cluster.

`quick`, `perfect` and `imperfect` are the usual simulated systems (after `jepsen.generator.test`); `simulate`
takes any other. All return the events as a run would have recorded them, and no time passes.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable

from harness.generator.combinators import validate
from harness.generator.core import PENDING, Context, Generator, GeneratorError, Operation, Source, lift
from harness.history import NEMESIS, Op, OpType

Complete = Callable[[Op], Op]
"""A simulated system: the completion of an invocation (its `time` is when; its index does not matter)."""


def simulate(
    source: Source,
    complete: Complete,
    *,
    concurrency: int = 3,
    seed: int = 45100,
    limit: int = 1_000_000,
) -> list[Op]:
    """The events of the source against a simulated system, at most `limit` of them.

    Raises GeneratorError if the source breaks its contract, or is pending with nothing under way.
    """
    return Simulation(source, complete, Context.initial(concurrency, seed)).run(limit)


class Simulation:
    """A generator, a simulated system, and what is under way between them."""

    def __init__(self, source: Source, complete: Complete, context: Context) -> None:
        self.generator: Generator = validate(lift(source))
        self.complete = complete
        self.context = context
        self.events: list[Op] = []
        self._under_way: list[tuple[int, int, Op | None, int | str]] = []
        """Heap of (time, order, completion or None after a sleep, process)."""
        self._order = itertools.count()

    def run(self, limit: int) -> list[Op]:
        while len(self.events) < limit:
            step = self.generator.op(self.context)
            if isinstance(step, tuple):
                operation, generator = step
                assert operation.time is not None
                if not self._under_way or operation.time < self._under_way[0][0]:
                    self.generator = generator
                    self._begin(operation)
                    continue
            if self._under_way:
                self._end(*heapq.heappop(self._under_way))
            elif step is PENDING:
                raise GeneratorError(f"pending for ever, with nothing under way: {self.generator!r}")
            else:
                break
        return self.events

    def _begin(self, operation: Operation) -> None:
        process, time = operation.process, operation.time
        assert process is not None and time is not None
        self.context = self.context.at(time).busy(self.context.thread(process))
        if operation.kind == "invoke":
            kind: OpType = "info" if process == NEMESIS else "invoke"
            invocation = Op(0, time, kind, process, operation.f, operation.key, operation.value)
            self._record(invocation)
            completion = self.complete(invocation)
            heapq.heappush(self._under_way, (completion.time, next(self._order), completion, process))
        else:
            until = time + operation.value if operation.kind == "sleep" else time
            heapq.heappush(self._under_way, (until, next(self._order), None, process))

    def _end(self, time: int, _order: int, completion: Op | None, process: int | str) -> None:
        thread = self.context.thread(process)
        self.context = self.context.at(time).freed(thread)
        if completion is not None:
            if completion.type == "info":
                self.context = self.context.crashed(thread)
            self._record(completion)

    def _record(self, event: Op) -> None:
        event.index = len(self.events)
        self.events.append(event)
        self.generator = self.generator.update(self.context, event)


def _completion(invocation: Op, latency: int, outcome: OpType) -> Op:
    kind: OpType = "info" if invocation.process == NEMESIS else outcome
    time = invocation.time + latency
    return Op(0, time, kind, invocation.process, invocation.f, invocation.key, invocation.value)


def quick(source: Source, *, concurrency: int = 3, seed: int = 45100, limit: int = 1_000_000) -> list[Op]:
    """Every operation succeeds in no time."""
    return simulate(
        source,
        lambda invocation: _completion(invocation, 0, "ok"),
        concurrency=concurrency,
        seed=seed,
        limit=limit,
    )


def perfect(
    source: Source,
    *,
    latency: int = 10,
    concurrency: int = 3,
    seed: int = 45100,
    limit: int = 1_000_000,
) -> list[Op]:
    """Every operation succeeds, in `latency` nanoseconds."""
    return simulate(
        source,
        lambda invocation: _completion(invocation, latency, "ok"),
        concurrency=concurrency,
        seed=seed,
        limit=limit,
    )


def imperfect(
    source: Source,
    *,
    latency: int = 10,
    concurrency: int = 3,
    seed: int = 45100,
    limit: int = 1_000_000,
) -> list[Op]:
    """Operations take `latency` nanoseconds; each thread's end fail, info, ok, fail, info, ok, ..."""
    outcomes: dict[int | str, itertools.cycle[OpType]] = {}

    def complete(invocation: Op) -> Op:
        process = invocation.process
        thread = process if isinstance(process, str) else process % concurrency
        cycle = outcomes.setdefault(thread, itertools.cycle(("fail", "info", "ok")))
        return _completion(invocation, latency, next(cycle))

    return simulate(source, complete, concurrency=concurrency, seed=seed, limit=limit)


def invocations(events: Iterable[Op]) -> list[Op]:
    """Only the events that begin an operation: what the generator decided."""
    begun: list[Op] = []
    nemesis_busy = False
    for event in events:
        if event.process == NEMESIS:
            nemesis_busy = not nemesis_busy
            if nemesis_busy:
                begun.append(event)
        elif event.type == "invoke":
            begun.append(event)
    return begun
