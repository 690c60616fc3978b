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
    For values of registers that are written once: zones, with the crash reduction (`checkers._zones`: Gibbons
    & Korach 1997). For registers whose versions are told: their order (`checkers._versioned`: the same). For
    all else: a search with just-in-time linearization (`checkers._search`: Wing & Gong 1993, Lowe 2017), key
    by key on all cores, bounded in time and memory, and unknown if a bound is met.
Complexity
    Zones: linear in the number of operations, whatever the number of keys, clients and crashes. Versions: as
    sorting. Search: exponential in the number of operations that are open at once.

Semantics
---------
The initial value is None (kv: the empty string). `info` and unfinished operations may take effect at any time
after their invocation, or never. `failed_cas`: "dropped": a cas that failed did not happen and says nothing
(Jepsen's reading, the default); "observed": at some moment between its events, the register did not hold the
value that it expected (Porcupine's reading). Where an operation tells a version (`history.Op.version`), it is
part of what is judged: each write makes a greater one.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from checkers import _kv, _words
from checkers._explanation import ByVersions, ByZones, two_places
from checkers._picture import picture
from checkers._register_picture import register_picture
from checkers._registers import FailedCas, NotARegister, Registers, registers
from checkers.models import IMPOSSIBLE, UNKNOWN, Call, Kv, Model, ModelFailed, model_named
from checkers.monitors import Ambiguous, Calls, Rows, monitor_of
from checkers.monitors._evidence import evidence_of
from harness.history import INFO, OK, History
from harness.verdict import Evidence, Validity, Verdict, worst

if TYPE_CHECKING:
    from checkers._search import Problem, Result

# The kernels' modules are imported inside functions: numba alone takes about as long to import as a command
# line should take to start.

STATE_BYTES = 200
"""What a state of a model takes in the tables, beside itself."""
OPERATIONS_MAX = 100
"""Operations shown of one violation: the last ones."""


@dataclass(frozen=True, slots=True)
class Linearizable:
    """The checker. `model`: "register", "cas-register", or a name in `checkers.models.MODELS`."""

    model: str = "cas-register"
    failed_cas: FailedCas = "dropped"
    time_limit: float = 60.0
    """Seconds for all searches together; zones and versions need none."""
    memory_limit: int = 2 << 30
    """Bytes of configurations that searches may remember at any time."""
    evidence_max: int = 5
    """Keys whose violation is shown; the rest is counted. 0: the verdict alone."""

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


@dataclass(frozen=True, slots=True)
class _Object:
    """What is left to the search: the operations on one object."""

    key: int
    rows: NDArray[Any]
    """Positions in `History.operations`."""
    problem: Callable[[], Problem]
    table: _Table | None = None


@dataclass(slots=True)
class _Keys:
    """One check: what is found of the keys as it comes in."""

    checker: Linearizable
    history: History
    evidence: list[Evidence] = field(default_factory=list)
    invalid: list[Any] = field(default_factory=list)
    undecided: dict[str, str] = field(default_factory=dict)
    configurations: int = 0
    searched: int = 0

    def registers(self, columns: Registers) -> Verdict:
        """Zones for what they apply to, versions where they are told, and the search for the rest."""
        from checkers import _versioned, _zones

        general, kind, observed, written = _zones.restrict(
            columns.kind, columns.key, columns.observed, columns.written, columns.keys, columns.values
        )
        once = replace(columns, kind=kind, observed=observed, written=written) if general.any() else columns
        sound = self._by_zones(once)
        versions = _versioned.versions_of(self.history, columns)
        if versions is not None:
            found, shown = versions

            def evidence(key: int) -> Evidence:
                words = ByVersions(self.history, columns, key)
                return words.evidence(int(found[key]), shown[key].tolist())

            for key in np.flatnonzero(sound & (found < _versioned.UNDECIDED)).tolist():
                general[key] = False
                if found[key] != _versioned.IN_ORDER:
                    self._add_invalid(key, partial(evidence, key))
        self._search_all(_left(columns, np.flatnonzero(general & sound)))
        keys = np.bincount(columns.key, minlength=1)
        return self._verdict(len(columns.row), int(np.count_nonzero(keys)))

    def _by_zones(self, columns: Registers, texts: Sequence[str] | None = None) -> NDArray[np.bool_]:
        """Judge registers whose values are written once; which keys are sound."""
        from checkers import _zones

        found, shown, ends = _zones.zones_of(columns)

        def evidence(key: int) -> Evidence:
            words = ByZones(self.history, columns, key, ends, texts)
            return words.evidence(int(found[key]), shown[key].tolist())

        for key in np.flatnonzero(found).tolist():
            self._add_invalid(key, partial(evidence, key))
        sound: NDArray[np.bool_] = found == _zones.SOUND
        return sound

    def _choice(self, key: int, ways: Sequence[Registers], texts: Sequence[str]) -> None:
        """Judge one key, which is linearizable if one of these is."""
        from checkers import _zones

        results = [_zones.zones_of(way) for way in ways]
        if any(found[key] == _zones.SOUND for found, _, _ in results):
            return

        def evidence() -> Evidence:
            each = [
                ByZones(self.history, way, key, ends, texts).evidence(int(found[key]), shown[key].tolist())
                for way, (found, shown, ends) in zip(ways, results, strict=True)
            ]
            note = "Nor is there an order if equal strings were appended the other way round."
            return msgspec.structs.replace(
                each[0],
                summary=f"{each[0].summary} {note}",
                operations=sorted({event for one in each for event in one.operations}),
            )

        self._add_invalid(key, evidence)

    def objects(self, model: Model) -> Verdict:
        """What is made for the model, and the search for what that leaves."""
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
        by_key = list(zip(keys.tolist(), np.split(rows, first)[1:], strict=True))
        left = self._strings(by_key) if type(model) is Kv else self._monitored(model, by_key)
        objects = []
        for key, part in left:
            table = _Table(model, history, part, self.checker.memory_limit)
            objects.append(_Object(key, part, partial(table.problem, read_only[part]), table))
        self._search_all(objects)
        return self._verdict(len(rows), len(keys))

    def _monitored(self, model: Model, by_key: Sequence[tuple[int, Rows]]) -> list[tuple[int, Rows]]:
        """Decide objects by what is made for their model; returns what is left to the search."""
        monitor = monitor_of(model)
        if monitor is None:
            return list(by_key)
        left = []
        for key, rows in by_key:
            try:
                violation = monitor(Calls.of(self.history, model, rows))
            except Ambiguous as ambiguous:
                parts = [rows] if ambiguous.parts is None else ambiguous.parts
                left += [(key, part) for part in parts]
                continue
            if violation is not None:
                name = self.history.keys[key]
                self._add_invalid(key, partial(evidence_of, self.history, model, violation, name))
        return left

    def _strings(self, by_key: Sequence[tuple[int, Rows]]) -> list[tuple[int, Rows]]:
        """Decide strings that can be taken apart, as registers; returns what is left to the search."""
        found = _kv.strings(self.history, by_key)
        for violation in found.two_places:
            self._add_invalid(violation.key, partial(two_places, self.history, violation))
        for known in found.known:
            self._by_zones(known, found.texts)
        for key, ways in found.choices.items():
            self._choice(key, ways, found.texts)
        return found.left

    def _search_all(self, objects: Sequence[_Object]) -> None:
        """Decide these, the small ones first, each in its fair share of the time and memory that remain."""
        if not objects:
            return
        from checkers import _search

        _search.load()
        workers = min(len(objects), os.cpu_count() or 1)
        memory_bytes_max = self.checker.memory_limit // workers
        end = time.monotonic() + self.checker.time_limit
        objects = sorted(objects, key=lambda one: len(one.rows))

        def search(place: int) -> tuple[Problem, Result]:
            one = objects[place]
            now = time.monotonic()
            deadline = now + min(1.0, workers / (len(objects) - place)) * (end - now)
            problem = one.problem()
            step = None if one.table is None else one.table.step
            try:
                result = _search.search(problem, step, deadline=deadline, memory_bytes_max=memory_bytes_max)
            except _StatesFull:
                result = _search.Result("out of memory", 0)
            return problem, result

        if workers == 1:
            results = [search(0)]
        else:
            with ThreadPoolExecutor(workers) as pool:
                results = list(pool.map(search, range(len(objects))))
        for one, (problem, result) in zip(objects, results, strict=True):
            self._add_searched(one, problem, result)

    def _add_searched(self, one: _Object, problem: Problem, result: Result) -> None:
        self.searched += 1
        self.configurations += result.configurations
        if result.verdict == "not linearizable":
            self._add_invalid(one.key, partial(_search_evidence, self.history, one, problem, result.stuck))
        elif result.verdict != "linearizable":
            why = f"{result.verdict} after {result.configurations} configurations"
            if result.stuck >= 0:
                said = _words.describe(self.history, int(one.rows[result.stuck]))
                why += f", at completion {result.passed + 1} of {result.completions}: {said}"
            self.undecided[str(self.history.keys[one.key])] = why

    def _add_invalid(self, key: int, evidence: Callable[[], Evidence]) -> None:
        name = self.history.keys[key]
        if name in self.invalid[-1:]:
            return  # another part of the same object
        self.invalid.append(name)
        if len(self.evidence) < self.checker.evidence_max:
            self.evidence.append(evidence())

    def _verdict(self, count: int, keys: int) -> Verdict:
        scope = f"{count} operations" + (f" on {keys} keys" if keys > 1 else "")
        validities: list[Validity] = ["valid"]
        if self.invalid:
            validities.append("invalid")
            of = f" on {len(self.invalid)} of {keys} keys" if keys > 1 else ""
            shown = f": {self.evidence[0].summary}" if self.evidence else "."
            summary = f"Not linearizable{of}{shown}"
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


def _left(columns: Registers, keys: NDArray[np.int64]) -> list[_Object]:
    """The registers that these keys are, for the search."""
    if not len(keys):
        return []
    order = np.argsort(columns.key, kind="stable")
    bounds = np.searchsorted(columns.key[order], np.arange(columns.keys + 1))
    objects = []
    for key in keys.tolist():
        which = order[bounds[key] : bounds[key + 1]]
        objects.append(_Object(key, columns.row[which], partial(register_problem, columns, which, key)))
    return objects


def register_problem(columns: Registers, which: NDArray[Any], key: int) -> Problem:
    """One key's operations for the search."""
    from checkers._search import Problem

    return Problem(
        kind=columns.kind[which],
        observed=columns.observed[which],
        written=columns.written[which],
        start=columns.start[which],
        finish=columns.finish[which],
        initial=key,
        horizon=columns.horizon,
    )


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


def _search_evidence(history: History, one: _Object, problem: Problem, stuck_at: int) -> Evidence:
    """A part of the object's history that no order explains, in words."""
    from checkers._smallest import smallest

    part = smallest(problem, None if one.table is None else one.table.step, stuck_at)
    name = history.keys[one.key]
    stuck = int(one.rows[part.stuck])
    involved = [int(row) for row in one.rows[part.operations]]
    others = len(involved) - 1
    before = (
        ""
        if not others
        else f" (with {others} other operation{'s' * (others > 1)} before it or open with it)"
    )
    where = "" if name is None else f" on key {name}"
    shown = involved[-OPERATIONS_MAX:]
    since = "" if part.from_start else ", whatever the value was before"
    why = f"{_words.describe(history, stuck)} fits in no order{before}{since}."
    if one.table is None:
        drawn = register_picture(history, shown, why, from_start=part.from_start)
    else:
        made = picture(history, one.table.model, shown, why)
        drawn = {} if made is None else {"picture": made}
    return Evidence(
        summary=f"No order explains it{where}: {why}",
        operations=_words.events(history, shown),
        key=name,
        details={
            "kind": "no order",
            "stuck": _words.describe(history, stuck),
            "operations": [_words.describe(history, row) for row in shown],
            "operations not shown": len(involved) - len(shown),
            **(drawn if len(shown) == len(involved) else {}),
        },
    )
