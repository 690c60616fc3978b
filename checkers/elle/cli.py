"""The command `elle-py`: elle-cli's options and output, for the same histories.

    elle-py -m MODEL [options] FILE...

One line a file on standard output: the file's name, a tab, and `true`, `false` or `unknown`; why, on standard
error. With --verbose (or --output=json) the whole analysis as JSON instead, in Elle's form, and beside it our
own verdict.

Exit codes: 0 if nothing is false (also if something is unknown), 1 if something is, or for wrong options; 255
if a file is missing or broken.

Files are EDN or JSON, whatever their content says, unless --format tells which they must be.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from harness.history import BrokenHistory

if TYPE_CHECKING:
    from checkers import Checker
    from checkers.elle.transactions import Workload
    from harness.verdict import Verdict

WRONG_OPTIONS = 1
FAILED = 255

TRANSACTIONS = ("list-append", "rw-register")
_RESULTS = {"valid": "true", "invalid": "false", "unknown": "unknown"}


@dataclass(frozen=True, slots=True)
class Options:
    """The command line, understood."""

    model: str
    files: list[str]
    """As they were given: so they are told."""
    format: str | None
    json: bool
    models: tuple[str, ...]
    anomalies: tuple[str, ...]
    cycle_search_timeout: int
    directory: Path | None
    max_plot_bytes: int
    group_size: int
    negative_balances: bool
    total_amount: int | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = _parser()
    parsed = parser.parse_args(arguments)
    if parsed.model is None or parsed.help:
        sys.stdout.write(parser.format_help())
        return 0
    options = _understood(parser, parsed)
    _hear_of_compilation()
    codes = set()
    for file in options.files:
        try:
            codes.add(_judge(file, options))
        except (BrokenHistory, OSError) as error:
            _complain(f"elle-py: {error}")
            return FAILED
    return max(codes, default=0)


def _hear_of_compilation() -> None:
    from harness.compilation import HEARD

    HEARD.tell = lambda line: _complain(f"elle-py: {line}")


def _complain(line: str) -> None:
    sys.stderr.write(line + "\n")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_OPTIONS, f"elle-py: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="elle-py",
        usage="elle-py -m MODEL [options] FILE...",
        description="Checks histories of transactions (and of a few other things) for anomalies.",
        add_help=False,
    )
    add = parser.add_argument
    add("files", nargs="*", metavar="FILE")
    add("-m", "--model", choices=[*_CHECKERS, *TRANSACTIONS], metavar="MODEL", help=", ".join(_models()))
    add("-f", "--format", choices=("edn", "json"), help="what the files must be (their content tells anyway)")
    add("-v", "--verbose", action="store_true", help="print the analysis as JSON")
    add("--output", choices=("text", "json"), default="text", help="json: as --verbose")
    add("-h", "--help", action="store_true", help="print this")
    elle = parser.add_argument_group("list-append and rw-register")
    add = elle.add_argument
    add("-c", "--consistency-models", default="strict-serializable", metavar="A,B", help="what is promised")
    add("-a", "--anomalies", default="G0", metavar="A,B", help="what is forbidden besides")
    add("-s", "--cycle-search-timeout", type=int, default=1000, metavar="MS", help="per component")
    add("-d", "--directory", type=Path, help="where to write explanations and pictures")
    add("-p", "--plot-format", choices=("svg", "png"), default="svg", help="pictures are SVG in any case")
    add("-t", "--plot-timeout", type=int, default=5000, metavar="MS", help="accepted: drawing takes no time")
    add("-b", "--max-plot-bytes", type=int, default=65536, metavar="N", help="no picture larger than that")
    others = parser.add_argument_group("other models")
    add = others.add_argument
    add("-g", "--group-size", type=int, default=0, metavar="N", help="long-fork: keys of a group")
    add("-n", "--allow-negative-balances", action="store_true", help="bank")
    add("-o", "--total-amount", type=int, metavar="N", help="bank: of all balances; else the first read's")
    add("--max-transfer", type=int, metavar="N", help="bank: accepted; no verdict depends on it")
    return parser


def _understood(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> Options:
    from checkers.elle import consistency

    models, anomalies = _names(parsed.consistency_models), _names(parsed.anomalies)
    try:
        consistency.forbidden(models, anomalies)
    except consistency.UnknownName as error:
        parser.error(str(error))
    if parsed.plot_format == "png":
        _complain("elle-py: pictures are written as SVG")
    return Options(
        model=parsed.model,
        files=parsed.files,
        format=parsed.format,
        json=parsed.verbose or parsed.output == "json",
        models=models,
        anomalies=anomalies,
        cycle_search_timeout=parsed.cycle_search_timeout,
        directory=parsed.directory,
        max_plot_bytes=parsed.max_plot_bytes,
        group_size=parsed.group_size,
        negative_balances=parsed.allow_negative_balances,
        total_amount=parsed.total_amount,
    )


def _names(text: str) -> tuple[str, ...]:
    """Elle's keywords, with or without the colon."""
    return tuple(name.removeprefix(":") for name in text.split(",") if name)


# --- One file ------------------------------------------------------------------------------------------


def _judge(file: str, options: Options) -> int:
    """Print what is to be said of the file; the exit code for it. Raises BrokenHistory, OSError."""
    if options.format is not None:
        _check_format(file, options.format)
    try:
        verdict, analysis = (
            _transactions(file, options) if options.model in TRANSACTIONS else _other(file, options)
        )
    except MemoryError:
        _complain(f"{file}: out of memory")
        verdict, analysis = None, {"valid?": "unknown", "error": "out of memory"}
    result = "unknown" if verdict is None else _result(options.model, verdict)
    if options.json:
        import json

        sys.stdout.write(json.dumps(analysis, indent=1) + "\n")
    else:
        sys.stdout.write(f"{file} \t {result}\n")
        if verdict is not None and result != "true":
            _complain(f"{file}: {verdict.summary}")
            for evidence in verdict.evidence[:1]:
                _complain(f"  {evidence.summary}")
    sys.stdout.flush()
    return 1 if result == "false" else 0


def _check_format(file: str, wanted: str) -> None:
    """Raises BrokenHistory if the file is of another format than it must be."""
    with Path(file).open("rb") as opened:
        head = opened.read(4096)
    is_json = re.match(rb'\s*\[?\s*\{\s*"', head) is not None
    empty = re.fullmatch(rb"\s*(?:\[\s*\]\s*)?", head)  # is both
    if not empty and is_json != (wanted == "json"):
        raise BrokenHistory(file, 1, f"not {wanted.upper()}: {head[:40]!r}")


def _result(model: str, verdict: Verdict) -> str:
    if model == "counter" and verdict.details.get("reads") == 0:
        return "true"  # nothing contradicts it, says elle-cli; `splitbrain check` calls it unknown
    return _RESULTS[verdict.valid]


def _transactions(file: str, options: Options) -> tuple[Verdict, dict[str, Any]]:
    from checkers.elle import analysis, artifacts, reader
    from checkers.elle.transactions import NotTransactions
    from harness.verdict import Verdict

    chosen = analysis.Options(options.models, options.anomalies, options.cycle_search_timeout)
    try:
        workload: Workload = "list-append" if options.model == "list-append" else "rw-register"
        found = analysis.analyse(reader.read(file), workload, chosen)
    except NotTransactions as error:
        verdict = Verdict(checker="transactions", valid="unknown", summary=f"Not judged: {error}.")
        return verdict, _other_analysis(verdict)
    if options.directory is not None:
        many = len(options.files) > 1
        artifacts.write(
            found, options.directory / Path(file).stem if many else options.directory, options.max_plot_bytes
        )
    return found.verdict(), artifacts.as_elle(found)


def _other(file: str, options: Options) -> tuple[Verdict, dict[str, Any]]:
    from checkers.compose import guarded
    from harness import history_formats

    history = history_formats.read(file, nameless=options.model in ("long-fork", "comments"))
    for warning in history.warnings:
        _complain(warning)
    verdict = guarded(_CHECKERS[options.model](options), history)
    return verdict, _other_analysis(verdict)


def _other_analysis(verdict: Verdict) -> dict[str, Any]:
    import msgspec

    valid: Any = {"valid": True, "invalid": False}.get(verdict.valid, "unknown")
    return {"valid?": valid, "verdict": msgspec.to_builtins(verdict)}


# --- The other models ----------------------------------------------------------------------------------


def _bank(options: Options) -> Checker:
    from checkers.bank import Bank

    return Bank(options.total_amount, options.negative_balances)


def _cas_register(options: Options) -> Checker:
    from checkers.linearizable import Linearizable

    return Linearizable("cas-register")


def _comments(options: Options) -> Checker:
    from checkers.comments import Comments

    return Comments()


def _counter(options: Options) -> Checker:
    from checkers.counter import Counter

    return Counter()


def _long_fork(options: Options) -> Checker:
    from checkers.long_fork import LongFork

    return LongFork(options.group_size)


def _mutex(options: Options) -> Checker:
    from checkers.linearizable import Linearizable

    return Linearizable("mutex")


def _sequential(options: Options) -> Checker:
    from checkers.sequential import Sequential

    return Sequential()


def _set(options: Options) -> Checker:
    from checkers.set import Set

    return Set()


def _set_full(options: Options) -> Checker:
    from checkers.set_full import SetFull

    return SetFull()


_CHECKERS: Mapping[str, Callable[[Options], Checker]] = {
    "bank": _bank,
    "cas-register": _cas_register,
    "comments": _comments,
    "counter": _counter,
    "long-fork": _long_fork,
    "mutex": _mutex,
    "sequential": _sequential,
    "set": _set,
    "set-full": _set_full,
}


def _models() -> list[str]:
    return sorted([*_CHECKERS, *TRANSACTIONS])
