"""Several checkers as one.

Verifies
    what its parts verify; the worst verdict wins (invalid over unknown over valid).
Does not verify
    anything itself.
Algorithm and source
    Jepsen's `checker/compose` and `check-safe`: a part that raises is `unknown`, with the exception's text,
    and takes no other down.
Complexity
    That of its parts, one after another; they share the history's columns. Time limits are the parts' own.

The parts' verdicts are in `details["verdicts"]`, in the order in which the parts were given; the summary and
the evidence are those of the worst of them, and of the first among equals. An outcome is "liveness" only if
no promise of safety was found broken as well.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from checkers import Checker
from harness.history import History
from harness.verdict import Verdict, worst


def guarded(checker: Checker, history: History) -> Verdict:
    """The checker's verdict; `unknown` with the exception's text if it raises."""
    try:
        return checker.check(history)
    except Exception as error:
        return Verdict(
            checker=checker.name,
            valid="unknown",
            summary=f"The checker itself failed: {type(error).__name__}: {error}",
            details={"traceback": traceback.format_exc()},
        )


@dataclass(frozen=True, slots=True)
class Compose:
    """The checker that asks all of `checkers`."""

    checkers: Sequence[Checker]
    name: str = "all"

    def check(self, history: History) -> Verdict:
        verdicts = [guarded(checker, history) for checker in self.checkers]
        valid = worst(verdict.valid for verdict in verdicts)
        deciding = [verdict for verdict in verdicts if verdict.valid == valid]
        # A broken promise weighs more than a system that did not come back.
        deciding.sort(key=lambda verdict: verdict.outcome != "safety")
        if not deciding:
            return Verdict(checker=self.name, valid="unknown", summary="There was nothing to check with.")
        return Verdict(
            checker=self.name,
            valid=valid,
            outcome=deciding[0].outcome,
            summary=f"{deciding[0].checker}: {deciding[0].summary}",
            evidence=deciding[0].evidence,
            details={"verdicts": [msgspec.to_builtins(verdict) for verdict in verdicts]},
        )
