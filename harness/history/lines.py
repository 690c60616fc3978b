"""JSON lines to columns without a Python object a line: the kernel behind `History.read` of large files.

Rules
-----
1. It understands what `encode` writes, and every line of JSON like it: an object of the fields of `Op`, in
   any order, with others among them. Whatever else a line holds (escapes in names, text beyond ASCII, numbers
   beyond 18 digits or with a point in a field, damage), it leaves to the decoder of `Op`: the line is marked
   in `plain`, and nothing is said of it here. So it accepts no line that the decoder refuses, and where both
   understand a line, they agree.
2. `f`, `key` and `node` are told apart by their bytes.
3. A value is an integer or null, a pair of such, or any other, which stays in its line until someone asks.

Complexity: one pass, about 200 MB a second.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

from harness.history.columns import NEMESIS_CODE, NOTHING, OTHER, PAIR, PLAIN, STRANGER

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Scanned:
    """What the lines hold, columns of one length."""

    start: NDArray[np.int64]
    """Where each line begins; one more than there are lines: the last is where the data ends."""
    plain: NDArray[np.bool_]
    """False: the line is to be decoded, and the columns say nothing of it."""
    index: NDArray[np.int64]
    time: NDArray[np.int64]
    type: NDArray[np.int8]
    process: NDArray[np.int64]
    f: NDArray[np.int32]
    """Code of a name."""
    key: NDArray[np.int32]
    """The same; -1: none."""
    node: NDArray[np.int32]
    version: NDArray[np.int64]
    kind: NDArray[np.int8]
    first: NDArray[np.int64]
    second: NDArray[np.int64]


def scan(data: bytes) -> tuple[Scanned, tuple[list[Any], list[Any], list[Any]]]:
    """The columns of all lines, and the names that are coded: `f`, `key`, `node`. All lines end with a
    newline."""
    count = data.count(b"\n")
    scanned = Scanned(
        start=np.empty(count + 1, np.int64),
        plain=np.empty(count, np.bool_),
        index=np.empty(count, np.int64),
        time=np.empty(count, np.int64),
        type=np.empty(count, np.int8),
        process=np.empty(count, np.int64),
        f=np.empty(count, np.int32),
        key=np.empty(count, np.int32),
        node=np.empty(count, np.int32),
        version=np.empty(count, np.int64),
        kind=np.empty(count, np.int8),
        first=np.empty(count, np.int64),
        second=np.empty(count, np.int64),
    )
    # As large as it can ever be: the system gives memory for what is touched alone.
    tables = np.zeros((3, (1 << max(4, (2 * count).bit_length())) + 1, 4), np.int64)
    columns = (getattr(scanned, column.name) for column in fields(Scanned))
    _scan(np.frombuffer(data, np.uint8), *columns, *tables)
    fs, keys, nodes = (_names(data, table) for table in tables)
    return scanned, (fs, keys, nodes)


def _names(data: bytes, table: NDArray[np.int64]) -> list[Any]:
    """What the table's bytes say, by code."""
    count = int(table[-1, _CODE])
    used = table[table[:count, _PLACE]]
    spans = (data[start:end] for start, end in used[:, :_CODE].tolist())
    return list(msgspec.json.decode(b"[" + b",".join(spans) + b"]"))


_START, _END, _CODE, _PLACE = range(4)
"""Of a table of names, a hash table: where the name first stood, and its code (in the last row: their
number); and by code, the name's place in the table."""

_NEWLINE, _SPACE, _QUOTE, _BACKSLASH, _COMMA, _COLON, _MINUS, _ZERO, _POINT, _EXPONENT = b'\n "\\,:-0.e'
_OPEN, _CLOSE, _OPEN_LIST, _CLOSE_LIST, _N = b"{}[]n"

_NAMES = (b"index", b"time", b"type", b"process", b"f", b"key", b"value", b"node", b"version", b"error")
_INDEX, _TIME, _TYPE, _PROCESS, _F, _KEY, _VALUE, _NODE, _VERSION, _ERROR, _UNKNOWN = range(len(_NAMES) + 1)
_NAME_BYTES = np.frombuffer(b"".join(name.ljust(8) for name in _NAMES), np.uint8).reshape(-1, 8).copy()
_NAME_LENGTHS = np.array([len(name) for name in _NAMES])
_REQUIRED = 1 << _INDEX | 1 << _TIME | 1 << _TYPE | 1 << _PROCESS | 1 << _F

_TYPES = (b'"invoke"', b'"ok"', b'"fail"', b'"info"')
_NEMESIS = np.frombuffer(b'"nemesis"', np.uint8).copy()
_TYPE_BYTES = np.frombuffer(b"".join(name.ljust(8) for name in _TYPES), np.uint8).reshape(-1, 8).copy()
_TYPE_LENGTHS = np.array([len(name) for name in _TYPES])
_LITERALS = np.frombuffer(b"null....true....false...", np.uint8).reshape(3, 8).copy()
_LITERAL_LENGTHS = np.array([4, 4, 5])


@njit(cache=True, nogil=True)
def _scan(
    data: Bytes,
    start: NDArray[np.int64],
    plain: NDArray[np.bool_],
    index: NDArray[np.int64],
    time: NDArray[np.int64],
    type_: NDArray[np.int8],
    process: NDArray[np.int64],
    f: NDArray[np.int32],
    key: NDArray[np.int32],
    node: NDArray[np.int32],
    version: NDArray[np.int64],
    kind: NDArray[np.int8],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    fs: NDArray[np.int64],
    keys: NDArray[np.int64],
    nodes: NDArray[np.int64],
) -> None:
    at = 0
    for line in range(len(plain)):
        start[line] = at
        key[line] = node[line] = version[line] = -1
        kind[line], first[line], second[line] = PLAIN, NOTHING, 0
        seen = 0
        end = _blank(data, at + 1) if data[at] == _OPEN else -1
        while end >= 0 and data[end] != _CLOSE:
            # A field: where its name and its value are.
            begin = end
            name_end = _string_end(data, begin)
            value = _after(data, name_end, _COLON)
            if value < 0:
                end = -1
                break
            field = _field(data, begin + 1, name_end - 1)
            if field == _VALUE:
                end, kind[line], first[line], second[line] = _value(data, value)
            elif field in (_INDEX, _TIME, _PROCESS, _VERSION):
                end, number = _number(data, value, field)
                if field == _INDEX:
                    index[line] = number
                elif field == _TIME:
                    time[line] = number
                elif field == _PROCESS:
                    process[line] = number
                else:
                    version[line] = number
            elif field == _TYPE:
                end, type_[line] = _type(data, value)
            elif field == _F:
                end = _string_end(data, value)
                if end >= 0:
                    f[line] = _intern(data, value, end, fs)
            elif data[value] == _N:
                end = _matches(data, value, _LITERALS[0], 4)
            elif field == _KEY:
                end = _string_end(data, value) if data[value] == _QUOTE else _integer_end(data, value)
                if end >= 0:
                    key[line] = _intern(data, value, end, keys)
            elif field == _NODE:
                end = _string_end(data, value)
                if end >= 0:
                    node[line] = _intern(data, value, end, nodes)
            elif field == _ERROR:
                end = _string_end(data, value)
            else:
                end = _value_end(data, value)
            seen |= 1 << field
            # What stands behind it: another field, or the end.
            if end >= 0:
                end = _blank(data, end)
                if data[end] != _CLOSE:
                    end = _after(data, end, _COMMA)
                    if end >= 0 and data[end] != _QUOTE:
                        end = -1
        if end >= 0:
            end = _blank(data, end + 1)
        plain[line] = end >= 0 and data[end] == _NEWLINE and seen & _REQUIRED == _REQUIRED
        if not plain[line]:
            end = at
            while data[end] != _NEWLINE:
                end += 1
        at = end + 1
    start[len(plain)] = at


@njit(cache=True, nogil=True)
def _number(data: Bytes, at: int, field: int) -> tuple[int, int]:
    """The end of a field that is a number, or -1; and what it says."""
    if field == _PROCESS and data[at] == _QUOTE:
        return _matches(data, at, _NEMESIS, len(_NEMESIS)), NEMESIS_CODE
    if field == _VERSION and data[at] == _N:
        return _matches(data, at, _LITERALS[0], 4), -1
    end = _integer_end(data, at)
    if end < 0:
        return -1, 0
    number = _integer(data, at, end)
    if number >= 0:
        return end, number
    if field == _PROCESS:
        return end, STRANGER
    return -1 if field == _VERSION else end, number


@njit(cache=True, nogil=True)
def _type(data: Bytes, at: int) -> tuple[int, int]:
    """The end of the type of an event, or -1; and its code."""
    for code in range(len(_TYPES)):
        end = _matches(data, at, _TYPE_BYTES[code], _TYPE_LENGTHS[code])
        if end >= 0:
            return end, code
    return -1, 0


@njit(cache=True, nogil=True)
def _value(data: Bytes, at: int) -> tuple[int, int, int, int]:
    """The end of a value, or -1; its kind, and its integers."""
    end = _plain_end(data, at)
    if end >= 0:
        return end, PLAIN, _integer(data, at, end), 0
    if data[at] == _OPEN_LIST:
        one = _blank(data, at + 1)
        one_end = _plain_end(data, one)
        two = _after(data, one_end, _COMMA)
        if two >= 0:
            two_end = _plain_end(data, two)
            end = _after(data, two_end, _CLOSE_LIST)
            if end >= 0:
                return end, PAIR, _integer(data, one, one_end), _integer(data, two, two_end)
    return _value_end(data, at), OTHER, NOTHING, 0


@njit(cache=True, nogil=True)
def _plain_end(data: Bytes, at: int) -> int:
    """The end of an integer or null that begins here, or -1."""
    return _matches(data, at, _LITERALS[0], 4) if data[at] == _N else _integer_end(data, at)


# Every line ends with a newline, which is part of no token: so each of these stops within the data.


@njit(cache=True, nogil=True)
def _blank(data: Bytes, at: int) -> int:
    while data[at] == _SPACE:
        at += 1
    return at


@njit(cache=True, nogil=True)
def _after(data: Bytes, at: int, byte: int) -> int:
    """What comes after this byte, if it stands here (or behind blanks), or -1."""
    if at < 0:
        return -1
    at = _blank(data, at)
    return _blank(data, at + 1) if data[at] == byte else -1


@njit(cache=True, nogil=True)
def _matches(data: Bytes, at: int, word: Bytes, length: int) -> int:
    """The end of the word if it stands there, or -1."""
    for i in range(length):
        if data[at + i] != word[i]:
            return -1
    return at + length


@njit(cache=True, nogil=True)
def _field(data: Bytes, start: int, end: int) -> int:
    """Which of the fields has this name."""
    for field in range(len(_NAMES)):
        length = _NAME_LENGTHS[field]
        if end - start == length and _matches(data, start, _NAME_BYTES[field], length) >= 0:
            return field
    return _UNKNOWN


@njit(cache=True, nogil=True)
def _string_end(data: Bytes, at: int) -> int:
    """The end of a string of printable ASCII without escapes that begins here, or -1."""
    if data[at] != _QUOTE:
        return -1
    at += 1
    while data[at] != _QUOTE:
        if data[at] < _SPACE or data[at] >= 127 or data[at] == _BACKSLASH:
            return -1
        at += 1
    return at + 1


@njit(cache=True, nogil=True)
def _digit(byte: int) -> bool:
    return 48 <= byte <= 57


@njit(cache=True, nogil=True)
def _integer_end(data: Bytes, at: int) -> int:
    """The end of an integer of at most 18 digits that begins here, or -1."""
    first = at + 1 if data[at] == _MINUS else at
    end = first
    while _digit(data[end]):
        end += 1
    if end == first or end - first > 18 or (data[first] == _ZERO and (end > first + 1 or first > at)):
        return -1
    return -1 if data[end] == _POINT or data[end] == _EXPONENT or data[end] == _EXPONENT - 32 else end


@njit(cache=True, nogil=True)
def _integer(data: Bytes, at: int, end: int) -> int:
    if data[at] == _N:
        return NOTHING
    negative = data[at] == _MINUS
    number = np.int64(0)
    for i in range(at + negative, end):
        number = 10 * number + (np.int64(data[i]) - 48)
    return int(-number if negative else number)


@njit(cache=True, nogil=True)
def _number_end(data: Bytes, at: int) -> int:
    """The end of a number of at most 18 digits before and behind its point that begins here, or -1."""
    first = at + 1 if data[at] == _MINUS else at
    end = first
    while _digit(data[end]):
        end += 1
    if end == first or end - first > 18 or (data[first] == _ZERO and end > first + 1):
        return -1
    if data[end] == _POINT:
        first = end = end + 1
        while _digit(data[end]):
            end += 1
        if end == first or end - first > 18:
            return -1
    return -1 if data[end] == _POINT or data[end] == _EXPONENT or data[end] == _EXPONENT - 32 else end


@njit(cache=True, nogil=True)
def _value_end(data: Bytes, at: int) -> int:
    """The end of the JSON value that begins here, or -1: if it is none, has escapes, or is nested deeply."""
    inside = np.uint64(0)  # by depth: 1 in an object
    depth = 0
    while True:
        # A value is due.
        byte = data[at]
        if byte in (_OPEN, _OPEN_LIST):
            if depth == 60:
                return -1
            inside = (inside << np.uint64(1)) | np.uint64(byte == _OPEN)
            depth += 1
            at = _blank(data, at + 1)
            if data[at] == (_CLOSE if byte == _OPEN else _CLOSE_LIST):
                inside >>= np.uint64(1)
                depth -= 1
                at += 1
            elif byte == _OPEN:
                at = _after(data, _string_end(data, at), _COLON)
                if at < 0:
                    return -1
                continue
            else:
                continue
        elif byte == _QUOTE:
            at = _string_end(data, at)
        elif byte == _MINUS or _digit(byte):
            at = _number_end(data, at)
        else:
            literal = at
            at = -1
            for i in range(len(_LITERALS)):
                at = max(at, _matches(data, literal, _LITERALS[i], _LITERAL_LENGTHS[i]))
        if at < 0:
            return -1
        # A value is over.
        while depth > 0:
            at = _blank(data, at)
            in_object = inside & np.uint64(1) == np.uint64(1)
            if data[at] == _COMMA:
                at = _blank(data, at + 1)
                if in_object:
                    at = _after(data, _string_end(data, at), _COLON)
                    if at < 0:
                        return -1
                break
            if data[at] != (_CLOSE if in_object else _CLOSE_LIST):
                return -1
            inside >>= np.uint64(1)
            depth -= 1
            at += 1
        if depth == 0:
            return at


@njit(cache=True, nogil=True)
def _intern(data: Bytes, start: int, end: int, table: NDArray[np.int64]) -> int:
    """The code of these bytes."""
    mixed = np.uint64(end - start)
    for i in range(start, end):
        mixed = (mixed ^ np.uint64(data[i])) * np.uint64(0x100000001B3)
    last = len(table) - 2
    place = np.int64((mixed ^ (mixed >> np.uint64(32))) & np.uint64(last))
    while table[place, _END]:
        if table[place, _END] - table[place, _START] == end - start:
            same = True
            for i in range(end - start):
                if data[start + i] != data[table[place, _START] + i]:
                    same = False
                    break
            if same:
                return int(table[place, _CODE])
        place = (place + 1) & last
    code = int(table[-1, _CODE])
    table[place, _START], table[place, _END], table[place, _CODE] = start, end, code
    table[code, _PLACE] = place
    table[-1, _CODE] += 1
    return code
