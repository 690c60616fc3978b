"""Which mutant the simulator must find in a whole agent: under what, and by what kind of check.

The numbers are those of docs/mutants.md. A mutant that only a core alone can show is not here, but in the
tests of that core.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass, field
from typing import Any

from harness.simulation.sweep import Plan
from tests.mutants import agent


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

    @property
    def bug(self) -> str:
        """What is wrong, in a sentence or two: what the class says of itself, without its number."""
        module, _, name = self.name.rpartition(":")
        found = getattr(importlib.import_module(module), name) if module else agent.part(name)
        words = " ".join((found.__doc__ or "").split("\n\n")[0].split())
        return re.sub(r"^[0-9]+[^.]*\. ", "", words)

    def plan(self) -> Plan:
        """The sweep that must find it, in the repository's root."""
        adapter = ":" in self.name
        fields = {"time_limit": 15.0, **self.fields}
        return Plan(
            workloads=(self.workload,),
            nemesis=self.nemesis,
            system=self.name if adapter else "proconsul",
            agent=None if adapter else ["python", "tests/mutants/agent.py", self.name],
            **fields,
        )


VOTES = ("invalid: Election Safety", "invalid: One Vote")
LOGS = (
    "invalid: Log Matching",
    "invalid: Leader Completeness",
    "invalid: State Machine Safety",
    "invalid: Acknowledged Entries Stay",
    "crashed",
)
LINEARIZABLE = ("invalid: linearizable",)
NOT_SERIALIZABLE = ("invalid: transactions",)
LOSSES = ("invalid: set-full", *LOGS, "invalid: Equal States")

BUSY = {"rate": 200.0, "time_limit": 5.0}
SMALL: dict[str, Any] = {"nodes": 3, "servers": 3, "concurrency": 3, "rate": 10.0}
"""Where every server counts, and little happens besides the faults."""
ONE_AT_A_TIME = {"raft_append_entries_max": "1", "raft_append_in_flight_max": "1"}
"""Entries, such that a leader may fall between two of them."""

MUTANTS: tuple[Mutant, ...] = (
    # Election and votes
    Mutant(1, "RepliesToVotesBeforeSync", "register", "crash-point", VOTES, SMALL, seeds=200),
    Mutant(3, "VotesTwice", "register", "swarm", (*VOTES, *LOGS), SMALL, seeds=200),
    Mutant(4, "SkipsLogFreshness", "set", "partition,kill", LOSSES, SMALL),
    # Replication and commit
    Mutant(
        15,
        "CommitsOldTermsByCounting",
        "set",
        "network,partition",
        LOSSES,
        {**SMALL, "rate": 5.0, "time_limit": 25.0, "extra": ONE_AT_A_TIME},
    ),
    Mutant(16, "AcknowledgesBeforeSync", "set", "crash-point,disk", LOSSES, SMALL),
    Mutant(17, "CountsItselfUnsynced", "set", "power,disk", LOSSES, SMALL, seeds=200),
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
    Mutant(46, "ReadsBeforeOwnTermCommit", "register", "disk,kill", LINEARIZABLE, {**SMALL, "rate": 40.0}),
    # The state machine
    Mutant(52, "ChecksWhenProposed", "register", "none", LINEARIZABLE, {"rate": 200.0}),
    Mutant(62, "AppliesByChance", "register", "none", ("invalid: Equal States",)),
    Mutant(57, "WatchesTooLate", "watch", "none", ("invalid: watch",)),
    # Transactions
    Mutant(51, "ReadsTransactionsAnywhere", "append", "partition", NOT_SERIALIZABLE),
    Mutant(52, "ChecksTransactionsWhenProposed", "append", "none", NOT_SERIALIZABLE, BUSY),
    Mutant(61, "AppliesTransactionsInPart", "append", "none", NOT_SERIALIZABLE, BUSY),
    # Gossip
    Mutant(0, "NeverRefutes", "gossip", "partition", ("invalid: gossip",), {"time_limit": 40.0}),
    # Storage
    Mutant(82, "RenamesBeforeSyncing", "set", "power", ("crashed", *LOSSES), seeds=100),
    Mutant(0, "NeverSyncs", "set", "power", ("crashed", *LOSSES)),
    Mutant(85, "CallsFullDisksSuccess", "set", "broken-disk,power", LOSSES, {**SMALL, "time_limit": 20.0}),
    Mutant(0, "AcknowledgesBeforeReplication", "set", "partition", LOSSES),
)

MISSED = (
    "2 (`ForgetsVotes`) takes two candidates of one term, and a voter that falls and is back before the "
    "second one asks. While traps for votes still caught candidates with their own vote, two of a "
    "hundred seeds (swarm, crash-point) found it; since then 60 of crash-point,disk, as many with three "
    "servers, 80 of crash-point,kill,disk, and 160 with nothing but slow disks and traps for votes have "
    "not. Bare cores find it.\n\n"
    "13 (`CampaignsWithoutAsking`) costs an election when a server that heard nothing hears again, which no "
    "promise to clients forbids: 50 seeds of partition came back in time. The drill of bare cores that "
    "demands an undisturbed leader finds it."
)
"""What is known not to be found, in words."""

KEPT = ("SkipsLogFreshness", "CommitsOldTermsByCounting", "AcknowledgesBeforeSync")
"""Whose shrunk scenarios are kept in `found/` (`python -m benchmarks.simulated_mutants` writes them)."""
