"""What zones and versions find, in words that a tired engineer understands at once.

Rules
-----
1. A violation has the name that people use for it: stale read, lost write, lost update, read of a failed
   write, read from the future, read from nowhere.
2. The evidence is the operations that the sentence names, and the writes of the values that it names: a
   person can check it by hand.
3. Whether a write is lost or a read merely stale, nobody can tell from a history of which the end is unknown;
   it is called lost if nobody ever read it, nor anything that was written after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checkers import _words
from checkers._kv import TwoPlaces
from checkers._register_picture import register_picture
from checkers._registers import CAS, WRITE, Registers
from harness.history import FAIL, History
from harness.verdict import Evidence


class ByZones:
    """The words for one key's violation, as `_zones.zones_of` shows it."""

    def __init__(
        self,
        history: History,
        columns: Registers,
        key: int,
        ends: NDArray[np.int64],
        texts: Sequence[str] | None = None,
    ) -> None:
        self.history = history
        self.texts = texts
        """What the values are, by id; None: what the operations say."""
        self.columns = columns
        self.key = key
        self.ends = ends
        self.mine = np.flatnonzero(columns.key == key)
        writers = self.mine[columns.written[self.mine] >= 0]
        self.writers = np.full(columns.values, -1, np.int64)
        """By id of a value: who wrote it, or -1."""
        self.writers[columns.written[writers]] = writers

    def evidence(self, found: int, shown: list[int]) -> Evidence:
        from checkers import _zones

        at = [operation for operation in shown if operation >= 0 or found == _zones.CONFLICT]
        if found == _zones.PHANTOM:
            kind, summary, operations = self._phantom(*at)
        elif found == _zones.TWO_SUCCESSORS:
            kind, summary, operations = self._two_successors(*at)
        elif found == _zones.CYCLE:
            kind, summary, operations = self._cycle(*at)
        elif found == _zones.ORDER:
            kind, summary, operations = self._order(*at)
        else:
            kind, summary, operations = self._conflict(*at)
        operations = [one for one in operations if one >= 0]
        operations += [self._witness(one) for one in operations]
        rows = [int(self.columns.row[one]) for one in dict.fromkeys(operations)]
        name = self.history.keys[self.key]
        where = "" if name is None else f" on key {name}"
        details = {
            "kind": kind,
            "operations": [_words.describe(self.history, row) for row in sorted(rows)],
            **register_picture(self.history, rows, f"{kind}: {summary}"),
        }
        if found == _zones.CONFLICT:
            details["blocks"] = [self._zone(*at[:2]), self._zone(*at[2:])]
        return Evidence(
            summary=f"{kind}{where}: {summary}",
            operations=_words.events(self.history, rows),
            key=name,
            details=details,
        )

    def _zone(self, first: int, last: int) -> dict[str, Any]:
        """What a block is, and the interval between its first completion and its last beginning, in which it
        holds the register for certain if the one is before the other."""
        time = self.history.time
        over = int(time[self.ends[first]]) if first >= 0 else 0
        begun = int(time[self.columns.start[last]])
        value = self._observed(last) if self.columns.observed[last] >= 0 else self._written(last)
        return {
            "value": value,
            "from": min(over, begun),
            "to": max(over, begun),
            "forward": first < 0 or bool(self.ends[first] < self.columns.start[last]),
        }

    def _say(self, at: int) -> str:
        said = _words.describe(self.history, int(self.columns.row[at]))
        witness = self._witness(at)
        return said if witness == at else f"{said}, which happened, since {self._say(witness)}"

    def _observed(self, at: int) -> str:
        """The value that the operation read or expected."""
        if self.texts is not None:
            return _words.value_text(self.texts[self.columns.observed[at]])
        return _words.value_text(_observed(self.history, int(self.columns.row[at])))

    def _written(self, at: int) -> str:
        if self.texts is not None:
            return _words.value_text(self.texts[self.columns.written[at]])
        op = self.history.ops[int(self.columns.start[at])]
        return _words.value_text(op.value[1] if op.f == "cas" else op.value)

    def _phantom(self, reader: int) -> tuple[str, str, list[int]]:
        operations = self.history.operations
        value = self._observed(reader)
        fs = [self.history.fs[f] for f in operations.f]
        for row in np.flatnonzero((operations.key == self.key) & (operations.outcome == FAIL)).tolist():
            op = self.history.ops[int(operations.invoke[row])]
            new = op.value[1] if fs[row] == "cas" else op.value
            if fs[row] not in ("read", "get") and _words.value_text(new) == value:
                said = f"{self._say(reader)}, which only a write that failed had tried: "
                return "Read of a failed write", said + f"{_words.describe(self.history, row)}.", [reader]
        return "Read from nowhere", f"{self._say(reader)}, and nobody ever wrote {value}.", [reader]

    def _two_successors(self, one: int, other: int) -> tuple[str, str, list[int]]:
        value = self._observed(one)
        summary = f"{self._say(one)} and {self._say(other)}, but {value} was there only once."
        return "Lost update", summary, [*self._writer_of(one), one, other]

    def _cycle(self, cas: int) -> tuple[str, str, list[int]]:
        summary = f"{self._say(cas)}, but {self._observed(cas)} was itself made from {self._written(cas)}."
        return "Circular compare-and-sets", summary, [*self._writer_of(cas), cas]

    def _order(self, finished: int, started: int) -> tuple[str, str, list[int]]:
        columns = self.columns
        finished = self._witness(finished)
        if columns.written[started] == columns.observed[finished]:
            summary = f"{self._say(finished)} before that value was written: {self._say(started)}."
            return "Read from the future", summary, [finished, started]
        if columns.kind[started] == WRITE:
            summary = (
                f"{self._say(finished)}, which goes back to a value that was written only later: "
                f"{self._say(started)}."
            )
            return "Read from the future", summary, [finished, started]
        chain = self._chain(finished, started)
        summary = (
            f"{self._say(started)} although {self._observed(started)} had been replaced before: "
            f"{' and '.join(map(self._say, chain))}"
            + ("" if finished in chain else f", and {self._say(finished)}")
        )
        return "Stale read", summary + ".", [*self._writer_of(started), started, *chain, finished]

    def _chain(self, later: int, earlier: int) -> list[int]:
        """The last cas before `later` on the chain from what `earlier` observed, and the first one."""
        columns = self.columns
        found: list[int] = []
        at = later
        if columns.kind[at] != CAS:
            [at] = self._writer_of(at)
        while columns.kind[at] == CAS:
            found.append(at)
            if columns.observed[at] == columns.observed[earlier]:
                break
            [at] = self._writer_of(at)
        return list(dict.fromkeys([found[-1], found[0]])) if found else []

    def _conflict(self, f_a: int, s_a: int, f_b: int, s_b: int) -> tuple[str, str, list[int]]:
        columns = self.columns
        f_a, f_b = self._witness(f_a) if f_a >= 0 else f_a, self._witness(f_b)
        old = self._observed(s_a)
        new_writer = self._root(f_b)
        # The writes themselves make the plainest sentence, where they prove it.
        if columns.finish[new_writer] < columns.start[s_a]:
            f_b = new_writer
        if f_a >= 0 and columns.finish[f_a] < columns.start[new_writer]:
            s_b = new_writer
        for old_writer in self._writer_of(s_a):
            if columns.finish[old_writer] < columns.start[s_b]:
                f_a = old_writer
        kind = "Stale read"
        note = ""
        if not self._was_observed(self._block(new_writer)):
            if self._moved_on(new_writer):
                note = f" (nobody read {self._written(new_writer)} before it was overwritten)"
            else:
                kind, note = "Lost write", f" (nobody ever read {self._written(new_writer)})"
        gap = (self.history.time[columns.start[s_a]] - self.history.time[columns.finish[f_b]]) / 1e9
        since = f"{gap:.3f} s before that began, " if gap > 0 else "before that began, "
        summary = f"{self._say(s_a)}, but {since}{self._say(f_b)}{note}; "
        if f_a < 0:
            summary += f"{old} is the initial value."
        else:
            summary += (
                f"and {old} is the older value: {self._say(f_a)}, which was over before {self._say(s_b)}."
            )
        return kind, summary, [*self._writer_of(s_a), f_a, s_a, new_writer, f_b, s_b]

    def _witness(self, at: int) -> int:
        """The operation whose completion proves that this one had happened: itself, or if it crashed, the
        first to complete of those that observed its value, directly or through other crashed ones."""
        if self.columns.finish[at] == self.ends[at] or self.ends[at] >= self.columns.horizon:
            return at
        [witness] = self.mine[self.columns.finish[self.mine] == self.ends[at]].tolist()
        return int(witness)

    def _moved_on(self, writer: int) -> bool:
        """Whether anybody observed a value that was written after this write had completed."""
        columns = self.columns
        writes = columns.written[self.mine] >= 0
        later = self.mine[writes & (columns.start[self.mine] > columns.finish[writer])]
        return self._was_observed(columns.written[later])

    def _was_observed(self, values: Sequence[int] | NDArray[np.int64]) -> bool:
        """Whether anybody observed one of these values."""
        observed = self.columns.observed[self.mine]
        wanted = np.zeros(self.columns.values, np.bool_)
        wanted[values] = True
        return bool(wanted[observed[observed >= 0]].any())

    def _writer_of(self, observer: int) -> list[int]:
        """Of the value that the operation observed: nobody, of the initial one."""
        value = self.columns.observed[observer]
        writer = int(self.writers[value]) if value >= 0 else -1
        return [] if writer < 0 else [writer]

    def _root(self, at: int) -> int:
        """The plain write at the head of the operation's block."""
        columns = self.columns
        while columns.kind[at] != WRITE:
            [at] = self._writer_of(at)
        return at

    def _block(self, root: int) -> list[int]:
        """The values of the block: the root's, and those that cas made of it."""
        columns = self.columns
        values = [int(columns.written[root])]
        cas = self.mine[(columns.kind[self.mine] == CAS) & (self.ends[self.mine] < columns.horizon)]
        successor = np.full(columns.values, -1, np.int64)
        successor[columns.observed[cas]] = columns.written[cas]
        while successor[values[-1]] >= 0:
            values.append(int(successor[values[-1]]))
        return values


def two_places(history: History, found: TwoPlaces) -> Evidence:
    """The words for a piece of a string that was seen at two places."""
    one, other = found.reads
    piece = _words.value_text(history.ops[int(history.operations.invoke[found.makers[0]])].value)
    first, second = (f"{_words.value_text(text) if text else 'nothing'}" for text in found.after)
    if one == other:
        kind, said = "Appended twice", f"{_words.describe(history, one)}, which has {piece}"
        said += f" both after {first} and after {second}"
    else:
        kind = "Two orders"
        said = f"{_words.describe(history, one)}, which has {piece} after {first}; but "
        said += f"{_words.describe(history, other)}, which has it after {second}"
    name = history.keys[found.key]
    where = "" if name is None else f" on key {name}"
    rows = sorted({one, other, *found.makers})
    return Evidence(
        summary=f"{kind}{where}: {said}.",
        operations=_words.events(history, rows),
        key=name,
        details={
            "kind": kind,
            "operations": [_words.describe(history, row) for row in rows],
            **register_picture(history, rows, f"{kind}: {said}."),
        },
    )


class ByVersions:
    """The words for one key's violation, as `_versioned.versions_of` shows it."""

    def __init__(self, history: History, columns: Registers, key: int) -> None:
        self.history = history
        self.columns = columns
        self.key = key

    def evidence(self, found: int, shown: list[int]) -> Evidence:
        from checkers import _versioned

        rows = [int(self.columns.row[at]) for at in shown if at >= 0]
        said = [self._say(row) for row in rows]
        if found == _versioned.TWO_WRITES:
            kind, summary = "Two writes of one version", f"{said[0]}, and {said[1]}."
        elif found == _versioned.TWO_VALUES:
            kind, summary = "Two values of one version", f"{said[0]}, but {said[1]}."
        elif found == _versioned.NO_WRITE:
            kind, summary = "Version from nowhere", f"{said[0]}, which no write can have made."
        elif found == _versioned.BACKWARD:
            kind = "Versions against time"
            summary = f"{said[0]}, which was over before {said[1]}."
        else:
            kind, summary = "Compare-and-set of another value", f"{said[0]}, but the version before it "
            if len(rows) > 1:
                summary += f"has another value: {said[1]}."
            else:
                summary += "is the initial value."
        name = self.history.keys[self.key]
        where = "" if name is None else f" on key {name}"
        return Evidence(
            summary=f"{kind}{where}: {summary}",
            operations=_words.events(self.history, rows),
            key=name,
            details={
                "kind": kind,
                "operations": said,
                **register_picture(self.history, rows, f"{kind}: {summary}"),
            },
        )

    def _say(self, row: int) -> str:
        complete = int(self.history.operations.complete[row])
        return f"{_words.describe(self.history, row)} with version {self.history.version[complete]}"


def _observed(history: History, row: int) -> Any:
    """The value that an operation read or expected."""
    operations = history.operations
    op = history.ops[int(operations.invoke[row])]
    return op.value[0] if op.f == "cas" else history.ops[int(operations.complete[row])].value
