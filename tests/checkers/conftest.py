"""Histories written down as rows, for the checkers' tests."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from harness.history import History, Op


def _recorded(*rows: tuple[Any, ...]) -> History:
    """Rows of (seconds, process, type, f, value, key, node, version); trailing fields may be left out."""
    ops = []
    for index, (seconds, process, type_, f, *rest) in enumerate(rows):
        value, key, node, version = (*rest, None, None, None, None)[:4]
        fields = {"index": index, "time": round(seconds * 1e9), "type": type_, "process": process, "f": f}
        fields |= {"value": value, "key": key, "node": node, "version": version}
        ops.append(msgspec.convert(fields, Op))
    return History(ops)


@pytest.fixture
def recorded() -> Callable[..., History]:
    return _recorded
