"""Keyed chance and departures: what is drawn at one place does not depend on what else was drawn."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.worlds import ORDINARY, Shape
from harness.worlds.sim.chance import Stream
from harness.worlds.sim.departures import Departure, Departures

SEEDS = st.integers(0, 2**64)
POSITIONS = st.integers(0, 2**60)


@given(seed=SEEDS, position=POSITIONS, draw=st.integers(0, 7), limit=st.integers(1, 10**12))
def test_a_draw_is_a_function_of_seed_purpose_and_position(
    seed: int, position: int, draw: int, limit: int
) -> None:
    stream, again = Stream(seed, "purpose"), Stream(seed, "purpose")
    again.bits(position + 1)
    assert stream.bits(position, draw) == again.bits(position, draw)
    assert 0 <= stream.bits(position, draw) < 2**64
    assert 0.0 <= stream.uniform(position, draw) < 1.0
    assert 0 <= stream.below(limit, position, draw) < limit


@given(seed=SEEDS, position=POSITIONS)
def test_draws_of_other_seeds_purposes_positions_and_numbers_are_others(seed: int, position: int) -> None:
    stream = Stream(seed, "purpose")
    drawn = {stream.bits(position, draw) for draw in range(8)}
    drawn |= {stream.bits(position + 1, draw) for draw in range(8)}
    drawn |= {Stream(seed + 1, "purpose").bits(position), Stream(seed, "another").bits(position)}
    assert len(drawn) == 18


def test_draws_are_spread_evenly() -> None:
    stream = Stream(7, "dice")
    throws = [stream.below(6, position) for position in range(60_000)]
    expected = 10_000
    chi_squared = sum((throws.count(face) - expected) ** 2 / expected for face in range(6))
    assert chi_squared < 20.5  # 5 degrees of freedom: exceeded by chance once in a thousand seeds
    mean = math.fsum(stream.uniform(position) for position in range(60_000)) / 60_000
    assert abs(mean - 0.5) < 0.005


SHAPE = Shape(lost=0.2, twice=0.2, late=0.2, delay_ms_max=80)


def drawn(seed: int, place: str, count: int) -> dict[tuple[str, int], Departure]:
    departures = Departures(seed)
    for number in range(count):
        departures.at(place, number, SHAPE)
    return departures.happened


def test_departures_come_as_often_as_the_shape_says() -> None:
    happened = list(drawn(3, "n1>n2 datagram", 30_000).values())
    for kind in ("lost", "twice", "late"):
        assert sum(departure.kind == kind for departure in happened) == pytest.approx(6000, abs=250)
    delays = [departure.delay_ns for departure in happened if departure.kind != "lost"]
    assert 0 <= min(delays) < 1_000_000
    assert 79_000_000 < max(delays) < 80_000_000
    assert {departure.delay_ns for departure in happened if departure.kind == "lost"} == {0}


def test_what_happens_to_a_packet_is_one_thing_or_nothing() -> None:
    Shape(lost=0.7, twice=0.2, late=0.1)
    for fields, why in (
        ({"lost": 1.5}, "lost is a probability, not 1.5"),
        ({"lost": 0.6, "twice": 0.3, "late": 0.3}, "exclude each other: 1.2 is more than all of it"),
        ({"late": 0.5, "delay_ms_max": -1.0}, "delay_ms_max is how much later, not -1"),
        ({"latency_ms": -1.0}, "latency_ms is how much later, not -1"),
    ):
        with pytest.raises(ValueError, match=why):
            Shape(**fields)


def test_nothing_departs_from_an_ordinary_shape() -> None:
    departures = Departures(3)
    assert all(departures.at("n1>n2 datagram", number, ORDINARY) is None for number in range(1000))
    assert departures.happened == {}


@given(seed=st.integers(0, 2**32), skipped=st.sets(st.integers(0, 49)))
def test_what_is_drawn_at_a_place_does_not_depend_on_what_was_drawn_elsewhere(
    seed: int, skipped: set[int]
) -> None:
    whole = drawn(seed, "n1>n2 datagram", 50)
    departures = Departures(seed)
    for number in range(50):
        departures.at("n2>n1 datagram", number, SHAPE)
        if number not in skipped:
            departures.at("n1>n2 datagram", number, SHAPE)
    ours = {at: departure for at, departure in departures.happened.items() if at[0] == "n1>n2 datagram"}
    assert ours == {at: departure for at, departure in whole.items() if at[1] not in skipped}


@given(seed=st.integers(0, 2**32), taken_out=st.integers(0, 49))
def test_a_list_without_one_departure_leaves_all_others_as_they_were(seed: int, taken_out: int) -> None:
    listed = drawn(seed, "n1>n2 datagram", 50)
    shorter = {at: departure for at, departure in listed.items() if at[1] != taken_out}
    again = Departures(seed + 1, shorter)
    for number in range(50):
        again.at("n1>n2 datagram", number, ORDINARY)
    assert again.happened == shorter


def test_of_a_list_only_that_counts_as_happened_which_did() -> None:
    listed = {("n1>n2 datagram", 3): Departure("lost"), ("n1>n2 datagram", 99): Departure("lost")}
    departures = Departures(0, listed)
    for number in range(10):
        departures.at("n1>n2 datagram", number, SHAPE)
    assert departures.happened == {("n1>n2 datagram", 3): Departure("lost")}
