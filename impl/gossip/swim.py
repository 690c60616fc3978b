"""SWIM's beliefs: who is alive, suspect, dead or gone, and which news overrides which.

Rules
-----
1. Incarnations order the news about a member; only the member itself makes new ones. Known at incarnation i:
   alive needs j > i; suspect and dead need j ≥ i.
2. A suspect is dead when its suspicion times out. Whoever is alive and hears that it is suspect or dead
   refutes: it says alive with an incarnation above the accusation.
3. Dead said by the member itself means left.
4. What is news to us is broadcast on, once.
5. A push/pull's word that someone is dead is no more than a suspicion: the other side of a healed partition
   holds such beliefs of everyone here.
6. A name belongs to the address where it lives; another address may have it when its owner left, or is dead
   for longer than `dead_node_reclaim_ns`.

Difference to memberlist 0.2: a suspicion or death at a higher incarnation is remembered also when the
member is already suspect or dead, since otherwise an older `alive` could bring it back.

Sources: SWIM sections 4.1 and 4.2; Lifeguard section IV; memberlist state.go (`aliveNode`, `suspectNode`,
`deadNode`, `refute`, `mergeState`, `verifyProtocol`).
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from . import formulas, wire
from .broadcasts import TransmitQueue
from .config import Config
from .effects import Address, Effect, Warned
from .suspicion import Suspicion
from .table import Node, Table
from .timers import Timer, Timers
from .wire import ALIVE, DEAD, LEFT, SUSPECT, Alive, Dead, NodeState, State, Suspect, Versions

VERSIONS: Versions = (1, 5, 2, 2, 5, 5)
"""memberlist's protocol 1 to 5, speaking 2; Serf's 2 to 5, speaking 5. As Serf 0.9 sends them."""


@dataclass(slots=True)
class _Trial:
    """A suspicion with the timer of its end."""

    suspicion: Suspicion
    timer: Timer


class Swim:
    """The state, without any schedule. The layer above overrides the `_on_…` methods to hear of changes."""

    def __init__(
        self, name: str, address: Address, meta: bytes, config: Config, random: random.Random, now_ns: int
    ) -> None:
        self.name = name
        self.config = config
        self._random = random
        self._now = now_ns
        self._effects: list[Effect] = []
        self._timers = Timers()
        self._table = Table(random, config.gossip_to_the_dead_ns, config.tombstone_timeout_ns)
        self._broadcasts = TransmitQueue()
        self._trials: dict[str, _Trial] = {}
        self._health = 0
        self._leaving = False
        host, port = address
        self._me = Node(name, wire.address_bytes(host), port, address, meta, VERSIONS, 1, ALIVE, now_ns)
        self._table.add(self._me)

    @property
    def now_ns(self) -> int:
        """The latest time that it was told."""
        return self._now

    @property
    def incarnation(self) -> int:
        """Our own, which only we increment."""
        return self._me.incarnation

    @property
    def health_score(self) -> int:
        """Lifeguard's awareness: 0 is healthy, `awareness_max_multiplier - 1` is worst."""
        return self._health

    # --- what the layer above may want to hear

    def _on_alive(self, node: Node) -> None:
        """A new member, or one that was gone, is alive."""

    def _on_update(self, node: Node) -> None:
        """A member has new meta data."""

    def _on_suspect(self, node: Node) -> None:
        """A member is suspect."""

    def _on_cleared(self, node: Node) -> None:
        """A suspect is alive after all."""

    def _on_gone(self, node: Node) -> None:
        """A member is dead or left."""

    def _on_departure_sent(self) -> None:
        """The news that we left have been sent as often as any."""

    # --- news

    def _alive(self, news: Alive) -> None:
        if news.node == self.name:
            self._alive_ourselves(news)
            return
        if news.versions[0] == 0 or news.versions[0] > news.versions[1]:
            self._warn(f"ignoring {news.node}: its protocol versions are {news.versions[:3]}")
            return
        node = self._table.get(news.node)
        moves = False
        if node is None:
            node = Node(
                name=news.node,
                address_bytes=news.address,
                port=news.port,
                address=wire.address_of(news.address, news.port),
                meta=news.meta,
                versions=news.versions,
                incarnation=-1,
                state=DEAD,
                changed_ns=self._now,
            )
            self._table.add(node)
        elif node.address != wire.address_of(news.address, news.port):
            moves = self._may_move(node)
            if not moves:
                self._warn(
                    f"name conflict: {news.node} is {node.state.name.lower()} at {_show(node.address)}, "
                    f"and claimed by {_show(wire.address_of(news.address, news.port))}"
                )
                return
        if not moves and not self._alive_is_news(node, news):
            return
        node = self._table.to_change(node)
        self._acquit(node)
        self._broadcast(news)
        was, meta_was = node.state, node.meta
        node.incarnation, node.meta, node.versions = news.incarnation, news.meta, news.versions
        node.move_to(news.address, news.port)
        if was is not ALIVE:
            self._table.change(node, ALIVE, self._now)
        if was in (DEAD, LEFT):
            self._on_alive(node)
            return
        if was is SUSPECT:
            self._on_cleared(node)
        if meta_was != news.meta:
            self._on_update(node)

    def _alive_is_news(self, node: Node, news: Alive) -> bool:
        """SWIM section 4.2: alive overrides only with a higher incarnation."""
        return news.incarnation > node.incarnation

    def _alive_ourselves(self, news: Alive) -> None:
        """Others' idea of us. It may be of our life before a restart, or of somebody with our name."""
        if self._leaving or news.incarnation < self._me.incarnation:
            return
        if wire.address_of(news.address, news.port) != self._me.address:
            claimant = _show(wire.address_of(news.address, news.port))
            self._warn(f"name conflict: {claimant} claims our name {self.name}")
            return
        same = news.meta == self._me.meta and news.versions == self._me.versions
        if news.incarnation > self._me.incarnation or not same:
            self._refute(news.incarnation)

    def _may_move(self, node: Node) -> bool:
        """Rule 6."""
        reclaim_ns = self.config.dead_node_reclaim_ns
        if node.state is DEAD:
            return 0 < reclaim_ns < self._now - node.changed_ns
        return node.state is LEFT

    def _suspect(self, news: Suspect) -> None:
        node = self._table.get(news.node)
        if node is None or news.incarnation < node.incarnation:
            return
        if node is self._me:
            if not self._leaving:
                self._refute(news.incarnation)
            return
        node = self._table.to_change(node)
        node.incarnation = news.incarnation
        trial = self._trials.get(node.name)
        if trial is not None:
            if trial.suspicion.confirm(news.accuser):
                self._broadcast(news)
                trial.timer.cancel()
                trial.timer = self._timers.at(trial.suspicion.deadline_ns, partial(self._convict, node))
            return
        if node.gone:
            return
        self._broadcast(news)
        self._table.change(node, SUSPECT, self._now)
        n = len(self._table)
        min_ns = formulas.suspicion_timeout_min_ns(
            self.config.suspicion_multiplier, n, self.config.probe_interval_ns
        )
        suspicion = Suspicion(
            accuser=news.accuser,
            expected=formulas.expected_confirmations(self.config.suspicion_multiplier, n),
            min_ns=min_ns,
            max_ns=self.config.suspicion_max_timeout_multiplier * min_ns,
            now_ns=self._now,
        )
        timer = self._timers.at(suspicion.deadline_ns, partial(self._convict, node))
        self._trials[node.name] = _Trial(suspicion, timer)
        self._on_suspect(node)

    def _convict(self, node: Node) -> None:
        """A suspicion timed out."""
        self._dead(Dead(node.incarnation, node.name, self.name))

    def _acquit(self, node: Node) -> None:
        """End a suspicion, if there is one."""
        trial = self._trials.pop(node.name, None)
        if trial is not None:
            trial.timer.cancel()

    def _dead(self, news: Dead) -> None:
        node = self._table.get(news.node)
        if node is None or news.incarnation < node.incarnation:
            return
        if node is self._me and not self._leaving:
            self._refute(news.incarnation)
            return
        node = self._table.to_change(node)
        self._acquit(node)
        node.incarnation = news.incarnation
        if node.gone:
            return
        self._broadcast(news)
        left = news.accuser == news.node
        self._table.change(node, LEFT if left else DEAD, self._now)
        self._on_gone(node)

    def _refute(self, accused_incarnation: int) -> None:
        """Say that we are alive, above the accusation; that it was made speaks against our own health."""
        self._me.incarnation = max(self._me.incarnation, accused_incarnation) + 1
        self._change_health(1)
        self._advertise()

    # --- our own

    def _advertise(self) -> None:
        """Broadcast that we are alive, at our incarnation."""
        self._broadcast(self._own_alive())

    def _own_alive(self) -> Alive:
        me = self._me
        return Alive(me.incarnation, me.name, me.address_bytes, me.port, me.meta, me.versions)

    def _change_meta(self, meta: bytes) -> None:
        self._me.meta = meta
        self._me.incarnation += 1
        self._advertise()

    def _change_health(self, delta: int) -> None:
        self._health = min(max(0, self._health + delta), self.config.awareness_max_multiplier - 1)

    def _broadcast(self, news: Alive | Suspect | Dead) -> None:
        on_done = self._on_departure_sent if news.node == self.name and self._leaving else None
        self._broadcasts.add(wire.encode(news), news.node, on_done)

    def _warn(self, text: str) -> None:
        self._effects.append(Warned(text))

    # --- whole states

    def _merge(self, nodes: Iterable[NodeState]) -> None:
        """Take in the other side's beliefs of a push/pull."""
        get = self._table.get
        for state in nodes:
            node = get(state.name)
            if node is not None and state.state is not SUSPECT and node.agrees(state):
                continue  # nothing new: so it is with nearly all of a large pool
            match state.state:
                case State.ALIVE:
                    self._alive(
                        Alive(
                            state.incarnation,
                            state.name,
                            state.address,
                            state.port,
                            state.meta,
                            state.versions,
                        )
                    )
                case State.LEFT:
                    self._dead(Dead(state.incarnation, state.name, state.name))
                case State.DEAD:
                    self._merge_dead(state)
                case State.SUSPECT:
                    self._suspect(Suspect(state.incarnation, state.name, self.name))

    def _merge_dead(self, state: NodeState) -> None:
        """Rule 5."""
        self._suspect(Suspect(state.incarnation, state.name, self.name))

    def _incompatibility(self, nodes: Iterable[NodeState]) -> str:
        """Why these members and ours cannot all understand each other; empty if they can.

        Every live member must speak a version that all live members understand, of either protocol.
        """
        known = {state.versions: state.name for state in nodes if state.state is ALIVE}
        known |= {node.versions: node.name for node in self._table.nodes() if node.state is ALIVE}
        if not known:
            return ""
        for protocol, first in (("protocol", 0), ("delegate protocol", 3)):
            lowest = max(versions[first] for versions in known)
            highest = min(versions[first + 1] for versions in known)
            for versions, name in known.items():
                if not lowest <= versions[first + 2] <= highest:
                    speaks = versions[first + 2]
                    return f"{name} speaks {protocol} version {speaks}, not within {lowest} to {highest}"
        return ""


def _show(address: Address) -> str:
    return f"{address[0]}:{address[1]}"
