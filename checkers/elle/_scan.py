"""Transactions out of the bytes of a history, JSON or EDN, at the speed of memory.

One grammar covers both: a comma or a colon after a key is as good as a space, `"type"` and `:type` are the
same name. What the scanner does not know well enough to be sure of (a float, an escape in a string, a tagged
value, an order of fields that contradicts itself) it does not guess: it says STRANGE, and the file goes
through the general reader, which is slow, and exact, and names the line.

Bytes become tokens (`_lex`), tokens become rows of the tape (`_parse`), some ten thousand at a time, so that
they stay in the cache. Both are one long loop over local variables: every call that hands arrays down counts
their references, which takes longer than to read what most tokens are.

The file comes in pieces: an event that is cut off by the end of a piece is MORE, and is scanned again with
the next one. Arrays that are full are GROW; the caller makes them larger and goes on.

Complexity: linear in the bytes.
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

# Kinds of tokens. OTHER has a place and no meaning that anything here could use: a float, a symbol, a string
# with an escape in it.
_INTEGER, _NAME, _NOTHING, _OTHER, _OPEN_VECTOR, _OPEN_MAP, _OPEN_SET, _CLOSE = range(8)

_DEEPEST = 64
"""Brackets within brackets; what is deeper is STRANGE."""

# Names of at most eight bytes are compared as numbers.
_TYPE, _PROCESS, _F, _VALUE, _TIME, _INDEX, _KEY = (
    int.from_bytes(word, "big") for word in (b"type", b"process", b"f", b"value", b"time", b"index", b"key")
)
_INVOKE, _OK, _FAIL, _INFO = (int.from_bytes(word, "big") for word in (b"invoke", b"ok", b"fail", b"info"))
_R, _W, _APPEND, _NIL, _NULL = (
    int.from_bytes(word, "big") for word in (b"r", b"w", b"append", b"nil", b"null")
)

# Positions in `used`.
EVENTS, MICRO, ELEMENTS, ATOMS, ATOM_BYTES, FULL, LAST_INDEX, LAST_TIME, ENCLOSED, TOKENS = range(10)
# Whether the events stand in one vector or array.
NOT_KNOWN, OPENED, CLOSED, BARE = range(4)


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
    token: NDArray[np.int8]
    """Kinds of tokens, of the events that are being scanned."""
    number: NDArray[np.int64]
    """An integer; of a name or a word its bytes, if they are at most eight, or 0; of an opening bracket the
    token that closes it."""
    start: NDArray[np.int64]
    """Where a name or a bracket begins in the piece, quotes and colons left out."""
    stop: NDArray[np.int64]
    """Where a name ends."""
    used: NDArray[np.int64]
    """How much of each is in use; which of them is full; the last index and time seen; whether the events
    stand in one vector or array."""


@njit(cache=True, nogil=True)
def scan(tape: Tape, data: NDArray[np.uint8], size: int, base: int, strict: bool) -> tuple[int, int]:
    """Scan the events in data[:size], which begins at byte `base` of the file.

    Returns a status and how far it came: DONE at the end; else where to go on. `strict`: the file is our own,
    with indices dense from 0 and times that never go back.
    """
    at = 0
    while True:
        status, tokens, after = _lex(
            tape.token, tape.number, tape.start, tape.stop, tape.used, data, at, size
        )
        if tokens:
            parsed, where = _parse(tape, data, tokens, base, strict)
            if parsed != DONE:
                return parsed, where
        elif status == GROW:
            tape.used[FULL] = TOKENS
            return GROW, after
        at = after
        if status != GROW:
            return status, at


@njit(cache=True, nogil=True)
def _lex(
    token: NDArray[np.int8],
    number: NDArray[np.int64],
    start: NDArray[np.int64],
    stop: NDArray[np.int64],
    used: NDArray[np.int64],
    data: NDArray[np.uint8],
    at: int,
    size: int,
) -> tuple[int, int, int]:
    """The tokens of whole events from data[at] on.

    Returns a status, how many tokens, and what follows the last whole event. GROW: there is no room for more
    tokens. STRANGE: what follows is.
    """
    opened = np.empty(_DEEPEST, np.int64)
    depth = 0
    in_map = at_key = False  # the innermost bracket is a map's, and a key comes next
    count = whole = 0  # tokens, and those of whole events
    boundary = at
    room = len(token)
    while at < size:
        byte = int(np.int64(data[at]))
        # White space and commas; but between lines these are damage, or EDN worth a second look.
        if (byte == 44 and (depth > 0 or used[ENCLOSED] != BARE)) or byte == 32 or 9 <= byte <= 13:
            at += 1
            continue
        if byte == 59:  # ;
            while at < size and data[at] != 10:
                at += 1
            if at == size:
                return MORE, whole, boundary
            continue
        if depth == 0 and byte != 123:
            if (byte == 91 or byte == 40) and used[ENCLOSED] == NOT_KNOWN:
                used[ENCLOSED] = OPENED
            elif (byte == 93 or byte == 41) and used[ENCLOSED] == OPENED:
                used[ENCLOSED] = CLOSED
            else:
                return STRANGE, whole, boundary
            at += 1
            boundary = at
            continue
        if count == room:
            return GROW, whole, boundary
        kind = _OTHER
        if 48 <= byte <= 57 or byte == 45:
            # An integer of at most 18 digits.
            begin = at + (byte == 45)
            at = begin
            value = 0
            while at < size:
                digit = int(np.int64(data[at])) - 48
                if digit < 0 or digit > 9:
                    break
                value = value * 10 + digit
                at += 1
            if begin < at <= begin + 18:
                kind = _INTEGER
            while at < size and not _ends_atom(data[at]):
                kind = _OTHER
                at += 1
            number[count] = -value if byte == 45 else value
        elif byte == 91 or byte == 40 or byte == 123 or byte == 35:  # [ ( { #
            if byte == 35:
                at += 1
                if at == size:
                    break
                if data[at] != 123:
                    return STRANGE, whole, boundary
            if at_key or depth == _DEEPEST:
                return STRANGE, whole, boundary
            if depth == 0:
                if used[ENCLOSED] == CLOSED:
                    return STRANGE, whole, boundary
                if used[ENCLOSED] == NOT_KNOWN:
                    used[ENCLOSED] = BARE
            in_map = at_key = byte == 123
            token[count] = _OPEN_MAP if byte == 123 else _OPEN_SET if byte == 35 else _OPEN_VECTOR
            start[count] = at
            opened[depth] = count
            depth += 1
            count += 1
            at += 1
            continue
        elif byte == 93 or byte == 41 or byte == 125:  # ] ) }
            if in_map and not at_key:
                return STRANGE, whole, boundary
            depth -= 1
            opening = opened[depth]
            if byte != data[start[opening]] + (1 if byte == 41 else 2):
                return STRANGE, whole, boundary
            number[opening] = count
            in_map = at_key = depth > 0 and token[opened[depth - 1]] == _OPEN_MAP
            token[count] = _CLOSE
            count += 1
            at += 1
            if depth == 0:
                whole = count
                boundary = at
            continue
        elif byte == 92:  # a character
            return STRANGE, whole, boundary
        else:
            # A string, a keyword, or a word.
            quoted = byte == 34
            begin = at + (quoted or byte == 58)
            at = begin
            plain = True
            packed = 0
            while at < size:
                letter = int(np.int64(data[at]))
                if letter == 34 if quoted else _ends_atom(letter):
                    break
                if quoted and letter == 92:
                    plain = False
                    at += 1
                plain &= letter >= 32
                packed = packed << 8 | letter
                at += 1
            if at >= size:
                break
            if at == begin and not quoted:
                return STRANGE, whole, boundary
            if quoted or byte == 58:
                if plain:
                    kind = _NAME
            elif at - begin <= 8 and packed in (_NIL, _NULL):
                kind = _NOTHING
            number[count] = packed if at - begin <= 8 else 0
            start[count] = begin
            stop[count] = at
            at += quoted
            if quoted and at_key:
                while at < size and (data[at] == 32 or 9 <= data[at] <= 13):
                    at += 1
                if at < size and data[at] == 58:  # the colon of JSON
                    at += 1
        token[count] = kind
        count += 1
        at_key = in_map and not at_key
    if depth == 0:
        return DONE, whole, size
    return MORE, whole, boundary


@njit(cache=True, nogil=True)
def _ends_atom(byte: int) -> bool:
    """White space, comma, bracket, quote, semicolon."""
    return byte <= 34 or byte == 44 or byte == 59 or byte in (40, 41, 91, 93, 123, 125)


@njit(cache=True, nogil=True)
def _parse(tape: Tape, data: NDArray[np.uint8], tokens: int, base: int, strict: bool) -> tuple[int, int]:
    """The events that so many tokens are. Nothing of one is kept unless all of it is known.

    Returns DONE; else a status and where in the piece that event begins.
    """
    token, number, used = tape.token, tape.number, tape.used
    kinds, keys, values, lows, highs = tape.kind, tape.key, tape.value, tape.low, tape.high
    all_elements = tape.elements
    last_f, last_atom = 0, -1
    at = 0
    while at < tokens:
        where = tape.start[at]
        event = used[EVENTS]
        if event >= len(tape.type):
            used[FULL] = EVENTS
            return GROW, where
        type_ = -1
        process = -2  # not told yet
        index = used[LAST_INDEX] + 1
        time = f = value_at = -1
        end = number[at]
        at += 1
        while at < end:
            if token[at] != _NAME:
                return STRANGE, where
            name = number[at]
            at += 1
            kind, told = token[at], number[at]
            if name == _TYPE:
                if kind == _NAME:
                    type_ = _type(told)
            elif name == _PROCESS:
                if kind == _INTEGER and told >= 0:
                    process = told
                elif kind == _NAME:
                    process = -1
                else:
                    return STRANGE, where
            elif name == _VALUE:
                value_at = at
            elif name == _INDEX:
                if kind != _INTEGER:
                    return STRANGE, where
                index = told
            elif name == _TIME:
                if kind != _INTEGER:
                    return STRANGE, where
                time = told
            elif name == _F:
                if kind != _NAME:
                    return STRANGE, where
                if told == 0 or told != last_f:  # hardly ever: all transactions are called the same
                    last_f, last_atom = told, _atom(tape, data, at)
                    if last_atom < 0:
                        return GROW, where
                f = last_atom
            elif name == _KEY and kind != _NOTHING:
                return STRANGE, where
            at = (told if kind >= _OPEN_VECTOR else at) + 1
        at = end + 1
        if type_ < 0 or process == -2 or index <= used[LAST_INDEX]:
            return STRANGE, where
        if strict and (index != event or time < used[LAST_TIME]):
            return STRANGE, where
        micro, elements = used[MICRO], used[ELEMENTS]
        count = NO_TRANSACTION
        if process >= 0 and value_at >= 0 and token[value_at] != _NOTHING:
            # [[f key value] ...]
            if token[value_at] != _OPEN_VECTOR:
                return STRANGE, where
            here = value_at + 1
            while token[here] != _CLOSE:
                if token[here] != _OPEN_VECTOR or number[here] < here + 4 or token[here + 1] != _NAME:
                    return STRANGE, where
                if micro >= len(kinds):
                    used[FULL] = MICRO
                    return GROW, where
                last = number[here]
                kinds[micro] = _function(number[here + 1])
                if kinds[micro] < 0:
                    return STRANGE, where
                here += 2
                kind = token[here]
                keys[micro] = number[here]
                if kind == _NOTHING:
                    keys[micro] = NIL
                elif kind == _NAME:
                    keys[micro] = _atom(tape, data, here)
                    if keys[micro] < 0:
                        return GROW, where
                elif kind != _INTEGER:
                    return STRANGE, where
                here += 1
                kind = token[here]
                lows[micro] = highs[micro] = -1
                values[micro] = NIL
                if kind == _OPEN_VECTOR:
                    close = number[here]
                    if elements + close - here > len(all_elements):
                        used[FULL] = ELEMENTS
                        return GROW, where
                    lows[micro] = elements
                    for element in range(here + 1, close):
                        kind = token[element]
                        found = number[element]
                        if kind != _INTEGER:
                            if kind == _NOTHING:
                                found = NIL
                            elif kind == _NAME:
                                found = _atom(tape, data, element)
                                if found < 0:
                                    return GROW, where
                            else:
                                return STRANGE, where
                        all_elements[elements] = found
                        elements += 1
                    highs[micro] = elements
                    here = close
                elif kind == _INTEGER:
                    values[micro] = number[here]
                elif kind == _NAME:
                    values[micro] = _atom(tape, data, here)
                    if values[micro] < 0:
                        return GROW, where
                elif kind != _NOTHING:
                    return STRANGE, where
                here += 1
                if here != last:
                    return STRANGE, where
                here += 1
                micro += 1
            count = micro - used[MICRO]
        tape.type[event] = type_
        tape.process[event] = process
        tape.f[event] = f
        tape.time[event] = time
        tape.offset[event] = base + where
        tape.micro[event] = used[MICRO]
        tape.counts[event] = count
        used[MICRO], used[ELEMENTS] = micro, elements
        used[EVENTS] += 1
        used[LAST_INDEX] = index
        used[LAST_TIME] = time
    return DONE, 0


@njit(cache=True, nogil=True)
def _type(name: int) -> int:
    """0 invoke, 1 ok, 2 fail, 3 info; -1: none of them."""
    if name == _INVOKE:
        return 0
    if name == _OK:
        return 1
    if name == _FAIL:
        return 2
    return 3 if name == _INFO else -1


@njit(cache=True, nogil=True)
def _function(name: int) -> int:
    """READ, WRITE or APPEND, or -1."""
    if name == _R:
        return READ
    if name == _W:
        return WRITE
    return APPEND if name == _APPEND else -1


@njit(cache=True, nogil=True)
def _atom(tape: Tape, data: NDArray[np.uint8], token: int) -> int:
    """ATOM + the number of the name that a token is; -1 if there is no room for one more."""
    begin, end = tape.start[token], tape.stop[token]
    length = end - begin
    mixed = np.uint64(14695981039346656037)
    for i in range(begin, end):
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
                return ATOM + int(atom)
        slot = (slot + 1) & (len(slots) - 1)
    atom = used[ATOMS]
    if 2 * atom + 2 > len(slots) or used[ATOM_BYTES] + length > len(tape.atom_bytes):
        used[FULL] = ATOMS
        return -1
    for i in range(length):
        tape.atom_bytes[used[ATOM_BYTES] + i] = data[begin + i]
    used[ATOM_BYTES] += length
    tape.atom_end[atom] = used[ATOM_BYTES]
    slots[slot] = atom
    used[ATOMS] += 1
    return ATOM + int(atom)


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
