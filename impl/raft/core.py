"""The consensus module of one server.

Theory of operation
-------------------
Inputs (`tick`, `receive`, `propose`, ...) change state and put messages into one of two outboxes; `take`
sends what the leader has for its followers, and returns everything that has to happen. So a hundred proposals
between two `take`s become one AppendEntries per follower and one sync, and a hundred reads share one round of
heartbeats.

Durability. Three promises leave a server, and each waits for the disk: a vote ("I vote for no other in this
term"), an acknowledgement ("I have these entries"), and a candidate's request (which says that it voted for
itself). They go to `send_after_sync`. The leader's entries need not wait: it counts itself only for what is
synced, so it may write while its followers do (thesis section 10.2.1).

Time. A follower that has heard the leader within the minimum election timeout takes part in no election, so
a leader that a quorum answered knows that there is no other until then: that is its lease, and it gives up
itself when it has not heard a quorum for so long. The lease runs from when the leader *sent* what was
answered; for stepping down, when the answer *came* is enough.

Reading order: inputs and `take`; terms and roles; elections; log replication at the follower, then at the
leader; commit; snapshots; reads; membership; leadership transfer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType
from typing import Any

from impl.raft.assembly import SnapshotAssembly
from impl.raft.errors import (
    ConfigurationChangeRefused,
    InvariantViolation,
    LeadershipTransferInProgress,
    MisdirectedMessage,
    NotLeader,
    TransferRefused,
)
from impl.raft.log import Log
from impl.raft.membership import ConfigurationChange, ConfigurationHistory, changed, encode_configuration
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
    ServerId,
    Snapshot,
    SnapshotReply,
    TimeoutNow,
    VoteReply,
)
from impl.raft.progress import PROBE, REPLICATE, SNAPSHOT, Progress
from impl.raft.reads import ReadQueue
from impl.raft.types import (
    CANDIDATE,
    FOLLOWER,
    LEADER,
    NEVER_NS,
    NOTHING,
    PRE_CANDIDATE,
    Config,
    Effects,
    HardState,
    Restored,
)


class Raft:
    """One server's part in a Raft cluster, without I/O."""

    def __init__(
        self,
        id: ServerId,  # noqa: A002 - what it is
        config: Config,
        restored: Restored,
        random: Random,
        now_ns: int,
    ) -> None:
        """A follower with what storage found on disk. Raises InvariantViolation if that makes no sense."""
        self.id = id
        self.role = FOLLOWER
        self.term = restored.hard_state.term
        self.vote = restored.hard_state.vote
        self.leader: ServerId | None = None
        self.leader_contact_ns = -NEVER_NS
        """When the leader was last heard; -NEVER_NS if never."""
        self._config = config
        self._random = random
        self._now_ns = now_ns

        self._snapshot = restored.snapshot
        base = restored.snapshot or Snapshot(0, 0, Configuration(), b"")
        self._log = Log.after_snapshot(base, restored.entries)
        self.commit_index = base.index
        self.applied_index = base.index
        self._handed_index = base.index
        """How far `Effects.apply` has come."""
        self._configurations = ConfigurationHistory(
            base.index, base.configuration, self._log.slice(base.index + 1, self._log.last_index)
        )
        if self.term > 0:
            # Whom it heard, and so whose lease it is part of, is forgotten: assume the worst.
            self.leader_contact_ns = now_ns

        self._batch = 0
        self._synced_batch = 0
        self._hard_state_batch = 0
        """The batch that brings the latest term and vote to disk."""
        self._send_now: list[Message] = []
        self._send_after_sync: list[Message] = []
        self._reads_confirmed: list[tuple[int, int]] = []
        self._reads_failed: list[int] = []
        self._snapshot_received: Snapshot | None = None
        self._assembly = SnapshotAssembly()

        # As a candidate or pre-candidate.
        self._votes: dict[ServerId, bool] = {}
        self._election_deadline_ns = now_ns + self._random_timeout_ns(config.heartbeat_timeout_ns)
        self._ask_again_ns = NEVER_NS

        # As leader.
        self._progress: dict[ServerId, Progress] = {}
        self._voting_progress: list[Progress] = []
        self._reads = ReadQueue()
        self._round = 0
        self._own_term_index = NEVER_NS
        self._heartbeat_ns = NEVER_NS
        self._tell_commit_ns = NEVER_NS
        self._transfer_deadline_ns = NEVER_NS
        self.transfer_target: ServerId | None = None
        """To whom the leader is handing over; None again when it gave up or is leader no more."""

        self.configuration = Configuration()
        self._quorum = 1
        self._is_voter = False
        self._use_latest_configuration()
        if self.term < self._log.last_term:
            raise self._violation(f"the log ends with an entry of the later term {self._log.last_term}")

        # The types are right by construction, which the type checker cannot see through a table.
        self._handlers: dict[type, Callable[[Any], None]] = {
            AppendEntries: self._on_append_entries,
            AppendReply: self._on_append_reply,
            RequestPreVote: self._on_request_pre_vote,
            PreVoteReply: self._on_pre_vote_reply,
            RequestVote: self._on_request_vote,
            VoteReply: self._on_vote_reply,
            InstallSnapshot: self._on_install_snapshot,
            SnapshotReply: self._on_snapshot_reply,
            TimeoutNow: self._on_timeout_now,
        }

    # ---- Inputs

    def tick(self, now_ns: int) -> None:
        """Time has passed. Ticks that come too early or too often do no harm."""
        self._now_ns = now_ns
        if self.role is LEADER:
            self._tick_leader()
        elif not self._is_voter:
            return
        elif now_ns >= self._election_deadline_ns:
            self._ask_for_pre_votes()
        elif self.role is PRE_CANDIDATE and now_ns >= self._ask_again_ns:
            self._send_pre_vote_requests()

    def receive(self, message: Message, now_ns: int) -> None:
        """A message came in. Raises MisdirectedMessage if it is for another server."""
        if message.target != self.id:
            raise MisdirectedMessage(f"{type(message).__name__} for {message.target} came to {self.id}")
        self._now_ns = now_ns
        if message.term > self.term and not self._meet_higher_term(message):
            return
        self._handlers[type(message)](message)

    def propose(self, data: bytes, now_ns: int) -> int:
        """Append a command; returns its index, which with the present `term` is the proposal's identity.

        Raises NotLeader or LeadershipTransferInProgress. The outcome is known when an entry at that index is
        applied: of the same term, it is this one; otherwise, this one is lost.
        """
        self._now_ns = now_ns
        self._check_may_propose()
        return self._append(EntryKind.COMMAND, data)

    def read_index(self, request: int, now_ns: int) -> None:
        """Ask for an index that, once applied, makes a linearizable read possible.

        `request` is the caller's name for it and comes back in `Effects.reads` or `Effects.reads_failed`.
        Raises NotLeader.
        """
        self._now_ns = now_ns
        if self.role is not LEADER:
            raise NotLeader(self.leader)
        self._reads.waiting.append(request)

    def synced(self, batch: int, now_ns: int) -> None:
        """Everything in the effects numbered `batch` and before is on disk.

        Batches with nothing to persist (`Effects.must_sync`) need not be reported.
        """
        self._now_ns = now_ns
        self._synced_batch = max(self._synced_batch, batch)
        self._log.synced(batch)
        if self.role is LEADER:
            self._maybe_commit()
        elif self.role is CANDIDATE and self._hard_state_is_synced():
            self._count_vote(self.id, granted=True)

    def applied(self, index: int) -> None:
        """The state machine has applied every entry up to `index`."""
        if index > self._handed_index:
            raise self._violation(f"entry {index} was applied, but given only up to {self._handed_index}")
        self.applied_index = max(self.applied_index, index)

    # ---- Output

    def take(self) -> Effects:
        """What has to happen since the last `take`; false if nothing, and then it needs no attention."""
        if self.role is LEADER:
            self._replicate()
            if self._reads.waiting and not self._reads.in_flight and self.own_term_is_committed:
                self._start_round()
        log = self._log
        has_hard_state = self._hard_state_batch > self._batch
        has_log = log.persisted_index < log.last_index or self._snapshot_received is not None
        if not (
            self._send_now
            or has_log
            or self._handed_index < self.commit_index
            or self._send_after_sync
            or has_hard_state
            or self._reads_confirmed
            or self._reads_failed
        ):
            return NOTHING
        effects = Effects(
            self._batch + 1,
            send_now=tuple(self._send_now),
            send_after_sync=tuple(self._send_after_sync),
            snapshot=self._snapshot_received,
        )
        self._send_now.clear()
        self._send_after_sync.clear()
        if has_hard_state:
            effects.hard_state = HardState(self.term, self.vote)
        if has_log:
            effects.entries = log.hand_over(effects.batch)
            self._snapshot_received = None
        if self._handed_index < self.commit_index:
            effects.apply = log.slice(self._handed_index + 1, self.commit_index)
            self._handed_index = self.commit_index
        if self._reads_confirmed:
            effects.reads = tuple(self._reads_confirmed)
            self._reads_confirmed.clear()
        if self._reads_failed:
            effects.reads_failed = tuple(self._reads_failed)
            self._reads_failed.clear()
        self._batch = effects.batch
        return effects

    @property
    def deadline_ns(self) -> int:
        """When `tick` is next needed; NEVER_NS if only a message can change anything."""
        if self.role is LEADER:
            return min(self._heartbeat_ns, self._tell_commit_ns, self._transfer_deadline_ns)
        if not self._is_voter:
            return NEVER_NS
        if self.role is PRE_CANDIDATE:
            return min(self._election_deadline_ns, self._ask_again_ns)
        return self._election_deadline_ns

    @property
    def last_index(self) -> int:
        """The end of the log."""
        return self._log.last_index

    @property
    def log(self) -> Log:
        """The log in memory, to look at."""
        return self._log

    @property
    def own_term_is_committed(self) -> bool:
        """Whether this is the leader and knows everything that was committed before its term."""
        return self.commit_index >= self._own_term_index

    @property
    def progress(self) -> Mapping[ServerId, Progress]:
        """What the leader knows of each other member, to look at; empty on other servers."""
        return MappingProxyType(self._progress)

    # ---- Terms and roles (section 5.1)

    def _meet_higher_term(self, message: Message) -> bool:
        """A message of a later term: whether to go on with it."""
        match message:
            case RequestPreVote() | PreVoteReply(granted=True):
                return True  # Speaks of a term that nobody has begun.
            case RequestVote(transfer=False) if self._heard_leader_lately():
                return False
        self._become_follower(message.term)
        return True

    def _become_follower(self, term: int) -> None:
        """Fall back, in this term or a later one."""
        was, self.role = self.role, FOLLOWER
        if term > self.term:
            self.term = term
            self.vote = None
            self.leader = None
            self._hard_state_changed()
        if was is LEADER:
            self.leader = None
            self._progress = {}
            self._voting_progress = []
            self._reads_failed += self._reads.fail()
            self._own_term_index = self._heartbeat_ns = self._tell_commit_ns = NEVER_NS
            self._end_transfer()
            self._restart_election_timer(self._config.heartbeat_timeout_ns)

    def _become_leader(self) -> None:
        self.role = LEADER
        self.leader = self.id
        self._follow_members()
        for progress in self._progress.values():
            progress.replicate()
        self._own_term_index = self._append(EntryKind.NOOP, b"")
        self._heartbeat_ns = self._now_ns + self._config.heartbeat_interval_ns
        self._replicate()

    def _tick_leader(self) -> None:
        if self._now_ns >= self._transfer_deadline_ns:
            self._end_transfer()
        if self._now_ns >= self._heartbeat_ns:
            if not self._hears_quorum():
                self._become_follower(self.term)
                return
            for progress in self._progress.values():
                self._check_silence(progress)
            self._heartbeat_ns = self._now_ns + self._config.heartbeat_interval_ns
            self._start_round()
        if self._now_ns >= self._tell_commit_ns:
            self._tell_commit()

    def _hears_quorum(self) -> bool:
        """Check-quorum: whether a quorum has answered within the leader lease timeout."""
        contacts = [progress.contact_ns for progress in self._voting_progress]
        return self._agreed(self._now_ns, contacts) >= self._now_ns - self._config.leader_lease_timeout_ns

    def lease_is_valid(self, now_ns: int) -> bool:
        """Whether this is the leader and knows that there is no other, by the clock alone (thesis 6.4.1).

        True as long as a quorum has answered something that was sent within the leader lease timeout. A
        leader that is handing over has no lease, since the voters are then told not to wait. After a transfer
        that it gave up the lease is as good as the network: TimeoutNow may still arrive. `read_index` is
        always right.
        """
        if self.role is not LEADER or self.transfer_target is not None:
            return False
        sent = [progress.lease_ns for progress in self._voting_progress]
        return self._agreed(now_ns, sent) > now_ns - self._config.leader_lease_timeout_ns

    def _agreed(self, own: int, others: list[int]) -> int:
        """The greatest value that a quorum of voters has reached."""
        if self._is_voter:
            others.append(own)
        others.sort()
        return others[len(others) - self._quorum]

    def _hear_leader(self, source: ServerId) -> None:
        """A message of this term's leader."""
        if self.role is LEADER or (self.leader is not None and self.leader != source):
            raise self._violation(f"two leaders in one term: {self.leader} and {source}")
        if self.role is not FOLLOWER:
            self._become_follower(self.term)
        self.leader = source
        self.leader_contact_ns = self._now_ns
        self._restart_election_timer(self._config.heartbeat_timeout_ns)

    def _heard_leader_lately(self) -> bool:
        """Whether to keep out of elections (thesis section 4.2.3)."""
        if self.role is LEADER:
            return True
        return self._now_ns - self.leader_contact_ns < self._config.heartbeat_timeout_ns

    def _restart_election_timer(self, timeout_ns: int) -> None:
        self._election_deadline_ns = self._now_ns + self._random_timeout_ns(timeout_ns)

    def _random_timeout_ns(self, timeout_ns: int) -> int:
        """Uniform in [T, 2T), so that split votes are rare and soon resolved (section 5.2)."""
        return timeout_ns + int(self._random.random() * timeout_ns)

    # ---- Elections (section 5.2, thesis section 9.6)

    def _ask_for_pre_votes(self) -> None:
        """Find out whether an election could be won, before disturbing anybody with a new term."""
        self.role = PRE_CANDIDATE
        self.leader = None
        self._votes = {}
        self._restart_election_timer(self._config.election_timeout_ns)
        self._send_pre_vote_requests()
        self._count_vote(self.id, granted=True)

    def _send_pre_vote_requests(self) -> None:
        """Ask every voter, again and again: those that heard the leader a little later say nothing yet."""
        self._ask_again_ns = self._now_ns + self._config.heartbeat_interval_ns
        log = self._log
        for voter in self.configuration.voters:
            if voter != self.id and not self._votes.get(voter, False):
                self._send_now.append(
                    RequestPreVote(self.id, voter, self.term + 1, log.last_index, log.last_term)
                )

    def _start_election(self, transfer: bool = False) -> None:
        self.role = CANDIDATE
        self.term += 1
        self.vote = self.id
        self.leader = None
        self._hard_state_changed()
        self._votes = {}
        self._restart_election_timer(self._config.election_timeout_ns)
        log = self._log
        for voter in self.configuration.voters:
            if voter != self.id:
                self._when_synced(
                    RequestVote(self.id, voter, self.term, log.last_index, log.last_term, transfer)
                )
        # Its own vote counts once it is on disk: see `synced`.

    def _on_request_pre_vote(self, message: RequestPreVote) -> None:
        if message.term <= self.term:
            self._send_now.append(PreVoteReply(self.id, message.source, self.term, granted=False))
        elif not self._heard_leader_lately():
            granted = self._log_is_up_to_date(message)
            term = message.term if granted else self.term
            self._send_now.append(PreVoteReply(self.id, message.source, term, granted))

    def _on_pre_vote_reply(self, message: PreVoteReply) -> None:
        expected_term = self.term + 1 if message.granted else self.term
        if self.role is PRE_CANDIDATE and message.term == expected_term:
            self._count_vote(message.source, message.granted)

    def _on_request_vote(self, message: RequestVote) -> None:
        if message.term == self.term and not message.transfer and self._heard_leader_lately():
            return
        if self._grants_vote(message):
            if self.vote is None:
                self.vote = message.source
                self._hard_state_changed()
            self._restart_election_timer(self._config.heartbeat_timeout_ns)
            self._when_synced(VoteReply(self.id, message.source, self.term, granted=True))
        else:
            self._send_now.append(VoteReply(self.id, message.source, self.term, granted=False))

    def _grants_vote(self, message: RequestVote) -> bool:
        """One vote a term, first come first served, for a log at least as complete as the own one."""
        free = self.vote == message.source or (self.vote is None and self.leader is None)
        return message.term == self.term and free and self._log_is_up_to_date(message)

    def _log_is_up_to_date(self, message: RequestVote | RequestPreVote) -> bool:
        """Whether the candidate's log is at least as up-to-date as the own one (section 5.4.1)."""
        return (message.last_term, message.last_index) >= (self._log.last_term, self._log.last_index)

    def _on_vote_reply(self, message: VoteReply) -> None:
        if self.role is CANDIDATE and message.term == self.term:
            self._count_vote(message.source, message.granted)

    def _count_vote(self, source: ServerId, granted: bool) -> None:
        """A vote or pre-vote came in, which may decide. Only voters of this server's configuration count."""
        self._votes[source] = granted
        yes = [voter for voter in self.configuration.voters if self._votes.get(voter, False)]
        if len(yes) >= self._quorum:
            if self.role is PRE_CANDIDATE:
                self._start_election()
            else:
                self._become_leader()

    # ---- Log replication: the follower (section 5.3)

    def _on_append_entries(self, message: AppendEntries) -> None:
        if message.term < self.term:
            self._refuse_term(message)
            return
        self._hear_leader(message.source)
        log = self._log
        if message.previous_index < log.base_index:
            # Compacted, so committed, so known to agree.
            self._acknowledge(message, self.commit_index)
        elif not self._matches(message):
            if message.previous_index <= self.commit_index:
                raise self._violation(
                    f"the leader {message.source} has term {message.previous_term} at the committed entry "
                    f"{message.previous_index} of term {log.term_at(message.previous_index)}"
                )
            hint = log.last_index_within(message.previous_index - 1, message.previous_term)
            self._reject(message, max(hint, self.commit_index))
        else:
            if message.entries:
                self._store(message.entries)
            last_new_index = message.previous_index + len(message.entries)
            self._commit_to(min(message.commit_index, last_new_index))
            self._acknowledge(message, last_new_index)

    def _matches(self, message: AppendEntries) -> bool:
        """The consistency check: whether the log has the entry before the new ones."""
        return self._log.term_at(message.previous_index) == message.previous_term

    def _store(self, entries: tuple[Entry, ...]) -> None:
        """Append what is new. Only a conflict truncates: the message may be an old one."""
        log = self._log
        if entries[0].index <= log.last_index:
            for position, entry in enumerate(entries):
                term = log.term_at(entry.index)
                if term != entry.term:
                    if term is not None:
                        self._truncate(entry.index)
                    entries = entries[position:]
                    break
            else:
                return
        log.extend(entries)
        # A list, so that every entry is looked at.
        if any([self._configurations.append(entry) for entry in entries]):  # noqa: C419
            self._use_latest_configuration()

    def _truncate(self, first: int) -> None:
        """Drop the entries from `first` on, which conflict with the leader's."""
        if first <= self.commit_index:
            raise self._violation(
                f"the committed entry {first} of term {self._log.term_at(first)} is replaced"
            )
        self._log.truncate(first)
        if self._configurations.truncate(first):
            self._use_latest_configuration()

    def _acknowledge(self, message: AppendEntries, index: int) -> None:
        """Accepted: the log agrees with the leader's up to `index`, and is about to be durable up to there.

        A heartbeat's answer does not wait for the disk; it promises what is durable by now.
        """
        durable_index = self._log.synced_index
        if self._hard_state_is_synced() and (not message.entries or index <= durable_index):
            self._send_now.append(self._accepted(message, min(index, durable_index)))
        else:
            self._when_synced(self._accepted(message, index))

    def _accepted(self, message: AppendEntries, index: int) -> AppendReply:
        return AppendReply(self.id, message.source, self.term, False, index, message.round, message.sent_ns)

    def _reject(self, message: AppendEntries, hint_index: int) -> None:
        """The logs may agree at `hint_index`; surely not after it."""
        self._send_now.append(
            AppendReply(
                self.id,
                message.source,
                self.term,
                True,
                message.previous_index,
                message.round,
                message.sent_ns,
                hint_index,
                self._log.term_at(hint_index) or 0,
            )
        )

    def _refuse_term(self, message: AppendEntries | InstallSnapshot) -> None:
        """The sender's term is past, and it has to know.

        It may lead this very term by the time it hears of it, so the answer must not pass for one to what it
        sends then: it says nothing of rounds, times and logs.
        """
        self._send_now.append(AppendReply(self.id, message.source, self.term, rejected=True, index=0))

    # ---- Log replication: the leader (section 5.3, thesis section 10.2)

    def _append(self, kind: EntryKind, data: bytes) -> int:
        index = self._log.last_index + 1
        self._log.append(Entry(index, self.term, int(kind), data))
        return index

    def _replicate(self) -> None:
        """Send every follower what it has not been sent, within the limits."""
        last_index = self._log.last_index
        for progress in self._progress.values():
            if progress.next_index > last_index:
                continue
            if progress.next_index <= self._log.base_index and progress.state is not SNAPSHOT:
                self._maybe_send_snapshot(progress)
            elif progress.state is REPLICATE:
                self._replicate_to(progress)

    def _replicate_to(self, progress: Progress) -> None:
        log, config = self._log, self._config
        while progress.next_index <= log.last_index and len(progress.in_flight) < config.append_in_flight_max:
            entries = log.batch(progress.next_index, config.append_entries_max, config.append_bytes_max)
            self._send_entries(progress, entries)
            progress.sent_through(entries[-1].index)

    def _send_entries(self, progress: Progress, entries: tuple[Entry, ...]) -> None:
        """AppendEntries just before `next_index`; without entries, a heartbeat and probe.

        If what is there is compacted, the heartbeat is about the start of the log, where all logs agree.
        """
        previous_index = progress.next_index - 1
        previous_term = self._log.term_at(previous_index)
        if previous_term is None:
            previous_index = previous_term = 0
        progress.commit_index_sent = min(self.commit_index, previous_index + len(entries))
        self._send_now.append(
            AppendEntries(
                self.id,
                progress.id,
                self.term,
                previous_index,
                previous_term,
                entries,
                self.commit_index,
                self._round,
                self._now_ns,
            )
        )

    def _on_append_reply(self, message: AppendReply) -> None:
        progress = self._progress.get(message.source)
        if message.term < self.term or progress is None:
            return
        progress.contact_ns = self._now_ns
        if message.sent_ns is not None:
            progress.lease_ns = max(progress.lease_ns, message.sent_ns)
        if message.round > progress.round:
            progress.round = message.round
            self._confirm_reads()
        if message.rejected:
            self._back_up(progress, message)
        else:
            self._advance(progress, message.index)

    def _advance(self, progress: Progress, index: int) -> None:
        """The follower has everything up to `index` on disk."""
        if index > self._log.last_index:
            raise self._violation(f"{progress.id} acknowledged entry {index}, which was never sent")
        if index > progress.match_index:
            progress.acknowledged(index)
        state = progress.state
        if (state is PROBE and index >= progress.next_index - 1) or (
            state is SNAPSHOT and progress.needs_no_snapshot(self._log.base_index)
        ):
            progress.replicate()
        if index > self.commit_index:
            self._maybe_commit()
        if progress.id == self.transfer_target:
            self._maybe_hand_over(progress)

    def _back_up(self, progress: Progress, message: AppendReply) -> None:
        """The follower's log differs before `next_index`: try again where the logs may agree.

        Answers to what was sent before the last such step, or before an acknowledgement, are of no interest.
        """
        if message.index == 0:
            return
        state = progress.state
        if (
            state is SNAPSHOT
            or (state is REPLICATE and message.index <= progress.match_index)
            or (state is PROBE and message.index != progress.next_index - 1)
        ):
            return
        hint = min(message.hint_index, message.index - 1)
        progress.probe(self._log.last_index_within(hint, message.hint_term) + 1)
        self._send_entries(progress, ())

    def _check_silence(self, progress: Progress) -> None:
        """Assume that what was sent to a silent follower is lost."""
        if not self._is_alive(progress):
            progress.probe(progress.match_index + 1)
        elif (
            progress.state is SNAPSHOT
            and self._now_ns - progress.snapshot_sent_ns >= self._config.election_timeout_ns
        ):
            self._send_chunk(progress)

    def _is_alive(self, progress: Progress) -> bool:
        return self._now_ns - progress.contact_ns < self._config.heartbeat_timeout_ns

    # ---- Commit (sections 5.3 and 5.4.2)

    def _maybe_commit(self) -> None:
        """Commit what a quorum has on disk, if that includes an entry of this term (section 5.4.2)."""
        index = self._agreed(
            self._own_match_index(), [progress.match_index for progress in self._voting_progress]
        )
        if index > self.commit_index and self._may_commit(index):
            self._commit_to(index)
            self._tell_commit_ns = min(self._tell_commit_ns, self._now_ns + self._config.commit_timeout_ns)
            if not self._is_voter and self._configurations.latest_index <= self.commit_index:
                self._become_follower(self.term)  # Removed or demoted (thesis section 4.2.2).

    def _own_match_index(self) -> int:
        """The leader is one of the quorum for what it has on disk, no more."""
        return self._log.synced_index

    def _may_commit(self, index: int) -> bool:
        """Only entries of the leader's own term are committed by counting replicas."""
        return self._log.term_at(index) == self.term

    def _commit_to(self, index: int) -> None:
        if index > self._log.last_index:
            raise self._violation(f"entry {index} is committed but not in the log")
        self.commit_index = max(self.commit_index, index)

    def _tell_commit(self) -> None:
        """Tell the followers that no entries have told."""
        self._tell_commit_ns = NEVER_NS
        for progress in self._progress.values():
            if progress.commit_index_sent < self.commit_index:
                self._send_entries(progress, ())

    # ---- Snapshots (section 7)

    def compact(self, snapshot: Snapshot) -> None:
        """The shell stored a snapshot of its own durably: drop the log up to it, but for trailing entries.

        One that is older than the snapshot at hand is ignored: the leader's came in meanwhile.
        """
        if snapshot.index <= self.snapshot_index():
            return
        if snapshot.index > self.applied_index:
            raise self._violation(f"a snapshot at {snapshot.index}, applied only up to {self.applied_index}")
        if snapshot.term != self._log.term_at(snapshot.index):
            raise self._violation(
                f"a snapshot at {snapshot.index} of term {snapshot.term}, but the entry there has term "
                f"{self._log.term_at(snapshot.index)}"
            )
        self._snapshot = snapshot
        self._configurations.compact(snapshot.index)
        base_index = snapshot.index - self._config.trailing_entries
        if base_index > self._log.base_index:
            self._log.compact(base_index)

    def term_at(self, index: int) -> int:
        """The term of the entry at `index`, for a snapshot made there."""
        term = self._log.term_at(index)
        if term is None:
            raise self._violation(f"the term of entry {index} is wanted, which is not in the log")
        return term

    def configuration_at(self, index: int) -> Configuration:
        """The configuration as of `index`, for a snapshot made there."""
        if not self.snapshot_index() <= index <= self._log.last_index:
            raise self._violation(f"the configuration at {index} is wanted, which is not in the log")
        return self._configurations.at(index)

    def snapshot_index(self) -> int:
        """Up to where the newest snapshot reaches; 0: there is none."""
        return 0 if self._snapshot is None else self._snapshot.index

    def _maybe_send_snapshot(self, progress: Progress) -> None:
        """The follower's next entry is compacted: send a snapshot, if it is alive to take it."""
        if self._snapshot is None:
            raise self._violation(f"the log is compacted to {self._log.base_index}, but there is no snapshot")
        if self._is_alive(progress):
            progress.send_snapshot(self._snapshot)
            self._send_chunk(progress)

    def _send_chunk(self, progress: Progress) -> None:
        snapshot, offset = progress.snapshot, progress.snapshot_offset
        assert snapshot is not None
        end = offset + self._config.snapshot_chunk_bytes
        progress.snapshot_sent_ns = self._now_ns
        self._send_now.append(
            InstallSnapshot(
                self.id,
                progress.id,
                self.term,
                snapshot.index,
                snapshot.term,
                snapshot.configuration,
                offset,
                snapshot.data[offset:end],
                done=end >= len(snapshot.data),
            )
        )

    def _on_snapshot_reply(self, message: SnapshotReply) -> None:
        progress = self._progress.get(message.source)
        if message.term < self.term or progress is None:
            return
        progress.contact_ns = self._now_ns
        snapshot = progress.snapshot
        if (
            snapshot is not None
            and snapshot.index == message.index
            and message.offset != progress.snapshot_offset
            and message.offset < len(snapshot.data)
        ):
            progress.snapshot_offset = message.offset
            self._send_chunk(progress)

    def _on_install_snapshot(self, message: InstallSnapshot) -> None:
        if message.term < self.term:
            self._refuse_term(message)
            return
        self._hear_leader(message.source)
        if message.index > self.commit_index:
            if self._describes_prefix(message):
                self._commit_to(message.index)
            else:
                offset = self._assembly.add(message)
                if offset is None:
                    return
                if not message.done or offset != message.offset + len(message.data):
                    self._send_now.append(
                        SnapshotReply(self.id, message.source, self.term, message.index, offset)
                    )
                    return
                self._install(message, self._assembly.finish())
        self._when_synced(AppendReply(self.id, message.source, self.term, False, self.commit_index))

    def _describes_prefix(self, message: InstallSnapshot) -> bool:
        """Whether the log has the snapshot's last entry: then what follows it stays (Figure 13, step 6).

        For it may have been acknowledged, and counted for commitment.
        """
        return self._log.term_at(message.index) == message.index_term

    def _install(self, message: InstallSnapshot, data: bytes) -> None:
        """Discard the entire log, and reset the state machine (Figure 13, steps 7 and 8)."""
        snapshot = Snapshot(message.index, message.index_term, message.configuration, data)
        self._snapshot = self._snapshot_received = snapshot
        self._log.reset(snapshot.index, snapshot.term, self.commit_index)
        self.commit_index = self._handed_index = snapshot.index
        self._configurations.reset(snapshot.index, snapshot.configuration)
        self._use_latest_configuration()

    # ---- Reads (thesis section 6.4)

    def _start_round(self) -> None:
        """A heartbeat to everybody, which confirms the reads that were asked for before it."""
        self._round += 1
        if self.own_term_is_committed:
            self._reads.start(self._round, self.commit_index)
        for progress in self._progress.values():
            self._send_entries(progress, ())
        self._confirm_reads()

    def _confirm_reads(self) -> None:
        if self._reads.in_flight:
            self._reads_confirmed += self._reads.confirm(self._confirmed_round())

    def _confirmed_round(self) -> int:
        """The latest heartbeat round that a quorum has answered: this was the leader when it began."""
        return self._agreed(self._round, [progress.round for progress in self._voting_progress])

    # ---- Membership (thesis section 4.1)

    def bootstrap(self, configuration: Configuration) -> None:
        """Give a new cluster its first configuration: the same on every server that is told one.

        Raises ConfigurationChangeRefused if this server already has a term or a log.
        """
        if self.term or self._log.last_index:
            raise ConfigurationChangeRefused(
                f"server {self.id} is of a cluster already: term {self.term}, log up to {self.last_index}"
            )
        if not configuration.voters:
            raise ConfigurationChangeRefused("a cluster needs a voter")
        self.term = 1
        self._hard_state_changed()
        self._append_configuration(configuration)

    def propose_configuration(self, change: ConfigurationChange, now_ns: int) -> int:
        """Append a changed configuration, in force at once; returns its index.

        Raises NotLeader, LeadershipTransferInProgress or ConfigurationChangeRefused.
        """
        self._now_ns = now_ns
        self._check_may_propose()
        self._check_may_change_configuration()
        return self._append_configuration(changed(self.configuration, change))

    def _check_may_propose(self) -> None:
        if self.role is not LEADER:
            raise NotLeader(self.leader)
        if self.transfer_target is not None:
            raise LeadershipTransferInProgress(f"handing over to {self.transfer_target}")

    def _check_may_change_configuration(self) -> None:
        """One change at a time, and none before an entry of the leader's own term is committed.

        The latter is the correction of the published algorithm (Ongaro, raft-dev, 2015-07-10: "bug in
        single-server membership changes"): without it two leaders' changes can have disjoint quorums.
        """
        if not self.own_term_is_committed:
            raise ConfigurationChangeRefused(
                "the leader has not yet committed an entry of its term; try again"
            )
        if self._configurations.latest_index > self.commit_index:
            raise ConfigurationChangeRefused(
                f"the change at {self._configurations.latest_index} is not yet committed; try again"
            )

    def _append_configuration(self, configuration: Configuration) -> int:
        index = self._append(EntryKind.CONFIGURATION, encode_configuration(configuration))
        self._configurations.append(self._log.slice(index, index)[0])
        self._use_latest_configuration()
        return index

    def _use_latest_configuration(self) -> None:
        """A configuration is in force from the moment it is in the log, and no longer."""
        was_voter = self._is_voter
        self.configuration = self._configurations.latest
        voters = self.configuration.voters
        self._quorum = len(voters) // 2 + 1
        self._is_voter = self.id in voters
        if self._is_voter and not was_voter:
            self._restart_election_timer(self._config.heartbeat_timeout_ns)
        if self.role is LEADER:
            self._follow_members()

    def _follow_members(self) -> None:
        """Keep track of every other member; a new one's log is probed from the end of the leader's."""
        known = self._progress
        self._progress = {}
        for server in self.configuration.servers:
            if server.id != self.id:
                progress = known.get(server.id)
                if progress is None:
                    progress = Progress(server.id, server.voter, self._log.last_index + 1, self._now_ns)
                progress.voter = server.voter
                self._progress[server.id] = progress
        self._voting_progress = [progress for progress in self._progress.values() if progress.voter]

    # ---- Leadership transfer (thesis section 3.10)

    def transfer_leadership(self, target: ServerId | None, now_ns: int) -> None:
        """Hand over to `target`, or to the most up-to-date voter.

        Until then, or an election timeout, no proposals are taken. Success is `role` changing; failure is
        `transfer_target` being None again on a server that is still leader.
        Raises NotLeader, LeadershipTransferInProgress or TransferRefused.
        """
        self._now_ns = now_ns
        self._check_may_propose()
        choice = [progress for progress in self._voting_progress if target in (None, progress.id)]
        if not choice:
            raise TransferRefused(f"{target or 'nobody'} is another voter of this cluster")
        best = max(choice, key=lambda progress: (self._is_alive(progress), progress.match_index))
        self.transfer_target = best.id
        self._transfer_deadline_ns = now_ns + self._config.election_timeout_ns
        self._maybe_hand_over(best)

    def _maybe_hand_over(self, target: Progress) -> None:
        """Once the target has the whole log it will win: tell it to start an election."""
        if target.match_index == self._log.last_index:
            self._send_now.append(TimeoutNow(self.id, target.id, self.term))

    def _end_transfer(self) -> None:
        self.transfer_target = None
        self._transfer_deadline_ns = NEVER_NS

    def _on_timeout_now(self, message: TimeoutNow) -> None:
        if message.term == self.term and self.role is FOLLOWER and self._is_voter:
            self._start_election(transfer=True)

    # ---- The two outboxes

    def _when_synced(self, message: Message) -> None:
        """Send a promise, once everything up to now is on disk."""
        self._send_after_sync.append(message)

    def _hard_state_changed(self) -> None:
        self._hard_state_batch = self._batch + 1

    def _hard_state_is_synced(self) -> bool:
        return self._hard_state_batch <= self._synced_batch

    def _violation(self, what: str) -> InvariantViolation:
        return InvariantViolation(
            f"{what} [server {self.id}, {self.role.value}, term {self.term}, vote {self.vote}, leader "
            f"{self.leader}, base {self._log.base_index}, applied {self.applied_index}, committed "
            f"{self.commit_index}, synced {self._log.synced_index}, last {self._log.last_index} of term "
            f"{self._log.last_term}, configuration {self.configuration.voters}]"
        )
