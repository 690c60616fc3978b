"""Worlds, systems and workloads by name."""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import pytest

from harness import registry
from harness.cli import workload
from harness.registry import UnknownName
from harness.systems.memory import Memory


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="no world 'moon'; there are netns, sim, memory, or your own"):
        registry.world("moon")
    with pytest.raises(
        UnknownName, match="no system 'redis'; there are proconsul, etcd, memory, or your own"
    ):
        registry.system("redis")


def test_anybodys_class_is_found_by_module_and_name() -> None:
    assert isinstance(registry.system("harness.systems.memory:Memory"), Memory)


def test_a_class_that_is_not_there_says_why() -> None:
    with pytest.raises(UnknownName, match=r"there is no module nowhere, neither here \(/.*\) nor where"):
        registry.system("nowhere:System")
    with pytest.raises(UnknownName, match=r"memory has no Missing; it has Memory, MemoryKV$"):
        registry.system("harness.systems.memory:Missing")


OWN = """
from harness.test import Workload
from harness.systems import System

class Complete(System):
    name = "complete"
    def promise(self, workload, options): ...
    async def start(self, cluster, options, node): ...
    async def await_ready(self, cluster, options, timeout): ...
    def recovery_bound(self, options): ...

class Nameless(Complete):
    def __init__(self):
        raise ValueError("no name")

class Forgetful(System):
    name = "forgetful"
    def promise(self, workload, options): ...
    async def start(self, cluster, options, node): ...

class Structural:
    name = "structural"
    def promise(self, workload, options): ...

class Idle(Workload):
    name = "idle"
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the current directory."""
    (tmp_path / "module_of_ones_own.py").write_text(OWN)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "module_of_ones_own", raising=False)
    monkeypatch.chdir(tmp_path)
    return "module_of_ones_own"


def test_ones_own_class_is_found_in_the_current_directory(own: str) -> None:
    complete = registry.system(f"{own}:Complete")
    assert complete.name == "complete"
    assert complete.knobs(Random(0)) == {}, "what is optional is inherited"


@pytest.mark.parametrize(
    ("name", "lacking"),
    [
        ("Forgetful", "await_ready, recovery_bound"),
        (
            "Structural",
            "await_ready, fault_seconds, knobs, kv, leader, members, membership_bounds, missing, "
            "recovery_bound, start",
        ),
    ],
)
def test_a_system_that_has_forgotten_a_method_is_none(own: str, name: str, lacking: str) -> None:
    with pytest.raises(
        UnknownName,
        match=f"system '{own}:{name}' lacks {lacking}: harness.systems.System says what each is for",
    ):
        registry.system(f"{own}:{name}")


def test_a_workload_that_has_forgotten_a_method_is_none(own: str) -> None:
    with pytest.raises(UnknownName, match=r"lacks checkers, generator, open, probe: harness.test.Workload"):
        workload(f"{own}:Idle")


def test_an_error_in_ones_own_code_is_told_with_its_line(own: str, tmp_path: Path) -> None:
    for name, text in (("raises_at_import", "\n1 / 0\n"), ("needs_another", "\nimport no_such_module\n")):
        (tmp_path / f"{name}.py").write_text(text)
    with pytest.raises(UnknownName, match=r"ZeroDivisionError: division by zero \(.*raises_at_import.py:2\)"):
        registry.system("raises_at_import:System")
    with pytest.raises(UnknownName, match=r"No module named 'no_such_module' \(.*needs_another.py:2\)"):
        registry.system("needs_another:System")
    with pytest.raises(UnknownName, match=r"made without arguments: ValueError: no name \(.*own.py:\d+\)"):
        registry.system(f"{own}:Nameless")


@pytest.mark.parametrize("name", registry.SYSTEMS)
def test_every_built_in_system_is_there(name: str) -> None:
    assert registry.system(name).name == name


@pytest.mark.parametrize("name", registry.WORLDS)
def test_every_built_in_world_is_there(name: str) -> None:
    assert registry.world(name).name == name
