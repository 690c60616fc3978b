"""A dictionary of members, the unchanged part of which many agents in one process share.

Rules
-----
1. What was shared is never changed: whoever wants to change a value asks for its `own`, a copy.
2. A deletion makes all the rest our own as well. It is rare, and needs no tombstones so.

A lone agent shares nothing, and pays one failed look-up. Ten thousand agents that know each other would need
a hundred million records, but for this.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


class Layered(Generic[T]):
    """Our own values over the shared ones, by name."""

    def __init__(self, shared: Mapping[str, T]) -> None:
        self._shared = shared
        self._own: dict[str, T] = {}
        self._added = 0

    def __len__(self) -> int:
        return len(self._shared) + self._added

    def __contains__(self, name: str) -> bool:
        return name in self._own or name in self._shared

    def __iter__(self) -> Iterator[str]:
        yield from self._shared
        yield from (name for name in self._own if name not in self._shared)

    def get(self, name: str) -> T | None:
        """To look at only."""
        own = self._own.get(name)
        return own if own is not None else self._shared.get(name)

    def __getitem__(self, name: str) -> T:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def own(self, name: str) -> T:
        """To change: from now on this value is ours alone."""
        own = self._own.get(name)
        if own is None:
            own = self._own[name] = copy.copy(self._shared[name])
        return own

    def values(self) -> list[T]:
        """In the order of their coming: the shared ones first."""
        return list({**self._shared, **self._own}.values())

    def __setitem__(self, name: str, value: T) -> None:
        self._added += name not in self
        self._own[name] = value

    def __delitem__(self, name: str) -> None:
        if self._shared:
            self._own = {each: self.own(each) for each in self}
            self._shared, self._added = {}, len(self._own)
        del self._own[name]
        self._added -= 1
