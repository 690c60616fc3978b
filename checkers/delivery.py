"""What a queue did with what was put in: lost, delivered twice, out of order, out of nowhere.

Verifies
    from operations `enqueue` (an element), `dequeue` (an element, or null of an empty queue) and `drain` (all
    elements that were left), for each key by itself:
    - no element is a *phantom*: what is delivered had been asked to be put in before the delivery ended, and
      not refused;
    - no element is *duplicated*: delivered more often than it was put in (unless at-least-once);
    - no element is *lost*: acknowledged and never delivered, although the queue was found empty by an
      operation that began after the acknowledgement (unless at-most-once);
    - no element is *reordered* (with `order`): delivered only after one that was put in later, by the same
      producer or by any.
Does not verify
    that some order explains all of it: `--model=queue` of `checkers.linearizable` does. That a queue was not
    empty when it was found so.
Crashed operations
    A crashed enqueue may have put its element in, or not: it is *recovered* if it is delivered, and never
    lost. A crashed dequeue may have taken one element: so many of those that are missing do not count as
    lost. A crashed drain may have taken any: then nothing is lost for certain. Acknowledged elements that are
    missing but that nobody looked for (the queue was never found empty after them) make the verdict unknown,
    as do those that crashed dequeues may have taken, if nothing worse is found.
Algorithm and source
    Counting, as Jepsen's `checker/total-queue`; for the order, a sweep over the enqueues from the last to the
    first with the earliest delivery of those that came later.
Complexity
    O(n log n) for n elements.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from checkers import _words
from checkers._quantiles import quantiles
from harness.history import FAIL, INFO, OK, History
from harness.verdict import Evidence, Validity, Verdict, worst

EVIDENCE_MAX = 5

Guarantee = Literal["exactly-once", "at-least-once", "at-most-once"]
Order = Literal["none", "producer", "total"]

_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Delivery:
    """The checker. `guarantee`: what is promised of each element; `order`: what is promised of several."""

    guarantee: Guarantee = "exactly-once"
    order: Order = "none"

    @property
    def name(self) -> str:
        return "delivery"

    def check(self, history: History) -> Verdict:
        operations = history.operations
        known = np.array([f in ("enqueue", "dequeue", "drain") for f in history.fs], np.bool_)
        rows = np.flatnonzero(known[operations.f])
        rows = rows[np.argsort(operations.key[rows], kind="stable")]
        _, first = np.unique(operations.key[rows], return_index=True)
        queues = [_Queue(history, mine, self.order) for mine in np.split(rows, first)[1:]]
        counts: Counter[str] = Counter()
        for queue in queues:
            counts.update(queue.counts)
        evidence = [one for queue in queues for one in queue.evidence(self.guarantee)]
        validities: list[Validity] = ["valid"]
        if evidence:
            validities.append("invalid")
            summary = evidence[0].summary
        elif not counts["acknowledged"] or not counts["delivered"]:
            validities.append("unknown")
            missing = "no enqueue was acknowledged" if not counts["acknowledged"] else "nothing was delivered"
            summary = f"There is nothing to judge: {missing}."
        elif counts["missing"] and self.guarantee != "at-most-once":
            validities.append("unknown")
            summary = (
                f"Nobody knows whether {counts['missing']} of {counts['acknowledged']} acknowledged elements "
                f"are lost: {counts['not looked for']} of them were put in after the queue was last found "
                f"empty (a final drain is missing), and dequeues of unknown outcome may have taken the rest."
            )
        else:
            gone = counts["missing"] + counts["lost"]
            summary = (
                f"Of {counts['acknowledged']} acknowledged elements, {gone} were not delivered, "
                f"{counts['duplicated']} more than once and {counts['reordered']} out of order; "
                f"{counts['recovered']} more of unknown outcome were delivered."
            )
        return Verdict(
            checker=self.name,
            valid=worst(validities),
            summary=summary,
            evidence=evidence[:EVIDENCE_MAX],
            details={
                **{what: counts[what] for what in _COUNTS},
                "seconds to delivery": quantiles([seconds for queue in queues for seconds in queue.seconds]),
                "guarantee": self.guarantee,
                "order": self.order,
            },
        )


def delivery(promises: str) -> Delivery:
    """The checker for promises like "at-least-once,producer", in any order. Raises ValueError."""
    guarantee: Guarantee = "exactly-once"
    order: Order = "none"
    for promise in filter(None, promises.split(",")):
        if promise in get_args(Guarantee):
            guarantee = promise  # type: ignore[assignment]
        elif promise in get_args(Order):
            order = promise  # type: ignore[assignment]
        else:
            known = ", ".join((*get_args(Guarantee), *get_args(Order)))
            raise ValueError(f"no promise {promise!r} of delivery; there are {known}")
    return Delivery(guarantee, order)


_COUNTS = (
    "attempted",
    "acknowledged",
    "delivered",
    "recovered",
    "missing",
    "not looked for",
    "lost",
    "duplicated",
    "phantom",
    "reordered",
)


class _Queue:
    """One queue by elements. Rows are positions in `History.operations`."""

    def __init__(self, history: History, rows: _Ints, order: Order) -> None:
        from checkers.monitors._values import ids_of  # numba takes long to import

        self.history = history
        self.order = order
        operations = history.operations
        f, outcome = np.array(history.fs)[operations.f[rows]], operations.outcome[rows]
        self.put_row = rows[(f == "enqueue") & (outcome != FAIL)]
        done = (f != "enqueue") & (outcome == OK)
        drains = f[done] == "drain"
        results = history.results(operations.take(rows[done]))
        delivered = [
            [] if result is None else list(result) if drain else [result]
            for result, drain in zip(results, drains.tolist(), strict=True)
        ]
        self.take_row = np.repeat(rows[done], [len(elements) for elements in delivered])
        found_empty = drains | np.array([result is None for result in results], np.bool_)
        self.empty_row = rows[done][found_empty]
        """Those after which the queue had been empty."""
        self.crashed = int(((f == "dequeue") & (outcome >= INFO)).sum())
        """Dequeues that may have taken one element each."""
        self.unclear = bool(((f == "drain") & (outcome >= INFO)).any())
        """Whether anything may have been taken."""

        values = history.arguments(operations.take(self.put_row))
        values += [element for elements in delivered for element in elements]
        ids = ids_of(values)
        self.elements = int(ids.max(initial=-1)) + 1
        self.values = [values[at] for at in np.unique(ids, return_index=True)[1].tolist()]
        """By element."""
        self.put, self.taken = ids[: len(self.put_row)], ids[len(self.put_row) :]
        """The element that each enqueue puts in, that each delivery delivers; a drain is several."""
        self.acknowledged = operations.outcome[self.put_row] == OK

    # What follows is by element.

    @cached_property
    def attempts(self) -> _Ints:
        return np.bincount(self.put, minlength=self.elements)

    @cached_property
    def supply(self) -> _Ints:
        """How often it was acknowledged."""
        return np.bincount(self.put[self.acknowledged], minlength=self.elements)

    @cached_property
    def deliveries(self) -> _Ints:
        return np.bincount(self.taken, minlength=self.elements)

    @cached_property
    def begun_at(self) -> _Ints:
        """When somebody first tried to put it in."""
        return self._first(self.put, self.history.operations.invoke[self.put_row])

    @cached_property
    def asked_at(self) -> _Ints:
        """When the first began that got it."""
        return self._first(self.taken, self.history.operations.invoke[self.take_row])

    @cached_property
    def delivered_at(self) -> _Ints:
        return self._first(self.taken, self.history.operations.complete[self.take_row])

    def _first(self, elements: _Ints, events: _Ints) -> _Ints:
        first = np.full(self.elements, len(self.history), np.int64)
        np.minimum.at(first, elements, events)
        return first

    @cached_property
    def missing(self) -> _Ints:
        """How often it was acknowledged and not delivered."""
        missing: _Ints = np.maximum(self.supply - self.deliveries, 0)
        return missing

    @cached_property
    def looked_for(self) -> NDArray[np.bool_]:
        """Whether the queue was found empty after it was acknowledged."""
        operations = self.history.operations
        known_at = np.full(self.elements, -1, np.int64)
        np.maximum.at(
            known_at, self.put[self.acknowledged], operations.complete[self.put_row[self.acknowledged]]
        )
        looked: NDArray[np.bool_] = known_at < operations.invoke[self.empty_row].max(initial=-1)
        return looked

    @cached_property
    def duplicated(self) -> NDArray[np.bool_]:
        duplicated: NDArray[np.bool_] = (self.deliveries > self.attempts) & (self.attempts > 0)
        return duplicated

    @cached_property
    def phantom(self) -> NDArray[np.bool_]:
        phantom: NDArray[np.bool_] = (self.deliveries > 0) & (self.delivered_at < self.begun_at)
        return phantom

    @cached_property
    def overtaken(self) -> _Ints:
        """Elements delivered after one that was put in later. Those put in more than once are left out."""
        operations = self.history.operations
        mine = np.flatnonzero(((self.attempts == 1) & (self.deliveries > 0))[self.put])
        rows, element = self.put_row[mine], self.put[mine]
        producer = operations.process[rows] * (self.order == "producer")
        by_producer = np.lexsort((operations.invoke[rows], producer))
        rows, element, producer = rows[by_producer], element[by_producer], producer[by_producer]
        # Each producer's moments in a range of their own, so that all can be looked at together.
        base = producer * (len(self.history) + 1)
        earliest = np.minimum.accumulate((base + self.delivered_at[element])[::-1])[::-1]
        earliest = np.append(earliest, np.iinfo(np.int64).max)
        finish = operations.complete[rows]
        following = np.searchsorted(base + operations.invoke[rows], base + finish)
        crashed = operations.outcome[rows] >= INFO
        late: _Ints = element[~crashed & (earliest[following] < base + self.asked_at[element])]
        return late

    @cached_property
    def lost(self) -> int:
        """How many are missing, were looked for, and cannot all have been taken by dequeues that crashed."""
        return 0 if self.unclear else max(int(self.missing[self.looked_for].sum()) - self.crashed, 0)

    @property
    def seconds(self) -> NDArray[np.float64]:
        """From the first try to put an element in until it was delivered."""
        once = (self.attempts == 1) & (self.deliveries > 0)
        time = self.history.time
        seconds: NDArray[np.float64] = (time[self.delivered_at[once]] - time[self.begun_at[once]]) / 1e9
        return seconds

    @property
    def counts(self) -> dict[str, int]:
        recovered = np.minimum(self.attempts - self.supply, np.maximum(self.deliveries - self.supply, 0))
        return {
            "attempted": len(self.put_row),
            "acknowledged": int(self.acknowledged.sum()),
            "delivered": len(self.take_row),
            "recovered": int(recovered.sum()),
            "missing": int(self.missing.sum()) - self.lost,
            "not looked for": int(self.missing[~self.looked_for].sum()),
            "lost": self.lost,
            "duplicated": int(self.duplicated.sum()),
            "phantom": int(self.phantom.sum()),
            "reordered": 0 if self.order == "none" else len(self.overtaken),
        }

    def evidence(self, guarantee: Guarantee) -> list[Evidence]:
        found: list[Evidence] = []
        if self.phantom.any():
            found.append(self._phantom(np.flatnonzero(self.phantom)))
        if self.lost and guarantee != "at-most-once":
            found.append(self._lost(np.flatnonzero((self.missing > 0) & self.looked_for)))
        if self.duplicated.any() and guarantee != "at-least-once":
            found.append(self._duplicated(np.flatnonzero(self.duplicated)))
        if self.order != "none" and len(self.overtaken):
            found.append(self._reordered(self.overtaken))
        return found

    def _phantom(self, elements: _Ints) -> Evidence:
        one = int(elements[0])
        taken, puts = self._takes(one)[0], self._puts(one)
        why = "it was never put in"
        if puts:
            why = f"that was put in only later: {self._say(puts[0])}"
        return self._evidence("phantom", f"{self._say(taken)}, but {why}", [taken, *puts], elements)

    def _lost(self, elements: _Ints) -> Evidence:
        one = int(elements[0])
        puts, takes = self._puts(one), self._takes(one)
        empty = int(self.empty_row[np.argmax(self.history.operations.invoke[self.empty_row])])
        said = f"{self._say(puts[-1])} and nobody ever got it, though later {self._say(empty)}"
        if self.crashed:
            said += (
                f"; so it is with {int(self.missing[elements].sum())} elements, and only {self.crashed} "
                f"dequeues of unknown outcome can have taken one each"
            )
        return self._evidence("lost", said, [*puts, *takes, empty], elements)

    def _duplicated(self, elements: _Ints) -> Evidence:
        one = int(elements[0])
        puts, takes = self._puts(one), self._takes(one)
        said = f"{' and '.join(map(self._say, takes[:3]))}, but it was enqueued " + (
            "once" if len(puts) == 1 else f"{len(puts)} times"
        )
        return self._evidence("duplicated", said, [*puts, *takes], elements)

    def _reordered(self, elements: _Ints) -> Evidence:
        operations = self.history.operations
        late = int(elements[0])
        put, take = self._puts(late)[0], self._takes(late)[0]
        later = operations.invoke[self.put_row] > operations.complete[put]
        if self.order == "producer":
            later &= operations.process[self.put_row] == operations.process[put]
        for early in self.put[later].tolist():
            takes = self._takes(early)
            if takes and operations.complete[takes[0]] < operations.invoke[take]:
                other = self._puts(early)[0]
                said = (
                    f"{self._say(take)} after {self._say(takes[0])}, but it was in first: {self._say(put)} "
                    f"before {self._say(other)}"
                )
                return self._evidence("reordered", said, [put, other, takes[0], take], elements)
        raise AssertionError("an element was overtaken by none")

    def _puts(self, element: int) -> list[int]:
        return [int(row) for row in self.put_row[self.put == element]]

    def _takes(self, element: int) -> list[int]:
        """The first to complete comes first."""
        rows = self.take_row[self.taken == element]
        return [int(row) for row in rows[np.argsort(self.history.operations.complete[rows], kind="stable")]]

    def _say(self, row: int) -> str:
        return _words.describe(self.history, row)

    def _evidence(self, kind: str, said: str, rows: Iterable[int], elements: _Ints) -> Evidence:
        more = f" ({len(elements) - 1} more elements likewise)" if len(elements) > 1 else ""
        rows = sorted(set(rows))
        key = self.history.keys[int(self.history.operations.key[rows[0]])]
        where = "" if key is None else f" on key {key}"
        return Evidence(
            summary=f"{kind.capitalize()}{where}: {said}{more}.",
            operations=_words.events(self.history, rows),
            key=key,
            details={
                "kind": kind,
                "elements": [self.values[element] for element in elements[:100].tolist()],
                "operations": [self._say(row) for row in rows],
            },
        )
