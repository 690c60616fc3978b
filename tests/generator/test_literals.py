"""What stands for a generator without being one (rules: harness.generator)."""

from __future__ import annotations

import itertools

import pytest

from harness import generator as gen
from harness.generator import PENDING, Context, GeneratorError, Operation
from harness.generator.simulate import invocations, perfect, quick
from harness.history import Op

READ = Operation("read")
WRITE = Operation("write", 1)


def fs(events: list[Op]) -> list[str]:
    return [event.f for event in invocations(events)]


def test_none_does_nothing() -> None:
    assert quick(None) == []


def test_an_operation_happens_once_at_the_present_time_on_a_free_process() -> None:
    (invocation, completion) = perfect(gen.clients(READ), latency=10)
    assert (invocation.type, invocation.time, invocation.f) == ("invoke", 0, "read")
    assert (completion.type, completion.time, completion.process) == ("ok", 10, invocation.process)


def test_an_operation_waits_for_its_process() -> None:
    """Two operations for process 1: the second begins when the first is over."""
    events = perfect([Operation("a", process=1), Operation("b", process=1)], latency=10)
    assert [(event.f, event.type, event.time) for event in events] == [
        ("a", "invoke", 0),
        ("a", "ok", 10),
        ("b", "invoke", 10),
        ("b", "ok", 20),
    ]


def test_an_operation_waits_for_its_time() -> None:
    assert perfect(Operation("a", time=77))[0].time == 77


def test_an_iterable_is_its_elements_one_after_another() -> None:
    assert fs(quick([READ, [WRITE, READ], None, WRITE])) == ["read", "write", "read", "write"]


def test_an_endless_iterator_is_read_no_further_than_needed() -> None:
    numbers = itertools.count()
    source = gen.limit(3, (Operation("write", number) for number in numbers))
    assert [event.value for event in invocations(quick(source))] == [0, 1, 2]
    assert next(numbers) <= 4


def test_an_iterator_is_a_value_that_can_be_asked_again() -> None:
    """A step that was not taken changes nothing: the same element comes again."""
    context = Context.initial(2)
    generator = gen.lift(iter([READ, WRITE]))
    first, again = generator.op(context), generator.op(context)
    assert isinstance(first, tuple) and isinstance(again, tuple)
    assert first[0].f == again[0].f == "read"
    second = first[1].op(context)
    assert isinstance(second, tuple) and second[0].f == "write"


def test_a_function_is_called_again_and_again_until_it_returns_none() -> None:
    left = iter([READ, [WRITE, WRITE], None])
    assert fs(perfect(gen.clients(lambda: next(left)), concurrency=1)) == ["read", "write", "write"]


def test_a_function_may_take_the_context() -> None:
    def now(context: Context) -> Operation:
        return Operation("now", context.time)

    events = invocations(perfect(gen.clients(gen.limit(4, now)), latency=10, concurrency=1))
    assert [event.value for event in events] == [0, 10, 20, 30]


def test_a_function_that_only_returns_exhausted_generators_is_an_error() -> None:
    with pytest.raises(GeneratorError, match="1000 exhausted"):
        quick(list)


def test_a_function_of_two_arguments_is_an_error() -> None:
    with pytest.raises(GeneratorError, match="no argument, or the context"):
        gen.lift(lambda context, other: None)  # type: ignore[arg-type]


def test_a_string_or_dictionary_is_an_error() -> None:
    for source in ("read", {"f": "read"}):
        with pytest.raises(GeneratorError, match="write Operation"):
            gen.lift(source)


def test_pending_for_ever_is_an_error_in_a_simulation() -> None:
    with pytest.raises(GeneratorError, match="pending for ever"):
        quick(lambda: PENDING)
