"""Clients' values as small integers: equal ones for values whose JSON is equal."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from checkers._values import hashable


def ids_of(values: list[Any]) -> NDArray[np.int64]:
    """Dense ids of the values, in the order of their first appearances."""
    if set(map(type, values)) == {int}:
        try:
            return _dense(np.fromiter(values, np.int64, len(values)))
        except OverflowError:
            pass  # beyond 64 bits: like any other value
    known: dict[Any, int] = {}
    ids = [known.setdefault(hashable(value), len(known)) for value in values]
    return np.array(ids, np.int64)


@njit(cache=True, nogil=True)
def _dense(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """By a hash table of the values met so far."""
    capacity = 16
    while capacity < 2 * len(values):
        capacity *= 2
    slots = np.full(capacity, -1, np.int64)  # an id
    met = np.empty(len(values), np.int64)  # an id's value
    ids = np.empty(len(values), np.int64)
    count = 0
    for at in range(len(values)):
        mixed = np.uint64(values[at]) * np.uint64(0x9E3779B97F4A7C15)
        slot = np.int64((mixed ^ (mixed >> np.uint64(32))) & np.uint64(capacity - 1))
        while slots[slot] >= 0 and met[slots[slot]] != values[at]:
            slot = (slot + 1) & (capacity - 1)
        if slots[slot] < 0:
            slots[slot] = count
            met[count] = values[at]
            count += 1
        ids[at] = slots[slot]
    return ids
