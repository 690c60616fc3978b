"""What a monitor found, as evidence."""

from __future__ import annotations

from checkers import _words
from checkers._picture import picture
from checkers.models import Model
from checkers.monitors import Violation
from harness.history import History
from harness.verdict import Evidence


def evidence_of(history: History, model: Model, violation: Violation, key: int | str | None) -> Evidence:
    """The violation of one object, in words and as a picture."""
    where = "" if key is None else f" on key {key}"
    drawn = picture(history, model, violation.rows, violation.summary)
    return Evidence(
        summary=f"{violation.kind}{where}: {violation.summary}",
        operations=_words.events(history, violation.rows),
        key=key,
        details={
            "kind": violation.kind,
            "stuck": _words.describe(history, violation.stuck),
            "operations": [_words.describe(history, row) for row in violation.rows],
            **({} if drawn is None else {"picture": drawn}),
        },
    )
