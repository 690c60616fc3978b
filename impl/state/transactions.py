"""Transactions: several operations on keys, all of them or none, at one place in the log.

Rules (Consul: agent/consul/state/txn.go)
-----------------------------------------
1. Operations run in order, each on what those before it left.
2. After one that fails the others run all the same, so that every failure is told. Then all is as it was.
3. An operation results in the pairs that it is about; their values are blanked unless it reads. What deletes,
   and what checks that there is nothing, results in none.
4. A transaction that only reads needs no place in the log: it is answered from any server's state.

    verb               fails unless                      reads, or changes
    set                                                  value and flags
    cas                ModifyIndex is `index`, or        value and flags
                       0 and there is no such key
    get                the key is there                  the pair
    get-or-empty                                         the pair, or an empty one with ModifyIndex `index`
    get-tree                                             the pairs under the prefix
    check-index        ModifyIndex is `index`
    check-session      it is locked by `session`
    check-not-exists   there is no such key
    delete                                               the pair, if it is there
    delete-cas         ModifyIndex is `index`, or        the pair
                       there is no such key
    delete-tree                                          the pairs under the prefix

Consul's `lock` and `unlock` need sessions, which there are none of yet.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from impl.state.commands import Operation
from impl.state.kv import KVStore, Pair

CHANGES = ("set", "cas", "delete", "delete-cas", "delete-tree")
"""Verbs that may change something: a transaction with one of them has to be replicated."""


class Failed(msgspec.Struct, frozen=True):
    """An operation that failed."""

    operation: int
    """Its number, from 0."""
    what: str
    """In Consul's words."""


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of a transaction: it happened unless there are `failures`, and then there are no `pairs`."""

    pairs: tuple[Pair, ...] = ()
    failures: tuple[Failed, ...] = ()


class _Fails(Exception):
    """The operation fails, and with it the transaction."""


def only_reads(operations: Sequence[Operation]) -> bool:
    """Whether none of them may change anything."""
    return not any(operation.verb in CHANGES for operation in operations)


def execute(kv: KVStore, index: int, operations: Sequence[Operation]) -> Outcome:
    """Run them at that index, and undo them again if one fails."""
    kv.begin()
    outcome = run(kv, index, operations)
    kv.end(keep=not outcome.failures)
    return outcome


def read(kv: KVStore, operations: Sequence[Operation]) -> Outcome:
    """Run operations that only read. Raises ValueError if one does not."""
    if not only_reads(operations):
        raise ValueError("a transaction that changes something needs an index")
    return run(kv, 0, operations)


def run(kv: KVStore, index: int, operations: Sequence[Operation]) -> Outcome:
    """Run all of them, and undo nothing."""
    pairs: list[Pair] = []
    failures: list[Failed] = []
    for number, operation in enumerate(operations):
        try:
            pairs += _operate(kv, index, operation)
        except _Fails as failure:
            failures.append(Failed(number, str(failure)))
    return Outcome((), tuple(failures)) if failures else Outcome(tuple(pairs))


def _operate(kv: KVStore, index: int, operation: Operation) -> Sequence[Pair]:
    key, expected = operation.key, operation.index
    pair = kv.get(key)[1]
    match operation.verb:
        case "set":
            kv.set(index, key, operation.value, operation.flags)
            return _blanked(kv.get(key)[1])
        case "cas":
            if not kv.compare_and_set(index, key, operation.value, operation.flags, expected):
                raise _Fails(f"failed to set key {_quoted(key)}, index is stale")
            return _blanked(kv.get(key)[1])
        case "get":
            if pair is None:
                raise _Fails(f"key {_quoted(key)} doesn't exist")
            return (pair,)
        case "get-or-empty":
            absent = Pair(key, b"", operation.flags, 0, expected, 0, operation.session or None)
            return (pair or absent,)
        case "get-tree":
            return kv.get_tree(key)[1]
        case "check-index":
            if pair is None:
                raise _Fails(f"failed to check index, key {_quoted(key)} doesn't exist")
            if pair.modify_index != expected:
                raise _Fails(
                    f"failed index check for key {_quoted(key)}, "
                    f"current modify index {pair.modify_index} != {expected}"
                )
            return _blanked(pair)
        case "check-session":
            if pair is None:
                raise _Fails(f"failed to check session, key {_quoted(key)} doesn't exist")
            if (pair.session or "") != operation.session:
                raise _Fails(
                    f"failed session check for key {_quoted(key)}, "
                    f"current session {_quoted(pair.session or '')} != {_quoted(operation.session)}"
                )
            return _blanked(pair)
        case "check-not-exists":
            if pair is not None:
                raise _Fails(f"key {_quoted(key)} exists")
        case "delete":
            kv.delete(index, key)
        case "delete-cas":
            if not kv.compare_and_delete(index, key, expected):
                raise _Fails(f"failed to delete key {_quoted(key)}, index is stale")
        case "delete-tree":
            kv.delete_tree(index, key)
        case _:
            raise _Fails(f"unknown KV verb {_quoted(operation.verb)}")
    return ()


def _blanked(pair: Pair | None) -> Sequence[Pair]:
    return () if pair is None else (msgspec.structs.replace(pair, value=b""),)


def _quoted(text: str) -> str:
    """As Go's %q: of what is printable, what JSON makes of it."""
    return msgspec.json.encode(text).decode()
