"""Values of a history as dict keys.

Two values are equal if their JSON is, but that 1 and 1.0 are one number.
"""

from __future__ import annotations

from typing import Any

import msgspec

_HASHED_AS_IS = frozenset({int, float, str, type(None)})


def hashable(value: Any) -> Any:
    """A dict key that equal values share."""
    if value.__class__ in _HASHED_AS_IS:
        return value
    return msgspec.json.encode(value, order="deterministic")


def original(hashed: Any) -> Any:
    """The value of which it is the dict key."""
    return msgspec.json.decode(hashed) if isinstance(hashed, bytes) else hashed
