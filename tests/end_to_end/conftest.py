"""Whole runs, as a user starts them: `pytest harness/ ...` in a process of its own, its results read back."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import registry
from harness.store import Results, read_results
from harness.verdict import Verdict

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Run:
    """What one command left."""

    exit_code: int
    output: str
    store: Path

    def results(self, name: str) -> Results:
        """Of the newest run of that test."""
        directory = self.store / name / "latest"
        assert directory.is_dir(), self.output
        return read_results(directory)

    def verdict(self, name: str, checker: str) -> Verdict:
        return next(verdict for verdict in self.results(name).verdicts if verdict.checker == checker)


Suite = Callable[..., Run]


def command(store: Path, *options: str) -> list[str]:
    """The argv of a run."""
    return [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "harness/",
        f"--store={store}",
        *options,
    ]


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    """Run the suite with some options. Fails, and does not skip, where the machine cannot do it."""

    def run(*options: str, environment: Mapping[str, str] | None = None) -> Run:
        finished = subprocess.run(
            command(tmp_path, *options),
            cwd=ROOT,
            env=os.environ | (environment or {}),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return Run(finished.returncode, finished.stdout + finished.stderr, tmp_path)

    return run


@pytest.fixture
def start_suite(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the suite in the background, in a process group of its own as a shell would."""
    started: list[subprocess.Popen[str]] = []

    def start(*options: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command(tmp_path, *options),
            cwd=ROOT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def etcd() -> None:
    """Skips where etcd is not installed, saying how to get it."""
    from harness.systems import Options

    missing = registry.system("etcd").missing(Options(nodes=("n1",), servers=1))
    if missing:
        pytest.skip(missing)
