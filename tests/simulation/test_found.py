"""Every failure that a sweep ever found, run again: what is in `found/` failed once, and must not again.

Each is as `splitbrain sweep` or `splitbrain shrink` wrote it, with the failure of its time, and with enough
operations for the checkers to say `valid` now; why it failed is told by the commit that mended it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.simulation.scenario import read, simulate

FOUND = sorted((Path(__file__).parent / "found").glob("*.json"))


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_what_failed_once_does_not_fail_again(path: Path) -> None:
    scenario = read(path)
    assert scenario.failure is not None
    assert simulate(scenario).failure is None
