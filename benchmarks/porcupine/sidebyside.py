"""Side by side with Porcupine (github.com/anishathalye/porcupine), on the same histories, in one run.

    python benchmarks/porcupine/sidebyside.py [--quick] [--rows TEXT] [--time-limit 60] [--memory 8]

Needs Go, which builds Porcupine with `main.go` (the module proxy must be reachable, once); where there is
none, says so and does nothing. Each row is a history of `_histories`, or with SPLITBRAIN_HISTORIES of
Porcupine's own test data. On the left ours, on the right Porcupine's: seconds to the verdict (the median of
three, or one if that took over ten seconds; reading and loading kernels are not counted), the peak of memory
of the process, and the verdict; last, how many times ours is faster, and seconds of ours when it also shows
what is wrong (Porcupine does not). Both run one after another in processes of their own. What takes longer
than the time limit or more memory (GB) than allowed is stopped: "time", "memory".
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from _histories import Kind, generate, history

from checkers._registers import FailedCas, Registers, registers
from checkers.linearizable import Linearizable
from harness.history import History, encode
from harness.history_formats import read

HERE = Path(__file__).parent
REPETITIONS = 3
LONG_SECONDS = 10.0
LABEL = 58


@dataclass(frozen=True, slots=True)
class Case:
    """One row."""

    name: str
    model: str
    """"register" or "kv"."""
    failed_cas: FailedCas
    kind: Kind | None = None
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """What a check took."""

    verdict: str
    seconds: float = math.nan
    megabytes: int = 0
    with_evidence: float = math.nan

    def __str__(self) -> str:
        seconds = f"{self.seconds:9.4f} s" if self.seconds == self.seconds else " " * 11
        return f"{seconds} {self.megabytes:6} MB {self.verdict:<8}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a few minutes: fewer, 2 seconds each")
    parser.add_argument("--rows", default="", metavar="TEXT", help="only those with this in their name")
    parser.add_argument("--time-limit", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--memory", type=float, default=8.0, metavar="GB")
    parser.add_argument("--ours", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ours:
        print(json.dumps(ours(*options.ours)))
        return
    limit = min(options.time_limit, 2.0) if options.quick else options.time_limit
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        porcupine = built(folder)
        if porcupine is None:
            return
        print(f"{'':{LABEL}} {'splitbrain':^31}   {'Porcupine':^31}   times  with evidence")
        for case in cases(options.quick):
            if options.rows in case.name:
                row(case, folder, porcupine, limit, options.memory)


def built(folder: Path) -> Path | None:
    """Porcupine as a program; None, and a word, where it cannot be built."""
    if shutil.which("go") is None:
        print("skipped: there is no Go here to build Porcupine with (https://go.dev/dl)")
        return None
    program = folder / "porcupine"
    done = subprocess.run(["go", "build", "-o", str(program), "."], cwd=HERE, capture_output=True, text=True)
    if done.returncode:
        print(f"skipped: Porcupine cannot be built: {done.stderr.strip()}")
        return None
    return program


def cases(quick: bool) -> Iterator[Case]:
    """All rows."""
    data = os.environ.get("SPLITBRAIN_HISTORIES")
    if data:
        yield from own_data(Path(data) / "porcupine", quick)
    sizes = (1_000, 10_000, 100_000) if quick else (1_000, 10_000, 100_000, 1_000_000)
    for clients in (10, 30, 100):
        for size in sizes:
            for crash_rate in (0.05,) if quick else (0.0, 0.001, 0.01, 0.05):
                for bad in (False, True):
                    yield generated(Kind(size, clients, 1, crash_rate, bad=bad), "dropped")
    for keys in (10, 1_000):
        for size in sizes[2:]:
            for bad in (False, True):
                yield generated(Kind(size, 100, keys, 0.01, bad=bad), "dropped")
    for size in sizes[:3]:
        for bad in (False, True):
            yield generated(Kind(size, 10, 1, 0.01, cas=0.2, bad=bad), "observed")
    for size in sizes[:3]:
        yield generated(Kind(size, 10, 1, 0.01, cas=0.2, values=5), "observed")
        yield generated(Kind(size, 10, 1, 0.0, cas=0.2, values=5, bad=True), "dropped")


def generated(kind: Kind, failed_cas: FailedCas) -> Case:
    return Case(f"{kind}{', bad' if kind.bad else ''}", "register", failed_cas, kind)


def own_data(folder: Path, quick: bool) -> Iterator[Case]:
    """Porcupine's test data."""
    for path in sorted((folder / "jepsen").glob("*.log"))[:: 10 if quick else 1]:
        if path.stat().st_size:
            yield Case(f"own: {path.name}", "register", "observed", path=path)
    for path in sorted((folder / "kv").glob("*.txt")):
        yield Case(f"own: {path.name}", "kv", "dropped", path=path)


def row(case: Case, folder: Path, porcupine: Path, limit: float, memory: float) -> None:
    """Check one history with both, and print what it took."""
    table = folder / "operations.tsv"
    path = case.path
    recorded = read(path) if path is not None else history(generate(case.kind or Kind(0)))
    if path is None:
        path = folder / "history.jsonl"
        with path.open("wb") as file:
            file.writelines(map(encode, recorded.ops))
        History.read(path, keep=True)
    with table.open("w") as file:
        if case.model == "kv":
            file.writelines(strings(recorded))
        else:
            file.writelines(operations(registers(recorded, case.failed_cas)))
    model = "kv" if case.model == "kv" else "cas-register"
    command = [sys.executable, __file__, "--ours", str(path), model, case.failed_cas, str(limit)]
    left = measured(command, limit + 60, memory, 1)
    right = measured([str(porcupine), case.model, str(table), str(limit)], limit + 30, memory, REPETITIONS)
    times = f"{right.seconds / left.seconds:7.1f}" if right.seconds == right.seconds else " " * 7
    print(f"{case.name:<{LABEL}} {left}   {right} {times} {left.with_evidence:10.4f} s", flush=True)


def operations(columns: Registers) -> Iterator[str]:
    """Operations on registers, as main.go reads them."""
    observed = np.where(columns.observed < columns.keys, -1, columns.observed)
    finish = np.where(columns.finish < columns.horizon, columns.finish, -1)
    table = (columns.kind, columns.key, observed, columns.written, columns.start, finish)
    for one in zip(*(column.tolist() for column in table), strict=True):
        yield "\t".join(map(str, one)) + "\n"


def strings(recorded: History) -> Iterator[str]:
    """Operations on strings, as main.go reads them."""
    rows = recorded.operations
    kinds = {"get": 0, "put": 1, "append": 2}
    arguments, results = recorded.arguments(rows), recorded.results(rows)
    for at, f in enumerate(rows.f.tolist()):
        name = recorded.fs[f]
        value = results[at] if name == "get" else arguments[at]
        key, start, finish = recorded.keys[rows.key[at]], rows.invoke[at], rows.complete[at]
        yield f"{kinds[name]}\t{key}\t{value}\t{start}\t{finish}\n"


def measured(command: list[str], limit: float, memory: float, repetitions: int) -> Cost:
    """Run the program, which prints its verdict and seconds, so many times unless that takes long."""
    seconds: list[float] = []
    peak = 0
    said: dict[str, Any] = {}
    for _ in range(repetitions):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        end = time.monotonic() + limit
        stopped = ""
        while process.poll() is None and not stopped:
            peak = max(peak, resident(process.pid))
            stopped = "time" if time.monotonic() > end else "memory" if peak > memory * 1024 else ""
            time.sleep(0.02)
        if stopped:
            process.kill()
            process.communicate()
            return Cost(stopped, megabytes=peak)
        said = json.loads(process.communicate()[0] or "{}")
        if said.get("verdict") in ("Unknown", "unknown", None):
            return Cost("time", megabytes=peak)
        seconds.append(said["seconds"])
        if said["seconds"] > LONG_SECONDS:
            break
    return Cost(said["verdict"], statistics.median(seconds), peak, said.get("with evidence", math.nan))


def resident(pid: int) -> int:
    """Megabytes that the process holds."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
    except (OSError, IndexError):
        return 0  # it is over


def ours(path: str, model: str, failed_cas: FailedCas, limit: str) -> dict[str, Any]:
    """Check the history in this process."""
    for values in (0, 3):  # the kernels
        Linearizable(failed_cas="observed").check(history(generate(Kind(300, cas=0.2, values=values))))
    recorded = read(Path(path))
    took: dict[int, list[float]] = {0: [], 5: []}
    verdict = None
    for evidence_max, seconds in took.items():
        checker = Linearizable(model, failed_cas, time_limit=float(limit), evidence_max=evidence_max)
        while len(seconds) < REPETITIONS and sum(seconds) < LONG_SECONDS:
            began = time.perf_counter()
            verdict = checker.check(recorded)
            seconds.append(time.perf_counter() - began)
    assert verdict is not None
    alone, shown = map(statistics.median, took.values())
    return {"verdict": verdict.valid, "seconds": alone, "with evidence": shown}


if __name__ == "__main__":
    main()
