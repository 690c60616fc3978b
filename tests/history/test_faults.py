"""What was broken when, read from the nemesis's events."""

from typing import Any

from harness.faults import Condition, conditions, last_heal_ns
from harness.history import NEMESIS, History, Op

NODES = ("n1", "n2", "n3")


def history(*events: tuple[int, str, Any]) -> History:
    return History(
        [Op(i, time, "info", NEMESIS, f, value=value) for i, (time, f, value) in enumerate(events)]
    )


def test_conditions_last_from_a_completion_to_the_next_invocation() -> None:
    assert conditions(
        history(
            (10, "start-partition", "halves"),
            (12, "start-partition", {"cut": [["n1", "n2"]]}),
            (20, "start-kill", "one"),
            (23, "start-kill", {"nodes": ["n3"]}),
            (30, "stop-partition", None),
            (31, "stop-partition", {"cut": []}),
            (40, "stop-kill", None),
            (45, "stop-kill", {"nodes": ["n3"]}),
        )
    ) == [
        Condition(0, 10),
        Condition(12, 20, cut=frozenset({("n1", "n2")})),
        Condition(23, 30, cut=frozenset({("n1", "n2")}), dead=frozenset({"n3"})),
        Condition(31, 40, dead=frozenset({"n3"})),
        Condition(45, 45),
    ]


def test_killing_a_paused_node_ends_its_pause() -> None:
    last = conditions(
        history(
            (1, "start-pause", "one"),
            (2, "start-pause", {"nodes": ["n1"]}),
            (3, "start-kill", "one"),
            (4, "start-kill", {"nodes": ["n1"]}),
        )
    )[-1]
    assert (last.paused, last.dead) == (frozenset(), frozenset({"n1"}))


def test_nothing_is_known_after_an_operation_that_did_not_complete() -> None:
    torn = history((1, "start-kill", "one"))
    assert conditions(torn) == [Condition(0, 1)]
    assert last_heal_ns(torn) is None


def test_the_last_heal_is_when_everything_is_whole_for_good() -> None:
    healed = history(
        (1, "start-kill", "one"),
        (2, "start-kill", {"nodes": ["n1"]}),
        (3, "stop-kill", None),
        (4, "stop-kill", {"nodes": ["n1"]}),
        (5, "stop-partition", None),
        (6, "stop-partition", {"cut": []}),
    )
    assert last_heal_ns(healed) == 4
    assert last_heal_ns(history()) == 0


def test_a_one_way_cut_keeps_two_nodes_in_one_component() -> None:
    one_way = Condition(0, 1, cut=frozenset({("n1", "n2"), ("n1", "n3"), ("n2", "n3"), ("n3", "n2")}))
    assert list(one_way.components(NODES)) == [frozenset(NODES)]
    both = Condition(0, 1, cut=frozenset({("n1", "n2"), ("n2", "n1")}), paused=frozenset({"n3"}))
    assert list(both.components(NODES)) == [frozenset({"n1"}), frozenset({"n2"})]


def test_traps_kill_who_leads_which_ends_its_pause() -> None:
    trapped = history(
        (1, "start-pause", "one"),
        (2, "start-pause", {"nodes": ["n1"]}),
        (3, "start-crash-point", ["all", "written", "vote"]),
        (4, "start-crash-point", {"nodes": ["n2"], "leader": "n1", "step": "written", "record": "vote"}),
        (5, "stop-pause", None),
        (6, "stop-pause", {"nodes": []}),
        (7, "stop-crash-point", None),
        (8, "stop-crash-point", {"nodes": ["n2"]}),
    )
    assert conditions(trapped)[-1].whole
    assert last_heal_ns(trapped) == 8


def test_who_died_in_a_trap_while_it_was_paused_is_not_paused_when_it_is_started_again() -> None:
    """Found by a sweep (register, seed 335), which could not say whether the cluster had recovered."""
    trapped = history(
        (1, "start-crash-point", ["all", "sent", "vote"]),
        (2, "start-crash-point", {"nodes": ["n1"], "leader": None, "step": "sent", "record": "vote"}),
        (3, "start-pause", "one"),
        (4, "start-pause", {"nodes": ["n1"]}),
        (5, "stop-pause", None),
        (6, "stop-pause", {"nodes": []}),
        (7, "stop-crash-point", None),
        (8, "stop-crash-point", {"nodes": ["n1"]}),
    )
    assert conditions(trapped)[-1].whole
    assert last_heal_ns(trapped) == 8


def test_while_packets_are_lost_nobody_knows_who_hears_whom() -> None:
    lossy = history((1, "start-network", {"links": "all", "lost": 0.5}), (2, "start-network", {"links": []}))
    assert not conditions(lossy)[-1].whole
    assert list(conditions(lossy)[0].components(NODES)) == [frozenset(NODES)]
    assert list(conditions(lossy)[-1].components(NODES)) == []


def test_after_a_disk_was_broken_nothing_is_known_but_a_slow_one_changes_nothing() -> None:
    slow = {"nodes": ["n1"], "condition": "slow"}
    full = {"nodes": ["n1"], "condition": "full"}
    assert conditions(history((1, "start-disk", ["one", "slow"]), (2, "start-disk", slow)))[-1].whole
    assert last_heal_ns(history((1, "start-disk", ["one", "full"]), (2, "start-disk", full))) is None
