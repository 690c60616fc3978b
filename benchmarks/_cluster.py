"""A proconsul cluster of real processes on loopback addresses, for the benchmarks."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HTTP_PORT = 8500
READY_SECONDS = 30.0


class LocalCluster:
    """`with LocalCluster(5) as cluster:` all servers, ready. Everything is gone afterwards."""

    def __init__(self, servers: int) -> None:
        self.addresses = [f"127.0.77.{number}" for number in range(1, servers + 1)]
        self._directory = tempfile.TemporaryDirectory(prefix="splitbrain-benchmark-")
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> LocalCluster:
        try:
            for address in self.addresses:
                self.start(address)
            for address in self.addresses:
                self.await_ready(address)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for address in self.addresses:
            self.kill(address)
        self._directory.cleanup()

    def start(self, address: str) -> None:
        """Start the server, over its data if it has any."""
        directory = Path(self._directory.name) / address
        directory.mkdir(exist_ok=True)
        config = directory / "config.json"
        config.write_text(
            json.dumps(
                {
                    "node_name": address,
                    "server": True,
                    "bootstrap_expect": len(self.addresses),
                    "bind_addr": address,
                    "client_addr": address,
                    "data_dir": str(directory / "data"),
                    "retry_join": [other for other in self.addresses if other != address],
                    "performance": {"raft_multiplier": 1},
                }
            )
        )
        with (directory / "log").open("ab") as log:
            self._processes[address] = subprocess.Popen(
                [sys.executable, "-m", "impl", "agent", "-config-file", str(config)], stdout=log, stderr=log
            )

    def kill(self, address: str) -> None:
        """SIGKILL."""
        process = self._processes.pop(address, None)
        if process is not None:
            process.kill()
            process.wait()

    def cpu_seconds(self) -> float:
        """Processor time of all servers so far."""
        ticks = 0
        for process in self._processes.values():
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def leader(self, address: str) -> str:
        """The leader's address as that server knows it; "" if it knows none or does not answer."""
        status, body = request(address, "GET", "/v1/status/leader")
        return json.loads(body).rpartition(":")[0] if status == 200 else ""

    def await_ready(self, address: str) -> None:
        """Until the server answers a consistent read."""
        await_true(
            lambda: request(address, "GET", "/v1/kv/ready?consistent")[0] in (200, 404), f"{address} to serve"
        )


def request(
    address: str, method: str, path: str, body: bytes = b"", timeout: float = 1.0
) -> tuple[int, bytes]:
    """One request on a connection of its own; status 0 if there is no answer within the time."""
    connection = http.client.HTTPConnection(address, HTTP_PORT, timeout=timeout)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.read()
    except OSError:
        return 0, b""
    finally:
        connection.close()


def await_true(condition: Callable[[], bool], what: str, seconds: float = READY_SECONDS) -> None:
    """Poll; SystemExit if it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {seconds:g} s in vain for {what}")
        time.sleep(0.01)
