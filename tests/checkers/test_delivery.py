"""Queues by counting: what is lost, duplicated, out of order or out of nowhere, and what nobody can know."""

from collections.abc import Callable
from typing import Any

import pytest

from checkers.delivery import Delivery, Guarantee, Order, delivery
from harness.history import History
from harness.verdict import Verdict

Recorded = Callable[..., History]
Rows = tuple[tuple[Any, ...], ...]


def enqueue(at: float, value: object, process: int = 0, outcome: str = "ok") -> Rows:
    return ((at, process, "invoke", "enqueue", value), (at + 0.5, process, outcome, "enqueue", value))


def dequeue(at: float, value: object, process: int = 7, outcome: str = "ok") -> Rows:
    return ((at, process, "invoke", "dequeue"), (at + 0.5, process, outcome, "dequeue", value))


def drain(at: float, *values: object, process: int = 8, outcome: str = "ok") -> Rows:
    return ((at, process, "invoke", "drain"), (at + 0.5, process, outcome, "drain", list(values)))


def verdict(
    recorded: Recorded, *rows: Rows, guarantee: Guarantee = "exactly-once", order: Order = "none"
) -> Verdict:
    return Delivery(guarantee, order).check(recorded(*[row for some in rows for row in some]))


def kinds(found: Verdict) -> list[str]:
    return [one.details["kind"] for one in found.evidence]


def test_what_is_delivered_once_is_fine(recorded: Recorded) -> None:
    found = verdict(recorded, enqueue(0, 1), enqueue(1, 2), dequeue(2, 1), drain(3, 2))
    assert found.valid == "valid"
    assert (found.details["acknowledged"], found.details["delivered"]) == (2, 2)


def test_an_acknowledged_element_that_a_later_drain_does_not_find_is_lost(recorded: Recorded) -> None:
    found = verdict(recorded, enqueue(0, 1), enqueue(1, 2), drain(2, 2))
    assert (found.valid, kinds(found), found.details["lost"]) == ("invalid", ["lost"], 1)
    assert found.summary == (
        "Lost: process 0 enqueued 1 (0.000 s to 0.500 s) and nobody ever got it, though later process 8 did "
        "drain -> [2] (2.000 s to 2.500 s)."
    )
    assert found.evidence[0].operations == [0, 1, 4, 5]


def test_a_queue_found_empty_is_as_good_as_a_drain(recorded: Recorded) -> None:
    assert kinds(verdict(recorded, enqueue(0, 1), enqueue(1, 2), dequeue(2, 2), dequeue(3, None))) == ["lost"]


def test_what_nobody_looked_for_may_be_there_still(recorded: Recorded) -> None:
    found = verdict(recorded, enqueue(0, 1), enqueue(1, 2), dequeue(2, 1))
    assert found.valid == "unknown"
    assert "1 of them were put in after the queue was last found empty" in found.summary


def test_a_crashed_dequeue_may_have_taken_one_but_not_two(recorded: Recorded) -> None:
    crashed = dequeue(4, None, process=3, outcome="info")
    one = verdict(recorded, enqueue(0, 1), enqueue(1, 2), crashed, drain(5, 2))
    assert (one.valid, one.details["missing"]) == ("unknown", 1)
    two = verdict(recorded, enqueue(0, 1), enqueue(1, 2), enqueue(2, 3), crashed, drain(5, 3))
    assert (two.valid, two.details["lost"], two.details["missing"]) == ("invalid", 1, 1)
    assert "so it is with 2 elements, and only 1 dequeues of unknown outcome" in two.summary


def test_a_crashed_drain_may_have_taken_everything(recorded: Recorded) -> None:
    crashed = drain(3, process=3, outcome="info")
    found = verdict(recorded, enqueue(0, 1), enqueue(1, 2), dequeue(2, 1), crashed, drain(5))
    assert (found.valid, found.details["lost"]) == ("unknown", 0)


def test_a_crashed_enqueue_is_never_lost_but_may_be_recovered(recorded: Recorded) -> None:
    crashed = enqueue(1, 2, process=3, outcome="info")
    gone = verdict(recorded, enqueue(0, 1), crashed, drain(2, 1))
    assert (gone.valid, gone.details["recovered"]) == ("valid", 0)
    there = verdict(recorded, enqueue(0, 1), crashed, drain(2, 1, 2))
    assert (there.valid, there.details["recovered"]) == ("valid", 1)


@pytest.mark.parametrize(("guarantee", "valid"), [("exactly-once", "invalid"), ("at-least-once", "valid")])
def test_an_element_delivered_twice_is_a_duplicate(
    recorded: Recorded, guarantee: Guarantee, valid: str
) -> None:
    found = verdict(recorded, enqueue(0, 1), dequeue(2, 1), drain(3, 1), guarantee=guarantee)
    assert (found.valid, found.details["duplicated"]) == (valid, 1)


def test_an_element_enqueued_twice_may_be_delivered_twice(recorded: Recorded) -> None:
    assert verdict(recorded, enqueue(0, 1), enqueue(1, 1), dequeue(2, 1), drain(3, 1)).valid == "valid"
    assert kinds(verdict(recorded, enqueue(0, 1), enqueue(1, 1), dequeue(2, 1), drain(3))) == ["lost"]


def test_at_most_once_allows_losses(recorded: Recorded) -> None:
    found = verdict(recorded, enqueue(0, 1), enqueue(1, 2), drain(2, 2), guarantee="at-most-once")
    assert found.valid == "valid"
    assert "1 were not delivered" in found.summary


def test_what_was_refused_or_never_enqueued_or_only_later_is_a_phantom(recorded: Recorded) -> None:
    never = verdict(recorded, enqueue(0, 1), drain(2, 1, 9))
    refused = verdict(recorded, enqueue(0, 1), enqueue(1, 9, outcome="fail"), drain(2, 1, 9))
    later = verdict(recorded, enqueue(0, 1), dequeue(1, 9), enqueue(2, 9), drain(3, 1))
    assert kinds(never) == kinds(refused) == kinds(later) == ["phantom"]
    assert "put in only later" in later.summary


def test_order_may_be_promised_to_all_or_to_each_producer(recorded: Recorded) -> None:
    same = (enqueue(0, 1), enqueue(1, 2), dequeue(2, 2), dequeue(3, 1), drain(4))
    other = (enqueue(0, 1), enqueue(1, 2, process=1), dequeue(2, 2), dequeue(3, 1), drain(4))
    assert verdict(recorded, *same).valid == "valid"
    assert kinds(verdict(recorded, *same, order="producer")) == ["reordered"]
    assert verdict(recorded, *other, order="producer").valid == "valid"
    found = verdict(recorded, *other, order="total")
    assert kinds(found) == ["reordered"]
    assert found.evidence[0].operations == [0, 1, 2, 3, 4, 5, 6, 7]


def test_what_was_enqueued_or_dequeued_at_the_same_time_has_no_order(recorded: Recorded) -> None:
    together = ((0, 0, "invoke", "enqueue", 1), *enqueue(0.1, 2, process=1), (1, 0, "ok", "enqueue", 1))
    assert verdict(recorded, together, dequeue(2, 2), dequeue(3, 1), drain(4), order="total").valid == "valid"
    both = ((2, 5, "invoke", "dequeue"), *dequeue(2.1, 2), (4, 5, "ok", "dequeue", 1))
    assert verdict(recorded, enqueue(0, 1), enqueue(1, 2), both, drain(5), order="total").valid == "valid"


def test_queues_of_several_keys_are_apart(recorded: Recorded) -> None:
    history = recorded(
        (0, 0, "invoke", "enqueue", 1, "a"),
        (1, 0, "ok", "enqueue", 1, "a"),
        (2, 0, "invoke", "dequeue", None, "b"),
        (3, 0, "ok", "dequeue", 1, "b"),
    )
    found = Delivery().check(history)
    assert kinds(found) == ["phantom"]
    assert found.evidence[0].key == "b"


@pytest.mark.parametrize("rows", [(), enqueue(0, 1), dequeue(0, None), enqueue(0, 1, outcome="info")])
def test_nothing_to_judge_is_unknown(recorded: Recorded, rows: Rows) -> None:
    assert verdict(recorded, rows).valid == "unknown"


def test_the_time_to_delivery_is_told(recorded: Recorded) -> None:
    found = verdict(recorded, enqueue(0, 1), enqueue(1, 2), dequeue(2, 1), dequeue(3, 2), drain(4))
    assert found.details["seconds to delivery"]["1.0"] == 2.5


def test_promises_are_named_on_the_command_line() -> None:
    assert delivery("") == Delivery("exactly-once", "none")
    assert delivery("total,at-least-once") == Delivery("at-least-once", "total")
    with pytest.raises(ValueError, match="no promise 'always' of delivery; there are exactly-once, "):
        delivery("always")
