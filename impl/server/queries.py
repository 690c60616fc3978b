"""Queries, answered from this server's state: at once, or when it has changed (blocking queries).

A blocking query registers its watch before it looks, so that no change falls in between, and is verified anew
at every look: the leader that it began with may not be one any more. (Consul: agent/blockingquery.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import assert_never

from impl.ports import Ports
from impl.server.driver import Driver
from impl.server.requests import KVGet, KVKeys, KVTree, Lookup, Options, Query, QueryReply, Request, TxnRead
from impl.state import Watch
from impl.state.transactions import read

SECOND_NS = 1_000_000_000
DEFAULT_WAIT_NS = 300 * SECOND_NS
WAIT_MAX_NS = 600 * SECOND_NS
JITTER_FRACTION = 16
"""Up to a sixteenth is added to each wait, lest all who wait come back together."""


class NoLeader(Exception):
    """This server is not the leader, or not sure of it. Nothing has happened."""


def wait_ns_max(request: Request) -> int:
    """How long the answer may be held back, jitter and all; 0 for anything but a blocking query."""
    if not isinstance(request, (KVGet, KVTree, KVKeys)) or request.options.min_index == 0:
        return 0
    wait_ns = _wait_ns(request.options)
    return wait_ns + wait_ns // JITTER_FRACTION


def _wait_ns(options: Options) -> int:
    return min(options.wait_ns or DEFAULT_WAIT_NS, WAIT_MAX_NS)


class Queries:
    """Reads of one server."""

    def __init__(self, driver: Driver, ports: Ports) -> None:
        self._driver = driver
        self._ports = ports

    async def answer(self, query: Query) -> QueryReply:
        """Raises NoLeader unless the query is stale."""
        if query.options.min_index > 0 and not isinstance(query, TxnRead):
            return await self._answer_when_changed(query)
        await self._verify(query)
        return self._look(query)

    async def _answer_when_changed(self, query: Lookup) -> QueryReply:
        options = query.options
        wait_ns = _wait_ns(options)
        wait_ns += self._ports.random.randrange(wait_ns // JITTER_FRACTION + 1)
        changed = asyncio.Event()
        watch = self._watch(query, changed.set)
        # One reading of the clock: were the end any later than the timer, nobody would wake us for it.
        end_ns = self._ports.clock.monotonic_ns() + wait_ns
        timer = self._ports.clock.call_at(end_ns, changed.set)
        try:
            while True:
                changed.clear()
                await self._verify(query)
                reply = self._look(query)
                if reply.index > options.min_index or self._ports.clock.monotonic_ns() >= end_ns:
                    return reply
                await changed.wait()
        finally:
            timer.cancel()
            watch.cancel()

    async def _verify(self, query: Query) -> None:
        """Whether this server may answer with that consistency (Consul: rpc.go, consistentRead)."""
        match query.options.consistency:
            case "stale":
                pass
            case "default":
                if not self._driver.is_leader():
                    raise NoLeader
            case "consistent":
                await self._driver.read_barrier()

    def _watch(self, query: Lookup, wake: Callable[[], None]) -> Watch:
        watches = self._driver.machine.watches
        match query:
            case KVGet():
                return watches.on_key(query.key, wake)
            case KVTree() | KVKeys():
                return watches.on_prefix(query.prefix, wake)
            case _:
                assert_never(query)

    def _look(self, query: Query) -> QueryReply:
        kv = self._driver.machine.kv
        last_contact_ms = (self._driver.leader_contact_age_ns() or 0) // 1_000_000
        known_leader = self._driver.core.leader is not None
        match query:
            case KVGet():
                index, pair = kv.get(query.key)
                pairs = () if pair is None else (pair,)
                return QueryReply(max(index, 1), known_leader, last_contact_ms, pairs)
            case KVTree():
                index, found = kv.get_tree(query.prefix)
                return QueryReply(max(index, 1), known_leader, last_contact_ms, tuple(found))
            case KVKeys():
                index, keys = kv.keys(query.prefix, query.separator)
                return QueryReply(max(index, 1), known_leader, last_contact_ms, keys=tuple(keys))
            case TxnRead():
                outcome = read(kv, query.operations)
                return QueryReply(max(kv.table_index, 1), known_leader, last_contact_ms, outcome=outcome)
            case _:
                assert_never(query)
