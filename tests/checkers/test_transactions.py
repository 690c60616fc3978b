"""Transactions, judged by a process of its own."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from checkers.transactions import Transactions
from harness.compilation import HEARD, TOLD
from harness.history import History

Record = Callable[..., History]


@pytest.fixture
def stale(recorded: Record) -> History:
    return recorded(
        (1, 0, "invoke", "txn", [["append", "x", 1]]),
        (2, 0, "ok", "txn", [["append", "x", 1]]),
        (3, "nemesis", "info", "start-partition", None),
        (4, 1, "invoke", "txn", [["r", "x", None]]),
        (5, 1, "ok", "txn", [["r", "x", []]]),
    )


def script(tmp_path: Path, text: str) -> list[str]:
    """A program that stands in for elle-cli."""
    file = tmp_path / "elle-cli.py"
    file.write_text(text)
    return [sys.executable, str(file)]


def test_the_verdict_is_elle_pys_and_its_events_are_the_historys(stale: History) -> None:
    verdict = Transactions().check(stale)
    assert (verdict.checker, verdict.valid) == ("transactions", "invalid")
    assert "G-single-item-realtime" in verdict.summary
    [evidence] = verdict.evidence
    assert evidence.operations == [0, 1, 3, 4]
    assert [step["op"] for step in evidence.details["cycle"]] == [1, 4]
    assert Transactions(consistency_models=("serializable",)).check(stale).valid == "valid"


def test_a_register_that_held_what_nobody_wrote_is_wrong(recorded: Record) -> None:
    history = recorded(
        (1, 0, "invoke", "txn", [["r", "x", None]]),
        (2, 0, "ok", "txn", [["r", "x", 7]]),
    )
    verdict = Transactions("rw-register").check(history)
    assert verdict.valid == "invalid"
    assert "garbage-read" in verdict.summary


def test_without_operations_no_process_is_started(recorded: Record) -> None:
    verdict = Transactions(command="/nowhere").check(recorded())
    assert verdict.valid == "unknown"
    assert "nothing to judge" in verdict.summary


def test_an_impossible_history_is_unknown_with_its_line(recorded: Record) -> None:
    history = recorded(
        (1, 0, "invoke", "txn", [["append", "x", 1]]),
        (2, 0, "ok", "txn", [["append", "x", 1]]),
        (3, 0, "invoke", "txn", [["append", "x", 1]]),
        (4, 0, "ok", "txn", [["append", "x", 1]]),
    )
    verdict = Transactions().check(history)
    assert verdict.valid == "unknown"
    assert "history.json:3: 1 is written to key x here and on line 1" in verdict.summary


def test_a_process_that_takes_too_long_is_ended_and_the_verdict_is_unknown(
    stale: History, tmp_path: Path
) -> None:
    began = time.monotonic()
    slow = Transactions(command=script(tmp_path, "import time\ntime.sleep(60)"), time_limit=0.5)
    verdict = slow.check(stale)
    assert verdict.valid == "unknown"
    assert "within 0.5 s" in verdict.summary
    assert time.monotonic() - began < 10


def test_a_process_that_says_that_it_compiles_has_longer(stale: History, tmp_path: Path) -> None:
    before = HEARD.seconds()
    slow = script(
        tmp_path,
        f"import sys, time\nprint({f'elle-py: {TOLD}'!r}, file=sys.stderr, flush=True)\n"
        """time.sleep(3)\nprint('{"valid?": true}')""",
    )
    assert Transactions(command=slow, time_limit=1.5).check(stale).valid == "valid"
    assert HEARD.seconds() > before + 1.0, "and no other deadline pays for it"


def test_a_process_that_needs_too_much_memory_makes_it_unknown(stale: History, tmp_path: Path) -> None:
    greedy = script(
        tmp_path, "import time\ntime.sleep(0.5)\nkept = [bytearray(1 << 20) for _ in range(1 << 12)]"
    )
    verdict = Transactions(command=greedy, memory_limit=256 << 20).check(stale)
    assert verdict.valid == "unknown"
    assert "out of memory" in verdict.summary


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import os\nos.kill(os.getpid(), 9)", "ended by signal 9"),
        ("import sys\nsys.exit('no such thing')", "ended with code 1: no such thing"),
        ("print('{')", "ended with code 0"),
    ],
)
def test_a_process_that_dies_or_babbles_makes_it_unknown(
    stale: History, tmp_path: Path, text: str, told: str
) -> None:
    verdict = Transactions(command=script(tmp_path, text)).check(stale)
    assert verdict.valid == "unknown"
    assert told in verdict.summary


def test_a_command_that_is_not_there_makes_it_unknown(stale: History) -> None:
    verdict = Transactions(command="/nowhere/elle-cli --fast").check(stale)
    assert verdict.valid == "unknown"
    assert "/nowhere/elle-cli cannot be run" in verdict.summary


ELLE: dict[str, Any] = {
    "valid?": False,
    "anomaly-types": ["G-single-item"],
    "anomalies": {
        "G-single-item": [
            {
                "cycle": [
                    {"index": 4, "type": "ok", "process": 1, "value": [["r", "x", []]]},
                    {"index": 1, "type": "ok", "process": 0, "value": [["append", "x", 1]]},
                    {"index": 4, "type": "ok", "process": 1, "value": [["r", "x", []]]},
                ],
                "steps": [
                    {"type": "rw", "key": "x", "value": "init", "value'": 1},
                    {"type": "realtime"},
                ],
                "type": "G-single-item",
            }
        ]
    },
    "not": ["consistent-view"],
    "also-not": ["serializable"],
}


def test_elle_cli_can_stand_in_for_elle_py(stale: History, tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    command = script(
        tmp_path,
        f"import json, sys\nfile = sys.argv[-1]\n"
        f"json.dump([sys.argv[1:-1], json.load(open(file))], open({str(told)!r}, 'w'))\n"
        f"print('INFO a log line')\nprint(json.dumps({ELLE!r}, indent=1))\nsys.exit(1)",
    )
    verdict = Transactions(consistency_models=("serializable", "snapshot-isolation"), command=command).check(
        stale
    )
    options, events = json.loads(told.read_text())
    assert options == [
        "--model", "list-append", "--consistency-models", "serializable,snapshot-isolation", "--verbose",
    ]  # fmt: skip
    # One JSON array, with an integer process, type, f and dense indices, as elle-cli needs it.
    assert [event["index"] for event in events] == [0, 1, 2, 3, 4]
    assert events[4] == {
        "index": 4, "time": 5_000_000_000, "type": "ok", "process": 1, "f": "txn", "value": [["r", "x", []]],
    }  # fmt: skip
    assert verdict.valid == "invalid"
    assert verdict.summary == "Not serializable, snapshot-isolation: G-single-item."
    [evidence] = verdict.evidence
    assert evidence.operations == [1, 4]
    assert [(step["op"], step["edge"], step["why"]) for step in evidence.details["cycle"]] == [
        (4, "rw", "key x: init before 1"),
        (1, "realtime", "realtime"),
    ]


@pytest.mark.parametrize(
    ("analysis", "valid"),
    [
        ({"valid?": True}, "valid"),
        ({"valid?": "unknown", "anomaly-types": ["empty-transaction-graph"], "anomalies": {}}, "unknown"),
        ({"valid?": ":unknown"}, "unknown"),
        (
            {"valid?": False, "anomaly-types": ["G1a"], "anomalies": {"G1a": [{"op": {"index": 4}}]}},
            "invalid",
        ),
    ],
)
def test_elles_verdicts_are_understood(
    stale: History, tmp_path: Path, analysis: dict[str, Any], valid: str
) -> None:
    command = script(tmp_path, f"import json\nprint(json.dumps({analysis!r}))")
    assert Transactions(command=command).check(stale).valid == valid
