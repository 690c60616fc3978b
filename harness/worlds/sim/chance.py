"""Chance that does not reshuffle: every purpose draws from a stream of its own, and at its own positions.

What happens to the 17th datagram from n1 to n2 is a function of the seed, that link and 17, whatever else
was drawn, or was not. So a fault that is taken out of a run leaves the rest of it as it was, which is what
makes shrinking work.
"""

from __future__ import annotations

from hashlib import blake2b

_MASK = (1 << 64) - 1


class Stream:
    """One purpose's draws, by position."""

    __slots__ = ("_key",)

    def __init__(self, seed: int, purpose: str) -> None:
        digest = blake2b(f"{seed}/{purpose}".encode(), digest_size=8).digest()
        self._key = int.from_bytes(digest)

    def bits(self, position: int, draw: int = 0) -> int:
        """64 of them; `draw` tells up to 8 at one position apart. (SplitMix64: Steele et al. 2014.)"""
        x = (self._key + 0x9E3779B97F4A7C15 * (position * 8 + draw + 1)) & _MASK
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
        return x ^ (x >> 31)

    def uniform(self, position: int, draw: int = 0) -> float:
        """In [0, 1)."""
        return self.bits(position, draw) / 18446744073709551616.0

    def below(self, limit: int, position: int, draw: int = 0) -> int:
        """An integer from 0 to `limit` - 1."""
        return self.bits(position, draw) * limit >> 64
