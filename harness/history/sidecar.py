"""`history.columns`: a copy of a `history.jsonl` that a program can load at once.

Rules
-----
1. The JSON lines are the history. The copy can be deleted at any time; it is made at the end of a run, and by
   `splitbrain check`, of a history that is free of contradictions and whose folder can be written.
2. It is believed only if it is of this version, whole (it has a checksum of its own), and made of these very
   lines (it has their length and checksum). Anything else is told in a warning, and never an error.

Format: a line with name and version; a line of JSON (`_Head`); the arrays, one after another, little-endian,
each in the narrowest type that holds it. Times and the lines' bounds are stored as differences.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.history.columns import NOTHING, Columns, Values, no_versions, values_of
from harness.history.stored import Events, Rows, cut_short

_MAGIC = b"splitbrain columns 1 "
_FIRST_LINE = len(_MAGIC) + len("01234567\n")
_CHUNK = 1 << 20


class _Head(msgspec.Struct):
    lines: tuple[int, int]
    """Length and CRC-32 of history.jsonl."""
    arrays: list[tuple[str, str, int]]
    """Name, numpy's name of the type, number of elements."""
    fs: list[str]
    keys: list[int | str | None]
    nodes: list[str | None]


def path_of(history: Path) -> Path:
    """Where the copy of this file of JSON lines is."""
    return history.with_suffix(".columns")


def checksum(data: bytes) -> tuple[int, int]:
    """Length and CRC-32."""
    return len(data), zlib.crc32(data)


def load(history: Path, warnings: list[str]) -> Events | None:
    """The events, if there is a copy that can be believed. Raises OSError if there is no history."""
    lines = _checksum_of(history)
    path = path_of(history)
    try:
        data = path.read_bytes()
    except OSError:
        return None
    try:
        events = _decoded(data, lines, history)
    except (_Unbelievable, KeyError, ValueError) as error:
        why = error if isinstance(error, _Unbelievable) else "it is damaged"
        warnings.append(f"{path}: ignored: {why}")
        return None
    assert events.start is not None
    end = int(events.start[-1])
    if end < lines[0]:
        warnings.append(cut_short(history, len(events.rows) + 1, lines[0] - end))
    return events


def save(history: Path, lines: tuple[int, int], events: Events) -> None:
    """Leave a copy beside the history, if its folder can be written. `lines`: its `checksum`."""
    path = path_of(history)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(_encoded(lines, events))
        temporary.replace(path)
    except OSError:
        pass  # the next reader takes longer: no more than that


class _Unbelievable(Exception):
    """The copy is not of these lines, not whole, or not ours."""


def _checksum_of(path: Path) -> tuple[int, int]:
    size = checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            size += len(chunk)
            checksum = zlib.crc32(chunk, checksum)
    return size, checksum


def _encoded(lines: tuple[int, int], events: Events) -> bytes:
    columns = events.columns
    values = events.values or values_of([op.value for op in events.rows])
    assert events.start is not None and events.partner is not None
    arrays: dict[str, NDArray[Any]] = {
        "length": np.diff(events.start),
        "time": np.diff(columns.time, prepend=0),
        "type": columns.type,
        "process": columns.process,
        "f": columns.f,
        "key": columns.key,
        "node": columns.node,
        "version": columns.version,
        "kind": values.kind,
        "first": values.first,
        "second": values.second,
        "partner": events.partner,
    }
    narrow = {name: _narrow(array) for name, array in arrays.items()}
    head = _Head(
        lines=lines,
        arrays=[(name, array.dtype.str, len(array)) for name, array in narrow.items()],
        fs=columns.fs,
        keys=columns.keys,
        nodes=columns.nodes,
    )
    body = b"".join([msgspec.json.encode(head), b"\n", *(array.tobytes() for array in narrow.values())])
    return b"%s%08x\n%s" % (_MAGIC, zlib.crc32(body), body)


def _decoded(data: bytes, lines: tuple[int, int], history: Path) -> Events:
    if not data.startswith(_MAGIC):
        raise _Unbelievable("it is of another version, or no copy of a history")
    if b"%08x\n" % zlib.crc32(memoryview(data)[_FIRST_LINE:]) != data[len(_MAGIC) : _FIRST_LINE]:
        raise _Unbelievable("it is damaged")
    at = data.index(b"\n", _FIRST_LINE) + 1
    head = msgspec.json.decode(data[_FIRST_LINE:at], type=_Head)
    if head.lines != lines:
        raise _Unbelievable(f"it was made of another {history.name}")
    arrays: dict[str, NDArray[Any]] = {}
    for name, kind, count in head.arrays:
        arrays[name] = np.frombuffer(data, kind, count, at)
        at += arrays[name].nbytes
    start = np.zeros(len(arrays["length"]) + 1, np.int64)
    np.cumsum(arrays["length"], out=start[1:])
    columns = Columns(
        time=np.cumsum(arrays["time"], dtype=np.int64),
        type=arrays["type"].astype(np.int8),
        process=_wide(arrays["process"]),
        f=arrays["f"].astype(np.int32),
        key=arrays["key"].astype(np.int32),
        node=arrays["node"].astype(np.int32),
        version=_wide(arrays["version"]) if (arrays["version"] >= 0).any() else no_versions(len(start) - 1),
        fs=head.fs,
        keys=head.keys,
        nodes=head.nodes,
    )
    values = Values(arrays["kind"].astype(np.int8), _wide(arrays["first"]), _wide(arrays["second"]))
    return Events(Rows(history, start), columns, start, values, partner=_wide(arrays["partner"]))


def _narrow(array: NDArray[Any]) -> NDArray[Any]:
    """The same numbers in the narrowest type; its least number stands for NOTHING."""
    numbers = array[array != NOTHING]
    low, high = int(numbers.min(initial=0)), int(numbers.max(initial=0))
    for kind in (np.int8, np.int16, np.int32):
        limits = np.iinfo(kind)
        if limits.min < low and high <= limits.max:
            narrow = array.astype(np.dtype(kind).newbyteorder("<"))
            if len(numbers) < len(array):
                narrow[array == NOTHING] = limits.min
            return narrow
    return array.astype("<i8")


def _wide(array: NDArray[Any]) -> NDArray[np.int64]:
    if not array.any():
        return np.zeros(len(array), np.int64)  # takes no memory until it is written to
    wide = array.astype(np.int64)
    if array.itemsize < 8:
        nothing = array == np.iinfo(array.dtype).min
        if nothing.any():
            wide[nothing] = NOTHING
    return wide
