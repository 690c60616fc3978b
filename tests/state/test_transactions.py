"""Transactions of the state machine: all of the operations or none, and Consul's words for what fails."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest

from impl.state import Failed, Operation, Outcome, Pair, Set, StateMachine, Transaction, encode_command
from impl.state.transactions import read


@pytest.fixture
def state() -> StateMachine:
    """With keys a (index 1), b/1 (2) and b/2 (3)."""
    machine = StateMachine()
    for index, key in enumerate(("a", "b/1", "b/2"), 1):
        machine.apply(index, encode_command(Set(key, b"old")))
    return machine


def execute(state: StateMachine, *operations: Operation) -> Outcome:
    """At the next index."""
    outcome = state.apply(state.last_applied + 1, encode_command(Transaction(operations)))
    assert isinstance(outcome, Outcome)
    return outcome


def contents(state: StateMachine) -> object:
    """All but how far it has applied."""
    return state.kv.pairs(), state.kv.tombstones(), state.kv.table_index


def keys(pairs: Sequence[Pair]) -> list[str]:
    return [pair.key for pair in pairs]


FAILING = [
    (Operation("cas", "a", b"new", index=9), 'failed to set key "a", index is stale'),
    (Operation("cas", "a", b"new", index=0), 'failed to set key "a", index is stale'),
    (Operation("cas", "c", b"new", index=1), 'failed to set key "c", index is stale'),
    (Operation("get", "c"), 'key "c" doesn\'t exist'),
    (Operation("check-index", "a", index=9), 'failed index check for key "a", current modify index 1 != 9'),
    (Operation("check-index", "c", index=0), 'failed to check index, key "c" doesn\'t exist'),
    (
        Operation("check-session", "a", session="s"),
        'failed session check for key "a", current session "" != "s"',
    ),
    (Operation("check-session", "c"), 'failed to check session, key "c" doesn\'t exist'),
    (Operation("check-not-exists", "a"), 'key "a" exists'),
    (Operation("delete-cas", "a", index=9), 'failed to delete key "a", index is stale'),
    (Operation("explode", 'a"b'), 'unknown KV verb "explode"'),
]


@pytest.mark.parametrize(("operation", "what"), FAILING)
def test_an_operation_fails_in_consuls_words_and_nothing_of_the_transaction_is_left(
    state: StateMachine, operation: Operation, what: str
) -> None:
    before = contents(state)
    changes = (
        Operation("set", "a", b"new"),
        Operation("set", "new", b"new"),
        Operation("delete", "b/1"),
        Operation("delete-tree", "b"),
        Operation("set", "b/2", b"again"),
    )
    assert execute(state, operation, *changes) == Outcome(failures=(Failed(0, what),))
    assert contents(state) == before


def test_operations_after_one_that_fails_run_all_the_same_and_every_failure_is_told(
    state: StateMachine,
) -> None:
    outcome = execute(
        state,
        Operation("get", "c"),
        Operation("set", "c", b"new"),
        Operation("get", "c"),
        Operation("check-not-exists", "a"),
    )
    assert outcome == Outcome(failures=(Failed(0, 'key "c" doesn\'t exist'), Failed(3, 'key "a" exists')))


def test_all_changes_of_a_transaction_have_its_index(state: StateMachine) -> None:
    outcome = execute(state, Operation("set", "a", b"new"), Operation("cas", "c", b"new", 7, index=0))
    assert outcome == Outcome((Pair("a", b"", 0, 1, 4), Pair("c", b"", 7, 4, 4)))
    assert state.kv.get("c") == (4, Pair("c", b"new", 7, 4, 4))
    assert state.kv.table_index == 4


def test_operations_see_what_those_before_them_left(state: StateMachine) -> None:
    outcome = execute(
        state,
        Operation("delete", "a"),
        Operation("check-not-exists", "a"),
        Operation("set", "a", b"1"),
        Operation("cas", "a", b"2", index=4),
        Operation("get", "a"),
        Operation("delete-cas", "b/1", index=2),
        Operation("get-tree", "b/"),
    )
    assert not outcome.failures
    assert outcome.pairs[2:] == (Pair("a", b"2", 0, 4, 4), Pair("b/2", b"old", 0, 3, 3))


def test_what_reads_shows_values_and_what_checks_or_changes_does_not(state: StateMachine) -> None:
    shown = execute(
        state,
        Operation("get", "a"),
        Operation("get-tree", "b/"),
        Operation("check-index", "a", index=1),
        Operation("check-session", "a"),
        Operation("set", "a", b"new"),
        Operation("check-not-exists", "c"),
        Operation("delete", "c"),
        Operation("delete-tree", "c"),
    ).pairs
    assert keys(shown) == ["a", "b/1", "b/2", "a", "a", "a"]
    assert [pair.value for pair in shown] == [b"old", b"old", b"old", b"", b"", b""]


def test_get_or_empty_shows_a_missing_key_as_it_was_asked_for(state: StateMachine) -> None:
    outcome = execute(state, Operation("get-or-empty", "a"), Operation("get-or-empty", "c", flags=7, index=5))
    assert outcome == Outcome((Pair("a", b"old", 0, 1, 1), Pair("c", b"", 7, 0, 5)))


def test_a_transaction_wakes_who_waits_once_and_only_if_it_happened(state: StateMachine) -> None:
    woken: list[str] = []
    for key in ("a", "c"):
        state.watches.on_key(key, partial(woken.append, key))
    changes = (Operation("set", "c", b"new"), Operation("set", "a", b"new"), Operation("delete", "c"))
    execute(state, *changes, Operation("get", "c"))
    assert woken == []
    execute(state, *changes)
    assert woken == ["c", "a"]


def test_what_only_reads_can_be_asked_of_a_state_without_an_index(state: StateMachine) -> None:
    before = state.digest()
    outcome = read(state.kv, (Operation("get", "a"), Operation("check-index", "b/1", index=2)))
    assert keys(outcome.pairs) == ["a", "b/1"]
    with pytest.raises(ValueError, match="needs an index"):
        read(state.kv, (Operation("get", "a"), Operation("delete", "a")))
    assert state.digest() == before
