"""How the report says things."""

from __future__ import annotations

from itertools import permutations
from typing import Any

from harness.history import INFO, OK, OPEN, Op
from harness.report import words
from harness.store import Outcome, Results
from harness.verdict import Evidence, Verdict

NODES = ["n1", "n2", "n3", "n4", "n5"]


def between(left: str, right: str) -> list[tuple[str, str]]:
    """Both directions of every link between two groups, named by their nodes' digits."""
    pairs = [(f"n{a}", f"n{b}") for a in left for b in right]
    return pairs + [(b, a) for a, b in pairs]


def results(outcome: Outcome, *verdicts: Verdict) -> Results:
    return Results(
        outcome=outcome,
        summary="Why.",
        verdicts=list(verdicts),
        problems=[],
        operations=0,
        counts={},
        seconds=0,
    )


def test_whole_groups_apart_are_named_as_groups() -> None:
    assert words.cut_text(NODES, between("12", "345")) == "n1 n2 | n3 n4 n5"


def test_three_groups_apart_are_named_as_groups() -> None:
    cut = between("1", "2345") + between("23", "45")
    assert words.cut_text(NODES, cut) == "n1 | n2 n3 | n4 n5"


def test_a_cut_in_one_direction_shows_the_direction() -> None:
    assert words.cut_text(NODES, [("n1", "n3"), ("n1", "n4")]) == "n1 ↛ n3 n4"


def test_a_bridge_is_told_by_who_does_not_reach_whom() -> None:
    assert words.cut_text(NODES, between("12", "45")) == "n1 n2 ↛ n4 n5, n4 n5 ↛ n1 n2"


def test_a_ring_of_majorities_is_told_by_the_links_that_are_left() -> None:
    linked = {(a, b) for a, b in permutations(range(5), 2) if (a - b) % 5 in (1, 4)}
    cut = [(f"n{a + 1}", f"n{b + 1}") for a, b in permutations(range(5), 2) if (a, b) not in linked]
    assert words.cut_text(NODES, cut) == "still linked: n1–n2 n5, n2–n1 n3, n3–n2 n4, n4–n3 n5, n5–n1 n4"


def test_a_large_cluster_is_abbreviated_and_counted() -> None:
    nodes = [f"n{number}" for number in range(1, 61)]
    cut = [(a, b) for a, b in permutations(nodes, 2) if (a == "n1") != (b == "n1")]
    assert words.cut_text(nodes, cut) == "n1 | n2 n3 … n60 (59 nodes)"


def test_a_fault_says_whom_it_hit_and_how() -> None:
    assert words.fault_text(NODES, {"target": "leader", "nodes": ["n3"]}) == "n3"


def test_the_value_of_a_fault_nobody_foresaw_is_shown_as_it_is() -> None:
    assert words.fault_text(NODES, {"nodes": ["n3"], "condition": "slow"}) == "n3: slow"
    traps = {"nodes": ["n1", "n2"], "record": "vote", "step": "written"}
    assert words.fault_text(NODES, traps) == "n1 n2: vote written"
    clocks = {"clocks": {"n1": {"offset": 3.0, "rate": 0.9}}}
    assert words.fault_text(NODES, clocks) == "n1 +3 s, 0.9 times as fast"
    slow = {"links": [["n1", "n2"], ["n2", "n1"]], "latency_ms": 100.0}
    assert words.fault_text(NODES, slow) == "100 ms slower on n1 → n2, n2 → n1"
    every = [[a, b] for a in NODES for b in NODES if a != b]
    lossy = {"links": every, "lost": 0.3, "late": 0.2, "delay_ms_max": 300.0}
    assert words.fault_text(NODES, lossy) == "30% lost, 20% late by up to 300 ms on all links"
    assert words.fault_text(NODES, {"skew": [1, 2]}) == '{"skew": [1, 2]}'


def test_operations_read_as_people_say_them() -> None:
    def said(f: str, argument: object, result: object, outcome: int = OK) -> str:
        kind = "ok" if outcome == OK else "info"
        complete = None if outcome == OPEN else Op(1, 1, kind, 0, f, None, result)  # type: ignore[arg-type]
        return words.operation_text(Op(0, 0, "invoke", 0, f, None, argument), complete, outcome)

    assert said("read", None, 4) == "read 4"
    assert said("read", None, None) == "read nothing"
    assert said("read", None, None, INFO) == "read …"
    assert said("write", 7, 7) == "write 7"
    assert said("write", 7, None, OPEN) == "write 7"
    assert said("cas", [3, 4], [3, 4]) == "cas 3 → 4"
    assert said("read", None, list(range(4_000))) == "read [0, 1, 2, 3, … 4,000 in all]"
    assert (
        said("members", None, {"n1": "alive", "n2": "failed", "n3": "alive"})
        == "members alive: n1 n3, failed: n2"
    )


def test_transactions_read_as_what_they_did_part_by_part() -> None:
    def said(asked: list[Any], done: list[Any] | None) -> str:
        complete = None if done is None else Op(1, 1, "ok", 0, "txn", None, done)
        outcome = OPEN if done is None else OK
        return words.operation_text(Op(0, 0, "invoke", 0, "txn", None, asked), complete, outcome)

    asked = [["r", "x", None], ["append", "y", 3], ["r", "z", None]]
    done = [["r", "x", [*range(1, 41)]], ["append", "y", 3], ["r", "z", None]]
    assert said(asked, done) == "r x [1 … 38 39 40], append y 3, r z nothing"
    assert said(asked, None) == "r x …, append y 3, r z …"
    assert said([["w", 1, 2], ["r", 1, None]], [["w", 1, 2], ["r", 1, 2]]) == "w 1 2, r 1 2"


def test_a_long_value_is_cut_and_counted() -> None:
    assert words.value_text("x" * 1_000) == "x" * 36 + "… (1,000 characters)"
    many = {f"n{number}": "alive" for number in range(60)}
    assert words.value_text(many) == "60 alive"


def test_every_outcome_has_its_headline() -> None:
    said = {outcome: words.headline(results(outcome))[:2] for outcome in words._HEADLINES}
    assert said["valid"] == ("Valid", "good")
    assert said["no liveness"] == ("Did not recover", "bad")
    assert said["crashed"] == ("An agent crashed", "bad")
    assert said["injection failed"] == ("A fault could not be injected", "doubt")
    assert [tone for _, tone in said.values()].count("good") == 1
    assert words.headline(None)[:2] == ("Unfinished", "doubt")


def test_a_broken_promise_is_named_by_the_checker_that_found_it() -> None:
    fine = Verdict(checker="stats", valid="valid", summary="")
    linearizable = Verdict(checker="linearizable", valid="invalid", summary="")
    lost = Verdict(
        checker="set-full",
        valid="invalid",
        summary="",
        evidence=[Evidence(summary="", details={"kind": "lost"})],
    )
    other = Verdict(checker="mine", valid="invalid", summary="")
    assert words.headline(results("invalid", fine, linearizable))[0] == "Not linearizable"
    assert words.headline(results("invalid", lost))[0] == "Acknowledged writes were lost"
    assert words.headline(results("invalid", other))[0] == "A promise was broken"


def test_durations_have_three_digits_and_a_unit() -> None:
    given = (0, 2.5e-7, 0.00012345, 0.0012, 0.0456, 0.99996, 12.345, 150)
    said = ["0 s", "250 ns", "123 µs", "1.20 ms", "45.6 ms", "1.00 s", "12.3 s", "2 min 30 s"]
    assert [words.duration_text(seconds) for seconds in given] == said
