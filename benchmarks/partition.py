"""How long a partition of five real nodes takes to apply and to heal, as the harness sees it.

    python benchmarks/partition.py [--rounds=500]

Each round cuts the halves n1 n2 | n3 n4 n5 apart in both directions (12 links, one transaction) and heals
them. A time is from the call of `Cluster.cut` to its return, when the rule is in force. Before and after the
timed rounds, datagrams on all 20 links show that exactly the 12 are dropped, and none after the heal.

For comparison, on the machine that this was written on: Jepsen's way, iptables in each of five nodes, took
27 ms to cut and 103 ms to heal; the nft program with a rule like this one, 5 ms and 16 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

from harness.worlds import Cluster, Link
from harness.worlds.conformance import Probes
from harness.worlds.netns import Netns

NODES = ("n1", "n2", "n3", "n4", "n5")
LINKS = {(a, b) for a in NODES for b in NODES if a != b}
HALVES = {(a, b) for a, b in LINKS if (a in NODES[:2]) != (b in NODES[:2])}


async def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        opened = time.perf_counter()
        cluster = await Netns().open(NODES, Path(directory))
        print(f"five nodes, ready for processes in {(time.perf_counter() - opened) * 1e3:.0f} ms")
        try:
            probes = Probes(cluster, sys.executable)
            await probes.start(*NODES)
            await _verify(probes, HALVES)
            cut, heal = await _measure(cluster, rounds)
            await _verify(probes, HALVES)
        finally:
            await cluster.close()
    print(f"{rounds} rounds   median    p99     max")
    for name, times in (("cut", cut), ("heal", heal)):
        times.sort()
        p99 = times[int(len(times) * 0.99)]
        print(f"{name:10} {statistics.median(times):6.2f} {p99:6.2f} {times[-1]:7.2f} ms")


async def _measure(cluster: Cluster, rounds: int) -> tuple[list[float], list[float]]:
    cut, heal = [], []
    for _ in range(rounds):
        began = time.perf_counter()
        await cluster.cut(HALVES)
        in_force = time.perf_counter()
        await cluster.cut([])
        healed = time.perf_counter()
        cut.append((in_force - began) * 1e3)
        heal.append((healed - in_force) * 1e3)
    return cut, heal


async def _verify(probes: Probes, cut: set[Link]) -> None:
    await probes.cluster.cut(cut)
    await probes.assert_passing(LINKS - cut)
    await probes.cluster.cut([])
    await probes.assert_passing(LINKS)
    print(
        f"verified: {len(cut)} links dropped, the other {len(LINKS - cut)} passed; after the heal all passed"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=500)
    asyncio.run(main(parser.parse_args().rounds))
