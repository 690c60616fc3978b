"""The same seed gives the same run: to the byte of the history and the logs, and to the callback.

In one process and in several, whatever the order of sets of strings, and whatever the Python.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = Path(__file__).with_name("fingerprints.py")

CASES = ("register/partition/1", "gossip/kill/2", "set/swarm/3", "register/swarm/4")

OTHER_PYTHONS = [
    path
    for minor in range(11, 20)
    if minor != sys.version_info.minor
    and (path := shutil.which(f"python3.{minor}", path=os.environ.get("SPLITBRAIN_PYTHONS")))
]


def fingerprints(
    times: int, *cases: str, hash_seed: str, python: str = sys.executable
) -> list[list[list[str | int]]]:
    """Of each case, in a process of its own for all of them: what `fingerprints.py` prints."""
    done = subprocess.run(
        [python, str(SCRIPT), str(times), *cases],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [lines[first : first + times] for first in range(0, len(lines), times)]


@functools.cache
def first_fingerprints() -> list[list[str | int]]:
    return [runs[0] for runs in fingerprints(1, *CASES, hash_seed="0")]


def test_a_seed_gives_the_same_run_twice_in_one_process_and_in_another_where_strings_hash_differently() -> (
    None
):
    again = fingerprints(2, *CASES, hash_seed="1")
    for case, first, (second, third) in zip(CASES, first_fingerprints(), again, strict=True):
        assert first == second == third, case


def test_another_seed_gives_another_run() -> None:
    runs = fingerprints(1, "register/partition/1", "register/partition/5", hash_seed="0")
    for one, other in zip(runs[0][0], runs[1][0], strict=True):
        assert one != other


@pytest.mark.parametrize("python", OTHER_PYTHONS or [None])
def test_a_seed_gives_the_same_run_on_every_other_python_here(python: str | None) -> None:
    if python is None:
        pytest.skip("there is no other Python here (their folders can be given as SPLITBRAIN_PYTHONS)")
    needed = "import harness.run, harness.worlds.sim, impl.program, workloads.register"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if subprocess.run([python, "-c", needed], env=environment, capture_output=True, check=False).returncode:
        pytest.skip(f"{python} has not what splitbrain depends on")
    there = fingerprints(1, *CASES, hash_seed="2", python=python)
    assert [runs[0] for runs in there] == first_fingerprints()
