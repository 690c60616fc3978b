"""Raft: consensus on a replicated log, as a core without I/O.

Rules
-----
1. `Raft` has no socket, clock, thread, log file or `await`. It is told the time, is given its randomness, and
   returns effects.
2. What must not leave before something is on disk comes in an outbox of its own, `Effects.send_after_sync`.
3. The leader counts itself in a quorum only for entries that it has on disk.
4. A broken invariant raises InvariantViolation with all the numbers; it is never worked around.

The loop of a shell:

    raft.receive(message, now_ns)              # or tick, propose, read_index, ...
    while effects := raft.take():
        send(effects.send_now)
        persist(effects.hard_state, effects.snapshot, effects.entries); sync
        raft.synced(effects.batch, now_ns)
        send(effects.send_after_sync)
        apply(effects.snapshot, effects.apply); raft.applied(index)
        answer(effects.reads, effects.reads_failed)
    # wait until raft.deadline_ns, then tick

Sources: Diego Ongaro and John Ousterhout, "In Search of an Understandable Consensus Algorithm (Extended
Version)", 2014 ("Raft section ..."); Diego Ongaro, "Consensus: Bridging Theory and Practice", 2014 ("thesis
section ..."); timing and defaults of hashicorp/raft; the two outboxes and the shape of replication progress
of etcd-io/raft.
"""

from impl.raft.core import Raft
from impl.raft.errors import (
    ConfigurationChangeRefused,
    InvariantViolation,
    LeadershipTransferInProgress,
    MisdirectedMessage,
    NotLeader,
    ProposalRefused,
    RaftError,
    TransferRefused,
)
from impl.raft.membership import (
    AddNonvoter,
    AddVoter,
    ConfigurationChange,
    DemoteVoter,
    RemoveServer,
    decode_configuration,
    encode_configuration,
)
from impl.raft.messages import (
    AppendEntries,
    AppendReply,
    Configuration,
    Entry,
    EntryKind,
    InstallSnapshot,
    Message,
    PreVoteReply,
    RequestPreVote,
    RequestVote,
    Server,
    ServerId,
    Snapshot,
    SnapshotReply,
    TimeoutNow,
    VoteReply,
    decode_message,
    encode_message,
)
from impl.raft.types import NEVER_NS, Config, Effects, HardState, Restored, Role

__all__ = [
    "NEVER_NS",
    "AddNonvoter",
    "AddVoter",
    "AppendEntries",
    "AppendReply",
    "Config",
    "Configuration",
    "ConfigurationChange",
    "ConfigurationChangeRefused",
    "DemoteVoter",
    "Effects",
    "Entry",
    "EntryKind",
    "HardState",
    "InstallSnapshot",
    "InvariantViolation",
    "LeadershipTransferInProgress",
    "Message",
    "MisdirectedMessage",
    "NotLeader",
    "PreVoteReply",
    "ProposalRefused",
    "Raft",
    "RaftError",
    "RemoveServer",
    "RequestPreVote",
    "RequestVote",
    "Restored",
    "Role",
    "Server",
    "ServerId",
    "Snapshot",
    "SnapshotReply",
    "TimeoutNow",
    "TransferRefused",
    "VoteReply",
    "decode_configuration",
    "decode_message",
    "encode_configuration",
    "encode_message",
]
