"""Fences: a simulated process that asks the real machine for something ends the simulation, with its name."""

from __future__ import annotations

import asyncio
import datetime
import linecache
import logging
import os
import random
import secrets
import socket
import subprocess
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.worlds.sim.fences import FENCED, fences
from harness.worlds.sim.loop import NotSimulated, SimulatedLoop
from harness.worlds.sim.process import Process

if TYPE_CHECKING:
    from tests.worlds.sim.conftest import Simulate

REPLACED = [
    pytest.param(holder, name, id=f"{holder.__name__}.{name}")
    for holder, names in FENCED.values()
    for name in names
    if hasattr(holder, name)
]

REACHED: dict[str, Callable[[], Any]] = {
    "open": lambda: open(os.devnull),  # noqa: SIM115
    "os.open": lambda: os.open(os.devnull, os.O_RDONLY),
    "Path.read_text": lambda: Path(os.devnull).read_text(),
    "Path.exists": lambda: Path(os.devnull).exists(),
    "os.listdir": lambda: os.listdir("/"),
    "os.scandir": lambda: os.scandir("/"),
    "os.mkdir": lambda: Path("/no/such").mkdir(),
    "os.remove": lambda: Path("/no/such").unlink(),
    "os.rename": lambda: Path("/no/such").rename("/no/such either"),
    "os.truncate": lambda: os.truncate("/no/such", 0),
    "socket": lambda: socket.socket(),
    "socket.create_connection": lambda: socket.create_connection(("127.0.0.1", 9)),
    "getaddrinfo": lambda: socket.getaddrinfo("localhost", 9),
    "subprocess": lambda: subprocess.run(["true"], check=False),
    "os.system": lambda: os.system("true"),
    "thread": lambda: threading.Thread(target=int).start(),
}
"""By other ways than the functions that are replaced."""

CHANCE: dict[str, Callable[[], Any]] = {
    "random": lambda: random.random(),
    "choices": lambda: random.choices(range(1000), k=3),
    "shuffle": lambda: random.shuffle(list(range(10))),
    "unseeded Random": lambda: random.Random().random(),
    "SystemRandom": lambda: random.SystemRandom().random(),
    "urandom": lambda: os.urandom(8),
    "uuid4": lambda: uuid.uuid4().hex,
    "secrets": lambda: secrets.token_hex(4),
}
"""What a process draws without asking for its random port."""


def in_a_process(simulate: Simulate, call: Callable[[], Any], process: Process | None = None) -> list[Any]:
    """Have a process call; returns what came of it. The process makes the best of any exception."""

    async def main() -> None:
        try:
            came.append(call())
        except BaseException as error:
            came.append(error)
        await asyncio.sleep(1)
        came.append("went on")

    async def scenario(loop: SimulatedLoop) -> None:
        loop.start(process or Process("n1", 42), main())
        await asyncio.sleep(10)

    came: list[Any] = []
    simulate(scenario)
    return came


@pytest.mark.parametrize(("holder", "name"), REPLACED)
def test_what_is_fenced_is_refused_by_name_whatever_the_process_makes_of_it(
    holder: Any, name: str, simulate: Simulate
) -> None:
    with pytest.raises(
        NotSimulated, match=rf"^n1 calls \w*\.?{holder.__name__}.{name}\(\) at .*: a simulated"
    ):
        in_a_process(simulate, lambda: getattr(holder, name)())


@pytest.mark.parametrize("call", REACHED.values(), ids=REACHED)
def test_other_ways_to_the_real_machine_are_refused_too(call: Callable[[], Any], simulate: Simulate) -> None:
    with pytest.raises(NotSimulated, match=r"^n1 calls .* a simulated process uses [a-z]+"):
        in_a_process(simulate, call)


def test_the_error_says_which_line_of_the_process_it_was(simulate: Simulate) -> None:
    def sleep() -> None:
        time.sleep(1)

    def look() -> None:
        Path("/no/such").exists()

    for call, said in (
        (sleep, r"time.sleep\(\) {}: .* asyncio.sleep"),
        (look, r"os.stat\(\) {}: .* disk port"),
    ):
        where = f"at {__file__}:{call.__code__.co_firstlineno + 1}"
        with pytest.raises(NotSimulated, match=said.format(where)):
            in_a_process(simulate, call)


def test_nothing_of_the_process_runs_after_it(simulate: Simulate) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        async def main() -> None:
            try:
                time.sleep(1)  # noqa: ASYNC251
            except BaseException:
                said.append("caught")
            await asyncio.sleep(0)
            said.append("went on")

        loop.start(Process("n1", 1), main())
        try:
            await asyncio.sleep(10)
        finally:
            said.append("the harness takes things down")

    said: list[str] = []
    with pytest.raises(NotSimulated):
        simulate(scenario)
    assert said == ["caught", "the harness takes things down"]


def test_the_harness_may_do_all_of_it_also_in_the_middle_of_a_processs_callback(simulate: Simulate) -> None:
    def all_of_it(loop: SimulatedLoop) -> None:
        assert time.time() > 1e9
        assert time.gmtime().tm_year > 2000
        assert random.random() < 1
        assert random.Random().random() < 1
        assert os.getpid() > 1
        assert Path(__file__).exists()
        assert Path(__file__).read_text()
        with socket.socket():
            pass
        assert subprocess.run(["true"], check=False).returncode == 0
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()
        done.append(loop.running)

    async def scenario(loop: SimulatedLoop) -> None:
        async def main() -> None:
            with loop.outside():
                all_of_it(loop)
            assert loop.running is process

        all_of_it(loop)
        process = Process("n1", 1)
        process.observer = lambda: all_of_it(loop)
        await loop.start(process, main())
        await asyncio.sleep(1)

    done: list[object] = []
    simulate(scenario)
    assert done == [None] * 3


def test_other_threads_are_no_part_of_the_process_that_runs(simulate: Simulate) -> None:
    """A checker that was given up may go on while the next seed is simulated, and a progress bar does."""
    begun, done, came = threading.Event(), threading.Event(), []

    def checker() -> None:
        begun.wait()
        try:
            with open(os.devnull) as file:
                came.extend([file.read(), time.time() > 0, sys.argv, os.getpid() == 42])
        except BaseException as error:
            came.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=checker)
    thread.start()

    def wait() -> float:
        begun.set()
        done.wait()
        return time.time()

    assert in_a_process(simulate, wait) == [0.0, "went on"], "the time of a process without a clock"
    thread.join()
    assert came[:2] == ["", True] and came[3] is False


def test_a_process_has_its_own_number_command_line_and_environment(simulate: Simulate) -> None:
    def call() -> Any:
        os.environ["ADDED"] = "by itself"
        os.environ |= {"WHEN": "later"}
        joined = os.environ | {"NODE": "n2"}, {"NODE": "n2"} | os.environ
        return os.getpid(), sys.argv[0], sys.argv[1:], os.getenv("NODE"), joined, os.environ.copy()

    process = Process("n1", 42)
    process.argv, process.environ = ["program", "-a"], {"NODE": "n1"}
    environment = {"NODE": "n1", "ADDED": "by itself", "WHEN": "later"}
    answer = (42, "program", ["-a"], "n1", ({**environment, "NODE": "n2"}, environment), environment)
    assert in_a_process(simulate, call, process) == [answer, "went on"]
    assert not os.environ.keys() & {"ADDED", "WHEN"}


def test_a_process_has_a_host_name_of_its_own_and_lives_in_utc_wherever_it_is_simulated(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask() -> Any:
        return (
            socket.gethostname(),
            time.strftime("%Z"),
            time.timezone,
            datetime.datetime.fromtimestamp(0).hour,  # noqa: DTZ006 (the zone is what is asked for)
        )

    monkeypatch.setenv(
        "TZ", "Asia/Kolkata" if Path("/usr/share/zoneinfo/Asia/Kolkata").exists() else "XYZ-5:30"
    )
    time.tzset()
    before = time.timezone
    assert before != 0
    assert in_a_process(simulate, ask)[0] == ("n1", "UTC", 0, 0)
    assert time.timezone == before and os.environ["TZ"]
    monkeypatch.undo()
    time.tzset()


def test_the_time_is_the_nodes(simulate: Simulate) -> None:
    def call() -> Any:
        return (
            (time.time(), time.time_ns(), time.gmtime().tm_year, time.strftime("%Y"), time.ctime()[-4:]),
            (time.monotonic(), time.monotonic_ns(), time.perf_counter(), time.perf_counter_ns()),
            (time.localtime(None).tm_year, time.gmtime(None).tm_year, time.ctime(None)[-4:]),
            (time.gmtime(0).tm_year, time.strftime("%H", time.gmtime(3600))),
        )

    process = Process("n1", 1)
    process.wall_ns, process.monotonic_ns = lambda: 1_700_000_000_500_000_000, lambda: 2_500_000_000
    answer = (
        (1_700_000_000.5, 1_700_000_000_500_000_000, 2023, "2023", "2023"),
        (2.5, 2_500_000_000, 2.5, 2_500_000_000),
        (2023, 2023, "2023"),
        (1970, "01"),
    )
    assert in_a_process(simulate, call, process) == [answer, "went on"]


@pytest.mark.parametrize("call", CHANCE.values(), ids=CHANCE)
def test_chance_is_a_stream_of_the_processs_own(call: Callable[[], Any], simulate: Simulate) -> None:
    """What it draws depends on the process, and neither on the machine nor on what the harness draws."""

    def drawn(seed: int) -> Any:
        random.random()
        process = Process("n1", 1)
        process.random = random.Random(seed)
        return in_a_process(simulate, lambda: (call(), random.random()), process)[0]

    assert drawn(1) == drawn(1) != drawn(2)


def test_a_seed_that_is_given_counts(simulate: Simulate) -> None:
    def call() -> Any:
        random.seed(7)
        return random.random(), random.Random(7).random()

    assert in_a_process(simulate, call)[0] == (random.Random(7).random(),) * 2


@pytest.mark.parametrize(
    ("call", "status"), [(lambda: os._exit(7), "exit status 7"), (lambda: os.abort(), "killed by SIGABRT")]
)
def test_os_exit_and_abort_end_the_process_and_not_the_harness(
    call: Callable[[], Any], status: str, simulate: Simulate
) -> None:
    loops: list[SimulatedLoop] = []

    def ended(said: str) -> None:
        statuses.append(said)
        loops[0].kill(process)

    async def scenario(loop: SimulatedLoop) -> None:
        async def main() -> None:
            call()
            statuses.append("went on")

        loops.append(loop)
        loop.start(process, main())
        await asyncio.sleep(10)

    process, statuses = Process("n1", 1), list[str]()
    process.ended = ended
    simulate(scenario)
    assert statuses == [status]


def test_imports_and_tracebacks_are_nothing_of_the_processs_doing(simulate: Simulate, tmp_path: Path) -> None:
    module = tmp_path / "imported_late.py"
    module.write_text(
        "import os, random, time\n"
        "AT = time.time()\n"
        "SIZE = os.stat(__file__).st_size\n"
        "DRAWN = random.random()\n"
    )

    def call() -> tuple[float, str]:
        import imported_late  # type: ignore[import-not-found]  # noqa: F401

        linecache.clearcache()
        try:
            raise ValueError
        except ValueError:
            return random.random(), traceback.format_exc()

    sys.path.insert(0, str(tmp_path))
    try:
        (drawn, text), went_on = in_a_process(simulate, call)
    finally:
        sys.path.remove(str(tmp_path))
        del sys.modules["imported_late"]
    assert "            raise ValueError" not in text  # dedented, as ever
    assert "raise ValueError" in text, "with its source"
    assert went_on == "went on"
    assert drawn == random.Random(42).random(), "what a module draws is not drawn from the process's chance"


def test_what_a_module_draws_while_it_is_imported_is_the_same_whoever_imports_it(
    simulate: Simulate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "chancy.py").write_text(
        "import random, uuid\n"
        "DRAWN = [random.random(), random.random(), uuid.uuid4(), random.Random().random()]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def drawn(number: int) -> list[Any]:
        def call() -> list[Any]:
            import chancy  # type: ignore[import-not-found]

            return list(chancy.DRAWN)

        came = in_a_process(simulate, call, Process("n1", number))[0]
        del sys.modules["chancy"]
        return list(came)

    assert drawn(1) == drawn(2)
    assert len(set(drawn(3))) == 4
    monkeypatch.setattr(sys, "stdlib_module_names", frozenset({"chancy"}))
    assert not set(drawn(4)) & set(drawn(4)), "what Python's library draws may be a key of the harness's"


def test_log_records_have_the_nodes_time(simulate: Simulate, caplog: pytest.LogCaptureFixture) -> None:
    process = Process("n1", 1)
    process.wall_ns = lambda: 1_700_000_000_123_000_000
    in_a_process(simulate, lambda: logging.getLogger("of.a.process").warning("hello"), process)
    (record,) = caplog.records
    assert record.created == pytest.approx(1_700_000_000.123)
    assert round(record.msecs) == 123


def test_the_fences_are_taken_down_again(simulate: Simulate) -> None:
    before = {
        name: getattr(holder, name)
        for holder, names in FENCED.values()
        for name in names
        if hasattr(holder, name)
    }
    with pytest.raises(NotSimulated):
        in_a_process(simulate, lambda: time.sleep(1))
    after = {
        name: getattr(holder, name)
        for holder, names in FENCED.values()
        for name in names
        if hasattr(holder, name)
    }
    assert before == after
    assert random.Random.seed.__qualname__ == "Random.seed"
    assert isinstance(sys.argv, list)
    assert isinstance(os.environ, os._Environ)
    assert time.time() == pytest.approx(datetime.datetime.now(datetime.UTC).timestamp(), abs=10)


def test_there_is_one_simulation_at_a_time() -> None:
    loop = SimulatedLoop()
    with fences(loop):
        with pytest.raises(RuntimeError, match="one simulation at a time"), fences(loop):
            pass
        assert time.sleep is not None
    loop.close()
