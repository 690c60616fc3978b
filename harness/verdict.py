"""What a checker says, and how verdicts combine.

A verdict is three-valued: a checker that timed out, crashed or had nothing to look at says `unknown`, never
`valid`. Composed verdicts take the worst: invalid over unknown over valid.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

Validity = Literal["valid", "unknown", "invalid"]

_RANK: dict[Validity, int] = {"valid": 0, "unknown": 1, "invalid": 2}


def worst(validities: Iterable[Validity]) -> Validity:
    """The worst of them; `valid` of nothing."""
    return max(validities, key=_RANK.__getitem__, default="valid")


class Evidence(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One violation (or one cause of doubt), small enough for a person to check by hand."""

    summary: str
    """One or two sentences in plain words: which operations, and why they cannot all be true."""
    operations: list[int] = []
    """Indices of the history's events that show it: the smallest such part that is known."""
    key: int | str | None = None
    """The key concerned, if there is one."""
    details: dict[str, Any] = {}
    """Anything else a machine may want (JSON values only)."""


class Verdict(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What one checker says of one history."""

    checker: str
    """Name, as in the report: `linearizable`, `set-full`, ..."""
    valid: Validity
    summary: str
    """One sentence with the figures that matter."""
    evidence: list[Evidence] = []
    """At most a handful; `details` says how many more there were."""
    details: dict[str, Any] = {}
    """Figures for the report and for machines (JSON values only)."""
    outcome: Literal["safety", "liveness"] = "safety"
    """What an `invalid` means: a promise broken, or a system that did not come back."""


class Violation(msgspec.Struct, kw_only=True, frozen=True):
    """What a follower (`checkers.online`) says at the first event that breaks the promise."""

    event: int
    """Index of that event."""
    kind: str
    """As people call it: "stale read", "lost update", ..."""
    summary: str
    """One sentence. The whole evidence comes from a checker, which has the history."""
    key: int | str | None = None
