"""Parts of an agent's shell with one known bug each. The numbers are those of docs/mutants.md."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec

from harness.systems import KV, Indeterminate, Options, Refused
from harness.systems.proconsul import Proconsul
from harness.worlds import Cluster
from impl.config import AgentConfig
from impl.ports import Disk, Ports
from impl.raft import NotLeader, Raft, Role
from impl.server.agent import Agent
from impl.server.driver import Driver
from impl.server.requests import Reply, Request, TxnRead
from impl.state import (
    CompareAndSet,
    Result,
    Set,
    StateMachine,
    Transaction,
    Watch,
    decode_command,
    encode_command,
    transactions,
)
from impl.state.kv import KVStore
from impl.state.watches import Watches

# ---- Reads


class ReadsWithoutQuorum(Driver):
    """44. A consistent read is answered by whoever believes to lead, and a leader believes it for ever."""

    def __init__(self, core: Raft, *others: Any) -> None:
        super().__init__(core, *others)
        core._hears_quorum = lambda: True  # type: ignore[method-assign]

    async def read_barrier(self) -> None:
        if self.core.role is not Role.LEADER:
            raise NotLeader(self.core.leader)


class AnswersWithoutLease(Driver):
    """51. A default read is answered from what this server has, without asking whether it still leads."""

    def is_leader(self) -> bool:
        return True


# ---- The state machine


class ChecksWhenProposed(Driver):
    """52. A compare-and-set is compared when it is proposed, and only set when it is applied."""

    async def propose(self, command: bytes) -> Result:
        decoded = decode_command(command)
        if isinstance(decoded, CompareAndSet):
            _, pair = self.machine.kv.get(decoded.key)
            if (pair.modify_index if pair is not None else 0) != decoded.modify_index:
                return False
            command = encode_command(Set(decoded.key, decoded.value, decoded.flags))
        return await super().propose(command)


class AppliesByChance(StateMachine):
    """62. What a command does depends on where it is applied."""

    def apply(self, index: int, data: bytes) -> Result:
        command = decode_command(data)
        if isinstance(command, Set):
            data = encode_command(msgspec.structs.replace(command, flags=id(self) % 1000))
        return super().apply(index, data)


# ---- Transactions


class ChecksTransactionsWhenProposed(Driver):
    """52. What a transaction expects of keys is checked when it is proposed, not when it is applied."""

    async def propose(self, command: bytes) -> Result:
        decoded = decode_command(command)
        if isinstance(decoded, Transaction):
            kv = self.machine.kv
            kv.begin()
            outcome = transactions.run(kv, self.machine.last_applied + 1, decoded.operations)
            kv.end(keep=False)
            if outcome.failures:
                return outcome
            unguarded = {"cas": "set", "delete-cas": "delete"}
            command = encode_command(
                Transaction(
                    tuple(
                        msgspec.structs.replace(one, verb=unguarded.get(one.verb, one.verb))
                        for one in decoded.operations
                        if not one.verb.startswith("check-")
                    )
                )
            )
        return await super().propose(command)


class _KeepsParts(KVStore):
    def end(self, keep: bool) -> None:
        super().end(keep=True)


class AppliesTransactionsInPart(StateMachine):
    """61. What succeeds of a transaction stays, though another part of it fails."""

    def __init__(self) -> None:
        super().__init__()
        self.kv = _KeepsParts(self.watches)


class ReadsTransactionsAnywhere(Agent):
    """51. A transaction that only reads is answered by whichever server is asked, from what it has."""

    async def request(self, request: Request) -> Reply:
        if isinstance(request, TxnRead):
            stale = msgspec.structs.replace(request.options, consistency="stale")
            request = msgspec.structs.replace(request, options=stale)
        return await super().request(request)


# ---- Blocking queries


class _Later:
    """A watch that is registered a moment after it was asked for."""

    def __init__(self, register: Callable[[], Watch]) -> None:
        self._watch: Watch | None = None
        self._register = register
        self._timer = asyncio.get_running_loop().call_later(0.02, self._now)

    def _now(self) -> None:
        self._watch = self._register()

    def cancel(self) -> None:
        self._timer.cancel()
        if self._watch is not None:
            self._watch.cancel()


class _LateWatches(Watches):
    def on_key(self, key: str, wake: Callable[[], None]) -> Any:
        return _Later(partial(super().on_key, key, wake))


class WatchesTooLate(StateMachine):
    """57. A blocking query looks first and registers its watch then: a change in between wakes nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.watches = _LateWatches()
        self.kv = KVStore(self.watches)


# ---- The disk


class _OtherDisk:
    """A disk port around another one."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def names(self) -> list[str]:
        return self._disk.names()

    def read(self, name: str) -> bytes:
        return self._disk.read(name)

    def append(self, name: str, data: bytes) -> None:
        self._disk.append(name, data)

    def truncate(self, name: str, size: int) -> None:
        self._disk.truncate(name, size)

    def remove(self, name: str) -> None:
        self._disk.remove(name)

    async def sync(self, name: str) -> None:
        await self._disk.sync(name)

    async def replace(self, name: str, data: bytes) -> None:
        await self._disk.replace(name, data)


class _NeverFlushed(_OtherDisk):
    async def sync(self, name: str) -> None:
        """It will be on the disk some day."""


class _RenamedTooEarly(_OtherDisk):
    async def replace(self, name: str, data: bytes) -> None:
        if name in self._disk.names():
            self._disk.truncate(name, 0)
        self._disk.append(name, data)


class _NeverFull(_OtherDisk):
    def append(self, name: str, data: bytes) -> None:
        try:
            self._disk.append(name, data)
        except OSError:
            self._lost = name

    async def sync(self, name: str) -> None:
        try:
            await self._disk.sync(name)
        except OSError:
            self._lost = name


class _OnAnotherDisk(Agent):
    disk: type[_OtherDisk]

    def __init__(self, config: AgentConfig, ports: Ports, **parts: Any) -> None:
        ports_with_it: Any = replace(ports, disk=self.disk(ports.disk))
        super().__init__(config, ports_with_it, **parts)


class NeverSyncs(_OnAnotherDisk):
    """Nothing is flushed before it is acknowledged (1, 2, 16 and 17 at once)."""

    disk = _NeverFlushed


class RenamesBeforeSyncing(_OnAnotherDisk):
    """82. A file takes the place of another before its content is on the disk."""

    disk = _RenamedTooEarly


class CallsFullDisksSuccess(_OnAnotherDisk):
    """85. A write that the disk had no room for is reported as done."""

    disk = _NeverFull


# ---- The client


class TakesTimeoutsForRefusals(Proconsul):
    """27. An operation of which nobody knows whether it happened is reported as not having happened."""

    async def kv(self, cluster: Cluster, options: Options, node: str) -> KV:
        return _Certain(await super().kv(cluster, options, node))


class _Certain:
    def __init__(self, kv: KV) -> None:
        self._kv = kv

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._kv, name)

        async def call(*arguments: Any) -> Any:
            try:
                async with asyncio.timeout(1.0):
                    return await method(*arguments)
            except (Indeterminate, TimeoutError) as error:
                raise Refused(str(error)) from error

        return call if name != "close" else method


__all__: Sequence[str] = (
    "AnswersWithoutLease",
    "AppliesByChance",
    "AppliesTransactionsInPart",
    "CallsFullDisksSuccess",
    "ChecksTransactionsWhenProposed",
    "ChecksWhenProposed",
    "NeverSyncs",
    "ReadsTransactionsAnywhere",
    "ReadsWithoutQuorum",
    "RenamesBeforeSyncing",
    "TakesTimeoutsForRefusals",
    "WatchesTooLate",
)
