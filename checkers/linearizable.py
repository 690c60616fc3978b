"""Linearizability: every operation seems to take effect at one moment between its invocation and completion.

Verifies
    that for each key there is one order of its operations which agrees with real time and which a single copy
    of the object could have produced. Keys are independent objects: linearizability is local (Herlihy & Wing,
    "Linearizability", TOPLAS 12(3), 1990, theorem 1), so each is judged alone.
Does not verify
    anything across keys, liveness, durability beyond the end of the history, or operations that are not the
    model's (those make the verdict unknown). What `fail` means is the client's word: a write that failed is
    taken as never having happened.
Algorithm and source
    For registers whose written values are unique: zones, with the crash reduction (`checkers._zones`: Gibbons
    & Korach 1997). For all else: a search with just-in-time linearization (`checkers._search`: Wing & Gong
    1993, Lowe 2017), bounded in time and memory, and unknown if a bound is met.
Complexity
    Zones: linear in the number of operations, whatever the number of keys, clients and crashes. Search:
    exponential in the number of operations that are open at once.

Semantics
---------
The initial value is None (kv: the empty string). `info` and unfinished operations may take effect at any time
after their invocation, or never. `failed_cas`: "dropped": a cas that failed did not happen and says nothing
(Jepsen's reading, the default); "observed": at some moment between its events, the register did not hold the
value that it expected (Porcupine's reading).
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from checkers import _words
from checkers._explanation import Explanation
from checkers._picture import picture
from checkers._registers import FAILED_CAS, FailedCas, NotARegister, Registers, registers
from checkers.models import IMPOSSIBLE, UNKNOWN, Call, Model, ModelFailed, model_named
from checkers.monitors import Ambiguous, Calls, Rows, monitor_of
from checkers.monitors._evidence import evidence_of
from harness.history import INFO, OK, History
from harness.verdict import Evidence, Validity, Verdict, worst

if TYPE_CHECKING:
    from checkers._search import Problem, Result

# The kernels' modules are imported inside functions: numba alone takes about as long to import as a command
# line should take to start.

EVIDENCE_MAX = 5
"""Keys whose violation is shown; the rest is counted."""
MINIMIZE_SECONDS = 5.0
STATE_BYTES = 200
"""What a state of a model takes in the tables, beside itself."""


@dataclass(frozen=True, slots=True)
class Linearizable:
    """The checker. `model`: "register", "cas-register", or a name in `checkers.models.MODELS`."""

    model: str = "cas-register"
    failed_cas: FailedCas = "dropped"
    time_limit: float = 60.0
    """Seconds for all searches together; zones need none."""
    memory_limit: int = 2 << 30
    """Bytes of configurations that a search may remember."""

    @property
    def name(self) -> str:
        return "linearizable"

    def check(self, history: History) -> Verdict:
        if not len(history.operations):
            return _unknown("There is nothing to judge: no client did anything.")
        if self.model not in ("register", "cas-register"):
            try:
                return _Keys(self, history).objects(model_named(self.model))
            except ModelFailed as error:
                return _unknown(f"Not judged: {error}.")
        if self.model == "register" and "cas" in history.fs:
            return _unknown("Operations cas: the model register has read and write; try cas-register.")
        try:
            columns = registers(history, self.failed_cas)
        except NotARegister as error:
            return _unknown(f"Not judged: {error}.")
        return _Keys(self, history).registers(columns)


def _unknown(summary: str) -> Verdict:
    return Verdict(checker="linearizable", valid="unknown", summary=summary)


class _Keys:
    """One check: the keys' verdicts as they come in."""

    def __init__(self, checker: Linearizable, history: History) -> None:
        self.checker = checker
        self.history = history
        self.deadline = time.monotonic() + checker.time_limit
        self.evidence: list[Evidence] = []
        self.invalid: list[Any] = []
        self.undecided: dict[str, str] = {}
        self.configurations = 0
        self.searched = 0

    def registers(self, columns: Registers) -> Verdict:
        from checkers import _zones

        found, shown, ends = _zones.zones(
            columns.kind, columns.key, columns.observed, columns.written, columns.start, columns.finish,
            columns.keys, columns.values, columns.horizon,
        )  # fmt: skip
        for key in np.flatnonzero((found != _zones.SOUND) & (found != _zones.GENERAL)).tolist():
            self.invalid.append(self.history.keys[key])
            if len(self.evidence) < EVIDENCE_MAX:
                explanation = Explanation(self.history, columns, key, ends)
                self.evidence.append(explanation.evidence(int(found[key]), shown[key].tolist()))
        general = np.flatnonzero(found == _zones.GENERAL)
        if len(general):
            order = np.argsort(columns.key, kind="stable")
            bounds = np.searchsorted(columns.key[order], np.arange(columns.keys + 1))
            sizes = np.diff(bounds)[general]
            for done, key in enumerate(general[np.argsort(sizes, kind="stable")].tolist()):
                which = order[bounds[key] : bounds[key + 1]]
                problem, kept = register_problem(columns, which, key)
                self._search(key, len(general) - done, problem, columns.row[which][kept], None)
        return self._verdict(len(columns.row), len(np.unique(columns.key)))

    def objects(self, model: Model) -> Verdict:
        history, operations = self.history, self.history.operations
        strange = {history.fs[f] for f in np.unique(operations.f)} - model.functions
        if strange:
            return _unknown(
                f"Not judged: operations {', '.join(sorted(strange))}; the model {self.checker.model} has "
                f"{', '.join(sorted(model.functions))}."
            )
        read_only = np.array([f in model.read_only for f in history.fs])[operations.f]
        counts = (operations.outcome == OK) | ((operations.outcome >= INFO) & ~read_only)
        rows = np.flatnonzero(counts)
        rows = rows[np.argsort(operations.key[rows], kind="stable")]
        keys, first = np.unique(operations.key[rows], return_index=True)
        undecided: list[tuple[int, Rows]] = []
        for key, mine in zip(keys.tolist(), np.split(rows, first)[1:], strict=True):
            undecided += [(key, part) for part in self._monitor(model, mine)]
        for done, (key, part) in enumerate(undecided):
            table = _Table(model, history, part, self.checker.memory_limit)
            self._search(key, len(undecided) - done, table.problem(read_only[part]), part, table)
        return self._verdict(len(rows), len(keys))

    def _monitor(self, model: Model, rows: Rows) -> list[Rows]:
        """Decide one object by what is made for its model; returns what is left to the search."""
        monitor = monitor_of(model)
        if monitor is None:
            return [rows]
        try:
            violation = monitor(Calls.of(self.history, model, rows))
        except Ambiguous as ambiguous:
            return [rows] if ambiguous.parts is None else ambiguous.parts
        if violation is not None:
            name = self.history.keys[int(self.history.operations.key[rows[0]])]
            self.invalid.append(name)
            if len(self.evidence) < EVIDENCE_MAX:
                self.evidence.append(evidence_of(self.history, model, violation, name))
        return []

    def _search(
        self, key: int, left: int, problem: Problem, rows: NDArray[np.int64], table: _Table | None
    ) -> None:
        """Decide one key, in its fair share of the time that remains for the keys that are left."""
        from checkers import _search

        name = self.history.keys[key]
        step = None if table is None else table.step
        if not self.searched:
            began = time.monotonic()
            _search.load()
            self.deadline += time.monotonic() - began
        now = time.monotonic()
        deadline = now + (self.deadline - now) / left
        memory_bytes_max = self.checker.memory_limit
        try:
            result = _search.search(problem, step, deadline=deadline, memory_bytes_max=memory_bytes_max)
        except _StatesFull:
            result = _search.Result("out of memory", 0)
        self.searched += 1
        self.configurations += result.configurations
        if result.verdict in ("out of time", "out of memory"):
            self.undecided[str(name)] = f"{result.verdict} after {result.configurations} configurations"
        elif result.verdict == "not linearizable":
            if name not in self.invalid[-1:]:
                self.invalid.append(name)
            if len(self.evidence) < EVIDENCE_MAX:
                self.evidence.append(_search_evidence(self.history, name, problem, result, rows, table))

    def _verdict(self, count: int, keys: int) -> Verdict:
        scope = f"{count} operations" + (f" on {keys} keys" if keys > 1 else "")
        validities: list[Validity] = ["valid"]
        if self.invalid:
            validities.append("invalid")
            of = f" on {len(self.invalid)} of {keys} keys" if keys > 1 else ""
            summary = f"Not linearizable{of}: {self.evidence[0].summary}"
        elif self.undecided:
            validities.append("unknown")
            name, why = next(iter(self.undecided.items()))
            summary = (
                f"Not decided for {len(self.undecided)} of {keys} keys (key {name}: {why}). Shorter "
                f"histories per key, fewer clients per key or unique written values make it decidable."
            )
        elif not (self.history.operations.outcome == OK).any():
            validities.append("unknown")
            summary = (
                f"There is nothing to judge: none of {len(self.history.operations)} operations succeeded."
            )
        else:
            summary = f"Linearizable: {scope} agree with one order."
        return Verdict(
            checker=self.checker.name,
            valid=worst(validities),
            summary=summary,
            evidence=self.evidence,
            details={
                "operations": count,
                "keys": keys,
                "keys invalid": len(self.invalid),
                "keys undecided": self.undecided,
                "keys by zones": keys - self.searched,
                "keys by search": self.searched,
                "configurations": self.configurations,
                "failed cas": self.checker.failed_cas,
            },
        )


def register_problem(
    columns: Registers, which: NDArray[np.int64], key: int
) -> tuple[Problem, NDArray[np.int64]]:
    """One key's operations for the search, and which of `which` they are.

    A crashed operation whose new value nobody observes is left out: taking effect, it would be seen by
    nobody. (Unless a failed cas counts, which may observe that the old value is gone.)
    """
    from checkers._search import Problem

    kind, observed, written = columns.kind[which], columns.observed[which], columns.written[which]
    finish, horizon = columns.finish[which], columns.horizon
    keep = np.ones(len(which), np.bool_)
    if not (kind == FAILED_CAS).any():
        left = len(which) + 1
        while keep.sum() < left:
            left = int(keep.sum())
            keep &= (finish < horizon) | np.isin(written, observed[keep])
    kept = np.flatnonzero(keep)
    start = columns.start[which][kept]
    return Problem(kind[kept], observed[kept], written[kept], start, finish[kept], key, horizon), kept


class _StatesFull(Exception):
    """A model's states fill the memory that a search may use."""


class _Table:
    """A model's states and its operations' classes as integers, for the search's table."""

    def __init__(
        self, model: Model, history: History, rows: NDArray[np.int64], memory_bytes_max: int
    ) -> None:
        self.model = model
        self.memory_bytes_left = memory_bytes_max
        self.horizon = len(history)
        self.operations = history.operations.take(rows)
        fs = [history.fs[f] for f in self.operations.f]
        results = history.results(self.operations)
        crashed = self.operations.outcome >= INFO
        self.states: list[Any] = [model.initial]
        self.state_ids: dict[Any, int] = {model.initial: 0}
        self.classes: list[Call] = []
        class_ids: dict[str, int] = {}
        self.class_of = np.empty(len(rows), np.int64)
        for i, argument in enumerate(history.arguments(self.operations)):
            result = UNKNOWN if crashed[i] else results[i]
            process = int(self.operations.process[i]) if model.by_process else -1
            token = f"{fs[i]} {argument!r} {result!r} {process}"
            if token not in class_ids:
                class_ids[token] = len(self.classes)
                self.classes.append(Call(fs[i], argument, result, process))
            self.class_of[i] = class_ids[token]

    def problem(self, read_only: NDArray[np.bool_]) -> Problem:
        from checkers._search import TABLE, TABLE_READ_ONLY, Problem

        finish = np.where(self.operations.outcome >= INFO, self.horizon, self.operations.complete)
        kind = np.where(read_only, TABLE_READ_ONLY, TABLE).astype(np.int8)
        unused = np.full(len(kind), -1, np.int64)
        return Problem(kind, self.class_of, unused, self.operations.invoke, finish, 0, self.horizon)

    def step(self, state: int, class_: int) -> int:
        call = self.classes[class_]
        try:
            after = self.model.step(self.states[state], call)
            if after is IMPOSSIBLE:
                return -1
            if after not in self.state_ids:
                self.state_ids[after] = len(self.states)
                self.states.append(after)
                self.memory_bytes_left -= STATE_BYTES + sys.getsizeof(after)
        except ModelFailed:
            raise
        except Exception as error:
            what = f"{call.f} {call.argument!r} -> {call.result!r} in the state {self.states[state]!r}"[:300]
            name = type(self.model).__name__
            raise ModelFailed(
                f"the model {name} failed at {what}: {type(error).__name__}: {error}"
            ) from error
        if self.memory_bytes_left < 0:
            raise _StatesFull
        return self.state_ids[after]


def _search_evidence(
    history: History,
    name: int | str | None,
    problem: Problem,
    result: Result,
    rows: NDArray[np.int64],
    table: _Table | None,
) -> Evidence:
    """The shortest part of the key's history that is not linearizable, as far as a few seconds let one see.

    Sound cuts alone are made, those that leave a linearizable history linearizable: what comes after an event
    (prefixes of a linearizable history are linearizable), read-only operations, and operations that write a
    value which nothing else observes.
    """
    last = int(problem.finish[result.stuck])
    chosen = _minimal(problem.open_after(last), problem.known_at(last), table)
    stuck = int(rows[result.stuck])
    involved = [int(row) for row in rows[chosen]]
    others = len(involved) - 1
    before = (
        ""
        if not others
        else f" (with {others} other operation{'s' * (others > 1)} before it or open with it)"
    )
    where = "" if name is None else f" on key {name}"
    why = f"{_words.describe(history, stuck)} fits in no order{before}."
    drawn = None if table is None else picture(history, table.model, involved, why)
    return Evidence(
        summary=f"No order explains it{where}: {why}",
        operations=_words.events(history, involved),
        key=name,
        details={
            "kind": "no order",
            "stuck": _words.describe(history, stuck),
            "operations": [_words.describe(history, row) for row in involved],
            "configurations": result.configurations,
            **({} if drawn is None else {"picture": drawn}),
        },
    )


def _minimal(problem: Problem, chosen: NDArray[np.bool_], table: _Table | None) -> NDArray[np.bool_]:
    """Fewer of the chosen operations, still not linearizable: drops halves, quarters, ... and single ones."""
    from checkers import _search

    deadline = time.monotonic() + MINIMIZE_SECONDS

    def droppable(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        candidates = problem.read_only & mask
        if table is None and not (problem.kind[mask] == FAILED_CAS).any():
            observed = set(problem.observed[mask].tolist())
            unseen = [value not in observed for value in problem.written.tolist()]
            candidates |= mask & (problem.written >= 0) & np.array(unseen)
        return np.flatnonzero(candidates)

    def still_broken(mask: NDArray[np.bool_]) -> bool:
        result = _search.search(
            problem.take(mask),
            None if table is None else table.step,
            deadline=min(deadline, time.monotonic() + 1.0),
            memory_bytes_max=256 << 20,
        )
        return result.verdict == "not linearizable"

    size = len(problem.kind)
    while size and time.monotonic() < deadline:
        size = min(size, len(droppable(chosen)))
        dropped = False
        candidates = droppable(chosen)[::-1]
        for at in range(0, len(candidates), max(size, 1)):
            attempt = chosen.copy()
            attempt[candidates[at : at + size]] = False
            if still_broken(attempt):
                chosen = attempt
                dropped = True
            if time.monotonic() > deadline:
                break
        if not dropped or size > 1:
            size //= 2
    return chosen
