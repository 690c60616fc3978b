"""EDN: what Jepsen writes is read, and what we write is read back."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import edn


def read(text: str) -> list[Any]:
    return [value for _, value in edn.loads(text)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("nil", None),
        ("true", True),
        ("-12", -12),
        ("12N", 12),
        ("1.5e3", 1500.0),
        ("2.0M", 2.0),
        ("1/4", 0.25),
        (":jepsen.history/ok", "jepsen.history/ok"),
        (r'"a\"b\n"', 'a"b\n'),
        (r"\a", "a"),
        (r"\newline", "\n"),
        ("symbol", "symbol"),
        ("[1, 2 3]", [1, 2, 3]),
        ("(1 2)", [1, 2]),
        ("#{1 2}", [1, 2]),
        ("{:a 1, 2 nil}", {"a": 1, 2: None}),
        ("{[1 2] 3}", [[[1, 2], 3]]),
        ("#jepsen.history.Op{:f :read}", {"f": "read"}),
        ('#inst "2026-01-01"', "2026-01-01"),
        ("[1 #_ 2 3]", [1, 3]),
        ("[1 #_ [2 2] #_ #_ 5 6 3]", [1, 3]),
        ("; a comment\n7 ; another", 7),
    ],
)
def test_every_form_of_a_history_is_read(text: str, value: Any) -> None:
    assert read(text) == [value]


def test_forms_know_their_line() -> None:
    assert list(edn.loads('1\n;x\n"a\nb" [\n]\n2')) == [(1, 1), (3, "a\nb"), (4, []), (6, 2)]


def test_an_enclosing_vector_gives_its_elements() -> None:
    assert list(edn.loads("[{:a 1}\n {:a 2}]", enclosed=True)) == [(1, {"a": 1}), (2, {"a": 2})]


@pytest.mark.parametrize(
    ("text", "line", "at_end"),
    [("[1\n(2]", 2, False), ("1\n]", 2, False), ("{:a}", 1, False), ("\n{:a 1", 2, True), ('"abc', 1, True)],
)
def test_what_is_not_edn_is_named_by_line(text: str, line: int, at_end: bool) -> None:
    with pytest.raises(edn.EdnError) as raised:
        read(text)
    assert (raised.value.line, raised.value.at_end) == (line, at_end)


def test_special_numbers_are_written_and_read() -> None:
    assert read(edn.dumps([math.inf, -math.inf])) == [[math.inf, -math.inf]]
    assert math.isnan(read(edn.dumps(math.nan))[0])


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=20,
)


@given(values)
def test_what_is_written_is_read_back(value: Any) -> None:
    assert read(edn.dumps(value)) == [value]
