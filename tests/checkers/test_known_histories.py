"""Histories of real systems whose verdicts others have published: Porcupine's and elle-cli's test data.

They are read where SPLITBRAIN_HISTORIES points to: a folder with `porcupine/` (anishathalye/porcupine,
test_data) and `elle-cli/` (ligurio/elle-cli, histories).
"""

import os
from pathlib import Path

import pytest

from checkers.linearizable import Linearizable
from checkers.set_full import SetFull
from harness.history_formats import read

pytestmark = pytest.mark.skipif(
    "SPLITBRAIN_HISTORIES" not in os.environ, reason="SPLITBRAIN_HISTORIES is not set"
)
FOLDER = Path(os.environ.get("SPLITBRAIN_HISTORIES", "."))

# porcupine_test.go: a failed cas is an observation; file 095 is empty, and has no test there.
LINEARIZABLE = frozenset(
    {2, 5, 7, 18, 25, 31, 38, 45, 48, 49, 51, 53, 56, 67, 75, 76, 80, 87, 92, 98, 100, 101, 102}
)


@pytest.mark.parametrize("number", range(103))
def test_jepsens_etcd_logs_get_porcupines_verdicts(number: int) -> None:
    verdict = Linearizable(failed_cas="observed").check(
        read(FOLDER / "porcupine" / "jepsen" / f"etcd_{number:03}.log")
    )
    expected = "unknown" if number == 95 else "valid" if number in LINEARIZABLE else "invalid"
    assert verdict.valid == expected, verdict.summary


@pytest.mark.parametrize("name", ["c01-ok", "c01-bad", "c10-ok", "c10-bad", "c50-ok"])
def test_porcupines_key_value_histories_get_the_verdict_in_their_name(name: str) -> None:
    verdict = Linearizable(model="kv").check(read(FOLDER / "porcupine" / "kv" / f"{name}.txt"))
    assert verdict.valid == ("valid" if name.endswith("ok") else "invalid"), verdict.summary


@pytest.mark.skipif("SPLITBRAIN_NIGHTLY" not in os.environ, reason="takes a minute: SPLITBRAIN_NIGHTLY")
def test_fifty_clients_of_a_key_value_store_that_lost_appends_are_found() -> None:
    checker = Linearizable(model="kv", time_limit=120.0)
    assert checker.check(read(FOLDER / "porcupine" / "kv" / "c50-bad.txt")).valid == "invalid"


@pytest.mark.parametrize(
    ("name", "model", "valid"),
    [
        ("cas-register/bad/bad-analysis.edn", "cas-register", "invalid"),
        ("cas-register/bad/cas-failure.edn", "cas-register", "invalid"),
        ("cas-register/bad/mongodb-v0-ack-rollback-6.edn", "cas-register", "invalid"),
        ("cas-register/bad/rethink-fail.edn", "cas-register", "invalid"),
        ("cas-register/bad/rethink-fail-minimal.edn", "cas-register", "invalid"),
        ("cas-register/bad/rethink-fail-smaller.edn", "cas-register", "invalid"),
        ("cas-register/good/memstress3-9.edn", "cas-register", "valid"),
        ("cas-register/good/memstress3-9.json", "cas-register", "valid"),
        ("mutex/bad/etcd.edn", "mutex", "invalid"),
        ("mutex/bad/etcd.json", "mutex", "invalid"),
    ],
)
def test_knossos_histories_get_their_verdicts(name: str, model: str, valid: str) -> None:
    verdict = Linearizable(model=model).check(read(FOLDER / "elle-cli" / "knossos" / name))
    assert verdict.valid == valid, verdict.summary


@pytest.mark.parametrize(
    ("name", "valid"), [("set.edn", "valid"), ("set_full.edn", "invalid"), ("set_full.json", "invalid")]
)
def test_jepsens_sets_get_their_verdicts(name: str, valid: str) -> None:
    assert SetFull().check(read(FOLDER / "elle-cli" / "jepsen" / name)).valid == valid
