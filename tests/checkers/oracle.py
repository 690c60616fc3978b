"""Small histories of every kind, and the definition of linearizability tried out on them: every order."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from harness.history import History, Op, OpType
from tests.checkers.steps import Choices


@dataclass
class _Begun:
    """An operation under way."""

    invocation: Op
    applied: bool = False
    refused: bool = False
    result: Any = None
    version: int | None = None


class Simulated:
    """Histories of registers that a real one could have made, but for a lie here and there.

    A client begins an operation, has it applied, and completes it, or crashes before or after; `unique`:
    no value is written twice; `lies`: one in so many results is another value (0: none).
    """

    def __init__(
        self, *, unique: bool, cas: bool, keys: int = 1, versions: bool = False, lies: int = 8
    ) -> None:
        self.unique, self.cas, self.keys, self.versions, self.lies = unique, cas, keys, versions, lies

    def history(self, choices: Choices) -> History:
        self.events: list[Op] = []
        self.held: dict[Any, Any] = {}
        self.version: dict[Any, int] = {}
        self.newest = 0
        self.values: list[Any] = [None]
        busy: dict[int, _Begun] = {}
        crashes: dict[int, int] = {}
        for client, what, how in choices:
            process = client + 4 * crashes.setdefault(client, 0)
            begun = busy.get(client)
            if begun is None:
                busy[client] = _Begun(self.record("invoke", process, *self.invocation(what, how)))
            elif not begun.applied and what % 6:
                self.apply(begun)
            else:
                del busy[client]
                crashes[client] += self.complete(begun, what, how)
        return History(self.events)

    def record(
        self, kind: OpType, process: int, f: str, key: Any, value: Any, version: int | None = None
    ) -> Op:
        at = len(self.events)
        self.events.append(Op(at, at // 2, kind, process, f, key, value, version=version))
        return self.events[-1]

    def invocation(self, what: int, how: int) -> tuple[str, Any, Any]:
        key = how % self.keys
        f = ("read", "write", "cas")[what % (3 if self.cas else 2)]
        new = len(self.events) if self.unique else what // 3 % 3
        old = self.values[-1 - how % min(len(self.values), 3)]
        if f != "read":
            self.values.append(new)
        return f, key, {"read": None, "write": new, "cas": [old, new]}[f]

    def apply(self, begun: _Begun) -> None:
        op = begun.invocation
        begun.applied, begun.result = True, op.value
        if op.f == "read":
            begun.result = self.held.get(op.key)
            begun.version = self.version.get(op.key, 0)
            return
        old, new = op.value if op.f == "cas" else (self.held.get(op.key), op.value)
        if old != self.held.get(op.key):
            begun.refused = True
            return
        self.newest += 1 + op.index % 2
        self.held[op.key], self.version[op.key] = new, self.newest
        begun.version = self.newest

    def complete(self, begun: _Begun, what: int, how: int) -> bool:
        """Record the completion; whether the process is dead."""
        op = begun.invocation
        result, version = begun.result, begun.version
        kind: OpType = "ok"
        if not begun.applied or how % 5 == 4:
            kind = "info"
        elif begun.refused:
            kind = "fail"
        if self.lies and what % self.lies == self.lies - 1 and kind != "info":
            if op.f == "read":
                result = self.values[-1 - how % min(len(self.values), 4)]
            if version:
                version += how % 3 - 1
            if op.f == "cas":
                kind = ("ok", "fail")[how % 2]
        if kind != "ok" or not self.versions or (version is not None and how == 34):
            version = None
        value = result if op.f == "read" and kind == "ok" else op.value
        self.record(kind, op.process, op.f, op.key, value, version)  # type: ignore[arg-type]
        return kind == "info"


Step = Callable[[Any, Op, Op | None], Any]
"""State, invocation and completion (None: crashed) to the state after, or ILLEGAL."""

ILLEGAL = object()


def some_order(
    history: History, initial: Hashable, step: Step, counts: Callable[[Op, Op | None], bool]
) -> bool:
    """Whether for each key some order of the operations that count is legal and agrees with real time."""
    calls: dict[Any, list[tuple[int, float, Op, Op | None]]] = {}
    for invocation, completion in history.pairs():
        if completion is not None and completion.type == "info":
            completion = None
        if counts(invocation, completion):
            end = float("inf") if completion is None else completion.index
            calls.setdefault(invocation.key, []).append((invocation.index, end, invocation, completion))
    return all(_some_order(mine, initial, step) for mine in calls.values())


def _some_order(calls: list[tuple[int, float, Op, Op | None]], initial: Hashable, step: Step) -> bool:
    dead_ends: set[tuple[frozenset[int], Hashable]] = set()

    def go_on(left: frozenset[int], state: Any) -> bool:
        if all(calls[i][1] == float("inf") for i in left):
            return True
        if (left, state) in dead_ends:
            return False
        horizon = min(calls[i][1] for i in left)
        for i in left:
            start, _, invocation, completion = calls[i]
            if start < horizon:
                after = step(state, invocation, completion)
                if after is not ILLEGAL and go_on(left - {i}, after):
                    return True
        dead_ends.add((left, state))
        return False

    return go_on(frozenset(range(len(calls))), initial)


# --- Registers -----------------------------------------------------------------------------------------


def register_step(state: Any, invocation: Op, completion: Op | None) -> Any:
    if completion is not None and completion.type == "fail":
        return state if state != invocation.value[0] else ILLEGAL
    if invocation.f == "write":
        return invocation.value
    if invocation.f == "cas":
        old, new = invocation.value
        return new if old == state else ILLEGAL
    assert completion is not None
    return state if state == completion.value else ILLEGAL


def register_counts(failed_cas: str) -> Callable[[Op, Op | None], bool]:
    def counts(invocation: Op, completion: Op | None) -> bool:
        if completion is not None and completion.type == "fail":
            return invocation.f == "cas" and failed_cas == "observed"
        return invocation.f != "read" or completion is not None

    return counts


def registers_are_linearizable(history: History, failed_cas: str = "dropped") -> bool:
    return some_order(history, None, register_step, register_counts(failed_cas))


def versioned_step(state: Any, invocation: Op, completion: Op | None) -> Any:
    """A register and its version: (value, version, whether the version is known, or at least so much)."""
    value, version, known = state
    after = register_step(value, invocation, completion)
    if after is ILLEGAL or (completion is not None and completion.type == "fail"):
        return state if after is not ILLEGAL else ILLEGAL
    told = None if completion is None else completion.version
    if invocation.f == "read":
        if told is None:
            return state
        if told != version if known else told < version:
            return ILLEGAL
        return value, told, True
    if told is None:
        return after, version + 1, False
    return (after, told, True) if told > version else ILLEGAL


def versioned_are_linearizable(history: History, failed_cas: str = "dropped") -> bool:
    return some_order(history, (None, 0, True), versioned_step, register_counts(failed_cas))


# --- Strings -------------------------------------------------------------------------------------------


def string_step(state: Any, invocation: Op, completion: Op | None) -> Any:
    if invocation.f == "get":
        assert completion is not None
        return state if completion.value == state else ILLEGAL
    return invocation.value if invocation.f == "put" else state + invocation.value


def strings_are_linearizable(history: History) -> bool:
    def counts(invocation: Op, completion: Op | None) -> bool:
        if completion is not None and completion.type == "fail":
            return False
        return invocation.f != "get" or completion is not None

    return some_order(history, "", string_step, counts)


def shown_alone(history: History, events: list[int]) -> History:
    """These events as a history of their own; what is open when the last one ends stays so."""
    return History(
        [
            Op(i, op.time, op.type, op.process, op.f, op.key, op.value, version=op.version)
            for i, op in enumerate(history.ops[index] for index in events)
        ]
    )
