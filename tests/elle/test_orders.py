"""Orders of writes that nobody saw: what every order makes wrong is refuted, and nothing else."""

from __future__ import annotations

from itertools import pairwise, permutations, product
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checkers.elle import orders
from checkers.elle._graph import RW, WR, WW
from checkers.elle.analysis import Options, analyse
from checkers.elle.graph import Graph
from checkers.elle.orders import Supposition, Write, refute
from checkers.elle.transactions import from_history
from tests.elle.test_oracle import history_of

Edge = tuple[int, int, int]
ANY, NOT_IN_A_ROW = "G2", "G-nonadjacent"


class Case(NamedTuple):
    transactions: int
    edges: list[Edge]
    keys: list[list[Write]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Dependencies without a cycle, and keys that several transactions wrote, and others may have read."""
    transactions = draw(st.integers(3, 7))
    turn = draw(st.permutations(range(transactions)))
    edges = []
    for _ in range(draw(st.integers(0, 8))):
        before, after = sorted(
            draw(st.lists(st.integers(0, transactions - 1), min_size=2, max_size=2, unique=True))
        )
        edges.append((turn[before], turn[after], draw(st.sampled_from((WW, WR, RW, RW)))))
    keys = []
    micro = 0
    for _ in range(draw(st.integers(1, 2))):
        writers = draw(st.lists(st.integers(0, transactions - 1), min_size=2, max_size=4, unique=True))
        writes = []
        for writer in writers:
            readers = draw(st.sets(st.integers(0, transactions - 1), max_size=2)) - {writer}
            writes.append(Write(micro, writer, tuple(readers)))
            micro += 1
        keys.append(writes)
    # Whoever read a value is behind who wrote it: as a known dependency, where that makes no cycle.
    for write in (write for writes in keys for write in writes):
        for reader in write.readers:
            more = [*edges, (write.transaction, reader, WR)]
            if not is_cyclic(more, ANY):
                edges = more
    return Case(transactions, edges, keys)


def is_cyclic(edges: list[Edge], family: str) -> bool:
    """Whether some walk comes back to where it was, under the rule of the family."""
    following: dict[tuple[int, bool], set[tuple[int, bool]]] = {}
    for source, target, kind in edges:
        for after in (False, True):
            if family == ANY:
                following.setdefault((source, False), set()).add((target, False))
            elif not (after and kind == RW):
                following.setdefault((source, after), set()).add((target, kind == RW))
    for start in following:
        seen, left = set(), [start]
        while left:
            for node in following.get(left.pop(), ()):
                if node == start:
                    return True
                if node not in seen:
                    seen.add(node)
                    left.append(node)
    return False


def every_order(keys: list[list[Write]]) -> list[list[tuple[Write, Write]]]:
    return [
        [pair for writes in chosen for pair in pairwise(writes)]
        for chosen in product(*(permutations(writes) for writes in keys))
    ]


def graph_of(case: Case) -> Graph:
    source, target, kind = np.array(case.edges, np.int32).reshape(-1, 3).T
    return Graph(case.transactions, case.transactions, source, target, kind.astype(np.int8))


@pytest.mark.parametrize("family", [ANY, NOT_IN_A_ROW])
@settings(deadline=None)  # kernels are loaded
@given(case=cases())
def test_what_is_refuted_is_wrong_in_every_order_and_nothing_else_is(family: str, case: Case) -> None:
    wrong = refute(graph_of(case), family, 0, case.keys)
    explained = any(
        not is_cyclic([*case.edges, *(edge for pair in order for edge in Supposition(*pair).edges)], family)
        for order in every_order(case.keys)
    )
    assert bool(wrong) != explained


@pytest.mark.parametrize("family", [ANY, NOT_IN_A_ROW])
@settings(deadline=None)  # kernels are loaded
@given(case=cases())
def test_a_proof_has_a_cycle_for_every_order(family: str, case: Case) -> None:
    wrong = refute(graph_of(case), family, 0, case.keys)
    supposed = [{(s.first.micro, s.second.micro) for s in one.supposed.values()} for one in wrong]
    for chosen in product(*(permutations(writes) for writes in case.keys)) if wrong else ():
        place = {write.micro: at for writes in chosen for at, write in enumerate(writes)}
        assert any(all(place[a] < place[b] for a, b in those) for those in supposed)
    for one in wrong:
        steps = one.cycle.steps
        made: list[Edge] = []
        for step, to in zip(steps, (*steps[1:], steps[0]), strict=True):
            edge = step.transaction, to.transaction, step.kind
            made.append(edge)
            if edge in one.supposed and step.premise == orders.SUPPOSED:
                assert edge in one.supposed[edge].edges
            else:
                assert edge in case.edges
        assert is_cyclic(made, family)


BLIND = [
    [["w", "x", 1], ["w", "x", 2], ["w", "x", 3], ["r", "y", None]],
    [["r", "x", None], ["w", "x", 4]],
    [["r", "x", None], ["w", "y", 5]],
    [["r", "x", None], ["w", "y", 6]],
]
"""Nobody read 5 and 6: as T1 saw neither, and T3 and T4 nothing that T2 wrote before T1, whichever of the two
was first makes a cycle with both."""


def test_each_case_says_what_it_supposes() -> None:
    history = from_history(history_of(*((type_, 0, one) for one in BLIND for type_ in ("invoke", "ok"))))
    analysis = analyse(history, "rw-register", Options(("snapshot-isolation",)))
    told = [evidence.summary for evidence in analysis.verdict().evidence]
    assert analysis.counts["G-nonadjacent-item"] == 1
    either = "Nobody saw in which order some writes came, and whichever it was, there is such a cycle."
    for summary, number, order in zip(
        told, "12", ("T3's 5 came before T4's 6 in y", "T4's 6 came before T3's 5 in y"), strict=True
    ):
        assert summary.startswith(f"G-nonadjacent-item: {either} Case {number} of 2, if {order}. T1: ")
        assert f": supposing that {order}, which nobody saw;" in summary


def test_that_not_all_orders_were_tried_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    history = from_history(history_of(*((type_, 0, one) for one in BLIND for type_ in ("invoke", "ok"))))
    snapshots = Options(("snapshot-isolation",))
    for name, limit, why in (
        ("WORK_MAX", 1, "there are too many to try them all"),
        ("TRANSACTIONS_MAX", 3, "not tried, of more than 3 transactions"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(orders, name, limit)
            analysis = analyse(history, "rw-register", snapshots)
        assert analysis.valid == "valid"
        assert analysis.verdict().details["orders of writes that nobody saw"] == why
