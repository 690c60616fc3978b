"""What a history tells of the order in which the values of registers followed one another.

Rules
-----
1. A *version* is a value of a key: the initial one, or one that somebody wrote. Every version is written at
   most once; keys of which that is not true are `repeated`, and nothing is said of them but what their
   numbers say.
2. A write takes effect once, after its invocation (`since`), and before the first completion of an operation
   that wrote or observed it (`by`): that is linearizability of the writes alone, which a system may promise
   though its reads are stale. A version precedes another if its `by` is before the other's `since`.
3. Where the system numbers its versions (`Op.version`), a greater number is a later version.
4. The version that a cas makes is later than the one that it expects.

From these follows the first event by which a version had certainly been overwritten (`over`), and the first
at which it may have been (`maybe_over`).

Complexity: O(n log n) for n operations, in kernels; the logarithm is that of sorting numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from checkers._registers import Registers, registers
from harness.history import OK, History

Writes = Literal["linearizable", "unordered"]
"""Whether rule 2 holds. If not, numbers and cas alone order versions; the initial one is always first."""


@dataclass(frozen=True, slots=True)
class Versions:
    """Operations on registers, and columns of one length for their versions: ids as in `Registers`."""

    history: History
    registers: Registers
    number_of_row: NDArray[np.int64]
    """Of each operation that succeeded: the number of the version that it wrote or observed; -1: not told."""
    repeated: NDArray[np.bool_]
    """Per key."""
    key: NDArray[np.int64]
    writer: NDArray[np.int64]
    """The operation that wrote it, as a position in the columns of `registers`; -1 of an initial version, and
    of one that nobody wrote."""
    since: NDArray[np.int64]
    """-1 of an initial version."""
    by: NDArray[np.int64]
    """`horizon`: not known."""
    happened: NDArray[np.bool_]
    """Somebody's operation shows that it took effect."""
    number: NDArray[np.int64]
    over: NDArray[np.int64]
    """`horizon`: never, as far as one knows."""
    over_by: NDArray[np.int64]
    """The version whose taking effect shows that; -1: none."""
    next_number: NDArray[np.int64]
    """The least number of a version that overwrote it; a very great one if there is none."""
    maybe_over: NDArray[np.int64]

    @property
    def horizon(self) -> int:
        return self.registers.horizon

    def precede(self, earlier: NDArray[np.int64], later: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether versions are certainly older than others of their keys."""
        in_time = self.by[earlier] < self.since[later]
        numbered = (self.number[earlier] >= 0) & (self.number[earlier] < self.number[later])
        writer = self.writer[later]
        made_from = (writer >= 0) & (self.registers.observed[writer] == earlier)
        return np.asarray(in_time | numbered | made_from)


def versions(history: History, writes: Writes = "linearizable") -> Versions:
    """All that the rules give. Raises NotARegister."""
    from checkers import _order  # numba takes longer to import than most histories take to check

    columns = registers(history, "dropped")
    complete = history.operations.complete[columns.row]
    ok = history.operations.outcome[columns.row] == OK
    number_of_row = np.where(ok, history.version[complete], -1)
    writer, since, by, repeated = _order.intervals(
        columns.key, columns.observed, columns.written, columns.start, columns.finish,
        columns.keys, columns.values, columns.horizon,
    )  # fmt: skip
    key = np.full(columns.values, -1, np.int64)
    key[columns.written[columns.written >= 0]] = columns.key[columns.written >= 0]
    key[columns.observed[columns.observed >= 0]] = columns.key[columns.observed >= 0]
    key[: columns.keys] = np.arange(columns.keys)
    happened = by < columns.horizon
    if writes == "unordered":
        by = np.where(np.arange(columns.values) < columns.keys, -1, columns.horizon)
    number = _numbers(columns, number_of_row, repeated)
    numbered = np.flatnonzero(number >= 0)
    numbered = numbered[np.lexsort((number[numbered], key[numbered]))]
    over, over_by, next_number, maybe_over = _order.overwritten(
        key, writer, since, by, number, repeated, columns.observed, numbered,
        columns.keys, columns.horizon,
    )  # fmt: skip
    return Versions(
        history, columns, number_of_row, repeated, key, writer, since, by, happened, number, over, over_by,
        next_number, maybe_over,
    )  # fmt: skip


def _numbers(
    columns: Registers, number_of_row: NDArray[np.int64], repeated: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Each version's number, as the first operation to be told one has it."""
    number = np.full(columns.values, -1, np.int64)
    number[: columns.keys] = 0
    told = np.flatnonzero((number_of_row >= 0) & ~repeated[columns.key])[::-1]
    shown = np.where(columns.written[told] >= 0, columns.written[told], columns.observed[told])
    number[shown] = number_of_row[told]
    return number


def misnumbered(known: Versions) -> list[tuple[int, int, int]]:
    """Where the system contradicts itself: a version, and two operations that were told different numbers for
    it, or that were told its number for it and for another version."""
    columns, numbers = known.registers, known.number_of_row
    version = np.where(columns.written >= 0, columns.written, columns.observed)
    told = np.flatnonzero((numbers >= 0) & ~known.repeated[columns.key] & (version >= columns.keys))
    first = np.full(columns.values, -1, np.int64)
    first[version[told][::-1]] = told[::-1]
    differ = told[numbers[told] != known.number[version[told]]]
    found = [(int(version[at]), int(first[version[at]]), int(at)) for at in differ]
    shown = told[np.lexsort((version[told], known.number[version[told]], columns.key[told]))]
    one, other = shown[:-1], shown[1:]
    shared = (
        (columns.key[one] == columns.key[other])
        & (known.number[version[one]] == known.number[version[other]])
        & (version[one] != version[other])
    )
    return found + [
        (int(version[a]), int(a), int(b)) for a, b in zip(one[shared], other[shared], strict=True)
    ]
