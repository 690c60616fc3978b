"""Waiting for a cluster: it serves, or one node is told with why it does not."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from harness.systems import Refused, await_nodes
from harness.worlds import SetupError
from harness.worlds.memory import MemoryCluster

NODES = ("n1", "n2")


async def cluster_in(directory: Path) -> MemoryCluster:
    cluster = MemoryCluster(NODES, directory)
    for node in NODES:
        await cluster.start(node, [], {})
    return cluster


def test_it_returns_once_every_node_is_ready_whatever_it_said_before(tmp_path: Path) -> None:
    answers = {"n1": [Refused("no leader"), "it is alone", ""], "n2": [OSError("refused"), ""]}

    async def not_ready(node: str) -> str:
        answer = answers[node].pop(0)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    async def main() -> None:
        await await_nodes(await cluster_in(tmp_path), 10.0, not_ready, poll=0.0)

    asyncio.run(main())
    assert answers == {"n1": [], "n2": []}


def test_a_node_that_never_becomes_ready_is_told_with_its_last_reason(tmp_path: Path) -> None:
    async def not_ready(node: str) -> str:
        return "" if node == "n1" else "it is alone"

    async def main() -> None:
        await await_nodes(await cluster_in(tmp_path), 0.05, not_ready, poll=0.0)

    with pytest.raises(SetupError, match="n2 did not become ready within 0 s: it is alone"):
        asyncio.run(main())


def test_a_node_that_has_not_answered_once_when_the_time_is_over_is_told_so(tmp_path: Path) -> None:
    async def not_ready(node: str) -> str:
        await asyncio.Event().wait()
        return ""

    async def main() -> None:
        await await_nodes(await cluster_in(tmp_path), 0.05, not_ready)

    with pytest.raises(SetupError, match="n1 did not become ready within 0 s: it does not answer"):
        asyncio.run(main())


def test_where_one_node_has_ended_the_others_are_not_asked_any_more(tmp_path: Path) -> None:
    ended: list[str] = []

    async def not_ready(node: str) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(node)
        return ""

    async def main() -> None:
        cluster = await cluster_in(tmp_path)
        await cluster.kill("n2")
        with pytest.raises(SetupError, match="n2 ended by itself"):
            await await_nodes(cluster, 10.0, not_ready)
        await asyncio.sleep(0)
        assert ended == ["n1"]

    asyncio.run(main())
