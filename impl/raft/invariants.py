"""Raft's promises, watched while the cores of one cluster run: they concern all servers together.

Verifies
--------
- Election Safety: one server at most leads a term, in one life of it (Raft section 5.2).
- Leader Append-Only: a leader neither replaces nor drops an entry of its log (5.3).
- Log Matching: two entries of one index and term are the same, and so is all before them (5.3).
- Leader Completeness: a leader has every entry that was committed in an earlier term (5.4).
- State Machine Safety: what is committed at an index is the same on every server, what is applied there is
  what was committed, and nothing is left out (5.4.3).
- Equal States: two servers that have applied the same entries are in the same state.
- Acknowledged Entries Stay: a server has what a leader counts it for (figure 2: matchIndex).
- Latest Configuration: a server uses the latest configuration in its log, committed or not (thesis 4.1).
- Monotonic Commit: a server's commit index never goes back while it runs.
- Stable Vote: nor does its term, and its vote in a term does not change once given.
- One Vote: whom a server has told others that it votes for in a term, it votes for ever after, also when it
  has crashed in between (5.2: at most one vote a term, which figure 2 has on stable storage).
- Linearizable Read: the index given to a read is not before what was committed when it was asked for.
- Leader Lease: while a lease is valid there is no leader of a later term. Not for a leader that has begun a
  transfer in its term: the message may arrive after it has given it up.

Does not verify
---------------
- That anything happens at all: an idle cluster keeps every promise. Liveness is the simulation's to demand.
- Messages and disks: what they break is seen in the servers' state, or not at all.
- What came and went between two observations of a server.

Use
---
    invariants = RaftInvariants()
    core = invariants.watching(Raft)(id, config, restored, random, now_ns)

The class that `watching` returns is the core (or a mutant of it) that reports itself: its start, and its
state at every `take`, which a shell calls after whatever it has done to the core. To observe by hand instead:

    invariants.started(core)               a server began to run, or began to run again
    invariants.observe(core)               its core was given some input
    invariants.applied(id, entry)          its state machine was given an entry that was taken
    invariants.loaded(id, index)           ... was replaced by a snapshot
    invariants.voted(id, term, candidate)  others are told of its vote
    invariants.stopped(id)                 it crashed

and in either case, as far as it is known:

    invariants.state(id, index, digest)    the digest of a state, after that entry
    asked = invariants.committed_index     when a read is asked for; and when it is confirmed:
    invariants.read(id, asked, index)

Each raises PropertyViolated, which says what, who and where. A shell may catch that with its other errors, so
the first is also kept, as `violation`. With a `clock` (the time of a server, as its core is told it) leases
are looked at whenever there is a new leader, and at every observation of an outdated one. Watch a cluster
from its beginning: a snapshot is taken on trust only while nothing is known to be committed.

Cost
----
Every observation costs a few comparisons, and then O(1) for each entry that is new in the server's log.
Whole prefixes of logs need not be compared: an entry is known by index and term, and it is remembered with
the term of the entry before it, which was looked at before. Where two logs have the same index and term they
are therefore the same up to there, and one comparison tells about everything before. Only a log that was
rewritten is read anew. Memory grows with the entries seen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from impl.raft.core import Raft
from impl.raft.membership import decode_configuration
from impl.raft.messages import (
    Configuration,
    Entry,
    EntryKind,
    Message,
    RequestVote,
    ServerId,
    VoteReply,
)
from impl.raft.progress import Progress
from impl.raft.types import LEADER, Effects

Core = TypeVar("Core", bound=Raft)


class PropertyViolated(AssertionError):
    """A promise is broken: look at `servers` around `index` in `term`.

    `expected` is what was known before (of the first of two servers), `found` is what contradicts it.
    """

    def __init__(
        self,
        name: str,
        text: str,
        *,
        servers: tuple[ServerId, ...] = (),
        term: int | None = None,
        index: int | None = None,
        expected: object = None,
        found: object = None,
    ) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name
        self.servers = servers
        self.term = term
        self.index = index
        self.expected = expected
        self.found = found


@dataclass(slots=True, eq=False)
class _Server:
    """A server as it was when it was last looked at."""

    core: Raft
    life: int
    term: int
    vote: ServerId | None
    commit_index: int
    last_index: int
    rewrites: int
    leads_term: int = 0
    """The term that it leads, 0 if none."""
    matches: dict[ServerId, int] = field(default_factory=dict)
    """As a leader: up to where it counts each other server."""
    configuration: Configuration | None = None
    """As it was found to be right; None if there may be another."""
    configuration_entry: Entry | None = None
    """The last of its kind in the log, None if that is before the log's start."""
    applied_index: int = 0


@dataclass(frozen=True, slots=True)
class _Known:
    """An entry, and who had it first."""

    entry: Entry
    previous_term: int | None
    server: ServerId


@dataclass(frozen=True, slots=True)
class _Committed:
    """What is at an index for ever."""

    term: int
    server: ServerId
    """Who was the first to commit it."""


class RaftInvariants:
    """Watches the servers of one cluster."""

    def __init__(self, clock: Callable[[ServerId], int] | None = None) -> None:
        self.violation: PropertyViolated | None = None
        self.committed_index = 0
        """The last entry that any server has committed."""
        self.leaders: dict[int, ServerId] = {}
        """By term: who led it."""
        self._clock = clock
        self._servers: dict[ServerId, _Server] = {}
        self._lives: dict[ServerId, int] = {}
        self._leading_lives: dict[int, int] = {}
        self._latest_term = 0
        self._transfer_terms: dict[int, None] = {}
        self._votes: dict[tuple[ServerId, int], ServerId] = {}
        """By server and term: whom it has told that it votes for it."""
        self._entries: dict[tuple[int, int], _Known] = {}
        self._committed: dict[int, _Committed] = {}
        self._committed_in: list[tuple[int, int]] = []
        """(term of the server that committed, last index), in the order of indexes."""
        self._committed_configurations: list[Entry] = []
        self._states: dict[int, tuple[object, ServerId]] = {}

    def watching(self, core: type[Core]) -> type[Core]:
        """The same core, which reports itself."""
        return cast(type[Core], type(core.__name__, (_Watched, core), {"_invariants": self}))

    # ---- Reports

    def started(self, core: Raft) -> None:
        """A server runs, with what it found on its disk."""
        life = self._lives[core.id] = self._lives.get(core.id, 0) + 1
        base_index = core.log.base_index
        if not self.committed_index and core.commit_index:
            self.committed_index = core.commit_index
            self._committed[core.commit_index] = _Committed(core.term_at(core.commit_index), core.id)
        server = _Server(
            core,
            life,
            term=core.term,
            vote=core.vote,
            commit_index=0,
            last_index=base_index,
            rewrites=core.log.rewrites,
            applied_index=core.applied_index,
        )
        self._servers[core.id] = server
        self.observe(core)
        self._check_acknowledged(core)

    def stopped(self, server: ServerId) -> None:
        """A server runs no more: it leads nothing, and its next state owes nothing to this one."""
        self._servers.pop(server, None)

    def observe(self, core: Raft) -> None:
        """A server's core may have changed."""
        server = self._servers[core.id]
        log = core.log
        if log.last_index != server.last_index or log.rewrites != server.rewrites:
            self._observe_log(server, core)
        if core.configuration is not server.configuration:
            self._observe_configuration(server, core)
        if core.vote != server.vote or core.term != server.term:
            self._observe_vote(server, core)
        if core.commit_index != server.commit_index:
            self._observe_commit(server, core)
        if core.role is LEADER:
            self._observe_leader(server, core)
        else:
            server.leads_term = 0

    def applied(self, server: ServerId, entry: Entry) -> None:
        """A server's state machine was given `entry`."""
        watched = self._servers[server]
        if entry.index != watched.applied_index + 1:
            raise self._violated(
                "State Machine Safety",
                f"{server} applies entry {entry.index} after {watched.applied_index}",
                servers=(server,),
                index=entry.index,
                expected=watched.applied_index + 1,
                found=entry.index,
            )
        watched.applied_index = entry.index
        committed = self._committed.get(entry.index)
        known = self._entries.get((entry.index, entry.term))
        if committed is None or committed.term != entry.term or known is None or known.entry != entry:
            raise self._violated(
                "State Machine Safety",
                f"{server} applies {entry}, where {known.entry if known else committed} is committed",
                servers=(server, *([committed.server] if committed else [])),
                term=entry.term,
                index=entry.index,
                expected=known.entry if known else committed,
                found=entry,
            )

    def loaded(self, server: ServerId, index: int) -> None:
        """A server's state machine was replaced by a snapshot at `index`."""
        self._servers[server].applied_index = index

    def voted(self, server: ServerId, term: int, candidate: ServerId) -> None:
        """A server's vote is on its way to others."""
        known = self._votes.setdefault((server, term), candidate)
        if known != candidate:
            raise self._violated(
                "One Vote",
                f"{server} votes for {candidate} in term {term}, where it has voted for {known}",
                servers=(server, known, candidate),
                term=term,
                expected=known,
                found=candidate,
            )

    def state(self, server: ServerId, index: int, digest: object) -> None:
        """A server's state after the entry at `index` has this digest."""
        known, first = self._states.setdefault(index, (digest, server))
        if known != digest:
            raise self._violated(
                "Equal States",
                f"after entry {index} the state of {server} is {digest!r}, that of {first} was {known!r}",
                servers=(first, server),
                index=index,
                expected=known,
                found=digest,
            )

    def read(self, server: ServerId, asked: int, index: int) -> None:
        """A read may be answered as of `index`; `asked` is what was committed when it was asked for."""
        if index < asked:
            raise self._violated(
                "Linearizable Read",
                f"{server} reads at {index}, but {asked} was committed before it was asked",
                servers=(server,),
                index=index,
                expected=asked,
                found=index,
            )

    # ---- Logs

    def _observe_log(self, server: _Server, core: Raft) -> None:
        log = core.log
        first = max(server.last_index, log.base_index) + 1
        if log.rewrites != server.rewrites:
            if server.leads_term and core.role is LEADER and server.leads_term == core.term:
                raise self._violated(
                    "Leader Append-Only",
                    f"{core.id} rewrites its log while it leads term {core.term}",
                    servers=(core.id,),
                    term=core.term,
                    expected=server.rewrites,
                    found=log.rewrites,
                )
            first = log.base_index + 1
            server.rewrites = log.rewrites
            server.configuration_entry = server.configuration = None
            self._check_acknowledged(core)
        server.last_index = log.last_index
        previous_term = log.term_at(first - 1)
        for entry in log.slice(first, log.last_index):
            known = self._entries.get((entry.index, entry.term))
            if known is None:
                self._entries[entry.index, entry.term] = _Known(entry, previous_term, core.id)
            elif known.previous_term != previous_term or known.entry != entry:
                raise self._violated(
                    "Log Matching",
                    f"{core.id} has {entry} after term {previous_term}; {known.server} had {known.entry} "
                    f"after term {known.previous_term}",
                    servers=(known.server, core.id),
                    term=entry.term,
                    index=entry.index,
                    expected=(known.previous_term, known.entry),
                    found=(previous_term, entry),
                )
            previous_term = entry.term
            if entry.kind == EntryKind.CONFIGURATION:
                server.configuration_entry = entry
                server.configuration = None

    def _check_acknowledged(self, core: Raft) -> None:
        """A log that was rewritten, or lost something in a crash, is still as long as it was said to be."""
        for other in self._servers.values():
            if other.leads_term:
                progress = other.core.progress.get(core.id)
                if progress is not None:
                    self._check_match(other.core, progress, core)

    def _check_match(self, leader: Raft, progress: Progress, core: Raft) -> None:
        """A server has what a leader counts it for.

        A leader of an earlier term may remember what is void: a later one replaced it.
        """
        index = progress.match_index
        if leader.term < core.term or index <= core.log.base_index:
            return
        expected, found = leader.log.term_at(index), core.log.term_at(index)
        if found is None or (expected is not None and found != expected):
            raise self._violated(
                "Acknowledged Entries Stay",
                f"{core.id} has {f'an entry of term {found}' if found else 'nothing'} at {index}, up to "
                f"where {leader.id}, who leads term {leader.term}, counts it",
                servers=(leader.id, core.id),
                term=leader.term,
                index=index,
                expected=expected,
                found=found,
            )

    def _observe_configuration(self, server: _Server, core: Raft) -> None:
        server.configuration = core.configuration
        entry = server.configuration_entry
        if entry is None:
            base_index = core.log.base_index
            before = [entry for entry in self._committed_configurations if entry.index <= base_index]
            entry = before[-1] if before else None
        if entry is not None and core.configuration != decode_configuration(entry.data):
            raise self._violated(
                "Latest Configuration",
                f"{core.id} uses {core.configuration}, but the latest in its log is that of entry "
                f"{entry.index}: {decode_configuration(entry.data)}",
                servers=(core.id,),
                term=core.term,
                index=entry.index,
                expected=decode_configuration(entry.data),
                found=core.configuration,
            )

    # ---- Commit

    def _observe_commit(self, server: _Server, core: Raft) -> None:
        index = core.commit_index
        if index < server.commit_index:
            raise self._violated(
                "Monotonic Commit",
                f"{core.id} had committed up to {server.commit_index}, and now up to {index}",
                servers=(core.id,),
                term=core.term,
                index=index,
                expected=server.commit_index,
                found=index,
            )
        server.commit_index = index
        if index > self.committed_index:
            self._commit(core)
        committed = self._committed.get(index)
        term = core.log.term_at(index)
        if committed is not None and term is not None and term != committed.term:
            raise self._violated(
                "State Machine Safety",
                f"{core.id} commits an entry of term {term} at {index}, where {committed.server} has "
                f"committed one of term {committed.term}",
                servers=(committed.server, core.id),
                term=core.term,
                index=index,
                expected=committed.term,
                found=term,
            )

    def _commit(self, core: Raft) -> None:
        """A server is the first to commit some entries."""
        first, last = self.committed_index + 1, core.commit_index
        if first <= core.log.base_index:
            raise self._violated(
                "State Machine Safety",
                f"{core.id} has a snapshot at {core.log.base_index}, but nobody had committed more than "
                f"{self.committed_index}",
                servers=(core.id,),
                term=core.term,
                index=core.log.base_index,
                expected=self.committed_index,
                found=core.log.base_index,
            )
        for entry in core.log.slice(first, last):
            self._committed[entry.index] = _Committed(entry.term, core.id)
            if entry.kind == EntryKind.CONFIGURATION:
                self._committed_configurations.append(entry)
        self.committed_index = last
        if self._committed_in and self._committed_in[-1][0] == core.term:
            self._committed_in.pop()
        self._committed_in.append((core.term, last))
        if core.term < self._latest_term:
            # A message was late; but the quorum was there before the later leader was elected.
            for other in self._servers.values():
                if other.leads_term > core.term:
                    self._check_complete(other.core, last)

    # ---- Terms and leaders

    def _observe_vote(self, server: _Server, core: Raft) -> None:
        before, now = (server.term, server.vote), (core.term, core.vote)
        if core.term < server.term or (core.term == server.term and server.vote is not None):
            raise self._violated(
                "Stable Vote",
                f"{core.id} went from (term, vote) {before} to {now}",
                servers=(core.id,),
                term=core.term,
                expected=before,
                found=now,
            )
        server.term, server.vote = now

    def _observe_leader(self, server: _Server, core: Raft) -> None:
        if core.transfer_target is not None:
            self._transfer_terms[core.term] = None
        if server.leads_term != core.term:
            server.leads_term = core.term
            server.matches = {}
            self._elected(server, core)
        elif core.term < self._latest_term:
            self._check_lease(core)
        for progress in core.progress.values():
            if progress.match_index != server.matches.get(progress.id, 0):
                server.matches[progress.id] = progress.match_index
                other = self._servers.get(progress.id)
                if other is not None:
                    self._check_match(core, progress, other.core)

    def _elected(self, server: _Server, core: Raft) -> None:
        term = core.term
        known = self.leaders.setdefault(term, core.id)
        life = self._leading_lives.setdefault(term, server.life)
        if known != core.id or life != server.life:
            raise self._violated(
                "Election Safety",
                f"{known} and {core.id} both lead term {term}"
                if known != core.id
                else f"{core.id} leads term {term} again after a restart",
                servers=(known, core.id),
                term=term,
                expected=known,
                found=core.id,
            )
        for committed_in, last in reversed(self._committed_in):
            if committed_in < term:
                self._check_complete(core, last)
                break
        if term > self._latest_term:
            self._latest_term = term
            for other in self._servers.values():
                if other.leads_term and other.leads_term < term:
                    self._check_lease(other.core)

    def _check_complete(self, core: Raft, index: int) -> None:
        """A leader has what is committed at `index`; by Log Matching that tells about all before it.

        What a leader of a later term has committed since, it need not have: it may have been asleep.
        """
        committed = self._committed[index]
        if index <= core.log.base_index:
            return
        term = core.log.term_at(index)
        if term != committed.term:
            raise self._violated(
                "Leader Completeness",
                f"{core.id} leads term {core.term} without the entry {index} of term {committed.term}, which "
                f"{committed.server} has committed: it has {f'one of term {term}' if term else 'none'}",
                servers=(committed.server, core.id),
                term=core.term,
                index=index,
                expected=committed.term,
                found=term,
            )

    def _check_lease(self, core: Raft) -> None:
        """An outdated leader's lease has run out."""
        if self._clock is None or core.term in self._transfer_terms:
            return
        if core.lease_is_valid(self._clock(core.id)):
            later = self.leaders[self._latest_term]
            raise self._violated(
                "Leader Lease",
                f"{core.id} leads term {core.term} with a valid lease, while {later} leads term "
                f"{self._latest_term}",
                servers=(core.id, later),
                term=core.term,
                expected=core.term,
                found=self._latest_term,
            )

    def _violated(self, name: str, text: str, **where: Any) -> PropertyViolated:
        violation = PropertyViolated(name, text, **where)
        self.violation = self.violation or violation
        return violation


class _Watched(Raft):
    """What `RaftInvariants.watching` adds to a core."""

    _invariants: RaftInvariants

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._votes_to_tell: deque[tuple[int, int, ServerId]] = deque()
        """(batch that has to be on disk first, term, candidate)."""
        self._invariants.started(self)

    def take(self) -> Effects:
        effects = super().take()
        invariants = self._invariants
        invariants.observe(self)
        for message in effects.send_now:
            vote = _vote_in(message)
            if vote is not None:
                invariants.voted(self.id, *vote)
        for message in effects.send_after_sync:
            vote = _vote_in(message)
            if vote is not None:
                self._votes_to_tell.append((effects.batch, *vote))
        if effects.snapshot is not None:
            invariants.loaded(self.id, effects.snapshot.index)
        for entry in effects.apply:
            invariants.applied(self.id, entry)
        return effects

    def synced(self, batch: int, now_ns: int) -> None:
        super().synced(batch, now_ns)
        while self._votes_to_tell and self._votes_to_tell[0][0] <= batch:
            _, term, candidate = self._votes_to_tell.popleft()
            self._invariants.voted(self.id, term, candidate)


def _vote_in(message: Message) -> tuple[int, ServerId] | None:
    """The term and the candidate, if it says whom its sender votes for."""
    if isinstance(message, VoteReply) and message.granted:
        return message.term, message.target
    if isinstance(message, RequestVote):
        return message.term, message.source
    return None
