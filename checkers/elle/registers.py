"""rw-register: the dependencies of transactions over registers, and what is wrong without any cycle.

The theory is in `checkers.elle._registers` (what a read says) and `checkers.elle._inference` (which value came
first); this decides what is inferred from what.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from checkers.elle import _findings, _graph, _index, _inference, _registers, cycles
from checkers.elle._graph import CONSISTENT_VIEW, RW, SERIALIZABLE
from checkers.elle.graph import Graph, with_order
from checkers.elle.lists import appended_twice
from checkers.elle.transactions import NIL, READ, Transactions
from harness.history import FAIL, OK

ROUNDS_MAX = 30
WORK_MAX = 6_000_000_000
"""Edges times chains that all rounds of one inference may cost: about as many nanoseconds."""


@dataclass(frozen=True)
class RwRegister:
    """One history's registers."""

    transactions: Transactions
    registers: _registers.Registers
    saw: NDArray[np.int64]
    """The write that each read saw; see `_registers.sources`."""
    reads: NDArray[np.int64]
    """The micro-operations that inference starts from."""
    happened: NDArray[np.bool_]
    findings: _findings.Findings
    known: Graph
    """What reads name: wr."""
    inferences: dict[int, Inference] = field(default_factory=dict)
    """By level, once it has been asked for."""

    @classmethod
    def of(cls, transactions: Transactions) -> RwRegister:
        """Raises BrokenHistory if a value is written twice."""
        keys = len(transactions.keys)
        of = transactions.writers.astype(np.int32)
        is_read = transactions.kind == READ
        failed = transactions.outcome == FAIL
        slots, first, second = _index.writes(
            transactions.key,
            transactions.value,
            np.flatnonzero(~is_read & ~failed[of]),
            np.flatnonzero(~is_read & failed[of]),
        )
        if second >= 0:
            raise appended_twice(transactions, int(of[first]), int(of[second]), second)
        previous, overwritten = _index.neighbours(transactions.begin, transactions.key, ~is_read, keys)
        registers = _registers.Registers(
            of=of,
            reads=is_read,
            key=transactions.key,
            value=transactions.value,
            ok=transactions.outcome == OK,
            failed=failed,
            slots=slots,
            previous=previous,
            overwritten=overwritten,
        )
        saw = _registers.sources(registers, NIL)
        happened = _registers.happened(registers, saw)
        findings = _findings.nothing_found()
        _registers.direct(registers, saw, keys, findings)
        count = int(is_read.sum())
        source, target, edge = np.empty(count, np.int32), np.empty(count, np.int32), np.empty(count, np.int8)
        used, reads = _registers.known_edges(registers, saw, happened, source, target, edge)
        nodes = len(transactions)
        known = Graph(nodes, nodes, source[:used], target[:used], edge[:used])
        return cls(transactions, registers, saw, reads, happened, findings, known)

    def consistent(self, level: int) -> bool:
        """Whether the transactions have no cycle at the level, nor, then, at a lower one."""
        inference = Inference(self, level)
        inference.close(SERIALIZABLE)
        return cycles.is_acyclic(inference.graph)

    def graph(self, level: int) -> Graph:
        """All edges that hold at the level, as far as they can be inferred."""
        inference = self.inferences[level] = Inference(self, level)
        inference.close(CONSISTENT_VIEW)
        inference.close(SERIALIZABLE)
        return inference.graph


@dataclass(frozen=True, slots=True)
class Round:
    """Edges that were inferred together, from those of all rounds before."""

    first: int
    """The edges of the graph from here on, up to the next round's."""
    read: NDArray[np.int64]
    """The micro-operation that each follows from."""
    allowed: NDArray[np.bool_]
    """The ways that count."""


class Inference:
    """What follows at one level."""

    def __init__(self, history: RwRegister, level: int) -> None:
        transactions, registers = history.transactions, history.registers
        self.history = history
        self.level = level
        self.graph = with_order(history.known, level, transactions, history.happened)
        self.rounds: list[Round] = []
        self.finished = True
        """Whether everything was inferred that can be."""
        self._work = 0
        writes = history.saw[history.reads]
        self._reads = _inference.Premises(
            key=transactions.key[history.reads],
            reader=registers.of[history.reads],
            writer=np.where(writes >= 0, registers.of[writes], -1).astype(np.int32),
        )

    def close(self, premise: int) -> None:
        """Infer until nothing new comes of it.

        CONSISTENT_VIEW: over ways without anti-dependencies, so those inferred lead nowhere: they come last.
        """
        every = np.ones(_graph.KINDS * (SERIALIZABLE + 1), np.bool_)
        if premise == SERIALIZABLE:
            self._repeat(premise, every, (self._overwriters, self._overwritten))
            return
        plain = every & (np.arange(len(every)) % _graph.KINDS != RW)
        self._repeat(premise, plain, (self._overwritten,))
        self._round(premise, plain, (self._overwriters,))

    def _repeat(self, premise: int, allowed: NDArray[np.bool_], rules: tuple[_Rule, ...]) -> None:
        for _ in range(ROUNDS_MAX):
            if not self._round(premise, allowed, rules):
                return
        self.finished = False

    def _round(self, premise: int, allowed: NDArray[np.bool_], rules: tuple[_Rule, ...]) -> bool:
        """Whether anything new came of it."""
        graph, transactions = self.graph, len(self.history.transactions)
        state = _State(self, graph, allowed)
        self._work += (len(graph.edge) + len(self._reads.key)) * max(state.chains.count, 1) * len(rules)
        if self._work > WORK_MAX:
            self.finished = False
            return False
        room = 4 * len(self._reads.key) + 1024
        inferred = _inference.Inferred(
            np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.int8), np.empty(room, np.int64)
        )
        used = 0
        for block in range(0, state.chains.count, _inference.CLOCK):
            for rule in rules:
                used = rule(state, block, premise, inferred, used)
        if not used:
            return False
        added = Graph(
            transactions, graph.nodes, inferred.source[:used], inferred.target[:used], inferred.edge[:used]
        )
        self.rounds.append(Round(len(graph.edge), self.history.reads[inferred.read[:used]], allowed))
        self.graph = graph.with_edges(added)
        return True

    def _overwriters(
        self, state: _State, block: int, premise: int, inferred: _inference.Inferred, used: int
    ) -> int:
        _inference.clocks_after(*state.rows, state.allowed, *state.order, state.chains, block, state.clock)
        return _inference.overwriters(
            self._reads, state.writers, state.chains, state.lonely, block, state.clock, premise, inferred, used
        )

    def _overwritten(
        self, state: _State, block: int, premise: int, inferred: _inference.Inferred, used: int
    ) -> int:
        _inference.clocks_before(*state.rows, state.allowed, *state.order, state.chains, block, state.clock)
        return _inference.overwritten(
            self._reads, state.writers, state.chains, state.lonely, block, state.clock, premise, inferred, used
        )


class _State:
    """The graph as one round finds it."""

    def __init__(self, inference: Inference, graph: Graph, allowed: NDArray[np.bool_]) -> None:
        self.allowed = allowed
        self.rows = _graph.rows(graph.nodes, graph.source, graph.target, graph.edge)
        component, count = _graph.components(*self.rows, allowed)
        self.order = (component, np.argsort(component, kind="stable"))
        self.lonely = np.bincount(component, minlength=count)[component] == 1
        """Nodes on no cycle. From the others anything would follow."""
        self.chains = _chains(inference, self.rows, allowed, component, self.lonely)
        self.writers = _writers(inference.history, self.chains)
        self.clock = np.empty((graph.nodes, _inference.CLOCK), np.int32)


_Rule = Callable[["_State", int, int, _inference.Inferred, int], int]


def _chains(
    inference: Inference,
    rows: tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int8]],
    allowed: NDArray[np.bool_],
    component: NDArray[np.int32],
    lonely: NDArray[np.bool_],
) -> _inference.Chains:
    history, transactions = inference.history, inference.history.transactions
    if inference.level == 0:
        return _inference.by_path(*rows, allowed, component, lonely, len(transactions))
    if inference.level == 1:
        from checkers._zones import intern

        process = intern(np.zeros(len(transactions), np.int32), transactions.process)
        return _inference.by_process(process, history.happened, int(process.max(initial=-1)) + 1)
    # A transaction of unknown outcome has happened by the time that somebody who read of it is over.
    over = np.where(transactions.outcome == OK, transactions.complete, transactions.events)
    wr = history.known
    np.minimum.at(over, wr.source, transactions.complete[wr.target])
    over = np.where(history.happened & (over < transactions.events), over, -1)
    invoke = np.where(history.happened, transactions.invoke, -1)
    return _inference.by_time(transactions.events, invoke, over)


def _writers(history: RwRegister, chains: _inference.Chains) -> _inference.Writers:
    registers, transactions = history.registers, history.transactions
    final = np.flatnonzero(~registers.reads & (registers.overwritten < 0))
    of = registers.of[final]
    kept = history.happened[of] & (chains.chain[of] >= 0)
    final, of = final[kept], of[kept]
    key = transactions.key[final]
    row = key * max(chains.count, 1) + chains.chain[of]
    order = np.lexsort((chains.position[of], row))
    row = row[order]
    starts = np.flatnonzero(np.diff(row, prepend=-1))
    keys = row[starts] // max(chains.count, 1)
    return _inference.Writers(
        segments=np.searchsorted(keys, np.arange(len(transactions.keys) + 1)),
        chain=(row[starts] % max(chains.count, 1)).astype(np.int32),
        first=np.append(starts, len(row)).astype(np.int64),
        transaction=of[order],
        position=chains.position[of[order]],
    )
