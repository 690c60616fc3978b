"""What a server that answers from what it has, however old, still owes its readers.

Verifies
    of every server, from its start to its death, that it shows the states of one log, and goes only forward:
    - *monotonic-reads*: a read does not go back behind an earlier read of the same server;
    - *prefix*: whoever has seen something of the log sees all that was in it before, on every key: no read
      shows a value that had been overwritten before what the same server had shown earlier was written.
    Reads that overlap have no order between them. A server that was killed may have forgotten what it had
    applied, so it begins anew; while nobody knows who dies when (crash points, failing disks), nothing is
    judged.
Does not verify
    freshness, nor that what one session sees does not go back when it moves to another server. The order of
    concurrent writes is known from versions that the system told, and else not at all: what some order
    explains is no violation, and of several reads only pairs are looked at, and a read between two equal
    ones.
Algorithm and source
    What is known of the order of versions (`checkers._versions`). Per server, what it showed that was written
    last; a later read whose value was over before that began has gone back. Consul promises this of stale
    reads, "any server, regardless of whether it is the leader": each applies one Raft log in order.
Complexity
    O(n log n) for n operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checkers._registers import NotARegister
from checkers._seen import Seen
from checkers._version_words import Words
from checkers._versions import Versions, versions
from harness.history import OK, History
from harness.verdict import Evidence, Validity, Verdict, worst

EVIDENCE_MAX = 5
_MONOTONIC, _PREFIX = 1, 4
"""Their codes in `checkers._session_order`."""


@dataclass(frozen=True, slots=True)
class Servers:
    """The checker."""

    nodes: Sequence[str] = ()
    """The nodes that answer for themselves; by default, every node that a client of the history talked to."""
    one_sequence: bool = False
    """Whether the versions that the system tells number the writes to all keys together (Consul's
    ModifyIndex, etcd's revision), and not those to each key."""

    @property
    def name(self) -> str:
        return "servers"

    def check(self, history: History) -> Verdict:
        if not (history.operations.outcome == OK).any():
            return self._unknown("There is nothing to judge: no operation succeeded.")
        try:
            known = versions(history)
        except NotARegister as error:
            return self._unknown(f"Not judged: {error}.")
        life, names = lives(known, self.nodes)
        if not len(names):
            return self._unknown("There is nothing to judge: no operation says which node it talked to.")
        seen = Seen.by(life, known)
        earlier, same, judged = seen.pairs(known, one_sequence=self.one_sequence)
        back = np.flatnonzero(earlier[_MONOTONIC] >= 0)
        torn = np.flatnonzero((earlier[_PREFIX] >= 0) & (earlier[_MONOTONIC] < 0))
        finding = _Finding(known, [names[one] for one in life.tolist()])
        evidence = [
            *(finding.back(at, int(earlier[_MONOTONIC, at]), int(same[at])) for at in back[:EVIDENCE_MAX]),
            *(finding.torn(at, int(earlier[_PREFIX, at])) for at in torn[:EVIDENCE_MAX]),
        ]
        details: dict[str, Any] = {
            "servers": len(set(names)),
            "lives": len(names),
            "reads after another of the same key": int(judged[_MONOTONIC]),
            "reads after another": int(judged[_PREFIX]),
            "monotonic-reads violations": len(back),
            "prefix violations": len(torn),
        }
        validities: list[Validity] = ["valid"]
        if evidence:
            validities.append("invalid")
            summary = evidence[0].summary
        elif not judged[_PREFIX]:
            validities.append("unknown")
            summary = "There is nothing to judge: no server was read twice."
        else:
            summary = (
                f"{len(set(names))} servers went only forward, each through the states of one log, in "
                f"{judged[_PREFIX]} reads."
            )
        return Verdict(
            checker=self.name,
            valid=worst(validities),
            summary=summary,
            evidence=evidence[:EVIDENCE_MAX],
            details=details,
        )

    def _unknown(self, summary: str) -> Verdict:
        return Verdict(checker=self.name, valid="unknown", summary=summary)


def lives(known: Versions, nodes: Sequence[str]) -> tuple[NDArray[np.int64], list[str]]:
    """The life of a server that each operation fell into, from 0 (-1: of none), and each life's node.

    A life ends when the node has been killed: an operation that was invoked before was answered before, if at
    all. While nobody knows who dies when, nothing is of any life.
    """
    history, columns = known.history, known.registers
    deaths, vague = _deaths(history)
    names: list[str] = []
    ids: dict[tuple[str, int], int] = {}
    found = np.full(len(columns.row), -1, np.int64)
    node_of = [history.nodes[node] for node in history.node[columns.start].tolist()]
    for i, (node, start) in enumerate(zip(node_of, columns.start.tolist(), strict=True)):
        if (
            node is None
            or (nodes and node not in nodes)
            or any(begin <= start <= end for begin, end in vague)
        ):
            continue
        ended = deaths.get(node, [])
        life = node, sum(death < start for death in ended) + len([end for _, end in vague if end < start])
        if life not in ids:
            ids[life] = len(names)
            names.append(node)
        found[i] = ids[life]
    return found, names


def _deaths(history: History) -> tuple[dict[str, list[int]], list[tuple[int, int]]]:
    """By node, the events by which it had been killed; and the stretches, first to last event, in which nodes
    may have died unseen."""
    deaths: dict[str, list[int]] = {}
    vague: list[tuple[int, int]] = []
    last = len(history)
    for begun, completed in history.nemesis:
        verb, _, fault = begun.f.partition("-")
        if fault in ("kill", "power") and verb == "start":
            if completed is None or not isinstance(completed.value, dict):
                vague.append((begun.index, last))
                continue
            for node in completed.value.get("nodes", ()):
                deaths.setdefault(node, []).append(completed.index)
        elif fault in ("crash-point", "disk") and verb == "start":
            vague.append((begun.index, last))
        elif fault in ("crash-point", "disk") and vague and completed is not None:
            vague[-1] = vague[-1][0], completed.index
    return deaths, vague


class _Finding:
    """Violations in words."""

    def __init__(self, known: Versions, nodes: list[str]) -> None:
        self.known = known
        self.words = Words(known)
        self.nodes = nodes

    def back(self, at: int, before: int, same: int) -> Evidence:
        """A read that goes back behind an earlier one of the same key."""
        words, observed = self.words, self.known.registers.observed
        version = int(observed[at])
        if same >= 0:
            said = (
                f"{words.say(same)}, then {words.say(before)}, and then {words.say(at)}: whichever value is "
                f"the older, the server went back"
            )
            return self._evidence("monotonic-reads", at, said, [same, before, at])
        why, shown = words.older(version, int(observed[before]))
        said = f"{words.say(before)}, and then {words.say(at)}, which is older: {why}"
        return self._evidence("monotonic-reads", at, said, [before, at, *shown])

    def torn(self, at: int, before: int) -> Evidence:
        """A read of what was over before something was written that the server had shown before."""
        known, words = self.known, self.words
        version, newer = int(known.registers.observed[at]), int(known.registers.observed[before])
        writer = words.writer(newer)
        said = (
            f"{words.say(before)}{words.where(newer)}, and then {words.say(at)}{words.where(version)}; but "
        )
        if known.over[version] < known.since[newer]:
            successor = int(known.over_by[version])
            witness = words.witness(successor)
            said += (
                f"{words.value(version)} had been overwritten before {words.value(newer)} was written: "
                f"{words.say(witness)}, and {words.say(writer)}"
            )
            return self._evidence("prefix", at, said, [before, at, words.writer(successor), witness, writer])
        said += (
            f"{words.value(version)} was overwritten at version {known.next_number[version]}, and what the "
            f"server had shown has version {known.number[newer]}"
        )
        return self._evidence("prefix", at, said, [before, at, writer])

    def _evidence(self, kind: str, at: int, said: str, operations: list[int]) -> Evidence:
        words, node = self.words, self.nodes[at]
        version = int(self.known.registers.observed[at])
        return Evidence(
            summary=f"{node} broke {kind}{words.where(version)}: {said}.",
            operations=words.events(operations),
            key=words.key(version),
            details={"kind": kind, "node": node, "operations": words.described(operations)},
        )
