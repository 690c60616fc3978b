"""Transactions of micro-operations, as clients do them on a store that reads and writes several keys at once.

`["r", key, None]` reads, `["append", key, v]` adds to a list, `["w", key, v]` sets. A transaction reads all
keys that it has to know at one moment, works out what it leaves behind, and writes that at another moment, if
none of these keys has changed in between: else it has not happened. So it happens at the moment when it is
written; one that only reads, when it is read.

What fails before anything is written has not happened, also if nobody knows what became of the reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.generator import Operation
from harness.systems import KV, Indeterminate, Options, Refused, Transactional
from harness.worlds import SetupError


class TransactionClient:
    """Implements `harness.run.Client`."""

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
