"""The KV store against a model that is as plain as can be, through random commands and restores.

The model keeps everything that ever happened and answers by looking through it. Beside its answers, it checks
what blocking queries live on: while no tombstone is reaped, the index of every query rises whenever its
answer changes, never falls, and its watch is woken.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from impl.state import (
    Command,
    CompareAndDelete,
    CompareAndSet,
    Delete,
    DeleteTree,
    Operation,
    Outcome,
    ReapTombstones,
    Set,
    StateMachine,
    Transaction,
    encode_command,
)

KEYS = ["", "a", "a/", "a/b", "a/b/c", "a/c", "ab", "b", "b/", "é"]
PREFIXES = [*KEYS, "c"]

keys = st.sampled_from(KEYS)
values = st.sampled_from([b"", b"1", b"2"])
flags = st.sampled_from([0, 1])


@dataclass
class Row:
    value: bytes
    flags: int
    create_index: int
    modify_index: int


class KVComparison(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.state = StateMachine()
        self.index = 0
        self.rows: dict[str, Row] = {}
        self.changes: list[int] = [0]
        """The indexes of all changes and removals."""
        self.answers: dict[tuple[str, str], tuple[int, object]] = {}
        self.woken: dict[tuple[str, str], bool] = {}
        self.reaped = False
        for key in KEYS:
            self.watch("key", key)
        for prefix in PREFIXES:
            self.watch("prefix", prefix)

    def watch(self, kind: str, name: str) -> None:
        def wake() -> None:
            self.woken[kind, name] = True

        register = self.state.watches.on_key if kind == "key" else self.state.watches.on_prefix
        register(name, wake)

    def apply(self, command: Command, expected: bool = True) -> None:
        self.woken.clear()
        assert self.state.apply(self.index, encode_command(command)) is expected

    def model_set(self, key: str, value: bytes, flags: int) -> None:
        row = self.rows.get(key)
        if row is None:
            self.rows[key] = Row(value, flags, self.index, self.index)
        elif (row.value, row.flags) != (value, flags):
            self.rows[key] = Row(value, flags, row.create_index, self.index)
        else:
            return
        self.changes.append(self.index)

    def model_delete(self, keys: list[str]) -> None:
        for key in keys:
            del self.rows[key]
            self.changes.append(self.index)

    def some_modify_index(self, key: str, right: bool) -> int:
        row = self.rows.get(key)
        return (row.modify_index if row else 0) if right else 3

    @rule(key=keys, value=values, flags=flags)
    def set(self, key: str, value: bytes, flags: int) -> None:
        self.index += 1
        self.model_set(key, value, flags)
        self.apply(Set(key, value, flags))

    @rule(key=keys, value=values, flags=flags, right=st.booleans())
    def compare_and_set(self, key: str, value: bytes, flags: int, right: bool) -> None:
        self.index += 1
        modify_index = self.some_modify_index(key, right)
        row = self.rows.get(key)
        matches = (row is None and modify_index == 0) or (
            row is not None and row.modify_index == modify_index
        )
        if matches:
            self.model_set(key, value, flags)
        self.apply(CompareAndSet(key, value, modify_index, flags), matches)

    @rule(key=keys)
    def delete(self, key: str) -> None:
        self.index += 1
        self.model_delete([key] if key in self.rows else [])
        self.apply(Delete(key))

    @rule(key=keys, right=st.booleans())
    def compare_and_delete(self, key: str, right: bool) -> None:
        self.index += 1
        modify_index = self.some_modify_index(key, right)
        row = self.rows.get(key)
        matches = row is not None and row.modify_index == modify_index
        self.model_delete([key] if matches else [])
        self.apply(CompareAndDelete(key, modify_index), matches or row is None)

    @rule(prefix=st.sampled_from(PREFIXES))
    def delete_tree(self, prefix: str) -> None:
        self.index += 1
        self.model_delete([key for key in self.rows if key.startswith(prefix)])
        self.apply(DeleteTree(prefix))

    @rule(
        sets=st.lists(st.tuples(keys, values, flags)), prefix=st.sampled_from(PREFIXES), fails=st.booleans()
    )
    def transaction(self, sets: list[tuple[str, bytes, int]], prefix: str, fails: bool) -> None:
        self.index += 1
        operations = [Operation("delete-tree", prefix)]
        operations += [Operation("set", key, value, flags) for key, value, flags in sets]
        operations += [Operation("get", "no such key")] * fails
        self.woken.clear()
        outcome = self.state.apply(self.index, encode_command(Transaction(tuple(operations))))
        assert isinstance(outcome, Outcome)
        assert bool(outcome.failures) is fails
        if fails:
            assert not self.woken
            return
        self.model_delete([key for key in self.rows if key.startswith(prefix)])
        for key, value, flag in sets:
            self.model_set(key, value, flag)

    @rule(age=st.integers(0, 5))
    def reap_tombstones(self, age: int) -> None:
        self.index += 1
        self.reaped = True
        self.apply(ReapTombstones(max(0, self.index - age)))
        assert not self.woken

    @rule()
    def skip(self) -> None:
        self.index += 1
        self.woken.clear()
        self.state.advance(self.index)

    @rule()
    def restore_into_the_same(self) -> None:
        before = self.state.digest()
        self.woken.clear()
        self.state.restore(self.state.snapshot())
        assert self.state.digest() == before
        assert len(self.woken) == len(KEYS) + len(PREFIXES)

    @rule(prefix=st.sampled_from(PREFIXES), separator=st.sampled_from(["", "/", "b"]))
    def list_keys(self, prefix: str, separator: str) -> None:
        expected = set()
        for key in self.rows:
            if key.startswith(prefix):
                head, found, _ = key[len(prefix) :].partition(separator or "\0")
                expected.add(prefix + head + found)
        assert self.state.kv.keys(prefix, separator)[1] == sorted(expected)

    @invariant()
    def answers_are_those_of_the_model(self) -> None:
        assert self.state.last_applied == self.index
        assert self.state.kv.table_index == max(self.changes)
        for key in KEYS:
            index, pair = self.state.kv.get(key)
            row = self.rows.get(key)
            if row is None:
                assert (index, pair) == (max(self.changes), None)
            else:
                assert pair is not None
                assert (pair.value, pair.flags, pair.create_index) == (row.value, row.flags, row.create_index)
                assert index == pair.modify_index == row.modify_index
            self.check_progress("key", key, index, pair)
        for prefix in PREFIXES:
            index, pairs = self.state.kv.get_tree(prefix)
            assert [pair.key for pair in pairs] == sorted(key for key in self.rows if key.startswith(prefix))
            assert index >= max((pair.modify_index for pair in pairs), default=0)
            assert index <= max(self.changes)
            self.check_progress("prefix", prefix, index, pairs)
        self.reaped = False

    def check_progress(self, kind: str, name: str, index: int, answer: object) -> None:
        index_before, answer_before = self.answers.get((kind, name), (index, answer))
        if answer != answer_before:
            assert index > index_before
            assert self.woken[kind, name]
        elif not self.reaped:
            assert index >= index_before
        self.answers[kind, name] = (index, answer)


TestKVComparison = KVComparison.TestCase
TestKVComparison.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
