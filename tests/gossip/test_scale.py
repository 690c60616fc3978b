"""A hundred agents in one process, against the bounds that follow from the parameters."""

from __future__ import annotations

from functools import partial

from impl.gossip import LAN, MemberChanged, OpenStream, StreamReader, UserEvent, formulas, wire
from impl.gossip.config import SECOND
from impl.gossip.testing import Pool

AGENTS = 100


def _pool(seed: int) -> Pool:
    pool = Pool(seed)
    pool.start_acquainted(AGENTS)
    pool.run(2 * SECOND)
    return pool


def test_agents_that_were_acquainted_agree_and_own_what_they_change() -> None:
    pool = _pool(1)
    assert pool.all_agree()
    pool.input("n1", lambda core, now_ns: core.set_tags({"role": "other"}, now_ns))
    first, second = pool.core("n1").member("n1"), pool.core("n2").member("n1")
    assert first is not None and second is not None
    assert (first.tags, second.tags) == ({"role": "other"}, {"role": "test"}), "the news is still to come"


def test_a_join_is_known_to_all_within_the_bound() -> None:
    pool = _pool(2)
    pool.start("new")
    pool.join("new", "n1")
    limit_ns = formulas.dissemination_bound_ns(LAN, AGENTS + 1)
    pool.run_until(partial(pool.seen_by_all, "new", "alive"), limit_ns)


def test_a_kill_is_detected_within_its_bounds() -> None:
    pool = _pool(3)
    killed_ns = pool.now_ns
    pool.kill("n7")
    pool.run_until(partial(pool.seen_by_all, "n7", "failed"), formulas.detection_bound_ns(LAN, AGENTS))
    shortest_ns = formulas.suspicion_timeout_min_ns(LAN.suspicion_multiplier, AGENTS, LAN.probe_interval_ns)
    suspected, failed = pool.changes("suspected", "n7"), pool.changes("failed", "n7")
    assert suspected[0].time_ns - killed_ns >= LAN.probe_interval_ns / 2
    assert failed[0].time_ns - suspected[0].time_ns >= shortest_ns
    assert {each.effect.member.name for each in pool.changes("failed")} == {"n7"}  # type: ignore[union-attr]


def test_without_loss_nobody_is_suspected() -> None:
    pool = _pool(4)
    pool.run(20 * SECOND)
    assert not pool.changes("suspected") and not pool.changes("failed")


def test_a_user_event_reaches_all_within_the_spread_of_a_broadcast() -> None:
    pool = _pool(5)
    pool.input("n1", lambda core, now_ns: core.fire("deploy", b"7", False, now_ns))
    pool.run(formulas.gossip_spread_ns(LAN, AGENTS))
    reached = [each.node for each in pool.happened if isinstance(each.effect, UserEvent)]
    assert len(reached) == len(set(reached)) == AGENTS


def test_a_push_pull_that_tells_nothing_new_is_neither_written_nor_read_anew() -> None:
    """Else each would cost much more than it does for every member that there is."""
    pool = _pool(6)
    pool.run(30 * SECOND)
    before = wire.encode_node_state.cache_info().misses, wire._remembered.cache_info().misses
    pool.run(60 * SECOND)
    after = wire.encode_node_state.cache_info().misses, wire._remembered.cache_info().misses
    assert before == after


def test_what_is_new_in_a_push_pull_is_taken_in_although_the_rest_is_not() -> None:
    pool = Pool(7)
    pool.start_acquainted(AGENTS)
    first, second = pool.core("n1"), pool.core("n2")
    first.set_tags({"role": "other"}, pool.now_ns)
    first.join([("10.0.0.2", 7946)], pool.now_ns)
    request = next(each.request for each in first.take() if isinstance(each, OpenStream))
    message = StreamReader().feed(request)
    assert message is not None
    second.stream_request(message, ("10.0.0.1", 7946), pool.now_ns)
    changes = [each for each in second.take() if isinstance(each, MemberChanged)]
    assert [(each.change, each.member.name, each.member.tags) for each in changes] == [
        ("updated", "n1", {"role": "other"})
    ]
