"""/v1/kv/: reading, writing and deleting keys (Consul: agent/kvs_endpoint.go).

Deviations: a number that is none is answered with 400 where Consul says 500, for 500 means that a write may
have happened; `acquire` and `release` are refused, as there are no sessions.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from impl.http.exchange import Exchange, Header, HttpError, Response
from impl.http.parameters import (
    Parameters,
    parse_key,
    parse_options,
    parse_parameters,
    parse_unsigned,
    refuse_conflict,
)
from impl.server.requests import Done, KVApply, KVGet, KVKeys, KVTree, Query, QueryReply
from impl.state import (
    Command,
    CompareAndDelete,
    CompareAndSet,
    Delete,
    DeleteTree,
    Pair,
    Set,
    encode_command,
)

AskQuery = Callable[[Exchange, Query], Awaitable[QueryReply]]
Apply = Callable[[KVApply], Awaitable[Done]]

METHODS = ("GET", "PUT", "DELETE")

RAW_HEADERS: tuple[Header, ...] = (
    (b"content-type", b"text/plain"),
    # A browser must not take a value for a page and run it.
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"sandbox"),
)
LEADER_KNOWN: Header = (b"x-consul-knownleader", b"true")
LEADER_UNKNOWN: Header = (b"x-consul-knownleader", b"false")
JUST_HEARD: Header = (b"x-consul-lastcontact", b"0")


class Entry(msgspec.Struct, frozen=True, rename="pascal", gc=False):
    """A pair in Consul's JSON."""

    lock_index: int
    key: str
    flags: int
    value: bytes | None
    """In base64; null if it is empty."""
    create_index: int
    modify_index: int
    session: str | msgspec.UnsetType = msgspec.UNSET


class KeyValue:
    """The handler, around the two ways of asking the agent."""

    def __init__(self, query: AskQuery, apply: Apply, value_size_max: int) -> None:
        self._query = query
        self._apply = apply
        self._value_size_max = value_size_max

    async def handle(self, exchange: Exchange) -> Response:
        """Answer a request of one of METHODS."""
        key = parse_key(exchange.path)
        if exchange.method == "GET":
            return await self._get(exchange, key)
        if exchange.method == "PUT":
            return await self._put(exchange, key)
        return await self._delete(exchange, key)

    async def _get(self, exchange: Exchange, key: str) -> Response:
        parameters = parse_parameters(exchange.query)
        options = parse_options(exchange.query)
        if "keys" in parameters:
            return await self._keys(exchange, key, parameters)
        if "recurse" in parameters:
            reply = await self._query(exchange, KVTree(key, options))
        elif key:
            reply = await self._query(exchange, KVGet(key, options))
        else:
            raise _missing_key()
        if not reply.pairs:
            return Response(404, meta(reply))
        if "raw" in parameters and "recurse" not in parameters:
            return Response(200, (*RAW_HEADERS, *meta(reply)), reply.pairs[0].value)
        return exchange.json([entry(pair) for pair in reply.pairs], *meta(reply))

    async def _keys(self, exchange: Exchange, prefix: str, parameters: Parameters) -> Response:
        # Consul misspelt it once and has understood both ever since.
        separator = parameters.get("separator", parameters.get("seperator", ""))
        reply = await self._query(exchange, KVKeys(prefix, separator, parse_options(exchange.query)))
        if not reply.keys and prefix:
            return Response(404, meta(reply))
        return exchange.json(reply.keys, *meta(reply))

    async def _put(self, exchange: Exchange, key: str) -> Response:
        parameters = parse_parameters(exchange.query)
        if not key:
            raise _missing_key()
        refuse_conflict(parameters, "cas", "acquire", "release")
        if "acquire" in parameters or "release" in parameters:
            raise HttpError(400, "?acquire and ?release need sessions, which this agent does not have")
        flags = _number(parameters, "flags")
        modify_index = _number(parameters, "cas")
        value = await exchange.body(self._value_size_max)
        if "cas" in parameters:
            return await self._change(exchange, CompareAndSet(key, value, modify_index, flags))
        return await self._change(exchange, Set(key, value, flags))

    async def _delete(self, exchange: Exchange, key: str) -> Response:
        parameters = parse_parameters(exchange.query)
        refuse_conflict(parameters, "recurse", "cas")
        if "recurse" in parameters:
            return await self._change(exchange, DeleteTree(key))
        if not key:
            raise _missing_key()
        if "cas" in parameters:
            return await self._change(exchange, CompareAndDelete(key, _number(parameters, "cas")))
        return await self._change(exchange, Delete(key))

    async def _change(self, exchange: Exchange, command: Command) -> Response:
        datacenter = parse_options(exchange.query).datacenter
        done = await self._apply(KVApply(encode_command(command), datacenter))
        return exchange.json(done.result)


def meta(reply: QueryReply) -> tuple[Header, ...]:
    """The headers that say what a query's result is worth."""
    contact_ms = reply.last_contact_ms
    return (
        (b"x-consul-index", b"%d" % reply.index),
        LEADER_KNOWN if reply.known_leader else LEADER_UNKNOWN,
        (b"x-consul-lastcontact", b"%d" % contact_ms) if contact_ms > 0 else JUST_HEARD,
    )


def entry(pair: Pair) -> Entry:
    """The pair as Consul's JSON has it."""
    return Entry(
        pair.lock_index,
        pair.key,
        pair.flags,
        pair.value or None,
        pair.create_index,
        pair.modify_index,
        msgspec.UNSET if pair.session is None else pair.session,
    )


def _number(parameters: Parameters, name: str) -> int:
    """The parameter's value; 0 if it is not there."""
    text = parameters.get(name)
    if text is None:
        return 0
    return parse_unsigned(text, f'Invalid {name} "{text}": expected a number from 0 to 18446744073709551615')


def _missing_key() -> HttpError:
    return HttpError(400, "Missing key name")
