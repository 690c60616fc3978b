"""A simulated cluster: hosts, what runs on them, and all the damage that a nemesis may do.

Rules
-----
1. A node is a host with a disk and a clock, which outlive its processes, and at most one process.
2. `kill` ends the process, and its kernel closes what it leaves behind; `power_off` ends the host.
3. What a process logs is in its node's log, with the node's own time. What ends it, too.
4. After every step of a process the program's `Watch` looks at it. What that finds wrong stops everything
   where it is.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from harness.worlds import (
    CAPABILITIES,
    Completed,
    CrashStep,
    DiskCondition,
    Exit,
    InjectionError,
    Link,
    SetupError,
    Shape,
)
from harness.worlds.sim.chance import Stream
from harness.worlds.sim.clock import Clock
from harness.worlds.sim.departures import Departures
from harness.worlds.sim.disk import Disk
from harness.worlds.sim.hosts import Host
from harness.worlds.sim.loop import SimulatedLoop
from harness.worlds.sim.network import Network, ProcessNetwork
from harness.worlds.sim.output import Log
from harness.worlds.sim.process import Details, Process, harness_context
from harness.worlds.sim.programs import Ports, Program, Watch, started_by

SIM_CAPABILITIES = frozenset(CAPABILITIES) - {"commands"}

CRASH_EXIT_CODE = 70
"""Of a process that ends with an exception (sysexits.h: EX_SOFTWARE)."""


_Trap = tuple[CrashStep, str, Callable[[], None] | None]


class _Node:
    """A host, what it has, and what runs on it."""

    def __init__(self, host: Host, disk: Disk, clock: Clock, directory: Path) -> None:
        self.host = host
        self.disk = disk
        self.clock = clock
        self.directory = directory
        self.process: Process | None = None
        self.watch: Watch | None = None
        self.ended = asyncio.Event()
        self.log: TextIO | None = None
        self.traps: list[_Trap] = []
        self.lives = 0


class SimCluster:
    """Implements `harness.worlds.Cluster`, all of it but `run`."""

    def __init__(
        self, loop: SimulatedLoop, nodes: Sequence[str], directory: Path, seed: int, departures: Departures
    ) -> None:
        self.nodes = tuple(nodes)
        self.capabilities = SIM_CAPABILITIES
        self.exits: list[Exit] = []
        self.violation: str | None = None
        self.departures = departures
        self._loop = loop
        self._seed = seed
        self._network = Network(loop, seed, departures)
        self._nodes: dict[str, _Node] = {}
        self._exit_callbacks: list[Callable[[Exit], None]] = []
        self._violation_callbacks: list[Callable[[str], None]] = []
        self.watches: dict[type, Watch] = {}
        """One for each kind of program that ran."""
        self._processes = 0
        self._closed = False
        clocks = Stream(seed, "clocks")
        for number, name in enumerate(nodes, 1):
            host = Host(name, f"10.0.{number >> 8}.{number & 255}", number)
            self._network.add(host)
            # Machines have been up for different times.
            clock = Clock(loop, clocks.below(10**15, number))
            self._nodes[name] = _Node(host, Disk(name, loop, seed, departures), clock, directory / name)
        loop.on_error = self._unhandled

    # --- Looking

    def address(self, node: str) -> str:
        return self._nodes[node].host.address

    def directory(self, node: str) -> Path:
        directory = self._nodes[node].directory
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def running(self, node: str) -> bool:
        return self._nodes[node].process is not None

    def on_exit(self, callback: Callable[[Exit], None]) -> None:
        self._exit_callbacks.append(callback)

    def on_violation(self, callback: Callable[[str], None]) -> None:
        self._violation_callbacks.append(callback)

    def traffic(self) -> tuple[int, int]:
        """How many datagrams and how many segments of streams were sent so far, clients' included."""
        wires = self._network.wires()
        return sum(wire.datagrams for wire in wires), sum(wire.segments for wire in wires)

    # --- Processes

    async def start(self, node: str, argv: Sequence[str], env: Mapping[str, str]) -> None:
        at = self._nodes[node]
        if at.process is not None:
            raise SetupError(f"{node} is running already")
        if self._closed:
            raise SetupError(f"{node}: the cluster is closed")
        make = started_by(argv)
        process = at.process = self._new_process(at, argv, env)
        try:
            program = _program(process, make)
        except SystemExit as error:  # as argparse does
            process.exit(error.code)
            return
        except Exception as error:
            self._report(process, error)
            process.exit(_exit_code(error))
            return
        at.watch = self._watch(program)
        if at.watch is not None:
            at.watch.started(node, program)
            process.observer = self._observer(node, at.watch)
        assert process.network is not None
        ports = Ports(at.clock, at.disk.of(process), process.network, process.random)
        self._loop.start(process, self._live(process, program, ports))
        if self.violation is not None:
            self._loop.pause(process)

    def _new_process(self, at: _Node, argv: Sequence[str], env: Mapping[str, str]) -> Process:
        self._processes += 1
        at.lives += 1
        at.host.up, at.ended, at.watch = True, asyncio.Event(), None
        node = at.host.name
        process = Process(node, self._processes)
        at.log = (self.directory(node) / "log").open("a", buffering=1)
        process.argv = list(argv[2:] if argv[1] == "-m" else argv[1:])
        process.environ = {**os.environ, **env}
        process.random = random.Random(f"{self._seed}/{node}/{at.lives}")
        process.wall_ns, process.monotonic_ns = at.clock.wall_ns, at.clock.monotonic_ns
        process.log = partial(self._write_log, at.log)
        process.network = ProcessNetwork(self._network, at.host, process)
        process.ended = lambda status: self._end(node, status, expected=process.stopping)
        return process

    async def _live(self, process: Process, program: Program, ports: Ports) -> None:
        """The whole life of a process that ends by itself."""
        try:
            code: object = await program(ports)
        except Exception as error:
            self._report(process, error)
            code = _exit_code(error)
        process.exit(code)

    async def stop(self, node: str, timeout: float = 10.0) -> None:
        at = self._nodes[node]
        process = at.process
        if process is None:
            return
        terminate = process.signals.get(signal.SIGTERM)
        process.stopping = True
        if terminate is None:
            self._end(node, "killed by SIGTERM", expected=True)
            return
        terminate()
        try:
            async with asyncio.timeout(timeout):
                await at.ended.wait()
        except TimeoutError:
            await self.kill(node)

    async def kill(self, node: str) -> None:
        self._end(node, "killed by SIGKILL", expected=True)

    async def pause(self, node: str) -> None:
        process = self._nodes[node].process
        if process is None:
            raise InjectionError(f"{node} is not running")
        self._loop.pause(process)

    async def resume(self, node: str) -> None:
        process = self._nodes[node].process
        if process is not None and process.paused and self.violation is None:
            self._loop.resume(process)

    async def run(self, node: str, argv: Sequence[str], timeout: float = 10.0) -> Completed:
        raise SetupError("the sim world has processes that are simulated, and runs no commands")

    async def power_off(self, node: str) -> None:
        at = self._nodes[node]
        if at.host.up:
            self._power_off(at, "power cut")

    def _power_off(self, at: _Node, status: str) -> None:
        self._network.power_off(at.host)
        if at.process is not None:
            self._loop.kill(at.process)
        at.disk.cut_power()
        self._end(at.host.name, status, expected=True)

    def _end(self, node: str, status: str, *, expected: bool) -> None:
        """The process is gone: tell everybody. (Whoever made it end: what follows is the harness's.)"""
        at = self._nodes[node]
        process = at.process
        if process is None:
            return
        at.process = None
        self._loop.kill(process)
        with self._loop.outside():
            harness_context().run(self._bury, at, process, Exit(node, status, expected))

    def _bury(self, at: _Node, process: Process, record: Exit) -> None:
        if at.host.up:
            self._network.process_ended(at.host, process)
            at.disk.process_died()
        self._disarm(at)
        if at.watch is not None:
            at.watch.stopped(record.node)
        assert at.log is not None
        at.log.close()
        at.ended.set()
        self.exits.append(record)
        for callback in self._exit_callbacks:
            callback(record)

    # --- Other damage

    async def cut(self, links: Iterable[Link]) -> None:
        self._network.cut(self._known(list(links)))

    async def shape(self, links: Mapping[Link, Shape]) -> None:
        self._known(links)
        self._network.shape(links)

    def _known(self, links: Collection[Link]) -> Collection[Link]:
        """These links, if there are such. Raises InjectionError."""
        for source, target in links:
            if source == target or source not in self._nodes or target not in self._nodes:
                raise InjectionError(f"there is no link from {source} to {target}")
        return links

    async def set_clock(self, node: str, wall_offset: float, rate: float) -> None:
        clock = self._nodes[node].clock
        try:
            clock.run_at(rate)
        except ValueError as error:
            raise InjectionError(f"{node}: {error}") from error
        clock.wall_offset_ns = round(wall_offset * 1e9)

    async def set_disk(self, node: str, condition: DiskCondition) -> None:
        self._nodes[node].disk.condition = condition

    async def rot(self, node: str, record: str) -> str | None:
        disk = self._nodes[node].disk
        for name in self._files_with(node, record):
            if (where := disk.rot(name)) is not None:
                return f"byte {where} of {name}"
        return None

    async def misdirect(self, node: str, record: str) -> str | None:
        disk = self._nodes[node].disk
        for name in self._files_with(node, record):
            if (moved := disk.misdirect(name)) is not None:
                return f"the sector of byte {moved[0]} of {name} is at byte {moved[1]}"
        return None

    def _files_with(self, node: str, record: str) -> list[str]:
        """The node's files that hold such records."""
        at = self._nodes[node]
        return [
            name
            for name in at.disk.names()
            if record == "any" or (at.watch is not None and record in at.watch.records(node, name, b""))
        ]

    async def set_trap(
        self, node: str, step: CrashStep, record: str, sprung: Callable[[], None] | None = None
    ) -> None:
        at = self._nodes[node]
        if at.process is None:
            raise InjectionError(f"{node} is not running")
        at.traps.append((step, record, sprung))
        at.disk.on_step = partial(self._stepped, node)

    async def clear_traps(self, node: str) -> None:
        self._disarm(self._nodes[node])

    def _stepped(self, node: str, step: CrashStep, file: str, data: bytes) -> None:
        """The disk has come to a step: whether a trap waits for it."""
        at = self._nodes[node]
        records = frozenset() if at.watch is None else at.watch.records(node, file, data)
        reached = [trap for trap in at.traps if trap[1] in ("any", *records)]
        self._spring(at, [trap for trap in reached if trap[0] == step])
        if step == "synced" and any(trap[0] == "sent" for trap in reached):
            # The end of a flush and what the process does then are one callback: the next one is after both.
            with self._loop.outside():
                harness_context().run(self._loop.call_soon, self._sent, at, reached)

    def _sent(self, at: _Node, reached: Sequence[_Trap]) -> None:
        self._spring(at, [trap for trap in reached if trap[0] == "sent" and trap in at.traps])

    def _spring(self, at: _Node, traps: Sequence[_Trap]) -> None:
        if traps:
            self._power_off(at, f"power cut when {traps[0][1]} was {traps[0][0]}")
        for _, _, sprung in traps:
            if sprung is not None:
                with self._loop.outside():
                    harness_context().run(sprung)

    def _disarm(self, at: _Node) -> None:
        at.traps.clear()
        at.disk.on_step = None

    # --- Clients

    async def connect(
        self, factory: Callable[[], asyncio.Protocol], node: str, port: int
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        address = (self.address(node), port)
        transport, protocol = await self._network.connect(self._network.outside, factory, address)
        assert isinstance(protocol, asyncio.Protocol)
        return transport, protocol

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            for node in self.nodes:
                self._end(node, "killed by SIGKILL", expected=True)

    # --- What processes say, and what is seen of them

    def _watch(self, program: Any) -> Watch | None:
        """One for all programs of the same kind."""
        make = getattr(program, "watch", None)
        if make is None:
            return None
        kind = type(program)
        if kind not in self.watches:
            self.watches[kind] = make()
        return self.watches[kind]

    def _observer(self, node: str, watch: Watch) -> Callable[[], None]:
        observe = watch.observe

        def look() -> None:
            try:
                observe(node)
            except Exception as error:
                self._violated(f"{error} (seen on {node})")

        return look

    def _violated(self, what: str) -> None:
        if self.violation is not None:
            return
        self.violation = what
        for at in self._nodes.values():
            if at.process is not None:
                at.process.observer = None
                self._loop.pause(at.process)
        for callback in self._violation_callbacks:
            callback(what)

    def _report(self, process: Process, error: BaseException) -> None:
        """What ended a process, in its log."""
        if getattr(error, "code", None) is None:
            process.log("".join(traceback.format_exception(error.with_traceback(_own(error.__traceback__)))))
        else:
            process.log(f"{error}\n")

    def _unhandled(self, process: Process | None, context: Details) -> None:
        error = context.get("exception")
        lines = [f"{context['message']}\n"]
        if isinstance(error, BaseException):
            lines += traceback.format_exception(error)
        if process is None or not process.alive:
            logging.getLogger("harness.sim").error("%s", "".join(lines))
        else:
            process.log("".join(lines))

    def _write_log(self, log: TextIO, text: str) -> None:
        if not log.closed:
            log.write(text)


def _program(process: Process, make: Callable[[], Program]) -> Program:
    """Make the program, in the process's environment."""
    log = Log(process)
    harness, os.environ = os.environ, process.environ  # type: ignore[assignment]
    try:
        with redirect_stdout(log), redirect_stderr(log):
            return make()
    finally:
        os.environ = harness  # noqa: B003 (it is the same as before)


def _own(trace: TracebackType | None) -> TracebackType | None:
    """A traceback from where the program itself begins."""
    own = trace
    while own is not None and Path(own.tb_frame.f_code.co_filename).parent == Path(__file__).parent:
        own = own.tb_next
    return own or trace


def _exit_code(error: Exception) -> int:
    code = getattr(error, "code", None)
    return code if isinstance(code, int) else CRASH_EXIT_CODE
