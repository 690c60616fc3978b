"""The results of runs on disk.

    store/<test name>/<timestamp>/
        test.json        what was run (`TestRecord`)
        history.jsonl    what happened (`harness.history`), written while it happens
        history.columns  the same once more, to load at once; can be deleted
        verdicts.json    what it means (`Results`)
        report.html      the same for people
        nodes/<node>/log each node's output
    store/<test name>/latest -> <timestamp>
    store/latest -> <test name>/<timestamp>

test.json is there before the first operation and history.jsonl grows as the run goes, so a run killed at any
moment can still be checked: `splitbrain check STORE`.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import os
import platform
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from harness.systems import Reads
from harness.verdict import Verdict

Outcome = Literal["valid", "invalid", "unknown", "no liveness", "crashed", "injection failed", "setup failed"]

EXIT_CODES: Mapping[Outcome, int] = {
    "valid": 0,
    "invalid": 1,
    "unknown": 2,
    "no liveness": 3,
    "crashed": 4,
    "injection failed": 5,
    "setup failed": 5,
}


_Record = TypeVar("_Record", bound=msgspec.Struct)


class StoreError(Exception):
    """The store cannot be written or read; the message names the path and says what to do."""


class MarkRecord(msgspec.Struct, kw_only=True):
    """How to draw one kind of fault: shaded from an event of `start` to the next one of `stop`."""

    name: str
    start: list[str]
    stop: list[str]
    colour: str


class TestRecord(msgspec.Struct, kw_only=True):
    """test.json: everything that determined the run, and how to repeat it."""

    __test__ = False  # pytest takes classes named Test... for its own

    name: str
    """"register-partition"."""
    started: str
    """Local time with offset, ISO 8601."""
    command: list[str]
    """The argv that reproduces the run, its seed spelt out."""
    seed: int
    world: str
    system: str
    workload: str
    nemesis: str
    nodes: list[str]
    servers: int
    reads: Reads
    agent: list[str] | None
    concurrency: int
    rate: float
    """Operations per second aimed at."""
    time_limit: float
    """Seconds of the main phase."""
    operation_timeout: float
    """Seconds."""
    promise: str
    """What the system promises of this workload under these options, with its source."""
    marks: list[MarkRecord]
    """The faults that the nemesis knows, and how to draw them."""
    skipped: dict[str, str] = {}
    """Faults that this world cannot do, and why."""
    extra: dict[str, str] = {}
    """System-specific settings."""
    versions: dict[str, str] = {}
    """Of splitbrain, Python, the kernel and the system under test."""


class ProblemRecord(msgspec.Struct, kw_only=True):
    """Trouble with the run itself; `kind` as in `harness.run.Problem`."""

    kind: str
    message: str


class Results(msgspec.Struct, kw_only=True):
    """verdicts.json: what came out."""

    outcome: Outcome
    summary: str
    """One plain sentence: the weightiest reason for the outcome."""
    verdicts: list[Verdict]
    problems: list[ProblemRecord]
    operations: int
    """Invocations of clients."""
    counts: dict[str, dict[str, int]]
    """Per function: how many ended "ok", "fail", "info", and how many were left "open"."""
    seconds: float
    """From the first event to the last."""


def create(root: Path, name: str) -> Path:
    """A new folder for a run of the test, with `latest` links to it. Raises StoreError."""
    stamp = datetime.now().astimezone().strftime("%Y%m%dT%H%M%S")
    parent = root / name
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for attempt in itertools.count(1):
            directory = parent / (stamp if attempt == 1 else f"{stamp}-{attempt}")
            try:
                directory.mkdir()
                break
            except FileExistsError:
                continue  # another run began in the same second
        _link(parent / "latest", directory.name)
        _link(root / "latest", f"{name}/{directory.name}")
    except OSError as error:
        raise _unwritable(root, error) from error
    return directory


def write_test(directory: Path, record: TestRecord) -> None:
    """Write test.json. Raises StoreError."""
    _write(directory / "test.json", record)


def write_results(directory: Path, results: Results) -> None:
    """Write verdicts.json. Raises StoreError."""
    _write(directory / "verdicts.json", results)


def read_test(directory: Path) -> TestRecord:
    """Read test.json. Raises StoreError."""
    return _read(directory / "test.json", TestRecord)


def read_results(directory: Path) -> Results:
    """Read verdicts.json. Raises StoreError; FileNotFoundError if the run did not come so far."""
    return _read(directory / "verdicts.json", Results)


def runs(root: Path) -> list[Path]:
    """The folders of all runs in a store, the newest first."""
    directories = {path.parent for path in root.glob("*/*/test.json") if not path.parent.is_symlink()}
    return sorted(directories, key=lambda directory: directory.name, reverse=True)


def _link(path: Path, target: str) -> None:
    """Point a symbolic link at the target, atomically."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(path)


def _write(path: Path, value: msgspec.Struct) -> None:
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
        temporary.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error


def _read(path: Path, kind: type[_Record]) -> _Record:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        raise
    except (OSError, msgspec.DecodeError) as error:
        raise StoreError(f"{path}: {error}") from error


def _unwritable(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"cannot write the store at {path}: {error.strerror or error}; free some space, or choose another "
        "folder with --store=DIR"
    )


def now() -> str:
    """Local time with offset, ISO 8601: when a run started."""
    return datetime.now().astimezone().strftime("%Y-%m-%dT%H:%M:%S%z")


def versions() -> dict[str, str]:
    """Of splitbrain, Python and the kernel."""
    try:
        ours = importlib.metadata.version("splitbrain")
    except importlib.metadata.PackageNotFoundError:
        ours = "not installed"
    return {"splitbrain": ours, "python": platform.python_version(), "kernel": platform.release()}
