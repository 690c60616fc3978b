"""Durations as Go writes them: "300ms", "1h15m30s", "1.5s".

The grammar is that of Go's time.ParseDuration: an optional sign, then numbers with units, each perhaps with
a fraction; "0" alone needs no unit. Durations are integer nanoseconds.
"""

from __future__ import annotations

import re

UNIT_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # the micro sign, U+00B5
    "μs": 1_000,  # the Greek letter mu, U+03BC
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60 * 1_000_000_000,
    "h": 3600 * 1_000_000_000,
}
DURATION_NS_MAX = 2**63 - 1
"""Go keeps durations in 64 bits, with a sign: 292 years."""

_TERM = re.compile(r"(?:([0-9]+)(?:\.([0-9]*))?|\.([0-9]+))(ns|us|µs|μs|ms|s|m|h)")


def parse_duration(text: str) -> int:
    """In nanoseconds; what is smaller is cut off. Raises ValueError, whose text says what is expected."""
    sign = -1 if text.startswith("-") else 1
    unsigned = text[1:] if text[:1] in ("-", "+") else text
    if unsigned == "0":
        return 0
    total_ns = 0
    position = 0
    while position < len(unsigned):
        term = _TERM.match(unsigned, position)
        if term is None:
            break
        whole, fraction = term[1] or "0", term[2] or term[3] or ""
        total_ns += int(whole + fraction) * UNIT_NS[term[4]] // 10 ** len(fraction)
        position = term.end()
    if position == 0 or position < len(unsigned):
        raise ValueError(f'{text!r} is not a duration: expected one like "300ms", "1.5s" or "2h45m"')
    if total_ns > DURATION_NS_MAX:
        raise ValueError(f"{text!r} is longer than 292 years")
    return sign * total_ns
