"""Linearizability by search: any object with a sequential model, at a cost that grows with its concurrency.

Sources: J. Wing, C. Gong, "Testing and Verifying Concurrent Objects", JPDC 17, 1993 (the search); G. Lowe,
"Testing for Linearizability", CCPE 29(4), 2017 (just-in-time linearization, remembering configurations). The
reductions are argued in `checkers._configurations` and `checkers._simplify`.

Two searches take turns once the first has gone on for long; whichever ends first has the answer. One goes in
depth and remembers each configuration that it met: it finds an order soon where there are many. The other
goes by stretches of the history: it finds all configurations in which a stretch can end, forgets those
inside, and begins the next stretch from them: so its memory grows with what is open at once, not with the
history, and where crashed operations leave much choice, those who have spent few make others needless early.

Complexity: exponential in the number of operations open at once; linear in the length of the history. Time
and memory are bounded by the caller.

The state is an integer. Reads, writes and cas of a register are steps that the kernel knows; for any other
model, operations are classes of equal operations, and a table gives the state after (state, class). The table
is filled on demand: when an entry is missing, the kernel stops, and goes on once it has been added.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from checkers import _configurations as kernel
from checkers._configurations import CAS, FAILED_CAS, READ, TABLE, TABLE_READ_ONLY, WRITE
from checkers._simplify import Plan, plan_of

__all__ = [
    "CAS",
    "FAILED_CAS",
    "READ",
    "TABLE",
    "TABLE_READ_ONLY",
    "WRITE",
    "Problem",
    "Result",
    "load",
    "search",
]

_MOVES = 20_000
"""Between two looks at the clock."""
_STRETCH = 8
"""Completions in a stretch."""
_PATIENCE = 2
"""Configurations a completion that the search in depth meets before that by stretches begins."""

Ints = NDArray[np.int64]
Shorts = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Problem:
    """Operations on one object, columns of one length, in the order of their starts."""

    kind: NDArray[np.int8]
    observed: Ints
    """State that it needs (READ, CAS), or must not meet (FAILED_CAS); the class of a TABLE operation."""
    written: Ints
    """State that it leaves (WRITE, CAS)."""
    start: Ints
    finish: Ints
    """`horizon` or later: crashed, open for ever."""
    initial: int
    horizon: int

    def take(self, which: NDArray[np.bool_]) -> Problem:
        return replace(
            self,
            kind=self.kind[which],
            observed=self.observed[which],
            written=self.written[which],
            start=self.start[which],
            finish=self.finish[which],
        )

    @property
    def read_only(self) -> NDArray[np.bool_]:
        return np.isin(self.kind, (READ, FAILED_CAS, TABLE_READ_ONLY))

    def known_at(self, event: int) -> NDArray[np.bool_]:
        """The operations that matter when the event has happened: not those that begin later, nor read-only
        ones that are still open, since these tell nothing yet."""
        return (self.start <= event) & ~(self.read_only & (self.finish > event))

    def open_after(self, event: int) -> Problem:
        """The same, with everything open that finishes later."""
        return replace(self, finish=np.where(self.finish > event, self.horizon, self.finish))


Verdict = Literal["linearizable", "not linearizable", "out of time", "out of memory"]


@dataclass(frozen=True, slots=True)
class Result:
    """What a search found."""

    verdict: Verdict
    configurations: int
    stuck: int = -1
    """Unless linearizable: the position of the operation whose completion no configuration passed yet,
    however one orders what came before. -1: it is not known."""
    passed: int = 0
    """How many completions were passed, of all."""
    completions: int = 0


def search(
    problem: Problem,
    step: Callable[[int, int], int] | None = None,
    *,
    deadline: float,
    memory_bytes_max: int,
) -> Result:
    """Search until decided, until `deadline` (of time.monotonic) or until the configurations fill the memory.

    `step(state, class)` gives the state after a TABLE operation, or -1 if it is not legal there.
    """
    values = 1 + max(problem.initial, _largest(problem.observed), _largest(problem.written))
    plan = plan_of(
        problem.kind, problem.observed, problem.written, problem.start, problem.finish, problem.horizon,
        problem.initial, values,
    )  # fmt: skip
    if not len(plan.returns):
        return Result("linearizable", 0)
    steps = _Steps(plan, step)
    runs = [_Run(plan, problem.initial, steps, 0), _Run(plan, problem.initial, steps, _STRETCH)]
    outcome = _first_to_end(runs, _PATIENCE * len(plan.returns), deadline, memory_bytes_max // 2)
    passed = max(run.reached for run in runs)
    stuck = -1 if passed == len(plan.returns) else int(plan.position[plan.returns[passed]])
    return Result(
        _VERDICTS[outcome], sum(run.configurations_met for run in runs), stuck, passed, len(plan.returns)
    )


def _largest(numbers: Ints) -> int:
    return int(numbers.max(initial=0))


@cache
def load() -> None:
    """Load the kernels from their cache, or compile them, so that no deadline pays for it."""
    nothing, start = np.array([-1, -1]), np.array([0, 2])
    for problem in (
        Problem(np.full(2, TABLE, np.int8), start, nothing, start, start + 1, initial=0, horizon=4),
        Problem(
            np.array([WRITE, READ], np.int8), start - 1, -start + 1, start, start + 1, initial=0, horizon=4
        ),
    ):
        search(problem, lambda state, _: state, deadline=math.inf, memory_bytes_max=1 << 24)


def _first_to_end(runs: list[_Run], patience: int, deadline: float, memory_bytes_max: int) -> int:
    """Let the first run go on until it has met so many configurations, then all for the same time, until one
    ends."""
    spent = dict.fromkeys(runs, 0.0)
    while spent:
        began = time.monotonic()
        if began > deadline:
            return kernel.RUNNING
        first = runs[0] in spent and runs[0].configurations_met < patience
        run = runs[0] if first else min(spent, key=spent.__getitem__)
        outcome = run.go_on(memory_bytes_max)
        if outcome in (kernel.LINEARIZABLE, kernel.EXHAUSTED):
            return outcome
        spent[run] += 0.0 if first else time.monotonic() - began
        if outcome == kernel.FULL:
            del spent[run]
    return kernel.FULL


class _Steps:
    """The table of a model's steps, filled on demand."""

    def __init__(self, plan: Plan, step: Callable[[int, int], int] | None) -> None:
        self.table = np.full((1 << 8, 3), -1, np.int64)
        self._plan = plan
        self._step = step
        self._known: set[tuple[int, int]] = set()
        self._states: set[int] = set()

    def add(self, state: int, missing: int, window: Shorts) -> None:
        """Enter the step that the kernel misses; from a new state, all that are open: it will miss them
        next."""
        assert self._step is not None, "an operation of a TABLE model, and no model"
        classes = {missing}
        if state not in self._states:
            self._states.add(state)
            classes.update(self._plan.ops[window, kernel.OBSERVED].tolist())
        for class_ in classes:
            if (state, class_) not in self._known:
                self._known.add((state, class_))
                if 2 * len(self._known) > len(self.table):
                    self.table = kernel.grown_steps(self.table)
                kernel.add_step(self.table, state, class_, self._step(state, class_))


class _Run:
    """One way through the configurations: the kernel's arrays, which grow as they must."""

    def __init__(self, plan: Plan, initial: int, steps: _Steps, stretch: int) -> None:
        self._plan = plan
        self._steps = steps
        self._stretch = stretch
        self._room = plan.slots + len(plan.crashed)
        capacity = 1 << 8
        words = 1 + (plan.slots + 63) // 64 + len(plan.guards)
        self._configurations = np.zeros((capacity, words), np.uint64)
        self._configurations[0, 0] = initial
        self._links = np.full((capacity, kernel.LINK_FIELDS), -1, np.int32)
        self._index = np.full(2 * capacity, -1, np.int32)
        self._stack = np.empty((capacity + 2 * self._room, 2), np.int32)
        self._stack[0] = 0, kernel.ENTER
        self._parked = np.empty(capacity, np.int32)
        values = len(plan.values)
        self._stamps = np.zeros(plan.classes + values, np.int64)
        self._demanded = np.zeros(values, np.int32)
        registers = self._registers = np.zeros(kernel.REGISTERS, np.int64)
        registers[kernel.COUNT] = registers[kernel.SEEDS] = registers[kernel.STACKED] = 1
        registers[kernel.LIMIT] = stretch - 1
        at_once = np.flatnonzero(plan.ops[:, kernel.BEGIN] == 0)
        self._window = np.zeros(plan.slots, np.int32)
        self._window[: len(at_once)] = at_once[np.argsort(plan.ops[at_once, kernel.RANK])]
        registers[kernel.OPEN] = len(at_once)

    @property
    def reached(self) -> int:
        """The furthest frontier."""
        return int(self._registers[kernel.REACHED])

    @property
    def configurations_met(self) -> int:
        registers = self._registers
        return int(registers[kernel.ENTERED] + registers[kernel.COUNT] - registers[kernel.SEEDS])

    def go_on(self, memory_bytes_max: int) -> int:
        """Make so many moves: RUNNING; or fewer: LINEARIZABLE, EXHAUSTED, or FULL: it needs more memory."""
        plan, registers = self._plan, self._registers
        while True:
            outcome: int = kernel.run(
                plan.ops, plan.returns, plan.begins, plan.begun, plan.crashed, plan.begins_crashed,
                plan.makers, plan.makers_from, plan.values, plan.guards, self._configurations, self._links,
                self._index, self._stack, self._parked, self._window, self._stamps, self._demanded,
                self._steps.table, registers, self._stretch, _MOVES,
            )  # fmt: skip
            if outcome == kernel.FULL:
                if not self._grow(memory_bytes_max):
                    return outcome
            elif outcome == kernel.MISSING:
                window = self._window[: registers[kernel.OPEN]]
                state, class_ = registers[kernel.MISSING_STATE], registers[kernel.MISSING_CLASS]
                self._steps.add(int(state), int(class_), window)
            else:
                return outcome

    def _grow(self, memory_bytes_max: int) -> bool:
        """Make room where there is none; False if that takes more memory than there may be."""
        count, stacked = int(self._registers[kernel.COUNT]), int(self._registers[kernel.STACKED])
        arrays = (self._configurations, self._links, self._index, self._stack, self._parked)
        if 2 * sum(array.nbytes for array in arrays) > memory_bytes_max:
            return False
        if count == len(self._configurations):
            self._configurations = _larger(self._configurations)
            self._links = _larger(self._links)
            self._parked = _larger(self._parked)
        if 2 * count >= len(self._index):
            self._index = np.full(2 * len(self._index), -1, np.int32)
            kernel.reindex(self._configurations, self._links, self._index, self._plan.guards, self._registers)
        if len(self._stack) < max(stacked, len(self._configurations)) + self._room:
            self._stack = _larger(self._stack)
        return True


_VERDICTS: Mapping[int, Verdict] = {
    kernel.LINEARIZABLE: "linearizable",
    kernel.EXHAUSTED: "not linearizable",
    kernel.FULL: "out of memory",
    kernel.RUNNING: "out of time",
}


def _larger(array: NDArray[Any]) -> NDArray[Any]:
    """The array with twice the room."""
    return np.concatenate([array, np.empty_like(array)])
