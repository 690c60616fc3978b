"""What a monitor found, as evidence."""

from __future__ import annotations

from checkers import _words
from checkers._picture import picture
from checkers.models import Model
from checkers.monitors import Violation
from harness.history import History
from harness.verdict import Evidence

SHOWN_MAX = 100
"""Of a violation that takes more operations to show, the last ones are."""


def evidence_of(history: History, model: Model, violation: Violation, key: int | str | None) -> Evidence:
    """The violation of one object, in words and as a picture."""
    where = "" if key is None else f" on key {key}"
    shown = violation.rows[-SHOWN_MAX:]
    drawn = picture(history, model, violation.rows, violation.summary)
    return Evidence(
        summary=f"{violation.kind}{where}: {violation.summary}",
        operations=_words.events(history, shown),
        key=key,
        details={
            "kind": violation.kind,
            "stuck": _words.describe(history, violation.stuck),
            "operations": [_words.describe(history, row) for row in shown],
            "operations not shown": len(violation.rows) - len(shown),
            **({} if drawn is None else {"picture": drawn}),
        },
    )
