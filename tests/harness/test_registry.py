"""Worlds and systems by name."""

from __future__ import annotations

import pytest

from harness import registry
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
    with pytest.raises(UnknownName, match="No module named 'nowhere'"):
        registry.system("nowhere:System")
    with pytest.raises(UnknownName, match="has no attribute 'Missing'"):
        registry.system("harness.systems.memory:Missing")


@pytest.mark.parametrize("name", registry.SYSTEMS)
def test_every_built_in_system_is_there(name: str) -> None:
    assert registry.system(name).name == name


@pytest.mark.parametrize("name", registry.WORLDS)
def test_every_built_in_world_is_there(name: str) -> None:
    assert registry.world(name).name == name
