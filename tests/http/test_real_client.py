"""A client library that others wrote for Consul (py-consul), against an agent in a process of its own."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import consul
import pytest


@pytest.fixture(scope="module")
def client() -> Iterator[consul.Consul]:
    # An address of its own has every port free, whatever else runs on this machine.
    address = f"127.{200 + os.getpid() // 62500 % 50}.{1 + os.getpid() // 250 % 250}.{1 + os.getpid() % 250}"
    agent = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "impl",
            "agent",
            "-dev",
            "-node=tested",
            f"-bind={address}",
            f"-client={address}",
        ],
        stderr=subprocess.PIPE,
    )
    try:
        client = consul.Consul(host=address)
        await_leader(client)
        yield client
    finally:
        agent.terminate()
        _, log = agent.communicate(timeout=10)
        assert agent.returncode == 0, log.decode()


def await_leader(client: consul.Consul, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if client.status.leader():
                return
        except (OSError, consul.ConsulException):
            pass  # it does not listen yet, or knows no server
        assert time.monotonic() < deadline, f"no leader within {seconds:g} s"
        time.sleep(0.05)


def test_the_cluster_is_as_clients_expect_it(client: consul.Consul) -> None:
    assert client.status.peers() == [client.status.leader()]
    assert client.agent.self()["Config"]["NodeName"] == "tested"
    assert [member["Name"] for member in client.agent.members()] == ["tested"]


def test_values_are_written_read_listed_and_deleted(client: consul.Consul) -> None:
    assert client.kv.put("app/a", "1", flags=7)
    assert client.kv.put("app/b/c", b"\x00\xff")
    _, pair = client.kv.get("app/a", consistency="consistent")
    assert (pair["Value"], pair["Flags"]) == (b"1", 7)
    _, pairs = client.kv.get("app/", recurse=True)
    assert {pair["Key"]: pair["Value"] for pair in pairs} == {"app/a": b"1", "app/b/c": b"\x00\xff"}
    assert client.kv.get("app/", keys=True, separator="/")[1] == ["app/a", "app/b/"]
    assert client.kv.delete("app/", recurse=True)
    assert client.kv.get("app/a")[1] is None


def test_cas_lets_one_of_two_win(client: consul.Consul) -> None:
    assert client.kv.put("cas", "1", cas=0)
    _, pair = client.kv.get("cas")
    assert client.kv.put("cas", "2", cas=pair["ModifyIndex"])
    assert not client.kv.put("cas", "3", cas=pair["ModifyIndex"])
    assert client.kv.get("cas", consistency="stale")[1]["Value"] == b"2"


def test_a_transaction_happens_as_a_whole_or_not_at_all(client: consul.Consul) -> None:
    def operation(verb: str, key: str, **others: object) -> dict[str, object]:
        return {"KV": {"Verb": verb, "Key": key, **others}}

    one = base64.b64encode(b"1").decode()
    done = client.txn.put([operation("set", "txn/a", Value=one), operation("get-or-empty", "txn/b")])
    assert [result["KV"]["Key"] for result in done["Results"]] == ["txn/a", "txn/b"]
    with pytest.raises(consul.ConsulException, match="failed index check"):
        client.txn.put([operation("delete", "txn/a"), operation("check-index", "cas", Index=1)])
    assert client.kv.get("txn/a")[1]["Value"] == b"1"


def test_a_blocking_query_wakes_with_the_change(client: consul.Consul) -> None:
    client.kv.put("watched", "before")
    index, _ = client.kv.get("watched")
    answers: list[bytes] = []

    def watch() -> None:
        answers.append(client.kv.get("watched", index=index, wait="30s")[1]["Value"])

    watcher = threading.Thread(target=watch)
    watcher.start()
    consul.Consul(host=client.http.host).kv.put("watched", "after")
    watcher.join(10)
    assert answers == [b"after"]


def test_a_blocking_query_gives_up_in_time_with_what_there_is(client: consul.Consul) -> None:
    client.kv.put("quiet", "still")
    index, _ = client.kv.get("quiet")
    begun = time.monotonic()
    again, pair = client.kv.get("quiet", index=index, wait="200ms")
    assert (again, pair["Value"]) == (index, b"still")
    assert time.monotonic() - begun >= 0.2
