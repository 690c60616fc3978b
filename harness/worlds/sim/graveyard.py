"""Lets go of what dead processes were doing, without running another line of theirs.

A coroutine that is closed, or collected as garbage, gets a GeneratorExit thrown in, which runs its `finally`
clauses: a graceful exit in disguise. So coroutines of the dead are kept until the simulation is over. They
cannot be kept for ever, as each holds on to a whole process. They are therefore closed where no Python frame
can run any more: at the bottom of the stack, with the recursion limit used up. The interpreter then finds no
room to enter the coroutine's frame, and drops it.

That is CPython's behaviour and no promise of the language; `tests/worlds/sim/test_loop.py` holds it to it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from inspect import CORO_CREATED, getcoroutinestate
from typing import Any

_ROOM = 60
"""Frames left when coroutines are dropped: enough to get to the bottom, few enough to be quick there."""


def drop(coroutines: Iterable[Any]) -> None:
    """Close coroutines and run nothing of them."""
    suspended = []
    for coroutine in coroutines:
        if getcoroutinestate(coroutine) == CORO_CREATED:
            coroutine.close()  # there is nothing of it to run
        else:
            suspended.append(coroutine)
    with _silence(), _little_room():
        for coroutine in suspended:
            try:
                _drop(coroutine)
            except RecursionError:  # out of the very last attempt: it was dropped by that
                pass


def _drop(coroutine: Any) -> None:
    try:
        _drop(coroutine)
    except RecursionError:
        # At the bottom. Once more from the frame above it, if there was no room even to call this: it does
        # nothing to what is closed. (To look first would be too much: `cr_frame` is audited.)
        coroutine.close()


@contextmanager
def _little_room() -> Iterator[None]:
    """Lower the recursion limit to little more than the present depth."""
    limit = sys.getrecursionlimit()
    depth = 0
    frame = sys._getframe()
    while frame.f_back is not None:
        depth, frame = depth + 1, frame.f_back
    while True:
        try:
            sys.setrecursionlimit(depth + _ROOM)
            break
        except RecursionError:  # calls of C functions count, too, where they are not frames
            depth += _ROOM
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


@contextmanager
def _silence() -> Iterator[None]:
    """Nobody hears what finalizers complain about (where there is no room, the hook cannot run either)."""
    hook, stderr = sys.unraisablehook, sys.stderr
    sys.unraisablehook, sys.stderr = _nothing, None
    try:
        yield
    finally:
        sys.unraisablehook, sys.stderr = hook, stderr


def _nothing(unraisable: object) -> None:
    """The last words of the dead."""
