"""The pytest plugin: the command line of a run, its progress, and how its outcome is told.

    pytest harness/ --nemesis=partition
    pytest harness/ --system=etcd --workload=register,set --nemesis=partition,kill --time-limit=60

Everything heavy is imported when a run begins, so that a pytest that runs none pays nothing.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.arguments import count, positive

if TYPE_CHECKING:
    from harness.history import History
    from harness.progress import Phases
    from harness.run import Problem
    from harness.store import Results, TestRecord
    from harness.test import Follower, Test
    from harness.worlds import Cluster, World

NIGHTLY = ("none", "partition", "kill", "pause", "partition,kill", "all")
"""The nemeses of `--nightly`."""

FIXTURE = "splitbrain_promise"
"""What a test asks for to be one run (named so that nobody else's fixture is meant)."""

_REAL_WORLD = "netns"
_SIMULATED_WORLD = "sim"
"""What a run is in where the machine cannot do the real one, if the command line does not say."""
_DEFAULT_SYSTEM = "proconsul"


@dataclass(frozen=True)
class _Option:
    """One option of ours: `--name`, kept as `splitbrain_name` so as not to meet another plugin's."""

    name: str
    help: str
    default: Any = None
    type: Callable[[str], Any] = str
    choices: Sequence[str] | None = None

    @property
    def destination(self) -> str:
        return "splitbrain_" + self.name.replace("-", "_")


_OPTIONS = (
    _Option("world", "where nodes live: netns, sim, memory, or module:Class (default: netns, or else sim)"),
    _Option("system", "what is tested: proconsul, etcd, memory, or module:Class", _DEFAULT_SYSTEM),
    _Option(
        "workload",
        "all, or comma-separated: register, set, session, watch, append, wr, gossip, or module:Class "
        "(default: register,set,gossip; with --nightly: all)",
    ),
    _Option(
        "nemesis",
        "none, all, swarm, or comma-separated: partition, kill, pause, and in the simulator power, "
        "crash-point, network, clock, disk, broken-disk (default: none)",
        "none",
    ),
    _Option("nodes", "how many nodes (default: 5)", 5, count),
    _Option("servers", "how many of them are servers (default: all, at most 5)", None, count),
    _Option("datacenters", "how many datacenters (only 1 for now)", 1, count),
    _Option("concurrency", "how many clients at a time (default: 10)", 10, count),
    _Option("rate", "operations per second of all clients (default: the workload's)", None, positive),
    _Option("time-limit", "seconds of the main phase (default: the workload's)", None, positive),
    _Option("seed", "what decides all that is random (default: another one each time)", None, int),
    _Option("store", "folder of the results (default: store)", "store"),
    _Option("reads", "how clients read", "consistent", choices=("consistent", "default", "stale")),
    _Option("agent", "run this command as the system's agent, instead of its own"),
    _Option(
        "op-timeout", "seconds until an operation's outcome counts as unknown (default: 5)", 5.0, positive
    ),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("splitbrain", "splitbrain: distributed systems under faults")
    for option in _OPTIONS:
        settings: dict[str, Any] = {
            "dest": option.destination,
            "help": option.help,
            "default": option.default,
        }
        if option.choices:
            settings["choices"] = option.choices
        else:
            settings["type"] = option.type
        group.addoption(f"--{option.name}", **settings)
    group.addoption(
        "--nightly",
        dest="splitbrain_nightly",
        action="store_true",
        help=f"every workload under every nemesis: {'; '.join(NIGHTLY)}",
    )
    group.addoption(
        "--stop-on-violation",
        dest="splitbrain_stop_on_violation",
        action="store_true",
        help="end a run at the first event that breaks its promise, and keep the cluster to be looked at",
    )
    group.addoption(
        "--setting",
        dest="splitbrain_setting",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the system's own (may be repeated)",
    )


def _value(config: pytest.Config, name: str) -> Any:
    return getattr(config.option, "splitbrain_" + name)


_HEADER: pytest.StashKey[list[str]] = pytest.StashKey()
_NO_REAL_WORLD: pytest.StashKey[str | None] = pytest.StashKey()
"""Why this machine cannot do the real world, where nobody asked for another."""
_OUTCOMES: pytest.StashKey[list[tuple[str, Path, Results]]] = pytest.StashKey()

# --- Which tests there are -----------------------------------------------------------------------------


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A `splitbrain_promise` argument stands for every workload times every nemesis of the command line."""
    if FIXTURE not in metafunc.fixturenames:
        return
    config = metafunc.config
    plans = [(workload, nemesis) for workload in _workloads(config) for nemesis in _nemeses(config)]
    metafunc.parametrize(FIXTURE, plans, ids=["-".join(plan) for plan in plans], indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """Check the command line before anything runs. (Here, and not above, a UsageError is told as one.)"""
    if any(FIXTURE in getattr(item, "fixturenames", ()) for item in items):
        _check_options(config)
        config.stash[_HEADER] = _header(config)


def _workloads(config: pytest.Config) -> list[str]:
    import workloads

    if (asked := _value(config, "workload")) is None:
        return list(workloads.registry() if _value(config, "nightly") else workloads.DEFAULT)
    return workloads.named(asked)


def _nemeses(config: pytest.Config) -> Sequence[str]:
    return NIGHTLY if _value(config, "nightly") else [_value(config, "nemesis")]


def _check_options(config: pytest.Config) -> None:
    """Raise UsageError with what is wrong with the command line."""
    from harness import registry
    from nemesis import NemesisError

    if _value(config, "datacenters") != 1:
        raise pytest.UsageError("--datacenters: only one datacenter can be run yet")
    servers, nodes = _value(config, "servers"), _value(config, "nodes")
    if servers is not None and servers > nodes:
        raise pytest.UsageError(f"--servers={servers}: there are only {nodes} nodes")
    for setting in _value(config, "setting"):
        if "=" not in setting:
            raise pytest.UsageError(f"--setting={setting}: must be NAME=VALUE")
    if _value(config, "world") is None:
        config.stash[_NO_REAL_WORLD] = registry.world(_REAL_WORLD).missing()
        possible = config.stash[_NO_REAL_WORLD] is None
        config.option.splitbrain_world = _REAL_WORLD if possible else _SIMULATED_WORLD
    if _value(config, "seed") is None:
        # Drawn here so that all tests of this session share it and a rerun needs to be told but one.
        config.option.splitbrain_seed = int.from_bytes(os.urandom(4))
    try:
        registry.world(_value(config, "world"))
        for workload in _workloads(config):
            for nemesis in _nemeses(config):
                unpromised = _unpromised(_test_of(_record(config, workload, nemesis)))
                if unpromised and _value(config, "workload") not in (None, "all"):
                    # Who names it wants it judged; a skip would pass for that.
                    raise pytest.UsageError(f"--workload={workload}: {unpromised}")
    except (registry.UnknownName, NemesisError) as error:
        raise pytest.UsageError(str(error)) from error


def _test_of(record: TestRecord) -> Test:
    from harness.cli import test_of

    return test_of(record)


def _unpromised(test: Test) -> str | None:
    from harness.cli import unpromised

    return unpromised(test)


def _record(config: pytest.Config, workload: str, nemesis: str) -> TestRecord:
    """What the command line says of one run."""
    from harness.cli import workload as workload_of
    from harness.store import TestRecord, now

    nodes = [f"n{number}" for number in range(1, _value(config, "nodes") + 1)]
    defaults = workload_of(workload)
    agent = _value(config, "agent")
    return TestRecord(
        name=re.sub(r"[^\w.-]+", "-", f"{defaults.name}-{nemesis}"),
        started=now(),
        command=_command(config, workload, nemesis),
        seed=_value(config, "seed"),
        world=_value(config, "world"),
        system=_value(config, "system"),
        workload=workload,
        nemesis=nemesis,
        nodes=nodes,
        servers=_value(config, "servers") or min(len(nodes), 5),
        reads=_value(config, "reads"),
        agent=shlex.split(agent) if agent else None,
        concurrency=_value(config, "concurrency"),
        rate=_value(config, "rate") or defaults.rate,
        time_limit=_value(config, "time_limit") or defaults.time_limit,
        operation_timeout=_value(config, "op_timeout"),
        promise="",
        marks=[],
        extra=dict(setting.split("=", 1) for setting in _value(config, "setting")),
    )


def _command(config: pytest.Config, workload: str, nemesis: str) -> list[str]:
    """The argv that does this one run again."""
    paths = [arg for arg in config.invocation_params.args if not str(arg).startswith("-")]
    if config.option.pyargs:
        targets = ["--pyargs", *map(str, paths)]
    else:
        targets = [str(path) for path in paths if Path(str(path).split("::")[0]).exists()] or ["harness/"]
    command = ["pytest", *targets, f"--workload={workload}", f"--nemesis={nemesis}"]
    for option in _OPTIONS:
        value = getattr(config.option, option.destination)
        if option.name not in ("workload", "nemesis", "store") and value != option.default:
            command.append(
                f"--{option.name}={value:g}" if option.type is positive else f"--{option.name}={value}"
            )
    if _value(config, "stop_on_violation"):
        command.append("--stop-on-violation")
    return command + [f"--setting={setting}" for setting in _value(config, "setting")]


# --- One run -------------------------------------------------------------------------------------------


@pytest.fixture
def splitbrain_promise(request: pytest.FixtureRequest) -> Promise:
    """One workload under one nemesis; skips, with the reason, if nothing is promised of it.

    (Who named the workload was told before anything ran: `_check_options`.)
    """
    workload, nemesis = request.param
    config: pytest.Config = request.config
    record = _record(config, workload, nemesis)
    test = _test_of(record)
    words = test.system.promise(test.workload.name, test.options)
    if words is None:
        pytest.skip(f"skipped: {_unpromised(test)}")
    record.promise = words
    return Promise(config, record, test)


class Promise:
    """One run that is to be done and judged."""

    def __init__(self, config: pytest.Config, record: TestRecord, test: Test) -> None:
        self._config = config
        self._record = record
        self._test = test

    def keep(self) -> None:
        """Do the run, and fail the test unless its outcome is `valid`."""
        from harness import store
        from harness.recorder import Unwritable

        try:
            directory, results = self._run()
        except (store.StoreError, Unwritable) as error:
            pytest.exit(str(error), returncode=store.EXIT_CODES["setup failed"])
        outcomes = self._config.stash.setdefault(_OUTCOMES, [])
        outcomes.append((self._record.name, directory, results))
        if any(problem.kind == "interrupted" for problem in results.problems):
            pytest.exit(f"interrupted; {self._record.name} so far: {results.outcome}, see {directory}")
        if results.outcome != "valid":
            pytest.fail(_explain(self._record, directory, results), pytrace=False)

    def _run(self) -> tuple[Path, Results]:
        """Run, check and write everything down."""
        from harness import registry, store
        from harness.compilation import HEARD
        from harness.history import History
        from harness.judge import conclude

        missing = self._missing()
        if missing:
            pytest.fail(f"{self._record.name}: setup failed: {missing}", pytrace=False)
        directory = store.create(Path(_value(self._config, "store")), self._record.name).resolve()
        self._describe()
        store.write_test(directory, self._record)
        world = registry.world(self._record.world)
        problems, phases = self._drive(world, directory)
        history = History.read(directory / "history.jsonl", keep=True)
        safety_only = self._test.nemesis.safety_only
        HEARD.tell = self._say
        results = conclude(directory, history, self._checkers(), problems, safety_only)
        if self._record.world == _SIMULATED_WORLD:
            self._spell_out(world, directory, history, phases, results)
        return directory, results

    def _spell_out(
        self, world: Any, directory: Path, history: History, phases: Phases, results: Results
    ) -> None:
        """A simulated run is also a scenario."""
        from harness.simulation import scenario

        failure = scenario.failure_of(results)
        spelt = scenario.spell_out(self._record, self._test, history, phases, world, failure)
        (directory / "scenario.json").write_bytes(scenario.encode(spelt))

    def _describe(self) -> None:
        """Complete the record by what is known only now."""
        from harness.store import MarkRecord, versions

        package = self._test.nemesis
        self._record.marks = [
            MarkRecord(name=mark.name, start=sorted(mark.start), stop=sorted(mark.stop), colour=mark.colour)
            for mark in package.marks
        ]
        self._record.skipped = dict(package.skipped)
        reason = self._config.stash.get(_NO_REAL_WORLD, None)
        if reason is not None:
            self._record.skipped[f"world {_REAL_WORLD}"] = f"simulated instead: {reason}"
        self._record.versions = versions()

    def _missing(self) -> str | None:
        """What is not there that the world or the system needs."""
        from harness import registry

        world = registry.world(self._record.world)
        return world.missing() or self._test.system.missing(self._test.options)

    def _checkers(self) -> list[Any]:
        from harness.cli import checkers_of

        return checkers_of(self._test)

    def _say(self, line: str) -> None:
        """A line that passes pytest's capture."""
        capture: Any = self._config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            sys.stdout.write(f"{self._record.name} {line}\n")

    def _drive(self, world: World, directory: Path) -> tuple[Sequence[Problem], Phases]:
        """The run itself, its progress shown through pytest's capture."""
        import asyncio

        from harness.inspection import keep
        from harness.progress import Phases, Progress
        from harness.run import run_in

        capture: Any = self._config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            # Who keeps the cluster to look at it presses Enter to let it go.
            capture.suspend_global_capture(in_=True)
            sys.stdout.write("\n")
            progress = Progress(self._record.name, self._test.nemesis.marks, sys.stdout)
            phases, followers = Phases(progress), self._followers()

            async def inspect(broken: str, cluster: Cluster) -> None:
                if _value(self._config, "stop_on_violation"):
                    await keep(broken, cluster, progress.say, terminal=0)

            try:
                with progress.shown():
                    problems = run_in(
                        self._test, world, directory, phases, followers=followers, inspect=inspect
                    )
                    return problems, phases
            except asyncio.CancelledError:
                raise KeyboardInterrupt from None
            finally:
                for follower in followers:
                    if follower.gave_up is not None:
                        progress.say(f"{follower.name} was not followed throughout: {follower.gave_up}")

    def _followers(self) -> Sequence[Follower]:
        from harness.test import Followed

        if _value(self._config, "stop_on_violation") and isinstance(self._test.workload, Followed):
            return self._test.workload.followers(self._test)
        return ()


# --- What is told ----------------------------------------------------------------------------------------


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """Say what is going to be run, if anything is."""
    return config.stash.get(_HEADER, [])


def _header(config: pytest.Config) -> list[str]:
    from harness.test import Followed

    lines = [
        f"splitbrain: {_value(config, 'system')} in world {_value(config, 'world')}, "
        f"seed {_value(config, 'seed')}, results in {Path(_value(config, 'store')).resolve()}"
    ]
    reason = config.stash.get(_NO_REAL_WORLD, None)
    if reason is not None:
        lines.append(f"splitbrain: simulated, since this machine cannot do {_REAL_WORLD}: {reason}")
    if _value(config, "stop_on_violation"):
        lines += [
            f"splitbrain: {name} cannot be followed: it is judged when it is over"
            for name in _workloads(config)
            if not isinstance(_test_of(_record(config, name, "none")).workload, Followed)
        ]
    unpromised = {name: _unpromised(_test_of(_record(config, name, "none"))) for name in _workloads(config)}
    skipped = {name: why for name, why in unpromised.items() if why is not None}
    for nemesis in _nemeses(config):
        skipped.update(_test_of(_record(config, _workloads(config)[0], nemesis)).nemesis.skipped)
    return lines + [f"splitbrain: skipping {name}: {why}" for name, why in skipped.items()]


def _explain(record: TestRecord, directory: Path, results: Results) -> str:
    """A failed run in plain words."""
    lines = [f"{record.name}: {results.outcome}: {results.summary}", "", f"promise: {record.promise}"]
    for verdict in results.verdicts:
        if verdict.valid != "valid":
            lines += ["", f"{verdict.checker}: {verdict.valid}: {verdict.summary}"]
            for evidence in verdict.evidence:
                lines.append(f"  - {evidence.summary}")
                if evidence.operations:
                    lines.append(f"    operations {', '.join(map(str, evidence.operations))}")
    lines += [f"problem: {problem.message}" for problem in results.problems]
    lines += ["", f"report: {directory / 'report.html'}", f"again:  {shlex.join(record.command)}"]
    return "\n".join(lines)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    outcomes = config.stash.get(_OUTCOMES, [])
    skipped = {
        report.nodeid.split("[")[-1].rstrip("]"): report.longrepr[2]
        for report in terminalreporter.stats.get("skipped", [])
        if "::test_promise[" in report.nodeid
    }
    if not outcomes and not skipped:
        return
    terminalreporter.section("splitbrain")
    width = max(len(name) for name in [*skipped, *(name for name, _, _ in outcomes)])
    for name, directory, results in outcomes:
        colour = {"valid": "green", "unknown": "yellow"}.get(results.outcome, "red")
        terminalreporter.write(f"{name:<{width}}  ")
        terminalreporter.write(f"{results.outcome:<16}", **{colour: True})
        terminalreporter.write(
            f"  {results.operations:>7,} ops in {results.seconds:5.1f} s  {directory / 'report.html'}\n"
        )
    for name, reason in skipped.items():
        terminalreporter.write(f"{name:<{width}}  {reason.removeprefix('Skipped: ')}\n", yellow=True)
