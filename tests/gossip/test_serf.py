"""Leaving, failing, coming back, tags and user events: one test per rule (serf.go, delegate.go)."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from impl.gossip import (
    LAN,
    Gossip,
    InvalidName,
    JoinFinished,
    LeaveFinished,
    TooLarge,
    UserEvent,
    serf_messages,
    wire,
)
from impl.gossip.config import SECOND
from impl.gossip.serf_messages import JoinIntent, LeaveIntent
from impl.gossip.testing import Pool


def told(pool: Pool, name: str, intent: serf_messages.Message) -> None:
    """Let an agent hear a Serf message."""
    packet = wire.encode(wire.User(serf_messages.encode(intent)))
    pool.input(name, lambda core, now_ns: core.datagram(packet, ("10.0.0.2", 7946), now_ns))


def events(pool: Pool, node: str) -> list[tuple[str, bytes]]:
    effects = [each.effect for each in pool.happened if each.node == node]
    return [(effect.name, effect.payload) for effect in effects if isinstance(effect, UserEvent)]


# --- leaving and failing


def test_who_leaves_has_left_everywhere_and_was_never_doubted() -> None:
    pool = Pool(1)
    pool.start_joined(5)
    pool.input("n3", lambda core, now_ns: core.leave(now_ns))
    took_ns = pool.run_until(lambda: LeaveFinished() in [each.effect for each in pool.happened], 12 * SECOND)
    pool.kill("n3")
    assert took_ns < 3 * SECOND
    assert pool.seen_by_all("n3", "left")
    pool.run(120 * SECOND)
    assert pool.seen_by_all("n3", "left")
    assert not pool.changes("failed")
    assert not pool.changes("suspected")


def test_who_is_alone_has_left_at_once() -> None:
    pool = Pool(1)
    pool.start("n1")
    pool.input("n1", lambda core, now_ns: core.leave(now_ns))
    assert LeaveFinished() in [each.effect for each in pool.happened]


def test_who_cannot_tell_anybody_still_leaves_in_bounded_time() -> None:
    pool = Pool(1)
    names = pool.start_joined(3)
    pool.partition(["n3"], names[:2])
    pool.input("n3", lambda core, now_ns: core.leave(now_ns))
    limit_ns = 2 * LAN.broadcast_timeout_ns + LAN.leave_propagate_delay_ns
    pool.run_until(lambda: LeaveFinished() in [each.effect for each in pool.happened], limit_ns)


def test_who_announces_its_own_death_has_left_even_if_its_intent_was_lost() -> None:
    pool = Pool(1)
    pool.start_joined(2)
    death = wire.encode(wire.Dead(1, "n2", "n2"))
    pool.input("n1", lambda core, now_ns: core.datagram(death, ("10.0.0.2", 7946), now_ns))
    assert pool.status("n1", "n2") == "left"


def test_who_dies_has_failed_and_force_leave_makes_it_left_everywhere() -> None:
    pool = Pool(1)
    pool.start_joined(4)
    pool.kill("n4")
    pool.run_until(lambda: pool.seen_by_all("n4", "failed"), 60 * SECOND)
    pool.input("n1", lambda core, now_ns: core.force_leave("n4", False, now_ns))
    pool.run_until(lambda: pool.seen_by_all("n4", "left"), 5 * SECOND)


def test_force_leave_with_prune_forgets_the_member() -> None:
    pool = Pool(1)
    pool.start_joined(4)
    pool.kill("n4")
    pool.run_until(lambda: pool.seen_by_all("n4", "failed"), 60 * SECOND)
    pool.input("n1", lambda core, now_ns: core.force_leave("n4", True, now_ns))
    pool.run_until(lambda: pool.seen_by_all("n4", "unknown"), 5 * SECOND)


def test_force_leave_of_a_live_member_is_refuted_by_it() -> None:
    pool = Pool(1)
    pool.start_joined(4)
    pool.input("n1", lambda core, now_ns: core.force_leave("n4", False, now_ns))
    assert pool.status("n1", "n4") == "leaving"
    pool.run(5 * SECOND)
    assert pool.seen_by_all("n4", "alive")


def test_force_leave_says_whether_the_member_is_known() -> None:
    pool = Pool(1)
    core = pool.start("n1")
    assert not core.force_leave("nobody", False, 0)


def test_an_intent_that_is_not_newer_is_void() -> None:
    pool = Pool(1)
    pool.start_joined(2)
    told(pool, "n1", JoinIntent(20, "n2"))
    told(pool, "n1", LeaveIntent(20, "n2"))
    assert pool.status("n1", "n2") == "alive"
    told(pool, "n1", LeaveIntent(21, "n2"))
    assert pool.status("n1", "n2") == "leaving"
    told(pool, "n1", JoinIntent(21, "n2"))
    assert pool.status("n1", "n2") == "leaving"
    told(pool, "n1", JoinIntent(22, "n2"))
    assert pool.status("n1", "n2") == "alive"


def test_an_intent_may_come_before_its_member() -> None:
    pool = Pool(1)
    pool.start("n1")
    pool.start("n2")
    told(pool, "n1", LeaveIntent(50, "n2"))
    pool.join("n1", "n2")
    pool.run_until(lambda: pool.status("n1", "n2") == "leaving", 5 * SECOND)


def test_intents_of_members_that_never_come_are_forgotten() -> None:
    pool = Pool(1)
    pool.start("n1")
    pool.start("n2")
    told(pool, "n1", LeaveIntent(50, "n2"))
    pool.run(LAN.recent_intent_timeout_ns + LAN.reap_interval_ns)
    pool.join("n1", "n2")
    pool.run_until(lambda: pool.status("n1", "n2") == "alive", 5 * SECOND)


# --- coming back


def test_who_left_comes_back_under_its_name() -> None:
    pool = Pool(1)
    pool.start_joined(4)
    pool.input("n4", lambda core, now_ns: core.leave(now_ns))
    pool.run(5 * SECOND)
    pool.kill("n4")
    pool.start("n4")
    pool.join("n4", "n2")
    pool.run_until(pool.all_agree, 10 * SECOND)


@pytest.mark.parametrize("down_seconds", [1, 20, 100])
def test_who_died_comes_back_at_its_address_above_its_old_incarnation(down_seconds: int) -> None:
    """memberlist #311: its own count begins at 1 again."""
    pool = Pool(down_seconds)
    pool.start_joined(4)
    pool.input("n4", lambda core, now_ns: core.set_tags({"a": "b"}, now_ns))
    pool.run(2 * SECOND)
    pool.kill("n4")
    pool.run(down_seconds * SECOND)
    pool.start("n4", {"life": "second"})
    pool.join("n4", "n2")
    # A failed member at an address where something answers is also found by a reconnect.
    pool.run_until(pool.all_agree, 60 * SECOND)
    pool.run(5 * SECOND)
    for observer in ("n1", "n2", "n3"):
        member = pool.core(observer).member("n4")
        assert member is not None
        assert member.tags == {"life": "second"}


def test_failed_members_are_tried_again_until_they_answer() -> None:
    """serf.go `reconnect`: memberlist has forgotten each other by then."""
    pool = Pool(1)
    names = pool.start_joined(4)
    pool.partition(names[:2], names[2:])
    pool.run(300 * SECOND)
    assert len(pool.changes("failed")) == 8
    pool.heal()
    pool.run_until(pool.all_agree, 60 * SECOND)


def test_members_that_left_are_not_tried_again() -> None:
    pool = Pool(1)
    pool.start_joined(2)
    pool.input("n2", lambda core, now_ns: core.leave(now_ns))
    pool.run(5 * SECOND)
    sent = pool.datagrams
    pool.run(300 * SECOND)
    assert pool.status("n1", "n2") == "left"
    assert not pool.core("n1").open_streams
    # The leaver's own probes of n1, which answers, are all that is left.
    assert pool.datagrams - sent <= 2 * 300 + 2


def test_failed_members_are_forgotten_after_the_reconnect_timeout_and_left_ones_after_theirs() -> None:
    config = replace(LAN, reconnect_timeout_ns=60 * SECOND, tombstone_timeout_ns=120 * SECOND)
    pool = Pool(1, config)
    pool.start_joined(4)
    pool.kill("n4")
    pool.input("n3", lambda core, now_ns: core.leave(now_ns))
    pool.run(5 * SECOND)
    pool.kill("n3")
    pool.run(100 * SECOND)
    assert pool.status("n1", "n4") == "unknown"
    assert pool.status("n1", "n3") == "left"
    pool.run(60 * SECOND)
    assert pool.status("n1", "n3") == "unknown"
    assert {each.node for each in pool.changes("reaped", "n3")} == {"n1", "n2"}


# --- joining


def test_a_join_ends_with_one_report_per_address() -> None:
    pool = Pool(1)
    pool.start("n1")
    pool.start("n2")
    pool.start("n3")
    pool.kill("n3")
    addresses = [("10.0.0.1", 7946), ("10.0.0.3", 7946), ("10.9.9.9", 7946)]
    pool.input("n2", lambda core, now_ns: core.join(addresses, now_ns))
    pool.run(11 * SECOND)
    finished = [each.effect for each in pool.happened if isinstance(each.effect, JoinFinished)]
    assert sorted((effect.address[0], effect.error) for effect in finished) == [
        ("10.0.0.1", ""),
        ("10.0.0.3", "connection refused"),
        ("10.9.9.9", "timed out"),
    ]


def test_who_is_leaving_cannot_join() -> None:
    pool = Pool(1)
    core = pool.start("n1")
    core.leave(0)
    core.take()
    core.join([("10.0.0.2", 7946)], 0)
    assert core.take() == [JoinFinished(("10.0.0.2", 7946), "this agent is leaving")]


# --- tags, names and events


def test_new_tags_reach_everyone() -> None:
    pool = Pool(1)
    names = pool.start_joined(5)
    pool.input("n2", lambda core, now_ns: core.set_tags({"role": "server", "port": "8300"}, now_ns))
    pool.run_until(lambda: len(pool.changes("updated", "n2")) == 5, 5 * SECOND)
    for name in names:
        member = pool.core(name).member("n2")
        assert member is not None
        assert member.tags == {"role": "server", "port": "8300"}


def test_tags_that_do_not_fit_and_names_that_cannot_be_are_refused() -> None:
    core = Pool(1).start("n1")
    with pytest.raises(TooLarge, match="512 are allowed"):
        core.set_tags({"long": "x" * 512}, 0)
    for name in ("", "x" * 129, "tab\t"):
        with pytest.raises(InvalidName):
            Gossip(name, ("10.0.0.1", 1), {}, LAN, random.Random(1), 0)


def test_a_user_event_reaches_everyone_once() -> None:
    pool = Pool(1)
    names = pool.start_joined(6)
    pool.input("n2", lambda core, now_ns: core.fire("deploy", b"v1", False, now_ns))
    pool.input("n3", lambda core, now_ns: core.fire("deploy", b"v2", False, now_ns))
    pool.run(60 * SECOND)
    for name in names:
        assert sorted(events(pool, name)) == [("deploy", b"v1"), ("deploy", b"v2")]


def test_a_user_event_that_was_missed_comes_with_a_push_pull() -> None:
    pool = Pool(1)
    names = pool.start_joined(4)
    pool.partition(["n4"], names[:3])
    pool.input("n1", lambda core, now_ns: core.fire("deploy", b"v1", False, now_ns))
    pool.run(3 * SECOND)
    assert events(pool, "n4") == []
    pool.heal()
    pool.run(90 * SECOND)
    assert events(pool, "n4") == [("deploy", b"v1")]


def test_user_events_from_before_a_join_are_not_delivered() -> None:
    """Serf's `Join` with ignoreOld, as Consul calls it."""
    pool = Pool(1)
    pool.start_joined(3)
    pool.input("n1", lambda core, now_ns: core.fire("deploy", b"v1", False, now_ns))
    pool.run(60 * SECOND)
    pool.start("n4")
    pool.join("n4", "n2")
    pool.run(60 * SECOND)
    pool.input("n1", lambda core, now_ns: core.fire("deploy", b"v2", False, now_ns))
    pool.run(60 * SECOND)
    assert events(pool, "n4") == [("deploy", b"v2")]


def test_a_user_event_that_does_not_fit_is_refused() -> None:
    core = Pool(1).start("n1")
    with pytest.raises(TooLarge, match="512 are allowed"):
        core.fire("name", b"x" * 500, False, 0)
    core.fire("name", b"x" * 400, False, 0)
