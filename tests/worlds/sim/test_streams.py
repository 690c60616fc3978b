"""Simulated streams: in order or not at all, whatever happens to hosts and links."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.worlds import Shape
from harness.worlds.sim.departures import Departure
from harness.worlds.sim.loop import NotSimulated
from harness.worlds.sim.streams import (
    HIGH_WATER_BYTES,
    IDLE_NS_MAX,
    RETRANSMIT_NS_MIN,
    SEND_BUFFER_BYTES,
    UNACKNOWLEDGED_NS_MAX,
)

if TYPE_CHECKING:
    from tests.worlds.sim.conftest import Net, OnNet, Peer

SECOND = 1_000_000_000
MILLISECOND = 1_000_000

BROKEN_AFTER = UNACKNOWLEDGED_NS_MAX / SECOND
ASKED_AFTER = IDLE_NS_MAX / SECOND

ROUND_TRIP = 0.002
"""No longer than that."""


async def joined(net: Net) -> tuple[Peer, Peer]:
    """The two ends of a stream from n1 to n2, a second after the beginning."""
    accepted = await net.serve("n2")
    dialled = await net.dial("n1", "n2")
    await net.until(1)
    return dialled, accepted[0]


# --- In order


def test_bytes_arrive_in_order_after_the_links_latency_both_ways(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        ours, theirs = await joined(net)
        there = ours.transport.wire  # type: ignore[attr-defined]
        ours.transport.write(b"a")
        ours.transport.writelines([b"b", b"", bytearray(b"c")])
        ours.transport.write(b"")
        theirs.transport.write(memoryview(b"d"))
        await net.until(2)
        assert theirs.events == [((SECOND + there.latency_ns) / SECOND, text) for text in ("a", "bc")]
        assert ours.events == [((SECOND + there.back.latency_ns) / SECOND, "d")]

    on_net(scenario)


def test_a_segment_that_is_late_or_lost_delays_those_behind_it_and_none_comes_twice(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        ours, theirs = await joined(net)
        for text in "abcd":
            ours.transport.write(text.encode())
            await asyncio.sleep(0.01)
        await net.until(2)
        times = {event: when - 1 for when, event in theirs.events}
        assert theirs.heard() == ["a", "b", "c", "d"]
        assert 0.03 < times["a"] == times["b"] == times["c"] < 0.032
        assert 0.03 + RETRANSMIT_NS_MIN / SECOND < times["d"] < 0.032 + RETRANSMIT_NS_MIN / SECOND

    on_net(
        scenario,
        {
            ("n1>n2 stream", 1): Departure("late", 30 * MILLISECOND),
            ("n1>n2 stream", 2): Departure("twice", 50 * MILLISECOND),
            ("n1>n2 stream", 4): Departure("lost"),
        },
    )


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 3)),
        st.tuples(st.just("wait"), st.sampled_from([100_000, MILLISECOND, 300 * MILLISECOND, 2 * SECOND])),
        st.tuples(st.just("cut"), st.sampled_from(["n1>n2", "n2>n1", "n1>n2 n2>n1"])),
        st.tuples(st.just("heal"), st.just(0)),
        st.tuples(st.just("pause"), st.just(0)),
        st.tuples(st.just("resume"), st.just(0)),
        st.tuples(st.just("stop reading"), st.just(0)),
        st.tuples(st.just("go on reading"), st.just(0)),
    ),
    max_size=30,
)
DEPARTURES = st.dictionaries(
    st.tuples(st.just("n1>n2 stream"), st.integers(1, 30)),
    st.builds(Departure, st.sampled_from(["lost", "twice", "late"]), st.integers(0, 400 * MILLISECOND)),
    max_size=5,
)


@settings(deadline=None, max_examples=150)
@given(steps=STEPS, departures=DEPARTURES, ending=st.sampled_from(["close", "abort", "kill"]))
@example(  # the third is written while the first is stuck and the second still under way
    steps=[("write", 1), ("wait", 100_000), ("write", 1), ("cut", "n1>n2"), ("wait", 300_000), ("write", 1)],
    departures={("n1>n2 stream", 2): Departure("late", 100 * MILLISECOND)},
    ending="close",
)
def test_whatever_happens_bytes_arrive_in_order_or_the_stream_breaks(
    on_net: OnNet, steps: list[tuple[str, Any]], departures: dict[tuple[str, int], Departure], ending: str
) -> None:
    async def scenario(net: Net) -> None:
        ours, theirs = await joined(net)
        sent = b""
        for what, argument in steps:
            match what:
                case "write":
                    data = bytes((len(sent) + number) % 251 for number in range(argument))
                    if not ours.transport.is_closing():
                        sent += data
                    ours.transport.write(data)
                case "wait":
                    await asyncio.sleep(argument / SECOND)
                case "cut":
                    net.cut(*argument.split())
                case "heal":
                    net.cut()
                case "pause":
                    net.pause("n2")
                case "resume":
                    net.resume("n2")
                case "stop reading":
                    theirs.transport.pause_reading()
                case "go on reading":
                    theirs.transport.resume_reading()
            assert sent.startswith(theirs.received)
        net.cut()
        net.resume("n2")
        theirs.transport.resume_reading()
        lost = ours.transport.is_closing()
        if ending == "kill":
            net.kill("n1")
        else:
            getattr(ours.transport, ending)()
        await asyncio.sleep(60)
        assert sent.startswith(theirs.received)
        if not lost:
            assert theirs.received == sent
            assert theirs.heard()[-2:] == ["end", "lost"]
        else:
            assert theirs.transport.is_closing(), "both ends learn of it in the end"
        assert not net.network.hosts["n1"].ends
        assert not net.network.hosts["n2"].ends

    on_net(scenario, departures)


# --- Cuts


@pytest.mark.parametrize("cut", ["n1>n2", "n2>n1", "n1>n2 n2>n1"])
def test_what_cannot_pass_is_held_and_comes_after_the_heal(cut: str, on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        ours, theirs = await joined(net)
        net.cut(*cut.split())
        for text in "abc":
            ours.transport.write(text.encode())
            await asyncio.sleep(0.9)
        arrived = theirs.heard()
        assert arrived == (["a", "b", "c"] if cut == "n2>n1" else [])
        net.cut()
        await net.until(10)
        assert theirs.heard() == ["a", "b", "c"]
        theirs.transport.write(b"d")
        await net.until(11)
        assert ours.heard() == ["d"]

    on_net(scenario)


@pytest.mark.parametrize(("healed", "arrives"), [(0.1, 0.2), (0.5, 0.6), (1.3, 1.4), (2.9, 3.0), (4.9, 5.0)])
def test_what_is_held_is_sent_again_at_growing_intervals(
    healed: float, arrives: float, on_net: OnNet
) -> None:
    async def scenario(net: Net) -> None:
        ours, theirs = await joined(net)
        net.cut("n1>n2")
        ours.transport.write(b"a")
        net.loop.call_later(healed, net.cut)
        await net.until(10)
        assert theirs.when("a") - 1 == pytest.approx(arrives, abs=ROUND_TRIP)

    on_net(scenario)


def test_a_stream_that_is_acknowledged_nothing_for_too_long_breaks(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        ours, theirs = await joined(net)
        net.cut("n1>n2", "n2>n1")
        ours.transport.write(b"a")
        await net.until(4)
        ours.transport.write(b"b")  # does not make it last longer
        await net.until(20)
        assert ours.heard() == ["lost: TimeoutError"]
        assert ours.when("lost: TimeoutError") - 1 == pytest.approx(BROKEN_AFTER, abs=ROUND_TRIP)
        assert ours.transport.is_closing()
        ours.transport.write(b"c")
        assert theirs.heard() == []

    on_net(scenario)


def test_what_arrives_and_cannot_be_acknowledged_has_arrived_and_the_stream_breaks_all_the_same(
    on_net: OnNet,
) -> None:
    async def scenario(net: Net) -> None:
        ours, theirs = await joined(net)
        net.cut("n2>n1")
        await net.until(3)
        ours.transport.write(b"a")
        await net.until(20)
        assert theirs.when("a") - 3 < ROUND_TRIP
        assert ours.when("lost: TimeoutError") - 3 == pytest.approx(BROKEN_AFTER, abs=ROUND_TRIP)

    on_net(scenario)


def test_what_was_held_arrives_once_its_own_direction_is_healed_and_no_more_until_it_is_acknowledged(
    on_net: OnNet,
) -> None:
    async def scenario(net: Net) -> None:
        others = await net.serve("n3")
        ours, theirs = await joined(net)
        net.cut("n1>n2", "n2>n1")
        ours.transport.write(b"first")
        ours.transport.write(b"second")
        await net.until(2)
        net.cut("n2>n1")
        await net.until(10)
        assert theirs.heard() == ["first"]
        assert ours.heard() == ["lost: TimeoutError"]
        assert 6 <= ours.when("lost: TimeoutError") <= 6.2

        ours = await net.dial("n1", "n3")
        await net.until(11)
        net.cut("n1>n3", "n3>n1")
        ours.transport.write(b"first")
        ours.transport.write(b"second")
        await net.until(12)
        net.cut("n3>n1")
        await net.until(14)
        assert others[0].heard() == ["first"]
        net.cut()
        await net.until(20)
        assert others[0].heard() == ["first", "second"]
        assert ours.heard() == []

    on_net(scenario)


def test_an_acknowledgement_that_passes_between_two_cuts_counts(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        ours, theirs = await joined(net)
        net.cut("n2>n1")
        ours.transport.write(b"a")
        await net.until(5)
        net.cut()
        await net.until(5.5)
        net.cut("n2>n1")
        ours.transport.write(b"b")
        await net.until(10)
        assert ours.heard() == []
        assert theirs.received == b"ab"
        await net.until(12)
        assert ours.when("lost: TimeoutError") == pytest.approx(5.5 + BROKEN_AFTER, abs=ROUND_TRIP)

    on_net(scenario)


# --- The end


def test_closing_sends_what_was_written_and_then_the_end(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        ours, theirs = await joined(net)
        ours.transport.write(b"a")
        ours.transport.close()
        ours.transport.close()
        ours.transport.write(b"b")
        await net.until(2)
        assert ours.heard() == ["lost"]
        assert theirs.heard() == ["a", "end", "lost"]
        assert not net.network.hosts["n1"].ends

    on_net(scenario)


@pytest.mark.parametrize("end", ["close", "abort"])
def test_closing_over_a_cut_leaves_the_rest_to_the_kernel(end: str, on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        ours, theirs = await joined(net)
        net.cut("n1>n2", "n2>n1")
        ours.transport.write(b"a request")
        getattr(ours.transport, end)()
        await net.until(2)
        assert ours.heard() == ["lost"]
        net.cut()
        await net.until(5)
        assert theirs.heard() == ["a request", "end", "lost"], "though its client has long given up"

    on_net(scenario)


def test_a_process_that_dies_sends_what_it_has_written_and_then_the_end(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        ours, theirs = await joined(net)
        ours.transport.write(b"last words")
        net.kill("n1")
        ours.transport.write(b"posthumous")
        ours.transport.close()
        await net.until(2)
        assert theirs.heard() == ["last words", "end", "lost"]
        assert ours.heard() == []

    on_net(scenario)


@pytest.mark.parametrize("end", ["close", "abort", "kill"])
def test_whoever_ends_a_stream_with_something_unread_resets_it(end: str, on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        ours, theirs = await joined(net)
        theirs.transport.pause_reading()
        ours.transport.write(b"a")
        await net.until(2)
        net.kill("n2") if end == "kill" else getattr(theirs.transport, end)()
        await net.until(3)
        assert ours.heard() == ["lost: ConnectionResetError"]

    on_net(scenario)


def test_what_comes_for_a_stream_that_was_closed_is_answered_by_a_reset(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        ours, theirs = await joined(net)
        ours.half_open = True
        theirs.transport.close()
        await net.until(2)
        assert ours.heard() == ["end"]
        ours.transport.write(b"are you there?")
        await net.until(3)
        assert ours.heard() == ["end", "lost: ConnectionResetError"]

    on_net(scenario)


def test_one_direction_can_end_before_the_other(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        ours, theirs = await joined(net)
        theirs.half_open = True
        assert ours.transport.can_write_eof()
        ours.transport.write(b"question")
        ours.transport.write_eof()
        with pytest.raises(RuntimeError, match=r"write\(\) after write_eof\(\)"):  # as asyncio's own
            ours.transport.write(b"too late")
        await net.until(2)
        assert theirs.heard() == ["question", "end"]
        theirs.transport.write(b"answer")
        theirs.transport.close()
        await net.until(3)
        assert ours.heard() == ["answer", "end", "lost"]
        assert theirs.heard() == ["question", "end", "lost"]
        assert not net.network.hosts["n1"].ends

    on_net(scenario)


# --- Hosts that vanish


def test_what_a_host_had_sent_when_it_lost_power_arrives(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        ours, theirs = await joined(net)
        theirs.transport.write(b"a")
        await asyncio.sleep(0)
        net.power_off("n2")
        await net.until(2)
        assert ours.heard() == ["a"]

    on_net(scenario)


def test_what_a_host_without_power_should_send_again_is_lost_with_all_behind_it(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        ours, theirs = await joined(net)
        for number, kind in enumerate(("first", "lost", "behind"), 1):
            net.network.shape({("n2", "n1"): Shape(lost=float(number == 2))})
            theirs.transport.write(kind.encode())
        net.power_off("n2")
        await net.until(2)
        assert ours.heard() == ["first"]

    on_net(scenario)


def test_a_host_that_loses_power_says_nothing_and_who_waits_for_it_learns_of_it_by_asking(
    on_net: OnNet,
) -> None:
    async def scenario(net: Net) -> None:
        ours, theirs = await joined(net)
        net.power_off("n2")
        await net.until(1 + 2 * ASKED_AFTER - 1)
        assert (ours.heard(), theirs.heard()) == ([], [])
        await net.until(1 + 2 * ASKED_AFTER + 1)
        assert ours.heard() == ["lost: TimeoutError"]

    on_net(scenario)


def test_who_writes_to_a_host_that_lost_power_learns_of_it_sooner(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        ours, _ = await joined(net)
        net.power_off("n2")
        ours.transport.write(b"a")
        await net.until(10)
        assert ours.when("lost: TimeoutError") - 1 == pytest.approx(BROKEN_AFTER, abs=ROUND_TRIP)

    on_net(scenario)


@pytest.mark.parametrize("writes", [True, False])
def test_a_host_that_was_restarted_resets_the_streams_of_its_former_life(writes: bool, on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        ours, _ = await joined(net)
        net.power_off("n2")
        await net.until(2)
        net.start("n2")
        await net.serve("n2")
        if writes:
            ours.transport.write(b"a")
        await net.until(20)
        when = ours.when("lost: ConnectionResetError")
        assert when == pytest.approx(2 if writes else 1 + ASKED_AFTER, abs=ROUND_TRIP)

    on_net(scenario)


@pytest.mark.parametrize("cut", ["n1>n2", "n2>n1"])
def test_both_ends_of_a_silent_stream_over_a_cut_break_in_the_end(cut: str, on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        ours, theirs = await joined(net)
        net.cut(cut)
        await net.until(10)
        assert (ours.heard(), theirs.heard()) == ([], [])
        await net.until(1 + 2 * ASKED_AFTER + 1)
        assert (ours.heard(), theirs.heard()) == (["lost: TimeoutError"], ["lost: TimeoutError"])

    on_net(scenario)


def test_a_silent_stream_survives_a_cut_during_which_nobody_asks(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        ours, theirs = await joined(net)
        net.cut("n1>n2", "n2>n1")
        await net.until(10)
        net.cut()
        await net.until(100)
        ours.transport.write(b"still there?")
        await net.until(101)
        assert theirs.heard() == ["still there?"]
        assert ours.heard() == []

    on_net(scenario)


def test_the_peer_of_a_stream_that_broke_learns_of_it_when_it_writes(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        ours, theirs = await joined(net)
        net.cut("n1>n2", "n2>n1")
        ours.transport.write(b"a")
        await net.until(8)
        assert ours.heard() == ["lost: TimeoutError"]
        net.cut()
        await net.until(9)
        assert theirs.heard() == [], "the kernel that gave up says nothing"
        theirs.transport.write(b"b")
        await net.until(10)
        assert theirs.heard() == ["lost: ConnectionResetError"]

    on_net(scenario)


# --- Paused processes and full buffers


def test_the_kernel_of_a_paused_process_takes_in_and_acknowledges_what_comes(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        ours, theirs = await joined(net)
        net.pause("n2")
        for text in "abc":
            ours.transport.write(text.encode())
        await net.until(100)
        assert (ours.heard(), theirs.heard()) == ([], [])
        net.resume("n2")
        await net.until(101)
        assert theirs.heard() == ["a", "b", "c"]

    on_net(scenario)


def test_a_protocol_that_pauses_reading_gets_the_rest_when_it_goes_on(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        ours, theirs = await joined(net)
        theirs.transport.pause_reading()
        assert not theirs.transport.is_reading()
        ours.transport.write(b"a")
        ours.transport.close()
        await net.until(2)
        assert theirs.heard() == []
        theirs.transport.resume_reading()
        assert theirs.transport.is_reading()
        await net.until(3)
        assert theirs.heard() == ["a", "end", "lost"]

    on_net(scenario)


def test_who_writes_more_than_the_kernel_takes_is_told_to_wait_and_to_go_on(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        ours, theirs = await joined(net)
        net.cut("n1>n2")
        ours.transport.write(bytes(SEND_BUFFER_BYTES))
        assert ours.transport.get_write_buffer_size() == 0
        ours.transport.write(bytes(HIGH_WATER_BYTES))
        await asyncio.sleep(0)
        assert ours.transport.get_write_buffer_size() == HIGH_WATER_BYTES
        assert ours.heard() == []
        ours.transport.write(b"x")
        await asyncio.sleep(0)
        assert ours.heard() == ["pause"]
        net.cut()
        await net.until(2)
        assert ours.heard() == ["pause", "resume"]
        assert len(theirs.received) == SEND_BUFFER_BYTES + HIGH_WATER_BYTES + 1
        assert ours.transport.get_write_buffer_size() == 0

    on_net(scenario)


def test_the_limits_of_the_write_buffer_can_be_set(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        ours, _ = await joined(net)
        assert ours.transport.get_write_buffer_limits() == (HIGH_WATER_BYTES // 4, HIGH_WATER_BYTES)
        net.cut("n1>n2")
        ours.transport.write(bytes(SEND_BUFFER_BYTES + 1))
        await asyncio.sleep(0)
        assert ours.heard() == []
        ours.transport.set_write_buffer_limits(high=0)
        await asyncio.sleep(0)
        assert ours.heard() == ["pause"]
        ours.transport.set_write_buffer_limits(low=10)
        assert ours.transport.get_write_buffer_limits() == (10, 40)
        await asyncio.sleep(0)
        assert ours.heard() == ["pause", "resume"]

    on_net(scenario)


def test_aborting_drops_only_what_the_kernel_does_not_have(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        ours, theirs = await joined(net)
        net.cut("n1>n2")
        ours.transport.write(b"a" * SEND_BUFFER_BYTES)
        ours.transport.write(b"b")
        ours.transport.abort()
        net.cut()
        await net.until(3)
        assert theirs.received == b"a" * SEND_BUFFER_BYTES
        assert theirs.heard()[-2:] == ["end", "lost"]

    on_net(scenario)


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("end", ["kill", "power_off"])
def test_what_the_kernel_does_not_have_dies_with_its_process(end: str, closed: bool, on_net: OnNet) -> None:
    """Half of a write that was too large for it may be on its way."""

    async def scenario(net: Net) -> None:
        ours, theirs = await joined(net)
        ours.transport.write(b"a" * (SEND_BUFFER_BYTES - 5))
        ours.transport.write(b"0123456789")
        ours.transport.write(b"b")
        if closed:
            ours.transport.close()
        getattr(net, end)("n1")
        await net.until(3)
        assert theirs.received == b"a" * (SEND_BUFFER_BYTES - 5) + b"01234"
        assert theirs.heard()[2:] == (["end", "lost"] if end == "kill" else [])

    on_net(scenario)


# --- Protocols


def test_a_protocol_that_fails_loses_its_stream_and_somebody_is_told(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        def told(process: Any, details: dict[str, Any]) -> None:
            errors.append((process.name, str(details["exception"])))

        net.loop.on_error = told
        ours, theirs = await joined(net)
        theirs.data_received = fail  # type: ignore[method-assign]
        ours.transport.write(b"a")
        await net.until(2)
        assert errors == [("n2", "a bug")]
        assert ours.heard() == ["end", "lost"]
        assert theirs.heard() == ["lost"]

    def fail(data: bytes) -> None:
        raise ValueError("a bug")

    errors: list[tuple[str, str]] = []
    on_net(scenario)


def test_another_protocol_can_take_a_stream_over(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        ours, theirs = await joined(net)
        successor = type(theirs)(net.loop)
        theirs.transport.set_protocol(successor)
        assert theirs.transport.get_protocol() is successor
        ours.transport.write(b"a")
        await net.until(2)
        assert (theirs.heard(), successor.heard()) == ([], ["a"])

    on_net(scenario)


def test_buffered_protocols_are_refused_by_name(on_net: OnNet) -> None:
    async def connect(net: Net) -> None:
        await net.port("n1").connect(asyncio.BufferedProtocol, ("10.0.0.2", 7000))  # type: ignore[arg-type]

    async def scenario(net: Net) -> None:
        await net.serve("n2")
        work: Coroutine[Any, Any, None] = connect(net)
        await net.on("n1", work)

    with pytest.raises(NotSimulated, match=r"n1 calls a stream with a BufferedProtocol at .*test_streams"):
        on_net(scenario)
