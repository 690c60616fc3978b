"""How long it takes to read a million operations from a store, and to check that they are linearizable.

    python -m benchmarks.zones [--operations 1000000] [--clients 100] [--seed 7]

Prints a table, one row a history: keys, crash rate, whether it is linearizable; seconds to read it from JSON
lines, to make its values integers, to check those by zones, and for the whole check with its evidence (the
best of three each); and the verdict. Loading the kernels is timed apart: from the cache on disk, or by
compiling them if it is empty (`NUMBA_CACHE_DIR=$(mktemp -d)` makes it so).

The histories are those of a register under N clients: think time and latency both exponential with a mean of
1 ms, so that N/2 operations are open at once; a linearization point uniform in the operation's interval; half
reads; unique values. With crash rate p an operation crashes: its client waits 5 ms and goes on as a new
process; of crashed writes, half are never applied, 40 % in time, 10 % late. In a bad history one read,
halfway, gets the newest value that was certainly overwritten before the read began.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from checkers.linearizable import Linearizable
from harness.history import History, Op, OpType, encode

IntColumn = NDArray[np.int64]
FloatColumn = NDArray[np.float64]
BoolColumn = NDArray[np.bool_]


def generate(
    operations: int, *, clients: int, keys: int, crash_rate: float, bad: bool, seed: int
) -> list[Op]:
    """A history as above; about `operations` of them."""
    random = np.random.default_rng(seed)
    each = operations // clients
    shape = (clients, each)
    latency = random.exponential(1e6, shape)
    crashed = random.random(shape) < crash_rate
    pause = np.where(crashed, 5e6, latency) + random.exponential(1e6, shape)
    begin = np.cumsum(pause, axis=1) - pause + random.exponential(1e6, (clients, 1))
    process = np.arange(clients)[:, None] + clients * (np.cumsum(crashed, axis=1) - crashed)
    begin, latency, crashed, process = begin.ravel(), latency.ravel(), crashed.ravel(), process.ravel()
    count = len(begin)
    end = begin + np.where(crashed, 5e6, latency)
    key = random.integers(0, keys, count)
    write = random.random(count) < 0.5

    point = begin + latency * random.random(count)
    fate = random.random(count)
    point = np.where(crashed & (fate < 0.1), begin + 50 * latency, point)
    applied = write & ~(crashed & (fate >= 0.5))
    value = np.arange(1, count + 1)
    read_value = _last_written(key, point, applied, value)
    if bad:
        _make_stale(key, begin, end, write & ~crashed, ~write & ~crashed, value, read_value)

    times = np.concatenate([begin, end])
    order = np.argsort(times, kind="stable")
    ops: list[Op] = []
    columns = (column.tolist() for column in (key, process, write, crashed, value, read_value))
    key_of, process_of, is_write, is_crashed, value_of, read_of = columns
    for index, (event, at) in enumerate(zip(order.tolist(), times[order].tolist(), strict=True)):
        op = event % count
        ended = event >= count
        kind: OpType = "invoke" if not ended else "info" if is_crashed[op] else "ok"
        seen = read_of[op] or None if kind == "ok" else None
        carried = value_of[op] if is_write[op] else seen
        f = "write" if is_write[op] else "read"
        ops.append(Op(index, int(at), kind, process_of[op], f, key_of[op], carried))
    return ops


def _last_written(key: IntColumn, point: FloatColumn, applied: BoolColumn, value: IntColumn) -> IntColumn:
    """The value that each operation's key holds at its linearization point; 0: the initial one."""
    order = np.lexsort((point, key))
    last = np.maximum.accumulate(np.where(applied[order], np.arange(len(order)), -1))
    found = np.zeros(len(order), np.int64)
    source = order[np.maximum(last, 0)]
    found[order] = np.where((last >= 0) & (key[source] == key[order]), value[source], 0)
    return found


def _make_stale(
    key: IntColumn,
    begin: FloatColumn,
    end: FloatColumn,
    written: BoolColumn,
    read: BoolColumn,
    value: IntColumn,
    read_value: IntColumn,
) -> None:
    """Give the read nearest to the middle the newest value that was certainly overwritten before it began."""
    reads = np.flatnonzero(read)
    stale = reads[np.argmin(np.abs(begin[reads] - np.median(begin)))]
    earlier = np.flatnonzero(written & (key == key[stale]) & (end < begin[stale]))
    newest = earlier[np.argmax(begin[earlier])]
    overwritten = earlier[end[earlier] < begin[newest]]
    read_value[stale] = value[overwritten[np.argmax(end[overwritten])]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--operations", type=int, default=1_000_000)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()

    began = time.perf_counter()
    small = generate(1000, clients=10, keys=1, crash_rate=0.01, bad=False, seed=options.seed)
    Linearizable().check(History(small))
    print(f"loading or compiling the kernels: {time.perf_counter() - began:.2f} s")
    print(
        f"{'keys':>5} {'crash':>6} {'kind':>5} {'operations':>11} {'read s':>7} {'integers s':>11} "
        f"{'zones s':>8} {'check s':>8}  verdict"
    )
    with tempfile.TemporaryDirectory() as folder:
        for keys in (1, 1000):
            for crash_rate in (0.0, 0.05):
                for bad in (False, True):
                    path = Path(folder) / "history.jsonl"
                    with path.open("wb") as file:
                        file.writelines(
                            map(encode, generate(options.operations, clients=options.clients, keys=keys,
                                                 crash_rate=crash_rate, bad=bad, seed=options.seed))
                        )  # fmt: skip
                    kind = "bad" if bad else "good"
                    print(f"{keys:>5} {crash_rate:>6.1%} {kind:>5} {measured(path, bad)}", flush=True)


def measured(path: Path, bad: bool) -> str:
    """The right part of a row."""
    from checkers._registers import registers
    from checkers._zones import zones

    began = time.perf_counter()
    history = History.read(path)
    reading = time.perf_counter() - began
    integers, by_zones, whole = [], [], []
    for _ in range(3):
        began = time.perf_counter()
        columns = registers(history, "dropped")
        integers.append(time.perf_counter() - began)
        began = time.perf_counter()
        zones(
            columns.kind, columns.key, columns.observed, columns.written, columns.start, columns.finish,
            columns.keys, columns.values, columns.horizon,
        )  # fmt: skip
        by_zones.append(time.perf_counter() - began)
        began = time.perf_counter()
        verdict = Linearizable().check(history)
        whole.append(time.perf_counter() - began)
    assert verdict.valid == ("invalid" if bad else "valid"), verdict
    return (
        f"{len(history.operations):>11} {reading:>7.2f} {min(integers):>11.3f} {min(by_zones):>8.3f} "
        f"{min(whole):>8.3f}  {verdict.valid}"
    )


if __name__ == "__main__":
    main()
