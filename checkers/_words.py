"""Operations in words, for people who read a verdict."""

from __future__ import annotations

import json
from typing import Any

from harness.history import FAIL, OK, History, Op


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
    did = _did(op, history.ops[complete].value) if ok else _tried(op)
    if complete < 0 or not (ok or outcome == FAIL):
        return f"{who(history, row)} {did} (from {seconds(history, invoke)}, outcome unknown)"
    failed = ", failed" if outcome == FAIL else ""
    return f"{who(history, row)} {did} ({seconds(history, invoke)} to {seconds(history, complete)}{failed})"


_PAST = {
    "add": "added",
    "append": "appended",
    "dequeue": "dequeued",
    "delete-min": "took",
    "enqueue": "enqueued",
    "insert": "inserted",
    "peek": "saw",
    "pop": "popped",
    "push": "pushed",
    "remove": "removed",
    "write": "wrote",
}


def _did(op: Op, result: Any) -> str:
    """What an operation did that succeeded."""
    f, argument = op.f, op.value
    if f == "read":
        return f"read {value_text(result)}" + ("" if argument is None else f" at {value_text(argument)}")
    if f == "cas" and isinstance(argument, list | tuple) and len(argument) == 2:
        return f"replaced {value_text(argument[0])} by {value_text(argument[1])}"
    if f in ("dequeue", "pop", "delete-min", "peek"):
        return "found it empty" if result is None else f"{_PAST[f]} {value_text(result)}"
    if f == "watch" and isinstance(argument, dict) and isinstance(result, dict):
        shown = f"{value_text(result.get('value'))} at index {result.get('index')}"
        return f"waited for a change past index {argument.get('index')} and was shown {shown}"
    if f == "append" and type(result) is int and result != argument:
        return f"appended {value_text(argument)} at offset {result}"
    if f in ("add", "remove") and result is False:
        return f"{_PAST[f]} {value_text(argument)}, which changed nothing"
    if f == "acquire" and argument is None:
        return "acquired the lock" + ("" if result is None else f" with the token {value_text(result)}")
    if f == "release" and argument is None:
        return "released the lock"
    if f == "contains" and type(result) is bool:
        return f"saw that {value_text(argument)} was {'' if result else 'not '}there"
    if f in _PAST:
        return f"{_PAST[f]} {value_text(argument)}"
    return f"did {f} -> {value_text(result)}" if argument is None else f"did {f} {value_text(argument)}"


def _tried(op: Op) -> str:
    if op.f == "cas" and isinstance(op.value, list | tuple) and len(op.value) == 2:
        return f"tried to replace {value_text(op.value[0])} by {value_text(op.value[1])}"
    if op.f == "watch" and isinstance(op.value, dict):
        return f"waited for a change past index {op.value.get('index')}"
    return f"tried to {op.f}" + ("" if op.value is None else f" {value_text(op.value)}")


def events(history: History, rows: list[int]) -> list[int]:
    """The events of these operations, in order."""
    operations = history.operations
    both = {int(column[row]) for row in rows for column in (operations.invoke, operations.complete)}
    return sorted(both - {-1})
