"""Who answers, what is tried again, and in which words it is told that nobody could."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from impl.server import rpc
from impl.server.requests import (
    Failure,
    KVApply,
    KVGet,
    Options,
    RequestFailed,
    StatusLeader,
    StatusPeers,
    Text,
    Texts,
)
from impl.state import Set, encode_command

pytestmark = pytest.mark.anyio

WRITE = KVApply(encode_command(Set("key", b"value")))


async def test_everyone_knows_the_leader_and_the_peers(cluster: Any) -> None:
    async with cluster(3, clients=1) as c:
        leader = await c.leader()
        for node in c.nodes:
            assert await node.agent.request(StatusLeader()) == Text(f"{leader.host}:8300")
            peers = await node.agent.request(StatusPeers())
            assert isinstance(peers, Texts)
            assert sorted(peers.texts) == sorted(f"{server.host}:8300" for server in c.servers)


async def test_another_datacenter_is_out_of_reach(cluster: Any) -> None:
    async with cluster(1) as c:
        server = await c.leader()
        for request in (KVGet("key", Options(datacenter="dc2")), KVApply(b"", "dc2"), StatusLeader("dc2")):
            with pytest.raises(RequestFailed, match=r"^No path to datacenter$"):
                await server.agent.request(request)
        assert await server.agent.request(StatusLeader("dc1")) == Text(f"{server.host}:8300")


async def test_a_client_agent_that_knows_no_server_says_so(cluster: Any) -> None:
    async with cluster(0, clients=1) as c:
        with pytest.raises(RequestFailed, match=r"^No known Consul servers$"):
            await c["c1"].put("key", b"value")


async def test_without_a_leader_a_server_says_so_and_a_client_agent_says_who_said_so(
    cluster: Any, eventually: Any
) -> None:
    async with cluster(0, rpc_hold_timeout_ns=300_000_000) as c:
        server = c.add_node("s1", server=True, bootstrap_expect=3)
        client = c.add_node("c1", server=False)
        await c.start()
        await eventually(lambda: len(client.statuses()) == 2, "the client agent sees the server")
        with pytest.raises(RequestFailed, match=r"^No cluster leader$"):
            await server.put("key", b"value")
        with pytest.raises(RequestFailed, match=r"^rpc error making call: No cluster leader$"):
            await client.put("key", b"value")
        assert await client.agent.request(StatusLeader()) == Text("")


async def test_what_comes_while_there_is_no_leader_waits_for_the_next(cluster: Any) -> None:
    async with cluster(3) as c:
        leader = await c.leader()
        survivor = c.followers[0]
        noticed = asyncio.Event()
        survivor.agent._driver.observers.leadership.append(noticed.set)
        await leader.stop()
        await noticed.wait()
        assert survivor.agent.stats()["consul"]["leader_addr"] == ""
        assert await survivor.put("key", b"value")
        assert await survivor.get("key", consistency="consistent") == b"value"


async def test_a_write_whose_answer_is_lost_is_told_as_open_and_never_sent_again(
    cluster: Any, eventually: Any
) -> None:
    async with cluster(3) as c:
        leader = await c.leader()
        follower = c.followers[0]
        await follower.put("key", b"before")  # opens the connection
        proposals = leader.agent.counters()["consul.raft.apply"]
        await c.switch.cut(leader.host, follower.host)
        write = asyncio.ensure_future(follower.put("key", b"after"))
        await eventually(lambda: leader.agent.counters()["consul.raft.apply"] == proposals + 1, "it arrives")
        c.switch.reset(leader.host, follower.host)
        with pytest.raises(RequestFailed, match=r"^rpc error making call: EOF$"):
            await write
        await c.switch.heal()
        leader = await c.leader()

        async def happened() -> bool:
            return bool(await leader.get("key", consistency="consistent") == b"after")

        await eventually(happened, "it did happen, or is about to")
        total = sum(node.agent.counters()["consul.raft.apply"] for node in c.servers)
        assert total == proposals + 1


async def test_a_read_whose_answer_is_lost_is_asked_again(cluster: Any, eventually: Any) -> None:
    async with cluster(3) as c:
        leader = await c.leader()
        follower = c.followers[0]
        await follower.put("key", b"value")
        await c.switch.cut(leader.host, follower.host)
        read = asyncio.ensure_future(follower.get("key"))
        await asyncio.sleep(0.05)
        c.switch.reset(leader.host, follower.host)
        await c.switch.heal()
        assert await read == b"value"


async def test_a_leader_that_cannot_commit_does_not_know_what_became_of_a_write(cluster: Any) -> None:
    async with cluster(3) as c:
        leader = await c.leader()
        await c.isolate(leader)
        with pytest.raises(RequestFailed, match=r"^leadership lost while committing log$"):
            await leader.put("key", b"value")


async def test_a_write_that_a_deposed_leader_took_is_gone_when_the_next_one_wrote(
    cluster: Any, eventually: Any
) -> None:
    async with cluster(3) as c:
        old = await c.leader()
        others = c.followers
        await c.isolate(old)
        with pytest.raises(RequestFailed):
            await old.put("key", b"never committed")
        await eventually(lambda: any(node.leads for node in others), "another is elected")
        new = await c.leader()
        assert await new.get("key", consistency="consistent") is None
        await c.switch.heal()
        await eventually(
            lambda: old.raft("applied_index") == new.raft("applied_index"), "the old one follows"
        )
        for consistency in ("stale", "default", "consistent"):
            assert await old.get("key", consistency=consistency) is None


async def test_a_write_that_was_one_call_too_many_is_done_later(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cluster(3) as c:
        leader = await c.leader()
        follower = c.followers[0]
        await follower.put("key", b"old")
        index = (await follower.query("key")).index
        waiting = [asyncio.ensure_future(follower.query("key", min_index=index)) for _ in range(3)]
        await asyncio.sleep(0.2)
        monkeypatch.setattr(rpc, "CALLS_IN_PROGRESS_MAX", 3)
        write = asyncio.ensure_future(follower.put("key", b"new"))
        done, _ = await asyncio.wait([*waiting, write], timeout=0.3)
        assert not done
        waiting[0].cancel()
        await leader.put("key", b"other")  # the calls in progress end
        async with asyncio.timeout(5):
            assert await write
        assert await leader.get("key") == b"new"


async def test_what_was_passed_on_is_not_passed_on_again(cluster: Any) -> None:
    """Two servers that take each other for the leader would else send it round for ever."""
    async with cluster(3) as c:
        await c.leader()
        follower = c.followers[0]
        assert await follower.agent._router.answer(WRITE, True) == Failure("No cluster leader")
        assert await follower.agent._router.answer(KVGet("key"), True) == Failure("No cluster leader")


async def test_a_client_agent_turns_to_another_server_when_its_own_fails(
    cluster: Any, eventually: Any
) -> None:
    async with cluster(3, clients=1) as c:
        await c.leader()
        client = c["c1"]
        await eventually(lambda: len(client.statuses()) == 4, "the client agent sees all")
        await client.put("key", b"value")
        front = client.agent._servers.front()
        assert front is not None
        await c[front.name].stop()
        async with asyncio.timeout(10):
            assert await client.get("key") == b"value"
        assert client.agent._servers.front() != front


async def test_requests_during_a_graceful_change_of_leadership_only_take_longer(cluster: Any) -> None:
    async with cluster(3) as c:
        leader = await c.leader()
        follower = c.followers[0]
        leaving = asyncio.ensure_future(leader.stop(leave=True))
        while not leaving.done():
            assert await follower.put("key", b"value")
            assert await follower.get("key", consistency="consistent") == b"value"
        await leaving
