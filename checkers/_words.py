"""Operations in words, for people who read a verdict."""

from __future__ import annotations

import json
from typing import Any

from harness.history import FAIL, OK, History


def value_text(value: Any) -> str:
    """A value as the client sees it, shortened."""
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:40]}... ({len(text)} characters)"


def seconds(history: History, event: int) -> str:
    """When the event happened: seconds since the run began, or its place in a history without times."""
    if len(history) and history.time[-1] > 0:
        return f"{history.time[event] / 1e9:.3f} s"
    return f"event {event}"


def who(history: History, row: int) -> str:
    operations = history.operations
    op = history.ops[int(operations.invoke[row])]
    return f"process {op.process}" + (f" on {op.node}" if op.node else "")


def describe(history: History, row: int) -> str:
    """One operation, by its position in `History.operations`: "process 3 on n1 wrote 7 (1.200 s to 1.204
    s)"."""
    operations = history.operations
    invoke, complete = int(operations.invoke[row]), int(operations.complete[row])
    outcome = operations.outcome[row]
    op = history.ops[invoke]
    ok = outcome == OK
    if op.f == "read":
        did = f"read {value_text(history.ops[complete].value)}" if ok else "tried to read"
    elif op.f == "write":
        did = f"{'wrote' if ok else 'tried to write'} {value_text(op.value)}"
    elif op.f == "cas" and isinstance(op.value, list | tuple) and len(op.value) == 2:
        old, new = map(value_text, op.value)
        did = f"{'replaced' if ok else 'tried to replace'} {old} by {new}"
    elif op.f == "watch" and isinstance(op.value, dict):
        did = f"waited for a change past index {op.value.get('index')}"
        if ok:
            shown = history.ops[complete].value
            did += f" and was shown {value_text(shown.get('value'))} at index {shown.get('index')}"
    elif op.value is None and ok:
        did = f"did {op.f} -> {value_text(history.ops[complete].value)}"
    else:
        did = f"{'did' if ok else 'tried'} {op.f} {'' if op.value is None else value_text(op.value)}".rstrip()
    if complete < 0 or not (ok or outcome == FAIL):
        return f"{who(history, row)} {did} (from {seconds(history, invoke)}, outcome unknown)"
    failed = ", failed" if outcome == FAIL else ""
    return f"{who(history, row)} {did} ({seconds(history, invoke)} to {seconds(history, complete)}{failed})"


def events(history: History, rows: list[int]) -> list[int]:
    """The events of these operations, in order."""
    operations = history.operations
    both = {int(column[row]) for row in rows for column in (operations.invoke, operations.complete)}
    return sorted(both - {-1})
