"""Exceptions of what users bring along, in a line: what was raised, and where."""

from __future__ import annotations

import os
import sysconfig
import traceback

_LIBRARY = sysconfig.get_path("stdlib") + os.sep


def raised(error: BaseException) -> str:
    """`ValueError: why (/the/file.py:7)`: the innermost line that is not of Python's own library.

    Of a file that is no Python, that file's line.
    """
    what, where = str(error), ""
    if isinstance(error, SyntaxError) and error.filename is not None:
        what, where = error.msg, f"{error.filename}:{error.lineno}"
    else:
        for frame in traceback.extract_tb(error.__traceback__):
            if not _is_of_python(frame.filename):
                where = f"{frame.filename}:{frame.lineno}"
    return f"{type(error).__name__}: {what}" + (f" ({where})" if where else "")


def _is_of_python(path: str) -> bool:
    return path.startswith("<frozen ") or (path.startswith(_LIBRARY) and "site-packages" not in path)
