"""From verdicts and problems to an outcome."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from harness.compilation import HEARD
from harness.history import History, Op
from harness.judge import check, judge
from harness.run import Problem, ProblemKind
from harness.store import EXIT_CODES, Outcome
from harness.verdict import Validity, Verdict

HISTORY = History(
    [
        Op(0, 1_000_000_000, "invoke", 0, "read"),
        Op(1, 2_000_000_000, "info", "nemesis", "start-kill", value="one"),
        Op(2, 3_000_000_000, "ok", 0, "read"),
        Op(3, 3_500_000_000, "invoke", 1, "write", value=1),
    ]
)


@dataclass
class Says:
    """A checker that does what it is told to."""

    work: Callable[[], Verdict]
    name: str = "says"

    def check(self, history: History) -> Verdict:
        return self.work()


def says(valid: Validity, liveness: bool = False) -> Says:
    outcome = "liveness" if liveness else "safety"
    return Says(lambda: Verdict(checker="says", valid=valid, summary=valid, outcome=outcome))  # type: ignore[arg-type]


VALID, UNKNOWN, INVALID = says("valid"), says("unknown"), says("invalid")
STUCK = says("invalid", liveness=True)


@pytest.mark.parametrize(
    ("checkers", "problems", "outcome"),
    [
        ([VALID], [], "valid"),
        ([VALID, UNKNOWN], [], "unknown"),
        ([UNKNOWN, INVALID], [], "invalid"),
        ([VALID, STUCK], [], "no liveness"),
        ([STUCK, INVALID], [], "invalid"),
        ([VALID], ["interrupted"], "valid"),
        ([VALID], ["no-success"], "unknown"),
        ([VALID], ["harness"], "unknown"),
        ([VALID], ["recovery"], "no liveness"),
        ([VALID], ["injection", "recovery"], "injection failed"),
        ([VALID], ["recovery", "crash", "injection"], "crashed"),
        ([INVALID], ["crash"], "invalid"),
        ([UNKNOWN], ["setup"], "setup failed"),
        ([], [], "unknown"),
        ([], ["interrupted"], "unknown"),
    ],
)
def test_the_weightiest_decides(checkers: list[Says], problems: list[ProblemKind], outcome: Outcome) -> None:
    results = judge(HISTORY, checkers, [Problem(kind, f"because of {kind}") for kind in problems])
    assert results.outcome == outcome


def test_nothing_with_a_problem_is_green_but_an_interruption() -> None:
    kinds: tuple[ProblemKind, ...] = ("setup", "injection", "crash", "harness", "no-success", "recovery")
    for kind in kinds:
        assert judge(HISTORY, [VALID], [Problem(kind, "")]).outcome != "valid"


def test_every_outcome_has_its_exit_code() -> None:
    assert list(itertools.chain(EXIT_CODES.items())) == [
        ("valid", 0),
        ("invalid", 1),
        ("unknown", 2),
        ("no liveness", 3),
        ("crashed", 4),
        ("injection failed", 5),
        ("setup failed", 5),
    ]


def test_a_checker_that_raises_is_unknown_and_does_not_hide_the_others() -> None:
    def explode() -> Verdict:
        raise ZeroDivisionError("oops")

    results = judge(HISTORY, [Says(explode), INVALID], [])
    exploded, invalid = results.verdicts
    assert (exploded.valid, invalid.valid) == ("unknown", "invalid")
    assert "ZeroDivisionError: oops" in exploded.summary and "explode" in exploded.details["traceback"]


def test_a_checker_that_takes_too_long_is_unknown() -> None:
    released = threading.Event()

    def dawdle() -> Verdict:
        released.wait(10)
        return VALID.work()

    verdict = check(Says(dawdle), HISTORY, timeout=0.05)
    released.set()
    assert verdict.valid == "unknown" and "no verdict within 0.05 s" in verdict.summary


def test_what_a_checker_compiles_is_not_counted() -> None:
    def compile_first() -> Verdict:
        HEARD.on_start()
        time.sleep(0.3)
        HEARD.on_end()
        return VALID.work()

    assert check(Says(compile_first), HISTORY, timeout=0.1).valid == "valid"


def test_the_results_count_what_clients_did() -> None:
    results = judge(HISTORY, [VALID], [])
    assert results.operations == 2
    assert results.counts == {
        "read": {"ok": 1, "fail": 0, "info": 0, "open": 0},
        "write": {"ok": 0, "fail": 0, "info": 0, "open": 1},
    }
    assert results.seconds == 2.5


def test_the_summary_names_the_weightiest_reason() -> None:
    results = judge(HISTORY, [VALID, INVALID], [Problem("crash", "n1 ended on its own")])
    assert results.summary == "says: invalid"
    results = judge(HISTORY, [VALID], [Problem("crash", "n1 ended on its own")])
    assert results.summary == "n1 ended on its own"
