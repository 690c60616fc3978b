"""The page as text: what it says, and that nothing breaks it."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import harness.report
from harness.store import ProblemRecord
from harness.verdict import Evidence, Verdict

Synthetic = Callable[..., Any]
"""Of tests/report/conftest.py: SyntheticRun."""


def written(run: Any, directory: Path) -> str:
    return harness.report.write(run.write(directory)).read_text(encoding="utf-8")


def words_of(page: str) -> str:
    """What a reader reads, without markup, style, and packed data."""
    body = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body))).strip()


def test_the_verdict_comes_first_and_in_plain_words(synthetic: Synthetic, tmp_path: Path) -> None:
    page = written(synthetic(500), tmp_path)
    order = [
        "Not linearizable",
        "A read returned a value that had been overwritten 37 ms before it began.",
        "System proconsul World netns, 5 nodes Workload register, stale reads",
        "What is promised. Reads with ?consistent are linearizable",
        "pytest harness/ --workload=register --nemesis=partition,kill --seed=4711 --reads=stale",
        "Stale read on key k9: process 9001 on n2 read 6",
        "read 6 (stale)",
        "linearizable invalid 1 of 5 keys is not linearizable",
        "gossip unknown",
        "Over time",
        "Operations",
        "Membership",
        "Agents' logs",
        "Skipped: pause this world cannot stop a process",
    ]
    words = words_of(page)
    assert words.startswith("Not linearizable: register-partition,kill")
    found = [words.find(text, len("Not linearizable: ")) for text in order]
    assert -1 not in found, order[found.index(-1)]
    assert found[:9] == sorted(found[:9])


def test_verdict_and_evidence_stand_before_every_script(synthetic: Synthetic, tmp_path: Path) -> None:
    page = written(synthetic(500), tmp_path)
    assert page.index("read 6 (stale)") < page.index("<script")


def test_the_page_names_no_address_and_forbids_requests(synthetic: Synthetic, tmp_path: Path) -> None:
    page = written(synthetic(500), tmp_path)
    assert not re.search(r"(src|href|action)=[\"'](?!#|data:,)", page)
    assert not re.search(r"@import|url\(", page)
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1])  # type: ignore[index]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy
    assert not re.search(r"script-src[^;]*unsafe-inline", policy)


def test_what_the_run_says_is_text_and_never_markup(synthetic: Synthetic, tmp_path: Path) -> None:
    attack = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'"
    run = synthetic(200)
    run.test.promise = run.test.system = run.test.versions["proconsul"] = attack
    run.test.command = ["pytest", attack]
    run.test.skipped = run.test.extra = {attack: attack}
    run.results.summary = attack
    run.results.problems = [ProblemRecord(kind="harness", message=attack)]
    run.results.verdicts.append(
        Verdict(checker=attack, valid="invalid", summary=attack, details={attack: [attack]},
                evidence=[Evidence(summary=attack, key=attack, operations=[0, 1])])
    )  # fmt: skip
    for event in run.events:
        if event["process"] != "nemesis":
            event["value"] = attack
    run.logs["n1"] = attack
    page = written(run, tmp_path)
    assert "<img" not in page
    assert "alert(1)</script>" not in page
    assert page.count("<script") == page.count("</script") == 3


def test_a_run_killed_half_way_says_so_and_shows_what_there_is(synthetic: Synthetic, tmp_path: Path) -> None:
    run = synthetic(500)
    run.results = None
    run.write(tmp_path)
    recorded = (tmp_path / "history.jsonl").read_bytes()
    (tmp_path / "history.jsonl").write_bytes(recorded[: len(recorded) // 2 + 7])
    words = words_of(harness.report.write(tmp_path).read_text(encoding="utf-8"))
    assert "Unfinished The run ended before it was judged." in words
    assert "verdicts.json is missing" in words
    assert "the last line is cut short" in words
    assert "Latency of every operation" in words


def test_a_history_that_contradicts_itself_is_not_drawn(synthetic: Synthetic, tmp_path: Path) -> None:
    run = synthetic(200)
    run.write(tmp_path)
    lines = (tmp_path / "history.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "history.jsonl").write_bytes(b"".join(lines[:10] + lines[12:]))
    words = words_of(harness.report.write(tmp_path).read_text(encoding="utf-8"))
    assert "The history cannot be trusted, and nothing of it is shown" in words
    assert "history.jsonl:11" in words
    assert "There is no history to draw." in words


def test_an_empty_folder_still_makes_a_page(tmp_path: Path) -> None:
    words = words_of(harness.report.write(tmp_path).read_text(encoding="utf-8"))
    for missing in ("test.json is missing", "history.jsonl is missing", "verdicts.json is missing"):
        assert missing in words
    assert "No agent left a log." in words


def test_a_folder_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="nowhere"):
        harness.report.write(tmp_path / "nowhere")


def test_damaged_records_are_named(synthetic: Synthetic, tmp_path: Path) -> None:
    synthetic(200).write(tmp_path)
    (tmp_path / "test.json").write_text('{"name": 3}')
    (tmp_path / "verdicts.json").write_text("{")
    words = words_of(harness.report.write(tmp_path).read_text(encoding="utf-8"))
    assert "test.json cannot be read" in words
    assert "verdicts.json cannot be read" in words
    assert "Operations 8" in words


def test_a_run_without_operations_says_that(synthetic: Synthetic, tmp_path: Path) -> None:
    run = synthetic(200)
    run.events.clear()
    run.results.verdicts.clear()
    words = words_of(written(run, tmp_path))
    assert "No operation was recorded." in words
    assert "No checker has judged this run" in words


def test_a_run_of_faults_alone_shows_the_faults(synthetic: Synthetic, tmp_path: Path) -> None:
    run = synthetic(200)
    run.events[:] = [event for event in run.events if event["process"] == "nemesis"]
    run.results.verdicts.clear()
    words = words_of(written(run, tmp_path))
    assert "Faults" in words
    assert "Latency of every operation" not in words


def test_a_run_without_faults_says_that(synthetic: Synthetic, tmp_path: Path) -> None:
    words = words_of(written(synthetic(200, faults=False), tmp_path))
    assert "No fault was injected." in words


def test_a_set_workload_with_a_huge_final_read_is_abbreviated(synthetic: Synthetic, tmp_path: Path) -> None:
    run = synthetic(200, members=False)
    run.events.clear()
    for value in range(300):
        run.add(value / 10, "invoke", 0, "add", value=value, node="n1")
        run.add(value / 10 + 0.01, "ok", 0, "add", value=value, node="n1")
    run.add(40, "invoke", 0, "read", node="n1")
    run.add(40.1, "ok", 0, "read", value=list(range(5, 100_000)), node="n1")
    run.results.verdicts = [
        Verdict(
            checker="set-full", valid="invalid", summary="5 were lost.", details={"lost": list(range(5))},
            evidence=[Evidence(summary="Lost: 0.", operations=[0, 1, 600, 601], details={"kind": "lost"})],
        )
    ]  # fmt: skip
    page = written(run, tmp_path)
    words = words_of(page)
    assert "Acknowledged writes were lost" in words
    assert "read [5, 6, 7, 8, … 99,995 in all]" in words
    assert len(page) < 1_000_000


def test_sixty_nodes_get_one_row_each_of_membership(synthetic: Synthetic, tmp_path: Path) -> None:
    page = written(synthetic(1_200, 60), tmp_path)
    assert "For each node, the worst that any other node held of it." in words_of(page)
    assert len(page) < 4_000_000


def test_problems_of_the_run_itself_are_said_under_the_verdict(synthetic: Synthetic, tmp_path: Path) -> None:
    run = synthetic(200)
    run.results.outcome = "crashed"
    run.results.problems = [ProblemRecord(kind="crash", message="n3 ended by itself: killed by SIGSEGV")]
    words = words_of(written(run, tmp_path))
    assert "An agent crashed" in words
    assert words.index("crash n3 ended by itself: killed by SIGSEGV") < words.index("Reproduce this run")


def test_the_same_run_makes_the_same_page_but_for_its_ids(synthetic: Synthetic, tmp_path: Path) -> None:
    run = synthetic(200).write(tmp_path)
    first, second = (words_of(harness.report.write(run).read_text(encoding="utf-8")) for _ in range(2))
    assert first == second


def test_importing_the_report_loads_neither_bokeh_nor_jinja() -> None:
    code = "import sys, harness.report; print(*sorted({'bokeh', 'jinja2'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_stored_records_are_left_as_they_were(synthetic: Synthetic, tmp_path: Path) -> None:
    run = synthetic(200).write(tmp_path)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    harness.report.write(run)
    after = {
        path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != "report.html"
    }
    assert before == after
    assert msgspec.json.decode(before[run / "test.json"])["seed"] == 4711
