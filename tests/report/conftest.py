"""A synthetic run, the same each time: five nodes, faults, and as many operations as a test wants."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from harness.history import Op, encode
from harness.store import MarkRecord, ProblemRecord, Results, TestRecord
from harness.verdict import Evidence, Verdict

STARTED = datetime.fromisoformat("2026-11-24T10:00:00.000+01:00")
SECOND = 1_000_000_000
SETUP_SECONDS = 3
_CONCURRENCY = 10
_MARKS = [
    MarkRecord(name="partition", start=["start-partition"], stop=["stop-partition"], colour="#8172b3"),
    MarkRecord(name="kill", start=["start-kill"], stop=["stop-kill"], colour="#c44e52"),
]


class SyntheticRun:
    """A run's folder in the making. Everything public may be changed before `write`."""

    def __init__(
        self, operations: int = 2_000, nodes: int = 5, *, members: bool = True, faults: bool = True
    ) -> None:
        self.random = Random(f"{operations}/{nodes}")
        self.nodes = [f"n{number}" for number in range(1, nodes + 1)]
        self.seconds = 60
        self.test: TestRecord | None = TestRecord(
            name="register-partition,kill",
            started=STARTED.isoformat(timespec="milliseconds"),
            command=["pytest", "harness/", "--workload=register", "--nemesis=partition,kill", "--seed=4711",
                     "--reads=stale", "--time-limit=60"],
            seed=4711, world="netns", system="proconsul", workload="register", nemesis="partition,kill",
            nodes=self.nodes, servers=nodes, reads="stale", agent=None, concurrency=_CONCURRENCY,
            rate=operations / self.seconds, time_limit=60.0, operation_timeout=5.0,
            promise="Reads with ?consistent are linearizable (Consul's documentation of consistency modes).",
            marks=_MARKS if faults else [], skipped={"pause": "this world cannot stop a process"},
            versions={"splitbrain": "0.1.0", "Python": "3.11.2", "Linux": "6.1.0", "proconsul": "0.1.0"},
        )  # fmt: skip
        self.events: list[dict[str, Any]] = []
        self.faults: list[tuple[float, float, set[str], set[str]]] = []
        """Start, end, the nodes cut off, the nodes dead."""
        if faults:
            self._nemesis()
        self._clients(operations)
        if members:
            self._members()
        self._stale_read()
        self.logs = {node: self._log(node) for node in self.nodes}
        self.results: Results | None = self._results(operations)

    def write(self, directory: Path) -> Path:
        """Write the folder as it is now."""
        directory.mkdir(parents=True, exist_ok=True)
        ops = self.ops()
        if self.test is not None:
            (directory / "test.json").write_bytes(msgspec.json.encode(self.test))
        if self.results is not None:
            (directory / "verdicts.json").write_bytes(msgspec.json.encode(self.results))
        with (directory / "history.jsonl").open("wb") as file:
            file.writelines(map(encode, ops))
        if ops:
            written = STARTED.timestamp() + SETUP_SECONDS + ops[-1].time / SECOND
            os.utime(directory / "history.jsonl", (written, written))
        for node, text in self.logs.items():
            (directory / "nodes" / node).mkdir(parents=True, exist_ok=True)
            (directory / "nodes" / node / "log").write_text(text, encoding="utf-8")
        return directory

    def ops(self) -> list[Op]:
        """The events in order; evidence is pointed at those that it names."""
        self.events.sort(key=lambda event: event["time"])
        ops = [
            Op(index=index, **{name: value for name, value in event.items() if name != "tag"})
            for index, event in enumerate(self.events)
        ]
        tagged = {event["tag"]: index for index, event in enumerate(self.events) if "tag" in event}
        for verdict in self.results.verdicts if self.results is not None else []:
            for evidence in verdict.evidence:
                if evidence.details.get("kind") == "Stale read":
                    evidence.operations = sorted(tagged.values())
        return ops

    def add(self, at: float, kind: str, process: int | str, f: str, **more: Any) -> None:
        """Add an event, at seconds since the run began."""
        self.events.append({"time": int(at * SECOND), "type": kind, "process": process, "f": f, **more})

    def _nemesis(self) -> None:
        majority, minority = self.nodes[2:], self.nodes[:2]
        cut = [[a, b] for a in minority for b in majority] + [[b, a] for a in minority for b in majority]
        schedule: list[tuple[float, str, Any, Any]] = [
            (8.0, "start-partition", "minority", {"target": "minority", "cut": cut}),
            (18.0, "stop-partition", None, {"cut": []}),
            (26.0, "start-kill", "leader", {"target": "leader", "nodes": ["n3"]}),
            (33.0, "stop-kill", None, {"nodes": ["n3"]}),
            (40.0, "start-partition", "one", {"target": "one", "cut": [["n4", "n5"]]}),
            (44.0, "start-kill", "one", {"target": "one", "nodes": ["n5"]}),
            (50.0, "stop-partition", None, {"cut": []}),
            (52.0, "stop-kill", None, {"nodes": ["n5"]}),
        ]
        for at, f, target, done in schedule:
            self.add(at, "info", "nemesis", f, value=target)
            self.add(at + 0.02, "info", "nemesis", f, value=done)
        self.faults = [
            (8.0, 18.0, set(minority), set()), (26.0, 33.0, set(), {"n3"}), (44.0, 52.0, set(), {"n5"}),
        ]  # fmt: skip

    def _state(self, at: float, node: str) -> str:
        for start, end, cut_off, dead in self.faults:
            if start <= at < end and (node in cut_off or node in dead):
                return "dead" if node in dead else "cut"
        return "well"

    def _clients(self, operations: int) -> None:
        gap = self.seconds / (operations / _CONCURRENCY)
        value = 0
        for thread in range(_CONCURRENCY):
            process, node, at = thread, self.nodes[thread % len(self.nodes)], self.random.random() * gap
            for _ in range(operations // _CONCURRENCY):
                value += 1
                f = self.random.choices(["read", "write", "cas"], [5, 4, 1])[0]
                argument = {"read": None, "write": value, "cas": [value - 7, value]}[f]
                key = f"k{self.random.randrange(4)}"
                took = min(self.random.lognormvariate(-6.2, 0.55), gap * 0.95)
                state = self._state(at, node)
                more: dict[str, Any] = {"key": key, "node": node}
                self.add(at, "invoke", process, f, value=argument, **more)
                if state == "well" and self.random.random() > 0.0005:
                    kind, more["value"] = "ok", value - 1 if f == "read" else argument
                elif state == "cut" and f != "read" and self.random.random() < 0.3:
                    kind, took, more["error"] = "info", gap * 0.95, "timeout after 5 s"
                    more["value"] = argument
                else:
                    kind, more["error"] = (
                        "fail",
                        "connection refused" if state == "dead" else "no cluster leader",
                    )
                self.add(at + took, kind, process, f, **more)
                if kind == "info":
                    process += _CONCURRENCY
                at += gap

    def _members(self) -> None:
        for number, observer in enumerate(self.nodes):
            process = 1_000_000 * _CONCURRENCY + number
            for tick in range(self.seconds * 2):
                at = tick / 2 + number / 100
                here = self._state(at, observer)
                self.add(at, "invoke", process, "members", node=observer)
                if here == "dead":
                    self.add(
                        at + 0.001, "fail", process, "members", node=observer, error="connection refused"
                    )
                    continue
                view = {}
                for target in self.nodes:
                    there, before = self._state(at - 2.0, target), self._state(at - 0.7, target)
                    apart = there != here if target != observer else False
                    lately = before != here if target != observer else False
                    view[target] = "failed" if apart else "suspect" if lately else "alive"
                self.add(at + 0.001, "ok", process, "members", node=observer, value=view)

    def _stale_read(self) -> None:
        for at, took, process, node, f, argument, result, tag in (
            (9.10, 0.004, 9_000, "n1", "write", 6, 6, "old"),
            (12.300, 0.008, 9_003, "n4", "write", 7, 7, "new"),
            (12.345, 0.006, 9_001, "n2", "read", None, 6, "stale"),
        ):
            self.add(at, "invoke", process, f, key="k9", node=node, value=argument, tag=f"{tag}-invoke")
            self.add(at + took, "ok", process, f, key="k9", node=node, value=result, tag=tag)

    def _log(self, node: str) -> str:
        lines = []
        for tick in range(240):
            moment = STARTED + timedelta(seconds=SETUP_SECONDS + tick / 4)
            level = self.random.choices(["DEBUG", "INFO", "WARN", "ERROR"], [6, 4, 1, 0.3])[0]
            said = {"DEBUG": "agent.raft: appended entries: index=%d", "INFO": "agent: synced node info %d",
                    "WARN": "agent.raft: heartbeat timeout reached, starting election %d",
                    "ERROR": "agent.http: request failed: no cluster leader %d"}[level]  # fmt: skip
            lines.append(f"{moment.isoformat(timespec='milliseconds')} [{level}] {said % tick}\n")
        return "".join(lines)

    def _results(self, operations: int) -> Results:
        stale = Evidence(
            summary="Stale read on key k9: process 9001 on n2 read 6 (12.345 s to 12.351 s), but 0.037 s "
            "before that began, process 9003 on n4 wrote 7 (12.300 s to 12.308 s); and 6 is the older value: "
            "process 9000 on n1 wrote 6 (9.100 s to 9.104 s), which was over before that.",
            key="k9",
            details={
                "kind": "Stale read",
                "operations": [
                    "process 9000 on n1 wrote 6 (9.100 s to 9.104 s)",
                    "process 9003 on n4 wrote 7 (12.300 s to 12.308 s)",
                    "process 9001 on n2 read 6 (12.345 s to 12.351 s)",
                ],
            },
        )
        verdicts = [
            Verdict(
                checker="linearizable", valid="invalid", evidence=[stale],
                summary="1 of 5 keys is not linearizable: a stale read on key k9.",
                details={"operations": operations, "keys": 5, "keys invalid": 1, "keys by zones": 5},
            ),
            Verdict(checker="availability", valid="valid", outcome="liveness",
                    summary="Every node served again 1.2 s after the last heal (bound: 10 s)."),
            Verdict(checker="gossip", valid="unknown",
                    summary="No node was down for longer than the bound of 22 s.",
                    details={"bound (s)": 22, "samples": 600}),
        ]  # fmt: skip
        return Results(
            outcome="invalid",
            summary="A read returned a value that had been overwritten 37 ms before it began.",
            verdicts=verdicts, problems=[], operations=operations, counts={}, seconds=60.0,
        )  # fmt: skip


@pytest.fixture(scope="session")
def synthetic() -> Callable[..., SyntheticRun]:
    """Makes a synthetic run: `synthetic(operations, nodes, members=, faults=)`."""
    return SyntheticRun


@pytest.fixture(scope="session")
def problem() -> Callable[[str, str], ProblemRecord]:
    return lambda kind, message: ProblemRecord(kind=kind, message=message)
