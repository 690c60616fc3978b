"""The protocol's arithmetic, against memberlist's own test vectors and by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impl.gossip import LAN, LOCAL, WAN, Config, formulas
from impl.gossip.config import MILLISECOND, SECOND


@pytest.mark.parametrize(
    ("n", "limit"), [(0, 0), (1, 4), (3, 4), (9, 4), (10, 8), (99, 8), (100, 12), (999, 12), (10_000, 20)]
)
def test_a_broadcast_is_sent_multiplier_times_the_log_of_the_cluster(n: int, limit: int) -> None:
    """memberlist util.go `retransmitLimit`; its documentation gives 4 for up to 9 nodes and 8 up to 99."""
    assert formulas.retransmit_limit(4, n) == limit


@given(st.integers(1, 10**9))
def test_counting_digits_is_the_rounded_logarithm(n: int) -> None:
    exact = formulas.retransmit_limit(1, n)
    assert 10 ** (exact - 1) < n + 1 <= 10**exact


@pytest.mark.parametrize(
    ("n", "milliseconds"), [(1, 4000), (5, 4000), (10, 4000), (50, 6792), (100, 8000), (10_000, 16_000)]
)
def test_the_shortest_suspicion_grows_with_the_log_of_the_cluster(n: int, milliseconds: int) -> None:
    """memberlist util.go `suspicionTimeout`, multiplier 4, interval 1 s. Serf with 50 agents shows 6.79 s."""
    assert formulas.suspicion_timeout_min_ns(4, n, SECOND) == milliseconds * MILLISECOND


@pytest.mark.parametrize(("n", "expected"), [(2, 0), (3, 0), (4, 2), (50, 2)])
def test_no_confirmation_is_expected_where_nobody_could_give_it(n: int, expected: int) -> None:
    """memberlist state.go `suspectNode`: multiplier − 2 others, besides ourselves and the suspect."""
    assert formulas.expected_confirmations(4, n) == expected


@pytest.mark.parametrize(
    ("confirmations", "milliseconds"), [(0, 30_000), (1, 16_000), (2, 7_810), (3, 2_000), (4, 2_000)]
)
def test_each_confirmation_shortens_the_suspicion(confirmations: int, milliseconds: int) -> None:
    """The vectors of memberlist's suspicion_test.go: three confirmations expected, 2 s to 30 s."""
    timeout_ns = formulas.suspicion_timeout_ns(confirmations, 3, 2 * SECOND, 30 * SECOND)
    assert timeout_ns == milliseconds * MILLISECOND


def test_without_expected_confirmations_the_shortest_suspicion_applies() -> None:
    """memberlist suspicion.go `newSuspicion`."""
    assert formulas.suspicion_timeout_ns(0, 0, 4 * SECOND, 24 * SECOND) == 4 * SECOND


@pytest.mark.parametrize(
    ("n", "factor"), [(1, 1), (32, 1), (33, 2), (64, 2), (65, 3), (128, 3), (10_000, 10)]
)
def test_push_pulls_get_rarer_in_large_clusters(n: int, factor: int) -> None:
    """memberlist util.go `pushPullScale` and its test."""
    assert formulas.push_pull_interval_ns(30 * SECOND, n) == factor * 30 * SECOND


@pytest.mark.parametrize(
    ("failed", "alive", "chance"), [(0, 5, 0.0), (1, 4, 0.25), (5, 5, 1.0), (9, 1, 1.0), (3, 0, 1.0)]
)
def test_reconnects_are_shared_among_the_living(failed: int, alive: int, chance: float) -> None:
    """serf.go `reconnect`."""
    assert formulas.reconnect_probability(failed, alive) == chance


@given(st.sampled_from([LAN, WAN, LOCAL]), st.integers(2, 10_000))
def test_bounds_grow_with_the_cluster_and_exceed_what_they_are_made_of(config: Config, n: int) -> None:
    detection = formulas.detection_bound_ns(config, n)
    assert detection > formulas.suspicion_timeout_max_ns(config, n) + formulas.dissemination_bound_ns(
        config, n
    )
    assert formulas.detection_bound_ns(config, n + 1) >= detection
    assert formulas.convergence_bound_ns(config, n, 0) < formulas.convergence_bound_ns(
        config, n, 600 * SECOND
    )
