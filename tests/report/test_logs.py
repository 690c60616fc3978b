"""Nodes' logs on the page."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from harness.report import logs

BEGAN = datetime.fromisoformat("2026-11-24T10:00:00+01:00")


def read(path: Path, seconds: float = 60.0, count: int = 5) -> logs.Log:
    return logs.read(path, "n1", count, BEGAN, seconds)


def test_a_short_log_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("one\ntwo\n")
    log = read(path)
    assert log.lines == ["one", "two"]
    assert (log.size, log.omitted) == (8, 0)


def test_of_a_huge_log_head_and_tail_are_kept_at_line_ends_and_the_rest_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file:
        file.write(b"".join(b"early %06d\n" % number for number in range(20_000)))
        file.seek(200 << 20)  # a hole: nothing is really written, and nothing of it may be read
        file.write(b"\n" + b"".join(b"late %07d\n" % number for number in range(40_000)))
    log = read(path)
    assert log.size > 200 << 20
    assert log.lines[0] == "early 000000"
    assert log.lines[-1] == "late 0039999"
    assert all(len(line) == 12 for line in log.lines)
    kept = sum(len(line) + 1 for line in log.lines)
    assert kept <= logs.NODE_BYTES_MAX
    assert log.omitted == log.size - kept
    assert log.lines[log.head].startswith("late")


def test_sixty_logs_share_one_budget(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"0123456789abcde\n" * 100_000)
    log = read(path, count=60)
    assert sum(len(line) + 1 for line in log.lines) * 60 <= logs.BUDGET_BYTES


def test_a_very_long_line_is_cut_aloud(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("x" * 50_000)
    (line,) = read(path).lines
    assert line.endswith("… (a line of 50,000 characters, cut here)")


def test_bytes_that_are_no_text_are_no_error(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"\xff\xfe\x00\n")
    assert len(read(path).lines) == 1


def test_a_log_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    assert "directory" in read(tmp_path / "log").error


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("2026-11-24T10:00:01.500+01:00 [WARN]  agent.raft: heartbeat timeout", "warn"),
        ("2026-11-24 09:00:01.500000 I | raft: became follower", "info"),
        ('{"level":"error","ts":"2026-11-24T09:00:01.500Z","msg":"x"}', "error"),
        ("CRITICAL:root:gone", "error"),
        ("Traceback (most recent call last):", "error"),
        ("plain words", None),
    ],
)
def test_levels_of_several_systems_are_understood(tmp_path: Path, line: str, level: str | None) -> None:
    (tmp_path / "log").write_text(line)
    (found,) = read(tmp_path / "log").levels
    assert (logs.LEVELS[found] if found >= 0 else None) == level


@pytest.mark.parametrize(
    "stamp",
    [
        "2026-11-24T10:00:01.500+01:00",
        "2026-11-24T09:00:01.500Z",
        "2026-11-24 09:00:01.500000",  # no zone: UTC, as etcd writes it
        "2026-11-24 10:00:01,500",  # no zone: local, as Python's logging writes it
        '{"level":"info","ts":"2026-11-24T10:00:01.500+0100"',
    ],
)
def test_a_line_is_placed_at_its_second_of_the_run(tmp_path: Path, stamp: str) -> None:
    (tmp_path / "log").write_text(f"{stamp} said")
    assert read(tmp_path / "log").times == [1.5]


def test_a_line_from_another_day_has_no_place_in_the_run(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("2025-11-24T10:00:01Z said\n2026-99-99T10:00:01Z said")
    assert read(tmp_path / "log").times == [None, None]
