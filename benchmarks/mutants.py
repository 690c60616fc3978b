"""How soon known bugs are found in bare cores: hunts them all, and writes docs/mutants.md.

    python -m benchmarks.mutants [--seeds 300] [--only NAME ...] [--output docs/mutants.md]

Every bug is hunted on its ground with so many seeds (drills, which are alike for every seed, with ten), also
after it was found: how many of 1,000 seeds find it says more than which was the first. Times are of the
processor. The cores without a bug are hunted on the same grounds, with the same seeds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.mutants.document import IN_WHOLE_AGENTS, put, section
from tests.mutants.grounds import Ground, System
from tests.mutants.hunting import DRILLS, EQUIVALENT, MISSING, MUTANTS, Catch, Mutant, hunt

DRILL_SEEDS = 10

HEAD = """# Known bugs, and how soon they are found

splitbrain is held to this list. Each bug was made in proconsul on purpose, as an override of a few lines
under `tests/mutants/`; a check has to find it, while the same hunt finds nothing in proconsul as it is. The
numbers stand for the kind of bug and are used throughout the project.

The first tables are of **bare cores**: no processes, no shell, only cores in virtual time under faults,
with every promise watched at every step (`impl/raft/invariants.py`, `impl/gossip/invariants.py`). The
ground says under which faults (`tests/mutants/grounds.py`); a *drill* is one situation in which a certain
step has to be right, and its seeds tell nearly the same. *First* is the first seed, from 0 on, that finds
the bug, and how much processor time that took; *of 1,000* is how many of a thousand seeds find it.

Written by `python -m benchmarks.mutants`.
"""


def row(mutant: Mutant, catch: Catch) -> str:
    kinds = ", ".join(f"{kind} {count}" for kind, count in catch.kinds.most_common())
    first = "not found" if catch.first_seed is None else f"{catch.first_seed}, {catch.first_seconds:.1f} s"
    density = (
        "all" if catch.kinds.total() == catch.seeds else f"{1000 * catch.kinds.total() / catch.seeds:,.0f}"
    )
    number = str(mutant.number or "")
    ground = mutant.ground.__name__.replace("_", " ")
    ground += " (drill)" if mutant.ground in DRILLS else ""
    return f"| {number} | {mutant.bug} | {ground} | {first} | {density} | {kinds} |"


def table(rows: Sequence[str], columns: str) -> str:
    return "\n".join([columns, "|".join(["", *["---"] * (columns.count("|") - 1), ""]), *rows]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=300)
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME")
    parser.add_argument("--output", type=Path, default=Path("docs/mutants.md"))
    arguments = parser.parse_args()
    chosen = [one for one in MUTANTS if not arguments.only or one.name in arguments.only]
    rows, missed = [], []
    grounds: dict[Ground, int] = {}
    for mutant in sorted(chosen, key=lambda one: (one.number == 0, one.number)):
        count = DRILL_SEEDS if mutant.ground in DRILLS else arguments.seeds
        grounds[mutant.ground] = count
        catch = hunt(mutant.system, mutant.ground, range(count), until=())
        rows.append(row(mutant, catch))
        print(rows[-1], flush=True)
        if not any(catch.kinds[kind] for kind in mutant.caught_by):
            missed.append(mutant.name)
    clean_rows = []
    for ground, count in grounds.items():
        catch = hunt(System(), ground, range(count), until=())
        found = ", ".join(catch.kinds) or "nothing"
        name = ground.__name__.replace("_", " ")
        text = " ".join((ground.__doc__ or "").split("\n\n")[0].split())
        clean_rows.append(f"| {name} | {text} | {count} | {1000 * catch.seconds / count:,.0f} ms | {found} |")
        print(clean_rows[-1], flush=True)
        missed += [f"{name}: {found}"] if catch.kinds else []
    if not arguments.only:
        equivalent = [f"| {number} | {bug} | {reason} |" for number, bug, reason in EQUIVALENT]
        parts = [
            HEAD,
            table(rows, "| | The bug | Ground | First | of 1,000 | Found by |"),
            "## The grounds, and what they find in the cores as they are\n",
            table(clean_rows, "| Ground | What happens there | Seeds | A seed | Found |"),
            "## Bugs that proconsul cannot have\n",
            table(equivalent, "| | The bug | Why not |"),
            "## Not hunted yet\n",
            table([f"| {number} | {bug} | {why} |" for number, bug, why in MISSING], "| | The bug | Why |"),
        ]
        # What `benchmarks.simulated_mutants` has written stays.
        before = arguments.output.read_text() if arguments.output.exists() else ""
        whole_agents = section(before, IN_WHOLE_AGENTS)
        arguments.output.write_text("\n".join(parts))
        if whole_agents is not None:
            put(arguments.output, IN_WHOLE_AGENTS, whole_agents)
    for name in missed:
        print("not as it should be:", name)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
