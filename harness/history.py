"""Operations and histories: what clients and the nemesis did, in the order in which the harness saw it.

Rules
-----
1. A history is a sequence of events. An `invoke` opens an operation; one `ok`, `fail` or `info` of the same
   process completes it. `ok` has happened; `fail` has not; `info` is unknown: it may take effect at any later
   time, or never.
2. A client's process does one operation at a time, and none after an `info`: its worker goes on under a new
   process number (process + concurrency), as Jepsen's does.
3. The nemesis is the process "nemesis"; both its events are `info`.
4. The order of events (their index) is the real-time order: one thread writes them, an `invoke` before the
   request leaves and a completion after the answer is in.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

OpType = Literal["invoke", "ok", "fail", "info"]
NEMESIS = "nemesis"


class Op(msgspec.Struct, gc=False, omit_defaults=True):
    """One event of a history, one line of `history.jsonl`."""

    index: int
    """Position in the history, dense from 0."""
    time: int
    """Nanoseconds since the run began."""
    type: OpType
    process: int | str
    """A client's process, 0 and up, or "nemesis"."""
    f: str
    """The function: "read", "write", "cas", "add", "members", "start-partition", ..."""
    key: int | str | None = None
    """The independent object operated on (Jepsen's `[k v]` tuples), if there are several."""
    value: Any = None
    """Argument and result: None in the invoke of a read, what was read in its `ok`; [old, new] of a cas."""
    error: str | None = None
    """Why it failed or is unknown."""
    node: str | None = None
    """The node that the client talked to."""
