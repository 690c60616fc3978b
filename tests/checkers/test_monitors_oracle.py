"""Every data type's checker against an oracle that tries every order: small random histories of every kind.

An idle client begins something, a busy one completes it, or crashes. Operations are applied to the model when
they begin or when they end, so most results are right; now and then one is replaced by another.
"""

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checkers.linearizable import Linearizable
from checkers.models import IMPOSSIBLE, UNKNOWN, Call, Model, model_named
from harness.history import History, Op, OpType
from tests.checkers.steps import Choices, choices

THOROUGH = bool(os.environ.get("SPLITBRAIN_NIGHTLY"))
EXHAUSTIVE = settings(
    max_examples=100_000 if THOROUGH else 300,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    derandomize=not THOROUGH,
)

Begin = Callable[[int, int, list[Any]], tuple[str, Any]]
"""(what, how, values so far) -> the function and its argument."""


STEPS = choices(clients=4, most=24)


# --- Histories -----------------------------------------------------------------------------------------


def history_from(choices: Choices, name: str, begin: Begin, result: Callable[..., Any]) -> History:
    """What the choices say. `result(model, state, f, argument, values, how)` is a right result, mostly."""
    model = model_named(name)
    state = model.initial
    events: list[Op] = []
    busy: dict[int, tuple[Op, tuple[Any, bool] | None]] = {}
    incarnation: dict[int, int] = {}
    values: list[Any] = []

    def applied(op: Op) -> tuple[Any, bool]:
        """The result, and whether the operation was possible."""
        nonlocal state
        assert isinstance(op.process, int)
        answer = result(state, op.f, op.value, op.process)
        after = model.step(state, Call(op.f, op.value, answer, op.process))
        if after is not IMPOSSIBLE:
            state = after
        return answer, after is not IMPOSSIBLE

    for client, what, how in choices:
        process = client + 8 * incarnation.setdefault(client, 0)
        at = len(events)
        last = events[-1].time if events else 0
        now = max(at - at % (1 + how % 3), last)  # some at the same time
        if client not in busy:
            f, argument = begin(what, how, values)
            op = Op(index=at, time=now, type="invoke", process=process, f=f, value=argument)
            if argument is not None:
                values.append(argument)
            busy[client] = op, applied(op) if what % 3 == 0 else None
        else:
            begun, outcome = busy.pop(client)
            crashes, refused = what % 8 == 0, what % 8 == 1 and outcome is None
            if outcome is None and not refused and not (crashes and how % 2):
                outcome = applied(begun)
            answer, possible = outcome or (None, True)
            done = (possible and not refused) or how % 8 == 0
            kind: OpType = "info" if crashes else "ok" if done else "fail"
            if crashes:
                incarnation[client] += 1
            if kind == "ok" and how % 5 == 0:
                answer = wrong(answer, values, what)
            value = answer if kind == "ok" else None
            op = Op(index=at, time=now, type=kind, process=process, f=begun.f, value=value)
        events.append(op)
    return History(events)


def wrong(answer: Any, values: list[Any], what: int) -> Any:
    """Another result of the kind."""
    if isinstance(answer, bool):
        return not answer
    if isinstance(answer, list):
        return [*answer, *values[-1:]] if what % 2 else answer[1:]
    return None if what % 4 == 0 or not values else values[what % len(values)]


# --- The oracle ----------------------------------------------------------------------------------------


def order_exists(history: History, model: Model) -> bool:
    """The definition, tried out: some order of the operations is legal and agrees with real time."""
    operations: list[tuple[int, float, Call]] = []
    for invoke, completion in history.pairs():
        if completion is not None and completion.type == "fail":
            continue
        crashed = completion is None or completion.type == "info"
        if crashed and invoke.f in model.read_only:
            continue
        assert isinstance(invoke.process, int)
        result = UNKNOWN if completion is None or crashed else completion.value
        end = float("inf") if completion is None or crashed else completion.index
        process = invoke.process if model.by_process else -1
        operations.append((invoke.index, end, Call(invoke.f, invoke.value, result, process)))
    dead_ends: set[tuple[frozenset[int], Any]] = set()

    def go_on(left: frozenset[int], state: Any) -> bool:
        if all(operations[i][1] == float("inf") for i in left):
            return True
        if (left, state) in dead_ends:
            return False
        horizon = min(operations[i][1] for i in left)
        for i in left:
            start, _, call = operations[i]
            if start < horizon:
                after = model.step(state, call)
                if after is not IMPOSSIBLE and go_on(left - {i}, after):
                    return True
        dead_ends.add((left, state))
        return False

    return go_on(frozenset(range(len(operations))), model.initial)


def agree(history: History, name: str) -> str:
    """The checker says what the oracle says, and its evidence is enough."""
    model = model_named(name)
    expected = order_exists(history, model)
    verdict = Linearizable(model=name, time_limit=10).check(history)
    nothing = not any(op.type == "ok" for op in history.ops)
    assert verdict.valid == ("invalid" if not expected else "unknown" if nothing else "valid"), verdict
    for one in verdict.evidence:
        shown = [history.ops[index] for index in one.operations]
        part = [
            Op(index=i, time=op.time, type=op.type, process=op.process, f=op.f, key=op.key, value=op.value)
            for i, op in enumerate(shown)
        ]
        assert not order_exists(History(part), model), one
        picture = one.details.get("picture")
        if picture is not None:
            assert len(picture["states"]) == len(picture["order"]) + 1
            assert picture["stuck"] not in picture["order"]
    return verdict.valid


# --- Containers ----------------------------------------------------------------------------------------


def container(choices: Choices, name: str, *, unique: bool = True) -> History:
    model: Any = model_named(name)

    def begin(what: int, how: int, values: list[Any]) -> tuple[str, Any]:
        if what % 2:
            return model.takes, None
        new = len(values) * 7 % 11 + (11 * len(values) if unique and name != "priority-queue" else 0)
        return model.puts, new if unique else how % 3

    def result(state: Any, f: str, argument: Any, process: int) -> Any:
        if f == model.puts:
            return argument
        if name == "unordered-queue":
            return next((held[-1] for held in sorted(state) if held), None)
        return model.next(state)

    return history_from(choices, name, begin, result)


CONTAINERS = ["queue", "unordered-queue", "stack", "priority-queue"]


@pytest.mark.parametrize("name", CONTAINERS)
@EXHAUSTIVE
@given(choices=STEPS)
def test_containers_of_unique_elements(name: str, choices: Choices) -> None:
    agree(container(choices, name), name)


@pytest.mark.parametrize("name", CONTAINERS)
@EXHAUSTIVE
@given(choices=choices(clients=4, most=18))
def test_containers_whose_elements_repeat(name: str, choices: Choices) -> None:
    agree(container(choices, name, unique=False), name)


# --- Locks ---------------------------------------------------------------------------------------------


def lock(choices: Choices, name: str) -> History:
    def begin(what: int, how: int, values: list[Any]) -> tuple[str, Any]:
        return ("acquire", "release")[(what + how // 7) % 2], None

    tokens = [0]

    def result(state: Any, f: str, argument: Any, process: int) -> Any:
        if f == "release" or "fenced" not in name:
            return None
        tokens[0] += 1
        return state[3] if state[0] == process and state[3] is not None else tokens[0]

    history = history_from(choices, name, begin, result)
    if "fenced" in name:
        for op, (_, what, how) in zip(history.ops, choices, strict=True):
            if op.type == "ok" and op.f == "acquire" and how % 5 == 0:
                op.value = what % (tokens[0] + 1)
    return history


SEMAPHORES = ["mutex", "semaphore:2", "semaphore:3"]
LOCKS = ["owner-mutex", "fenced-mutex", "reentrant-mutex", "reentrant-fenced-mutex"]


@pytest.mark.parametrize("name", [*SEMAPHORES, *LOCKS])
@EXHAUSTIVE
@given(choices=STEPS)
def test_locks(name: str, choices: Choices) -> None:
    agree(lock(choices, name), name)


# --- Counters, sets and logs ---------------------------------------------------------------------------


def counter(choices: Choices, amounts: tuple[int, ...] = (1,)) -> History:
    def begin(what: int, how: int, values: list[Any]) -> tuple[str, Any]:
        return ("read", None) if what % 2 else ("add", amounts[how % len(amounts)])

    def result(state: Any, f: str, argument: Any, process: int) -> Any:
        return state if f == "read" else argument

    history = history_from(choices, "counter", begin, result)
    for op, (_, what, _) in zip(history.ops, choices, strict=True):
        if op.f == "read" and op.type == "ok" and op.value is None:
            op.value = what % 5
    return history


@pytest.mark.parametrize("amounts", [(1,), (3,), (-1,), (1, 2), (1, -1)])
@EXHAUSTIVE
@given(choices=STEPS)
def test_counters(amounts: tuple[int, ...], choices: Choices) -> None:
    agree(counter(choices, amounts), "counter")


def log(choices: Choices, *, unique: bool = True) -> History:
    def begin(what: int, how: int, values: list[Any]) -> tuple[str, Any]:
        f = ("append", "append", "read", "tail")[what // 3 % 4]
        new = 100 + len(values) if unique else 100 + how % 2
        return f, {"append": new, "read": how % 4, "tail": None}[f]

    def result(state: Any, f: str, argument: Any, process: int) -> Any:
        if f != "read":
            return len(state)
        return state[argument] if argument < len(state) else None

    history = history_from(choices, "log", begin, result)
    for op, (_, what, how) in zip(history.ops, choices, strict=True):
        if op.type == "ok" and op.f != "read" and not (type(op.value) is int and op.value < 20):
            op.value = what % 3  # a wrong offset
        elif op.type == "ok" and op.f == "read" and type(op.value) is int and op.value < 100:
            op.value = 100 + how % 4
    return history


@EXHAUSTIVE
@given(choices=STEPS, unique=st.booleans())
def test_logs(choices: Choices, unique: bool) -> None:
    agree(log(choices, unique=unique), "log")


def a_set(choices: Choices, *, blind: int = 0, reads: bool = False, elements: int = 2) -> History:
    """`blind`: of three adds and removes, so many do not tell whether they changed anything."""

    def begin(what: int, how: int, values: list[Any]) -> tuple[str, Any]:
        if reads:
            f = ("add", "read", "remove")[what % 2 if blind else what // 2 % 3]
        else:
            f = ("add", "remove", "contains")[what // 2 % 3]
        return f, None if f == "read" else how % elements

    def result(state: Any, f: str, argument: Any, process: int) -> Any:
        if f == "read":
            return sorted(state)
        return (argument in state) == (f != "add")

    history = history_from(choices, "set", begin, result)
    for op, (_, what, how) in zip(history.ops, choices, strict=True):
        if op.f == "contains" and op.type == "ok" and type(op.value) is not bool:
            op.value = what % 2 == 0
        if op.f == "read" and op.type == "ok" and not isinstance(op.value, list):
            op.value = [how % elements]
        if (
            op.f in ("add", "remove")
            and op.type == "ok"
            and (how // 3 % 3 < blind or type(op.value) is not bool)
        ):
            op.value = None if blind else what % 2 == 0
    return history


@pytest.mark.parametrize("blind", [0, 1, 3])
@EXHAUSTIVE
@given(choices=STEPS, elements=st.integers(1, 4))
def test_sets_by_element(blind: int, choices: Choices, elements: int) -> None:
    agree(a_set(choices, blind=blind, elements=elements), "set")


@pytest.mark.parametrize("blind", [0, 3])
@EXHAUSTIVE
@given(choices=STEPS, elements=st.integers(1, 6))
def test_sets_with_whole_reads(blind: int, choices: Choices, elements: int) -> None:
    agree(a_set(choices, blind=blind, reads=True, elements=elements), "set")
