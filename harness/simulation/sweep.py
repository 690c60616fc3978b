"""Many seeds, over all cores: what was reached, how fast, and every failure kept as a scenario.

A sweep goes on whatever becomes of one seed: a bug of the simulator's own, the death of the process that ran
it, a scenario that cannot be written are each told with the seed that it was. Ctrl-C ends it, with what is
known by then.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import Event
from types import FrameType

import msgspec

from harness import fault_values, registry
from harness.cli import workload as workload_of
from harness.simulation.scenario import Scenario, Simulated, encode, simulate_seed
from harness.store import Outcome, TestRecord
from harness.systems import Reads

RATES = (10.0, 20.0, 20.0, 60.0, 200.0)
"""Operations per second: where much is to happen in a run, and where operations are to meet each other."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What all seeds of a sweep have in common."""

    workloads: tuple[str, ...]
    nemesis: str = "swarm"
    system: str = "proconsul"
    agent: list[str] | None = None
    reads: Reads = "consistent"
    nodes: int = 5
    servers: int = 5
    concurrency: int = 10
    rate: float | None = None
    """None: another for each seed, of `RATES`."""
    time_limit: float | None = None
    operation_timeout: float = 5.0
    extra: dict[str, str] = {}

    def record(self, workload: str, seed: int) -> TestRecord:
        """The record of one run."""
        defaults = workload_of(workload)
        random = Random(f"{seed}/knobs")
        knobs = registry.system(self.system).knobs(random)
        return TestRecord(
            name=f"{defaults.name}-{self.nemesis}",
            started="",
            command=[],
            seed=seed,
            world="sim",
            system=self.system,
            workload=workload,
            nemesis=self.nemesis,
            nodes=[f"n{number}" for number in range(1, self.nodes + 1)],
            servers=self.servers,
            reads=self.reads,
            agent=self.agent,
            concurrency=self.concurrency,
            rate=self.rate or random.choice(RATES),
            time_limit=self.time_limit or defaults.time_limit,
            operation_timeout=self.operation_timeout,
            promise="",
            marks=[],
            extra={**knobs, **self.extra},
        )


class Seed(msgspec.Struct, frozen=True):
    """What came of one seed and workload."""

    workload: str
    seed: int
    outcome: Outcome
    failure: str | None
    summary: str
    scenario: Scenario | None
    """Of a failure."""
    operations: int
    reached: dict[str, int]
    """Faults that hit anything and departures that happened, by kind."""
    virtual_seconds: float
    seconds: float


@dataclass
class Tally:
    """A sweep as it stands."""

    began: float = field(default_factory=time.monotonic)
    seeds: int = 0
    operations: int = 0
    virtual_seconds: float = 0.0
    reached: Counter[str] = field(default_factory=Counter)
    failures: dict[str, list[Seed]] = field(default_factory=dict)
    """By kind."""
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    kept: int = 0
    """Scenarios that were written,"""
    lost: list[str] = field(default_factory=list)
    """and those that were not: the file, and why."""

    def add(self, seed: Seed) -> None:
        self.seeds += 1
        self.operations += seed.operations
        self.virtual_seconds += seed.virtual_seconds
        self.reached.update(seed.reached)
        self.outcomes[seed.outcome] += 1
        if seed.failure is not None:
            self.failures.setdefault(seed.failure, []).append(seed)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def line(self) -> str:
        """How it goes, in a line."""
        failed = sum(map(len, self.failures.values()))
        return (
            f"{self.seeds:,} seeds, {self.seeds / self.seconds:.1f} a second, "
            f"{self.virtual_seconds / self.seconds:.0f} virtual seconds a second, {failed} failed"
        )

    def lines(self) -> Iterator[str]:
        """Everything, for the end."""
        yield self.line()
        yield f"{self.operations:,} operations in {self.virtual_seconds:,.0f} s of virtual time"
        reached = ", ".join(f"{what} {count:,}" for what, count in sorted(self.reached.items()))
        yield f"reached: {reached or 'no faults'}"
        for failure, seeds in sorted(self.failures.items()):
            first = seeds[0]
            yield f"{failure}: {len(seeds)} of {self.seeds}, first of {first.workload}, seed {first.seed}"
            yield f"    {first.summary}"
        if self.lost:
            yield f"{len(self.lost)} scenarios could not be written, first {self.lost[0]}"


def run_seed(plan: Plan, workload: str, seed: int) -> Seed:
    """One run, in this process. A bug of the simulator's own is a failure, too."""
    began = time.monotonic()
    try:
        played = simulate_seed(plan.record(workload, seed))
    except Exception as error:
        summary = "".join(traceback.format_exception(error)[-3:])
        failure = f"simulator: {type(error).__name__}"
        return _without_result(workload, seed, failure, summary, time.monotonic() - began)
    return Seed(
        workload,
        seed,
        played.results.outcome,
        played.failure,
        played.results.summary,
        played.scenario if played.failure else None,
        played.results.operations,
        reached(played),
        played.seconds,
        time.monotonic() - began,
    )


def _without_result(workload: str, seed: int, failure: str, summary: str, seconds: float) -> Seed:
    return Seed(workload, seed, "unknown", failure, summary, None, 0, {}, 0.0, seconds)


def reached(played: Simulated) -> dict[str, int]:
    """Faults that hit anything and departures that happened, by kind."""
    faults = [fault for fault in played.scenario.faults if fault.f.startswith("start-")]
    counts = Counter(fault.kind for fault in faults if fault_values.hits(fault.value))
    counts.update(departed.kind for departed in played.scenario.departures)
    counts.update({"core": bool(played.scenario.left_out)})
    counts.update({"trap sprung": played.traps_sprung})
    return {what: count for what, count in counts.items() if count}


def sweep(
    plan: Plan,
    seeds: Iterable[int],
    *,
    jobs: int | None = None,
    failures: Path | None = None,
    on_seed: Callable[[Seed, Tally], None] = lambda seed, tally: None,
    tally: Tally | None = None,
) -> Tally:
    """Run every seed with every workload; each failure's scenario is written into `failures` at once.

    Raises KeyboardInterrupt; what there was until then is in `tally`, if one is given.
    """
    tally = Tally() if tally is None else tally
    work = ((workload, seed) for seed in seeds for workload in plan.workloads)
    with _ctrl_c() as pressed:
        for done in _run_all(plan, work, jobs or _cores()):
            tally.add(done)
            if done.scenario is not None and failures is not None:
                _keep(done.scenario, failures / f"{workload_of(done.workload).name}-{done.seed}.json", tally)
            on_seed(done, tally)
            if pressed.is_set():
                raise KeyboardInterrupt
    return tally


@contextmanager
def _ctrl_c() -> Iterator[Event]:
    """Whether it was pressed. (What comes in a finalizer raises KeyboardInterrupt, of which Python makes
    nothing but a line on stderr.)"""
    pressed = Event()
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield pressed
        return

    def hear(number: int, frame: FrameType | None) -> None:
        pressed.set()
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, hear)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _keep(scenario: Scenario, path: Path, tally: Tally) -> None:
    """Write the scenario, or nothing. (The disk may be full: the seed is known all the same.)"""
    unfinished = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            unfinished.write_bytes(encode(scenario))
            unfinished.replace(path)
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise
    except OSError as error:
        tally.lost.append(f"{path}: {error.strerror}")
    else:
        tally.kept += 1


def _cores() -> int:
    """How many this process may use, which in a container can be fewer than there are."""
    if hasattr(os, "sched_getaffinity"):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _run_all(plan: Plan, work: Iterator[tuple[str, int]], jobs: int) -> Iterator[Seed]:
    if jobs == 1:
        for workload, seed in work:
            yield run_seed(plan, workload, seed)
        return
    pool = _pool(jobs)
    pending: dict[Future[Seed], tuple[str, int]] = {}
    try:
        while True:
            suspects: list[tuple[str, int]] = []
            # Not all at once: a sweep may be of millions of seeds.
            while not suspects and len(pending) < 2 * jobs and (item := next(work, None)) is not None:
                try:
                    pending[pool.submit(run_seed, plan, *item)] = item
                except BrokenProcessPool:
                    suspects.append(item)
            if not pending and not suspects:
                return
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                item = pending.pop(future)
                try:
                    result = future.result()
                except BrokenProcessPool:
                    suspects.append(item)
                else:
                    yield result
            if suspects:
                # A process died, and all that was under way with it: who it was shows where each is alone.
                suspects += pending.values()
                pending.clear()
                pool.shutdown()
                for item in suspects:
                    yield _run_alone(plan, *item)
                pool = _pool(jobs)
    finally:
        for future in pending:
            future.cancel()
        pool.shutdown()


def _run_alone(plan: Plan, workload: str, seed: int) -> Seed:
    """In a process that may die of it."""
    began = time.monotonic()
    with _pool(1) as pool:
        try:
            return pool.submit(run_seed, plan, workload, seed).result()
        except BrokenProcessPool:
            failure, summary = (
                "simulator: its process died",
                "it was killed, or it crashed, as did its repetition",
            )
            return _without_result(workload, seed, failure, summary, time.monotonic() - began)


def _pool(jobs: int) -> ProcessPoolExecutor:
    # Ctrl-C is for the process that has the workers. (A run that is under way hears of it, and ends.)
    return ProcessPoolExecutor(
        jobs, multiprocessing.get_context("spawn"), signal.signal, (signal.SIGINT, signal.SIG_IGN)
    )


def parse_seeds(text: str) -> Sequence[int]:
    """ "7", or "A:B" for A up to, and without, B. Raises ValueError."""
    first, colon, last = text.partition(":")
    try:
        if not colon:
            return range(int(first), int(first) + 1)
        seeds = range(int(first or 0), int(last))
    except ValueError:
        raise ValueError(f"seeds are a number, or two as A:B, not {text!r}") from None
    if not seeds:
        raise ValueError(f"no seeds from {first} up to {last}")
    return seeds
