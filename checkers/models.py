"""Sequential models of objects beyond the register, for the search of `checkers.linearizable`.

Rules
-----
1. A model's states are hashable, and its step is a pure function of (state, f, argument, result).
2. A step that cannot happen in a state, or not with that result, is IMPOSSIBLE.
3. The result of an operation that did not complete is UNKNOWN; only read-only ones may look at `result`
   without asking for it, since the search drops those that did not complete.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Final

IMPOSSIBLE: Final = object()
UNKNOWN: Final = object()


@dataclass(frozen=True, slots=True)
class Model:
    """An object's sequential behaviour."""

    initial: Hashable
    functions: frozenset[str]
    read_only: frozenset[str]
    """Functions that never change the state."""
    step: Callable[[Any, str, Any, Any], Any]
    """(state, f, argument, result) -> the state after, or IMPOSSIBLE."""


def _kv(state: str, f: str, argument: Any, result: Any) -> Any:
    if f == "put":
        return argument
    if f == "append":
        return state + argument
    return state if result == state else IMPOSSIBLE


def _mutex(state: bool, f: str, argument: Any, result: Any) -> Any:
    wanted = f == "acquire"
    return IMPOSSIBLE if state == wanted else wanted


MODELS: Mapping[str, Model] = {
    # Strings under keys, as in the key-value service of MIT's 6.824 labs and Porcupine's tests.
    "kv": Model("", frozenset({"get", "put", "append"}), frozenset({"get"}), _kv),
    "mutex": Model(False, frozenset({"acquire", "release"}), frozenset(), _mutex),
}
"""By name, as on the command line."""
