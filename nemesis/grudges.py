"""Grudges: which nodes do not hear which. Pure functions from nodes to directed links.

A link `(sender, receiver)` in a grudge drops what the first sends to the second. The shapes are those of
`jepsen.nemesis` (there a grudge maps each node to those that it does not hear), as links, and with the
randomness passed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import permutations
from random import Random

from harness.worlds import Link

Grudge = frozenset[Link]


def majority(count: int) -> int:
    """How many of `count` are more than half."""
    return count // 2 + 1


def bisect(nodes: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The nodes in two halves, the smaller one first."""
    middle = len(nodes) // 2
    return tuple(nodes[:middle]), tuple(nodes[middle:])


def split_one(nodes: Sequence[str], loner: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """One node, and the rest."""
    return (loner,), tuple(node for node in nodes if node != loner)


def complete_grudge(components: Iterable[Sequence[str]]) -> Grudge:
    """No component hears any other."""
    return frozenset(
        (sender, receiver)
        for one, other in permutations(list(components), 2)
        for sender in one
        for receiver in other
    )


def one_way(senders: Sequence[str], receivers: Sequence[str]) -> Grudge:
    """The receivers do not hear the senders, but the senders hear them."""
    return frozenset((sender, receiver) for sender in senders for receiver in receivers)


def bridge(nodes: Sequence[str]) -> Grudge:
    """Two halves that do not hear each other, and the middle node, which hears and is heard by all."""
    if len(nodes) < 3:
        raise ValueError("a bridge needs at least 3 nodes")
    smaller, larger = bisect(nodes)
    return complete_grudge([smaller, larger[1:]])


def majorities_ring(nodes: Sequence[str], random: Random) -> Grudge:
    """Every node is connected, both ways, to a majority, and (with 3 to 5 nodes) no two to the same one.

    With 4 or 5 nodes a ring in random order, each node seeing its two neighbours. With more, or 3, nodes are
    connected at random, those with the fewest connections first, until each has a majority
    (Jepsen's `majorities-ring-perfect` and `-stochastic`).
    """
    count = len(nodes)
    if count < 3:
        raise ValueError("a majorities-ring needs at least 3 nodes")
    order = random.sample(list(nodes), count)
    if count in (4, 5):
        connected = {order[i]: {order[i - 1], order[i], order[(i + 1) % count]} for i in range(count)}
    else:
        connected = {node: {node} for node in order}
        while True:
            order.sort(key=lambda node: (len(connected[node]), random.random()))
            poorest = order[0]
            if len(connected[poorest]) >= majority(count):
                break
            other = next(node for node in order if node not in connected[poorest])
            connected[poorest].add(other)
            connected[other].add(poorest)
    return frozenset(
        (sender, receiver) for receiver in nodes for sender in nodes if sender not in connected[receiver]
    )
