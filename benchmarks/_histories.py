"""Histories of registers under many clients, from a seed, as large as one likes.

N clients, each with one operation at a time; think time and latency are both exponential with a mean of 1 ms,
so that about N/2 operations are open at once; each operation takes effect at one moment of its interval, all
of them alike likely. Half are reads, a share `cas` are compare-and-sets (of the value that the register held
when they began; they fail if it is another by then), the rest writes. Values are unique, or from a few. With
crash rate p an operation crashes: its client waits 5 ms and goes on as a new process; of crashed writes and
cas, half never take effect, 40 % do in time, 10 % late. In a bad history one read, halfway, gets the newest
value that was certainly overwritten before it began.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numba import njit
from numpy.typing import NDArray

from harness.history import NOTHING, History, Op, OpType
from harness.history.columns import PAIR, PLAIN, Columns, Values
from harness.history.stored import Events

READ, WRITE, CAS = range(3)
_FS = ("read", "write", "cas")
_TYPES: tuple[OpType, ...] = ("invoke", "ok", "fail", "info")

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Kind:
    """What a history is like."""

    operations: int
    clients: int = 10
    keys: int = 1
    crash_rate: float = 0.0
    cas: float = 0.0
    values: int = 0
    """So many different ones; 0: all are."""
    bad: bool = False
    seed: int = 7

    def __str__(self) -> str:
        parts = [f"{self.keys} keys, " * (self.keys > 1) + f"{self.clients} clients, {self.operations:,} ops"]
        parts += [f"crash {self.crash_rate:.1%}"] * (self.crash_rate > 0)
        parts += [f"cas {self.cas:.0%}"] * (self.cas > 0) + [f"{self.values} values"] * (self.values > 0)
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Operations:
    """A history as its operations, columns of one length."""

    f: NDArray[np.int8]
    key: Ints
    process: Ints
    begin: Floats
    end: Floats
    crashed: Bools
    failed: Bools
    observed: Ints
    """What a read saw or a cas expected; NOTHING: the initial value."""
    written: Ints


def generate(kind: Kind) -> Operations:
    """About as many operations as `kind` says."""
    random = np.random.default_rng(kind.seed)
    shape = (kind.clients, max(kind.operations // kind.clients, 1))
    latency = random.exponential(1e6, shape)
    crashed = random.random(shape) < kind.crash_rate
    pause = np.where(crashed, 5e6, latency) + random.exponential(1e6, shape)
    begin = np.cumsum(pause, axis=1) - pause + random.exponential(1e6, (kind.clients, 1))
    process = np.arange(kind.clients)[:, None] + kind.clients * (np.cumsum(crashed, axis=1) - crashed)
    begin, latency, crashed, process = begin.ravel(), latency.ravel(), crashed.ravel(), process.ravel()
    count = len(begin)
    key = random.integers(0, kind.keys, count)
    share = random.random(count)
    f = np.where(share < 0.5, READ, np.where(share < 0.5 + kind.cas, CAS, WRITE)).astype(np.int8)
    written = np.arange(1, count + 1) if kind.values == 0 else random.integers(0, kind.values, count)
    written = np.where(f == READ, NOTHING, written)

    point = begin + latency * random.random(count)
    fate = random.random(count)
    point = np.where(crashed & (fate < 0.1), begin + 50 * latency, point)
    point = np.where(crashed & (fate >= 0.5), np.inf, point)
    moments = np.argsort(np.concatenate([begin, point]), kind="stable")
    observed, failed = _happen(moments, f, key, written, np.isinf(point), kind.keys)
    end = begin + np.where(crashed, 5e6, latency)
    if kind.bad:
        _make_stale(f, key, begin, end, crashed | failed, observed, written)
    return Operations(f, key, process, begin, end, crashed, failed & ~crashed, observed, written)


@njit()
def _happen(
    moments: Ints, f: NDArray[np.int8], key: Ints, written: Ints, never: Bools, keys: int
) -> tuple[Ints, Bools]:
    """What each operation observes, and which cas fail. A moment below the number of operations is that one's
    beginning, others are when they take effect."""
    count = len(f)
    holds = np.full(keys, NOTHING, np.int64)
    observed = np.full(count, NOTHING, np.int64)
    failed = np.zeros(count, np.bool_)
    for moment in moments:
        op = moment % count
        if moment < count:
            if f[op] == CAS:
                observed[op] = holds[key[op]]
        elif never[op]:
            continue
        elif f[op] == READ:
            observed[op] = holds[key[op]]
        elif f[op] == WRITE or observed[op] == holds[key[op]]:
            holds[key[op]] = written[op]
        else:
            failed[op] = True
    return observed, failed


def _make_stale(
    f: NDArray[np.int8], key: Ints, begin: Floats, end: Floats, undone: Bools, observed: Ints, written: Ints
) -> None:
    """Give the read nearest to the middle the newest value that was certainly overwritten before it began."""
    reads = np.flatnonzero((f == READ) & ~undone)
    stale = reads[np.argmin(np.abs(begin[reads] - np.median(begin)))]
    earlier = np.flatnonzero((f != READ) & ~undone & (key == key[stale]) & (end < begin[stale]))
    newest = earlier[np.argmax(begin[earlier])]
    overwritten = earlier[(end[earlier] < begin[newest]) & (written[earlier] != written[newest])]
    observed[stale] = written[overwritten[np.argmax(end[overwritten])]]


def history(operations: Operations) -> History:
    """The history, as the harness would have recorded it."""
    count = len(operations.f)
    times = np.concatenate([operations.begin, operations.end])
    order = np.argsort(times, kind="stable")
    op, ended = order % count, order >= count
    f = operations.f[op].astype(np.int32)
    outcome = np.where(operations.crashed[op], 3, np.where(operations.failed[op], 2, 1))
    shows = np.where(ended & (outcome == 1), operations.observed[op], NOTHING)
    first = np.where(f == READ, shows, np.where(f == CAS, operations.observed[op], operations.written[op]))
    columns = Columns(
        time=times[order].astype(np.int64),
        type=np.where(ended, outcome, 0).astype(np.int8),
        process=operations.process[op],
        f=f,
        key=operations.key[op].astype(np.int32),
        node=np.zeros(2 * count, np.int32),
        version=np.full(2 * count, -1),
        fs=list(_FS),
        keys=list(range(int(operations.key.max(initial=0)) + 1)),
        nodes=[None],
    )
    values = Values(
        np.where(f == CAS, PAIR, PLAIN).astype(np.int8),
        first,
        np.where(f == CAS, operations.written[op], 0),
    )
    return History(Events(_Rows(columns, values), columns, values=values))


class _Rows(Sequence[Op]):
    """The events as rows, made when they are asked for."""

    def __init__(self, columns: Columns, values: Values) -> None:
        self._columns = columns
        self._values = values

    def __len__(self) -> int:
        return len(self._columns)

    @overload
    def __getitem__(self, place: int) -> Op: ...
    @overload
    def __getitem__(self, place: slice) -> list[Op]: ...
    def __getitem__(self, place: int | slice) -> Op | list[Op]:
        if isinstance(place, slice):
            return [self[at] for at in range(len(self))[place]]
        columns, values = self._columns, self._values
        first, second = (_value(int(half[place])) for half in (values.first, values.second))
        return Op(
            index=range(len(self))[place],
            time=int(columns.time[place]),
            type=_TYPES[columns.type[place]],
            process=int(columns.process[place]),
            f=columns.fs[columns.f[place]],
            key=columns.keys[columns.key[place]],
            value=[first, second] if values.kind[place] == PAIR else first,
        )

    def __iter__(self) -> Iterator[Op]:
        return (self[at] for at in range(len(self)))


def _value(number: int) -> Any:
    return None if number == NOTHING else number
