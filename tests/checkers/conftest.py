"""Histories written down as rows, for the checkers' tests."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import msgspec
import pytest

from harness.history import History, Op


def _recorded(*rows: tuple[Any, ...]) -> History:
    """Rows of (seconds, process, type, f, value, key, node, version); trailing fields may be left out."""
    ops = []
    for index, (seconds, process, type_, f, *rest) in enumerate(rows):
        value, key, node, version = (*rest, None, None, None, None)[:4]
        fields = {"index": index, "time": round(seconds * 1e9), "type": type_, "process": process, "f": f}
        fields |= {"value": value, "key": key, "node": node, "version": version}
        ops.append(msgspec.convert(fields, Op))
    return History(ops)


@pytest.fixture
def recorded() -> Callable[..., History]:
    return _recorded


@dataclass
class Replicas:
    """A run of an honest store, one step a second: a leader's log, servers that apply it at their own pace
    and answer reads from what they have, clients that crash now and then."""

    history: History
    staleness: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Of each read that succeeded, by the index of its completion: the versions that it was behind when it
    was answered, and the seconds since its value had been overwritten."""


def _replicated(seed: int, *, steps: int = 120, keys: int = 3, lag: float = 0.3) -> Replicas:
    random = Random(seed)
    clients, servers = 6, ("n1", "n2", "n3")
    log: list[tuple[str, Any, int]] = []
    applied = dict.fromkeys(servers, 0)
    ops: list[Op] = []
    busy: dict[int, tuple[Op, Any]] = {}
    crashes = [0] * clients
    found = Replicas(History([]))

    def record(
        kind: Any, begun: Op | None, process: int, f: str, key: str, value: Any, version: int | None
    ) -> Op:
        node = begun.node if begun is not None else servers[process % clients % len(servers)]
        ops.append(Op(len(ops), len(ops) * 10**9, kind, process, f, key, value, None, node, version))
        return ops[-1]

    def answer(op: Op) -> Any:
        """What happens at the servers when the request is served."""
        if op.f == "write":
            log.append((str(op.key), op.value, len(ops)))
            return op.value, len(log)
        seen = [at for at, entry in enumerate(log[: applied[str(op.node)]]) if entry[0] == op.key]
        newer = [entry for entry in log[seen[-1] + 1 if seen else 0 :] if entry[0] == op.key]
        behind = len(newer), len(ops) - newer[0][2] if newer else 0
        return (log[seen[-1]][1], seen[-1] + 1, behind) if seen else (None, 0, behind)

    for _ in range(steps):
        client = random.randrange(clients)
        if random.random() < lag:
            server = random.choice(servers)
            applied[server] = random.randint(applied[server], len(log))
        process = client + clients * crashes[client]
        if client not in busy:
            f = random.choice(("read", "read", "write"))
            key = f"k{random.randrange(keys)}"
            busy[client] = (
                record("invoke", None, process, f, key, len(ops) if f == "write" else None, None),
                None,
            )
            continue
        begun, answered = busy[client]
        if answered is None and random.random() < 0.7:
            busy[client] = begun, answer(begun)
        elif random.random() < 0.1:
            record("info", begun, process, begun.f, str(begun.key), begun.value, None)
            crashes[client] += 1
            del busy[client]
        elif answered is not None:
            value, version, *behind = answered
            done = record("ok", begun, process, begun.f, str(begun.key), value, version if seed % 2 else None)
            if behind:
                found.staleness[done.index] = behind[0]
            del busy[client]
    found.history = History(ops)
    return found


@pytest.fixture
def replicated() -> Callable[..., Replicas]:
    return _replicated
