"""Simulated clusters: how programs are started, end, are heard and watched; what is the sim world's own."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sys
import textwrap
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from harness.worlds import CrashStep, Exit, SetupError
from harness.worlds.sim import NODES_MAX, Sim
from harness.worlds.sim.cluster import SimCluster
from harness.worlds.sim.departures import Departure
from harness.worlds.sim.loop import NotSimulated

NODES = ("n1", "n2", "n3")

Scenario = Callable[[SimCluster], Coroutine[Any, Any, None]]


@pytest.fixture
def on_cluster(tmp_path: Path) -> Callable[..., Sim]:
    """Runs a scenario on a cluster of three nodes; returns the world."""

    def run(scenario: Scenario, seed: int = 0) -> Sim:
        world = Sim()

        async def main() -> None:
            cluster = await world.open(NODES, tmp_path / "nodes", seed)
            try:
                await scenario(cluster)
            finally:
                await cluster.close()

        world.run(main())
        return world

    return run


OnCluster = Callable[..., Sim]


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], list[str]]:
    """The argv of a program: a file with some text."""
    count = 0

    def make(text: str, *arguments: str) -> list[str]:
        nonlocal count
        count += 1
        file = tmp_path / f"program_{count}.py"
        file.write_text(textwrap.dedent(text))
        return ["python", str(file), *arguments]

    return make


Make = Callable[..., list[str]]


def log_of(cluster: SimCluster, node: str = "n1") -> str:
    return (cluster.directory(node) / "log").read_text()


SLEEPER = """
    import asyncio
    def program(arguments):
        return run
    async def run(ports):
        await asyncio.sleep(1000)
        return 0
"""


# --- Starting


def test_a_program_gets_its_arguments_its_environment_and_its_ports(
    on_cluster: OnCluster, program: Make
) -> None:
    argv = program(
        """
        import os
        def program(arguments):
            environment = dict(os.environ)
            async def run(ports):
                print(arguments, environment["OF_THE_NODE"], "PATH" in environment)
                ports.disk.append("file", b"content")
                print(ports.disk.names(), ports.clock.wall_ns(), type(ports.random).__name__)
                return 0
            return run
        """,
        "-a",
        "b",
    )

    async def scenario(cluster: SimCluster) -> None:
        await cluster.start("n1", argv, {"OF_THE_NODE": "yes"})
        await asyncio.sleep(1)
        assert log_of(cluster) == "['-a', 'b'] yes True\n['file'] 1767225600000000000 Random\n"

    environment = dict(os.environ)
    on_cluster(scenario)
    assert dict(os.environ) == environment


def test_a_module_can_be_started_by_its_name(
    on_cluster: OnCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "startable"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(textwrap.dedent(SLEEPER))
    (package / "other.py").write_text(textwrap.dedent(SLEEPER))
    (package / "broken.py").write_text("import no_such_module\nprogram = None\n")
    for name, text in (("mainless", ""), ("unimportable", "1 / 0"), ("unfit", "import no_such_module")):
        (package / name).mkdir()
        (package / name / "__init__.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)

    async def scenario(cluster: SimCluster) -> None:
        await cluster.start("n1", ["python", "-m", "startable"], {})
        await cluster.start("n2", ["python", "-m", "startable.other"], {})
        for name, why in (
            ("startable.missing", "-m startable.missing: there is no such module"),
            ("nowhere.missing", "-m nowhere.missing: there is no such module"),
            ("startable.mainless", "-m startable.mainless: there is no such module"),
            ("startable.other.more", r"-m startable.other.more: there is no such module"),
            ("startable.unimportable", r"ZeroDivisionError: .* \(.*unimportable/__init__.py:1\)"),
            ("startable.unfit", r"No module named 'no_such_module' \(.*unfit/__init__.py:1\)"),
            ("startable.broken", r"No module named 'no_such_module' \(.*startable/broken.py:1\)"),
        ):
            with pytest.raises(SetupError, match=why):
                await cluster.start("n3", ["python", "-m", name], {})

    on_cluster(scenario)


def test_what_cannot_be_started_is_an_error_that_says_why(on_cluster: OnCluster, program: Make) -> None:
    async def scenario(cluster: SimCluster) -> None:
        for argv, why in (
            (["/bin/sh", "-c", "true"], "the sim world starts `python -m MODULE` and `python FILE.py`"),
            (["python", "/no/such.py"], r"/no/such\.py: No such file"),
            (program("def program(:"), r"SyntaxError: invalid syntax \(.*program_1.py:1\)"),
            (program("program = 1 / 0"), r"ZeroDivisionError: division by zero \(.*program_2.py:1\)"),
        ):
            with pytest.raises(SetupError, match=why):
                await cluster.start("n1", argv, {})
            assert not cluster.running("n1")
        assert cluster.exits == []

    on_cluster(scenario)


def test_a_script_finds_the_modules_beside_it_and_is_read_again_when_it_has_changed(
    on_cluster: OnCluster, program: Make, tmp_path: Path
) -> None:
    (tmp_path / "beside_it.py").write_text("CODE = 5\n")
    script = tmp_path / "program_1.py"
    argv = program("import beside_it\ndef program(arguments):\n    exit(beside_it.CODE)\n")

    async def scenario(cluster: SimCluster) -> None:
        await cluster.start("n1", argv, {})
        assert cluster.exits[-1].status == "exit status 5"
        script.write_text("def program(arguments):\n    exit(6)\n")
        os.utime(script, ns=(1, 1))
        await cluster.start("n1", argv, {})
        assert cluster.exits[-1].status == "exit status 6"

    on_cluster(scenario)


# --- Scripts: programs that know nothing of the simulator


SCRIPT = """
    import argparse
    import asyncio
    import os
    import random
    import time
    from time import monotonic

    EVERYBODYS = []

    async def main():
        parser = argparse.ArgumentParser()
        parser.add_argument("--name")
        name = parser.parse_args().name
        EVERYBODYS.append(name)
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "", 7000)
        began = time.monotonic()
        await asyncio.sleep(2)
        print(name, os.environ["OF_THE_NODE"], EVERYBODYS, monotonic() - began, time.time())
        print("drew", random.random())
        return 3

    if __name__ == "__main__":
        import sys
        sys.exit(asyncio.run(main()))
"""


def test_a_script_runs_as_it_is_in_a_process_of_its_own(on_cluster: OnCluster, program: Make) -> None:
    argv = {node: program(SCRIPT, "--name", node) for node in ("n1", "n2")}
    drawn: list[str] = []

    async def scenario(cluster: SimCluster) -> None:
        for node in argv:
            await cluster.start(node, [*argv["n1"][:2], *argv[node][2:]], {"OF_THE_NODE": f"{node}'s"})
        await asyncio.sleep(3)
        assert [(exit_.node, exit_.status) for exit_ in cluster.exits] == [
            ("n1", "exit status 3"),
            ("n2", "exit status 3"),
        ]
        for node in argv:
            said, drew = log_of(cluster, node).splitlines()[-2:]
            assert said == f"{node} {node}'s ['{node}'] 2.0 1767225602.0"
            drawn.append(drew)

    for _ in range(2):
        on_cluster(scenario)
    assert drawn[:2] == drawn[2:] and drawn[0] != drawn[1]


def test_what_a_script_may_read_it_reads_before_its_asyncio_run(
    on_cluster: OnCluster, program: Make, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text("configured")
    argv = program("""
        import asyncio, pathlib
        CONFIG = pathlib.Path(__file__).with_name("config")
        async def main():
            print(text, CONFIG.read_text())
        text = CONFIG.read_text()
        asyncio.run(main())
        """)

    async def scenario(cluster: SimCluster) -> None:
        await cluster.start("n1", argv, {})
        await asyncio.sleep(1)

    with pytest.raises(NotSimulated, match=r"n1 calls open\(.*config.* at .*: .* the disk port"):
        on_cluster(scenario)


@pytest.mark.parametrize(
    ("text", "status", "logged"),
    [
        ("print('done')", "exit status 64", "done\n.*came to its end without asyncio.run"),
        ("1 / 0", "exit status 70", "program_1.py.*line 1.*ZeroDivisionError: division by zero"),
        ("import sys; sys.exit('no')", "exit status 1", "no"),
        (
            "import argparse; argparse.ArgumentParser(prog='p').parse_args()",
            "exit status 2",
            "unrecognized arguments: --wrong",
        ),
        (
            "import asyncio\nasync def main(): 1 / 0\nasyncio.run(main())",
            "exit status 70",
            "line 2, in main.*ZeroDivisionError",
        ),
        (
            "import asyncio\nasync def other(): pass\nasync def main(): asyncio.run(other())\n"
            "asyncio.run(main())",
            "exit status 70",
            "RuntimeError: asyncio.run.. cannot be called from a running event loop",
        ),
    ],
)
def test_a_script_that_goes_wrong_says_so_in_its_log(
    text: str, status: str, logged: str, on_cluster: OnCluster, program: Make
) -> None:
    async def scenario(cluster: SimCluster) -> None:
        await cluster.start("n1", program(text, "--wrong"), {})
        await asyncio.sleep(1)
        assert cluster.exits == [Exit("n1", status, expected=False)]
        assert re.search(logged, log_of(cluster), re.DOTALL)

    on_cluster(scenario)


def test_a_script_that_is_started_as_a_module_is_run_by_the_process_alone(
    on_cluster: OnCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plainly.py").write_text(
        "import asyncio\n"
        "async def main(): print('ran as', __name__)\n"
        "print(__name__, 'is executed')\n"
        "asyncio.run(main())\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    async def scenario(cluster: SimCluster) -> None:
        await cluster.start("n1", ["python", "-m", "plainly"], {})
        await asyncio.sleep(1)
        assert cluster.exits == [Exit("n1", "exit status 0", expected=False)]
        assert log_of(cluster).splitlines() == ["__main__ is executed", "ran as __main__"]
        assert "plainly" not in sys.modules

    on_cluster(scenario)


def test_what_is_beside_a_module_does_not_stand_in_for_the_library(
    on_cluster: OnCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "shadowing"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "colorsys.py").write_text("")
    (package / "__main__.py").write_text(
        "import asyncio, colorsys\n"
        "async def main(): print(colorsys.rgb_to_hsv.__name__)\n"
        "asyncio.run(main())\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)

    async def scenario(cluster: SimCluster) -> None:
        await cluster.start("n1", ["python", "-m", "shadowing"], {})
        await asyncio.sleep(1)
        assert log_of(cluster) == "rgb_to_hsv\n"

    on_cluster(scenario)


@pytest.mark.parametrize("last", ["return 3", "sys.exit(3)", "raise Wrong"])
def test_the_tasks_that_a_script_leaves_behind_are_cancelled_and_end(
    on_cluster: OnCluster, program: Make, last: str
) -> None:
    argv = program(f"""
        import asyncio, sys
        class Wrong(Exception):
            code = 3
        async def left(name, seconds):
            try:
                await asyncio.sleep(100)
            finally:
                await asyncio.sleep(seconds)
                print(name, "ends")
        async def fails():
            try:
                await asyncio.sleep(100)
            finally:
                1 / 0
        async def main():
            tasks = [asyncio.create_task(left("a", 2)), asyncio.create_task(left("b", 1))]
            tasks.append(asyncio.create_task(fails()))
            await asyncio.sleep(1)
            print("main ends")
            {last}
        asyncio.run(main())
        """)

    async def scenario(cluster: SimCluster) -> None:
        await cluster.start("n1", argv, {})
        await asyncio.sleep(2.5)
        assert cluster.exits == []
        await asyncio.sleep(1)
        assert cluster.exits == [Exit("n1", "exit status 3", expected=False)]
        said = log_of(cluster)
        assert re.findall(r"^(main|a|b) ends$", said, re.MULTILINE) == ["main", "b", "a"]
        assert "unhandled exception during asyncio.run() shutdown" in said
        assert "ZeroDivisionError" in said

    on_cluster(scenario)


# --- Ending


@pytest.mark.parametrize(
    ("body", "status", "logged"),
    [
        ("return 0", "exit status 0", ""),
        ("return 7", "exit status 7", ""),
        ("return None", "exit status 0", ""),
        ("raise ValueError('why')", "exit status 70", "ValueError: why\n"),
        ("raise Coded('why')", "exit status 9", "why\n"),
        ("sys.exit(3)", "exit status 3", ""),
        ("sys.exit('why')", "exit status 1", "why\n"),
        ("os._exit(4)", "exit status 4", ""),
        ("os.abort()", "killed by SIGABRT", ""),
    ],
)
def test_a_program_that_ends_by_itself_is_reported_with_its_exit_code(
    body: str, status: str, logged: str, on_cluster: OnCluster, program: Make
) -> None:
    argv = program(f"""
        import os, sys
        class Coded(Exception):
            code = 9
        def program(arguments):
            return run
        async def run(ports):
            {body}
        """)

    async def scenario(cluster: SimCluster) -> None:
        told: list[Exit] = []
        cluster.on_exit(told.append)
        await cluster.start("n1", argv, {})
        await asyncio.sleep(1)
        assert cluster.exits == told == [Exit("n1", status, expected=False)]
        assert not cluster.running("n1")
        assert log_of(cluster).endswith(logged)
        assert ("Traceback" in log_of(cluster)) == (status == "exit status 70")
        await cluster.start("n1", argv, {})

    on_cluster(scenario)


@pytest.mark.parametrize(
    ("body", "status", "logged"),
    [
        (
            "argparse.ArgumentParser(prog='p').parse_args(['-x'])",
            "exit status 2",
            "unrecognized arguments: -x",
        ),
        ("raise ValueError('why')", "exit status 70", "ValueError: why"),
        ("raise Coded('why')", "exit status 64", "why"),
    ],
)
def test_a_command_line_that_the_program_refuses_ends_it(
    body: str, status: str, logged: str, on_cluster: OnCluster, program: Make
) -> None:
    argv = program(f"""
        import argparse
        class Coded(Exception):
            code = 64
        def program(arguments):
            {body}
        """)

    async def scenario(cluster: SimCluster) -> None:
        await cluster.start("n1", argv, {})
        assert cluster.exits == [Exit("n1", status, expected=False)]
        assert logged in log_of(cluster)

    on_cluster(scenario)


def test_a_process_without_a_handler_for_sigterm_is_stopped_at_once_and_a_paused_one_is_killed(
    on_cluster: OnCluster, program: Make
) -> None:
    handler = program("""
        import asyncio, signal
        def program(arguments):
            return run
        async def run(ports):
            asked = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
            await asked.wait()
            await asyncio.sleep(1)
            return 0
        """)

    async def scenario(cluster: SimCluster) -> None:
        loop = asyncio.get_running_loop()
        await cluster.start("n1", program(SLEEPER), {})
        await cluster.stop("n1")
        assert loop.time() == 0
        await cluster.start("n2", handler, {})
        await asyncio.sleep(1)
        await cluster.stop("n2")
        assert loop.time() == 2
        await cluster.start("n3", handler, {})
        await asyncio.sleep(1)
        await cluster.pause("n3")
        await cluster.stop("n3", timeout=5)
        assert loop.time() == 8
        assert cluster.exits == [
            Exit("n1", "killed by SIGTERM", expected=True),
            Exit("n2", "exit status 0", expected=True),
            Exit("n3", "killed by SIGKILL", expected=True),
        ]

    on_cluster(scenario)


def test_what_follows_from_an_end_is_the_harnesss_doing(on_cluster: OnCluster, program: Make) -> None:
    argv = program("def program(arguments):\n    return run\nasync def run(ports):\n    return 0\n")

    async def scenario(cluster: SimCluster) -> None:
        def ended(record: Exit) -> None:
            logging.getLogger("harness").warning("it ended at %d", time.time())
            if not tasks:
                tasks.append(asyncio.get_running_loop().create_task(again()))

        async def again() -> None:
            assert os.getpid() > 1000
            await cluster.start("n1", program(SLEEPER), {})

        tasks: list[asyncio.Task[None]] = []
        cluster.on_exit(ended)
        await cluster.start("n1", argv, {})
        await asyncio.sleep(1)
        assert cluster.running("n1"), "what was set in motion did not die with the process"
        assert "it ended" not in log_of(cluster)

    on_cluster(scenario)


# --- Hearing


def test_what_a_process_says_goes_to_its_nodes_log_alone_with_its_nodes_time(
    on_cluster: OnCluster, program: Make, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = program("""
        import asyncio, logging, sys
        def program(arguments):
            return run
        async def run(ports):
            log = logging.getLogger("of.it")
            await asyncio.sleep(1.25)
            log.info("information %d", 1)
            log.debug("details")
            print("printed")
            print("complaint", file=sys.stderr)
            sys.stdout.writelines(["a", "b", "\\n"])
            try:
                1 / 0
            except ZeroDivisionError:
                log.exception("caught")
            asyncio.get_running_loop().call_soon(fail)
            asyncio.create_task(fails())
            await asyncio.sleep(1)
            return 0
        def fail():
            raise ValueError("in a callback")
        async def fails():
            raise ValueError("in a task")
        """)

    async def scenario(cluster: SimCluster) -> None:
        await cluster.set_clock("n1", 86400.0, 1.0)
        await cluster.start("n1", argv, {})
        await asyncio.sleep(10)
        print("the harness")
        logging.getLogger("of.the.harness").warning("said")
        text.append(log_of(cluster))

    text: list[str] = []
    on_cluster(scenario)
    lines = text[0].splitlines()
    stamp = "2026-01-02T00:00:01.250Z"
    assert lines[:5] == [
        f"{stamp} [INFO] of.it: information 1",
        "printed",
        "complaint",
        "ab",
        f"{stamp} [ERROR] of.it: caught",
    ]
    assert "ZeroDivisionError: division by zero" in lines
    assert "    1 / 0" in lines, "tracebacks show the source"
    assert "ValueError: in a callback" in lines
    assert "ValueError: in a task" in lines
    assert capsys.readouterr() == ("the harness\n", "")
    assert [record.message for record in caplog.records] == ["said"]


def test_every_process_has_randomness_of_its_own_from_the_seed(on_cluster: OnCluster, program: Make) -> None:
    argv = program("""
        def program(arguments):
            return run
        async def run(ports):
            print(ports.random.random())
            return 0
        """)

    def said(seed: int) -> list[str]:
        async def scenario(cluster: SimCluster) -> None:
            for node in ("n1", "n1", "n2"):
                (cluster.directory(node) / "log").unlink(missing_ok=True)
                await cluster.start(node, argv, {})
                await asyncio.sleep(1)
                lines.extend(log_of(cluster, node).splitlines())

        lines: list[str] = []
        on_cluster(scenario, seed)
        return lines

    assert said(1) == said(1)
    assert len({*said(1), *said(2)}) == 6


# --- Watching


WATCHED = """
    import asyncio
    class Watch:
        def __init__(self):
            self.seen = []
        def started(self, node, program):
            self.seen.append(f"started {node} {program.limit}")
        def stopped(self, node):
            self.seen.append(f"stopped {node}")
        def observe(self, node):
            if Program.steps > 10:
                raise ValueError("more than ten steps")
            self.seen.append(f"saw {node}")
        def records(self, node, file, data):
            return frozenset({file, data.decode()})
    class Program:
        steps = 0
        def __init__(self, limit):
            self.limit = limit
        @staticmethod
        def watch():
            Program.watches = getattr(Program, "watches", []) + [Watch()]
            return Program.watches[-1]
        async def __call__(self, ports):
            while True:
                Program.steps += 1
                ports.disk.append("log", b"entry")
                await ports.disk.sync("log")
                await asyncio.sleep(self.limit)
    def program(arguments):
        return Program(float(arguments[0]))
"""


def watched(cluster: SimCluster) -> Any:
    (watch,) = cluster.watches.values()
    return watch


def test_one_watch_sees_every_step_of_all_programs_of_a_kind(on_cluster: OnCluster, program: Make) -> None:
    argv = program(WATCHED)

    async def scenario(cluster: SimCluster) -> None:
        await cluster.start("n1", [*argv, "100"], {})
        await cluster.start("n2", [*argv, "200"], {})
        await asyncio.sleep(1)
        await cluster.kill("n1")
        await cluster.power_off("n2")
        seen = watched(cluster).seen
        assert seen[:2] == ["started n1 100.0", "started n2 200.0"]
        assert seen[-2:] == ["stopped n1", "stopped n2"]
        assert seen.count("saw n1") == seen.count("saw n2") >= 2

    on_cluster(scenario)


def test_a_violation_stops_everything_where_it_is_and_is_told_once(
    on_cluster: OnCluster, program: Make
) -> None:
    argv = program(WATCHED)

    async def scenario(cluster: SimCluster) -> None:
        told: list[str] = []
        cluster.on_violation(told.append)
        for node in ("n1", "n2"):
            await cluster.start(node, [*argv, "1"], {})
        await asyncio.sleep(100)
        assert told == ["more than ten steps (seen on n1)"] == [cluster.violation]
        sizes = [len(cluster._nodes[node].disk.read("log")) for node in ("n1", "n2")]
        await cluster.resume("n2")
        await cluster.start("n3", [*argv, "1"], {})
        await asyncio.sleep(100)
        assert sizes == [len(cluster._nodes[node].disk.read("log")) for node in ("n1", "n2")]
        assert not cluster._nodes["n3"].disk.names()
        assert cluster.exits == []

    on_cluster(scenario)


@pytest.mark.parametrize("step", ["written", "synced", "sent"])
def test_a_trap_waits_for_its_own_kind_of_record(
    step: CrashStep, on_cluster: OnCluster, program: Make
) -> None:
    argv = program(WATCHED)

    async def scenario(cluster: SimCluster) -> None:
        def is_sprung() -> None:
            assert os.getpid() > 1000, "the harness's own"
            sprung.append(asyncio.get_running_loop().time())

        sprung: list[float] = []
        await cluster.start("n1", [*argv, "1"], {})
        await asyncio.sleep(0.5)
        await cluster.set_trap("n1", step, "vote", is_sprung)
        await asyncio.sleep(5)
        assert not sprung
        now = asyncio.get_running_loop().time()
        await cluster.set_trap("n1", step, "entry", is_sprung)
        await asyncio.sleep(5)
        assert len(sprung) == 1
        assert now < sprung[0] < now + 1.1
        assert cluster.exits == [Exit("n1", f"power cut when entry was {step}", expected=True)]
        await cluster.start("n1", [*argv, "1"], {})
        await asyncio.sleep(5)
        assert cluster.running("n1")

    on_cluster(scenario)


# --- The world


def test_a_cluster_needs_nodes_with_different_names_and_the_worlds_own_loop(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"use `Sim.run`"):
        asyncio.run(Sim().open(NODES, tmp_path, 0))
    for nodes in ((), ("n1", "n1"), ("n",) * (NODES_MAX + 1)):
        world = Sim()
        with pytest.raises(SetupError, match="1 to 65000 nodes with different names"):
            world.run(world.open(nodes, tmp_path, 0))
    assert Sim().missing() is None


def test_a_large_cluster_has_an_address_for_everyone_and_costs_little_before_it_is_used(
    tmp_path: Path,
) -> None:
    world = Sim()

    async def main() -> None:
        nodes = tuple(f"n{number}" for number in range(1, 5001))
        cluster = await world.open(nodes, tmp_path, 0)
        assert len({cluster.address(node) for node in nodes}) == 5000
        assert sum(len(at.host.wires) for at in cluster._nodes.values()) == 0
        clocks = {at.clock.monotonic_ns() for at in cluster._nodes.values()}
        assert len(clocks) == 5000
        await cluster.close()

    world.run(main())


def test_departures_that_are_given_happen_and_no_others(tmp_path: Path) -> None:
    world = Sim({("n1 sync", 1): Departure("late", 50_000_000)})

    async def main() -> None:
        cluster = await world.open(NODES, tmp_path, 0)
        await cluster.set_disk("n1", "slow")
        disk = cluster._nodes["n1"].disk
        loop = asyncio.get_running_loop()
        for duration in (0.051, 0.001):
            began = loop.time()
            await disk.replace("file", b"")
            assert loop.time() - began == pytest.approx(duration)
        assert cluster.departures.happened == {("n1 sync", 1): Departure("late", 50_000_000)}

    world.run(main())


def test_running_a_command_is_refused(on_cluster: OnCluster) -> None:
    async def scenario(cluster: SimCluster) -> None:
        with pytest.raises(SetupError, match="runs no commands"):
            await cluster.run("n1", ["true"])

    on_cluster(scenario)
