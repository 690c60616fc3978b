"""What is shown while a run goes on: one live line on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from harness.history import NEMESIS, Op
from harness.run import Observer
from harness.test import Mark

_PLAIN_SECONDS = 5.0
_STYLES = {"ok": "green", "fail": "yellow", "info": "magenta"}


class Progress:
    """Implements `harness.run.Observer`."""

    def __init__(self, name: str, marks: tuple[Mark, ...], file: TextIO) -> None:
        self._name = name
        self._starts = {f: mark.name for mark in marks for f in mark.start}
        self._stops = {f: mark.name for mark in marks for f in mark.stop}
        self._console = Console(file=file, highlight=False)
        self._counts = {"ok": 0, "fail": 0, "info": 0}
        self._phase = "setup"
        self._faults: dict[str, str] = {}
        self._orders: dict[str, bool] = {}
        self._began = time.monotonic()
        self._operations: float | None = None
        """When the first operation began."""
        self._printed = 0.0

    def phase(self, name: str) -> None:
        self._phase = name
        self._report()

    def say(self, line: str) -> None:
        """A line that stays."""
        self._console.print(line, soft_wrap=True, markup=False)

    def event(self, event: Op) -> None:
        if event.process == NEMESIS:
            self._fault(event)
            return
        if event.type != "invoke":
            self._counts[event.type] += 1
        elif self._operations is None:
            self._operations = time.monotonic()
        if not self._console.is_terminal and time.monotonic() - self._printed > _PLAIN_SECONDS:
            self._report()

    def _fault(self, event: Op) -> None:
        """A nemesis's events come in pairs, order and completion: only the second means that it is done."""
        completed = self._orders.pop(event.f, False)
        if not completed:
            self._orders[event.f] = True
            return
        if event.f in self._starts:
            target = event.value.get("target", "") if isinstance(event.value, dict) else ""
            self._faults[self._starts[event.f]] = target
        elif self._faults.pop(self._stops.get(event.f, ""), None) is None:
            return  # healed to be sure: nothing is new
        self._report()

    def _report(self) -> None:
        """A line for those without a terminal; a terminal draws by itself."""
        if not self._console.is_terminal:
            self._printed = time.monotonic()
            self._console.print(self.line(), soft_wrap=True)

    def line(self) -> Text:
        """The state of things."""
        now = time.monotonic()
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(f"{self._name}", style="bold")
        text.append(f"  {now - self._began:5.1f} s  {self._phase:<8}")
        if self._operations is not None:
            done = sum(self._counts.values())
            text.append(f"  {done / max(now - self._operations, 0.001):7,.0f} ops/s")
        for outcome, count in self._counts.items():
            text.append(f"  {outcome} ")
            text.append(f"{count:,}", style=_STYLES[outcome] if count else "")
        for fault, target in self._faults.items():
            text.append(f"  {fault} {target}".rstrip(), style="bold red")
        return text

    def __rich__(self) -> Text:
        return self.line()

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Draw the line, on a terminal, until the run is over."""
        if not self._console.is_terminal:
            yield
            return
        with Live(self, console=self._console, refresh_per_second=5, transient=True, redirect_stdout=False):
            yield


class Phases:
    """Implements `harness.run.Observer`: which event was the first of each phase. Passes everything on."""

    def __init__(self, other: Observer | None = None) -> None:
        self.first: dict[str, int] = {}
        self._events = 0
        self._other = other

    def phase(self, name: str) -> None:
        self.first.setdefault(name, self._events)
        if self._other is not None:
            self._other.phase(name)

    def event(self, event: Op) -> None:
        self._events += 1
        if self._other is not None:
            self._other.event(event)
