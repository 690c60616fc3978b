"""Locks: two who believe to hold one, leases that expire, and tokens that would have saved the day."""

from collections.abc import Callable
from typing import Any

import pytest

from checkers.catalogue import checker_named
from checkers.delivery import Delivery
from checkers.locks import Locks
from checkers.unique_ids import UniqueIds
from harness.history import History

Recorded = Callable[..., History]
Rows = tuple[tuple[Any, ...], ...]


def acquire(at: float, process: int, token: object = None, outcome: str = "ok") -> Rows:
    return ((at, process, "invoke", "acquire"), (at + 0.5, process, outcome, "acquire", token))


def release(at: float, process: int, outcome: str = "ok") -> Rows:
    return ((at, process, "invoke", "release"), (at + 0.5, process, outcome, "release"))


def use(at: float, process: int, token: object, outcome: str = "ok") -> Rows:
    return ((at, process, "invoke", "use", token), (at + 0.5, process, outcome, "use", token))


def test_holds_that_follow_each_other_are_safe(recorded: Recorded) -> None:
    found = Locks().check(recorded(*acquire(0, 0), *release(1, 0), *acquire(2, 1), *release(3, 1)))
    assert (found.valid, found.details["holds"]) == ("valid", 2)


def test_two_holders_at_once_are_found(recorded: Recorded) -> None:
    found = Locks().check(recorded(*acquire(0, 0), *acquire(1, 1), *release(3, 0), *release(4, 1)))
    assert found.valid == "invalid"
    assert found.summary == (
        "Two holders at once: process 1 acquired the lock (1.000 s to 1.500 s), but the lock was held: "
        "process 0 acquired the lock (0.000 s to 0.500 s), until process 0 released the lock (3.000 s to "
        "3.500 s)."
    )
    assert found.details["seconds overlapping"] == 1.5
    assert found.evidence[0].operations == list(range(8))


def test_an_overlap_behind_a_short_hold_is_found_too(recorded: Recorded) -> None:
    rows = (*acquire(0, 0), *acquire(1, 1), *release(2, 1), *acquire(3, 2), *release(5, 0))
    assert Locks().check(recorded(*rows)).details["overlapping holds"] == 2


def test_a_holder_keeps_the_lock_until_it_asks_to_release_it_and_no_longer(recorded: Recorded) -> None:
    asked = recorded(*acquire(0, 0), *release(1, 0, "info"), *acquire(2, 1))
    assert Locks().check(asked).valid == "valid"
    assert Locks().check(recorded(*acquire(0, 0), *acquire(2, 1))).valid == "invalid"


def test_a_crashed_acquire_holds_nothing(recorded: Recorded) -> None:
    assert Locks().check(recorded(*acquire(0, 0, outcome="info"), *acquire(1, 1))).valid == "valid"


def test_a_process_does_not_lock_itself_out(recorded: Recorded) -> None:
    rows = (*acquire(0, 0), *acquire(1, 0), *release(2, 0), *acquire(3, 1))
    assert Locks().check(recorded(*rows)).valid == "valid"


def test_with_a_lease_nobody_holds_the_lock_for_ever(recorded: Recorded) -> None:
    history = recorded(*acquire(0, 0), *acquire(2, 1), *acquire(2.7, 2))
    found = Locks(lease_seconds=1.5).check(history)
    assert found.valid == "invalid"
    assert "process 2 acquired" in found.summary
    assert Locks(lease_seconds=0.6).check(history).valid == "valid"


def test_a_lease_that_is_taken_again_is_a_hold_of_its_own(recorded: Recorded) -> None:
    history = recorded(*acquire(0, 0), *acquire(3, 0), *acquire(4, 1))
    assert Locks(lease_seconds=2).check(history).valid == "invalid"


def test_with_fencing_overlaps_are_counted_and_allowed(recorded: Recorded) -> None:
    rows = (*acquire(0, 0, 1), *acquire(1, 1, 2), *use(2, 1, 2), *use(3, 0, 1, "fail"))
    found = Locks(fencing=True).check(recorded(*rows))
    assert (found.valid, found.details["overlapping holds"]) == ("valid", 1)


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        ((*acquire(0, 0, 1), *acquire(1, 1, 1)), "token given twice"),
        ((*acquire(0, 0, 2), *acquire(1, 1, 1)), "token did not grow"),
        (
            (*acquire(0, 0, 1), *acquire(1, 1, 2), *use(2, 1, 2), *use(3, 0, 1)),
            "stale token accepted",
        ),
    ],
)
def test_tokens_that_do_not_fence_are_found(recorded: Recorded, rows: Rows, kind: str) -> None:
    found = Locks(fencing=True).check(recorded(*rows))
    assert (found.valid, found.evidence[0].details["kind"]) == ("invalid", kind)


def test_tokens_asked_for_or_used_at_the_same_time_have_no_order(recorded: Recorded) -> None:
    asked = ((0, 0, "invoke", "acquire"), *acquire(0.1, 1, 2), (1, 0, "ok", "acquire", 1))
    assert Locks(fencing=True).check(recorded(*asked)).valid == "valid"
    used = (*acquire(0, 0, 1), *acquire(1, 1, 2), (2, 0, "invoke", "use", 1), *use(2.1, 1, 2))
    assert Locks(fencing=True).check(recorded(*used, (3, 0, "ok", "use", 1))).valid == "valid"


def test_without_a_hold_or_without_a_token_nobody_knows(recorded: Recorded) -> None:
    assert Locks().check(recorded(*acquire(0, 0, outcome="fail"))).valid == "unknown"
    assert Locks(fencing=True).check(recorded(*acquire(0, 0), *release(1, 0))).valid == "unknown"
    assert Locks().check(recorded()).valid == "unknown"


def test_locks_of_several_keys_are_apart(recorded: Recorded) -> None:
    events = [("invoke", "a"), ("ok", "a"), ("invoke", "b"), ("ok", "b")]
    rows = [
        (at, 0 if key == "a" else 1, type_, "acquire", None, key) for at, (type_, key) in enumerate(events)
    ]
    assert Locks().check(recorded(*rows)).valid == "valid"


def test_the_checkers_are_named_on_the_command_line() -> None:
    assert checker_named("locks") == Locks()
    assert checker_named("locks:fencing") == Locks(fencing=True)
    assert checker_named("locks:1.5") == Locks(lease_seconds=1.5)
    assert checker_named("unique-ids:increasing") == UniqueIds(increasing=True)
    assert checker_named("delivery:producer") == Delivery(order="producer")
    with pytest.raises(ValueError, match="may only be 'increasing'"):
        checker_named("unique-ids:sorted")
