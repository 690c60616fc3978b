"""Is there any execution at all that explains a small history of transactions?

Each model is written down as what it is, a machine that takes one step after the other, and all its runs are
tried. Transactions of unknown outcome may take part or not; failed ones do not. `order` says which
transactions must come before which: none, those of each process, or those that were over before others began.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from harness.history import History

Micro = tuple[str, Any, Any]
State = tuple[tuple[Any, Any], ...]
Order = Literal["", "process", "realtime"]
Oracle = Callable[[History, Order], bool]


@dataclass(frozen=True)
class Txn:
    number: int
    process: int
    invoke: int
    complete: int | None
    """None: of unknown outcome."""
    micro: tuple[Micro, ...]


def transactions(history: History) -> list[Txn]:
    found: list[Txn] = []
    for begun, completed in history.pairs():
        if completed is not None and completed.type == "fail":
            continue
        ok = completed is not None and completed.type == "ok"
        value = completed.value if completed is not None and ok else begun.value
        complete = completed.index if completed is not None and ok else None
        micro = tuple((f, key, tuple(v) if isinstance(v, list) else v) for f, key, v in value)
        assert isinstance(begun.process, int)
        found.append(Txn(len(found), begun.process, begun.index, complete, micro))
    return found


def must_precede(txns: list[Txn], order: Order) -> dict[int, set[int]]:
    """Of each transaction, those that come before it if they take part."""
    return {
        later.number: {
            earlier.number
            for earlier in txns
            if (order == "process" and earlier.process == later.process and earlier.invoke < later.invoke)
            or (order == "realtime" and earlier.complete is not None and earlier.complete < later.invoke)
        }
        for later in txns
    }


def _execute(state: dict[Any, Any], txn: Txn) -> dict[Any, Any] | None:
    """The state after the transaction, or None if it read something else."""
    state = dict(state)
    for f, key, value in txn.micro:
        if f == "append":
            state[key] = (*state.get(key, ()), value)
        elif f == "w":
            state[key] = value
        elif txn.complete is not None and (state.get(key) or None) != (value or None):
            return None
    return state


def serializable(history: History, order: Order = "") -> bool:
    """One transaction at a time."""
    txns = transactions(history)
    before = must_precede(txns, order)
    certain = {txn.number for txn in txns if txn.complete is not None}
    seen = set()

    def search(placed: frozenset[int], state: State) -> bool:
        if certain <= placed:
            return True
        if (placed, state) in seen:
            return False
        seen.add((placed, state))
        for txn in txns:
            if txn.number in placed or (before[txn.number] & certain) - placed:
                continue
            if any(txn.number in before[done] for done in placed):
                continue  # it may be left out, but not come late
            after = _execute(dict(state), txn)
            if after is not None and search(placed | {txn.number}, tuple(sorted(after.items()))):
                return True
        return False

    return search(frozenset(), ())


def snapshot_isolated(history: History, order: Order = "") -> bool:
    """Transactions begin, reading from then on what was committed then, and commit, unless somebody has
    committed a key since that they write too. What must come before has committed when a transaction
    begins."""
    txns = transactions(history)
    before = must_precede(txns, order)
    certain = {txn.number for txn in txns if txn.complete is not None}
    seen = set()

    def search(
        begun: frozenset[int], committed: tuple[int, ...], blocked: frozenset[int], state: State
    ) -> bool:
        """`blocked`: begun ones that cannot commit any more. Begun ones have read already."""
        if certain <= set(committed):
            return True
        key = (begun, committed, blocked)
        if key in seen:
            return False
        seen.add(key)
        done = set(committed)
        for txn in txns:
            n = txn.number
            if n in done:
                continue
            if n not in begun:
                if (before[n] & certain) - done or any(n in before[other] for other in begun | done):
                    continue
                after = _execute(dict(state), txn)
                if after is not None and search(begun | {n}, committed, blocked, state):
                    return True
            elif n not in blocked:
                written = {key for f, key, _ in txn.micro if f != "r"}
                rivals = {
                    other.number
                    for other in txns
                    if other.number in begun
                    and other.number not in done
                    and other is not txn
                    and any(f != "r" and key in written for f, key, _ in other.micro)
                }
                if (blocked | rivals) & certain - done:
                    continue
                after = _writes(dict(state), txn)
                if search(begun, (*committed, n), blocked | rivals, tuple(sorted(after.items()))):
                    return True
        return False

    return search(frozenset(), (), frozenset(), ())


def _writes(state: dict[Any, Any], txn: Txn) -> dict[Any, Any]:
    for f, key, value in txn.micro:
        if f == "append":
            state[key] = (*state.get(key, ()), value)
        elif f == "w":
            state[key] = value
    return state


def read_committed(history: History, order: Order = "") -> bool:
    """Transactions commit one after the other; what each finds was committed before it commits itself."""
    txns = transactions(history)
    before = must_precede(txns, order)
    certain = {txn.number for txn in txns if txn.complete is not None}

    def sees(txn: Txn, past: dict[Any, set[Any]]) -> bool:
        if txn.complete is None:
            return True
        return all(view in past.get(key, {None}) for key, view in _views(txn))

    return _ordered(txns, before, certain, sees)


def _views(txn: Txn) -> Iterator[tuple[Any, Any]]:
    """What the transaction found in the keys that it read, without what it had written itself."""
    written: dict[Any, list[Any]] = {}
    for f, key, value in txn.micro:
        mine = written.setdefault(key, [])
        if f != "r":
            mine.append(value)
        elif isinstance(value, tuple):
            found = list(value)
            for own in reversed(mine):
                if found and found[-1] == own:
                    found.pop()
            yield key, tuple(found) or None
        elif value not in mine and not (value is None and mine):
            yield key, value


def _ordered(
    txns: list[Txn],
    before: dict[int, set[int]],
    certain: set[int],
    allows: Callable[[Txn, dict[Any, set[Any]]], bool],
) -> bool:
    """Whether some order of commits lets every transaction see, of each key, the states that there were
    before."""

    def search(placed: tuple[int, ...], state: dict[Any, Any], past: dict[Any, set[Any]]) -> bool:
        if certain <= set(placed):
            return True
        for txn in _ready(txns, before, certain, placed):
            if not allows(txn, past):
                continue
            after = _writes(dict(state), txn)
            states = {key: {*past.get(key, {None}), value} for key, value in after.items()}
            if search((*placed, txn.number), after, states):
                return True
        return False

    return search((), {}, {})


def _ready(
    txns: list[Txn], before: dict[int, set[int]], certain: set[int], placed: tuple[int, ...]
) -> Iterator[Txn]:
    for txn in txns:
        late = any(txn.number in before[done] for done in placed)
        if txn.number not in placed and not late and not (before[txn.number] & certain) - set(placed):
            yield txn
