"""A growing set: what is lost, stale, recovered, unexpected or duplicated, and what nobody can know."""

from collections.abc import Callable

from checkers.set_full import SetFull
from harness.history import History

Recorded = Callable[..., History]

ADDED = (
    (0, 0, "invoke", "add", 1, None, "n1"),
    (1, 0, "ok", "add", 1, None, "n1"),
    (2, 0, "invoke", "add", 2, None, "n1"),
    (3, 0, "ok", "add", 2, None, "n1"),
)


def read(at: float, values: list[object], process: int = 7) -> tuple[tuple[object, ...], ...]:
    return (
        (at, process, "invoke", "read", None, None, "n2"),
        (at + 0.5, process, "ok", "read", values, None, "n2"),
    )


def test_a_set_that_keeps_everything_is_valid(recorded: Recorded) -> None:
    verdict = SetFull().check(recorded(*ADDED, *read(4, [1, 2])))
    assert verdict.valid == "valid"
    assert verdict.details["acknowledged"] == 2


def test_an_acknowledged_element_missing_from_the_final_read_is_lost(recorded: Recorded) -> None:
    verdict = SetFull().check(recorded(*ADDED, *read(4, [1])))
    assert verdict.valid == "invalid"
    assert verdict.summary == (
        "Lost: 2 was acknowledged at 3.000 s by n1, and is missing from the read that began at 4.000 s by n2."
    )
    assert verdict.evidence[0].operations == [2, 3, 4, 5]
    assert verdict.evidence[0].details["elements"] == [2]


def test_an_element_that_was_seen_and_then_missing_is_lost(recorded: Recorded) -> None:
    crashed = ((0, 0, "invoke", "add", 1), (1, 0, "info", "add", 1))
    verdict = SetFull().check(recorded(*crashed, *read(2, [1]), *read(3, [])))
    assert verdict.valid == "invalid"
    assert "was seen at 2.500 s" in verdict.summary


def test_an_element_that_is_missing_for_a_while_is_stale_and_allowed(recorded: Recorded) -> None:
    history = recorded(*ADDED, *read(4, [1]), *read(6, [1, 2]))
    verdict = SetFull().check(history)
    assert verdict.valid == "valid"
    assert verdict.details["stale"] == 1
    assert verdict.details["stable latency seconds"]["1.0"] == 1.0


def test_a_linearizable_set_allows_no_stale_read(recorded: Recorded) -> None:
    verdict = SetFull(linearizable=True).check(recorded(*ADDED, *read(4, [1]), *read(6, [1, 2])))
    assert verdict.valid == "invalid"
    assert verdict.summary.startswith("Stale read: 2 was acknowledged")


def test_presence_and_absence_read_at_the_same_time_is_stale_not_lost(recorded: Recorded) -> None:
    slow_and_right = (4, 8, "invoke", "read"), (7, 8, "ok", "read", [1, 2])
    history = recorded(*ADDED, slow_and_right[0], *read(5, [1]), slow_and_right[1])
    verdict = SetFull().check(history)
    assert (verdict.details["lost"], verdict.details["stale"]) == (0, 1)


def test_an_add_of_unknown_outcome_may_be_there_or_not(recorded: Recorded) -> None:
    crashed = ((4, 5, "invoke", "add", 3), (5, 5, "info", "add", 3))
    there = SetFull().check(recorded(*ADDED, *crashed, *read(6, [1, 2, 3])))
    assert (there.valid, there.details["recovered"]) == ("valid", 1)
    assert SetFull().check(recorded(*ADDED, *crashed, *read(6, [1, 2]))).valid == "valid"


def test_what_nobody_added_is_unexpected(recorded: Recorded) -> None:
    verdict = SetFull().check(recorded(*ADDED, *read(4, [1, 2, 9])))
    assert verdict.valid == "invalid"
    assert "shows 9, which nobody had added" in verdict.summary


def test_what_was_refused_is_unexpected(recorded: Recorded) -> None:
    refused = ((4, 0, "invoke", "add", 3, None, "n1"), (5, 0, "fail", "add", 3, None, "n1"))
    verdict = SetFull().check(recorded(*ADDED, *refused, *read(6, [1, 2, 3])))
    assert verdict.valid == "invalid"
    assert "which n1 had refused to add" in verdict.summary


def test_an_element_twice_in_one_read_is_a_duplicate(recorded: Recorded) -> None:
    verdict = SetFull().check(recorded(*ADDED, *read(4, [1, 2, 2])))
    assert verdict.valid == "invalid"
    assert verdict.details["duplicated"] == 1


def test_without_a_final_read_nobody_knows(recorded: Recorded) -> None:
    early = recorded(*read(0, []), *((at + 1, *rest) for at, *rest in ADDED))
    assert SetFull().check(early).valid == "unknown"
    assert "2 of 2 acknowledged elements were never looked for" in SetFull().check(early).summary


def test_without_an_acknowledged_add_or_a_read_nobody_knows(recorded: Recorded) -> None:
    assert SetFull().check(recorded(*ADDED)).valid == "unknown"
    assert SetFull().check(recorded(*read(0, []))).valid == "unknown"
    assert SetFull().check(recorded()).valid == "unknown"


def test_a_reads_view_of_elements_added_meanwhile_is_free(recorded: Recorded) -> None:
    history = recorded(
        (0, 1, "invoke", "read"),
        (1, 0, "invoke", "add", 1),
        (2, 0, "ok", "add", 1),
        (3, 1, "ok", "read", [1]),
        *read(4, [1]),
    )
    assert SetFull(linearizable=True).check(history).valid == "valid"


def test_elements_of_several_types_that_one_read_shows_first_are_judged(recorded: Recorded) -> None:
    crashed = (
        (0, 0, "invoke", "add", 1), (1, 0, "info", "add", 1),
        (2, 1, "invoke", "add", "a"), (3, 1, "info", "add", "a"),
    )  # fmt: skip
    verdict = SetFull().check(recorded(*crashed, *read(4, [1, "a"]), *read(6, [1])))
    assert verdict.evidence[0].details == {"kind": "lost", "elements": ["a"]}
