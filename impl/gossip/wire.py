"""memberlist's messages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StreamMessage:
    """One whole message of a stream."""
