"""Following a run as it goes: a promise found broken at the very event that breaks it.

Rules
-----
1. A follower is given every event of one history, in order, the nemesis's too. It answers with a `Violation`
   at the first event with which the history so far cannot be explained any more, whatever may still come;
   nothing is asked of it after that.
2. It agrees with the checker of the whole history on every prefix, and raises no false alarm: an operation
   that is still open, or crashed, may have happened or not.
3. It remembers what can still matter. One that can judge no more (of a key, or of all) says why in `gave_up`,
   and is silent; the checker judges afterwards in any case.

`RegisterFollower` below follows registers, `checkers.online_set.SetFollower` growing sets.

Registers
---------
Verifies
    for each key what `checkers.linearizable` verifies with the models register and cas-register, failed cas
    dropped, while written values are unique among those that can still be read. Where one is written a second
    time before that, it gives the key up.
Algorithm and source
    The zones of `checkers._zones` (Gibbons & Korach 1997), kept up to date. What follows is argued here.
Complexity
    O(log w) an event, amortised, where w is the number of values written since the oldest operation that is
    still open began. Memory: that many values, those that crashed operations may yet bring, and one a key.

Theory. A *version* is a value that was written; a block is a plain write's version and those that cas made of
it. A version happens when the first operation that wrote or observed it completes: that is when its crash
reduction ends, and in the order of events no such end ever moves. A block begins, once and for all, with the
first of these ends (`first`, f); the latest start of its operations so far is `last` (s), which grows. So
nothing can go wrong when a block appears (f is now, later than every start). All that can go wrong is that
an operation completes which began at t and observed a version of block B, when

- the version had been replaced by cas before t (`replaced`), or
- some other block C with f(C) < t must come after B, that is f(B) < s(C): then B was over before t.

The second question is a look-up in the *stairs*: the blocks in order of f, without those that an earlier f
with a later s dominates, so that s rises along them. The last stair C with f(C) < t has the greatest s. If
that is B itself, a block hidden below its stair can end it: one with f(B) < s(C) <= s(B), and s(B) < f(C), or
the two would be in conflict already. Zones of blocks that are not in conflict do not overlap, so such a C is
hidden by B alone, and when it comes to be hidden its f is noted in `over` of B.

A version is forgotten once every operation still open began after it was over: whoever shows it then is
wrong, be it as stale or as from nowhere. What a crashed cas would make of it goes with it.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Any, Final, Protocol

from checkers import _words
from checkers._values import hashable, original
from harness.history import Op
from harness.verdict import Violation

NEVER: Final = 1 << 62
"""Later than every event."""

_FORGET_AFTER = 1024
"""Writes between two looks at what can be forgotten, at least."""


class Follower(Protocol):
    """Anything that follows a run."""

    @property
    def name(self) -> str:
        """The checker's whose work it anticipates."""
        ...

    @property
    def gave_up(self) -> str | None:
        """Why it can judge no more, or not all; None while it can."""
        ...

    def event(self, op: Op) -> Violation | None:
        """Take the next event; what it breaks, if it breaks something."""
        ...


class _Block:
    """A plain write's version and those that cas made of it, once it has happened."""

    __slots__ = ("first", "last", "over")

    def __init__(self, first: int, last: int) -> None:
        self.first = first
        self.last = last
        self.over = NEVER
        """When a block that it hides on the stairs showed it to be over."""


class _Version:
    """A value that somebody writes, from the invocation on."""

    __slots__ = ("block", "made_from", "open", "replaced", "start", "value")

    def __init__(self, value: Any, start: int, made_from: Any) -> None:
        self.value = value
        self.start = start
        self.made_from = made_from
        """The value that the cas expects; `_WRITE` of a plain write."""
        self.block: _Block | None = None
        """None until it has happened."""
        self.replaced = NEVER
        """When a cas had certainly made another value of it."""
        self.open = True
        """The outcome is still to come."""


_WRITE: Final = object()


class _Key:
    """One register."""

    __slots__ = ("firsts", "name", "stairs", "versions")

    def __init__(self, name: int | str | None) -> None:
        self.name = name
        initial = _Version(None, -1, _WRITE)
        initial.block = _Block(-1, -1)
        initial.open = False
        self.versions: dict[Any, _Version] = {None: initial}
        self.stairs = [initial.block]
        self.firsts = [-1]
        """Of the stairs, for bisect."""

    def begin(self, block: _Block) -> None:
        """A block has happened just now."""
        under = bisect_left(self.firsts, block.last) - 1
        if under >= 0 and (cover := self.stairs[under]).last > block.last:
            cover.over = min(cover.over, block.first)
        if block.last > self.stairs[-1].last:
            self.stairs.append(block)
            self.firsts.append(block.first)

    def over_before(self, version: _Version, block: _Block, start: int) -> bool:
        """Whether an operation that began at `start` came too late to observe the version."""
        if version.replaced < start or block.over < start:
            return True
        under = bisect_left(self.firsts, start) - 1
        if under < 0:
            return False
        stair = self.stairs[under]
        return stair is not block and stair.last > block.first

    def stretch(self, block: _Block, start: int) -> None:
        """An operation that began at `start`, later than the block's last, rightly observed it."""
        block.last = start
        stairs, firsts = self.stairs, self.firsts
        under = bisect_left(firsts, start) - 1
        if under >= 0 and (cover := stairs[under]) is not block and cover.last > start:
            cover.over = min(cover.over, block.first)
            return
        at = bisect_left(firsts, block.first)
        if at == len(stairs) or stairs[at] is not block:
            if at and stairs[at - 1].last > start:
                return  # still hidden
            stairs.insert(at, block)
            firsts.insert(at, block.first)
        above = at + 1
        while above < len(stairs) and stairs[above].last < start:
            hidden = stairs[above]
            if hidden.last > block.first:
                block.over = min(block.over, hidden.first)
            above += 1
        del stairs[at + 1 : above], firsts[at + 1 : above]

    def forget(self, horizon: int) -> None:
        """Drop what only operations that began before `horizon` could rightly observe."""
        for value, version in list(self.versions.items()):
            block = version.block
            if version.open:
                continue
            if block is None:
                dead = version.made_from is not _WRITE and version.made_from not in self.versions
            else:
                dead = self.over_before(version, block, horizon)
            if dead:
                del self.versions[value]
        below = bisect_left(self.firsts, horizon) - 1
        if below > 0:
            del self.stairs[:below], self.firsts[:below]


class RegisterFollower:
    """Implements `Follower` for registers with read, write and cas."""

    name = "linearizable"

    def __init__(self) -> None:
        self.gave_up: str | None = None
        self._keys: dict[int | str | None, _Key | None] = {}
        """None: given up."""
        self._open: dict[int | str, _Version | int] = {}
        """By process: what it writes, or when its read began."""
        self._written = 0
        self._forget_at = _FORGET_AFTER

    @property
    def kept(self) -> int:
        """How many values are remembered."""
        return sum(len(key.versions) for key in self._keys.values() if key is not None)

    def event(self, op: Op) -> Violation | None:
        process = op.process
        if process.__class__ is str:
            return None
        kind, f = op.type, op.f
        if kind == "invoke":
            if f == "read":
                self._open[process] = op.index
            else:
                self._begin_write(op)
            return None
        begun = self._open.pop(process, None)
        key = self._key(op.key)
        if begun is None or key is None:
            return None
        if isinstance(begun, int):
            return self._read(key, op, begun) if kind == "ok" else None
        begun.open = False
        if kind == "ok":
            return None if begun.block is not None else self._happened(key, begun, op)
        if kind == "fail":
            if begun.block is not None:
                return _violation(op, "read of a failed write", f"{_value(begun)} had been read")
            del key.versions[begun.value]
        return None

    def _key(self, name: int | str | None) -> _Key | None:
        try:
            return self._keys[name]
        except KeyError:
            key = self._keys[name] = _Key(name)
            return key

    def _begin_write(self, op: Op) -> None:
        key = self._key(op.key)
        if key is None:
            return
        if op.f == "write":
            value, made_from = hashable(op.value), _WRITE
        elif op.f == "cas" and isinstance(op.value, list | tuple) and len(op.value) == 2:
            made_from, value = map(hashable, op.value)
        else:
            self._give_up(op, f"{op.f} is nothing that a register does")
            return
        if value in key.versions or value == made_from:
            self._give_up(op, f"{_words.value_text(op.value)} is written again while it can still be read")
            return
        version = _Version(value, op.index, made_from)
        key.versions[value] = version
        self._open[op.process] = version
        self._written += 1
        if self._written >= self._forget_at:
            self._forget(op.index)

    def _read(self, key: _Key, op: Op, start: int) -> Violation | None:
        version = key.versions.get(hashable(op.value))
        if version is None:
            return _from_nowhere(op, op.value)
        block = version.block
        if block is None:
            violation = self._happened(key, version, op)
            if violation is not None:
                return violation
            block = version.block
            assert block is not None
        if start <= block.last and start <= version.replaced:
            return None  # an operation that began later has observed the block already
        if key.over_before(version, block, start):
            said = f"{_value(version)} had certainly been overwritten before that read began"
            return _violation(op, "stale read", said)
        if start > block.last:
            key.stretch(block, start)
        return None

    def _happened(self, key: _Key, version: _Version, op: Op) -> Violation | None:
        """The event shows that the version has happened, and with a cas's what it was made from."""
        chain = [version]
        while chain[-1].made_from is not _WRITE:
            before = key.versions.get(chain[-1].made_from)
            if before is None:
                return _from_nowhere(op, chain[-1].made_from)
            if before.block is not None:
                break
            if before in chain:
                return _violation(op, "circular compare-and-sets", f"{_value(version)} was made from itself")
            chain.append(before)
        else:
            root = chain.pop()
            root.block = _Block(op.index, root.start)
            key.begin(root.block)
            before = root
        for made in reversed(chain):
            block = before.block
            assert block is not None
            if before.replaced != NEVER:
                said = f"{_value(made)} was made from {_value(before)}, and another value too"
                return _violation(op, "lost update", said)
            if key.over_before(before, block, made.start):
                said = (
                    f"{_value(before)} had certainly been overwritten before {_value(made)} was made from it"
                )
                return _violation(op, "stale read", said)
            if made.start > block.last:
                key.stretch(block, made.start)
            before.replaced = op.index
            made.block = block
            before = made
        return None

    def _give_up(self, op: Op, why: str) -> None:
        self._keys[op.key] = None
        where = "" if op.key is None else f" on key {op.key}"
        self.gave_up = self.gave_up or f"event {op.index}{where}: {why}"

    def _forget(self, now: int) -> None:
        """Make room, after so many writes that a look at all that is kept costs each of them little."""
        starts = [
            begun if isinstance(begun, int) else begun.start
            for begun in self._open.values()
            if isinstance(begun, int) or begun.made_from is not _WRITE
        ]
        horizon = min(starts, default=now)
        for key in self._keys.values():
            if key is not None:
                key.forget(horizon)
        self._written = 0
        self._forget_at = max(_FORGET_AFTER, self.kept)


def _value(version: _Version) -> str:
    return "the initial value" if version.value is None else _words.value_text(original(version.value))


def _from_nowhere(op: Op, value: Any) -> Violation:
    return _violation(
        op,
        "read from nowhere",
        f"nobody had written {_words.value_text(original(value))}, or it was long over",
    )


def _violation(op: Op, kind: str, why: str) -> Violation:
    where = "" if op.key is None else f" on key {op.key}"
    by = f"process {op.process}" + (f" on {op.node}" if op.node else "")
    said = f"{kind.capitalize()}{where}, as the {op.f} of {by} ended as {op.type}: {why}."
    return Violation(event=op.index, kind=kind, summary=said, key=op.key)
