"""Reads that wait for a heartbeat round (thesis section 6.4).

A read may be served once (1) the leader has committed an entry of its own term, (2) a quorum has answered a
heartbeat that was sent after the read was asked for, and (3) the state machine has applied what was committed
then. Reads that come while a round is under way share the next one.
"""

from __future__ import annotations

from collections import deque


class ReadQueue:
    """The reads of one leader, each known by its caller's number."""

    def __init__(self) -> None:
        self.waiting: list[int] = []
        """Asked for, not yet part of a round."""
        self.in_flight: deque[tuple[int, int, list[int]]] = deque()
        """(round, index, requests), oldest first."""

    def start(self, heartbeat_round: int, index: int) -> None:
        """A round starts now; what waits is answered by it, with `index`."""
        if self.waiting:
            self.in_flight.append((heartbeat_round, index, self.waiting))
            self.waiting = []

    def confirm(self, heartbeat_round: int) -> list[tuple[int, int]]:
        """A quorum answered `heartbeat_round`, or one after it: (request, index) of every read that frees."""
        confirmed = []
        while self.in_flight and self.in_flight[0][0] <= heartbeat_round:
            _, index, requests = self.in_flight.popleft()
            confirmed += [(request, index) for request in requests]
        return confirmed

    def fail(self) -> list[int]:
        """Leadership is lost: every read that was not confirmed."""
        failed = [request for _, _, requests in self.in_flight for request in requests] + self.waiting
        self.in_flight.clear()
        self.waiting = []
        return failed
