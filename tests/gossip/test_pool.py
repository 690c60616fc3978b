"""Whole pools in virtual time: their promises, their times against real Serf's, and known bugs."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impl.gossip import LAN, LOCAL, Config, Gossip, MemberChanged, formulas
from impl.gossip.config import SECOND
from impl.gossip.memberlist import _Probe
from impl.gossip.table import Node
from impl.gossip.testing import Pool
from impl.gossip.wire import Alive, Dead, NodeState

# --- promises


@pytest.mark.parametrize("loss", [0.0, 0.05])
def test_without_faults_nobody_is_failed(loss: float) -> None:
    """Nor ever suspect, if no packet is lost either."""
    pool = Pool(5, loss=loss)
    pool.start_joined(8)
    pool.run(300 * SECOND)
    assert not pool.changes("failed")
    assert loss or not pool.changes("suspected")
    pool.run_until(pool.all_agree, 30 * SECOND)


def test_one_seed_gives_one_history() -> None:
    histories = []
    for _ in range(2):
        pool = Pool(11, loss=0.1)
        names = pool.start_joined(5)
        pool.partition(names[:2], names[2:])
        pool.run(20 * SECOND)
        pool.heal()
        pool.run(20 * SECOND)
        histories.append((pool.datagrams, pool.happened))
    assert histories[0] == histories[1]


@pytest.mark.parametrize("config", [LAN, LOCAL])
@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_a_death_is_seen_by_all_within_its_bound(config: Config, count: int) -> None:
    for seed in range(3):
        pool = Pool(seed, config, loss=0.02)
        pool.start_joined(count)
        pool.kill("n2")
        limit_ns = formulas.detection_bound_ns(config, count)
        pool.run_until(partial(pool.seen_by_all, "n2", "failed"), limit_ns)
        pool.run(90 * SECOND)
        assert pool.seen_by_all("n2", "failed"), "the dead stay dead"


@pytest.mark.parametrize("cut_seconds", [2, 10, 40, 150])
@pytest.mark.parametrize("minority", [1, 2])
def test_a_healed_partition_converges_within_its_bound(minority: int, cut_seconds: int) -> None:
    for seed in range(3):
        pool = Pool(seed)
        names = pool.start_joined(5)
        pool.partition(names[:minority], names[minority:])
        pool.run(cut_seconds * SECOND)
        pool.heal()
        pool.run_until(pool.all_agree, formulas.convergence_bound_ns(LAN, 5, cut_seconds * SECOND))


def sees_alive(pool: Pool, one: str, other: str) -> bool:
    return pool.status(one, other) == "alive"


def test_two_members_alone_find_each_other_among_the_dead_within_the_bound() -> None:
    for seed in range(40):
        pool = Pool(seed)
        names = pool.start_joined(5)
        pool.partition(names[:1], names[1:])
        pool.run(60 * SECOND)
        for name in names[1:4]:
            pool.kill(name)
        pool.run(60 * SECOND)
        pool.heal()
        bound_ns = formulas.convergence_bound_ns(LAN, 5, 120 * SECOND, dead=3)
        began_ns = pool.now_ns
        for one, other in ((names[0], names[4]), (names[4], names[0])):
            found = partial(sees_alive, pool, one, other)
            pool.run_until(found, began_ns + bound_ns - pool.now_ns)


def test_nobody_within_a_part_is_failed_by_its_own_part() -> None:
    pool = Pool(3)
    names = pool.start_joined(6)
    pool.partition(names[:3], names[3:])
    pool.run(60 * SECOND)
    for observer in names:
        own = names[:3] if observer in names[:3] else names[3:]
        assert [name for name in names if pool.status(observer, name) == "alive"] == own


steps = st.lists(
    st.tuples(
        st.sampled_from(["partition", "one-way", "heal", "kill", "pause", "resume", "loss"]),
        st.lists(st.sampled_from(range(5)), min_size=1, max_size=3, unique=True),
        st.integers(1, 40),
    ),
    max_size=6,
)


@given(steps, st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_after_any_schedule_of_faults_the_living_agree_about_the_living_and_the_dead(
    schedule: list[tuple[str, list[int], int]], seed: int
) -> None:
    pool = Pool(seed)
    names = pool.start_joined(5)
    killed: list[str] = []
    for kind, numbers, seconds in schedule:
        chosen = [names[number] for number in numbers]
        others = [name for name in names if name not in chosen]
        match kind:
            case "partition":
                pool.partition(chosen, others)
            case "one-way":
                pool.cut(chosen, others)
            case "heal":
                pool.heal()
            case "kill":
                if len(killed) < 2 and chosen[0] not in killed:
                    killed.append(chosen[0])
                    pool.kill(chosen[0])
            case "pause":
                pool.pause(chosen[0])
            case "resume":
                pool.resume(chosen[0])
            case "loss":
                pool.loss = 0.3
        pool.run(seconds * SECOND)
    pool.heal()
    pool.loss = 0.0
    for name in names:
        pool.resume(name)

    def dead_are_failed() -> bool:
        return all(pool.seen_by_all(name, "failed") for name in killed)

    # Reconnects may be spent on the dead, so this is about liveness: the bounds are tested above.
    pool.run_until(lambda: pool.all_agree() and dead_are_failed(), 1200 * SECOND)
    pool.run(60 * SECOND)
    assert pool.all_agree()
    assert dead_are_failed()
    _assert_incarnations_never_go_back(pool)


def _assert_incarnations_never_go_back(pool: Pool) -> None:
    """While a member is remembered: memberlist forgets the dead, and then believes what is said of them."""
    known: dict[tuple[str, str], int] = {}
    for each in pool.happened:
        if isinstance(each.effect, MemberChanged):
            key = (each.node, each.effect.member.name)
            if each.effect.change != "joined":
                assert each.effect.member.incarnation >= known[key], each
            known[key] = each.effect.member.incarnation


def test_a_tick_does_not_cost_more_in_a_larger_pool() -> None:
    """Picking whom to gossip to looks at a few members, not at all of them."""
    pool = Pool(1)
    core = pool.start("n1")
    looked_at = 0
    for number in range(5000):
        host = bytes((10, 1, number >> 8, number & 255))
        core._alive(Alive(1, f"x{number}", host, 7946, b"\xff\x80", (1, 5, 2, 2, 5, 5)))

    def wanted(node: object) -> bool:
        nonlocal looked_at
        looked_at += 1
        return True

    assert len(core._table.pick(3, wanted)) == 3
    assert looked_at <= 9


# --- against real Serf


def _medians(count: int, seeds: range) -> dict[str, float]:
    """The experiment that was made with Serf 0.9.4 agents, in seconds."""
    times: dict[str, list[float]] = {
        name: [] for name in ("all join", "one joins", "leave", "suspect", "failed")
    }
    for seed in seeds:
        pool = Pool(seed)
        names = [f"n{number}" for number in range(1, count + 1)]
        for name in names:
            pool.start(name)
        pool.run(1 * SECOND)
        for name in names[1:]:
            pool.join(name, "n1")
        times["all join"].append(pool.run_until(pool.all_agree, 60 * SECOND) / SECOND)
        pool.start("late")
        pool.join("late", "n2")
        times["one joins"].append(pool.run_until(pool.all_agree, 60 * SECOND) / SECOND)
        pool.run(5 * SECOND)
        pool.input("late", lambda core, now_ns: core.leave(now_ns))
        left = pool.run_until(partial(pool.seen_by_all, "late", "left"), 60 * SECOND)
        times["leave"].append(left / SECOND)
        pool.run(5 * SECOND)
        pool.kill("late")
        start_ns = pool.now_ns
        pool.kill("n3")
        failed = pool.run_until(partial(pool.seen_by_all, "n3", "failed"), 60 * SECOND)
        times["failed"].append(failed / SECOND)
        times["suspect"].append((pool.changes("suspected", "n3")[0].time_ns - start_ns) / SECOND)
    return {name: statistics.median(values) for name, values in times.items()}


@pytest.mark.parametrize(
    ("count", "seeds", "serf"),
    [
        (10, range(9), {"all join": 0.21, "one joins": 0.26, "leave": 0.81, "suspect": 1.62, "failed": 5.85}),
        (50, range(2), {"all join": 0.91, "one joins": 0.62, "leave": 0.84, "suspect": 1.54, "failed": 8.70}),
    ],
)
def test_a_pool_is_as_fast_as_real_serf(count: int, seeds: range, serf: dict[str, float]) -> None:
    """Medians of Debian's Serf 0.9.4 (memberlist 0.2.2), profile lan, on one machine.

    Spreads through random members vary by a gossip interval or two, first suspicions by a probe interval; the
    time to failure is dominated by the suspicion timeout, which both compute alike.
    """
    ours = _medians(count, seeds)
    tolerance = {"all join": 0.4, "one joins": 0.4, "leave": 0.4, "suspect": 0.8, "failed": 1.2}
    for name, value in serf.items():
        assert ours[name] == pytest.approx(value, abs=tolerance[name]), name


@pytest.mark.parametrize(("cut_seconds", "serf_seconds", "tolerance"), [(25, 0.95, 0.7), (90, 14.7, 1.0)])
def test_a_partition_heals_as_fast_as_with_real_serf(
    cut_seconds: int, serf_seconds: float, tolerance: float
) -> None:
    """Ten agents, cut in halves when they are five seconds old.

    Both times are set by Serf's reconnects, 30 s after the start and then 30 s after each attempt. An attempt
    hangs for 10 s during a cut: one is under way when the short cut heals. The first after the long one comes
    when the agents are 110 s old.
    """
    times = []
    for seed in range(5):
        pool = Pool(seed)
        names = pool.start_joined(10)
        pool.run(5 * SECOND - pool.now_ns)
        pool.partition(names[:5], names[5:])
        pool.run(cut_seconds * SECOND)
        assert len(pool.changes("failed")) == 50
        pool.heal()
        times.append(pool.run_until(pool.all_agree, 60 * SECOND) / SECOND)
    assert statistics.median(times) == pytest.approx(serf_seconds, abs=tolerance)


# --- known bugs, each one method of the core done wrong, and what catches it


class NeverRefutes(Gossip):
    def _refute(self, accused_incarnation: int) -> None:
        pass


class NoIndirectProbes(Gossip):
    def _indirect_probe(self, probe: _Probe) -> None:
        pass


class PushPullBuries(Gossip):
    def _merge_dead(self, state: NodeState) -> None:
        self._dead(Dead(state.incarnation, state.name, self.name))


class EqualAliveClears(Gossip):
    def _alive_is_news(self, node: Node, news: Alive) -> bool:
        return news.incarnation >= node.incarnation


def heals(core: type[Gossip]) -> bool:
    """Whether long cuts heal within the bound."""
    for seed in range(5):
        pool = Pool(seed)
        names = pool.start_joined(5, core)
        pool.partition(names[:2], names[2:])
        pool.run(30 * SECOND)
        pool.heal()
        try:
            pool.run_until(pool.all_agree, formulas.convergence_bound_ns(LAN, 5, 30 * SECOND))
        except AssertionError:
            return False
    return True


def trusts_beyond_a_bad_link(core: type[Gossip]) -> bool:
    """Whether two members who reach each other only through others leave each other alone."""
    pool = Pool(1)
    pool.start_joined(5, core)
    pool.partition(["n1"], ["n2"])
    pool.run(60 * SECOND)
    return not pool.changes("suspected")


def buries_nobody_after_a_heal(core: type[Gossip]) -> bool:
    """Whether the heal of a long cut makes no member fail that is up and connected."""
    pool = Pool(1)
    names = pool.start_joined(6, core)
    pool.partition(names[:3], names[3:])
    pool.run(30 * SECOND)
    pool.heal()
    before = len(pool.changes("failed"))
    pool.run_until(pool.all_agree, formulas.convergence_bound_ns(LAN, 6, 30 * SECOND))
    return len(pool.changes("failed")) == before


def doubts_the_dead_until_they_are_failed(core: type[Gossip]) -> bool:
    """Whether nobody takes back the suspicion of a dead member, which would put off its end."""
    pool = Pool(1)
    pool.start_joined(4, core)
    pool.kill("n2")
    pool.run_until(lambda: pool.seen_by_all("n2", "failed"), formulas.detection_bound_ns(LAN, 4))
    return not pool.changes("cleared", "n2")


@pytest.mark.parametrize(
    ("keeps_promise", "broken"),
    [
        (heals, NeverRefutes),
        (trusts_beyond_a_bad_link, NoIndirectProbes),
        (buries_nobody_after_a_heal, PushPullBuries),
        (doubts_the_dead_until_they_are_failed, EqualAliveClears),
    ],
)
def test_a_known_bug_breaks_its_promise_and_the_core_keeps_it(
    keeps_promise: Callable[[type[Gossip]], bool], broken: type[Gossip]
) -> None:
    assert keeps_promise(Gossip)
    assert not keeps_promise(broken)
