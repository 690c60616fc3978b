"""The sim world keeps the promises of `Cluster`, and a sim world that does not is caught."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.worlds import CAPABILITIES, Link, Shape, conformance
from harness.worlds.conformance import suite
from harness.worlds.sim import Sim
from harness.worlds.sim.cluster import SimCluster
from harness.worlds.sim.probe import ARGV


@pytest.mark.parametrize("check", conformance.checks_of(Sim()), ids=str)
def test_it_conforms(check: conformance.Check, tmp_path: Path) -> None:
    world = Sim()
    world.run(check(world, tmp_path, ARGV))


def test_it_can_do_everything_but_run_commands() -> None:
    assert CAPABILITIES.keys() - Sim.capabilities == {"commands"}


# --- What a world could do wrong


def kills_instead_of_cutting_the_power(cluster: SimCluster) -> None:
    cluster.power_off = cluster.kill  # type: ignore[method-assign]


def loses_nothing_at_a_power_cut(cluster: SimCluster) -> None:
    for at in cluster._nodes.values():
        at.disk.cut_power = at.disk.process_died  # type: ignore[method-assign]


def loses_all_at_a_power_cut(cluster: SimCluster) -> None:
    for at in cluster._nodes.values():
        at.disk.cut_power = at.disk._files.clear  # type: ignore[method-assign]


def springs_traps_at_any_step(cluster: SimCluster) -> None:
    for at in cluster._nodes.values():
        tell = at.disk._tell
        at.disk._tell = lambda step, *rest, tell=tell: tell("written", *rest)  # type: ignore[method-assign]


def springs_traps_too_early(cluster: SimCluster) -> None:
    for at in cluster._nodes.values():
        tell = at.disk._tell

        def wrong(step: Any, name: str, changes: Any, tell: Any = tell) -> None:
            tell("synced" if step == "written" else "written", name, changes)

        at.disk._tell = wrong  # type: ignore[method-assign]


def keeps_traps_for_the_next_process(cluster: SimCluster) -> None:
    cluster._disarm = lambda at: None  # type: ignore[method-assign]


def shapes_nothing(cluster: SimCluster) -> None:
    async def broken(links: Mapping[Link, Shape]) -> None:
        cluster._known(links)

    cluster.shape = broken  # type: ignore[method-assign]


def shapes_both_ways(cluster: SimCluster) -> None:
    shape = cluster.shape

    async def broken(links: Mapping[Link, Shape]) -> None:
        await shape({**links, **{(b, a): one for (a, b), one in links.items()}})

    cluster.shape = broken  # type: ignore[method-assign]


def adds_to_the_shapes_before(cluster: SimCluster) -> None:
    shape, every = cluster.shape, dict[Link, Shape]()

    async def broken(links: Mapping[Link, Shape]) -> None:
        every.update(links)
        await shape(every)

    cluster.shape = broken  # type: ignore[method-assign]


def sets_every_clock_off(cluster: SimCluster) -> None:
    set_clock = cluster.set_clock

    async def broken(node: str, wall_offset: float, rate: float) -> None:
        for other in cluster.nodes:
            await set_clock(other, wall_offset, rate)

    cluster.set_clock = broken  # type: ignore[method-assign]


def keeps_every_clock_at_its_rate(cluster: SimCluster) -> None:
    set_clock = cluster.set_clock

    async def broken(node: str, wall_offset: float, rate: float) -> None:
        await set_clock(node, wall_offset, 1.0)

    cluster.set_clock = broken  # type: ignore[method-assign]


def harms_no_disk(cluster: SimCluster) -> None:
    async def broken(node: str, condition: str) -> None:
        pass

    cluster.set_disk = broken  # type: ignore[method-assign]


def heals_no_disk(cluster: SimCluster) -> None:
    set_disk = cluster.set_disk

    async def broken(node: str, condition: Any) -> None:
        if condition != "ordinary":
            await set_disk(node, condition)

    cluster.set_disk = broken  # type: ignore[method-assign]


def only_says_that_something_rots(cluster: SimCluster) -> None:
    async def broken(node: str, record: str) -> str | None:
        return "byte 0 of kept" if cluster._nodes[node].disk.names() else None

    cluster.rot = broken  # type: ignore[method-assign]


def only_says_that_something_is_elsewhere(cluster: SimCluster) -> None:
    async def broken(node: str, record: str) -> str | None:
        return "the sector of byte 0 of kept is at 512" if cluster._nodes[node].disk.names() else None

    cluster.misdirect = broken  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("break_it", "check_that_finds_it"),
    [
        (kills_instead_of_cutting_the_power, "a_node_without_power_says_nothing_until_it_is_started_again"),
        (loses_nothing_at_a_power_cut, "a_power_cut_leaves_what_was_synced_and_loses_some_of_what_was_not"),
        (
            loses_all_at_a_power_cut,
            "a_power_cut_leaves_what_was_synced_and_loses_some_of_what_was_not",
        ),
        (springs_traps_at_any_step, "a_trap_cuts_the_power_exactly_at_its_step"),
        (springs_traps_too_early, "a_trap_cuts_the_power_exactly_at_its_step"),
        (keeps_traps_for_the_next_process, "a_trap_goes_when_it_is_cleared_and_with_its_process"),
        (shapes_nothing, "a_shape_changes_what_goes_over_the_named_directions_and_no_other"),
        (shapes_both_ways, "a_shape_changes_what_goes_over_the_named_directions_and_no_other"),
        (adds_to_the_shapes_before, "a_shape_changes_what_goes_over_the_named_directions_and_no_other"),
        (shapes_nothing, "late_datagrams_come_later_and_none_is_lost"),
        (shapes_nothing, "everything_takes_longer_by_a_shapes_latency"),
        (sets_every_clock_off, "a_clock_is_as_far_off_as_it_is_set_and_others_are_not"),
        (keeps_every_clock_at_its_rate, "a_monotonic_clock_goes_as_fast_as_it_is_set_and_never_back"),
        (harms_no_disk, "a_full_disk_takes_nothing_until_there_is_room_again"),
        (harms_no_disk, "a_failing_disk_flushes_nothing_until_it_is_whole_again"),
        (harms_no_disk, "a_slow_disk_takes_its_time_now_and_then"),
        (heals_no_disk, "a_full_disk_takes_nothing_until_there_is_room_again"),
        (heals_no_disk, "a_failing_disk_flushes_nothing_until_it_is_whole_again"),
        (only_says_that_something_rots, "rot_changes_what_is_safe_on_the_disk_and_says_what"),
        (
            only_says_that_something_is_elsewhere,
            "a_misdirected_sector_is_found_elsewhere_and_not_in_its_place",
        ),
    ],
)
def test_a_world_that_lies_is_caught(
    break_it: Callable[[SimCluster], None],
    check_that_finds_it: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Broken(Sim):
        async def open(self, nodes: tuple[str, ...], directory: Path, seed: int) -> SimCluster:
            cluster = await super().open(nodes, directory, seed)
            break_it(cluster)
            return cluster

    monkeypatch.setattr(suite, "PATIENCE_SECONDS", 1.0)
    world = Broken()
    check = next(check for check in conformance.CHECKS if check.name == check_that_finds_it)
    with pytest.raises((AssertionError, OSError)):
        world.run(check(world, tmp_path, ARGV))
