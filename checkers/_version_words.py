"""Why one version is older than another, in words, with the operations that show it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from checkers import _words
from checkers._versions import Versions
from harness.history import History


class Words:
    """Sentences about the versions of one history. Operations are positions in the columns of
    `Registers`. `history`: the same events as the clients know them, if `known` is of a translation."""

    def __init__(self, known: Versions, history: History | None = None) -> None:
        self.known = known
        self.history = history or known.history

    def value(self, version: int) -> str:
        """What the clients call the version."""
        if version < self.known.registers.keys:
            return "the initial value"
        return self._value(version)

    def _value(self, version: int) -> str:
        columns = self.known.registers
        history = self.known.history
        operations = history.operations
        writer = int(self.known.writer[version])
        if writer < 0:  # nobody's, or one of several
            reads = np.flatnonzero(columns.observed == version)
            if not len(reads):
                writer = int(np.flatnonzero(columns.written == version)[0])
            else:
                complete = int(operations.complete[columns.row[reads[0]]])
                return _words.value_text(history.ops[complete].value)
        written = history.ops[int(columns.start[writer])].value
        return _words.value_text(written[1] if columns.observed[writer] >= 0 else written)

    def say(self, operation: int) -> str:
        return _words.describe(self.history, int(self.known.registers.row[operation]))

    def key(self, version: int) -> int | str | None:
        return self.history.keys[int(self.known.key[version])]

    def where(self, version: int) -> str:
        """ " on key x", if there are keys."""
        key = self.key(version)
        return "" if key is None else f" on key {key}"

    def events(self, operations: list[int]) -> list[int]:
        """The events of these operations, in order."""
        rows = [int(self.known.registers.row[one]) for one in dict.fromkeys(operations) if one >= 0]
        return _words.events(self.history, rows)

    def described(self, operations: list[int]) -> list[str]:
        """Each in words, in the order of their invocations."""
        return [self.say(one) for one in sorted(set(operations)) if one >= 0]

    def witness(self, version: int) -> int:
        """The operation whose completion shows that the version had taken effect; -1 of an initial one."""
        columns = self.known.registers
        at = np.flatnonzero(columns.finish == self.known.by[version])
        return int(at[0]) if len(at) else -1

    def writer(self, version: int) -> int:
        return int(self.known.writer[version])

    def older(self, earlier: int, later: int) -> tuple[str, list[int]]:
        """Why `earlier` is older than `later`, and the operations that show it."""
        known = self.known
        numbers = int(known.number[earlier]), int(known.number[later])
        if earlier < known.registers.keys:
            return "the initial value is the oldest", [self.writer(later)]
        writer = self.writer(later)
        if writer >= 0 and known.registers.observed[writer] == earlier:
            return f"{self.value(later)} was made from it: {self.say(writer)}", [writer]
        if known.by[earlier] < known.since[later]:
            witness = self.witness(earlier)
            shown = [self.writer(earlier), witness, writer]
            said = f"{self.say(witness)}, before {self.value(later)} was written: {self.say(writer)}"
            return said, shown
        if 0 <= numbers[0] < numbers[1]:
            said = f"{self.value(earlier)} has version {numbers[0]}, and {self.value(later)} {numbers[1]}"
            return said, [self.writer(earlier), writer]
        return f"{self.value(earlier)} had to come before {self.value(later)}", [self.writer(earlier), writer]

    def misnumbered(self, version: int, one: int, other: int) -> tuple[str, list[int]]:
        """What the system said of a version, as two operations were told it."""
        known, columns = self.known, self.known.registers
        if version in (columns.written[other], columns.observed[other]):
            said = (
                f"the system gave {self.value(version)} two versions, {known.number_of_row[one]} and "
                f"{known.number_of_row[other]}: {self.say(one)}, and {self.say(other)}"
            )
        else:
            said = (
                f"the system gave two values one version, {known.number[version]}: {self.say(one)}, and "
                f"{self.say(other)}"
            )
        return said, [one, other]

    def circle(
        self, circle: list[tuple[int, int]], demand: Callable[[int, int], tuple[str, list[int]]]
    ) -> tuple[str, list[int]]:
        """Why there is no order in which each version of the circle comes before the next, and the operations
        that show it. `demand`: why an operation (a label that is not -1) does not let a version be older than
        the one before."""
        steps: list[str] = []
        operations: list[int] = []
        for (earlier, _), (later, label) in zip([circle[-1], *circle], circle, strict=False):
            if label >= 0:
                why, shown = demand(earlier, label)
                steps.append(why)
            else:
                why, shown = self.older(earlier, later)
                steps.append(f"{self.value(earlier)} is older than {self.value(later)}: {why}")
            operations += shown
        return f"no order of the versions fits: {'; '.join(steps)}", operations
