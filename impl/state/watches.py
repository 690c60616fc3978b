"""Who waits for a change of which keys.

A blocking query registers its watch first and asks for the data second: a change in between then wakes it,
and none is missed.

    changed = asyncio.Event()
    watch = watches.on_key(key, changed.set)
    try:
        while True:
            changed.clear()
            index, pair = kv.get(key)
            if index > index_seen:
                return index, pair
            await changed.wait()
    finally:
        watch.cancel()

A changed key costs its length and the watches it wakes, however many there are: those on keys are found by
the key, those on prefixes by every prefix that the key has. A long key has too many of those (and each is a
copy): it is held against what is watched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

LONG_KEY = 1024
"""The prefixes of a longer key are not tried one by one."""


class Watch:
    """A registration, until `cancel`. Equal only to itself."""

    def __init__(self, registry: dict[str, dict[Watch, None]], name: str, wake: Callable[[], None]) -> None:
        """Use `Watches.on_key` or `Watches.on_prefix`."""
        self._registry = registry
        self._name = name
        self._wake: Callable[[], None] | None = wake
        registry.setdefault(name, {})[self] = None

    def wake(self) -> None:
        if self._wake is not None:
            self._wake()

    def cancel(self) -> None:
        """Wake no more. Harmless if done twice."""
        if self._wake is None:
            return
        self._wake = None
        waiting = self._registry[self._name]
        del waiting[self]
        if not waiting:
            del self._registry[self._name]


class Watches:
    """The registrations of one store.

    `wake` is called once per applied command that touches what is watched, when all of the command is done,
    and once per restore. It must not raise, apply or restore; it may register and cancel. The order is that
    of the touched keys, and for one key that of registration.
    """

    def __init__(self) -> None:
        # The inner dictionaries serve as sets that have an order, the same in every process.
        self._on_key: dict[str, dict[Watch, None]] = {}
        self._on_prefix: dict[str, dict[Watch, None]] = {}
        self._touched: dict[Watch, None] = {}

    def on_key(self, key: str, wake: Callable[[], None]) -> Watch:
        """Wake when this key is created, changed or removed."""
        return Watch(self._on_key, key, wake)

    def on_prefix(self, prefix: str, wake: Callable[[], None]) -> Watch:
        """Wake when a key with this prefix is created, changed or removed."""
        return Watch(self._on_prefix, prefix, wake)

    def __len__(self) -> int:
        """How many are registered. Takes time in proportion to the keys and prefixes that are watched."""
        registries = (self._on_key, self._on_prefix)
        return sum(len(waiting) for registry in registries for waiting in registry.values())

    def touch(self, key: str) -> None:
        """Note that a key is created, changed or removed, for the next `wake`."""
        if self._on_key:
            self._touched.update(self._on_key.get(key, {}))
        if self._on_prefix:
            for prefix in self._prefixes_of(key):
                self._touched.update(self._on_prefix.get(prefix, {}))

    def _prefixes_of(self, key: str) -> Iterable[str]:
        """Those that may be watched, shortest first."""
        if len(key) > LONG_KEY:
            return sorted(filter(key.startswith, self._on_prefix), key=len)
        return (key[:length] for length in range(len(key) + 1))

    def touch_all(self) -> None:
        """Note that everything may have changed, for the next `wake`."""
        for registry in (self._on_key, self._on_prefix):
            for waiting in registry.values():
                self._touched.update(waiting)

    def forget(self) -> None:
        """What was touched since the last `wake` is as it was before."""
        self._touched.clear()

    def wake(self) -> None:
        """Wake everyone who waits for something touched since the last call."""
        touched, self._touched = self._touched, {}
        for watch in touched:
            watch.wake()
