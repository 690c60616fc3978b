"""What each session did and saw, as columns for the kernels of `checkers._session_order`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from checkers._versions import Versions

Column = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Seen:
    """Columns of one length, that of `Registers`: what is known of the version that each operation observed,
    and of the one that it wrote."""

    session: Column
    place: Column
    """(session, key)."""
    spot: Column
    """(place, version observed)."""
    observes: NDArray[np.bool_]
    """It is known to have observed something, of which something is known."""
    writes: NDArray[np.bool_]
    observed_by: Column
    observed_since: Column
    observed_number: Column
    written_by: Column
    written_since: Column
    written_number: Column
    over: Column
    """Of the version observed, like `next_number`."""
    next_number: Column

    @staticmethod
    def by(session: Column, known: Versions) -> Seen:
        """`session`: ids from 0, per operation; -1: it belongs to none."""
        columns, horizon = known.registers, known.horizon
        observed, written = columns.observed, columns.written
        repeated = known.repeated[columns.key]
        number_of_row = known.number_of_row
        # On a key whose values repeat the numbers that operations carry are all there is.
        lonely = repeated & (number_of_row < 0)
        happened = (columns.finish < horizon) | ((written >= 0) & ~repeated & known.happened[written])
        part = (session >= 0) & ~lonely & happened
        # Nobody learned what a crashed cas observed.
        observes = (observed >= 0) & part & (columns.finish < horizon)
        writes = (written >= 0) & part
        of_read = np.where(repeated, np.where(written < 0, number_of_row, -1), known.number[observed])
        of_write = np.where(repeated, number_of_row, known.number[written])
        place = ids(session, columns.key)
        return Seen(
            session=session,
            place=place,
            spot=ids(place, observed),
            observes=observes,
            writes=writes,
            observed_by=np.where(repeated, horizon, known.by[observed]),
            observed_since=np.where(repeated, -1, known.since[observed]),
            observed_number=of_read,
            written_by=np.where(repeated, horizon, known.by[written]),
            written_since=np.where(repeated, -1, known.since[written]),
            written_number=of_write,
            over=np.where(repeated, horizon, known.over[observed]),
            next_number=np.where(repeated, np.iinfo(np.int64).max, known.next_number[observed]),
        )

    def pairs(
        self, known: Versions, *, one_sequence: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """As `checkers._session_order.pairs`."""
        from checkers import _session_order  # numba takes longer to import than most histories take to check

        columns = known.registers
        return _session_order.pairs(
            self.session, self.place, self.spot, columns.start, columns.finish, self.observes, self.writes,
            self.observed_by, self.observed_since, self.observed_number,
            self.written_by, self.written_since, self.written_number,
            self.over, self.next_number, one_sequence, known.horizon,
        )  # fmt: skip


def ids(one: NDArray[np.integer], other: NDArray[np.integer]) -> Column:
    """Equal ids for equal pairs, from 0."""
    if not len(one):
        return np.empty(0, np.int64)
    low, span = other.min(), int(other.max()) - int(other.min()) + 1
    pairs = one.astype(np.int64) * span + (other - low)
    return np.unique(pairs, return_inverse=True)[1].astype(np.int64)
