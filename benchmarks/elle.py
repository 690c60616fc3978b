"""How long elle-py takes for transactions: reading them, and finding out whether they are what they promise.

    python -m benchmarks.elle [--transactions 10000,100000] [--seed 7] [--jar ELLE-CLI.jar]

Prints a table, one row a history: workload, crash rate, whether one read is stale; seconds to read the file,
to analyse it (the best of three), the peak of memory of a fresh process that does both once, and the verdict
with the anomalies. With an elle-cli jar (and Java 21) the same files go through it, whole process, as EDN;
without it that column says so. Loading the kernels is timed apart: from the cache on disk, or by compiling
them if it is empty (`NUMBA_CACHE_DIR=$(mktemp -d)` makes it so).

The histories are strict serializable by construction: 20 clients, think time and latency both exponential
with a mean of 1 ms, all of a transaction at one moment uniform in its interval. 10 keys are in use at a time,
chosen with weights that double from one to the next; each is given up after 32 writes. A transaction has 1 to
4 micro-operations, half of them reads. With crash rate p a transaction crashes: its client waits 5 ms and
goes on as a new process; half of the crashed ones are never applied, 40 % in time, 10 % late. In a bad
history one read, halfway, misses the newest write that was certainly over before its transaction began.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from harness import edn
from harness.edn import Keyword
from harness.history import Op, OpType, encode

CLIENTS = 20
ACTIVE_KEYS = 10
WRITES_PER_KEY = 32

Workload = Literal["list-append", "rw-register"]
Micro = list[Any]


@dataclass(slots=True)
class _Pool:
    """The keys in use, and how many values each was given."""

    random: random.Random
    active: list[int] = field(default_factory=lambda: list(range(ACTIVE_KEYS)))
    writes: dict[int, int] = field(default_factory=dict)
    weights: list[int] = field(default_factory=lambda: [2**i for i in range(ACTIVE_KEYS)])

    def transaction(self, write: str) -> list[Micro]:
        micro: list[Micro] = []
        for _ in range(self.random.randint(1, 4)):
            [slot] = self.random.choices(range(ACTIVE_KEYS), self.weights)
            key = self.active[slot]
            if self.random.random() < 0.5:
                micro.append(["r", key, None])
                continue
            value = self.writes[key] = self.writes.get(key, 0) + 1
            micro.append([write, key, value])
            if value == WRITES_PER_KEY:
                self.active[slot] = max(self.active) + 1
        return micro


def generate(
    transactions: int, *, workload: Workload, crash_rate: float, bad: bool, seed: int
) -> Iterator[Op]:
    """A history as above."""
    draw = np.random.default_rng(seed)
    each = transactions // CLIENTS
    shape = (CLIENTS, each)
    latency = draw.exponential(1e6, shape)
    crashed = draw.random(shape) < crash_rate
    pause = np.where(crashed, 5e6, latency) + draw.exponential(1e6, shape)
    begin = np.cumsum(pause, axis=1) - pause
    fate = draw.random(shape)
    point = begin + latency * draw.random(shape)
    point[crashed & (fate < 0.1)] += 20e6
    point[crashed & (fate >= 0.5)] = np.inf
    process = (np.arange(CLIENTS)[:, None] + CLIENTS * (np.cumsum(crashed, axis=1) - crashed)).ravel()
    begin, end, point, crashed = begin.ravel(), (begin + latency).ravel(), point.ravel(), crashed.ravel()
    moments = np.concatenate([begin, point, end])
    order = np.argsort(moments, kind="stable")

    write = "append" if workload == "list-append" else "w"
    pool = _Pool(random.Random(seed))
    state: dict[int, Any] = {}
    done: dict[int, list[Micro]] = {}
    intended: dict[int, list[Micro]] = {}
    over: dict[int, list[_Write]] = {}  # per key, for the stale read
    begun: dict[int, int] = {}
    known: dict[int, dict[int, int]] = {}  # per transaction and key, how many of them were over when it began
    wanted = transactions // 2 if bad else transactions + 1
    completed = index = 0
    for moment in order.tolist():
        if not np.isfinite(moments[moment]):
            break
        phase, which = divmod(moment, CLIENTS * each)
        if phase == 0:
            intended[which] = pool.transaction(write)
            if bad:
                known[which] = {micro[1]: len(over.get(micro[1], ())) for micro in intended[which]}
                begun[which] = index
            yield _event(index, begin[which], "invoke", process[which], intended[which])
            index += 1
        elif phase == 1:
            done[which] = [_apply(state, micro) for micro in intended[which]]
        else:
            completed += 1
            if crashed[which]:
                yield _event(index, end[which], "info", process[which], intended[which])
            else:
                micro = done.pop(which)
                if completed >= wanted:
                    past = {key: over.get(key, [])[:count] for key, count in known[which].items()}
                    wanted = transactions + 1 if _make_stale(micro, past) else wanted
                yield _event(index, end[which], "ok", process[which], micro)
                if bad and wanted <= transactions:
                    for _, key, value in (one for one in micro if one[0] != "r"):
                        over.setdefault(key, []).append((begun[which], index, value))
            index += 1


def _apply(state: dict[int, Any], micro: Micro) -> Micro:
    f, key, value = micro
    if f == "append":
        state[key] = [*state.get(key, []), value]
    elif f == "w":
        state[key] = value
    elif f == "r":
        return ["r", key, state.get(key)]
    return micro


_Write = tuple[int, int, int]
"""When the write's transaction began and was over (events), and the value."""


def _make_stale(micro: list[Micro], past: dict[int, list[_Write]]) -> bool:
    """Let one of the transaction's reads see what was certainly overwritten before it began.

    `past`: per key, the writes that were over by then.
    """
    for at, (f, key, value) in enumerate(micro):
        alone = sum(other[1] == key for other in micro) == 1
        if f != "r" or not alone or not past[key]:
            continue
        begun, _, newest = max(past[key])
        if isinstance(value, list):
            micro[at] = [f, key, value[: value.index(newest)]]
            return True
        older = [(ended, number) for _, ended, number in past[key] if ended < begun]
        if older:
            micro[at] = [f, key, max(older)[1]]
            return True
    return False


def _event(index: int, at: float, type_: OpType, process: int, value: list[Micro]) -> Op:
    return Op(index=index, time=int(at), type=type_, process=int(process), f="txn", value=value)


def write_json_lines(ops: Iterator[Op], path: Path) -> None:
    """As the harness records it."""
    with path.open("wb") as file:
        for op in ops:
            file.write(encode(op))


def write_edn(json_lines: Path, path: Path) -> None:
    """The same as Elle reads it."""
    from harness.history import History

    with path.open("w") as file:
        for op in History.read(json_lines).ops:
            event = {
                "index": op.index,
                "time": op.time,
                "type": Keyword(op.type),
                "process": op.process,
                "f": Keyword("txn"),
                "value": [[Keyword(f), key, value] for f, key, value in op.value],
            }
            file.write(edn.dumps(event) + "\n")


# --- Measuring -----------------------------------------------------------------------------------------


_MEASURED = """
import json, resource, sys, time
from checkers.elle import analysis, reader

began = time.perf_counter()
analysis.analyse(reader.read(sys.argv[3]), sys.argv[2]).verdict()
loaded = time.perf_counter()
transactions = reader.read(sys.argv[1])
read = time.perf_counter()
verdict = analysis.analyse(transactions, sys.argv[2]).verdict()
over = time.perf_counter()
print(json.dumps({
    "load": loaded - began,
    "read": read - loaded,
    "analyse": over - read,
    "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    "valid": verdict.valid,
    "anomalies": list(verdict.details["anomalies"]),
}))
"""


def measure(file: Path, workload: Workload) -> dict[str, Any]:
    """Reads and analyses the file once with warm kernels, in a process of its own: seconds, memory,
    verdict."""
    warm = file.parent / f"warm-{workload}.jsonl"
    if not warm.exists():
        write_json_lines(generate(500, workload=workload, crash_rate=0.01, bad=True, seed=1), warm)
    command = [sys.executable, "-c", _MEASURED, str(file), workload, str(warm)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def with_jar(jar: Path, file: Path, workload: Workload) -> str:
    """The same file through elle-cli: seconds of the whole process, and its verdict."""
    converted = file.with_suffix(".edn")
    write_edn(file, converted)
    began = time.perf_counter()
    done = subprocess.run(
        ["java", "-Xmx12g", "-jar", str(jar), "--model", workload, str(converted)],
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - began
    lines = [line for line in done.stdout.splitlines() if line.startswith(str(converted))]
    return f"{seconds:.1f} s, {lines[-1].split()[-1] if lines else f'failed ({done.returncode})'}"


def row(file: Path, workload: Workload, jar: Path | None, expected: str) -> tuple[list[str], float]:
    """A row of the table, and how long loading the kernels took."""
    runs = [measure(file, workload) for _ in range(3)]
    best = {name: min(run[name] for run in runs) for name in ("load", "read", "analyse")}
    verdict = runs[0]["valid"]
    told = verdict if verdict == expected else f"{verdict} (WRONG: {expected})"
    anomalies = ", ".join(runs[0]["anomalies"])
    cells = [
        f"{best['read']:.2f}",
        f"{best['analyse']:.3f}",
        f"{max(run['peak'] for run in runs):.0f}",
        told + (f": {anomalies}" if anomalies else ""),
        "skipped: no jar" if jar is None else with_jar(jar, file, workload),
    ]
    return cells, best["load"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--transactions", default="10000,100000", help="sizes, by comma")
    parser.add_argument("--workload", default="list-append,rw-register")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--jar", type=Path, help="elle-cli's standalone jar")
    options = parser.parse_args()
    if options.jar is None or shutil.which("java") is None:
        print("Elle itself is skipped: it needs --jar=ELLE-CLI.jar and Java 21.", file=sys.stderr)
        options.jar = None
    columns = (
        "workload",
        "transactions",
        "crash rate",
        "history",
        "read s",
        "analyse s",
        "peak MB",
        "verdict",
    )
    print(f"| {' | '.join(columns)} | elle-cli |")
    print("|---|---|---|---|---|---|---|---|---|")
    loads = []
    with tempfile.TemporaryDirectory(prefix="elle-") as folder:
        for size in map(int, options.transactions.split(",")):
            for workload in options.workload.split(","):
                for crash_rate in (0.0, 0.01):
                    for bad in (False, True):
                        file = Path(folder) / "history.jsonl"
                        ops = generate(
                            size, workload=workload, crash_rate=crash_rate, bad=bad, seed=options.seed
                        )
                        write_json_lines(ops, file)
                        cells, load = row(file, workload, options.jar, "invalid" if bad else "valid")
                        loads.append(load)
                        kind = "one stale read" if bad else "good"
                        print(
                            f"| {workload} | {size} | {crash_rate:.0%} | {kind} | {' | '.join(cells)} |",
                            flush=True,
                        )
    print(f"\nLoading the kernels, from the cache: {min(loads):.1f} s a process.")


if __name__ == "__main__":
    main()
