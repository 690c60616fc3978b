"""What can be wrong with what is given to the state machine. None of these leaves it changed."""

from __future__ import annotations


class StateError(Exception):
    """The state machine cannot do what it was told."""


class GarbledCommand(StateError):
    """A committed command cannot be understood: every replica must stop before it, or they part ways.

    Written by a newer version? Start that version on all servers.
    """

    def __init__(self, index: int, why: str) -> None:
        super().__init__(f"the command at index {index} makes no sense: {why}")
        self.index = index


class GarbledSnapshot(StateError):
    """A snapshot cannot be understood; the state is what it was before."""


class IndexOutOfOrder(StateError):
    """An index was applied twice or late: the caller lost track of what it has applied."""

    def __init__(self, index: int, last_applied: int) -> None:
        super().__init__(f"index {index} comes after {last_applied}")
        self.index = index
        self.last_applied = last_applied
