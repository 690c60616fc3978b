"""Go's compress/lzw, reading only: memberlist compresses what it sends, and we need not.

Rules
-----
1. Codes are packed least significant bit first, 9 to 12 bits wide; literals are 8 bits wide.
2. Code 256 clears the table, 257 ends the data; bytes after it are ignored.
3. The width grows when the next free code no longer fits, at the same moment as in Go's writer; a full table
   (4096 codes) stays as it is until a clear.

Source: Go's compress/lzw/reader.go, order LSB, litWidth 8 (memberlist util.go `compressPayload`).
"""

from __future__ import annotations

from .errors import Malformed

_CLEAR = 256
_END = 257
_WIDTH_MAX = 12


def decompress(data: bytes, size_max: int) -> bytes:
    """The original bytes. Raises `Malformed` for an impossible code, no end, or over `size_max` bytes."""
    output = bytearray()
    table: list[bytes] = []
    previous: bytes | None = None
    width = 9
    bits = 0
    bits_count = 0
    for byte in data:
        bits |= byte << bits_count
        bits_count += 8
        if bits_count < width:
            continue
        code = bits & ((1 << width) - 1)
        bits >>= width
        bits_count -= width
        if code == _CLEAR:
            table, previous, width = [], None, 9
            continue
        if code == _END:
            return bytes(output)
        next_code = _END + 1 + len(table)
        if code < _CLEAR:
            entry = bytes((code,))
        elif code < next_code:
            entry = table[code - _END - 1]
        elif code == next_code and previous is not None:
            entry = previous + previous[:1]
        else:
            raise Malformed(f"compressed data: code {code} is not in the table")
        output += entry
        if len(output) > size_max:
            raise Malformed(f"compressed data expands beyond {size_max} bytes")
        if next_code < 1 << _WIDTH_MAX and previous is not None:
            table.append(previous + entry[:1])
        previous = entry
        width = _width(len(table))
    raise Malformed("compressed data ends without its end mark")


def _width(entries: int) -> int:
    """How many bits the next code has, given the table's entries."""
    return min(_WIDTH_MAX, max(9, (_END + 1 + entries).bit_length()))
