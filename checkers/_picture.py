"""A violation as a picture: the operations that show it, the order that explains most of them, and the one at
which it gets stuck.

What is drawn is data (JSON values only), under "picture" in the details of an Evidence:

    kind        "linearization"
    operations  in the order of their starts, each with
                event    index of its invocation in the history
                process  who did it
                text     "enqueue 5", "dequeue -> 5"
                start    nanoseconds since the run began
                finish   the same; null: its outcome is unknown
    order       positions in `operations`: an order that is legal and agrees with real time, as far as one
                gets: no other one passes a later completion
    states      the object's state before the first of them, and after each
    stuck       position of the operation whose completion no order passes
    why         the sentence
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from checkers import _words
from checkers._values import original
from checkers.models import IMPOSSIBLE, UNKNOWN, Call, Model
from harness.history import INFO, History

OPERATIONS_MAX = 60
"""Larger ones are no pictures."""
CONFIGURATIONS_MAX = 20_000

_Configuration = tuple[int, Any, tuple[int, ...]]
"""Which operations are linearized (bits), the state after them, and their order."""


def calls_of(history: History, model: Model, rows: Sequence[int]) -> list[Call]:
    """The operations as the model sees them."""
    operations = history.operations
    made = []
    for row in rows:
        invoke, complete = history.ops[int(operations.invoke[row])], int(operations.complete[row])
        crashed = operations.outcome[row] >= INFO
        result = UNKNOWN if crashed else history.ops[complete].value
        process = int(operations.process[row]) if model.by_process else -1
        made.append(Call(invoke.f, invoke.value, result, process))
    return made


def picture(
    history: History, model: Model, rows: Sequence[int], why: str, calls: Sequence[Call] | None = None
) -> dict[str, Any] | None:
    """The picture of these operations, in the order of their starts; None if there is none to make. `calls`:
    what they are to the model, if not what `calls_of` says."""
    if len(rows) > OPERATIONS_MAX:
        return None
    operations = history.operations
    crashed = [bool(operations.outcome[row] >= INFO) for row in rows]
    start = [int(operations.invoke[row]) for row in rows]
    finish = [
        len(history) if lost else int(operations.complete[row])
        for row, lost in zip(rows, crashed, strict=True)
    ]
    if calls is None:
        calls = calls_of(history, model, rows)
    found = _furthest(model, calls, start, finish, len(history))
    if found is None:
        return None
    order, stuck = found
    states = [model.initial]
    for at in order:
        states.append(model.step(states[-1], calls[at]))
    time = history.time
    return {
        "kind": "linearization",
        "operations": [
            {
                "event": start[at],
                "process": int(operations.process[row]),
                "text": _call_text(calls[at]),
                "start": int(time[start[at]]),
                "finish": None if crashed[at] else int(time[finish[at]]),
            }
            for at, row in enumerate(rows)
        ],
        "order": list(order),
        "states": [_state_text(state) for state in states],
        "stuck": stuck,
        "why": why,
    }


def _furthest(
    model: Model, calls: Sequence[Call], start: list[int], finish: list[int], horizon: int
) -> tuple[tuple[int, ...], int] | None:
    """An order that passes as many completions as one can, and the operation that is next to complete."""
    returns = sorted((at for at in range(len(calls)) if finish[at] < horizon), key=finish.__getitem__)
    seen: set[tuple[int, Any]] = set()
    open_: list[_Configuration] = [(0, model.initial, ())]
    best: tuple[int, int, tuple[int, ...]] = (-1, 0, ())
    while open_:
        done, state, order = open_.pop()
        if (done, state) in seen:
            continue
        seen.add((done, state))
        if len(seen) > CONFIGURATIONS_MAX:
            return None
        frontier = next((i for i, at in enumerate(returns) if not done >> at & 1), None)
        if frontier is None:
            return None
        # Of orders that pass as many completions, the shortest: nothing in it that was not asked for.
        best = max(best, (frontier, -len(order), order))
        for at in reversed(range(len(calls))):
            if not done >> at & 1 and start[at] < finish[returns[frontier]]:
                after = model.step(state, calls[at])
                if after is not IMPOSSIBLE:
                    open_.append((done | 1 << at, after, (*order, at)))
    return best[2], returns[best[0]]


def _call_text(call: Call) -> str:
    argument = "" if call.argument is None else f" {_words.value_text(call.argument)}"
    if call.result is UNKNOWN:
        return f"{call.f}{argument} ?"
    if call.result is None or call.result == call.argument:
        return f"{call.f}{argument}" if argument else f"{call.f} -> nothing"
    return f"{call.f}{argument} -> {_words.value_text(call.result)}"


def _state_text(state: Any) -> str:
    state = original(state)
    if isinstance(state, tuple):
        return "[" + ", ".join(map(_state_text, state)) + "]"
    if isinstance(state, frozenset):
        return "{" + ", ".join(sorted(map(_state_text, state))) + "}"
    return _words.value_text(state)
