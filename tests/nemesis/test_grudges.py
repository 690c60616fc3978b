"""Grudges, as properties of clusters of any size."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemesis import grudges
from nemesis.grudges import Grudge

clusters = st.integers(2, 12).map(lambda count: tuple(f"n{i}" for i in range(1, count + 1)))
triples = st.integers(3, 12).map(lambda count: tuple(f"n{i}" for i in range(1, count + 1)))
seeds = st.integers(0, 2**32).map(Random)


def hears(grudge: Grudge, nodes: tuple[str, ...], receiver: str) -> frozenset[str]:
    """Whom a node hears, itself included."""
    return frozenset(sender for sender in nodes if (sender, receiver) not in grudge)


def is_symmetric(grudge: Grudge) -> bool:
    return all((receiver, sender) in grudge for sender, receiver in grudge)


@given(nodes=clusters)
def test_bisect_gives_all_nodes_the_smaller_half_first(nodes: tuple[str, ...]) -> None:
    smaller, larger = grudges.bisect(nodes)
    assert smaller + larger == nodes
    assert 0 <= len(larger) - len(smaller) <= 1


@given(nodes=clusters, random=seeds)
def test_split_one_leaves_the_others_together(nodes: tuple[str, ...], random: Random) -> None:
    loner = random.choice(nodes)
    (alone,), others = grudges.split_one(nodes, loner)
    assert alone == loner and set(others) == set(nodes) - {loner}


@given(nodes=clusters, random=seeds)
def test_a_complete_grudge_cuts_components_apart_and_nothing_else(
    nodes: tuple[str, ...], random: Random
) -> None:
    component = {node: random.randrange(3) for node in nodes}
    grudge = grudges.complete_grudge([[n for n in nodes if component[n] == c] for c in range(3)])
    assert is_symmetric(grudge)
    for node in nodes:
        assert hears(grudge, nodes, node) == {n for n in nodes if component[n] == component[node]}


@given(nodes=clusters)
def test_one_way_lets_the_answers_through(nodes: tuple[str, ...]) -> None:
    senders, receivers = grudges.bisect(nodes)
    grudge = grudges.one_way(senders, receivers)
    assert all(hears(grudge, nodes, node) == set(nodes) for node in senders)
    assert all(hears(grudge, nodes, node) == set(receivers) for node in receivers)


@given(nodes=triples)
def test_a_bridge_is_heard_by_all_and_all_others_only_by_their_half(nodes: tuple[str, ...]) -> None:
    grudge = grudges.bridge(nodes)
    bridge = nodes[len(nodes) // 2]
    assert is_symmetric(grudge)
    assert hears(grudge, nodes, bridge) == set(nodes)
    halves = {hears(grudge, nodes, node) for node in nodes if node != bridge}
    assert len(halves) == 2
    one, other = halves
    assert one & other == {bridge} and one | other == set(nodes)


@given(nodes=triples, random=seeds)
def test_in_a_majorities_ring_every_node_sees_a_majority_but_never_all_of_them_all(
    nodes: tuple[str, ...], random: Random
) -> None:
    grudge = grudges.majorities_ring(nodes, random)
    assert grudge and is_symmetric(grudge)
    for node in nodes:
        assert len(hears(grudge, nodes, node)) >= grudges.majority(len(nodes))


@given(nodes=st.sampled_from([3, 4, 5]).map(lambda n: tuple("abcde"[:n])), random=seeds)
def test_in_a_small_majorities_ring_no_two_see_the_same_majority(
    nodes: tuple[str, ...], random: Random
) -> None:
    grudge = grudges.majorities_ring(nodes, random)
    assert len({hears(grudge, nodes, node) for node in nodes}) == len(nodes)


def test_shapes_that_would_cut_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 3"):
        grudges.bridge(("n1", "n2"))
    with pytest.raises(ValueError, match="at least 3"):
        grudges.majorities_ring(("n1", "n2"), Random(0))
