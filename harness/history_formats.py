"""Histories that others recorded, recognised by their content, as the one `History`; EDN and JSON out.

Formats
-------
- our own: `history.jsonl`, or the folder of a run that holds it;
- Jepsen's `history.edn`: a map an event, one after another or in one vector or list;
- a JSON array of events, as elle-cli takes it;
- Jepsen's log on the console (`INFO  jepsen.util - 0  :invoke  :read  nil`), which has no times;
- the maps of Porcupine's key-value tests, which are EDN with a `:key`.

Rules
-----
1. The order of the lines is the real-time order. Indices are made dense anew; if they descend, or if events
   contradict each other, that is a `BrokenHistory` with file and line.
2. Times that are missing repeat the last one, and times that go back are raised to it; `History.warnings`
   tells of it. Verdicts depend on the order alone.
3. A process that is not a number is the nemesis. A map without `:f` is a transaction ("txn").
4. With `keyed`, values are `[key value]` tuples of jepsen.independent, which EDN cannot tell from vectors.
5. With `nameless`, events may have no process if none has: a completion then belongs to the one operation
   that is open, of that function and value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from harness import edn
from harness.edn import Keyword
from harness.history import NEMESIS, BrokenHistory, History, Op
from harness.history.json_array import write_json

_KNOWN = "history.jsonl, Jepsen's EDN, a JSON array of events, Jepsen's console log"
_Line = tuple[int, dict[str, Any]]


def read(path: str | Path, *, keyed: bool = False, nameless: bool = False, keep: bool = False) -> History:
    """The history in a file of any known format, or in a run's folder. `keep`: as `History.read` has it.

    Raises BrokenHistory if it is of none, or damaged; OSError if it cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "history.jsonl"
    with path.open("rb") as file:
        head = file.read(4096)
    start = re.sub(rb"\A(?:\s+|;[^\n]*\n)+", b"", head)
    if path.suffix == ".jsonl" or re.match(rb'\{\s*"', start):
        return History.read(path, keep=keep)
    if not start:
        return History([], source=path, warnings=[f"{path}: the file is empty"])
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise BrokenHistory(
            path, error.object.count(b"\n", 0, error.start) + 1, f"not UTF-8: {error}"
        ) from error
    warnings: list[str] = []
    if re.match(rb'\[\s*(?:\{\s*"|\]\s*\Z)', start):
        events = _json_array(path, text)
    elif re.match(rb"(?:#[A-Za-z][\w.-]*\s*)?[\[({]", start):
        events = _edn(path, text, start[:1] in b"[(", warnings)
    elif b"jepsen.util - " in head:
        events = _console(path, text)
    else:
        raise BrokenHistory(path, 1, f"none of the known formats ({_KNOWN}): {head[:40]!r}")
    return _history(path, _named(path, events) if nameless else events, keyed, warnings)


def write_edn(history: History, path: str | Path) -> None:
    """The history as Jepsen's `history.edn`: one map a line; keyed operations' values become [key value]."""
    with Path(path).open("w", encoding="utf-8") as file:
        for op in history.ops:
            file.write(edn.dumps(_jepsen(op)) + "\n")


WRITERS: Mapping[str, Callable[[History, Path], None]] = {".edn": write_edn, ".json": write_json}
"""What writes a file, by the ending of its name."""


def _jepsen(op: Op) -> dict[str, Any]:
    value = op.value
    if isinstance(value, list) and value and all(_is_micro_operation(item) for item in value):
        value = [[Keyword(item[0]), *item[1:]] for item in value]
    event: dict[str, Any] = {
        "type": Keyword(op.type),
        "f": Keyword(op.f),
        "value": value if op.key is None else [op.key, value],
        "process": Keyword(NEMESIS) if op.process == NEMESIS else op.process,
        "time": op.time,
        "index": op.index,
    }
    if op.error is not None:
        event["error"] = op.error
    if op.node is not None:
        event["node"] = op.node
    return event


def _is_micro_operation(item: Any) -> bool:
    return isinstance(item, list) and len(item) == 3 and item[0] in ("r", "w", "append")


def _json_array(path: Path, text: str) -> Iterator[_Line]:
    try:
        events = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        byte = re.search(r"\(byte (\d+)\)", str(error))
        line = text.encode().count(b"\n", 0, int(byte[1])) + 1 if byte else text.count("\n") + 1
        raise BrokenHistory(path, line, f"not JSON: {error}") from error
    # JSON does not say where a value stood; in every file seen so far, an event stands on a line of its own.
    lines = [number for number, line in enumerate(text.split("\n"), 1) if "{" in line]
    single = len(lines) == len(events)
    for position, event in enumerate(events):
        yield lines[position] if single else position + 1, event


def _edn(path: Path, text: str, enclosed: bool, warnings: list[str]) -> Iterator[_Line]:
    try:
        yield from edn.loads(text, enclosed)
    except edn.EdnError as error:
        if enclosed or not error.at_end or text.endswith("\n"):
            raise BrokenHistory(path, error.line, f"not EDN: {error.why}") from error
        warnings.append(
            f"{path}:{error.line}: the last form is cut short ({error.why}); the history ends before it"
        )


_CONSOLE = re.compile(r"INFO\s+jepsen\.util - (\d+)\s+(\S+)\s+(\S+)\s+(.*)")


def _console(path: Path, text: str) -> Iterator[_Line]:
    for number, line in enumerate(text.split("\n"), 1):
        if not re.match(r"INFO\s+jepsen\.util - \d", line):
            continue
        match = _CONSOLE.match(line)
        if match is None:
            raise BrokenHistory(path, number, f"not an operation: {line[:80]}")
        process, type_, f, value = match.groups()
        event: dict[str, Any] = {"process": int(process), "type": type_[1:], "f": f[1:]}
        try:
            [(_, event["value"])] = edn.loads(value.split("\t")[0])
        except (edn.EdnError, ValueError) as error:
            raise BrokenHistory(path, number, f"not a value: {value[:80]}") from error
        if event["value"] == "timed-out":
            event |= {"value": None, "error": "timed-out"}
        yield number, event


def _named(path: Path, events: Iterable[_Line]) -> Iterator[_Line]:
    """The events, each operation as that of a process of its own if none says whose it is."""
    open_: dict[int, dict[str, Any]] = {}
    begun = 0
    for line, event in events:
        if not isinstance(event, dict) or event.get("process") is not None:
            yield line, event
            continue
        if event.get("type") == "invoke":
            process, begun = begun, begun + 1
            open_[process] = event
        else:
            candidates = [
                process
                for process, invocation in open_.items()
                if invocation.get("f") == event.get("f")
                and (event.get("f") == "read" or invocation.get("value") == event.get("value"))
            ]
            if len(candidates) != 1:
                raise BrokenHistory(
                    path, line, "an event without a process, and not one operation that it may end"
                )
            [process] = candidates
            del open_[process]
        yield line, event | {"process": process}


def _history(path: Path, events: Iterable[_Line], keyed: bool, warnings: list[str]) -> History:
    ops: list[Op] = []
    lines: list[int] = []
    last_time, last_index = 0, -1
    untimed = backward = 0
    for line, event in events:
        if not isinstance(event, dict):
            raise BrokenHistory(path, line, f"an event is a map, not {str(event)[:40]!r}")
        time = event.get("time", -1)
        if not isinstance(time, int) or time < 0:
            untimed += 1
        elif time < last_time:
            backward += 1
        else:
            last_time = time
        index = event.get("index", last_index + 1)
        if not isinstance(index, int) or index <= last_index:
            raise BrokenHistory(path, line, f"index {index} follows index {last_index}")
        last_index = index
        ops.append(_op(path, line, event, len(ops), last_time, keyed))
        lines.append(line)
    if untimed:
        warnings.append(
            f"{path}: {untimed} of {len(ops)} events have no time; their order is that of the lines"
        )
    if backward:
        warnings.append(f"{path}: times go back at {backward} events; the order of the lines decides")
    return History(ops, source=path, warnings=warnings, lines=lines)


def _op(path: Path, line: int, event: dict[str, Any], index: int, time: int, keyed: bool) -> Op:
    if event.get("process") is None:
        raise BrokenHistory(path, line, "an event without a process: it cannot be paired")
    process = event["process"] if isinstance(event["process"], int) else NEMESIS
    key, value = event.get("key"), event.get("value")
    if keyed and process != NEMESIS:
        if not isinstance(value, list) or len(value) != 2:
            raise BrokenHistory(path, line, f"not a [key value] tuple: {value!r}"[:120])
        key, value = value
    error, node = event.get("error", event.get("exception")), event.get("node")
    try:
        return msgspec.convert(
            {
                "index": index,
                "time": time,
                "type": event.get("type"),
                "process": process,
                "f": event.get("f") or "txn",
                "key": key,
                "value": value,
                "error": error if error is None or isinstance(error, str) else edn.dumps(error),
                "node": node,
            },
            Op,
        )
    except msgspec.ValidationError as wrong:
        raise BrokenHistory(path, line, f"not an event: {wrong}") from wrong
