"""Everyone that memberlist knows of, in the order of probing.

Rules
-----
1. The order is a random permutation, made anew in each round; a newcomer gets a random place in it, so that
   detection takes no longer for it than for others (SWIM section 4.3). It is drawn one by one as it is
   needed, since most agents of a large pool never get to its end.
2. Whoever is dead for longer than `gossip_to_the_dead_ns`, or has left for longer than
   `tombstone_timeout_ns`, is forgotten at the end of a round.
3. Picking k random members takes time in k, not in n, as long as most members qualify.
4. A node from `get`, `nodes`, `pick` or `next_to_probe` may be shared with other agents of this process: it
   is changed only through `to_change`.

Source: memberlist state.go `probe`, `resetNodes`; util.go `kRandomNodes`, `moveDeadNodes`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .effects import Address
from .layered import Layered
from .wire import DEAD, LEFT, NodeState, State, Versions, address_of


@dataclass(slots=True, eq=False)
class Node:
    """What we believe of one member."""

    name: str
    address_bytes: bytes
    port: int
    address: Address
    meta: bytes
    versions: Versions
    incarnation: int
    state: State
    changed_ns: int
    _told: NodeState | None = None

    @property
    def gone(self) -> bool:
        return self.state in (DEAD, LEFT)

    def move_to(self, address_bytes: bytes, port: int) -> None:
        self.address_bytes, self.port = address_bytes, port
        self.address = address_of(address_bytes, port)

    def agrees(self, state: NodeState) -> bool:
        """Whether somebody else believes just the same."""
        return (
            self.incarnation == state.incarnation
            and self.state is state.state
            and self.meta == state.meta
            and self.port == state.port
            and self.address_bytes == state.address
            and self.versions == state.versions
        )

    def to_wire(self) -> NodeState:
        """This belief as it is told to others: the same value as long as it is the same belief."""
        told = self._told
        if told is None or not self.agrees(told):
            told = self._told = NodeState(
                self.name,
                self.address_bytes,
                self.port,
                self.meta,
                self.incarnation,
                self.state,
                self.versions,
            )
        return told


class Table:
    """All nodes, ourselves included."""

    def __init__(self, random: random.Random, gossip_to_the_dead_ns: int, tombstone_timeout_ns: int) -> None:
        self._random = random
        self._gossip_to_the_dead_ns = gossip_to_the_dead_ns
        self._tombstone_timeout_ns = tombstone_timeout_ns
        self._by_name: Layered[Node] = Layered({})
        self._order: list[Node] = []
        self._next_probe = 0
        self._live = 0

    def __len__(self) -> int:
        return len(self._order)

    @property
    def live(self) -> int:
        """How many are alive or suspect, ourselves included."""
        return self._live

    def get(self, name: str) -> Node | None:
        return self._by_name.get(name)

    def nodes(self) -> tuple[Node, ...]:
        return tuple(self._order)

    def acquaint(self, shared: Mapping[str, Node]) -> None:
        """Know these as well, all of them live; our own nodes remain our own."""
        own = self._by_name
        self._by_name = Layered(shared)
        for node in own.values():
            self._by_name[node.name] = node
        self._order = self._by_name.values()
        self._live = len(self._order)

    def to_change(self, node: Node) -> Node:
        """This node as one that may be changed. O(n) the first time if it was shared."""
        own = self._by_name.own(node.name)
        if own is not node:
            self._order[self._order.index(node)] = own
        return own

    def add(self, node: Node) -> None:
        self._by_name[node.name] = node
        place = self._random.randrange(len(self._order) or 1)
        self._order.append(node)
        self._order[place], self._order[-1] = self._order[-1], self._order[place]
        self._live += not node.gone

    def change(self, node: Node, state: State, now_ns: int) -> None:
        """The only way to change a state: keeps the count of live nodes."""
        was_gone = node.gone
        node.state, node.changed_ns = state, now_ns
        self._live += was_gone - node.gone

    def next_to_probe(self, wanted: Callable[[Node], bool], now_ns: int) -> Node | None:
        """The next wanted node in the order, None if a whole round has none."""
        for _ in range(len(self._order) + 1):
            if self._next_probe >= len(self._order):
                self._start_round(now_ns)
            if not self._order:
                return None
            place, order = self._next_probe, self._order
            other = place + int(self._random.random() * (len(order) - place))
            node = order[other]
            order[place], order[other] = node, order[place]
            self._next_probe += 1
            if wanted(node):
                return node
        return None

    def pick(self, count: int, wanted: Callable[[Node], bool]) -> list[Node]:
        """Up to `count` different random nodes that are wanted; fewer only with hardly more there."""
        picked: list[Node] = []
        size = len(self._order)
        for _ in range(3 * size):
            if len(picked) == count:
                break
            node = self._order[int(self._random.random() * size)]
            if node not in picked and wanted(node):
                picked.append(node)
        return picked

    def _start_round(self, now_ns: int) -> None:
        forgotten = [node for node in self._order if self._forgettable(node, now_ns)]
        if forgotten:
            for node in forgotten:
                del self._by_name[node.name]
            self._order = self._by_name.values()
        self._next_probe = 0

    def _forgettable(self, node: Node, now_ns: int) -> bool:
        if node.state is DEAD:
            return now_ns - node.changed_ns > self._gossip_to_the_dead_ns
        return node.state is LEFT and now_ns - node.changed_ns > self._tombstone_timeout_ns
