"""The key/value store, with the indexes that Consul's blocking queries go by.

Every pair remembers the log index that created it and the one that last changed it. A query's index says how
new its answer is, and clients wait for it to rise:

- of an existing key: its ModifyIndex;
- of a missing key: the newest index of any change or removal in the whole store;
- of a prefix: the highest ModifyIndex and removal in it, or as for a missing key if there is neither;
- of the empty prefix: as for a missing key.

Removals count through tombstones (the graveyard): without them, removing the newest key of a prefix would
make the prefix's index fall, and those who wait for it to rise would miss the removal. Tombstones are
reaped after a while, and then the index may fall; clients start over when they see that. Removing a tree
leaves one tombstone with the prefix's name in place of all in it (Consul keeps those too, whereby the index
of a smaller prefix can fall back to them); removing everything leaves none. Index 0 means that there never
was anything; HTTP says 1 instead, for a client's 0 means not to wait.

Writing the value and flags that are already there changes nothing and raises no index.

Source: Consul, agent/consul/state/kvs.go and graveyard.go. Keys sort by code point, which is also the order
of their UTF-8 bytes and so Consul's.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from sortedcontainers import SortedDict

from impl.state.watches import Watches


class Pair(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A key and what belongs to it."""

    key: str
    value: bytes
    flags: int
    create_index: int
    modify_index: int
    lock_index: int = 0
    """How often the key was locked."""
    session: str | None = None
    """The session that holds the lock."""


class Tombstone(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The key, or the prefix of a removed tree, and the index of its last removal."""

    key: str
    index: int


class KVStore:
    """The pairs and their graveyard. Changed only by the state machine, each change at a log index."""

    def __init__(self, watches: Watches) -> None:
        self._watches = watches
        self._undo: list[tuple[SortedDict[str, Any], str, Any]] | None = None
        """What stood where something was replaced since `begin`, oldest first; None outside a transaction."""
        self.load((), (), 0)

    def load(self, pairs: Iterable[Pair], tombstones: Iterable[Tombstone], table_index: int) -> None:
        """Become a store of these, nothing of before remaining. Wakes nobody."""
        self._pairs: SortedDict[str, Pair] = SortedDict((pair.key, pair) for pair in pairs)
        self._tombstones: SortedDict[str, int] = SortedDict((grave.key, grave.index) for grave in tombstones)
        self.table_index = table_index
        """The index of the newest change or removal in the whole store; 0 if there never was one."""

    # Queries

    def __len__(self) -> int:
        return len(self._pairs)

    @property
    def tombstone_count(self) -> int:
        """How many removals are remembered; with none, there is nothing to reap."""
        return len(self._tombstones)

    def get(self, key: str) -> tuple[int, Pair | None]:
        """The query's index, and the pair if there is one."""
        pair = self._pairs.get(key)
        return (self.table_index, None) if pair is None else (pair.modify_index, pair)

    def get_tree(self, prefix: str) -> tuple[int, list[Pair]]:
        """The query's index, and the pairs whose keys begin with `prefix`, sorted."""
        pairs = [self._pairs[key] for key in _with_prefix(self._pairs, prefix)]
        if not prefix:
            return self.table_index, pairs
        changes = (pair.modify_index for pair in pairs)
        removals = (self._tombstones[key] for key in _with_prefix(self._tombstones, prefix))
        return max((*changes, *removals), default=self.table_index), pairs

    def keys(self, prefix: str, separator: str = "") -> tuple[int, list[str]]:
        """The query's index, and the keys that begin with `prefix`, sorted.

        With a separator, each key is given only up to the first one behind the prefix, and once.
        """
        index, pairs = self.get_tree(prefix)
        if not separator:
            return index, [pair.key for pair in pairs]
        shortened: dict[str, None] = {}
        for pair in pairs:
            position = pair.key.find(separator, len(prefix))
            shortened[pair.key if position < 0 else pair.key[: position + len(separator)]] = None
        return index, list(shortened)

    # Changes

    def set(self, index: int, key: str, value: bytes, flags: int) -> bool:
        """Create or overwrite; a locked key stays locked. Always true."""
        old = self._pairs.get(key)
        if old is None:
            self._replace(self._pairs, key, Pair(key, value, flags, index, index))
        elif (old.value, old.flags) == (value, flags):
            return True
        else:
            new = msgspec.structs.replace(old, value=value, flags=flags, modify_index=index)
            self._replace(self._pairs, key, new)
        self.table_index = index
        self._watches.touch(key)
        return True

    def compare_and_set(self, index: int, key: str, value: bytes, flags: int, modify_index: int) -> bool:
        """Set if the ModifyIndex is as given, 0 meaning that there is no such key. True if so."""
        old = self._pairs.get(key)
        if (old.modify_index if old is not None else 0) != modify_index:
            return False
        return self.set(index, key, value, flags)

    def delete(self, index: int, key: str) -> bool:
        """Remove if it is there. Always true."""
        if key in self._pairs:
            self._replace(self._pairs, key, None)
            self._replace(self._tombstones, key, index)
            self.table_index = index
            self._watches.touch(key)
        return True

    def compare_and_delete(self, index: int, key: str, modify_index: int) -> bool:
        """Remove if the ModifyIndex is as given. True if so, and also if there is no such key."""
        old = self._pairs.get(key)
        if old is None or old.modify_index != modify_index:
            return old is None
        return self.delete(index, key)

    def delete_tree(self, index: int, prefix: str) -> bool:
        """Remove all keys that begin with `prefix`. Always true."""
        keys = list(_with_prefix(self._pairs, prefix))
        if not keys:
            return True
        for key in keys:
            self._replace(self._pairs, key, None)
        for key in list(_with_prefix(self._tombstones, prefix)):
            self._replace(self._tombstones, key, None)
        if prefix:
            self._replace(self._tombstones, prefix, index)
        self.table_index = index
        for key in keys:
            self._watches.touch(key)
        return True

    def reap_tombstones(self, index: int) -> bool:
        """Forget the removals up to `index`. Takes time in proportion to all tombstones. Always true."""
        for key in [key for key, removal in self._tombstones.items() if removal <= index]:
            del self._tombstones[key]
        return True

    # Transactions

    def begin(self) -> None:
        """Remember what the changes from here on replace, until `end`."""
        self._undo = []
        self._table_index_before = self.table_index

    def end(self, keep: bool) -> None:
        """Keep what has changed since `begin`; or else make all as it was, and wake nobody for it."""
        undo, self._undo = self._undo or [], None
        if keep:
            return
        for table, key, before in reversed(undo):
            self._replace(table, key, before)
        self.table_index = self._table_index_before
        self._watches.forget()

    def _replace(self, table: SortedDict[str, Any], key: str, new: object) -> None:
        """Put `new` under the key; None removes what is there."""
        if self._undo is not None:
            self._undo.append((table, key, table.get(key)))
        if new is None:
            del table[key]
        else:
            table[key] = new

    # For snapshots

    def pairs(self) -> list[Pair]:
        """All pairs, sorted. Copies references only: pairs never change, they are replaced."""
        return list(map(self._pairs.__getitem__, self._pairs))  # no Python code per pair, unlike values()

    def tombstones(self) -> list[Tombstone]:
        """All tombstones, sorted by key."""
        return [Tombstone(key, index) for key, index in self._tombstones.items()]


def _with_prefix(table: SortedDict[str, object], prefix: str) -> Iterator[str]:
    return itertools.takewhile(lambda key: key.startswith(prefix), table.irange(minimum=prefix))
