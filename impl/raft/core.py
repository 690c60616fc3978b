"""The consensus module of one server."""

from __future__ import annotations

import random as random_module

from impl.raft.messages import Configuration, Message, ServerId, Snapshot
from impl.raft.types import Config, ConfigurationChange, Effects, Restored, Role


class Raft:
    """One server's part in a Raft cluster, without I/O.

    Inputs only change state; `take` then returns everything that has to happen.
    """

    id: ServerId
    role: Role
    term: int
    vote: ServerId | None
    leader: ServerId | None
    commit_index: int
    applied_index: int
    configuration: Configuration

    def __init__(
        self,
        id: ServerId,  # noqa: A002 - what it is
        config: Config,
        restored: Restored,
        random: random_module.Random,
        now_ns: int,
    ) -> None:
        raise NotImplementedError

    @property
    def last_index(self) -> int:
        """The end of the log."""
        raise NotImplementedError

    @property
    def deadline_ns(self) -> int:
        """When `tick` is next needed; NEVER_NS if only a message can change anything."""
        raise NotImplementedError

    def tick(self, now_ns: int) -> None:
        """Time has passed. Ticks that come too early or too often do no harm."""
        raise NotImplementedError

    def receive(self, message: Message, now_ns: int) -> None:
        """A message came in. Raises MisdirectedMessage if it is for another server."""
        raise NotImplementedError

    def propose(self, data: bytes, now_ns: int) -> int:
        """Append a command; returns its index, which with the present `term` is the proposal's identity.

        Raises NotLeader or LeadershipTransferInProgress. The outcome is known when an entry at that index is
        applied: of the same term, it is this one; otherwise, this one is lost.
        """
        raise NotImplementedError

    def propose_configuration(self, change: ConfigurationChange, now_ns: int) -> int:
        """Append a changed configuration, in force at once; returns its index.

        Raises NotLeader, LeadershipTransferInProgress or ConfigurationChangeRefused.
        """
        raise NotImplementedError

    def read_index(self, request: int, now_ns: int) -> None:
        """Ask for an index that, once applied, makes a linearizable read possible.

        `request` is the caller's name for it and comes back in `Effects.reads` or `Effects.reads_failed`.
        Raises NotLeader.
        """
        raise NotImplementedError

    def lease_is_valid(self, now_ns: int) -> bool:
        """Whether this is the leader and has heard a quorum within the leader lease timeout."""
        raise NotImplementedError

    def transfer_leadership(self, target: ServerId | None, now_ns: int) -> None:
        """Hand over to `target`, or to the most up-to-date voter."""
        raise NotImplementedError

    def bootstrap(self, configuration: Configuration) -> None:
        """Give a cluster its first configuration. The same on every server that does so."""
        raise NotImplementedError

    def synced(self, batch: int, now_ns: int) -> None:
        """Everything in the effects numbered `batch` and before is on disk."""
        raise NotImplementedError

    def applied(self, index: int) -> None:
        """The state machine has applied every entry up to `index`."""
        raise NotImplementedError

    def compact(self, snapshot: Snapshot) -> None:
        """The shell stored a snapshot of its own durably: drop the log up to it, but for trailing entries."""
        raise NotImplementedError

    def configuration_at(self, index: int) -> Configuration:
        """The configuration as of `index`, for a snapshot made there."""
        raise NotImplementedError

    def term_at(self, index: int) -> int:
        """The term of the entry at `index`, for a snapshot made there."""
        raise NotImplementedError

    def take(self) -> Effects:
        """What has to happen since the last `take`. False if nothing; then it needs no attention."""
        raise NotImplementedError
