"""A history's events as numpy columns.

What repeats (f, key, node) is a code, an index into a list beside the columns. Values are integers where they
can be: that is what most clients read and write, and it spares a checker a Python object an event.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.history.op import NEMESIS, TYPE_CODES, Op

PLAIN, PAIR, OTHER = range(3)
"""Kinds of values: an integer or None; a list of two such; any other."""

NOTHING = int(np.iinfo(np.int64).min)
"""None among integers. The integer of that value, and those beyond 64 bits, are of the kind OTHER."""

NEMESIS_CODE, STRANGER = -1, -2
"""In `Columns.process`; a stranger is neither a client, a number from 0 up, nor the nemesis."""

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Columns:
    """The events, columns of one length."""

    time: NDArray[np.int64]
    type: NDArray[np.int8]
    process: NDArray[np.int64]
    f: NDArray[np.int32]
    key: NDArray[np.int32]
    node: NDArray[np.int32]
    version: NDArray[np.int64]
    """-1: none."""
    fs: list[str]
    keys: list[int | str | None]
    nodes: list[str | None]

    def __len__(self) -> int:
        return len(self.time)


@dataclass(frozen=True, slots=True)
class Values:
    """The events' values, columns of one length."""

    kind: NDArray[np.int8]
    """PLAIN, PAIR, or OTHER: to be had from the row alone."""
    first: NDArray[np.int64]
    """The integer, or the first of the pair; NOTHING: None."""
    second: NDArray[np.int64]
    """The second of the pair."""

    def __len__(self) -> int:
        return len(self.kind)


def columns_of(ops: Sequence[Op]) -> Columns:
    """The columns of rows."""
    count = len(ops)
    fs: Codes[str] = Codes()
    keys: Codes[int | str | None] = Codes()
    nodes: Codes[str | None] = Codes()

    def each(field: str) -> Iterable[Any]:
        return map(attrgetter(field), ops)

    return Columns(
        time=np.fromiter(each("time"), np.int64, count),
        type=np.fromiter(map(TYPE_CODES.__getitem__, each("type")), np.int8, count),
        process=np.fromiter(map(process_code, each("process")), np.int64, count),
        f=np.fromiter(map(fs.__getitem__, each("f")), np.int32, count),
        key=np.fromiter(map(keys.__getitem__, each("key")), np.int32, count),
        node=np.fromiter(map(nodes.__getitem__, each("node")), np.int32, count),
        version=np.fromiter([-1 if v is None else v for v in each("version")], np.int64, count),
        fs=list(fs),
        keys=list(keys),
        nodes=list(nodes),
    )


def process_code(process: int | str) -> int:
    """The process as a number."""
    if isinstance(process, str):
        return NEMESIS_CODE if process == NEMESIS else STRANGER
    return process if process >= 0 else STRANGER


def values_of(values: Sequence[Any]) -> Values:
    """Values as columns."""
    count = len(values)
    kind = np.full(count, PLAIN, np.int8)
    second = np.zeros(count, np.int64)
    types = set(map(type, values))
    if types <= {int, type(None)}:
        try:
            first = np.fromiter([NOTHING if v is None else v for v in values], np.int64, count)
        except OverflowError:
            pass  # beyond 64 bits: one by one
        else:
            nothing = np.fromiter([v is None for v in values], np.bool_, count)
            kind[(first == NOTHING) & ~nothing] = OTHER
            return Values(kind, first, second)
    first = np.full(count, NOTHING)
    for i, value in enumerate(values):
        if _is_plain(value):
            first[i] = NOTHING if value is None else value
        elif value.__class__ is list and len(value) == 2 and _is_plain(value[0]) and _is_plain(value[1]):
            kind[i] = PAIR
            first[i], second[i] = [NOTHING if half is None else half for half in value]
        else:
            kind[i] = OTHER
    return Values(kind, first, second)


def _is_plain(value: Any) -> bool:
    return value is None or (value.__class__ is int and NOTHING < value <= -(NOTHING + 1))


def no_versions(count: int) -> NDArray[np.int64]:
    """The column of a history that tells none: as good as no memory."""
    return np.broadcast_to(np.int64(-1), count)


class Codes(dict[_Value, int]):
    """Codes of values in order of first appearance: a dict whose look-up of a new value adds it."""

    def __missing__(self, value: _Value) -> int:
        self[value] = code = len(self)
        return code
