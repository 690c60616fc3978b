"""Run simulations and print for each what tells it apart: `python fingerprints.py TIMES CASE...`

A case is workload/nemesis/seed. Each is run TIMES times, one after the other in this process.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.cli import test_of
from harness.history import Op
from harness.run import run
from harness.store import TestRecord
from harness.worlds.sim import Sim


class Nobody:
    """Implements `harness.run.Observer`."""

    def phase(self, name: str) -> None:
        pass

    def event(self, event: Op) -> None:
        pass


def record(workload: str, nemesis: str, seed: int) -> TestRecord:
    return TestRecord(
        name="run",
        started="",
        command=[],
        seed=seed,
        world="sim",
        system="proconsul",
        workload=workload,
        nemesis=nemesis,
        nodes=["n1", "n2", "n3", "n4", "n5"],
        servers=5,
        reads="consistent",
        agent=None,
        concurrency=10,
        rate=20.0,
        time_limit=6.0,
        operation_timeout=5.0,
        promise="",
        marks=[],
    )


def fingerprint(workload: str, nemesis: str, seed: int) -> list[str | int]:
    """Hash of the history, trace of who ran when, how many callbacks and nanoseconds, hash of all logs."""
    world = Sim()
    with TemporaryDirectory() as folder:
        directory = Path(folder)
        world.run(run(test_of(record(workload, nemesis, seed)), world, directory, Nobody()))
        history = (directory / "history.jsonl").read_bytes()
        logs = b"".join(log.read_bytes() for log in sorted(directory.glob("nodes/*/log")))
    loop = world.loop
    assert loop is not None
    hashes = [hashlib.sha256(data.replace(folder.encode(), b"")).hexdigest()[:16] for data in (history, logs)]
    return [hashes[0], loop.trace, loop.callbacks, loop.now_ns, hashes[1]]


if __name__ == "__main__":
    times, *cases = sys.argv[1:]
    for case in cases:
        workload, nemesis, seed = case.split("/")
        for _ in range(int(times)):
            print(json.dumps(fingerprint(workload, nemesis, int(seed))))
