"""Linearizability of a semaphore, and of a mutex, whoever holds it: in linear time.

Source: argued in `_switches`. Crashed acquires and releases are decided exactly: they may happen late or
never.

Complexity: O(n) time and memory for n operations, and O(operations open at once) for each helper.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from checkers.models import Semaphore
from checkers.monitors import Calls, Violation
from checkers.monitors._switches import DOWN, UP, first_stuck


def monitor(calls: Calls) -> Violation | None:
    """What is wrong with a semaphore's history."""
    model = calls.model
    assert isinstance(model, Semaphore)
    kind = np.where(calls.are("acquire"), UP, DOWN).astype(np.int8)
    nobody = np.zeros(len(calls), np.int64)
    stuck = first_stuck(kind, nobody, calls.start, calls.finish, 1, model.permits, calls.horizon)
    if stuck < 0:
        return None
    rising = bool(kind[stuck] == UP)
    same, opposite = _window(calls, kind, int(stuck), model.permits)
    listed = "; ".join(calls.describe(at) for at in same[-4:])
    if len(same) > 4:
        listed = f"{len(same)} times {'acquired' if rising else 'released'}: ... {listed}"
    others = f"only {len(opposite)} operations" if opposite else "nobody"
    if not rising:
        summary = f"{listed}; and {others} can have acquired it before."
        return calls.violation("Released while free", summary, [*same, *opposite], int(stuck))
    permits = "" if model.permits == 1 else f"there are {model.permits} permits, "
    name = "Two holders at once" if model.permits == 1 else "Too many holders"
    summary = f"{listed}; {permits}and {others} can have released it in between."
    return calls.violation(name, summary, [*same, *opposite], int(stuck))


def _window(calls: Calls, kind: NDArray[np.int8], stuck: int, permits: int) -> tuple[list[int], list[int]]:
    """The shortest time before the completion of `stuck` in which more operations of its kind happened than
    the opposite ones that were open then, and the permits, allow: both."""
    end = int(calls.finish[stuck])
    side = kind[stuck]
    same = np.flatnonzero((kind == side) & (calls.finish <= end))
    opposite = np.flatnonzero((kind != side) & (calls.start < end))
    # By the moment at which the time begins, the latest first.
    begins = np.sort(calls.start[same])[::-1]
    within = np.arange(1, len(begins) + 1)
    finishes = np.sort(calls.finish[opposite])
    open_then = len(opposite) - np.searchsorted(finishes, begins)
    excess = np.flatnonzero(within - open_then > permits)
    begin = int(begins[excess[0]]) if len(excess) else -1  # -1: since the beginning
    same, opposite = same[calls.start[same] >= begin], opposite[calls.finish[opposite] > begin]
    return same.tolist(), opposite.tolist()
