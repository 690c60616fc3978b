"""A history as elle-cli reads it: one JSON array, an event a line."""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness.history import History, encode


def write_json(history: History, path: str | Path) -> None:
    """Write it. Keyed operations' values become [key, value], as jepsen.independent has them."""
    with Path(path).open("wb") as file:
        for number, op in enumerate(history.ops):
            plain = op if op.key is None else msgspec.structs.replace(op, key=None, value=[op.key, op.value])
            file.write((b",\n" if number else b"[") + encode(plain)[:-1])
        file.write(b"]\n" if len(history) else b"[]\n")
