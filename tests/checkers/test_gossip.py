"""Membership: who must be seen failed, who must not, and when nobody can tell."""

from collections.abc import Callable
from typing import Any

import pytest

from checkers.gossip import Gossip
from harness.history import NEMESIS, History
from harness.verdict import Verdict

Recorded = Callable[..., History]
Row = tuple[Any, ...]

NODES = ("n1", "n2", "n3")
CHECKER = Gossip(detect=5.0, converge=10.0, formula="from the parameters", nodes=NODES)


def fault(at: float, f: str, value: Any) -> list[Row]:
    return [(at, NEMESIS, "info", f), (at, NEMESIS, "info", f, value)]


def views(at: float, **failed: str) -> list[Row]:
    """Every node's view at a time: all alive, but for `observer="target status"`."""
    rows: list[Row] = []
    for process, node in enumerate(NODES):
        view = dict.fromkeys(NODES, "alive")
        for seen in filter(None, failed.get(node, "").split(",")):
            target, status = seen.split()
            view[target] = status
        rows += [
            (at, process, "invoke", "members", None, None, node),
            (at, process, "ok", "members", view, None, node),
        ]
    return rows


def cut(*sides: str) -> dict[str, Any]:
    """What start-partition says of nodes cut from all others."""
    return {
        "cut": [
            [a, b]
            for one in sides
            for other in NODES
            if other != one
            for a, b in ((one, other), (other, one))
        ]
    }


def judged(recorded: Recorded, *rows: list[Row]) -> Verdict:
    return CHECKER.check(recorded(*(row for some in rows for row in some)))


def test_a_quiet_cluster_that_sees_itself_alive_is_valid(recorded: Recorded) -> None:
    verdict = judged(recorded, views(1), views(20))
    assert verdict.valid == "valid"
    assert "bounds: detect 5 s, converge 10 s (from the parameters)" in verdict.summary


def test_a_live_agent_seen_failed_without_any_fault_is_a_false_accusation(recorded: Recorded) -> None:
    verdict = judged(recorded, views(1), views(20, n1="n2 failed"), views(30))
    assert verdict.valid == "invalid"
    assert "n1 saw n2 failed at 20.000 s" in verdict.summary
    assert verdict.evidence[0].details == {"kind": "accuracy", "observer": "n1", "target": "n2"}
    assert verdict.evidence[0].operations == [6, 7]


def test_a_suspicion_is_not_an_accusation(recorded: Recorded) -> None:
    assert judged(recorded, views(1), views(20, n1="n2 suspect"), views(30)).valid == "valid"


KILLED = fault(10, "start-kill", {"nodes": ["n3"]})
STARTED = fault(30, "stop-kill", {"nodes": ["n3"]})
SEEN = {"n1": "n3 failed", "n2": "n3 failed"}


def test_a_killed_agent_that_all_see_failed_in_time_is_as_promised(recorded: Recorded) -> None:
    verdict = judged(recorded, KILLED, views(12), views(14, **SEEN), views(29, **SEEN), STARTED, views(41))
    assert verdict.valid == "valid"
    assert verdict.details["detections seconds"] == [4.0, 4.0]
    assert verdict.details["converged seconds"] == 11.0


def test_a_killed_agent_that_one_still_sees_alive_after_the_bound_is_caught(recorded: Recorded) -> None:
    verdict = judged(recorded, KILLED, views(14), views(20, n1="n3 failed"), STARTED, views(41))
    assert verdict.valid == "invalid"
    assert "n2 still saw n3 alive at 20.000 s" in verdict.summary
    assert verdict.evidence[0].details["kind"] == "completeness"


def test_an_agent_that_never_refutes_is_caught_after_the_heal(recorded: Recorded) -> None:
    verdict = judged(recorded, KILLED, STARTED, views(35, **SEEN), views(41, n1="n3 failed"))
    assert verdict.valid == "invalid"
    assert "n1 saw n3 failed at 41.000 s" in verdict.summary


@pytest.mark.parametrize("fault_name", ["start-pause", "start-kill"])
def test_the_others_must_not_be_accused_meanwhile(recorded: Recorded, fault_name: str) -> None:
    stop = fault_name.replace("start", "stop")
    verdict = judged(
        recorded,
        fault(10, fault_name, {"nodes": ["n3"]}),
        views(25, n1="n2 failed,n3 failed", n2="n3 failed"),
        fault(30, stop, {"nodes": ["n3"]}),
        views(41),
    )
    assert verdict.valid == "invalid"
    assert "n1 saw n2 failed at 25.000 s" in verdict.summary


def test_both_sides_of_a_partition_must_see_each_other_failed(recorded: Recorded) -> None:
    right = {"n1": "n3 failed", "n2": "n3 failed", "n3": "n1 failed,n2 failed"}
    start, stop = fault(10, "start-partition", cut("n3")), fault(30, "stop-partition", {"cut": []})
    assert judged(recorded, start, views(16, **right), stop, views(41)).valid == "valid"
    wrong = judged(recorded, start, views(16, **SEEN), stop, views(41))
    assert wrong.valid == "invalid"
    assert "n3 still saw n1 alive" in wrong.summary


def test_a_one_way_cut_promises_nothing(recorded: Recorded) -> None:
    one_way = {"cut": [["n1", "n3"], ["n2", "n3"]]}
    start, stop = fault(10, "start-partition", one_way), fault(30, "stop-partition", {"cut": []})
    assert judged(recorded, start, views(25, n1="n3 failed"), stop, views(41)).valid == "valid"
    assert judged(recorded, start, views(25, n3="n1 failed"), stop, views(41)).valid == "valid"


def test_a_fault_elsewhere_does_not_excuse_an_accusation(recorded: Recorded) -> None:
    # n1 and n2 are a component of their own from 10 s on, whatever becomes of n3.
    verdict = judged(
        recorded,
        fault(10, "start-partition", cut("n3")),
        fault(15, "start-kill", {"nodes": ["n3"]}),
        views(21, n1="n2 failed,n3 failed", n2="n3 failed"),
    )
    assert verdict.valid == "invalid"


def test_a_view_taken_while_a_fault_is_being_injected_proves_nothing(recorded: Recorded) -> None:
    slow_kill = [(10, NEMESIS, "info", "start-kill"), (19, NEMESIS, "info", "start-kill", {"nodes": ["n3"]})]
    stop = fault(21, "stop-kill", {"nodes": ["n3"]})
    verdict = judged(recorded, [slow_kill[0]], views(15, **SEEN), [slow_kill[1]], stop, views(32))
    assert verdict.valid == "valid"


def test_a_cluster_nobody_looked_at_after_the_heal_is_unknown(recorded: Recorded) -> None:
    verdict = judged(recorded, KILLED, views(29, **SEEN), STARTED)
    assert verdict.valid == "unknown"
    assert "was not looked at after the heal" in verdict.summary


def test_a_last_view_that_is_still_wrong_within_the_bound_is_unknown(recorded: Recorded) -> None:
    verdict = judged(recorded, KILLED, STARTED, views(33, **SEEN))
    assert verdict.valid == "unknown"
    assert "n1 saw n3 failed in its last view, 3.0 s after the last heal" in verdict.summary


def test_without_a_view_nothing_is_known(recorded: Recorded) -> None:
    assert CHECKER.check(recorded()).valid == "unknown"


def test_a_fault_that_is_not_understood_is_named(recorded: Recorded) -> None:
    verdict = judged(recorded, fault(1, "start-clock-skew", {}), views(2))
    assert verdict.details["faults not taken into account"] == ["start-clock-skew"]


def test_a_dead_agent_that_is_seen_alive_again_is_a_resurrection(recorded: Recorded) -> None:
    again = views(25, n2="n3 failed")
    verdict = judged(recorded, KILLED, views(14, **SEEN), again, STARTED, views(41))
    assert verdict.valid == "invalid"
    assert "n1 saw n3 alive at 25.000 s, although nothing had passed" in verdict.summary
    assert "it had been seen failed at 14.000 s" in verdict.summary
    assert verdict.details["violations by kind"] == {"resurrection": 1}
    # Before the bound, the news of a refutation may still be under way.
    assert (
        judged(recorded, KILLED, views(11, **SEEN), views(13), views(15.5, **SEEN), STARTED, views(41)).valid
        == "valid"
    )


# --- Leaving


def leave(at: float, node: str = "n3") -> list[Row]:
    return [(at, 9, "invoke", "leave", None, None, node), (at + 1, 9, "ok", "leave", None, None, node)]


def join(at: float, node: str = "n3") -> list[Row]:
    return [(at, 9, "invoke", "join", None, None, node), (at + 1, 9, "ok", "join", None, None, node)]


LEFT = {"n1": "n3 left", "n2": "n3 left"}


def by(*observers: str, at: float, **held: str) -> list[Row]:
    """As `views`, but only of these observers."""
    rows = views(at, **held)
    return [row for row in rows if row[-1] in observers]


def test_an_agent_that_leaves_in_order_is_seen_to_have_left_and_nobody_waits_for_it(
    recorded: Recorded,
) -> None:
    verdict = judged(
        recorded, views(1), leave(10), by("n1", "n2", at=25, **LEFT), by("n1", "n2", at=40, **LEFT)
    )
    assert verdict.valid == "valid", verdict
    assert verdict.details["views judged for leaving"] == 4


def test_an_agent_that_left_in_order_and_is_seen_failed_is_caught(recorded: Recorded) -> None:
    failed = {"n1": "n3 failed", "n2": "n3 left"}
    verdict = judged(recorded, views(1), leave(10), by("n1", "n2", at=25, **failed))
    assert verdict.valid == "invalid"
    assert "n1 saw n3 failed at 25.000 s, although it had left in order by 11.000 s" in verdict.summary
    assert verdict.evidence[0].details["kind"] == "leaving"


def test_an_agent_that_left_and_is_seen_alive_is_caught(recorded: Recorded) -> None:
    verdict = judged(recorded, views(1), leave(10), by("n1", "n2", at=25, n2="n3 left"))
    assert verdict.valid == "invalid" and verdict.evidence[0].details["kind"] == "completeness"


def test_an_agent_that_comes_back_is_to_be_seen_alive_again(recorded: Recorded) -> None:
    away = [*leave(10), *by("n1", "n2", at=22, **LEFT), *join(30)]
    assert judged(recorded, views(1), away, views(42)).valid == "valid"
    verdict = judged(recorded, views(1), away, views(42, n1="n3 left"))
    assert verdict.valid == "invalid" and verdict.evidence[0].details["kind"] == "accuracy"


def test_convergence_is_counted_from_when_the_last_agent_came_back(recorded: Recorded) -> None:
    away = [*leave(10), *by("n1", "n2", at=22, **LEFT), *join(30)]
    verdict = judged(recorded, views(1), away, views(42))
    assert verdict.details["converged seconds"] == 11.0
    unseen = judged(recorded, views(1), away)
    assert "n1 was not looked at after the heal" in unseen.summary


def unsure(at: float, f: str, node: str = "n3") -> list[Row]:
    """A `leave` or `join` of which nobody knows whether it happened."""
    return [(at, 8, "invoke", f, None, None, node), (at + 1, 8, "info", f, None, None, node)]


def test_an_agent_that_may_have_left_is_in_doubt_from_the_first_time_that_it_tried(
    recorded: Recorded,
) -> None:
    verdict = judged(
        recorded, views(1), unsure(10, "leave"), by("n1", "n2", at=13, **LEFT), leave(15),
        by("n1", "n2", at=27, **LEFT),
    )  # fmt: skip
    assert verdict.valid == "valid", verdict
    never_known = judged(recorded, views(1), unsure(10, "leave"), by("n1", "n2", at=25, **LEFT))
    assert never_known.valid == "unknown"
    assert "n1 saw n3 left in its last view" in never_known.summary


def test_a_join_before_the_leave_has_ended_is_an_error_that_says_where(recorded: Recorded) -> None:
    begun, ended = unsure(10, "leave")
    with pytest.raises(ValueError, match="event 1: n3 had not ended its last leave or join"):
        judged(recorded, [begun], join(10.2)[:1], [ended])


def test_what_breaks_and_heals_while_an_agent_leaves_disturbs_the_others(recorded: Recorded) -> None:
    long_leave = [(20, 9, "invoke", "leave", None, None, "n3"), (30, 9, "ok", "leave", None, None, "n3")]
    apart = fault(5, "start-partition", cut("n3"))
    killed = [*fault(21, "start-kill", {"nodes": ["n1"]}), *fault(29, "stop-kill", {"nodes": ["n1"]})]
    found = judged(
        recorded, apart, [long_leave[0]], killed, [long_leave[1]], by("n2", at=31, n2="n1 failed,n3 failed")
    )
    assert found.details["violations by kind"] == {}
    # What changes nothing does not tell that it is still there, either.
    nothing = fault(25, "stop-partition", {"cut": []})
    left = judged(recorded, [long_leave[0]], by("n1", "n2", at=24, **LEFT), nothing, [long_leave[1]])
    assert left.details["violations by kind"] == {}
    # Whoever is apart does not disturb them by leaving.
    quiet = judged(recorded, apart, long_leave, by("n2", at=31, n2="n1 failed,n3 failed"))
    assert quiet.details["violations by kind"] == {"accuracy": 1}


def test_those_that_a_leaving_agent_could_not_reach_while_it_left_need_not_know(recorded: Recorded) -> None:
    begun, ended = [(20, 9, "invoke", "leave", None, None, "n3")], [(21, 9, "ok", "leave", None, None, "n3")]
    cuts = fault(20.2, "start-partition", cut("n3")), fault(20.8, "stop-partition", {"cut": []})
    seen_failed = by("n1", "n2", at=40, **SEEN)
    unheard = judged(recorded, views(1), begun, *cuts, ended, seen_failed)
    assert unheard.details["violations by kind"] == {}
    assert judged(recorded, views(1), begun, ended, seen_failed).details["violations by kind"] == {
        "leaving": 2
    }


def test_old_news_of_who_left_binds_nobody(recorded: Recorded) -> None:
    # n2 does not hear that n3 comes back, and then dies, until 40 s.
    apart, healed = fault(5, "start-partition", cut("n2")), fault(40, "stop-partition", {"cut": []})
    killed = fault(25, "start-kill", {"nodes": ["n3"]})
    old_news = by("n2", at=41, n2="n3 left")
    settled = by("n1", "n2", at=51.5, **SEEN)
    verdict = judged(recorded, views(1), leave(2), apart, join(10), killed, healed, old_news, settled)
    assert verdict.details["violations by kind"] == {}


def test_those_that_a_leaving_agent_could_not_tell_may_see_it_failed(recorded: Recorded) -> None:
    apart, healed = fault(5, "start-partition", cut("n1")), fault(20, "stop-partition", {"cut": []})
    held = {"n1": "n3 failed", "n2": "n3 left"}
    early = judged(recorded, views(1), apart, leave(10), healed, by("n1", "n2", at=29, **held))
    assert early.valid == "valid"
    # But whoever knows better tells them.
    late = judged(
        recorded, views(1), apart, leave(10), healed, by("n2", at=31, **held), by("n1", "n2", at=42, **held)
    )
    assert late.valid == "invalid"
    assert "n1 saw n3 failed at 42.000 s, although n2 saw it left at 31.000 s" in late.summary
    assert late.evidence[0].details["kind"] == "agreement"


# --- Incarnations


def held(at: float, observer: str, status: str, incarnation: int) -> list[Row]:
    """One view of n3, with its incarnation."""
    process = NODES.index(observer)
    view: dict[str, Any] = dict.fromkeys(NODES, "alive")
    view["n3"] = {"status": status, "incarnation": incarnation}
    return [
        (at, process, "invoke", "members", None, None, observer),
        (at, process, "ok", "members", view, None, observer),
    ]


REMEMBERS = Gossip(detect=5.0, converge=10.0, nodes=NODES, remember=30.0)


def kinds(recorded: Recorded, *rows: list[Row]) -> dict[str, int]:
    found = REMEMBERS.check(recorded(*(row for some in rows for row in some))).details
    kinds_found: dict[str, int] = found["violations by kind"]
    return kinds_found


def test_an_incarnation_rises_when_an_agent_refutes(recorded: Recorded) -> None:
    rows = [held(1, "n1", "alive", 1), held(2, "n1", "suspect", 1), held(3, "n1", "alive", 2)]
    assert kinds(recorded, *rows) == {}


def test_an_incarnation_that_falls_is_caught(recorded: Recorded) -> None:
    assert kinds(recorded, held(1, "n1", "alive", 4), held(2, "n1", "alive", 3)) == {"incarnation": 1}
    # Two observers need not know the same.
    assert kinds(recorded, held(1, "n1", "alive", 4), held(2, "n2", "alive", 3)) == {}


def test_alive_in_an_incarnation_in_which_it_was_dead_is_a_resurrection(recorded: Recorded) -> None:
    cuts = fault(2, "start-partition", cut("n3")), fault(12, "stop-partition", {"cut": []})
    dead = held(8, "n1", "failed", 4)
    came_back = kinds(recorded, held(1, "n1", "alive", 4), cuts[0], dead, cuts[1], held(15, "n1", "alive", 4))
    assert came_back == {"resurrection": 1}
    refuted = kinds(recorded, held(1, "n1", "alive", 4), cuts[0], dead, cuts[1], held(15, "n1", "alive", 5))
    assert refuted == {}
    forgotten = kinds(recorded, held(1, "n1", "alive", 4), cuts[0], dead, cuts[1], held(32, "n1", "alive", 4))
    assert forgotten == {}
    slow = held(30.5, "n1", "alive", 4)
    slow[1] = (31.5, *slow[1][1:])
    assert kinds(recorded, held(1, "n1", "alive", 4), cuts[0], dead, cuts[1], slow) == {}


def test_views_at_the_same_time_tell_nothing_of_what_came_first(recorded: Recorded) -> None:
    def taken(incarnation: int) -> dict[str, Any]:
        return {"n3": {"status": "alive", "incarnation": incarnation}}

    both = [
        (1, 0, "invoke", "members", None, None, "n1"),
        (2, 7, "invoke", "members", None, None, "n1"),
        (3, 7, "ok", "members", taken(3), None, "n1"),
        (4, 0, "ok", "members", taken(4), None, "n1"),
    ]
    assert kinds(recorded, both) == {}


def test_how_long_ago_one_died_whom_nobody_saw_alive_is_not_known(recorded: Recorded) -> None:
    cuts = fault(2, "start-partition", cut("n3")), fault(38, "stop-partition", {"cut": []})
    seen_late = kinds(recorded, cuts[0], held(20, "n1", "failed", 4), cuts[1], held(41, "n1", "alive", 4))
    assert seen_late == {}


@pytest.mark.parametrize("outcome", ["ok", "info"])
def test_an_agent_that_left_or_may_have_begins_with_a_low_incarnation(
    recorded: Recorded, outcome: str
) -> None:
    for node, expected in (("n3", {}), ("n2", {"incarnation": 1})):
        away = leave(10, node) if outcome == "ok" else unsure(10, "leave", node)
        rows = [held(1, "n1", "alive", 9), away, join(12, node), held(14, "n1", "alive", 1)]
        assert kinds(recorded, *rows) == expected, node


def test_a_process_that_was_started_again_while_another_left_begins_with_a_low_incarnation(
    recorded: Recorded,
) -> None:
    begun, ended = [(20, 9, "invoke", "leave", None, None, "n2")], [(21, 9, "ok", "leave", None, None, "n2")]
    killed = fault(20.2, "start-kill", {"nodes": ["n3"]}), fault(20.5, "stop-kill", {"nodes": ["n3"]})
    rows = [held(1, "n1", "alive", 9), begun, *killed, ended, held(24, "n1", "alive", 1)]
    assert kinds(recorded, *rows) == {}
    assert kinds(recorded, *(one for one in rows if one not in killed)) == {"incarnation": 1}


def test_a_process_that_was_started_again_begins_with_a_low_incarnation(recorded: Recorded) -> None:
    killed = fault(10, "start-kill", {"nodes": ["n3"]}), fault(12, "stop-kill", {"nodes": ["n3"]})
    assert kinds(recorded, held(1, "n1", "alive", 9), *killed, held(14, "n1", "alive", 1)) == {}
    observer = fault(10, "start-kill", {"nodes": ["n1"]}), fault(12, "stop-kill", {"nodes": ["n1"]})
    assert kinds(recorded, held(1, "n1", "alive", 9), *observer, held(14, "n1", "alive", 1)) == {}
