"""The sequential models, one sentence each, and models of one's own."""

import sys
from pathlib import Path
from typing import Any

import pytest

from checkers.models import IMPOSSIBLE, MODELS, UNKNOWN, Call, ModelFailed, UnknownModel, model_named

Did = tuple[str, Any, Any]
"""Function, argument, result; perhaps the process."""


def possible(name: str, *calls: Any) -> bool:
    """Whether these can be done one after another."""
    model = model_named(name)
    state: Any = model.initial
    for call in calls:
        state = model.step(state, Call(*call))
        if state is IMPOSSIBLE:
            return False
        hash(state)
    return True


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("register", [("write", 1, 1), ("read", None, 1)], [("write", 1, 1), ("read", None, 2)]),
        ("register", [("read", None, None)], [("read", None, 0)]),
        ("register", [("write", [1], None), ("read", None, [1])], [("write", 1, None), ("read", None, True)]),
        (
            "cas-register",
            [("write", 1, 1), ("cas", [1, 2], None), ("read", None, 2)],
            [("write", 1, 1), ("cas", [3, 2], None)],
        ),
        (
            "multi-register",
            [("txn", [], [["write", "x", 1], ["read", "x", 1], ["r", "y", None]])],
            [("txn", [], [["w", "x", 1]]), ("txn", [], [["read", "x", 2]])],
        ),
        ("multi-register", [("txn", [["r", 1, None], ["w", 1, 2]], UNKNOWN)], [("txn", [], [["r", 1, 1]])]),
        ("kv", [("append", "a", None), ("append", "b", None), ("get", None, "ab")], [("get", None, "a")]),
        ("kv", [("append", "a", None), ("put", "b", None), ("get", None, "b")], [("get", None, None)]),
        ("mutex", [("acquire", None, None), ("release", None, None)], [("release", None, None)]),
        ("mutex", [("acquire", None, None)], [("acquire", None, None), ("acquire", None, None)]),
        ("semaphore:2", [("acquire", None, None)] * 2, [("acquire", None, None)] * 3),
        ("owner-mutex", [("acquire", None, 1, 1), ("release", None, None, 1)], [("release", None, None, 1)]),
        (
            "owner-mutex",
            [("acquire", None, None, 1), ("release", None, None, 1), ("acquire", None, None, 2)],
            [("acquire", None, None, 1), ("release", None, None, 2)],
        ),
        ("owner-mutex", [("acquire", None, None, 1)], [("acquire", None, None, 1)] * 2),
        (
            "fenced-mutex",
            [("acquire", None, 1, 1), ("release", None, None, 1), ("acquire", None, 5, 1)],
            [("acquire", None, 1, 1), ("release", None, None, 1), ("acquire", None, 1, 2)],
        ),
        (
            "fenced-mutex",
            [("acquire", None, 4, 1), ("release", None, None, 1), ("acquire", None, None, 2)],
            [("acquire", None, 4, 1), ("release", None, None, 1), ("acquire", None, 3, 2)],
        ),
        (
            "reentrant-mutex",
            [("acquire", None, 7, 1)] * 2 + [("release", None, None, 1)] * 2 + [("acquire", None, 7, 2)],
            [("acquire", None, 7, 1)] * 2 + [("release", None, None, 1)] + [("acquire", None, 7, 2)],
        ),
        ("reentrant-fenced-mutex", [("acquire", None, 7, 1)] * 2, [("acquire", None, i, 1) for i in (7, 8)]),
        ("counter", [("add", 2, None), ("add", -3, None), ("read", None, -1)], [("read", None, None)]),
        ("set", [("add", 1, True), ("add", 1, False), ("contains", 1, True)], [("add", 1, False)]),
        ("set", [("add", 1, 1), ("add", 1, 1), ("remove", 1, 1), ("read", None, [])], [("remove", 1, True)]),
        ("set", [("add", 2, None), ("add", 1, None), ("read", None, [1, 2])], [("read", None, [1])]),
        ("set", [("add", 1, None), ("read", None, [1])], [("add", 1, None), ("read", None, [1, 1])]),
        (
            "queue",
            [("enqueue", 1, None), ("enqueue", 2, None), ("peek", None, 1), ("dequeue", None, 1)],
            [("enqueue", 1, None), ("enqueue", 2, None), ("dequeue", None, 2)],
        ),
        ("queue", [("dequeue", None, None)], [("enqueue", 1, None), ("dequeue", None, None)]),
        (
            "queue",
            [("enqueue", 1, None), ("enqueue", 2, None), ("dequeue", None, UNKNOWN), ("dequeue", None, 2)],
            [("enqueue", 1, None), ("dequeue", None, UNKNOWN), ("dequeue", None, 1)],
        ),
        (
            "unordered-queue",
            [("enqueue", 1, None), ("enqueue", 2, None), ("dequeue", None, 2)],
            [("enqueue", 1, None), ("dequeue", None, 2)],
        ),
        (
            "unordered-queue",
            [("enqueue", 1, None), ("enqueue", 2, None), ("dequeue", None, UNKNOWN), ("dequeue", None, 1)],
            [
                ("enqueue", 1, None), ("enqueue", 2, None), ("dequeue", None, UNKNOWN), ("dequeue", None, 1),
                ("dequeue", None, 2),
            ],
        ),
        (
            "stack",
            [("push", 1, None), ("push", 2, None), ("pop", None, 2), ("peek", None, 1)],
            [("push", 1, None), ("push", 2, None), ("pop", None, 1)],
        ),
        ("stack", [("pop", None, None), ("peek", None, None)], [("push", 1, None), ("pop", None, None)]),
        (
            "priority-queue",
            [("insert", 2, None), ("insert", 1, None), ("delete-min", None, 1), ("peek", None, 2)],
            [("insert", 2, None), ("insert", 1, None), ("delete-min", None, 2)],
        ),
        (
            "log",
            [("append", 7, 0), ("append", 8, None), ("tail", None, 2), ("read", 1, 8), ("read", 2, None)],
            [("append", "a", 1)],
        ),
        ("log", [("append", "a", UNKNOWN), ("tail", None, 1)], [("append", "a", 0), ("read", 0, None)]),
    ],
)  # fmt: skip
def test_what_a_model_allows_and_what_it_does_not(name: str, right: list[Did], wrong: list[Did]) -> None:
    assert possible(name, *right)
    assert not possible(name, *wrong)


@pytest.mark.parametrize(
    ("name", "call", "why"),
    [
        ("cas-register", ("cas", 1, 1), r"cas takes \[old, new\], not 1"),
        ("multi-register", ("txn", [], [["read", 1]]), "a txn is a list of"),
        ("multi-register", ("txn", [], [["delete", 1, 1]]), "has read and write, not 'delete'"),
        ("kv", ("put", 1, 1), "put takes a string, not 1"),
        ("fenced-mutex", ("acquire", None, "x"), "a fencing token is a number, not 'x'"),
        ("counter", ("add", "x", None), "add takes a number, not 'x'"),
        ("queue", ("enqueue", None, None), "enqueue null"),
        ("log", ("read", "x", None), "an offset is a number from 0 up, not 'x'"),
    ],
)
def test_what_is_not_the_models_is_said(name: str, call: Did, why: str) -> None:
    with pytest.raises(ModelFailed, match=why):
        possible(name, call)


def test_elements_without_an_order_are_said() -> None:
    with pytest.raises(ModelFailed, match="'x' has no order among"):
        possible("priority-queue", ("insert", 1, None), ("insert", "x", None))


def test_every_model_says_what_it_is() -> None:
    for name in (*MODELS, "semaphore:2"):
        model = model_named(name)
        assert type(model).__doc__
        assert model.read_only <= model.functions


@pytest.mark.parametrize("name", ["semaphore", "semaphore:0", "semaphore:many", "mutex:many"])
def test_arguments_that_a_model_cannot_take_are_refused(name: str) -> None:
    with pytest.raises(UnknownModel, match=f"^model '{name}': "):
        model_named(name)


OWN = '''
from checkers.models import IMPOSSIBLE, Call, Model

class Ticket(Model):
    """Hands out FIRST, FIRST + 1, ..."""
    functions = frozenset({"next"})

    def __init__(self, first="1"):
        self.initial = int(first)

    def step(self, state, call):
        return state + 1 if call.gave(state) else IMPOSSIBLE

class Nothing(Model):
    functions = frozenset({"next"})

class Empty(Model):
    def step(self, state, call):
        return state

class Listed(Ticket):
    read_only = frozenset({"look"})

class Unhashable(Ticket):
    def __init__(self):
        self.initial = []

class Failing(Ticket):
    def step(self, state, call):
        return state + call.argument

not_a_class = 3
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_models.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_models", raising=False)
    return tmp_path


def test_a_model_of_ones_own_is_a_class_and_its_arguments(own: Path) -> None:
    assert possible("own_models:Ticket", ("next", None, 1), ("next", None, UNKNOWN), ("next", None, 3))
    assert not possible("own_models:Ticket:5", ("next", None, 1))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("heap", "no model 'heap'; there are register, .*, or your own as module:Class"),
        ("no_such_module:Model", "No module named 'no_such_module'"),
        ("own_models:Absent", "has no attribute 'Absent'"),
        ("own_models:not_a_class", "not_a_class is not a subclass of checkers.models.Model"),
        ("own_models:Nothing", r"it has no `step\(self, state, call\)`"),
        ("own_models:Empty", "`functions` is a frozenset of the functions' names, not empty"),
        ("own_models:Listed", "`read_only` is a frozenset of those `functions`"),
        ("own_models:Unhashable", "the state `initial` cannot be hashed"),
        ("own_models:Ticket:many", "it cannot be made: ValueError"),
    ],
)
def test_a_model_that_is_none_is_refused_with_what_is_wrong(own: Path, name: str, why: str) -> None:
    with pytest.raises(UnknownModel, match=why):
        model_named(name)


def test_the_documentation_has_every_model() -> None:
    page = (Path(__file__).parents[2] / "docs" / "data-types.md").read_text()
    assert [name for name in MODELS if f"`{name}`" not in page] == []


def test_the_documentations_own_model_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "data-types.md").read_text()
    (tmp_path / "bounds.py").write_text(page.split("```python\n")[1].split("```")[0])
    monkeypatch.syspath_prepend(tmp_path)
    put = ("put", "a", True)
    assert possible(
        "bounds:BoundedQueue:1", put, ("put", "b", False), ("take", None, "a"), ("take", None, None)
    )
    assert not possible("bounds:BoundedQueue:1", put, ("put", "b", True))
