"""etcd, over its JSON gateway: a system that nobody here wrote, lest the harness assume its own child.

Needs Debian's etcd-server (3.4) or any etcd 3.4 or newer in PATH. What it promises follows
https://etcd.io/docs/v3.4/learning/api_guarantees/.
"""

from __future__ import annotations

import asyncio
import base64
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from harness.history import Versioned
from harness.systems import KV, Indeterminate, Options, Refused, System, await_nodes
from harness.systems.http import HttpClient
from harness.worlds import Cluster

CLIENT_PORT = 2379
PEER_PORT = 2380


class Etcd(System):
    """One etcd cluster; every node is a member of it."""

    name = "etcd"

    def promise(self, workload: str, options: Options) -> str | None:
        if workload in ("gossip", "watch"):
            return None  # it has no gossip, and this adapter does not watch
        if workload in ("append", "wr"):
            if options.reads == "stale":
                return (
                    "Serializable: serializable reads are answered by any member from what it has, at one "
                    "revision (etcd documentation, KV API guarantees)."
                )
            return "Strict serializable (etcd documentation, KV API guarantees)."
        if options.reads == "stale":
            return (
                "Writes are linearizable; serializable reads are answered by any member from what it has, "
                "and may be stale (etcd documentation, KV API guarantees)."
            )
        return "Linearizable, reads included (etcd documentation, KV API guarantees)."

    def missing(self, options: Options) -> str | None:
        if options.agent is None and shutil.which("etcd") is None:
            return "etcd is not installed: apt-get install etcd-server"
        return None

    async def start(self, cluster: Cluster, options: Options, node: str) -> None:
        peers = ",".join(f"{name}=http://{cluster.address(name)}:{PEER_PORT}" for name in options.nodes)
        address = cluster.address(node)
        arguments = {
            "--name": node,
            "--data-dir": str(cluster.directory(node) / "data"),
            "--listen-client-urls": f"http://0.0.0.0:{CLIENT_PORT}",
            "--advertise-client-urls": f"http://{address}:{CLIENT_PORT}",
            "--listen-peer-urls": f"http://{address}:{PEER_PORT}",
            "--initial-advertise-peer-urls": f"http://{address}:{PEER_PORT}",
            "--initial-cluster": peers,
            "--logger": "zap",
        }
        program = options.agent or ["etcd"]
        await cluster.start(node, [*program, *(f"{name}={value}" for name, value in arguments.items())], {})

    async def await_ready(self, cluster: Cluster, options: Options, timeout: float) -> None:
        async def not_ready(node: str) -> str:
            kv = EtcdKV(HttpClient(cluster, node, CLIENT_PORT), serializable=False)
            try:
                await kv.read("ready")
            finally:
                await kv.close()
            return ""

        await await_nodes(cluster, timeout, not_ready)

    async def leader(self, cluster: Cluster, options: Options) -> str | None:
        """The member that most members call leader."""

        async def ask(node: str) -> tuple[str, str, str] | None:
            client = HttpClient(cluster, node, CLIENT_PORT)
            try:
                async with asyncio.timeout(1):
                    answer = await client.request("POST", "/v3/maintenance/status", b"{}")
                status = msgspec.json.decode(answer.body)
                return node, status["header"]["member_id"], status.get("leader", "0")
            except (Refused, Indeterminate, TimeoutError, msgspec.DecodeError, KeyError):
                return None
            finally:
                await client.close()

        nodes = [node for node in options.nodes if cluster.running(node)]
        answers = [answer for answer in await asyncio.gather(*map(ask, nodes)) if answer is not None]
        node_of = {member: node for node, member, _ in answers}
        called = [leader for _, _, leader in answers if leader in node_of]
        return node_of[max(called, key=called.count)] if called else None

    async def kv(self, cluster: Cluster, options: Options, node: str) -> KV:
        return EtcdKV(HttpClient(cluster, node, CLIENT_PORT), serializable=options.reads == "stale")

    def fault_seconds(self, options: Options) -> float:
        # An election takes 1 to 2 s, and whoever writes meanwhile hangs: followers send on to the leader that
        # they have lost, nothing comes back, and a client waits out its timeout of 5 s.
        return 7.0

    def recovery_bound(self, options: Options) -> float:
        # An election (1 to 2 s, several if votes split), and TCP's backoff on streams that outlived a cut.
        return 15.0


class EtcdKV:
    """One client's connection to one member. Keys and values travel in base64, values as JSON."""

    def __init__(self, client: HttpClient, *, serializable: bool) -> None:
        self._client = client
        self._serializable = serializable

    async def read(self, key: str) -> Any:
        found = await self._range({"key": _encode(key)})
        return found[key] if found else None

    async def write(self, key: str, value: Any) -> None:
        await self._call("put", {"key": _encode(key), "value": _encode_value(value)})

    async def cas(self, key: str, old: Any, new: Any) -> bool:
        compare = {"key": _encode(key), "result": "EQUAL"}
        if old is None:
            compare |= {"target": "VERSION", "version": "0"}
        else:
            compare |= {"target": "VALUE", "value": _encode_value(old)}
        put = {"requestPut": {"key": _encode(key), "value": _encode_value(new)}}
        answer = await self._call("txn", {"compare": [compare], "success": [put]})
        return bool(answer.get("succeeded", False))

    async def scan(self, prefix: str) -> dict[str, Any]:
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        return await self._range({"key": _encode(prefix), "range_end": _encode(end)})

    async def read_all(self, keys: Sequence[str]) -> dict[str, Versioned]:
        ranges = [{"requestRange": {"key": _encode(key), "serializable": self._serializable}} for key in keys]
        answer = await self._call("txn", {"success": ranges})
        found = dict.fromkeys(keys, Versioned(None, 0))
        for response in answer["responses"]:
            for pair in response["response_range"].get("kvs", ()):
                found[_decode(pair["key"])] = Versioned(_decode_value(pair), int(pair["mod_revision"]))
        return found

    async def write_all(self, values: Mapping[str, Any], versions: Mapping[str, int]) -> bool:
        # The mod_revision of a missing key is 0.
        compares = [
            {"key": _encode(key), "target": "MOD", "result": "EQUAL", "mod_revision": str(version)}
            for key, version in versions.items()
        ]
        puts = [
            {"requestPut": {"key": _encode(key), "value": _encode_value(value)}}
            for key, value in values.items()
        ]
        answer = await self._call("txn", {"compare": compares, "success": puts})
        return bool(answer.get("succeeded", False))

    async def close(self) -> None:
        await self._client.close()

    async def _range(self, request: dict[str, Any]) -> dict[str, Any]:
        answer = await self._call("range", request | {"serializable": self._serializable})
        pairs: Sequence[dict[str, str]] = answer.get("kvs", ())
        return {_decode(pair["key"]): _decode_value(pair) for pair in pairs}

    async def _call(self, method: str, request: dict[str, Any]) -> dict[str, Any]:
        answer = await self._client.request("POST", f"/v3/kv/{method}", msgspec.json.encode(request))
        if answer.status != 200:
            # "request timed out", "leader changed", ...: none of them says that it has not happened.
            raise Indeterminate(f"{answer.status} {answer.text()}")
        return msgspec.json.decode(answer.body, type=dict[str, Any])


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _decode(text: str) -> str:
    return base64.b64decode(text).decode()


def _decode_value(pair: Mapping[str, str]) -> Any:
    return msgspec.json.decode(base64.b64decode(pair["value"]))


def _encode_value(value: Any) -> str:
    return base64.b64encode(msgspec.json.encode(value)).decode()
