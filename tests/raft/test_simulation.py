"""Raft's promises under loss, duplication, delay, crashes, pauses, partitions and changes of membership.

`impl.raft.invariants` says what is verified at every step. Then everything is healed, and the cluster has to
converge. That these checks can fail is shown by tests/mutants. SPLITBRAIN_NIGHTLY=1 searches deeper, and
`python -m benchmarks.raft_seeds --seeds=0:100000` deeper still.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from impl.raft.invariants import PropertyViolated
from impl.raft.settings import CLOCK_PPM_MAX, Faults, PowerCut, RecordKind, Setting, swarm
from impl.raft.simulation import Simulation
from impl.raft.types import MILLISECOND_NS

NIGHTLY = os.environ.get("SPLITBRAIN_NIGHTLY") == "1"
ROOT = Path(__file__).parents[2]


def simulate(seed: int, setting: Setting) -> Simulation:
    """Two seconds of faults (twenty election timeouts), then at most five to converge."""
    simulation = Simulation(seed, setting)
    simulation.run(2000 * MILLISECOND_NS)
    simulation.converge(5000 * MILLISECOND_NS)
    return simulation


def mixture(seed: int) -> Setting:
    return swarm(Random(f"{seed} swarm"))


def test_every_promise_holds_under_mixtures_of_faults_and_every_fault_is_met() -> None:
    reached: Counter[str] = Counter()
    for seed in range(5000 if NIGHTLY else 150):
        reached += simulate(seed, mixture(seed)).reached
    records: tuple[RecordKind, ...] = ("vote", "term", "entries", "snapshot")
    wanted = [f"power cut: {record} {when}" for record in records for when in ("written", "synced", "sent")]
    wanted += ["losses", "duplicates", "partitions", "crashes", "pauses", "leaders deposed"]
    wanted += ["membership changes", "transfers", "snapshots", "snapshots installed", "reads"]
    assert not [what for what in wanted if not reached[what]]


def interval(*milliseconds: int) -> st.SearchStrategy[int]:
    return st.sampled_from([choice * MILLISECOND_NS for choice in (0, *milliseconds)])


def chance(*values: float) -> st.SearchStrategy[float]:
    return st.sampled_from([0.0, *values])


SETTINGS = st.builds(
    Setting,
    servers=st.sampled_from([3, 4, 5]),
    nonvoters=st.integers(0, 1),
    spares=st.integers(0, 2),
    faults=st.builds(
        Faults,
        loss=chance(0.02, 0.2),
        duplication=chance(0.05, 0.3),
        delay_ns_max=interval(2, 10, 30).map(lambda delay_ns: delay_ns or MILLISECOND_NS),
        late=chance(0.05, 0.2),
        sync_ns_max=interval(1, 5, 50).map(lambda sync_ns: sync_ns or 1),
        apply_ns_max=interval(5, 50),
        partitions=st.sampled_from([0, 3, 10]),
        crash_interval_ns=interval(1000, 300, 100),
        leader_life_ns_max=interval(300, 50),
        power_cuts=st.lists(
            st.builds(
                PowerCut,
                st.sampled_from(["vote", "term", "entries", "snapshot"]),
                st.sampled_from(["written", "synced", "sent"]),
                st.sampled_from([0.02, 0.2]),
            ),
            max_size=3,
        ).map(tuple),
        pause_interval_ns=interval(1000, 200),
        membership_interval_ns=interval(300, 30),
        membership_at_election=chance(0.5),
        transfer_interval_ns=interval(500, 100),
        snapshot_interval_ns=interval(50, 5),
        clock_ppm_max=st.sampled_from([0, CLOCK_PPM_MAX]),
    ),
)
"""Hypothesis makes a failing one smaller: fewer faults, fewer servers."""


@settings(
    max_examples=2000 if NIGHTLY else 50,
    deadline=None,
    derandomize=not NIGHTLY,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32), setting=SETTINGS)
def test_every_promise_holds_under_any_faults(seed: int, setting: Setting) -> None:
    simulate(seed, setting)


def test_a_healthy_cluster_gets_work_done() -> None:
    """Without faults there is one election, and everything asked for is done."""
    simulation = simulate(1, Setting(servers=5))
    assert len(simulation.invariants.leaders) == 1
    assert simulation.committed > 1000
    assert simulation.reached["reads"] > 200


def test_a_run_is_decided_by_its_seed() -> None:
    assert simulate(5, mixture(5)).fingerprint() == simulate(5, mixture(5)).fingerprint()
    assert simulate(5, mixture(5)).fingerprint() != simulate(6, mixture(5)).fingerprint()


def test_a_run_is_the_same_in_another_process_with_another_hash_seed() -> None:
    program = (
        "from tests.raft.test_simulation import mixture, simulate\n"
        "print([simulate(seed, mixture(seed)).fingerprint() for seed in range(8)])"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert told[0] == told[1]


def test_one_fault_less_leaves_the_other_draws_as_they_were() -> None:
    """So that taking faults away one by one is a way to find out which of them matter."""
    setting = Setting(servers=3, faults=Faults(crash_interval_ns=300 * MILLISECOND_NS, partitions=4))
    fewer = replace(setting, faults=replace(setting.faults, partitions=0))
    crashes = []
    for each in (setting, fewer):
        simulation = Simulation(1, each)
        simulation.run(2000 * MILLISECOND_NS)
        crashes.append(simulation.reached["crashes"])
    assert crashes[0] == crashes[1] > 0


def test_a_cluster_that_cannot_converge_is_found_out() -> None:
    """Here because its two servers are cut off from each other again as soon as they are healed."""

    class Unhealable(Simulation):
        def heal(self) -> None:
            super().heal()
            self.cut([("1", "2"), ("2", "1")])

    with pytest.raises(PropertyViolated, match="Liveness"):
        Unhealable(1, Setting(servers=2)).converge(1000 * MILLISECOND_NS)


def test_messages_that_beget_messages_are_found_out() -> None:
    simulation = Simulation(1, Setting(servers=3))

    def twice(subject: object, argument: object) -> None:
        for _ in range(2):
            simulation.at(simulation.now_ns + 1, twice, subject, argument)

    simulation.at(0, twice, None, None)
    with pytest.raises(PropertyViolated, match="Message Storm"):
        simulation.advance(MILLISECOND_NS)
