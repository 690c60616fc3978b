"""What every world must do with machines: cut their power, set their clocks off, and harm their disks."""

from __future__ import annotations

import asyncio

from harness.worlds import CrashStep, InjectionError
from harness.worlds.conformance import suite
from harness.worlds.conformance.suite import ALL_LINKS, NODES, POWER_CUTS, Probes, check, exchange, raises

# --- Power


@check("power")
async def a_node_without_power_says_nothing_until_it_is_started_again(probes: Probes) -> None:
    await probes.start()
    async with probes.stream("n1") as (reader, _):
        await probes.cluster.power_off("n1")
        assert not probes.cluster.running("n1")
        assert await probes.is_silent("n1"), "a machine that is off refuses nothing"
        ending = asyncio.ensure_future(reader.read())
        done, _ = await asyncio.wait([ending], timeout=suite.SILENCE_SECONDS)
        assert not done, "a machine that is off ends no stream"
        ending.cancel()
    assert [(record.node, record.expected) for record in probes.cluster.exits] == [("n1", True)]
    await probes.cluster.power_off("n1")
    assert len(probes.cluster.exits) == 1
    assert await probes.ask("n2", "pid")
    await probes.start("n1")
    await probes.assert_passing(set(ALL_LINKS))


@check("power")
async def a_power_cut_leaves_what_was_synced_and_loses_some_of_what_was_not(probes: Probes) -> None:
    lost = 0
    kept = ""
    for number in range(POWER_CUTS):
        await probes.start("n1")
        assert (await probes.ask("n1", "read") or "").startswith(kept), "synced data are gone"
        await probes.ask("n1", "append", f"{number} ")
        assert await probes.ask("n1", "sync") is None
        kept = await probes.ask("n1", "read")
        await probes.ask("n1", "append", "unsynced")
        await probes.cluster.power_off("n1")
        await probes.start("n1")
        left = await probes.ask("n1", "read") or ""
        assert left.startswith(kept), "synced data are gone"
        lost += left != kept + "unsynced"
        kept = left
        await probes.cluster.power_off("n1")
    assert lost, "a power cut that loses nothing is a kill"


# --- Crash points


@check("crash point")
async def a_trap_cuts_the_power_exactly_at_its_step(probes: Probes) -> None:
    sprung: list[str] = []
    left = []
    steps: tuple[CrashStep, ...] = ("written", "synced", "sent")
    for step in steps:
        for _ in range(POWER_CUTS):
            await probes.start("n1")
            await probes.ask("n1", "append", "x")
            assert await probes.ask("n1", "sync") is None
            before = await probes.ask("n1", "read")
            await probes.cluster.set_trap("n1", step, "any", lambda: sprung.append("n1"))
            await probes.ask("n1", "append", "y")
            assert not sprung, "writing is no step before it is flushed"
            async with probes.stream("n1") as stream:
                answer = asyncio.ensure_future(exchange(*stream, "sync"))
                done, _ = await asyncio.wait([answer], timeout=suite.SILENCE_SECONDS)
                assert bool(done) == (step == "sent"), "who waits for the flush is answered after it"
                answer.cancel()
            assert sprung == ["n1"]
            sprung.clear()
            assert not probes.cluster.running("n1")
            assert await probes.is_silent("n1")
            await probes.start("n1")
            left.append((step, (await probes.ask("n1", "read"))[len(before) :]))
            assert await probes.ask("n1", "sync") is None, "a trap springs once"
            await probes.cluster.kill("n1")
    assert {text for step, text in left if step != "written"} == {"y"}, "it was safe"
    assert len({text for step, text in left if step == "written"}) > 1, "it was written, and may be lost"
    assert all(record.expected for record in probes.cluster.exits)


@check("crash point")
async def a_trap_goes_when_it_is_cleared_and_with_its_process(probes: Probes) -> None:
    sprung: list[str] = []
    await raises(InjectionError, probes.cluster.set_trap("n1", "written", "any"))
    await probes.start("n1", "n2")
    await probes.cluster.set_trap("n1", "synced", "any", lambda: sprung.append("cleared"))
    await probes.cluster.clear_traps("n1")
    await probes.cluster.clear_traps("n1")
    await probes.cluster.set_trap("n2", "synced", "any", lambda: sprung.append("of a former process"))
    await probes.cluster.kill("n2")
    await probes.start("n2")
    for node in ("n1", "n2"):
        await probes.ask(node, "append", "x")
        assert await probes.ask(node, "sync") is None
    assert not sprung


# --- Clocks


@check("clock")
async def a_clock_is_as_far_off_as_it_is_set_and_others_are_not(probes: Probes) -> None:
    await probes.start()
    for offset in (100.0, -100.0, 0.0):
        await probes.cluster.set_clock("n1", offset, 1.0)
        walls = [(await probes.ask(node, "clocks"))[1] for node in NODES]
        assert abs(walls[0] - walls[1] - offset) < suite.SILENCE_SECONDS
        assert abs(walls[2] - walls[1]) < suite.SILENCE_SECONDS


@check("clock")
async def a_monotonic_clock_goes_as_fast_as_it_is_set_and_never_back(probes: Probes) -> None:
    await probes.start("n1", "n2")
    for rate in (2.0, 0.5, 1.0):
        await probes.cluster.set_clock("n1", 50.0, rate)
        before = [(await probes.ask(node, "clocks"))[0] for node in ("n1", "n2")]
        await asyncio.sleep(suite.SILENCE_SECONDS)
        after = [(await probes.ask(node, "clocks"))[0] for node in ("n1", "n2")]
        passed = [later - earlier for later, earlier in zip(after, before, strict=True)]
        assert passed[0] >= 0
        assert abs(passed[0] - rate * passed[1]) < 0.1 * suite.SILENCE_SECONDS


@check("clock")
async def a_clock_stays_as_it_is_when_its_process_is_another(probes: Probes) -> None:
    await probes.start("n1", "n2")
    await probes.cluster.set_clock("n1", 100.0, 1.0)
    await probes.cluster.kill("n1")
    await probes.start("n1")
    walls = [(await probes.ask(node, "clocks"))[1] for node in ("n1", "n2")]
    assert abs(walls[0] - walls[1] - 100.0) < suite.SILENCE_SECONDS


# --- Disks


@check("disk")
async def a_full_disk_takes_nothing_until_there_is_room_again(probes: Probes) -> None:
    await probes.start("n1", "n2")
    assert await probes.ask("n1", "append", "before;") is None
    await probes.cluster.set_disk("n1", "full")
    assert await probes.ask("n1", "append", "x" * 10_000) == "ENOSPC"
    assert (await probes.ask("n1", "read")).startswith("before;")
    assert await probes.ask("n2", "append", "elsewhere") is None
    await probes.cluster.set_disk("n1", "ordinary")
    assert await probes.ask("n1", "append", "after;") is None
    assert (await probes.ask("n1", "read")).endswith("after;")


@check("disk")
async def a_failing_disk_flushes_nothing_until_it_is_whole_again(probes: Probes) -> None:
    await probes.start("n1", "n2")
    for node in ("n1", "n2"):
        await probes.ask(node, "append", "x")
    await probes.cluster.set_disk("n1", "failing")
    assert await probes.ask("n1", "sync") == "EIO"
    assert await probes.ask("n2", "sync") is None
    await probes.cluster.set_disk("n1", "ordinary")
    await probes.ask("n1", "append", "y")
    assert await probes.ask("n1", "sync") is None


@check("disk")
async def a_slow_disk_takes_its_time_now_and_then(probes: Probes) -> None:
    await probes.start("n1", "n2")
    loop = asyncio.get_running_loop()
    longest: dict[str, float] = {}
    await probes.cluster.set_disk("n1", "slow")
    for node in ("n1", "n2"):
        for _ in range(POWER_CUTS):
            began = loop.time()
            await probes.ask(node, "append", "x")
            assert await probes.ask(node, "sync") is None
            longest[node] = max(longest.get(node, 0.0), loop.time() - began)
    assert longest["n1"] > 2 * longest["n2"]


@check("disk")
async def rot_changes_what_is_safe_on_the_disk_and_says_what(probes: Probes) -> None:
    await probes.start("n1")
    assert await probes.cluster.rot("n1", "any") is None, "there is nothing yet"
    text = "0123456789" * 10
    await probes.ask("n1", "append", text)
    assert await probes.ask("n1", "sync") is None
    said = await probes.cluster.rot("n1", "any")
    assert said
    await probes.cluster.kill("n1")
    await probes.start("n1")
    left = await probes.ask("n1", "read")
    assert left != text, f"it says {said}, and nothing has changed"
    assert len(left) == len(text)


@check("disk")
async def a_misdirected_sector_is_found_elsewhere_and_not_in_its_place(probes: Probes) -> None:
    await probes.start("n1")
    assert await probes.cluster.misdirect("n1", "any") is None, "there is nothing yet"
    text = "".join(f"{number:08}" for number in range(2048))
    await probes.ask("n1", "append", text)
    assert await probes.ask("n1", "sync") is None
    said = await probes.cluster.misdirect("n1", "any")
    assert said
    await probes.cluster.kill("n1")
    await probes.start("n1")
    left = await probes.ask("n1", "read")
    assert len(left) == len(text)
    assert left.count("\0") >= 512, f"it says {said}, and nothing is missing"
    there = [left[at : at + 8] for at in range(0, len(left), 8)]
    moved = [at for at, number in enumerate(there) if "\0" not in number and int(number) != at]
    assert len(moved) >= 64, f"it says {said}, and nothing is elsewhere"
