"""An agent that never contradicts the news of its own death: live members are given up for ever."""

from __future__ import annotations

import sys
from functools import partial

import impl.program
from impl.__main__ import main
from impl.gossip import Gossip
from impl.server.agent import Agent


class NeverRefutes(Gossip):
    """Who is accused says nothing (breaks refutation, SWIM section 4.2)."""

    def _refute(self, accused_incarnation: int) -> None:
        """Say nothing."""


agent = partial(Agent, gossip=NeverRefutes)
program = partial(impl.program.program, make=agent)

if __name__ == "__main__":
    sys.exit(main(agent=agent))
