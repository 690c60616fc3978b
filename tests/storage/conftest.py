"""A disk in memory that forgets, in all the ways a power cut may make it forget."""

from __future__ import annotations

import asyncio
import os
import random

import pytest

SECTOR_BYTES = 512


class PowerCut(Exception):
    """The power went in the middle of an operation. Nothing can be done with this disk any more."""


class PowerCutDisk:
    """`ports.Disk` in memory, that knows what is only in the kernel's memory and what is on the platter.

    After a power cut, of what was appended and not synced there is either a prefix, up to any byte, or the
    whole length with any of its sectors unwritten, that is zero; files created and not synced may be missing;
    removed files may be back; and a `replace` under way either happened or did not.
    """

    PowerCut = PowerCut

    def __init__(self, durable: dict[str, bytes] | None = None, seen: dict[str, bytes] | None = None) -> None:
        self.durable = dict(durable or {})
        """What is on the platter."""
        self.seen = dict(self.durable if seen is None else seen)
        """What the process sees."""
        self.cut_in: int | None = None
        """The power goes during this many-th operation from now on, from 1."""
        self.errors: dict[str, int] = {}
        """Operations that fail, by name, with this errno."""
        self.gate: asyncio.Event | None = None
        """What `sync` waits for."""
        self.calls: list[str] = []
        self._replacing: tuple[str, bytes] | None = None

    def after_kill(self) -> PowerCutDisk:
        """As the next process finds it when only the process died."""
        return PowerCutDisk(self.durable, self.seen)

    def after_power_cut(self, choices: random.Random) -> PowerCutDisk:
        """As the next process finds it when the power came back."""
        left: dict[str, bytes] = {}
        for name in sorted(self.durable.keys() | self.seen.keys()):
            durable, seen = self.durable.get(name), self.seen.get(name)
            if seen is None or (durable is None and choices.random() < 0.3):
                survivor = durable if choices.random() < 0.5 else None
            else:
                survivor = _torn(durable or b"", seen, choices)
            if survivor is not None:
                left[name] = survivor
        if self._replacing is not None and choices.random() < 0.5:
            name, data = self._replacing
            left[name] = data
        return PowerCutDisk(left)

    def names(self) -> list[str]:
        return sorted(self.seen)

    def read(self, name: str) -> bytes:
        self._may_fail("read", name)
        return self.seen[name]

    def append(self, name: str, data: bytes) -> None:
        self._may_fail("append", name)
        self.seen[name] = self.seen.get(name, b"") + data
        self._step("append")

    def truncate(self, name: str, size: int) -> None:
        raise NotImplementedError("the storage truncates nothing")

    def remove(self, name: str) -> None:
        self._may_fail("remove", name)
        del self.seen[name]
        self._step("remove")

    async def sync(self, name: str) -> None:
        content = self.seen[name]
        if self.gate is not None:
            await self.gate.wait()
        self._may_fail("sync", name)
        self._step("sync")
        self.durable[name] = content

    async def replace(self, name: str, data: bytes) -> None:
        self._may_fail("replace", name)
        self._replacing = (name, data)
        self._step("replace")
        self._replacing = None
        self.durable[name] = self.seen[name] = data

    def _may_fail(self, operation: str, name: str) -> None:
        if operation in self.errors:
            number = self.errors[operation]
            raise OSError(number, os.strerror(number), name)

    def _step(self, operation: str) -> None:
        self.calls.append(operation)
        if self.cut_in is not None:
            self.cut_in -= 1
            if self.cut_in <= 0:
                raise PowerCut


def _torn(durable: bytes, seen: bytes, choices: random.Random) -> bytes:
    """`seen`, but for what a power cut takes away of what is not durable."""
    assert seen.startswith(durable)
    shape = choices.choice(["whole", "prefix", "holes"])
    if shape == "whole":
        return seen
    if shape == "prefix":
        return seen[: choices.randint(len(durable), len(seen))]
    torn = bytearray(seen)
    start = len(durable)
    while start < len(seen):
        end = min(len(seen), (start // SECTOR_BYTES + 1) * SECTOR_BYTES)
        if choices.random() < 0.5:
            torn[start:end] = bytes(end - start)
        start = end
    return bytes(torn)


@pytest.fixture(scope="session")
def new_disk() -> type[PowerCutDisk]:
    """Makes an empty PowerCutDisk."""
    return PowerCutDisk
