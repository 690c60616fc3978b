"""When faults come and go: drawn in advance, so that a seed decides it whatever the clients do.

After a short lead-in, faults and quiet take turns, each some 5 to 10 seconds long; a run too short for two
such turns has two shorter ones. The leader is always among the targets, and no target comes twice before all
have come once.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from harness.generator import Operation, nanoseconds

LEADER = "leader"

_LEAD_IN = 2.0
_PERIOD = 15.0


def faults(name: str, targets: Sequence[str], time_limit: float, random: Random) -> list[Operation]:
    """`start-<name>` (value: the target) and `stop-<name>` operations in turn, over `time_limit` seconds."""
    lead_in = min(_LEAD_IN, time_limit / 10)
    count = max(2, int((time_limit - lead_in) / _PERIOD))
    period = (time_limit - lead_in) / count
    schedule: list[Operation] = []
    for turn, target in enumerate(_draw(targets, count, random)):
        start = lead_in + turn * period + random.uniform(0.0, 0.15) * period
        stop = start + random.uniform(0.4, 0.6) * period
        schedule.append(Operation(f"start-{name}", target, time=nanoseconds(start)))
        schedule.append(Operation(f"stop-{name}", time=nanoseconds(stop)))
    return schedule


def _draw(targets: Sequence[str], count: int, random: Random) -> list[str]:
    """So many targets in random order, the leader among them if it is one of them."""
    others = [target for target in targets if target != LEADER]
    drawn: list[str] = []
    while len(drawn) < count:
        first = [LEADER] if LEADER in targets else []
        drawn += first + random.sample(others, len(others))
    drawn = drawn[:count]
    random.shuffle(drawn)
    return drawn
