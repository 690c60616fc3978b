"""Values that must not go back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def went_back(
    start: NDArray[np.int64], finish: NDArray[np.int64], values: Sequence[Any]
) -> list[tuple[int, int]]:
    """Of operations in the order of their starts, for each that began after another with a greater value was
    over: the greatest such, and itself.

    O(n log n).
    """
    by_finish = np.argsort(finish, kind="stable").tolist()
    found = []
    ended, greatest = 0, -1
    for at, begun in enumerate(start.tolist()):
        while ended < len(by_finish) and finish[by_finish[ended]] < begun:
            if greatest < 0 or values[by_finish[ended]] > values[greatest]:
                greatest = by_finish[ended]
            ended += 1
        if greatest >= 0 and values[at] < values[greatest]:
            found.append((greatest, at))
    return found
