"""State machines with one known bug each. The numbers are those of docs/mutants.md."""

from __future__ import annotations

from impl.state import StateMachine


class RestoresIntoOldState(StateMachine):
    """34. A snapshot is added to what is there: deleted keys return."""

    def restore(self, data: bytes) -> None:
        before = self.kv.pairs()
        super().restore(data)
        self.kv._pairs.update({pair.key: pair for pair in before if pair.key not in self.kv._pairs})
