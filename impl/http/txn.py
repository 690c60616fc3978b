"""/v1/txn: several operations on keys at once, all of them or none (Consul: agent/txn_endpoint.go).

A transaction that only reads is a query, with a query's consistency modes; any other goes through the log.
What fails is 409 with every operation that failed and why. An operation that names nothing is left out, as in
Consul, and so does not count in the numbers of the others.

Deviations: operations on nodes, services and checks are refused, as there is no catalog, and so are `lock`
and `unlock`, as there are no sessions.
"""

from __future__ import annotations

import msgspec

from impl.http.exchange import Exchange, HttpError, Response
from impl.http.kv import Apply, AskQuery, Entry, entry, meta
from impl.http.parameters import UNSIGNED_MAX, parse_options
from impl.server.requests import KVApply, TxnRead
from impl.state import Failed, Operation, Outcome, Transaction, encode_command
from impl.state.commands import Unsigned
from impl.state.transactions import only_reads

METHODS = ("PUT",)
OPERATIONS_MAX = 128

NOT_HERE = ("node", "service", "check")
NEED_SESSIONS = ("lock", "unlock")
WITHOUT_KEY = ("delete-tree",)


class _KVOperation(msgspec.Struct, frozen=True):
    """An operation on a key in Consul's JSON. Names come in any case, and are in lower case by now."""

    verb: str = ""
    key: str = ""
    value: bytes | None = None
    flags: Unsigned = 0
    index: Unsigned = 0
    session: str = ""


class _Item(msgspec.Struct, frozen=True):
    kv: _KVOperation | None = None
    node: object = None
    service: object = None
    check: object = None


class _Result(msgspec.Struct, frozen=True, rename={"kv": "KV"}):
    kv: Entry


class _Error(msgspec.Struct, frozen=True, rename="pascal"):
    op_index: int
    what: str


class _Reply(msgspec.Struct, frozen=True, rename="pascal"):
    results: list[_Result] | None
    errors: list[_Error] | None


class Transactions:
    """The handler, around the two ways of asking the agent."""

    def __init__(self, query: AskQuery, apply: Apply, value_size_max: int, size_max: int) -> None:
        self._query = query
        self._apply = apply
        self._value_size_max = value_size_max
        self._size_max = max(size_max, value_size_max)

    async def handle(self, exchange: Exchange) -> Response:
        """Answer a request of one of METHODS."""
        operations = self._operations(await self._body(exchange))
        options = msgspec.structs.replace(parse_options(exchange.query), min_index=0)
        keyless = [
            Failed(number, "Must provide key")
            for number, operation in enumerate(operations)
            if not operation.key and operation.verb not in WITHOUT_KEY
        ]
        if keyless:
            return _answer(exchange, Outcome(failures=tuple(keyless)))
        if only_reads(operations):
            reply = await self._query(exchange, TxnRead(operations, options))
            assert reply.outcome is not None
            _, known_leader, last_contact = meta(reply)
            response = _answer(exchange, reply.outcome)
            return response._replace(headers=(*response.headers, known_leader, last_contact))
        command = encode_command(Transaction(operations))
        done = await self._apply(KVApply(command, options.datacenter))
        assert isinstance(done.result, Outcome)
        return _answer(exchange, done.result)

    async def _body(self, exchange: Exchange) -> bytes:
        try:
            return await exchange.body(self._size_max)
        except HttpError:
            raise HttpError(413, f"Request body too large, max size: {self._size_max} bytes") from None

    def _operations(self, body: bytes) -> tuple[Operation, ...]:
        try:
            items = msgspec.convert(_in_lower_case(msgspec.json.decode(body)), list[_Item])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise _unparsable(error) from None
        if len(items) > OPERATIONS_MAX:
            raise HttpError(
                413, f"Transaction contains too many operations ({len(items)} > {OPERATIONS_MAX})"
            )
        operations = []
        for item in items:
            if item.kv is not None:
                operations.append(self._operation(item.kv))
            elif any(getattr(item, name) is not None for name in NOT_HERE):
                raise HttpError(400, "Node, Service and Check need a catalog, which this agent does not have")
        return tuple(operations)

    def _operation(self, given: _KVOperation) -> Operation:
        value = given.value or b""
        if len(value) > self._value_size_max:
            key = msgspec.json.encode(given.key).decode()
            raise HttpError(
                413, f"Value for key {key} is too large ({len(value)} > {self._value_size_max} bytes)"
            )
        if max(given.flags, given.index) > UNSIGNED_MAX:
            raise _unparsable(f"Flags and Index are at most {UNSIGNED_MAX}")
        if given.verb in NEED_SESSIONS:
            raise HttpError(400, f"{given.verb} needs sessions, which this agent does not have")
        return Operation(given.verb, given.key, value, given.flags, given.index, given.session)


def _answer(exchange: Exchange, outcome: Outcome) -> Response:
    if not outcome.failures:
        return exchange.json(_Reply([_Result(entry(pair)) for pair in outcome.pairs], None))
    errors = [_Error(failed.operation, failed.what) for failed in outcome.failures]
    return exchange.json(_Reply(None, errors))._replace(status=409)


def _unparsable(why: object) -> HttpError:
    return HttpError(400, f"Failed to parse body: {why}")


def _in_lower_case(value: object) -> object:
    """The names of all objects in it: Consul does not mind how they are written."""
    if isinstance(value, dict):
        return {name.lower(): _in_lower_case(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_in_lower_case(one) for one in value]
    return value
