"""Kernels of `checkers._versions`: the order of versions. The rules and names are explained there."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

LAST_NUMBER = np.iinfo(np.int64).max


@njit(cache=True, nogil=True)
def intervals(
    key: NDArray[np.int32],
    observed: NDArray[np.int64],
    written: NDArray[np.int64],
    start: NDArray[np.int64],
    finish: NDArray[np.int64],
    keys: int,
    values: int,
    horizon: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Each version's writer, since and by; and the keys whose values repeat."""
    writer = np.full(values, -1, np.int64)
    since = np.full(values, -1, np.int64)
    by = np.full(values, horizon, np.int64)
    by[:keys] = -1
    repeated = np.zeros(keys, np.bool_)
    for i in range(len(key)):
        value = written[i]
        if value >= 0:
            if value < keys or writer[value] >= 0 or observed[i] == value:
                repeated[key[i]] = True
            else:
                writer[value] = i
                since[value] = start[i]
                by[value] = min(by[value], finish[i])
        if observed[i] >= keys:
            by[observed[i]] = min(by[observed[i]], finish[i])
    # Whoever shows what a cas made shows what it was made from.
    for value in range(keys, values):
        made = value
        while writer[made] >= 0:
            source = observed[writer[made]]
            if source < keys or by[source] <= by[made]:
                break
            by[source] = by[made]
            made = source
    return writer, since, by, repeated


@njit(cache=True, nogil=True)
def overwritten(
    key: NDArray[np.int64],
    writer: NDArray[np.int64],
    since: NDArray[np.int64],
    by: NDArray[np.int64],
    number: NDArray[np.int64],
    repeated: NDArray[np.bool_],
    observed: NDArray[np.int64],
    numbered: NDArray[np.int64],
    keys: int,
    horizon: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Each version's over, over_by, next_number and maybe_over. `numbered`: versions with numbers, sorted by
    key and number."""
    values = len(key)
    over = np.full(values, horizon, np.int64)
    over_by = np.full(values, -1, np.int64)
    next_number = np.full(values, LAST_NUMBER, np.int64)
    maybe_over = np.full(values, horizon, np.int64)

    # One sweep, backwards: of the versions that began later, the first that was there; of those that were not
    # yet there when this one began, the first and second that began.
    begins = np.full(horizon, -1, np.int64)
    ends = np.full(horizon, -1, np.int64)  # a list of versions by event
    following = np.full(values, -1, np.int64)
    there = np.full(keys, horizon, np.int64)
    there_first = np.full(keys, -1, np.int64)
    least_number = np.full(keys, LAST_NUMBER, np.int64)
    began = np.full((keys, 2), horizon, np.int64)
    for version in range(keys, values):
        if writer[version] < 0 or repeated[key[version]]:
            continue
        begins[since[version]] = version
        if by[version] < horizon:
            following[version] = ends[by[version]]
            ends[by[version]] = version
        else:
            _insert(began[key[version]], since[version])
    for event in range(horizon - 1, -1, -1):
        version = begins[event]
        if version >= 0:
            k = key[version]
            maybe_over[version] = began[k, 1] if began[k, 0] == event else began[k, 0]
            if by[version] < there[k]:
                there[k], there_first[k] = by[version], version
            if 0 <= number[version] < least_number[k]:
                least_number[k] = number[version]
        version = ends[event]
        while version >= 0:
            k = key[version]
            over[version], over_by[version] = there[k], there_first[k]
            next_number[version] = least_number[k]
            _insert(began[k], since[version])
            version = following[version]
    for k in range(keys):
        if not repeated[k]:
            over[k], over_by[k], next_number[k] = there[k], there_first[k], least_number[k]
            maybe_over[k] = began[k, 0]

    for version in range(keys, values):  # what cas tie together
        if writer[version] >= 0 and not repeated[key[version]] and by[version] < horizon:
            source = observed[writer[version]]
            if source >= 0 and by[version] < over[source]:
                over[source], over_by[source] = by[version], version
            if source >= 0 and 0 <= number[version] < next_number[source]:
                next_number[source] = number[version]

    first, first_at, k = horizon, -1, -1  # what numbers tell
    for i in range(len(numbered) - 1, -1, -1):
        version = numbered[i]
        if key[version] != k:
            first, first_at, k = horizon, -1, key[version]
        elif number[numbered[i + 1]] > number[version]:
            next_number[version] = min(next_number[version], number[numbered[i + 1]])
        if first < over[version]:
            over[version], over_by[version] = first, first_at
        if by[version] < first:
            first, first_at = by[version], version
    return over, over_by, next_number, maybe_over


@njit(cache=True, nogil=True)
def _insert(pair: NDArray[np.int64], value: int) -> None:
    """Keep the two least."""
    if value < pair[0]:
        pair[1] = pair[0]
        pair[0] = value
    elif value < pair[1]:
        pair[1] = value


@njit(cache=True, nogil=True)
def behind(
    key: NDArray[np.int64],
    writer: NDArray[np.int64],
    since: NDArray[np.int64],
    by: NDArray[np.int64],
    repeated: NDArray[np.bool_],
    value: NDArray[np.int64],
    start: NDArray[np.int64],
    finish: NDArray[np.int64],
    keys: int,
    horizon: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many versions each read was behind, at least and at most. `value`: the version that it observed.

    One sweep. Each key's versions have ranks in the order in which they began; a Fenwick tree over the ranks
    holds those that are certainly there.
    """
    versions = len(key)
    begins = np.full(horizon, -1, np.int64)
    ends, following = np.full(horizon, -1, np.int64), np.full(versions, -1, np.int64)
    size = np.zeros(keys + 1, np.int64)
    for version in range(keys, versions):
        if writer[version] < 0 or repeated[key[version]]:
            continue
        begins[since[version]] = version
        size[key[version] + 1] += 1
        if by[version] < horizon:
            following[version] = ends[by[version]]
            ends[by[version]] = version
    offset = np.cumsum(size)
    tree = np.zeros(offset[keys] + 1, np.int64)
    begun, there = np.zeros(keys, np.int64), np.zeros(keys, np.int64)
    rank = np.zeros(versions, np.int64)  # from 1
    begun_by, there_since = np.zeros(versions, np.int64), np.zeros(versions, np.int64)
    opens, closes = np.full(horizon, -1, np.int64), np.full(horizon, -1, np.int64)
    for i in range(len(value)):
        opens[start[i]], closes[finish[i]] = i, i
    least, most = np.zeros(len(value), np.int64), np.zeros(len(value), np.int64)
    for event in range(horizon):
        version = begins[event]
        if version >= 0:
            k = key[version]
            begun[k] += 1
            rank[version], there_since[version] = begun[k], there[k]
        i = opens[event]
        if i >= 0 and by[value[i]] < event:
            k = key[value[i]]
            count, at = there[k], begun_by[value[i]]
            while at > 0:  # less those that began no later than the value was there
                count -= tree[offset[k] + at - 1]
                at -= at & -at
            least[i] = count
        version = ends[event]
        while version >= 0:
            k = key[version]
            begun_by[version] = begun[k]
            there[k] += 1
            at = rank[version]
            while at <= size[k + 1]:
                tree[offset[k] + at - 1] += 1
                at += at & -at
            version = following[version]
        i = closes[event]
        if i >= 0:
            k = key[value[i]]
            most[i] = begun[k] - there_since[value[i]] - (1 if value[i] >= keys else 0)
    return least, most
