"""Where nodes live: one `Cluster` interface, several worlds.

Rules
-----
1. A world says what it can do (`capabilities`); asking for more is an error, never silence.
2. Closing a cluster leaves nothing: no process, interface, namespace, mount or rule.
3. A process that ends without the harness having asked is a crash, and is reported through `exits`.
4. A fault that could not be injected raises `InjectionError`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

_Result = TypeVar("_Result")

Link = tuple[str, str]
"""A directed pair of nodes: what the first sends, the second may not receive."""

CAPABILITIES: Mapping[str, str] = {
    "commands": "run commands on a node, whose processes have children as they like",
    "kill": "SIGKILL a node's process",
    "pause": "SIGSTOP and SIGCONT a node's process",
    "cut": "drop what one node sends another, per direction",
    "power": "cut a node's power: what it has not synced is lost or torn",
    "crash point": "cut a node's power at an exact step of its writing",
    "shape": "lose, duplicate and delay some of what one node sends another, per direction",
    "clock": "set a node's clocks off, in offset and rate",
    "disk": "fill, fail, slow down, rot and misdirect a node's disk",
}
"""Every capability there is, and what it means."""


class SetupError(Exception):
    """The run cannot start: something is missing on this machine, or a system did not come up.

    The message says what to do.
    """


class InjectionError(Exception):
    """A fault could not be injected (or healed): the run's verdict would be about something else."""


class WorldError(BaseException):
    """The program under test cannot run in this world, or never comes to an end: the message says where.

    No `Exception`, lest the program takes it for an error of its own and goes on.
    """


@dataclass(frozen=True, slots=True)
class Completed:
    """What a command did."""

    returncode: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True, slots=True)
class Exit:
    """A node's process ended."""

    node: str
    status: str
    """In words: "exit status 1" or "killed by SIGSEGV"."""
    expected: bool
    """Whether the harness had asked for it (kill, stop)."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How often what goes over a link does not go its ordinary way, as probabilities, and by how much; and
    how much longer the ordinary way is.

    One thing happens to a packet, or nothing: together they are at most 1. Raises ValueError.
    Of a stream nothing is lost or comes twice: it comes later, as TCP sends it again.
    """

    lost: float = 0.0
    twice: float = 0.0
    late: float = 0.0
    delay_ms_max: float = 50.0
    """What comes late, or for the second time, comes up to so much later: that is reordering, too."""
    latency_ms: float = 0.0
    """Everything takes so much longer, and nothing overtakes anything by that alone."""

    def __post_init__(self) -> None:
        for name in ("lost", "twice", "late"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is a probability, not {getattr(self, name)}")
        together = self.lost + self.twice + self.late
        if together > 1.0 + 1e-9:  # 0.7 + 0.2 + 0.1 is not quite 1
            raise ValueError(f"lost, twice and late exclude each other: {together:g} is more than all of it")
        for name in ("delay_ms_max", "latency_ms"):
            if getattr(self, name) < 0.0:
                raise ValueError(f"{name} is how much later, not {getattr(self, name):g}")


ORDINARY = Shape()
"""Everything arrives once, and in time."""

DiskCondition = Literal["ordinary", "slow", "full", "failing"]

CrashStep = Literal["written", "synced", "sent"]
"""written: the kernel has the bytes, and may lose them · synced: they are safe, and nobody knows it yet ·
sent: the process knows it, and has done what it does at once, as sending what waited for it."""


class Cluster(Protocol):
    """The nodes of one run. Every world implements it; `harness.worlds.conformance` tests that it does."""

    nodes: tuple[str, ...]
    """Names: n1, n2, ..."""
    capabilities: frozenset[str]
    exits: list[Exit]
    """Every end of a node's process so far, in order."""

    def address(self, node: str) -> str:
        """The node's IPv4 address."""
        ...

    def directory(self, node: str) -> Path:
        """The node's own folder on the harness's machine: `data/` survives a kill, `log` is its output."""
        ...

    async def start(self, node: str, argv: Sequence[str], env: Mapping[str, str]) -> None:
        """Start the node's process (one per node), with `env` on top of the harness's environment.

        Its output goes to the end of the node's log. SetupError if there is no such program, or one runs.
        What a former process left running on the node is killed first.
        """
        ...

    async def stop(self, node: str, timeout: float = 10.0) -> None:
        """SIGTERM, and SIGKILL if it is still there after `timeout` seconds; then `kill` what it left."""
        ...

    async def kill(self, node: str) -> None:
        """SIGKILL the node's process and all its children; returns once they are gone.

        Nothing there: no-op.
        """
        ...

    async def pause(self, node: str) -> None:
        """SIGSTOP the node's process and all its children; returns once they stand still.

        InjectionError if the node's process is not running.
        """
        ...

    async def resume(self, node: str) -> None:
        """SIGCONT all that is paused on the node. Nothing paused: no-op."""
        ...

    def running(self, node: str) -> bool:
        """Whether the node's process is there (paused counts)."""
        ...

    async def run(self, node: str, argv: Sequence[str], timeout: float = 10.0) -> Completed:
        """Run a command on the node to its end, whether or not the node's process is there.

        SetupError if there is no such program; TimeoutError after killing it. `kill` kills it too.
        """
        ...

    async def cut(self, links: Iterable[Link]) -> None:
        """Make exactly these directed links drop everything, atomically; all others are whole again."""
        ...

    async def power_off(self, node: str) -> None:
        """Everything on the node stops dead; what it had not synced is lost or torn. `start` brings it back.

        Nothing there: no-op.
        """
        ...

    async def set_trap(
        self, node: str, step: CrashStep, record: str, sprung: Callable[[], None] | None = None
    ) -> None:
        """Cut the node's power at the next such step of writing such a record ("any", or the system's).

        Calls `sprung` once it has. A trap goes with the process that it was set for.
        """
        ...

    async def clear_traps(self, node: str) -> None: ...

    async def shape(self, links: Mapping[Link, Shape]) -> None:
        """Shape exactly these directed links; all others are ordinary again."""
        ...

    async def set_clock(self, node: str, wall_offset: float, rate: float) -> None:
        """The node's wall clock is so many seconds off, and its monotonic clock makes `rate` seconds per
        second."""
        ...

    async def set_disk(self, node: str, condition: DiskCondition) -> None:
        """The node's disk is so from now on."""
        ...

    async def rot(self, node: str, record: str) -> str | None:
        """Damage such a record that the node has safe on its disk; in words what, None if there is none."""
        ...

    async def misdirect(self, node: str, record: str) -> str | None:
        """Of what the node has safe of such records, a sector is found where another was, and not in its own
        place; in words which, None if there is not enough."""
        ...

    async def connect(
        self, factory: Callable[[], asyncio.Protocol], node: str, port: int
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        """Open a client's stream to the node, over a network that no fault touches.

        OSError if the node refuses (ConnectionRefusedError: nothing listens); no timeout of its own.
        """
        ...

    def on_exit(self, callback: Callable[[Exit], None]) -> None:
        """Call back, in the event loop, at every process end from now on, as `exits` grows."""
        ...

    def on_violation(self, callback: Callable[[str], None]) -> None:
        """Call back, with words for it, when the world itself sees a promise broken (simulators look inside).

        Nothing moves after the first: the processes stand still.
        """
        ...

    async def close(self) -> None:
        """Kill everything and take the world down. Idempotent."""
        ...


@runtime_checkable
class Enterable(Protocol):
    """A cluster whose nodes a person can enter from this machine."""

    def enter(self, node: str) -> str:
        """A command line that opens a shell on the node; another program in place of `sh` runs as well."""
        ...


class Limited:
    """For clusters: what a world cannot do says so, where a nemesis asks for it all the same."""

    def on_violation(self, callback: Callable[[str], None]) -> None:
        """This world does not look inside."""

    async def power_off(self, node: str) -> None:
        raise _cannot(self, "power")

    async def set_trap(
        self, node: str, step: CrashStep, record: str, sprung: Callable[[], None] | None = None
    ) -> None:
        raise _cannot(self, "crash point")

    async def clear_traps(self, node: str) -> None:
        """There are none."""

    async def shape(self, links: Mapping[Link, Shape]) -> None:
        raise _cannot(self, "shape")

    async def set_clock(self, node: str, wall_offset: float, rate: float) -> None:
        raise _cannot(self, "clock")

    async def set_disk(self, node: str, condition: DiskCondition) -> None:
        raise _cannot(self, "disk")

    async def rot(self, node: str, record: str) -> str | None:
        raise _cannot(self, "disk")

    async def misdirect(self, node: str, record: str) -> str | None:
        raise _cannot(self, "disk")


def _cannot(cluster: object, capability: str) -> InjectionError:
    return InjectionError(f"{type(cluster).__name__} cannot {CAPABILITIES[capability]}")


class World(Protocol):
    """A place where clusters can be. Made with no arguments; found by name, or given as `module:Class`."""

    name: str
    capabilities: frozenset[str]
    """What its clusters can do, known before one is opened."""

    def missing(self) -> str | None:
        """What keeps it from working on this machine and what to do about it, or None."""
        ...

    def run(self, main: Coroutine[Any, Any, _Result]) -> _Result:
        """Run a coroutine on an event loop of the kind that this world's clusters need."""
        ...

    async def open(self, nodes: tuple[str, ...], directory: Path, seed: int) -> Cluster:
        """Make a cluster; each node's own folder is `directory/<node>`. SetupError if it cannot be made.

        `seed` decides what the world itself draws, if it draws anything.
        """
        ...
