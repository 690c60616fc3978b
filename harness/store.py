"""The results of runs on disk.

    store/<test name>/<timestamp>/
        test.json        what was run (`TestRecord`)
        history.jsonl    what happened (`harness.history`), written while it happens
        verdicts.json    what it means (`Results`)
        report.html      the same for people
        nodes/<node>/log each node's output
    store/<test name>/latest -> <timestamp>
    store/latest -> <test name>/<timestamp>

test.json is there before the first operation and history.jsonl grows as the run goes, so a run killed at any
moment can still be checked: `splitbrain check STORE`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

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
    reads: str
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
    """One plain sentence: the outcome and its weightiest reason."""
    verdicts: list[Verdict]
    problems: list[ProblemRecord]
    operations: int
    """Invocations of clients."""
    counts: dict[str, dict[str, int]]
    """Per function: how many ended "ok", "fail", "info", and how many were left "open"."""
    seconds: float
    """From the first event to the last."""
