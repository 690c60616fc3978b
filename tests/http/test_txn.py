"""/v1/txn as Consul answers it: bodies, codes and texts."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from impl.server.requests import KVApply, Options, TxnRead
from impl.state import Operation, Transaction, decode_command


def txn(api: Any, *operations: dict[str, Any], query: str = "") -> Any:
    return api("PUT", f"/v1/txn{query}", json.dumps([{"KV": operation} for operation in operations]).encode())


def encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()


def test_results_are_pairs_with_values_only_where_they_were_asked_for(api: Any) -> None:
    answer = txn(
        api,
        {"Verb": "set", "Key": "a", "Value": encoded(b"hello"), "Flags": 42},
        {"Verb": "get", "Key": "a"},
        {"Verb": "delete", "Key": "b"},
    )
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    pair = {"LockIndex": 0, "Key": "a", "Flags": 42, "CreateIndex": 1, "ModifyIndex": 1}
    assert json.loads(answer.body) == {
        "Results": [{"KV": {**pair, "Value": None}}, {"KV": {**pair, "Value": encoded(b"hello")}}],
        "Errors": None,
    }


def test_a_conflict_is_409_with_every_failure_and_its_number(api: Any) -> None:
    answer = txn(
        api,
        {"Verb": "check-not-exists", "Key": "a"},
        {"Verb": "cas", "Key": "a", "Index": 7},
        {"Verb": "get", "Key": "a"},
    )
    assert (answer.status, answer.headers["content-type"]) == (409, "application/json")
    assert json.loads(answer.body) == {
        "Results": None,
        "Errors": [
            {"OpIndex": 1, "What": 'failed to set key "a", index is stale'},
            {"OpIndex": 2, "What": 'key "a" doesn\'t exist'},
        ],
    }


def test_what_only_reads_is_a_query_with_a_querys_consistency_and_does_not_wait(api: Any) -> None:
    answer = txn(api, {"Verb": "get-or-empty", "Key": "a"}, query="?stale&index=7&wait=1s")
    options = Options(consistency="stale", wait_ns=1_000_000_000)
    assert api.agent.requests == [TxnRead((Operation("get-or-empty", "a"),), options)]
    assert json.loads(answer.body)["Results"][0]["KV"]["ModifyIndex"] == 0
    assert (answer.headers["x-consul-knownleader"], answer.headers["x-consul-lastcontact"]) == ("true", "7")
    assert "x-consul-index" not in answer.headers
    assert txn(api, {"Verb": "get", "Key": "a"}).status == 409


def test_one_change_takes_the_whole_transaction_through_the_log(api: Any) -> None:
    txn(api, {"Verb": "get-tree", "Key": "a"}, {"Verb": "delete-tree", "Key": ""}, query="?dc=dc2")
    (request,) = api.agent.requests
    assert isinstance(request, KVApply)
    assert request.datacenter == "dc2"
    assert decode_command(request.command) == Transaction(
        (Operation("get-tree", "a"), Operation("delete-tree", ""))
    )


def test_nothing_at_all_is_done_at_once(api: Any) -> None:
    answer = api("PUT", "/v1/txn", b"[]")
    assert (answer.status, json.loads(answer.body)) == (200, {"Results": [], "Errors": None})


def test_names_come_in_any_case_and_what_names_nothing_is_left_out(api: Any) -> None:
    body = b'[{}, {"kv": {"verb": "get", "KEY": "a", "Namespace": "x"}, "Node": null}]'
    answer = api("PUT", "/v1/txn", body)
    assert json.loads(answer.body)["Errors"] == [{"OpIndex": 0, "What": 'key "a" doesn\'t exist'}]


def test_keys_are_missed_before_anything_is_asked(api: Any) -> None:
    answer = txn(api, {"Verb": "set", "Key": "a"}, {"Verb": "get-tree"}, {"Verb": "delete-tree"})
    assert answer.status == 409
    assert json.loads(answer.body)["Errors"] == [{"OpIndex": 1, "What": "Must provide key"}]
    assert api.agent.requests == []


ONE = b'{"KV":{"Verb":"get","Key":"a"}}'


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"", 400, "Failed to parse body: "),
        (b"{}", 400, "Failed to parse body: "),
        (b"[" * 5000, 400, "Failed to parse body: "),
        (b'[{"KV":{"Verb":"set","Key":"a","Value":"?"}}]', 400, "Failed to parse body: "),
        (b'[{"KV":{"Verb":"cas","Key":"a","Index":-1}}]', 400, "Failed to parse body: "),
        (b'[{"KV":{"Verb":"set","Key":"a","Flags":18446744073709551616}}]', 400, "Failed to parse body: "),
        (b'[{"KV":{"Verb":"cas","Key":"a","Index":18446744073709551616}}]', 400, "Failed to parse body: "),
        (b'[{"KV":{"Verb":"lock","Key":"a"}}]', 400, "lock needs sessions"),
        (b'[{"Service":{"Verb":"get"}}]', 400, "need a catalog"),
        (
            b'[{"KV":{"Verb":"set","Key":"a","Value":"' + base64.b64encode(bytes(101)) + b'"}}]',
            413,
            'Value for key "a" is too large (101 > 100 bytes)',
        ),
        (
            b"[" + b",".join([ONE] * 129) + b"]",
            413,
            "Transaction contains too many operations (129 > 128)",
        ),
        (b" " * 20_001, 413, "Request body too large, max size: 20000 bytes"),
    ],
)
def test_what_cannot_be_done_is_refused_in_consuls_words_and_changes_nothing(
    api: Any, body: bytes, status: int, text: str
) -> None:
    answer = api("PUT", "/v1/txn", body)
    assert (answer.status, text in answer.body.decode()) == (status, True), answer.body
    assert api.agent.requests == []


def test_as_many_operations_as_are_allowed_are_done(api: Any) -> None:
    assert txn(api, *({"Verb": "set", "Key": f"{number}"} for number in range(128))).status == 200
    assert api("GET", "/v1/txn").status == 405


def test_what_the_cluster_cannot_answer_is_500(api: Any) -> None:
    api.agent.failure = "No cluster leader"
    answer = asyncio.run(api.ask("PUT", "/v1/txn", b"[" + ONE + b"]"))
    assert (answer.status, answer.body) == (500, b"No cluster leader")
