"""Agents as processes, as users start them: killed, stopped, and in trouble with the machine."""

from __future__ import annotations

import http.client
import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FULL_DISK_BYTES = 300_000

OK, BROKEN_INPUT, MACHINE_ERROR = 0, 65, 71


class Process:
    """One agent. Its log is in `log`."""

    def __init__(self, directory: Path, host: str, flags: list[str], limit_bytes: int | None = None) -> None:
        self.host = host
        self.directory = directory
        self._flags = flags
        self._limit_bytes = limit_bytes
        self.process: subprocess.Popen[bytes]
        directory.mkdir(parents=True, exist_ok=True)
        self.start()

    @property
    def data_dir(self) -> Path:
        return self.directory / "data"

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    def start(self, *, limit_bytes: int | None = None) -> None:
        limits = limit_bytes or self._limit_bytes

        def limit() -> None:
            if limits is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limits, limits))

        argv = [
            "-node",
            self.directory.name,
            "-bind",
            self.host,
            "-client",
            self.host,
            "-data-dir",
            str(self.data_dir),
        ]
        with (self.directory / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "impl", "agent", *argv, *self._flags],
                cwd=ROOT,
                stdout=log,
                stderr=log,
                preexec_fn=limit,
            )

    def request(
        self, method: str, path: str, body: bytes | None = None, timeout: float = 10
    ) -> tuple[int, bytes]:
        """OSError or HTTPException if there is no answer."""
        connection = http.client.HTTPConnection(self.host, 8500, timeout=timeout)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def put(self, key: str, value: bytes) -> bool:
        """Whether it was acknowledged."""
        try:
            return self.request("PUT", f"/v1/kv/{key}", value) == (200, b"true")
        except (OSError, http.client.HTTPException):
            return False

    def get(self, key: str) -> bytes | None:
        """As of now (a consistent read)."""
        status, body = self.request("GET", f"/v1/kv/{key}?raw&consistent")
        assert status in (200, 404), body
        return body if status == 200 else None

    def serves(self) -> bool:
        assert self.process.poll() is None, self.log
        try:
            return self.request("GET", "/v1/kv/any?consistent")[0] in (200, 404)
        except (OSError, http.client.HTTPException):
            return False

    def await_serving(self) -> None:
        await_true(self.serves, f"{self.directory.name} serves")

    def leader_host(self) -> str:
        return str(json.loads(self.request("GET", "/v1/status/leader")[1])).rpartition(":")[0]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def ended(self, timeout: float = 10) -> int:
        """The exit code, once it has ended by itself."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout} s:\n{self.log}") from None

    def last_words(self) -> str:
        """Its complaint: what it said not as a line of its log."""
        return "".join(line for line in self.log.splitlines(keepends=True) if line.startswith("proconsul: "))


def await_true(condition: Callable[[], bool], what: str, timeout: float = 20) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(0.02)


Launch = Callable[..., Process]


@pytest.fixture
def subnet() -> str:
    """Loopback addresses that no other test uses."""
    source = random.SystemRandom()
    return f"127.{source.randrange(16, 255)}.{source.randrange(256)}"


@pytest.fixture
def launch(tmp_path: Path, subnet: str) -> Iterator[Launch]:
    """Start an agent: `launch(number, *flags)`. All are killed in the end."""
    processes: list[Process] = []

    def start(number: int, *flags: str, limit_bytes: int | None = None) -> Process:
        process = Process(tmp_path / f"n{number}", f"{subnet}.{number}", list(flags), limit_bytes)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()


@pytest.fixture
def servers(launch: Launch, subnet: str) -> list[Process]:
    """Three servers that serve."""
    joins = [f"-retry-join={subnet}.{number}" for number in (1, 2, 3)]
    found = [launch(number, "-server", "-bootstrap-expect=3", *joins) for number in (1, 2, 3)]
    for server in found:
        server.await_serving()
    return found


def alone(launch: Launch, **options: int) -> Process:
    """A cluster of one server."""
    server = launch(1, "-server", "-bootstrap", **options)
    server.await_serving()
    return server


# --- Killed


def test_nothing_acknowledged_is_lost_when_the_leader_is_killed(servers: list[Process]) -> None:
    leader_host = servers[0].leader_host()
    leader = next(server for server in servers if server.host == leader_host)
    survivors = [server for server in servers if server is not leader]
    acknowledged: list[str] = []
    over = threading.Event()

    def write(writer: int) -> None:
        number = 0
        while not over.is_set():
            key = f"{writer}-{number}"
            if survivors[writer % 2].put(key, key.encode()):
                acknowledged.append(key)
            number += 1

    with ThreadPoolExecutor() as pool:
        writers = [pool.submit(write, writer) for writer in range(4)]
        try:
            await_true(lambda: len(acknowledged) > 50, "some are written")
            leader.kill()
            before = len(acknowledged)
            await_true(lambda: len(acknowledged) > before + 50, "and some again without the old leader")
        finally:
            over.set()
        for writer in writers:
            writer.result()
    for key in acknowledged:
        assert survivors[0].get(key) == key.encode()
    leader.start()
    leader.await_serving()
    assert leader.request("GET", f"/v1/kv/{acknowledged[-1]}?raw&stale")[1] == acknowledged[-1].encode()


def test_nothing_acknowledged_is_lost_when_all_are_killed_at_once(servers: list[Process]) -> None:
    with ThreadPoolExecutor() as pool:
        pending = [pool.submit(servers[n % 3].put, f"key{n}", b"%d" % n) for n in range(60)]
        await_true(lambda: sum(future.done() for future in pending) > 20, "some are written")
        for server in servers:
            server.process.kill()
        acknowledged = [n for n, future in enumerate(pending) if future.result()]
    for server in servers:
        server.kill()
        server.start()
    servers[0].await_serving()
    for n in acknowledged:
        assert servers[0].get(f"key{n}") == b"%d" % n


# --- Stopped


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_server_within_ten_seconds(launch: Launch, number: signal.Signals) -> None:
    server = alone(launch)
    server.put("key", b"value")
    server.process.send_signal(number)
    assert server.ended() == OK
    assert server.last_words() == ""


def test_a_client_agent_leaves_when_it_is_terminated_and_when_the_api_says_so(
    launch: Launch, subnet: str
) -> None:
    server = alone(launch)
    terminated, told = (launch(number, f"-retry-join={subnet}.1") for number in (2, 3))
    for client in (terminated, told):
        client.await_serving()
    terminated.process.terminate()
    assert told.request("PUT", "/v1/agent/leave")[0] == 200
    assert terminated.ended() == OK
    assert told.ended() == OK
    members = json.loads(server.request("GET", "/v1/agent/members")[1])
    assert {member["Name"]: member["Status"] for member in members} == {"n1": 1, "n2": 3, "n3": 3}


# --- In trouble with the machine


@pytest.mark.parametrize(("port", "kind"), [(8500, "TCP"), (8300, "TCP"), (8301, "TCP"), (8301, "UDP")])
def test_a_port_in_use_is_named_with_the_flags_to_change_it(
    launch: Launch, subnet: str, port: int, kind: str
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "TCP" else socket.SOCK_DGRAM) as other:
        other.bind((f"{subnet}.1", port))
        if kind == "TCP":
            other.listen()
        server = launch(1, "-server", "-bootstrap")
        assert server.ended() == MACHINE_ERROR
    assert "in use" in server.last_words()
    assert str(port) in server.last_words()
    assert "-port" in server.last_words()
    assert "Traceback" not in server.log


def test_a_full_disk_ends_the_agent_and_nothing_unwritten_is_acknowledged(launch: Launch) -> None:
    """A limit on the size of files stands for a full disk: a write fails in the middle of a record."""
    server = alone(launch, limit_bytes=FULL_DISK_BYTES)
    value = b"v" * 10_000
    acknowledged = []
    for number in range(FULL_DISK_BYTES // len(value) + 10):
        if not server.put(f"key{number}", value):
            break
        acknowledged.append(number)
    assert 0 < len(acknowledged) <= FULL_DISK_BYTES // len(value)
    assert server.ended() == MACHINE_ERROR
    assert "File too large" in server.last_words()
    assert "make room" in server.last_words()
    server.start(limit_bytes=10 * FULL_DISK_BYTES)
    server.await_serving()
    for number in acknowledged:
        assert server.get(f"key{number}") == value


def test_a_torn_tail_is_cut_and_told_and_damage_further_up_is_refused_with_file_and_offset(
    launch: Launch,
) -> None:
    server = alone(launch)
    for number in range(20):
        assert server.put(f"key{number}", b"v" * 100)
    server.kill()
    log = next(path for path in server.data_dir.iterdir() if path.name.startswith("log-"))
    os.truncate(log, log.stat().st_size - 3)
    server.start()
    server.await_serving()
    assert "torn tail" in server.log
    assert server.get("key0") == b"v" * 100
    server.kill()
    damaged = bytearray(log.read_bytes())
    damaged[len(damaged) // 2] ^= 0x10
    log.write_bytes(damaged)
    server.start()
    assert server.ended() == BROKEN_INPUT
    assert log.name in server.last_words()
    assert "offset" in server.last_words()
    assert "Traceback" not in server.log


def test_a_data_directory_that_cannot_be_made_is_named(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "n1").mkdir()
    (tmp_path / "n1" / "data").write_text("not a directory")
    server = launch(1, "-server", "-bootstrap")
    assert server.ended() == MACHINE_ERROR
    assert str(tmp_path / "n1" / "data") in server.last_words()
    assert "-data-dir" in server.last_words()


def test_a_data_directory_of_a_running_agent_is_refused(launch: Launch, subnet: str) -> None:
    server = alone(launch)
    second = Process(
        server.directory.parent / "n2", f"{subnet}.2", ["-server", f"-data-dir={server.data_dir}"]
    )
    try:
        assert second.ended() == MACHINE_ERROR
        assert f"in use by process {server.process.pid}" in second.last_words()
        assert server.put("key", b"value")
    finally:
        second.kill()
