"""The smallest part of a history that no order explains, as far as a few seconds let one see.

Only cuts are made that leave a history linearizable if it was: so a part that is not linearizable proves that
the whole is not.
- What comes after an event is cut: what is open there may then happen at any time, or never.
- Of a register, what completes before an event is cut, if whatever the register may have held then does not
  help; what is open at the event may then have happened before, and read-only operations that began before
  say nothing.
- Read-only operations are dropped, and those that write a value which nobody else observes. (Not if a failed
  cas counts, which observes that another value is gone.)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from checkers._search import FAILED_CAS, TABLE, Problem, search

SECONDS = 5.0
_SEARCH_SECONDS = 1.0
_SEARCH_BYTES = 256 << 20
_VALUES_MAX = 40
"""So many values that the register may have held at the beginning are tried."""

Step = Callable[[int, int], int] | None
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Part:
    """Some operations of a problem, by position."""

    operations: NDArray[np.int64]
    stuck: int
    """The one that completes last: without its completion, they are linearizable."""
    from_start: bool
    """Whether the history's beginning is in it. If not, it holds whatever the object's state was before."""


def smallest(problem: Problem, step: Step, stuck: int) -> Part:
    """A part of a problem that is not linearizable, near the completion of `stuck`."""
    return _Shrinking(problem, step).part(stuck)


class _Shrinking:
    """One problem, and the time that is left for it. Cuts are between two events, from and to."""

    def __init__(self, problem: Problem, step: Step) -> None:
        self.problem = problem
        self.step = step
        self.deadline = time.monotonic() + SECONDS
        self.register = not len(problem.kind) or problem.kind[0] < TABLE
        completions = np.sort(problem.finish[problem.finish < problem.horizon])
        self.ends: NDArray[np.int64] = completions

    def part(self, stuck: int) -> Part:
        near = int(np.searchsorted(self.ends, self.problem.finish[stuck]))
        first, last = self._bounds(near)
        begin = -1 if first <= 0 else int(self.ends[first - 1])
        end = int(self.ends[last])
        chosen = self._dropped(begin, end, self._within(begin, end))
        ending = np.where(chosen & (self.problem.finish <= end), self.problem.finish, -1)
        return Part(np.flatnonzero(chosen), int(np.argmax(ending)), begin < 0)

    def _bounds(self, near: int) -> tuple[int, int]:
        """The first and the last completion of a short stretch that is not linearizable."""
        count = len(self.ends)
        if not self.register:
            # The kernel looks ahead only for registers: here it is stuck where the violation is.
            return 0, near
        reach = 8
        while True:
            first, last = max(near - reach, 0), min(near + reach, count - 1)
            whole = first == 0 and last == count - 1
            if whole or self._broken_between(first, last):
                break
            reach *= 4
        low, high = first - 1, last  # up to `high` it is broken, up to `low` it is not
        while high - low > 1 and self._time_left():
            middle = (low + high) // 2
            if self._broken_between(first, middle):
                high = middle
            else:
                low = middle
        last = high
        low, high = first, last + 1
        while high - low > 1 and self._time_left():
            middle = (low + high) // 2
            if self._broken_between(middle, last):
                low = middle
            else:
                high = middle
        return low, last

    def _broken_between(self, first: int, last: int) -> bool:
        begin = -1 if first <= 0 else int(self.ends[first - 1])
        end = int(self.ends[last])
        return self._broken(begin, end, self._within(begin, end))

    def _within(self, begin: int, end: int) -> Mask:
        """The operations that tell something of the time between two events."""
        problem = self.problem
        within = (problem.start <= end) & (problem.finish > begin)
        return within & ~(problem.read_only & ((problem.finish > end) | (problem.start < begin)))

    def _broken(self, begin: int, end: int, chosen: Mask) -> bool:
        """Whether no order explains these operations, whatever came before."""
        problem = self.problem
        optional = (problem.finish > end) | (problem.start < begin)
        part = replace(problem, finish=np.where(optional, problem.horizon, problem.finish)).take(chosen)
        if begin < 0:
            states = [problem.initial]
        else:
            # Of the values that nobody observes, one stands for all.
            nobodys = 1 + max(int(problem.observed.max()), int(problem.written.max()), problem.initial)
            states = np.unique([*part.observed[part.observed >= 0], problem.initial, nobodys]).tolist()
        if len(states) > _VALUES_MAX:
            return False
        for state in states:
            result = search(
                replace(part, initial=state),
                self.step,
                deadline=min(self.deadline, time.monotonic() + _SEARCH_SECONDS),
                memory_bytes_max=_SEARCH_BYTES,
            )
            if result.verdict != "not linearizable":
                return False
        return True

    def _dropped(self, begin: int, end: int, chosen: Mask) -> Mask:
        """Fewer of the chosen operations, still not linearizable: drops halves, quarters, ... and single
        ones."""
        size = len(chosen)
        while size and self._time_left():
            candidates = self._droppable(chosen)[::-1]
            size = min(size, len(candidates))
            dropped = False
            for at in range(0, len(candidates), max(size, 1)):
                attempt = chosen.copy()
                attempt[candidates[at : at + size]] = False
                if self._broken(begin, end, attempt):
                    chosen = attempt
                    dropped = True
                if not self._time_left():
                    break
            if not dropped or size > 1:
                size //= 2
        return chosen

    def _droppable(self, chosen: Mask) -> NDArray[np.int64]:
        problem = self.problem
        candidates = problem.read_only & chosen
        if self.register and not (problem.kind[chosen] == FAILED_CAS).any():
            candidates |= (
                chosen & (problem.written >= 0) & ~np.isin(problem.written, problem.observed[chosen])
            )
        return np.flatnonzero(candidates)

    def _time_left(self) -> bool:
        return time.monotonic() < self.deadline
