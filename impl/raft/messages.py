"""What servers say to each other, and what is in it.

Encode with `encode_message` and `decode_message`, or put `Message` into a union of your own. Messages may be
lost, duplicated, delayed and reordered. All carry the sender's `term` (Raft section 5.1: "current terms are
exchanged whenever servers communicate"), except that the two pre-vote messages may speak of the next term.
"""

from __future__ import annotations

import enum

import msgspec

ServerId = str
"""The node id (a UUID as text) of a server. Never reused: a server that lost its disk is a new server."""


class EntryKind(enum.IntEnum):
    """What an entry is for."""

    COMMAND = 0
    """The state machine's business."""
    NOOP = 1
    """The first entry of a leader's term; changes nothing (section 8)."""
    CONFIGURATION = 2
    """A cluster configuration, in force from the moment it is in the log (thesis section 4.1)."""


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One log entry. `kind` is an EntryKind, as a plain integer for speed."""

    index: int
    term: int
    kind: int
    data: bytes


class Server(msgspec.Struct, frozen=True, gc=False):
    """A member of the cluster. A non-voter receives the log but counts in no quorum."""

    id: ServerId
    address: str
    """ "ip:port" of its server RPC."""
    voter: bool = True


class Configuration(msgspec.Struct, frozen=True):
    """The members of the cluster, in the order of joining."""

    servers: tuple[Server, ...] = ()

    def get(self, server_id: ServerId | None) -> Server | None:
        """The server of that id, if it is a member."""
        for server in self.servers:
            if server.id == server_id:
                return server
        return None

    @property
    def voters(self) -> tuple[ServerId, ...]:
        return tuple(server.id for server in self.servers if server.voter)


class Snapshot(msgspec.Struct, frozen=True):
    """The state machine's state after `index`, whose entry had `term`, and the configuration as of there."""

    index: int
    term: int
    configuration: Configuration
    data: bytes


class RequestPreVote(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """Would you vote for me in `term` (the sender's next)? Changes nothing at the receiver (thesis 9.6)."""

    source: ServerId
    target: ServerId
    term: int
    last_index: int
    last_term: int


class PreVoteReply(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """`term` is the requested one if granted, otherwise the sender's own."""

    source: ServerId
    target: ServerId
    term: int
    granted: bool


class RequestVote(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """Invoked by candidates to gather votes (Figure 2)."""

    source: ServerId
    target: ServerId
    term: int
    last_index: int
    last_term: int
    transfer: bool = False
    """The leader itself asked for this election (thesis 3.10): having heard it lately is no objection."""


class VoteReply(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """The answer to RequestVote."""

    source: ServerId
    target: ServerId
    term: int
    granted: bool


class AppendEntries(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """Invoked by the leader to replicate log entries; also used as heartbeat (Figure 2)."""

    source: ServerId
    target: ServerId
    term: int
    previous_index: int
    previous_term: int
    entries: tuple[Entry, ...]
    commit_index: int
    round: int
    """The number of the leader's latest heartbeat round, echoed in the reply: confirms reads (thesis 6.4)."""
    sent_ns: int
    """The leader's clock at sending, echoed in the reply: renews its lease (thesis 6.4.1)."""


class AppendReply(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """The answer to AppendEntries, and to the last chunk of InstallSnapshot."""

    source: ServerId
    target: ServerId
    term: int
    rejected: bool
    """The log does not contain `index` with the `previous_term` asked for, or the sender's term is past."""
    index: int
    """If accepted: the log equals the leader's up to here, and is durable up to here. If rejected: the
    `previous_index` that was refused, or 0 if the term was."""
    round: int = 0
    """Of the AppendEntries that was answered, unless its term was refused; likewise `sent_ns`."""
    sent_ns: int | None = None
    hint_index: int = 0
    """If rejected: the last place where the logs may agree,"""
    hint_term: int = 0
    """and the term there."""


class InstallSnapshot(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """Invoked by the leader to send chunks of a snapshot to a follower, in order (Figure 13)."""

    source: ServerId
    target: ServerId
    term: int
    index: int
    """The snapshot replaces all entries up through and including this index,"""
    index_term: int
    """whose term this is."""
    configuration: Configuration
    offset: int
    data: bytes
    done: bool


class SnapshotReply(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """I have the first `offset` bytes of the snapshot at `index`: go on from there."""

    source: ServerId
    target: ServerId
    term: int
    index: int
    offset: int


class TimeoutNow(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """The leader hands over: start an election without waiting (thesis 3.10)."""

    source: ServerId
    target: ServerId
    term: int


Message = (
    RequestPreVote
    | PreVoteReply
    | RequestVote
    | VoteReply
    | AppendEntries
    | AppendReply
    | InstallSnapshot
    | SnapshotReply
    | TimeoutNow
)

encode_message = msgspec.msgpack.Encoder().encode
"""(message) -> bytes"""

decode_message = msgspec.msgpack.Decoder(Message).decode
"""(bytes) -> Message. Raises msgspec.DecodeError or msgspec.ValidationError on anything else."""
