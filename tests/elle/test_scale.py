"""What is large stays cheap: edges grow with the history, not with its square; searches are bounded."""

import random
import time
from typing import Any

import numpy as np
import pytest

from checkers.elle import cycles, registers
from checkers.elle.analysis import Options, analyse
from checkers.elle.graph import Graph
from checkers.elle.lists import ListAppend
from checkers.elle.transactions import Workload, from_history
from harness.history import History, Op, OpType

LISTS: Workload = "list-append"
REGISTERS: Workload = "rw-register"


def all_at_once(*values: list[list[Any]]) -> History:
    """Every transaction by a process of its own, none before another."""
    begun = [[[f, key, None if f == "r" else value] for f, key, value in micro] for micro in values]
    types: tuple[OpType, OpType] = ("invoke", "ok")
    ops: list[Op] = []
    for type_, side in zip(types, (begun, values), strict=True):
        for process, micro in enumerate(side):
            index = len(ops)
            ops.append(Op(index=index, time=index, type=type_, process=process, f="txn", value=micro))
    return History(ops)


@pytest.mark.parametrize("appends", [3, 4, 5, 400])
def test_many_readers_and_many_appends_that_nobody_saw_make_few_edges(appends: int) -> None:
    readers = 500
    history = ListAppend.of(
        from_history(
            all_at_once(
                *([["append", "x", n]] for n in range(appends)), *([["r", "x", []]] for _ in range(readers))
            )
        )
    )
    assert len(history.dependencies.edge) <= 6 * (appends + readers)
    assert cycles.is_acyclic(history.graph(2))


@pytest.mark.parametrize("appends", [2, 5, 40])
def test_whoever_read_and_then_appended_is_before_all_others_but_not_before_itself(appends: int) -> None:
    one_reads: list[list[list[Any]]] = [[["append", "x", n]] for n in range(appends)]
    one_reads.append([["r", "x", []], ["append", "x", appends]])
    assert analyse(from_history(all_at_once(*one_reads)), LISTS).valid == "valid"
    two_read: list[list[list[Any]]] = [*one_reads, [["r", "x", []], ["append", "x", appends + 1]]]
    analysis = analyse(from_history(all_at_once(*two_read)), LISTS)
    assert {"lost-update", "G-single-item"} <= set(analysis.cases)
    [case] = analysis.cases["G-single-item"]
    assert set(case.transactions) == {appends, appends + 1}


def test_an_update_that_missed_any_of_a_long_tail_is_found_through_it() -> None:
    # T reads nothing of x; one of forty that appended to x also wrote y, which T read.
    values: list[list[list[Any]]] = [[["append", "x", n]] for n in range(40)]
    values[7].append(["append", "y", 1])
    analysis = analyse(from_history(all_at_once(*values, [["r", "x", []], ["r", "y", [1]]])), LISTS)
    [case] = analysis.cases["G-single-item"]
    assert set(case.transactions) == {7, 40}


@pytest.mark.parametrize("workload", [LISTS, REGISTERS])
def test_ten_thousand_transactions_take_no_second(workload: Workload) -> None:
    # By a single client, so that every order is known.
    draw = random.Random(3)
    state: dict[str, Any] = {}
    ops: list[Op] = []
    for n in range(10_000):
        key = f"k{n // 50 + draw.randrange(3)}"
        if draw.random() < 0.5:
            done = ["r", key, state.get(key)]
        elif workload == LISTS:
            done = ["append", key, n]
            state[key] = [*state.get(key, []), n]
        else:
            done = ["w", key, n]
            state[key] = n
        for type_ in ("invoke", "ok"):
            micro = [done[0], key, None] if type_ == "invoke" and done[0] == "r" else done
            index = len(ops)
            ops.append(Op(index=index, time=index, type=type_, process=0, f="txn", value=[micro]))
    transactions = from_history(History(ops))
    analyse(transactions.take(np.arange(len(transactions)) < 10), workload)
    began = time.process_time()
    analysis = analyse(transactions, workload)
    assert analysis.valid == "valid"
    assert time.process_time() - began < 1.0


def random_graph(nodes: int, edges: int, seed: int) -> Graph:
    draw = np.random.default_rng(seed)
    source, target = draw.integers(0, nodes, (2, edges)).astype(np.int32)
    kind = draw.integers(0, 3, edges).astype(np.int8)
    keep = source != target
    return Graph(nodes, nodes, source[keep], target[keep], kind[keep])


@pytest.mark.parametrize("seed", range(20))
def test_the_kinds_of_cycles_in_a_random_graph_are_those_that_walking_it_finds(seed: int) -> None:
    graph = random_graph(9, 7 + seed, seed)
    found = {cycle.type.split("-item")[0] for cycle in cycles.find(graph, 0, 1000, 1, {}).cycles}
    walked = kinds_by_walking(graph)
    # A kind is shown unless a worse one of its component implies it.
    assert found <= walked
    for kind in walked - found:
        worse = cycles.FAMILIES[: cycles.FAMILIES.index(kind)]
        assert found.intersection(worse)


def kinds_by_walking(graph: Graph) -> set[str]:
    """Of all simple cycles."""
    out: dict[int, list[tuple[int, int]]] = {}
    for source, target, kind in zip(graph.source, graph.target, graph.edge, strict=True):
        out.setdefault(int(source), []).append((int(target), int(kind)))
    found = set()

    def walk(start: int, at: int, kinds: list[int], seen: set[int]) -> None:
        for target, kind in out.get(at, []):
            if target == start:
                found.add(kind_of([*kinds, kind]))
            elif target > start and target not in seen:
                walk(start, target, [*kinds, kind], seen | {target})

    for start in range(graph.nodes):
        walk(start, start, [], {start})
    return found


def kind_of(kinds: list[int]) -> str:
    ww, wr, rw = 0, 1, 2
    if rw not in kinds:
        return "G1c" if wr in kinds else "G0"
    if kinds.count(rw) == 1:
        return "G-single"
    adjacent = any(kinds[i] == rw == kinds[i - 1] for i in range(len(kinds)))
    assert ww == 0
    return "G2" if adjacent else "G-nonadjacent"


def test_a_search_that_is_cut_short_says_that_there_is_a_cycle_and_shows_none() -> None:
    graph = random_graph(60_000, 240_000, 1)
    cut = cycles.find(graph, 0, 0, 1, {})
    assert not cut.cycles
    assert set(cut.proven) == {
        "PL-1-cycle-exists",
        "PL-2-cycle-exists",
        "PL-SI-cycle-exists",
        "PL-3-cycle-exists",
    }
    assert "G-single-item" in cut.unsure


def test_a_huge_component_is_searched_in_bounded_time() -> None:
    graph = random_graph(60_000, 240_000, 1)
    began = time.process_time()
    found = cycles.find(graph, 0, 100, 1, {})
    assert {cycle.type for cycle in found.cycles} >= {"G0", "G-single-item"}
    assert time.process_time() - began < 5.0


def skews_and(*more: list[list[Any]], count: int) -> History:
    """So many write skews, each of keys of its own, and these transactions."""
    skews: list[list[list[Any]]] = []
    for n in range(count):
        skews += [[["r", f"x{n}", []], ["append", f"y{n}", 1]], [["r", f"y{n}", []], ["append", f"x{n}", 1]]]
    return all_at_once(*skews, *more)


def test_behind_many_small_components_a_worse_kind_in_a_larger_one_is_found() -> None:
    history = skews_and(
        [["append", "a", 1], ["append", "b", 1]],
        [["r", "a", [1]], ["append", "c", 1]],
        [["r", "c", [1]], ["r", "b", []]],
        count=cycles.COMPONENTS_MAX + 1,
    )
    analysis = analyse(from_history(history), LISTS, Options(("consistent-view",)))
    assert analysis.valid == "invalid"
    assert analysis.broken == ["G-single-item"]


def test_a_kind_that_may_be_in_a_component_that_was_not_searched_is_not_ruled_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cycles, "COMPONENTS_MAX", 3)
    monkeypatch.setattr(cycles, "EACH_KIND_MAX", 0)
    history = skews_and(
        [["append", "a", 1]],
        [["append", "b", 1]],
        [["r", "a", [1]], ["r", "b", []]],
        [["r", "b", [1]], ["r", "a", []]],
        count=3,
    )
    analysis = analyse(from_history(history), LISTS, Options(("consistent-view",)))
    assert analysis.valid == "unknown"
    assert analysis.unsure == ("G-single-item",)


def test_if_inference_is_cut_short_what_was_not_found_is_not_ruled_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registers, "WORK_MAX", 3)
    # x = 1 is before x = 2, since y carried the news of the one to the writer of the other.
    news = [[["w", "x", 1], ["w", "y", 1]], [["r", "y", 1], ["w", "x", 2]]]
    stale = from_history(all_at_once(*news, [["r", "x", 2], ["w", "z", 1]], [["r", "z", 1], ["r", "x", 1]]))
    analysis = analyse(stale, REGISTERS, Options(("serializable",)))
    assert analysis.valid == "unknown"
    assert "order 4 transactions wrote would take too long" in analysis.verdict().summary
    # What reads name is known all the same.
    assert analyse(stale, REGISTERS, Options(("read-committed",))).valid == "valid"
    circle = all_at_once([["w", "x", 1], ["r", "y", 1]], [["w", "y", 1], ["r", "x", 1]])
    assert analyse(from_history(circle), REGISTERS, Options(("serializable",))).valid == "invalid"


def test_an_unsure_search_makes_the_verdict_unknown_only_if_it_matters() -> None:
    skew = all_at_once([["r", "x", []], ["append", "y", 1]], [["r", "y", []], ["append", "x", 1]])
    transactions = from_history(skew)
    # No time to look for a G-single; a G2 is proven all the same.
    assert analyse(transactions, LISTS, Options(("serializable",), (), 0)).valid == "invalid"
    assert analyse(transactions, LISTS, Options(("snapshot-isolation",), (), 0)).valid == "valid"
