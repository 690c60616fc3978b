"""What the agents of one cluster promise together, watched while they run in one process.

A simulator makes one `Watch` for a cluster (by the convention that `impl.program` names), tells it of every
agent that starts and stops, and asks it after every step. It sees cores and states, not shells: Raft's
promises (`impl.raft.invariants`), gossip's (`impl.gossip.invariants`), and that equal logs make equal states.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

from impl.command_line import NODE_ID_FILE
from impl.gossip import Gossip
from impl.gossip.invariants import GossipInvariants
from impl.program import Program
from impl.raft import Raft
from impl.raft.invariants import RaftInvariants
from impl.state import Result, StateMachine
from impl.storage.format import kinds_of_batches
from impl.storage.replay import SNAPSHOT_FILE

DIGEST_INTERVAL = 16
"""A state's digest costs as much as a snapshot, so it is taken after every so many entries."""


class Violated(Exception):
    """A promise is broken: which, and in the nodes' names what contradicts what."""


class Watch:
    """Watches one cluster. Raises Violated."""

    def __init__(self) -> None:
        self._raft = RaftInvariants()
        self._gossip = GossipInvariants()
        self._programs: dict[str, Program] = {}
        self._nodes: dict[str, str] = {}
        """By the id that Raft knows a server by."""

    @property
    def committed_index(self) -> int:
        """The last log entry that any server has committed."""
        return self._raft.committed_index

    def started(self, node: str, program: Program) -> None:
        """An agent is about to run on the node: put observers on its parts."""
        parts: dict[str, Any] = getattr(program.make, "keywords", {})
        raft, gossip = parts.get("raft", Raft), parts.get("gossip", Gossip)
        state = parts.get("state", StateMachine)
        make: Any = program.make
        program.make = partial(
            make,
            raft=self._raft.watching(raft),
            gossip=self._gossip.watching(gossip),
            state=partial(_watched(state), self._digested, node),
        )
        self._programs[node] = program

    def stopped(self, node: str) -> None:
        """The node's agent is gone."""
        program = self._programs.pop(node, None)
        if program is not None and program.agent is not None and program.agent.raft is not None:
            server = program.agent.raft.id
            self._nodes[server] = node
            self._raft.stopped(server)

    def observe(self, node: str) -> None:
        """The node's agent has done something."""
        violation = self._raft.violation or self._gossip.violation
        if violation is not None:
            text = str(violation)
            for name, program in self._programs.items():
                if program.agent is not None:
                    self._nodes[program.agent.config.node_id] = name
            for server, name in self._nodes.items():
                text = text.replace(server, name)
            raise Violated(text) from violation

    def records(self, node: str, file: str, data: bytes) -> frozenset[str]:
        """What an agent writes: "snapshot", "node-id", or "log" and what is in it: "vote", "entries", ...

        A "vote" is one for another server: a candidate's own goes with its new "term".
        """
        if file in (SNAPSHOT_FILE, NODE_ID_FILE):
            return frozenset({file})
        program = self._programs.get(node)
        agent = None if program is None else program.agent
        return kinds_of_batches(data, "" if agent is None else agent.config.node_id) | {"log"}

    def _digested(self, node: str, machine: StateMachine) -> None:
        """A state machine has come to an entry whose state is compared."""
        self._raft.state(node, machine.last_applied, machine.digest())


def _watched(state: type[StateMachine]) -> Any:
    """The same state machine, which reports its state now and then."""

    class Watched(state):  # type: ignore[valid-type,misc]
        def __init__(self, report: Any, node: str) -> None:
            super().__init__()
            self._report = partial(report, node)

        def apply(self, index: int, data: bytes) -> Result:
            result = super().apply(index, data)
            self._compare(index)
            return cast(Result, result)

        def advance(self, index: int) -> None:
            super().advance(index)
            self._compare(index)

        def _compare(self, index: int) -> None:
            if index % DIGEST_INTERVAL == 0:
                self._report(self)

    return Watched
