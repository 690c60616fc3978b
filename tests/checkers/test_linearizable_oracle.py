"""The linearizability checker against an oracle that tries every order: small random histories of every
kind. SPLITBRAIN_NIGHTLY=1 tries 100,000 of each."""

import os
import time
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checkers import _search
from checkers._configurations import EXHAUSTED, LINEARIZABLE
from checkers._registers import FailedCas, registers
from checkers._search import Problem, search
from checkers._simplify import plan_of
from checkers._versioned import UNDECIDED, versions_of
from checkers._zones import SOUND, restrict, zones_of
from checkers.linearizable import Linearizable, register_problem
from harness.history import History, Op, OpType
from tests.checkers.oracle import (
    Simulated,
    registers_are_linearizable,
    shown_alone,
    strings_are_linearizable,
    versioned_are_linearizable,
)
from tests.checkers.steps import Choices, choices

NIGHTLY = bool(os.environ.get("SPLITBRAIN_NIGHTLY"))
EXHAUSTIVE = settings(
    max_examples=100_000 if NIGHTLY else 300,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    derandomize=not NIGHTLY,
)


def steps(most: int = 26) -> st.SearchStrategy[Choices]:
    return choices(clients=4, most=most, what=36, how=35)


def history_from(choices: Choices, *, unique: bool, cas: bool, keys: int = 1) -> History:
    """What the choices say, likely or not: an idle client begins something, a busy one completes it, or
    crashes."""
    events: list[Op] = []
    busy: dict[int, Op] = {}
    incarnation: dict[int, int] = {}
    values: dict[Any, list[int]] = {key: [] for key in range(keys)}
    for client, what, how in choices:
        process = client + 4 * incarnation.setdefault(client, 0)
        at = len(events)
        if client not in busy:
            key = how % keys
            known = values[key]
            f = ("read", "write", "cas")[what % (3 if cas else 2)]
            new = len(events) if unique else what // 3 % 3
            old = (known or [99])[how % max(len(known), 1)] if how % 5 else None
            value = {"read": None, "write": new, "cas": [old, new]}[f]
            if f != "read":
                known.append(new)
            op = Op(index=at, time=at, type="invoke", process=process, f=f, key=key, value=value)
            busy[client] = op
        else:
            begun = busy.pop(client)
            known = values[begun.key]
            types: tuple[OpType, ...] = ("ok", "ok", "ok", "ok", "fail", "info")
            kind = types[what % 6]
            value = begun.value
            if begun.f == "read" and kind == "ok":
                # Mostly something recent, now and then anything.
                value = None if not known or how % 7 == 0 else known[-1 - how % min(len(known), 3)]
            op = Op(index=at, time=at, type=kind, process=process, f=begun.f, key=begun.key, value=value)
            if kind == "info":
                incarnation[client] += 1
        events.append(op)
    return History(events)


Oracle = Callable[[History], bool]


def agree(
    history: History,
    failed_cas: FailedCas = "dropped",
    model: str = "cas-register",
    oracle: Oracle | None = None,
) -> None:
    if oracle is None:

        def oracle(history: History) -> bool:
            return registers_are_linearizable(history, failed_cas)

    verdict = Linearizable(model, failed_cas, time_limit=10).check(history)
    nothing = not any(op.type == "ok" for op in history.ops)
    expected = "invalid" if not oracle(history) else "unknown" if nothing else "valid"
    assert verdict.valid == expected, verdict
    assert bool(verdict.evidence) == (expected == "invalid")
    for one in verdict.evidence:
        # What is shown of a violation is one.
        assert not oracle(shown_alone(history, one.operations)), one
        msgspec.json.encode(one)


@EXHAUSTIVE
@given(steps())
def test_zones_agree_with_every_order_of_reads_and_writes(choices: Choices) -> None:
    agree(history_from(choices, unique=True, cas=False))


@EXHAUSTIVE
@given(steps(26))
def test_zones_agree_with_every_order_of_reads_writes_and_cas(choices: Choices) -> None:
    agree(history_from(choices, unique=True, cas=True))


@EXHAUSTIVE
@given(steps())
def test_the_search_agrees_with_every_order_when_values_repeat(choices: Choices) -> None:
    agree(history_from(choices, unique=False, cas=True))


@EXHAUSTIVE
@given(steps(), st.booleans())
def test_the_search_agrees_with_every_order_when_failed_cas_are_observed(
    choices: Choices, unique: bool
) -> None:
    agree(history_from(choices, unique=unique, cas=True), "observed")


@EXHAUSTIVE
@given(steps(40), st.booleans(), st.sampled_from(["dropped", "observed"]))
def test_histories_that_could_be_true_get_the_verdict_of_every_order(
    choices: Choices, unique: bool, failed_cas: FailedCas
) -> None:
    agree(Simulated(unique=unique, cas=True).history(choices), failed_cas)


@EXHAUSTIVE
@given(steps(40), st.booleans(), st.sampled_from(["dropped", "observed"]))
def test_histories_without_a_lie_are_linearizable(
    choices: Choices, unique: bool, failed_cas: FailedCas
) -> None:
    history = Simulated(unique=unique, cas=True, lies=0).history(choices)
    assert Linearizable(failed_cas=failed_cas).check(history).valid != "invalid"


@EXHAUSTIVE
@given(steps(40), st.booleans())
def test_the_order_that_versions_give_agrees_with_every_order(choices: Choices, unique: bool) -> None:
    history = Simulated(unique=unique, cas=True, versions=True).history(choices)
    columns = registers(history, "dropped")
    versions = versions_of(history, columns)
    if versions is not None and len(columns.row) and versions[0][0] < UNDECIDED:
        agree(history, oracle=versioned_are_linearizable)


@EXHAUSTIVE
@given(steps(30), st.booleans())
def test_several_keys_are_judged_one_by_one(choices: Choices, unique: bool) -> None:
    agree(history_from(choices, unique=unique, cas=True, keys=3))


@EXHAUSTIVE
@given(steps(40))
def test_zones_and_the_search_agree(choices: Choices) -> None:
    history = history_from(choices, unique=True, cas=True)
    columns = registers(history, "dropped")
    general, *_ = restrict(
        columns.kind, columns.key, columns.observed, columns.written, columns.keys, columns.values
    )
    found, _, _ = zones_of(columns)
    for key in range(columns.keys):
        assert not general[key]
        problem = register_problem(columns, np.flatnonzero(columns.key == key), key)
        result = search(problem, deadline=time.monotonic() + 10, memory_bytes_max=1 << 30)
        assert (result.verdict == "linearizable") == (found[key] == SOUND)


@EXHAUSTIVE
@given(steps(40), st.booleans(), st.booleans(), st.integers(1, 3))
def test_a_search_by_stretches_finds_what_one_in_depth_finds(
    choices: Choices, unique: bool, simulated: bool, stretch: int
) -> None:
    if simulated:
        history = Simulated(unique=unique, cas=True).history(choices)
    else:
        history = history_from(choices, unique=unique, cas=True)
    columns = registers(history, "observed")
    problem = register_problem(columns, np.arange(len(columns.row)), 0)
    expected = by_stretches(problem, 0)
    assert by_stretches(problem, stretch) == expected


def by_stretches(problem: Problem, stretch: int) -> str:
    plan = plan_of(
        problem.kind, problem.observed, problem.written, problem.start, problem.finish, problem.horizon, 0, 99
    )
    if not len(plan.returns):
        return "linearizable"
    outcome = _search._Run(plan, 0, _search._Steps(plan, None), stretch).go_on(1 << 30)
    return {LINEARIZABLE: "linearizable", EXHAUSTED: "not linearizable"}[outcome]


def strings_from(choices: Choices, pieces: str, lies: int) -> History:
    """Gets, puts and appends that a real object could have seen, but for a lie here and there."""
    events: list[Op] = []
    busy: dict[int, tuple[Op, list[Any]]] = {}
    crashes: dict[int, int] = {}
    held, old = "", ["", "a"]
    for client, what, how in choices:
        process = client + 4 * crashes.setdefault(client, 0)
        at = len(events)
        if client not in busy:
            f = ("get", "append", "append", "put", "get")[what % 5]
            value = None if f == "get" else pieces[(at if what % 2 else how) % len(pieces)]
            busy[client] = (Op(at, at // 2, "invoke", process, f, "k", value), [])
            events.append(busy[client][0])
        elif not busy[client][1] and what % 6:
            begun, result = busy[client]
            held = begun.value if begun.f == "put" else held + (begun.value or "")
            result.append(held)
            old.append(held)
        else:
            begun, result = busy.pop(client)
            kind: OpType = "ok" if result and how % 5 < 4 else "info"
            value = begun.value
            if begun.f == "get" and result:
                value = old[-1 - how % min(len(old), 4)] if lies and what % lies == 1 else result[0]
                if lies and what % (2 * lies) == 3 and value:
                    value += value[-1]
            events.append(Op(at, at // 2, kind, process, begun.f, "k", value))
            crashes[client] += kind == "info"
    return History(events)


@EXHAUSTIVE
@given(
    steps(34),
    st.sampled_from(["abcdefghijklmnopqrstuvwxyz", "abcdef", "ab"]),
    st.sampled_from([0, 5]),
)
def test_strings_agree_with_every_order(choices: Choices, pieces: str, lies: int) -> None:
    agree(strings_from(choices, pieces, lies), model="kv", oracle=strings_are_linearizable)
