"""Linearizability by search: any object with a sequential model, at a cost that grows with its concurrency.

Sources: J. Wing, C. Gong, "Testing and Verifying Concurrent Objects", JPDC 17, 1993 (the search); G. Lowe,
"Testing for Linearizability", CCPE 29(4), 2017 (just-in-time linearization, and remembering configurations).

Theory
------
Take completions in their order. Before the first one not yet passed (the *frontier*) its
operation must be linearized, after some of the other operations that are open there; nothing that begins
later can come before. So a configuration is (frontier, which of the operations open there are linearized,
state), and its size depends on how many operations are open at once, not on the length of the history. Each
open operation has a slot, free again after its completion; the set is a bit mask over slots. Depth first;
configurations met before are not entered again.

Two reductions, both exact:
- A read-only operation (it never changes the state) that is legal now is linearized now: the rest of any
  linearization that has it later is the same without it.
- Crashed operations that are equal but for their start stay open for ever: the one that began first goes
  first.

Complexity: exponential in the number of operations open at once; memory 8 bytes x (1 + words of the mask) a
configuration. Both are bounded by the caller: `run` returns when its steps are used up, and can be called
again.

The state is an integer. Reads, writes and cas of a register are steps known here; for any other model,
operations are classes of equal operations, and a table gives the state after (state, class). The table is
filled on demand: when an entry is missing, the search stops, and goes on once it has been added.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

READ, WRITE, CAS, FAILED_CAS, TABLE, TABLE_READ_ONLY = range(6)

_RUNNING, _LINEARIZABLE, _STUCK, _FULL, _MISSING = range(5)
_ILLEGAL, _UNKNOWN_STEP = -1, -2
_EMPTY = -1

# Positions in the search's registers, an int64 array, so that it can stop and go on.
_DEPTH, _ENTERED, _COUNT, _FURTHEST, _MISSING_STATE, _MISSING_CLASS, _REGISTERS = range(7)


@dataclass(frozen=True, slots=True)
class Problem:
    """Operations on one object, columns of one length, in the order of their starts."""

    kind: NDArray[np.int8]
    observed: NDArray[np.int64]
    """State that it needs (READ, CAS), or must not meet (FAILED_CAS); the class of a TABLE operation."""
    written: NDArray[np.int64]
    """State that it leaves (WRITE, CAS)."""
    start: NDArray[np.int64]
    finish: NDArray[np.int64]
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


@dataclass(frozen=True, slots=True)
class Result:
    """`stuck`: of a history that is not linearizable, the position of the operation at whose completion no
    configuration was left, however one orders what came before."""

    verdict: Literal["linearizable", "not linearizable", "out of time", "out of memory"]
    configurations: int
    stuck: int = -1


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
    kind, horizon = problem.kind, problem.horizon
    returns = np.flatnonzero(problem.finish < horizon)
    returns = returns[np.argsort(problem.finish[returns], kind="stable")]
    if not len(returns):
        return Result("linearizable", 0)
    slot, slots, total_open = _slots(problem.start, problem.finish, returns, horizon)
    words = (slots + 63) // 64
    frames = len(kind) + 1
    if 8 * (total_open + frames * (words + 3)) > memory_bytes_max:
        return Result("out of memory", 0)
    open_from, open_ops = _open_operations(problem.start, problem.finish, returns, horizon, total_open)
    twin = _twins(kind, problem.observed, problem.written, problem.finish, horizon)
    registers = np.zeros(_REGISTERS, np.int64)
    stack = np.zeros((frames, 3), np.int64)  # frontier, state, position among the open operations
    stack[0, 1] = problem.initial
    masks = np.zeros((frames, words), np.uint64)
    table = np.full((1 << 12, words + 1), _EMPTY, np.int64)
    steps = np.full((1 << 10, 3), _EMPTY, np.int64)
    known = 0
    while True:
        outcome = _run(
            kind, problem.observed, problem.written, slot, twin, returns, open_from, open_ops,
            registers, stack, masks, table, steps, 200_000,
        )  # fmt: skip
        count = int(registers[_COUNT])
        if outcome == _LINEARIZABLE:
            return Result("linearizable", count)
        if outcome == _STUCK:
            return Result("not linearizable", count, int(returns[registers[_FURTHEST]]))
        if outcome == _FULL:
            if 3 * table.nbytes > memory_bytes_max:
                return Result("out of memory", count)
            table = _grown(table)
        elif outcome == _MISSING:
            assert step is not None, "an operation of a TABLE model, and no model"
            state, class_ = int(registers[_MISSING_STATE]), int(registers[_MISSING_CLASS])
            if 2 * known >= len(steps):
                steps = _grown_steps(steps)
            _add_step(steps, state, class_, step(state, class_))
            known += 1
            if known & 1023:
                continue
        if time.monotonic() > deadline:
            return Result("out of time", count)


def load() -> None:
    """Load the kernels from their cache, or compile them, so that no deadline pays for it."""
    one = np.zeros(1, np.int64)
    problem = Problem(np.full(1, TABLE, np.int8), one, one, one, one + 1, initial=0, horizon=2)
    search(problem, lambda state, _: state, deadline=math.inf, memory_bytes_max=1 << 20)


def _twins(
    kind: NDArray[np.int8],
    observed: NDArray[np.int64],
    written: NDArray[np.int64],
    finish: NDArray[np.int64],
    horizon: int,
) -> NDArray[np.int64]:
    """For each crashed operation, the equal one that began before it, or -1."""
    twin = np.full(len(kind), -1, np.int64)
    last: dict[tuple[int, int, int], int] = {}
    for i in np.flatnonzero(finish >= horizon).tolist():
        same = (int(kind[i]), int(observed[i]), int(written[i]))
        twin[i] = last.get(same, -1)
        last[same] = i
    return twin


@njit(cache=True, nogil=True)
def _slots(
    start: NDArray[np.int64], finish: NDArray[np.int64], returns: NDArray[np.int64], horizon: int
) -> tuple[NDArray[np.int64], int, int]:
    """A slot for each operation while it is open; how many there are; the open operations of all
    frontiers."""
    slot = np.empty(len(start), np.int64)
    free = np.empty(len(start), np.int64)
    freed = used = passed = total = opened = 0
    for i in range(len(start)):
        while passed < len(returns) and finish[returns[passed]] < start[i]:
            total += opened - passed
            free[freed] = slot[returns[passed]]
            freed += 1
            passed += 1
        if freed:
            freed -= 1
            slot[i] = free[freed]
        else:
            slot[i] = used
            used += 1
        opened += 1
    while passed < len(returns):
        total += opened - passed
        passed += 1
    return slot, used, total


@njit(cache=True, nogil=True)
def _open_operations(
    start: NDArray[np.int64],
    finish: NDArray[np.int64],
    returns: NDArray[np.int64],
    horizon: int,
    total: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The operations open at each frontier, the next to complete first:
    open_ops[open_from[r]:open_from[r+1]]."""
    open_from = np.zeros(len(returns) + 1, np.int64)
    open_ops = np.empty(total, np.int64)
    current = np.empty(len(start), np.int64)  # open operations by finish
    count = begun = position = 0
    for r in range(len(returns)):
        while begun < len(start) and start[begun] < finish[returns[r]]:
            at = count
            while at > 0 and finish[current[at - 1]] > finish[begun]:
                current[at] = current[at - 1]
                at -= 1
            current[at] = begun
            count += 1
            begun += 1
        for i in range(count):
            open_ops[position] = current[i]
            position += 1
        open_from[r + 1] = position
        for i in range(1, count):
            current[i - 1] = current[i]
        count -= 1
    return open_from, open_ops


@njit(cache=True, nogil=True)
def _hash(words: NDArray[np.int64]) -> np.uint64:
    mixed = np.uint64(0)
    for word in words:
        mixed = (mixed ^ np.uint64(word)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(32)
    return mixed


@njit(cache=True, nogil=True)
def _slot_of(table: NDArray[np.int64], entry: NDArray[np.int64]) -> np.int64:
    """Where the entry is in the table, or the empty place where it belongs."""
    last = np.uint64(len(table) - 1)
    place = np.int64(_hash(entry) & last)
    while table[place, 0] != _EMPTY:
        same = True
        for i in range(len(entry)):
            if table[place, i] != entry[i]:
                same = False
                break
        if same:
            return place
        place = (place + 1) & np.int64(last)
    return place


@njit(cache=True, nogil=True)
def _grown(table: NDArray[np.int64]) -> NDArray[np.int64]:
    larger = np.full((2 * table.shape[0], table.shape[1]), _EMPTY, np.int64)
    for entry in table:
        if entry[0] != _EMPTY:
            larger[_slot_of(larger, entry)] = entry
    return larger


@njit(cache=True, nogil=True)
def _add_step(steps: NDArray[np.int64], state: int, class_: int, after: int) -> None:
    place = _slot_of(steps, np.array([state, class_], np.int64))
    steps[place, 0], steps[place, 1], steps[place, 2] = state, class_, after


@njit(cache=True, nogil=True)
def _grown_steps(steps: NDArray[np.int64]) -> NDArray[np.int64]:
    larger = np.full((2 * steps.shape[0], 3), _EMPTY, np.int64)
    for entry in steps:
        if entry[0] != _EMPTY:
            larger[_slot_of(larger, entry[:2])] = entry
    return larger


@njit(cache=True, nogil=True)
def _step(kind: int, observed: int, written: int, state: int, steps: NDArray[np.int64]) -> int:
    """The state after the operation, _ILLEGAL, or _UNKNOWN_STEP."""
    if kind == READ:
        return state if state == observed else _ILLEGAL
    if kind == WRITE:
        return written
    if kind == CAS:
        return written if state == observed else _ILLEGAL
    if kind == FAILED_CAS:
        return state if state != observed else _ILLEGAL
    place = _slot_of(steps, np.array([state, observed], np.int64))
    return steps[place, 2] if steps[place, 0] != _EMPTY else _UNKNOWN_STEP


@njit(cache=True, nogil=True)
def _run(
    kind: NDArray[np.int8],
    observed: NDArray[np.int64],
    written: NDArray[np.int64],
    slot: NDArray[np.int64],
    twin: NDArray[np.int64],
    returns: NDArray[np.int64],
    open_from: NDArray[np.int64],
    open_ops: NDArray[np.int64],
    registers: NDArray[np.int64],
    stack: NDArray[np.int64],
    masks: NDArray[np.uint64],
    table: NDArray[np.int64],
    steps: NDArray[np.int64],
    budget: int,
) -> int:
    """Search on from where `registers` and the stack say, for at most `budget` frames."""
    one = np.uint64(1)
    words = masks.shape[1]
    entry = np.empty(words + 1, np.int64)
    for _ in range(budget):
        depth = registers[_DEPTH]
        if depth < 0:
            return _STUCK
        mask = masks[depth]
        if registers[_ENTERED] == 0:
            # Linearize what is read-only and legal, and pass every completion whose operation is linearized.
            settled = False
            while not settled:
                settled = True
                frontier, state = stack[depth, 0], stack[depth, 1]
                for at in range(open_from[frontier], open_from[frontier + 1]):
                    op = open_ops[at]
                    word, bit = slot[op] >> 6, one << np.uint64(slot[op] & 63)
                    read_only = kind[op] == READ or kind[op] == FAILED_CAS or kind[op] == TABLE_READ_ONLY
                    if not read_only or mask[word] & bit:
                        continue
                    after = _step(kind[op], observed[op], written[op], state, steps)
                    if after == _UNKNOWN_STEP:
                        registers[_MISSING_STATE], registers[_MISSING_CLASS] = state, observed[op]
                        return _MISSING
                    if after != _ILLEGAL:
                        mask[word] |= bit
                while frontier < len(returns):
                    op = returns[frontier]
                    word, bit = slot[op] >> 6, one << np.uint64(slot[op] & 63)
                    if not mask[word] & bit:
                        break
                    mask[word] &= ~bit
                    frontier += 1
                    settled = False
                stack[depth, 0] = frontier
                if frontier == len(returns):
                    return _LINEARIZABLE
            registers[_FURTHEST] = max(registers[_FURTHEST], frontier)
            if 2 * registers[_COUNT] >= len(table):
                return _FULL
            entry[0] = (frontier << 32) | stack[depth, 1]
            for i in range(words):
                entry[1 + i] = np.int64(mask[i])
            place = _slot_of(table, entry)
            if table[place, 0] != _EMPTY:
                registers[_DEPTH] -= 1
                registers[_ENTERED] = 1
                continue
            table[place] = entry
            registers[_COUNT] += 1
            registers[_ENTERED] = 1
            stack[depth, 2] = open_from[frontier]

        frontier, state, at = stack[depth, 0], stack[depth, 1], stack[depth, 2]
        descended = False
        while at < open_from[frontier + 1] and not descended:
            op = open_ops[at]
            word, bit = slot[op] >> 6, one << np.uint64(slot[op] & 63)
            usable = not mask[word] & bit
            if usable and twin[op] >= 0:
                other = slot[twin[op]]
                usable = (mask[other >> 6] & (one << np.uint64(other & 63))) != 0
            if usable and kind[op] != READ and kind[op] != FAILED_CAS and kind[op] != TABLE_READ_ONLY:
                after = _step(kind[op], observed[op], written[op], state, steps)
                if after == _UNKNOWN_STEP:
                    stack[depth, 2] = at
                    registers[_MISSING_STATE], registers[_MISSING_CLASS] = state, observed[op]
                    return _MISSING
                if after != _ILLEGAL:
                    for i in range(words):
                        masks[depth + 1, i] = mask[i]
                    masks[depth + 1, word] |= bit
                    stack[depth + 1, 0], stack[depth + 1, 1] = frontier, after
                    descended = True
            at += 1
        stack[depth, 2] = at
        if descended:
            registers[_DEPTH] += 1
            registers[_ENTERED] = 0
        else:
            registers[_DEPTH] -= 1
    return _RUNNING
