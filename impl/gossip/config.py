"""Gossip parameters: memberlist's and Serf's defaults for three kinds of network.

Rules
-----
1. Durations are integer nanoseconds.
2. A value here is a parameter of the protocol; what follows from it and the cluster's size is in `formulas`.

Source: memberlist config.go (`DefaultLANConfig`, `DefaultWANConfig`, `DefaultLocalConfig`), serf/config.go
(`DefaultConfig`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

MILLISECOND = 1_000_000
SECOND = 1000 * MILLISECOND
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Parameters of one gossip pool. The defaults are memberlist's for a LAN and Serf's."""

    probe_interval_ns: int = 1 * SECOND
    """One member is probed per interval; the interval stretches with the awareness score (Lifeguard)."""
    probe_timeout_ns: int = 500 * MILLISECOND
    """How long a direct ping may take before others are asked to ping as well."""
    indirect_checks: int = 3
    """How many others are asked."""
    suspicion_multiplier: int = 4
    """Scales the time a suspect has to refute."""
    suspicion_max_timeout_multiplier: int = 6
    """Longest suspicion timeout, in shortest ones: what applies while nobody confirms (Lifeguard)."""
    awareness_max_multiplier: int = 8
    """One above the worst awareness score, so that a probe interval stretches at most by this factor."""
    gossip_interval_ns: int = 200 * MILLISECOND
    gossip_nodes: int = 3
    gossip_to_the_dead_ns: int = 30 * SECOND
    """How long the dead are still gossiped to, so that they can refute."""
    retransmit_multiplier: int = 4
    """Scales how often a broadcast is sent by each node."""
    push_pull_interval_ns: int = 30 * SECOND
    """Full state exchange with one random live member; stretched for more than 32 members."""
    stream_timeout_ns: int = 10 * SECOND
    """How long an exchange over a stream may take (memberlist: TCPTimeout)."""
    packet_bytes_max: int = 1400
    """A datagram, with what is piggybacked on it, is not longer (memberlist: UDPBufferSize)."""
    dead_node_reclaim_ns: int = 0
    """After how long a dead node's name may come back from another address; 0 is never (Consul: 30 s)."""

    reap_interval_ns: int = 15 * SECOND
    reconnect_interval_ns: int = 30 * SECOND
    reconnect_timeout_ns: int = 24 * HOUR
    """A failed member is forgotten after this long (Consul: 72 h)."""
    tombstone_timeout_ns: int = 24 * HOUR
    """A member that left is forgotten after this long."""
    recent_intent_timeout_ns: int = 5 * MINUTE
    """How long join and leave intents of unknown members are kept."""
    broadcast_timeout_ns: int = 5 * SECOND
    """How long leaving waits for each of its two broadcasts to be sent."""
    leave_propagate_delay_ns: int = 1 * SECOND
    """How long a leaving agent stays up after that, for others to spread the news (Consul: 3 s)."""
    event_buffer: int = 512
    """User events are de-duplicated within this many ticks of their Lamport clock."""
    user_event_bytes_max: int = 512


LAN = Config()

WAN = replace(
    LAN,
    stream_timeout_ns=30 * SECOND,
    suspicion_multiplier=6,
    push_pull_interval_ns=60 * SECOND,
    probe_timeout_ns=3 * SECOND,
    probe_interval_ns=5 * SECOND,
    gossip_nodes=4,
    gossip_interval_ns=500 * MILLISECOND,
    gossip_to_the_dead_ns=60 * SECOND,
)

LOCAL = replace(
    LAN,
    stream_timeout_ns=1 * SECOND,
    indirect_checks=1,
    retransmit_multiplier=2,
    suspicion_multiplier=3,
    push_pull_interval_ns=15 * SECOND,
    probe_timeout_ns=200 * MILLISECOND,
    gossip_interval_ns=100 * MILLISECOND,
    gossip_to_the_dead_ns=15 * SECOND,
)
