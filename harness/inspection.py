"""A cluster that is kept as it was when it broke a promise, for a person to look at."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from harness.worlds import Cluster, Enterable


async def keep(broken: str, cluster: Cluster, say: Callable[[str], None], terminal: int) -> None:
    """Say what was broken, where the nodes are and how to enter them, and wait until Enter is pressed.

    `terminal`: a file descriptor; if it is no terminal, nobody can press anything, and this returns at once.
    """
    say(f"Stopped at the first violation, {broken}")
    for node in cluster.nodes:
        state = "running" if cluster.running(node) else "not running"
        say(f"  {node}  {cluster.address(node)}  {state}  {cluster.directory(node)}")
    if not isinstance(cluster, Enterable):
        say("This world's nodes cannot be entered; their logs are in those folders.")
        return
    for node in cluster.nodes:
        say(f"  a shell on {node}: {cluster.enter(node)}")
    if not os.isatty(terminal):
        say("Standard input is no terminal, so nobody is waited for: the cluster ends now.")
        return
    say("The cluster stays as it is, with its faults, until you press Enter or Ctrl-C.")
    await _enter_pressed(terminal)


async def _enter_pressed(terminal: int) -> None:
    loop = asyncio.get_running_loop()
    pressed = asyncio.Event()

    def read() -> None:
        os.read(terminal, 4096)
        pressed.set()

    loop.add_reader(terminal, read)
    try:
        await pressed.wait()
    finally:
        loop.remove_reader(terminal)
