"""What the leader knows of a follower (Figure 2: nextIndex, matchIndex), and how it sends to it.

    PROBE       where the logs agree is not known: empty AppendEntries only, one per answer or heartbeat
    REPLICATE   entries are sent without waiting for answers, `next_index` runs ahead of them
    SNAPSHOT    what the follower needs is compacted: chunks of a snapshot, one at a time, and heartbeats

    PROBE -> REPLICATE      the follower accepted
    REPLICATE -> PROBE      it rejected (something was lost), or was silent for the heartbeat timeout
    PROBE -> SNAPSHOT       it answers, and its next entry is not in the log any more
    SNAPSHOT -> REPLICATE   the follower has the snapshot, or reports to be beyond the start of the log
    SNAPSHOT -> PROBE       silence

After etcd-io/raft, tracker/progress.go.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass, field

from impl.raft.messages import ServerId, Snapshot
from impl.raft.types import NEVER_NS


class ProgressState(enum.Enum):
    """How the leader sends to a follower."""

    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


PROBE, REPLICATE, SNAPSHOT = ProgressState
"""Found faster than members of the enum (see `impl.raft.types`)."""


@dataclass(slots=True)
class Progress:
    """A follower as its leader sees it."""

    id: ServerId
    voter: bool
    next_index: int
    contact_ns: int
    """When its last answer arrived: whether it is alive."""
    state: ProgressState = PROBE
    match_index: int = 0
    """Durable at the follower and equal to the leader's log up to here."""
    commit_index_sent: int = 0
    round: int = 0
    """The latest heartbeat round that it answered."""
    lease_ns: int = -NEVER_NS
    """When the latest message that it answered had been sent: until the minimum election timeout after that
    it helps nobody else to become leader."""
    in_flight: deque[int] = field(default_factory=deque)
    """The last index of each AppendEntries with entries that is not yet acknowledged."""
    snapshot: Snapshot | None = None
    snapshot_offset: int = 0
    """Where the chunk under way begins."""
    snapshot_sent_ns: int = 0

    def probe(self, next_index: int) -> None:
        """Find out anew where the logs agree, first trying just before `next_index`."""
        self.state = PROBE
        self.next_index = next_index
        self.in_flight.clear()
        self.snapshot = None

    def replicate(self) -> None:
        """The logs agree up to `match_index` at least: send what follows."""
        self.state = REPLICATE
        self.next_index = max(self.next_index, self.match_index + 1)
        self.snapshot = None

    def send_snapshot(self, snapshot: Snapshot) -> None:
        """Send `snapshot` from its start."""
        self.state = SNAPSHOT
        self.in_flight.clear()
        self.snapshot = snapshot
        self.snapshot_offset = 0

    def needs_no_snapshot(self, base_index: int) -> bool:
        """Whether the one under way has arrived, or the leader's log, which begins after the base, is enough.

        The log may have moved on meanwhile, and the follower need another snapshot.
        """
        assert self.snapshot is not None
        return self.match_index >= min(self.snapshot.index, base_index)

    def sent_through(self, index: int) -> None:
        """Entries up to `index` are under way: assume that they will arrive."""
        self.next_index = index + 1
        self.in_flight.append(index)

    def acknowledged(self, index: int) -> None:
        """The follower has everything up to `index`, which is news."""
        self.match_index = index
        self.next_index = max(self.next_index, index + 1)
        in_flight = self.in_flight
        while in_flight and in_flight[0] <= index:
            in_flight.popleft()
