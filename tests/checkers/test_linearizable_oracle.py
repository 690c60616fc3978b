"""The linearizability checker against an oracle that tries every order: small random histories of every
kind."""

import os
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checkers._registers import FailedCas, registers
from checkers._search import search
from checkers._zones import GENERAL, SOUND, zones
from checkers.linearizable import Linearizable, register_problem
from harness.history import History, Op, OpType

EXAMPLES = 100_000 if os.environ.get("SPLITBRAIN_NIGHTLY") else 1_000
EXHAUSTIVE = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    derandomize=not os.environ.get("SPLITBRAIN_NIGHTLY"),
)

Choices = list[tuple[int, int, int]]
"""Which client goes on, and two numbers that decide what it does."""


def history_from(choices: Choices, *, unique: bool, cas: bool, keys: int = 1) -> History:
    """What the choices say: an idle client begins something, a busy one completes it, or crashes."""
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


def choices(clients: int = 4, length: int = 22) -> st.SearchStrategy[Choices]:
    step = st.tuples(st.integers(0, clients - 1), st.integers(0, 35), st.integers(0, 34))
    return st.lists(step, max_size=length)


def orders_exist(history: History, failed_cas: FailedCas) -> bool:
    """The definition, tried out: for each key some order of its operations is legal and agrees with real
    time."""
    return all(_order_exists(list(_operations(history, key, failed_cas))) for key in history.keys)


def _operations(history: History, key: Any, failed_cas: FailedCas) -> Iterator[tuple[int, float, str, Any]]:
    for invoke, completion in history.pairs():
        if invoke.key != key:
            continue
        if completion is not None and completion.type == "info":
            completion = None
        end = float("inf") if completion is None else completion.index
        if completion is not None and completion.type == "fail":
            if invoke.f == "cas" and failed_cas == "observed":
                yield invoke.index, end, "not", invoke.value[0]
        elif invoke.f == "read":
            if completion is not None:
                yield invoke.index, end, "read", completion.value
        else:
            yield invoke.index, end, invoke.f, invoke.value


def _order_exists(operations: list[tuple[int, float, str, Any]]) -> bool:
    dead_ends = set()

    def go_on(left: frozenset[int], state: Any) -> bool:
        if all(operations[i][1] == float("inf") for i in left):
            return True
        if (left, state) in dead_ends:
            return False
        horizon = min(operations[i][1] for i in left)
        for i in left:
            start, _, f, value = operations[i]
            if start > horizon:
                continue
            if f == "write":
                after = value
            elif f == "cas" and value[0] == state:
                after = value[1]
            elif (f == "read" and value == state) or (f == "not" and value != state):
                after = state
            else:
                continue
            if go_on(left - {i}, after):
                return True
        dead_ends.add((left, state))
        return False

    return go_on(frozenset(range(len(operations))), None)


def agree(history: History, failed_cas: FailedCas = "dropped") -> None:
    expected = orders_exist(history, failed_cas)
    verdict = Linearizable(failed_cas=failed_cas, time_limit=10).check(history)
    nothing = not any(op.type == "ok" for op in history.ops)
    assert verdict.valid == ("invalid" if not expected else "unknown" if nothing else "valid"), verdict
    if verdict.valid == "invalid":
        assert verdict.evidence
        agree_that_evidence_suffices(history, verdict.evidence, failed_cas)


def agree_that_evidence_suffices(history: History, evidence: list[Any], failed_cas: FailedCas) -> None:
    """The operations shown, alone, are not linearizable either; those still open when the last one ended stay
    so."""
    for one in evidence:
        shown = [history.ops[index] for index in one.operations]
        part = [
            Op(index=i, time=op.time, type=op.type, process=op.process, f=op.f, key=op.key, value=op.value)
            for i, op in enumerate(shown)
        ]
        assert not orders_exist(History(part), failed_cas), one


@EXHAUSTIVE
@given(choices())
def test_zones_agree_with_every_order_of_reads_and_writes(choices: Choices) -> None:
    agree(history_from(choices, unique=True, cas=False))


@EXHAUSTIVE
@given(choices(length=26))
def test_zones_agree_with_every_order_of_reads_writes_and_cas(choices: Choices) -> None:
    agree(history_from(choices, unique=True, cas=True))


@EXHAUSTIVE
@given(choices())
def test_the_search_agrees_with_every_order_when_values_repeat(choices: Choices) -> None:
    agree(history_from(choices, unique=False, cas=True))


@EXHAUSTIVE
@given(choices(), st.booleans())
def test_the_search_agrees_with_every_order_when_failed_cas_are_observed(
    choices: Choices, unique: bool
) -> None:
    agree(history_from(choices, unique=unique, cas=True), "observed")


@EXHAUSTIVE
@given(choices(length=30), st.booleans())
def test_several_keys_are_judged_one_by_one(choices: Choices, unique: bool) -> None:
    agree(history_from(choices, unique=unique, cas=True, keys=3))


@EXHAUSTIVE
@given(choices(clients=4, length=40))
def test_zones_and_the_search_agree(choices: Choices) -> None:

    history = history_from(choices, unique=True, cas=True)
    columns = registers(history, "dropped")
    found, _, _ = zones(
        columns.kind, columns.key, columns.observed, columns.written, columns.start, columns.finish,
        columns.keys, columns.values, columns.horizon,
    )  # fmt: skip
    for key in range(columns.keys):
        assert found[key] != GENERAL
        problem, _ = register_problem(columns, np.flatnonzero(columns.key == key), key)
        result = search(problem, deadline=time.monotonic() + 10, memory_bytes_max=1 << 30)
        assert (result.verdict == "linearizable") == (found[key] == SOUND)
