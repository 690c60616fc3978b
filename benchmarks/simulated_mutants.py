"""How many seeds the simulator needs to find each known bug in a whole agent, and how small it makes it.

    python -m benchmarks.simulated_mutants [--names A,B] [--seeds 200] [--no-shrink]

Prints a Markdown table, a row a mutant of `tests/mutants/catalogue.py`: how many seeds were tried until one
found it, the seconds that took, what found it, and the size of the scenario once shrunk.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from harness.simulation.shrink import shrink
from harness.simulation.sweep import Plan, Seed, run_seed
from tests.mutants.catalogue import MUTANTS, Mutant

AGENT = Path(__file__).parents[1] / "tests" / "mutants" / "agent.py"


def plan_of(mutant: Mutant) -> Plan:
    """The sweep that must find it."""
    adapter = ":" in mutant.name
    fields = {"time_limit": 15.0, **mutant.fields}
    return Plan(
        workloads=(mutant.workload,),
        nemesis=mutant.nemesis,
        system=mutant.name if adapter else "proconsul",
        agent=None if adapter else [sys.executable, str(AGENT), mutant.name],
        **fields,
    )


def first_found(mutant: Mutant, seeds: int) -> tuple[Seed | None, int, float]:
    """The first seed that finds it, how many were tried, and the seconds that took."""
    plan, began = plan_of(mutant), time.monotonic()
    for seed in range(seeds):
        run = run_seed(plan, mutant.workload, seed)
        if run.failure is not None and run.failure.startswith(mutant.finds):
            return run, seed + 1, time.monotonic() - began
    return None, seeds, time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--names", help="only these, comma-separated")
    parser.add_argument("--seeds", type=int, help="at most so many (default: each mutant's own)")
    parser.add_argument("--no-shrink", action="store_true")
    options = parser.parse_args()
    names = options.names.split(",") if options.names else [mutant.name for mutant in MUTANTS]
    print("| # | mutant | workload, nemesis | seeds | seconds | found by | shrunk to |")
    print("|---|---|---|---|---|---|---|")
    for mutant in MUTANTS:
        if mutant.name not in names:
            continue
        found, tried, seconds = first_found(mutant, options.seeds or mutant.seeds)
        what = f"{mutant.workload}, {mutant.nemesis}"
        if found is None or found.scenario is None:
            row = f"| {mutant.number} | {mutant.name} | {what} | not in {tried} | {seconds:.0f} | | |"
        else:
            size = "" if options.no_shrink else shrink(found.scenario, runs_max=600).size()
            row = f"| {mutant.number} | {mutant.name} | {what} | {tried} | {seconds:.1f} | {found.failure} "
            row += f"| {size} |"
        print(row, flush=True)


if __name__ == "__main__":
    main()
