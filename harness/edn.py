"""EDN (extensible data notation, github.com/edn-format/edn): as much of it as Jepsen's histories hold.

Rules
-----
1. What is read becomes JSON values, for that is what operations hold: keywords, symbols and characters become
   strings, lists, vectors and sets become lists, maps become dicts, a tagged element becomes the element, a
   ratio a float. A map with a key that is a collection becomes the list of its [key, value] pairs.
2. What is written is the reverse where that is possible; `Keyword` marks a string to be written as a keyword.
3. Whatever else is not EDN raises `EdnError` with its line. No evaluation, no namespaces, no metadata.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any


class EdnError(ValueError):
    """Not EDN; `line` counts from 1. `at_end`: the text ends where more should follow."""

    def __init__(self, line: int, why: str, at_end: bool = False) -> None:
        super().__init__(f"line {line}: {why}")
        self.line = line
        self.why = why
        self.at_end = at_end


class Keyword(str):
    """A string that `dumps` writes as a keyword."""

    __slots__ = ()


_BLANK = re.compile(r"(?:[\s,]+|;[^\n]*)*")
_TOKEN = re.compile(
    r"""(?P<open>\#?\{|[\[(])
      | (?P<close>[\])}])
      | (?P<keyword>:[^\s,;()\[\]{}"]+)
      | (?P<string>"(?:[^"\\]|\\.)*")
      | (?P<discard>\#_)
      | (?P<symbolic>\#\#(?:Inf|-Inf|NaN))
      | (?P<tag>\#[A-Za-z][^\s,;()\[\]{}"]*)
      | (?P<character>\\(?:[A-Za-z]\w+|.))
      | (?P<atom>[^\s,;()\[\]{}"#\\]+)""",
    re.VERBOSE | re.DOTALL,
)
_INTEGER = re.compile(r"[+-]?\d+N?")
_FLOAT = re.compile(r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?M?")
_RATIO = re.compile(r"([+-]?\d+)/(\d+)")
_NAME = re.compile(r"[A-Za-z*!_?$%&=<>+.-][\w*!?$%&=<>+.#'/-]*")
_CLOSES = {"[": "]", "(": ")", "{": "}", "#{": "}"}
_CONSTANTS = {"nil": None, "true": True, "false": False}
_SYMBOLIC = {"##Inf": math.inf, "##-Inf": -math.inf, "##NaN": math.nan}
_CHARACTERS = {"newline": "\n", "return": "\r", "space": " ", "tab": "\t"}
_DISCARD = "#_"


def loads(text: str, enclosed: bool = False) -> Iterator[tuple[int, Any]]:
    """Each top-level form of the text with the line where it starts.

    `enclosed`: the text is one vector or list; its elements are given instead.
    """
    stack: list[tuple[str, list[Any], int]] = []
    discards: list[int] = []  # depths at which the next form is to be dropped, innermost last
    position, line = 0, 1
    outer = 1 if enclosed else 0
    while True:
        blank = _BLANK.match(text, position)
        assert blank is not None  # it matches the empty string
        line += text.count("\n", position, blank.end())
        position = blank.end()
        if position == len(text):
            break
        token = _TOKEN.match(text, position)
        if token is None:
            rest = text[position : position + 20]
            raise EdnError(line, f"not EDN: {rest!r}", at_end=text[position] == '"')
        kind, word = token.lastgroup, token.group()
        start = line
        position = token.end()
        if kind == "open":
            stack.append((word, [], line))
            continue
        if kind == "discard":
            discards.append(len(stack))
            continue
        if kind == "tag":
            continue
        if kind == "close":
            if not stack or _CLOSES[stack[-1][0]] != word:
                raise EdnError(line, f"{word!r} closes nothing")
            opened, items, start = stack.pop()
            if discards and discards[-1] > len(stack):
                raise EdnError(line, "nothing follows #_")
            value: Any = _map(items, start) if opened == "{" else items
            if enclosed and not stack:
                outer = 0
                continue
        else:
            value = _atom(kind, word, line)
            line += word.count("\n")
        if discards and discards[-1] == len(stack):
            discards.pop()
        elif len(stack) > outer:
            stack[-1][1].append(value)
        elif enclosed and not stack:
            raise EdnError(start, "something stands outside the enclosing vector")
        else:
            yield start, value
    if stack:
        raise EdnError(stack[-1][2], f"{stack[-1][0]!r} is never closed", at_end=True)


def _map(items: list[Any], line: int) -> Any:
    keys, values = items[::2], items[1::2]
    if len(keys) != len(values):
        raise EdnError(line, "a map with a key that has no value")
    if any(isinstance(key, list | dict) for key in keys):
        return [[key, value] for key, value in zip(keys, values, strict=True)]
    return dict(zip(keys, values, strict=True))


def _atom(kind: str | None, word: str, line: int) -> Any:
    if kind == "keyword":
        return word[1:]
    if kind == "string":
        try:
            return json.loads(word, strict=False)
        except ValueError:
            raise EdnError(line, f"not a string: {word[:40]}") from None
    if kind == "character":
        return _CHARACTERS.get(word[1:], word[1:])
    if kind == "symbolic":
        return _SYMBOLIC[word]
    if word in _CONSTANTS:
        return _CONSTANTS[word]
    if _INTEGER.fullmatch(word):
        return int(word.rstrip("N"))
    if _FLOAT.fullmatch(word):
        return float(word.rstrip("M"))
    ratio = _RATIO.fullmatch(word)
    if ratio and int(ratio[2]):
        return int(ratio[1]) / int(ratio[2])
    if _NAME.fullmatch(word) or word == "/":
        return word
    raise EdnError(line, f"neither a number nor a symbol: {word[:40]}")


def dumps(value: Any) -> str:
    """The value as EDN on one line. Dict keys that read as keywords are written as such."""
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Keyword):
        return f":{value}" if _NAME.fullmatch(value) else dumps(str(value))
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if math.isnan(value):
            return "##NaN"
        if math.isinf(value):
            return "##Inf" if value > 0 else "##-Inf"
        return repr(value)
    if isinstance(value, dict):
        entries = (
            f"{dumps(Keyword(key) if isinstance(key, str) else key)} {dumps(item)}"
            for key, item in value.items()
        )
        return "{" + ", ".join(entries) + "}"
    if isinstance(value, list | tuple):
        return "[" + " ".join(map(dumps, value)) + "]"
    raise TypeError(f"no EDN for {type(value).__name__}: {value!r}")
