"""The contract of generators, and what literals become. The rules are in the package's docstring."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Any, Literal, Protocol, TypeAlias, TypeGuard

import msgspec

from harness.history import NEMESIS, Op

SECOND = 1_000_000_000
"""Nanoseconds in a second."""

Thread = int | str
"""A client's thread, 0 .. concurrency-1, or "nemesis"."""


class Pending(enum.Enum):
    """The type of `PENDING`."""

    PENDING = "pending"


PENDING = Pending.PENDING
"""Nothing to do now, perhaps later."""


class Operation(msgspec.Struct, frozen=True, gc=False):
    """What to do: a template as people write it (`process` and `time` open), or a scheduled operation."""

    f: str
    """The function: "read", "write", "cas", ..."""
    value: Any = None
    """Its argument, a JSON value."""
    key: int | str | None = None
    """The independent object it is about."""
    process: int | str | None = None
    """Who does it; None: any free process."""
    time: int | None = None
    """When, in nanoseconds; None: now."""
    kind: Literal["invoke", "sleep", "log"] = "invoke"
    """`sleep` and `log` occupy a thread but are no part of the history."""


class _Draws(Random):
    """A stream that costs nothing to begin, unlike the 2.5 KB of state that `Random` fills from a seed.

    (SplitMix64: Steele et al., Fast Splittable Pseudorandom Number Generators, OOPSLA 2014.)
    """

    def begin(self, position: int) -> None:
        """Go on from here: equal positions give equal draws."""
        self._x = position
        self.gauss_next = None  # what `gauss` has left over

    def random(self) -> float:
        return (self._bits() >> 11) * 2.0**-53

    def getrandbits(self, k: int, /) -> int:
        bits = 0
        for _ in range(0, k, 64):
            bits = bits << 64 | self._bits()
        return bits >> -k % 64

    def _bits(self) -> int:
        """64 of them."""
        self._x = x = (self._x + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        return x ^ (x >> 31)


class Streams:
    """Random streams from one seed: what one draws does not depend on what is drawn from the others."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._bases: dict[str, int] = {}
        self._stream = _Draws(0)

    def at(self, name: str, position: int) -> Random:
        """The stream `name` at a position: the same draws whenever, and however often, it is asked for.

        Valid until the next call.
        """
        base = self._bases.get(name)
        if base is None:
            # Seeding with a string hashes it with SHA-512: the same in every process and version.
            base = self._bases[name] = Random(f"{self.seed}/{name}").getrandbits(64)
        self._stream.begin(base + position)
        return self._stream


class Context(msgspec.Struct, frozen=True, gc=False):
    """What a generator may know: the time, and which threads are there and free."""

    time: int
    """Nanoseconds since the run began."""
    concurrency: int
    """How many client threads the whole run has."""
    threads: int
    """Mask of the threads that this generator may use."""
    free: int
    """Mask of those among them that are free."""
    processes: tuple[int | str, ...]
    """Each thread's process: index i for thread i, the last for the nemesis."""
    random: Random
    streams: Streams

    @staticmethod
    def initial(concurrency: int, seed: int = 0) -> Context:
        """The context in which a run begins: time 0, all threads free."""
        everyone = (1 << (concurrency + 1)) - 1
        return Context(
            0, concurrency, everyone, everyone, (*range(concurrency), NEMESIS), Random(seed), Streams(seed)
        )

    def narrow(self, mask: int) -> Context:
        """This context with only the threads in the mask."""
        return Context(
            self.time,
            self.concurrency,
            self.threads & mask,
            self.free & mask,
            self.processes,
            self.random,
            self.streams,
        )

    def using(self, stream: Random) -> Context:
        """This context with another source of randomness."""
        return Context(
            self.time, self.concurrency, self.threads, self.free, self.processes, stream, self.streams
        )

    def at(self, time: int) -> Context:
        """This context at another time."""
        return Context(
            time, self.concurrency, self.threads, self.free, self.processes, self.random, self.streams
        )

    def busy(self, thread: Thread) -> Context:
        """This context with the thread at work."""
        return msgspec.structs.replace(self, free=self.free & ~self.bit(thread))

    def freed(self, thread: Thread) -> Context:
        """This context with the thread free again."""
        return msgspec.structs.replace(self, free=self.free | self.bit(thread))

    def crashed(self, thread: Thread) -> Context:
        """This context with the thread under its next process (the nemesis keeps its own)."""
        if isinstance(thread, str):
            return self
        processes = list(self.processes)
        process = processes[thread]
        assert isinstance(process, int)
        processes[thread] = process + self.concurrency
        return msgspec.structs.replace(self, processes=tuple(processes))

    def bit(self, thread: Thread) -> int:
        """The thread's bit in a mask."""
        return 1 << self.concurrency if isinstance(thread, str) else 1 << thread

    def thread(self, process: int | str) -> Thread:
        """The thread on which a process runs or ran."""
        return process if isinstance(process, str) else process % self.concurrency

    def names(self, mask: int) -> Iterator[Thread]:
        """The threads in a mask, in order."""
        while mask:
            lowest = mask & -mask
            index = lowest.bit_length() - 1
            yield NEMESIS if index == self.concurrency else index
            mask ^= lowest

    @property
    def client_mask(self) -> int:
        """The mask of all client threads of the run."""
        return (1 << self.concurrency) - 1

    @property
    def nemesis_mask(self) -> int:
        """The mask of the nemesis alone."""
        return 1 << self.concurrency

    def is_free(self, process: int | str) -> bool:
        """Whether the process is a current one, and its thread free."""
        if isinstance(process, str):
            return process == NEMESIS and bool(self.free & self.nemesis_mask)
        thread = process % self.concurrency
        return bool(self.free & (1 << thread)) and self.processes[thread] == process

    def some_free_process(self) -> int | str | None:
        """A free process, each as likely as any other; None if there is none."""
        free = self.free
        if not free:
            return None
        if free & (free - 1):  # more than one
            for _ in range(int(self.random.random() * free.bit_count())):
                free &= free - 1
        return self.processes[(free & -free).bit_length() - 1]


class Generator(Protocol):
    """Operations over time. See the module's docstring for the contract."""

    def op(self, context: Context) -> Step:
        """`(operation, next)`, `PENDING`, or `None` once exhausted. Changes nothing."""
        ...

    def update(self, context: Context, event: Op) -> Generator:
        """The generator to go on with after the event. `context` is that after the event."""
        ...


Step: TypeAlias = tuple[Operation, Generator] | Pending | None
Source: TypeAlias = (
    Generator | Operation | Iterable[Any] | Callable[[], Any] | Callable[[Context], Any] | None
)
"""Anything that `lift` makes a generator of. (Elements and results are sources too: mypy has no way to say
it of iterables and functions at once.)"""


class GeneratorError(Exception):
    """A generator broke its contract; the message says which one, how, and what it returned."""


def fill(operation: Operation, context: Context) -> Operation | Pending:
    """The template with process and time; PENDING if the process (or every one) is busy."""
    process = operation.process
    if process is None:
        process = context.some_free_process()
        if process is None:
            return PENDING
    elif not context.is_free(process):
        return PENDING
    time = operation.time
    if time is None or time < context.time:
        time = context.time
    return Operation(operation.f, operation.value, operation.key, process, time, operation.kind)


def is_generator(source: object) -> TypeGuard[Generator]:
    """Whether it looks like one. (isinstance of a Protocol takes as long as a whole operation.)"""
    return hasattr(source, "op") and hasattr(source, "update")


def lift(source: Source) -> Generator:
    """A generator of a literal; a generator is itself."""
    if source is None:
        return EXHAUSTED
    if isinstance(source, Operation):
        return Once(source)
    if is_generator(source):
        return source
    if isinstance(source, str | bytes | dict):
        raise GeneratorError(f"{source!r} is no generator: write Operation(f, value) for an operation")
    if isinstance(source, Iterable):
        return Elements(Cell.first(iter(source)), None)
    if callable(source):
        return Function(source, _takes_context(source), None)
    raise GeneratorError(f"{source!r} is no generator, Operation, iterable, function or None")


def _takes_context(function: Callable[..., Any]) -> bool:
    """Whether a function wants the context. Defaults count as bound: `lambda k=k: ...` takes nothing."""
    required = [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    if len(required) > 1:
        raise GeneratorError(f"{function!r} must take no argument, or the context alone")
    return bool(required)


class Exhausted(msgspec.Struct, frozen=True):
    """No operations."""

    def op(self, context: Context) -> Step:
        return None

    def update(self, context: Context, event: Op) -> Generator:
        return self


EXHAUSTED = Exhausted()


class Once(msgspec.Struct, frozen=True):
    """One operation."""

    operation: Operation

    def op(self, context: Context) -> Step:
        operation = fill(self.operation, context)
        return PENDING if isinstance(operation, Pending) else (operation, EXHAUSTED)

    def update(self, context: Context, event: Op) -> Generator:
        return self


class Cell:
    """One element of an iterator and, read when first asked for, the cell after it.

    This makes a value of an iterator, and what nobody can ask for any more is garbage.
    """

    __slots__ = ("_rest", "_source", "element")

    def __init__(self, element: Any, source: Iterator[Any]) -> None:
        self.element = element
        self._source: Iterator[Any] | None = source
        self._rest: Cell | None = None

    @property
    def rest(self) -> Cell | None:
        """The next cell; None after the last element."""
        if self._source is not None:
            self._rest = Cell.first(self._source)
            self._source = None
        return self._rest

    @staticmethod
    def first(source: Iterator[Any]) -> Cell | None:
        """A cell of the iterator's next element; None if there is none."""
        try:
            return Cell(next(source), source)
        except StopIteration:
            return None


class Elements(msgspec.Struct, frozen=True):
    """The elements of an iterable, one after another; only the one under way hears of events."""

    cell: Cell | None
    current: Generator | None
    """The cell's element, where it is under way."""

    def op(self, context: Context) -> Step:
        cell, current = self.cell, self.current
        while cell is not None:
            if current is None:
                if isinstance(cell.element, Operation):
                    operation = fill(cell.element, context)
                    return (
                        PENDING if isinstance(operation, Pending) else (operation, Elements(cell.rest, None))
                    )
                current = lift(cell.element)
            step = current.op(context)
            if isinstance(step, tuple):
                return step[0], Elements(cell, step[1])
            if step is PENDING:
                return PENDING
            cell, current = cell.rest, None
        return None

    def update(self, context: Context, event: Op) -> Generator:
        if self.current is None:
            return self
        current = self.current.update(context, event)
        return self if current is self.current else Elements(self.cell, current)


class Function(msgspec.Struct, frozen=True):
    """Calls a function for something to generate, again and again, until it returns None."""

    function: Callable[..., Any]
    takes_context: bool
    current: Generator | None
    """What the last call gave, where it is under way."""

    def op(self, context: Context) -> Step:
        if not context.free:
            return PENDING  # without a call that could do nothing, and whose result would be lost
        current: Generator | None = self.current
        for _ in range(1000):
            if current is None:
                result = self.function(context) if self.takes_context else self.function()
                if isinstance(result, Operation):
                    operation = fill(result, context)
                    return PENDING if isinstance(operation, Pending) else (operation, self._with(None))
                if result is None:
                    return None
                if isinstance(result, Pending):
                    return PENDING
                current = lift(result)
            step = current.op(context)
            if isinstance(step, tuple):
                return step[0], self._with(step[1])
            if step is PENDING:
                return PENDING
            current = None
        raise GeneratorError(f"{self.function!r} returned 1000 exhausted generators: return None to end")

    def update(self, context: Context, event: Op) -> Generator:
        return self if self.current is None else self._with(self.current.update(context, event))

    def _with(self, current: Generator | None) -> Function:
        return self if current is self.current else Function(self.function, self.takes_context, current)


class Wrapper(msgspec.Struct, frozen=True):
    """A generator around one other, which hears of everything."""

    source: Generator

    def op(self, context: Context) -> Step:
        raise NotImplementedError

    def update(self, context: Context, event: Op) -> Generator:
        source = self.source.update(context, event)
        return self if source is self.source else msgspec.structs.replace(self, source=source)


def put(sources: tuple[Generator, ...], index: int, source: Generator) -> tuple[Generator, ...]:
    """The tuple with one element replaced."""
    if sources[index] is source:
        return sources
    return (*sources[:index], source, *sources[index + 1 :])


def update_all(sources: tuple[Generator, ...], context: Context, event: Op) -> tuple[Generator, ...]:
    """Each source after the event; the same tuple if none has changed."""
    for index, source in enumerate(sources):
        updated = source.update(context, event)
        if updated is not source:
            sources = put(sources, index, updated)
    return sources
