"""What follows from the parameters and the size of the cluster.

Rules
-----
1. Durations are integer nanoseconds; n counts every member of the pool, ourselves included.
2. The first half is the protocol's own arithmetic, equal to memberlist's to the last bit.
3. The second half are bounds that an observer may demand. Each is a sum of named worst cases, stated in words
   so that it can be restated without this module. They hold for healthy processes on a network that loses no
   more than the retransmissions make up for.
"""

from __future__ import annotations

import math

from .config import MILLISECOND, Config

PUSH_PULL_SCALE_THRESHOLD = 32
"""Up to this many members, push/pulls are not stretched (memberlist util.go)."""


def retransmit_limit(multiplier: int, n: int) -> int:
    """How often each node sends a broadcast in total: multiplier × ceil(log10(n + 1)).

    Source: memberlist util.go `retransmitLimit`; SWIM section 4.1 asks for λ·log n.
    """
    # The number of decimal digits is exactly that logarithm, without rounding errors at powers of ten.
    return multiplier * len(str(n)) if n > 0 else 0


def suspicion_timeout_min_ns(multiplier: int, n: int, probe_interval_ns: int) -> int:
    """The shortest time between suspicion and death: multiplier × max(1, log10 n) × probe interval.

    Source: memberlist util.go `suspicionTimeout`, which cuts the logarithm after three decimals.
    """
    scale_thousandths = int(1000 * max(1.0, math.log10(max(1, n))))
    return multiplier * scale_thousandths * probe_interval_ns // 1000


def expected_confirmations(multiplier: int, n: int) -> int:
    """How many others should confirm a suspicion: multiplier − 2, or none if there are not so many others.

    "Others" leaves out ourselves and the suspect. Source: memberlist state.go `suspectNode`.
    """
    expected = multiplier - 2
    return 0 if n - 2 < expected else expected


def suspicion_timeout_ns(confirmations: int, expected: int, min_ns: int, max_ns: int) -> int:
    """Time between suspicion and death after some confirmations: max − (max − min)·ln(c + 1)/ln(k + 1).

    Cut to whole milliseconds and not below min; min from the start if no confirmation is expected.
    Source: Lifeguard section IV.B; memberlist suspicion.go `remainingSuspicionTime`.
    """
    if expected < 1:
        return min_ns
    fraction = math.log(confirmations + 1) / math.log(expected + 1)
    raw_ms = (max_ns - fraction * (max_ns - min_ns)) / MILLISECOND
    return max(min_ns, math.floor(raw_ms) * MILLISECOND)


def push_pull_interval_ns(base_ns: int, n: int) -> int:
    """Time between push/pulls of one node: base × (ceil(log2 n − log2 32) + 1) above 32 members.

    Source: memberlist util.go `pushPullScale`.
    """
    if n <= PUSH_PULL_SCALE_THRESHOLD:
        return base_ns
    return base_ns * (math.ceil(math.log2(n) - math.log2(PUSH_PULL_SCALE_THRESHOLD)) + 1)


def reconnect_probability(failed: int, alive: int) -> float:
    """Chance that one node tries a failed member at a reconnect tick: failed / alive, at most 1.

    So that each failed member is tried about once per interval by the whole cluster. Source: serf.go
    `reconnect`.
    """
    return min(1.0, failed / max(1, alive))


# --- bounds for observers


def suspicion_timeout_max_ns(config: Config, n: int) -> int:
    """The longest that a suspicion may last: as long as nobody confirms it."""
    min_ns = suspicion_timeout_min_ns(config.suspicion_multiplier, n, config.probe_interval_ns)
    if expected_confirmations(config.suspicion_multiplier, n) == 0:
        return min_ns
    return config.suspicion_max_timeout_multiplier * min_ns


def gossip_spread_ns(config: Config, n: int) -> int:
    """Time in which a broadcast reaches everyone if none of its copies is lost, and leaves all queues.

    Rounds of gossip until n nodes have it, each telling `gossip_nodes` others per round: ceil(log(n) /
    log(gossip_nodes + 1)); then the rounds in which the last of them sends its retransmissions:
    ceil(retransmit limit / gossip_nodes); one more because the tickers are not in step.
    Source: SWIM section 4.1 (infection in O(log n) periods).
    """
    reach = math.ceil(math.log(max(2, n)) / math.log(config.gossip_nodes + 1))
    drain = math.ceil(retransmit_limit(config.retransmit_multiplier, n) / config.gossip_nodes)
    return (reach + drain + 1) * config.gossip_interval_ns


def dissemination_bound_ns(config: Config, n: int) -> int:
    """Time in which everyone knows, even whoever was missed by all copies of a broadcast.

    The spread of a broadcast, and one push/pull interval, at the end of which each node exchanges its whole
    state.
    """
    return gossip_spread_ns(config, n) + push_pull_interval_ns(config.push_pull_interval_ns, n)


def detection_bound_ns(config: Config, n: int) -> int:
    """Time from a member's death until all live members that can reach each other see it failed.

    1. One prober reaches every target within 2(n − 1) − 1 probe intervals: first of one round, last of the
       next.
    2. Its failed probe lasts a probe interval, stretched by a bad awareness score to at most
       `awareness_max_multiplier` intervals.
    3. The suspicion lasts at most its maximum, which applies if nobody confirms it.
    4. The news spreads, by a push/pull if its broadcasts ran out.
    5. A push/pull says no more than that the member is suspect, so that a node which had heard nothing before
       waits through a suspicion of its own.

    Source: SWIM section 4.3 (round robin), Lifeguard section IV, memberlist state.go.
    """
    probe_intervals = 2 * max(1, n - 1) - 1 + config.awareness_max_multiplier
    return (
        probe_intervals * config.probe_interval_ns
        + 2 * suspicion_timeout_max_ns(config, n)
        + dissemination_bound_ns(config, n)
    )


def convergence_bound_ns(config: Config, n: int, cut_ns: int, dead: int = 0) -> int:
    """Time from the heal of a cut into two parts until all live members see each other alive.

    If the cut was shorter than a probe interval and the shortest suspicion, nobody was declared failed.
    Suspects are probed like others and told of the suspicion, or at the latest buried and gossiped to: one
    longest suspicion, then the dissemination of the refutation.

    Otherwise somebody has to speak to a member that it believes failed. Broadcasts do go to the dead for
    `gossip_to_the_dead_ns`, and often heal a fresh cut within a second, but only while there are broadcasts,
    so an observer cannot demand it. What is certain is Serf's reconnect: an attempt under way at the heal may
    hang for `stream_timeout_ns`, the next starts `reconnect_interval_ns` later, and in the smaller part every
    tick makes an attempt (failed ≥ alive). The members take turns, so that of these attempts one at most is
    spent on each of those that are really `dead`. Over the one that succeeds each side learns that it is
    thought dead; what follows is that each member is suspected, refutes, and the refutation is disseminated;
    a suspicion that ran out before the refutation arrived is refuted once more.

    Source: serf.go `reconnect`, but for the turns.
    """
    refuted = suspicion_timeout_max_ns(config, n) + dissemination_bound_ns(config, n)
    shortest_death_ns = config.probe_interval_ns + suspicion_timeout_min_ns(
        config.suspicion_multiplier, n, config.probe_interval_ns
    )
    if cut_ns < shortest_death_ns:
        return refuted
    return (dead + 1) * (config.stream_timeout_ns + config.reconnect_interval_ns) + refuted
