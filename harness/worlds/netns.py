"""The `netns` world: real processes, each node in a network namespace of its own, no root needed.

Rules
-----
1. The harness stays outside. It starts one helper (`netns_init`) that makes the namespaces and everything in
   them; clients reach the nodes through sockets made in the hub's namespace and passed out.
2. The end of the harness, by whatever means, ends the helper and with it every process, interface, mount
   and rule. The helper and the nodes are in sessions of their own: a Ctrl-C reaches the harness alone.
3. A node is like a host: its own interfaces, host name, process ids and /proc. Files are this machine's.
   Its processes run as root of the world's user namespace, which outside is the user who runs the harness.
4. An established TCP connection resumes after a cut when the kernel retransmits next, and the kernel waits
   up to twice as long as the cut has lasted. Recovery bounds must allow for that, as on any network.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from harness.registry import WORLDS
from harness.worlds import Completed, Exit, InjectionError, Limited, Link, SetupError
from harness.worlds.netns_control import Channel, Host

_Result = TypeVar("_Result")

CAPABILITIES = frozenset({"commands", "kill", "pause", "cut"})

NODES_MAX = 253
"""As many as one /24 has addresses for, less the hub."""

_END_TIMEOUT_SECONDS = 30.0
_LOG = "netns.log"


class Netns:
    """The world as `--world=netns` finds it."""

    name = "netns"
    capabilities = CAPABILITIES

    def missing(self) -> str | None:
        """Why this machine cannot do it, and what to do; None if it can. Found by trying, in a subprocess."""
        return _probe()

    def run(self, main: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run(main)

    async def open(self, nodes: Sequence[str], directory: Path, seed: int = 0) -> NetnsCluster:
        """Make a cluster of 1 to 253 nodes: 10.0.0.1 and up. Takes about 0.3 s for five.

        It ends with the thread that opened it, if it has not been closed before.
        """
        if not 1 <= len(nodes) <= NODES_MAX or len(set(nodes)) != len(nodes):
            raise SetupError(
                f"a netns cluster has 1 to {NODES_MAX} nodes with different names, not {nodes!r}"
            )
        cluster = NetnsCluster(nodes, directory)
        try:
            await cluster._boot()
        except BaseException:
            await cluster.close()
            raise
        return cluster


@cache
def _probe() -> str | None:
    if sys.platform != "linux":
        return _impossible(f"it is made of Linux's namespaces, and this is {sys.platform}")
    probe = subprocess.run(
        _helper("probe"), env=_helper_environment(), capture_output=True, text=True, timeout=60, check=False
    )
    if probe.returncode == 0:
        return None
    return _impossible(probe.stdout or probe.stderr)


def _impossible(why: str) -> str:
    others = [name for name in WORLDS if name != Netns.name]
    return (
        f"the netns world cannot be made on this machine: {why.strip()}\n"
        f"Worlds that remain: {', '.join(others)} (--world)."
    )


def _helper(argument: str) -> list[str]:
    return [sys.executable, "-m", "harness.worlds.netns_init", argument]


def _helper_environment() -> dict[str, str]:
    # The helper must find this very package, however the harness's own path came about.
    root = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}


class NetnsCluster(Limited):
    """Implements `harness.worlds.Cluster`. Made by `Netns.open`; belongs to the event loop that ran then."""

    capabilities = CAPABILITIES

    def __init__(self, nodes: Sequence[str], directory: Path) -> None:
        self.nodes = tuple(nodes)
        self.exits: list[Exit] = []
        self._directory = directory.resolve()
        self._index = {node: i for i, node in enumerate(self.nodes)}
        self._subscribers: list[Callable[[Exit], None]] = []
        self._helper: subprocess.Popen[bytes] | None = None
        self._hub: Channel | None = None
        self._hosts: dict[str, Host] = {}

    async def _boot(self) -> None:
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in (None, *self.nodes)]
        (hub, *hosts), inner = zip(*pairs, strict=True)
        self._hub = Channel(hub, "the hub", lambda notice: None, lambda: None)
        self._hosts = {
            node: Host(node, host, self._ended) for node, host in zip(self.nodes, hosts, strict=True)
        }
        fds = [theirs.fileno() for theirs in inner]
        try:
            for node in self.nodes:
                (self.directory(node) / "data").mkdir(parents=True, exist_ok=True)
            self._helper = self._start_helper(fds)
        except OSError as error:
            raise SetupError(f"the netns world cannot be made in {self._directory}: {error}") from error
        finally:
            for theirs in inner:
                theirs.close()
        specs = [
            {"name": node, "directory": str(self.directory(node)), "address": self.address(node), "fd": fd}
            for node, fd in zip(self.nodes, fds[1:], strict=True)
        ]
        try:
            await self._hub.request({"op": "boot", "parent": os.getpid(), "nodes": specs})
        except InjectionError as error:
            log = (self._directory / _LOG).read_text(errors="replace")
            raise SetupError(_impossible(f"{error}\n{log}")) from error

    def _start_helper(self, fds: Sequence[int]) -> subprocess.Popen[bytes]:
        with open(self._directory / _LOG, "ab") as log:
            return subprocess.Popen(
                _helper(str(fds[0])),
                env=_helper_environment(),
                pass_fds=fds,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def address(self, node: str) -> str:
        return f"10.0.0.{self._index[node] + 1}"

    def directory(self, node: str) -> Path:
        self._index[node]
        return self._directory / node

    def enter(self, node: str) -> str:
        assert self._helper is not None
        (hub,) = _children(self._helper.pid)
        # Each node's init stands in the node's own folder.
        home = str(self.directory(node))
        init = next(pid for pid in _children(hub) if os.readlink(f"/proc/{pid}/cwd") == home)
        return f"nsenter --target {init} --user --preserve-credentials --net --mount --pid --uts --ipc sh"

    def on_exit(self, callback: Callable[[Exit], None]) -> None:
        self._subscribers.append(callback)

    def _ended(self, record: Exit) -> None:
        self.exits.append(record)
        for callback in self._subscribers:
            callback(record)

    async def start(self, node: str, argv: Sequence[str], env: Mapping[str, str]) -> None:
        log = os.open(self.directory(node) / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            await self._hosts[node].start(argv, {**os.environ, **env}, log)
        finally:
            os.close(log)

    async def stop(self, node: str, timeout: float = 10.0) -> None:
        await self._hosts[node].stop(timeout)

    async def kill(self, node: str) -> None:
        await self._hosts[node].request({"op": "kill"})

    async def pause(self, node: str) -> None:
        if not self.running(node):
            raise InjectionError(f"{node} runs no process that could be paused")
        await self._hosts[node].request({"op": "pause"})

    async def resume(self, node: str) -> None:
        await self._hosts[node].request({"op": "resume"})

    def running(self, node: str) -> bool:
        return self._hosts[node].running

    async def run(self, node: str, argv: Sequence[str], timeout: float = 10.0) -> Completed:
        return await self._hosts[node].run(argv, dict(os.environ), timeout)

    async def cut(self, links: Iterable[Link]) -> None:
        wanted = set(links)
        for sender, receiver in wanted:
            if sender == receiver or not self._index.keys() >= {sender, receiver}:
                raise InjectionError(f"there is no link from {sender} to {receiver} that could be cut")
        pairs = sorted((self._index[sender], self._index[receiver]) for sender, receiver in wanted)
        await self._request_hub({"op": "cut", "links": pairs})

    async def connect(
        self, factory: Callable[[], asyncio.Protocol], node: str, port: int
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        loop = asyncio.get_running_loop()
        (fd,) = await self._request_hub({"op": "socket"})
        sock = socket.socket(fileno=fd)
        try:
            sock.setblocking(False)
            await loop.sock_connect(sock, (self.address(node), port))
            return await loop.create_connection(factory, sock=sock)
        except BaseException:
            sock.close()
            raise

    async def _request_hub(self, message: dict[str, Any]) -> list[int]:
        if self._hub is None:
            raise InjectionError("the netns world is closed")
        return await self._hub.request(message)

    async def close(self) -> None:
        for host in self._hosts.values():
            host.close()
        if self._hub is not None:
            self._hub.close()
            self._hub = None
        if self._helper is not None:
            # Its end means that the kernel has ended everything in the world's pid namespace.
            await _await_end(self._helper)
            self._helper = None


def _children(pid: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            # After the name, which is in brackets and may hold anything: state, parent.
            parent = int(status.read_text().rpartition(")")[2].split()[1])
        except FileNotFoundError:
            continue
        if parent == pid:
            found.append(int(status.parent.name))
    return found


async def _await_end(process: subprocess.Popen[bytes]) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    pidfd = os.pidfd_open(process.pid)
    loop.add_reader(pidfd, ended.set)
    try:
        async with asyncio.timeout(_END_TIMEOUT_SECONDS):
            await ended.wait()
    except BaseException:
        process.kill()  # takes pid 1 with it, and that everything
        raise
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
        process.wait()
