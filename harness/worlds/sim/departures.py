"""What departs from the ordinary: the one datagram that is lost, the one sync that is slow.

Rules
-----
1. By default every datagram arrives once, in order and after its link's latency, and every sync takes its
   disk's time. What departs from that is a `Departure` of one numbered event at one place.
2. A run under a seed draws departures as often as the `Shape` of the place says, and keeps a list of them.
   The list alone, without seed and shapes, makes the same run again; a shorter one makes a simpler run.

Places are "n1>n2 datagram" (numbered datagrams of that link), "n1>n2 stream" (segments) and "n1 sync".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from harness.worlds import ORDINARY, Shape
from harness.worlds.sim.chance import Stream

Kind = Literal["lost", "twice", "late"]

MILLISECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class Departure:
    """How one event departs: it is lost, happens twice (the second time so much later), or later."""

    kind: Kind
    delay_ns: int = 0


@dataclass
class Departures:
    """All departures of one run: drawn and listed, or taken from a list."""

    seed: int
    listed: Mapping[tuple[str, int], Departure] | None = None
    """None: draw them."""
    happened: dict[tuple[str, int], Departure] = field(default_factory=dict)
    _streams: dict[str, Stream] = field(default_factory=dict)

    def at(self, place: str, number: int, shape: Shape) -> Departure | None:
        """How the event departs from the ordinary, if it does."""
        if self.listed is not None:
            departure = self.listed.get((place, number))
        elif shape is ORDINARY:
            return None
        else:
            departure = self._draw(place, number, shape)
        if departure is not None:
            self.happened[place, number] = departure
        return departure

    def _draw(self, place: str, number: int, shape: Shape) -> Departure | None:
        stream = self._streams.get(place)
        if stream is None:
            stream = self._streams[place] = Stream(self.seed, place)
        chance = stream.uniform(number)
        delay_ns_max = int(shape.delay_ms_max * MILLISECOND)
        if chance < shape.lost:
            return Departure("lost")
        chance -= shape.lost
        if chance < shape.twice:
            return Departure("twice", stream.below(delay_ns_max, number, 1))
        chance -= shape.twice
        if chance < shape.late:
            return Departure("late", stream.below(delay_ns_max, number, 1))
        return None
