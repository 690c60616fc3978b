"""Writes the history while it happens.

Rules
-----
1. Events get their index and time here and nowhere else: dense from 0, nanoseconds since the recorder began.
2. An event is in the kernel's hands at most `FLUSH_SECONDS` after it was recorded (sooner if many come), so
   the history of a run that was killed lacks no more than that. There is no fsync: it is the run that may
   die, not the machine.
3. A history that cannot be written stops the run (`on_error`): an unrecorded fault is worse than none.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from harness.history import NEMESIS, Op, OpType, Versioned

FLUSH_SECONDS = 0.02
_FLUSH_BYTES = 1 << 16
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_BINARY", 0)

_encoder = msgspec.json.Encoder()


class Unwritable(Exception):
    """The history cannot be written: free some disk space, or choose another store."""


class Unrecordable(Exception):
    """A generator's, client's or nemesis's value is no JSON value: a bug there. Nothing was recorded."""


class Recorder:
    """An open history.jsonl. Needs a running event loop, whose clock it uses. May raise Unwritable."""

    def __init__(
        self, path: Path, *, on_event: Callable[[Op], None], on_error: Callable[[Unwritable], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._start = self._loop.time()
        try:
            self._file = os.open(path, _FLAGS, 0o644)
        except OSError as error:
            raise Unwritable(f"{path}: {error.strerror}") from error
        self._path = path
        self._on_event = on_event
        self._on_error = on_error
        self._buffer = bytearray()
        self._flush_due: asyncio.TimerHandle | None = None
        self._failure: Unwritable | None = None
        self.recorded = 0
        """How many events so far."""
        self.counts: dict[str, dict[str, int]] = {}
        """Of clients' operations, per function: "invoke", "ok", "fail", "info"."""

    def now(self) -> int:
        """Nanoseconds since the recorder began."""
        return round((self._loop.time() - self._start) * 1e9)

    def begin(self) -> None:
        """Let time count from now."""
        assert not self.recorded
        self._start = self._loop.time()

    def record(
        self,
        kind: OpType,
        process: int | str,
        f: str,
        key: int | str | None,
        value: Any,
        error: str | None,
        node: str | None,
    ) -> Op:
        """Write an event that happens now. Raises Unrecordable."""
        version = None
        if value.__class__ is Versioned:
            value, version = value
        op = Op(self.recorded, self.now(), kind, process, f, key, value, error, node, version)
        try:
            line = _encoder.encode(op)
        except Exception as error:  # TypeError, OverflowError, UnicodeEncodeError: each says what it is
            raise Unrecordable(f"{f}: {type(error).__name__}: {error}") from error
        buffer = self._buffer
        buffer += line
        buffer += b"\n"
        self.recorded += 1
        if process != NEMESIS:
            counts = self.counts.get(f)
            if counts is None:
                counts = self.counts[f] = {"invoke": 0, "ok": 0, "fail": 0, "info": 0}
            counts[kind] += 1
        if len(buffer) >= _FLUSH_BYTES:
            self.flush()
        elif self._flush_due is None:
            self._flush_due = self._loop.call_later(FLUSH_SECONDS, self.flush)
        self._on_event(op)
        return op

    def flush(self) -> None:
        """Hand everything to the kernel."""
        if self._flush_due is not None:
            self._flush_due.cancel()
            self._flush_due = None
        try:
            while self._buffer and self._failure is None:
                written = os.write(self._file, self._buffer)
                del self._buffer[:written]
        except OSError as error:
            self._failure = Unwritable(f"{self._path}: {error.strerror}")
            self._on_error(self._failure)

    def close(self) -> None:
        """Flush and close. Raises Unwritable if anything was not written."""
        self.flush()
        os.close(self._file)
        if self._failure is not None:
            raise self._failure
