"""Exceptions in a line."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.raised import raised


def of(call: Callable[[], object]) -> str:
    try:
        call()
    except Exception as error:
        return raised(error)
    raise AssertionError


def test_the_place_is_the_users_line_however_deep_in_pythons_library_it_was_raised() -> None:
    def call() -> None:
        json.loads("{")

    line = call.__code__.co_firstlineno + 1
    assert of(call).startswith("JSONDecodeError: Expecting property name")
    assert of(call).endswith(f"({__file__}:{line})")


def test_the_place_of_a_syntax_error_is_where_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "no_python_at_all.py"
    file.write_text("\ndef program(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    said = f"SyntaxError: invalid syntax ({file}:2)"
    assert of(lambda: importlib.import_module("no_python_at_all")) == said


def test_what_was_never_raised_has_no_place() -> None:
    assert raised(ValueError("why")) == "ValueError: why"
