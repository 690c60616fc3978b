"""A history of reads, writes and compare-and-sets as columns of small integers, for the kernels.

Rules
-----
1. What has not happened is left out (`fail`), and what tells nothing (a read that did not complete).
2. A crashed operation (`info`, or never completed) has its finish at the end of time: `History.__len__`.
3. A value gets an id of its own for each key: the same 7 under two keys is two values. The ids below the
   number of keys are the keys' initial values: id k is key k's.
4. Values are equal if their JSON is, but that 1 and 1.0 are one number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from checkers._values import hashable
from harness.history import FAIL, NOTHING, OK, PAIR, PLAIN, History, Values

FailedCas = Literal["dropped", "observed"]

READ, WRITE, CAS, FAILED_CAS = range(4)
"""Kinds of operations."""


class NotARegister(ValueError):
    """The history holds operations that no register has."""


@dataclass(frozen=True, slots=True)
class Registers:
    """Operations on registers, columns of one length, in the order of their invocations."""

    row: NDArray[np.int64]
    """Position in `History.operations`."""
    kind: NDArray[np.int8]
    """READ, WRITE, CAS, or FAILED_CAS: the register did not hold the value that it expected."""
    key: NDArray[np.int32]
    observed: NDArray[np.int64]
    """Id of the value read or expected; -1 of a write."""
    written: NDArray[np.int64]
    """Id of the value written; -1 of a read and of a failed cas."""
    start: NDArray[np.int64]
    """Index of the invocation."""
    finish: NDArray[np.int64]
    """Index of the completion; `horizon` of a crashed operation."""
    keys: int
    values: int
    """Number of ids."""
    horizon: int


def registers(history: History, failed_cas: FailedCas) -> Registers:
    """The operations on registers that count. Raises NotARegister."""
    operations = history.operations
    kind_of_f = np.array([_KINDS.get(f, -1) for f in history.fs] or [-1], np.int8)
    used = np.bincount(operations.f, minlength=len(kind_of_f)) > 0
    strange = [history.fs[f] for f in np.flatnonzero(used & (kind_of_f < 0)).tolist()]
    if strange:
        raise NotARegister(f"operations {', '.join(sorted(strange))}: a register has read, write and cas")
    counts_failed = failed_cas == "observed"
    selected = _selected(history, history.values, kind_of_f, counts_failed)
    if selected is None:
        selected = _selected(history, _coded(history, kind_of_f, counts_failed), kind_of_f, counts_failed)
    assert selected is not None, "values that are coded are integers"
    return selected


def _selected(
    history: History, values: Values, kind_of_f: NDArray[np.int8], counts_failed: bool
) -> Registers | None:
    """None if some of the values that count are no integers."""
    from checkers import _zones  # numba takes longer to import than most histories to check

    operations = history.operations
    keys = len(history.keys)
    selected = _zones.select(
        kind_of_f, operations.f, operations.outcome, operations.key, operations.invoke, operations.complete,
        values.kind, values.first, values.second, keys, counts_failed,
    )  # fmt: skip
    trouble, columns, total = selected[0], selected[1:8], selected[8]
    if trouble == _zones.NO_PAIR:
        raise _no_pair(history, int(operations.invoke[columns[0][-1]]))
    if trouble == _zones.OTHER_VALUE:
        return None
    return Registers(*columns, keys=keys, values=total, horizon=len(history))


def _coded(history: History, kind_of_f: NDArray[np.int8], counts_failed: bool) -> Values:
    """The values of the events that count as integers, equal ones for equal values."""
    operations = history.operations
    kind, outcome = kind_of_f[operations.f], operations.outcome
    counts = np.where(kind == READ, outcome == OK, (outcome != FAIL) | ((kind == CAS) & counts_failed))
    events = np.where(kind == READ, operations.complete, operations.invoke)[counts]
    compares = kind[counts] == CAS
    olds: list[Any] = history.values_at(events)
    news: list[Any] = []
    for i in np.flatnonzero(compares).tolist():
        pair = olds[i]
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise _no_pair(history, int(events[i]))
        olds[i] = pair[0]
        news.append(pair[1])
    codes = _codes(olds + news)
    count = len(history)
    coded = Values(np.zeros(count, np.int8), np.zeros(count, np.int64), np.zeros(count, np.int64))
    coded.kind[events] = np.where(compares, PAIR, PLAIN)
    coded.first[events] = codes[: len(olds)]
    coded.second[events[compares]] = codes[len(olds) :]
    return coded


def _no_pair(history: History, event: int) -> NotARegister:
    value = history.ops[event].value
    return NotARegister(f"event {event}: a cas takes [old, new], not {value!r}"[:200])


def _codes(values: list[Any]) -> NDArray[np.int64]:
    """Equal codes for equal values; None's is NOTHING."""
    codes: dict[Any, int] = {None: NOTHING}
    return np.array([codes.setdefault(hashable(value), len(codes)) for value in values], np.int64)


_KINDS = {"read": READ, "write": WRITE, "cas": CAS}
