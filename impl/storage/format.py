"""The bytes of log segments and snapshots. All integers are little-endian; checksums are CRC-32 (zlib).

A segment is a header and batches. A batch is what one write put there, flushed by one `sync`, and is there as
a whole or not at all:

    segment header  magic "raft-log", version u32, segment number u64, number of the oldest segment that was
                    still part of the log when this one was begun u64, number of its first batch u64,
                    checksum of the header up to here u32
    batch header    magic "BTCH", payload length u32, segment number u64, batch number u64,
                    payload checksum u32, checksum of the header up to here u32
    payload         msgpack of Batch
    end             one byte 0xFF

    snapshot        magic "raft-snp", version u32, description length u32, data length u64,
                    checksum of description and data u32, checksum of the header up to here u32,
                    description (msgpack of SnapshotDescription), data

Batches are numbered on through all segments. Number and segment are under the checksum, so that bytes of
another time or place are never taken for a batch that is due here.

Torn tail or damage?
--------------------
A batch is written only after the one before it was flushed. So only the last batch of the newest segment can
have been under way when the power went, and if anything at all follows a bad batch, that batch was durable
once, and is damaged. For a bad batch at the very end, the question is whether a power cut can have made it
so. It leaves sectors (of 512 bytes, or multiples of them) unwritten, in any order, and what was never
written is either beyond the end of the file or reads as zeros. The last batch is therefore torn, and cut,
if

  - the file ends before the batch does, or
  - one of the sectors that the batch touches is all zeros as far as the batch goes (that is why a batch
    begins with a letter and ends with 0xFF: neither end of it looks unwritten);

and anything else, such as flipped bits, is damage.

What this cannot tell: whoever removes or shortens the newest segment, or zeroes a sector at its end, takes
away what may have been flushed, and it will look torn, or as if it had never been. So will a flipped bit in
the last batch if that batch holds a whole sector of zeros. No log can do better without a second place that
remembers where the flushed part ends (Alagappan et al., Protocol-Aware Recovery for Consensus-Based Storage,
FAST 2018, section 3.3.3).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from impl.raft import Configuration, Entry, HardState, Snapshot
from impl.storage.errors import Corrupt, UnknownVersion

VERSION = 1
SECTOR_BYTES = 512

SEGMENT_MAGIC = b"raft-log"
SNAPSHOT_MAGIC = b"raft-snp"
BATCH_MAGIC = b"BTCH"
BATCH_END = b"\xff"

_CHECKSUM = struct.Struct("<I")
_VERSION = struct.Struct("<8sI")
_SEGMENT_HEADER = struct.Struct("<8sIQQQ")
_BATCH_HEADER = struct.Struct("<4sIQQI")
_SNAPSHOT_HEADER = struct.Struct("<8sIIQI")

SEGMENT_HEADER_BYTES = _SEGMENT_HEADER.size + _CHECKSUM.size
BATCH_HEADER_BYTES = _BATCH_HEADER.size + _CHECKSUM.size
SNAPSHOT_HEADER_BYTES = _SNAPSHOT_HEADER.size + _CHECKSUM.size


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """What one write adds. Replayed in the order of the fields."""

    hard_state: HardState | None
    restart: tuple[int, int] | None
    """(index, term): the log was given up for a snapshot that ends there, and goes on after it."""
    entries: Sequence[Entry]
    """Each either follows the last one or replaces the log from its index on."""


class SnapshotDescription(msgspec.Struct, frozen=True, array_like=True):
    """A Snapshot but for its data."""

    index: int
    term: int
    configuration: Configuration


@dataclass(frozen=True, slots=True)
class Cut:
    """The torn tail that was found and cut: nobody had been told that it was durable."""

    file: str
    offset: int
    size: int


class SegmentHeader(NamedTuple):
    """What a segment says of itself."""

    number: int
    oldest: int
    """The log's segments are those from this one on; older files are left-overs."""
    first_batch: int


class Segment(NamedTuple):
    """What was read of a segment."""

    batches: list[tuple[int, Batch]]
    """With their offsets."""
    next_batch: int
    """The number that the batch after the last one will have."""
    size: int
    """Up to the end of the last whole batch, in bytes."""
    cut: Cut | None


def encode_segment_header(header: SegmentHeader) -> bytes:
    return _checksummed(_SEGMENT_HEADER.pack(SEGMENT_MAGIC, VERSION, *header))


def decode_segment_header(file: str, data: bytes, number: int) -> SegmentHeader:
    """Read the header. Raises Corrupt: a segment is created as a whole, so its header is never torn."""
    _check_header(file, data, SEGMENT_MAGIC, SEGMENT_HEADER_BYTES)
    header = SegmentHeader(*_SEGMENT_HEADER.unpack_from(data)[2:])
    if header.number != number:
        raise Corrupt(file, 0, f"holds segment {header.number} instead of {number}")
    return header


def encode_batch(batch: Batch, segment: int, number: int) -> bytes:
    payload = msgspec.msgpack.encode(batch)
    header = _BATCH_HEADER.pack(BATCH_MAGIC, len(payload), segment, number, zlib.crc32(payload))
    return b"".join((_checksummed(header), payload, BATCH_END))


def decode_segment(file: str, data: bytes, header: SegmentHeader, newest: bool) -> Segment:
    """Read the batches. Only the newest segment may have a torn tail. Raises Corrupt."""
    batches: list[tuple[int, Batch]] = []
    offset = SEGMENT_HEADER_BYTES
    due = header.first_batch
    while offset < len(data):
        length = _decode_batch_header(file, data, offset, header.number, due)
        end = offset + BATCH_HEADER_BYTES + (length or 0) + len(BATCH_END)
        payload = data[offset + BATCH_HEADER_BYTES : end - len(BATCH_END)]
        if length is None or data[end - 1 : end] != BATCH_END or not _payload_is_good(data, offset, payload):
            if newest and _is_torn(data, offset, None if length is None else end, header.number, due):
                return Segment(batches, due, offset, Cut(file, offset, len(data) - offset))
            raise Corrupt(file, offset, f"batch {due} is damaged" + ("" if newest else " or cut short"))
        try:
            batches.append((offset, msgspec.msgpack.decode(payload, type=Batch)))
        except msgspec.MsgspecError as error:
            raise Corrupt(file, offset, f"batch {due} makes no sense: {error}") from None
        offset = end
        due += 1
    return Segment(batches, due, offset, None)


def encode_snapshot(snapshot: Snapshot) -> bytes:
    description = msgspec.msgpack.encode(
        SnapshotDescription(snapshot.index, snapshot.term, snapshot.configuration)
    )
    checksum = zlib.crc32(snapshot.data, zlib.crc32(description))
    header = _SNAPSHOT_HEADER.pack(SNAPSHOT_MAGIC, VERSION, len(description), len(snapshot.data), checksum)
    return b"".join((_checksummed(header), description, snapshot.data))


def decode_snapshot(file: str, content: bytes) -> Snapshot:
    """The inverse of `encode_snapshot`. Raises Corrupt: a snapshot is replaced as a whole and never torn."""
    _check_header(file, content, SNAPSHOT_MAGIC, SNAPSHOT_HEADER_BYTES)
    _, _, description_length, data_length, checksum = _SNAPSHOT_HEADER.unpack_from(content)
    size = SNAPSHOT_HEADER_BYTES + description_length + data_length
    if len(content) != size:
        raise Corrupt(file, min(size, len(content)), f"is {len(content)} bytes long instead of {size}")
    if zlib.crc32(memoryview(content)[SNAPSHOT_HEADER_BYTES:]) != checksum:
        raise Corrupt(file, SNAPSHOT_HEADER_BYTES, "the content does not match its checksum")
    data_offset = SNAPSHOT_HEADER_BYTES + description_length
    try:
        description = msgspec.msgpack.decode(
            content[SNAPSHOT_HEADER_BYTES:data_offset], type=SnapshotDescription
        )
    except msgspec.MsgspecError as error:
        raise Corrupt(file, SNAPSHOT_HEADER_BYTES, f"the description makes no sense: {error}") from None
    return Snapshot(description.index, description.term, description.configuration, content[data_offset:])


def kinds_of_batches(data: bytes, server: str) -> frozenset[str]:
    """What is in whole batches, perhaps behind a segment's header: "term", "vote", "entries", "restart".

    The `server`'s vote for itself is no "vote": it goes with a new "term".
    """
    kinds: set[str] = set()
    offset = SEGMENT_HEADER_BYTES if data.startswith(SEGMENT_MAGIC) else 0
    while offset + BATCH_HEADER_BYTES <= len(data):
        magic, length, *_ = _BATCH_HEADER.unpack_from(data, offset)
        if magic != BATCH_MAGIC:
            break
        payload = data[offset + BATCH_HEADER_BYTES : offset + BATCH_HEADER_BYTES + length]
        batch = msgspec.msgpack.decode(payload, type=Batch)
        if batch.hard_state is not None:
            kinds.add("term" if batch.hard_state.vote in (None, server) else "vote")
        if batch.entries:
            kinds.add("entries")
        if batch.restart is not None:
            kinds.add("restart")
        offset += BATCH_HEADER_BYTES + length + len(BATCH_END)
    return frozenset(kinds)


def _checksummed(header: bytes) -> bytes:
    return header + _CHECKSUM.pack(zlib.crc32(header))


def _matches_checksum(data: bytes, offset: int, size: int) -> bool:
    """Whether the header of `size` bytes at `offset`, checksum included, is whole."""
    header = memoryview(data)[offset : offset + size - _CHECKSUM.size]
    checksum = data[offset + size - _CHECKSUM.size : offset + size]
    return checksum == _CHECKSUM.pack(zlib.crc32(header))


def _check_header(file: str, data: bytes, magic: bytes, size: int) -> None:
    """Refuse a file that is something else, of another version, or whose header is damaged."""
    if len(data) < size:
        raise Corrupt(file, 0, f"is {len(data)} bytes long, shorter than its header of {size}")
    found_magic, version = _VERSION.unpack_from(data)
    if found_magic != magic:
        raise Corrupt(file, 0, f"begins with {found_magic!r} instead of {magic!r}")
    if version != VERSION:
        why = f"format version {version} (or the header is damaged); this program knows version {VERSION}"
        raise UnknownVersion(file, len(magic), why)
    if not _matches_checksum(data, 0, size):
        raise Corrupt(file, 0, "the header does not match its checksum")


def _decode_batch_header(file: str, data: bytes, offset: int, segment: int, due: int) -> int | None:
    """The length of the payload; None if there is no whole header."""
    if not _matches_checksum(data, offset, BATCH_HEADER_BYTES):
        return None
    magic, length, found_segment, found, _ = _BATCH_HEADER.unpack_from(data, offset)
    if (magic, found_segment, found) != (BATCH_MAGIC, segment, due):
        raise Corrupt(
            file, offset, f"batch {found} of segment {found_segment} where {due} of {segment} is due"
        )
    return int(length)


def _payload_is_good(data: bytes, offset: int, payload: bytes) -> bool:
    checksum = _BATCH_HEADER.unpack_from(data, offset)[-1]
    return zlib.crc32(payload) == int(checksum)


def _is_torn(data: bytes, offset: int, end: int | None, segment: int, due: int) -> bool:
    """Whether a power cut can have made the bad batch at `offset` what it is; see the module's docstring.

    `end` is where the batch ends according to its header, None if the header itself is bad.
    """
    if end is None:
        if len(data) - offset < BATCH_HEADER_BYTES:
            return True
        if _another_batch_follows(data, offset, segment, due):
            return False
        end = len(data)
    elif len(data) != end:
        return len(data) < end
    while offset < end:
        sector_end = min(end, (offset // SECTOR_BYTES + 1) * SECTOR_BYTES)
        if not any(memoryview(data)[offset:sector_end]):
            return True
        offset = sector_end
    return False


def _another_batch_follows(data: bytes, offset: int, segment: int, due: int) -> bool:
    while (offset := data.find(BATCH_MAGIC, offset + 1)) >= 0:
        if _matches_checksum(data, offset, BATCH_HEADER_BYTES):
            _, _, found_segment, found, _ = _BATCH_HEADER.unpack_from(data, offset)
            if found_segment == segment and found > due:
                return True
    return False
