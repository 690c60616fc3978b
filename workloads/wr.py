"""Transactions over registers: each reads a few keys and sets some, and all of it happens at one moment.

A register shows its last value alone, and in which order values came has to be inferred: `elle-py` sees less
than in lists (`append`). But here is what lists never do: a transaction overwrites what it has not looked at,
and such writes are sent without a guard, to come through whatever else is done.

Source: Jepsen's rw-register workload (jepsen.tests.cycle.wr).
"""

from __future__ import annotations

from workloads.append import Append


class Wr(Append):
    """Strict serializability of transactions over registers."""

    name = "wr"
    model = "rw-register"
    write = "w"
