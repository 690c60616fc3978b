"""The KV store's answers and indexes, by example. (Consul: agent/consul/state/kvs_test.go.)"""

from __future__ import annotations

from impl.state import (
    Command,
    CompareAndDelete,
    CompareAndSet,
    Delete,
    DeleteTree,
    Pair,
    ReapTombstones,
    Result,
    Set,
    StateMachine,
    encode_command,
)


def machine(*commands: Command, first_index: int = 1) -> StateMachine:
    """After these commands at consecutive indexes."""
    state = StateMachine()
    for index, command in enumerate(commands, first_index):
        state.apply(index, encode_command(command))
    return state


def apply(state: StateMachine, command: Command) -> Result:
    return state.apply(state.last_applied + 1, encode_command(command))


def test_a_key_has_the_index_that_created_it_and_the_one_that_last_changed_it() -> None:
    state = machine(Set("a", b"1", flags=7), Set("b", b"2"), Set("a", b"3", flags=2**64 - 1))
    assert state.kv.get("a") == (3, Pair("a", b"3", 2**64 - 1, create_index=1, modify_index=3))
    assert state.kv.get("b") == (2, Pair("b", b"2", 0, create_index=2, modify_index=2))


def test_writing_what_is_there_changes_no_index() -> None:
    state = machine(Set("a", b"1"), Set("b", b"2"))
    assert apply(state, Set("a", b"1"))
    assert apply(state, CompareAndSet("a", b"1", modify_index=1))
    assert state.kv.get("a")[0] == 1
    assert state.kv.table_index == 2
    assert apply(state, Set("a", b"1", flags=1))
    assert state.kv.get("a")[0] == 5


def test_compare_and_set_is_decided_by_the_modify_index_and_0_means_no_such_key() -> None:
    state = machine(Set("a", b"1"))
    assert not apply(state, CompareAndSet("a", b"x", modify_index=0))
    assert not apply(state, CompareAndSet("a", b"x", modify_index=2))
    assert not apply(state, CompareAndSet("b", b"x", modify_index=1))
    assert state.kv.get_tree("") == (1, [Pair("a", b"1", 0, 1, 1)])
    assert apply(state, CompareAndSet("a", b"2", modify_index=1, flags=3))
    assert apply(state, CompareAndSet("b", b"1", modify_index=0))
    assert state.kv.get_tree("") == (6, [Pair("a", b"2", 3, 1, 5), Pair("b", b"1", 0, 6, 6)])


def test_compare_and_delete_is_true_when_the_key_is_gone() -> None:
    state = machine(Set("a", b"1"))
    assert not apply(state, CompareAndDelete("a", modify_index=2))
    assert not apply(state, CompareAndDelete("a", modify_index=0))
    assert len(state.kv) == 1
    assert apply(state, CompareAndDelete("a", modify_index=1))
    assert apply(state, CompareAndDelete("a", modify_index=1))
    assert len(state.kv) == 0


def test_deleting_what_is_not_there_is_true_and_changes_no_index() -> None:
    state = machine(Set("a", b"1"), Delete("b"), DeleteTree("b"))
    assert state.kv.table_index == 1
    assert state.kv.tombstone_count == 0


def test_a_missing_key_has_the_index_of_the_newest_change_anywhere() -> None:
    state = machine(Set("a", b"1"), Set("b", b"2"), Delete("a"))
    assert state.kv.get("a") == (3, None)
    assert state.kv.get("never") == (3, None)


def test_an_empty_store_has_index_0() -> None:
    assert StateMachine().kv.get("a") == (0, None)
    assert StateMachine().kv.get_tree("a") == (0, [])
    assert StateMachine().kv.get_tree("") == (0, [])


def test_a_prefix_has_the_highest_index_in_it() -> None:
    state = machine(Set("a/1", b""), Set("a/2", b""), Set("b", b""))
    assert state.kv.get_tree("a/")[0] == 2
    assert state.kv.get_tree("a/1")[0] == 1
    assert state.kv.get_tree("c")[0] == 3
    assert state.kv.get_tree("")[0] == 3


def test_the_index_of_a_prefix_does_not_fall_when_its_newest_key_is_deleted() -> None:
    state = machine(Set("a/1", b""), Set("a/2", b""), Delete("a/2"))
    assert state.kv.get_tree("a/") == (3, [Pair("a/1", b"", 0, 1, 1)])


def test_reaping_forgets_deletions_up_to_an_index() -> None:
    state = machine(Set("a/1", b""), Set("a/2", b""), Set("a/3", b""), Delete("a/2"), Delete("a/3"))
    apply(state, ReapTombstones(4))
    assert (state.kv.tombstone_count, state.kv.get_tree("a/")[0]) == (1, 5)
    apply(state, ReapTombstones(5))
    assert (state.kv.tombstone_count, state.kv.get_tree("a/")[0]) == (0, 1)
    assert state.kv.get("a/2") == (5, None)


def test_deleting_a_tree_leaves_one_tombstone_and_touches_nothing_else() -> None:
    state = machine(
        Set("a", b""), Set("a/1", b""), Set("a/2", b""), Set("b", b""), Delete("a/1"), DeleteTree("a/")
    )
    assert state.kv.keys("") == (6, ["a", "b"])
    assert state.kv.tombstone_count == 1
    assert state.kv.get_tree("a")[0] == 6
    assert state.kv.get_tree("a/1")[0] == 6
    assert state.kv.get("a")[0] == 1


def test_deleting_everything_needs_no_tombstone() -> None:
    state = machine(Set("a/1", b""), Delete("a/1"), Set("b", b""), DeleteTree(""))
    assert (len(state.kv), state.kv.tombstone_count) == (0, 0)
    assert state.kv.get_tree("a/") == (4, [])


def test_keys_sort_as_their_utf_8_bytes_do() -> None:
    keys = ["", "A", "a", "a/", "a/b", "z", "é", "\uffff", "\U0001f600"]
    state = machine(*(Set(key, b"") for key in reversed(keys)))
    assert state.kv.keys("")[1] == keys == sorted(keys, key=str.encode)


def test_a_separator_shortens_keys_to_the_first_one_behind_the_prefix() -> None:
    state = machine(*(Set(key, b"") for key in ["a", "a/b/c", "a/b/d", "a/e", "a/f/g", "b/h"]))
    assert state.kv.keys("", "/") == (6, ["a", "a/", "b/"])
    assert state.kv.keys("a/", "/") == (5, ["a/b/", "a/e", "a/f/"])
    assert state.kv.keys("a/", "") == (5, ["a/b/c", "a/b/d", "a/e", "a/f/g"])
    assert state.kv.keys("a", "/b")[1] == ["a", "a/b", "a/e", "a/f/g"]
    assert state.kv.keys("x", "/") == (6, [])
