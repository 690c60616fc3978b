"""What agents ask of each other, and what clients ask through the HTTP API: one struct per method.

A request goes to any agent; `routing` finds the one that answers. Names follow Consul's RPC methods
(agent/consul/kvs_endpoint.go, txn_endpoint.go, status_endpoint.go). A field that is added needs a default.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from impl.state import Operation, Outcome, Pair

Consistency = Literal["default", "consistent", "stale"]


class RequestFailed(Exception):
    """The request was answered with an error: its text, as HTTP's 500 shows it."""


class Options(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a query is to be answered (Consul: structs.QueryOptions)."""

    datacenter: str = ""
    """Empty: the one of the agent that is asked."""
    consistency: Consistency = "default"
    min_index: int = 0
    """Answer once the result's index is past this; 0 at once."""
    wait_ns: int = 0
    """How long to wait for that, before jitter; 0 is Consul's default of 300 s."""
    max_stale_ns: int = 0
    """With `stale`: ask again without it if the answering server has not heard the leader for longer."""


class KVGet(msgspec.Struct, frozen=True, tag="KVS.Get"):
    """The pair of a key, in a list of one or none."""

    key: str
    options: Options = Options()


class KVTree(msgspec.Struct, frozen=True, tag="KVS.List"):
    """All pairs under a prefix."""

    prefix: str
    options: Options = Options()


class KVKeys(msgspec.Struct, frozen=True, tag="KVS.ListKeys"):
    """All keys under a prefix, each up to the first separator behind it."""

    prefix: str
    separator: str = ""
    options: Options = Options()


class TxnRead(msgspec.Struct, frozen=True, tag="Txn.Read"):
    """A transaction that only reads. It is not waited for: the options' index does not count."""

    operations: tuple[Operation, ...]
    options: Options = Options()


class KVApply(msgspec.Struct, frozen=True, tag="KVS.Apply"):
    """A command of `impl.state`, encoded; a transaction is one. Answered once it is applied on the leader."""

    command: bytes
    datacenter: str = ""


class StatusLeader(msgspec.Struct, frozen=True, tag="Status.Leader"):
    """The leader's server address as "ip:port", "" if there is none that this server knows."""

    datacenter: str = ""


class StatusPeers(msgspec.Struct, frozen=True, tag="Status.Peers"):
    """The Raft peers' server addresses."""

    datacenter: str = ""


Lookup = KVGet | KVTree | KVKeys
"""A query that can wait for its answer to change."""
Query = Lookup | TxnRead
Request = Query | KVApply | StatusLeader | StatusPeers


class QueryReply(msgspec.Struct, frozen=True, tag="query", omit_defaults=True):
    """The result of a query, and how much it is worth."""

    index: int
    """Of the result; never 0."""
    known_leader: bool
    last_contact_ms: int
    """How long ago the answering server heard the leader; 0 on the leader."""
    pairs: tuple[Pair, ...] = ()
    keys: tuple[str, ...] = ()
    outcome: Outcome | None = None
    """Of a transaction."""


class Done(msgspec.Struct, frozen=True, tag="done"):
    """Whether a command took effect, or what came of a transaction."""

    result: bool | Outcome = True


class Text(msgspec.Struct, frozen=True, tag="text"):
    text: str


class Texts(msgspec.Struct, frozen=True, tag="texts"):
    texts: tuple[str, ...]


class Failure(msgspec.Struct, frozen=True, tag="failure"):
    """The request failed; `text` as Consul words it."""

    text: str


Reply = QueryReply | Done | Text | Texts | Failure
