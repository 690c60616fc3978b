"""One suspicion: how long a suspect has, and how confirmations by others shorten it (Lifeguard).

Source: Lifeguard section IV.B; memberlist suspicion.go.
"""

from __future__ import annotations

from . import formulas


class Suspicion:
    """Starts at the longest timeout and comes down to the shortest as `expected` others confirm."""

    def __init__(self, accuser: str, expected: int, min_ns: int, max_ns: int, now_ns: int) -> None:
        self._accusers = {accuser: None}
        self._expected = expected
        self._min_ns = min_ns
        self._max_ns = max_ns
        self._start_ns = now_ns
        self.confirmations = 0

    @property
    def deadline_ns(self) -> int:
        """When the suspect is to be declared dead. May lie in the past after a confirmation."""
        return self._start_ns + formulas.suspicion_timeout_ns(
            self.confirmations, self._expected, self._min_ns, self._max_ns
        )

    def confirm(self, accuser: str) -> bool:
        """Whether this is news: another accuser, and not more of them than needed."""
        if self.confirmations >= self._expected or accuser in self._accusers:
            return False
        self._accusers[accuser] = None
        self.confirmations += 1
        return True
