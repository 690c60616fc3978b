"""Which mutant the simulator must find in a whole agent: under what, and by what kind of check.

The numbers are those of docs/mutants.md. A mutant that only a core alone can show is not here, but in the
tests of that core.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Mutant:
    """A bug, and what finds it."""

    number: int
    name: str
    """A class beside this file; or "module:Class" of a system adapter."""
    workload: str
    nemesis: str
    finds: tuple[str, ...]
    """How the failure may begin: an invariant of the cores, or a checker of the clients' history."""
    fields: dict[str, Any] = field(default_factory=dict)
    """Others of `harness.simulation.sweep.Plan`."""
    seeds: int = 50
    """Within so many it must be found."""


INVARIANTS = ("invalid: Election Safety", "invalid: Stable Vote")
LOGS = ("invalid: Log Matching", "invalid: Leader Completeness", "invalid: State Machine Safety", "crashed")
LINEARIZABLE = ("invalid: linearizable",)
NOT_SERIALIZABLE = ("invalid: transactions",)
LOSSES = ("invalid: set-full", *LOGS, "invalid: Equal States")

BUSY = {"rate": 200.0, "time_limit": 5.0}

MUTANTS: tuple[Mutant, ...] = (
    # Election and votes
    Mutant(1, "RepliesToVotesBeforeSync", "register", "crash-point", (*INVARIANTS, *LOGS), seeds=200),
    Mutant(2, "ForgetsVotes", "register", "crash-point,kill", (*INVARIANTS, *LOGS), seeds=200),
    Mutant(3, "VotesTwice", "register", "partition,kill", (*INVARIANTS, *LOGS), seeds=200),
    Mutant(4, "SkipsLogFreshness", "set", "partition", LOSSES),
    Mutant(13, "CampaignsWithoutAsking", "register", "partition", ("no liveness", "invalid: availability")),
    # Replication and commit
    Mutant(15, "CommitsOldTermsByCounting", "set", "partition,kill", LOSSES, seeds=400),
    Mutant(16, "AcknowledgesBeforeSync", "set", "power", LOSSES, seeds=100),
    Mutant(17, "CountsItselfUnsynced", "set", "power", LOSSES, seeds=200),
    Mutant(18, "KeepsConflictingEntries", "register", "partition", LOGS),
    Mutant(20, "IgnoresPreviousTerm", "register", "partition", LOGS),
    Mutant(22, "MatchesOnSending", "set", "partition,power", LOSSES),
    Mutant(24, "AppliesBeforeCommit", "register", "partition", (*LOGS, "invalid: linearizable")),
    Mutant(27, "tests.mutants.shell:TakesTimeoutsForRefusals", "register", "swarm", LINEARIZABLE),
    # Snapshots
    Mutant(
        30, "LabelsSnapshotsWithCommit", "set", "kill", LOSSES, {"extra": {"raft_snapshot_threshold": "4"}}
    ),
    # Reads and leases
    Mutant(44, "ReadsWithoutQuorum", "register", "partition", LINEARIZABLE),
    Mutant(46, "ReadsBeforeOwnTermCommit", "register", "kill", LINEARIZABLE, seeds=200),
    # The state machine
    Mutant(52, "ChecksWhenProposed", "register", "none", LINEARIZABLE, {"rate": 200.0}),
    Mutant(62, "AppliesByChance", "register", "none", ("invalid: Equal States",)),
    Mutant(57, "WatchesTooLate", "watch", "none", ("invalid: watch",)),
    # Transactions
    Mutant(51, "ReadsTransactionsAnywhere", "append", "partition", NOT_SERIALIZABLE),
    Mutant(52, "ChecksTransactionsWhenProposed", "append", "none", NOT_SERIALIZABLE, BUSY),
    Mutant(61, "AppliesTransactionsInPart", "append", "none", NOT_SERIALIZABLE, BUSY),
    # Gossip
    Mutant(63, "NeverRefutes", "gossip", "partition", ("invalid: gossip",), {"time_limit": 40.0}),
    # Storage
    Mutant(82, "RenamesBeforeSyncing", "set", "power", ("crashed", *LOSSES), seeds=100),
    Mutant(16, "NeverSyncs", "set", "power", ("crashed", *LOSSES)),
    Mutant(0, "AcknowledgesBeforeReplication", "set", "partition", LOSSES),
)
