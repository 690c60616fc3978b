"""Each anomaly: a smallest history that shows it, and one that just does not."""

from collections.abc import Callable

import pytest

from checkers.elle.analysis import Analysis
from harness.history import OpType

Rows = list[tuple[int, OpType, str]]
Make = Callable[..., Rows]
Analyse = Callable[..., Analysis]

LISTS, REGISTERS = "list-append", "rw-register"

# anomaly, workload, how, what shows it, what just does not
CASES = [
    ("G0", LISTS, "at once", ["ax1 ay1", "ax2 ay2", "rx12 ry21"], ["ax1 ay1", "ax2 ay2", "rx12 ry12"]),
    ("G1c", LISTS, "at once", ["ax1 ry1", "ay1 rx1"], ["ax1 ry1", "ay1 rx"]),
    ("G1c", REGISTERS, "at once", ["wx1 ry1", "wy1 rx1"], ["wx1 ry1", "wy1 rx_"]),
    ("G-single-item", LISTS, "at once", ["ax1 ay1", "rx1 ry"], ["ax1 ay1", "rx1 ry1"]),
    ("G-single-item", REGISTERS, "at once", ["wx1 wy1", "rx1 ry_"], ["wx1 wy1", "rx1 ry1"]),
    (
        "G-nonadjacent-item",
        LISTS,
        "at once",
        ["ax1", "ay1", "rx1 ry", "ry1 rx"],
        ["ax1", "ay1", "rx1 ry", "ry1 rx1"],
    ),
    (
        "G-nonadjacent-item",
        REGISTERS,
        "at once",
        ["wx1", "wy1", "rx1 ry_", "ry1 rx_"],
        ["wx1", "wy1", "rx1 ry_", "ry1 rx1"],
    ),
    ("G2-item", LISTS, "at once", ["rx ay1", "ry ax1"], ["rx ay1", "ry1 ax1"]),
    ("G2-item", REGISTERS, "at once", ["rx_ wy1", "ry_ wx1"], ["rx_ wy1", "ry1 wx1"]),
    ("G0-realtime", LISTS, "in turn", ["ax1", "ax2", "rx21"], ["ax1", "ax2", "rx12"]),
    ("G1c-realtime", LISTS, "in turn", ["rx1", "ax1"], ["ax1", "rx1"]),
    ("G1c-realtime", REGISTERS, "in turn", ["rx1", "wx1"], ["wx1", "rx1"]),
    ("G-single-item-realtime", LISTS, "in turn", ["ax1", "rx"], ["rx", "ax1"]),
    ("G-single-item-realtime", REGISTERS, "in turn", ["wx1", "wx2", "rx1"], ["wx1", "wx2", "rx2"]),
    ("G2-item-realtime", LISTS, "in turn beside", ["ay1", "rx", "ry ax1"], ["ay1", "rx1", "ry ax1"]),
    ("G0-process", LISTS, "in session", ["ax1", "ax2", "rx21"], ["ax1", "ax2", "rx12"]),
    ("G1c-process", LISTS, "in session", ["rx1", "az1", "ax1 rz1"], ["az1", "rx1", "ax1 rz1"]),
    ("G1c-process", REGISTERS, "in session", ["rx1", "wz1", "wx1 rz1"], ["wz1", "rx1", "wx1 rz1"]),
    ("G-single-item-process", LISTS, "in session", ["ax1", "rx", "az1"], ["rx", "ax1", "az1"]),
    (
        "G-single-item-process",
        REGISTERS,
        "in session",
        ["wx1", "wx2", "rx1", "wz1"],
        ["wx1", "wx2", "rx2", "wz1"],
    ),
    ("G2-item-process", LISTS, "in session", ["ay1", "rx", "ry ax1"], ["ay1", "rx1", "ry ax1"]),
    ("G1a", LISTS, "at once", ["!ax1", "rx1"], ["?ax1", "rx1"]),
    ("G1a", REGISTERS, "at once", ["!wx1", "rx1"], ["?wx1", "rx1"]),
    ("G1b", LISTS, "at once", ["ax1 ax2", "rx1"], ["ax1 ax2", "rx12"]),
    ("G1b", REGISTERS, "at once", ["wx1 wx2", "rx1"], ["wx1 wx2", "rx2"]),
    ("internal", LISTS, "at once", ["ax1 rx"], ["ax1 rx1"]),
    ("internal", LISTS, "at once", ["ax1", "rx rx1"], ["ax1", "rx1 rx1"]),
    ("internal", REGISTERS, "at once", ["wx2", "wx1 rx2"], ["wx2", "wx1 rx1"]),
    ("future-read", LISTS, "at once", ["rx1 ax1"], ["rx ax1"]),
    ("future-read", LISTS, "at once", ["rx1 rx ax1"], ["rx rx ax1"]),
    ("future-read", REGISTERS, "at once", ["rx1 wx1"], ["rx_ wx1"]),
    ("garbage-read", LISTS, "at once", ["ax1", "rx12"], ["ax1", "ax2", "rx12"]),
    ("duplicate-elements", LISTS, "at once", ["ax1", "rx11"], ["ax1", "rx1"]),
    ("duplicate-elements", LISTS, "at once", ["ax1 rx11"], ["ax1 rx1"]),
    ("duplicate-elements", LISTS, "at once", ["ax1 rx1 rx11", "rx1"], ["ax1 rx1 rx1", "rx1"]),
    ("incompatible-order", LISTS, "at once", ["ax1", "ax2", "rx1", "rx21"], ["ax1", "ax2", "rx2", "rx21"]),
    ("incompatible-order", LISTS, "at once", ["ax1 ax2", "ax3", "rx213"], ["ax1 ax2", "ax3", "rx123"]),
    ("incompatible-order", LISTS, "at once", ["ax1 ax2", "rx2"], ["ax1 ax2", "rx12"]),
    ("dirty-update", LISTS, "at once", ["!ax1", "ax2", "rx12"], ["!ax1", "ax2", "rx2"]),
    ("lost-update", LISTS, "at once", ["rx ax1", "rx ax2"], ["rx ax1", "rx1 ax2"]),
    ("lost-update", REGISTERS, "at once", ["rx_ wx1", "rx_ wx2"], ["rx_ wx1", "rx1 wx2"]),
    ("cyclic-versions", REGISTERS, "at once", ["rx1 wx2", "rx2 wx1"], ["rx_ wx2", "rx2 wx1"]),
]


@pytest.fixture
def events(at_once: Make, one_by_one: Make, by_one_process: Make) -> Make:
    def make(how: str, texts: list[str]) -> Rows:
        if how == "at once":
            return at_once(*texts)
        if how == "in turn":
            return one_by_one(*texts)
        if how == "in turn beside":
            beside = at_once(texts[-1])
            turns: Rows = [(process + 1, type_, text) for process, type_, text in one_by_one(*texts[:-1])]
            return [beside[0], *turns, beside[1]]
        return by_one_process(*texts[:-1], beside=texts[-1])

    return make


@pytest.mark.parametrize(("anomaly", "workload", "how", "shows", "does_not"), CASES)
def test_an_anomaly_is_found_where_it_is_and_nothing_where_it_just_is_not(
    analysed: Analyse,
    events: Make,
    anomaly: str,
    workload: str,
    how: str,
    shows: list[str],
    does_not: list[str],
) -> None:
    analysis = analysed(workload, events(how, shows), anomalies=("garbage-read",))
    assert anomaly in analysis.cases
    assert analysis.valid == "invalid"
    assert analysis.verdict().evidence
    near = analysed(workload, events(how, does_not), anomalies=("garbage-read",))
    assert not near.cases, near.verdict().summary


def test_every_anomaly_that_can_be_found_is_among_the_cases() -> None:
    from checkers.elle import _findings, cycles

    every = {*_findings.NAMES} | {
        cycles.type_of(family, level) for family in cycles.FAMILIES for level in range(3)
    }
    left = every - {case[0] for case in CASES}
    assert left == {"G-nonadjacent-item-process", "G-nonadjacent-item-realtime"}


@pytest.mark.parametrize(
    ("level", "name"), [(1, "G-nonadjacent-item-process"), (2, "G-nonadjacent-item-realtime")]
)
def test_two_anti_dependencies_apart_may_need_the_order_of_processes_or_of_time(
    analysed: Analyse, level: int, name: str
) -> None:
    # T1 (append x) is before T2 (read y = nothing) by order; T3 (append y) before T4 (read x = nothing).
    other = 0 if level == 1 else 2
    rows = [
        (0, "invoke", "ax1"),
        (1, "invoke", "ay1"),
        (0, "ok", "ax1"),
        (1, "ok", "ay1"),
        (other, "invoke", "ry"),
        (other + 1, "invoke", "rx"),
        (other, "ok", "ry"),
        (other + 1, "ok", "rx"),
    ]
    analysis = analysed(LISTS, rows)
    # Each read misses what was over before it: that alone is a G-single in real time.
    assert (name in analysis.cases) == (level == 1)
    if level == 2:
        assert "G-single-item-realtime" in analysis.cases


@pytest.mark.parametrize(
    ("model", "valid"),
    [
        ("read-committed", "valid"),
        ("snapshot-isolation", "valid"),
        ("serializable", "invalid"),
        ("repeatable-read", "invalid"),
        ("strong-snapshot-isolation", "valid"),
    ],
)
def test_a_write_skew_is_allowed_where_it_is_allowed(
    analysed: Analyse, at_once: Make, model: str, valid: str
) -> None:
    assert analysed(LISTS, at_once("rx ay1", "ry ax1"), model).valid == valid


def test_what_is_found_and_allowed_is_told_all_the_same(analysed: Analyse, at_once: Make) -> None:
    verdict = analysed(LISTS, at_once("rx ay1", "ry ax1"), "snapshot-isolation").verdict()
    assert verdict.valid == "valid"
    assert "G2-item found, which is allowed" in verdict.summary
    assert verdict.details["not"] == ["repeatable-read"]


def test_order_is_not_looked_at_if_no_promise_needs_it(analysed: Analyse, one_by_one: Make) -> None:
    stale = one_by_one("ax1", "rx")
    assert analysed(LISTS, stale, "serializable").valid == "valid"
    assert analysed(LISTS, stale, "strong-session-serializable").valid == "valid"
    assert analysed(LISTS, stale, "strict-serializable").valid == "invalid"


def test_a_value_that_nobody_wrote_to_a_register_counts_only_if_asked_for(
    analysed: Analyse, at_once: Make
) -> None:
    rows = at_once("wx1", "rx2 ry_", "rx1")
    assert analysed(REGISTERS, rows).valid == "valid"
    assert analysed(REGISTERS, rows, anomalies=("garbage-read",)).valid == "invalid"


@pytest.mark.parametrize("workload", [LISTS, REGISTERS])
def test_a_transaction_of_unknown_outcome_that_nobody_saw_proves_nothing(
    analysed: Analyse, workload: str
) -> None:
    letter, nothing = ("a", "") if workload == LISTS else ("w", "_")
    rows = [
        (0, "invoke", f"{letter}x1"),
        (0, "info", f"{letter}x1"),
        (1, "invoke", f"rx{nothing} {letter}z1"),
        (1, "ok", f"rx{nothing} {letter}z1"),
        (2, "invoke", "rz1"),
        (2, "ok", "rz1"),
    ]
    assert analysed(workload, rows).valid == "valid"


@pytest.mark.parametrize("workload", [LISTS, REGISTERS])
def test_a_transaction_of_unknown_outcome_happened_as_a_whole_if_part_of_it_was_seen(
    analysed: Analyse, workload: str
) -> None:
    letter, nothing = ("a", "") if workload == LISTS else ("w", "_")
    crashed = f"{letter}x1 {letter}y1"
    rows = [
        (0, "invoke", crashed),
        (0, "info", crashed),
        (1, "invoke", "rx1"),
        (1, "ok", "rx1"),
        (2, "invoke", f"ry{nothing}"),
        (2, "ok", f"ry{nothing}"),
    ]
    analysis = analysed(workload, rows)
    assert "G-single-item-realtime" in analysis.cases
    assert "outcome unknown" in analysis.verdict().evidence[0].summary


def test_without_anything_that_succeeded_there_is_nothing_to_judge(analysed: Analyse, at_once: Make) -> None:
    assert analysed(LISTS, at_once("?ax1", "!ax2")).valid == "unknown"
    assert analysed(LISTS, []).valid == "unknown"
    assert analysed(LISTS, at_once("ax1", "ay1")).valid == "unknown"


@pytest.mark.parametrize("workload", [LISTS, REGISTERS])
def test_reads_of_nothing_prove_nothing_where_nobody_else_writes(
    analysed: Analyse, at_once: Make, workload: str
) -> None:
    write, nothing = ("a", "rx") if workload == LISTS else ("w", "rx_")
    assert analysed(workload, at_once(nothing, nothing)).valid == "unknown"
    assert analysed(workload, at_once(f"{nothing} {write}x1", f"{write}y1")).valid == "unknown"
    assert analysed(workload, at_once(nothing, f"?{write}x1", f"{write}y1")).valid == "unknown"
    assert analysed(workload, at_once(nothing, f"{write}x1")).valid == "valid"


def test_what_one_transaction_appended_stands_in_its_order_to_whoever_sees_it(
    analysed: Analyse, at_once: Make
) -> None:
    # The last element is another's, so it is no state in the middle of the transaction.
    analysis = analysed(LISTS, at_once("ax1 ax2", "ax3", "rx213"), "read-committed")
    assert analysis.valid == "invalid"
    [evidence] = analysis.verdict().evidence
    assert "in which 2 does not stand right behind what its transaction had appended" in evidence.summary
    assert evidence.operations == [0, 2, 3, 5]


# --- Version orders of registers -----------------------------------------------------------------------


def test_a_plain_stale_read_of_a_register_is_found(analysed: Analyse, one_by_one: Make) -> None:
    verdict = analysed(REGISTERS, one_by_one("wx1", "wx2", "rx1")).verdict()
    [evidence] = verdict.evidence
    assert "T2 read x = 1 of T3, not T1's 2, which is later: T3 was over at" in evidence.summary
    assert [step["edge"] for step in evidence.details["cycle"]] == ["realtime", "rw"]
    assert verdict.details["not"] == ["strong-snapshot-isolation"]


def test_an_order_of_registers_may_follow_through_other_keys(analysed: Analyse, at_once: Make) -> None:
    # x = 1 is before x = 2, since y carried the news of the one to the writer of the other.
    rows = at_once("wx1 wy1", "ry1 wx2", "rx2 wz1", "rz1 rx1")
    assert "G-single-item" in analysed(REGISTERS, rows).cases


def test_what_was_there_before_a_read_is_older_than_what_it_read(analysed: Analyse, at_once: Make) -> None:
    # T3 saw T1 (y = 1) and read x = 2: so x = 1 is older. T4 saw T3 (z = 1) and read x = 1.
    rows = at_once("wx1 wy1", "wx2", "ry1 rx2 wz1", "rz1 rx1")
    assert "G-single-item" in analysed(REGISTERS, rows).cases


def test_what_needs_two_anti_dependencies_in_a_row_is_no_more_than_a_g2(
    analysed: Analyse, at_once: Make
) -> None:
    # T4 saw T3 and read x = 1: so T3 is before T1, who missed T2, who missed T3.
    rows = at_once("wx1 ry_", "wy1 rz_", "wz1 wx2 wv1", "rv1 rx1")
    analysis = analysed(REGISTERS, rows)
    assert set(analysis.cases) == {"G2-item"}
    assert analysed(REGISTERS, rows, "snapshot-isolation").valid == "valid"


def test_of_two_that_write_a_key_who_missed_the_other_was_first(analysed: Analyse, at_once: Make) -> None:
    skew = at_once("rx_ wy1 wz1", "ry_ wx1 wz2")
    assert analysed(REGISTERS, skew, "snapshot-isolation").valid == "invalid"
    assert analysed(LISTS, at_once("rx ay1 az1", "ry ax1 az2"), "snapshot-isolation").valid == "invalid"


def test_a_cycle_in_a_part_of_a_history_is_told_beside_what_else_is_wrong(
    analysed: Analyse, one_by_one: Make
) -> None:
    fine = [f"{f}{key}1" for key in "abcdefghij" for f in "wr"]
    verdict = analysed(REGISTERS, one_by_one(*fine, "wx1", "wx2", "rx1", "!wy1", "ry1")).verdict()
    assert sorted(one.details["kind"] for one in verdict.evidence) == ["G-single-item-realtime", "G1a"]


# --- Words ---------------------------------------------------------------------------------------------


def test_a_cycle_is_told_step_by_step_and_as_data(analysed: Analyse, at_once: Make) -> None:
    [evidence] = analysed(LISTS, at_once("ax1 ay1", "rx1 ry")).verdict().evidence
    assert evidence.summary == (
        "G-single-item: T1: process 0 appended 1 to x, appended 1 to y; "
        "T2: process 1 read x = [1], read y = []. "
        "T1 is before T2: T2 read T1's 1 in x; T2 is before T1: T2 read y = [], without T1's 1. "
        "So each would have to come before itself."
    )
    assert evidence.operations == [0, 1, 2, 3]
    assert evidence.details["cycle"] == [
        {
            "op": 2,
            "text": "process 0 appended 1 to x, appended 1 to y",
            "edge": "wr",
            "why": "T2 read T1's 1 in x",
        },
        {
            "op": 3,
            "text": "process 1 read x = [1], read y = []",
            "edge": "rw",
            "why": "T2 read y = [], without T1's 1",
        },
    ]


def test_a_long_cycle_is_followed_by_a_shorter_one_that_real_time_gives(
    analysed: Analyse, at_once: Make, one_by_one: Make
) -> None:
    around = ["ax1", "rx1 ay1", "ry1 az1", "rz1 aw1", "rw1 rx"]
    rows = [(process, type_, text) for process, type_, text in one_by_one(*around)]
    analysis = analysed(LISTS, rows)
    assert len(analysis.cases["G-single-item"][0].transactions) == 5
    assert len(analysis.cases["G-single-item-realtime"][0].transactions) == 2
    assert analysis.verdict().evidence[0].details["kind"] == "G-single-item-realtime"
