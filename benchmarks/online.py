"""What following a run costs, per event, and how much of it is remembered.

    python benchmarks/online.py [--operations 200000] [--seed 7]

Prints a table, one row a history of registers, generated as in `benchmarks.zones`: clients, keys, crash rate;
microseconds an event on average (the best of three), and the values that are remembered at the end. Then
growing sets that are read once in 15 operations, where it is the size of the answers that counts.
"""

from __future__ import annotations

import argparse
import gc
import random
import time
from collections.abc import Callable, Sequence

from zones import generate

from checkers.online import Follower, RegisterFollower
from checkers.online_set import SetFollower
from harness.history import Op


def adds_and_reads(adds: int, clients: int, seed: int) -> list[Op]:
    """A set under clients that take turns at random; each read shows all that was acknowledged."""
    chance = random.Random(seed)
    ops: list[Op] = []
    busy: dict[int, tuple[str, int | None]] = {}
    there: list[int] = []
    added = 0
    while added < adds or busy:
        process = chance.randrange(clients)
        begun = busy.pop(process, None)
        if begun is not None:
            f, element = begun
            if element is not None:
                there.append(element)
            ops.append(Op(len(ops), len(ops), "ok", process, f, None, element if f == "add" else list(there)))
        elif added < adds:
            f, element = ("read", None) if added % 15 == 14 else ("add", added)
            added += 1
            busy[process] = f, element
            ops.append(Op(len(ops), len(ops), "invoke", process, f, None, element))
    return ops


def measured(make: Callable[[], Follower], ops: Sequence[Op]) -> float:
    """Microseconds an event."""
    seconds = []
    for _ in range(3):
        event = make().event
        gc.collect()
        began = time.perf_counter()
        for op in ops:
            assert event(op) is None
        seconds.append(time.perf_counter() - began)
    return min(seconds) / len(ops) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--operations", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()

    print(f"{'clients':>8} {'keys':>5} {'crash':>6} {'events':>8} {'us/event':>9} {'kept':>6}")
    for clients in (10, 100):
        for keys in (1, 1000):
            for crash_rate in (0.0, 0.05):
                ops = generate(options.operations, clients=clients, keys=keys, crash_rate=crash_rate,
                               bad=False, seed=options.seed)  # fmt: skip
                cost = measured(RegisterFollower, ops)
                follower = RegisterFollower()
                for op in ops:
                    follower.event(op)
                print(
                    f"{clients:>8} {keys:>5} {crash_rate:>6.1%} {len(ops):>8} {cost:>9.2f} "
                    f"{follower.kept:>6}",
                    flush=True,
                )
    print(f"\n{'adds':>8} {'events':>8} {'us/event':>9}")
    for adds in (1000, 10_000):
        ops = adds_and_reads(adds, 10, options.seed)
        print(f"{adds:>8} {len(ops):>8} {measured(lambda: SetFollower(linearizable=True), ops):>9.2f}")


if __name__ == "__main__":
    main()
