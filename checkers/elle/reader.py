"""Transactions out of a file, whatever its format, as fast as its bytes can be looked at.

JSON and EDN go through the scanner (`checkers.elle._scan`), piece by piece, and never become Python objects:
a million transactions (300 MB) in two to three seconds of one core (`benchmarks/elle.py`). Whatever
it does not know goes through `harness.history_formats`, which is exact and slow; so does whatever is broken,
since the general reader says where and why.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from checkers.elle.transactions import Transactions, from_history
from harness import history_formats
from harness.history import OK, OPEN

if TYPE_CHECKING:
    from checkers.elle._scan import Tape

PIECE_BYTES = 16 << 20


def read(path: str | Path) -> Transactions:
    """The transactions in a file or a run's folder.

    Raises NotTransactions; BrokenHistory; OSError.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "history.jsonl"
    scanned = _scan(path)
    return scanned if scanned is not None else from_history(history_formats.read(path))


def _scan(path: Path) -> Transactions | None:
    """None if the scanner does not know what to make of it."""
    from checkers.elle import _scan

    size = path.stat().st_size
    tape = _new_tape()
    buffer = np.empty(PIECE_BYTES, np.uint8)
    kept = base = 0  # bytes in the buffer, and where they begin in the file
    with path.open("rb") as file:
        strict: bool | None = None
        while True:
            came = file.readinto(buffer[kept:].data)
            filled = kept + (came or 0)
            if strict is None:
                start = re.sub(rb"\A(?:\s+|;[^\n]*\n)+", b"", buffer[:4096][:filled].tobytes())
                strict = path.suffix == ".jsonl" or re.match(rb'\{\s*"', start) is not None
            at = 0
            while True:
                status, more = _scan.scan(tape, buffer[at:], filled - at, base + at, strict)
                at += more
                if status != _scan.GROW:
                    break
                tape = _grown(tape, size / max(1, base + at))
            if status == _scan.STRANGE or (status == _scan.MORE and not came):
                return None
            if not came:
                break
            kept = filled - at
            buffer[:kept] = buffer[at:filled].copy()
            base += at
            if kept == len(buffer):
                buffer = np.concatenate([buffer, np.empty_like(buffer)])
    if tape.used[_scan.ENCLOSED] == _scan.OPENED:
        return None
    return _transactions(path, tape)


def _new_tape() -> Tape:
    from checkers.elle._scan import Tape

    events, micro, elements, atoms, tokens = 1 << 10, 1 << 12, 1 << 14, 1 << 10, 1 << 14
    return Tape(
        type=np.empty(events, np.int8),
        process=np.empty(events, np.int64),
        f=np.empty(events, np.int64),
        time=np.empty(events, np.int64),
        micro=np.empty(events, np.int64),
        counts=np.empty(events, np.int32),
        offset=np.empty(events, np.int64),
        kind=np.empty(micro, np.int8),
        key=np.empty(micro, np.int64),
        value=np.empty(micro, np.int64),
        low=np.empty(micro, np.int64),
        high=np.empty(micro, np.int64),
        elements=np.empty(elements, np.int64),
        atom_end=np.empty(atoms // 2, np.int64),
        atom_bytes=np.empty(16 * atoms, np.uint8),
        atom_slots=np.full(atoms, -1, np.int64),
        token=np.empty(tokens, np.int8),
        number=np.empty(tokens, np.int64),
        start=np.empty(tokens, np.int64),
        stop=np.empty(tokens, np.int64),
        used=np.array([0, 0, 0, 0, 0, 0, -1, 0, 0, 0], np.int64),
    )


def _grown(tape: Tape, share: float) -> Tape:
    """Room for what is full: how far the file has come says how much the whole of it needs."""
    from checkers.elle import _scan

    full = int(tape.used[_scan.FULL])
    columns = {
        _scan.EVENTS: ("type", "process", "f", "time", "micro", "counts", "offset"),
        _scan.MICRO: ("kind", "key", "value", "low", "high"),
        _scan.ELEMENTS: ("elements",),
        _scan.ATOMS: ("atom_end", "atom_bytes", "atom_slots"),
        _scan.TOKENS: ("token", "number", "start", "stop"),
    }[full]
    larger = {}
    for name in columns:
        column = getattr(tape, name)
        needed = max(2 * len(column), int(1.05 * min(share, 64.0) * len(column)))
        room = 2 * len(column) if full in (_scan.ATOMS, _scan.TOKENS) else needed
        larger[name] = np.empty(room, column.dtype)
        larger[name][: len(column)] = column
    if full == _scan.ATOMS:
        larger["atom_slots"][:] = -1
    grown = tape._replace(**larger)
    if full == _scan.ATOMS:
        _scan.refill(grown)
    return grown


def _transactions(path: Path, tape: Tape) -> Transactions | None:
    """None if a rule of histories is broken, or an event is no transaction."""
    from checkers._zones import intern
    from checkers.elle import _scan

    events = int(tape.used[_scan.EVENTS])
    type_, process, count = tape.type[:events], tape.process[:events], tape.counts[:events]
    clients = process >= 0
    codes = np.full(events, -1, np.int64)
    codes[clients] = intern(np.zeros(int(clients.sum()), np.int32), process[clients])
    broken, partner = _scan.pair(type_, codes, tape.f[:events], int(codes.max(initial=-1)) + 1)
    if broken >= 0:
        return None
    invoke = np.flatnonzero(clients & (type_ == 0))
    complete = partner[invoke]
    outcome = np.where(complete >= 0, type_[complete], np.int8(OPEN)).astype(np.int8)
    told = np.where(outcome == OK, complete, invoke)
    if (count[told] == _scan.NO_TRANSACTION).any() or not _scan.agree(tape, invoke, complete, outcome):
        return None
    begin = np.concatenate([[0], np.cumsum(count[told])])
    which = np.repeat(tape.micro[told] - begin[:-1], count[told]) + np.arange(begin[-1])
    raw = tape.key[which]
    key = intern(np.zeros(len(raw), np.int32), raw)
    first = np.zeros(int(key.max(initial=-1)) + 1, np.int64)
    first[key[::-1]] = raw[::-1]
    ends = tape.atom_end[: int(tape.used[_scan.ATOMS])].tolist()
    text = tape.atom_bytes[: int(tape.used[_scan.ATOM_BYTES])].tobytes()
    try:
        atoms = [text[low:high].decode() for low, high in zip([0, *ends], ends, strict=False)]
    except UnicodeDecodeError:
        return None
    return Transactions(
        source=str(path),
        time=tape.time[:events].copy(),
        invoke=invoke,
        complete=complete,
        outcome=outcome,
        process=process[invoke],
        begin=begin.astype(np.int64),
        kind=tape.kind[which],
        key=key,
        value=tape.value[which],
        low=tape.low[which],
        high=tape.high[which],
        elements=tape.elements[: int(tape.used[_scan.ELEMENTS])],
        keys=[atoms[one - _scan.ATOM] if one >= _scan.ATOM else one for one in first.tolist()],
        atoms=atoms,
        lines=tape.offset[:events].copy(),
    )
