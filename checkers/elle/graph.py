"""The dependency graph of transactions, with the order of each client's or of all transactions in it.

The kernels are in `checkers.elle._graph`; this is what they work on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from checkers.elle.transactions import Transactions
from harness.history import OK

LEVELS = ("", "-process", "-realtime")
"""The suffix of an anomaly: which order of transactions its cycle needs, beside what they read and wrote."""

KIND_NAMES = ("ww", "wr", "rw", "process", "realtime", "link")


@dataclass(frozen=True, slots=True)
class Graph:
    """Edges as columns. Nodes below `transactions` are transactions, the others stand for many at once."""

    transactions: int
    nodes: int
    source: NDArray[np.int32]
    target: NDArray[np.int32]
    edge: NDArray[np.int8]

    def with_edges(self, other: Graph) -> Graph:
        """Both's edges; the other has the larger number of nodes."""
        return Graph(
            self.transactions,
            other.nodes,
            np.concatenate([self.source, other.source]),
            np.concatenate([self.target, other.target]),
            np.concatenate([self.edge, other.edge]),
        )


def with_order(graph: Graph, level: int, transactions: Transactions, happened: NDArray[np.bool_]) -> Graph:
    """The graph with the edges of the level: none, of each process, of real time."""
    if level == 0:
        return graph
    from checkers._zones import intern
    from checkers.elle import _graph

    count = len(happened)
    room = 3 * count + 1
    source, target = np.empty(room, np.int32), np.empty(room, np.int32)
    edge = np.empty(room, np.int8)
    nodes = graph.nodes
    if level == 1:
        process = intern(np.zeros(count, np.int32), transactions.process)
        processes = int(process.max(initial=-1)) + 1
        used = _graph.process_edges(process, happened, processes, source, target, edge)
    else:
        invoke = np.where(happened, transactions.invoke, -1)
        complete = np.where(transactions.outcome == OK, transactions.complete, -1)  # others may come late
        used, nodes = _graph.order_edges(transactions.events, invoke, complete, nodes, source, target, edge)
    return graph.with_edges(Graph(count, nodes, source[:used], target[:used], edge[:used]))
