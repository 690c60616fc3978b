"""A scenario's operations as a generator: each at its time, on its thread."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from harness.generator import PENDING, Context, Generator, Operation, Step, nanoseconds
from harness.history import Op


class Invocation(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A client's operation, written [at, thread, f, key, value]; `at` in seconds."""

    at: Annotated[float, msgspec.Meta(ge=0)]
    thread: int
    f: str
    key: int | str | None = None
    value: Any = None


class Scripted(msgspec.Struct, frozen=True):
    """The invocations that are left, in the order of their times.

    One whose thread is still busy waits for it, and those of other threads need not wait with it.
    """

    left: tuple[Invocation, ...]

    def op(self, context: Context) -> Step:
        busy = 0
        for position, invocation in enumerate(self.left):
            bit = 1 << invocation.thread
            if busy & bit:
                continue
            if not context.free & bit:
                busy |= bit
                continue
            operation = Operation(
                invocation.f,
                invocation.value,
                invocation.key,
                context.processes[invocation.thread],
                max(context.time, nanoseconds(invocation.at)),
            )
            return operation, Scripted((*self.left[:position], *self.left[position + 1 :]))
        return PENDING if self.left else None

    def update(self, context: Context, event: Op) -> Generator:
        return self
