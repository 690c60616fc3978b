"""What a simulated run costs: virtual seconds per second, and where the time of a seed goes.

    python -m benchmarks.simulator [--seeds 0:5] [--workload register] [--nemesis partition] [--rate 20]
                                   [--time-limit 30]

Five proconsul servers, ten clients, one run per seed. Every figure is the median over the seeds, of processor
time (which other load disturbs least) and of real time. A first run, which imports and compiles, is not
counted but as `start-up`. The phases of a seed:

    simulation  from nothing to the end of the run
    checks      the history read and judged
    report      the page, which a sweep draws of nothing

`virtual s/s` is virtual time over the time of the simulation alone. The counts are per virtual second, and
say what was to be done: compare times only where they are equal.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from harness import report
from harness.cli import checkers_of, test_of
from harness.history import History
from harness.judge import judge
from harness.progress import Phases
from harness.run import run_in
from harness.simulation.sweep import Plan, parse_seeds
from harness.store import TestRecord, write_results, write_test
from harness.worlds.sim import Sim
from impl.invariants import Watch

PHASES = ("simulation", "checks", "report")

CLOCKS: dict[str, Callable[[], float]] = {"processor": time.process_time, "real": time.perf_counter}


@dataclass
class Run:
    """What one seed cost."""

    seconds: dict[tuple[str, str], float] = field(default_factory=dict)
    """By clock and phase."""
    virtual_seconds: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        before = {clock: now() for clock, now in CLOCKS.items()}
        yield
        for clock, now in CLOCKS.items():
            self.seconds[clock, name] = now() - before[clock]


def measure(record: TestRecord) -> Run:
    """One run, from nothing to its report."""
    measured = Run()
    with TemporaryDirectory(prefix="splitbrain-") as folder:
        directory = Path(folder)
        with measured.phase("simulation"):
            world, test = Sim(), test_of(record)
            problems = run_in(test, world, directory, Phases())
        with measured.phase("checks"):
            history = History.read(directory / "history.jsonl")
            results = judge(history, checkers_of(test), problems, test.nemesis.safety_only)
        with measured.phase("report"):
            write_test(directory, record)
            write_results(directory, results)
            report.write(directory)
    if results.outcome != "valid":
        sys.stderr.write(f"seed {record.seed}: {results.outcome}: {results.summary}\n")
    loop, cluster = world.loop, world.cluster
    assert loop is not None and cluster is not None
    datagrams, segments = cluster.traffic()
    measured.virtual_seconds = loop.now_ns / 1e9
    measured.counts = {
        "operations": results.operations,
        "callbacks": loop.callbacks,
        "datagrams": datagrams,
        "segments": segments,
        "log entries": sum(w.committed_index for w in cluster.watches.values() if isinstance(w, Watch)),
    }
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--seeds", default="0:5", type=parse_seeds, metavar="A:B")
    parser.add_argument("--workload", default="register")
    parser.add_argument("--nemesis", default="partition")
    parser.add_argument("--rate", type=float, default=20.0, metavar="HZ")
    parser.add_argument("--time-limit", type=float, default=30.0, metavar="SECONDS")
    options = parser.parse_args()
    plan = Plan(
        workloads=(options.workload,),
        nemesis=options.nemesis,
        rate=options.rate,
        time_limit=options.time_limit,
    )
    records = [plan.record(options.workload, seed) for seed in options.seeds]
    first = measure(records[0])
    runs = [measure(record) for record in records]
    width = max(map(len, CLOCKS))
    for clock in CLOCKS:
        of = {phase: median(run.seconds[clock, phase] for run in runs) for phase in PHASES}
        whole = median(sum(run.seconds[clock, phase] for phase in ("simulation", "checks")) for run in runs)
        speed = median(run.virtual_seconds / run.seconds[clock, "simulation"] for run in runs)
        began = sum(first.seconds[clock, phase] - runs[0].seconds[clock, phase] for phase in PHASES)
        phases = ", ".join(f"{phase} {of[phase]:.3f} s" for phase in PHASES)
        print(
            f"{clock:{width}}  {speed:5.1f} virtual s/s, {whole:.3f} s per seed to the verdict "
            f"({phases}; start-up {began:.1f} s)"
        )
    counts = (
        f"{what} {median(r.counts[what] / r.virtual_seconds for r in runs):,.0f}" for what in first.counts
    )
    print(f"per virtual second: {', '.join(counts)}")


if __name__ == "__main__":
    main()
