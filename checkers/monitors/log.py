"""Linearizability of a log whose appends tell their offsets, in linear time.

Theory
------
Offsets give the order of the appends; they are dense from 0. A record that was read stands behind its append;
one that was not there yet, before it; a tail of n, between the appends n - 1 and n. So every append and every
observation has its place in one order, and there is a history with this order if and only if, put as early as
the starts of all before them allow, none comes after its own completion.

*Crashed appends* (exact). One whose record was read has its offset from there. Offsets that nobody tells of
are filled with the others, the earliest to begin first: they are alike but for their start, and only starts
move anything. The rest never happened.

Histories with appends that completed and tell no offset, or in which crashed appends of equal records compete
for one offset, are left to the search.

Complexity: O(n) time and memory for n operations, and sorting what crashed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checkers.models import ModelFailed
from checkers.monitors import Ambiguous, Calls, Violation
from checkers.monitors._values import ids_of

Moments = NDArray[np.int64]
Positions = NDArray[np.int64]


def monitor(calls: Calls) -> Violation | None:
    """What is wrong with a log's history. Raises Ambiguous."""
    records = _records(calls)
    if isinstance(records, Violation):
        return records
    return _out_of_order(records)


@dataclass(frozen=True, slots=True)
class _Records:
    """The history by offsets."""

    calls: Calls
    append: Positions
    """By offset: which append it was."""
    seen: Positions
    """Observations that are behind an append,"""
    behind: NDArray[np.int64]
    """and its offset."""
    unseen: Positions
    """Observations that are before an append,"""
    before: NDArray[np.int64]
    """and its offset."""


def _records(calls: Calls) -> _Records | Violation:
    """Raises Ambiguous."""
    appends = calls.are("append")
    told = np.flatnonzero(appends & ~calls.crashed)
    reads, tails = np.flatnonzero(calls.are("read")), np.flatnonzero(calls.are("tail"))
    offsets = _offsets(calls.results(told), "append gives", optional=True)
    places = _offsets(calls.arguments(reads), "read takes")
    lengths = _offsets(calls.results(tails), "tail gives")
    records = calls.results(reads)
    found = np.array([record is not None for record in records], np.bool_)

    seen, behind = np.append(reads[found], tails), np.append(places[found], lengths - 1)
    known, at = np.append(told, seen), np.append(offsets, behind)
    length = 1 + int(at.max(initial=-1))
    if length > appends.sum():
        one = int(known[np.argmax(at)])
        summary = f"{calls.describe(one)}, but of {appends.sum()} appends, none can have got so far."
        return calls.violation("From nowhere", summary, [one], one)
    append = np.full(length, -1, np.int64)
    append[offsets[offsets >= 0]] = told[offsets >= 0]
    twice = np.flatnonzero((offsets >= 0) & (append[offsets] != told))
    if len(twice):
        one, other = int(told[twice[0]]), int(append[offsets[twice[0]]])
        summary = f"{calls.describe(one)}, and {calls.describe(other)}: two records at one offset."
        return calls.violation("Offset given twice", summary, [one, other], other)
    if (offsets < 0).any():
        raise Ambiguous("appends that tell no offset")
    wrong = _place_crashed(calls, append, reads[found], places[found], np.flatnonzero(appends))
    if wrong is not None:
        return wrong
    spare = np.setdiff1d(np.flatnonzero(appends & calls.crashed), append)
    gaps = np.flatnonzero(append < 0)
    append[gaps] = spare[: len(gaps)]
    nothing, short = ~found & (places < length), lengths < length
    return _Records(
        calls,
        append,
        seen[behind >= 0],
        behind[behind >= 0],
        np.append(reads[nothing], tails[short]),
        np.append(places[nothing], lengths[short]),
    )


def _offsets(values: list[Any], what: str, optional: bool = False) -> NDArray[np.int64]:
    """As numbers; -1 for those that are not told."""
    for value in values:
        if not (type(value) is int and 0 <= value < 1 << 62) and not (optional and value is None):
            raise ModelFailed(f"{what} a number from 0 up, not {value!r}"[:200])
    return np.array([-1 if value is None else value for value in values], np.int64)


def _place_crashed(
    calls: Calls, append: Positions, reads: Positions, places: NDArray[np.int64], appends: Positions
) -> Violation | None:
    """Put crashed appends to the offsets at which their records were read, unless a read shows what cannot be
    there. Raises Ambiguous."""
    codes = ids_of(calls.arguments(appends) + calls.results(reads))
    code_of = np.full(len(calls), -1, np.int64)
    code_of[appends], code_of[reads] = codes[: len(appends)], codes[len(appends) :]
    candidates: dict[int, list[int]] = {}
    for at in appends[calls.crashed[appends]].tolist():
        candidates.setdefault(int(code_of[at]), []).append(at)
    witness: dict[int, int] = {}  # who saw the record of a crashed append, by offset
    untold = append[places] < 0
    for at, offset in zip(reads[untold].tolist(), places[untold].tolist(), strict=True):
        if append[offset] < 0:
            same = candidates.get(int(code_of[at]), [])
            if not same:
                summary = f"{calls.describe(at)}, but nobody appended that there."
                return calls.violation("From nowhere", summary, [at], at)
            if len(same) > 1:
                raise Ambiguous("crashed appends of equal records")
            append[offset], witness[offset] = same[0], at
    chosen = np.array(list(witness), np.int64)
    twice = np.flatnonzero(np.bincount(append[chosen], minlength=1) > 1)
    if len(twice):
        first, second = [witness[offset] for offset in chosen.tolist() if append[offset] == twice[0]][:2]
        summary = f"{calls.describe(first)}, and {calls.describe(second)}, but it was appended once."
        return calls.violation("One record at two offsets", summary, [first, second, int(twice[0])], second)
    wrong = np.flatnonzero(code_of[append[places]] != code_of[reads])
    if not len(wrong):
        return None
    at, offset = int(reads[wrong[0]]), int(places[wrong[0]])
    proof = witness.get(offset, int(append[offset]))
    summary = f"{calls.describe(at)}, but something else is there: {calls.describe(proof)}."
    return calls.violation("Wrong record", summary, [at, proof, int(append[offset])], at)


def _out_of_order(records: _Records) -> Violation | None:
    """Whether the one possible order agrees with real time."""
    calls, append = records.calls, records.append
    if not len(append):
        return None
    earliest = calls.start[append]
    np.maximum.at(earliest, records.before, calls.start[records.unseen])
    moment = np.maximum.accumulate(earliest)
    subjects = np.append(append, records.seen)
    places = np.append(np.arange(len(append)), records.behind)
    late = np.flatnonzero(moment[places] >= calls.finish[subjects])
    if not len(late):
        return None
    one, place = int(subjects[late[0]]), int(places[late[0]])
    cause_place = int(np.flatnonzero(earliest[: place + 1] == moment[place])[0])
    cause = int(np.flatnonzero(calls.start == moment[place])[0])
    if cause == append[cause_place]:
        kind = "Offset out of order" if late[0] < len(append) else "From the future"
        why = f"that one's offset is {cause_place}"
    else:
        kind = "Missing record" if late[0] < len(append) else "Went back"
        why = f"that one saw nothing at offset {cause_place}"
    summary = f"{calls.describe(one)}, and only then began {calls.describe(cause)}; but {why}."
    return calls.violation(kind, summary, [one, cause], cause)
