"""Every known bug of a core is found by the check that it breaks; the cores themselves have none of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.mutants.document import put
from tests.mutants.grounds import Ground, System
from tests.mutants.hunting import MUTANTS, Mutant, hunt


def budgets(mutants: Iterable[Mutant]) -> dict[Ground, int]:
    """For each ground: the most seeds that a bug is hunted for there."""
    seeds: dict[Ground, int] = {}
    for mutant in mutants:
        seeds[mutant.ground] = max(seeds.get(mutant.ground, 0), mutant.seeds)
    return seeds


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_bug_is_found_by_the_check_that_it_breaks(mutant: Mutant) -> None:
    catch = hunt(mutant.system, mutant.ground, range(mutant.seeds), until=mutant.caught_by)
    assert any(catch.kinds[kind] for kind in mutant.caught_by), catch


@pytest.mark.parametrize(
    ("ground", "seeds"), budgets(MUTANTS).items(), ids=lambda value: getattr(value, "__name__", str(value))
)
def test_the_same_hunt_finds_nothing_in_the_cores_themselves(ground: Ground, seeds: int) -> None:
    catch = hunt(System(), ground, range(seeds))
    assert not catch.kinds, catch


def test_a_section_of_the_document_replaces_itself_alone_and_needs_no_document(tmp_path: Path) -> None:
    path = tmp_path / "mutants.md"
    put(path, "Cores", "one")
    put(path, "Agents", "two")
    put(path, "Cores", "three")
    assert path.read_text() == "## Cores\n\nthree\n\n## Agents\n\ntwo\n"
