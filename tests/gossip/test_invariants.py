"""The observers of gossip's promises see each of them broken, and nothing wrong under faults."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from impl.gossip import LAN, Gossip, Member, MemberChanged
from impl.gossip.config import SECOND
from impl.gossip.effects import Change
from impl.gossip.invariants import GossipInvariants, PropertyViolated
from impl.gossip.testing import Pool

ADDRESS = ("10.0.0.2", 7946)


@pytest.fixture
def core() -> Gossip:
    return Gossip("n1", ("10.0.0.1", 7946), {}, LAN, Random(1), 0)


@pytest.fixture
def invariants(core: Gossip) -> GossipInvariants:
    """n1 is watched, and has seen n2 join, whose incarnation has been 3 at most."""
    invariants = GossipInvariants()
    invariants.started(core)
    other = Gossip("n2", ADDRESS, {}, LAN, Random(2), 0)
    other._me.incarnation = 3
    invariants.started(other)
    invariants.observe(core, [change("joined")])
    return invariants


def change(
    what: Change,
    incarnation: int = 1,
    *,
    seconds: int = 0,
    name: str = "n2",
    address: tuple[str, int] = ADDRESS,
) -> MemberChanged:
    status = "failed" if what == "failed" else "left" if what == "left" else "alive"
    suspect = what == "suspected"
    member = Member(name, address, {}, status, suspect, incarnation, (1, 5, 2, 2, 5, 5), seconds * SECOND)  # type: ignore[arg-type]
    return MemberChanged(what, member)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ([change("suspected", 2), change("cleared", 2)], "Alive Overrides Only When Newer"),
        ([change("failed", 2), change("joined", 2)], "Alive Overrides Only When Newer"),
        ([change("left", 1), change("joined", 1)], "Alive Overrides Only When Newer"),
        ([change("updated", 2), change("suspected", 1)], "Monotonic Belief"),
        ([change("failed", 2), change("joined", 1)], "Monotonic Belief"),
        ([change("suspected", 4)], "No Invented Incarnation"),
        ([change("joined", 2)], "Sane Changes"),
        ([change("cleared", 2)], "Sane Changes"),
        ([change("left"), change("failed")], "Sane Changes"),
        ([change("failed", name="n3")], "Sane Changes"),
        ([change("joined", name="n1"), change("failed", name="n1")], "Sane Changes"),
    ],
)
def test_a_change_that_must_not_be_is_seen(
    core: Gossip, invariants: GossipInvariants, changes: list[MemberChanged], name: str
) -> None:
    with pytest.raises(PropertyViolated) as caught:
        invariants.observe(core, changes)
    assert caught.value.name == name
    assert caught.value.observer == "n1"
    assert caught.value.member == changes[-1].member.name
    assert invariants.violation is caught.value


@pytest.mark.parametrize(
    "changes",
    [
        [change("suspected", 1), change("cleared", 2), change("suspected", 2), change("failed", 2)],
        [change("failed", 1), change("joined", 2)],
        [change("failed", 3), change("joined", 1, seconds=31)],
        [change("failed", 1), change("left", 1)],
        [change("left", 3), change("joined", 1, address=("10.9.9.9", 7946))],
        [change("failed", 3), change("reaped", 3), change("joined", 1)],
    ],
    ids=[
        "refuted, then failed",
        "back",
        "forgotten, then back",
        "forced to leave",
        "moved",
        "reaped, then back",
    ],
)
def test_a_change_that_may_be_is_no_violation(
    core: Gossip, invariants: GossipInvariants, changes: list[MemberChanged]
) -> None:
    invariants.observe(core, changes)
    assert invariants.violation is None


def test_an_agents_own_incarnation_does_not_go_back_while_it_runs(
    core: Gossip, invariants: GossipInvariants
) -> None:
    core._me.incarnation = 5
    invariants.observe(core, [])
    core._me.incarnation = 4
    with pytest.raises(PropertyViolated, match="Own Incarnation"):
        invariants.observe(core, [])
    core._me.incarnation = 1
    invariants.started(core)
    invariants.observe(core, [])


def unnoticed(pool: Pool, incarnation: int) -> None:
    """n1 comes to know another incarnation of n2, without a word."""
    node = pool.core("n1")._table.get("n2")
    assert node is not None
    node.incarnation = incarnation


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        (lambda pool: unnoticed(pool, 0), "Monotonic Belief"),
        (lambda pool: unnoticed(pool, 7), "No Invented Incarnation"),
    ],
)
def test_a_sweep_sees_what_was_not_told(wrong: Callable[[Pool], None], name: str) -> None:
    invariants = GossipInvariants()
    pool = Pool(1)
    names = pool.start_joined(3, invariants.watching(Gossip))
    for each in names:
        invariants.sweep(pool.core(each))
    wrong(pool)
    with pytest.raises(PropertyViolated, match=name):
        invariants.sweep(pool.core("n1"))


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_wrong_in_a_pool_under_faults(seed: int) -> None:
    invariants = GossipInvariants()
    core = invariants.watching(Gossip)
    pool = Pool(seed)
    names = pool.start_joined(7, core)
    random = Random(seed)
    for _ in range(8):
        chosen = random.sample(names, 3)
        match random.randrange(4):
            case 0:
                pool.partition(chosen, [name for name in names if name not in chosen])
            case 1:
                pool.cut(chosen, names)
            case 2:
                pool.kill(chosen[0])
            case _:
                pool.loss = 0.3
        pool.run(random.randrange(5, 40) * SECOND)
        pool.heal()
        pool.loss = 0.0
        for name in names:
            if name not in pool.live():
                pool.start(name, core=core)
                pool.join(name, next(other for other in names if other != name))
        pool.run(10 * SECOND)
        for name in names:
            invariants.sweep(pool.core(name))
    assert invariants.violation is None
    assert pool.changes("failed")
