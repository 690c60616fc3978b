"""The leader commits what its own disk has, without waiting for a quorum: acknowledged writes get lost."""

from __future__ import annotations

import sys
from functools import partial

import impl.program
from impl.__main__ import main
from impl.raft import Raft
from impl.server.agent import Agent


class AcknowledgesBeforeReplication(Raft):
    """The leader commits what its own disk has (breaks the commit rule of Raft section 5.3)."""

    def _maybe_commit(self) -> None:
        index = self._own_match_index()
        if index > self.commit_index and self._may_commit(index):
            self._commit_to(index)


agent = partial(Agent, raft=AcknowledgesBeforeReplication)
program = partial(impl.program.program, make=agent)

if __name__ == "__main__":
    sys.exit(main(agent=agent))
