"""Whole clusters: how they form, lose members, gain members, and keep what they acknowledged."""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
from dataclasses import replace
from typing import Any

import pytest

from impl.server.requests import RequestFailed

pytestmark = pytest.mark.anyio


async def test_three_servers_find_each_other_and_elect_one_leader(cluster: Any) -> None:
    async with cluster(3) as c:
        leader = await c.leader()
        assert await leader.put("key", b"value")
        assert [node.leads for node in c.servers].count(True) == 1
        assert leader.raft("num_peers") == "2"


async def test_servers_wait_until_all_that_are_expected_are_there(cluster: Any, eventually: Any) -> None:
    async with cluster(0) as c:
        early = [c.add_node(f"s{number}", server=True, bootstrap_expect=3) for number in (1, 2)]
        late = c.add_node("s3", server=True, bootstrap_expect=3)
        for node in early:
            await node.start()
        await eventually(lambda: len(early[0].statuses()) == 2, "the first two see each other")
        await asyncio.sleep(0.5)  # that nothing happens can only be waited for
        assert [node.raft("last_log_index") for node in early] == ["0", "0"]
        await late.start()
        assert (await c.leader()).raft("num_peers") == "2"


async def test_agents_that_started_on_two_sides_of_a_partition_find_together(
    cluster: Any, eventually: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "agent")
    async with cluster(0) as c:
        nodes = [c.add_node(f"c{number}", server=False, join=(1, 2, 3, 4)) for number in (1, 2, 3, 4)]
        for node in nodes[:2]:
            await c.switch.isolate(node.host, [other.host for other in nodes[2:]])
        for node in nodes:
            await node.start()
        # The first ones find nobody at first, and only then each other: that is said six times at least.
        await eventually(
            lambda: len(re.findall("joined the pool|join failed", caplog.text)) >= 6,
            "each has tried the other side in vain",
        )
        assert [len(node.statuses()) for node in nodes] == [2] * 4
        await c.switch.heal()
        await eventually(lambda: [len(node.statuses()) for node in nodes] == [4] * 4, "all know all")


async def test_nothing_acknowledged_is_lost_with_the_leader(cluster: Any) -> None:
    async with cluster(3) as c:
        leader = await c.leader()
        follower = c.followers[0]
        acknowledged: list[str] = []
        enough = asyncio.Event()

        async def write(writer: int) -> None:
            for number in range(10_000):
                key = f"{writer}/{number}"
                await follower.put(key, b"value")
                acknowledged.append(key)
                if len(acknowledged) == 100:
                    enough.set()

        writers = [asyncio.ensure_future(write(writer)) for writer in range(8)]
        await enough.wait()
        await leader.stop()
        for outcome in await asyncio.gather(*writers, return_exceptions=True):
            assert isinstance(outcome, RequestFailed)
            assert str(outcome).startswith("rpc error making call: "), (
                "whoever asks must know that it may have happened"
            )
        successor = await c.leader()
        assert successor is not leader
        for key in acknowledged:
            assert await successor.get(key, consistency="consistent") == b"value"
        assert await successor.put("after", b"value")


async def test_a_server_that_was_away_catches_up_entry_by_entry(cluster: Any, eventually: Any) -> None:
    async with cluster(3) as c:
        leader = await c.leader()
        away = c.followers[0]
        await away.stop()
        for number in range(20):
            await leader.put(f"key{number}", b"value")
        await away.start()
        await eventually(lambda: away.raft("applied_index") == leader.raft("applied_index"), "caught up")
        assert away.raft("last_snapshot_index") == "0"
        assert await away.get("key19", consistency="stale") == b"value"


async def test_a_server_that_was_away_for_long_catches_up_by_a_snapshot(
    cluster: Any, eventually: Any
) -> None:
    settings = {
        "raft_snapshot_threshold": 50,
        "raft_snapshot_interval_ns": 50_000_000,
        "raft_trailing_logs": 10,
    }
    async with cluster(3, **settings) as c:
        leader = await c.leader()
        away = c.followers[0]
        await away.stop()
        for number in range(150):
            await leader.put(f"key{number}", b"value %d" % number)
        await eventually(
            lambda: int(leader.raft("last_snapshot_index")) >= 100, "the leader takes a snapshot"
        )
        await away.start()
        await eventually(lambda: away.raft("applied_index") == leader.raft("applied_index"), "caught up")
        assert int(away.raft("last_snapshot_index")) >= 100
        for number in range(150):
            assert await away.get(f"key{number}", consistency="stale") == b"value %d" % number
        assert await away.put("and takes part", b"again")


async def test_a_whole_cluster_that_was_stopped_comes_back_with_everything(cluster: Any) -> None:
    async with cluster(3) as c:
        leader = await c.leader()
        await asyncio.gather(*(leader.put(f"key{number}", b"value") for number in range(50)))
        index = (await leader.query("key49")).index
        await c.stop()
        await c.start()
        leader = await c.leader()
        for number in range(50):
            assert await leader.get(f"key{number}", consistency="consistent") == b"value"
        assert (await leader.query("key49")).index == index


@pytest.mark.parametrize("who", ["leader", "follower"])
async def test_a_server_that_leaves_is_taken_out_of_the_cluster(
    cluster: Any, eventually: Any, who: str
) -> None:
    async with cluster(3) as c:
        leader = await c.leader()
        leaving = leader if who == "leader" else c.followers[0]
        await leader.put("key", b"value")
        async with asyncio.timeout(10):
            await leaving.stop(leave=True)
        leader = await c.leader()
        await eventually(lambda: leader.raft("num_peers") == "1", "two servers remain")
        await eventually(lambda: leader.statuses()[leaving.name] == "left", "and know that it left")
        assert await leader.get("key", consistency="consistent") == b"value"


async def test_who_is_told_to_leave_twice_leaves_all_the_same(cluster: Any, eventually: Any) -> None:
    """Through the API, and by a signal at once after it."""
    async with cluster(1, clients=1) as c:
        server, leaving = c["s1"], c["c1"]
        await eventually(lambda: len(server.statuses()) == 2, "they see each other")
        leaving.agent.begin_leaving()
        await asyncio.sleep(0)
        await leaving.agent.stop(leave=True)
        await leaving.stop()
        await eventually(lambda: server.statuses()["c1"] != "alive", "it is noticed")
        assert server.statuses()["c1"] == "left"


async def test_a_server_that_left_may_come_back(cluster: Any, eventually: Any) -> None:
    async with cluster(3) as c:
        await c.leader()
        leaving = c.followers[0]
        await leaving.stop(leave=True)
        leader = await c.leader()
        await eventually(lambda: leader.raft("num_peers") == "1", "it is out")
        await leaving.start()
        await eventually(lambda: leader.raft("num_peers") == "2", "it is in again")
        await leader.put("key", b"value")
        await eventually(lambda: leaving.raft("applied_index") == leader.raft("applied_index"), "caught up")


async def test_a_server_that_failed_stays_until_it_is_forced_to_leave(cluster: Any, eventually: Any) -> None:
    async with cluster(3) as c:
        leader = await c.leader()
        failed = c.followers[0]
        await failed.stop()
        await eventually(lambda: leader.statuses()[failed.name] == "failed", "it is found to have failed")
        assert leader.raft("num_peers") == "2"
        assert await leader.put("key", b"value"), "two of three are a quorum"
        leader.agent.force_leave(failed.name, prune=False)
        await eventually(lambda: leader.statuses()[failed.name] == "left", "it is declared gone")
        await eventually(lambda: leader.raft("num_peers") == "1", "and taken out")


async def test_a_server_that_lost_its_disk_comes_back_as_a_new_one_in_place_of_the_old(
    cluster: Any, eventually: Any
) -> None:
    async with cluster(3) as c:
        await (await c.leader()).put("key", b"value")
        lost = c.followers[0]
        await lost.stop()
        shutil.rmtree(lost.directory)
        new_id = "00000000-0000-0000-0000-000000000099"
        old_id, lost.config = lost.config.node_id, replace(lost.config, node_id=new_id)
        await lost.start()
        await eventually(
            lambda: (
                lost.agent.raft.configuration.get(new_id) is not None
                and lost.agent.raft.configuration.get(old_id) is None
            ),
            "the new one is a member, the old one is none",
        )
        await (await c.leader()).put("key", b"new")
        await eventually(lambda: lost.agent._driver.machine.kv.get("key")[1].value == b"new", "it follows")


async def test_a_server_that_joins_later_becomes_a_voter(cluster: Any, eventually: Any) -> None:
    async with cluster(3) as c:
        leader = await c.leader()
        await leader.put("key", b"value")
        late = c.add_node("s4", server=True, bootstrap_expect=0)
        await late.start()
        await eventually(lambda: leader.raft("num_peers") == "3", "four servers")
        await eventually(lambda: late.raft("applied_index") == leader.raft("applied_index"), "caught up")
        assert await late.get("key", consistency="consistent") == b"value"


async def test_a_new_leader_adds_those_that_came_while_there_was_none(cluster: Any, eventually: Any) -> None:
    async with cluster(3) as c:
        leader = await c.leader()
        others = c.followers
        late = c.add_node("s4", server=True, bootstrap_expect=0)
        await c.switch.isolate(leader.host, [late.host])  # the old leader never sees it
        await late.start()
        await leader.stop()
        await eventually(lambda: len(late.statuses()) >= 3, "the others see it")
        successor = await c.leader()
        assert successor in others
        await eventually(lambda: successor.raft("num_peers") == "3", "added", timeout=10)


async def test_a_client_agent_that_leaves_troubles_nobody(cluster: Any, eventually: Any) -> None:
    async with cluster(1, clients=1) as c:
        server = await c.leader()
        await eventually(lambda: len(server.statuses()) == 2, "it is there")
        async with asyncio.timeout(10):
            await c["c1"].stop(leave=True)
        await eventually(lambda: server.statuses()["c1"] == "left", "it has left")
        assert await server.put("key", b"value")


async def test_a_server_cut_off_from_the_others_takes_over_nothing(cluster: Any, eventually: Any) -> None:
    """Pre-vote: its rejoining does not depose the leader (Raft thesis 9.6)."""
    async with cluster(3) as c:
        leader = await c.leader()
        term = leader.raft("term")
        alone = c.followers[0]
        await c.isolate(alone)
        await eventually(lambda: alone.raft("state") != "Follower", "it seeks election")
        await asyncio.sleep(1.5)  # and again, several times
        await c.switch.heal()
        await eventually(lambda: alone.raft("state") == "Follower", "it is one of them again")
        await leader.put("key", b"value")
        assert leader.leads
        assert leader.raft("term") == term
