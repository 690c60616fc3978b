"""Followers say of every prefix of a history what the checkers say, and remember no more than they must."""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checkers import online
from checkers.linearizable import Linearizable
from checkers.online import Follower, RegisterFollower
from checkers.online_set import SetFollower
from checkers.set_full import SetFull
from harness.history import History, Op
from harness.verdict import Verdict, Violation
from tests.checkers.steps import Choices, choices

Recorded = Callable[..., History]

THOROUGH = bool(os.environ.get("SPLITBRAIN_NIGHTLY"))
EXAMPLES = settings(
    max_examples=100_000 if THOROUGH else 400,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=not THOROUGH,
)

STEPS = choices(clients=5, least=20, most=40, what=20, how=12)


class Script:
    """A history from choices: an idle client begins something, a busy one completes it, or crashes."""

    def __init__(self, clients: int) -> None:
        self.ops: list[Op] = []
        self.clients = clients
        self.busy: dict[int, Op] = {}
        self.crashes = [0] * clients

    def begin(self, client: int, f: str, value: Any, key: int = 0) -> None:
        process = client + self.clients * self.crashes[client]
        op = Op(len(self.ops), len(self.ops), "invoke", process, f, key, value)
        self.busy[client] = op
        self.ops.append(op)

    def end(self, client: int, type_: Any, value: Any) -> None:
        begun = self.busy.pop(client)
        at = len(self.ops)
        self.ops.append(Op(at, at, type_, begun.process, begun.f, begun.key, value))
        if type_ == "info":
            self.crashes[client] += 1


OUTCOMES = ("ok",) * 16 + ("info", "info", "fail", "ok")


def registers(steps: Choices, *, cas: bool, values: int, keys: int = 1, unique: bool = True) -> list[Op]:
    """Few values, and reads that show any of the last few: most of such a history is wrong, but only just."""
    script = Script(5)
    written: list[list[Any]] = [[None] for _ in range(keys)]
    for client, what, how in steps:
        if client not in script.busy:
            key = how % keys
            known = written[key]
            new = len(script.ops) if unique else how % 3
            if what < 12 or len(known) > values:
                script.begin(client, "read", None, key)
            elif cas and what >= 16:
                script.begin(client, "cas", [known[-1 - how % min(len(known), 3)], new], key)
                known.append(new)
            else:
                script.begin(client, "write", new, key)
                known.append(new)
            continue
        begun = script.busy[client]
        known = written[begun.key]  # type: ignore[index]
        value = begun.value
        if begun.f == "read" and OUTCOMES[what] == "ok":
            value = known[-1 - how % min(len(known), 3)]
        script.end(client, OUTCOMES[what], value)
    return script.ops


def sets(steps: Choices, *, honest: bool) -> list[Op]:
    """Adds, now and then of the same element again, and reads that may lack or invent something."""
    script = Script(5)
    added: list[int] = []
    for client, what, how in steps:
        if client not in script.busy:
            if what < 8 and len(added) < 8:
                element = added[-1] if added and how == 0 else len(script.ops)
                added.append(element)
                script.begin(client, "add", element)
            else:
                script.begin(client, "read", None)
            continue
        begun = script.busy[client]
        value: Any = begun.value
        if begun.f == "read" and OUTCOMES[what] == "ok":
            value = sorted(set(added))
            if how < 4 and value:
                del value[-1 - (how % len(value))]
            if how == 5:
                value = [*value, *value[:1]]
            if how == 6 and not honest:
                value = [*value, -1]
        script.end(client, OUTCOMES[what], value)
    return script.ops


def follow(follower: Follower, ops: Iterable[Op]) -> Violation | None:
    for op in ops:
        violation = follower.event(op)
        if violation is not None:
            assert violation.event == op.index
            return violation
    return None


def assert_agreement(follower: Follower, check: Callable[[History], bool], ops: Sequence[Op]) -> None:
    """`check`: whether a history is in order. What is wrong stays wrong, so two prefixes stand for all."""
    violation = follow(follower, ops)
    if violation is None:
        assert check(History(list(ops))) or follower.gave_up is not None
        return
    assert not check(History(list(ops[: violation.event + 1]))), violation
    if follower.gave_up is None:
        assert check(History(list(ops[: violation.event]))), violation


def linearizable(history: History) -> bool:
    return Linearizable().check(history).valid != "invalid"


@given(STEPS, st.booleans(), st.integers(2, 6), st.booleans())
@EXAMPLES
def test_registers_are_followed_exactly(steps: Choices, cas: bool, values: int, forgetful: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # So that it forgets at every write whatever it may.
        patch.setattr(online, "_FORGET_AFTER", 1 if forgetful else 1024)
        assert_agreement(RegisterFollower(), linearizable, registers(steps, cas=cas, values=values))


@given(STEPS, st.booleans())
@EXAMPLES
def test_keys_whose_values_repeat_are_given_up_or_followed_exactly(steps: Choices, forgetful: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(online, "_FORGET_AFTER", 1 if forgetful else 1024)
        ops = registers(steps, cas=True, values=6, keys=2, unique=False)
        assert_agreement(RegisterFollower(), linearizable, ops)


@given(STEPS, st.booleans())
@EXAMPLES
def test_linearizable_sets_are_followed_exactly(steps: Choices, honest: bool) -> None:
    def in_order(history: History) -> bool:
        return SetFull(linearizable=True).check(history).valid != "invalid"

    assert_agreement(SetFollower(linearizable=True), in_order, sets(steps, honest=honest))


@given(STEPS, st.booleans())
@EXAMPLES
def test_of_other_sets_all_but_loss_is_followed_exactly(steps: Choices, honest: bool) -> None:
    def in_order(history: History) -> bool:
        verdict = SetFull().check(history)
        return not {one.details["kind"] for one in verdict.evidence} & {"unexpected", "duplicated"}

    assert_agreement(SetFollower(), in_order, sets(steps, honest=honest))


@pytest.mark.parametrize(
    "script",
    [
        # A write that began before the last read of what it overwrites, and is over after it.
        "w1[ r.[ r.] w1] r.[ r.]*",
        # The same, but its place is known only from a read of it.
        "w1[ w2[ w1] r2[ s1[ w2] t1[ s1] r2] t1]*",
        # What had hidden a block is itself over.
        "w1[ w2[ s2[ w1] w2] r1[ r1] s2] t2[ t2]*",
    ],
)
def test_blocks_that_hide_one_another_are_remembered(script: str) -> None:
    ops: list[Op] = []
    for at, word in enumerate(script.removesuffix("*").split()):
        f = "write" if word[0] == "w" else "read"
        value = None if word[1] == "." else int(word[1])
        type_, seen = ("invoke", None if f == "read" else value) if word[2] == "[" else ("ok", value)
        process = sorted({one[:2] for one in script.split()}).index(word[:2])
        ops.append(Op(at, at, type_, process, f, None, seen))  # type: ignore[arg-type]
    violation = follow(RegisterFollower(), ops)
    assert violation is not None and violation.event == len(ops) - 1
    assert_agreement(RegisterFollower(), linearizable, ops)


def test_a_stale_read_is_found_as_it_ends(recorded: Recorded) -> None:
    history = recorded(
        (0, 0, "invoke", "write", 1, "x"),
        (1, 0, "ok", "write", 1, "x"),
        (2, 1, "invoke", "read", None, "x", "n2"),
        (3, 1, "ok", "read", None, "x", "n2"),
        (4, 1, "invoke", "read", None, "x", "n2"),
    )
    violation = follow(RegisterFollower(), history.ops)
    assert violation is not None
    assert (violation.event, violation.kind, violation.key) == (3, "stale read", "x")
    assert violation.summary == (
        "Stale read on key x, as the read of process 1 on n2 ended as ok: "
        "the initial value had certainly been overwritten before that read began."
    )


def test_a_write_that_fails_after_it_was_read_is_found_as_it_fails(recorded: Recorded) -> None:
    history = recorded(
        (0, 0, "invoke", "write", 1),
        (1, 1, "invoke", "read"),
        (2, 1, "ok", "read", 1),
        (3, 0, "fail", "write", 1),
    )
    violation = follow(RegisterFollower(), history.ops)
    assert violation is not None and (violation.event, violation.kind) == (3, "read of a failed write")


def test_a_crashed_write_may_be_seen_at_any_later_time_but_not_leave_again(recorded: Recorded) -> None:
    rows = [
        (0, 0, "invoke", "write", 1),
        (1, 0, "info", "write", 1),
        (2, 1, "invoke", "write", 2),
        (3, 1, "ok", "write", 2),
        (4, 1, "invoke", "read"),
        (5, 1, "ok", "read", 2),
        (6, 1, "invoke", "read"),
        (7, 1, "ok", "read", 1),
    ]
    assert follow(RegisterFollower(), recorded(*rows).ops) is None
    again = recorded(*rows, (8, 1, "invoke", "read"), (9, 1, "ok", "read", 2))
    violation = follow(RegisterFollower(), again.ops)
    assert violation is not None and violation.event == 9


def test_a_key_whose_value_is_written_twice_is_given_up_with_the_reason(recorded: Recorded) -> None:
    history = recorded(
        (0, 0, "invoke", "write", 1, "x"),
        (1, 0, "ok", "write", 1, "x"),
        (2, 0, "invoke", "write", 1, "x"),
        (3, 0, "ok", "write", 1, "x"),
        (4, 0, "invoke", "read", None, "x"),
        (5, 0, "ok", "read", 9, "x"),
        (6, 0, "invoke", "read", None, "y"),
        (7, 0, "ok", "read", 9, "y"),
    )
    follower = RegisterFollower()
    violation = follow(follower, history.ops)
    assert follower.gave_up == "event 2 on key x: 1 is written again while it can still be read"
    assert violation is not None and violation.key == "y"


def test_a_follower_remembers_no_more_than_can_still_matter() -> None:
    follower = RegisterFollower()
    index = 0
    largest = 0
    for value in range(20_000):
        for op in (
            ("invoke", "write", value),
            ("ok", "write", value),
            ("invoke", "read", None),
            ("ok", "read", value),
        ):
            type_, f, carried = op
            assert follower.event(Op(index, index, type_, 0, f, "x", carried)) is None  # type: ignore[arg-type]
            index += 1
        key = follower._keys["x"]
        assert key is not None
        largest = max(largest, follower.kept, len(key.stairs))
    assert largest < 3 * online._FORGET_AFTER


def test_a_set_is_followed_to_the_first_read_that_lacks_what_was_known(recorded: Recorded) -> None:
    history = recorded(
        (0, 0, "invoke", "add", 1),
        (1, 1, "invoke", "read"),
        (2, 0, "ok", "add", 1),
        (3, 1, "ok", "read", []),
        (4, 1, "invoke", "read"),
        (5, 1, "ok", "read", []),
    )
    violation = follow(SetFollower(linearizable=True), history.ops)
    assert violation is not None and violation.event == 5
    assert "1 was known when it began, and it lacks it" in violation.summary
    assert follow(SetFollower(), history.ops) is None


def verdict_of(history: History) -> Verdict:
    return SetFull().check(history)


def test_an_element_added_again_after_a_refusal_is_expected_only_from_then_on(recorded: Recorded) -> None:
    refused = ((0, 0, "invoke", "add", 1), (1, 0, "fail", "add", 1))
    added = ((4, 0, "invoke", "add", 1), (5, 0, "ok", "add", 1))
    early = ((2, 1, "invoke", "read"), (3, 1, "ok", "read", [1]))
    late = ((6, 1, "invoke", "read"), (7, 1, "ok", "read", [1]))
    assert verdict_of(recorded(*refused, *added, *late)).valid == "valid"
    assert verdict_of(recorded(*refused, *early, *added, *late)).details["unexpected"] == 1
