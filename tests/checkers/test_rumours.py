"""Events by gossip: to everybody, in time, once."""

from collections.abc import Callable
from typing import Any

from checkers.rumours import Rumours
from harness.history import NEMESIS, History
from harness.verdict import Verdict

Recorded = Callable[..., History]
Row = tuple[Any, ...]

NODES = ("n1", "n2", "n3")
CHECKER = Rumours(spread=2.0, formula="retransmissions and a push/pull", nodes=NODES)


def fire(at: float, name: str, node: str = "n1", outcome: str = "ok") -> list[Row]:
    return [(at, 9, "invoke", "fire", name, None, node), (at, 9, outcome, "fire", name, None, node)]


def looks(at: float, **delivered: str) -> list[Row]:
    """What every node has delivered: `node="a b"`."""
    rows: list[Row] = []
    for process, node in enumerate(NODES):
        names = delivered.get(node, "").split()
        rows += [
            (at, process, "invoke", "events", None, None, node),
            (at, process, "ok", "events", names, None, node),
        ]
    return rows


def all_of(names: str) -> dict[str, str]:
    return dict.fromkeys(NODES, names)


def judged(recorded: Recorded, *rows: list[Row]) -> Verdict:
    return CHECKER.check(recorded(*(row for some in rows for row in some)))


def kinds(verdict: Verdict) -> dict[str, int]:
    found: dict[str, int] = verdict.details["violations by kind"]
    return found


def test_events_that_everybody_delivers_in_time_are_as_promised(recorded: Recorded) -> None:
    verdict = judged(recorded, fire(1, "a"), looks(2, n1="a"), looks(2.5, **all_of("a")))
    assert verdict.valid == "valid"
    assert verdict.summary == (
        "1 events reached every undisturbed agent; the slowest of 3 deliveries was seen after 1.5 s; "
        "bound: 2 s (retransmissions and a push/pull)."
    )


def test_an_event_that_one_agent_never_delivers_is_lost(recorded: Recorded) -> None:
    verdict = judged(recorded, fire(1, "a"), looks(4, n1="a", n2="a"), looks(6, n1="a", n2="a"))
    assert kinds(verdict) == {"lost": 1}
    assert "At 4.000 s n3 had not delivered a, which n1 had fired by 1.000 s, 3.0 s before" in verdict.summary


def test_an_event_that_is_delivered_after_the_bound_is_late(recorded: Recorded) -> None:
    verdict = judged(recorded, fire(1, "a"), looks(4, n1="a", n2="a"), looks(6, **all_of("a")))
    assert kinds(verdict) == {"late": 1}


def test_an_event_that_nobody_looked_for_in_time_is_a_doubt(recorded: Recorded) -> None:
    verdict = judged(recorded, fire(1, "a"), looks(2, n1="a", n2="a"), fire(4, "b"))
    assert verdict.valid == "unknown"
    assert "Of 1 deliveries nobody looked in time" in verdict.summary
    # That it was there much later does not tell when it came.
    much_later = judged(recorded, fire(1, "a"), looks(2, n1="a", n2="a"), looks(60, **all_of("a")))
    assert much_later.valid == "unknown"
    assert much_later.details["deliveries that nobody looked for in time"] == 1
    assert much_later.details["deliveries judged"] == 2


def test_an_event_twice_is_a_duplicate(recorded: Recorded) -> None:
    verdict = judged(recorded, fire(1, "a"), looks(2, n1="a", n2="a a", n3="a"))
    assert kinds(verdict) == {"duplicated": 1} and "delivered a 2 times" in verdict.summary


def test_a_duplicate_that_is_seen_again_and_again_is_told_once_and_hides_nothing_else(
    recorded: Recorded,
) -> None:
    often = [looks(at, n1="a a", n2="a") for at in range(4, 14)]
    verdict = judged(recorded, fire(1, "a"), looks(2, n1="a", n2="a"), *often)
    assert kinds(verdict) == {"duplicated": 1, "lost": 1}
    assert {one.details["kind"] for one in verdict.evidence} == {"duplicated", "lost"}


def test_an_event_that_nobody_fired_or_fired_only_later_is_unexpected(recorded: Recorded) -> None:
    assert kinds(judged(recorded, fire(1, "a"), looks(2, **all_of("a b")))) == {"unexpected": 3}
    early = judged(recorded, looks(1, n1="a"), fire(2, "a"), looks(3, **all_of("a")))
    assert kinds(early) == {"unexpected": 1}
    refused = judged(
        recorded, fire(1, "a"), fire(1.5, "b", outcome="fail"), looks(2, n1="a b", n2="a", n3="a")
    )
    assert kinds(refused) == {"unexpected": 1}


def test_an_event_of_unknown_outcome_may_spread_or_not(recorded: Recorded) -> None:
    for seen in ("a", "a b"):
        rows = [
            fire(1, "a"),
            fire(1.5, "b", outcome="info"),
            looks(3, n1="a", n2=seen, n3="a"),
            looks(9, **all_of(seen)),
        ]
        assert judged(recorded, *rows).valid == "valid"


def fault(at: float, f: str, value: Any) -> list[Row]:
    return [(at, NEMESIS, "info", f), (at, NEMESIS, "info", f, value)]


def test_an_agent_that_lives_does_not_forget_what_it_delivered(recorded: Recorded) -> None:
    rows = [fire(1, "a"), looks(2, **all_of("a")), looks(3, n1="a", n2="a")]
    assert kinds(judged(recorded, *rows)) == {"forgotten": 1}
    killed = [fault(2.2, "start-kill", {"nodes": ["n3"]}), fault(2.4, "stop-kill", {"nodes": ["n3"]})]
    assert (
        judged(recorded, fire(1, "a"), looks(2, **all_of("a")), *killed, looks(3, n1="a", n2="a")).valid
        == "valid"
    )


def test_those_out_of_reach_need_not_hear_of_it(recorded: Recorded) -> None:
    links = [["n3", "n1"], ["n1", "n3"], ["n3", "n2"], ["n2", "n3"]]
    apart = fault(0.5, "start-partition", {"cut": links})
    rows = [apart, fire(1, "a"), looks(3, n1="a", n2="a"), looks(6, n1="a", n2="a")]
    assert judged(recorded, *rows).valid == "valid"
    inside = judged(recorded, apart, fire(1, "a"), looks(4, n1="a"), looks(6, n1="a"))
    assert kinds(inside) == {"lost": 1}


def test_without_events_or_looks_nothing_is_known(recorded: Recorded) -> None:
    assert "no event was fired" in judged(recorded, looks(1)).summary
    assert "no agent was asked" in judged(recorded, fire(1, "a")).summary
