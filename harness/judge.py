"""From a history and what happened around it to the outcome of a run.

Rules
-----
1. A checker that raises, or takes longer than it may, says `unknown`; it never takes the others down.
2. The outcome is the weightiest of what is known: a broken promise is broken whatever else happened; then an
   agent that crashed, a fault that was not injected, a system that did not come back; then doubt.
3. Nothing is `valid` while there is any problem but an interruption.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness import report, store
from harness.history import History
from harness.run import Problem
from harness.store import Outcome, ProblemRecord, Results
from harness.test import Checker
from harness.verdict import Verdict

CHECK_TIMEOUT = 120.0
"""Seconds that one checker may take."""

_BY_PROBLEM: Mapping[str, Outcome] = {
    "violation": "invalid",
    "setup": "setup failed",
    "injection": "injection failed",
    "crash": "crashed",
    "recovery": "no liveness",
    "no-success": "unknown",
    "harness": "unknown",
    "interrupted": "valid",
}

_WEIGHT: Sequence[Outcome] = (
    "invalid",
    "setup failed",
    "crashed",
    "injection failed",
    "no liveness",
    "unknown",
    "valid",
)
"""The weightiest first."""


_COUNT_ALWAYS: Sequence[Outcome] = ("invalid", "setup failed", "injection failed")
"""Whatever else the faults excuse."""


def judge(
    history: History,
    checkers: Iterable[Checker],
    problems: Sequence[Problem | ProblemRecord],
    safety_only: bool = False,
) -> Results:
    """Check the history and weigh the verdicts and problems against each other.

    `safety_only`: the faults went beyond what a system can be expected to come back from, so that only what
    must never happen counts, and trouble with the run itself.
    """
    verdicts = [check(checker, history, CHECK_TIMEOUT) for checker in checkers]
    # Problems first: of reasons that weigh the same, they are what the verdicts' doubt comes from.
    reasons: list[tuple[Outcome, str]] = [
        (_BY_PROBLEM[problem.kind], problem.message) for problem in problems
    ]
    reasons += [(outcome_of(verdict), f"{verdict.checker}: {verdict.summary}") for verdict in verdicts]
    if not verdicts:
        reasons.append(("unknown", "nothing was checked"))
    elif safety_only:
        reasons = [reason for reason in reasons if reason[0] in _COUNT_ALWAYS]
        reasons.append(("valid", "Nothing that must never happen has happened; nothing else was asked."))
    outcome, summary = min(reasons, key=lambda reason: _WEIGHT.index(reason[0]))
    counts = _counts(history)
    return Results(
        outcome=outcome,
        summary=summary,
        verdicts=verdicts,
        problems=[ProblemRecord(kind=problem.kind, message=problem.message) for problem in problems],
        operations=sum(sum(count.values()) for count in counts.values()),
        counts=counts,
        seconds=(int(history.time[-1]) - int(history.time[0])) / 1e9 if len(history) else 0.0,
    )


def conclude(
    directory: Path,
    history: History,
    checkers: Iterable[Checker],
    problems: Sequence[Problem | ProblemRecord],
    safety_only: bool = False,
) -> Results:
    """Judge, and write verdicts.json and the report. Raises `harness.store.StoreError`.

    A report that cannot be made does not hide the verdict, but nothing is green without it.
    """
    results = judge(history, checkers, problems, safety_only)
    store.write_results(directory, results)
    try:
        report.write(directory)
    except Exception as error:  # whatever it is, the verdict is written already, and must be told
        problem = ProblemRecord(kind="harness", message=f"no report: {type(error).__name__}: {error}")
        results.problems.append(problem)
        results.outcome = weightiest([results.outcome, _BY_PROBLEM[problem.kind]])
        store.write_results(directory, results)
    return results


def weightiest(outcomes: Iterable[Outcome]) -> Outcome:
    """The one that decides; `unknown` of nothing."""
    return min(outcomes, key=_WEIGHT.index, default="unknown")


def outcome_of(verdict: Verdict) -> Outcome:
    """What a verdict alone would make of the run."""
    if verdict.valid == "invalid" and verdict.outcome == "liveness":
        return "no liveness"
    return verdict.valid


def check(checker: Checker, history: History, timeout: float) -> Verdict:
    """The checker's verdict; `unknown` if it raises or takes longer than `timeout` seconds.

    What it has to compile first does not count.
    """
    from harness.compilation import HEARD

    verdicts: list[Verdict] = []

    def work() -> None:
        try:
            verdicts.append(checker.check(history))
        except Exception as error:
            summary = f"the checker failed: {type(error).__name__}: {error}"
            verdicts.append(_unknown(checker, summary, traceback.format_exc()))

    # A thread can be left behind, and a daemon does not keep the process alive.
    thread = threading.Thread(target=work, name=f"checker {checker.name}", daemon=True)
    deadline = time.monotonic() + timeout - HEARD.seconds()
    thread.start()
    while thread.is_alive() and (left := deadline + HEARD.seconds() - time.monotonic()) > 0:
        thread.join(left)
    return verdicts[0] if verdicts else _unknown(checker, f"no verdict within {timeout:g} s", "")


def _unknown(checker: Checker, summary: str, trace: str) -> Verdict:
    details = {"traceback": trace} if trace else {}
    return Verdict(checker=checker.name, valid="unknown", summary=summary, details=details)


def _counts(history: History) -> dict[str, dict[str, int]]:
    """Per function, how clients' operations ended."""
    counts: dict[str, dict[str, int]] = {}
    for invocation, completion in history.pairs():
        if isinstance(invocation.process, str):
            continue
        count = counts.setdefault(invocation.f, {"ok": 0, "fail": 0, "info": 0, "open": 0})
        count["open" if completion is None else completion.type] += 1
    return counts
