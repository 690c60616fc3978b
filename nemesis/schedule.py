"""When faults come and go: drawn in advance, so that a seed decides it whatever the clients do.

After a short lead-in, faults and quiet take turns, each some 5 to 10 seconds long; a run too short for two
such turns has two shorter ones, and a system may need its faults to last longer. A workload may want one
fault in two to outlast something that takes long; the others are brief then, the last one among them: what
was only begun when the links heal has to be undone, too. The leader is always among the targets, and no
target comes twice before all have come once.

Or reigns are short: leaders are hit one after the other, each soon after it was elected, before it could
finish what its predecessor had begun.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from harness.generator import Operation, nanoseconds

LEADER = "leader"
NEXT_LEADER = "next-leader"

LEAD_IN = 2.0
"""Seconds before the first fault, if the run is not too short for it."""
PERIODS = (1.5, 3.0, 5.0, 8.0, 13.0)
"""Seconds of a turn, for those who vary it: as short as an election, or long enough to recover."""
SHORT_REIGNS = 1 / 4
"""How often reigns are short, for those who vary it."""
_SHORT_REIGN = 1.5
"""Seconds between two faults then, at most: less than an election takes, so the next leader is waited for."""
_LATEST_START, _LATEST_STOP = 0.15, 0.97
"""Of a turn: so that there is quiet, however short, between two faults."""


@dataclass(frozen=True, slots=True)
class Timing:
    """What a schedule has to fit into."""

    time_limit: float
    """Seconds of the main phase."""
    fault_seconds: float = 0.0
    """How long each fault should last at least, if the time limit allows two such turns."""
    long_fault_seconds: float = 0.0
    """How long one fault in two should last at least, likewise, the others being brief. 0: all are alike."""
    period: float = 15.0
    """Seconds of a turn, fault and quiet together."""
    short_reigns: bool = False
    """Whether partitions, kills and power cuts hit nobody but leaders, each soon after it was elected;
    `network` makes all links slow then, for the whole run."""


def varied(timing: Timing, random: Random) -> Timing:
    """Some other timing, for those who run many times: one in four with short reigns."""
    period = random.choice(PERIODS)
    may_be_short = not (timing.fault_seconds or timing.long_fault_seconds)
    return replace(timing, period=period, short_reigns=may_be_short and random.random() < SHORT_REIGNS)


def faults(name: str, targets: Sequence[Any], timing: Timing, random: Random) -> list[Operation]:
    """`start-<name>` (value: the target) and `stop-<name>` operations in turn, over the time limit."""
    lead_in = min(LEAD_IN, timing.time_limit / 10)
    least_seconds = max(timing.fault_seconds, timing.long_fault_seconds)
    least_period = max(timing.period, least_seconds / (_LATEST_STOP - _LATEST_START))
    count = max(2, int((timing.time_limit - lead_in) / least_period))
    period = (timing.time_limit - lead_in) / count
    brief = min(period, timing.period) if timing.long_fault_seconds else period
    schedule: list[Operation] = []
    for turn, target in enumerate(_draw(targets, count, random)):
        start = lead_in + (turn + random.uniform(0.0, _LATEST_START)) * period
        least = timing.fault_seconds if (count - turn) % 2 else least_seconds
        stop = start + max(random.uniform(0.4, 0.6) * brief, least)
        stop = min(stop, lead_in + (turn + _LATEST_STOP) * period)
        schedule.append(Operation(f"start-{name}", target, time=nanoseconds(start)))
        schedule.append(Operation(f"stop-{name}", time=nanoseconds(stop)))
    return schedule


def short_reigns(name: str, timing: Timing, random: Random, *, starts_again: bool = False) -> list[Operation]:
    """One leader is hit after the other, until the time limit; what was killed is started again meanwhile."""
    at = min(LEAD_IN, timing.time_limit / 10)
    schedule = [Operation(f"start-{name}", LEADER, time=nanoseconds(at))]
    while (next_at := at + random.uniform(0.5, 1.0) * _SHORT_REIGN) < timing.time_limit:
        if starts_again:
            stop = random.uniform(at, next_at)
            schedule.append(Operation(f"stop-{name}", time=nanoseconds(stop)))
        schedule.append(Operation(f"start-{name}", NEXT_LEADER, time=nanoseconds(next_at)))
        at = next_at
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
