"""Session guarantees: what each forbids, what none does, and an oracle that tries every order of versions."""

import itertools
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checkers.sessions import GUARANTEES, SINGLE, Sessions
from harness.history import History, Op, OpType
from tests.checkers.steps import Choices, choices

Recorded = Callable[..., History]
Row = tuple[Any, ...]

RYW, MR, MW, WFR = SINGLE


def one_after_another(*steps: Row) -> list[Row]:
    """Operations that do not overlap: (process, f, value, key, version), each an invocation and an ok."""
    rows: list[Row] = []
    for process, f, value, *rest in steps:
        key, version = (*rest, None, None)[:2]
        at = len(rows)
        rows.append((at, process, "invoke", f, None if f == "read" else value, key))
        rows.append((at + 1, process, "ok", f, value, key, None, version))
    return rows


# --- Each guarantee


def test_a_session_that_reads_its_own_writes_and_never_goes_back_is_valid(recorded: Recorded) -> None:
    rows = one_after_another(
        (0, "write", 1), (0, "read", 1), (1, "write", 2), (0, "read", 2), (0, "write", 3)
    )
    verdict = Sessions(GUARANTEES).check(recorded(*rows))
    assert verdict.valid == "valid", verdict
    assert "read-your-writes (1 operations)" in verdict.summary or "read-your-writes" in verdict.summary


def test_a_read_that_lacks_the_sessions_own_write_is_caught(recorded: Recorded) -> None:
    rows = one_after_another((0, "write", 1, "x"), (0, "read", None, "x"))
    verdict = Sessions().check(recorded(*rows))
    assert verdict.valid == "invalid"
    assert verdict.evidence[0].summary == (
        "Read-your-writes on key x: process 0 wrote 1 (0.000 s to 1.000 s), and then process 0 read nothing "
        "(2.000 s to 3.000 s), which is older: the initial value is the oldest."
    )
    assert verdict.evidence[0].operations == [0, 1, 2, 3]
    assert verdict.details["violations"][RYW] == 1


def test_another_sessions_newer_write_may_be_read_in_place_of_the_own(recorded: Recorded) -> None:
    rows = one_after_another((0, "write", 1), (1, "write", 2), (0, "read", 2))
    assert Sessions([RYW]).check(recorded(*rows)).valid == "valid"
    older = one_after_another((1, "write", 2), (0, "write", 1), (0, "read", 2))
    verdict = Sessions([RYW]).check(recorded(*older))
    assert verdict.valid == "invalid"
    assert "which is older: process 1 wrote 2 (0.000 s to 1.000 s), before 1 was written" in verdict.summary


def test_a_session_that_reads_an_older_value_after_a_newer_one_is_caught(recorded: Recorded) -> None:
    rows = one_after_another((0, "write", 1), (0, "write", 2), (1, "read", 2), (1, "read", 1))
    verdict = Sessions([MR]).check(recorded(*rows))
    assert verdict.valid == "invalid" and verdict.summary.startswith("Monotonic-reads: process 1 read 2")
    other_session = one_after_another((0, "write", 1), (0, "write", 2), (1, "read", 2), (2, "read", 1))
    assert Sessions([MR]).check(recorded(*other_session)).valid == "unknown"


CONCURRENT = [
    (0, 0, "invoke", "write", 1),
    (0, 1, "invoke", "write", 2),
    (1, 0, "ok", "write", 1),
    (1, 1, "ok", "write", 2),
]


def reads(*steps: tuple[int, Any]) -> list[Row]:
    rows: list[Row] = []
    for process, value in steps:
        at = 2 + len(rows)
        rows += [(at, process, "invoke", "read"), (at + 1, process, "ok", "read", value)]
    return rows


def test_concurrent_writes_may_be_read_in_either_order_but_not_in_both(recorded: Recorded) -> None:
    for one, other in ((1, 2), (2, 1)):
        history = recorded(*CONCURRENT, *reads((2, one), (2, other)))
        assert Sessions([MR]).check(history).valid == "valid"
    back_and_forth = Sessions([MR]).check(recorded(*CONCURRENT, *reads((2, 1), (2, 2), (2, 1))))
    assert back_and_forth.valid == "invalid"
    assert "whichever value is the older, the session went back" in back_and_forth.summary
    two_minds = Sessions([MR]).check(recorded(*CONCURRENT, *reads((2, 1), (2, 2), (3, 2), (3, 1))))
    assert two_minds.valid == "invalid"
    assert "no order of the versions fits" in two_minds.summary
    assert {4, 6, 8, 10} <= set(two_minds.evidence[0].operations)


def test_the_order_of_concurrent_writes_is_known_from_their_versions(recorded: Recorded) -> None:
    seen = [
        (2, 2, "invoke", "read"), (3, 2, "ok", "read", 2, None, None, 9),
        (4, 2, "invoke", "read"), (5, 2, "ok", "read", 1, None, None, 8),
    ]  # fmt: skip
    verdict = Sessions([MR]).check(recorded(*CONCURRENT, *seen))
    assert verdict.valid == "invalid"
    assert "1 has version 8, and 2 9" in verdict.summary


def test_writes_that_take_effect_in_another_order_than_their_session_made_them_are_caught(
    recorded: Recorded,
) -> None:
    rows = one_after_another((0, "write", 1, None, 7), (0, "write", 2, None, 5))
    unordered = Sessions([MW], "unordered").check(recorded(*rows))
    assert unordered.valid == "invalid" and unordered.summary.startswith("Monotonic-writes")
    # Where real time orders writes it is the system that contradicts itself.
    assert "Version order" in Sessions([MW]).check(recorded(*rows)).summary


def test_a_write_that_takes_effect_before_what_its_session_had_read_is_caught(recorded: Recorded) -> None:
    rows = one_after_another((0, "write", 1, None, 7), (1, "read", 1, None, 7), (1, "write", 2, None, 5))
    verdict = Sessions([WFR], "unordered").check(recorded(*rows))
    assert verdict.valid == "invalid" and verdict.summary.startswith("Writes-follow-reads")


def test_whoever_saw_a_sessions_later_write_must_see_its_earlier_one_on_another_key(
    recorded: Recorded,
) -> None:
    rows = one_after_another(
        (0, "write", 1, "x"), (0, "write", 2, "y"), (1, "read", 2, "y"), (1, "read", None, "x")
    )
    verdict = Sessions(["pram"]).check(recorded(*rows))
    assert verdict.valid == "invalid"
    assert "Pram on key x: process 1 read 2 (4.000 s to 5.000 s), which comes after process 0 wrote 1" in (
        verdict.summary
    )
    assert Sessions(SINGLE).check(recorded(*rows)).details["violations"]["pram"] == 1


RELAYED = (
    (0, "write", 1, "x"),
    (1, "read", 1, "x"),
    (1, "write", 2, "y"),
    (2, "read", 2, "y"),
    (2, "read", None, "x"),
)


def test_what_a_session_had_seen_before_it_wrote_goes_with_its_write(recorded: Recorded) -> None:
    history = recorded(*one_after_another(*RELAYED))
    assert Sessions(["causal"]).check(history).valid == "invalid"
    assert Sessions(["pram"]).check(history).valid == "valid"


def test_pram_and_causal_hold_where_nothing_was_seen(recorded: Recorded) -> None:
    rows = one_after_another(
        (0, "write", 1, "x"), (0, "write", 2, "y"), (1, "read", None, "y"), (1, "read", None, "x")
    )
    assert Sessions(["pram", "causal"]).check(recorded(*rows)).valid == "valid"


# --- What is no violation, and what nobody can know


def test_a_write_of_unknown_outcome_binds_nobody(recorded: Recorded) -> None:
    crashed = [(0, 0, "invoke", "write", 1), (1, 0, "info", "write", 1)]
    history = recorded(*crashed, (2, 10, "invoke", "read"), (3, 10, "ok", "read", None))
    assert Sessions([RYW]).check(history).details["violations"][RYW] == 0


def test_a_process_that_follows_a_crashed_one_is_another_session(recorded: Recorded) -> None:
    rows = [
        *one_after_another((0, "write", 1), (0, "write", 2), (1, "read", 2)),
        (6, 1, "invoke", "read"), (7, 1, "info", "read"),
        (8, 11, "invoke", "read"), (9, 11, "ok", "read", 1),
    ]  # fmt: skip
    assert Sessions([MR]).check(recorded(*rows)).details["violations"][MR] == 0


def test_what_is_broken_but_not_promised_is_told_and_breaks_nothing(recorded: Recorded) -> None:
    rows = one_after_another((0, "write", 1), (0, "read", None), (1, "read", 1), (1, "read", 1))
    verdict = Sessions([MR]).check(recorded(*rows))
    assert verdict.valid == "valid"
    assert "Broken, but not promised: read-your-writes 1 times" in verdict.summary
    assert verdict.evidence[0].details["kind"] == RYW


def test_a_read_of_what_nobody_wrote_breaks_everything(recorded: Recorded) -> None:
    verdict = Sessions([MR]).check(recorded(*one_after_another((0, "read", 9), (0, "read", 9))))
    assert verdict.valid == "invalid"
    assert verdict.summary == (
        "Read from nowhere: process 0 read 9 (0.000 s to 1.000 s), and nobody ever wrote 9."
    )


def test_a_value_written_twice_makes_its_key_unknown_unless_there_are_versions(recorded: Recorded) -> None:
    rows = one_after_another(
        (0, "write", 1), (0, "write", 2), (0, "write", 1), (1, "read", 2), (1, "read", 1)
    )
    verdict = Sessions([MR]).check(recorded(*rows))
    assert verdict.valid == "unknown"
    assert "on 1 of 1 keys a value was written more than once" in verdict.summary
    versioned = one_after_another(
        (0, "write", 1, None, 1), (0, "write", 2, None, 2), (0, "write", 1, None, 3),
        (1, "read", 2, None, 2), (1, "read", 1, None, 3),
    )  # fmt: skip
    assert Sessions([MR]).check(recorded(*versioned)).valid == "valid"
    back = [*versioned, (20, 1, "invoke", "read"), (21, 1, "ok", "read", 1, None, None, 1)]
    assert Sessions([MR]).check(recorded(*back)).valid == "invalid"


def test_versions_that_contradict_each_other_are_told(recorded: Recorded) -> None:
    two = one_after_another((0, "write", 1, None, 4), (1, "read", 1, None, 5))
    assert "gave 1 two versions, 4 and 5" in Sessions([MR]).check(recorded(*two)).summary
    shared = one_after_another((0, "write", 1, None, 4), (1, "write", 2, None, 4))
    assert "gave two values one version, 4" in Sessions([MR]).check(recorded(*shared)).summary


def test_without_anything_to_judge_nothing_is_known(recorded: Recorded) -> None:
    assert Sessions().check(recorded()).valid == "unknown"
    only_writes = Sessions([RYW]).check(recorded(*one_after_another((0, "write", 1), (0, "write", 2))))
    assert only_writes.valid == "unknown"
    assert "no session did anything that read-your-writes speaks of" in only_writes.summary
    strange = Sessions().check(recorded(*one_after_another((0, "acquire", 1))))
    assert strange.valid == "unknown" and "acquire" in strange.summary


def test_a_guarantee_that_there_is_none_of_is_an_error() -> None:
    with pytest.raises(ValueError, match="no guarantee linearizable; there are read-your-writes"):
        Sessions(["linearizable"])


# --- The oracle


@dataclass
class Done:
    """An operation that happened."""

    process: Any
    key: Any
    start: int
    end: int
    ok: bool
    observed: Any = None
    wrote: Any = None
    number: int | None = None


def happened(history: History) -> Iterator[Done]:
    for invoke, completion in history.pairs():
        ok = completion is not None and completion.type == "ok"
        if not ok and (invoke.f == "read" or (completion is not None and completion.type == "fail")):
            continue
        end = completion.index if ok and completion is not None else len(history)
        done = Done(invoke.process, invoke.key, invoke.index, end, ok)
        if completion is not None and ok:
            done.number = completion.version
        if invoke.f == "read" and completion is not None:
            done.observed = (invoke.key, completion.value)
        elif invoke.f == "write":
            done.wrote = (invoke.key, invoke.value)
        elif invoke.f == "cas":
            done.observed, done.wrote = ((invoke.key, value) for value in invoke.value)
        yield done


class Oracle:
    """The definitions, tried out on every order of each key's versions."""

    def __init__(self, history: History, writes: str) -> None:
        every = list(happened(history))
        self.horizon = len(history)
        self.start = {one.wrote: one.start for one in every if one.wrote}
        self.end = {one.wrote: one.end for one in every if one.wrote}
        for one in every:
            if one.observed in self.end:
                self.end[one.observed] = min(self.end[one.observed], one.end)
        for _ in every:
            for one in every:
                if one.wrote and one.observed in self.end:
                    self.end[one.observed] = min(self.end[one.observed], self.end[one.wrote])
        self.done = [one for one in every if one.ok or self.end[one.wrote] < self.horizon]
        self.versions = {version for version, end in self.end.items() if end < self.horizon}
        self.before: set[tuple[Any, Any]] = {((version[0], None), version) for version in self.versions}
        numbers: dict[Any, int] = {}
        for one in every:
            if one.number is not None:
                numbers.setdefault(one.wrote or one.observed, one.number)
        for a, b in itertools.permutations(self.versions, 2):
            if a[0] == b[0] and (
                (writes == "linearizable" and self.end[a] < self.start[b])
                or (a in numbers and b in numbers and numbers[a] < numbers[b])
            ):
                self.before.add((a, b))
        self.before |= {(one.observed, one.wrote) for one in self.done if one.observed and one.wrote}

    @property
    def impossible(self) -> bool:
        """A read of what was not there."""
        return any(
            one.ok and one.observed and one.observed[1] is not None
            and self.start.get(one.observed, self.horizon) > one.end
            for one in self.done
        )  # fmt: skip

    def allows(self, guarantee: str) -> bool:
        demands = set(self.demands(guarantee))
        by_key = defaultdict(list)
        for version in self.versions:
            by_key[version[0]].append(version)
        return all(
            any(self.fits(order, demands) for order in itertools.permutations(by_key[key]))
            for key in {one.key for one in self.done}
        )

    def fits(self, order: Any, demands: set[tuple[Any, Any]]) -> bool:
        place = {version: at for at, version in enumerate(order, 1)}
        for version in order:
            place[version[0], None] = 0
        inside = [(a, b) for a, b in self.before if a in place and b in place]
        asked = [(a, b) for a, b in demands if a in place and b in place]
        return all(place[a] < place[b] for a, b in inside) and all(place[a] <= place[b] for a, b in asked)

    def demands(self, guarantee: str) -> Iterator[tuple[Any, Any]]:
        """Pairs of versions, the first of which may not be the newer."""
        for a, b in itertools.product(self.done, repeat=2):
            if a.process != b.process or a.start >= b.start or a.key != b.key:
                continue
            observed_a, observed_b = a.ok and a.observed, b.ok and b.observed
            if a.wrote and observed_b and guarantee in (RYW, "pram", "causal"):
                yield a.wrote, observed_b
            if observed_a and observed_b and guarantee in (MR, "pram", "causal"):
                yield observed_a, observed_b
            if a.wrote and b.wrote and guarantee in (MW, "pram", "causal"):
                yield a.wrote, b.wrote
            if observed_a and b.wrote and guarantee in (WFR, "causal"):
                yield observed_a, b.wrote
        if guarantee in ("pram", "causal"):
            yield from self.past_demands(causal=guarantee == "causal")

    def past_demands(self, *, causal: bool) -> Iterator[tuple[Any, Any]]:
        for one in self.done:
            earlier = [a for a in self.done if a.process == one.process and a.start < one.start]
            for past, version in (
                (self.closed(earlier, causal), one.wrote),
                (self.closed([*earlier, *([one] if one.observed and not one.wrote else [])], causal)
                 + self.authors(one, causal), one.ok and one.observed),
            ):  # fmt: skip
                for a in past:
                    if version and a.wrote and a.key == one.key and a is not one:
                        yield a.wrote, version

    def authors(self, one: Done, causal: bool) -> list[Done]:
        """What the write of the version that it observed brings along."""
        found = [w for w in self.done if w.wrote and w.wrote == one.observed]
        for w in list(found):
            found += [a for a in self.done if a.process == w.process and a.start < w.start]
        return self.closed(found, causal) if causal else found

    def closed(self, operations: list[Done], causal: bool) -> list[Done]:
        """With what came before what they observed."""
        found = list(operations)
        for one in found if causal else list(operations):
            for author in self.authors_of(one):
                if author not in found:
                    found.append(author)
        return found

    def authors_of(self, one: Done) -> list[Done]:
        writers = [w for w in self.done if w.wrote and w.wrote == one.observed]
        return writers + [
            a for w in writers for a in self.done if a.process == w.process and a.start < w.start
        ]


THOROUGH = bool(os.environ.get("SPLITBRAIN_NIGHTLY"))


@given(
    choices(clients=3, least=10, most=34, what=20, how=12),
    st.integers(1, 3),
    st.booleans(),
    st.sampled_from(GUARANTEES),
    st.sampled_from(("linearizable", "unordered")),
)
@settings(
    max_examples=100_000 if THOROUGH else 1_000,
    deadline=None,
    derandomize=not THOROUGH,
    suppress_health_check=list(HealthCheck),
)
def test_it_agrees_with_the_definitions(
    steps: Choices,
    keys: int,
    numbered: bool,
    guarantee: str,
    writes: Literal["linearizable", "unordered"],
) -> None:
    history = History(history_from(steps, keys, numbered))
    oracle = Oracle(history, writes)
    verdict = Sessions([guarantee], writes).check(history)
    if oracle.impossible:
        assert verdict.valid != "valid"
    elif not any(one.details.get("kind") == "version numbers" for one in verdict.evidence):
        assert (verdict.valid != "invalid") == oracle.allows(guarantee), verdict


def history_from(steps: Choices, keys: int, numbered: bool) -> list[Op]:
    """An idle client begins something, a busy one completes it, or crashes; few values, read at random."""
    ops: list[Op] = []
    busy: dict[int, Op] = {}
    crashes = [0, 0, 0]
    values: dict[Any, list[Any]] = {key: [None] for key in range(keys)}
    numbers: dict[tuple[Any, Any], int] = {}
    for client, what, how in steps:
        at = len(ops)
        if client not in busy:
            key = how % keys
            known = values[key]
            f = ("read", "read", "write", "write", "cas")[what % 5] if len(known) < 5 else "read"
            value: Any = {"read": None, "write": at, "cas": [known[-1 - how % min(2, len(known))], at]}[f]
            op = Op(at, at, "invoke", client + 3 * crashes[client], f, key, value)
            if f != "read":
                known.append(at)
                numbers[key, at] = 10 * at + (0, 0, 33, 71)[how % 4]
            busy[client] = op
        else:
            begun = busy.pop(client)
            known = values[begun.key]
            kind: OpType = "info" if what == 18 else "fail" if what == 19 and begun.f != "read" else "ok"
            crashes[client] += kind == "info"
            value, number = begun.value, None
            if kind == "fail":
                known.remove(value if begun.f == "write" else value[1])
            if kind == "ok" and begun.f == "read":
                value = known[-1 - how % min(3, len(known))]
                number = numbers.get((begun.key, value), 0)
            elif kind == "ok" and how % 2:
                number = numbers[begun.key, value if begun.f == "write" else value[1]]
            number = number if numbered else None
            op = Op(at, at, kind, begun.process, begun.f, begun.key, value, None, None, number)
        ops.append(op)
    return ops
