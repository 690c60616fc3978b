"""What the linearizability checker says, by example: each violation by its name, each doubt as a doubt."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from checkers._explanation import ByZones
from checkers.linearizable import Linearizable
from checkers.models import UnknownModel
from harness.history import History, Op
from harness.verdict import Verdict

Recorded = Callable[..., History]


def invalid(history: History, kind: str, model: str = "cas-register") -> Verdict:
    verdict = Linearizable(model=model).check(history)
    assert verdict.valid == "invalid"
    assert verdict.evidence[0].details["kind"] == kind, verdict.summary
    return verdict


def test_reads_of_what_was_written_are_linearizable(recorded: Recorded) -> None:
    history = recorded(
        (0, 0, "invoke", "write", 1),
        (1, 1, "invoke", "read"),
        (2, 1, "ok", "read", 1),
        (3, 0, "ok", "write", 1),
        (4, 1, "invoke", "cas", [1, 2]),
        (5, 1, "ok", "cas", [1, 2]),
        (6, 0, "invoke", "read"),
        (7, 0, "ok", "read", 2),
    )
    verdict = Linearizable().check(history)
    assert verdict.valid == "valid"
    assert verdict.details["keys by zones"] == 1


def test_a_stale_read_is_called_one_with_who_where_and_when(recorded: Recorded) -> None:
    history = recorded(
        (0.0, 3, "invoke", "write", 4, "x", "n2"),
        (0.1, 3, "ok", "write", 4, "x", "n2"),
        (0.2, 1, "invoke", "write", 7, "x", "n1"),
        (0.3, 1, "ok", "write", 7, "x", "n1"),
        (0.4, 5, "invoke", "read", None, "x", "n3"),
        (0.5, 5, "ok", "read", 4, "x", "n3"),
        (0.6, 1, "invoke", "read", None, "x", "n1"),
        (0.7, 1, "ok", "read", 7, "x", "n1"),
    )
    verdict = invalid(history, "Stale read")
    assert verdict.evidence[0].summary == (
        "Stale read on key x: process 5 on n3 read 4 (0.400 s to 0.500 s), but 0.100 s before that began, "
        "process 1 on n1 wrote 7 (0.200 s to 0.300 s); and 4 is the older value: process 3 on n2 wrote 4 "
        "(0.000 s to 0.100 s), which was over before process 1 on n1 wrote 7 (0.200 s to 0.300 s)."
    )
    assert verdict.evidence[0].operations == [0, 1, 2, 3, 4, 5]
    assert verdict.evidence[0].key == "x"


def test_a_write_that_nobody_ever_read_while_older_values_were_is_lost(recorded: Recorded) -> None:
    history = recorded(
        (0, 0, "invoke", "write", 4),
        (1, 0, "ok", "write", 4),
        (2, 0, "invoke", "write", 7),
        (3, 0, "ok", "write", 7),
        (4, 0, "invoke", "read"),
        (5, 0, "ok", "read", 4),
    )
    assert "nobody ever read 7" in invalid(history, "Lost write").summary


def test_the_initial_value_read_after_a_write_is_stale(recorded: Recorded) -> None:
    history = recorded(
        (0, 0, "invoke", "write", 4),
        (1, 0, "ok", "write", 4),
        (2, 1, "invoke", "read"),
        (3, 1, "ok", "read"),
        (4, 1, "invoke", "read"),
        (5, 1, "ok", "read", 4),
    )
    assert "nothing is the initial value" in invalid(history, "Stale read").summary


def test_two_cas_of_one_value_are_a_lost_update(recorded: Recorded) -> None:
    history = recorded(
        (0, 0, "invoke", "write", 1),
        (1, 0, "ok", "write", 1),
        (2, 0, "invoke", "cas", [1, 2]),
        (3, 1, "invoke", "cas", [1, 3]),
        (4, 0, "ok", "cas", [1, 2]),
        (5, 1, "ok", "cas", [1, 3]),
    )
    assert invalid(history, "Lost update").evidence[0].operations == [0, 1, 2, 3, 4, 5]


def test_a_value_read_after_a_cas_had_replaced_it_is_stale(recorded: Recorded) -> None:
    history = recorded(
        (0, 0, "invoke", "write", 1),
        (1, 0, "ok", "write", 1),
        (2, 0, "invoke", "cas", [1, 2]),
        (3, 0, "ok", "cas", [1, 2]),
        (4, 1, "invoke", "read"),
        (5, 1, "ok", "read", 1),
    )
    assert "process 0 replaced 1 by 2 (2.000 s to 3.000 s)" in invalid(history, "Stale read").summary


def test_a_value_that_nobody_wrote_comes_from_nowhere(recorded: Recorded) -> None:
    history = recorded((0, 0, "invoke", "read"), (1, 0, "ok", "read", 9))
    assert "nobody ever wrote 9" in invalid(history, "Read from nowhere").summary


def test_a_value_that_only_a_failed_write_wrote_is_named_so(recorded: Recorded) -> None:
    history = recorded(
        (0, 0, "invoke", "write", 9),
        (1, 0, "fail", "write", 9),
        (2, 0, "invoke", "read"),
        (3, 0, "ok", "read", 9),
    )
    assert "tried to write 9" in invalid(history, "Read of a failed write").summary


def test_a_value_read_before_it_was_written_comes_from_the_future(recorded: Recorded) -> None:
    history = recorded(
        (0, 0, "invoke", "read"),
        (1, 0, "ok", "read", 9),
        (2, 0, "invoke", "write", 9),
        (3, 0, "ok", "write", 9),
    )
    invalid(history, "Read from the future")


def test_a_crashed_write_may_take_effect_late_or_never(recorded: Recorded) -> None:
    late = recorded(
        (0, 0, "invoke", "write", 1),
        (1, 0, "info", "write", 1),
        (2, 1, "invoke", "read"),
        (3, 1, "ok", "read"),
        (4, 1, "invoke", "read"),
        (5, 1, "ok", "read", 1),
    )
    assert Linearizable().check(late).valid == "valid"


def test_a_crashed_write_that_was_seen_stays(recorded: Recorded) -> None:
    undone = recorded(
        (0, 0, "invoke", "write", 1),
        (1, 0, "info", "write", 1),
        (2, 1, "invoke", "read"),
        (3, 1, "ok", "read", 1),
        (4, 1, "invoke", "read"),
        (5, 1, "ok", "read"),
    )
    assert "outcome unknown" in invalid(undone, "Stale read").evidence[0].details["operations"][0]


@pytest.mark.parametrize(("failed_cas", "valid"), [("dropped", "valid"), ("observed", "invalid")])
def test_a_failed_cas_says_nothing_unless_it_counts_as_an_observation(
    recorded: Recorded, failed_cas: str, valid: str
) -> None:
    history = recorded(
        (0, 0, "invoke", "write", 1),
        (1, 0, "ok", "write", 1),
        (2, 0, "invoke", "cas", [1, 2]),
        (3, 0, "fail", "cas", [1, 2]),
        (4, 0, "invoke", "read"),
        (5, 0, "ok", "read", 1),
    )
    assert failed_cas in ("dropped", "observed")
    checker = Linearizable(failed_cas="observed" if failed_cas == "observed" else "dropped")
    assert checker.check(history).valid == valid


def test_values_that_repeat_are_searched_and_the_evidence_is_small(recorded: Recorded) -> None:
    rows: list[tuple[object, ...]] = []
    for i in range(20):
        rows += [(i, 0, "invoke", "write", i % 2), (i + 0.1, 0, "ok", "write", i % 2)]
        rows += [(i + 0.2, 1, "invoke", "read"), (i + 0.3, 1, "ok", "read", i % 2)]
    rows[-1] = (19.3, 1, "ok", "read", 0)
    verdict = invalid(recorded(*rows), "no order")
    assert "process 1 read 0 (19.200 s to 19.300 s) fits in no order" in verdict.summary
    # Of 39 others, what is left are the writes: reads that only agree with them are dropped.
    assert not any("read 1" in operation for operation in verdict.evidence[0].details["operations"])
    assert len(verdict.evidence[0].operations) < 40


def test_only_the_key_at_fault_is_named(recorded: Recorded) -> None:
    history = recorded(
        (0, 0, "invoke", "write", 1, "x"),
        (1, 0, "ok", "write", 1, "x"),
        (2, 0, "invoke", "read", None, "y"),
        (3, 0, "ok", "read", 1, "y"),
    )
    verdict = Linearizable().check(history)
    assert [one.key for one in verdict.evidence] == ["y"]
    assert verdict.summary.startswith("Not linearizable on 1 of 2 keys")


@pytest.mark.parametrize("value", ["s", 1.5, True, [1, 2], {"a": 1}, 2**70])
def test_any_json_value_can_be_a_registers(recorded: Recorded, value: object) -> None:
    def history(read: object) -> History:
        return recorded(
            (0, 0, "invoke", "write", value),
            (1, 0, "ok", "write", value),
            (2, 0, "invoke", "read"),
            (3, 0, "ok", "read", read),
        )

    assert Linearizable().check(history(value)).valid == "valid"
    assert Linearizable().check(history("other")).valid == "invalid"


def test_true_is_not_one(recorded: Recorded) -> None:
    history = recorded(
        (0, 0, "invoke", "write", 1),
        (1, 0, "ok", "write", 1),
        (2, 0, "invoke", "read"),
        (3, 0, "ok", "read", True),
    )
    assert Linearizable().check(history).valid == "invalid"


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([], "no client did anything"),
        ([(0, 0, "invoke", "write", 1), (1, 0, "info", "write", 1)], "none of 1 operations succeeded"),
        ([(0, 0, "invoke", "add", 1), (1, 0, "ok", "add", 1)], "operations add"),
        ([(0, 0, "invoke", "cas", 1), (1, 0, "ok", "cas", 1)], "takes [old, new]"),
    ],
)
def test_what_cannot_be_judged_is_unknown(recorded: Recorded, rows: list[tuple[object]], why: str) -> None:
    verdict = Linearizable().check(recorded(*rows))
    assert verdict.valid == "unknown"
    assert why in verdict.summary


@pytest.mark.parametrize(
    ("limits", "why"), [({"time_limit": 0.0}, "out of time"), ({"memory_limit": 1000}, "out of memory")]
)
def test_a_search_that_meets_a_bound_is_unknown(limits: dict[str, float], why: str) -> None:
    rng = random.Random(3)
    ops: list[Op] = []
    # A walk along all of many edges, with a few jumps: whether there is one, takes long to find.
    for process in range(24):
        ops.append(Op(len(ops), len(ops), "invoke", process, "write", value=process % 12))
    for process in range(24, 84):
        pair = rng.sample(range(12), 2)
        ops.append(Op(len(ops), len(ops), "invoke", process, "cas", value=pair))
    for process in range(84):
        begun = ops[process]
        ops.append(Op(len(ops), len(ops), "ok", process, begun.f, value=begun.value))
    time_limit = limits.get("time_limit", 30.0)
    checker = Linearizable(time_limit=time_limit, memory_limit=int(limits.get("memory_limit", 1 << 30)))
    verdict = checker.check(History(ops))
    assert verdict.valid == "unknown"
    assert why in verdict.summary


def test_a_model_that_does_not_exist_is_refused_with_those_that_do(recorded: Recorded) -> None:
    with pytest.raises(UnknownModel, match=r"no model 'heap'; there are register, cas-register, .*mutex"):
        Linearizable(model="heap").check(recorded((0, 0, "invoke", "read")))


def test_a_mutex_held_twice_is_found(recorded: Recorded) -> None:
    history = recorded(
        (0, 0, "invoke", "acquire"),
        (1, 0, "ok", "acquire"),
        (2, 1, "invoke", "acquire"),
        (3, 1, "ok", "acquire"),
    )
    assert Linearizable(model="mutex").check(history).valid == "invalid"


def test_only_what_is_shown_is_put_into_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words take time and memory in proportion to the history: for each bad key, they would be quadratic."""
    told: list[ByZones] = []
    begin = ByZones.__init__

    def counted(self: ByZones, *arguments: Any) -> None:
        told.append(self)
        begin(self, *arguments)

    monkeypatch.setattr(ByZones, "__init__", counted)
    ops: list[Op] = []
    for key in range(20):
        for f, value in (("write", 1), ("write", 2), ("read", 1)):
            for type_ in ("invoke", "ok"):
                ops.append(
                    Op(index=len(ops), time=len(ops), type=type_, process=0, f=f, value=value, key=key)
                )
    verdict = Linearizable(evidence_max=2).check(History(ops))
    assert "20 of 20 keys" in verdict.summary
    assert len(verdict.evidence) == len(told) == 2
