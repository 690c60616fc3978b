"""Comments, and what they reply to."""

from collections.abc import Callable
from typing import Any

from checkers.comments import Comments
from harness.history import History

Record = Callable[..., History]


def write(at: float, process: int, value: Any, outcome: str = "ok") -> list[tuple[Any, ...]]:
    return [(at, process, "invoke", "write", value), (at + 0.5, process, outcome, "write", value)]


def read(at: float, value: Any) -> list[tuple[Any, ...]]:
    return [(at, 99, "invoke", "read", None), (at + 0.5, 99, "ok", "read", value)]


def test_who_sees_a_reply_sees_what_was_there_before_it(recorded: Record) -> None:
    assert Comments().check(recorded(*write(1, 0, 1), *write(2, 1, 2), *read(3, [1, 2]))).valid == "valid"
    verdict = Comments().check(recorded(*write(1, 0, 1), *write(2, 1, 2), *read(3, [2])))
    assert verdict.valid == "invalid"
    [evidence] = verdict.evidence
    assert "saw 2 and not 1, which was written before" in evidence.summary
    assert evidence.operations == [0, 1, 2, 3, 4, 5]


def test_a_read_may_be_old(recorded: Record) -> None:
    assert Comments().check(recorded(*write(1, 0, 1), *write(2, 1, 2), *read(3, [1]))).valid == "valid"


def test_what_was_written_at_the_same_time_need_not_be_seen(recorded: Record) -> None:
    rows = [
        (1, 0, "invoke", "write", 1), (2, 1, "invoke", "write", 2),
        (3, 0, "ok", "write", 1), (4, 1, "ok", "write", 2),
    ]  # fmt: skip
    assert Comments().check(recorded(*rows, *read(5, [2]))).valid == "valid"


def test_what_may_not_have_happened_need_not_be_seen(recorded: Record) -> None:
    for outcome in ("info", "fail"):
        history = recorded(*write(1, 0, 1, outcome), *write(2, 1, 2), *read(3, [2]))
        assert Comments().check(history).valid == "valid"


def test_a_value_of_two_writes_was_there_from_the_first_that_may_have_brought_it(recorded: Record) -> None:
    # It is the first write of 1 that was read; 5 came later.
    rows = [*write(1, 0, 1, "info"), *write(2, 1, 5), *write(3, 2, 1)]
    assert Comments().check(recorded(*rows, *read(4, [1]))).valid == "valid"
    # Or that one failed: then it is the second.
    rows = [*write(1, 0, 1, "fail"), *write(2, 1, 5), *write(3, 2, 1)]
    assert Comments().check(recorded(*rows, *read(4, [1]))).valid == "invalid"


def test_a_value_is_known_to_be_there_from_its_first_acknowledgement(recorded: Record) -> None:
    rows = [*write(1, 0, 5), *write(2, 1, 6), *write(3, 2, 5, "fail")]
    assert Comments().check(recorded(*rows, *read(4, [6]))).valid == "invalid"


def test_values_that_nobody_wrote_say_nothing(recorded: Record) -> None:
    assert Comments().check(recorded(*write(1, 0, 1), *read(3, [7]))).valid == "valid"


def test_without_a_read_and_a_write_there_is_nothing_to_judge(recorded: Record) -> None:
    assert Comments().check(recorded(*write(1, 0, 1))).valid == "unknown"
    assert Comments().check(recorded(*read(1, [1]))).valid == "unknown"


def test_what_is_of_another_kind_is_not_judged(recorded: Record) -> None:
    assert "not add" in Comments().check(recorded((1, 0, "invoke", "add", 1))).summary
    assert "no set of values" in Comments().check(recorded(*write(1, 0, 1), *read(3, 7))).summary
