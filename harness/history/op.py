"""One event of a history, and how it is written down."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

OpType = Literal["invoke", "ok", "fail", "info"]
NEMESIS = "nemesis"


class Op(msgspec.Struct, gc=False, omit_defaults=True):
    """One event of a history, one line of `history.jsonl`."""

    index: int
    """Position in the history, dense from 0."""
    time: int
    """Nanoseconds since the run began."""
    type: OpType
    process: int | str
    """A client's process, 0 and up, or "nemesis"."""
    f: str
    """The function: "read", "write", "cas", "add", "members", "start-partition", ..."""
    key: int | str | None = None
    """The independent object operated on (Jepsen's `[k v]` tuples), if there are several."""
    value: Any = None
    """Argument and result: None in the invoke of a read, what was read in its `ok`; [old, new] of a cas."""
    error: str | None = None
    """Why it failed or is unknown."""
    node: str | None = None
    """The node that the client talked to."""
    version: int | None = None
    """Of an `ok`: the version of the object that it made or showed, where the system tells (Consul's
    ModifyIndex, etcd's mod_revision). Each write makes a greater one; 0: nothing was written yet."""


class Versioned(NamedTuple):
    """What a client's `invoke` returns where it knows the version as well: see `Op.version`."""

    value: Any
    version: int


INVOKE, OK, FAIL, INFO, OPEN = range(5)
"""Codes of `History.type` and, without INVOKE, of `Operations.outcome`; OPEN: no completion was recorded."""

TYPE_CODES: dict[str, int] = {"invoke": INVOKE, "ok": OK, "fail": FAIL, "info": INFO}

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Op)


def encode(op: Op) -> bytes:
    """One line of `history.jsonl`, newline included."""
    return _encoder.encode(op) + b"\n"


def decode(line: bytes) -> Op:
    """The event of a line. Raises `NotAnEvent`."""
    try:
        return _decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        shown = line if len(line) <= 80 else line[:77] + b"..."
        raise NotAnEvent(f"{error}: {shown.decode('utf-8', 'replace')}") from error


def decode_lines(lines: bytes) -> list[Op]:
    """The events of lines. Raises `NotAnEvent`, which does not say in which line."""
    try:
        return _decoder.decode_lines(lines)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise NotAnEvent(str(error)) from error


class NotAnEvent(ValueError):
    """A line that is no event."""


class BrokenHistory(Exception):
    """The history cannot be trusted: a line cannot be read, or events contradict each other.

    Nothing can be concluded from it; the message says in which line, and why.
    """

    def __init__(self, file: str | Path, line: int, why: str) -> None:
        super().__init__(f"{file}:{line}: {why}")
        self.file = str(file)
        self.line = line
        """From 1. Of a history made in memory: the event's position, from 1."""
        self.why = why
