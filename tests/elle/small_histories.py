"""Small histories of transactions, from two sources.

In one a database executes transactions, now and then badly: what is wrong is what goes wrong in databases. In
the other nobody executes anything, and clients are told whatever comes to mind: lists in a wrong order,
elements twice or of nobody, values of transactions that failed, states in the middle of others, their own
future.
"""

from __future__ import annotations

from random import Random
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


@st.composite
def hearsay(draw: st.DrawFn, workload: str) -> History:
    """Clients that begin transactions and are told anything."""
    random = draw(st.randoms(use_true_random=False))
    keys = "xyz"[: random.randint(1, 3)]
    writes, crashes, fails, odd = (random.choice(n) for n in ((3, 5, 7), (0, 1, 4), (0, 1, 3), (0, 0, 1)))
    process = list(range(random.randint(1, 4)))
    written: dict[str, list[int]] = {key: [] for key in keys}
    events: list[tuple[OpType, int, list[list[Any]]]] = []
    open_: dict[int, list[list[Any]]] = {}
    left = random.randint(2, 5)
    while left or open_:
        thread = random.randrange(len(process))
        if thread not in open_ and left:
            left -= 1
            open_[thread] = []
            for _ in range(random.choice((0, 1, 1, 2, 2, 2, 3, 4))):
                key = random.choice(keys)
                if random.randrange(10) >= writes:
                    open_[thread].append(["r", key, None])
                    continue
                value = 1 + sum(map(len, written.values()))
                written[key].append(value)
                open_[thread].append(["append" if workload == "list-append" else "w", key, value])
            events.append(("invoke", process[thread], open_[thread]))
        elif thread in open_:
            micro, how = open_.pop(thread), random.randrange(10)
            if how >= crashes:
                events.append(("ok" if how >= crashes + fails else "fail", process[thread], micro))
                continue
            if random.randrange(2):  # else nobody ever hears of it
                events.append(("info", process[thread], micro))
            process[thread] += 10
    orders = {
        key: random.sample(of, len(of)) if random.randrange(10) < 4 else of for key, of in written.items()
    }
    told = _told_of_lists if workload == "list-append" else _told_of_registers
    return History(
        [
            Op(
                index=index,
                time=index,
                type=type_,
                process=number,
                f="txn",
                value=told(random, micro, orders, odd) if type_ == "ok" else micro,
            )
            for index, (type_, number, micro) in enumerate(events)
        ]
    )


def _told_of_lists(
    random: Random, micro: list[list[Any]], orders: dict[str, list[int]], odd: int
) -> list[list[Any]]:
    """Mostly the beginning of some order, and what the transaction has appended itself."""
    done: list[list[Any]] = []
    for f, key, value in micro:
        if f != "r":
            done.append([f, key, value])
            continue
        order = orders[key]
        own = [v for g, k, v in micro if g != "r" and k == key]
        mine = [v for g, k, v in done if g != "r" and k == key]
        found = order[: random.randint(0, len(order))]
        if mine and random.randrange(10) < 8:
            until = order.index(own[0]) if random.randrange(10) < 6 else len(found)
            found = [v for v in order[:until] if v not in own] + mine
        if random.randrange(10) < odd:
            found = random.sample(order, random.randint(0, len(order)))
        if random.randrange(10) < odd and found:
            found = [*found, random.choice(found)]
        if random.randrange(10) < odd:
            found = [*found, 99]
        done.append(["r", key, found or random.choice((None, []))])
    return done


def _told_of_registers(
    random: Random, micro: list[list[Any]], orders: dict[str, list[int]], odd: int
) -> list[list[Any]]:
    """Mostly what the transaction knows of the key already, or else any value, or none."""
    done: list[list[Any]] = []
    for f, key, value in micro:
        known = [v for _, k, v in done if k == key]
        if f != "r":
            done.append([f, key, value])
        elif random.randrange(10) < odd:
            done.append(["r", key, 99])
        elif known and random.randrange(10) < 8:
            done.append(["r", key, known[-1]])
        else:
            done.append(["r", key, random.choice([None, *orders[key]])])
    return done
