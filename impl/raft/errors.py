"""What can go wrong, by whose fault, and what the caller can do about it."""

from __future__ import annotations


class RaftError(Exception):
    """Base of all errors of the Raft core."""


class InvariantViolation(RaftError):
    """A safety property of Raft is broken: a bug, damaged storage, or two clusters mixed up.

    Stop this server and keep its disk for inspection; to go on would spread the damage.
    """


class MisdirectedMessage(RaftError):
    """A message for another server came here, such as one that used to live at this address. Drop it."""


class ProposalRefused(RaftError):
    """The request was not taken and will never take effect: trying again cannot duplicate it."""


class NotLeader(ProposalRefused):
    """Only the leader takes this request. Send it to `leader`, or wait for an election if that is None."""

    def __init__(self, leader: str | None) -> None:
        super().__init__(f"not the leader; the leader is {leader or 'unknown'}")
        self.leader = leader


class LeadershipTransferInProgress(ProposalRefused):
    """The leader is handing over to another server. Try again within an election timeout."""


class ConfigurationChangeRefused(ProposalRefused):
    """The change is not possible now, or not at all: the text says which. The configuration is as before."""


class TransferRefused(ProposalRefused):
    """Leadership cannot go where it was asked to: name another voter, or none."""
