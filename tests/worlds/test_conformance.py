"""The conformance suite catches worlds that lie: each broken in one way, found by the check that names it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.worlds import Exit, Link, SetupError, conformance
from harness.worlds.conformance import suite
from harness.worlds.netns import Netns, NetnsCluster


def cuts_both_ways(cluster: NetnsCluster) -> None:
    cut = cluster.cut

    async def broken(links: Iterable[Link]) -> None:
        await cut({link for a, b in links for link in ((a, b), (b, a))})

    cluster.cut = broken  # type: ignore[method-assign]


def adds_to_the_cut_before(cluster: NetnsCluster) -> None:
    cut = cluster.cut
    all_links: set[Link] = set()

    async def broken(links: Iterable[Link]) -> None:
        all_links.update(links)
        await cut(all_links)

    cluster.cut = broken  # type: ignore[method-assign]


def heals_nothing(cluster: NetnsCluster) -> None:
    cut = cluster.cut

    async def broken(links: Iterable[Link]) -> None:
        if links := set(links):
            await cut(links)

    cluster.cut = broken  # type: ignore[method-assign]


def kills_the_process_and_not_its_daemons(cluster: NetnsCluster) -> None:
    async def broken(node: str) -> None:
        host = cluster._hosts[node]
        if host._main is not None:
            ended = host._running[host._main]
            await host.request({"op": "kill", "id": host._main})
            await ended

    cluster.kill = broken  # type: ignore[method-assign]


def only_says_that_it_pauses(cluster: NetnsCluster) -> None:
    async def broken(node: str) -> None:
        pass

    cluster.pause = broken  # type: ignore[method-assign]


def stops_without_asking(cluster: NetnsCluster) -> None:
    async def broken(node: str, timeout: float = 10.0) -> None:
        await cluster.kill(node)

    cluster.stop = broken  # type: ignore[method-assign]


def takes_every_end_for_wanted(cluster: NetnsCluster) -> None:
    ended = cluster._ended

    def broken(record: Exit) -> None:
        ended(Exit(record.node, record.status, expected=True))

    for host in cluster._hosts.values():
        host._on_exit = broken


def forgets_data_at_a_start(cluster: NetnsCluster) -> None:
    start = cluster.start

    async def broken(node: str, argv: Sequence[str], env: Any) -> None:
        for file in (cluster.directory(node) / "data").iterdir():
            file.unlink()
        await start(node, argv, env)

    cluster.start = broken  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("break_it", "check_that_finds_it"),
    [
        (cuts_both_ways, "a_cut_drops_the_named_directions_and_no_other"),
        (adds_to_the_cut_before, "a_cut_replaces_the_one_before"),
        (heals_nothing, "a_heal_makes_every_link_whole"),
        (kills_the_process_and_not_its_daemons, "kill_reaches_daemons_that_ignore_every_signal_they_can"),
        (only_says_that_it_pauses, "a_paused_node_is_silent_and_answers_when_resumed"),
        (stops_without_asking, "stop_lets_the_process_end_itself"),
        (takes_every_end_for_wanted, "an_end_that_nobody_asked_for_is_reported_at_once"),
        (forgets_data_at_a_start, "data_survives_a_kill"),
    ],
)
def test_a_world_that_lies_is_caught(
    break_it: Callable[[NetnsCluster], None],
    check_that_finds_it: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Broken(Netns):
        async def open(self, nodes: Sequence[str], directory: Path, seed: int = 0) -> NetnsCluster:
            cluster = await super().open(nodes, directory, seed)
            break_it(cluster)
            return cluster

    monkeypatch.setattr(suite, "PATIENCE_SECONDS", 1.0)  # what will never come is not waited for long
    check = next(check for check in conformance.CHECKS if check.name == check_that_finds_it)
    with pytest.raises((AssertionError, OSError)):
        asyncio.run(check(Broken(), tmp_path))


def test_a_world_is_only_asked_for_what_it_says_it_can_do_and_must_refuse_the_rest(tmp_path: Path) -> None:
    class WithoutCuts(Netns):
        capabilities = Netns.capabilities - {"cut"}

        async def open(self, nodes: Sequence[str], directory: Path, seed: int = 0) -> NetnsCluster:
            cluster = await super().open(nodes, directory, seed)
            cluster.capabilities = self.capabilities
            if refuses:
                cluster.cut = refuse  # type: ignore[method-assign]
            return cluster

    async def refuse(links: Iterable[Link]) -> None:
        raise SetupError("this world cannot cut")

    checks = {check.name: check for check in conformance.checks_of(WithoutCuts())}
    assert "a_heal_makes_every_link_whole" not in checks
    assert "data_survives_a_kill" in checks
    truthful = checks["a_world_does_what_it_says_and_refuses_the_rest"]
    refuses = True
    asyncio.run(truthful(WithoutCuts(), tmp_path))
    refuses = False
    with pytest.raises(AssertionError):
        asyncio.run(truthful(WithoutCuts(), tmp_path))
