"""The values that the Raft core takes and gives.

Everything here is immutable but for `Effects`, which nobody changes after `Raft.take` has returned it.
Indexes and terms count from 1; 0 means none. Times are integer nanoseconds of the server's monotonic clock,
comparable only with times of the same server.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import msgspec

from impl.raft.messages import Entry, Message, ServerId, Snapshot

MILLISECOND_NS = 1_000_000

NEVER_NS = 2**63 - 1
"""A deadline that does not come."""


class Role(enum.Enum):
    """What a server is at a time (Raft section 5.1; the pre-candidate is of thesis section 9.6)."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


FOLLOWER, PRE_CANDIDATE, CANDIDATE, LEADER = Role
"""For what runs with every message: Python 3.11 finds a global ten times as fast as a member of an enum."""


class HardState(msgspec.Struct, frozen=True, gc=False):
    """What a server must find again after a restart, besides its log (Figure 2: currentTerm, votedFor)."""

    term: int = 0
    vote: ServerId | None = None


@dataclass(frozen=True, slots=True)
class Restored:
    """What storage found on disk.

    `entries` are contiguous. They may begin anywhere up to one past the snapshot's index (or at 1 without a
    snapshot). Entries that the snapshot contradicts or has left behind are ignored: they are what a crash
    leaves between installing a snapshot and dropping the old log.
    """

    hard_state: HardState = field(default_factory=HardState)
    snapshot: Snapshot | None = None
    entries: list[Entry] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Timing and limits. Defaults are those of hashicorp/raft (config.go), but where it says otherwise."""

    heartbeat_timeout_ns: int = 1000 * MILLISECOND_NS
    """T: a follower that has heard no leader for a random time in [T, 2T) asks for an election. Every message
    of the leader starts that time anew. (hashicorp/raft instead looks at the last contact each time a free
    running timer of [T, 2T) fires, and so may take up to 3T to notice.) Within T of hearing a leader a server
    takes part in no election (thesis section 4.2.3)."""

    election_timeout_ns: int = 1000 * MILLISECOND_NS
    """A candidate without a result starts over after a random time in [T, 2T) of this T. Also how long a
    leadership transfer may take."""

    leader_lease_timeout_ns: int = 500 * MILLISECOND_NS
    """A leader that has not heard a quorum for so long steps down. At most the heartbeat timeout; the
    difference is the margin for clocks that run at different speeds."""

    heartbeat_interval_ns: int = 100 * MILLISECOND_NS
    """How often the leader sends heartbeats, and a pre-candidate repeats its question. (hashicorp/raft: a
    random time between 1 and 2 tenths of the heartbeat timeout.)"""

    commit_timeout_ns: int = 50 * MILLISECOND_NS
    """Followers hear of a commit with the next entries, and after so long at the latest."""

    append_entries_max: int = 512
    """Entries per AppendEntries. (hashicorp/raft: 64)"""

    append_bytes_max: int = 1 << 20
    """Bytes of data per AppendEntries; a single larger entry goes alone."""

    append_in_flight_max: int = 16
    """AppendEntries with entries under way to one follower before the leader waits for an answer."""

    snapshot_chunk_bytes: int = 1 << 20
    """Bytes of data per InstallSnapshot."""

    trailing_entries: int = 10240
    """Entries kept before a snapshot, so that a follower that is a little late needs no snapshot."""

    def __post_init__(self) -> None:
        if not 0 < self.heartbeat_interval_ns < self.leader_lease_timeout_ns <= self.heartbeat_timeout_ns:
            raise ValueError(
                "need 0 < heartbeat_interval_ns < leader_lease_timeout_ns <= heartbeat_timeout_ns, got "
                f"{self.heartbeat_interval_ns}, {self.leader_lease_timeout_ns}, {self.heartbeat_timeout_ns}"
            )
        if self.election_timeout_ns < self.heartbeat_timeout_ns:
            raise ValueError(
                "need election_timeout_ns >= heartbeat_timeout_ns, got "
                f"{self.election_timeout_ns} < {self.heartbeat_timeout_ns}"
            )
        for name in (
            "append_entries_max",
            "append_bytes_max",
            "append_in_flight_max",
            "snapshot_chunk_bytes",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"need {name} >= 1, got {getattr(self, name)}")

    @classmethod
    def multiplied(cls, raft_multiplier: int) -> Config:
        """Consul's `raft_multiplier`: 1 (production) to 10; the timeouts and the heartbeat interval scale."""
        if not 1 <= raft_multiplier <= 10:
            raise ValueError(f"raft_multiplier must be between 1 and 10, got {raft_multiplier}")
        return cls(
            heartbeat_timeout_ns=1000 * MILLISECOND_NS * raft_multiplier,
            election_timeout_ns=1000 * MILLISECOND_NS * raft_multiplier,
            leader_lease_timeout_ns=500 * MILLISECOND_NS * raft_multiplier,
            heartbeat_interval_ns=100 * MILLISECOND_NS * raft_multiplier,
        )


@dataclass(slots=True)
class Effects:
    """What the shell has to do, in this order.

    1. Send `send_now`.
    2. Persist `hard_state`, then `snapshot`, then `entries`, and sync once.
    3. Call `Raft.synced(batch)`, send `send_after_sync`.
    4. Give `snapshot`, then `apply`, to the state machine, and call `Raft.applied`. What is committed is
       already durable on a quorum, so this need not wait for 2.
    5. Answer `reads` whose index is applied, and fail `reads_failed`.

    The messages of `send_after_sync` wait for this batch *and all before it*, even if there is nothing new to
    persist (`must_sync` is false).
    """

    batch: int
    hard_state: HardState | None = None
    snapshot: Snapshot | None = None
    """Received from the leader: replaces the state machine and the whole log."""
    entries: tuple[Entry, ...] = ()
    """To append. If the first one's index is not past the end of the log, cut the log there first."""
    send_now: tuple[Message, ...] = ()
    send_after_sync: tuple[Message, ...] = ()
    apply: tuple[Entry, ...] = ()
    """Newly committed, in order and without gaps, of every kind."""
    reads: tuple[tuple[int, int], ...] = ()
    """(request, index): the read may be answered once `index` is applied."""
    reads_failed: tuple[int, ...] = ()
    """Requests of `read_index` that cannot be confirmed since leadership is lost."""

    @property
    def must_sync(self) -> bool:
        """Whether there is anything to persist."""
        return bool(self.hard_state is not None or self.entries or self.snapshot is not None)

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(
            self.send_now
            or self.entries
            or self.send_after_sync
            or self.apply
            or self.reads
            or self.hard_state is not None
            or self.snapshot is not None
            or self.reads_failed
        )


NOTHING = Effects(0)
"""There is nothing to do: this belongs to no batch."""
