"""Any mutant as a program, on real ports and simulated ones: `python tests/mutants/agent.py NAME agent ...`.

NAME is a class of the modules beside this file.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from impl.__main__ import main
from impl.gossip import Gossip
from impl.program import AgentFactory, Program
from impl.program import program as agent_program
from impl.raft import Raft
from impl.server.agent import Agent
from impl.server.driver import Driver
from impl.server.duties import Duties
from impl.state import StateMachine

MODULES = ("raft", "gossip", "state", "shell", "acknowledges_before_replication", "never_refutes")

_PARTS: dict[type, str] = {
    Raft: "raft",
    Gossip: "gossip",
    StateMachine: "state",
    Driver: "driver",
    Duties: "duties",
}


def part(name: str) -> Any:
    """The part of an agent that has this bug: a class."""
    found: Any = None
    for module in MODULES:
        try:
            found = getattr(importlib.import_module(f"tests.mutants.{module}"), name, found)
        except ModuleNotFoundError:
            continue
    if found is None:
        raise SystemExit(f"no mutant {name!r} in tests/mutants: {', '.join(MODULES)}")
    return found


def mutant(name: str) -> AgentFactory:
    """What makes an agent with that bug."""
    found = part(name)
    if issubclass(found, Agent):
        return partial(found)
    for kind, parameter in _PARTS.items():
        if issubclass(found, kind):
            return partial(Agent, **{parameter: found})
    raise SystemExit(f"{name} is no part of an agent")


def program(arguments: Sequence[str]) -> Program:
    """For the simulator (`harness.worlds.sim.programs`)."""
    return agent_program(list(arguments[1:]), mutant(arguments[0]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[2:], agent=mutant(sys.argv[1])))
