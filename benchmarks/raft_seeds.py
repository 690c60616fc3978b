"""How many simulated clusters a second the Raft core goes through, every promise watched at every step.

    python -m benchmarks.raft_seeds [--seeds 0:300] [--faults windows|swarm] [--jobs 1]

`windows` is what other simulators of Raft are measured with: five servers, links of 10 to 50 ms, 2 % of the
messages lost and 2 % sent twice, three windows of partitions within 15 virtual seconds, every five seconds a
crash that loses what was not synced, a client that proposes and reads three times a second, and at the end
the demand to converge. `swarm` is what bugs are searched with: two virtual seconds of everything that can go
wrong, in other proportions for each seed, with timeouts a fifth as long.

Prints seeds, virtual seconds and events per second of processor time and of real time, which faults were
reached how often, and every failure with what replays it. Exits with 1 if there was one. A thorough search
over all processors is `--faults swarm --seeds 0:100000 --jobs 2`.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from random import Random

from impl.raft import Config, InvariantViolation
from impl.raft.invariants import PropertyViolated
from impl.raft.settings import Faults, Load, Setting, swarm
from impl.raft.simulation import Simulation
from impl.raft.types import MILLISECOND_NS

CHUNK = 50
"""Seeds that a process takes at a time."""

WINDOWS = Setting(
    servers=5,
    config=Config(
        heartbeat_timeout_ns=450 * MILLISECOND_NS,
        election_timeout_ns=450 * MILLISECOND_NS,
        leader_lease_timeout_ns=250 * MILLISECOND_NS,
        heartbeat_interval_ns=100 * MILLISECOND_NS,
    ),
    faults=Faults(
        loss=0.02,
        duplication=0.02,
        delay_ns_min=10 * MILLISECOND_NS,
        delay_ns_max=50 * MILLISECOND_NS,
        sync_ns_max=5 * MILLISECOND_NS,
        partitions=3,
        crash_interval_ns=5000 * MILLISECOND_NS,
    ),
    load=Load(proposal_interval_ns=300 * MILLISECOND_NS, read_interval_ns=300 * MILLISECOND_NS),
)


@dataclass(slots=True)
class Tally:
    """What came of some seeds."""

    seeds: int = 0
    virtual_ns: int = 0
    events: int = 0
    committed: int = 0
    processor_seconds: float = 0.0
    reached: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        for name in ("seeds", "virtual_ns", "events", "committed", "processor_seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.reached += other.reached
        self.failures += other.failures


def go_through(faults: str, seeds: range) -> Tally:
    """Run these seeds."""
    tally = Tally(seeds=len(seeds))
    duration_ns, within_ns = (15_000, 20_000) if faults == "windows" else (2_000, 5_000)
    start = time.process_time()
    for seed in seeds:
        setting = WINDOWS if faults == "windows" else swarm(Random(f"{seed} swarm"))
        simulation = Simulation(seed, setting)
        try:
            simulation.run(duration_ns * MILLISECOND_NS)
            simulation.converge(within_ns * MILLISECOND_NS)
        except (PropertyViolated, InvariantViolation) as violation:
            tally.failures.append(f"seed {seed}: {violation}\n    Simulation({seed}, {setting})")
        tally.virtual_ns += simulation.now_ns
        tally.events += simulation.events
        tally.committed += simulation.committed
        tally.reached += simulation.reached
    tally.processor_seconds = time.process_time() - start
    return tally


def chunks(seeds: range) -> Iterator[range]:
    for first in range(seeds.start, seeds.stop, CHUNK):
        yield range(first, min(first + CHUNK, seeds.stop))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--seeds", default="0:300", metavar="FIRST:END")
    parser.add_argument("--faults", choices=("windows", "swarm"), default="windows")
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    first, _, end = arguments.seeds.partition(":")
    seeds = range(int(first), int(end))
    gc.freeze()
    total = Tally()
    start = time.perf_counter()
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for tally in pool.map(go_through, itertools.repeat(arguments.faults), chunks(seeds)):
            total.add(tally)
            sys.stderr.write(f"\r{total.seeds} of {len(seeds)} seeds, {len(total.failures)} failures")
    real = time.perf_counter() - start
    sys.stderr.write("\r" + " " * 60 + "\r")
    for name, seconds in (("processor", total.processor_seconds), ("real", real)):
        print(
            f"per second of {name + ' time:':16} {total.seeds / seconds:8,.1f} seeds "
            f"{total.virtual_ns / 1e9 / seconds:8,.0f} virtual seconds {total.events / seconds:10,.0f} events"
        )
    print(
        f"in a seed: {total.events / total.seeds:,.0f} events, {total.committed / total.seeds:,.0f} commits"
    )
    for what, count in sorted(total.reached.items()):
        print(f"{count:12,} {what}")
    for failure in total.failures:
        print(failure)
    print(f"{len(total.failures)} failures in {total.seeds} seeds")
    return 1 if total.failures else 0


if __name__ == "__main__":
    sys.exit(main())
