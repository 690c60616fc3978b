"""How long it takes to read a million operations from a store, and to check that they are linearizable.

    python benchmarks/zones.py [--operations 1000000] [--clients 100] [--seed 7]

Prints a table, one row a history: keys, crash rate, whether it is linearizable; seconds to read it from JSON
lines for the first time, and again from the columns that this left; to make its operations columns of
registers, to check those by zones, and for the whole check with its evidence (the best of three each); the
peak of memory so far; and the verdict. Loading the kernels is timed apart: from the cache on disk, or by
compiling them if it is empty (`NUMBA_CACHE_DIR=$(mktemp -d)` makes it so). The histories are those of
`_histories`.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _histories import Kind, generate, history

from checkers.linearizable import Linearizable
from harness.history import History, encode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--operations", type=int, default=1_000_000)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()

    began = time.perf_counter()
    for values in (0, 3):
        Linearizable().check(history(generate(Kind(1000, values=values))))
    print(f"loading or compiling the kernels: {time.perf_counter() - began:.2f} s")
    print(
        f"{'keys':>5} {'crash':>6} {'kind':>5} {'operations':>11} {'first read s':>13} {'read s':>7} "
        f"{'registers s':>12} {'zones s':>8} {'check s':>8} {'memory MB':>10}  verdict"
    )
    with tempfile.TemporaryDirectory() as folder:
        for keys in (1, 1000):
            for crash_rate in (0.0, 0.05):
                for bad in (False, True):
                    kind = Kind(
                        options.operations, options.clients, keys, crash_rate, bad=bad, seed=options.seed
                    )
                    path = Path(folder) / "history.jsonl"
                    with path.open("wb") as file:
                        file.writelines(map(encode, history(generate(kind)).ops))
                    print(f"{keys:>5} {crash_rate:>6.1%} {'bad' if bad else 'good':>5} {measured(path, bad)}")


def measured(path: Path, bad: bool) -> str:
    """The right part of a row."""
    from checkers._registers import registers
    from checkers._zones import zones_of

    first, _ = best(lambda: History.read(path, keep=True), 1)
    again, read = best(lambda: History.read(path))
    selecting, columns = best(lambda: registers(read, "dropped"))
    by_zones, _ = best(lambda: zones_of(columns))
    checking, verdict = best(lambda: Linearizable().check(read))
    assert verdict.valid == ("invalid" if bad else "valid"), verdict
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return (
        f"{len(read.operations):>11} {first:>13.2f} {again:>7.3f} {selecting:>12.3f} {by_zones:>8.3f} "
        f"{checking:>8.3f} {peak:>10}  {verdict.valid}"
    )


def best(work: Callable[[], Any], repetitions: int = 3) -> tuple[float, Any]:
    """The shortest time that it took, and its result."""
    seconds = []
    result = None
    for _ in range(repetitions):
        began = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - began)
    return min(seconds), result


if __name__ == "__main__":
    main()
