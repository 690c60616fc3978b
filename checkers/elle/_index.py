"""Who wrote it: a hash table of (key, value) pairs over micro-operations that write."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def _slot(key: int, value: int, mask: int) -> int:
    mixed = np.uint64(value) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return int(np.int64((mixed ^ (mixed >> np.uint64(32))) & np.uint64(mask)))


@njit(cache=True, nogil=True)
def writes(
    key: NDArray[np.int64], value: NDArray[np.int64], happened: NDArray[np.int64], failed: NDArray[np.int64]
) -> tuple[NDArray[np.int32], int, int]:
    """The table, and the first two micro-operations that write the same and may both have happened (-1: there
    are none). What failed may have been tried again: it counts where nobody else wrote the same."""
    capacity = 16
    while capacity < 2 * (len(happened) + len(failed)):
        capacity *= 2
    slots = np.full(capacity, -1, np.int32)
    first = second = -1
    for n in range(len(happened) + len(failed)):
        certain = n < len(happened)
        i = happened[n] if certain else failed[n - len(happened)]
        slot = _slot(key[i], value[i], capacity - 1)
        while slots[slot] >= 0:
            other = slots[slot]
            if value[other] == value[i] and key[other] == key[i]:
                if certain and second < 0:
                    first, second = other, i
                break
            slot = (slot + 1) & (capacity - 1)
        if slots[slot] < 0:
            slots[slot] = i
    return slots, first, second


@njit(cache=True, nogil=True)
def writer(
    slots: NDArray[np.int32], key: NDArray[np.int64], value: NDArray[np.int64], of_key: int, of_value: int
) -> int:
    """The micro-operation that writes this value to this key, or -1."""
    slot = _slot(of_key, of_value, len(slots) - 1)
    while slots[slot] >= 0:
        other = slots[slot]
        if value[other] == of_value and key[other] == of_key:
            return int(other)
        slot = (slot + 1) & (len(slots) - 1)
    return -1


@njit(cache=True, nogil=True)
def neighbours(
    begin: NDArray[np.int64], key: NDArray[np.int64], writes: NDArray[np.bool_], keys: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """For each micro-operation the one before it on the same key in the same transaction, and the next one
    that writes that key; or -1."""
    count = len(key)
    previous = np.full(count, -1, np.int32)
    overwritten = np.full(count, -1, np.int32)
    last = np.full(keys, -1, np.int32)
    for t in range(len(begin) - 1):
        low, high = begin[t], begin[t + 1]
        for i in range(low, high):
            previous[i] = last[key[i]]
            last[key[i]] = i
        for i in range(low, high):
            last[key[i]] = -1
        for i in range(high - 1, low - 1, -1):
            overwritten[i] = last[key[i]]
            if writes[i]:
                last[key[i]] = i
        for i in range(low, high):
            last[key[i]] = -1
    return previous, overwritten
