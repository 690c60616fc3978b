"""Segment trees as arrays, for the kernels: the greatest of a range, and how often a range is covered.

Both have their leaves in the second half of the array, 2**k of them, and the children of node i at 2 i and
2 i + 1. Every operation is O(log n).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Tree = NDArray[np.int64]

NONE = np.iinfo(np.int64).min
"""Less than every value in a tree of greatest values: nothing there."""
GONE = 1 << 40
"""How often a place is covered that is not to be found again."""


@njit(cache=True, nogil=True)
def tree_of(values: NDArray[np.int64], absent: int, greatest: bool) -> Tree:
    """A tree over the values, of the greatest or the least; places beyond them hold `absent`."""
    leaves = 1
    while leaves < len(values):
        leaves *= 2
    tree = np.full(2 * leaves, absent, np.int64)
    tree[leaves : leaves + len(values)] = values
    for node in range(leaves - 1, 0, -1):
        left, right = tree[2 * node], tree[2 * node + 1]
        tree[node] = max(left, right) if greatest else min(left, right)
    return tree


@njit(cache=True, nogil=True)
def set_value(tree: Tree, place: int, value: int) -> None:
    """Change one value of a tree of greatest values."""
    node = place + len(tree) // 2
    tree[node] = value
    node //= 2
    while node > 0:
        greater = max(tree[2 * node], tree[2 * node + 1])
        if tree[node] == greater:
            break
        tree[node] = greater
        node //= 2


@njit(cache=True, nogil=True)
def greatest(tree: Tree, first: int, end: int) -> int:
    """The place of the greatest value in [first, end), or -1 if there is none but NONE."""
    leaves = len(tree) // 2
    best, best_node = NONE, -1
    left, right = first + leaves, end + leaves
    while left < right:
        if left & 1:
            if tree[left] > best:
                best, best_node = tree[left], left
            left += 1
        if right & 1:
            right -= 1
            if tree[right] > best:
                best, best_node = tree[right], right
        left //= 2
        right //= 2
    if best_node < 0:
        return -1
    while best_node < leaves:
        best_node *= 2
        if tree[best_node] != best:
            best_node += 1
    return best_node - leaves


@njit(cache=True, nogil=True)
def uncover(least: Tree, added: Tree, first: int, end: int) -> None:
    """Cover [first, end) once less. A node of `least` has the least of its leaves, without what was `added`
    to its ancestors."""
    leaves = len(least) // 2
    left, right = first + leaves, end + leaves
    while left < right:
        if left & 1:
            least[left] -= 1
            added[left] -= 1
            left += 1
        if right & 1:
            right -= 1
            least[right] -= 1
            added[right] -= 1
        left //= 2
        right //= 2
    for leaf in (first + leaves, end - 1 + leaves):
        node = leaf // 2
        while node > 0:
            least[node] = min(least[2 * node], least[2 * node + 1]) + added[node]
            node //= 2


@njit(cache=True, nogil=True)
def take_uncovered(least: Tree, added: Tree, first: int, end: int) -> int:
    """The first place in [first, end) that nothing covers; -1: there is none. It is not found again."""
    leaves = len(least) // 2
    node, above = first + leaves, 0  # above: what was added to the node's ancestors
    ancestor = node // 2
    while ancestor > 0:
        above += added[ancestor]
        ancestor //= 2
    while least[node] + above > 0:
        while node & 1:
            if node == 1:
                return -1
            node //= 2
            above -= added[node]
        node += 1
    while node < leaves:
        above += added[node]
        node *= 2
        if least[node] + above > 0:
            node += 1
    place = node - leaves
    if place >= end:
        return -1
    least[node] += GONE
    node //= 2
    while node > 0:
        least[node] = min(least[2 * node], least[2 * node + 1]) + added[node]
        node //= 2
    return place
