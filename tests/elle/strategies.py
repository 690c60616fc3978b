"""Small random histories of transactions, as a database might have made them, and a little worse."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from harness.history import History, Op, OpType

PROCESSES = 3


class _Recorder:
    """Clients that begin transactions, a database that executes them, clients that hear of it."""

    def __init__(self, draw: st.DrawFn, workload: str, keys: int) -> None:
        self.draw = draw
        self.write = "append" if workload == "list-append" else "w"
        self.keys = keys
        self.events: list[tuple[OpType, int, list[list[Any]]]] = []
        self.open: dict[int, list[list[Any]]] = {}
        """By thread: the transaction as it was begun."""
        self.executed: dict[int, list[list[Any]]] = {}
        self.process = list(range(PROCESSES))
        self.states: list[dict[str, Any]] = [{}]
        """All that the database has been."""
        self.values = 0
        self.flawed = draw(st.booleans())

    def begin(self, thread: int) -> None:
        micro: list[list[Any]] = []
        for _ in range(self.draw(st.integers(1, 3))):
            key = "xyz"[self.draw(st.integers(0, self.keys - 1))]
            if self.draw(st.booleans()):
                micro.append(["r", key, None])
            else:
                self.values += 1
                micro.append([self.write, key, self.values])
        self.open[thread] = micro
        self.events.append(("invoke", self.process[thread], micro))

    def execute(self, thread: int) -> None:
        """Mostly on the newest state; sometimes reads come from an older one, or one by one from any."""
        flaw = self.draw(st.integers(0, 9)) if self.flawed else 0
        ago = self.draw(st.integers(1, 2)) if flaw >= 4 else 0
        snapshot = self.states[max(0, len(self.states) - 1 - ago)]
        state = dict(self.states[-1])
        seen = dict(snapshot)
        micro = []
        for f, key, value in self.open[thread]:
            if f == "r":
                if flaw >= 8:
                    seen = {**self.states[self.draw(st.integers(0, len(self.states) - 1))]}
                micro.append(["r", key, seen.get(key)])
                continue
            for version in (state, seen):
                version[key] = [*version.get(key, []), value] if f == "append" else value
            micro.append([f, key, value])
        self.states.append(state)
        self.executed[thread] = micro

    def end(self, thread: int) -> None:
        micro = self.open.pop(thread)
        done = self.executed.pop(thread, None)
        outcome = self.draw(st.sampled_from(["ok"] * 8 + ["info", "fail"]))
        if done is not None and outcome != "info":
            # A lie now and then: it failed, and was executed.
            type_: OpType = "ok" if outcome == "ok" or self.draw(st.integers(0, 3)) else "fail"
            self.events.append((type_, self.process[thread], done if type_ == "ok" else micro))
        elif done is None and outcome == "fail":
            self.events.append(("fail", self.process[thread], micro))
        else:
            self.events.append(("info", self.process[thread], micro))
            self.process[thread] += PROCESSES


@st.composite
def histories(draw: st.DrawFn, workload: str, transactions: int = 5) -> History:
    recorder = _Recorder(draw, workload, keys=draw(st.integers(1, 3)))
    begun = 0
    while begun < transactions or recorder.open:
        thread = draw(st.integers(0, PROCESSES - 1))
        if thread not in recorder.open:
            if begun >= transactions:
                thread = draw(st.sampled_from(sorted(recorder.open)))
            else:
                recorder.begin(thread)
                begun += 1
                continue
        if thread in recorder.executed or draw(st.integers(0, 5)) == 0:
            recorder.end(thread)
        else:
            recorder.execute(thread)
    return History(
        [
            Op(index=index, time=index, type=type_, process=process, f="txn", value=value)
            for index, (type_, process, value) in enumerate(recorder.events)
        ]
    )
