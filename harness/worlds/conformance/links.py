"""What every world must do with links: cut them, and shape them."""

from __future__ import annotations

import asyncio

from harness.worlds import InjectionError, Link, Shape
from harness.worlds.conformance import suite
from harness.worlds.conformance.suite import ALL_LINKS, DATAGRAMS, NODES, Probes, check, exchange, raises

# --- Cut


@check("cut")
async def at_first_every_link_passes(probes: Probes) -> None:
    await probes.start()
    await probes.assert_passing(set(ALL_LINKS))


@check("cut")
async def a_cut_drops_the_named_directions_and_no_other(probes: Probes) -> None:
    await probes.start()
    cut = {("n1", "n2"), ("n3", "n1")}
    await probes.cluster.cut(cut)
    await probes.assert_passing(set(ALL_LINKS) - cut)


@check("cut")
async def a_cut_replaces_the_one_before(probes: Probes) -> None:
    await probes.start()
    await probes.cluster.cut([("n1", "n2"), ("n2", "n1")])
    await probes.cluster.cut([("n1", "n3")])
    await probes.assert_passing(set(ALL_LINKS) - {("n1", "n3")})


@check("cut")
async def a_heal_makes_every_link_whole(probes: Probes) -> None:
    await probes.start()
    await probes.cluster.cut(ALL_LINKS)
    await probes.assert_passing(set())
    await probes.cluster.cut([])
    await probes.assert_passing(set(ALL_LINKS))


@check("cut")
async def a_cut_in_one_direction_stops_established_streams_until_it_heals(probes: Probes) -> None:
    await probes.start()
    for name, receiver in (("cut", "n2"), ("whole", "n3")):
        assert await probes.ask("n1", "dial", name, probes.cluster.address(receiver))
        assert await probes.ask("n1", "exchange", name, "before", suite.PATIENCE_SECONDS)
    await probes.cluster.cut([("n2", "n1")])
    assert not await probes.ask("n1", "exchange", "cut", "during", suite.SILENCE_SECONDS)
    assert await probes.ask("n1", "exchange", "whole", "during", suite.PATIENCE_SECONDS)
    await probes.cluster.cut([])
    assert await probes.ask("n1", "exchange", "cut", "after", suite.PATIENCE_SECONDS)


@check("cut")
async def no_stream_opens_across_a_cut_in_either_direction(probes: Probes) -> None:
    await probes.start()
    await probes.cluster.cut([("n1", "n2")])
    assert not await probes.ask("n1", "dial", "forth", probes.cluster.address("n2"))
    assert not await probes.ask("n2", "dial", "back", probes.cluster.address("n1"))
    assert await probes.ask("n2", "dial", "aside", probes.cluster.address("n3"))
    await probes.cluster.cut([])
    assert await probes.ask("n1", "dial", "again", probes.cluster.address("n2"))


@check("cut")
async def clients_are_never_cut(probes: Probes) -> None:
    await probes.start()
    async with probes.stream("n1") as established:
        await probes.cluster.cut(ALL_LINKS)
        assert await exchange(*established, "pid")
        for node in NODES:
            assert await probes.ask(node, "pid")


@check("cut")
async def a_cut_outlasts_the_processes(probes: Probes) -> None:
    await probes.start()
    await probes.cluster.cut([("n1", "n2")])
    await probes.cluster.kill("n1")
    await probes.cluster.kill("n2")
    await probes.start("n1", "n2")
    await probes.assert_passing(set(ALL_LINKS) - {("n1", "n2")})


@check("cut")
async def a_cut_of_nodes_that_are_not_there_is_an_error_and_changes_nothing(probes: Probes) -> None:
    await probes.start()
    await probes.cluster.cut([("n1", "n2")])
    await raises(InjectionError, probes.cluster.cut([("n1", "n9")]))
    await raises(InjectionError, probes.cluster.cut([("n1", "n1")]))
    await probes.assert_passing(set(ALL_LINKS) - {("n1", "n2")})


# --- Shapes


@check("shape")
async def a_shape_changes_what_goes_over_the_named_directions_and_no_other(probes: Probes) -> None:
    await probes.start()
    await probes.cluster.shape({("n1", "n2"): Shape(lost=1.0), ("n2", "n3"): Shape(twice=1.0)})
    counts = await _counts(probes, "a")
    assert counts == {**dict.fromkeys(ALL_LINKS, DATAGRAMS), ("n1", "n2"): 0, ("n2", "n3"): 2 * DATAGRAMS}
    await probes.cluster.shape({("n3", "n1"): Shape(lost=0.5)})
    counts = await _counts(probes, "b")
    some = counts.pop(("n3", "n1"))
    assert 0 < some < DATAGRAMS
    assert set(counts.values()) == {DATAGRAMS}, "all other links are ordinary again"
    await probes.cluster.shape({})
    assert await _counts(probes, "c") == dict.fromkeys(ALL_LINKS, DATAGRAMS)


@check("shape")
async def late_datagrams_come_later_and_none_is_lost(probes: Probes) -> None:
    await probes.start()
    delay_ms_max = 1000 * suite.PATIENCE_SECONDS / 2
    await probes.cluster.shape({("n1", "n2"): Shape(late=1.0, delay_ms_max=delay_ms_max)})
    await probes.ask("n1", "send", probes.cluster.address("n2"), "late", DATAGRAMS)
    await asyncio.sleep(suite.SILENCE_SECONDS)
    soon = (await probes.ask("n2", "received")).get("late", 0)
    assert soon < DATAGRAMS
    await asyncio.sleep(delay_ms_max / 1000)
    assert (await probes.ask("n2", "received"))["late"] == DATAGRAMS


@check("shape")
async def everything_takes_longer_by_a_shapes_latency(probes: Probes) -> None:
    await probes.start()
    latency = suite.PATIENCE_SECONDS / 2
    await probes.cluster.shape({("n1", "n2"): Shape(latency_ms=1000 * latency)})
    await probes.ask("n1", "send", probes.cluster.address("n2"), "slow", DATAGRAMS)
    await asyncio.sleep(latency / 2)
    assert "slow" not in await probes.ask("n2", "received")
    await asyncio.sleep(latency)
    assert (await probes.ask("n2", "received"))["slow"] == DATAGRAMS


@check("shape")
async def streams_lose_nothing_to_a_shape(probes: Probes) -> None:
    await probes.start("n1", "n2")
    assert await probes.ask("n1", "dial", "s", probes.cluster.address("n2"))
    await probes.cluster.shape({("n1", "n2"): Shape(lost=0.3, twice=0.3, late=0.3)})
    for number in range(DATAGRAMS):
        assert await probes.ask("n1", "exchange", "s", f"message {number};", suite.PATIENCE_SECONDS)


@check("shape")
async def a_shape_of_links_that_are_not_there_is_an_error_and_changes_nothing(probes: Probes) -> None:
    await probes.start()
    await probes.cluster.shape({("n1", "n2"): Shape(lost=1.0)})
    await raises(InjectionError, probes.cluster.shape({("n1", "n9"): Shape(lost=1.0)}))
    await probes.assert_passing(set(ALL_LINKS) - {("n1", "n2")})


async def _counts(probes: Probes, tag: str) -> dict[Link, int]:
    """How many of so many datagrams arrive on each link."""
    for a, b in ALL_LINKS:
        await probes.ask(a, "send", probes.cluster.address(b), tag + a, DATAGRAMS)
    await asyncio.sleep(suite.SILENCE_SECONDS)
    received = {node: await probes.ask(node, "received") for node in NODES}
    return {(a, b): received[b].get(tag + a, 0) for a, b in ALL_LINKS}
