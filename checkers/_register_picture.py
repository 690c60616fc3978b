"""Violations of registers as pictures: `_picture` has their form."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from checkers._picture import calls_of, picture
from checkers._values import hashable
from checkers.models import IMPOSSIBLE, Call, CasRegister, Kv
from harness.history import FAIL, History

_FAILED = "failed cas"


class _Observed(CasRegister):
    """A register of which a failed cas tells that it held another value."""

    def __init__(self, initial: Hashable) -> None:
        self.initial = initial

    def step(self, state: Any, call: Call) -> Any:
        if call.f == _FAILED:
            return state if hashable(call.argument[0]) != state else IMPOSSIBLE
        return super().step(state, call)


def register_picture(
    history: History, rows: Sequence[int], why: str, *, from_start: bool = True
) -> dict[str, Any]:
    """The picture of operations on a register or on strings, as an entry of an evidence's details; none if
    they are too many. If not from the start, with the value before that explains the most of them."""
    rows = sorted(rows)
    operations = history.operations
    if any(history.fs[operations.f[row]] in Kv.functions for row in rows):
        drawn = picture(history, Kv(), rows, why)
        return {} if drawn is None else {"picture": drawn}
    calls = calls_of(history, _Observed(None), rows)
    for at, row in enumerate(rows):
        if operations.outcome[row] == FAIL:
            calls[at] = Call(_FAILED, calls[at].argument, calls[at].argument)
    values: set[Hashable] = {None}
    if not from_start:
        values |= {hashable(call.result) for call in calls if call.f == "read"}
        values |= {hashable(call.argument[0]) for call in calls if call.f in ("cas", _FAILED)}
    best = None
    for value in sorted(values, key=repr):
        drawn = picture(history, _Observed(value), rows, why, calls)
        if drawn is not None and (best is None or len(drawn["order"]) > len(best["order"])):
            best = drawn
    return {} if best is None else {"picture": best}
