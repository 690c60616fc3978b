"""What a run left in its folder, as far as it is there.

A report is wanted most of a run that went wrong, so nothing here raises for what is missing or damaged: each
piece is there or None, and `Run.warnings` says what is not and why. Only the folder itself must exist.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

import msgspec

from harness.history import BrokenHistory, History
from harness.store import Results, TestRecord

_Record = TypeVar("_Record")
_SETUP_MAX = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Run:
    """One run's folder."""

    directory: Path
    test: TestRecord | None
    history: History | None
    """None: there is none, or it cannot be trusted."""
    results: Results | None
    """None: nobody has judged the run yet."""
    logs: tuple[tuple[str, Path], ...]
    """Each node that has a log, and where it is; in the order of the nodes."""
    warnings: list[str] = field(default_factory=list)

    @property
    def began(self) -> datetime | None:
        """When the history's time 0 was, for the logs to be laid beside it.

        The history is written while it happens: its last event came when the file was last changed. A copy
        without its times falls back on when the run was started, which is before the system was up.
        """
        try:
            started = datetime.fromisoformat(self.test.started if self.test is not None else "")
            written = (self.directory / "history.jsonl").stat().st_mtime
        except (OSError, ValueError):
            return None
        if started.tzinfo is None or self.history is None or not len(self.history):
            return None
        began = datetime.fromtimestamp(written, started.tzinfo) - timedelta(
            microseconds=int(self.history.time[-1]) // 1000
        )
        return began if timedelta(seconds=-1) <= began - started <= _SETUP_MAX else started

    @property
    def nodes(self) -> tuple[str, ...]:
        """All nodes of the run: as test.json has them, or else those that the history or the logs name."""
        if self.test is not None:
            return tuple(self.test.nodes)
        names = {op.node for op in self.history.ops if op.node} if self.history is not None else set()
        return tuple(sorted(names | {node for node, _ in self.logs}, key=_natural))

    @property
    def name(self) -> str:
        return self.test.name if self.test is not None else self.directory.resolve().name


def load(directory: Path) -> Run:
    """Everything of the run that can be read. NotADirectoryError if there is no such folder."""
    if not directory.is_dir():
        raise NotADirectoryError(f"{directory}: no such folder of a run")
    warnings: list[str] = []
    test = _record(directory / "test.json", TestRecord, "what was run is not known", warnings)
    results = _record(
        directory / "verdicts.json",
        Results,
        "the run ended before it was judged; `splitbrain check` judges what was recorded",
        warnings,
    )
    history = _history(directory / "history.jsonl", warnings)
    order = {node: place for place, node in enumerate(test.nodes)} if test is not None else {}
    logs = sorted(
        ((path.parent.name, path) for path in directory.glob("nodes/*/log")),
        key=lambda item: (order.get(item[0], len(order)), _natural(item[0])),
    )
    return Run(directory, test, history, results, tuple(logs), warnings)


def _record(path: Path, kind: type[_Record], without: str, warnings: list[str]) -> _Record | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        warnings.append(f"{path.name} is missing: {without}.")
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        warnings.append(f"{path.name} cannot be read ({error}): {without}.")
    return None


def _history(path: Path, warnings: list[str]) -> History | None:
    try:
        history = History.read(path)
    except FileNotFoundError:
        warnings.append(f"{path.name} is missing: nothing was recorded.")
    except (BrokenHistory, OSError) as error:
        warnings.append(f"The history cannot be trusted, and nothing of it is shown: {error}.")
    else:
        warnings.extend(history.warnings)
        return history
    return None


def _natural(name: str) -> tuple[int, str]:
    """n2 before n10."""
    return len(name), name
