"""The transmit-limited queue of broadcasts: what every node keeps telling others, a bounded number of times.

Rules
-----
1. Fewest transmissions first; among these the largest message that still fits, then the newest.
2. A broadcast with a name replaces an earlier one of that name: the latest news of a member is what counts.
3. A broadcast leaves the queue when it has been sent `limit` times, was replaced, or pushed out by
   `depth_max`; then `on_done` is called, once.

Source: memberlist queue.go `TransmitLimitedQueue`; SWIM section 4.1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sortedcontainers import SortedList


@dataclass(slots=True, eq=False)
class _Broadcast:
    data: bytes
    name: str
    serial: int
    transmits: int
    on_done: Callable[[], None] | None

    def key(self) -> tuple[int, int, int]:
        return (self.transmits, -len(self.data), -self.serial)


class TransmitQueue:
    """Rule 1 needs a sorted list: one search per message taken, however long the queue."""

    def __init__(self, depth_max: int | None = None) -> None:
        self._keys: SortedList[tuple[int, int, int]] = SortedList()
        self._by_serial: dict[int, _Broadcast] = {}
        self._by_name: dict[str, _Broadcast] = {}
        self._depth_max = depth_max
        self._serial = 0

    def __len__(self) -> int:
        return len(self._by_serial)

    def add(self, data: bytes, name: str = "", on_done: Callable[[], None] | None = None) -> None:
        """Queue a message; one with a name replaces the last of that name."""
        if name and (old := self._by_name.get(name)) is not None:
            self._finish(old)
        self._serial += 1
        self._insert(_Broadcast(data, name, self._serial, 0, on_done))
        while self._depth_max is not None and len(self._keys) > self._depth_max:
            self._finish(self._by_serial[-self._keys[-1][2]])

    def take(self, bytes_free: int, overhead: int, limit: int, count_max: int) -> list[bytes]:
        """Messages to send to one node now: at most `count_max`, each with `overhead`, in `bytes_free`.

        Each is sent `limit` times in all.
        """
        if not self._by_serial:
            return []
        taken: list[bytes] = []
        sent: list[_Broadcast] = []
        tier = 0
        while self._keys and len(taken) < count_max:
            # The largest of this tier that fits is the first key not before (tier, -room, newest).
            position = self._keys.bisect_left((tier, -(bytes_free - overhead), -self._serial))
            if position == len(self._keys) or bytes_free <= overhead:
                break
            transmits, _, negative_serial = self._keys[position]
            if transmits != tier:
                tier = transmits
                continue
            broadcast = self._by_serial[-negative_serial]
            self._remove(broadcast)
            taken.append(broadcast.data)
            bytes_free -= overhead + len(broadcast.data)
            sent.append(broadcast)
        for broadcast in sent:
            broadcast.transmits += 1
            if broadcast.transmits < limit:
                self._insert(broadcast)
        # Only now, because what is called may queue new broadcasts.
        for broadcast in sent:
            if broadcast.transmits >= limit:
                _call(broadcast)
        return taken

    def _insert(self, broadcast: _Broadcast) -> None:
        self._keys.add(broadcast.key())
        self._by_serial[broadcast.serial] = broadcast
        if broadcast.name:
            self._by_name[broadcast.name] = broadcast

    def _remove(self, broadcast: _Broadcast) -> None:
        self._keys.remove(broadcast.key())
        del self._by_serial[broadcast.serial]
        if broadcast.name:
            del self._by_name[broadcast.name]

    def _finish(self, broadcast: _Broadcast) -> None:
        self._remove(broadcast)
        _call(broadcast)


def _call(broadcast: _Broadcast) -> None:
    if broadcast.on_done is not None:
        broadcast.on_done()
