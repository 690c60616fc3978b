"""Whoever waits for kernels to be compiled is told so, and may subtract the time."""

from __future__ import annotations

import numba
from numba.core import event

from harness.compilation import TOLD, Compilation


def outer_of(inner: object) -> object:
    @numba.njit
    def outer(x: int) -> int:
        return inner(x) + 1  # type: ignore[no-any-return, operator]

    return outer


def test_compilation_is_told_once_and_timed() -> None:
    heard, told = Compilation(), list[str]()
    heard.tell = told.append

    @numba.njit
    def inner(x: int) -> int:
        return x + x

    outer = outer_of(inner)
    with event.install_listener("numba:compile", heard):
        assert outer(20) == 41  # type: ignore[operator]
        assert told == [TOLD]
        compiled = heard.seconds()
        assert compiled > 0
        assert outer(21) == 43  # type: ignore[operator]
        assert heard.seconds() == compiled, "it is compiled already"
        assert outer(20.5) == 42.0  # type: ignore[operator]
    assert told == [TOLD]
    assert heard.seconds() > compiled
