"""What is wrong without any cycle: counted, and the first few of each kind kept."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

KEPT = 8

(
    INTERNAL,
    FUTURE_READ,
    G1A,
    G1B,
    GARBAGE,
    DUPLICATE,
    INCOMPATIBLE,
    DIRTY_UPDATE,
    LOST_UPDATE,
    CYCLIC_VERSIONS,
) = range(10)
NAMES = (
    "internal",
    "future-read",
    "G1a",
    "G1b",
    "garbage-read",
    "duplicate-elements",
    "incompatible-order",
    "dirty-update",
    "lost-update",
    "cyclic-versions",
)


class Findings(NamedTuple):
    counts: NDArray[np.int64]
    """Per kind."""
    shown: NDArray[np.int64]
    """Per kind, the first KEPT: a micro-operation, and what the kind needs besides: another one, or a place
    in the list that was read."""


def nothing_found() -> Findings:
    return Findings(np.zeros(len(NAMES), np.int64), np.full((len(NAMES), KEPT, 2), -1, np.int64))


@njit(cache=True, nogil=True)
def note(findings: Findings, kind: int, micro: int, other: int) -> None:
    if findings.counts[kind] < KEPT:
        findings.shown[kind, findings.counts[kind], 0] = micro
        findings.shown[kind, findings.counts[kind], 1] = other
    findings.counts[kind] += 1
