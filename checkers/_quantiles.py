"""Quantiles of what was measured, as verdicts' details have them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

QUANTILES = (0.5, 0.95, 0.99, 1.0)


def quantiles(values: NDArray[np.float64] | NDArray[np.int64] | Sequence[float]) -> dict[str, float]:
    """By quantile, "0.5" to "1.0", in the unit of the values, rounded to six places; {} of none.

    One that lies between two values is the greater of them: each is a value that there was.
    """
    if not len(values):
        return {}
    found = np.quantile(np.asarray(values), QUANTILES, method="higher")
    return {str(q): round(float(value), 6) for q, value in zip(QUANTILES, found, strict=True)}
