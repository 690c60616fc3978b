"""A bank: transfers move money, and every read of all balances sees all of it.

Verifies
    of each successful read (a map from account to balance):
    - *wrong total*: the balances must sum to the total;
    - *negative balance*: none may be below zero, unless `negative_balances`;
    - *unknown account* and *no balance*: the accounts are those of the first read to end, each with a number.
    Snapshot isolation promises all of that: a transfer is seen whole or not at all.
Does not verify
    that a transfer happened, nor that it was refused rightly; what money is where, if the total is right;
    freshness: a read may be of any time. A history without a successful read is unknown.
Algorithm and source
    Jepsen's `tests/bank`, in elle-cli's variant: accounts and total are those of the first read if they are
    not given.
Complexity
    O(reads x accounts).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from checkers import _words
from harness.history import OK, History
from harness.verdict import Evidence, Verdict

EVIDENCE_MAX = 5


@dataclass(frozen=True, slots=True)
class Bank:
    """The checker. `total`: of all balances; None: that of the first read."""

    total: int | None = None
    negative_balances: bool = False

    @property
    def name(self) -> str:
        return "bank"

    def check(self, history: History) -> Verdict:
        if strange := set(history.fs) & _functions(history) - {"read", "transfer"}:
            return _unknown(f"Not judged: a bank has read and transfer, not {', '.join(sorted(strange))}.")
        operations = history.operations
        reads = [
            (row, value)
            for row, value in enumerate(history.results(operations))
            if operations.outcome[row] == OK and history.fs[operations.f[row]] == "read"
        ]
        for row, value in reads:
            if not isinstance(value, dict):
                return _unknown(f"Not judged: {_words.describe(history, row)}: that is no map of balances.")
        if not reads:
            return _unknown("There is nothing to judge: no read succeeded.")
        _, first = min(reads, key=lambda read: int(operations.complete[read[0]]))
        accounts = set(first)
        total = sum(_numbers(first.values())) if self.total is None else self.total
        errors: dict[str, list[tuple[int, str]]] = {}
        for row, balances in reads:
            found = self._error(balances, accounts, total)
            if found is not None:
                errors.setdefault(found[0], []).append((row, found[1]))
        evidence = [
            Evidence(
                summary=f"{kind}: {_words.who(history, row)} {what} ({_words.seconds(history, event)}).",
                operations=_words.events(history, [row]),
                details={"kind": kind},
            )
            for kind, rows in errors.items()
            for row, what in rows[:2]
            for event in [int(operations.complete[row])]
        ]
        count = sum(map(len, errors.values()))
        summary = (
            f"{count} of {len(reads)} reads are wrong: {evidence[0].summary}"
            if evidence
            else f"All {len(reads)} reads sum to {total}."
        )
        return Verdict(
            checker=self.name,
            valid="invalid" if evidence else "valid",
            summary=summary,
            evidence=evidence[:EVIDENCE_MAX],
            details={
                "reads": len(reads),
                "total": total,
                "errors": {kind: len(rows) for kind, rows in errors.items()},
            },
        )

    def _error(self, balances: dict[Any, Any], accounts: set[Any], total: float) -> tuple[str, str] | None:
        """The kind of error, and what was read in words."""
        if strangers := [account for account in balances if account not in accounts]:
            return "Unknown account", f"read {strangers[0]!r}, which the first read did not have"
        numbers = _numbers(balances.values())
        if len(numbers) < len(balances):
            empty = next(account for account, balance in balances.items() if not _numbers([balance]))
            return "No balance", f"read {balances[empty]!r} as the balance of account {empty}"
        if sum(numbers) != total:
            return "Wrong total", f"read balances that sum to {sum(numbers)}, not {total}"
        if not self.negative_balances and (below := min(numbers, default=0)) < 0:
            return "Negative balance", f"read a balance of {below}"
        return None


def _functions(history: History) -> set[str]:
    """What clients did."""
    return {history.fs[f] for f in set(history.operations.f.tolist())}


def _numbers(values: Iterable[Any]) -> list[float]:
    return [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]


def _unknown(summary: str) -> Verdict:
    return Verdict(checker="bank", valid="unknown", summary=summary)
