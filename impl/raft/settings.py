"""What decides a simulated run, besides its seed: the cluster, its faults, its clients; and mixtures of them.

Messages are lost, duplicated, delayed and so reordered; links are cut in windows of time, in either or both
directions. Servers are paused, and lose power: at random times, soon after they were elected, and exactly
between a write and its sync, between the sync and what it allows to be sent, or just after that. State
machines lag, snapshots are made, members come and go, leaders hand over, clocks run at different speeds.

All of this Raft promises to survive, if the clocks' difference stays within the lease's margin, and if what
was synced is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Literal

from impl.raft.types import MILLISECOND_NS, Config

RecordKind = Literal["vote", "term", "entries", "snapshot"]
"""What a write is about. A `vote` is one for another server; a candidate's own goes with its `term`."""


Moment = Literal["written", "synced", "sent"]


@dataclass(frozen=True, slots=True)
class PowerCut:
    """Power fails while a record of this kind is written, with this probability for each.

    `written`: it has gone to the disk, and the sync has just begun, or is all but done; it is lost, and so
    may be some before it. `synced`: it is safe, but nobody was told. `sent`: what waited for it was sent.
    """

    record: RecordKind
    when: Moment
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How often what goes wrong: probabilities, and mean intervals in nanoseconds (0: never)."""

    loss: float = 0.0
    duplication: float = 0.0
    delay_ns_min: int = 0
    delay_ns_max: int = 2 * MILLISECOND_NS
    late: float = 0.0
    """The probability that a message takes up to a hundred times as long."""
    sync_ns_max: int = 2 * MILLISECOND_NS
    apply_ns_max: int = 0
    """How long the state machine may take for what is committed at a time."""
    partitions: int = 0
    """How many windows of time in a run in which links are cut."""
    crash_interval_ns: int = 0
    leader_life_ns_max: int = 0
    """How long a new leader may lead before it loses power, or is cut off for a while."""
    power_cuts: tuple[PowerCut, ...] = ()
    pause_interval_ns: int = 0
    membership_interval_ns: int = 0
    membership_at_election: float = 0.0
    """The probability that a new leader is asked for a change of members at once."""
    transfer_interval_ns: int = 0
    snapshot_interval_ns: int = 0
    clock_ppm_max: int = 0
    """How much faster or slower than the true time each clock may run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What clients ask for: mean intervals in nanoseconds."""

    proposal_interval_ns: int = 3 * MILLISECOND_NS
    """A fourth of the proposals are bursts of nine."""
    read_interval_ns: int = 7 * MILLISECOND_NS


HASTY = Config(
    heartbeat_timeout_ns=100 * MILLISECOND_NS,
    election_timeout_ns=100 * MILLISECOND_NS,
    leader_lease_timeout_ns=50 * MILLISECOND_NS,
    heartbeat_interval_ns=10 * MILLISECOND_NS,
    commit_timeout_ns=5 * MILLISECOND_NS,
    append_entries_max=4,
    append_bytes_max=64,
    append_in_flight_max=3,
    snapshot_chunk_bytes=7,
    trailing_entries=5,
)
"""Short timeouts and small limits, so that every limit is met."""

CLOCK_PPM_MAX = 300_000
"""What `HASTY` has margin for: a lease of 50 ms must end before an election timeout of 100 ms on any other
clock, so that the quotient of two rates must stay below 2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """All that decides a run, but for its seed and the classes under test."""

    servers: int = 5
    """Voters from the start."""
    nonvoters: int = 0
    """Non-voters from the start."""
    spares: int = 0
    """Empty servers, which may become members."""
    config: Config = HASTY
    faults: Faults = Faults()
    load: Load = Load()


Focus = Literal["elections", "commits", "snapshots", "members", "leases"]
FOCUSES: tuple[Focus, ...] = ("elections", "commits", "snapshots", "members", "leases")


def swarm(random: Random, focus: Focus | None = None) -> Setting:
    """A mixture of faults: each kind is off, rare or common, whatever the others are.

    With a focus, those that concern it are common. For `HASTY` timing, and runs of about two seconds.
    """
    focus = focus or random.choice(FOCUSES)
    votes, logs, snapshots, members, leases = (focus == each for each in FOCUSES)

    def maybe(*values: float, common: bool = False) -> float:
        """One of them, from rare to common, or nothing."""
        return random.choice(values) if random.random() < (0.8 if common else 0.25) else 0

    def interval(*milliseconds: int, common: bool = False) -> int:
        return int(maybe(*milliseconds, common=common)) * MILLISECOND_NS

    def power_cuts(record: RecordKind, common: bool) -> list[PowerCut]:
        often = 0.02 if record == "entries" else 0.3
        return [
            PowerCut(record, "written", maybe(often / 10, often / 3, often, common=common)),
            PowerCut(record, "synced", maybe(often / 10, often / 3)),
            PowerCut(record, "sent", maybe(often / 10, often / 3, often, common=common)),
        ]

    faults = Faults(
        loss=maybe(0.02, 0.1, common=votes),
        duplication=maybe(0.05, 0.3, common=snapshots),
        delay_ns_max=random.choice((2, 2, 10, 25)) * MILLISECOND_NS,
        late=maybe(0.02, 0.1, common=votes or snapshots),
        sync_ns_max=random.choice((1, 1, 5, 25)) * MILLISECOND_NS,
        apply_ns_max=interval(1, 20, 100),
        partitions=int(maybe(2, 4, 8, common=leases or logs or members)),
        crash_interval_ns=interval(3000, 1000, 300, common=votes),
        leader_life_ns_max=interval(500, 150, 30, common=logs or votes or members),
        power_cuts=(
            *power_cuts("vote", votes),
            *power_cuts("term", common=False),
            *power_cuts("entries", logs),
            *power_cuts("snapshot", snapshots),
        ),
        pause_interval_ns=interval(1500, 500, 250, common=leases),
        membership_interval_ns=interval(300, 100, 20, common=members),
        membership_at_election=maybe(0.1, 0.3, 1.0, common=members),
        transfer_interval_ns=interval(700, 200, common=members),
        snapshot_interval_ns=interval(100, 20, 5, common=snapshots),
        clock_ppm_max=random.choice((CLOCK_PPM_MAX,) if leases else (0, 1000, CLOCK_PPM_MAX)),
    )
    config = replace(
        HASTY,
        election_timeout_ns=random.choice((100, 400)) * MILLISECOND_NS,
        append_entries_max=random.choice((1, 4, 64)),
        append_in_flight_max=random.choice((1, 3, 16)),
        snapshot_chunk_bytes=random.choice((7, 1000)),
        trailing_entries=random.choice((0, 5, 50)),
    )
    return Setting(
        servers=random.choice((3, 3, 4, 5)),
        nonvoters=random.choice((1, 2) if leases else (0, 0, 0, 1)),
        spares=random.choice((1, 2) if members else (0, 0, 0, 1)),
        config=config,
        faults=faults,
        load=Load(
            proposal_interval_ns=random.choice((5, 20, 60)) * MILLISECOND_NS,
            read_interval_ns=random.choice((7, 30)) * MILLISECOND_NS,
        ),
    )
