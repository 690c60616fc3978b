"""Transactions out of the bytes of a history, JSON or EDN, at the speed of memory.

One grammar covers both: a comma or a colon after a key is as good as a space, `"type"` and `:type` are the
same name. What the scanner does not know well enough to be sure of (a float, an escape in a string, a tagged
value, an order of fields that contradicts itself) it does not guess: it says STRANGE, and the file goes
through the general reader, which is slow, and exact, and names the line.

The file comes in pieces: a form that is cut off by the end of a piece is MORE, and is scanned again with the
next one. Arrays that are full are GROW; the caller makes them larger and goes on.

Complexity: linear in the bytes, two passes over those of a transaction (the field `value` may come before the
field that says whose it is).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

DONE, MORE, GROW, STRANGE = range(4)

READ, WRITE, APPEND = range(3)
"""What a micro-operation does. WRITE sets a register, APPEND adds to a list."""

NIL = -(1 << 62)
"""The value that is nothing: `nil`, `null`."""
ATOM = 1 << 62
"""A value that is no integer is ATOM + its number among the atoms."""

NO_TRANSACTION = -1
"""Count of micro-operations of an event whose value is nothing."""

_TYPE, _PROCESS, _F, _VALUE, _TIME, _INDEX, _KEY = (
    np.frombuffer(word, np.uint8).copy()
    for word in (b"type", b"process", b"f", b"value", b"time", b"index", b"key")
)
_INVOKE, _OK, _FAIL, _INFO = (
    np.frombuffer(word, np.uint8).copy() for word in (b"invoke", b"ok", b"fail", b"info")
)
_R, _W, _APPEND, _NIL, _NULL = (
    np.frombuffer(word, np.uint8).copy() for word in (b"r", b"w", b"append", b"nil", b"null")
)

# Positions in `used`.
EVENTS, MICRO, ELEMENTS, ATOMS, ATOM_BYTES, FULL, LAST_INDEX, LAST_TIME, ENCLOSED = range(9)


class Tape(NamedTuple):
    """What has been scanned: columns of events, of their micro-operations, and of the lists these read."""

    type: NDArray[np.int8]
    """As `harness.history.History.type`."""
    process: NDArray[np.int64]
    """-1: not a client."""
    f: NDArray[np.int64]
    time: NDArray[np.int64]
    """-1: not told."""
    micro: NDArray[np.int64]
    """The event's first micro-operation."""
    counts: NDArray[np.int32]
    """How many it has, or NO_TRANSACTION."""
    offset: NDArray[np.int64]
    """Where it stands in the file."""
    kind: NDArray[np.int8]
    key: NDArray[np.int64]
    value: NDArray[np.int64]
    low: NDArray[np.int64]
    """A list that was read: its first element in `elements`; -1 if it is no list."""
    high: NDArray[np.int64]
    elements: NDArray[np.int64]
    atom_end: NDArray[np.int64]
    """Atom i is atom_bytes[atom_end[i - 1]:atom_end[i]]."""
    atom_bytes: NDArray[np.uint8]
    atom_slots: NDArray[np.int64]
    """A hash table of the atoms, always more than half empty."""
    used: NDArray[np.int64]
    """How much of each is in use; which of them is full; the last index and time seen; whether the events
    stand in one vector or array (0: no, 1: it is open, 2: it is closed)."""


@njit(cache=True, nogil=True)
def scan(tape: Tape, data: NDArray[np.uint8], size: int, base: int, strict: bool) -> tuple[int, int]:
    """Scan the events in data[:size], which begins at byte `base` of the file.

    Returns a status and how far it came: DONE at the end; else where to go on. `strict`: the file is our own,
    with indices dense from 0 and times that never go back.
    """
    used = tape.used
    at = 0
    while True:
        at = _space(data, at, size)
        if at >= size:
            return DONE, at
        byte = data[at]
        if (byte == 91 or byte == 40) and used[EVENTS] == 0 and used[ENCLOSED] == 0:
            used[ENCLOSED] = 1
            at += 1
            continue
        if (byte == 93 or byte == 41) and used[ENCLOSED] == 1:
            used[ENCLOSED] = 2
            at += 1
            continue
        if byte != 123 or used[ENCLOSED] == 2:
            return STRANGE, at
        status, end = _event(tape, data, at, size, base, strict)
        if status != DONE:
            return status, at
        at = end


@njit(cache=True, nogil=True)
def _event(
    tape: Tape, data: NDArray[np.uint8], start: int, size: int, base: int, strict: bool
) -> tuple[int, int]:
    """One event. Nothing of it is kept unless it is DONE."""
    used = tape.used
    if used[EVENTS] >= len(tape.type):
        used[FULL] = EVENTS
        return GROW, start
    type_ = -1
    process = -2  # not told yet
    index = int(used[LAST_INDEX]) + 1
    time = -1
    f = -1
    value_at = -1
    at = start + 1
    while True:
        at = _space(data, at, size)
        if at >= size:
            return MORE, start
        if data[at] == 125:  # }
            at += 1
            break
        name, length, at = _name(data, at, size)
        if at < 0:
            return (MORE if at == -1 else STRANGE), start
        at = _space(data, at, size)
        if at < size and data[at] == 58 and data[name - 1] == 34:  # the colon of JSON
            at = _space(data, at + 1, size)
        if at >= size:
            return MORE, start
        after = _skip(data, at, size)
        if after < 0:
            return (MORE if after == -1 else STRANGE), start
        strange = False
        if _is(data, name, length, _TYPE):
            type_ = _type(data, at, size)
        elif _is(data, name, length, _PROCESS):
            process = _process(data, at, size)
        elif _is(data, name, length, _VALUE):
            value_at = at
        elif _is(data, name, length, _INDEX):
            found, index, _ = _integer(data, at, size)
            strange = not found
        elif _is(data, name, length, _TIME):
            found, time, _ = _integer(data, at, size)
            strange = not found
        elif _is(data, name, length, _F):
            status, f, _ = _atom(tape, data, at, size)
            if status != DONE:
                return status, start
        elif _is(data, name, length, _KEY):
            strange = data[at] != 110  # nil, null
        if strange:
            return STRANGE, start
        at = after
    if type_ < 0 or process == -2:
        return STRANGE, start
    if strict and (index != used[EVENTS] or time < used[LAST_TIME]):
        return STRANGE, start
    if index <= used[LAST_INDEX]:
        return STRANGE, start
    event = used[EVENTS]
    tape.type[event] = type_
    tape.process[event] = process
    tape.f[event] = f
    tape.time[event] = time
    tape.offset[event] = base + start
    tape.micro[event] = used[MICRO]
    tape.counts[event] = NO_TRANSACTION
    if process >= 0 and value_at >= 0:
        status = _transaction(tape, data, value_at, size)
        if status != DONE:
            return status, start
    used[EVENTS] += 1
    used[LAST_INDEX] = index
    used[LAST_TIME] = time
    return DONE, at


@njit(cache=True, nogil=True)
def _transaction(tape: Tape, data: NDArray[np.uint8], at: int, size: int) -> int:
    """The value of a client's event, known to be complete: micro-operations, or nothing."""
    used = tape.used
    if data[at] == 110:  # nil, null
        return DONE
    if data[at] != 91 and data[at] != 40:
        return STRANGE
    micro, elements = used[MICRO], used[ELEMENTS]
    at = _space(data, at + 1, size)
    while data[at] != 93 and data[at] != 41:
        if data[at] != 91 and data[at] != 40:
            return STRANGE
        if micro >= len(tape.kind):
            used[FULL] = MICRO
            return GROW
        at = _space(data, at + 1, size)
        kind, at = _function(data, at, size)
        if kind < 0:
            return STRANGE
        tape.kind[micro] = kind
        at = _space(data, at, size)
        # Nearly all there is is plain, and to hand the tape down costs more than to read it.
        found, tape.key[micro], after = _plain(data, at, size)
        if not found:
            status, tape.key[micro], after = _atom(tape, data, at, size)
            if status != DONE:
                return status
        at = _space(data, after, size)
        tape.low[micro] = tape.high[micro] = -1
        tape.value[micro] = NIL
        if data[at] == 91 or data[at] == 40:
            tape.low[micro] = elements
            at = _space(data, at + 1, size)
            while data[at] != 93 and data[at] != 41:
                if elements >= len(tape.elements):
                    used[FULL] = ELEMENTS
                    return GROW
                found, number, after = _plain(data, at, size)
                if not found:
                    status, number, after = _atom(tape, data, at, size)
                    if status != DONE:
                        return status
                tape.elements[elements] = number
                elements += 1
                at = _space(data, after, size)
            tape.high[micro] = elements
            at += 1
        else:
            found, tape.value[micro], after = _plain(data, at, size)
            if not found:
                status, tape.value[micro], after = _atom(tape, data, at, size)
                if status != DONE:
                    return status
            at = after
        at = _space(data, at, size)
        if data[at] != 93 and data[at] != 41:
            return STRANGE
        micro += 1
        at = _space(data, at + 1, size)
    event = used[EVENTS]
    tape.counts[event] = micro - used[MICRO]
    used[MICRO], used[ELEMENTS] = micro, elements
    return DONE


@njit(cache=True, nogil=True)
def _space(data: NDArray[np.uint8], at: int, size: int) -> int:
    """The next byte that is no white space, comma or comment."""
    while at < size:
        byte = data[at]
        if byte == 59:  # ;
            while at < size and data[at] != 10:
                at += 1
        elif byte == 32 or byte == 44 or (9 <= byte <= 13):
            at += 1
        else:
            break
    return at


@njit(cache=True, nogil=True)
def _ends_atom(byte: int) -> bool:
    """White space, comma, bracket, quote, semicolon."""
    return byte <= 34 or byte == 44 or byte == 59 or byte in (40, 41, 91, 93, 123, 125)


@njit(cache=True, nogil=True)
def _name(data: NDArray[np.uint8], at: int, size: int) -> tuple[int, int, int]:
    """A field's name: where it begins, its length, and what follows. -1: cut off; -2: strange."""
    opening = data[at]
    if opening != 34 and opening != 58:
        return 0, 0, -2
    begin = at + 1
    at = begin
    if opening == 34:
        while at < size and data[at] != 34:
            if data[at] == 92:
                return 0, 0, -2
            at += 1
        return (begin, at - begin, at + 1) if at < size else (0, 0, -1)
    while at < size and not _ends_atom(data[at]):
        at += 1
    return (begin, at - begin, at) if at < size else (0, 0, -1)


@njit(cache=True, nogil=True)
def _skip(data: NDArray[np.uint8], at: int, size: int) -> int:
    """What follows the value that begins here. -1: it is cut off; -2: strange."""
    depth = 0
    while at < size:
        byte = data[at]
        if byte == 34:
            at += 1
            while at < size and data[at] != 34:
                at += 2 if data[at] == 92 else 1
        elif byte == 40 or byte == 91 or byte == 123:
            depth += 1
        elif byte == 41 or byte == 93 or byte == 125:
            depth -= 1
        elif byte == 59:  # ;
            while at < size and data[at] != 10:
                at += 1
        elif byte == 92 or (byte == 35 and at + 1 < size and data[at + 1] != 123):
            return -2  # a character; a tag or a discarded form, but not a set
        elif depth == 0 and byte != 35:
            while at < size and not _ends_atom(data[at]):
                at += 1
            return at if at < size else -1
        at += 1
        if depth <= 0 and byte != 35:
            return (at if at <= size else -1) if depth == 0 else -2
    return -1


@njit(cache=True, nogil=True)
def _is(data: NDArray[np.uint8], begin: int, length: int, word: NDArray[np.uint8]) -> bool:
    """Whether a name is this word."""
    if length != len(word):
        return False
    same = True
    for i in range(length):
        same &= data[begin + i] == word[i]
    return same


@njit(cache=True, nogil=True)
def _type(data: NDArray[np.uint8], at: int, size: int) -> int:
    """0 invoke, 1 ok, 2 fail, 3 info; -1: none of them."""
    begin, length, after = _name(data, at, size)
    if after < 0:
        return -1
    if _is(data, begin, length, _INVOKE):
        return 0
    if _is(data, begin, length, _OK):
        return 1
    if _is(data, begin, length, _FAIL):
        return 2
    return 3 if _is(data, begin, length, _INFO) else -1


@njit(cache=True, nogil=True)
def _process(data: NDArray[np.uint8], at: int, size: int) -> int:
    """A client's number; -1: somebody else; -2: strange."""
    byte = data[at]
    if 48 <= byte <= 57:
        found, number, _ = _integer(data, at, size)
        return number if found else -2
    return -1 if byte == 58 or byte == 34 else -2


@njit(cache=True, nogil=True)
def _integer(data: NDArray[np.uint8], at: int, size: int) -> tuple[bool, int, int]:
    """Whether it is an integer of at most 18 digits, its value, and what follows."""
    negative = data[at] == 45
    if negative:
        at += 1
    begin = at
    number = 0
    while at < size and 48 <= data[at] <= 57:
        number = number * 10 + int(np.int64(data[at])) - 48
        at += 1
    whole = begin < at <= begin + 18 and at < size and _ends_atom(data[at])
    return whole, -number if negative else number, at


@njit(cache=True, nogil=True)
def _function(data: NDArray[np.uint8], at: int, size: int) -> tuple[int, int]:
    """READ, WRITE or APPEND, or -1; and what follows."""
    begin, length, after = _name(data, at, size)
    if after < 0:
        return -1, at
    if _is(data, begin, length, _R):
        return READ, after
    if _is(data, begin, length, _W):
        return WRITE, after
    if _is(data, begin, length, _APPEND):
        return APPEND, after
    return -1, at


@njit(cache=True, nogil=True)
def _plain(data: NDArray[np.uint8], at: int, size: int) -> tuple[bool, int, int]:
    """Whether it is an integer or nothing, its value, and what follows."""
    if data[at] != 110:
        return _integer(data, at, size)
    after = at + 1
    while after < size and not _ends_atom(data[after]):
        after += 1
    nothing = _is(data, at, after - at, _NIL) or _is(data, at, after - at, _NULL)
    return nothing, NIL, after


@njit(cache=True, nogil=True)
def _atom(tape: Tape, data: NDArray[np.uint8], at: int, size: int) -> tuple[int, int, int]:
    """Status, ATOM + the number of the string or keyword, and what follows."""
    begin, length, after = _name(data, at, size)
    if after < 0:
        return (MORE if after == -1 else STRANGE), 0, at
    mixed = np.uint64(14695981039346656037)
    for i in range(begin, begin + length):
        mixed = (mixed ^ np.uint64(data[i])) * np.uint64(1099511628211)
    slots, used = tape.atom_slots, tape.used
    slot = np.int64(mixed & np.uint64(len(slots) - 1))
    while slots[slot] >= 0:
        atom = slots[slot]
        first = tape.atom_end[atom - 1] if atom else 0
        if tape.atom_end[atom] - first == length:
            same = True
            for i in range(length):
                if tape.atom_bytes[first + i] != data[begin + i]:
                    same = False
                    break
            if same:
                return DONE, ATOM + atom, after
        slot = (slot + 1) & (len(slots) - 1)
    atom = used[ATOMS]
    if 2 * atom + 2 > len(slots) or used[ATOM_BYTES] + length > len(tape.atom_bytes):
        used[FULL] = ATOMS
        return GROW, 0, at
    for i in range(length):
        tape.atom_bytes[used[ATOM_BYTES] + i] = data[begin + i]
    used[ATOM_BYTES] += length
    tape.atom_end[atom] = used[ATOM_BYTES]
    slots[slot] = atom
    used[ATOMS] += 1
    return DONE, ATOM + atom, after


@njit(cache=True, nogil=True)
def pair(
    type_: NDArray[np.int8], process: NDArray[np.int64], f: NDArray[np.int64], processes: int
) -> tuple[int, NDArray[np.int64]]:
    """The first event that breaks a rule of histories (-1: none does), and each invocation's completion, or
    -1.

    `process`: dense codes, -1 for what is not a client.
    """
    open_at = np.full(processes, -1, np.int64)
    dead = np.zeros(processes, np.bool_)
    partner = np.full(len(type_), -1, np.int64)
    for event in range(len(type_)):
        who = process[event]
        if who < 0:
            if type_[event] != 3:
                return event, partner
        elif type_[event] == 0:
            if dead[who] or open_at[who] >= 0:
                return event, partner
            open_at[who] = event
        else:
            began = open_at[who]
            if began < 0 or f[began] != f[event]:
                return event, partner
            partner[began] = event
            open_at[who] = -1
            dead[who] = type_[event] == 3
    return -1, partner


@njit(cache=True, nogil=True)
def agree(
    tape: Tape, invoke: NDArray[np.int64], complete: NDArray[np.int64], outcome: NDArray[np.int8]
) -> bool:
    """Whether each `ok` completion is the transaction that began, but for what it read."""
    for i in range(len(invoke)):
        began, ended = invoke[i], complete[i]
        if outcome[i] != 1 or tape.counts[began] == NO_TRANSACTION:
            continue
        if tape.counts[began] != tape.counts[ended]:
            return False
        for j in range(tape.counts[began]):
            a, b = tape.micro[began] + j, tape.micro[ended] + j
            if tape.kind[a] != tape.kind[b] or tape.key[a] != tape.key[b]:
                return False
            if tape.kind[a] != READ and tape.value[a] != tape.value[b]:
                return False
    return True


@njit(cache=True, nogil=True)
def refill(tape: Tape) -> None:
    """Put every atom into the hash table, which is larger now and empty."""
    slots = tape.atom_slots
    for atom in range(tape.used[ATOMS]):
        mixed = np.uint64(14695981039346656037)
        for i in range(tape.atom_end[atom - 1] if atom else 0, tape.atom_end[atom]):
            mixed = (mixed ^ np.uint64(tape.atom_bytes[i])) * np.uint64(1099511628211)
        slot = np.int64(mixed & np.uint64(len(slots) - 1))
        while slots[slot] >= 0:
            slot = (slot + 1) & (len(slots) - 1)
        slots[slot] = atom
