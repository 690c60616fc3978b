"""Blocking queries: who waits for a change is woken by it, and nothing that was seen goes back.

An operation `watch` on a key asks with {"index": i, "wait": seconds} for an answer once the key's index is
past i, or when the wait is over; i = 0 asks for an answer at once. It is answered with {"index": j, "value":
v}, the version that the key then had (Consul's blocking queries on KV; j is X-Consul-Index). Beside it there
may be reads, writes and compare-and-sets.

Verifies
    - *missed wake-up*: in a cluster that is whole, a watch is answered within `wake` seconds after a version
      later than its index is known to be there;
    - *overdue*: and within `wake` seconds after its wait and a sixteenth of it (Consul's jitter);
    - *back*: no watch or read shows less than another that was over before it began: anywhere if reads are
      `fresh`, else on the same server since it was last killed;
    - *index*: each index of a key has one value and each written value one index, and their order is not
      against real time.
    Faults excuse a delay while they last and `settle` seconds longer, and no more than a delay.
Does not verify
    that a watch is answered while something is broken, spurious wake-ups (an answer before the wait is over
    with nothing new is allowed, and counted), which of several versions it shows, histories with deletions
    (an index may fall when what it counted is forgotten), or watches on many keys.
Algorithm and source
    The rules are those of Consul's documentation, "Blocking Queries", and of its agent/blockingquery: clients
    must cope with spurious wake-ups, and with an index that falls on a restore, which no test here makes. The
    order of versions is that of `checkers._versions`.
Complexity
    O(n log n) for n operations, and O(watches x faults).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from checkers import _words
from checkers._quantiles import quantiles
from checkers._registers import NotARegister
from checkers._seen import Seen
from checkers._version_words import Words
from checkers._versions import Versions, misnumbered, versions
from checkers.servers import lives
from harness.faults import conditions
from harness.history import FAIL, INFO, OK, History, Op
from harness.verdict import Evidence, Validity, Verdict, worst

EVIDENCE_MAX = 5
JITTER = 1 / 16


@dataclass(frozen=True, slots=True)
class Watch:
    """The checker, with its bounds in seconds."""

    wake: float
    """From a change to the answer, in a cluster that is whole."""
    settle: float
    """After the last heal, until the cluster counts as whole again."""
    fresh: bool = True
    """Whether answers are as fresh as the leader's."""
    nodes: Sequence[str] = ()
    """The nodes that answer for themselves; by default, every node that a client talked to."""

    @property
    def name(self) -> str:
        return "watch"

    def check(self, history: History) -> Verdict:
        try:
            known = versions(_as_reads(history))
        except (NotARegister, _NotAWatch) as error:
            return self._unknown(f"Not judged: {error}.")
        watches = _Watches.of(history, known)
        if not (watches.outcome == OK).any():
            return self._unknown("There is nothing to judge: no watch was answered.")
        check = _Check(self, history, known, watches)
        evidence = [*check.index(), *check.back(), *check.slow()]
        blocked = watches.index > 0
        changed = watches.due < np.where(watches.complete >= 0, watches.complete, len(history))
        figures = check.figures()
        validities: list[Validity] = ["valid"]
        if evidence:
            validities.append("invalid")
            summary = evidence[0].summary
        elif not (blocked & changed & (watches.outcome == OK)).any():
            validities.append("unknown")
            summary = "There is nothing to judge: no watch that waited saw a change."
        else:
            summary = (
                f"{figures['woken']} of {len(watches.row)} watches were woken by a change, the slowest "
                f"{figures['wake-up seconds']['1.0']:.3g} s after it was acknowledged (bound {self.wake:g} s "
                f"in a whole cluster); {figures['spurious']} woke for nothing, as they may."
            )
        return Verdict(
            checker=self.name,
            valid=worst(validities),
            summary=summary,
            evidence=evidence[:EVIDENCE_MAX],
            details={**figures, "violations": len(evidence), "wake bound": self.wake, "settle": self.settle},
        )

    def _unknown(self, summary: str) -> Verdict:
        return Verdict(checker=self.name, valid="unknown", summary=summary)


class _NotAWatch(ValueError):
    """A watch does not have the form that it must have."""


def _as_reads(history: History) -> History:
    """The same history, in which a watch is a read of the version that it showed."""
    return History([_as_read(op) if op.f == "watch" else op for op in history.ops], source=history.source)


def _as_read(op: Op) -> Op:
    if op.type != "ok":
        if not _is_map(op.value, "index", "wait"):
            raise _NotAWatch(
                f'event {op.index}: a watch takes {{"index": ..., "wait": ...}}, not {op.value!r}'[:200]
            )
        return msgspec.structs.replace(op, f="read", value=None)
    if not _is_map(op.value, "index", "value"):
        raise _NotAWatch(
            f'event {op.index}: a watch gives {{"index": ..., "value": ...}}, not {op.value!r}'[:200]
        )
    # The index of a missing key is the whole store's, and no version of the key.
    index = op.value["index"] if op.value["value"] is not None else 0
    return msgspec.structs.replace(op, f="read", value=op.value["value"], version=index)


def _is_map(value: Any, *names: str) -> bool:
    return isinstance(value, dict) and value.keys() == set(names) and isinstance(value["index"], int)


@dataclass(frozen=True, slots=True)
class _Watches:
    """The watches, columns of one length, in the order of their invocations."""

    row: NDArray[np.int64]
    """Position in `History.operations`, of the history and of its reads alike."""
    invoke: NDArray[np.int64]
    complete: NDArray[np.int64]
    outcome: NDArray[np.int8]
    index: NDArray[np.int64]
    wait: NDArray[np.float64]
    shown: NDArray[np.int64]
    """The index of the answer; -1: none."""
    due: NDArray[np.int64]
    """The first event by which a later version was known to be there; the number of events if none."""
    due_by: NDArray[np.int64]
    """That version; -1: none."""

    @staticmethod
    def of(history: History, known: Versions) -> _Watches:
        operations = history.operations
        row = np.flatnonzero(operations.f == history.fs.index("watch") if "watch" in history.fs else False)
        asked = [history.ops[at].value for at in operations.invoke[row].tolist()]
        given = [
            history.ops[at].value if outcome == OK else None
            for at, outcome in zip(
                operations.complete[row].tolist(), operations.outcome[row].tolist(), strict=True
            )
        ]
        index = np.array([one["index"] for one in asked], np.int64)
        shown = np.array([-1 if one is None else one["index"] for one in given], np.int64)
        due, due_by = _due(known, row, operations.key[row], index, shown)
        return _Watches(
            row,
            operations.invoke[row],
            operations.complete[row],
            operations.outcome[row],
            index,
            np.array([float(one["wait"]) for one in asked]),
            shown,
            due,
            due_by,
        )


def _due(
    known: Versions,
    row: NDArray[np.int64],
    key: NDArray[np.int32],
    index: NDArray[np.int64],
    shown: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each watch, the first event by which a version later than its index was there, and which one.

    Later is what has a greater number, and what had certainly overwritten the version of that index.
    """
    columns = known.registers
    place = np.searchsorted(columns.row, row)  # those that were not answered have none
    answered = np.flatnonzero(shown >= 0)
    at_index = {(int(key[at]), int(shown[at])): int(columns.observed[place[at]]) for at in answered.tolist()}
    numbered: dict[int, tuple[NDArray[np.int64], list[tuple[int, int]]]] = {}
    for k in np.unique(key).tolist():
        mine = np.flatnonzero((known.key == k) & (known.number > 0) & ~known.repeated[k])
        mine = mine[np.argsort(known.number[mine], kind="stable")]
        # From the end: the first to be there of a version and all that have greater numbers.
        first: list[tuple[int, int]] = [(known.horizon, -1)]
        for version in mine[::-1].tolist():
            first.append(min(first[-1], (int(known.by[version]), version)))
        numbered[k] = known.number[mine], first[::-1]
    found = []
    for k, asked in zip(key.tolist(), index.tolist(), strict=True):
        numbers, first = numbered[k]
        due = first[int(np.searchsorted(numbers, asked, "right"))]
        base = at_index.get((k, asked))
        if base is not None:
            due = min(due, (int(known.over[base]), int(known.over_by[base])))
        found.append(due)
    return np.array([event for event, _ in found], np.int64), np.array([by for _, by in found], np.int64)


class _Check:
    """One check: what is wrong, and how long things took."""

    def __init__(self, checker: Watch, history: History, known: Versions, watches: _Watches) -> None:
        self.checker = checker
        self.history = history
        self.known = known
        self.watches = watches
        self.words = Words(known, history)
        self.end_ns = int(history.time[-1])
        self.calm = [
            (one.begin_ns + (int(checker.settle * 1e9) if one.begin_ns else 0), one.end_ns)
            for one in conditions(history)
            if one.whole
        ]

    # --- Time --------------------------------------------------------------------------------------------

    def slow(self) -> Iterator[Evidence]:
        """Watches that were answered too late, or not at all, with nothing to excuse it."""
        for at in np.flatnonzero(self.watches.outcome != FAIL).tolist():
            began, ended, due = self._times(at)
            wait = float(self.watches.wait[at]) if self.watches.index[at] else 0.0
            if due is not None and self._calm_seconds(max(began, due), ended) > self.checker.wake:
                yield self._missed(at, due)
            elif self._calm_seconds(began + int(wait * (1 + JITTER) * 1e9), ended) > self.checker.wake:
                seconds = (ended - began) / 1e9
                said = f"{self._say(at)}: {seconds:.3f} s, though it was to wait {wait:g} s at most"
                yield self._evidence("overdue", at, said, [])

    def _missed(self, at: int, due: int) -> Evidence:
        watches, words = self.watches, self.words
        version = int(watches.due_by[at])
        witness = words.witness(version)
        began, ended, _ = self._times(at)
        late = (ended - max(began, due)) / 1e9
        if watches.outcome[at] != OK:
            kind, how = "missed wake-up", f"was not answered in the {late:.3f} s that followed"
        elif watches.shown[at] <= watches.index[at]:
            kind, how = "missed wake-up", f"was answered {late:.3f} s later, without it"
        else:
            kind, how = "late wake-up", f"was answered only {late:.3f} s later"
        said = f"{self._say(at)}: {words.value(version)} was there, {words.say(witness)}, and it {how}"
        return self._evidence(kind, at, said, [words.writer(version), witness])

    def _times(self, at: int) -> tuple[int, int, int | None]:
        """When a watch began, when it ended, and when a change was due in between or before (ns)."""
        watches, time = self.watches, self.history.time
        complete = int(watches.complete[at])
        ended = int(time[complete]) if complete >= 0 else self.end_ns
        due = int(watches.due[at])
        before_end = due < (complete if complete >= 0 else len(self.history))
        changes = before_end and watches.index[at] > 0
        return int(time[watches.invoke[at]]), ended, int(time[due]) if changes else None

    def _calm_seconds(self, begin: int, end: int) -> float:
        """The longest time between two moments in which the cluster was whole."""
        return max((min(end, stop) - max(begin, start) for start, stop in self.calm), default=0) / 1e9

    # --- Order -------------------------------------------------------------------------------------------

    def back(self) -> Iterator[Evidence]:
        """Answers that show less than what had been shown, or if answers are fresh, written."""
        known, words, columns = self.known, self.words, self.known.registers
        if self.checker.fresh:
            life = np.zeros(len(columns.row), np.int64)
        else:
            life, _ = lives(known, self.checker.nodes)
        earlier, same, _ = Seen.by(life, known).pairs(known, one_sequence=False)
        for code in (0, 1) if self.checker.fresh else (1,):
            for at in np.flatnonzero(earlier[code] >= 0).tolist():
                before, again = int(earlier[code, at]), int(same[at]) if code else -1
                said = f"{words.say(before)}, and then {words.say(at)}"
                shown = [again, before, at]
                if again < 0:
                    past = columns.written[before] if code == 0 else columns.observed[before]
                    why, more = words.older(int(columns.observed[at]), int(past))
                    said, shown = f"{said}, which is older: {why}", [*shown, *more]
                else:
                    said = f"{words.say(again)}, {said}: whichever value is the older, it went back"
                yield self._about("back", int(columns.observed[at]), said, shown)

    def index(self) -> Iterator[Evidence]:
        """Indices that contradict each other, or time."""
        from checkers._version_graph import order_told

        known, columns, words = self.known, self.known.registers, self.words
        strange = (columns.observed >= columns.keys) & (known.writer[columns.observed] < 0)
        for at in np.flatnonzero(strange).tolist():
            version = int(columns.observed[at])
            said = f"{words.say(at)}, and nobody ever wrote {words.value(version)}"
            yield self._about("read from nowhere", version, said, [at])
        for version, one, other in misnumbered(known):
            said, shown = words.misnumbered(version, one, other)
            yield self._about("index", version, said, shown)
        circle = order_told(known).cycle()
        if circle:
            said, shown = words.circle(circle, lambda version, label: ("", []))
            yield self._about("index", circle[-1][0], said, shown)

    # --- Words and figures -------------------------------------------------------------------------------

    def _say(self, at: int) -> str:
        return _words.describe(self.history, int(self.watches.row[at]))

    def _evidence(self, kind: str, at: int, said: str, operations: list[int]) -> Evidence:
        row = int(self.watches.row[at])
        rows = [int(self.known.registers.row[one]) for one in operations if one >= 0]
        key = self.history.keys[int(self.history.operations.key[row])]
        where = "" if key is None else f" on key {key}"
        return Evidence(
            summary=f"{kind.capitalize()}{where}: {said}.",
            operations=_words.events(self.history, [row, *rows]),
            key=key,
            details={"kind": kind},
        )

    def _about(self, kind: str, version: int, said: str, operations: list[int]) -> Evidence:
        words = self.words
        return Evidence(
            summary=f"{kind.capitalize()}{words.where(version)}: {said}.",
            operations=words.events(operations),
            key=words.key(version),
            details={"kind": kind, "operations": words.described(operations)},
        )

    def figures(self) -> dict[str, Any]:
        watches = self.watches
        answered = (watches.outcome == OK) & (watches.index > 0)
        later = answered & (watches.shown > watches.index)
        seconds = (self.history.time[watches.complete] - self.history.time[watches.invoke]) / 1e9
        delays = []
        for at in np.flatnonzero(later).tolist():
            began, ended, due = self._times(at)
            delays.append(max(0, ended - max(began, due)) / 1e9 if due is not None else 0.0)
        return {
            "watches": len(watches.row),
            "answered at once, as asked": int(((watches.outcome == OK) & (watches.index == 0)).sum()),
            "woken": int(later.sum()),
            "waited in vain": int((answered & ~later & (seconds >= watches.wait)).sum()),
            "spurious": int((answered & ~later & (seconds < watches.wait)).sum()),
            "not answered": int((watches.outcome >= INFO).sum()),
            "wake-up seconds": quantiles(delays or [0.0]),
        }
