"""Packages by name, and what their nemeses do to a cluster (in memory) and tell the history."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from random import Random
from typing import Any

import pytest

import nemesis
from harness import fault_values
from harness import generator as gen
from harness.generator import Operation
from harness.generator.simulate import invocations, perfect
from harness.systems import Options
from harness.systems.memory import Memory as MemorySystem
from harness.test import Environment, Package
from harness.worlds import CAPABILITIES, InjectionError, Link
from harness.worlds.memory import MemoryCluster
from nemesis import NemesisError
from nemesis.partition import TARGETS as PARTITION_TARGETS
from nemesis.targets import PROCESS_TARGETS

ALL = frozenset(CAPABILITIES)
NODES = ("n1", "n2", "n3", "n4", "n5")


def package(names: str, capabilities: frozenset[str] = ALL, nodes: int = 5) -> Package:
    return nemesis.package(names, capabilities=capabilities, nodes=nodes, timing=nemesis.Timing(15.0), seed=1)


class Watched(MemoryCluster):
    """A cluster that remembers what was done to it, and in which traps can be set."""

    def __init__(self, directory: Path) -> None:
        super().__init__(NODES, directory)
        self.cuts: list[frozenset[Link]] = []
        self.traps: dict[str, Callable[[], None] | None] = {}

    async def set_trap(
        self, node: str, step: Any, record: str, sprung: Callable[[], None] | None = None
    ) -> None:
        self.traps[node] = sprung

    async def cut(self, links: Any) -> None:
        self.cuts.append(frozenset(links))
        await super().cut(self.cuts[-1])


def on_cluster(directory: Path, work: Callable[[Watched, Environment], Coroutine[Any, Any, None]]) -> None:
    """Do something with a running cluster."""

    async def main() -> None:
        cluster, system, options = Watched(directory), MemorySystem(), Options(nodes=NODES, servers=5)
        for node in NODES:
            await system.start(cluster, options, node)
        await work(cluster, Environment(cluster, system, options, Random(1)))

    asyncio.run(main())


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        NemesisError,
        match=r"no nemesis 'flood'; there are none, partition, network, .*, kill, broken-disk, swarm and all",
    ):
        package("partition,flood")
    with pytest.raises(NemesisError, match="there are none"):
        package("")


def test_what_the_world_cannot_do_is_refused_and_skipped_aloud_with_all() -> None:
    with pytest.raises(NemesisError, match="pause: the world cannot pause"):
        package("partition,pause", ALL - {"pause"})
    everything = package("all", frozenset({"cut", "kill"}))
    assert everything.skipped["pause"].startswith("the world cannot pause (SIGSTOP")
    assert everything.nemesis.fs == {"start-partition", "stop-partition", "start-kill", "stop-kill"}


def test_what_no_system_can_survive_is_done_where_it_is_named_and_judged_for_safety_alone() -> None:
    broken = package("broken-disk,power")
    assert broken.safety_only and not package("disk,power").safety_only
    schedule = invocations(perfect(gen.nemesis(package("broken-disk").generator)))
    conditions = {event.value[1] for event in schedule if event.f == "start-disk"}
    assert conditions <= {"full", "failing", "rotten", "misdirected"} and conditions
    everything = package("all")
    assert not everything.safety_only and "start-disk" in everything.nemesis.fs
    with pytest.raises(NemesisError, match="disk and broken-disk are the same disks: name one of them"):
        package("disk,broken-disk")


def test_packages_compose_and_keep_their_own_schedules() -> None:
    """A seed draws the same kills whether or not there are partitions too."""

    def kills(made: Package) -> list[tuple[int, str, Any]]:
        events = invocations(perfect(gen.nemesis(made.generator)))
        return [(event.time, event.f, event.value) for event in events if "kill" in event.f]

    both = package("partition,kill")
    assert kills(both) == kills(package("kill")) != []
    assert {mark.name for mark in both.marks} == {"partition", "kill"}
    assert both.capabilities == {"cut", "kill"}


def test_the_final_generator_undoes_everything_whatever_the_order_of_names() -> None:
    for names in ("kill,partition,pause", "pause,kill,partition"):
        final = [event.f for event in invocations(perfect(gen.nemesis(package(names).final_generator)))]
        assert final == ["stop-partition", "stop-pause", "stop-kill"]


def test_none_does_nothing() -> None:
    assert perfect(gen.nemesis(package("none").generator)) == []


@pytest.mark.parametrize("target", PARTITION_TARGETS)
def test_every_kind_of_partition_cuts_what_it_says_and_heals(target: str, tmp_path: Path) -> None:
    async def work(cluster: Watched, environment: Environment) -> None:
        partition = package("partition").nemesis
        told = await partition.invoke(environment, Operation("start-partition", target))
        assert told["target"] == target
        assert {tuple(link) for link in told["cut"]} == cluster.cuts[-1] != frozenset()
        leader = await environment.system.leader(cluster, environment.options)
        assert leader is not None or target in ("one-way",)  # some majority is left
        assert await partition.invoke(environment, Operation("stop-partition")) == {"cut": []}
        assert cluster.cuts[-1] == frozenset()

    on_cluster(tmp_path, work)


def test_a_partition_of_the_leader_is_of_the_leader(tmp_path: Path) -> None:
    async def work(cluster: Watched, environment: Environment) -> None:
        leader = await environment.system.leader(cluster, environment.options)
        await package("partition").nemesis.invoke(environment, Operation("start-partition", "leader"))
        assert {link for link in cluster.cuts[-1] if leader not in link} == set()
        assert len(cluster.cuts[-1]) == 8

    on_cluster(tmp_path, work)


@pytest.mark.parametrize(
    ("target", "count"), [("leader", 1), ("one", 1), ("minority", 2), ("majority", 3), ("all", 5)]
)
@pytest.mark.parametrize("name", ["kill", "pause"])
def test_process_faults_hit_as_many_as_they_say_and_undo_it(
    name: str, target: str, count: int, tmp_path: Path
) -> None:
    async def work(cluster: Watched, environment: Environment) -> None:
        made = package(name).nemesis
        told = await made.invoke(environment, Operation(f"start-{name}", target))
        hit = [node for node in NODES if not cluster.answers(node)]
        assert told == {"target": target, "nodes": hit}
        assert len(hit) == count
        assert await made.invoke(environment, Operation(f"stop-{name}")) == {"nodes": hit}
        assert all(cluster.answers(node) for node in NODES)

    assert target in PROCESS_TARGETS
    on_cluster(tmp_path, work)


def test_a_node_that_is_killed_while_paused_and_cut_off_comes_back_whole(tmp_path: Path) -> None:
    async def work(cluster: Watched, environment: Environment) -> None:
        made = package("all")
        for f, target in (("start-pause", "all"), ("start-partition", "leader"), ("start-kill", "all")):
            await made.nemesis.invoke(environment, Operation(f, target))
        assert not any(cluster.running(node) for node in NODES)
        for f in ("stop-partition", "stop-pause", "stop-kill"):
            await made.nemesis.invoke(environment, Operation(f))
        assert all(cluster.answers(node) for node in NODES)

    on_cluster(tmp_path, work)


def test_without_a_leader_another_node_is_taken_and_the_history_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nemesis.targets._LEADER_PATIENCE", 0.05)

    async def work(cluster: Watched, environment: Environment) -> None:
        await cluster.cut((a, b) for a in NODES for b in NODES if a != b)
        told = await package("kill").nemesis.invoke(environment, Operation("start-kill", "leader"))
        assert len(told["nodes"]) == 1 and "no leader was known" in told["note"]

    on_cluster(tmp_path, work)


@pytest.mark.parametrize("kind", ["kill", "partition"])
def test_the_next_leader_is_the_one_after_the_present_one_however_long_nobody_leads(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nemesis.targets._LEADER_POLL", 0.0)
    monkeypatch.setattr("nemesis.targets._REIGNS", (0.0,))
    answers = ["n4", "n4", None, None, "n2"]

    async def next_answer(self: MemorySystem, cluster: object, options: Options) -> str | None:
        return answers.pop(0)

    async def work(cluster: Watched, environment: Environment) -> None:
        monkeypatch.setattr(MemorySystem, "leader", next_answer)
        told = await package(kind).nemesis.invoke(environment, Operation(f"start-{kind}", "next-leader"))
        hit = told["nodes"] if kind == "kill" else sorted({a for a, b in told["cut"] if b == "n1"})
        assert hit == ["n2"] and not answers

    on_cluster(tmp_path, work)


@pytest.mark.parametrize(
    ("f", "value", "why"),
    [
        ("start-kill", {"nodes": ["n9"]}, "there is no node n9"),
        ("start-pause", {}, "missing required field `nodes`"),
        ("start-clock", {"clocks": {"n9": {"offset": 0.0, "rate": 1.0}}}, "there is no node n9"),
        ("start-disk", {"nodes": ["n1"], "condition": "wet"}, "Invalid enum value 'wet'"),
        ("start-network", {"links": "all", "losst": 0.1}, "losst"),
    ],
)
def test_what_is_spelt_out_and_cannot_be_done_is_no_fault_that_was_done(
    f: str, value: Any, why: str, tmp_path: Path
) -> None:
    async def work(cluster: Watched, environment: Environment) -> None:
        with pytest.raises(InjectionError, match=why):
            await package("all").nemesis.invoke(environment, Operation(f, value))

    on_cluster(tmp_path, work)


@pytest.mark.parametrize(
    ("value", "hits"),
    [
        ({"target": "one", "nodes": []}, False),
        ({"target": "one", "nodes": ["n1"]}, True),
        ({"cut": []}, False),
        ({"links": [["n1", "n2"]], "lost": 0.1}, True),
        ({"clocks": {}}, False),
        ({"nodes": ["n1", "n2"], "condition": "rotten", "damaged": {"n1": None, "n2": None}}, False),
        ({"nodes": ["n1", "n2"], "condition": "rotten", "damaged": {"n1": None, "n2": "byte 7"}}, True),
        ({"nodes": [], "step": "sent", "record": "vote", "leader": "n1"}, True),
        ({"nodes": [], "step": "sent", "record": "vote", "leader": None}, False),
        (None, True),
    ],
)
def test_a_fault_that_hit_nobody_is_known_by_its_completion(value: Any, hits: bool) -> None:
    assert fault_values.hits(value) == hits


def test_a_node_that_fell_into_a_trap_and_did_not_come_back_is_told_whatever_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = {"nodes": ["n1"], "step": "sent", "record": "vote", "boot": 0.0, "again": False}

    async def broken(self: MemorySystem, cluster: object, options: Options, node: str) -> None:
        raise RuntimeError("no such luck")

    async def work(cluster: Watched, environment: Environment) -> None:
        made = package("crash-point").nemesis
        await made.invoke(environment, Operation("start-crash-point", plan))
        monkeypatch.setattr(MemorySystem, "start", broken)
        await cluster.kill("n1")
        sprung = cluster.traps["n1"]
        assert sprung is not None
        sprung()
        await asyncio.sleep(0.01)
        with pytest.raises(InjectionError, match="did not start again: RuntimeError: no such luck"):
            await made.invoke(environment, Operation("stop-crash-point"))

    on_cluster(tmp_path, work)


def test_one_node_cannot_be_partitioned() -> None:
    with pytest.raises(NemesisError, match="at least 2 nodes"):
        package("partition", nodes=1)


def test_two_nemeses_for_one_function_are_refused() -> None:
    with pytest.raises(ValueError, match="same function"):
        nemesis.compose([package("kill"), package("kill")], name="twice", skipped={})
