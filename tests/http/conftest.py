"""An agent that is nothing but a state machine, and a way to ask its API without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from impl.config import AgentConfig
from impl.gossip import Member
from impl.http.application import Application
from impl.server.requests import (
    Done,
    KVApply,
    KVGet,
    KVKeys,
    KVTree,
    QueryReply,
    Reply,
    Request,
    RequestFailed,
    StatusLeader,
    Text,
    Texts,
    TxnRead,
)
from impl.state import StateMachine
from impl.state.transactions import read

MEMBER = Member(
    name="n1",
    address=("10.0.0.1", 8301),
    tags={"role": "consul"},
    status="alive",
    suspect=False,
    incarnation=1,
    versions=(1, 5, 2, 2, 5, 4),
    changed_ns=0,
)


class FakeAgent:
    """Answers at once, from one state machine."""

    def __init__(self) -> None:
        self.config = AgentConfig(
            node_name="n1",
            node_id="6f6c7a3e-0000-4000-8000-000000000001",
            kv_max_value_size=100,
            txn_max_req_len=20_000,
        )
        self.machine = StateMachine()
        self.requests: list[Request] = []
        self.asked = asyncio.Event()
        self.failure: str | None = None
        self.hangs = False
        self.left = False
        self.joined: list[str] = []
        self.forced: list[tuple[str, bool]] = []

    async def request(self, request: Request) -> Reply:
        self.requests.append(request)
        self.asked.set()
        if self.failure is not None:
            raise RequestFailed(self.failure)
        if self.hangs:
            await asyncio.Event().wait()
        match request:
            case KVApply():
                return Done(self.machine.apply(self.machine.last_applied + 1, request.command))
            case KVGet():
                index, pair = self.machine.kv.get(request.key)
                return QueryReply(max(1, index), True, 0, () if pair is None else (pair,))
            case KVTree():
                index, pairs = self.machine.kv.get_tree(request.prefix)
                return QueryReply(max(1, index), True, 7, tuple(pairs))
            case KVKeys():
                index, keys = self.machine.kv.keys(request.prefix, request.separator)
                return QueryReply(max(1, index), False, 0, keys=tuple(keys))
            case TxnRead():
                return QueryReply(1, True, 7, outcome=read(self.machine.kv, request.operations))
            case StatusLeader():
                return Text("10.0.0.1:8300")
        return Texts(("10.0.0.1:8300", "10.0.0.2:8300"))

    def members(self) -> list[Member]:
        return [MEMBER]

    def local_member(self) -> Member:
        return MEMBER

    async def join(self, addresses: Sequence[str]) -> int:
        self.joined += addresses
        return len(addresses)

    def begin_leaving(self) -> None:
        self.left = True

    def force_leave(self, name: str, prune: bool) -> None:
        self.forced.append((name, prune))

    def stats(self) -> dict[str, dict[str, str]]:
        return {"raft": {"term": "3"}}

    def gauges(self) -> dict[str, float]:
        return {"consul.raft.term": 3.0}

    def counters(self) -> dict[str, int]:
        return {"consul.rpc.request": 5}

    def wall_time(self) -> str:
        return "2026-01-01T00:00:00+00:00"


@dataclass
class Answer:
    """What the API said."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class Api:
    """The API of a fake agent: `api("PUT", "/v1/kv/a?flags=3", b"value")`."""

    agent: FakeAgent = field(default_factory=FakeAgent)

    def __call__(self, method: str, target: str, body: bytes = b"", **headers: str) -> Answer:
        return asyncio.run(self.ask(method, target, body, headers))

    async def ask(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        gone: asyncio.Event | None = None,
    ) -> Answer:
        """`gone` is set when the client closes the connection."""
        answer = Answer()
        unread = [body]

        async def receive() -> dict[str, Any]:
            if unread:
                return {"type": "http.request", "body": unread.pop(), "more_body": False}
            await (gone or asyncio.Event()).wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                answer.body += message["body"]

        path, _, query = target.partition("?")
        scope = {
            "method": method,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in (headers or {}).items()],
        }
        await Application(self.agent)(scope, receive, send)
        return answer


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture(scope="session")
def new_api() -> Callable[[], Api]:
    """For properties, which need a new one for each example."""
    return Api
