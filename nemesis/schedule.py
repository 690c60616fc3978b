"""When faults come and go: drawn in advance, so that a seed decides it whatever the clients do.

After a short lead-in, faults and quiet take turns, each some 5 to 10 seconds long; a run too short for two
such turns has two shorter ones, and a workload may want its faults to last longer. The leader is always among
the targets, and no target comes twice before all have come once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from harness.generator import Operation, nanoseconds

LEADER = "leader"

_LEAD_IN = 2.0
PERIODS = (1.5, 3.0, 5.0, 8.0, 13.0)
"""Seconds of a turn, for those who vary it: as short as an election, or long enough to recover."""
_LATEST_START, _LATEST_STOP = 0.15, 0.97
"""Of a turn: so that there is quiet, however short, between two faults."""


@dataclass(frozen=True, slots=True)
class Timing:
    """What a schedule has to fit into."""

    time_limit: float
    """Seconds of the main phase."""
    fault_seconds: float = 0.0
    """How long each fault should last at least, if the time limit allows two such turns."""
    period: float = 15.0
    """Seconds of a turn, fault and quiet together."""


def faults(name: str, targets: Sequence[Any], timing: Timing, random: Random) -> list[Operation]:
    """`start-<name>` (value: the target) and `stop-<name>` operations in turn, over the time limit."""
    lead_in = min(_LEAD_IN, timing.time_limit / 10)
    least_period = max(timing.period, timing.fault_seconds / (_LATEST_STOP - _LATEST_START))
    count = max(2, int((timing.time_limit - lead_in) / least_period))
    period = (timing.time_limit - lead_in) / count
    schedule: list[Operation] = []
    for turn, target in enumerate(_draw(targets, count, random)):
        start = lead_in + (turn + random.uniform(0.0, _LATEST_START)) * period
        stop = start + max(random.uniform(0.4, 0.6) * period, timing.fault_seconds)
        stop = min(stop, lead_in + (turn + _LATEST_STOP) * period)
        schedule.append(Operation(f"start-{name}", target, time=nanoseconds(start)))
        schedule.append(Operation(f"stop-{name}", time=nanoseconds(stop)))
    return schedule


def _draw(targets: Sequence[Any], count: int, random: Random) -> list[Any]:
    """So many targets in random order, the leader among them if it is one of them."""
    others = [target for target in targets if target != LEADER]
    drawn: list[Any] = []
    while len(drawn) < count:
        first = [LEADER] if LEADER in targets else []
        drawn += first + random.sample(others, len(others))
    drawn = drawn[:count]
    random.shuffle(drawn)
    return drawn
