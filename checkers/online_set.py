"""Following a growing set as it goes. The rules of followers are in `checkers.online`.

Verifies
    for each key what `checkers.set_full` does, as far as one event can settle it: nothing unexpected, nothing
    duplicated, and with `linearizable` no read that misses an element which was known when it began.
Does not verify
    without `linearizable`, that nothing is lost: what one read misses a later one may show, and only the end
    of the history tells. The checker judges that.
Algorithm and source
    That of `checkers.set_full`: elements in the order in which they became known; a read must have those that
    were known when it began.
Complexity
    O(1) an event, and O(elements) a read, in operations on sets. Memory: the elements.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from checkers import _words
from checkers._values import hashable, original
from harness.history import Op
from harness.verdict import Violation


@dataclass(slots=True)
class _Set:
    """One key's set."""

    attempts: dict[Any, list[int]] = field(default_factory=dict)
    """Of each element, the adds that were not refused, by invocation."""
    known: dict[Any, None] = field(default_factory=dict)
    """The elements that are certainly in it, in the order in which that came out."""
    seen: dict[Any, int] = field(default_factory=dict)
    """Of elements that an open add may yet turn out not to have added: when a read first showed them."""


class SetFollower:
    """Implements `checkers.online.Follower`. `linearizable`: as of `checkers.set_full.SetFull`."""

    name = "set-full"

    def __init__(self, linearizable: bool = False) -> None:
        self.gave_up: str | None = None
        self._linearizable = linearizable
        self._sets: dict[int | str | None, _Set] = {}
        self._open: dict[int | str, tuple[int, Any]] = {}
        """By process: of an add, its invocation and element; of a read, how many elements were known."""

    def event(self, op: Op) -> Violation | None:
        if op.f not in ("add", "read") or op.process.__class__ is str:
            return None
        one = self._sets.get(op.key)
        if one is None:
            one = self._sets[op.key] = _Set()
        if op.type == "invoke":
            if op.f == "read":
                self._open[op.process] = len(one.known), None
            else:
                element = hashable(op.value)
                one.attempts.setdefault(element, []).append(op.index)
                self._open[op.process] = op.index, element
            return None
        begun = self._open.pop(op.process, None)
        if begun is None or op.type == "info":
            return None
        if op.f == "read":
            return self._read(one, op, begun[0]) if op.type == "ok" else None
        return self._added(one, op, *begun)

    def _added(self, one: _Set, op: Op, invoked: int, element: Any) -> Violation | None:
        if op.type == "ok":
            one.known.setdefault(element)
            return None
        attempts = one.attempts[element]
        attempts.remove(invoked)
        if not attempts:
            del one.attempts[element]
        seen = one.seen.get(element)
        if seen is not None and (not attempts or seen < attempts[0]):
            return _violation(op, "unexpected", f"{_text(element)} had been read at event {seen}")
        return None

    def _read(self, one: _Set, op: Op, known: int) -> Violation | None:
        elements = list(map(hashable, op.value or ()))
        view = set(elements)
        if len(view) < len(elements):
            twice = next(element for element in elements if elements.count(element) > 1)
            return _violation(op, "duplicated", f"it shows {_text(twice)} more than once")
        if not view <= one.attempts.keys():
            strange = next(element for element in elements if element not in one.attempts)
            return _violation(op, "unexpected", f"it shows {_text(strange)}, which nobody had added")
        if self._linearizable and not view.issuperset(islice(one.known, known)):
            missing = next(element for element in one.known if element not in view)
            return _violation(op, "missing", f"{_text(missing)} was known when it began, and it lacks it")
        if not view <= one.known.keys():
            new = [element for element in elements if element not in one.known]
            one.known.update(dict.fromkeys(new))
            one.seen.update(dict.fromkeys(new, op.index))
        return None


def _text(element: Any) -> str:
    return _words.value_text(original(element))


def _violation(op: Op, kind: str, why: str) -> Violation:
    where = "" if op.key is None else f" of key {op.key}"
    by = f"process {op.process}" + (f" on {op.node}" if op.node else "")
    said = f"{kind.capitalize()}{where}, as the {op.f} of {by} ended as {op.type}: {why}."
    return Violation(event=op.index, kind=kind, summary=said, key=op.key)
