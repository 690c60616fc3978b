"""Every combinator, in virtual time."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import generator as gen
from harness.generator import (
    PENDING,
    Context,
    Generator,
    GeneratorError,
    Operation,
    Source,
    Step,
    Streams,
)
from harness.generator.simulate import imperfect, invocations, perfect, quick, simulate
from harness.history import NEMESIS, Op

READ = Operation("read")
WRITE = Operation("write", 1)
CAS = Operation("cas", [1, 2])
NANOSECOND = 1e-9


def fs(events: list[Op]) -> list[str]:
    return [event.f for event in invocations(events)]


def times(events: list[Op]) -> list[int]:
    return [event.time for event in invocations(events)]


def values(events: list[Op]) -> list[object]:
    return [event.value for event in invocations(events)]


def numbered(f: str, count: int) -> list[Operation]:
    return [Operation(f, number) for number in range(count)]


# --- Order and number


def test_concat_takes_one_source_after_another() -> None:
    assert fs(quick(gen.concat(READ, [WRITE, None], CAS))) == ["read", "write", "cas"]


def test_then_waits_until_the_first_source_has_completed() -> None:
    events = perfect(gen.clients(gen.then(gen.each_thread(READ), WRITE)), latency=10, concurrency=3)
    assert [(event.f, event.time) for event in invocations(events)] == [("read", 0)] * 3 + [("write", 10)]


def test_phases_do_not_overlap() -> None:
    def complete(invocation: Op) -> Op:
        """A thread's number decides how long its operations take."""
        assert isinstance(invocation.process, int)
        latency = 10 + invocation.process
        return Op(0, invocation.time + latency, "ok", invocation.process, invocation.f)

    source = gen.clients(gen.phases(gen.each_thread(Operation("a")), gen.each_thread(Operation("b"))))
    events = simulate(source, complete, concurrency=3)
    assert times([event for event in events if event.f == "b"]) == [12, 12, 12]


def test_limit_bounds_operations_and_once_takes_one() -> None:
    assert len(fs(quick(gen.limit(5, gen.repeat(READ))))) == 5
    assert fs(quick(gen.once([READ, WRITE]))) == ["read"]


def test_repeat_does_not_advance_its_source() -> None:
    assert fs(quick(gen.repeat([READ, WRITE], 3))) == ["read", "read", "read"]


def test_cycle_begins_again_at_the_start() -> None:
    assert fs(quick(gen.cycle([READ, WRITE], 2))) == ["read", "write", "read", "write"]
    assert fs(quick(gen.limit(5, gen.cycle([READ, WRITE])))) == ["read", "write"] * 2 + ["read"]


def test_cycling_nothing_ends() -> None:
    assert quick(gen.cycle([])) == []


def test_process_limit_ends_before_one_process_too_many() -> None:
    events = imperfect(gen.clients(gen.process_limit(5, gen.repeat(READ))), concurrency=2)
    assert len({event.process for event in events}) == 5


def test_concurrency_limit_bounds_what_is_under_way() -> None:
    events = perfect(gen.clients(gen.concurrency_limit(2, gen.limit(9, gen.repeat(READ)))), concurrency=5)
    open_now = most = 0
    for event in events:
        open_now += 1 if event.type == "invoke" else -1
        most = max(most, open_now)
    assert (len(events), most) == (18, 2)


def test_until_ok_goes_on_until_one_of_its_operations_is_ok() -> None:
    """Of one imperfect thread, the third operation is the first that is ok."""
    events = imperfect(gen.clients(gen.until_ok(gen.repeat(READ))), concurrency=1)
    assert [event.type for event in events] == ["invoke", "fail", "invoke", "info", "invoke", "ok"]


def test_until_ok_does_not_count_what_others_did() -> None:
    source = gen.any_of(
        gen.on_threads(lambda thread: thread == 0, gen.until_ok(gen.limit(2, gen.repeat(READ)))),
        gen.on_threads(lambda thread: thread == 1, [WRITE] * 3),
    )
    assert Counter(fs(imperfect(source, concurrency=2)))["read"] == 2


# --- Time


def test_time_limit_counts_from_the_first_operation() -> None:
    late = [Operation("late", time=100), gen.delay(10 * NANOSECOND, gen.repeat(READ))]
    assert max(times(quick(gen.time_limit(50 * NANOSECOND, late)))) == 140


def test_delay_spaces_evenly_and_catches_up() -> None:
    source = gen.delay(10 * NANOSECOND, gen.limit(5, gen.repeat(READ)))
    assert times(quick(source)) == [0, 10, 20, 30, 40]
    slow = gen.clients(gen.delay(10 * NANOSECOND, gen.limit(4, gen.repeat(READ))))
    assert times(perfect(slow, latency=25, concurrency=2)) == [0, 10, 25, 35]


@settings(deadline=None)  # a loaded machine says nothing about the rate
@given(seed=st.integers(0, 2**32))
def test_stagger_is_a_rate_of_all_threads_together(seed: int) -> None:
    count = 1000
    source = gen.stagger(100 * NANOSECOND, gen.limit(count, gen.repeat(READ)))
    last = times(perfect(source, concurrency=10, seed=seed))[-1]
    # The sum of `count` uniform draws from 0 to 200: six standard deviations.
    assert abs(last - 100 * count) < 6 * (200 / 12**0.5) * count**0.5


def test_stagger_does_not_make_up_for_lost_time() -> None:
    """One thread, slower than the rate: whenever it is free it does one operation, never a burst."""
    source = gen.clients(gen.stagger(NANOSECOND, gen.limit(5, gen.repeat(READ))))
    assert times(perfect(source, latency=100, concurrency=1)) == [0, 100, 200, 300, 400]


def test_sleep_keeps_a_thread_busy_and_leaves_no_trace() -> None:
    source = gen.nemesis([Operation("a"), gen.sleep(50 * NANOSECOND), gen.log("hello"), Operation("b")])
    assert [(event.f, event.time) for event in perfect(source)] == [("a", 0), ("a", 10), ("b", 60), ("b", 70)]


def test_cycle_times_gives_each_its_window_and_lets_it_go_on_where_it_was() -> None:
    source = gen.cycle_times(
        20 * NANOSECOND,
        gen.delay(10 * NANOSECOND, numbered("a", 9)),
        10 * NANOSECOND,
        gen.delay(10 * NANOSECOND, numbered("b", 9)),
    )
    events = invocations(quick(gen.limit(7, source)))
    assert [(event.f, event.value, event.time) for event in events] == [
        ("a", 0, 0),
        ("a", 1, 10),
        ("b", 0, 20),
        ("a", 2, 30),
        ("a", 3, 30),
        ("a", 4, 40),
        ("b", 1, 50),
    ]


def test_cycle_times_refuses_nonsense() -> None:
    for schedule in ([], [1.0], [READ, 1.0], [0.0, READ]):
        with pytest.raises(GeneratorError, match="seconds"):
            gen.cycle_times(*schedule)


# --- Choice


def test_any_of_takes_the_soonest() -> None:
    source = gen.any_of([Operation("b", time=20)], [Operation("a", time=10), Operation("c", time=30)])
    assert fs(quick(source)) == ["a", "b", "c"]


def test_any_of_draws_among_equals_evenly() -> None:
    sources = [gen.repeat(Operation(name)) for name in "abcd"]
    drawn = Counter(fs(quick(gen.limit(4000, gen.any_of(*sources)))))
    assert all(850 < drawn[name] < 1150 for name in "abcd")


def test_shortest_any_ends_with_the_first_that_ends() -> None:
    source = gen.shortest_any(gen.delay(10 * NANOSECOND, [READ] * 3), gen.delay(10 * NANOSECOND, [WRITE] * 9))
    assert Counter(fs(quick(source)))["write"] <= 4


def test_mix_draws_evenly_and_ends_when_all_have_ended() -> None:
    drawn = fs(quick(gen.mix(gen.limit(1000, gen.repeat(READ)), gen.limit(500, gen.repeat(WRITE)))))
    assert Counter(drawn) == {"read": 1000, "write": 500}
    assert 200 < drawn[:500].count("read") < 300


def test_mix_is_not_held_up_by_one_that_is_pending() -> None:
    waiting = gen.on_threads(lambda thread: thread == "no such thread", READ)
    pending = gen.concat(lambda: PENDING)
    assert fs(quick(gen.limit(9, gen.mix(waiting, pending, gen.repeat(WRITE))))) == ["write"] * 9


def test_flip_flop_alternates_and_ends_with_either() -> None:
    assert values(quick(gen.flip_flop(numbered("a", 9), numbered("b", 2)))) == [0, 0, 1, 1, 2]


# --- Threads


def test_clients_and_nemesis_keep_to_their_threads() -> None:
    source = gen.any_of(gen.clients([READ] * 5), gen.nemesis([Operation("kill")] * 5))
    for event in perfect(source):
        assert (event.process == NEMESIS) == (event.f == "kill")


def test_each_thread_does_the_whole_source() -> None:
    events = invocations(perfect(gen.each_thread([READ, WRITE]), concurrency=2))
    for process in (0, 1, NEMESIS):
        assert [event.f for event in events if event.process == process] == ["read", "write"]


def test_each_process_begins_again_after_a_crash() -> None:
    """Of one imperfect thread, every second operation crashes its process."""
    source = gen.clients(gen.each_process(numbered("a", 3)))
    events = invocations(imperfect(gen.limit(5, source), concurrency=1))
    assert [(event.process, event.value) for event in events] == [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
        (1, 2),
    ]


def test_reserve_gives_ranges_of_threads() -> None:
    source = gen.clients(
        gen.limit(300, gen.reserve((2, gen.repeat(READ)), (1, gen.repeat(WRITE)), default=gen.repeat(CAS)))
    )
    who: dict[str, set[int | str]] = {}
    for event in invocations(perfect(source, concurrency=6)):
        who.setdefault(event.f, set()).add(event.process)
    assert who == {"read": {0, 1}, "write": {2}, "cas": {3, 4, 5}}


def test_a_source_on_threads_hears_of_their_events_alone() -> None:
    heard: list[object] = []

    def listen(source: Generator, context: Context, event: Op) -> Source:
        heard.append(event.f)
        return source

    source = gen.any_of(gen.clients(gen.on_update(listen, READ)), gen.nemesis(Operation("kill")))
    perfect(source)
    assert heard == ["read", "read"]


# --- Content


def test_map_filter_and_f_map_change_operations() -> None:
    def double(operation: Operation) -> Operation:
        return msgspec.structs.replace(operation, value=operation.value * 2)

    doubled = gen.map_operations(double, numbered("a", 3))
    assert values(quick(doubled)) == [0, 2, 4]
    assert values(quick(gen.filter_operations(lambda op: op.value % 2 == 1, numbered("a", 6)))) == [1, 3, 5]
    assert fs(quick(gen.f_map({"read": "look"}, [READ, WRITE]))) == ["look", "write"]


def test_on_update_may_replace_its_source() -> None:
    def after_read(source: Generator, context: Context, event: Op) -> Source:
        return WRITE if (event.type, event.f) == ("ok", "read") else source

    assert fs(perfect(gen.clients(gen.on_update(after_read, gen.limit(1, READ))))) == ["read", "write"]


def test_trace_writes_what_is_asked_and_told() -> None:
    lines: list[str] = []
    quick(gen.trace("here", READ, lines.append))
    assert [line.split()[:2] for line in lines] == [
        ["here", "op"],
        ["here", "update"],
        ["here", "op"],
        ["here", "update"],
        ["here", "op"],
    ]


def test_neighbouring_places_of_a_keyed_stream_have_nothing_in_common() -> None:
    streams, count = Streams(1), 20_000
    draws = [streams.at("a", position).random() for position in range(count)]
    eighths = Counter(int(draw * 8) for draw in draws)
    assert sorted(eighths) == list(range(8))
    assert all(abs(times - count / 8) < 5 * math.sqrt(count / 8) for times in eighths.values())
    rises = sum(one < other for one, other in itertools.pairwise(draws))
    assert abs(rises - count / 2) < 5 * math.sqrt(count / 12)
    for bits in (1, 7, 64, 65, 200):
        numbers = [streams.at("b", position).getrandbits(bits) for position in range(1000)]
        assert 2 ** (bits - 1) <= max(numbers) < 2**bits
        assert min(numbers) < 2 ** (bits - 1)


def test_keyed_streams_do_not_disturb_each_other() -> None:
    """What a generator draws depends on the seed and its own name, not on what others draw."""

    def draws(context: Context) -> Operation:
        return Operation("draw", context.random.random())

    def drawn(other: Source) -> list[object]:
        source = gen.any_of(
            gen.on_threads(lambda thread: thread == 0, gen.keyed("mine", gen.limit(20, draws))),
            gen.on_threads(lambda thread: thread == 1, gen.keyed("other", other)),
        )
        return [event.value for event in invocations(perfect(source)) if event.f == "draw"]

    quiet = drawn(None)
    noisy = drawn(gen.limit(50, gen.mix(gen.repeat(READ), gen.repeat(WRITE))))
    assert quiet == noisy[: len(quiet)] and len(quiet) == 20


@given(seed=st.integers(0, 2**32))
def test_a_seed_decides_everything(seed: int) -> None:
    def events() -> list[Op]:
        source = gen.stagger(
            1e-6, gen.limit(50, gen.mix(gen.repeat(READ), gen.repeat(WRITE), gen.repeat(CAS)))
        )
        return imperfect(gen.clients(source), seed=seed)

    assert events() == events()


# --- The contract


class Broken:
    """A generator that returns whatever it is told to."""

    def __init__(self, step: object) -> None:
        self.step = step

    def op(self, context: Context) -> Step:
        if isinstance(self.step, Exception):
            raise self.step
        return self.step  # type: ignore[return-value]

    def update(self, context: Context, event: Op) -> Generator:
        return self


@pytest.mark.parametrize(
    ("step", "complaint"),
    [
        ("read", "must return"),
        ((READ, gen.lift(None)), "no process or no time"),
        ((Operation("a", process=0, time=-5), gen.lift(None)), "before now"),
        ((Operation("a", process=99, time=0), gen.lift(None)), "not free"),
        ((Operation("a", process=0, time=0), READ), "no generator"),
        (KeyError("lost"), "KeyError: 'lost'"),
    ],
)
def test_a_breach_of_contract_names_what_is_wrong(step: object, complaint: str) -> None:
    with pytest.raises(GeneratorError, match=complaint):
        quick(Broken(step))


@given(
    concurrency=st.integers(1, 70),
    crashed=st.lists(st.integers(0, 69), max_size=5),
    seed=st.integers(0, 1000),
)
def test_any_free_process_is_a_current_one(concurrency: int, crashed: list[int], seed: int) -> None:
    """Threads crash and are busy at random; the process offered is always that of a free thread."""
    random = Random(seed)
    context = Context.initial(concurrency, seed)
    for thread in crashed:
        context = context.crashed(thread % concurrency)
    for thread in range(concurrency):
        if random.random() < 0.7:
            context = context.busy(thread)
    process = context.some_free_process()
    assert process is not None and context.is_free(process)
    names = list(context.names(context.free))
    assert context.thread(process) in names
    assert [context.bit(name) for name in names] == sorted(context.bit(name) for name in names)
