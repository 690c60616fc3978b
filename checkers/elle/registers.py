"""rw-register: the dependencies of transactions over registers, and what is wrong without any cycle.

The theory is in `checkers.elle._registers` (what a read says) and `checkers.elle._inference` (which value
came first); this decides what is inferred from what.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from checkers.elle import _findings, _graph, _index, _inference, _registers, cycles
from checkers.elle._graph import CONSISTENT_VIEW, LINK, RW, SERIALIZABLE, WW
from checkers.elle.cycles import Step
from checkers.elle.graph import KIND_NAMES, Graph, with_order
from checkers.elle.lists import appended_twice
from checkers.elle.orders import Write, by_key
from checkers.elle.transactions import NIL, READ, Transactions
from checkers.elle.words import Names, Reason, order_reason
from harness.history import FAIL, OK

ROUNDS_MAX = 300
WORK_MAX = 10_000_000_000
"""Edges times chains that one inference may cost: some ten seconds."""
PART_MAX = 2000
"""A history of so many transactions is looked at as a whole, to find out how bad its cycles are. Of a longer
one it is the transactions on cycles and those around them."""
NEIGHBOURS_MAX = 3
"""So far around, if need be."""
SUMS_MAX = 256
"""With more chains than that it is not kept which clocks have changed."""


@dataclass(frozen=True)
class RwRegister:
    """One history's registers."""

    inferred_effort: ClassVar[int] = 4
    explained: ClassVar[bool] = False
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
    cut_short: list[int] = field(default_factory=list)
    """The levels at which less was inferred than can be: see WORK_MAX, ROUNDS_MAX."""

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

    @property
    def edges(self) -> int:
        """The reads of what another transaction wrote, or of nothing where another one writes."""
        registers, keys = self.registers, len(self.transactions.keys)
        writes = np.flatnonzero(~registers.reads & self.happened[registers.of])
        writer = registers.of[writes]
        first, last = np.full(keys, len(self.transactions)), np.full(keys, -1)
        np.minimum.at(first, registers.key[writes], writer)
        np.maximum.at(last, registers.key[writes], writer)
        key, reader = registers.key[self.reads], registers.of[self.reads]
        others = (last[key] >= 0) & ((first[key] != reader) | (last[key] != reader))
        return int(((self.saw[self.reads] >= 0) | others).sum())

    @property
    def unfinished(self) -> bool:
        return bool(self.cut_short)

    def suspect(self, level: int) -> tuple[RwRegister, int] | None:
        """None if the transactions have no cycle at the level, nor, then, at a lower one. Else the part of
        the history in which to look for cycles, and from which level on."""
        inference = Inference(self, level)
        inference.close(SERIALIZABLE)
        self._note(inference)
        chosen = np.zeros(len(self.transactions), np.bool_)
        chosen[cycles.members(inference.graph)] = True
        if not chosen.any():
            return None
        for _ in range(NEIGHBOURS_MAX):
            chosen = self._and_around(chosen)
            if chosen.sum() > len(chosen) // 2:
                break
            history = RwRegister.of(self.transactions.take(chosen))
            closer = Inference(history, level)
            closer.close(SERIALIZABLE)
            if len(cycles.members(closer.graph)):
                return history, 0
        return self, 0 if len(chosen) <= PART_MAX else level

    def _and_around(self, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The transactions, those that they read of, those that read of them, and if these are not too many,
        all that went on meanwhile."""
        transactions, registers = self.transactions, self.registers
        reads = self.reads[self.saw[self.reads] >= 0]
        reader, writer = registers.of[reads], registers.of[self.saw[reads]]
        around = chosen.copy()
        around[writer[chosen[reader]]] = True
        around[reader[chosen[writer]]] = True
        first, last = transactions.invoke[chosen].min(), transactions.complete[chosen].max()
        begun = transactions.invoke <= last
        meanwhile = begun & ((transactions.complete >= first) | (transactions.complete < 0))
        return around | meanwhile if meanwhile.sum() <= PART_MAX else around

    def graph(self, level: int) -> Graph:
        """All edges that hold at the level, as far as they can be inferred."""
        inference = self.inferences[level] = Inference(self, level)
        inference.close(CONSISTENT_VIEW)
        if cycles.is_acyclic(inference.graph):
            inference.close(SERIALIZABLE)
        self._note(inference)
        return inference.graph

    def _note(self, inference: Inference) -> None:
        if not inference.finished:
            self.cut_short.append(inference.level)

    def unordered(self) -> list[list[Write]]:
        """By key: what each transaction left there."""
        registers = self.registers
        final = np.flatnonzero(~registers.reads & (registers.overwritten < 0) & self.happened[registers.of])
        readers: dict[tuple[int, int], list[int]] = {}
        for read in self.reads[self.saw[self.reads] >= 0].tolist():
            writer, key = int(registers.of[self.saw[read]]), int(registers.key[read])
            readers.setdefault((key, writer), []).append(int(registers.of[read]))
        writes: dict[tuple[int, int], Write] = {}
        for micro in final.tolist():
            at = int(registers.key[micro]), int(registers.of[micro])
            writes[at] = Write(micro, at[1], tuple(readers.get(at, ())))
        return by_key(writes)

    def explainer(self) -> RegisterReasons:
        return RegisterReasons(self)


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
        self.history = history
        self.level = level
        self.graph = with_order(history.known, level, history.transactions, history.happened)
        self.rounds: list[Round] = []
        self.finished = True
        """Whether everything was inferred that can be."""
        self._work = WORK_MAX
        self._reads = _premises(history, history.reads)
        self._chains = _chains(history, level, self.graph)
        self._writers = _writers(history, self._chains)

    def close(self, premise: int) -> None:
        """Infer until nothing new comes of it.

        CONSISTENT_VIEW: over ways without anti-dependencies, so those inferred lead nowhere: they come last.
        """
        every = np.ones(_graph.KINDS * (SERIALIZABLE + 1), np.bool_)
        if premise == SERIALIZABLE:
            self._repeat(premise, every, (("overwriters", RW), ("overwritten", WW)))
            return
        plain = every & (np.arange(len(every)) % _graph.KINDS != RW)
        # Once before as well: what is on a cycle then is left alone, but not what makes it one.
        sums: _Sums = {}
        self._round(premise, plain, (("overwriters", RW),), sums)
        self._repeat(premise, plain, (("overwriters", WW), ("overwritten", WW)))
        self._round(premise, plain, (("overwriters", RW),), sums)

    def _repeat(self, premise: int, allowed: NDArray[np.bool_], rules: tuple[_Rule, ...]) -> None:
        sums: _Sums = {}
        for _ in range(ROUNDS_MAX):
            if not self._round(premise, allowed, rules, sums):
                return
        self.finished = False

    def _round(self, premise: int, allowed: NDArray[np.bool_], rules: tuple[_Rule, ...], sums: _Sums) -> bool:
        """Whether anything new came of it. `sums`: of clocks, by rule and block; see
        `_inference.overwriters`."""
        graph, chains = self.graph, self._chains
        self._work -= len(graph.edge) * chains.number * len(rules)
        if self._work < 0:
            self.finished = False
            return False
        rows = _graph.rows(graph.nodes, graph.source, graph.target, graph.edge)
        component, count = _graph.components(*rows, allowed)
        lonely = (
            np.bincount(component, minlength=count)[component] == 1
        )  # from what is on a cycle, anything follows
        walk = _inference.Walk(*rows, allowed, component, np.argsort(component, kind="stable"))
        room = 4 * len(self._reads.key) + 1024
        inferred = _inference.Inferred(
            np.empty(room, np.int32),
            np.empty(room, np.int32),
            np.empty(room, np.int8),
            np.empty(room, np.int64),
        )
        used = 0
        width = min(_inference.CLOCK, -(-chains.number // 8) * 8)
        clock = np.empty((graph.nodes, width), np.int32)
        for block in range(0, chains.number, _inference.CLOCK):
            for rule, kind in rules:
                if rule == "overwriters":
                    _inference.clocks_after(walk, chains, block, clock)
                else:
                    _inference.clocks_before(walk, chains, block, clock)
                known = sums.get((rule, block))
                if known is None:
                    known = np.full(graph.nodes, _inference.NO_SUM, np.int64)
                infer = _inference.overwriters if rule == "overwriters" else _inference.overwritten
                used = infer(
                    self._reads,
                    self._writers,
                    chains,
                    lonely,
                    block,
                    clock,
                    known,
                    kind,
                    premise,
                    inferred,
                    used,
                )
                if chains.number <= SUMS_MAX:
                    sums[rule, block] = known
        if not used:
            return False
        added = Graph(
            graph.transactions,
            graph.nodes,
            inferred.source[:used],
            inferred.target[:used],
            inferred.edge[:used],
        )
        self.rounds.append(Round(len(graph.edge), inferred.read[:used].copy(), allowed))
        self.graph = graph.with_edges(added)
        return True


_Sums = dict[tuple[str, int], NDArray[np.int64]]
_Rule = tuple[Literal["overwriters", "overwritten"], int]
"""One of the rules in `checkers.elle._inference`, and the kind of edge that it makes here."""


def _premises(history: RwRegister, reads: NDArray[np.int64]) -> _inference.Premises:
    registers, writes = history.registers, history.saw[reads]
    return _inference.Premises(
        micro=reads,
        key=registers.key[reads],
        reader=registers.of[reads],
        writer=np.where(writes >= 0, registers.of[writes], -1).astype(np.int32),
    )


def _chains(history: RwRegister, level: int, graph: Graph) -> _inference.Chains:
    transactions = history.transactions
    if level == 0:
        rows = _graph.rows(graph.nodes, graph.source, graph.target, graph.edge)
        every = np.ones(_graph.KINDS, np.bool_)
        component, count = _graph.components(*rows, every)
        lonely = np.bincount(component, minlength=count)[component] == 1
        return _inference.by_path(*rows, every, component, lonely & history.happened, len(transactions))
    if level == 1:
        from checkers._zones import intern

        process = intern(np.zeros(len(transactions), np.int32), transactions.process)
        return _inference.by_process(process, history.happened, int(process.max(initial=-1)) + 1)
    # A transaction of unknown outcome has happened by the time that somebody who read of it is over.
    over = np.where(transactions.outcome == OK, transactions.complete, transactions.events)
    np.minimum.at(over, history.known.source, transactions.complete[history.known.target])
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
    row = key * max(chains.number, 1) + chains.chain[of]
    order = np.lexsort((chains.position[of], row))
    row = row[order]
    starts = np.flatnonzero(np.diff(row, prepend=-1))
    keys = row[starts] // max(chains.number, 1)
    begin = np.searchsorted(of, np.arange(len(transactions) + 1))
    by_transaction = np.lexsort((key, of))
    return _inference.Writers(
        segments=np.searchsorted(keys, np.arange(len(transactions.keys) + 1)),
        chain=(row[starts] % max(chains.number, 1)).astype(np.int32),
        first=np.append(starts, len(row)).astype(np.int64),
        transaction=of[order],
        position=chains.position[of[order]],
        begin=begin.astype(np.int64),
        keys=key[by_transaction],
    )


# --- Reasons -------------------------------------------------------------------------------------------

NESTED_MAX = 2
"""So deep goes the reason of a reason."""
WAY_MAX = 6
"""A longer way is told by its length."""


class RegisterReasons:
    """Why one transaction over registers comes before another. Implements `cases.Explainer`."""

    def __init__(self, history: RwRegister) -> None:
        self.history = history
        self.transactions = history.transactions
        self._ways: dict[tuple[int, int], _graph.Rows] = {}

    def reason(self, names: Names, level: int, step: Step, to: int) -> Reason:
        return self._reason(names, level, step, to, NESTED_MAX)

    def _reason(self, names: Names, level: int, step: Step, to: int, depth: int) -> Reason:
        kind = KIND_NAMES[step.kind]
        if kind in ("process", "realtime"):
            return order_reason(self.transactions, names, step.transaction, to, kind)
        if kind == "wr":
            return self._read(names, step.transaction, to)
        return self._inferred(names, level, step, to, depth)

    def _read(self, names: Names, a: int, b: int) -> Reason:
        for micro in self._micro(b):
            write = int(self.history.saw[micro])
            if write >= 0 and self.history.registers.of[write] == a:
                key, value = self._key(micro), self._value(micro)
                return Reason(f"{names[b]} read {key} = {value}, which {names[a]} wrote", key, value, value)
        raise AssertionError("a wr edge follows from a read")

    def _inferred(self, names: Names, level: int, step: Step, to: int, depth: int) -> Reason:
        """Why a reader is before another writer of the key (rw), or that one before the writer of what was
        read."""
        read, number = self._origin(level, step, to)
        registers = self.history.registers
        reader, write = int(registers.of[read]), int(self.history.saw[read])
        key, saw = self._key(read), self._value(read)
        if reader == step.transaction:
            value = self._written(to, int(registers.key[read]))
            both = (
                f" (and both write the same key, so {names[reader]} was first there)"
                if step.kind == WW
                else ""
            )
            if write < 0:
                why = (
                    f"{names[reader]} read {key} = nothing, so before {names[to]} wrote {key} = {value}{both}"
                )
                return Reason(why, key, None, value)
            writer = int(registers.of[write])
            way = self._way(names, level, number, writer, to, depth)
            read_it = f"{names[reader]} read {key} = {saw} of {names[writer]}"
            why = f"{read_it}, not {names[to]}'s {value}, which is later{both}: {way}"
            return Reason(why, key, saw, value)
        value = self._written(step.transaction, int(registers.key[read]))
        way = self._way(names, level, number, step.transaction, reader, depth)
        read_it = f"{names[reader]} read {key} = {saw} of {names[to]}"
        there = f"{names[step.transaction]}'s {value} was there before {names[reader]}"
        return Reason(f"{read_it}, and {there}, so {saw} is later: {way}", key, value, saw)

    def _origin(self, level: int, step: Step, to: int) -> tuple[int, int]:
        """The read that an inferred edge follows from, and the number of the round in which it did."""
        inference = self.history.inferences[level]
        graph = inference.graph
        edge = step.kind + _graph.KINDS * step.premise
        first = inference.rounds[0].first
        same = (
            (graph.source[first:] == step.transaction)
            & (graph.target[first:] == to)
            & (graph.edge[first:] == edge)
        )
        at = first + int(same.argmax())
        number = max(i for i, one in enumerate(inference.rounds) if one.first <= at)
        return int(inference.rounds[number].read[at - inference.rounds[number].first]), number

    def _way(self, names: Names, level: int, number: int, start: int, goal: int, depth: int) -> str:
        """How one comes to be before the other, with what was known before the round."""
        inference = self.history.inferences[level]
        graph, made = inference.graph, inference.rounds[number]
        if (level, number) not in self._ways:
            known = slice(0, made.first)
            self._ways[level, number] = _graph.searchable(
                *_graph.rows(graph.nodes, graph.source[known], graph.target[known], graph.edge[known])
            )
        rows = self._ways[level, number]
        anywhere = np.zeros(graph.nodes, np.int32)
        _graph.route(rows, anywhere, start, goal, made.allowed, graph.nodes)
        steps = [
            Step(int(rows.origin[at]), *divmod(int(rows.how[at]), _graph.KINDS)[::-1])
            for at in _graph.walked(rows, start, goal).tolist()
            if rows.how[at] % _graph.KINDS != LINK
        ]
        around = [*(step.transaction for step in steps), goal]
        if not depth or len(steps) > WAY_MAX:
            kinds = ", ".join(sorted({KIND_NAMES[step.kind] for step in steps}))
            return f"that follows in {len(steps)} steps ({kinds})"
        return ", and ".join(
            self._reason(names, level, step, to, depth - 1).why
            for step, to in zip(steps, around[1:], strict=True)
        )

    def _micro(self, transaction: int) -> range:
        begin = self.transactions.begin
        return range(int(begin[transaction]), int(begin[transaction + 1]))

    def _written(self, transaction: int, key: int) -> Any:
        """What the transaction left in the key."""
        registers = self.history.registers
        for micro in self._micro(transaction):
            final = not registers.reads[micro] and registers.overwritten[micro] < 0
            if final and registers.key[micro] == key:
                return self._value(micro)
        raise AssertionError("the transaction writes the key")

    def _key(self, micro: int) -> Any:
        return self.transactions.keys[self.transactions.key[micro]]

    def _value(self, micro: int) -> Any:
        return self.transactions.name(int(self.transactions.value[micro]))
