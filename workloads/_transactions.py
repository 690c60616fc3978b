"""Transactions of micro-operations, as clients do them on a store that reads and writes several keys at once.

`["r", key, None]` reads, `["append", key, v]` adds to a list, `["w", key, v]` sets. A transaction reads all
keys that it has to know at one moment, works out what it leaves behind, and writes that at another moment, if
none of these keys has changed in between: else it has not happened. So it happens at the moment when it is
written; one that only reads, when it is read.

What fails before anything is written has not happened, also if nobody knows what became of the reading.

A few keys are in use at a time, some far more than others, so that transactions meet; what is written to a
key is unique. Each is given up after so many writes, and read a while longer: what is missing then is lost.
Half of the clients only read, as in `register`: one that writes to a node in trouble hangs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from harness.generator import PENDING, Context, Generator, Operation, Step
from harness.history import Op
from harness.systems import KV, Indeterminate, Options, Refused, Transactional
from harness.worlds import SetupError

KEYS_AT_A_TIME = 5
"""Each is chosen twice as often as the one before it."""
WRITES_PER_KEY = 40
RETIRED = 3
"""So many of those that were given up last are still read."""
LENGTH_MAX = 4
"""Micro-operations of a transaction."""

Write = Literal["append", "w"]

PROBE = Operation("txn", [["r", "probe", None]])


class TransactionClient:
    """Implements `harness.interpreter.Client`."""

    def __init__(self, kv: KV) -> None:
        if not isinstance(kv, Transactional):
            raise SetupError(
                f"{type(kv).__name__} has no transactions: what the adapter promises of them is too much"
            )
        self._kv = kv
        self._transactional: Transactional = kv

    async def invoke(self, operation: Operation) -> Any:
        if operation.f != "txn":
            raise ValueError(f"no transaction: {operation.f}")
        first: dict[str, str] = {}
        for f, key, _ in operation.value:
            first.setdefault(key, f)
        known = [key for key, f in first.items() if f != "w"]
        try:
            found = await self._transactional.read_all(known) if known else {}
        except Indeterminate as error:
            raise Refused(f"nothing was written yet: {error}") from error
        done, written = perform(operation.value, {key: one.value for key, one in found.items()})
        if written:
            versions = {key: one.version for key, one in found.items()}
            if not await self._transactional.write_all(written, versions):
                raise Refused("another transaction came in between")
        return done

    async def close(self) -> None:
        await self._kv.close()


def perform(
    transaction: list[list[Any]], values: Mapping[str, Any]
) -> tuple[list[list[Any]], dict[str, Any]]:
    """What it read and did, on a store of these values, and what it leaves behind."""
    written: dict[str, Any] = {}
    done: list[list[Any]] = []
    for f, key, argument in transaction:
        before = written.get(key, values.get(key))
        match f:
            case "r":
                done.append([f, key, before])
                continue
            case "append":
                written[key] = [*(before or ()), argument]
            case "w":
                written[key] = argument
            case _:
                raise ValueError(f"no such micro-operation: {f}")
        done.append([f, key, argument])
    return done, written


def models(options: Options) -> tuple[str, ...]:
    """What a system owes that promises transactions: with reads that may be old, nothing about real time."""
    return ("strict-serializable",) if options.reads == "consistent" else ("serializable",)


def operations(write: Write) -> Operations:
    """The generator from its beginning."""
    return Operations(write, tuple(_Key(f"t{number}") for number in range(KEYS_AT_A_TIME)), KEYS_AT_A_TIME)


class _Key(msgspec.Struct, frozen=True):
    """A key in use."""

    key: str
    writes: int = 0


class Operations(msgspec.Struct, frozen=True):
    """Random transactions on a few keys at a time. Never ends."""

    write: Write
    keys: tuple[_Key, ...]
    made: int
    """How many keys there have been."""
    retired: tuple[str, ...] = ()
    """Given up, the newest last."""

    def op(self, context: Context) -> Step:
        process = context.some_free_process()
        if not isinstance(process, int):
            return PENDING
        random = context.random
        after = self
        transaction: list[list[str | int | None]] = []
        for _ in range(random.randint(1, LENGTH_MAX)):
            if process % context.concurrency < context.concurrency // 2:
                keys = [*after.retired, *(one.key for one in after.keys)]
                weights = [1] * len(after.retired) + [1 << at for at in range(len(after.keys))]
                transaction.append(["r", random.choices(keys, weights)[0], None])
                continue
            (at,) = random.choices(range(len(after.keys)), [1 << at for at in range(len(after.keys))])
            if random.random() < 0.5:
                transaction.append(["r", after.keys[at].key, None])
            else:
                transaction.append([after.write, after.keys[at].key, after.keys[at].writes + 1])
                after = after._wrote(at)
        return Operation("txn", transaction, None, process, context.time), after

    def update(self, context: Context, event: Op) -> Generator:
        return self

    def _wrote(self, at: int) -> Operations:
        """The key was written once more."""
        one, made, retired = self.keys[at], self.made, self.retired
        one = _Key(one.key, one.writes + 1)
        if one.writes == WRITES_PER_KEY:
            retired = (*retired, one.key)[-RETIRED:]
            one, made = _Key(f"t{made}"), made + 1
        return Operations(self.write, (*self.keys[:at], one, *self.keys[at + 1 :]), made, retired)
