"""Values on command lines: what a number may be, told in words."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError


def count(text: str) -> int:
    """At least one."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    return value


def positive(text: str) -> float:
    """A number above zero, and below infinity."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:  # nor NaN
        raise ArgumentTypeError(f"must be a number above 0, not {text!r}")
    return value
