"""A snapshot on its way in (Figure 13, steps 2 to 5)."""

from __future__ import annotations

from impl.raft.messages import InstallSnapshot


class SnapshotAssembly:
    """The chunks received so far, of one snapshot of one leader: the one seen latest.

    Two leaders' snapshots at the same index need not be the same bytes, so their chunks never mix.
    """

    def __init__(self) -> None:
        self._identity = (0, 0)
        self._data = bytearray()

    def add(self, message: InstallSnapshot) -> int | None:
        """Take in a chunk if it is the next: from which offset to go on; None if a later snapshot came."""
        identity = (message.term, message.index)
        if identity < self._identity:
            return None
        if identity > self._identity:
            self._identity = identity
            self._data.clear()
        if message.offset == len(self._data):
            self._data += message.data
        return len(self._data)

    def finish(self) -> bytes:
        """The whole snapshot, the last chunk of which has been added."""
        data = bytes(self._data)
        self._data.clear()
        return data
