"""The init of one node: pid 1 of a pid namespace, in a network, mount, uts and ipc namespace of its own.

Rules
-----
1. Everything on the node descends from this process and cannot leave its pid namespace: double-forking,
   setsid and ignoring signals do not help. It reaps every orphan.
2. Signals for all go by kill(-1), which the kernel delivers to every process of the namespace at once; no
   fork in flight escapes it.
3. An answer says what is so, not what was asked: `kill` answers when the last process has been reaped,
   `pause` when no thread is left that could run a step of its program.
4. Requests are answered in order, each before the next is read. The end of a process that was spawned is
   told in between, once: after the answers that came before it, and before the answer of what caused it.

The messages are JSON, one a SEQPACKET datagram:

    {"op": "spawn", "id": 7, "argv": [...], "env": {...}, "alone": whether to kill all others first}
        + two file descriptors, its stdout and stderr
    {"op": "terminate", "id": 7}      SIGTERM to that process
    {"op": "kill", "id": 7}           SIGKILL to that process and its process group
    {"op": "kill"}                    SIGKILL to all
    {"op": "pause"} {"op": "resume"}  SIGSTOP and SIGCONT to all
    answers  {"ok": true} or {"error": "in words"}
    notices  {"ended": 7, "status": wait status, "asked": whether a request caused it}
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from harness.worlds import linux

MESSAGE_BYTES_MAX = 1 << 20

STOP_TIMEOUT_SECONDS = 5.0
"""How long all threads of a node may take to be seen stopped, or running again; they take milliseconds."""

_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


class Refused(Exception):
    """The request cannot be fulfilled; the message goes back as the answer."""


def enter(name: str, directory: str) -> None:
    """Make the calling process (already pid 1 of its namespace) the init of the node. Raises OSError."""
    linux.unshare(linux.CLONE_NEWNET | linux.CLONE_NEWNS | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC)
    linux.mount("proc", "/proc", "proc")
    socket.sethostname(name)
    os.chdir(directory)


def serve(control: socket.socket) -> NoReturn:
    """Answer requests until the harness is gone; then end, and the node with it."""
    node = _Node(control)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_read, False)
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda signum, frame: None)
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(wake_read, select.POLLIN)
    while True:
        ready = {fd for fd, _ in poll.poll()}
        if wake_read in ready:
            os.read(wake_read, 4096)
            node.reap()
        if control.fileno() in ready:
            message, fds, _, _ = socket.recv_fds(control, MESSAGE_BYTES_MAX, 2, socket.MSG_CMSG_CLOEXEC)
            if not message:
                os._exit(0)
            try:
                node.handle(json.loads(message), fds)
            except (Refused, OSError) as error:
                node.send({"error": str(error)})
            else:
                node.send({"ok": True})
            finally:
                for fd in fds:
                    os.close(fd)


class _Node:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._ids: dict[int, int] = {}  # pid -> id of what was spawned and has not ended
        self._asked: set[int] = set()  # pids whose end was asked for

    def send(self, message: dict[str, Any]) -> None:
        try:
            self._control.send(json.dumps(message).encode())
        except (BrokenPipeError, ConnectionResetError):
            os._exit(0)  # the harness is gone

    def handle(self, request: dict[str, Any], fds: list[int]) -> None:
        # What has ended before the request was not caused by it.
        self.reap()
        match request["op"]:
            case "spawn":
                if request["alone"]:
                    self._kill_all()
                self._spawn(request["id"], request["argv"], request["env"], fds)
            case "terminate":
                pid = self._pid(request["id"])
                if pid is not None:
                    self._asked.add(pid)
                    os.kill(pid, signal.SIGTERM)
            case "kill" if "id" in request:
                pid = self._pid(request["id"])
                if pid is not None:
                    self._asked.add(pid)
                    os.killpg(pid, signal.SIGKILL)
            case "kill":
                self._kill_all()
            case "pause":
                self._signal_all(signal.SIGSTOP)
                # D: deep in the kernel (a slow disk, the wait of vfork for its child, which may be the one
                # that is stopped). With the signal pending, it stops before it is back in its program.
                _await_threads("stopped", lambda state: state in "TtZXD")
            case "resume":
                self._signal_all(signal.SIGCONT)
                _await_threads("running", lambda state: state not in "T")
            case op:
                raise Refused(f"unknown request {op!r}")

    def reap(self) -> None:
        """Collect all that have ended."""
        while self._wait(os.WNOHANG):
            pass

    def _wait(self, options: int) -> bool:
        try:
            pid, status = os.waitpid(-1, options)
        except ChildProcessError:
            return False
        if pid == 0:
            return False
        if pid in self._ids:
            asked = pid in self._asked
            self._asked.discard(pid)
            self.send({"ended": self._ids.pop(pid), "status": status, "asked": asked})
        return True

    def _pid(self, process_id: int) -> int | None:
        return next((pid for pid, known in self._ids.items() if known == process_id), None)

    def _spawn(self, process_id: int, argv: list[str], env: dict[str, str], fds: list[int]) -> None:
        stdout, stderr = fds
        pid = os.posix_spawnp(
            argv[0],
            argv,
            env,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, stdout, 1),
                (os.POSIX_SPAWN_DUP2, stderr, 2),
            ],
            setsid=True,
            setsigdef=_IGNORED_BY_PYTHON,
        )
        self._ids[pid] = process_id

    def _signal_all(self, signum: signal.Signals) -> None:
        try:
            os.kill(-1, signum)
        except ProcessLookupError:
            pass  # nobody there: true of all of them

    def _kill_all(self) -> None:
        self._asked.update(self._ids)
        self._signal_all(signal.SIGKILL)
        # The orphans of the dead become children of this process: no child left means nobody left.
        while self._wait(0):
            pass


def _await_threads(what: str, done: Callable[[str], bool]) -> None:
    deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
    while waiting := [(thread, state) for thread, state in _threads() if not done(state)]:
        if time.monotonic() > deadline:
            names = ", ".join(f"{thread} (state {state})" for thread, state in waiting)
            raise Refused(f"not {what} after {STOP_TIMEOUT_SECONDS:g} s: {names}")
        time.sleep(0.0002)


def _threads() -> Iterator[tuple[str, str]]:
    """Name and state (proc(5)) of every thread on the node but this one."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and process.name != "1":
            try:
                for task in (process / "task").iterdir():
                    # The name is in parentheses, and may hold any character.
                    head, _, tail = (task / "stat").read_text().rpartition(")")
                    yield f"{task.name} {head.partition('(')[2]}", tail.split()[0]
            except (FileNotFoundError, ProcessLookupError):
                pass  # it has ended meanwhile
