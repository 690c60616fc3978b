"""The `splitbrain` command: everything that is not a test run.

    splitbrain check [--model=MODEL] [--failed-cas=dropped|observed] [--keyed] RUN|STORE|FILE...
    splitbrain sweep --seeds=A:B [--workload=a,b] [--nemesis=swarm] [...]
    splitbrain replay [--world=sim|netns] SCENARIO
    splitbrain shrink SCENARIO|SEED [...]
    splitbrain export RUN|FILE HISTORY.edn|HISTORY.json
    splitbrain clean [--keep=N] [STORE]

Exit codes: 0 valid, 1 invalid, 2 unknown, 3 no liveness, 4 an agent crashed on its own, 5 set-up or injection
failed, 64 wrong usage, 65 broken input, 70 a bug of splitbrain's own. With several inputs, broken input
first, then the weightiest outcome.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from harness.store import Outcome, Results, TestRecord
    from harness.test import Checker, Test, Workload

USAGE_ERROR = 64
BROKEN_INPUT = 65
OWN_BUG = 70
"""(sysexits.h: EX_SOFTWARE.) Python's own exit code for an exception is that of a broken promise."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except Exception:
        traceback.print_exc()
        return OWN_BUG
    return code


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _complain(line: str) -> None:
    sys.stderr.write(line + "\n")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USAGE_ERROR, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="splitbrain",
        description="Judge, export and clean the results of runs; find and shrink failures in the simulator.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    check = commands.add_parser("check", help="judge stored runs or foreign histories, one verdict a line")
    check.add_argument(
        "--model",
        help="check for linearizability against this model, instead of what the run was made for "
        "(of a bare history: cas-register): a name in checkers/models.py, or your own as module:Class; or by "
        "a checker in checkers/catalogue.py",
    )
    check.add_argument(
        "--elle-command",
        metavar="COMMAND",
        help="what judges transactions instead of elle-py, with elle-cli's options: 'java -jar elle-cli.jar'",
    )
    check.add_argument(
        "--failed-cas",
        choices=("dropped", "observed"),
        default="dropped",
        help="what a failed compare-and-set tells: nothing, or that the value was another",
    )
    check.add_argument(
        "--keyed", action="store_true", help="values are [key value] tuples of jepsen.independent"
    )
    check.add_argument(
        "paths", nargs="+", type=Path, metavar="RUN|STORE|FILE", help="a run's folder, a store, or a history"
    )
    check.set_defaults(run=_check)

    from harness.simulation import command_line

    command_line.add(commands)

    export = commands.add_parser("export", help="write a history as Jepsen's EDN or elle-cli's JSON")
    export.add_argument("path", type=Path, metavar="RUN|FILE", help="a run's folder, or a history")
    export.add_argument(
        "target", type=Path, metavar="HISTORY.edn|HISTORY.json", help="its ending says what is written"
    )
    export.set_defaults(run=_export)

    clean = commands.add_parser("clean", help="delete old runs from a store")
    clean.add_argument("--keep", type=int, default=0, metavar="N", help="but the newest N of each test")
    clean.add_argument("store", nargs="?", type=Path, default=Path("store"), metavar="STORE")
    clean.set_defaults(run=_clean)
    return parser


# --- What a record means -------------------------------------------------------------------------------


def test_of(record: TestRecord) -> Test:
    """The test that a record describes. Raises `registry.UnknownName` or `nemesis.NemesisError`."""
    import nemesis
    from harness import registry
    from harness.systems import Options
    from harness.test import Test
    from nemesis import schedule

    options = Options(
        nodes=tuple(record.nodes),
        servers=record.servers,
        reads=record.reads,
        agent=record.agent,
        extra=record.extra,
    )
    system, chosen = registry.system(record.system), workload(record.workload)
    timing = nemesis.Timing(
        record.time_limit, system.fault_seconds(options), chosen.long_fault_seconds(system, options)
    )
    if record.world == "sim":  # Where time costs nothing: as often as the seed draws.
        timing = schedule.varied(timing, Random(f"{record.seed}/timing"))
    return Test(
        name=record.name,
        system=system,
        options=options,
        workload=chosen,
        nemesis=nemesis.package(
            record.nemesis,
            capabilities=registry.world(record.world).capabilities,
            nodes=len(record.nodes),
            timing=timing,
            seed=record.seed,
        ),
        concurrency=record.concurrency,
        rate=record.rate,
        time_limit=record.time_limit,
        operation_timeout=record.operation_timeout,
        seed=record.seed,
    )


def workload(name: str) -> Workload:
    """The workload of that name, or of a class given as `module:Class`. Raises `registry.UnknownName`."""
    import workloads
    from harness import registry
    from harness.test import Workload

    made: Workload = registry.find("workload", name, workloads.registry(), Workload)
    return made


def checkers_of(test: Test) -> list[Checker]:
    """Everything that judges a run of the test."""
    return list(test.workload.checkers(test))


def checkers_here(test: Test) -> list[Checker]:
    """The same, none of them in a process of its own: for whoever judges many short runs."""
    from checkers.transactions import Transactions

    return [one.here() if isinstance(one, Transactions) else one for one in checkers_of(test)]


def unpromised(test: Test) -> str | None:
    """That the system promises nothing of the workload; None if it does."""
    if test.system.promise(test.workload.name, test.options) is not None:
        return None
    return f"{test.system.name} promises nothing of {test.workload.name} with --reads={test.options.reads}"


# --- splitbrain check ----------------------------------------------------------------------------------


def _check(options: argparse.Namespace) -> int:
    from checkers import catalogue
    from checkers.models import UnknownModel
    from harness import registry
    from harness.compilation import HEARD
    from harness.history import BrokenHistory
    from harness.judge import weightiest
    from harness.store import EXIT_CODES, StoreError
    from nemesis import NemesisError

    HEARD.tell = lambda line: _complain(f"splitbrain check: {line}")
    if options.model is not None:
        sys.path.insert(0, str(Path.cwd()))  # where one's own model is likely to be
        try:
            _checker(options)
        except UnknownModel as error:
            return _wrong(f"{error}; or {', '.join(catalogue.NAMES)}")
        except ValueError as error:
            return _wrong(f"--model={options.model}: {error}")
    outcomes: list[Outcome] = []
    broken = False
    for path in options.paths:
        if not path.exists():
            return _wrong(f"{path}: there is no such file or folder")
        histories = _histories(path)
        if not histories:
            broken = True
            _complain(f"{path}: broken: no history.jsonl in it")
        for history in histories:
            try:
                results = _judge(history, options)
            except (BrokenHistory, StoreError, registry.UnknownName, NemesisError, OSError) as error:
                broken = True
                _complain(f"{history}: broken: {error}")
                continue
            outcomes.append(results.outcome)
            _say(f"{history}: {results.outcome}: {results.summary}")
    return BROKEN_INPUT if broken else EXIT_CODES[weightiest(outcomes)]


def _wrong(message: str) -> int:
    _complain(f"splitbrain check: {message}")
    return USAGE_ERROR


def _histories(path: Path) -> list[Path]:
    """The run folders and files that an argument means."""
    if not path.is_dir() or (path / "history.jsonl").exists():
        return [path]
    return sorted(file.parent for file in path.glob("**/history.jsonl"))


def _checker(options: argparse.Namespace) -> Checker:
    """What --model means. Raises UnknownModel, ValueError."""
    from checkers.catalogue import checker_named
    from checkers.linearizable import Linearizable
    from checkers.models import model_named

    name = options.model or "cas-register"
    checker: Checker | None = checker_named(name, options.elle_command)
    if checker is None:
        model_named(name)
        checker = Linearizable(name, options.failed_cas)
    return checker


def _judge(path: Path, options: argparse.Namespace) -> Results:
    """Judge one run or history; a run that was killed before it was judged gets its results now."""
    from harness import history_formats, store
    from harness.judge import conclude, judge

    nameless = options.model is not None and options.model.partition(":")[0] in ("long-fork", "comments")
    history = history_formats.read(path, keyed=options.keyed, nameless=nameless, keep=True)
    for warning in history.warnings:
        _complain(warning)
    record_path = path / "test.json"
    if options.model is not None or not record_path.exists():
        return judge(history, [_checker(options)], [])
    test = test_of(store.read_test(path))
    checkers, safety_only = checkers_of(test), test.nemesis.safety_only
    try:
        earlier = store.read_results(path)
    except FileNotFoundError:
        return conclude(path, history, checkers, [], safety_only)
    return judge(history, checkers, earlier.problems, safety_only)


# --- splitbrain export ---------------------------------------------------------------------------------


def _export(options: argparse.Namespace) -> int:
    from harness import history_formats
    from harness.history import BrokenHistory

    write = history_formats.WRITERS.get(options.target.suffix)
    if write is None:
        _complain(
            f"splitbrain export: {options.target}: ends neither in {' nor in '.join(history_formats.WRITERS)}"
        )
        return USAGE_ERROR
    try:
        history = history_formats.read(options.path)
    except FileNotFoundError as error:
        _complain(f"splitbrain export: {error.filename}: there is no such file or folder")
        return USAGE_ERROR
    except (BrokenHistory, OSError) as error:
        _complain(f"{options.path}: broken: {error}")
        return BROKEN_INPUT
    try:
        write(history, options.target)
    except OSError as error:
        _complain(f"splitbrain export: {options.target}: cannot be written: {error.strerror}")
        return USAGE_ERROR
    for warning in history.warnings:
        _complain(warning)
    _say(f"{options.target}: {len(history)} events")
    return 0


# --- splitbrain clean ----------------------------------------------------------------------------------


def _clean(options: argparse.Namespace) -> int:
    from harness.store import runs

    if not options.store.is_dir():
        _complain(f"splitbrain clean: {options.store}: there is no such folder")
        return USAGE_ERROR
    seen: dict[str, int] = {}
    for directory in runs(options.store):  # the newest first
        test = directory.parent.name
        seen[test] = seen.get(test, 0) + 1
        if seen[test] > options.keep:
            shutil.rmtree(directory)
            _say(f"deleted {directory}")
    for folder in [options.store, *options.store.iterdir()]:
        link = folder / "latest"
        if link.is_symlink() and not link.exists():
            link.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
