"""`splitbrain sweep`, `replay` and `shrink`.

Exit codes are those of `splitbrain check`; of a sweep, that of the weightiest outcome; 130 after Ctrl-C, but
for a sweep that had found a failure by then.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.arguments import count, positive

if TYPE_CHECKING:
    from harness.simulation.scenario import Scenario
    from harness.simulation.sweep import Plan

USAGE_ERROR = 64
BROKEN_INPUT = 65
INTERRUPTED = 130
"""As a shell says of what SIGINT has ended."""


def add(commands: Any) -> None:
    """Add the three commands to the parser's."""
    sweep = commands.add_parser("sweep", help="run many seeds in the simulator, and keep every failure")
    sweep.add_argument("--seeds", required=True, metavar="A:B", help="from A up to, and without, B; or one")
    sweep.add_argument("--jobs", type=count, help="processes (default: one per core)")
    sweep.add_argument(
        "--failures",
        type=Path,
        default=Path("failures"),
        metavar="DIR",
        help="where scenarios of failures go",
    )
    _add_plan(sweep, workload="all")
    sweep.set_defaults(run=_sweep)

    replay = commands.add_parser("replay", help="run a scenario, and make its report")
    replay.add_argument("scenario", type=Path, metavar="SCENARIO", help="a scenario's JSON file")
    replay.add_argument("--world", default="sim", help="where: sim, or a real one such as netns")
    replay.add_argument("--store", type=Path, default=Path("store"), metavar="DIR")
    replay.set_defaults(run=_replay)

    shrink = commands.add_parser("shrink", help="make a failing scenario small, and print it as a test")
    shrink.add_argument("scenario", metavar="SCENARIO|SEED", help="a scenario's JSON file, or a seed")
    shrink.add_argument("--runs", type=count, metavar="N", help="how many runs it may take (default: 1500)")
    shrink.add_argument("--out", type=Path, metavar="FILE", help="where the small scenario goes")
    _add_plan(shrink, workload="register")
    shrink.set_defaults(run=_shrink)


def _add_plan(parser: argparse.ArgumentParser, workload: str) -> None:
    parser.add_argument(
        "--workload", default=workload, help=f"all, or by comma, also module:Class (default: {workload})"
    )
    parser.add_argument("--nemesis", default="swarm", help="as for pytest; swarm: another mixture per seed")
    parser.add_argument("--system", default="proconsul", help="also module:Class (default: proconsul)")
    parser.add_argument("--agent", help="run this command as the system's agent")
    parser.add_argument("--reads", default="consistent", choices=("consistent", "default", "stale"))
    parser.add_argument("--nodes", type=count, default=5)
    parser.add_argument("--servers", type=count)
    parser.add_argument("--concurrency", type=count, default=10)
    parser.add_argument("--rate", type=positive, metavar="HZ")
    parser.add_argument("--time-limit", type=positive, metavar="SECONDS")
    parser.add_argument("--op-timeout", type=positive, default=5.0, metavar="SECONDS")
    parser.add_argument("--setting", action="append", default=[], metavar="NAME=VALUE")


def _plan(options: argparse.Namespace) -> Plan:
    """Raises ValueError, UnknownName, NemesisError."""
    import workloads
    from harness.cli import test_of, unpromised
    from harness.simulation.sweep import Plan

    if options.servers is not None and options.servers > options.nodes:
        raise ValueError(f"--servers={options.servers}: there are only {options.nodes} nodes")
    for setting in options.setting:
        if "=" not in setting:
            raise ValueError(f"--setting={setting}: must be NAME=VALUE")
    try:
        agent = shlex.split(options.agent) if options.agent else None
    except ValueError as error:
        raise ValueError(f"--agent={options.agent}: {error}") from error
    plan = Plan(
        workloads=tuple(workloads.named(options.workload)),
        nemesis=options.nemesis,
        system=options.system,
        agent=agent,
        reads=options.reads,
        nodes=options.nodes,
        servers=options.servers or min(options.nodes, 5),
        concurrency=options.concurrency,
        rate=options.rate,
        time_limit=options.time_limit,
        operation_timeout=options.op_timeout,
        extra=dict(setting.split("=", 1) for setting in options.setting),
    )
    for workload in plan.workloads:
        if why := unpromised(test_of(plan.record(workload, 0))):
            raise ValueError(f"--workload={workload}: {why}")
    return plan


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _complain(line: str, code: int) -> int:
    sys.stderr.write(line + "\n")
    return code


# --- splitbrain sweep ---------------------------------------------------------------------------------------


def _sweep(options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.live import Live

    from harness.judge import weightiest
    from harness.registry import UnknownName
    from harness.simulation.sweep import Seed, Tally, parse_seeds, sweep
    from harness.store import EXIT_CODES
    from nemesis import NemesisError

    try:
        seeds, plan = parse_seeds(options.seeds), _plan(options)
    except (ValueError, UnknownName, NemesisError) as error:
        return _complain(f"splitbrain sweep: {error}", USAGE_ERROR)
    if options.failures.exists() and not options.failures.is_dir():
        return _complain(f"splitbrain sweep: --failures={options.failures}: is no folder", USAGE_ERROR)
    console = Console(highlight=False)
    told = 0.0
    tally, interrupted = Tally(), False
    with Live("", console=console, transient=True, refresh_per_second=4) as live:

        def on_seed(seed: Seed, tally: Tally) -> None:
            nonlocal told
            if seed.failure is not None:
                console.print(
                    f"{seed.workload}, seed {seed.seed}: {seed.failure}: {seed.summary}", soft_wrap=True
                )
            live.update(tally.line())
            if not console.is_terminal and time.monotonic() - told > 10:
                told = time.monotonic()
                console.print(tally.line())

        try:
            sweep(plan, seeds, jobs=options.jobs, failures=options.failures, on_seed=on_seed, tally=tally)
        except KeyboardInterrupt:
            interrupted = True
    for line in tally.lines():
        _say(line)
    if tally.kept:
        _say(f"scenarios of the failures are in {options.failures}: splitbrain shrink makes them small")
    if interrupted:
        _say("stopped by Ctrl-C before all seeds were run")
        if not tally.failures:
            return INTERRUPTED
    return EXIT_CODES[weightiest(tally.outcomes)]


# --- splitbrain replay --------------------------------------------------------------------------------------


def _replay(options: argparse.Namespace) -> int:
    from harness import registry
    from harness.recorder import Unwritable
    from harness.simulation import words
    from harness.simulation.replay import replay
    from harness.simulation.scenario import BrokenScenario, read
    from harness.store import EXIT_CODES, StoreError
    from nemesis import NemesisError

    try:
        scenario = read(options.scenario)
        scenario.test(options.world)  # so that what cannot be run is told before anything else
        _say(words.script(scenario))
        directory, results, notes = replay(scenario, options.world, options.store)
    except BrokenScenario as error:
        return _complain(f"splitbrain replay: {error}", BROKEN_INPUT)
    except (registry.UnknownName, NemesisError, StoreError, Unwritable, OSError) as error:
        return _complain(f"splitbrain replay: {error}", USAGE_ERROR)
    except asyncio.CancelledError:  # before the first operation, or by a second Ctrl-C
        return _complain("splitbrain replay: stopped by Ctrl-C", INTERRUPTED)
    for note in notes:
        _say(f"note: {note}")
    _say(f"{results.outcome}: {results.summary}")
    _say(f"report: {directory / 'report.html'}")
    return EXIT_CODES[results.outcome]


# --- splitbrain shrink --------------------------------------------------------------------------------------


def _shrink(options: argparse.Namespace) -> int:
    from harness.cli import workload
    from harness.registry import UnknownName
    from harness.simulation import words
    from harness.simulation.scenario import BrokenScenario, encode, read, simulate, simulate_seed
    from harness.simulation.shrink import RUNS_MAX, NotFailing, shrink
    from nemesis import NemesisError

    small: Scenario | None = None

    def on_progress(scenario: Scenario, runs: int) -> None:
        nonlocal small
        small = scenario
        sys.stderr.write(f"\r{runs:5} runs: {scenario.size()}".ljust(79))
        sys.stderr.flush()

    path, record, interrupted = Path(options.scenario), None, False
    try:
        if options.scenario.isdecimal():
            plan = _plan(options)
            if len(plan.workloads) != 1:
                return _complain("splitbrain shrink: a seed needs one --workload", USAGE_ERROR)
            record = plan.record(plan.workloads[0], int(options.scenario))
            path = Path(f"{workload(plan.workloads[0]).name}-{options.scenario}.json")
        else:
            scenario = read(path)
    except BrokenScenario as error:
        return _complain(f"splitbrain shrink: {error}", BROKEN_INPUT)
    except (UnknownName, NemesisError, ValueError, OSError) as error:
        return _complain(f"splitbrain shrink: {error}", USAGE_ERROR)
    out = options.out or path.with_suffix(".small.json")
    if not out.parent.is_dir():  # told before it takes minutes
        return _complain(f"splitbrain shrink: {out}: there is no folder {out.parent}", USAGE_ERROR)
    try:
        if record is not None:
            scenario = simulate_seed(record).scenario
        small = shrink(scenario, runs_max=options.runs or RUNS_MAX, on_progress=on_progress)
    except (NotFailing, UnknownName, NemesisError) as error:
        return _complain(f"splitbrain shrink: {error}", USAGE_ERROR)
    except KeyboardInterrupt:
        if small is None:
            return _complain("splitbrain shrink: stopped by Ctrl-C before anything was found", INTERRUPTED)
        interrupted = True
    sys.stderr.write("\n")
    try:
        out.write_bytes(encode(small))
        kept = f"scenario: {out}"
    except OSError as error:  # what was found must not be lost: it is in the test, too
        kept = f"the scenario could not be written: {error}"
    _say(words.script(small, None if interrupted else simulate(small)))
    _say("")
    _say(words.test(small))
    _say(kept)
    if interrupted:
        _say("stopped by Ctrl-C: it may become smaller yet")
        return INTERRUPTED
    return 0
