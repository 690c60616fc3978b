"""The store on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import store
from harness.store import Results, StoreError, TestRecord


def record() -> TestRecord:
    return TestRecord(
        name="register-partition",
        started="2026-01-01T00:00:00+0000",
        command=["pytest", "harness/"],
        seed=1,
        world="memory",
        system="memory",
        workload="register",
        nemesis="partition",
        nodes=["n1"],
        servers=1,
        reads="consistent",
        agent=None,
        concurrency=10,
        rate=100.0,
        time_limit=15.0,
        operation_timeout=5.0,
        promise="linearizable",
        marks=[],
    )


def test_latest_leads_to_the_newest_run_even_within_one_second(tmp_path: Path) -> None:
    runs = [store.create(tmp_path, "register-partition") for _ in range(3)]
    other = store.create(tmp_path, "set-kill")
    assert len(set(runs)) == 3
    assert (tmp_path / "register-partition" / "latest").resolve() == runs[-1].resolve()
    assert (tmp_path / "latest").resolve() == other.resolve()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    results = Results(
        outcome="valid", summary="", verdicts=[], problems=[], operations=0, counts={}, seconds=0.0
    )
    store.write_test(tmp_path, record())
    store.write_results(tmp_path, results)
    assert store.read_test(tmp_path) == record()
    assert store.read_results(tmp_path) == results
    assert sorted(path.name for path in tmp_path.iterdir()) == ["test.json", "verdicts.json"]


def test_damage_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "test.json").write_text('{"name": 7}')
    with pytest.raises(StoreError, match=r"test\.json: .*name"):
        store.read_test(tmp_path)


def test_a_store_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write the store at .*file.*--store=DIR"):
        store.create(tmp_path / "file", "register-partition")
    with pytest.raises(StoreError, match="cannot write the store"):
        store.write_test(tmp_path / "gone", record())


def test_runs_are_listed_the_newest_first_and_links_are_not(tmp_path: Path) -> None:
    for name in ("20260101T000000", "20260102T000000"):
        directory = tmp_path / "register-partition" / name
        directory.mkdir(parents=True)
        store.write_test(directory, record())
    (tmp_path / "register-partition" / "latest").symlink_to("20260102T000000")
    assert [path.name for path in store.runs(tmp_path)] == ["20260102T000000", "20260101T000000"]
