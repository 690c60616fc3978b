"""How long it takes to check that queues, stacks, sets and mutexes are linearizable.

    python -m benchmarks.datatypes [--operations 10000 100000 1000000] [--types queue stack ...] [--search]

Prints a table, one row a history: seconds for the whole check with its evidence (the best of three, without
reading the history, and with the kernels loaded). With `--search`, also the seconds of the general search on
the same history, up to a minute: it is what decides where no near-linear algorithm is known.

The histories are those of an object under N clients: think time and latency both exponential with a mean of
1 ms, so that N/2 operations are open at once; a linearization point uniform in the operation's interval. With
crash rate p an operation crashes: its client waits 5 ms and goes on as a new process; half of what crashed is
never applied, 40 % in time, 10 % late. Queues and stacks: half puts, of unique elements. Sets: as many adds,
removes and contains of n/10 elements; each tells what it changed. Mutexes: an acquire of a lock that is free,
a release of one that is not. In a bad history, two dequeues (pops) of halfway have their elements exchanged,
one contains is turned into its contrary, or every tenth release of the second half is an acquire.
"""

from __future__ import annotations

import argparse
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checkers.linearizable import Linearizable
from checkers.models import Mutex, Queue, Set, Stack
from harness.history import History, Op, OpType

SEARCH_SECONDS = 60.0


class SearchedQueue(Queue):
    """The same as a model of one's own: so it is searched."""


class SearchedStack(Stack):
    """The same for stacks."""


class SearchedSet(Set):
    """The same for sets."""


class SearchedMutex(Mutex):
    """The same for mutexes."""


@dataclass(slots=True)
class Run:
    """Operations in the order of their linearization points."""

    begin: list[float]
    end: list[float]
    crashed: list[bool]
    applied: list[bool]
    chance: list[float]
    """A random number for each."""
    f: list[str]
    argument: list[Any]
    result: list[Any]


def generate(
    type_: str, operations: int, *, clients: int, crash_rate: float, bad: bool, seed: int
) -> History:
    """A history as above; about `operations` of them."""
    random = np.random.default_rng(seed)
    shape = (clients, operations // clients)
    latency = random.exponential(1e6, shape)
    crashed = random.random(shape) < crash_rate
    pause = np.where(crashed, 5e6, latency) + random.exponential(1e6, shape)
    begin = np.cumsum(pause, axis=1) - pause + random.exponential(1e6, (clients, 1))
    process = np.arange(clients)[:, None] + clients * (np.cumsum(crashed, axis=1) - crashed)
    fate = random.random(shape)
    point = np.where(crashed & (fate < 0.1), begin + 50 * latency, begin + latency * random.random(shape))
    end = begin + np.where(crashed, 5e6, latency)
    order = np.argsort(point, axis=None)

    def ordered(column: NDArray[Any]) -> list[Any]:
        return column.ravel()[order].tolist()  # type: ignore[no-any-return]

    none = [None] * len(order)
    run = Run(
        ordered(begin), ordered(end), ordered(crashed), ordered(~crashed | (fate < 0.5)),
        random.random(len(order)).tolist(), [""] * len(order), [*none], [*none],
    )  # fmt: skip
    TYPES[type_](run)
    if bad:
        SPOILED[type_](run)
    return _history(run, ordered(process))


def _history(run: Run, process: list[int]) -> History:
    count = len(process)
    times = np.array(run.begin + run.end)
    order = np.argsort(times, kind="stable")
    ops: list[Op] = []
    for index, (event, at) in enumerate(zip(order.tolist(), times[order].tolist(), strict=True)):
        op, ended = event % count, event >= count
        kind: OpType = "invoke" if not ended else "info" if run.crashed[op] else "ok"
        value = run.argument[op] if kind == "invoke" else run.result[op] if kind == "ok" else None
        ops.append(Op(index, int(at), kind, process[op], run.f[op], None, value))
    return History(ops)


# --- The objects ---------------------------------------------------------------------------------------


def _container(run: Run, put: str, take: str, taken: Callable[[deque[int]], int]) -> None:
    inside: deque[int] = deque()
    for i, chance in enumerate(run.chance):
        run.f[i] = put if chance < 0.5 else take
        if chance < 0.5:
            run.argument[i] = run.result[i] = i
            if run.applied[i]:
                inside.append(i)
        elif run.applied[i] and inside:
            run.result[i] = taken(inside)


def _set(run: Run) -> None:
    inside: set[int] = set()
    elements = max(len(run.f) // 10, 1)
    for i, chance in enumerate(run.chance):
        element, f = int(chance * 3 * elements) % elements, ("add", "remove", "contains")[int(chance * 3)]
        run.f[i], run.argument[i] = f, element
        run.result[i] = (element in inside) == (f != "add")
        if run.applied[i] and f != "contains" and run.result[i]:
            inside ^= {element}


def _mutex(run: Run) -> None:
    held = False
    for i in range(len(run.f)):
        run.f[i] = "release" if held else "acquire"
        held ^= run.applied[i]


TYPES: dict[str, Callable[[Run], None]] = {
    "queue": lambda run: _container(run, "enqueue", "dequeue", deque.popleft),
    "stack": lambda run: _container(run, "push", "pop", deque.pop),
    "set": _set,
    "mutex": _mutex,
}


def _exchange(run: Run, stack: bool) -> None:
    """Exchange what two takes got, so that it certainly is in the wrong order."""
    takes = [i for i, f in enumerate(run.f) if f in ("dequeue", "pop") and not run.crashed[i]]
    takes = [i for i in takes if run.result[i] is not None and not run.crashed[run.result[i]]]
    for at in range(len(takes) // 2, len(takes)):
        for other in takes[at + 1 : at + 500]:
            one = takes[at]
            # Of a queue, the first is the older one; of a stack, the second.
            older, newer = (other, one) if stack else (one, other)
            older_put, newer_put = run.result[older], run.result[newer]
            if (
                run.end[older_put] < run.begin[newer_put]
                and run.end[newer_put] < run.begin[one]
                and run.end[one] < run.begin[other]
            ):
                run.result[one], run.result[other] = run.result[other], run.result[one]
                return
    raise ValueError("no two takes that are certainly one after the other")


def _turn_contains(run: Run) -> None:
    """Turn one answer into its contrary, where nothing else happened to the element meanwhile."""
    by_element: dict[int, list[int]] = {}
    for i, element in enumerate(run.argument):
        by_element.setdefault(element, []).append(i)
    for i in range(len(run.f) // 2, len(run.f)):
        others = [one for one in by_element[run.argument[i]] if one != i]
        apart = all(run.end[one] < run.begin[i] or run.begin[one] > run.end[i] for one in others)
        if (
            run.f[i] == "contains"
            and not run.crashed[i]
            and apart
            and not any(run.crashed[one] for one in others)
        ):
            run.result[i] = not run.result[i]
            return
    raise ValueError("no contains without others at the same time")


def _acquire_again(run: Run) -> None:
    releases = [i for i in range(len(run.f) // 2, len(run.f)) if run.f[i] == "release"]
    for i in releases[::10]:
        run.f[i] = "acquire"


SPOILED: dict[str, Callable[[Run], None]] = {
    "queue": lambda run: _exchange(run, stack=False),
    "stack": lambda run: _exchange(run, stack=True),
    "set": _turn_contains,
    "mutex": _acquire_again,
}


# --- The table -----------------------------------------------------------------------------------------


def seconds(model: str, history: History, bad: bool, times: int = 3) -> str:
    """The best of so many checks; or what the verdict is, if not the right one."""
    taken: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        verdict = Linearizable(model, time_limit=SEARCH_SECONDS).check(history)
        taken.append(time.perf_counter() - began)
        if verdict.valid == "unknown":
            return "unknown"
        assert verdict.valid == ("invalid" if bad else "valid"), verdict.summary
    return f"{min(taken):.3f}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--operations", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--types", nargs="+", choices=TYPES, default=list(TYPES))
    parser.add_argument("--search", action="store_true")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(arguments)
    print("type   clients  crash  kind  operations  check s  search s")
    for type_, clients, crash_rate, bad in product(options.types, (10, 100), (0.0, 0.01), (False, True)):
        setting = {"clients": clients, "crash_rate": crash_rate, "bad": bad, "seed": options.seed}
        Linearizable(type_).check(generate(type_, 2_000, **setting))  # loads the kernels
        for operations in options.operations:
            history = generate(type_, operations, **setting)
            checked, searched = seconds(type_, history, bad), "-"
            if options.search:
                own = f"benchmarks.datatypes:Searched{type_.title()}"
                searched = seconds(own, history, bad, times=1)
            print(
                f"{type_:<6} {clients:>7} {crash_rate:>6.1%} {'bad' if bad else 'good':>5} "
                f"{len(history.operations):>11} {checked:>8} {searched:>9}",
                flush=True,
            )


if __name__ == "__main__":
    main()
