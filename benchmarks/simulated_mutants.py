"""How many seeds the simulator needs to find each known bug in a whole agent, and how small it makes it.

    python -m benchmarks.simulated_mutants [--names A,B] [--seeds 200] [--runs 150] [--output docs/mutants.md]

A row a mutant of `tests/mutants/catalogue.py`: how many seeds were tried until one found it, the
processor's seconds that took, what found it, and the size of the scenario once shrunk, with so many runs.
Those in `KEPT` are shrunk with as many as `splitbrain shrink` takes, and written to
`tests/mutants/found/`, where they are run again by tests. Without --names the table is written into its
section of the document. To be run in the repository's root.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from time import process_time

from harness.simulation.scenario import encode
from harness.simulation.shrink import RUNS_MAX, shrink
from harness.simulation.sweep import Seed, run_seed
from tests.mutants.catalogue import KEPT, MISSED, MUTANTS, Mutant
from tests.mutants.document import IN_WHOLE_AGENTS, put

FOUND = Path("tests/mutants/found")

HEAD = """The same bugs in agents as they are, with shell, disk, network and clients, in the simulator: a
run is some fifteen seconds of a workload under faults, and what finds the bug is an invariant of the
cores, or a checker of what the clients saw. *Seeds* is how many were tried, from 0 on, until one found
it, and the processor time that took; *shrunk to* what `splitbrain shrink` left of it within {runs} runs.
4, 15 and 16 were shrunk for longer: these scenarios are in `tests/mutants/found/`. Those without a number
are not of the list.

Written by `python -m benchmarks.simulated_mutants`.
"""


def short(mutant: Mutant) -> str:
    """Its name without the module of the adapter."""
    return mutant.name.rpartition(":")[2]


def first_found(mutant: Mutant, seeds: int) -> tuple[Seed | None, int, float]:
    """The first seed that finds it, how many were tried, and the seconds that took."""
    plan, began = mutant.plan(), process_time()
    for seed in range(seeds):
        run = run_seed(plan, mutant.workload, seed)
        if run.failure is not None and run.failure.startswith(mutant.finds):
            return run, seed + 1, process_time() - began
    return None, seeds, process_time() - began


def row(mutant: Mutant, seeds: int, runs: int) -> str:
    """Hunt it, shrink what was found, and keep it if it is to be kept."""
    found, tried, seconds = first_found(mutant, seeds)
    name = short(mutant)
    columns = [str(mutant.number or ""), mutant.bug, f"{mutant.workload}, {mutant.nemesis}"]
    if found is None or found.scenario is None:
        columns += [f"not in {tried}", f"{seconds:.0f} s", "", ""]
    else:
        small = shrink(found.scenario, runs_max=RUNS_MAX if name in KEPT else runs)
        columns += [str(tried), f"{seconds:.1f} s", f"{found.failure}", small.size()]
        if name in KEPT:
            FOUND.mkdir(exist_ok=True)
            (FOUND / f"{name}.json").write_bytes(encode(small))
    return f"| {' | '.join(columns)} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--names", help="only these, comma-separated")
    parser.add_argument("--seeds", type=int, help="at most so many (default: each mutant's own)")
    parser.add_argument("--runs", type=int, default=150, help="to shrink what was found")
    parser.add_argument("--output", type=Path, default=Path("docs/mutants.md"))
    options = parser.parse_args()
    names = set(options.names.split(",")) if options.names else {mutant.name for mutant in MUTANTS}
    chosen = [mutant for mutant in MUTANTS if not names.isdisjoint((mutant.name, short(mutant)))]
    unknown = names.difference(*((mutant.name, short(mutant)) for mutant in chosen))
    if unknown:
        parser.error(f"no such mutants: {', '.join(sorted(unknown))}")
    rows = [
        "| | The bug | Workload, faults | Seeds | | Found by | Shrunk to |",
        "|---|---|---|---|---|---|---|",
    ]
    for mutant in sorted(chosen, key=lambda one: (one.number == 0, one.number)):
        rows.append(row(mutant, options.seeds or mutant.seeds, options.runs))
        print(rows[-1], flush=True)
    if not options.names:
        table = "\n".join([*rows, "", MISSED])
        put(options.output, IN_WHOLE_AGENTS, f"{HEAD.format(runs=options.runs)}\n{table}")
    return 1 if any("not in" in one for one in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
