"""Blocking queries: woken by what they wait for, never shown less than before."""

import os
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checkers.watch import Watch
from harness.history import NEMESIS, History

Recorded = Callable[..., History]
Row = tuple[Any, ...]

THOROUGH = bool(os.environ.get("SPLITBRAIN_NIGHTLY"))

CHECKER = Watch(wake=1.0, settle=5.0)


def write(at: float, value: int, took: float = 0.1, key: str = "x") -> list[Row]:
    return [(at, 0, "invoke", "write", value, key, "n1"), (at + took, 0, "ok", "write", value, key, "n1")]


def watch(
    begin: float,
    end: float,
    index: int,
    shown: tuple[int, Any] | None,
    *,
    process: int = 1,
    wait: float = 10.0,
    node: str = "n2",
    outcome: str = "ok",
) -> list[Row]:
    """`shown`: the answer's index and value."""
    asked = {"index": index, "wait": wait}
    given = {"index": shown[0], "value": shown[1]} if shown is not None else asked
    return [
        (begin, process, "invoke", "watch", asked, "x", node),
        (end, process, outcome, "watch", given, "x", node),
    ]


def history_of(recorded: Recorded, *parts: list[Row]) -> History:
    return recorded(*sorted((row for part in parts for row in part), key=lambda row: row[0]))


FIRST = [*write(0, 1), *watch(1, 1.1, 0, (5, 1))]
"""1 is written, and a watch is told that its index is 5."""


def test_a_watch_that_is_woken_by_the_change_is_right(recorded: Recorded) -> None:
    history = history_of(recorded, FIRST, watch(2, 4.2, 5, (7, 2)), write(4, 2))
    verdict = CHECKER.check(history)
    assert verdict.valid == "valid", verdict
    assert verdict.details["wake-up seconds"]["1.0"] == 0.1
    assert verdict.summary.startswith("1 of 2 watches were woken by a change, the slowest 0.1 s after")


def test_a_watch_that_waits_in_vain_is_right_too(recorded: Recorded) -> None:
    woken = [*watch(2, 4.2, 5, (7, 2)), *write(4, 2)]
    history = history_of(recorded, FIRST, woken, watch(5, 15.4, 7, (7, 2)))
    verdict = CHECKER.check(history)
    assert verdict.valid == "valid"
    assert verdict.details["waited in vain"] == 1


def test_a_watch_that_sleeps_through_the_change_until_its_wait_is_over_missed_it(recorded: Recorded) -> None:
    history = history_of(recorded, FIRST, watch(2, 12.1, 5, (7, 2)), write(4, 2))
    verdict = CHECKER.check(history)
    assert verdict.valid == "invalid"
    assert verdict.summary == (
        "Late wake-up on key x: process 1 on n2 waited for a change past index 5 and was shown 2 at index 7 "
        "(2.000 s to 12.100 s): 2 was there, process 0 on n1 wrote 2 (4.000 s to 4.100 s), and it was "
        "answered only 8.000 s later."
    )
    assert verdict.evidence[0].operations == [4, 5, 6, 7]


def test_an_answer_without_the_change_missed_it(recorded: Recorded) -> None:
    history = history_of(recorded, FIRST, watch(2, 8.1, 5, (5, 1), wait=6), write(4, 2))
    checker = Watch(wake=1.0, settle=5.0, fresh=False)
    verdict = checker.check(history)
    assert verdict.evidence[0].details["kind"] == "missed wake-up"
    assert "was answered 4.000 s later, without it" in verdict.summary


def test_no_answer_at_all_is_a_missed_wake_up(recorded: Recorded) -> None:
    history = history_of(recorded, FIRST, watch(2, 9, 5, None, outcome="info"), write(4, 2))
    verdict = CHECKER.check(history)
    assert verdict.valid == "invalid"
    assert "was not answered in the 4.900 s that followed" in verdict.summary


def test_a_change_that_only_another_watch_has_shown_is_due(recorded: Recorded) -> None:
    crashed = [(3, 9, "invoke", "write", 2, "x", "n1"), (3.5, 9, "info", "write", 2, "x", "n1")]
    other = watch(2, 4, 5, (7, 2), process=2)
    history = history_of(recorded, FIRST, crashed, other, watch(2.5, 9, 5, (7, 2), process=3))
    verdict = CHECKER.check(history)
    assert verdict.valid == "invalid"
    assert "process 2 on n2 waited for a change past index 5 and was shown 2" in verdict.summary


def test_a_missing_key_is_waited_for_like_any_other(recorded: Recorded) -> None:
    empty = watch(0, 0.1, 0, (3, None))
    good = history_of(recorded, empty, watch(1, 2.3, 3, (4, 1)), write(2, 1))
    assert CHECKER.check(good).valid == "valid"
    late = history_of(recorded, empty, watch(1, 6, 3, (4, 1)), write(2, 1))
    assert CHECKER.check(late).valid == "invalid"


def test_an_answer_that_is_overdue_though_nothing_changed_is_caught(recorded: Recorded) -> None:
    woken = [*watch(2, 4.2, 5, (7, 2)), *write(4, 2)]
    assert CHECKER.check(history_of(recorded, FIRST, woken, watch(5, 16.5, 7, (7, 2)))).valid == "valid"
    verdict = CHECKER.check(history_of(recorded, FIRST, woken, watch(5, 16.7, 7, (7, 2))))
    assert verdict.valid == "invalid" and verdict.evidence[0].details["kind"] == "overdue"
    asked_at_once = CHECKER.check(history_of(recorded, FIRST, woken, watch(5, 6.1, 0, (7, 2))))
    assert asked_at_once.evidence[0].details["kind"] == "overdue"


def test_a_spurious_wake_up_is_allowed(recorded: Recorded) -> None:
    woken = [*watch(2, 4.2, 5, (7, 2)), *write(4, 2)]
    verdict = CHECKER.check(history_of(recorded, FIRST, woken, watch(5, 5.5, 7, (7, 2))))
    assert verdict.valid == "valid"
    assert verdict.details["spurious"] == 1


def cut(begin: float, end: float) -> list[Row]:
    return [
        (begin, NEMESIS, "info", "start-partition"),
        (begin, NEMESIS, "info", "start-partition", {"cut": [["n1", "n2"]]}),
        (end, NEMESIS, "info", "stop-partition"),
        (end, NEMESIS, "info", "stop-partition", {"cut": []}),
    ]


@pytest.mark.parametrize(
    ("heal", "valid"), [(6.0, "valid"), (0.5, "invalid")], ids=["while it lasts", "long before"]
)
def test_a_fault_excuses_a_delay_while_it_lasts_and_a_while_longer(
    recorded: Recorded, heal: float, valid: str
) -> None:
    woken = [*watch(2, 4.2, 5, (7, 2)), *write(4, 2)]
    delayed = [*watch(13, 20, 7, (9, 3)), *write(15, 3)]
    history = history_of(recorded, FIRST, woken, cut(10, 10 + heal), delayed)
    assert CHECKER.check(history).valid == valid


def test_an_index_that_goes_back_is_caught_anywhere_if_answers_are_fresh(recorded: Recorded) -> None:
    woken = [*watch(2, 4.2, 5, (7, 2)), *write(4, 2)]
    stale = watch(5, 5.1, 0, (5, 1), process=2, node="n3")
    history = history_of(recorded, FIRST, woken, stale)
    assert CHECKER.check(history).evidence[0].details["kind"] == "back"
    # Another server may be behind, but no server may go back.
    assert Watch(1.0, 5.0, fresh=False).check(history).valid == "valid"
    same_server = history_of(recorded, FIRST, woken, watch(5, 5.1, 0, (5, 1), process=2))
    assert Watch(1.0, 5.0, fresh=False).check(same_server).evidence[0].details["kind"] == "back"


def test_a_fresh_answer_shows_what_was_written_before_it_was_asked(recorded: Recorded) -> None:
    woken = [*watch(2, 4.2, 5, (7, 2)), *write(4, 2)]
    history = history_of(recorded, FIRST, woken, write(5, 3), watch(6, 6.1, 0, (7, 2)))
    verdict = CHECKER.check(history)
    assert verdict.valid == "invalid" and "process 0 on n1 wrote 3" in verdict.summary


def test_indices_that_contradict_each_other_are_caught(recorded: Recorded) -> None:
    woken = [*watch(2, 4.2, 5, (7, 2)), *write(4, 2)]
    two_values = history_of(recorded, FIRST, woken, write(5, 3), watch(6, 6.1, 0, (7, 3)))
    assert "gave two values one version, 7" in CHECKER.check(two_values).summary
    two_indices = history_of(recorded, FIRST, woken, watch(6, 6.1, 0, (8, 2)))
    assert "gave 2 two versions, 7 and 8" in CHECKER.check(two_indices).summary
    against_time = history_of(
        recorded, write(0, 1), write(1, 2), watch(2, 2.1, 0, (5, 2)), watch(3, 3.1, 0, (9, 1))
    )
    assert any(
        one.details["kind"] == "index" for one in Watch(1.0, 5.0, fresh=False).check(against_time).evidence
    )


def test_what_nobody_wrote_is_caught(recorded: Recorded) -> None:
    history = history_of(recorded, FIRST, watch(2, 3, 5, (7, 9)))
    assert "nobody ever wrote 9" in CHECKER.check(history).summary


def test_without_a_watch_that_saw_a_change_nothing_is_known(recorded: Recorded) -> None:
    assert CHECKER.check(recorded()).valid == "unknown"
    assert CHECKER.check(history_of(recorded, write(0, 1))).valid == "unknown"
    nothing_new = CHECKER.check(history_of(recorded, FIRST, watch(2, 12.1, 5, (5, 1))))
    assert nothing_new.valid == "unknown"
    assert "no watch that waited saw a change" in nothing_new.summary


def honest(seed: int, sleeper: bool = False) -> list[Row]:
    """A minute of a store that wakes whoever waits within a second; with `sleeper`, but for one."""
    random = Random(seed)
    changes: list[tuple[float, int, int]] = []  # when it took effect, index, value
    rows: list[Row] = []
    clock, value = 0.0, 0
    while clock < 55:
        clock += random.expovariate(0.5) + 0.01
        value += 1
        took = random.uniform(0.001, 0.3)
        rows += write(clock, value, took)
        changes.append((clock + random.uniform(0, took), 10 + value * 3, value))
        clock += took

    def state(at: float) -> tuple[int, int | None]:
        known = [change for change in changes if change[0] <= at]
        return known[-1][1:] if known else (3, None)

    for process in range(1, 4):
        clock, index, wait = random.uniform(0, 1), 0, 4.0
        while clock < 55:
            later = [at for at, one, _ in changes if one > index]
            woken = max(clock, later[0]) if later else 1e9
            end = min(woken, clock + wait * random.uniform(1, 1 + 1 / 16)) if index else clock
            if sleeper and process == 1 and index:
                end = clock + wait
            shown = state(end)
            finish = end + random.uniform(0.001, 0.9 if index else 0.1)
            rows += watch(clock, finish, index, shown, process=process, wait=wait, node=f"n{process}")
            clock, index = finish + random.uniform(0.001, 0.3), shown[0]
    return rows


@given(st.integers(0, 10**9))
@settings(
    max_examples=100_000 if THOROUGH else 150,
    deadline=None,
    derandomize=not THOROUGH,
    suppress_health_check=list(HealthCheck),
)
def test_an_honest_store_is_never_accused_and_one_that_sleeps_is(recorded: Recorded, seed: int) -> None:
    verdict = CHECKER.check(history_of(recorded, honest(seed)))
    assert verdict.valid != "invalid", verdict
    # With changes two seconds apart on average, one that always sleeps for four of them is late.
    asleep = CHECKER.check(history_of(recorded, honest(seed, sleeper=True)))
    assert asleep.valid == "invalid"
    assert {one.details["kind"] for one in asleep.evidence} == {"late wake-up"}


def test_a_watch_of_another_form_is_told(recorded: Recorded) -> None:
    history = recorded((0, 0, "invoke", "watch", 7, "x"), (1, 0, "ok", "watch", 8, "x"))
    verdict = CHECKER.check(history)
    assert verdict.valid == "unknown"
    assert 'event 0: a watch takes {"index": ..., "wait": ...}, not 7' in verdict.summary
