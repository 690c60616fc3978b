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
from itertools import compress
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.history import FAIL, INFO, OK, History

FailedCas = Literal["dropped", "observed"]

READ, WRITE, CAS, FAILED_CAS = range(4)
"""Kinds of operations."""

_INITIAL = np.iinfo(np.int64).min
"""The initial value's code; no client can write it (JSON integers below -2**63 + 1 are coded like
strings)."""


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
    # numba takes longer to import than most histories take to check.
    from checkers._zones import intern

    operations = history.operations
    kind_of_f = np.array([{"read": READ, "write": WRITE, "cas": CAS}.get(f, -1) for f in history.fs] or [-1])
    kind = kind_of_f[operations.f].astype(np.int8)
    if (kind < 0).any():
        strange = sorted({history.fs[f] for f in np.unique(operations.f[kind < 0])})
        raise NotARegister(f"operations {', '.join(strange)}: a register has read, write and cas")
    outcome = operations.outcome
    counts = np.where(kind == READ, outcome == OK, outcome != FAIL)
    if failed_cas == "observed":
        counts |= (kind == CAS) & (outcome == FAIL)
    row = np.flatnonzero(counts)
    kind, key, outcome = kind[row], operations.key[row], outcome[row]
    kind[(kind == CAS) & (outcome == FAIL)] = FAILED_CAS
    start, complete = operations.invoke[row], operations.complete[row]
    horizon = len(history)
    finish = np.where(outcome >= INFO, horizon, complete)

    # A read's value is in its completion, a write's in its invocation: completions may repeat it, but need
    # not. They are fetched in the order of events, which is that of memory: faster than by operations.
    carrier = np.where(kind == READ, complete, start)
    carries = np.zeros(horizon, np.bool_)
    carries[carrier] = True
    values = [op.value for op in compress(history.ops, carries.tolist())]
    position = (np.cumsum(carries) - 1)[carrier]
    compares = np.flatnonzero((kind == CAS) | (kind == FAILED_CAS))
    news: list[Any] = []
    for compare in compares.tolist():
        pair = values[position[compare]]
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise NotARegister(f"event {start[compare]}: a cas takes [old, new], not {pair!r}"[:200])
        values[position[compare]] = pair[0]
        news.append(pair[1])
    codes = _codes(values + news)
    count, keys = len(row), len(history.keys)
    ids = intern(
        np.concatenate([np.arange(keys, dtype=np.int32), key, key[compares]]),
        np.concatenate([np.full(keys, _INITIAL), codes[position], codes[len(values) :]]),
    )
    first = ids[keys : keys + count]
    observed = np.where(kind == WRITE, -1, first)
    written = np.where(kind == WRITE, first, -1)
    written[compares] = ids[keys + count :]
    written[kind == FAILED_CAS] = -1
    total = int(ids.max(initial=-1)) + 1
    return Registers(row, kind, key, observed, written, start, finish, keys, total, horizon)


def _codes(values: list[Any]) -> NDArray[np.int64]:
    """Equal codes for equal values; None's is _INITIAL."""
    types = set(map(type, values))
    try:
        if types <= {int}:
            return np.fromiter(values, np.int64, len(values))
        if types <= {int, type(None)}:
            filled = [_INITIAL if value is None else value for value in values]
            return np.fromiter(filled, np.int64, len(values))
    except OverflowError:
        pass  # beyond 64 bits: coded like strings
    codes: dict[Any, int] = {None: int(_INITIAL)}
    coded = []
    for value in values:
        token = value if type(value) in _HASHED_AS_IS else msgspec.json.encode(value, order="deterministic")
        coded.append(codes.setdefault(token, len(codes)))
    return np.array(coded, np.int64)


_HASHED_AS_IS = frozenset({int, float, str, type(None)})
