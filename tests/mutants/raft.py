"""Raft cores with one known bug each. The numbers are those of docs/mutants.md."""

from __future__ import annotations

from typing import Any

import msgspec

from impl.raft import (
    NEVER_NS,
    AppendEntries,
    AppendReply,
    Configuration,
    ConfigurationChangeRefused,
    Effects,
    Entry,
    HardState,
    InstallSnapshot,
    Message,
    NotLeader,
    PreVoteReply,
    Raft,
    RequestPreVote,
    RequestVote,
    Role,
    ServerId,
    Snapshot,
    VoteReply,
)
from impl.raft.progress import Progress

# ---- Elections and votes


class RepliesToVotesBeforeSync(Raft):
    """1. The reply to a vote request leaves before term and vote are on disk."""

    def _when_synced(self, message: Message) -> None:
        if isinstance(message, VoteReply):
            self._send_now.append(message)
        else:
            super()._when_synced(message)


class ForgetsVotes(Raft):
    """2. The vote is not written down, only the term. (Nor does a server keep still for a while when it
    starts: that alone would nearly hide it.)"""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.leader_contact_ns = -NEVER_NS

    def take(self) -> Effects:
        effects = super().take()
        if effects.hard_state is not None:
            effects.hard_state = HardState(effects.hard_state.term, None)
        return effects


class VotesTwice(Raft):
    """3. No record of the vote is kept: everyone who asks in a term gets one."""

    def _grants_vote(self, message: RequestVote) -> bool:
        return message.term == self.term and self._log_is_up_to_date(message)


class SkipsLogFreshness(Raft):
    """4. A vote is given whatever the candidate's log has."""

    def _log_is_up_to_date(self, message: RequestVote | RequestPreVote) -> bool:
        return True


class AcceptsStaleTerms(Raft):
    """6. AppendEntries of a past term is taken for one of the present."""

    def _on_append_entries(self, message: AppendEntries) -> None:
        super()._on_append_entries(msgspec.structs.replace(message, term=self.term))

    def _hear_leader(self, source: ServerId) -> None:
        self.leader = None
        if self.role is Role.LEADER:
            self._become_follower(self.term)
        super()._hear_leader(source)


class CountsPreVotesAsVotes(Raft):
    """8. A candidate counts pre-votes that come late as votes."""

    def _on_pre_vote_reply(self, message: PreVoteReply) -> None:
        if self.role in (Role.PRE_CANDIDATE, Role.CANDIDATE) and message.granted:
            self._count_vote(message.source, granted=True)


class CountsVotesOfNonvoters(Raft):
    """11. Non-voters are asked for votes, and theirs count like others'."""

    def _start_election(self, transfer: bool = False) -> None:
        super()._start_election(transfer)
        last = self._log.last_index, self._log.last_term
        for server in self.configuration.servers:
            if not server.voter:
                self._when_synced(RequestVote(self.id, server.id, self.term, *last, transfer))

    def _count_vote(self, source: ServerId, granted: bool) -> None:
        self._votes[source] = granted
        if list(self._votes.values()).count(True) < self._quorum:
            return
        if self.role is Role.PRE_CANDIDATE:
            self._start_election()
        else:
            self._become_leader()


class TimesOutAtOnce(Raft):
    """12. The election timeout is not random."""

    def _random_timeout_ns(self, timeout_ns: int) -> int:
        return timeout_ns


class CampaignsWithoutAsking(Raft):
    """13. No pre-vote: who hears no leader begins a new term, again and again."""

    def _ask_for_pre_votes(self) -> None:
        self._start_election()


# ---- Replication and commit


class CommitsOldTermsByCounting(Raft):
    """15. An entry of an earlier term is committed because a quorum has it (figure 8)."""

    def _may_commit(self, index: int) -> bool:
        return True


class AcknowledgesBeforeSync(Raft):
    """16. A follower acknowledges entries before they are on disk."""

    def _when_synced(self, message: Message) -> None:
        if isinstance(message, AppendReply):
            self._send_now.append(message)
        else:
            super()._when_synced(message)


class CountsItselfUnsynced(Raft):
    """17. The leader counts itself for what is not on its disk yet."""

    def _own_match_index(self) -> int:
        return self._log.last_index


class KeepsConflictingEntries(Raft):
    """18. Entries that conflict with the leader's stay, and the new ones follow them."""

    def _store(self, entries: tuple[Entry, ...]) -> None:
        new = tuple(entry for entry in entries if entry.index > self._log.last_index)
        if new:
            super()._store(new)


class IgnoresPreviousTerm(Raft):
    """20. Whether the logs agree before the new entries is judged by the index alone."""

    def _matches(self, message: AppendEntries) -> bool:
        return message.previous_index <= self._log.last_index


class MatchesOnSending(Raft):
    """22. matchIndex advances when entries are sent, not when they are acknowledged."""

    def _send_entries(self, progress: Progress, entries: tuple[Entry, ...]) -> None:
        super()._send_entries(progress, entries)
        if entries:
            progress.match_index = max(progress.match_index, entries[-1].index)


class AppliesBeforeCommit(Raft):
    """24. What is in the log is applied, committed or not."""

    def take(self) -> Effects:
        self._commit_to(self._log.last_index)
        return super().take()


# ---- Snapshots


class DropsAcknowledgedSuffix(Raft):
    """29. A snapshot replaces the whole log, also entries beyond it that were acknowledged."""

    def _describes_prefix(self, message: InstallSnapshot) -> bool:
        return False


class LabelsSnapshotsWithCommit(Raft):
    """30. A snapshot of what is applied passes for one of what is committed."""

    def compact(self, snapshot: Snapshot) -> None:
        index = max(snapshot.index, self.commit_index)
        labelled = msgspec.structs.replace(
            snapshot, index=index, term=self.term_at(index), configuration=self.configuration_at(index)
        )
        applied, self.applied_index = self.applied_index, index
        super().compact(labelled)
        self.applied_index = applied


class OmitsMembershipFromSnapshots(Raft):
    """32. A snapshot carries the configuration of the one before it."""

    def configuration_at(self, index: int) -> Configuration:
        return super().configuration_at(self.snapshot_index())


# ---- Membership and transfer


class ChangesMembersAtOnce(Raft):
    """37. Members are changed before an entry of the leader's own term is committed."""

    def _check_may_change_configuration(self) -> None:
        if self._configurations.latest_index > self.commit_index:
            raise ConfigurationChangeRefused("a change is not yet committed")


class KeepsTruncatedConfiguration(Raft):
    """40. A configuration stays in force though its entry was dropped."""

    def _truncate(self, first: int) -> None:
        self._log.truncate(first)


class CountsContactOfNonvoters(Raft):
    """42. Lease and check-quorum count whoever answers, voter or not."""

    def lease_is_valid(self, now_ns: int) -> bool:
        return bool(self._of_everyone(super().lease_is_valid, now_ns))

    def _hears_quorum(self) -> bool:
        return bool(self._of_everyone(super()._hears_quorum))

    def _of_everyone(self, question: Any, *arguments: Any) -> Any:
        voting, self._voting_progress = self._voting_progress, list(self._progress.values())
        answer = question(*arguments)
        self._voting_progress = voting
        return answer


class AcceptsWritesWhileHandingOver(Raft):
    """43. Proposals are taken while leadership is being transferred."""

    def _check_may_propose(self) -> None:
        if self.role is not Role.LEADER:
            raise NotLeader(self.leader)


# ---- Reads and leases


class ReadsWithoutQuorumRound(Raft):
    """44. A read is confirmed by the leader's belief to be leader."""

    def _confirmed_round(self) -> int:
        return self._round


class ReadsBeforeOwnTermCommit(Raft):
    """46. A read is confirmed before an entry of the leader's own term is committed."""

    @property
    def own_term_is_committed(self) -> bool:
        return self.role is Role.LEADER


class LeasesWithoutMargin(Raft):
    """48. The lease lasts as long as others keep still, by a clock that may be slower than theirs."""

    def lease_is_valid(self, now_ns: int) -> bool:
        margin_ns = self._config.heartbeat_timeout_ns - self._config.leader_lease_timeout_ns
        return super().lease_is_valid(now_ns - margin_ns)
