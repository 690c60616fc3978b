"""When faults come and go."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from harness.generator import Operation
from nemesis.schedule import LEADER, NEXT_LEADER, Timing, faults, short_reigns, varied

TARGETS = ("leader", "one", "minority", "majority", "all")
SECOND = 1_000_000_000


def drawn(time_limit: float, seed: int) -> list[Operation]:
    return faults("kill", TARGETS, Timing(time_limit), Random(seed))


def time_of(operation: Operation) -> int:
    assert operation.time is not None
    return operation.time


@given(time_limit=st.floats(1.0, 600.0), seed=st.integers(0, 2**32))
def test_even_the_shortest_run_has_two_kinds_of_faults_the_leader_among_them(
    time_limit: float, seed: int
) -> None:
    targets = [operation.value for operation in drawn(time_limit, seed) if operation.f == "start-kill"]
    assert len(set(targets)) >= 2 and LEADER in targets


@given(time_limit=st.floats(1.0, 600.0), seed=st.integers(0, 2**32))
def test_faults_and_quiet_take_turns_within_the_time_limit(time_limit: float, seed: int) -> None:
    schedule = drawn(time_limit, seed)
    assert [operation.f for operation in schedule] == ["start-kill", "stop-kill"] * (len(schedule) // 2)
    times = [time_of(operation) for operation in schedule]
    assert times == sorted(times)
    assert times[0] > 0 and times[-1] < time_limit * SECOND


@given(time_limit=st.floats(32.0, 600.0), seed=st.integers(0, 2**32))
def test_in_a_long_run_each_lasts_some_five_to_ten_seconds(time_limit: float, seed: int) -> None:
    times = [time_of(operation) / SECOND for operation in drawn(time_limit, seed)]
    for start, stop in zip(times[::2], times[1::2], strict=True):
        assert 5.0 < stop - start < 14.0


@given(seed=st.integers(0, 2**32))
def test_every_target_comes_once_before_any_comes_again(seed: int) -> None:
    targets = [operation.value for operation in drawn(77.0, seed) if operation.f == "start-kill"]
    assert sorted(targets) == sorted(TARGETS)


def test_a_seed_decides_the_schedule() -> None:
    assert drawn(60.0, 7) == drawn(60.0, 7) != drawn(60.0, 8)


@given(seed=st.integers(0, 2**32))
def test_a_system_can_need_longer_faults_and_there_is_still_quiet_between_them(seed: int) -> None:
    schedule = faults("kill", TARGETS, Timing(36.0, fault_seconds=13.7), Random(seed))
    times = [time_of(operation) / SECOND for operation in schedule]
    assert len(times) == 4
    assert all(stop - start > 13.699 for start, stop in zip(times[::2], times[1::2], strict=True))
    assert times[2] - times[1] > 0.3


@given(turns=st.integers(2, 6), seed=st.integers(0, 2**32))
def test_a_workload_can_have_one_fault_in_two_longer_and_the_last_is_brief(turns: int, seed: int) -> None:
    schedule = faults("kill", TARGETS, Timing(2.0 + 25.0 * turns, long_fault_seconds=19.0), Random(seed))
    times = [time_of(operation) / SECOND for operation in schedule]
    lasted = [stop - start for start, stop in zip(times[::2], times[1::2], strict=True)]
    assert len(lasted) == turns
    assert all(5.9 < brief < 9.1 for brief in lasted[::-2])
    assert all(long > 18.999 for long in lasted[-2::-2])


@given(time_limit=st.floats(5.0, 40.0), seed=st.integers(0, 2**32))
def test_in_a_run_too_short_for_that_the_last_is_still_the_brief_one(time_limit: float, seed: int) -> None:
    schedule = faults("kill", TARGETS, Timing(time_limit, long_fault_seconds=19.0), Random(seed))
    first, first_stop, last, last_stop = (time_of(operation) / SECOND for operation in schedule)
    assert last_stop - last < first_stop - first


@given(time_limit=st.floats(3.0, 60.0), seed=st.integers(0, 2**32))
def test_short_reigns_hit_leaders_only_and_each_sooner_than_the_next_can_be_elected(
    time_limit: float, seed: int
) -> None:
    schedule = short_reigns("kill", Timing(time_limit), Random(seed), starts_again=True)
    assert [operation.value for operation in schedule[::2]] == [LEADER, *[NEXT_LEADER] * (len(schedule) // 2)]
    assert {operation.f for operation in schedule[1::2]} == {"stop-kill"}, "each starts again"
    times = [time_of(operation) / SECOND for operation in schedule]
    assert times == sorted(times) and times[-1] < time_limit
    assert all(0.7 < later - earlier < 1.6 for earlier, later in zip(times[::2], times[2::2], strict=False))


def test_reigns_are_short_in_one_of_four_and_never_where_faults_must_last() -> None:
    short = sum(varied(Timing(15.0), Random(seed)).short_reigns for seed in range(1000))
    assert 200 < short < 300
    for lasting in (Timing(15.0, fault_seconds=5.0), Timing(15.0, long_fault_seconds=5.0)):
        assert not any(varied(lasting, Random(seed)).short_reigns for seed in range(100))
