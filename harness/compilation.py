"""Kernels are compiled when they are first called on a machine, which takes from seconds to a minute: whoever
waits is told so, and no deadline pays for it.

Numba keeps what it compiled beside the source, or in the user's cache, so that later processes only load it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from numba.core import event

TOLD = "compiling kernels, once on this machine: a minute or so"


class Compilation(event.Listener):
    """Hears whenever something is compiled, in this process or, as it is told, in one that it waits for."""

    def __init__(self) -> None:
        self.tell: Callable[[str], None] = lambda line: None
        """Called once, in whatever thread that is."""
        self._told = False
        self._lock = threading.Lock()
        self._nested = 0
        """A kernel that calls others compiles them on the way."""
        self._began = 0.0
        self._seconds = 0.0

    def seconds(self) -> float:
        """How long has been compiled so far."""
        with self._lock:
            return self._seconds + (time.monotonic() - self._began if self._nested else 0.0)

    def on_start(self, _: object = None) -> None:
        with self._lock:
            self._nested += 1
            if self._nested == 1:
                self._began = time.monotonic()
            told, self._told = self._told, True
        if not told:
            self.tell(TOLD)

    def on_end(self, _: object = None) -> None:
        with self._lock:
            self._nested -= 1
            if not self._nested:
                self._seconds += time.monotonic() - self._began


HEARD = Compilation()
"""The one of this process."""

event.register("numba:compile", HEARD)  # type: ignore[no-untyped-call]
