"""Operations and histories: what clients and the nemesis did, in the order in which the harness saw it.

Rules
-----
1. A history is a sequence of events. An `invoke` opens an operation; one `ok`, `fail` or `info` of the same
   process completes it. `ok` has happened; `fail` has not; `info` is unknown: it may take effect at any later
   time, or never.
2. A client's process does one operation at a time, and none after an `info`: its worker goes on under a new
   process number (process + concurrency), as Jepsen's does.
3. The nemesis is the process "nemesis"; both its events are `info`.
4. The order of events (their index) is the real-time order: one thread writes them, an `invoke` before the
   request leaves and a completion after the answer is in.

On disk
-------
`history.jsonl`: one event a line, written as it happens (`encode`). A run that was killed leaves a last
line without its newline: that one is cut, with a note in `History.warnings`. Any other damage, and any breach
of the rules above, raises `BrokenHistory` with file and line: a checker never sees half a history.

In memory
---------
Rows for people (`History.ops`), and the same as numpy columns for checkers: of events (`History.time`,
`type`, `process`, `f`, `key`) and of clients' operations (`History.operations`). What repeats (f, key) is a
code, an index into `History.fs` or `History.keys`; values stay Python objects, since only a checker knows
what they mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

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


INVOKE, OK, FAIL, INFO, OPEN = range(5)
"""Codes of `History.type` and, without INVOKE, of `Operations.outcome`; OPEN: no completion was recorded."""

_TYPE_CODES: dict[str, int] = {"invoke": INVOKE, "ok": OK, "fail": FAIL, "info": INFO}

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Op)

_Value = TypeVar("_Value")


def encode(op: Op) -> bytes:
    """One line of `history.jsonl`, newline included."""
    return _encoder.encode(op) + b"\n"


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


@dataclass(frozen=True, slots=True)
class Operations:
    """Clients' operations as columns, all of one length, in the order of their invocations."""

    invoke: NDArray[np.int64]
    """Index of the event that opened it."""
    complete: NDArray[np.int64]
    """Index of the event that completed it, or -1."""
    outcome: NDArray[np.int8]
    """OK, FAIL, INFO, or OPEN: no completion was recorded (to a checker the same as INFO)."""
    process: NDArray[np.int64]
    f: NDArray[np.int32]
    """Index into `History.fs`."""
    key: NDArray[np.int32]
    """Index into `History.keys`."""

    def __len__(self) -> int:
        return len(self.invoke)

    def take(self, which: NDArray[Any]) -> Operations:
        """Those that a mask or an array of positions selects."""
        return Operations(*(getattr(self, column.name)[which] for column in fields(self)))


class History:
    """A recorded run. Immutable by convention: checkers share it.

    `ops` must obey the rules above; raises BrokenHistory if not. `source` names it in messages, and `lines`
    gives each event's line in that file (default: one line an event).
    """

    def __init__(
        self,
        ops: Iterable[Op],
        *,
        source: str | Path = "history",
        warnings: Iterable[str] = (),
        lines: Sequence[int] | None = None,
    ) -> None:
        self.ops: list[Op] = ops if isinstance(ops, list) else list(ops)
        self.source = str(source)
        self.warnings: list[str] = list(warnings)
        """What a reader should know: a last line that was cut, times that went back in a foreign log."""
        count = len(self.ops)
        self.time: NDArray[np.int64] = np.fromiter(self._each("time"), np.int64, count)
        """Nanoseconds since the run began, per event."""
        self.type: NDArray[np.int8] = np.fromiter(
            map(_TYPE_CODES.__getitem__, self._each("type")), np.int8, count
        )
        """INVOKE, OK, FAIL or INFO, per event."""
        self.process: NDArray[np.int64] = np.fromiter(
            [-1 if process.__class__ is str else process for process in self._each("process")],
            np.int64,
            count,
        )
        """Per event; -1 is the nemesis."""
        fs: _Codes[str] = _Codes()
        self.f: NDArray[np.int32] = np.fromiter(map(fs.__getitem__, self._each("f")), np.int32, count)
        """Index into `fs`, per event."""
        self.fs: list[str] = list(fs)
        keys: _Codes[int | str | None] = _Codes()
        self.key: NDArray[np.int32] = np.fromiter(map(keys.__getitem__, self._each("key")), np.int32, count)
        """Index into `keys`, per event."""
        self.keys: list[int | str | None] = list(keys)
        """May hold None: operations on no key in particular."""
        self._order, self._partner = self._pair()
        broken = self._breach()
        if broken is not None:
            position, why = broken
            line = lines[position] if lines is not None else position + 1
            raise BrokenHistory(self.source, line, why)

    @classmethod
    def read(cls, path: str | Path) -> History:
        """The history in a store's `history.jsonl`.

        Raises BrokenHistory; OSError if there is no such file.
        """
        path = Path(path)
        data = path.read_bytes()
        body = data[: data.rfind(b"\n") + 1]
        torn = data[len(body) :]
        warnings = []
        if torn:
            try:
                _decoder.decode(torn)
                body = data
            except (msgspec.MsgspecError, UnicodeDecodeError):
                line = body.count(b"\n") + 1
                warnings.append(
                    f"{path}:{line}: the last line is cut short ({len(torn)} bytes): the run was killed "
                    f"while writing it, and the history ends before it"
                )
        return cls(_decode_lines(path, body), source=path, warnings=warnings)

    def __len__(self) -> int:
        """Number of events."""
        return len(self.ops)

    def __repr__(self) -> str:
        return f"<History of {len(self)} events from {self.source}>"

    @cached_property
    def operations(self) -> Operations:
        """Clients' operations as columns."""
        clients = self.process >= 0
        invoke = np.flatnonzero(clients & (self.type == INVOKE))
        complete = self._partner[invoke]
        outcome = np.where(complete >= 0, self.type[complete], np.int8(OPEN)).astype(np.int8)
        return Operations(invoke, complete, outcome, self.process[invoke], self.f[invoke], self.key[invoke])

    def arguments(self, operations: Operations) -> list[Any]:
        """The value each was invoked with."""
        ops = self.ops
        return [ops[i].value for i in operations.invoke.tolist()]

    def results(self, operations: Operations) -> list[Any]:
        """The value each completed with; None where there is no completion."""
        ops = self.ops
        return [ops[i].value if i >= 0 else None for i in operations.complete.tolist()]

    def pairs(self) -> Iterator[tuple[Op, Op | None]]:
        """Each client's operation as rows: its invocation and its completion, in the order of invocations."""
        operations = self.operations
        for invoke, complete in zip(operations.invoke.tolist(), operations.complete.tolist(), strict=True):
            yield self.ops[invoke], self.ops[complete] if complete >= 0 else None

    @cached_property
    def nemesis(self) -> list[tuple[Op, Op | None]]:
        """What the nemesis did: each order and its completion, paired by alternation as Jepsen pairs them."""
        events = [self.ops[i] for i in np.flatnonzero(self.process < 0)]
        return [(events[i], events[i + 1] if i + 1 < len(events) else None) for i in range(0, len(events), 2)]

    def _each(self, field: str) -> Iterator[Any]:
        return map(attrgetter(field), self.ops)

    def _pair(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Clients' events sorted by process, and for each event the index of the other half of its operation.

        A process does one operation at a time: within its events, an invocation's completion is the next one.
        """
        clients = np.flatnonzero(self.process >= 0)
        processes = self.process[clients]
        # The narrowest type that holds them: numpy sorts 16 bits by radix.
        narrow = processes.astype(np.min_scalar_type(int(processes.max(initial=0))))
        order = clients[np.argsort(narrow, kind="stable")]
        partner = np.full(len(self.ops), -1, np.int64)
        first, second = order[:-1], order[1:]
        paired = (
            (self.process[first] == self.process[second])
            & (self.type[first] == INVOKE)
            & (self.type[second] != INVOKE)
        )
        partner[first[paired]] = second[paired]
        partner[second[paired]] = first[paired]
        return order, partner

    def _breach(self) -> tuple[int, str] | None:
        """Position and explanation of the first event that breaks a rule."""
        count = len(self.ops)
        if not count:
            return None
        found: list[tuple[int, str]] = []

        def first(breaches: NDArray[np.bool_], where: NDArray[np.int64], why: str) -> None:
            if breaches.any():
                found.append((int(where[breaches].min()), why))

        everything = np.arange(count)
        index = np.fromiter(self._each("index"), np.int64, count)
        first(index != everything, everything, "the index is not the previous one plus 1: events are missing")
        first(self.time[1:] < self.time[:-1], everything[1:], "the time is before the previous event's")
        others = np.flatnonzero(self.process < 0)
        first(self.type[others] != INFO, others, "the nemesis's events are all info")
        strangers = np.array([self.ops[i].process != NEMESIS for i in others], np.bool_)
        first(strangers, others, "a process is a number from 0 up, or the nemesis")

        order = self._order
        before, after = order[:-1], order[1:]
        same = self.process[before] == self.process[after]
        first(
            same & (self.type[before] == INVOKE) & (self.type[after] == INVOKE),
            after,
            "the process begins an operation while its last one is still open",
        )
        first(
            same & (self.type[before] == INFO),
            after,
            "the process is dead: its last operation ended as info, and it may do nothing more",
        )
        completions = order[(self.type[order] != INVOKE) & (self._partner[order] < 0)]
        first(
            np.ones(len(completions), np.bool_), completions, "a completion without an operation that is open"
        )
        completed = order[(self.type[order] != INVOKE) & (self._partner[order] >= 0)]
        invoked = self._partner[completed]
        first(self.f[completed] != self.f[invoked], completed, "the completion's f is not its invocation's")
        first(
            self.key[completed] != self.key[invoked],
            completed,
            "the completion's key is not its invocation's",
        )
        if not found:
            return None
        position, why = min(found)
        op = self.ops[position]
        return position, f"{why} (index {op.index}, process {op.process}, {op.type} {op.f})"


class _Codes(dict[_Value, int]):
    """Codes of values in order of first appearance: a dict whose look-up of a new value adds it."""

    def __missing__(self, value: _Value) -> int:
        self[value] = code = len(self)
        return code


def _decode_lines(path: Path, body: bytes) -> list[Op]:
    """All events of the file, decoded in one pass; line by line only to find the one that is at fault."""
    try:
        ops = _decoder.decode_lines(body)
        if len(ops) == body.count(b"\n") + (not body.endswith(b"\n") and body != b""):
            return ops
    except (msgspec.MsgspecError, UnicodeDecodeError):
        pass
    for number, line in enumerate(body.removesuffix(b"\n").split(b"\n"), start=1):
        if not line.strip():
            raise BrokenHistory(path, number, "an empty line")
        try:
            _decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            shown = line if len(line) <= 80 else line[:77] + b"..."
            raise BrokenHistory(path, number, f"{error}: {shown.decode('utf-8', 'replace')}") from error
    raise BrokenHistory(path, 1, "more than one event in a line")
