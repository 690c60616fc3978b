"""Linearizability of a queue, first in, first out, in linear time; and of one without an order.

Source: T. Henzinger, A. Sezgin, V. Vafeiadis, "Aspect-Oriented Linearizability Proofs", CONCUR 2013 (the four
violations of a queue with unique elements); Lee & Mathur 2025 for a log-linear algorithm. The treatment of
crashed dequeues is argued here; the rest of what is needed in `_containers`.

Theory
------
With unique elements and no crashes, a history is a queue's iff every dequeued element was enqueued, once, and
not later; every dequeue that found nothing had a moment with nothing certainly inside; and no element
*overtook* another: a and b are in no wrong order if not (a's enqueue finished before b's began, and b's
dequeue finished before a's began, or a stayed inside).

*Crashed dequeues* (exact). A missing element a must have been taken by a crashed dequeue that had begun
before any b that was certainly enqueued after a was dequeued, and before any moment at which the queue is
found empty with a certainly in it. Each such event asks that of all elements whose enqueues finished before a
certain moment: of those missing, in the order of their enqueues' finishes, it asks for the first so many. So
the i-th missing element may be given the i-th crashed dequeue, and each event may be looked at alone: as many
crashed dequeues must have begun before it ends as it asks for.

Without an order (Knossos's unordered-queue) nothing overtakes, and the rest is the same.

Complexity: O(n) time and memory for n operations, but for one hash table.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from checkers.models import UnorderedQueue
from checkers.monitors import Calls, Violation
from checkers.monitors._containers import Container, Moments, container, emptiness, empty_moments


def monitor(calls: Calls) -> Violation | None:
    """What is wrong with a queue's history. Raises Ambiguous."""
    box = container(calls)
    if isinstance(box, Violation):
        return box
    wrong = None if isinstance(calls.model, UnorderedQueue) else _overtaking(box)
    return wrong or emptiness(box, empty_moments(box))


def _overtaking(box: Container) -> Violation | None:
    elements = box.elements
    takers = np.searchsorted(box.crashed_start, elements.take_finish)
    first, second = overtaken(
        elements.put_start, elements.put_finish, elements.take_start, elements.take_finish,
        elements.missing, takers, box.calls.horizon,
    )  # fmt: skip
    if second < 0:
        return None
    if first >= 0:
        summary = (
            f"{box.take_of(second)} before {box.take_of(first)} began, but {box.name(first)} was in first: "
            f"{box.put_of(first)} was over before {box.put_of(second)} began."
        )
        shown = box.operations_of([first, second])
        return box.calls.violation("Out of order", summary, shown, int(elements.take[second]))
    earlier = np.flatnonzero(elements.missing & (elements.put_finish < elements.put_start[second]))
    earlier = earlier[np.argsort(elements.put_finish[earlier])][: takers[second] + 1].tolist()
    crashed = box.crashed_before(int(elements.take_finish[second]))
    summary = (
        f"{box.take_of(second)}, but {box.missing_text(earlier, crashed)}, and all that was in before "
        f"{box.name(second)} was: {box.put_of(second)}."
    )
    shown = [*box.operations_of([*earlier, second]), *crashed]
    return box.calls.violation("Lost element", summary, shown, int(elements.take[second]))


@njit(cache=True, nogil=True)
def overtaken(
    put_start: Moments,
    put_finish: Moments,
    take_start: Moments,
    take_finish: Moments,
    missing: NDArray[np.bool_],
    takers: NDArray[np.int64],
    horizon: int,
) -> tuple[int, int]:
    """The element that was overtaken, and the one that overtook it; -1 for the former: missing ones were, by
    one for which there were only so many `takers`; -1 for the latter: there is none."""
    finishing = np.full(horizon, -1, np.int64)
    for element in range(len(put_start)):
        finishing[put_finish[element]] = element
    latest = -1
    waiting = moment = 0
    for element in range(len(put_start)):
        while moment < put_start[element]:
            earlier = finishing[moment]
            if earlier >= 0 and missing[earlier]:
                waiting += 1
            elif earlier >= 0 and (latest < 0 or take_start[earlier] > take_start[latest]):
                latest = earlier
            moment += 1
        if missing[element]:
            continue
        if waiting > takers[element]:
            return -1, element
        if latest >= 0 and take_start[latest] > take_finish[element]:
            return latest, element
    return -1, -1
