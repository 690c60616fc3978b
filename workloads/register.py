"""Registers: many keys, each read, written and compared-and-set; every written value is unique.

Unique values make the history say more: a read names the very write that it saw, so that the checker need not
search. A few keys are in use at a time, so that clients meet at them, and each is given up after a while, so
that one violation does not drown the rest. Half of the clients only read: one that writes to a node in
trouble hangs, and then nobody would hear what that node tells its readers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from checkers.availability import Availability
from checkers.linearizable import Linearizable
from checkers.online import RegisterFollower
from checkers.performance import Performance
from checkers.stats import Stats
from harness.generator import PENDING, Context, Generator, Operation, Source, Step, fill
from harness.history import Op
from harness.interpreter import Client
from harness.systems import KV, Refused
from harness.test import Checker, Follower, Test, Workload
from harness.worlds import Cluster

KEYS_AT_A_TIME = 3
OPERATIONS_PER_KEY = 250
WRITES = 0.6
"""Share of what the writing clients do; the rest are compare-and-sets."""


class Register(Workload):
    """Linearizability of single keys."""

    name = "register"

    def generator(self, test: Test) -> Source:
        return Operations(tuple(_Slot(f"r{number}") for number in range(KEYS_AT_A_TIME)), KEYS_AT_A_TIME)

    def probe(self) -> Operation:
        return Operation("read", key="probe")

    def recovery_seconds(self, test: Test) -> float:
        # Long enough to read what was written during the last fault.
        return 2.0

    async def open(self, test: Test, cluster: Cluster, node: str) -> Client:
        return RegisterClient(await test.system.kv(cluster, test.options, node))

    def checkers(self, test: Test) -> Sequence[Checker]:
        return (
            Linearizable("cas-register"),
            Availability(test.system.recovery_bound(test.options)),
            Stats(),
            Performance(),
        )

    def followers(self, test: Test) -> Sequence[Follower]:
        return (RegisterFollower(),)


class RegisterClient:
    """Implements `harness.interpreter.Client`."""

    def __init__(self, kv: KV) -> None:
        self._kv = kv

    async def invoke(self, operation: Operation) -> Any:
        key = str(operation.key)
        match operation.f:
            case "read":
                return await self._kv.read(key)
            case "write":
                await self._kv.write(key, operation.value)
            case "cas":
                old, new = operation.value
                if not await self._kv.cas(key, old, new):
                    raise Refused(f"the value was not {old}")
            case _:
                raise ValueError(f"no such operation on a register: {operation.f}")
        return operation.value

    async def close(self) -> None:
        await self._kv.close()


class _Slot(msgspec.Struct, frozen=True):
    """A key in use."""

    key: str
    begun: int = 0
    seen: int | None = None
    """The newest value that an operation showed: what a cas expects."""


class Operations(msgspec.Struct, frozen=True):
    """Random operations on a few keys at a time. Never ends."""

    slots: tuple[_Slot, ...]
    keys: int
    """How many keys there have been."""
    values: int = 0
    """How many values have been written."""

    def op(self, context: Context) -> Step:
        process = context.some_free_process()
        if not isinstance(process, int):
            return PENDING
        number = context.random.randrange(len(self.slots))
        slot = self.slots[number]
        values = self.values
        if process % context.concurrency < context.concurrency // 2:
            template = Operation("read", None, slot.key, process)
        else:
            values += 1
            if context.random.random() < WRITES:
                template = Operation("write", values, slot.key, process)
            else:
                template = Operation("cas", [slot.seen, values], slot.key, process)
        operation = fill(template, context)
        if not isinstance(operation, Operation):
            return PENDING
        slot = msgspec.structs.replace(slot, begun=slot.begun + 1)
        keys = self.keys
        if slot.begun >= OPERATIONS_PER_KEY:
            slot, keys = _Slot(f"r{keys}"), keys + 1
        slots = (*self.slots[:number], slot, *self.slots[number + 1 :])
        return operation, Operations(slots, keys, values)

    def update(self, context: Context, event: Op) -> Generator:
        if event.type != "ok" or event.f not in ("read", "write", "cas"):
            return self
        for number, slot in enumerate(self.slots):
            if slot.key == event.key:
                seen = event.value[1] if event.f == "cas" else event.value
                slot = msgspec.structs.replace(slot, seen=seen)
                return Operations(
                    (*self.slots[:number], slot, *self.slots[number + 1 :]), self.keys, self.values
                )
        return self
