"""Reading a `history.jsonl`: as rows if it is small, as columns with rows on demand if it is large.

A last line that is cut short (the run was killed while it wrote it) is left out with a warning; any other
line that is no event is a `BrokenHistory`. A history that was read before has its columns beside it
(`harness.history.sidecar`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from harness.history.columns import Codes, Columns, Values, columns_of, process_code, values_of
from harness.history.op import TYPE_CODES, BrokenHistory, NotAnEvent, Op, decode, decode_lines

_SCAN_BYTES = 4 << 20
"""From this size on the kernel is worth its loading time."""
_PATIENCE = 2000
"""So many rows are decoded one by one before all are."""


@dataclass(frozen=True, slots=True)
class Events:
    """What a `History` is made of."""

    rows: Sequence[Op]
    columns: Columns
    start: NDArray[np.int64] | None = None
    """Of a file: where each line begins, and where the last one ends."""
    values: Values | None = None
    """None: to be had from the rows."""
    index: NDArray[np.int64] | None = None
    """What the lines say; None: that each is the previous one's plus 1."""
    partner: NDArray[np.int64] | None = None
    """As `History` pairs the events; None: not yet paired, nor checked for breaches of the rules."""


class Rows(Sequence[Op]):
    """The events of a file of JSON lines, decoded when they are asked for."""

    def __init__(self, path: Path, start: NDArray[np.int64]) -> None:
        self._path = path
        self._start = start
        self._all: list[Op] | None = None
        self._asked = 0

    def __len__(self) -> int:
        return len(self._start) - 1

    @overload
    def __getitem__(self, place: int) -> Op: ...
    @overload
    def __getitem__(self, place: slice) -> list[Op]: ...
    def __getitem__(self, place: int | slice) -> Op | list[Op]:
        self._asked += 1
        if isinstance(place, slice) or self._all is not None or self._asked > _PATIENCE:
            return self._everything()[place]
        at = range(len(self))[place]
        [op] = self._read(at, at + 1)
        return op

    def __iter__(self) -> Iterator[Op]:
        return iter(self._everything())

    def __eq__(self, other: object) -> bool:
        return self._everything() == (other._everything() if isinstance(other, Rows) else other)

    __hash__ = None  # type: ignore[assignment]

    def _everything(self) -> list[Op]:
        if self._all is None:
            self._all = self._read(0, len(self))
        return self._all

    def _read(self, first: int, last: int) -> list[Op]:
        begin, end = int(self._start[first]), int(self._start[last])
        try:
            with self._path.open("rb") as file:
                file.seek(begin)
                rows = decode_lines(file.read(end - begin))
        except (NotAnEvent, OSError):
            rows = []
        if len(rows) != last - first:
            raise BrokenHistory(self._path, first + 1, "the file was changed while the history was in use")
        return rows


def parse(path: Path, data: bytes, warnings: list[str]) -> Events:
    """The events of a file's content."""
    body = data[: data.rfind(b"\n") + 1]
    torn = data[len(body) :]
    if torn:
        try:
            decode(torn)
            body = data + b"\n"
        except NotAnEvent:
            warnings.append(cut_short(path, body.count(b"\n") + 1, len(torn)))
    events = _scanned(path, body) if len(body) >= _SCAN_BYTES else None
    if events is None:
        rows = _decoded(path, body)
        index = np.fromiter([op.index for op in rows], np.int64, len(rows))
        newlines = np.flatnonzero(np.frombuffer(body, np.uint8) == ord("\n"))
        start = np.concatenate([np.zeros(1, np.int64), newlines + 1])
        events = Events(rows, columns_of(rows), start, index=index)
    return events


def cut_short(path: Path, line: int, size: int) -> str:
    """The warning of a torn last line."""
    return (
        f"{path}:{line}: the last line is cut short ({size} bytes): the run was killed while writing it, and "
        f"the history ends before it"
    )


def _decoded(path: Path, body: bytes) -> list[Op]:
    """All events, decoded in one pass; line by line only to find the one that is at fault."""
    try:
        rows = decode_lines(body)
        if len(rows) == body.count(b"\n"):
            return rows
    except NotAnEvent:
        pass
    for number, line in enumerate(body.removesuffix(b"\n").split(b"\n"), 1):
        _event(path, number, line)
    raise BrokenHistory(path, 1, "more than one event in a line")


def _event(path: Path, number: int, line: bytes) -> Op:
    if not line.strip():
        raise BrokenHistory(path, number, "an empty line")
    try:
        return decode(line)
    except NotAnEvent as error:
        raise BrokenHistory(path, number, str(error)) from error


def _scanned(path: Path, body: bytes) -> Events | None:
    """The events without their rows; None if too many lines are of a kind that the kernel leaves alone."""
    from harness.history import lines  # numba takes longer to import than a small history to decode

    scanned, names = lines.scan(body)
    odd = np.flatnonzero(~scanned.plain).tolist()
    if len(odd) > 1000 + len(scanned.plain) // 20:
        return None
    fs, keys, nodes = (Codes({name: code for code, name in enumerate(of)}) for of in names)
    values = Values(scanned.kind, scanned.first, scanned.second)
    for at in odd:
        op = _event(path, at + 1, body[scanned.start[at] : scanned.start[at + 1] - 1])
        scanned.index[at], scanned.time[at], scanned.type[at] = op.index, op.time, TYPE_CODES[op.type]
        scanned.process[at] = process_code(op.process)
        scanned.f[at], scanned.key[at], scanned.node[at] = fs[op.f], keys[op.key], nodes[op.node]
        scanned.version[at] = -1 if op.version is None else op.version
        one = values_of([op.value])
        values.kind[at], values.first[at], values.second[at] = one.kind[0], one.first[0], one.second[0]
    for column, codes in ((scanned.key, keys), (scanned.node, nodes)):
        absent = column < 0
        if absent.any():
            column[absent] = codes[None]
    columns = Columns(
        time=scanned.time,
        type=scanned.type,
        process=scanned.process,
        f=scanned.f,
        key=scanned.key,
        node=scanned.node,
        version=scanned.version,
        fs=list(fs),
        keys=list(keys),
        nodes=list(nodes),
    )
    return Events(Rows(path, scanned.start), columns, scanned.start, values, index=scanned.index)
