"""One run: a test on a cluster, to a history.

Rules
-----
1. A client never guesses. A timeout or a lost connection is `info`; only `Refused` is `fail`.
2. After an `info` the client is closed, and its thread goes on with a new one as process + concurrency.
   Threads do not move: thread t talks to nodes[t mod n], always.
3. A client that cannot be opened gives `fail`: nothing was sent.
4. Everything that was damaged is healed before the final reads, however the main phase ended.
5. Trouble of the harness itself (a fault not injected, a bug in a client) is never silent and never green:
   it is a `Problem` of the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, ClassVar, Literal, Protocol

from harness.generator import Operation, Source
from harness.history import History
from harness.systems import Options, System
from harness.verdict import Verdict
from harness.worlds import Cluster


class Client(Protocol):
    """One thread's connection to one node, for one workload."""

    async def invoke(self, operation: Operation) -> Any:
        """Do it, and return the value of the `ok` event (of a write: what was written).

        Raises `harness.systems.Refused` if it has definitely not happened (a cas whose old value was
        another, too: its `fail`), `Indeterminate` if that is not known. Anything else is a bug in the
        client: it becomes `info`, and the run is not green. The run loop bounds the time it takes
        by cancelling it.
        """
        ...

    async def close(self) -> None: ...


class Checker(Protocol):
    """What judges a history: the protocol of `checkers.Checker`."""

    @property
    def name(self) -> str: ...

    def check(self, history: History) -> Verdict: ...


class Workload(Protocol):
    """Client, generator and checkers for one promise. A value: all state is in clients and generators."""

    name: str
    time_limit: float
    """Seconds that the main phase takes if the command line does not say."""
    rate: float
    """Operations per second of all clients together, if the command line does not say."""

    def generator(self, test: Test) -> Source:
        """The clients' operations; the run paces it (`rate`) and ends it (`time_limit`)."""
        ...

    def final_generator(self, test: Test) -> Source:
        """What clients do once everything is healed and the system has recovered (final reads), or None."""
        ...

    def recovery_seconds(self, test: Test) -> float:
        """How long `generator` goes on after the last heal at least, for the checkers to see a recovery.

        0: only until every node has answered again.
        """
        ...

    async def open(self, test: Test, cluster: Cluster, node: str) -> Client:
        """Open a client of the node. `Refused` or OSError if it does not take connections."""
        ...

    def checkers(self, test: Test) -> Sequence[Checker]:
        """What judges the history. Must need nothing but `test` (a stored run is checked again later)."""
        ...


@dataclass(frozen=True, slots=True)
class Environment:
    """What a nemesis may touch."""

    cluster: Cluster
    system: System
    options: Options
    random: Random


class Nemesis(Protocol):
    """Does the damage that operations name, and undoes it."""

    fs: frozenset[str]
    """The functions it understands."""

    async def invoke(self, environment: Environment, operation: Operation) -> Any:
        """Do it; returns the value of the completion: what was done, in full. Raises InjectionError."""
        ...


@dataclass(frozen=True, slots=True)
class Mark:
    """How to draw one kind of fault: a shaded stretch from an event of `start` to the next one of `stop`."""

    name: str
    start: frozenset[str]
    stop: frozenset[str]
    colour: str
    """As CSS: "#d62728"."""


@dataclass(frozen=True, slots=True)
class Package:
    """A nemesis with everything that belongs to it. Packages compose: `nemesis.compose`."""

    name: str
    capabilities: frozenset[str]
    """What the world must be able to do."""
    nemesis: Nemesis
    generator: Source
    """When to do what."""
    final_generator: Source
    """Operations that undo everything that may have been done; harmless if nothing was."""
    marks: tuple[Mark, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Faults asked for (by `all`) that this world cannot do, and why: said aloud in header and report."""


@dataclass(frozen=True, slots=True)
class Test:
    """Everything that determines a run."""

    __test__: ClassVar[bool] = False  # pytest takes classes named Test... for its own

    name: str
    """As in the store: "register-partition"."""
    system: System
    options: Options
    workload: Workload
    nemesis: Package
    concurrency: int
    rate: float
    time_limit: float
    operation_timeout: float
    seed: int

    @property
    def nodes(self) -> tuple[str, ...]:
        return self.options.nodes

    def random(self, purpose: str) -> Random:
        """A stream of randomness of its own for each purpose, from the seed."""
        return Random(f"{self.seed}/{purpose}")

    def node(self, thread: int) -> str:
        """The node that a client thread talks to."""
        return self.nodes[thread % len(self.nodes)]


ProblemKind = Literal["setup", "injection", "crash", "harness", "no-success", "recovery", "interrupted"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something about the run itself that keeps it from being green (but for "interrupted")."""

    kind: ProblemKind
    """setup: the system did not come up · injection: a fault was not injected or not healed ·
    crash: an agent ended on its own · harness: a bug in a client, generator or nemesis ·
    no-success: a function was tried and never succeeded · recovery: it did not serve again after the heal ·
    interrupted: somebody pressed Ctrl-C (what was recorded is judged as it is)."""
    message: str


@dataclass(frozen=True, slots=True)
class Result:
    """What a run left besides its history."""

    directory: Path
    operations: int
    """Invocations of clients."""
    counts: Mapping[str, Mapping[str, int]]
    """Per function, how many ended ok, fail and info."""
    problems: tuple[Problem, ...]
    seconds: float
