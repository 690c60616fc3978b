"""A test, and what it is composed of: a workload, a nemesis package, the system and its options.

All of them are values, or classes without state: a test can be run, stored, and its history judged again.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, ClassVar, Protocol, runtime_checkable

from harness.generator import Operation, Source
from harness.history import History, Op
from harness.interpreter import Client
from harness.systems import Options, System
from harness.verdict import Verdict, Violation
from harness.worlds import Cluster


class Checker(Protocol):
    """What judges a history: the protocol of `checkers.Checker`."""

    @property
    def name(self) -> str: ...

    def check(self, history: History) -> Verdict: ...


class Follower(Protocol):
    """What judges a run as it goes: the protocol of `checkers.online.Follower`."""

    @property
    def name(self) -> str: ...

    @property
    def gave_up(self) -> str | None: ...

    def event(self, op: Op) -> Violation | None: ...


class Workload(Protocol):
    """Client, generator and checkers for one promise. A value: all state is in clients and generators.

    A class that inherits from this one has the defaults of what it leaves out.
    """

    name: str
    time_limit: float = 12.0
    """Seconds that the main phase takes if the command line does not say."""
    rate: float = 100.0
    """Operations per second of all clients together, if the command line does not say."""

    @abstractmethod
    def generator(self, test: Test) -> Source:
        """The clients' operations; the run paces it (`rate`) and ends it (`time_limit`)."""
        ...

    def long_fault_seconds(self, system: System, options: Options) -> float:
        """How long one fault in two should last at least, for all its effects to be seen, the others being
        brief. 0, as by default: whatever suits."""
        return 0.0

    def final_generator(self, test: Test) -> Source:
        """What clients do once everything is healed and the system has recovered (final reads), or None, as
        by default."""
        return None

    @abstractmethod
    def probe(self) -> Operation:
        """An operation that changes nothing, to find out whether a node serves."""
        ...

    def recovery_seconds(self, test: Test) -> float:
        """How long `generator` goes on after the last heal at least, for the checkers to see a recovery.

        0, as by default: only until every node has answered again.
        """
        return 0.0

    @abstractmethod
    async def open(self, test: Test, cluster: Cluster, node: str) -> Client:
        """Open a client of the node. `Refused` or OSError if it does not take connections."""
        ...

    @abstractmethod
    def checkers(self, test: Test) -> Sequence[Checker]:
        """What judges the history. Must need nothing but `test` (a stored run is checked again later)."""
        ...


@runtime_checkable
class Followed(Protocol):
    """A workload whose promise can be judged while the run goes on."""

    def followers(self, test: Test) -> Sequence[Follower]: ...


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
    core: Source = None
    """What takes some nodes out after the heal (its completion says {"nodes": ...}), if the others should
    first recover without them. `final_generator` has to bring them back."""
    safety_only: bool = False
    """The faults go beyond what a system can be expected to come back from: nothing but safety is judged."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Faults asked for (by `all`) that this world cannot do, and why: said aloud in header and report."""


@dataclass(frozen=True, slots=True)
class Script:
    """What happens in a run, spelt out, in place of what generators would draw."""

    operations: Source
    """The clients', with their times, up to the end of the recovery."""
    faults: Source
    """The nemesis's in the main phase, with their times."""
    final: bool
    """Whether the workload's final operations follow."""


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
    script: Script | None = None

    @property
    def nodes(self) -> tuple[str, ...]:
        return self.options.nodes

    def random(self, purpose: str) -> Random:
        """A stream of randomness of its own for each purpose, from the seed."""
        return Random(f"{self.seed}/{purpose}")

    def node(self, thread: int) -> str:
        """The node that a client thread talks to."""
        return self.nodes[thread % len(self.nodes)]
