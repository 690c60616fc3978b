"""Transactions: judged by `elle-py`, or by elle-cli, as a process of its own.

Verifies
    that transactions over lists ("list-append") or registers ("rw-register") happened as the consistency
    models promise (`checkers.elle` says how, and what it misses). What nobody wrote must not be read.
Does not verify
    anything if the process finds no answer in time, needs more memory than it may, or dies: unknown.
Algorithm and source
    `checkers.elle`; with `command`, whatever stands behind elle-cli's command line.
Complexity
    That of `checkers.elle`, and writing the history to a file.

A huge analysis cannot take the run down with it: the kernel ends the process at the memory limit, and at
more than twice the time limit of processor time, also when nobody waits for it any more.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from checkers import Checker
from checkers.elle.transactions import NotTransactions, Workload, from_history
from harness.history import History
from harness.history.json_array import write_json
from harness.verdict import Evidence, Verdict

EVIDENCE_MAX = 5
ANOMALIES = ("G0", "garbage-read")
"""What is looked for whatever the models forbid."""
PATIENCE = 1.0
"""Seconds between two looks at what the process says."""
COMPILE_SECONDS = 300.0
"""How much longer one may take that compiles its kernels."""
_ROOT = str(Path(__file__).parents[1])
_AFTER = "value'"  # Elle's name of what the second transaction wrote


@dataclass(frozen=True, slots=True)
class Transactions:
    """The checker. `command`: what to run instead of elle-py, as a list or a line (`java -jar
    elle-cli.jar`)."""

    workload: Workload = "list-append"
    consistency_models: Sequence[str] = ("strict-serializable",)
    command: Sequence[str] | str | None = None
    time_limit: float = 100.0
    """Seconds."""
    memory_limit: int | None = 8 << 30
    """Bytes of its own data that the process may have; None: the command bounds itself (a JVM by -Xmx)."""

    @property
    def name(self) -> str:
        return "transactions"

    def check(self, history: History) -> Verdict:
        if not len(history.operations):
            return _unknown("There is nothing to judge: no client did anything.")
        with tempfile.TemporaryDirectory(prefix="splitbrain-") as folder:
            # elle-cli knows a JSON array by its name's ending, and elle-py reads it as fast as lines.
            file = Path(folder) / "history.json"
            write_json(history, file)
            return self._judge(file)

    def here(self) -> Checker:
        """The same without a process of its own, unless another command is to judge: for whoever has many
        short histories, each judged sooner than a process starts."""
        return TransactionsHere(self.workload, self.consistency_models) if self.command is None else self

    def _command(self) -> list[str]:
        if self.command is None:
            return [sys.executable, "-m", "checkers.elle", f"--anomalies={','.join(ANOMALIES)}"]
        return shlex.split(self.command) if isinstance(self.command, str) else list(self.command)

    def _judge(self, file: Path) -> Verdict:
        models = ",".join(self.consistency_models)
        options = ["--model", self.workload, "--consistency-models", models, "--verbose", str(file)]
        try:
            process = subprocess.Popen(
                [*self._command(), *options],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                # Found from wherever the harness runs, also if it is not installed.
                env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in (_ROOT, *sys.path) if path)},
            )
        except OSError as error:
            return _unknown(f"Not judged: {self._command()[0]} cannot be run: {error}.")
        with process:
            self._limit(process.pid)
            try:
                output, errors = self._answer(process)
            except subprocess.TimeoutExpired:
                process.kill()
                return _unknown(f"Not decided within {self.time_limit:g} s: a shorter history would be.")
        return self._verdict(output, errors, process.returncode)

    def _answer(self, process: subprocess.Popen[str]) -> tuple[str, str]:
        """What it wrote. Raises TimeoutExpired; if it compiles its kernels first, it has longer."""
        from harness.compilation import HEARD, TOLD

        left, compiles = self.time_limit, False
        try:
            while True:
                patience = min(left, PATIENCE)
                try:
                    return process.communicate(timeout=patience)
                except subprocess.TimeoutExpired as waiting:
                    left -= patience
                    if not compiles and TOLD.encode() in (waiting.stderr or b""):
                        compiles = True
                        left += COMPILE_SECONDS
                        HEARD.on_start()
                    if left <= 0:
                        raise
        finally:
            if compiles:
                HEARD.on_end()

    def _limit(self, pid: int) -> None:
        if sys.platform != "linux":
            return  # nobody else lets one limit another process: what remains is the time
        import resource

        seconds = int(2 * self.time_limit + COMPILE_SECONDS) + 1
        try:
            resource.prlimit(pid, resource.RLIMIT_CPU, (seconds, seconds))
            if self.memory_limit is not None:
                resource.prlimit(pid, resource.RLIMIT_DATA, (self.memory_limit, self.memory_limit))
        except ProcessLookupError:
            pass  # it has ended already, and will be asked why

    def _verdict(self, output: str, errors: str, code: int) -> Verdict:
        last = errors.strip().rpartition("\n")[2]
        try:
            # Before the analysis there may be a log: elle-cli's goes to standard output as well.
            analysis = json.loads(output[output.index("{") :])
        except ValueError:
            why = f"ended by signal {-code}" if code < 0 else f"ended with code {code}"
            if "MemoryError" in errors:
                why = "was out of memory"
            return _unknown(f"Not judged: {self._command()[0]} {why}{': ' + last if last else ''}")
        if "verdict" in analysis:
            return msgspec.convert(analysis["verdict"], Verdict)
        return self._from_elle(analysis)

    def _from_elle(self, analysis: dict[str, Any]) -> Verdict:
        """Elle's own analysis as a verdict."""
        valid = {True: "valid", False: "invalid"}.get(analysis.get("valid?", "unknown"), "unknown")
        types = analysis.get("anomaly-types") or []
        cases = [
            (name, case)
            for name in types
            for case in (
                analysis["anomalies"].get(name) if isinstance(analysis["anomalies"].get(name), list) else []
            )
        ]
        models = ", ".join(self.consistency_models)
        found = (
            f"Not {models}: {', '.join(types)}" if valid == "invalid" else f"Not decided: {', '.join(types)}"
        )
        return msgspec.convert(
            {
                "checker": self.name,
                "valid": valid,
                "summary": f"No anomaly that {models} forbids." if valid == "valid" else f"{found}.",
                "evidence": [
                    msgspec.to_builtins(_evidence(name, case)) for name, case in cases[:EVIDENCE_MAX]
                ],
                "details": {
                    "workload": self.workload,
                    "consistency models": list(self.consistency_models),
                    "not": analysis.get("not") or [],
                    "also not": analysis.get("also-not") or [],
                },
            },
            Verdict,
        )


@dataclass(frozen=True, slots=True)
class TransactionsHere:
    """The checker, in the process of whoever asks (`Transactions.here`)."""

    workload: Workload
    consistency_models: Sequence[str]

    @property
    def name(self) -> str:
        return "transactions"

    def check(self, history: History) -> Verdict:
        from checkers.elle import analysis

        options = analysis.Options(tuple(self.consistency_models), ANOMALIES)
        try:
            return analysis.analyse(from_history(history), self.workload, options).verdict()
        except NotTransactions as error:
            return _unknown(f"Not judged: {error}.")


def _unknown(summary: str) -> Verdict:
    return Verdict(checker="transactions", valid="unknown", summary=summary)


def _evidence(name: str, case: dict[str, Any]) -> Evidence:
    """A case as Elle has it: a cycle whose first operation comes again at its end, or single operations."""
    cycle = case.get("cycle") or []
    ops = cycle[:-1] or [case[key] for key in ("op", "writer") if isinstance(case.get(key), dict)]
    steps = case.get("steps") or []
    details: dict[str, Any] = {"kind": name}
    if steps:
        details["cycle"] = [
            {"op": op["index"], "text": json.dumps(op.get("value")), "edge": step["type"], "why": _step(step)}
            for op, step in zip(ops, steps, strict=True)
        ]
    summary = "; ".join(f"{one['text']} ({one['edge']}: {one['why']})" for one in details.get("cycle", []))
    return Evidence(
        summary=f"{name}: {summary or json.dumps(case)[:300]}",
        operations=sorted({op["index"] for op in ops if isinstance(op.get("index"), int)}),
        details=details,
    )


def _step(step: dict[str, Any]) -> str:
    if step.get("key") is None:
        return str(step["type"])
    return f"key {step['key']}: {step.get('value')} before {step.get(_AFTER)}"
