"""The replicated state machine: what the servers agree on.

Rules
-----
1. Deterministic: the same commands at the same indexes make the same state, byte for byte (`digest`). No
   clock, no randomness, no iteration over sets, nothing that a restart would change.
2. A command is decoded and checked as a whole before it changes anything.
3. Queries are for the process at hand; they neither change anything nor block. Watches say when to ask again.

`commands` is what is replicated, `kv` the key/value store, `transactions` several operations on it at once,
`watches` who waits for what, and `machine` puts them behind one door.
"""

from impl.state.commands import (
    Command,
    CompareAndDelete,
    CompareAndSet,
    Delete,
    DeleteTree,
    Operation,
    ReapTombstones,
    Set,
    Transaction,
    decode_command,
    encode_command,
)
from impl.state.errors import GarbledCommand, GarbledSnapshot, IndexOutOfOrder, StateError
from impl.state.kv import KVStore, Pair
from impl.state.machine import Result, StateMachine, View
from impl.state.transactions import Failed, Outcome
from impl.state.watches import Watch, Watches

__all__ = [
    "Command",
    "CompareAndDelete",
    "CompareAndSet",
    "Delete",
    "DeleteTree",
    "Failed",
    "GarbledCommand",
    "GarbledSnapshot",
    "IndexOutOfOrder",
    "KVStore",
    "Operation",
    "Outcome",
    "Pair",
    "ReapTombstones",
    "Result",
    "Set",
    "StateError",
    "StateMachine",
    "Transaction",
    "View",
    "Watch",
    "Watches",
    "decode_command",
    "encode_command",
]
