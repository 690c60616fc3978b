"""What monitors find, by example: each violation by its name, and the near miss that is none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from checkers.linearizable import Linearizable
from checkers.models import model_named
from checkers.monitors import Ambiguous, Calls, monitor_of
from harness import cli
from harness.history import History, Op, encode
from harness.store import EXIT_CODES
from harness.verdict import Verdict

Recorded = Callable[..., History]
Rows = list[tuple[Any, ...]]


def op(
    at: float, process: int, f: str, argument: object = None, result: object = None, end: float = 0
) -> Rows:
    """One that succeeds: from `at` until `end`, or half a second."""
    return [(at, process, "invoke", f, argument), (end or at + 0.5, process, "ok", f, result)]


def crash(at: float, process: int, f: str, argument: object = None) -> Rows:
    return [(at, process, "invoke", f, argument), (at + 0.1, process, "info", f, None)]


def judged(recorded: Recorded, model: str, *operations: Rows) -> Verdict:
    """What is said of these; a monitor must have said it."""
    history = recorded(*sorted((row for rows in operations for row in rows), key=lambda row: row[0]))
    verdict = Linearizable(model).check(history)
    assert verdict.details.get("keys by search", 0) == 0, "this was left to the search"
    return verdict


def found(recorded: Recorded, model: str, kind: str, *operations: Rows) -> Verdict:
    verdict = judged(recorded, model, *operations)
    assert verdict.valid == "invalid"
    assert verdict.evidence[0].details["kind"] == kind, verdict.summary
    return verdict


def fine(recorded: Recorded, model: str, *operations: Rows) -> None:
    verdict = judged(recorded, model, *operations)
    assert verdict.valid == "valid", verdict.summary


# --- Queues --------------------------------------------------------------------------------------------


def test_a_dequeue_before_the_enqueue_is_from_the_future(recorded: Recorded) -> None:
    verdict = found(
        recorded, "queue", "From the future", op(0, 0, "dequeue", None, 5), op(1, 1, "enqueue", 5)
    )
    assert verdict.evidence[0].summary == (
        "From the future: process 0 dequeued 5 (0.000 s to 0.500 s) before it was put in: process 1 enqueued "
        "5 (1.000 s to 1.500 s)."
    )
    fine(recorded, "queue", op(0, 0, "dequeue", None, 5, end=2), op(1, 1, "enqueue", 5))


def test_a_queue_that_lets_one_overtake_another_is_out_of_order(recorded: Recorded) -> None:
    first, second = op(0, 0, "enqueue", 1), op(1, 0, "enqueue", 2)
    verdict = found(
        recorded,
        "queue",
        "Out of order",
        first,
        second,
        op(2, 0, "dequeue", None, 2),
        op(3, 0, "dequeue", None, 1),
    )
    assert verdict.evidence[0].operations == list(range(8))
    together = [op(2, 0, "dequeue", None, 2), op(2.2, 1, "dequeue", None, 1)]
    fine(recorded, "queue", first, second, *together)


def test_an_element_that_stays_while_later_ones_leave_is_lost(recorded: Recorded) -> None:
    rows = [op(0, 0, "enqueue", 1), op(1, 0, "enqueue", 2), op(3, 0, "dequeue", None, 2)]
    verdict = found(recorded, "queue", "Lost element", *rows)
    assert "nobody took 1 (process 0 enqueued 1 (0.000 s to 0.500 s))" in verdict.summary
    fine(recorded, "queue", *rows, crash(2, 3, "dequeue"))
    found(recorded, "queue", "Lost element", *rows, crash(4, 3, "dequeue"))


def test_crashed_dequeues_take_one_each(recorded: Recorded) -> None:
    rows = [op(i, 0, "enqueue", i) for i in range(3)]
    rows += [crash(3, 3, "dequeue"), op(4, 0, "dequeue", None, 2)]
    verdict = found(recorded, "queue", "Lost element", *rows)
    assert "nobody took 0, 1, but for 1 of unknown outcome that may have taken one each" in verdict.summary
    fine(recorded, "queue", *rows, crash(3.3, 4, "dequeue"))


def test_a_queue_is_not_empty_while_one_after_another_is_inside(recorded: Recorded) -> None:
    inside = [op(0, 0, "enqueue", 1), op(1, 0, "enqueue", 2), op(3, 0, "dequeue", None, 1)]
    verdict = found(recorded, "queue", "Not empty", *inside, op(2, 1, "dequeue", end=4))
    assert "found it empty" in verdict.summary
    fine(recorded, "queue", *inside, op(4, 0, "dequeue", None, 2), op(2, 1, "dequeue", end=4.2))


def test_what_nobody_put_in_or_only_once_is_named(recorded: Recorded) -> None:
    verdict = found(recorded, "queue", "From nowhere", op(0, 0, "dequeue", None, 9))
    assert "nobody ever put in 9" in verdict.summary
    refused = [(0, 1, "invoke", "enqueue", 9), (0.1, 1, "fail", "enqueue", 9)]
    verdict = found(recorded, "queue", "From nowhere", refused, op(1, 0, "dequeue", None, 9))
    assert "it had been refused" in verdict.summary
    takes = [op(1, 0, "dequeue", None, 1), op(2, 0, "dequeue", None, 1)]
    found(recorded, "queue", "Taken twice", op(0, 0, "enqueue", 1), *takes)


def test_a_crashed_enqueue_happens_when_it_is_seen_or_never(recorded: Recorded) -> None:
    late = [crash(0, 3, "enqueue", 1), op(1, 0, "enqueue", 2), op(2, 0, "dequeue", None, 2)]
    fine(recorded, "queue", *late)
    fine(recorded, "queue", *late, op(3, 0, "dequeue"), op(4, 0, "dequeue", None, 1), op(5, 0, "dequeue"))


def test_without_an_order_nothing_overtakes(recorded: Recorded) -> None:
    rows = [op(0, 0, "enqueue", 1), op(1, 0, "enqueue", 2), op(2, 0, "dequeue", None, 2)]
    fine(recorded, "unordered-queue", *rows, op(3, 0, "dequeue", None, 1), op(4, 0, "dequeue"))
    found(recorded, "unordered-queue", "Not empty", *rows, op(3, 0, "dequeue"))


# --- Stacks --------------------------------------------------------------------------------------------


def test_a_pop_of_what_lies_below_is_out_of_order(recorded: Recorded) -> None:
    pushes = [op(0, 0, "push", 1), op(1, 0, "push", 2)]
    verdict = found(
        recorded, "stack", "Out of order", *pushes, op(2, 0, "pop", None, 1), op(3, 0, "pop", None, 2)
    )
    assert verdict.evidence[0].summary == (
        "Out of order: process 0 popped 1 (2.000 s to 2.500 s), but 2 was above it: process 0 pushed 1 "
        "(0.000 s to 0.500 s), then process 0 pushed 2 (1.000 s to 1.500 s), and that left only later: "
        "process 0 popped 2 (3.000 s to 3.500 s)."
    )
    fine(recorded, "stack", *pushes, op(2, 0, "pop", None, 1, end=4), op(3, 1, "pop", None, 2))


def test_a_stretch_without_a_bottom_needs_no_pair_that_is_wrong(recorded: Recorded) -> None:
    """1, 2 and 3 follow each other without a break, and no two of them contradict each other."""
    rows = [
        op(0, 0, "push", 1), op(2, 0, "pop", None, 1, end=3),
        op(1, 1, "push", 2, end=2.2), op(4, 1, "pop", None, 2, end=6),
        op(3.2, 2, "push", 3), op(5, 2, "pop", None, 3, end=7),
    ]  # fmt: skip
    fine(recorded, "stack", *rows)
    tangled = [
        op(0, 0, "push", 1), op(3, 0, "pop", None, 1),
        op(1, 1, "push", 2), op(5, 1, "pop", None, 2),
        op(4, 2, "push", 3), op(7, 2, "pop", None, 3),
    ]  # fmt: skip
    verdict = found(recorded, "stack", "Out of order", *tangled)
    assert len(verdict.evidence[0].operations) <= 12


def test_an_element_that_stays_above_one_that_leaves_is_lost_unless_a_crashed_pop_took_it(
    recorded: Recorded,
) -> None:
    rows = [op(0, 0, "push", 1), op(1, 0, "push", 2), op(3, 0, "pop", None, 1)]
    verdict = found(recorded, "stack", "Out of order", *rows)
    assert "nobody popped that" in verdict.summary
    fine(recorded, "stack", *rows, crash(2, 3, "pop"))
    found(recorded, "stack", "Lost element", *rows, crash(4, 3, "pop"))


def test_a_push_and_a_pop_at_the_same_time_disturb_nobody(recorded: Recorded) -> None:
    rows = [op(0, 0, "push", 1), op(3, 0, "pop", None, 1)]
    fine(recorded, "stack", *rows, op(1, 1, "push", 2, end=2), op(1.5, 2, "pop", None, 2, end=2.5))
    found(recorded, "stack", "Not empty", *rows, op(1, 1, "pop", end=2))


# --- Priority queues -----------------------------------------------------------------------------------


def test_a_greater_element_is_not_taken_before_a_lesser_one(recorded: Recorded) -> None:
    inserts = [op(0, 0, "insert", 2), op(1, 0, "insert", 1)]
    verdict = found(recorded, "priority-queue", "Out of order", *inserts, op(2, 0, "delete-min", None, 2))
    assert "something less was inside: 1 was (process 0 inserted 1 (1.000 s to 1.500 s))" in verdict.summary
    fine(recorded, "priority-queue", *inserts, op(1.2, 1, "delete-min", None, 2))
    fine(
        recorded, "priority-queue", *inserts, op(2, 0, "delete-min", None, 1), op(3, 0, "delete-min", None, 2)
    )
    fine(recorded, "priority-queue", *inserts, crash(1.7, 3, "delete-min"), op(2, 0, "delete-min", None, 2))


def test_more_lesser_elements_than_crashed_takes_are_lost(recorded: Recorded) -> None:
    rows = [op(i, 0, "insert", "cab"[i]) for i in range(3)]
    rows += [crash(3, 3, "delete-min"), op(4, 0, "delete-min", None, "c")]
    found(recorded, "priority-queue", "Lost element", *rows)
    fine(recorded, "priority-queue", *rows, crash(3, 4, "delete-min"))


def test_elements_without_an_order_make_it_unknown(recorded: Recorded) -> None:
    verdict = judged(recorded, "priority-queue", op(0, 0, "insert", 1), op(1, 0, "insert", "a"))
    assert (verdict.valid, "all numbers or all strings" in verdict.summary) == ("unknown", True)


# --- Locks ---------------------------------------------------------------------------------------------


def test_two_holders_at_once_are_found(recorded: Recorded) -> None:
    verdict = found(recorded, "mutex", "Two holders at once", op(0, 0, "acquire"), op(1, 1, "acquire"))
    assert verdict.evidence[0].summary == (
        "Two holders at once: process 0 acquired the lock (0.000 s to 0.500 s); process 1 acquired the lock "
        "(1.000 s to 1.500 s); and nobody can have released it in between."
    )
    fine(recorded, "mutex", op(0, 0, "acquire"), op(1, 1, "acquire"), op(0.2, 2, "release", end=3))
    fine(recorded, "mutex", op(0, 0, "acquire"), op(1, 1, "acquire"), crash(0.7, 2, "release"))
    found(
        recorded,
        "mutex",
        "Two holders at once",
        op(0, 0, "acquire"),
        op(1, 1, "acquire"),
        crash(2, 2, "release"),
    )


def test_a_lock_that_is_free_is_not_released(recorded: Recorded) -> None:
    found(recorded, "mutex", "Released while free", op(0, 0, "release"), op(1, 0, "acquire"))
    fine(recorded, "mutex", op(0, 0, "release", end=2), op(1, 1, "acquire"))


def test_a_semaphore_has_as_many_holders_as_permits(recorded: Recorded) -> None:
    holders = [op(i, i, "acquire") for i in range(3)]
    found(recorded, "semaphore:2", "Too many holders", *holders)
    fine(recorded, "semaphore:3", *holders)


def test_only_its_holder_releases_a_lock(recorded: Recorded) -> None:
    found(recorded, "owner-mutex", "Released by another", op(0, 0, "acquire"), op(1, 1, "release"))
    fine(recorded, "mutex", op(0, 0, "acquire"), op(1, 1, "release"))
    found(recorded, "owner-mutex", "Acquired twice", op(0, 0, "acquire"), op(1, 0, "acquire"))
    fine(recorded, "reentrant-mutex", op(0, 0, "acquire"), op(1, 0, "acquire"))


def test_a_holder_that_crashed_holds_for_ever_unless_it_was_releasing(recorded: Recorded) -> None:
    acquired, other = op(0, 0, "acquire"), op(2, 1, "acquire")
    found(recorded, "owner-mutex", "Two holders at once", acquired, other)
    fine(recorded, "owner-mutex", acquired, crash(1, 0, "release"), other)
    fine(recorded, "owner-mutex", crash(0, 0, "acquire"), other)


def test_fencing_tokens_grow_with_every_holder(recorded: Recorded) -> None:
    def handed_over(first: object, second: object) -> list[Rows]:
        return [op(0, 0, "acquire", None, first), op(1, 0, "release"), op(2, 1, "acquire", None, second)]

    fine(recorded, "fenced-mutex", *handed_over(1, 2))
    fine(recorded, "fenced-mutex", *handed_over(2, None))
    found(recorded, "fenced-mutex", "Fencing token did not grow", *handed_over(2, 1))
    found(recorded, "fenced-mutex", "Fencing token did not grow", *handed_over(2, 2))
    again = op(0, 0, "acquire", None, 1), op(1, 0, "acquire", None, 2)
    found(recorded, "reentrant-fenced-mutex", "Fencing token changed", *again)


# --- Counters, sets and logs ---------------------------------------------------------------------------


def test_a_counter_that_goes_back_is_found(recorded: Recorded) -> None:
    adds = [op(0, 0, "add", 1), op(1, 0, "add", 1, end=9)]
    found(recorded, "counter", "Went back", *adds, op(2, 1, "read", None, 2), op(3, 1, "read", None, 1))
    fine(recorded, "counter", *adds, op(2, 1, "read", None, 1), op(3, 1, "read", None, 2))


def test_a_read_is_within_what_was_added_for_certain_and_what_may_have_been(recorded: Recorded) -> None:
    adds = [op(0, 0, "add", 5), crash(1, 3, "add", 2)]
    for count in (4, 8):
        found(recorded, "counter", "Out of bounds", *adds, op(2, 0, "read", None, count))
    found(
        recorded,
        "counter",
        "Out of bounds",
        op(0, 0, "add", 2),
        crash(1, 3, "add", 2),
        op(2, 0, "read", None, 3),
    )


def test_a_set_shows_what_was_added_and_not_removed(recorded: Recorded) -> None:
    added = op(0, 0, "add", 1, True)
    found(recorded, "set", "Not seen, but there", added, op(1, 0, "contains", 1, False))
    fine(recorded, "set", added, op(1, 0, "contains", 1, False), crash(0.7, 3, "remove", 1))
    found(recorded, "set", "Added twice", added, op(1, 0, "add", 1, True))
    fine(recorded, "set", added, op(1, 0, "add", 1, False))
    found(recorded, "set", "Seen, but not there", added, op(1, 0, "contains", 2, True))
    found(recorded, "set", "Removed twice", added, op(1, 0, "remove", 1, True), op(2, 0, "remove", 1, True))


def test_a_blind_add_and_a_blind_remove_are_decided_by_hand(recorded: Recorded) -> None:
    blind = [op(0, 0, "add", 1), op(1, 0, "remove", 1)]
    fine(recorded, "set", *blind, op(0.2, 1, "contains", 1, True), op(2, 0, "contains", 1, False))
    found(recorded, "set", "Seen, but not there", *blind, op(2, 0, "contains", 1, True))


def test_whole_reads_of_a_growing_set_grow(recorded: Recorded) -> None:
    adds = [op(0, 0, "add", 1), op(0, 1, "add", 2, end=9)]
    found(recorded, "set", "Lost element", *adds, op(1, 2, "read", None, []))
    found(recorded, "set", "Lost element", *adds, op(1, 2, "read", None, [1, 2]), op(2, 2, "read", None, [1]))
    found(recorded, "set", "Shown twice", *adds, op(1, 2, "read", None, [1, 1]))
    found(recorded, "set", "From nowhere", *adds, op(1, 2, "read", None, [1, 3]))
    fine(recorded, "set", *adds, op(1, 2, "read", None, [1]), op(2, 2, "read", None, [2, 1]))
    slow = [op(0, 0, "add", 1, end=9), op(0, 1, "add", 2, end=9)]
    disagreeing = [op(1, 2, "read", None, [1]), op(1, 3, "read", None, [2])]
    found(recorded, "set", "Reads disagree", *slow, *disagreeing)
    unseen = [op(0, 0, "add", 1), op(1, 0, "add", 2), op(2, 0, "read", None, [2], end=3)]
    found(recorded, "set", "Lost element", *unseen)
    found(recorded, "set", "From the future", op(0, 0, "read", None, [1]), op(1, 0, "add", 1))


def test_a_log_keeps_its_records_where_they_are(recorded: Recorded) -> None:
    appends = [op(0, 0, "append", "a", 0), op(1, 0, "append", "b", 1)]
    fine(recorded, "log", *appends, op(2, 0, "read", 1, "b"), op(3, 0, "tail", None, 2))
    found(recorded, "log", "Wrong record", *appends, op(2, 0, "read", 1, "a"))
    found(recorded, "log", "Missing record", *appends, op(2, 0, "read", 1, None))
    found(recorded, "log", "Missing record", *appends, op(2, 0, "tail", None, 1))
    found(recorded, "log", "From nowhere", *appends, op(2, 0, "tail", None, 3))
    found(recorded, "log", "From the future", op(0, 0, "read", 0, "a"), op(1, 0, "append", "a", 0))
    swapped = [op(0, 0, "append", "a", 1), op(1, 0, "append", "b", 0)]
    found(recorded, "log", "Offset out of order", *swapped)
    found(recorded, "log", "Offset given twice", op(0, 0, "append", "a", 0), op(1, 0, "append", "b", 0))
    unread = [op(0, 0, "append", "a", 0, end=9), op(1, 1, "read", 0, "a"), op(2, 1, "tail", None, 0)]
    found(recorded, "log", "Went back", *unread)


def test_a_crashed_append_is_where_it_was_read_or_fills_a_gap_or_never_was(recorded: Recorded) -> None:
    crashed, later = crash(0, 3, "append", "x"), op(1, 0, "append", "a", 1)
    fine(recorded, "log", crashed, later)
    fine(recorded, "log", crashed, later, op(2, 0, "read", 0, "x"))
    fine(recorded, "log", crashed, op(1, 0, "append", "a", 0), op(2, 0, "tail", None, 1))
    found(recorded, "log", "From nowhere", crashed, op(1, 0, "append", "a", 2))
    twice = [op(2, 0, "read", 0, "x"), op(3, 0, "read", 1, "x")]
    found(recorded, "log", "One record at two offsets", crashed, crash(0, 4, "append", "y"), *twice)


# --- The rest ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "operations", "why"),
    [
        ("queue", [op(0, 0, "enqueue", 1), op(1, 0, "enqueue", 1)], "put in more than once"),
        ("stack", [op(0, 0, "push", 1), op(1, 0, "peek", None, 1)], "peeks see elements"),
        ("counter", [op(0, 0, "add", 1), op(1, 0, "add", 2)], "adds of different amounts"),
        ("counter", [op(0, 0, "add", 0.5)], "fractions"),
        ("set", [op(0, 0, "add", 1), op(1, 0, "add", 1), op(2, 0, "remove", 1)], "blindly added or removed"),
        ("set", [op(0, 0, "remove", 1), op(1, 0, "read", None, [])], "reads of the whole set"),
        ("log", [op(0, 0, "append", 1), op(1, 0, "append", 2, 1)], "appends that tell no offset"),
        (
            "log",
            [crash(0, 1, "append", 1), crash(0, 2, "append", 1), op(1, 3, "read", 0, 1)],
            "crashed appends of equal records",
        ),
    ],
)
def test_what_a_monitor_cannot_decide_is_searched(
    recorded: Recorded, model: str, operations: list[Rows], why: str
) -> None:
    history = recorded(*sorted((row for rows in operations for row in rows), key=lambda row: row[0]))
    monitor = monitor_of(model_named(model))
    assert monitor is not None
    with pytest.raises(Ambiguous, match=why):
        monitor(Calls.of(history, model_named(model), np.arange(len(history.operations))))
    verdict = Linearizable(model).check(history)
    assert (verdict.valid, verdict.details["keys by search"]) == ("valid", 1)


def test_only_the_key_at_fault_is_named(recorded: Recorded) -> None:
    rows = [(*row, "good") for row in op(0, 0, "enqueue", 1) + op(1, 0, "dequeue", None, 1)]
    rows += [(*row, "bad") for row in op(2, 0, "dequeue", None, 1)]
    verdict = Linearizable("queue").check(recorded(*rows))
    assert [one.key for one in verdict.evidence] == ["bad"]
    assert verdict.summary.startswith("Not linearizable on 1 of 2 keys: From nowhere on key bad")


def test_many_objects_of_one_history_are_ranked_by_their_own_events(recorded: Recorded) -> None:
    rows: Rows = []
    for key in range(20):
        for at, process, type_, f, value in (
            op(0, 0, "push", 1) + op(1, 0, "push", 2) + op(2, 0, "pop", None, 2)
        ):
            rows.append((10 * key + at, process, type_, f, value, key))
    assert Linearizable("stack").check(recorded(*rows)).valid == "valid"
    wrong = [(*row[:4], 1, *row[5:]) if row[2:5] == ("ok", "pop", 2) else row for row in rows]
    assert Linearizable("stack").check(recorded(*wrong)).details["keys invalid"] == 20


def test_a_picture_has_the_operations_the_order_and_where_it_gets_stuck(recorded: Recorded) -> None:
    rows = [op(0, 0, "enqueue", 1), op(1, 0, "enqueue", 2), op(2, 0, "dequeue", None, 2)]
    verdict = found(recorded, "queue", "Lost element", *rows)
    picture = verdict.evidence[0].details["picture"]
    assert picture == {
        "kind": "linearization",
        "operations": [
            {"event": 0, "process": 0, "text": "enqueue 1", "start": 0, "finish": 500_000_000},
            {"event": 2, "process": 0, "text": "enqueue 2", "start": 1_000_000_000, "finish": 1_500_000_000},
            {
                "event": 4,
                "process": 0,
                "text": "dequeue -> 2",
                "start": 2_000_000_000,
                "finish": 2_500_000_000,
            },
        ],
        "order": [0, 1],
        "states": ["[]", "[1]", "[1, 2]"],
        "stuck": 2,
        "why": verdict.evidence[0].summary.removeprefix("Lost element: "),
    }


def test_a_violation_among_very_many_operations_is_shown_by_the_last_hundred(recorded: Recorded) -> None:
    crashed = [crash(i, i + 2, "release") for i in range(200)]
    held = [op(300 + i, 0, "acquire") for i in range(202)]
    verdict = found(recorded, "mutex", "Two holders at once", *crashed, *held)
    evidence = verdict.evidence[0]
    assert (len(evidence.details["operations"]), evidence.details["operations not shown"]) == (100, 302)
    assert "picture" not in evidence.details


def test_a_model_of_ones_own_is_named_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tickets_of_mine.py").write_text(
        "from checkers.models import IMPOSSIBLE, Model\n"
        "class Ticket(Model):\n"
        "    functions = frozenset({'next'})\n"
        "    initial = 1\n"
        "    def step(self, state, call):\n"
        "        return state + 1 if call.gave(state) else IMPOSSIBLE\n"
        "class Broken(Ticket):\n"
        "    def step(self, state, call):\n"
        "        return state + call.argument\n"
    )
    path = tmp_path / "history.jsonl"
    ops = [Op(i, i, ("invoke", "ok")[i % 2], 0, "next", value=(None, 1 + i // 2)[i % 2]) for i in range(4)]
    path.write_bytes(b"".join(map(encode, ops)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["", *__import__("sys").path])
    assert cli.main(["check", "--model=tickets_of_mine:Ticket", str(path)]) == EXIT_CODES["valid"]
    ops[3].value = 1
    path.write_bytes(b"".join(map(encode, ops)))
    assert cli.main(["check", "--model=tickets_of_mine:Ticket", str(path)]) == EXIT_CODES["invalid"]
    assert cli.main(["check", "--model=tickets_of_mine:Broken", str(path)]) == EXIT_CODES["unknown"]
    said = capsys.readouterr().out
    assert "the model Broken failed at next None -> 1 in the state 1: TypeError" in said


def test_a_search_whose_states_fill_the_memory_is_unknown(recorded: Recorded) -> None:
    puts = [op(i / 10, i, "enqueue", i % 2, end=90 + i) for i in range(16)]
    takes = [op(100 + i, 0, "dequeue", None, int(i < 8)) for i in range(16)]
    history = recorded(*sorted((row for rows in [*puts, *takes] for row in rows), key=lambda row: row[0]))
    verdict = Linearizable("queue", memory_limit=10_000).check(history)
    assert (verdict.valid, "out of memory" in verdict.summary) == ("unknown", True)
