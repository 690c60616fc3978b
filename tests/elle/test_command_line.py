"""elle-py keeps elle-cli's contract, and gives known histories their known verdicts.

Histories of others are read where SPLITBRAIN_HISTORIES points to, as in
tests/checkers/test_known_histories.py.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from checkers.elle.cli import main

FOLDER = Path(os.environ.get("SPLITBRAIN_HISTORIES", ".")) / "elle-cli"
known_histories = pytest.mark.skipif(
    "SPLITBRAIN_HISTORIES" not in os.environ, reason="SPLITBRAIN_HISTORIES is not set"
)

STALE = """
{:process 0 :type :invoke :f :txn :value [[:append :x 1]] :index 0}
{:process 0 :type :ok :f :txn :value [[:append :x 1]] :index 1}
{:process 1 :type :invoke :f :txn :value [[:r :x nil]] :index 2}
{:process 1 :type :ok :f :txn :value [[:r :x []]] :index 3}
"""
FRESH = STALE.replace("[:r :x []]", "[:r :x [1]]")


@pytest.fixture
def stale(tmp_path: Path) -> Path:
    file = tmp_path / "stale.edn"
    file.write_text(STALE)
    return file


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    file = tmp_path / "fresh.edn"
    file.write_text(FRESH)
    return file


@known_histories
@pytest.mark.parametrize(
    ("file", "options", "expected"),
    [
        *(
            (f"knossos/cas-register/bad/{name}.edn", "-m cas-register", "false")
            for name in (
                "bad-analysis",
                "cas-failure",
                "mongodb-v0-ack-rollback-6",
                "rethink-fail",
                "rethink-fail-minimal",
                "rethink-fail-smaller",
            )
        ),
        ("knossos/cas-register/good/memstress3-9.edn", "-m cas-register", "true"),
        ("knossos/cas-register/good/memstress3-9.json", "-m cas-register", "true"),
        ("knossos/mutex/bad/etcd.edn", "-m mutex", "false"),
        ("knossos/mutex/bad/etcd.json", "-m mutex", "false"),
        ("elle/rw-register.edn", "-m rw-register", "true"),
        ("elle/rw-register.json", "-m rw-register", "true"),
        ("elle/paper-example.edn", "-m list-append", "false"),
        ("elle/paper-example.json", "-m list-append", "false"),
        ("elle/list-append-gh-30.edn", "-m list-append -c serializable", "false"),
        ("jepsen/counter.edn", "-m counter", "true"),
        ("jepsen/counter.json", "-m counter", "true"),
        ("jepsen/set_full.edn", "-m set-full", "false"),
        ("jepsen/set_full.json", "-m set-full", "false"),
        ("jepsen/set.edn", "-m set", "true"),
        ("jepsen/bank.edn", "-m bank", "true"),
        ("jepsen/bank.json", "-m bank", "true"),
        ("jepsen/bank-tidb.edn", "-m bank", "false"),
        ("jepsen/bank-neg.edn", "-m bank", "true"),
        ("jepsen/bank-negative-balances.json", "-m bank", "false"),
        ("jepsen/bank-negative-balances.json", "-m bank --allow-negative-balances", "true"),
        ("jepsen/bank-neg.edn", "-m bank --total-amount 31", "false"),
        ("jepsen/long-fork.edn", "-m long-fork --group-size 3", "false"),
        ("jepsen/long-fork.edn", "-m long-fork --group-size 2", "unknown"),
        ("custom/comments.edn", "-m comments", "false"),
    ],
)
def test_known_histories_get_their_verdicts(
    capsys: pytest.CaptureFixture[str], file: str, options: str, expected: str
) -> None:
    path = FOLDER / file
    code = main([*options.split(), str(path)])
    assert capsys.readouterr().out == f"{path} \t {expected}\n"
    assert code == (1 if expected == "false" else 0)


def test_one_line_a_file_and_the_worst_decides(
    capsys: pytest.CaptureFixture[str], stale: Path, fresh: Path
) -> None:
    assert main(["-m", "list-append", str(fresh), str(stale), str(fresh)]) == 1
    assert capsys.readouterr().out == f"{fresh} \t true\n{stale} \t false\n{fresh} \t true\n"


def test_what_is_false_is_explained_on_standard_error(
    capsys: pytest.CaptureFixture[str], stale: Path
) -> None:
    main(["-m", "list-append", str(stale)])
    told = capsys.readouterr().err
    assert "G-single-item-realtime" in told
    assert "T2 read x = [], without T1's 1" in told


def test_unknown_is_no_failure(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "empty.edn"
    file.write_text("")
    assert main(["-m", "list-append", str(file)]) == 0
    out, err = capsys.readouterr()
    assert out == f"{file} \t unknown\n"
    assert "nothing to judge" in err


def test_models_and_anomalies_are_lists_by_comma_with_or_without_colons(
    capsys: pytest.CaptureFixture[str], stale: Path
) -> None:
    assert main(["-m", "list-append", "-c", "serializable,:snapshot-isolation", str(stale)]) == 0
    assert main(["-m", "list-append", "-c", "", "-a", "G-single-item-realtime", str(stale)]) == 1
    assert main(["-m", "list-append", "-c", "", "-a", ":G2-item", str(stale)]) == 0
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()] == ["true", "false", "true"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("-m list-apend", "list-append"),
        ("-m list-append -f xml", "edn"),
        ("-m list-append -c serialisable", "serializable"),
        ("-m list-append -a G3", "G2-item"),
        ("-m list-append -s soon", "soon"),
    ],
)
def test_wrong_options_are_code_1_with_what_is_right(
    capsys: pytest.CaptureFixture[str], fresh: Path, options: str, told: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*options.split(), str(fresh)])
    assert ended.value.code == 1
    out, err = capsys.readouterr()
    assert not out
    assert told in err


@pytest.mark.parametrize("options", [[], ["-h"], ["--help"], ["-m", "bank", "--help"]])
def test_without_a_model_there_is_help(capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    assert main(options) == 0
    told = capsys.readouterr().out
    for option in ("--consistency-models", "--cycle-search-timeout", "--group-size", "--total-amount"):
        assert option in told


def test_a_file_that_is_missing_or_broken_is_code_255_and_what_came_before_is_told(
    capsys: pytest.CaptureFixture[str], fresh: Path, tmp_path: Path
) -> None:
    assert main(["-m", "list-append", str(fresh), str(tmp_path / "none.edn")]) == 255
    out, err = capsys.readouterr()
    assert out == f"{fresh} \t true\n"
    assert "none.edn" in err
    broken = tmp_path / "broken.edn"
    broken.write_text(FRESH + "{:process 1 :type :ok :f :txn :value [[:r :x [1]]] :index 4}\n")
    assert main(["-m", "list-append", str(broken)]) == 255
    assert f"{broken}:6: a completion without an operation" in capsys.readouterr().err


def test_a_file_is_told_by_the_name_that_it_was_given(
    capsys: pytest.CaptureFixture[str], fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(fresh.parent)
    for name in ("./fresh.edn", f"../{fresh.parent.name}//fresh.edn"):
        assert main(["-m", "list-append", name]) == 0
        assert capsys.readouterr().out == f"{name} \t true\n"


@pytest.mark.parametrize("format_", ["edn", "json"])
def test_an_empty_vector_is_both_formats(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, format_: str
) -> None:
    file = tmp_path / "empty"
    file.write_text(" [ ]\n")
    assert main(["-m", "list-append", "-f", format_, str(file)]) == 0
    assert capsys.readouterr().out == f"{file} \t unknown\n"


def test_a_format_that_was_asked_for_must_be_there(
    capsys: pytest.CaptureFixture[str], fresh: Path, tmp_path: Path
) -> None:
    assert main(["-m", "list-append", "-f", "edn", str(fresh)]) == 0
    assert main(["-m", "list-append", "-f", "json", str(fresh)]) == 255
    assert "not JSON" in capsys.readouterr().err


def test_the_content_tells_the_format_whatever_the_ending(
    capsys: pytest.CaptureFixture[str], fresh: Path, tmp_path: Path
) -> None:
    file = tmp_path / "history.txt"
    file.write_text(
        json.dumps(
            [
                {
                    "type": type_,
                    "f": "txn",
                    "value": [["append", "x", 1]],
                    "process": 0,
                    "index": i,
                    "time": i,
                }
                for i, type_ in enumerate(("invoke", "ok"))
            ]
        )
    )
    assert main(["-m", "list-append", str(file)]) == 0


def test_another_kind_of_history_is_unknown_and_the_reason_names_it(
    capsys: pytest.CaptureFixture[str], fresh: Path
) -> None:
    assert main(["-m", "rw-register", str(fresh)]) == 0
    out, err = capsys.readouterr()
    assert out.endswith("unknown\n")
    assert "that is list-append, not rw-register" in err
    assert main(["-m", "bank", str(fresh)]) == 0
    assert "a bank has read and transfer, not txn" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["-v", "--verbose", "--output=json"])
def test_json_has_elles_form_and_our_verdict(
    capsys: pytest.CaptureFixture[str], stale: Path, option: str
) -> None:
    assert main(["-m", "list-append", option, str(stale)]) == 1
    analysis: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert analysis["valid?"] is False
    assert analysis["anomaly-types"] == ["G-single-item-realtime"]
    [case] = analysis["anomalies"]["G-single-item-realtime"]
    assert [op["index"] for op in case["cycle"]] == [1, 3, 1]
    assert [op["value"] for op in case["cycle"][:2]] == [[["append", "x", 1]], [["r", "x", []]]]
    assert [step["type"] for step in case["steps"]] == ["realtime", "rw"]
    assert (case["steps"][1]["key"], case["steps"][1]["value"], case["steps"][1]["value'"]) == ("x", [], 1)
    assert analysis["not"] == ["strong-snapshot-isolation"]
    assert "strict-serializable" in analysis["also-not"]
    assert analysis["verdict"]["valid"] == "invalid"


def test_json_of_what_is_valid_or_unknown(
    capsys: pytest.CaptureFixture[str], fresh: Path, tmp_path: Path
) -> None:
    main(["-m", "list-append", "-v", str(fresh)])
    assert json.loads(capsys.readouterr().out)["valid?"] is True
    (tmp_path / "empty.edn").write_text("")
    main(["-m", "list-append", "-v", str(tmp_path / "empty.edn")])
    analysis = json.loads(capsys.readouterr().out)
    assert analysis["valid?"] == "unknown"
    assert analysis["anomaly-types"] == ["empty-transaction-graph"]


def test_explanations_and_pictures_go_into_a_folder(tmp_path: Path, stale: Path) -> None:
    folder = tmp_path / "out"
    main(["-m", "list-append", "-d", str(folder), str(stale)])
    assert sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()) == [
        "G-single-item-realtime.txt",
        "G-single-item-realtime/0.svg",
    ]
    assert "without T1's 1" in (folder / "G-single-item-realtime.txt").read_text()
    main(["-m", "list-append", "-d", str(tmp_path / "small"), "-b", "100", str(stale)])
    assert not (tmp_path / "small" / "G-single-item-realtime").exists()


def test_pictures_of_several_files_do_not_mix(tmp_path: Path, stale: Path, fresh: Path) -> None:
    main(["-m", "list-append", "-d", str(tmp_path / "out"), str(stale), str(fresh)])
    assert (tmp_path / "out" / "stale" / "G-single-item-realtime.txt").exists()


def test_it_is_a_program_that_starts_without_loading_what_it_does_not_need() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "checkers.elle", "-h"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "elle-py -m MODEL" in done.stdout
    assert "numba" not in done.stderr
