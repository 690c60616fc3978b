"""Watches: nobody who waits for a change sleeps through it, and nobody else is woken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from impl.state import Command, Delete, DeleteTree, ReapTombstones, Set, StateMachine, Watch, encode_command


class Watched:
    """A state machine, and who was woken by each command."""

    def __init__(self) -> None:
        self.state = StateMachine()
        self.woken: list[str] = []

    def on_key(self, key: str) -> Watch:
        return self.state.watches.on_key(key, lambda: self.woken.append(f"key {key}"))

    def on_prefix(self, prefix: str) -> Watch:
        return self.state.watches.on_prefix(prefix, lambda: self.woken.append(f"prefix {prefix}"))

    def apply(self, command: Command) -> list[str]:
        self.woken.clear()
        self.state.apply(self.state.last_applied + 1, encode_command(command))
        return self.woken


def test_a_change_wakes_those_who_watch_the_key_or_a_prefix_of_it() -> None:
    watched = Watched()
    for key in ("a/b", "a", "a/b/c", "b"):
        watched.on_key(key)
    for prefix in ("a/b", "a/", "", "a/b/", "b"):
        watched.on_prefix(prefix)
    affected = ["key a/b", "prefix ", "prefix a/", "prefix a/b"]
    assert watched.apply(Set("a/b", b"1")) == affected
    assert watched.apply(Set("a/b", b"2")) == affected
    assert watched.apply(Delete("a/b")) == affected


def test_a_command_that_changes_nothing_wakes_nobody() -> None:
    watched = Watched()
    watched.apply(Set("a", b"1"))
    watched.on_key("a")
    watched.on_prefix("")
    assert watched.apply(Set("a", b"1")) == []
    assert watched.apply(Delete("b")) == []
    assert watched.apply(DeleteTree("b")) == []
    assert watched.apply(ReapTombstones(9)) == []


def test_deleting_a_tree_wakes_each_of_those_affected_once() -> None:
    watched = Watched()
    for key in ("a/1", "a/2", "b"):
        watched.apply(Set(key, b""))
    for key in ("a/1", "a/2", "a/3", "b"):
        watched.on_key(key)
    for prefix in ("a/", "a/1", "b"):
        watched.on_prefix(prefix)
    assert sorted(watched.apply(DeleteTree("a"))) == ["key a/1", "key a/2", "prefix a/", "prefix a/1"]


def test_whoever_is_woken_finds_the_whole_command_done() -> None:
    state = StateMachine()
    state.apply(1, encode_command(Set("a/1", b"")))
    state.apply(2, encode_command(Set("a/2", b"")))
    seen: list[tuple[int, int]] = []
    state.watches.on_key("a/1", lambda: seen.append((len(state.kv), state.last_applied)))
    state.apply(3, encode_command(DeleteTree("a/")))
    assert seen == [(0, 3)]


def test_a_restore_wakes_everyone() -> None:
    watched = Watched()
    watched.on_key("a")
    watched.on_prefix("b")
    watched.state.restore(StateMachine().snapshot())
    assert watched.woken == ["key a", "prefix b"]


def test_a_cancelled_watch_is_not_woken_even_by_what_is_under_way() -> None:
    state = StateMachine()
    woken: list[str] = []
    watches: list[Watch] = []

    def cancel_both(name: str) -> Callable[[], None]:
        def wake() -> None:
            woken.append(name)
            for watch in watches:
                watch.cancel()

        return wake

    watches.append(state.watches.on_key("a", cancel_both("first")))
    watches.append(state.watches.on_key("a", cancel_both("second")))
    state.apply(1, encode_command(Set("a", b"1")))
    state.apply(2, encode_command(Set("a", b"2")))
    assert woken == ["first"]
    assert len(state.watches) == 0


def test_cancelling_leaves_nothing_behind() -> None:
    watched = Watched()
    watches = [watched.on_key("a"), watched.on_key("a"), watched.on_prefix("a")]
    assert len(watched.state.watches) == 3
    for watch in watches + watches:
        watch.cancel()
    assert len(watched.state.watches) == 0
    assert watched.apply(Set("a", b"1")) == []


def test_a_blocking_query_that_registers_before_it_looks_misses_no_change() -> None:
    async def follow(state: StateMachine, seen: list[bytes]) -> None:
        changed = asyncio.Event()
        watch = state.watches.on_key("a", changed.set)
        index_seen = 0
        while not seen or seen[-1] != b"last":
            changed.clear()
            index, pair = state.kv.get("a")
            if index > index_seen and pair is not None:
                index_seen = index
                seen.append(pair.value)
            else:
                await changed.wait()
        watch.cancel()

    async def scenario() -> None:
        state = StateMachine()
        histories: list[list[bytes]] = [[] for _ in range(20)]
        followers = []
        for index, history in enumerate(histories, 1):
            followers.append(asyncio.create_task(follow(state, history)))
            await asyncio.sleep(0)
            state.apply(index, encode_command(Set("a", b"%d" % index)))
        state.apply(100, encode_command(Set("a", b"last")))
        await asyncio.wait_for(asyncio.gather(*followers), timeout=10)
        assert all(history[-1] == b"last" for history in histories)

    asyncio.run(scenario())


def test_a_change_costs_what_it_wakes_and_not_what_there_is() -> None:
    # Counted, not timed: waking looks up the key and its prefixes, and touches no other registration.
    state = StateMachine()
    looked_at: list[str] = []

    class Spy(dict[str, dict[Watch, None]]):
        def get(self, name: str, default: object = None) -> dict[Watch, None]:
            looked_at.append(name)
            return super().get(name, {})

        def values(self) -> NoReturn:
            raise AssertionError("all registrations were looked through")

    state.watches._on_key, state.watches._on_prefix = Spy(), Spy()
    for number in range(1000):
        state.watches.on_key(f"other/{number}", lambda: None)
        state.watches.on_prefix(f"other/{number}", lambda: None)
    state.apply(1, encode_command(Set("a/b", b"")))
    assert looked_at == ["a/b", "", "a", "a/", "a/b"]


def test_a_change_of_a_long_key_costs_its_length_and_not_the_square_of_it() -> None:
    # Counted, not timed. A transaction may bring a key of half a megabyte, whose prefixes are 125 gigabytes.
    state = StateMachine()
    looked_at: list[str] = []
    woken: list[str] = []

    class Spy(dict[str, dict[Watch, None]]):
        def get(self, name: str, default: object = None) -> dict[Watch, None]:
            looked_at.append(name)
            return super().get(name, {})

    state.watches._on_prefix = Spy()
    key = "k" * 500_000
    prefixes = (key, "kk", "other", "", "k" * 2000)
    for prefix in prefixes:
        state.watches.on_prefix(prefix, partial(woken.append, prefix))
    state.apply(1, encode_command(Set(key, b"")))
    assert looked_at == woken == ["", "kk", "k" * 2000, key]
