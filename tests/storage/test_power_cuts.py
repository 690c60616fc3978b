"""Whatever is done and wherever the power goes: nothing synced is lost, and nothing comes from nowhere.

The model keeps every state since the last one that is known to be durable. After a power cut one of these has
to be found: the durable one, or one that had been appended after it; then that one is durable.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from impl.raft import Configuration, Entry, HardState, Restored, Server, Snapshot
from impl.storage import Storage

NewDisk = Callable[..., Any]
TRAILING_ENTRIES = 4


@dataclass(frozen=True)
class Append:
    """Step back so many entries, then append so many of the next term."""

    back: int
    sizes: tuple[int, ...]
    vote: str | None


@dataclass(frozen=True)
class Sync:
    pass


@dataclass(frozen=True)
class Install:
    """A snapshot so many entries before (or, negative, behind) the log's end, perhaps of another term."""

    before_end: int
    other_term: bool


@dataclass(frozen=True)
class Kill:
    pass


@dataclass(frozen=True)
class State:
    """What a server that is opened now should find."""

    hard_state: HardState = HardState(0, None)  # noqa: RUF009 - immutable
    snapshot: Snapshot | None = None
    entries: tuple[Entry, ...] = ()

    @property
    def snapshot_index(self) -> int:
        return self.snapshot.index if self.snapshot else 0

    @property
    def last_index(self) -> int:
        return self.entries[-1].index if self.entries else self.snapshot_index

    def appended(self, hard_state: HardState | None, entries: tuple[Entry, ...]) -> State:
        kept = tuple(e for e in self.entries if not entries or e.index < entries[0].index)
        return replace(self, hard_state=hard_state or self.hard_state, entries=kept + entries)

    def installed(self, snapshot: Snapshot) -> State:
        has_last_entry = any((e.index, e.term) == (snapshot.index, snapshot.term) for e in self.entries)
        kept = tuple(e for e in self.entries if e.index > snapshot.index - TRAILING_ENTRIES)
        return replace(self, snapshot=snapshot, entries=kept if has_last_entry else ())

    @classmethod
    def of(cls, restored: Restored) -> State:
        return cls(restored.hard_state, restored.snapshot, tuple(restored.entries))


steps = st.lists(
    st.one_of(
        st.builds(
            Append,
            back=st.integers(0, 4),
            # Some entries are longer than a sector, and some all zeros.
            sizes=st.lists(st.sampled_from([0, 3, 40, 700]), max_size=4).map(tuple),
            vote=st.sampled_from([None, "a", "b"]),
        ),
        st.just(Sync()),
        st.builds(Install, before_end=st.integers(-3, 5), other_term=st.booleans()),
        st.just(Kill()),
    ),
    max_size=14,
)


@settings(max_examples=400, deadline=None)
@given(
    lives=st.lists(st.tuples(steps, st.integers(1, 25)), min_size=1, max_size=4),
    seed=st.integers(0, 2**32),
    segment_bytes=st.sampled_from([150, 1000, 1 << 20]),
)
def test_a_power_cut_anywhere_leaves_what_was_synced_or_a_later_state(
    new_disk: NewDisk, lives: list[tuple[list[Any], int]], seed: int, segment_bytes: int
) -> None:
    choices = random.Random(seed)
    run = Run(new_disk(), segment_bytes)
    with asyncio.Runner() as runner:
        for life, cut_in in lives:
            run.disk.cut_in = cut_in
            try:
                runner.run(run.live(life))
            except run.disk.PowerCut:
                pass
            run.disk = run.disk.after_power_cut(choices)
            runner.run(run.open())


class Run:
    """A server's storage through several lives, and the states that it may be in."""

    def __init__(self, disk: Any, segment_bytes: int) -> None:
        self.disk = disk
        self.segment_bytes = segment_bytes
        self.possible = [State()]
        """The first is durable, the last is what was appended last."""
        self.term = 0

    async def open(self) -> Storage:
        storage, restored = await Storage.open(
            self.disk, trailing_entries=TRAILING_ENTRIES, segment_bytes=self.segment_bytes
        )
        found = State.of(restored)
        assert found in self.possible
        self.possible = [found]
        return storage

    async def live(self, life: list[Any]) -> None:
        storage = await self.open()
        for step in life:
            match step:
                case Append(back, sizes, vote):
                    self.append(storage, back, sizes, vote)
                case Sync():
                    await storage.sync()
                    self.possible = self.possible[-1:]
                case Install(before_end, other_term):
                    await self.install(storage, before_end, other_term)
                case Kill():
                    self.disk, cut_in = self.disk.after_kill(), self.disk.cut_in
                    self.disk.cut_in = cut_in
                    storage = await self.open()

    def append(self, storage: Storage, back: int, sizes: tuple[int, ...], vote: str | None) -> None:
        self.term += 1
        now = self.possible[-1]
        first = max(now.last_index - back, now.snapshot_index) + 1
        entries = tuple(
            Entry(first + offset, self.term, 0, bytes([self.term % 3]) * size)
            for offset, size in enumerate(sizes)
        )
        hard_state = HardState(self.term, vote) if vote else None
        storage.append(hard_state, entries)
        self.possible.append(now.appended(hard_state, entries))

    async def install(self, storage: Storage, before_end: int, other_term: bool) -> None:
        now = self.possible[-1]
        index = now.last_index - before_end
        if index <= now.snapshot_index:
            return
        self.term += other_term
        terms = {entry.index: entry.term for entry in now.entries}
        term = self.term if other_term else terms.get(index, self.term)
        configuration = Configuration((Server("a", "10.0.0.1:8300"),))
        snapshot = Snapshot(index, term, configuration, b"state" * 100)
        self.possible.append(now.installed(snapshot))
        await storage.install(snapshot)
        self.possible = self.possible[-1:]
