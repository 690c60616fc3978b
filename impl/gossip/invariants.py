"""Gossip's promises, watched while the agents of one pool run: they concern all agents together.

Verifies
--------
- Own Incarnation: a member's own incarnation never goes back while it runs.
- Monotonic Belief: the incarnation that an agent knows of a member never goes back while it remembers it.
- No Invented Incarnation: nobody knows of an incarnation that the member itself never had (SWIM section 4.2:
  only the member increments it).
- Alive Overrides Only When Newer: who was suspected, failed or left at one incarnation is alive again at a
  higher one (SWIM section 4.2), unless it was forgotten meanwhile, or lives at another address.
- Sane Changes: nobody joins who is there, is cleared who is no suspect, or fails who has left; and no running
  agent believes that it has failed itself.

Does not verify
---------------
- That failures are found, or only the failed: that is a matter of time, and `checkers.gossip`'s.
- Agents of other make, and forged messages, may say what they like: of members that were never started here,
  only Monotonic Belief and the rules of changes are demanded.

Use
---
    invariants = GossipInvariants()
    core = invariants.watching(Gossip)(name, address, tags, config, random, now_ns)

The class that `watching` returns reports itself at every `take`. To observe by hand instead:

    invariants.started(core)               an agent began to run, or began to run again
    invariants.observe(core, effects)      its core was given some input, and these effects were taken
    invariants.sweep(core)                 at any time, and for thoroughness: look at all that it believes

Each raises PropertyViolated, which says what, who and where. A shell may catch that with its other errors, so
the first is also kept, as `violation`.

Cost
----
Every observation costs a comparison, and O(1) for each MemberChanged. A belief can also change without one
(a suspicion at a higher incarnation of who is suspected anyway); `sweep` sees that too, in O(members). Memory
is O(agents × members).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from .effects import Address, Effect, Member, MemberChanged
from .serf import Gossip

Core = TypeVar("Core", bound=Gossip)


class PropertyViolated(AssertionError):
    """A promise is broken: look at what `observer` believes of `member`.

    `expected` is what was known before, `found` is what contradicts it.
    """

    def __init__(
        self, name: str, text: str, *, observer: str, member: str, expected: object, found: object
    ) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name
        self.observer = observer
        self.member = member
        self.expected = expected
        self.found = found


@dataclass(slots=True, eq=False)
class _Belief:
    """What an agent last said of a member."""

    status: str
    """As `Member.status`, or `suspect`."""
    incarnation: int
    address: Address
    changed_ns: int


class GossipInvariants:
    """Watches the agents of one pool."""

    def __init__(self) -> None:
        self.violation: PropertyViolated | None = None
        self._own: dict[str, int] = {}
        """By agent: its incarnation in this life."""
        self._highest: dict[str, int] = {}
        """By agent: its highest incarnation in any life."""
        self._beliefs: dict[str, dict[str, _Belief]] = {}
        """By observer, then by member."""

    def watching(self, core: type[Core]) -> type[Core]:
        """The same core, which reports itself."""
        return cast(type[Core], type(core.__name__, (_Watched, core), {"_invariants": self}))

    def started(self, core: Gossip) -> None:
        """An agent runs, and remembers nothing."""
        self._own[core.name] = core.incarnation
        self._highest[core.name] = max(self._highest.get(core.name, 0), core.incarnation)
        self._beliefs[core.name] = {}

    def observe(self, core: Gossip, effects: Sequence[Effect]) -> None:
        """An agent's core may have changed, and says so in its effects."""
        if core.incarnation != self._own[core.name]:
            self._observe_own(core)
        beliefs = self._beliefs[core.name]
        for effect in effects:
            if isinstance(effect, MemberChanged):
                self._observe_change(core, beliefs, effect)

    def sweep(self, core: Gossip) -> None:
        """Look at everything that an agent believes."""
        beliefs = self._beliefs[core.name]
        for member in core.members():
            belief = beliefs.get(member.name)
            if belief is not None and not self._may_be_forgotten(core, belief, core.now_ns):
                self._check_incarnation(core, belief, member)
                belief.incarnation = member.incarnation
            self._check_source(core, member)

    # ---- Changes

    def _observe_own(self, core: Gossip) -> None:
        name, own = core.name, core.incarnation
        if own < self._own[name]:
            raise self._violated("Own Incarnation", "went back", name, name, self._own[name], own)
        self._own[name] = own
        self._highest[name] = max(self._highest[name], own)

    def _observe_change(self, core: Gossip, beliefs: dict[str, _Belief], effect: MemberChanged) -> None:
        member, change = effect.member, effect.change
        before = beliefs.get(member.name)
        if change == "reaped":
            beliefs.pop(member.name, None)
            return
        self._check_source(core, member)
        if before is not None:
            self._check_change(core, before, effect)
        elif change != "joined":
            raise self._violated("Sane Changes", f"{change} without having joined", core.name, member.name)
        if change == "failed" and member.name == core.name:
            raise self._violated("Sane Changes", "believes to have failed itself", core.name, member.name)
        status = "suspect" if member.suspect and member.status == "alive" else member.status
        beliefs[member.name] = _Belief(status, member.incarnation, member.address, member.changed_ns)

    def _check_change(self, core: Gossip, before: _Belief, effect: MemberChanged) -> None:
        member, change = effect.member, effect.change
        known = before.status
        gone = known in ("failed", "left")
        sane = {
            "joined": gone,
            "updated": not gone,
            "suspected": not gone,
            "cleared": known == "suspect" or member.status == "leaving",
            "failed": not gone,
            "left": known != "left",
        }[change]
        if not sane:
            raise self._violated("Sane Changes", f"{change}, though {known}", core.name, member.name)
        if gone and change == "joined" and self._may_be_forgotten(core, before, member.changed_ns):
            return
        self._check_incarnation(core, before, member)
        moved = member.address != before.address
        if change in ("joined", "cleared") and not moved and member.incarnation <= before.incarnation:
            raise self._violated(
                "Alive Overrides Only When Newer",
                f"{change} at incarnation {member.incarnation}, though {known} at {before.incarnation}",
                core.name,
                member.name,
                before.incarnation,
                member.incarnation,
            )

    def _may_be_forgotten(self, core: Gossip, belief: _Belief, now_ns: int) -> bool:
        """Whether memberlist may have dropped the member, so that it believes whatever it hears next."""
        if belief.status == "failed":
            return now_ns - belief.changed_ns > core.config.gossip_to_the_dead_ns
        return belief.status == "left" and now_ns - belief.changed_ns > core.config.tombstone_timeout_ns

    def _check_incarnation(self, core: Gossip, before: _Belief, member: Member) -> None:
        if member.incarnation < before.incarnation and member.address == before.address:
            raise self._violated(
                "Monotonic Belief",
                f"knew incarnation {before.incarnation} and now knows {member.incarnation}",
                core.name,
                member.name,
                before.incarnation,
                member.incarnation,
            )

    def _check_source(self, core: Gossip, member: Member) -> None:
        highest = self._highest.get(member.name)
        if highest is not None and member.incarnation > highest:
            raise self._violated(
                "No Invented Incarnation",
                f"knows incarnation {member.incarnation}, and its highest ever was {highest}",
                core.name,
                member.name,
                highest,
                member.incarnation,
            )

    def _violated(
        self,
        name: str,
        text: str,
        observer: str,
        member: str,
        expected: object = None,
        found: object = None,
    ) -> PropertyViolated:
        violation = PropertyViolated(
            name,
            f"{observer} of {member}: {text}",
            observer=observer,
            member=member,
            expected=expected,
            found=found,
        )
        self.violation = self.violation or violation
        return violation


class _Watched(Gossip):
    """What `GossipInvariants.watching` adds to a core."""

    _invariants: GossipInvariants

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._invariants.started(self)

    def take(self) -> list[Effect]:
        effects = super().take()
        self._invariants.observe(self, effects)
        return effects
