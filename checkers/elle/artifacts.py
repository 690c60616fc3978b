"""What an analysis leaves for others: Elle's JSON, and explanations and pictures in a folder.

The folder is laid out as Elle's: `<anomaly>.txt` says every case in words, `<anomaly>/0.svg` and so on draw
the cycles.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from checkers.elle import consistency, picture
from checkers.elle.analysis import Analysis
from checkers.elle.cases import Case
from checkers.elle.transactions import Transactions
from harness.history import FAIL, OK

UNSURE = "cycle-search-timeout"


def as_elle(analysis: Analysis) -> dict[str, Any]:
    """The analysis as elle-cli prints it, with our verdict beside it (JSON values only)."""
    valid: Any = {"valid": True, "invalid": False}.get(analysis.valid, "unknown")
    result: dict[str, Any] = {"valid?": valid}
    anomalies: dict[str, Any] = {
        name: [_case(case) for case in analysis.cases[name]] for name in analysis.broken
    }
    if analysis.forbidden.intersection(analysis.unsure):
        anomalies[UNSURE] = [{"anomaly-spec-type": name} for name in analysis.unsure]
    if analysis.nothing and analysis.valid == "unknown":
        anomalies["empty-transaction-graph"] = True
    if anomalies:
        ruled_out, also = consistency.boundary(analysis.cases)
        result |= {
            "anomaly-types": sorted(anomalies),
            "anomalies": anomalies,
            "not": ruled_out,
            "also-not": also,
        }
    return result | {"verdict": msgspec.to_builtins(analysis.verdict())}


def _case(case: Case) -> dict[str, Any]:
    ops = [_op(case.columns, one) for one in case.transactions]
    if not case.edges:
        return {"type": case.type, "ops": ops, "why": case.summary}
    steps = [
        {"type": edge, "key": reason.key, "value": reason.value, "value'": reason.after, "why": reason.why}
        for edge, reason in zip(case.edges, case.reasons, strict=True)
    ]
    return {"type": case.type, "cycle": [*ops, ops[0]], "steps": steps, "why": case.summary}


def _op(transactions: Transactions, transaction: int) -> dict[str, Any]:
    event = transactions.event(transaction)
    outcome = {OK: "ok", FAIL: "fail"}.get(int(transactions.outcome[transaction]), "info")
    return {
        "index": event,
        "time": int(transactions.time[event]),
        "type": outcome,
        "process": int(transactions.process[transaction]),
        "f": "txn",
        "value": transactions.micro_operations(transaction),
    }


def write(analysis: Analysis, directory: Path, picture_bytes_max: int) -> None:
    """Explanations and pictures of what breaks a promise. Raises OSError."""
    for name in analysis.broken:
        cases = analysis.cases[name]
        directory.mkdir(parents=True, exist_ok=True)
        found = analysis.counts[name]
        head = f"{name}: {found} found" + (f", {len(cases)} shown" if found > len(cases) else "")
        text = "\n\n".join([head, *(f"#{number}\n{_told(case)}" for number, case in enumerate(cases))])
        (directory / f"{name}.txt").write_text(text + "\n", encoding="utf-8")
        for number, case in enumerate(cases):
            if not case.edges:
                continue
            drawn = picture.cycle_svg(case)
            if len(drawn.encode()) <= picture_bytes_max:
                (directory / name).mkdir(exist_ok=True)
                (directory / name / f"{number}.svg").write_text(drawn, encoding="utf-8")


def _told(case: Case) -> str:
    """A sentence a line."""
    return case.summary.replace("; ", ";\n").replace(". T", ".\nT").replace(". So each", ".\nSo each")
