"""The simulated disk: what survives a death, what a power cut leaves, and how it fails."""

from __future__ import annotations

import asyncio
import errno
import itertools
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.worlds import CrashStep
from harness.worlds.sim.departures import Departures
from harness.worlds.sim.disk import SECTOR_BYTES, SYNC_NS, TAIL_BYTES, Disk, ProcessDisk
from harness.worlds.sim.loop import SimulatedLoop
from harness.worlds.sim.process import Process

if TYPE_CHECKING:
    from tests.worlds.sim.conftest import Simulate

SECOND = 1_000_000_000

Work = Callable[[ProcessDisk], Coroutine[Any, Any, Any]]


class Machine:
    """A disk, and processes that use it one after the other."""

    def __init__(self, loop: SimulatedLoop, seed: int = 0) -> None:
        self.loop = loop
        self.departures = Departures(seed)
        self.disk = Disk("n1", loop, seed, self.departures)
        self.boot()

    def boot(self) -> None:
        self.process = Process("n1", 1)
        self.port = self.disk.of(self.process)

    def begin(self, work: Work) -> asyncio.Task[Any]:
        """Have the process do this."""
        return self.loop.start(self.process, work(self.port))

    def kill(self) -> None:
        self.loop.kill(self.process)
        self.disk.process_died()
        self.boot()

    def cut_power(self) -> None:
        self.loop.kill(self.process)
        self.disk.cut_power()
        self.boot()

    def content(self) -> dict[str, bytes]:
        return {name: self.port.read(name) for name in self.port.names()}


def outcomes(
    simulate: Simulate, seeds: int, work: Work, cut_after: float | None = None
) -> list[dict[str, bytes]]:
    """What the disk has after a power cut at the end of some work, or in the middle, under many seeds."""

    def outcome(seed: int) -> dict[str, bytes]:
        async def scenario(loop: SimulatedLoop) -> dict[str, bytes]:
            machine = Machine(loop, seed)
            task = machine.begin(work)
            await (task if cut_after is None else asyncio.sleep(cut_after))
            machine.cut_power()
            return machine.content()

        result: dict[str, bytes] = simulate(scenario)
        return result

    return [outcome(seed) for seed in range(seeds)]


# --- As on any disk


def test_what_is_written_can_be_read_by_this_process_and_after_its_death_by_the_next(
    simulate: Simulate,
) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        machine = Machine(loop)
        disk = machine.port
        for name in ("b", "a", "c"):
            disk.append(name, b"")
        disk.append("a", b"one two")
        disk.truncate("a", 4)
        disk.append("a", b"three")
        disk.truncate("b", 2)
        disk.remove("c")
        assert machine.content() == {"a": b"one three", "b": b"\0\0"}
        disk.append("c", b"again")
        machine.kill()
        assert machine.content() == {"a": b"one three", "b": b"\0\0", "c": b"again"}

    simulate(scenario)


def test_missing_files_and_impossible_names_are_the_errors_that_a_real_disk_gives(simulate: Simulate) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        disk = Machine(loop).port
        disk.append("removed", b"")
        disk.remove("removed")
        for name in ("missing", "removed"):
            for call in (disk.read, disk.remove, lambda name: disk.truncate(name, 0)):
                with pytest.raises(FileNotFoundError) as error:
                    call(name)
                assert (error.value.errno, error.value.filename) == (errno.ENOENT, name)
            with pytest.raises(FileNotFoundError):
                await disk.sync(name)
        for name in ("", ".hidden", "..", "a/b"):
            for call in (disk.read, disk.remove, lambda name: disk.append(name, b"")):
                with pytest.raises(ValueError, match="cannot be a file's name"):
                    call(name)
            with pytest.raises(ValueError, match="cannot be a file's name"):
                await disk.replace(name, b"")

    simulate(scenario)


def test_what_is_appended_is_taken_as_it_is_and_later_changes_of_it_do_not_count(simulate: Simulate) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        disk = Machine(loop).port
        data = bytearray(b"one")
        disk.append("log", memoryview(data))  # type: ignore[arg-type]
        data[:] = b"two"
        assert disk.read("log") == b"one"

    simulate(scenario)


def test_a_flush_takes_the_disks_time(simulate: Simulate) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        machine = Machine(loop)

        async def work(disk: ProcessDisk) -> None:
            disk.append("log", b"one")
            await disk.sync("log")
            assert loop.now_ns == SYNC_NS
            await disk.replace("snapshot", b"state")
            assert loop.now_ns == 2 * SYNC_NS

        await machine.begin(work)

    simulate(scenario)


# --- Power cuts


Step = tuple[str, str, Any]

STEPS: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.sampled_from("ab"), st.sampled_from([1, 3, 511, 512, 513, 1500])),
        st.tuples(st.just("sync"), st.sampled_from("ab"), st.none()),
        st.tuples(st.just("replace"), st.sampled_from("ab"), st.sampled_from([0, 5, 2000])),
        st.tuples(st.just("truncate"), st.sampled_from("ab"), st.sampled_from([0, 2, 700])),
        st.tuples(st.just("remove"), st.sampled_from("ab"), st.none()),
        st.tuples(st.just("kill"), st.just(""), st.none()),
    ),
    max_size=12,
)


class Model:
    """All contents that one file went through, and from which on any of them may be found again."""

    def __init__(self) -> None:
        self.states: list[bytes | None] = [None]
        self.safe = 0

    def goes_to(self, content: bytes | None) -> None:
        self.states.append(content)

    def is_safe(self) -> None:
        self.safe = len(self.states) - 1

    def allows(self, found: bytes | None) -> bool:
        """Whether a disk may have this after a power cut."""
        later = self.states[self.safe :]
        return found in later or any(
            after is not None and found is not None and torn(before or b"", after, found)
            for before, after in itertools.pairwise(later)
        )


def torn(before: bytes, after: bytes, found: bytes) -> bool:
    """Whether this is between the two, where the second has more at its end."""
    if not after.startswith(before) or not found.startswith(before):
        return False
    if after.startswith(found):
        return True
    return len(found) == len(after) and all(
        found[at : at + SECTOR_BYTES] in (after[at : at + SECTOR_BYTES], hole(before, after, at))
        for at in range(0, len(after), SECTOR_BYTES)
    )


def hole(before: bytes, after: bytes, at: int) -> bytes:
    """A sector of which nothing was written but what was there before."""
    return before[at : at + SECTOR_BYTES].ljust(len(after[at : at + SECTOR_BYTES]), b"\0")


@settings(deadline=None, max_examples=300)
@given(steps=STEPS, seed=st.integers(0, 2**32), cut_within=st.booleans())
def test_after_a_power_cut_every_file_is_as_a_real_disk_could_have_left_it_and_what_was_synced_is_there(
    simulate: Simulate, steps: list[Step], seed: int, cut_within: bool
) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        machine, models = Machine(loop, seed), {"a": Model(), "b": Model()}
        written = 0

        async def do(disk: ProcessDisk, what: str, name: str, argument: Any) -> None:
            nonlocal written
            model = models[name]
            now = model.states[-1]
            if what in ("append", "replace"):
                data = bytes(1 + (written + number) % 255 for number in range(argument))
                written += argument
            if what == "append":
                disk.append(name, data)
                model.goes_to((now or b"") + data)
            elif what == "replace":
                model.goes_to(data)  # perhaps, from now on
                await disk.replace(name, data)
                model.is_safe()
            elif now is None:
                return
            elif what == "sync":
                await disk.sync(name)
                model.is_safe()
            elif what == "truncate":
                disk.truncate(name, argument)
                model.goes_to(now[:argument].ljust(argument, b"\0"))
            else:
                disk.remove(name)
                model.goes_to(None)

        for number, (what, name, argument) in enumerate(steps):
            if what == "kill":
                machine.kill()
                continue
            task = machine.begin(partial(do, what=what, name=name, argument=argument))
            if cut_within and number == len(steps) - 1:
                await asyncio.sleep(SYNC_NS / 2 / SECOND)  # in the middle of it
            else:
                await task
                assert machine.content().get(name) == models[name].states[-1]
        machine.cut_power()
        found = machine.content()
        for name, model in models.items():
            assert model.allows(found.get(name)), f"{name}: {found.get(name)!r} after {model.states}"
        machine.cut_power()
        assert machine.content() == found, "what a power cut has left is safe"

    simulate(scenario)


def test_the_model_knows_what_a_disk_cannot_leave() -> None:
    model = Model()
    model.goes_to(b"a" * 600)
    model.is_safe()
    model.goes_to(b"a" * 600 + b"b" * 600)
    assert model.allows(b"a" * 600)
    assert model.allows(b"a" * 600 + b"b" * 10)
    assert model.allows(b"a" * 600 + b"\0" * 424 + b"b" * 176)
    assert not model.allows(None)
    assert not model.allows(b"a" * 599)
    assert not model.allows(b"a" * 600 + b"\0" * 10)
    assert not model.allows(b"a" * 600 + b"b" * 10 + b"\0" * 590)
    assert not model.allows(b"\0" * 600 + b"b" * 600)


def test_everything_that_a_power_cut_may_leave_does_happen(simulate: Simulate) -> None:
    async def work(disk: ProcessDisk) -> None:
        disk.append("log", b"a" * 1000)
        await disk.sync("log")
        disk.append("log", b"b" * 1000)
        disk.append("log", b"c" * 1000)
        disk.append("new", b"n")
        await disk.replace("removed", b"r")
        disk.remove("removed")

    found = outcomes(simulate, 300, work)
    logs = [content["log"] for content in found]
    assert {1000, 2000, 3000} <= {len(log) for log in logs}, "any number of appends survives"
    assert any(len(log) % 1000 and b"\0" not in log for log in logs), "one is cut short"
    assert any(b"\0" in log[:-500] and log.endswith(b"b") for log in logs), "one has a hole"
    for name in ("new", "removed"):
        there = sum(name in content for content in found)
        assert 30 < there < 270, f"{name} may be there or not"
    assert any("new" in content and content["log"] == logs[0][:1000] for content in found), "in any order"


def test_synced_files_and_replacements_survive_as_a_whole(simulate: Simulate) -> None:
    async def work(disk: ProcessDisk) -> None:
        disk.append("log", b"a" * 5000)
        await disk.sync("log")
        await disk.replace("snapshot", b"b" * 5000)
        await disk.replace("log2", b"old")
        disk.append("log2", b" and new")
        await disk.sync("log2")

    assert (
        outcomes(simulate, 50, work)
        == [{"log": b"a" * 5000, "snapshot": b"b" * 5000, "log2": b"old and new"}] * 50
    )


def test_a_replacement_that_a_power_cut_meets_half_way_is_old_or_new(simulate: Simulate) -> None:
    async def work(disk: ProcessDisk) -> None:
        await disk.replace("snapshot", b"old" * 1000)
        await disk.replace("snapshot", b"new" * 1000)

    found = [content["snapshot"] for content in outcomes(simulate, 50, work, 1.5 * SYNC_NS / SECOND)]
    assert set(found) == {b"old" * 1000, b"new" * 1000}
    assert 10 < found.count(b"old" * 1000) < 40


def test_a_sync_covers_what_was_written_before_it_began_and_only_that(simulate: Simulate) -> None:
    async def work(disk: ProcessDisk) -> None:
        disk.append("log", b"a" * 10)
        sync = asyncio.create_task(disk.sync("log"))
        await asyncio.sleep(0)
        disk.append("log", b"b" * 10)
        await sync

    found = {content["log"] for content in outcomes(simulate, 50, work)}
    assert all(log.startswith(b"a" * 10) for log in found)
    assert b"a" * 10 in found


def test_syncs_that_overlap_cover_each_what_was_there_when_it_began(simulate: Simulate) -> None:
    async def work(disk: ProcessDisk) -> None:
        disk.append("log", b"a")
        first = asyncio.create_task(disk.sync("log"))
        await asyncio.sleep(0.0005)
        disk.append("log", b"b")
        second = asyncio.create_task(disk.sync("log"))
        await asyncio.sleep(0.0001)
        disk.append("log", b"c")
        await asyncio.gather(first, second)

    found = {content["log"] for content in outcomes(simulate, 50, work)}
    assert found <= {b"ab", b"ab\0", b"abc"}
    assert len(found) > 1


def test_a_process_that_dies_while_it_replaces_finds_the_old_or_the_new_and_it_may_yet_change_back(
    simulate: Simulate,
) -> None:
    async def work(disk: ProcessDisk) -> None:
        await disk.replace("snapshot", b"old")
        await disk.replace("snapshot", b"new")

    def outcome(seed: int) -> tuple[bytes, bytes]:
        async def scenario(loop: SimulatedLoop) -> tuple[bytes, bytes]:
            machine = Machine(loop, seed)
            machine.begin(work)
            await asyncio.sleep(1.5 * SYNC_NS / SECOND)
            machine.kill()
            then = machine.content()["snapshot"]
            machine.cut_power()
            return then, machine.content()["snapshot"]

        result: tuple[bytes, bytes] = simulate(scenario)
        return result

    assert {outcome(seed) for seed in range(50)} == {(b"old", b"old"), (b"new", b"old"), (b"new", b"new")}


def test_a_process_that_dies_while_it_syncs_has_synced_nothing(simulate: Simulate) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        machine = Machine(loop, 3)

        async def work(disk: ProcessDisk) -> None:
            disk.append("log", b"a")
            await disk.sync("log")

        machine.begin(work)
        await asyncio.sleep(0.5 * SYNC_NS / SECOND)
        machine.kill()
        await asyncio.sleep(1)
        assert machine.content() == {"log": b"a"}
        machine.port.append("log", b"b" * 100)
        for _ in range(20):  # some of these would keep it, were it synced
            machine.cut_power()
        assert machine.content().get("log") != b"a"

    simulate(scenario)


def test_the_dead_write_nothing_and_hear_of_nothing(simulate: Simulate) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        async def work(disk: ProcessDisk) -> None:
            disk.append("log", b"alive")
            await disk.sync("log")
            loop.kill(machine.process)
            disk.append("log", b"dead")
            disk.truncate("log", 0)
            disk.remove("log")
            said.append("the rest of the callback")
            await disk.replace("log", b"dead")
            said.append("beyond the port")

        machine = Machine(loop)
        machine.begin(work)
        await asyncio.sleep(1)
        machine.cut_power()
        assert machine.content() == {"log": b"alive"}

    said: list[str] = []
    simulate(scenario)
    assert said == ["the rest of the callback"]


def test_what_a_power_cut_leaves_depends_on_its_moment_and_not_on_what_was_drawn_before(
    simulate: Simulate,
) -> None:
    def left(earlier_cut: bool) -> dict[str, bytes]:
        async def scenario(loop: SimulatedLoop) -> dict[str, bytes]:
            machine = Machine(loop, 5)
            await machine.begin(lambda disk: disk.replace("log", b"safe "))
            if earlier_cut:
                machine.port.append("log", b"lost")
                machine.cut_power()
                await machine.begin(lambda disk: disk.replace("log", b"safe "))
            await asyncio.sleep(10 - loop.time())
            for number in range(20):
                machine.port.append("log", b"%d " % number)
            machine.cut_power()
            return machine.content()

        result: dict[str, bytes] = simulate(scenario)
        return result

    assert left(earlier_cut=True) == left(earlier_cut=False)


# --- Steps


def test_every_step_of_writing_is_told_with_what_is_written(simulate: Simulate) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        machine = Machine(loop)
        machine.disk.on_step = lambda *step: steps.append((loop.now_ns // SYNC_NS, *step))

        async def work(disk: ProcessDisk) -> None:
            disk.append("log", b"a")
            disk.append("log", b"b")
            await disk.sync("log")
            disk.append("log", b"c")
            await disk.sync("log")
            await disk.replace("snapshot", b"state")

        await machine.begin(work)

    steps: list[tuple[int, CrashStep, str, bytes]] = []
    simulate(scenario)
    assert steps == [
        (0, "written", "log", b"ab"),
        (1, "synced", "log", b"ab"),
        (1, "written", "log", b"c"),
        (2, "synced", "log", b"c"),
        (2, "written", "snapshot", b"state"),
        (3, "synced", "snapshot", b"state"),
    ]


@pytest.mark.parametrize("step", ["written", "synced"])
@pytest.mark.parametrize("call", ["sync", "replace"])
def test_a_power_cut_at_a_step_is_exactly_there(step: CrashStep, call: str, simulate: Simulate) -> None:
    def outcome(seed: int) -> bytes | None:
        async def scenario(loop: SimulatedLoop) -> bytes | None:
            machine = Machine(loop, seed)

            def stepped(at: CrashStep, name: str, data: bytes) -> None:
                if at == step and data == b"new":
                    moments.append(loop.now_ns)
                    machine.cut_power()

            async def work(disk: ProcessDisk) -> None:
                if call == "sync":
                    disk.append("log", b"new")
                    await disk.sync("log")
                else:
                    await disk.replace("log", b"new")
                said.append("went on")

            machine.disk.on_step = stepped
            machine.begin(work)
            await asyncio.sleep(1)
            return machine.content().get("log")

        result: bytes | None = simulate(scenario)
        return result

    moments: list[int] = []
    said: list[str] = []
    found = {outcome(seed) for seed in range(40)}
    assert set(moments) == {0 if step == "written" else SYNC_NS}
    assert not said, "nobody knows that it is safe"
    assert (found == {b"new"}) == (step == "synced")
    assert {None, b"new"} <= found or step == "synced"


# --- Disks in trouble


def test_on_a_full_disk_appends_fail_having_written_a_part_and_the_rest_goes_on(simulate: Simulate) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        machine = Machine(loop)

        async def work(disk: ProcessDisk) -> None:
            disk.append("log", b"before ")
            machine.disk.condition = "full"
            for _ in range(20):
                size = len(disk.read("log"))
                with pytest.raises(OSError, match="No space left on device") as full:
                    disk.append("log", b"0123456789")
                assert (full.value.errno, full.value.filename) == (errno.ENOSPC, "log")
                written = disk.read("log")[size:]
                assert b"0123456789".startswith(written)
                parts.add(len(written))
            with pytest.raises(OSError, match="No space left on device"):
                await disk.replace("log", b"after")
            disk.truncate("log", 7)
            await disk.sync("log")
            machine.disk.condition = "ordinary"
            disk.append("log", b"after")
            assert disk.read("log") == b"before after"

        await machine.begin(work)

    parts: set[int] = set()
    simulate(scenario)
    assert len(parts) > 4
    assert max(parts) < 10


def test_on_a_failing_disk_flushes_fail_and_what_they_should_have_written_is_never_written(
    simulate: Simulate,
) -> None:
    """Trying again does not help: the second flush succeeds, and the data are gone all the same."""

    def outcome(seed: int) -> bytes:
        async def scenario(loop: SimulatedLoop) -> bytes:
            machine = Machine(loop, seed)

            async def work(disk: ProcessDisk) -> None:
                await disk.replace("log", b"safe ")
                disk.append("log", b"a" * 2000)
                machine.disk.condition = "failing"
                with pytest.raises(OSError, match="Input/output error") as failed:
                    await disk.sync("log")
                assert (failed.value.errno, failed.value.filename) == (errno.EIO, "log")
                machine.disk.condition = "ordinary"
                disk.append("log", b"b" * 100)
                await disk.sync("log")
                assert disk.read("log") == b"safe " + b"a" * 2000 + b"b" * 100

            await machine.begin(work)
            machine.cut_power()
            return machine.content()["log"]

        result: bytes = simulate(scenario)
        return result

    found = [outcome(seed) for seed in range(30)]
    assert all(log.startswith(b"safe ") and log.endswith(b"b" * 100) and len(log) == 2105 for log in found)
    assert sum(b"\0" in log for log in found) > 20, "holes, where the disk got nothing"


def test_on_a_failing_disk_what_was_to_be_replaced_is_old_or_new_and_the_new_is_not_safe(
    simulate: Simulate,
) -> None:
    """It may be the flush of the directory that failed, after the rename."""

    def outcome(seed: int) -> tuple[bytes, bytes]:
        async def scenario(loop: SimulatedLoop) -> tuple[bytes, bytes]:
            machine = Machine(loop, seed)

            async def work(disk: ProcessDisk) -> bytes:
                await disk.replace("snapshot", b"old")
                machine.disk.condition = "failing"
                with pytest.raises(OSError, match="Input/output error") as failed:
                    await disk.replace("snapshot", b"new")
                assert (failed.value.errno, failed.value.filename) == (errno.EIO, "snapshot")
                return disk.read("snapshot")

            seen: bytes = await machine.begin(work)
            machine.cut_power()
            return seen, machine.content()["snapshot"]

        result: tuple[bytes, bytes] = simulate(scenario)
        return result

    found = {outcome(seed) for seed in range(30)}
    assert found == {(b"old", b"old"), (b"new", b"old"), (b"new", b"new")}


def test_a_slow_disk_departs_from_its_time_now_and_then(simulate: Simulate) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        machine = Machine(loop)

        async def work(disk: ProcessDisk) -> None:
            for number in range(100):
                machine.disk.condition = "slow" if number < 50 else "ordinary"
                began = loop.now_ns
                disk.append("log", b"x")
                await disk.sync("log")
                times.append(loop.now_ns - began)

        await machine.begin(work)
        assert {place for place, _ in machine.departures.happened} == {"n1 sync"}
        assert all(1 <= number <= 50 for _, number in machine.departures.happened)

    times: list[int] = []
    simulate(scenario)
    assert set(times[50:]) == {SYNC_NS}
    late = [time for time in times if time > SYNC_NS]
    assert 10 < len(late) < 40
    assert 100_000_000 < max(late) <= 400_000_000 + SYNC_NS


def test_rot_changes_one_bit_of_what_is_safe_for_good(simulate: Simulate) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        machine = Machine(loop, 1)
        assert machine.disk.rot("log") is None
        machine.port.append("log", b"unsafe")
        assert machine.disk.rot("log") is None
        safe = bytes(range(100))
        await machine.begin(lambda disk: disk.replace("log", safe))
        machine.port.append("log", b"later")
        at = machine.disk.rot("log")
        assert at is not None
        now = machine.port.read("log")
        assert len(now) == 105
        assert now[100:] == b"later"
        changed = [number for number in range(100) if now[number] != safe[number]]
        assert changed == [at]
        assert (now[at] ^ safe[at]).bit_count() == 1
        machine.cut_power()
        assert machine.port.read("log")[:100] == now[:100]

    simulate(scenario)


def test_a_misdirected_sector_is_in_anothers_place_and_not_in_its_own(simulate: Simulate) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        machine = Machine(loop, 1)
        short = bytes(TAIL_BYTES + SECTOR_BYTES)
        await machine.begin(lambda disk: disk.replace("short", short))
        assert machine.disk.misdirect("short") is None
        safe = b"".join(bytes([1 + number]) * SECTOR_BYTES for number in range(20))
        await machine.begin(lambda disk: disk.replace("log", safe))
        machine.port.append("log", b"later")
        moved = machine.disk.misdirect("log")
        assert moved is not None
        source, target = moved
        expected = bytearray(safe)
        expected[target : target + SECTOR_BYTES] = safe[source : source + SECTOR_BYTES]
        expected[source : source + SECTOR_BYTES] = bytes(SECTOR_BYTES)
        assert source != target
        assert max(source, target) < len(safe) - TAIL_BYTES
        assert machine.port.read("log") == bytes(expected) + b"later"
        machine.cut_power()
        assert machine.port.read("log")[: len(safe)] == bytes(expected)

    simulate(scenario)
