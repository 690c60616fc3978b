"""Whole clusters: how they form, lose members, gain members, and keep what they acknowledged."""

from __future__ import annotations

import asyncio
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


async def test_any_agent_takes_writes_and_answers_consistent_reads(cluster: Any, eventually: Any) -> None:
    async with cluster(3, clients=1) as c:
        await c.leader()
        await eventually(lambda: len(c["c1"].statuses()) == 4, "the client agent sees all")
        for node in c.nodes:
            assert await node.put(f"by {node.name}", node.name.encode())
        for node in c.nodes:
            for writer in c.nodes:
                assert await node.get(f"by {writer.name}", consistency="consistent") == writer.name.encode()


async def test_nothing_acknowledged_is_lost_with_the_leader(cluster: Any, eventually: Any) -> None:
    async with cluster(3) as c:
        leader = await c.leader()
        acknowledged = []

        async def write(number: int) -> None:
            try:
                await leader.put(f"key{number}", b"value")
                acknowledged.append(number)
            except RequestFailed:
                pass  # nobody knows

        async with asyncio.TaskGroup() as writers:
            for number in range(200):
                writers.create_task(write(number))
                if number == 100:
                    await asyncio.sleep(0)
            await eventually(lambda: len(acknowledged) >= 20, "some writes")
            writers.create_task(leader.stop())
        successor = await c.leader()
        assert successor is not leader
        for number in acknowledged:
            assert await successor.get(f"key{number}", consistency="consistent") == b"value"
        assert await successor.put("after", b"value")
