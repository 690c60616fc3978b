"""proconsul, the reference system, over Consul's HTTP API.

The adapter knows nothing but the API and the command line, so that the same file would do for Consul itself.
What it promises follows https://developer.hashicorp.com/consul/docs/architecture/consistency.
"""

from __future__ import annotations

import asyncio
import base64
import math
import sys
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any
from urllib.parse import quote

import msgspec

from harness.history import Versioned
from harness.systems import KV, Indeterminate, MembershipBounds, Options, Refused, System, await_nodes
from harness.systems.http import Answer, HttpClient
from harness.worlds import Cluster

HTTP_PORT = 8500

# What every agent of a test cluster runs with: gossip that is faster than Consul's on a LAN, so that a run of
# half a minute sees deaths confirmed and healed; raft_multiplier 1, as Consul recommends for production.
PROBE_INTERVAL = 0.2
PROBE_TIMEOUT = 0.1
GOSSIP_INTERVAL = 0.1
SUSPICION_MULT = 5
PUSH_PULL_INTERVAL = 3.0
RECONNECT_INTERVAL = 0.25
RETRY_INTERVAL = 3.0
STREAM_TIMEOUT = 1.0

# What cannot be configured, as in memberlist (config.go).
SUSPICION_MAX_TIMEOUT_MULT = 6
AWARENESS_MAX = 8

SLACK = 1.0
"""For an agent that gets no processor for a while, and for the time between two looks."""

_STATUS = {1: "alive", 2: "left", 3: "left", 4: "failed"}
"""Serf's member status (serf.go): alive, leaving, left, failed."""


class Proconsul(System):
    """One cluster of proconsul agents: the first `servers` nodes are servers, the rest client agents."""

    name = "proconsul"

    def promise(self, workload: str, options: Options) -> str | None:
        if workload == "gossip":
            bounds = self.membership_bounds(options)
            return (
                f"A dead agent is seen failed by all others within {bounds.detect:.1f} s, a live one never, "
                f"and all agents agree again within {bounds.converge:.1f} s after a heal."
            )
        if workload == "watch":
            return (
                "A blocking query is answered once there is a later version than its index, or when its wait "
                "is over, and its index does not go back (Consul documentation, blocking queries)."
            )
        if workload in ("append", "wr"):
            return {
                "consistent": (
                    "Strict serializable: a transaction is one entry of the log, and one that only reads is "
                    "confirmed with a quorum."
                ),
                "default": (
                    "Serializable, and strict but for a short window: a leader that was cut off or paused "
                    "may answer what only reads from an old state until its lease runs out."
                ),
                "stale": (
                    "Serializable: what only reads is answered by any server from the state that it has, "
                    "old as it may be, and any state is the one after some entry of the log."
                ),
            }[options.reads]
        if workload == "session" and options.reads == "stale":
            return (
                "Any server answers from what it has: its answers go only forward, through the states of one "
                "log. Not even a session's own writes need be among them."
            )
        return {
            "consistent": "Linearizable: each consistent read is confirmed with a quorum.",
            "default": (
                "Linearizable but for a short window: a leader that was cut off or paused may serve "
                "stale values until its lease runs out."
            ),
            "stale": "Nothing about freshness: any server answers from what it has.",
        }[options.reads]

    def missing(self, options: Options) -> str | None:
        return None

    def knobs(self, random: Random) -> Mapping[str, str]:
        if random.random() < 0.5:
            return {}
        return {
            "raft_snapshot_threshold": str(random.choice((4, 20, 60))),
            "raft_snapshot_interval": "1s",
            "raft_trailing_logs": str(random.choice((0, 3, 20))),
            "raft_append_entries_max": str(random.choice((1, 4, 512))),
            "raft_append_in_flight_max": str(random.choice((1, 16))),
        }

    async def start(self, cluster: Cluster, options: Options, node: str) -> None:
        directory = cluster.directory(node)
        config = directory / "config.json"
        config.write_bytes(msgspec.json.format(msgspec.json.encode(self._config(cluster, options, node))))
        program = options.agent or [sys.executable, "-m", "impl"]
        await cluster.start(node, [*program, "agent", "-config-file", str(config)], {})

    def _config(self, cluster: Cluster, options: Options, node: str) -> dict[str, Any]:
        server = node in options.nodes[: options.servers]
        return {
            "node_name": node,
            "server": server,
            **({"bootstrap_expect": options.servers} if server else {}),
            "bind_addr": cluster.address(node),
            "client_addr": "0.0.0.0",
            "data_dir": str(cluster.directory(node) / "data"),
            "retry_join": [cluster.address(name) for name in options.nodes if name != node],
            "retry_interval": f"{RETRY_INTERVAL}s",
            "log_level": "info",
            "performance": {"raft_multiplier": 1},
            **_settings(options.extra or {}),
            "gossip_lan": {
                "probe_interval": f"{PROBE_INTERVAL}s",
                "probe_timeout": f"{PROBE_TIMEOUT}s",
                "gossip_interval": f"{GOSSIP_INTERVAL}s",
                "suspicion_mult": SUSPICION_MULT,
                "push_pull_interval": f"{PUSH_PULL_INTERVAL}s",
                "reconnect_interval": f"{RECONNECT_INTERVAL}s",
                "tcp_timeout": f"{STREAM_TIMEOUT}s",
            },
        }

    async def await_ready(self, cluster: Cluster, options: Options, timeout: float) -> None:
        clients = {node: HttpClient(cluster, node, HTTP_PORT) for node in options.nodes}

        async def not_ready(node: str) -> str:
            why = await self._not_ready(clients[node], options)
            if not why:
                await clients[node].close()
            return why

        try:
            await await_nodes(cluster, timeout, not_ready)
        finally:
            await asyncio.gather(*(client.close() for client in clients.values()))

    async def _not_ready(self, client: HttpClient, options: Options) -> str:
        """What keeps the node from seeing every member alive, knowing the leader and serving; or nothing."""
        try:
            members = _members(await client.request("GET", "/v1/agent/members"))
            alive = sum(status == "alive" for status in members.values())
            if alive < len(options.nodes):
                return f"it sees {alive} of {len(options.nodes)} members alive"
            peers = msgspec.json.decode((await client.request("GET", "/v1/status/peers")).body)
            if len(peers) < options.servers:
                return f"it knows {len(peers)} of {options.servers} Raft peers"
            answer = await client.request("GET", "/v1/kv/ready?consistent")
            return "" if answer.status in (200, 404) else answer.text()
        except msgspec.DecodeError as error:
            return str(error)

    async def leader(self, cluster: Cluster, options: Options) -> str | None:
        async def ask(node: str) -> str | None:
            client = HttpClient(cluster, node, HTTP_PORT)
            try:
                async with asyncio.timeout(1):
                    answer = await client.request("GET", "/v1/status/leader")
                address = msgspec.json.decode(answer.body, type=str).rpartition(":")[0]
                return next((n for n in options.nodes if cluster.address(n) == address), None)
            except (Refused, Indeterminate, TimeoutError, msgspec.DecodeError):
                return None
            finally:
                await client.close()

        servers = [node for node in options.nodes[: options.servers] if cluster.running(node)]
        answers = [node for node in await asyncio.gather(*map(ask, servers)) if node is not None]
        return max(answers, key=answers.count) if answers else None

    async def kv(self, cluster: Cluster, options: Options, node: str) -> KV:
        return ConsulKV(HttpClient(cluster, node, HTTP_PORT), options.reads)

    async def members(self, cluster: Cluster, options: Options, node: str) -> dict[str, str]:
        client = HttpClient(cluster, node, HTTP_PORT)
        try:
            return _members(await client.request("GET", "/v1/agent/members"))
        finally:
            await client.close()

    def membership_bounds(self, options: Options) -> MembershipBounds:
        """The protocol's worst cases, for datagrams that are not lost.

        Detection: each live member probes every other within 2(n-1)-1 probe intervals (round robin over a
        list that is shuffled at each wrap: SWIM, section 4.3); an agent that hears from nobody stretches each
        of these as far as the awareness score goes (Lifeguard); and nobody may confirm its suspicion
        (memberlist, suspicion.go).
        Convergence: who has lost as many members as it has, or more, tries one of them at a time, again and
        again (serf.go, reconnect), and each once before any comes again (`Serf._reconnect_tick`); an attempt
        on one that is silent ends at the time-out, as does the one that the heal finds under way. Over one
        that succeeds each side learns that it is thought dead, suspects, is refuted, and whoever missed it
        hears at a push/pull.
        """
        n = len(options.nodes)
        suspicion = SUSPICION_MULT * max(1.0, math.log10(n)) * PROBE_INTERVAL * SUSPICION_MAX_TIMEOUT_MULT
        probing = (2 * (n - 1) - 1) * AWARENESS_MAX * PROBE_INTERVAL
        # Nemeses cut and kill servers, and a client agent at most.
        attempts = _attempts(min(n, options.servers + 1))
        reconnecting = attempts * (STREAM_TIMEOUT + RECONNECT_INTERVAL)
        return MembershipBounds(
            detect=probing + suspicion + SLACK,
            converge=reconnecting + suspicion + PUSH_PULL_INTERVAL + SLACK,
            formula=(
                f"detect = probing {probing:g} s + longest suspicion {suspicion:g} s + {SLACK:g} s, "
                f"converge = {attempts} attempts to reconnect {reconnecting:g} s + longest suspicion "
                f"+ push/pull interval {PUSH_PULL_INTERVAL:g} s + {SLACK:g} s"
            ),
        )

    def recovery_bound(self, options: Options) -> float:
        # An election (a few rounds of 1 to 2 s), and streams that outlived the cut and break after 5 s.
        return 10.0


def _attempts(members: int) -> int:
    """How many attempts to reconnect may be needed, one after the other, until all that live are together.

    With `dead` of them dead, each part of the living reaches another one by its attempt number dead + 1, so
    that there are at most half as many parts then; and there may have been as many parts as living members.
    """
    return (
        max((dead + 1) * int(math.log2(members - dead)) for dead in range(members - 1)) if members > 1 else 1
    )


def _settings(extra: Mapping[str, str]) -> dict[str, Any]:
    """`--setting=NAME=VALUE` as keys of the configuration file: numbers and booleans as JSON has them."""

    def value(text: str) -> Any:
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            return text

    return {name: value(text) for name, text in extra.items()}


class ConsulKV:
    """One client's connection to Consul's KV interface. Values are stored as JSON."""

    def __init__(self, client: HttpClient, reads: str) -> None:
        self._client = client
        self._query = {"consistent": "?consistent", "default": "", "stale": "?stale"}[reads]

    async def read(self, key: str) -> Any:
        entry = await self._entry(key, self._query)
        return None if entry is None else _value(entry)

    async def watch(self, key: str, index: int, wait: float) -> Versioned:
        query = self._query or "?"
        if index:
            query += f"&index={index}&wait={wait * 1000:.0f}ms"
        answer = await self._client.request("GET", f"/v1/kv/{quote(key)}{query}")
        shown = int(answer.headers.get("x-consul-index", 0))
        if answer.status == 404:
            return Versioned(None, shown)
        (entry,) = msgspec.json.decode(_checked(answer).body, type=list[dict[str, Any]])
        return Versioned(_value(entry), shown)

    async def write(self, key: str, value: Any) -> None:
        if not await self._put(f"/v1/kv/{quote(key)}", value):
            raise Refused("PUT answered false")

    async def cas(self, key: str, old: Any, new: Any) -> bool:
        # The index ties the write to the value read: if anything was written in between, it is refused.
        entry = await self._entry(key, "?consistent")
        if (None if entry is None else _value(entry)) != old:
            return False
        index = 0 if entry is None else entry["ModifyIndex"]
        return await self._put(f"/v1/kv/{quote(key)}?cas={index}", new)

    async def scan(self, prefix: str) -> dict[str, Any]:
        separator = "&" if self._query else "?"
        answer = await self._client.request("GET", f"/v1/kv/{quote(prefix)}{self._query}{separator}recurse")
        if answer.status == 404:
            return {}
        entries = msgspec.json.decode(_checked(answer).body, type=list[dict[str, Any]])
        return {entry["Key"]: _value(entry) for entry in entries}

    async def read_all(self, keys: Sequence[str]) -> dict[str, Versioned]:
        answer = await self._transact([{"Verb": "get-or-empty", "Key": key} for key in keys], self._query)
        results = msgspec.json.decode(_checked(answer).body)["Results"]
        entries = {entry["Key"]: entry for entry in (result["KV"] for result in results)}
        return {
            key: Versioned(_value(entry) if entry["ModifyIndex"] else None, entry["ModifyIndex"])
            for key, entry in entries.items()
        }

    async def write_all(self, values: Mapping[str, Any], versions: Mapping[str, int]) -> bool:
        operations: list[dict[str, Any]] = []
        for key, index in versions.items():
            if key not in values:
                verb = "check-index" if index else "check-not-exists"
                operations.append({"Verb": verb, "Key": key, "Index": index})
        for key, value in values.items():
            guard = {"Verb": "cas", "Index": versions[key]} if key in versions else {"Verb": "set"}
            encoded = base64.b64encode(msgspec.json.encode(value)).decode()
            operations.append({**guard, "Key": key, "Value": encoded})
        answer = await self._transact(operations, "")
        if answer.status == 409:
            return False
        _checked(answer)
        return True

    async def close(self) -> None:
        await self._client.close()

    async def _transact(self, operations: Sequence[Mapping[str, Any]], query: str) -> Answer:
        body = msgspec.json.encode([{"KV": operation} for operation in operations])
        return await self._client.request("PUT", f"/v1/txn{query}", body)

    async def _entry(self, key: str, query: str) -> dict[str, Any] | None:
        answer = await self._client.request("GET", f"/v1/kv/{quote(key)}{query}")
        if answer.status == 404:
            return None
        return msgspec.json.decode(_checked(answer).body, type=list[dict[str, Any]])[0]

    async def _put(self, path: str, value: Any) -> bool:
        answer = _checked(await self._client.request("PUT", path, msgspec.json.encode(value)))
        return msgspec.json.decode(answer.body, type=bool)


def _value(entry: dict[str, Any]) -> Any:
    return msgspec.json.decode(base64.b64decode(entry["Value"]))


def _members(answer: Answer) -> dict[str, str]:
    members = msgspec.json.decode(_checked(answer).body, type=list[dict[str, Any]])
    return {member["Name"]: _STATUS.get(member["Status"], "unknown") for member in members}


_NOT_HAPPENED: Sequence[str] = ("No cluster leader", "No known Consul servers", "No path to datacenter")
"""Errors that Consul gives before it has proposed anything. Any other 500 may hide a write that happened."""


def _checked(answer: Answer) -> Answer:
    """The answer, if it is one; else what the failure means."""
    if answer.status == 200:
        return answer
    if answer.status != 500 or answer.text().endswith(tuple(_NOT_HAPPENED)):
        raise Refused(f"{answer.status} {answer.text()}")
    raise Indeterminate(f"{answer.status} {answer.text()}")
