"""Runs the Raft core: messages and time in, effects out, in the order in which they are safe.

Rules
-----
1. Only this module touches the core. Every input is followed by `_process`, at most once per turn of the
   event loop, so that what comes together is handled together.
2. What has to be on disk first waits for the writer: one task that appends and syncs, in order, everything
   that has gathered while it was busy (group commit: one sync for all of it).
3. A proposal is answered when it is applied here, or when leadership is lost: then nobody knows.
4. Any failure of the disk, any violated invariant and any error not foreseen ends the driver: `failed` gets
   the exception, and nothing more is acknowledged.

Proposals wait while the writer is busy and are then proposed together. They could not be acknowledged
sooner, and one AppendEntries for all of them costs as much as for one.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from impl.ports import Clock, Timer
from impl.raft import (
    NEVER_NS,
    Configuration,
    ConfigurationChange,
    Effects,
    EntryKind,
    InvariantViolation,
    Message,
    MisdirectedMessage,
    NotLeader,
    ProposalRefused,
    Raft,
    Role,
    Snapshot,
)
from impl.state import Result, StateMachine
from impl.storage import Storage, StorageError

log = logging.getLogger("agent.raft")


class LeadershipLost(Exception):
    """The proposal may be committed yet, or never."""

    def __init__(self) -> None:
        super().__init__("leadership lost while committing log")


@dataclass(slots=True)
class _Proposal:
    command: bytes
    future: asyncio.Future[Result]


@dataclass(slots=True)
class _Write:
    """Work for the writer: persist these effects, or pass a marker on once all before it is durable."""

    effects: Effects
    passed: asyncio.Future[None] | None = None


@dataclass(slots=True)
class _Counts:
    """For the metrics."""

    proposals: int = 0
    elections_won: int = 0
    leader_changes: int = 0
    syncs: int = 0
    messages_sent: int = 0
    messages_received: int = 0
    snapshots: int = 0


@dataclass(slots=True)
class Observers:
    """Who is told what. Called on the event loop, after the core has been served."""

    leadership: list[Callable[[], None]] = field(default_factory=list)
    """The role, the term or the known leader has changed."""
    configuration: list[Callable[[], None]] = field(default_factory=list)
    """The cluster's configuration has changed."""


class Driver:
    """The Raft core of one server, alive."""

    def __init__(
        self,
        core: Raft,
        storage: Storage,
        machine: StateMachine,
        clock: Clock,
        send: Callable[[Message], None],
    ) -> None:
        self.core = core
        self.machine = machine
        self.counts = _Counts()
        self.observers = Observers()
        self._loop = asyncio.get_running_loop()  # asked for once: it costs a system call before Python 3.12
        self.failed: asyncio.Future[None] = self._loop.create_future()
        """Never done but by an exception: what ended this driver."""
        self._storage = storage
        self._clock = clock
        self._send = send
        self._timer: Timer | None = None
        self._timer_ns = NEVER_NS
        self._kicked = False
        self._waiting_proposals: deque[_Proposal] = deque()
        self._proposed: dict[int, tuple[int, asyncio.Future[Result]]] = {}
        self._reads: dict[int, asyncio.Future[int]] = {}
        self._read_number = 0
        self._unapplied_reads: list[tuple[int, int]] = []
        self._writes: deque[_Write] = deque()
        self._writer_woken = asyncio.Event()
        self._writing = False
        self._standing = (core.role, core.term, core.leader)
        self._led_until_ns = -NEVER_NS
        self._known_configuration = core.configuration
        self._writer = self._loop.create_task(self._write())
        self._kick()

    # --- Inputs

    def receive(self, message: Message) -> None:
        """A message from another server."""
        if self.failed.done():
            return
        self.counts.messages_received += 1
        try:
            self.core.receive(message, self._clock.monotonic_ns())
        except MisdirectedMessage as error:
            log.debug("%s", error)
        except Exception as error:  # see `fail`
            self.fail(error)
        self._kick()

    async def propose(self, command: bytes) -> Result:
        """Replicate a command and apply it.

        Raises NotLeader or another ProposalRefused (it has not happened), or LeadershipLost (it may have).
        """
        if self.core.role is not Role.LEADER:
            raise NotLeader(self.core.leader)
        future: asyncio.Future[Result] = self._loop.create_future()
        self._waiting_proposals.append(_Proposal(command, future))
        self._kick()
        return await future

    async def read_barrier(self) -> None:
        """Return once this server's state is as new as any answer given before the call (read index).

        Raises NotLeader.
        """
        future: asyncio.Future[int] = self._loop.create_future()
        self._read_number += 1
        number = self._read_number
        self.core.read_index(number, self._clock.monotonic_ns())
        self._reads[number] = future
        self._kick()
        try:
            await future
        finally:
            self._reads.pop(number, None)

    def leader_contact_age_ns(self) -> int | None:
        """How long ago the leader was heard, 0 on the leader itself; None if this server never heard one.

        One that led itself heard itself until then. (hashicorp/raft: raft.go, runLeader.)
        """
        if self.core.role is Role.LEADER:
            return 0
        if not self.counts.leader_changes:
            return None
        return self._clock.monotonic_ns() - max(self.core.leader_contact_ns, self._led_until_ns)

    def is_leader(self) -> bool:
        """Whether this server leads and has heard a quorum lately: good for `default` reads."""
        return self.core.lease_is_valid(self._clock.monotonic_ns())

    def change_configuration(self, change: ConfigurationChange) -> None:
        """Propose it. Raises ProposalRefused."""
        self.core.propose_configuration(change, self._clock.monotonic_ns())
        self._kick()

    def transfer_leadership(self) -> None:
        """To whichever voter is most up to date. Raises ProposalRefused. See Raft.transfer_leadership."""
        self.core.transfer_leadership(None, self._clock.monotonic_ns())
        self._kick()

    def bootstrap(self, configuration: Configuration) -> None:
        """Begin a new cluster. Raises ConfigurationChangeRefused if there is one already."""
        self.core.bootstrap(configuration)
        self._kick()

    # --- The core's effects

    def _kick(self) -> None:
        if not self._kicked and not self.failed.done():
            self._kicked = True
            self._loop.call_soon(self._process)

    def _tick(self) -> None:
        self._timer = None
        self._timer_ns = NEVER_NS
        self._process()

    def _process(self) -> None:
        self._kicked = False
        if self.failed.done():
            return
        try:
            self._serve_core()
            self._notice_changes()
        except Exception as error:  # see `fail`
            self.fail(error)
            return
        self._set_timer()

    def _serve_core(self) -> None:
        now_ns = self._clock.monotonic_ns()
        if now_ns >= self.core.deadline_ns:
            self.core.tick(now_ns)
        if self._waiting_proposals and not self._writing:
            self._propose_waiting(now_ns)
        effects = self.core.take()
        if effects:
            self._carry_out(effects)

    def _carry_out(self, effects: Effects) -> None:
        for message in effects.send_now:
            self._send(message)
        self.counts.messages_sent += len(effects.send_now)
        if effects.must_sync or effects.send_after_sync:
            self._hand_to_writer(_Write(effects))
        self._apply(effects)
        for number in effects.reads_failed:
            self._fail_read(number)
        for number, index in effects.reads:
            heapq.heappush(self._unapplied_reads, (index, number))
        while self._unapplied_reads and self._unapplied_reads[0][0] <= self.machine.last_applied:
            index, number = heapq.heappop(self._unapplied_reads)
            future = self._reads.get(number)
            if future is not None and not future.done():
                future.set_result(index)

    def _propose_waiting(self, now_ns: int) -> None:
        while self._waiting_proposals:
            proposal = self._waiting_proposals.popleft()
            if proposal.future.done():
                continue  # whoever asked has gone, and it has not been proposed
            try:
                index = self.core.propose(proposal.command, now_ns)
            except ProposalRefused as error:
                proposal.future.set_exception(error)
                continue
            self.counts.proposals += 1
            self._proposed[index] = (self.core.term, proposal.future)

    def _apply(self, effects: Effects) -> None:
        if effects.snapshot is not None:
            log.info("restoring a snapshot at index %d", effects.snapshot.index)
            self.machine.restore(effects.snapshot.data)
            self.core.applied(effects.snapshot.index)
        for entry in effects.apply:
            result: Result = True
            if entry.kind == EntryKind.COMMAND:
                result = self.machine.apply(entry.index, entry.data)
            else:
                self.machine.advance(entry.index)
            proposed = self._proposed.pop(entry.index, None)
            if proposed is None:
                continue
            term, future = proposed
            if future.done():
                continue
            if term == entry.term:
                future.set_result(result)
            else:
                future.set_exception(LeadershipLost())
        if effects.apply:
            self.core.applied(effects.apply[-1].index)

    def _notice_changes(self) -> None:
        core = self.core
        before = self._standing
        if core.term != before[1] or core.role is not before[0] or core.leader != before[2]:
            self._standing = (core.role, core.term, core.leader)
            self._log_standing(before)
            if before[0] is Role.LEADER and (core.role is not Role.LEADER or core.term != before[1]):
                self._led_until_ns = self._clock.monotonic_ns()
                self._disappoint()
            for callback in self.observers.leadership:
                callback()
        if core.configuration is not self._known_configuration:
            self._known_configuration = core.configuration
            log.info(
                "configuration: %s", ", ".join(f"{s.id} at {s.address}" for s in core.configuration.servers)
            )
            for callback in self.observers.configuration:
                callback()

    def _log_standing(self, before: tuple[Role, int, str | None]) -> None:
        core = self.core
        if core.role is not before[0]:
            log.info("entering %s state: term %d", core.role.value, core.term)
            self.counts.elections_won += core.role is Role.LEADER
        if core.leader != before[2]:
            log.info("leader is %s: term %d", core.leader or "unknown", core.term)
            self.counts.leader_changes += core.leader is not None

    def _disappoint(self) -> None:
        """This term of leadership is over: whoever waits for a commit will not learn of it here."""
        for _, future in self._proposed.values():
            if not future.done():
                future.set_exception(LeadershipLost())
        self._proposed.clear()
        # Those who wait for a change go and find out who leads.
        self.machine.watches.touch_all()
        self.machine.watches.wake()

    def _fail_read(self, number: int) -> None:
        future = self._reads.get(number)
        if future is not None and not future.done():
            future.set_exception(NotLeader(self.core.leader))

    def _set_timer(self) -> None:
        deadline_ns = self.core.deadline_ns
        if deadline_ns >= self._timer_ns:
            return  # what is set comes too early, and looks again then: nearly every message puts it off
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ns = deadline_ns
        self._timer = self._clock.call_at(deadline_ns, self._tick)

    # --- The disk

    def _hand_to_writer(self, write: _Write) -> None:
        if not self._writing and not write.effects.must_sync and write.passed is None:
            self._send_synced(write.effects)  # nothing to wait for
            return
        self._writes.append(write)
        self._writing = True
        self._writer_woken.set()

    async def _write(self) -> None:
        """The writer: everything in order, and everything that has gathered in one sync."""
        try:
            while True:
                await self._writer_woken.wait()
                self._writer_woken.clear()
                while self._writes:
                    batch = self._take_batch()
                    await self._persist(batch)
                    for write in batch:
                        self._send_synced(write.effects)
                        if write.passed is not None and not write.passed.done():
                            write.passed.set_result(None)
                    self.core.synced(max(w.effects.batch for w in batch), self._clock.monotonic_ns())
                self._writing = False
                self._kick()
        except Exception as error:  # see `fail`
            self.fail(error)

    def _take_batch(self) -> list[_Write]:
        """All that waits, up to the first received snapshot, which replaces the log and so stands alone."""
        batch = [self._writes.popleft()]
        while self._writes and batch[0].effects.snapshot is None and self._writes[0].effects.snapshot is None:
            batch.append(self._writes.popleft())
        return batch

    async def _persist(self, batch: list[_Write]) -> None:
        snapshot = batch[0].effects.snapshot
        if snapshot is not None:
            self._storage.append(batch[0].effects.hard_state, ())
            await self._storage.install(snapshot)
            self._storage.append(None, batch[0].effects.entries)
        else:
            for write in batch:
                self._storage.append(write.effects.hard_state, write.effects.entries)
        self.counts.syncs += 1
        await self._storage.sync()

    def _send_synced(self, effects: Effects) -> None:
        for message in effects.send_after_sync:
            self._send(message)
        self.counts.messages_sent += len(effects.send_after_sync)

    # --- Snapshots of our own

    async def take_snapshot(self) -> None:
        """Store the present state and drop the log that it covers. The driver goes on meanwhile."""
        index = self.machine.last_applied
        # A snapshot of the leader that came in just now is the core's, and only next turn the machine's.
        if index <= self.core.snapshot_index():
            return
        term = self.core.term_at(index)
        configuration = self.core.configuration_at(index)
        view = self.machine.view()
        # What is applied may not have reached the log on disk yet, which the snapshot must not overtake.
        passed: asyncio.Future[None] = self._loop.create_future()
        self._hand_to_writer(_Write(Effects(0), passed))
        await passed
        pieces = []
        for piece in view.pieces():
            pieces.append(piece)
            await asyncio.sleep(0)  # others have their turn
        snapshot = Snapshot(index, term, configuration, b"".join(pieces))
        try:
            await self._storage.install(snapshot)
            self.core.compact(snapshot)
        except (StorageError, InvariantViolation) as error:
            self.fail(error)
            return
        self.counts.snapshots += 1
        log.info("snapshot at index %d, %d bytes", index, len(snapshot.data))

    # --- The end

    def fail(self, error: Exception) -> None:
        """Stop for good. What waits stays unanswered: the agent is about to end.

        Whatever was not foreseen comes here too: a core that was left in the middle of something, or a writer
        that is gone without a word, is worse than no server.
        """
        if not self.failed.done():
            log.error("stopped: %s", error)
            self.failed.set_exception(error)

    def close(self) -> None:
        """Stop without a word, as a crash would."""
        self._writer.cancel()
        if self._timer is not None:
            self._timer.cancel()
        if not self.failed.done():
            self.failed.cancel()
