"""A failure is made small: few nodes, faults and operations, in round numbers, and the same every time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from harness.cli import main
from harness.simulation import words
from harness.simulation.scenario import Scenario, encode, read, simulate
from harness.simulation.shrink import NotFailing, shrink

if TYPE_CHECKING:
    from tests.simulation.conftest import Play


@pytest.fixture(scope="module")
def shrunk(play: Play) -> tuple[Scenario, Scenario]:
    """A scenario of a mutant that loses what it has acknowledged, before and after."""
    small = {"nodes": 3, "servers": 3, "concurrency": 6, "rate": 20.0, "time_limit": 9.0}
    first = play("register", "partition", 0, mutant="AcknowledgesBeforeReplication", **small)
    assert first.failure is not None
    assert first.failure.startswith("invalid")
    return first.scenario, shrink(first.scenario)


def test_a_shrunk_scenario_fails_in_the_same_way(shrunk: tuple[Scenario, Scenario]) -> None:
    before, after = shrunk
    assert simulate(after).failure == after.failure == before.failure


def test_a_shrunk_scenario_is_small(shrunk: tuple[Scenario, Scenario]) -> None:
    before, after = shrunk
    assert len(before.operations) > 2 * len(after.operations)
    assert len(after.operations) <= 10, words.script(after)
    assert len(after.faults) <= 5, words.script(after)
    assert not after.departures


def test_a_shrunk_scenario_cannot_lose_any_more(shrunk: tuple[Scenario, Scenario]) -> None:
    _, after = shrunk
    for name in ("operations", "faults"):
        items = getattr(after, name)
        for position in range(len(items)):
            fewer = msgspec.structs.replace(after, **{name: [*items[:position], *items[position + 1 :]]})
            assert simulate(fewer).failure != after.failure, f"{name} {position} is not needed"


def test_a_scenario_shrinks_to_the_same_every_time(play: Play) -> None:
    first = play("register", "none", 0, mutant="AppliesByChance", rate=20.0, time_limit=2.0)
    assert encode(shrink(first.scenario, runs_max=60)) == encode(shrink(first.scenario, runs_max=60))


def test_a_shrunk_scenario_reads_as_a_script_and_runs_as_a_test(shrunk: tuple[Scenario, Scenario]) -> None:
    _, after = shrunk
    script = words.script(after, simulate(after))
    assert "start partition" in script
    assert f"-> {after.failure}" in script
    namespace: dict[str, object] = {}
    exec(words.test(after), namespace)
    (test,) = (value for name, value in namespace.items() if name.startswith("test_"))
    with pytest.raises(AssertionError):
        test()  # type: ignore[operator]


def test_what_does_not_fail_cannot_be_shrunk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound = Scenario(workload="register", nodes=3, servers=3, time_limit=1.0)
    sound = msgspec.structs.replace(sound, safety_only=True)
    with pytest.raises(NotFailing):
        shrink(sound)
    path = tmp_path / "sound.json"
    path.write_bytes(encode(sound))
    assert main(["shrink", str(path)]) == 64
    assert "does not fail" in capsys.readouterr().err


def test_the_command_prints_the_script_and_the_test_and_keeps_the_scenario(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.simulation.conftest import mutated

    agent = " ".join(mutated("AppliesByChance"))
    out = tmp_path / "small.json"
    arguments = ["--nemesis=none", f"--agent={agent}", "--rate=20", "--time-limit=2", "--runs=60"]
    assert main(["shrink", "0", "--workload=register", *arguments, f"--out={out}"]) == 0
    told = capsys.readouterr().out
    assert "def test_register_invalid_equal_states() -> None:" in told
    assert "Equal States" in told
    small = read(out)
    assert len(small.operations) <= 16, "the digests are compared at every 16th entry"
