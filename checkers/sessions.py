"""What a client may rely on from one operation to its next: session guarantees.

Verifies
    of each session, which is one process, and of the guarantees in `promised` (D. Terry et al., "Session
    Guarantees for Weakly Consistent Replicated Data", PDIS 1994, section 3):
    - *read-your-writes*: a read does not go back behind what the session itself wrote before;
    - *monotonic-reads*: nor behind what it read before;
    - *monotonic-writes*: a session's writes take effect in the order in which it made them;
    - *writes-follow-reads*: and after those that it had read before;
    - *pram*: whoever saw something of a session has seen all that it wrote before, on other keys too;
    - *causal*: and all that it had seen before it wrote that (the first four together, over all keys: J.
      Brzezinski et al., "From Session Causality to Causal Consistency", PDP 2004).
    The rest is measured all the same, and said, but breaks no promise. A read of what nobody wrote breaks
    them all.
Does not verify
    freshness (a session that never sees anything new breaks nothing), transactions, or anything of keys on
    which a value was written twice, unless the system numbers its versions (such keys are counted, and make
    the verdict unknown). The order of concurrent writes without numbers is not known: what some order of them
    would explain is no violation. Of one key alone, with linearizable writes, no history can show that
    monotonic-writes or writes-follow-reads are broken, unless numbers or cas do: real time orders such writes
    already. What one can see of them is across keys, in pram and causal.
Algorithm and source
    What is known of the order of versions (`checkers._versions`), and edges for what the guarantees demand
    of it (`checkers._version_graph`): a guarantee can hold iff there is no cycle, which is exact on each key.
    The past of an operation over all keys is kept in vector clocks, as checkers of causal consistency do
    (A. Bouajjani et al., "On Verifying Causal Consistency", POPL 2017: the pattern CyclicCF, per key).
Complexity
    O(n log n) for n operations; pram and causal O(n (s + w log n)) for s sessions and w that write the same
    key, and O(s^2) memory, causal O(n s), up to a limit.

Why a process, and not a client's thread, is a session: after an operation of unknown outcome the thread goes
on as another process with a new connection, and systems promise things to connections. (A write whose outcome
nobody knows is nothing that its session could rely on.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from checkers._registers import NotARegister
from checkers._seen import Seen, ids
from checkers._version_words import Words
from checkers._versions import Versions, Writes, misnumbered, versions
from harness.history import OK, History
from harness.verdict import Evidence, Validity, Verdict, worst

if TYPE_CHECKING:
    from checkers._version_graph import Graph

SINGLE = ("read-your-writes", "monotonic-reads", "monotonic-writes", "writes-follow-reads")
"""Guarantees about one key, in the order of the codes of `checkers._session_order`."""
GUARANTEES = (*SINGLE, "pram", "causal")

EVIDENCE_MAX = 5
CLOCK_ENTRIES_MAX = 1 << 27
"""Of all vector clocks together; beyond, pram and causal are not judged."""

Column = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Sessions:
    """The checker. `promised`: names in GUARANTEES."""

    promised: Sequence[str] = SINGLE
    writes: Writes = "linearizable"

    def __post_init__(self) -> None:
        unknown = set(self.promised) - set(GUARANTEES)
        if unknown:
            raise ValueError(f"no guarantee {', '.join(sorted(unknown))}; there are {', '.join(GUARANTEES)}")

    @property
    def name(self) -> str:
        return "sessions"

    def check(self, history: History) -> Verdict:
        if not (history.operations.outcome == OK).any():
            return self._unknown("There is nothing to judge: no operation succeeded.")
        try:
            known = versions(history, self.writes)
        except NotARegister as error:
            return self._unknown(f"Not judged: {error}.")
        return _Check(self, known).verdict()

    def _unknown(self, summary: str) -> Verdict:
        return Verdict(checker=self.name, valid="unknown", summary=summary)


@dataclass(frozen=True, slots=True)
class _Past:
    """What pram or causal demands: each source is before its target."""

    source: Column
    target: Column
    label: Column
    """The operation that has the source in its past, and observes or writes the target."""
    via: Column
    """The operation by which its session came to know of the source; -1: it is its own."""


class _Check:
    """One check: the violations of each guarantee."""

    def __init__(self, checker: Sessions, known: Versions) -> None:
        self.checker = checker
        self.known = known
        self.words = Words(known)
        process = known.history.operations.process[known.registers.row]
        self.session = np.unique(process, return_inverse=True)[1].astype(np.int64)
        self.seen = Seen.by(self.session, known)
        self.broken: dict[str, int] = {}
        self.evidence: dict[str, list[Evidence]] = {}
        self.doubts: list[str] = []

    def verdict(self) -> Verdict:
        earlier, same, judged = self.seen.pairs(self.known, one_sequence=False)
        for code, name in enumerate(SINGLE):
            behind = np.flatnonzero(earlier[code] >= 0)
            self.broken[name] = len(behind)
            self.evidence[name] = [
                self._pair(name, at, int(earlier[code, at]), int(same[at]))
                for at in behind[:EVIDENCE_MAX].tolist()
            ]
        for name in ("pram", "causal"):
            past = self.pasts.get(name)
            if past is not None:
                behind = np.flatnonzero(self.known.precede(past.target, past.source))
                self.broken[name] = len(behind)
                self.evidence[name] = [
                    self._behind_past(name, past, at) for at in behind[:EVIDENCE_MAX].tolist()
                ]
        self._contradictions()
        counts = [int(judged[code]) for code in (0, 1, 2, 3, -1, -1)]
        return self._weigh(dict(zip(GUARANTEES, counts, strict=True)))

    # --- What the guarantees demand together ---------------------------------------------------------------

    def _contradictions(self) -> None:
        """What no pair of operations shows, but a circle of them does."""
        from checkers._version_graph import order_told

        told = order_told(self.known)
        if circle := told.cycle():
            self._circle("version order", circle)
            return
        open_ = [name for name in self.checker.promised if not self.broken.get(name)]
        if not self._demanding(told, open_).cycle():
            return
        for name in open_:
            if circle := self._demanding(told, [name]).cycle():
                self._circle(name, circle)
        if not any(map(self.broken.get, open_)):
            self._circle("guarantees together", self._demanding(told, open_).cycle())

    def _demanding(self, told: Graph, names: Sequence[str]) -> Graph:
        """With what these guarantees demand."""
        from checkers._version_graph import session_edges

        known, columns, seen = self.known, self.known.registers, self.seen
        usable = ~known.repeated[columns.key]
        reads = np.where(seen.observes & usable, columns.observed, -1)
        writes = np.where(seen.writes & usable, columns.written, -1)
        single = set(names) & set(SINGLE)
        single |= set(SINGLE[:3]) if "pram" in names else set()
        single |= set(SINGLE) if "causal" in names else set()
        rows = np.lexsort((columns.start, seen.place))
        graph = told.copy()
        for name, push, check in (
            ("read-your-writes", writes, reads),
            ("monotonic-reads", reads, reads),
            ("monotonic-writes", writes, writes),
            ("writes-follow-reads", reads, writes),
        ):
            if name in single:
                edges = session_edges(rows, seen.place, push, check, columns.values, graph.vertices)
                graph.add(*edges)
        for name in ("pram", "causal"):
            if name in names and name in self.pasts:
                past = self.pasts[name]
                graph.add(past.source, past.target, past.label, graph.vertices)
        return graph

    @cached_property
    def pasts(self) -> dict[str, _Past]:
        """What pram and causal demand beyond the guarantees about one key."""
        from checkers._version_graph import past_edges

        known, columns, seen = self.known, self.known.registers, self.seen
        usable = ~known.repeated[columns.key]
        observes, writes = seen.observes & usable, (columns.written >= 0) & usable
        written = np.where(writes, columns.written, -1)
        shown = np.unique(columns.observed[(columns.observed >= 0) & usable])
        sessions = int(self.session.max()) + 1
        if (2 * sessions + len(shown)) * sessions > CLOCK_ENTRIES_MAX:
            self.doubts.append(f"pram and causal are not judged: {sessions} sessions are too many")
            return {}
        kept = np.full(columns.values, -1, np.int64)
        kept[shown] = np.arange(len(shown))

        rows = np.flatnonzero(writes)
        rows = rows[np.lexsort((columns.start[rows], self.session[rows]))]
        position = np.zeros(len(columns.row), np.int64)
        first = np.searchsorted(self.session[rows], self.session[rows])
        position[rows] = np.arange(len(rows)) - first
        place = ids(self.session, np.where(writes, columns.key, -1))
        place_rows = rows[np.lexsort((columns.start[rows], place[rows]))]
        places = int(place.max()) + 1
        key_of_place = np.zeros(places, np.int64)
        key_of_place[place] = np.where(writes, columns.key, columns.keys)
        key_places = np.argsort(key_of_place, kind="stable")
        place_begin = np.searchsorted(place[place_rows], np.arange(places + 1))
        key_begin = np.searchsorted(key_of_place[key_places], np.arange(columns.keys + 1))
        return {
            name: _Past(
                *past_edges(
                    self.session, columns.key, columns.observed, written, columns.start, columns.finish,
                    observes, known.writer, known.since, known.by, place, position,
                    place_rows, place_begin, key_places, key_begin, kept, name == "causal", known.horizon,
                )
            )
            for name in ("pram", "causal")
        }  # fmt: skip

    # --- What it looks like --------------------------------------------------------------------------------

    def _impossible(self) -> list[Evidence]:
        """Reads of what was not there to be read."""
        known, columns, words = self.known, self.known.registers, self.words
        seen = np.flatnonzero((columns.observed >= columns.keys) & (columns.finish < columns.horizon))
        value = columns.observed[seen]
        found = []
        for at in seen[(known.writer[value] < 0) | (columns.finish[seen] < known.since[value])].tolist():
            version = int(columns.observed[at])
            writer = words.writer(version)
            if writer < 0:
                said = f"{words.say(at)}, and nobody ever wrote {words.value(version)}"
            else:
                said = f"{words.say(at)} before that value was written: {words.say(writer)}"
            kind = "read from nowhere" if writer < 0 else "read from the future"
            found.append(self._evidence(kind, version, said, [at, writer]))
        return found + self._misnumbered()

    def _misnumbered(self) -> list[Evidence]:
        """Versions with two numbers, and numbers with two versions."""
        words = self.words
        return [
            self._evidence("version numbers", version, *words.misnumbered(version, *operations))
            for version, *operations in misnumbered(self.known)
        ]

    def _pair(self, name: str, at: int, before: int, same: int) -> Evidence:
        """An operation that goes back behind an earlier one of its session."""
        columns, words = self.known.registers, self.words
        reads = name in ("read-your-writes", "monotonic-reads")
        version = int(columns.observed[at] if reads else columns.written[at])
        if name == "monotonic-reads" and same >= 0:
            said = (
                f"{words.say(same)}, then {words.say(before)}, and then {words.say(at)}: whichever value is "
                f"the older, the session went back"
            )
            return self._evidence(name, version, said, [same, before, at])
        wrote = name in ("read-your-writes", "monotonic-writes")
        past = int(columns.written[before] if wrote else columns.observed[before])
        why, shown = words.older(version, past)
        said = f"{words.say(before)}, and then {words.say(at)}, which is older: {why}"
        return self._evidence(name, version, said, [before, at, *shown])

    def _behind_past(self, name: str, past: _Past, edge: int) -> Evidence:
        """An operation that goes back behind what its session had come to know of."""
        words = self.words
        source, target = int(past.source[edge]), int(past.target[edge])
        operation, via = int(past.label[edge]), int(past.via[edge])
        writer = words.writer(source)
        knew = f"{words.say(via)}, which comes after {words.say(writer)}" if via >= 0 else words.say(writer)
        why, shown = words.older(target, source)
        said = f"{knew}; and then {words.say(operation)}, which is older: {why}"
        return self._evidence(name, target, said, [writer, via, operation, *shown])

    def _circle(self, name: str, circle: list[tuple[int, int]]) -> None:
        """Demands that cannot all be met."""
        words = self.words

        def demand(version: int, operation: int) -> tuple[str, list[int]]:
            before = self._before(operation, version)
            had = words.say(before) if before >= 0 else f"with {words.value(version)} in its past"
            return f"{had}, {words.say(operation)}", [words.writer(version), before, operation]

        said, operations = words.circle(circle, demand)
        self.broken[name] = 1
        self.evidence[name] = [self._evidence(name, circle[-1][0], said, operations)]

    def _before(self, operation: int, version: int) -> int:
        """The last operation of its session before this one that wrote or observed the version, or -1."""
        columns = self.known.registers
        own = (self.session == self.session[operation]) & (columns.start < columns.start[operation])
        found = np.flatnonzero(own & ((columns.observed == version) | (columns.written == version)))
        return int(found[-1]) if len(found) else -1

    def _evidence(self, kind: str, version: int, said: str, operations: list[int]) -> Evidence:
        words = self.words
        return Evidence(
            summary=f"{kind.capitalize()}{words.where(version)}: {said}.",
            operations=words.events(operations),
            key=words.key(version),
            details={"kind": kind, "operations": words.described(operations)},
        )

    # --- The verdict ---------------------------------------------------------------------------------------

    def _weigh(self, judged: dict[str, int]) -> Verdict:
        promised = self.checker.promised
        impossible = self._impossible()
        kept = [name for name in promised if not self.broken.get(name)]
        always = ("version order", "guarantees together")
        wrong = [name for name in (*always, *promised) if self.broken.get(name)]
        evidence = [*impossible, *(one for name in wrong for one in self.evidence[name])]
        empty = [name for name in kept if not judged[name]]
        if empty:
            self.doubts.append(f"no session did anything that {', '.join(empty)} speaks of")
        dark = self._keys_not_judged()
        if dark:
            self.doubts.append(
                f"on {dark} of {len(self.known.repeated)} keys a value was written more than once, and the "
                f"system told no versions"
            )
        validities: list[Validity] = ["valid"]
        if evidence:
            validities.append("invalid")
            summary = evidence[0].summary
        elif self.doubts:
            validities.append("unknown")
            summary = f"Not all can be judged: {'; '.join(self.doubts)}."
        else:
            sessions = int(self.session.max()) + 1
            held = ", ".join(f"{name} ({judged[name]} operations)" for name in kept)
            summary = (
                f"In {sessions} sessions: {held}." if held else f"{sessions} sessions, nothing promised."
            )
        besides = {
            name: self.broken[name] for name in GUARANTEES if name not in promised and self.broken.get(name)
        }
        if besides and not evidence:
            also = ", ".join(f"{name} {count} times" for name, count in besides.items())
            summary += f" Broken, but not promised: {also}."
            evidence = [self.evidence[name][0] for name in besides]
        return Verdict(
            checker=self.checker.name,
            valid=worst(validities),
            summary=summary,
            evidence=evidence[:EVIDENCE_MAX],
            details=self._figures(judged, len(impossible), dark),
        )

    def _keys_not_judged(self) -> int:
        known = self.known
        ok = known.registers.finish < known.horizon
        silent = ok & (known.number_of_row < 0) & known.repeated[known.registers.key]
        return len(np.unique(known.registers.key[silent]))

    def _figures(self, judged: dict[str, int], impossible: int, dark: int) -> dict[str, Any]:
        return {
            "promised": list(self.checker.promised),
            "sessions": int(self.session.max()) + 1,
            "operations judged": judged,
            "violations": self.broken,
            "impossible reads": impossible,
            "keys not judged": dark,
            "writes": self.checker.writes,
        }
