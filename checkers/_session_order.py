"""Kernels of `checkers.sessions` and `checkers.servers`: what sessions saw against the order of versions.

A *session* is anything whose operations have an order: one comes before another if it completed before the
other was invoked. A process does one thing at a time; on a server many may overlap. Operations are named by
their position in the columns of `Registers`; what the columns `by`, `since`, `number`, `over` mean is
explained in `checkers._versions`. Here they are given per operation: of the version that it observed, and of
the one that it wrote; `horizon`, -1 and -1 where nothing is known.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

RYW, MR, MW, WFR, PREFIX = range(5)
"""Read your writes, monotonic reads, monotonic writes, writes follow reads, consistent prefix."""


@njit(cache=True, nogil=True)
def pairs(
    session: NDArray[np.int64],
    place: NDArray[np.int64],
    spot: NDArray[np.int64],
    start: NDArray[np.int64],
    finish: NDArray[np.int64],
    observes: NDArray[np.bool_],
    writes: NDArray[np.bool_],
    observed_by: NDArray[np.int64],
    observed_since: NDArray[np.int64],
    observed_number: NDArray[np.int64],
    written_by: NDArray[np.int64],
    written_since: NDArray[np.int64],
    written_number: NDArray[np.int64],
    over: NDArray[np.int64],
    next_number: NDArray[np.int64],
    one_sequence: bool,
    horizon: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Operations that go back behind an earlier one of their session.

    `place`: (session, key); `spot`: (place, version observed). `observes` and `writes`: it is known to have
    done so. `one_sequence`: numbers are comparable between keys.

    Returns, by guarantee and operation, the earlier one (-1: none); by operation, an earlier read of the same
    value with that of another one in between, if that is what is wrong; and by guarantee, how many operations
    had an earlier one at all.
    """
    count = len(session)
    earlier = np.full((5, count), -1, np.int64)
    same = np.full(count, -1, np.int64)
    judged = np.zeros(5, np.int64)
    opens = np.full(horizon + 1, -1, np.int64)
    closes = np.full(horizon + 1, -1, np.int64)
    for i in range(count):
        opens[start[i]] = i
        if finish[i] < horizon:
            closes[finish[i]] = i
    places, sessions, spots = place.max() + 1, session.max() + 1, spot.max() + 1
    # Of what was written and of what was observed at a place: the operation whose version began last, and the
    # one whose version has the greatest number. The same of what a session observed anywhere.
    last = np.full((3, max(places, sessions)), -1, np.int64)
    greatest = np.full((3, max(places, sessions)), -1, np.int64)
    # Of the reads that are over at a place, the one that began last, and the same among other values' reads.
    best = np.full((places, 2), -1, np.int64)
    first = np.full(spots, -1, np.int64)  # the first read of a value to be over

    for event in range(horizon):
        i = opens[event]
        if i >= 0:
            p = place[i]
            for guarantee, reads, of in ((RYW, True, 0), (MR, True, 1), (MW, False, 0), (WFR, False, 1)):
                if not (observes[i] if reads else writes[i]):
                    continue
                by = observed_by[i] if reads else written_by[i]
                number = observed_number[i] if reads else written_number[i]
                at, most = last[of, p], greatest[of, p]
                if at >= 0 or most >= 0:
                    judged[guarantee] += 1
                if at >= 0 and by < (written_since[at] if of == 0 else observed_since[at]):
                    earlier[guarantee, i] = at
                elif (
                    most >= 0
                    and number >= 0
                    and number < (written_number[most] if of == 0 else observed_number[most])
                ):
                    earlier[guarantee, i] = most
            if observes[i]:
                between = best[p, 0]
                if between >= 0 and spot[between] == spot[i]:
                    between = best[p, 1]
                if between >= 0 and first[spot[i]] >= 0 and finish[first[spot[i]]] < start[between]:
                    earlier[MR, i], same[i] = between, first[spot[i]]
                at, most = last[2, session[i]], greatest[2, session[i]]
                if at >= 0 or most >= 0:
                    judged[PREFIX] += 1
                if at >= 0 and over[i] < observed_since[at]:
                    earlier[PREFIX, i] = at
                elif one_sequence and most >= 0 and next_number[i] <= observed_number[most]:
                    earlier[PREFIX, i] = most
        i = closes[event]
        if i >= 0:
            p = place[i]
            if writes[i]:
                if last[0, p] < 0 or written_since[i] > written_since[last[0, p]]:
                    last[0, p] = i
                if written_number[i] >= 0 and (
                    greatest[0, p] < 0 or written_number[i] > written_number[greatest[0, p]]
                ):
                    greatest[0, p] = i
            if observes[i]:
                for of, where in ((1, p), (2, session[i])):
                    if last[of, where] < 0 or observed_since[i] > observed_since[last[of, where]]:
                        last[of, where] = i
                    if observed_number[i] >= 0 and (
                        greatest[of, where] < 0 or observed_number[i] > observed_number[greatest[of, where]]
                    ):
                        greatest[of, where] = i
                if first[spot[i]] < 0:
                    first[spot[i]] = i
                if best[p, 0] < 0 or spot[best[p, 0]] == spot[i]:
                    if best[p, 0] < 0 or start[i] > start[best[p, 0]]:
                        best[p, 0] = i
                elif start[i] > start[best[p, 0]]:
                    best[p, 1] = best[p, 0]
                    best[p, 0] = i
                elif best[p, 1] < 0 or start[i] > start[best[p, 1]]:
                    best[p, 1] = i
    return earlier, same, judged
