"""History in, verdict out. Imports `harness.history` and `harness.verdict` alone."""

from __future__ import annotations

from typing import Protocol

from harness.history import History
from harness.verdict import Verdict


class Checker(Protocol):
    """Anything that judges a history. It may take long: callers bound it."""

    @property
    def name(self) -> str: ...

    def check(self, history: History) -> Verdict: ...
