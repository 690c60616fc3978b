"""How long a cluster is without a leader: from SIGKILL of the leader to the next acknowledged write.

    python benchmarks/election.py [--servers=5] [--kills=10]

Real processes on loopback, raft_multiplier 1. After each kill every remaining server is asked for the leader,
and once one names another than the dead, a write is sent to it, every 10 ms until it is acknowledged. Each
killed server is started again and has to serve before the next kill.
"""

from __future__ import annotations

import argparse
import statistics
import time

from _cluster import LocalCluster, await_true, request


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--servers", type=int, default=5)
    parser.add_argument("--kills", type=int, default=10)
    options = parser.parse_args()
    elected, written = [], []
    with LocalCluster(options.servers) as cluster:
        for number in range(options.kills):
            until_elected, until_written = kill_leader(cluster)
            elected.append(until_elected)
            written.append(until_written)
            print(f"kill {number + 1}: leader after {until_elected:.2f} s, write after {until_written:.2f} s")
    print(f"{options.kills} kills of {options.servers} servers' leader:")
    for name, seconds in (("new leader known", elected), ("write acknowledged", written)):
        seconds.sort()
        p95 = seconds[min(len(seconds) - 1, int(len(seconds) * 0.95))]
        median = statistics.median(seconds)
        print(f"  {name:<19} median {median:.2f} s, p95 {p95:.2f} s, max {seconds[-1]:.2f} s")


def kill_leader(cluster: LocalCluster) -> tuple[float, float]:
    """Seconds until another leader is known, and until it has acknowledged a write."""
    dead = cluster.leader(cluster.addresses[0])
    others = [address for address in cluster.addresses if address != dead]
    cluster.kill(dead)
    killed = time.perf_counter()
    found: list[str] = []

    def elected() -> bool:
        found[:] = [leader for leader in map(cluster.leader, others) if leader not in ("", dead)]
        return bool(found)

    await_true(elected, "a new leader")
    until_elected = time.perf_counter() - killed
    await_true(lambda: request(found[0], "PUT", "/v1/kv/after", b"x")[0] == 200, "an acknowledged write")
    until_written = time.perf_counter() - killed
    cluster.start(dead)
    cluster.await_ready(dead)
    return until_elected, until_written


if __name__ == "__main__":
    main()
