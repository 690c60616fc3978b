"""Registers that transactions read and write: what each read proves by itself.

Every value is written once, so a read names the write that it saw: whoever wrote it is before the reader
(wr). All else has to be inferred: `checkers.elle._inference`. A transaction happened if it is `ok`, or if its
outcome is unknown and somebody read what it wrote; what is unknown and was never read is left out, since it
may not have happened, and if so, nothing is different for anybody. Complexity: linear.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from checkers.elle._findings import (
    CYCLIC_VERSIONS,
    FUTURE_READ,
    G1A,
    G1B,
    GARBAGE,
    INTERNAL,
    LOST_UPDATE,
    Findings,
    note,
)
from checkers.elle._graph import WR
from checkers.elle._index import writer

NOTHING, NOWHERE, NOT_READ = -1, -2, -3
"""What a read saw: nothing, as before the first write; a value that nobody wrote. Or it is none of an `ok`
transaction."""


class Registers(NamedTuple):
    """Columns of micro-operations, as `checkers.elle.transactions` has them, and what was made of them."""

    of: NDArray[np.int32]
    """The transaction of each micro-operation."""
    reads: NDArray[np.bool_]
    key: NDArray[np.int64]
    value: NDArray[np.int64]
    ok: NDArray[np.bool_]
    failed: NDArray[np.bool_]
    slots: NDArray[np.int32]
    previous: NDArray[np.int32]
    overwritten: NDArray[np.int32]


@njit(cache=True, nogil=True)
def sources(registers: Registers, nil: int) -> NDArray[np.int64]:
    """The write that each read of an `ok` transaction saw, or NOTHING, NOWHERE, NOT_READ."""
    saw = np.full(len(registers.key), NOT_READ, np.int64)
    for i in range(len(registers.key)):
        if registers.reads[i] and registers.ok[registers.of[i]]:
            if registers.value[i] == nil:
                saw[i] = NOTHING
                continue
            key, value = registers.key, registers.value
            write = writer(registers.slots, key, value, key[i], value[i])
            saw[i] = write if write >= 0 else NOWHERE
    return saw


@njit(cache=True, nogil=True)
def happened(registers: Registers, saw: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The `ok` transactions, and those of unknown outcome of which somebody read a value."""
    did = registers.ok.copy()
    for i in range(len(saw)):
        if saw[i] >= 0 and not registers.failed[registers.of[saw[i]]]:
            did[registers.of[saw[i]]] = True
    return did


@njit(cache=True, nogil=True)
def direct(registers: Registers, saw: NDArray[np.int64], keys: int, findings: Findings) -> None:
    """All that needs no cycle."""
    count = len(saw)
    reader = np.full(count + keys, -1, np.int64)  # of each value, and of nothing, who read it and then wrote
    older = np.full(count, -1, np.int64)  # what was read by the transaction that wrote over it
    for i in range(count):
        if saw[i] == NOT_READ:
            continue
        before = registers.previous[i]
        if before >= 0:
            if registers.value[before] != registers.value[i]:
                note(findings, INTERNAL, i, before)
        elif registers.overwritten[i] >= 0 and saw[i] != NOWHERE:
            slot = saw[i] if saw[i] >= 0 else count + registers.key[i]
            if reader[slot] >= 0:
                note(findings, LOST_UPDATE, i, reader[slot])
            else:
                reader[slot] = i
            final = registers.overwritten[i]
            while registers.overwritten[final] >= 0:
                final = registers.overwritten[final]
            older[final] = saw[i]
        if saw[i] == NOWHERE:
            note(findings, GARBAGE, i, -1)
        elif saw[i] >= 0:
            mine = registers.of[saw[i]] == registers.of[i]
            if registers.failed[registers.of[saw[i]]]:
                note(findings, G1A, i, saw[i])
            if mine and saw[i] > i:
                note(findings, FUTURE_READ, i, saw[i])
            if not mine and registers.overwritten[saw[i]] >= 0:
                note(findings, G1B, i, saw[i])
    _check_versions(older, findings)


@njit(cache=True, nogil=True)
def _check_versions(older: NDArray[np.int64], findings: Findings) -> None:
    """Values, each written by who had read the one before it, must not go in a circle."""
    visited = np.full(len(older), -1, np.int64)
    for start in range(len(older)):
        at = start
        while at >= 0 and visited[at] < 0:
            visited[at] = start
            at = older[at]
        if at >= 0 and visited[at] == start and older[start] >= 0:
            note(findings, CYCLIC_VERSIONS, at, older[at])


@njit(cache=True, nogil=True)
def _says_nothing(registers: Registers, i: int) -> bool:
    """Whether a read only finds what its transaction has written or read before."""
    before = registers.previous[i]
    return bool(before >= 0 and registers.value[before] == registers.value[i])


@njit(cache=True, nogil=True)
def known_edges(
    registers: Registers,
    saw: NDArray[np.int64],
    did: NDArray[np.bool_],
    source: NDArray[np.int32],
    target: NDArray[np.int32],
    edge: NDArray[np.int8],
) -> tuple[int, NDArray[np.int64]]:
    """What reads name, without any inference: the number of edges; and the reads that inference starts from,
    which are of nothing, or of what another transaction wrote."""
    used = 0
    external = np.empty(len(saw), np.int64)
    count = 0
    for i in range(len(saw)):
        if saw[i] < NOTHING or _says_nothing(registers, i):
            continue
        if saw[i] >= 0:
            t = registers.of[saw[i]]
            if not did[t] or t == registers.of[i]:
                continue
            source[used], target[used], edge[used] = t, registers.of[i], WR
            used += 1
        external[count] = i
        count += 1
    return used, external[:count]
