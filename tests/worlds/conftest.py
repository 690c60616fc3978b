"""Helpers of the worlds' tests: a harness in a process of its own, and what of it is left on the machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

MARK = "SPLITBRAIN_TEST_MARK"
"""An environment variable that a harness hands down to everything it starts."""

HARNESS = """
import asyncio, sys
from pathlib import Path
from harness.worlds.conformance import DAEMON_PORT, PROBE_ARGV, Probes
from harness.worlds.netns import Netns

NODES = tuple(f"n{i}" for i in range(1, 6))

async def main():
    print("opening", flush=True)
    cluster = await Netns().open(NODES, Path(sys.argv[1]))
    probes = Probes(cluster, PROBE_ARGV)
    try:
        await probes.start(*NODES)
        for node in NODES:
            await probes.ask(node, "daemon")
            await probes.ask(node, "pid", port=DAEMON_PORT)
        print("ready", flush=True)
        for i in range(10**9):
            await cluster.cut([("n1", "n2")] if i % 2 else [])
            await asyncio.sleep(0.001)
    finally:
        await cluster.cut([])
        for node in NODES:
            await probes.ask(node, "pid")
        print("all nodes lived until the end", flush=True)
        await cluster.close()

asyncio.run(main())
"""


class MarkedHarness:
    """A harness with five nodes, each with a daemon that ignores every signal it can."""

    def __init__(self, directory: Path) -> None:
        self.mark = uuid.uuid4().hex
        self.process = subprocess.Popen(
            [sys.executable, "-c", HARNESS, str(directory)],
            env={**os.environ, MARK: self.mark, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdout=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )

    def await_line(self, line: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == f"{line}\n"

    def processes(self) -> list[int]:
        """Every process on this machine that descends from the harness, and is not a zombie."""
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if f"{MARK}={self.mark}".encode() in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
            except OSError:
                pass  # ended meanwhile, or another user's
        return found

    def namespaces(self) -> set[str]:
        """The namespaces that these processes are in and this one is not."""
        return {ns for pid in self.processes() for ns in _namespaces(Path(f"/proc/{pid}"))} - _namespaces(
            Path("/proc/self")
        )

    def await_nothing_left(self, namespaces: set[str], seconds: float) -> None:
        """Wait until no process of it, and nobody in these namespaces, is left; fail after `seconds`."""
        deadline = time.monotonic() + seconds
        while True:
            everywhere = (_namespaces(path) for path in Path("/proc").glob("[0-9]*"))
            left = self.processes(), namespaces & set().union(*everywhere)
            if not any(left):
                return
            assert time.monotonic() < deadline, f"left after {seconds} s: processes, namespaces {left}"
            time.sleep(0.01)


def _namespaces(process: Path) -> set[str]:
    try:
        return {os.readlink(link) for link in (process / "ns").iterdir()}
    except OSError:
        return set()  # ended meanwhile, or another user's


@pytest.fixture
def marked_harness(tmp_path: Path) -> Iterator[Callable[[], MarkedHarness]]:
    started: list[MarkedHarness] = []

    def start() -> MarkedHarness:
        started.append(MarkedHarness(tmp_path))
        return started[-1]

    yield start
    for harness in started:
        harness.process.kill()
        harness.process.wait()
        assert harness.process.stdout is not None
        harness.process.stdout.close()
