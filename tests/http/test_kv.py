"""/v1/kv/ as Consul answers it: bodies, codes, texts and headers."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impl.http.parameters import parse_options, parse_parameters
from impl.server.requests import KVGet, Options


def test_a_value_comes_back_in_base64_with_its_indexes(api: Any) -> None:
    assert api("PUT", "/v1/kv/a/b?flags=42", b"hello").body == b"true"
    answer = api("GET", "/v1/kv/a/b")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert json.loads(answer.body) == [
        {
            "LockIndex": 0,
            "Key": "a/b",
            "Flags": 42,
            "Value": base64.b64encode(b"hello").decode(),
            "CreateIndex": 1,
            "ModifyIndex": 1,
        }
    ]
    assert answer.headers["x-consul-index"] == "1"
    assert answer.headers["x-consul-knownleader"] == "true"
    assert answer.headers["x-consul-lastcontact"] == "0"


def test_an_empty_value_is_null(api: Any) -> None:
    api("PUT", "/v1/kv/a")
    assert json.loads(api("GET", "/v1/kv/a").body)[0]["Value"] is None


def test_a_missing_key_is_404_without_a_body_but_with_an_index(api: Any) -> None:
    answer = api("GET", "/v1/kv/a")
    assert (answer.status, answer.body, answer.headers["x-consul-index"]) == (404, b"", "1")


def test_raw_is_the_value_itself_and_no_browser_runs_it(api: Any) -> None:
    api("PUT", "/v1/kv/a", b"<script>")
    answer = api("GET", "/v1/kv/a?raw")
    assert answer.body == b"<script>"
    assert answer.headers["content-type"] == "text/plain"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "sandbox"


def test_recurse_and_keys_list_a_prefix_in_order(api: Any) -> None:
    for key in ("b", "a/2", "a/1", "a/x/y"):
        api("PUT", f"/v1/kv/{key}", b"v")
    recursed = api("GET", "/v1/kv/a/?recurse")
    assert [pair["Key"] for pair in json.loads(recursed.body)] == ["a/1", "a/2", "a/x/y"]
    assert recursed.headers["x-consul-lastcontact"] == "7"
    keys = api("GET", "/v1/kv/?keys")
    assert json.loads(keys.body) == ["a/1", "a/2", "a/x/y", "b"]
    assert keys.headers["x-consul-knownleader"] == "false"
    assert json.loads(api("GET", "/v1/kv/a/?keys&separator=/").body) == ["a/1", "a/2", "a/x/"]
    assert json.loads(api("GET", "/v1/kv/a/?keys&seperator=/").body) == ["a/1", "a/2", "a/x/"]
    assert api("GET", "/v1/kv/z?keys").status == 404


def test_all_keys_of_an_empty_store_are_an_empty_list(api: Any) -> None:
    answer = api("GET", "/v1/kv/?keys")
    assert (answer.status, answer.body) == (200, b"[]")


def test_cas_tells_whether_it_took_effect(api: Any) -> None:
    assert api("PUT", "/v1/kv/a?cas=0", b"1").body == b"true"
    assert api("PUT", "/v1/kv/a?cas=0", b"2").body == b"false"
    assert api("PUT", "/v1/kv/a?cas=1", b"3").body == b"true"
    assert api("DELETE", "/v1/kv/a?cas=1").body == b"false"
    assert api("DELETE", "/v1/kv/a?cas=3").body == b"true"
    assert api("DELETE", "/v1/kv/a?cas=9").body == b"true"  # as newer versions of Consul do


def test_a_tree_is_deleted_whole(api: Any) -> None:
    for key in ("a/1", "a/2", "b"):
        api("PUT", f"/v1/kv/{key}", b"v")
    assert api("DELETE", "/v1/kv/a/?recurse").body == b"true"
    assert json.loads(api("GET", "/v1/kv/?keys").body) == ["b"]


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("", Options()),
        ("?stale", Options(consistency="stale")),
        ("?consistent", Options(consistency="consistent")),
        ("?max_stale=5s", Options(consistency="stale", max_stale_ns=5_000_000_000)),
        ("?index=7&wait=90s", Options(min_index=7, wait_ns=90_000_000_000)),
        ("?index=7&wait=1h", Options(min_index=7, wait_ns=600_000_000_000)),
        ("?dc=dc2", Options(datacenter="dc2")),
    ],
)
def test_options_reach_whoever_answers(api: Any, query: str, options: Options) -> None:
    api("GET", f"/v1/kv/a{query}")
    assert api.agent.requests == [KVGet("a", options)]


@pytest.mark.parametrize(
    ("method", "target", "status", "text"),
    [
        ("GET", "/v1/kv/", 400, "Missing key name"),
        ("PUT", "/v1/kv/", 400, "Missing key name"),
        ("DELETE", "/v1/kv/", 400, "Missing key name"),
        ("GET", "/v1/kv/a?stale&consistent", 400, "Cannot specify ?stale with ?consistent"),
        ("GET", "/v1/kv/a?index=x", 400, "Invalid index"),
        ("GET", "/v1/kv/a?index=1&wait=fast", 400, "Invalid wait time"),
        ("PUT", "/v1/kv/a?cas=1&acquire=s", 400, "Conflicting flags"),
        ("PUT", "/v1/kv/a?acquire=s", 400, "need sessions"),
        ("PUT", "/v1/kv/a?flags=-1", 400, "Invalid flags"),
        ("DELETE", "/v1/kv/a?cas=1&recurse", 400, "Conflicting flags"),
        ("GET", "/v1/kv/%ff", 400, "not UTF-8"),
        ("GET", "/v1/kv/%0", 400, "two hexadecimal digits"),
        ("POST", "/v1/kv/a", 405, "method POST not allowed"),
        ("GET", "/v1/nothing", 404, "Invalid URL path: not a recognized HTTP API endpoint"),
        ("GET", "/elsewhere", 404, "not found"),
    ],
)
def test_what_is_wrong_is_said(api: Any, method: str, target: str, status: int, text: str) -> None:
    answer = api(method, target)
    assert answer.status == status
    assert text in answer.body.decode()
    assert answer.headers["content-type"].startswith("text/plain")
    assert not api.agent.requests


def test_a_value_that_is_too_large_is_refused_before_it_is_read(api: Any) -> None:
    answer = api("PUT", "/v1/kv/a", b"v" * 101, **{"content-length": "101"})
    assert answer.status == 413
    assert b"Request body(101 bytes) too large, max size: 100 bytes" in answer.body
    assert api("PUT", "/v1/kv/a", b"v" * 101).status == 413  # and if its length was not announced
    assert api("PUT", "/v1/kv/a", b"v" * 100).body == b"true"


def test_what_the_cluster_cannot_do_is_500_with_its_words(api: Any) -> None:
    api.agent.failure = "No cluster leader"
    answer = api("PUT", "/v1/kv/a", b"v")
    assert (answer.status, answer.body) == (500, b"No cluster leader")


def test_options_and_405_say_what_is_allowed(api: Any) -> None:
    assert api("OPTIONS", "/v1/kv/a").headers["allow"] == "OPTIONS,GET,PUT,DELETE"
    assert api("PATCH", "/v1/status/leader").headers["allow"] == "OPTIONS,GET"


def test_pretty_is_for_people(api: Any) -> None:
    api("PUT", "/v1/kv/a", b"v")
    assert b'\n        "Key": "a"' in api("GET", "/v1/kv/a?pretty").body


def test_a_blocking_query_ends_when_its_client_goes_away(api: Any) -> None:
    async def scenario() -> None:
        api.agent.hangs = True
        gone = asyncio.Event()
        asking = asyncio.ensure_future(api.ask("GET", "/v1/kv/a?index=5", gone=gone))
        async with asyncio.timeout(5):
            await api.agent.asked.wait()
        assert not asking.done()
        gone.set()
        answer = await asyncio.wait_for(asking, 5)
        assert answer.status == 0  # nobody was there to be answered
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1  # the query is not left behind

    asyncio.run(scenario())


@given(key=st.text(min_size=1).filter(str.isprintable), value=st.binary(max_size=100))
def test_any_key_and_value_come_back_as_they_went_in(
    new_api: Callable[[], Any], key: str, value: bytes
) -> None:
    api = new_api()
    assert api("PUT", f"/v1/kv/{quote(key, safe='')}", value).body == b"true"
    assert api("GET", f"/v1/kv/{quote(key, safe='')}?raw").body == value
    assert json.loads(api("GET", "/v1/kv/?keys").body) == [key]


def test_long_queries_are_not_kept() -> None:
    """A thousand of them would be, at a megabyte each, for as long as the agent lives."""
    short = b"stale&index=1&name=a-query-that-nobody-else-asks"
    assert parse_parameters(short) is parse_parameters(short)
    long = b"&".join(b"%d=" % number for number in range(10_000))
    assert parse_parameters(long) is not parse_parameters(long)
    assert parse_parameters(long) == parse_parameters(long)
    assert parse_options(b"index=7&" + long).min_index == 7
