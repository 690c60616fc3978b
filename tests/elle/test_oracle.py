"""elle-py against brute force: is there any execution at all that explains a small history of transactions?

Each model is written down as what it is, a machine that takes one step after the other, and all its runs are
tried. Transactions of unknown outcome may take part or not; failed ones do not. `order` says which
transactions must come before which: none, those of each process, or those that were over before others began.

What the oracle can explain is never accused, and what it cannot is never missed, but for a few in 100,000:
registers, and lists whose last appends nobody read, can hide a violation that only trying every order of two
writes proves. (Which order there was is what such histories do not tell, and to try all takes exponential
time.) Of those that are counted as such, it is made sure that they are accused under every order.

Histories come from two sources. In one a database executes transactions, now and then badly: what is wrong is
what goes wrong in databases. In the other nobody executes anything, and clients are told whatever comes to
mind: lists in a wrong order, elements twice or of nobody, values of transactions that failed, states in the
middle of others, their own future.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, permutations, product
from random import Random
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checkers.elle.analysis import Options, analyse
from checkers.elle.transactions import Workload, from_history
from harness.history import History, Op, OpType

THOROUGH = bool(os.environ.get("SPLITBRAIN_NIGHTLY"))
EXHAUSTIVE = settings(
    max_examples=100_000 if THOROUGH else 300,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    derandomize=not THOROUGH,
)

# --- Brute force ---------------------------------------------------------------------------------------

Micro = tuple[str, Any, Any]
State = tuple[tuple[Any, Any], ...]
Order = Literal["", "process", "realtime"]
BOTH: tuple[OpType, OpType] = ("invoke", "ok")


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


# --- Histories -----------------------------------------------------------------------------------------

PROCESSES = 3


class _Recorder:
    """Clients that begin transactions, a database that executes them, clients that hear of it."""

    def __init__(self, draw: st.DrawFn, workload: str, keys: int) -> None:
        self.draw = draw
        self.write = "append" if workload == "list-append" else "w"
        self.keys = keys
        self.events: list[tuple[OpType, int, list[list[Any]]]] = []
        self.open: dict[int, list[list[Any]]] = {}
        """By thread: the transaction as it was begun."""
        self.executed: dict[int, list[list[Any]]] = {}
        self.process = list(range(PROCESSES))
        self.states: list[dict[str, Any]] = [{}]
        """All that the database has been."""
        self.values = 0
        self.flawed = draw(st.booleans())

    def begin(self, thread: int) -> None:
        micro: list[list[Any]] = []
        for _ in range(self.draw(st.integers(1, 3))):
            key = "xyz"[self.draw(st.integers(0, self.keys - 1))]
            if self.draw(st.booleans()):
                micro.append(["r", key, None])
            else:
                self.values += 1
                micro.append([self.write, key, self.values])
        self.open[thread] = micro
        self.events.append(("invoke", self.process[thread], micro))

    def execute(self, thread: int) -> None:
        """Mostly on the newest state; sometimes reads come from an older one, or one by one from any."""
        flaw = self.draw(st.integers(0, 9)) if self.flawed else 0
        ago = self.draw(st.integers(1, 2)) if flaw >= 4 else 0
        snapshot = self.states[max(0, len(self.states) - 1 - ago)]
        state = dict(self.states[-1])
        seen = dict(snapshot)
        micro = []
        for f, key, value in self.open[thread]:
            if f == "r":
                if flaw >= 8:
                    seen = {**self.states[self.draw(st.integers(0, len(self.states) - 1))]}
                micro.append(["r", key, seen.get(key)])
                continue
            for version in (state, seen):
                version[key] = [*version.get(key, []), value] if f == "append" else value
            micro.append([f, key, value])
        self.states.append(state)
        self.executed[thread] = micro

    def end(self, thread: int) -> None:
        micro = self.open.pop(thread)
        done = self.executed.pop(thread, None)
        outcome = self.draw(st.sampled_from(["ok"] * 8 + ["info", "fail"]))
        if done is not None and outcome != "info":
            # A lie now and then: it failed, and was executed.
            type_: OpType = "ok" if outcome == "ok" or self.draw(st.integers(0, 3)) else "fail"
            self.events.append((type_, self.process[thread], done if type_ == "ok" else micro))
        elif done is None and outcome == "fail":
            self.events.append(("fail", self.process[thread], micro))
        else:
            self.events.append(("info", self.process[thread], micro))
            self.process[thread] += PROCESSES


@st.composite
def histories(draw: st.DrawFn, workload: str, transactions: int = 5) -> History:
    recorder = _Recorder(draw, workload, keys=draw(st.integers(1, 3)))
    begun = 0
    while begun < transactions or recorder.open:
        thread = draw(st.integers(0, PROCESSES - 1))
        if thread not in recorder.open:
            if begun >= transactions:
                thread = draw(st.sampled_from(sorted(recorder.open)))
            else:
                recorder.begin(thread)
                begun += 1
                continue
        if thread in recorder.executed or draw(st.integers(0, 5)) == 0:
            recorder.end(thread)
        else:
            recorder.execute(thread)
    return History(
        [
            Op(index=index, time=index, type=type_, process=process, f="txn", value=value)
            for index, (type_, process, value) in enumerate(recorder.events)
        ]
    )


@st.composite
def hearsay(draw: st.DrawFn, workload: str) -> History:
    """Clients that begin transactions and are told anything."""
    random = draw(st.randoms(use_true_random=False))
    keys = "xyz"[: random.randint(1, 3)]
    writes, crashes, fails, odd = (random.choice(n) for n in ((3, 5, 7), (0, 1, 4), (0, 1, 3), (0, 0, 1)))
    process = list(range(random.randint(1, 4)))
    written: dict[str, list[int]] = {key: [] for key in keys}
    events: list[tuple[OpType, int, list[list[Any]]]] = []
    open_: dict[int, list[list[Any]]] = {}
    left = random.randint(2, 5)
    while left or open_:
        thread = random.randrange(len(process))
        if thread not in open_ and left:
            left -= 1
            open_[thread] = []
            for _ in range(random.choice((0, 1, 1, 2, 2, 2, 3, 4))):
                key = random.choice(keys)
                if random.randrange(10) >= writes:
                    open_[thread].append(["r", key, None])
                    continue
                value = 1 + sum(map(len, written.values()))
                written[key].append(value)
                open_[thread].append(["append" if workload == "list-append" else "w", key, value])
            events.append(("invoke", process[thread], open_[thread]))
        elif thread in open_:
            micro, how = open_.pop(thread), random.randrange(10)
            if how >= crashes:
                events.append(("ok" if how >= crashes + fails else "fail", process[thread], micro))
                continue
            if random.randrange(2):  # else nobody ever hears of it
                events.append(("info", process[thread], micro))
            process[thread] += 10
    orders = {
        key: random.sample(of, len(of)) if random.randrange(10) < 4 else of for key, of in written.items()
    }
    told = _told_of_lists if workload == "list-append" else _told_of_registers
    return History(
        [
            Op(
                index=index,
                time=index,
                type=type_,
                process=number,
                f="txn",
                value=told(random, micro, orders, odd) if type_ == "ok" else micro,
            )
            for index, (type_, number, micro) in enumerate(events)
        ]
    )


def _told_of_lists(
    random: Random, micro: list[list[Any]], orders: dict[str, list[int]], odd: int
) -> list[list[Any]]:
    """Mostly the beginning of some order, and what the transaction has appended itself."""
    done: list[list[Any]] = []
    for f, key, value in micro:
        if f != "r":
            done.append([f, key, value])
            continue
        order = orders[key]
        own = [v for g, k, v in micro if g != "r" and k == key]
        mine = [v for g, k, v in done if g != "r" and k == key]
        found = order[: random.randint(0, len(order))]
        if mine and random.randrange(10) < 8:
            until = order.index(own[0]) if random.randrange(10) < 6 else len(found)
            found = [v for v in order[:until] if v not in own] + mine
        if random.randrange(10) < odd:
            found = random.sample(order, random.randint(0, len(order)))
        if random.randrange(10) < odd and found:
            found = [*found, random.choice(found)]
        if random.randrange(10) < odd:
            found = [*found, 99]
        done.append(["r", key, found or random.choice((None, []))])
    return done


def _told_of_registers(
    random: Random, micro: list[list[Any]], orders: dict[str, list[int]], odd: int
) -> list[list[Any]]:
    """Mostly what the transaction knows of the key already, or else any value, or none."""
    done: list[list[Any]] = []
    for f, key, value in micro:
        known = [v for _, k, v in done if k == key]
        if f != "r":
            done.append([f, key, value])
        elif random.randrange(10) < odd:
            done.append(["r", key, 99])
        elif known and random.randrange(10) < 8:
            done.append(["r", key, known[-1]])
        else:
            done.append(["r", key, random.choice([None, *orders[key]])])
    return done


# --- Side by side --------------------------------------------------------------------------------------

Oracle = Callable[[History, Order], bool]
MODELS: list[tuple[str, Oracle, Order]] = [
    ("read-committed", read_committed, ""),
    ("strong-session-read-committed", read_committed, "process"),
    ("strong-read-committed", read_committed, "realtime"),
    ("snapshot-isolation", snapshot_isolated, ""),
    ("strong-session-snapshot-isolation", snapshot_isolated, "process"),
    ("strong-snapshot-isolation", snapshot_isolated, "realtime"),
    ("serializable", serializable, ""),
    ("strong-session-serializable", serializable, "process"),
    ("strict-serializable", serializable, "realtime"),
]


HIDDEN_MAX = 20 if THOROUGH else 0
"""So many histories may hide what is wrong with them in the order of their writes."""
hidden: Counter[Workload] = Counter()


def agree(history: History, workload: Workload) -> None:
    if hides(history, workload):
        hidden[workload] += 1
        assert hidden[workload] <= HIDDEN_MAX


def hides(history: History, workload: Workload) -> bool:
    """Whether elle-py does not see what is wrong for want of the order of the writes, under any model. Under
    all others it says what the oracle says."""
    found = False
    transactions = from_history(history)
    for model, oracle, order in MODELS:
        analysis = analyse(transactions, workload, Options((model,), ("garbage-read",)))
        if analysis.nothing:
            continue
        told = [case.summary for cases in analysis.cases.values() for case in cases]
        if oracle(history, order):
            assert analysis.valid == "valid", (model, analysis.valid, told)
        elif analysis.valid == "valid":
            assert all(accused(ordered, model) for ordered in with_order_of_writes(history)), (model, told)
            found = True
    return found


def accused(history: History, model: str) -> bool:
    analysis = analyse(from_history(history), "list-append", Options((model,), ("garbage-read",)))
    return analysis.valid != "valid"


def with_order_of_writes(history: History) -> Iterator[History]:
    """The same as lists, for every order that its writes may have had: each read then shows all that had been
    written, and one more transaction, beside all the others, what there is at the end. One of them is
    explained if and only if the history is."""
    writes: dict[Any, list[list[Any]]] = defaultdict(list)
    certain: dict[Any, list[list[Any]]] = defaultdict(list)
    for invoke, completion in history.pairs():
        if completion is not None and completion.type == "fail":
            continue
        by_key: dict[Any, list[Any]] = defaultdict(list)
        for f, key, value in invoke.value:
            by_key[key] += [value] if f != "r" else []
        for key, values in by_key.items():
            if values:
                writes[key].append(values)
                if completion is not None and completion.type == "ok":
                    certain[key].append(values)
    orders = [
        [
            list(chain.from_iterable(some))
            for count in range(len(certain[key]), len(made) + 1)
            for some in permutations(made, count)
            if all(values in some for values in certain[key])
        ]
        for key, made in writes.items()
    ]
    for chosen in product(*orders):
        end = dict(zip(writes, chosen, strict=True))
        try:
            ops = [
                msgspec.structs.replace(
                    op, index=op.index + 1, time=op.time + 1, value=[_as_list(one, end) for one in op.value]
                )
                for op in history.ops
            ]
        except ValueError:  # a read shows what this order leaves out
            continue
        reads = [["r", key, None] for key in end], [["r", key, values] for key, values in end.items()]
        last = len(ops) + 1
        yield History(
            [
                Op(index=0, time=0, type="invoke", process=99, f="txn", value=reads[0]),
                *ops,
                Op(index=last, time=last, type="ok", process=99, f="txn", value=reads[1]),
            ]
        )


def _as_list(micro: list[Any], end: dict[Any, list[Any]]) -> list[Any]:
    f, key, value = micro
    if f != "r":
        return ["append", key, value]
    if value is None or isinstance(value, list):
        return ["r", key, value]
    return ["r", key, end[key][: end[key].index(value) + 1]]


@EXHAUSTIVE
@given(st.one_of(histories("list-append"), hearsay("list-append")))
def test_lists_are_accused_if_and_only_if_no_execution_explains_them(history: History) -> None:
    agree(history, "list-append")


@EXHAUSTIVE
@given(st.one_of(histories("rw-register"), hearsay("rw-register")))
def test_registers_are_accused_if_and_only_if_no_execution_explains_them(history: History) -> None:
    agree(history, "rw-register")


def history_of(*events: tuple[OpType, int, list[Any]]) -> History:
    return History(
        [
            Op(index=at, time=at, type=type_, process=process, f="txn", value=value)
            for at, (type_, process, value) in enumerate(events)
        ]
    )


def test_a_violation_whichever_of_two_appends_nobody_read_was_first_may_be_hidden() -> None:
    """T0 and T3 had both begun before T1 was over, and were not over when T2 began: both append to x."""
    assert hides(
        history_of(
            ("invoke", 0, [["r", "y", None], ["append", "x", 1]]),
            ("invoke", 2, [["r", "x", None], ["append", "y", 2]]),
            ("ok", 0, [["r", "y", None], ["append", "x", 1]]),
            ("invoke", 1, [["r", "y", None], ["append", "x", 3]]),
            ("ok", 2, [["r", "x", None], ["append", "y", 2]]),
            ("invoke", 2, [["r", "x", None]]),
            ("ok", 1, [["r", "y", None], ["append", "x", 3]]),
            ("ok", 2, [["r", "x", None]]),
        ),
        "list-append",
    )


def test_a_violation_whichever_of_two_blind_writes_was_first_may_be_hidden() -> None:
    """Both write y after T0, which saw none of it, and before the first write of x, which T0 overwrites."""
    transactions = [
        [["w", "x", 1], ["w", "x", 2], ["w", "x", 3], ["r", "y", None]],
        [["r", "x", None], ["w", "x", 4]],
        [["r", "x", None], ["w", "y", 5]],
        [["r", "x", None], ["w", "y", 6]],
    ]
    events: list[tuple[OpType, int, list[Any]]]
    events = [(type_, 0, one) for one in transactions for type_ in BOTH]
    assert hides(history_of(*events), "rw-register")


def test_an_order_that_explains_the_history_is_among_those_that_are_tried() -> None:
    """And it is not accused: what is found hidden is hidden by the order of writes, and by nothing else."""
    skew: list[list[Any]] = [
        [["r", "x", None], ["w", "y", 1]],
        [["r", "y", None], ["w", "x", 2]],
        [["w", "x", 3]],
    ]
    events: list[tuple[OpType, int, list[Any]]]
    events = [(type_, process, one) for type_ in BOTH for process, one in enumerate(skew)]
    history = history_of(*events)
    found = [accused(one, "snapshot-isolation") for one in with_order_of_writes(history)]
    assert sorted(found) == [False, False]
    assert all(accused(one, "serializable") for one in with_order_of_writes(history))


@pytest.mark.parametrize(("model", "oracle", "order"), MODELS)
def test_the_oracles_can_tell_a_write_skew_from_a_lost_update(
    model: str, oracle: Oracle, order: Order
) -> None:
    def history(*values: list[list[Any]]) -> History:
        ops = [Op(index=i, time=i, type="invoke", process=i, f="txn", value=v) for i, v in enumerate(values)]
        count = len(ops)
        ops += [
            Op(index=count + i, time=count + i, type="ok", process=i, f="txn", value=v)
            for i, v in enumerate(values)
        ]
        return History(ops)

    skew = history([["r", "x", None], ["w", "y", 1]], [["r", "y", None], ["w", "x", 2]])
    lost = history([["r", "x", None], ["w", "x", 1]], [["r", "x", None], ["w", "x", 2]])
    assert oracle(skew, order) == ("serializable" not in model)
    assert oracle(lost, order) == ("committed" in model)
