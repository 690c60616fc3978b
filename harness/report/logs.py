"""Nodes' logs for the page: short ones whole, long ones by head and tail, and said aloud.

A run may leave hundreds of megabytes; only the ends of a file are read. Each line has a level, as far as one
can tell, and the second of the run at which it was written, if it begins with a date and time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path

BUDGET_BYTES = 4 << 20
"""Of all logs together."""
NODE_BYTES_MAX = 256 << 10
LINE_CHARACTERS_MAX = 2_000
_HEAD_PART = 4
"""One part in so many of what is kept comes from the head."""

LEVELS = ("trace", "debug", "info", "warn", "error")
_LEVEL = re.compile(
    r"""\[(TRACE|DEBUG|INFO|WARN|WARNING|ERR|ERROR)\]     # Consul
    | [ ]([DINWEC])[ ]\|                                  # etcd 3.4 (capnslog)
    | "level":"(debug|info|warn|error|dpanic|panic|fatal)" # zap
    | \b(DEBUG|INFO|WARN|WARNING|ERROR|CRITICAL|FATAL)\b   # everybody else
    | ^(Traceback)\b""",
    re.VERBOSE,
)
_MEANT = {
    "d": "debug", "i": "info", "n": "info", "w": "warn", "e": "error", "c": "error", "warning": "warn",
    "err": "error", "critical": "error", "fatal": "error", "panic": "error", "dpanic": "error",
    "traceback": "error",
}  # fmt: skip
_TIME = re.compile(
    r'\A(?:\{"level":"\w+","ts":")?(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?(Z|[+-]\d\d:?\d\d)?'
)
_NEAR_SECONDS = 600.0
"""A time further than this from the run's start and end is not of this run, or of another zone."""


@dataclass(frozen=True, slots=True)
class Log:
    """One node's log, or its ends."""

    node: str
    path: str
    """Relative to the run's folder."""
    size: int
    """Of the whole file, in bytes."""
    lines: list[str]
    levels: list[int]
    """Per line: index into LEVELS, or -1."""
    times: list[float | None]
    """Per line: seconds since the run began."""
    omitted: int
    """Bytes left out between `lines[:head]` and `lines[head:]`."""
    head: int
    error: str = ""
    """Why the file could not be read."""


def read(path: Path, node: str, logs: int, began: datetime | None, seconds: float) -> Log:
    """The log of one of `logs` nodes, of a run that took `seconds` since it `began` (an aware time)."""
    relative = f"nodes/{node}/log"
    keep = min(NODE_BYTES_MAX, BUDGET_BYTES // max(logs, 1))
    try:
        head, tail, size = _ends(path, keep)
    except OSError as error:
        return Log(node, relative, 0, [], [], [], 0, 0, str(error))
    omitted = size - len(head) - len(tail)
    if omitted:
        # Cut at line ends, so that no half line looks like a whole one.
        head = head[: head.rfind(b"\n") + 1] or head
        tail = tail[tail.find(b"\n") + 1 :] or tail
        omitted = size - len(head) - len(tail)
    before, after = _lines(head), _lines(tail)
    lines = before + after
    return Log(
        node, relative, size, lines, [_level(line) for line in lines],
        _times(lines, began, seconds), omitted, len(before),
    )  # fmt: skip


def _ends(path: Path, keep: int) -> tuple[bytes, bytes, int]:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        if size <= keep:
            return file.read(), b"", size
        head = file.read(keep // _HEAD_PART)
        file.seek(size - (keep - len(head)))
        return head, file.read(keep - len(head)), size


def _lines(data: bytes) -> list[str]:
    lines = data.decode("utf-8", "replace").removesuffix("\n").split("\n") if data else []
    return [
        line
        if len(line) <= LINE_CHARACTERS_MAX
        else f"{line[:LINE_CHARACTERS_MAX]}… (a line of {len(line):,} characters, cut here)"
        for line in lines
    ]


def _level(line: str) -> int:
    match = _LEVEL.search(line[:200])
    if match is None:
        return -1
    word = next(group for group in match.groups() if group).lower()
    return LEVELS.index(_MEANT.get(word, word))


def _times(lines: list[str], began: datetime | None, seconds: float) -> list[float | None]:
    """Seconds since the run began. A time without a zone is taken for the zone of `began` or for UTC,
    whichever puts it into the run."""
    if began is None:
        return [None] * len(lines)
    return [_time(line, began, [began.tzinfo or UTC, UTC], seconds) for line in lines]


def _time(line: str, zero: datetime, zones: list[tzinfo], seconds: float) -> float | None:
    match = _TIME.match(line)
    if match is None:
        return None
    day, clock, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{zone or ''}")
    except ValueError:
        return None
    for candidate in [moment] if zone else [moment.replace(tzinfo=one) for one in zones]:
        at = (candidate - zero).total_seconds() + float(f"0.{fraction or 0}")
        if -_NEAR_SECONDS <= at <= seconds + _NEAR_SECONDS:
            return round(at, 6)
    return None
