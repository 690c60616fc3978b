"""Exceptions of what users bring along, in a line: what was raised, and where."""

from __future__ import annotations

import traceback


def raised(error: BaseException) -> str:
    """`ValueError: why (/the/file.py:7)`: the line is the last that is not of Python's own machinery."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")
    ]
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"
