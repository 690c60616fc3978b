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
of the rules above, raises `BrokenHistory` with file and line: a checker never sees half a history. Beside it
`history.columns`, a copy that loads at once (`harness.history.sidecar`).

In memory
---------
Numpy columns for checkers: of events (`History.time`, `type`, `process`, `f`, `key`, ...; `values` where they
are integers) and of clients' operations (`History.operations`). What repeats is a code, an index into
`History.fs`, `keys` or `nodes`. Rows for people (`History.ops`), decoded when they are asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.history import sidecar, stored
from harness.history.columns import NEMESIS_CODE, NOTHING, OTHER, PAIR, PLAIN, Values, columns_of, values_of
from harness.history.op import (
    FAIL,
    INFO,
    INVOKE,
    NEMESIS,
    OK,
    OPEN,
    BrokenHistory,
    Op,
    OpType,
    Versioned,
    encode,
)
from harness.history.stored import Events

__all__ = [
    "FAIL",
    "INFO",
    "INVOKE",
    "NEMESIS",
    "NOTHING",
    "OK",
    "OPEN",
    "OTHER",
    "PAIR",
    "PLAIN",
    "BrokenHistory",
    "History",
    "Op",
    "OpType",
    "Operations",
    "Values",
    "Versioned",
    "encode",
]


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
        ops: Iterable[Op] | Events,
        *,
        source: str | Path = "history",
        warnings: Iterable[str] = (),
        lines: Sequence[int] | None = None,
    ) -> None:
        if not isinstance(ops, Events):
            rows = ops if isinstance(ops, list) else list(ops)
            index = np.fromiter([op.index for op in rows], np.int64, len(rows))
            ops = Events(rows, columns_of(rows), index=index)
        self.ops: Sequence[Op] = ops.rows
        """The events as rows."""
        self.source = str(source)
        self.warnings: list[str] = list(warnings)
        """What a reader should know: a last line that was cut, times that went back in a foreign log."""
        columns = ops.columns
        self.time: NDArray[np.int64] = columns.time
        """Nanoseconds since the run began, per event."""
        self.type: NDArray[np.int8] = columns.type
        """INVOKE, OK, FAIL or INFO, per event."""
        self.process: NDArray[np.int64] = columns.process
        """Per event; -1 is the nemesis."""
        self.f: NDArray[np.int32] = columns.f
        """Index into `fs`, per event."""
        self.fs: list[str] = columns.fs
        self.key: NDArray[np.int32] = columns.key
        """Index into `keys`, per event."""
        self.keys: list[int | str | None] = columns.keys
        """May hold None: operations on no key in particular."""
        self.node: NDArray[np.int32] = columns.node
        """Index into `nodes`, per event."""
        self.nodes: list[str | None] = columns.nodes
        """May hold None."""
        self.version: NDArray[np.int64] = columns.version
        """`Op.version`, per event; -1: none."""
        self._events = ops
        if ops.partner is not None:
            self._partner = ops.partner
            return
        order, self._partner = self._pair()
        broken = self._breach(order, ops.index)
        if broken is not None:
            position, why = broken
            line = lines[position] if lines is not None else position + 1
            raise BrokenHistory(self.source, line, why)

    @classmethod
    def read(cls, path: str | Path, *, keep: bool = False) -> History:
        """The history in a store's `history.jsonl`. `keep`: leave a copy beside it that loads faster.

        Raises BrokenHistory; OSError if there is no such file.
        """
        path = Path(path)
        warnings: list[str] = []
        copy = sidecar.load(path, warnings)
        if copy is not None:
            return cls(copy, source=path, warnings=warnings)
        data = path.read_bytes()
        history = cls(stored.parse(path, data, warnings), source=path, warnings=warnings)
        if keep:
            sidecar.save(path, sidecar.checksum(data), replace(history._events, partner=history._partner))
        return history

    def __len__(self) -> int:
        """Number of events."""
        return len(self.time)

    def __repr__(self) -> str:
        return f"<History of {len(self)} events from {self.source}>"

    @cached_property
    def values(self) -> Values:
        """The events' values as integers, where they are."""
        return self._events.values or values_of([op.value for op in self.ops])

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
        return self.values_at(operations.invoke)

    def results(self, operations: Operations) -> list[Any]:
        """The value each completed with; None where there is no completion."""
        return self.values_at(operations.complete)

    def values_at(self, events: NDArray[np.int64]) -> list[Any]:
        """The values of these events; None of an event -1."""
        if isinstance(self.ops, list):
            ops = self.ops
            return [ops[i].value if i >= 0 else None for i in events.tolist()]
        values = self.values
        kind = np.where(events >= 0, values.kind[events], PLAIN)
        first = np.where(events >= 0, values.first[events], NOTHING)
        found: list[Any] = first.tolist()
        for i in np.flatnonzero(first == NOTHING).tolist():
            found[i] = None
        for i in np.flatnonzero(kind == PAIR).tolist():
            second = int(values.second[events[i]])
            found[i] = [found[i], None if second == NOTHING else second]
        for i in np.flatnonzero(kind == OTHER).tolist():
            found[i] = self.ops[events[i]].value
        return found

    def pairs(self) -> Iterator[tuple[Op, Op | None]]:
        """Each client's operation as rows: its invocation and its completion, in the order of invocations."""
        operations = self.operations
        for invoke, complete in zip(operations.invoke.tolist(), operations.complete.tolist(), strict=True):
            yield self.ops[invoke], self.ops[complete] if complete >= 0 else None

    @cached_property
    def nemesis(self) -> list[tuple[Op, Op | None]]:
        """What the nemesis did: each order and its completion, paired by alternation as Jepsen pairs them."""
        events = [self.ops[i] for i in np.flatnonzero(self.process < 0).tolist()]
        return [(events[i], events[i + 1] if i + 1 < len(events) else None) for i in range(0, len(events), 2)]

    def _pair(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Clients' events sorted by process, and for each event the index of the other half of its operation.

        A process does one operation at a time: within its events, an invocation's completion is the next one.
        """
        clients = np.flatnonzero(self.process >= 0)
        processes = self.process[clients]
        # The narrowest type that holds them: numpy sorts 16 bits by radix.
        narrow = processes.astype(np.min_scalar_type(int(processes.max(initial=0))))
        order = clients[np.argsort(narrow, kind="stable")]
        partner = np.full(len(self), -1, np.int64)
        first, second = order[:-1], order[1:]
        paired = (
            (self.process[first] == self.process[second])
            & (self.type[first] == INVOKE)
            & (self.type[second] != INVOKE)
        )
        partner[first[paired]] = second[paired]
        partner[second[paired]] = first[paired]
        return order, partner

    def _breach(self, order: NDArray[np.int64], index: NDArray[np.int64] | None) -> tuple[int, str] | None:
        """Position and explanation of the first event that breaks a rule. `order`: as `_pair` gives it."""
        count = len(self)
        if not count:
            return None
        found: list[tuple[int, str]] = []

        def first(breaches: NDArray[np.bool_], where: NDArray[np.int64], why: str) -> None:
            if breaches.any():
                found.append((int(where[breaches].min()), why))

        everything = np.arange(count)
        if index is not None:
            first(
                index != everything,
                everything,
                "the index is not the previous one plus 1: events are missing",
            )
        first(self.time[1:] < self.time[:-1], everything[1:], "the time is before the previous event's")
        others = np.flatnonzero(self.process < 0)
        first(self.type[others] != INFO, others, "the nemesis's events are all info")
        strangers = self.process[others] != NEMESIS_CODE
        first(strangers, others, "a process is a number from 0 up, or the nemesis")

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
