"""What every world must do, tested from outside: one check for each promise of `Cluster`.

A world is tested by running every check that applies to it:

    @pytest.mark.parametrize("check", conformance.checks_of(MyWorld()), ids=str)
    def test_it_conforms(check, tmp_path):
        asyncio.run(check(MyWorld(), tmp_path))

Each check opens a cluster of three nodes of its own and closes it. A broken promise is an AssertionError.

How it looks: a probe, a small Python program, runs as the node's process. The check talks to it as a client
does, and has it send datagrams to other nodes, keep streams to them, fork daemons, or die. So nothing is
believed that the world says about itself. That something does not arrive is shown by datagrams, of which a
cut may let through none, sent before others that must arrive; TCP would hide what is lost in one direction
only. Where only time can show that nothing happens, `SILENCE_SECONDS` is that time.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.worlds import CAPABILITIES, Cluster, Exit, InjectionError, Link, SetupError, World

NODES = ("n1", "n2", "n3")
ALL_LINKS: tuple[Link, ...] = tuple((a, b) for a in NODES for b in NODES if a != b)

SILENCE_SECONDS = 0.3
PATIENCE_SECONDS = 10.0
"""How long what must happen may take on a busy machine."""

PROBE_PORT = 7000
DAEMON_PORT = 7003

PROBE = r"""
import collections, json, os, signal, socket, sys, threading

CLIENTS, DATAGRAMS, STREAMS, DAEMON = 7000, 7001, 7002, 7003
received = collections.Counter()
streams = {}

def receive_datagrams():
    while True:
        received[datagrams.recv(100).decode()] += 1

def serve_each(server, serve):
    while True:
        stream, _ = server.accept()
        threading.Thread(target=serve, args=(stream,), daemon=True).start()

def echo(stream):
    while data := stream.recv(100):
        stream.sendall(data)

def daemon():
    # Everything a process can do to outlive the one that started it.
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
            serve_each(socket.create_server(("", DAEMON)), answer)
        os._exit(0)
    os.wait()

def run_away():
    # Never the same process for longer than it takes to fork the next.
    if os.fork() == 0:
        while os.fork() == 0:
            with open("data/hops", "a") as file:
                file.write(".")
        os._exit(0)
    os.wait()

def dial(name, to):
    try:
        streams[name] = socket.create_connection((to, STREAMS), timeout=0.4)
    except OSError:
        return False
    return True

def exchange(name, text, timeout):
    stream = streams[name]
    stream.settimeout(timeout)
    try:
        stream.sendall(text.encode())
        heard = b""
        while not heard.endswith(text.encode()):
            heard += stream.recv(100)
    except OSError:
        return False
    return True

def send(to, tag, count):
    for _ in range(count):
        datagrams.sendto(tag.encode(), (to, DATAGRAMS))

def append(text):
    with open("data/kept", "a") as file:
        file.write(text)

def read():
    with open("data/kept") as file:
        return file.read()

OPERATIONS = {
    "pid": os.getpid,
    "environment": os.environ.get,
    "append": append,
    "read": read,
    "daemon": daemon,
    "run_away": run_away,
    "exit": os._exit,
    "abort": os.abort,
    "send": send,
    "received": lambda: received,
    "dial": dial,
    "exchange": exchange,
}

def answer(stream):
    for line in stream.makefile("r"):
        operation, *arguments = json.loads(line)
        stream.sendall(json.dumps(OPERATIONS[operation](*arguments)).encode() + b"\n")

def on_term(signum, frame):
    print("asked to stop", flush=True)
    if "stubborn" not in sys.argv:
        os._exit(0)

signal.signal(signal.SIGTERM, on_term)
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind(("", DATAGRAMS))
threading.Thread(target=receive_datagrams, daemon=True).start()
threading.Thread(target=serve_each, args=(socket.create_server(("", STREAMS)), echo), daemon=True).start()
clients = socket.create_server(("", CLIENTS))
print("probe serves", flush=True)
serve_each(clients, answer)
"""


@dataclass(frozen=True)
class Check:
    """One promise. Calling it tests it; `python` is the interpreter on the nodes."""

    name: str
    needs: str | None
    """The capability without which it does not apply."""
    body: Callable[[Probes], Awaitable[None]]

    def __str__(self) -> str:
        return self.name

    async def __call__(self, world: World, directory: Path, python: str = sys.executable) -> None:
        cluster = await world.open(NODES, directory, 0)
        try:
            await self.body(Probes(cluster, python))
        finally:
            await cluster.close()


CHECKS: list[Check] = []
"""Every check there is."""


def checks_of(world: World) -> list[Check]:
    """Those that apply to the world. That it refuses what it cannot do is a check as well."""
    return [check for check in CHECKS if check.needs is None or check.needs in world.capabilities]


def _check(needs: str | None = None) -> Callable[[Callable[[Probes], Awaitable[None]]], None]:
    def add(body: Callable[[Probes], Awaitable[None]]) -> None:
        CHECKS.append(Check(getattr(body, "__name__"), needs, body))  # noqa: B009 (Callable has no __name__)

    return add


class Probes:
    """The probes on a cluster's nodes, as a client sees them."""

    def __init__(self, cluster: Cluster, python: str) -> None:
        self.cluster = cluster
        self._python = python
        self._rounds = 0

    async def start(self, *nodes: str, arguments: Sequence[str] = ()) -> None:
        """Start probes and wait until they serve. On all nodes if none are named."""
        for node in nodes or NODES:
            argv = [self._python, "-S", "-c", PROBE, *arguments]
            await self.cluster.start(node, argv, {"PROBE_OF": node})
        await asyncio.gather(*(self.ask(node, "pid") for node in nodes or NODES))

    async def ask(self, node: str, *request: Any, port: int = PROBE_PORT) -> Any:
        """One request; waits for the server to come up, and fails if none does."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    async with self.stream(node, port) as (reader, writer):
                        return await exchange(reader, writer, *request)
                except ConnectionRefusedError:
                    await asyncio.sleep(0.01)

    @asynccontextmanager
    async def stream(
        self, node: str, port: int = PROBE_PORT
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader = asyncio.StreamReader()
        transport, protocol = await self.cluster.connect(
            lambda: asyncio.StreamReaderProtocol(reader), node, port
        )
        writer = asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop())
        try:
            yield reader, writer
        finally:
            transport.abort()

    async def refuses(self, node: str, port: int = PROBE_PORT) -> bool:
        try:
            async with self.stream(node, port):
                return False
        except ConnectionRefusedError:
            return True

    async def links_that_pass(self, at_least: Collection[Link]) -> set[Link]:
        """The links on which datagrams arrive, found by sending some on each.

        Waits for those of `at_least`, as long as patience lasts, and then a while for any other.
        """
        self._rounds += 1
        tag = f"round {self._rounds} from "
        nodes = self.cluster.nodes
        for a in nodes:
            others = [self.cluster.address(b) for b in nodes if a != b]
            await asyncio.gather(*(self.ask(a, "send", address, tag + a, 5) for address in others))

        async def arrived() -> set[Link]:
            counts = await asyncio.gather(*(self.ask(node, "received") for node in nodes))
            received = dict(zip(nodes, counts, strict=True))
            return {(a, b) for a in nodes for b in nodes if received[b].get(tag + a)}

        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while not await arrived() >= set(at_least) and asyncio.get_running_loop().time() < deadline:
            pass
        await asyncio.sleep(SILENCE_SECONDS)
        return await arrived()

    async def assert_passing(self, links: Collection[Link]) -> None:
        """Assert that datagrams arrive on these links and on no other."""
        passing = await self.links_that_pass(links)
        assert passing == set(links), f"{sorted(passing)} pass instead of {sorted(links)}"


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *request: Any) -> Any:
    writer.write(json.dumps(request).encode() + b"\n")
    line = await reader.readline()
    if not line:
        raise ConnectionResetError("the probe ended")
    return json.loads(line)


# Processes


@_check()
async def a_started_process_serves_clients_and_has_its_environment(probes: Probes) -> None:
    await probes.start()
    for node in NODES:
        assert probes.cluster.running(node)
        assert await probes.ask(node, "environment", "PROBE_OF") == node
        assert await probes.ask(node, "environment", "PATH"), "the harness's environment must be below it"


@_check()
async def output_goes_to_the_end_of_the_nodes_log(probes: Probes) -> None:
    await probes.start("n1")
    await probes.cluster.kill("n1")
    await probes.start("n1")
    log = (probes.cluster.directory("n1") / "log").read_text()
    assert log.count("probe serves\n") == 2, log


@_check()
async def a_node_runs_one_process(probes: Probes) -> None:
    await probes.start("n1")
    pid = await probes.ask("n1", "pid")
    await _raises(SetupError, probes.start("n1"))
    assert await probes.ask("n1", "pid") == pid


@_check()
async def a_program_that_does_not_exist_is_an_error(probes: Probes) -> None:
    await _raises(SetupError, probes.cluster.start("n1", ["/no/such/program"], {}))
    assert not probes.cluster.running("n1")
    await probes.start("n1")


@_check()
async def stop_lets_the_process_end_itself(probes: Probes) -> None:
    await probes.start("n1", "n2")
    await probes.cluster.stop("n1")
    assert not probes.cluster.running("n1")
    assert await probes.refuses("n1")
    assert "asked to stop" in (probes.cluster.directory("n1") / "log").read_text()
    assert probes.cluster.exits == [Exit("n1", "exit status 0", expected=True)]
    assert probes.cluster.running("n2")


@_check()
async def stop_kills_what_does_not_end_itself(probes: Probes) -> None:
    await probes.start("n1", arguments=["stubborn"])
    await probes.cluster.stop("n1", timeout=SILENCE_SECONDS)
    assert await probes.refuses("n1")
    assert "asked to stop" in (probes.cluster.directory("n1") / "log").read_text()
    assert probes.cluster.exits == [Exit("n1", "killed by SIGKILL", expected=True)]


@_check()
async def an_end_that_nobody_asked_for_is_reported_at_once(probes: Probes) -> None:
    told: asyncio.Queue[Exit] = asyncio.Queue()
    probes.cluster.on_exit(told.put_nowait)
    await probes.start("n1", "n2")
    await _raises(ConnectionResetError, probes.ask("n1", "exit", 3))
    await _raises(ConnectionResetError, probes.ask("n2", "abort"))
    async with asyncio.timeout(PATIENCE_SECONDS):
        records = [await told.get(), await told.get()]
    assert {(record.node, record.status) for record in records} == {
        ("n1", "exit status 3"),
        ("n2", "killed by SIGABRT"),
    }
    assert not any(record.expected for record in records)
    assert probes.cluster.exits == records
    assert not probes.cluster.running("n1")


@_check()
async def a_command_runs_on_the_node_to_its_end(probes: Probes) -> None:
    script = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(4)"
    completed = await probes.cluster.run("n1", [sys.executable, "-S", "-c", script])
    assert (completed.returncode, completed.stdout, completed.stderr) == (4, b"out\n", b"err\n")
    await probes.start("n2")
    reach = f"import socket; socket.create_connection(('{probes.cluster.address('n2')}', {PROBE_PORT}), 5)"
    assert (await probes.cluster.run("n1", [sys.executable, "-S", "-c", reach])).returncode == 0
    assert probes.cluster.exits == [], "a command is not the node's process"


@_check()
async def a_command_that_does_not_end_is_killed(probes: Probes) -> None:
    await _raises(TimeoutError, probes.cluster.run("n1", ["sleep", "1000"], timeout=SILENCE_SECONDS))
    await _raises(SetupError, probes.cluster.run("n1", ["/no/such/program"]))


@_check()
async def closing_ends_everything_and_may_be_repeated(probes: Probes) -> None:
    await probes.start("n1")
    await probes.ask("n1", "daemon")
    await probes.ask("n1", "pid", port=DAEMON_PORT)
    async with probes.stream("n1") as (process, _), probes.stream("n1", DAEMON_PORT) as (daemon, _):
        await probes.cluster.close()
        for reader in (process, daemon):
            await _ends(reader)
    assert not probes.cluster.running("n1")
    await probes.cluster.close()
    assert "probe serves" in (probes.cluster.directory("n1") / "log").read_text(), "logs stay"


@_check()
async def a_world_does_what_it_says_and_refuses_the_rest(probes: Probes) -> None:
    cluster = probes.cluster
    assert cluster.capabilities <= CAPABILITIES.keys()
    attempts: dict[str, Callable[[], Awaitable[None]]] = {
        "kill": lambda: cluster.kill("n1"),
        "pause": lambda: cluster.pause("n1"),
        "cut": lambda: cluster.cut([("n1", "n2")]),
    }
    for capability in CAPABILITIES.keys() - cluster.capabilities:
        await _raises(SetupError, attempts[capability]())


# Kill


@_check("kill")
async def a_killed_node_is_gone_when_kill_returns(probes: Probes) -> None:
    await probes.start()
    await probes.cluster.kill("n1")
    assert not probes.cluster.running("n1")
    assert await probes.refuses("n1")
    assert probes.cluster.exits == [Exit("n1", "killed by SIGKILL", expected=True)]
    assert await probes.ask("n2", "pid")
    assert await probes.ask("n3", "pid")


@_check("kill")
async def kill_reaches_daemons_that_ignore_every_signal_they_can(probes: Probes) -> None:
    await probes.start("n1")
    await probes.ask("n1", "daemon")
    assert await probes.ask("n1", "pid", port=DAEMON_PORT)
    await probes.cluster.kill("n1")
    assert await probes.refuses("n1", DAEMON_PORT)


@_check("kill")
async def kill_catches_up_with_processes_that_keep_forking(probes: Probes) -> None:
    hops = probes.cluster.directory("n1") / "data" / "hops"
    await probes.start("n1")
    await probes.ask("n1", "run_away")
    await _until(lambda: hops.exists() and hops.stat().st_size > 10)
    await probes.cluster.kill("n1")
    size = hops.stat().st_size
    await asyncio.sleep(SILENCE_SECONDS)
    assert hops.stat().st_size == size


@_check("kill")
async def data_survives_a_kill(probes: Probes) -> None:
    await probes.start("n1")
    await probes.ask("n1", "append", "kept")
    await probes.cluster.kill("n1")
    await probes.start("n1")
    assert await probes.ask("n1", "read") == "kept"


@_check("kill")
async def killing_a_node_where_nothing_runs_does_nothing(probes: Probes) -> None:
    await probes.cluster.kill("n1")
    await probes.cluster.stop("n1")
    assert probes.cluster.exits == []


# Pause


@_check("pause")
async def a_paused_node_is_silent_and_answers_when_resumed(probes: Probes) -> None:
    await probes.start()
    await probes.ask("n1", "daemon")
    await probes.ask("n1", "pid", port=DAEMON_PORT)
    async with probes.stream("n1") as process, probes.stream("n1", DAEMON_PORT) as daemon:
        await probes.cluster.pause("n1")
        assert probes.cluster.running("n1")
        answers = [asyncio.ensure_future(exchange(*stream, "pid")) for stream in (process, daemon)]
        done, _ = await asyncio.wait(answers, timeout=SILENCE_SECONDS)
        assert not done, "a paused process answered"
        assert await probes.ask("n2", "pid"), "other nodes must go on"
        await probes.cluster.resume("n1")
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*answers)
    assert probes.cluster.exits == []


@_check("pause")
async def pause_holds_processes_that_keep_forking(probes: Probes) -> None:
    hops = probes.cluster.directory("n1") / "data" / "hops"
    await probes.start("n1")
    await probes.ask("n1", "run_away")
    await _until(lambda: hops.exists() and hops.stat().st_size > 10)
    await probes.cluster.pause("n1")
    size = hops.stat().st_size
    await asyncio.sleep(SILENCE_SECONDS)
    assert hops.stat().st_size == size
    await probes.cluster.resume("n1")
    await _until(lambda: hops.stat().st_size > size)


@_check("pause")
async def a_paused_node_can_be_paused_again_and_killed(probes: Probes) -> None:
    await probes.start("n1")
    await probes.cluster.pause("n1")
    await probes.cluster.pause("n1")
    await probes.cluster.kill("n1")
    assert await probes.refuses("n1")
    await probes.start("n1")


@_check("pause")
async def pausing_a_node_where_nothing_runs_is_an_error(probes: Probes) -> None:
    await _raises(InjectionError, probes.cluster.pause("n1"))
    await probes.cluster.resume("n1")


# Cut


@_check("cut")
async def at_first_every_link_passes(probes: Probes) -> None:
    await probes.start()
    await probes.assert_passing(set(ALL_LINKS))


@_check("cut")
async def a_cut_drops_the_named_directions_and_no_other(probes: Probes) -> None:
    await probes.start()
    cut = {("n1", "n2"), ("n3", "n1")}
    await probes.cluster.cut(cut)
    await probes.assert_passing(set(ALL_LINKS) - cut)


@_check("cut")
async def a_cut_replaces_the_one_before(probes: Probes) -> None:
    await probes.start()
    await probes.cluster.cut([("n1", "n2"), ("n2", "n1")])
    await probes.cluster.cut([("n1", "n3")])
    await probes.assert_passing(set(ALL_LINKS) - {("n1", "n3")})


@_check("cut")
async def a_heal_makes_every_link_whole(probes: Probes) -> None:
    await probes.start()
    await probes.cluster.cut(ALL_LINKS)
    await probes.assert_passing(set())
    await probes.cluster.cut([])
    await probes.assert_passing(set(ALL_LINKS))


@_check("cut")
async def a_cut_in_one_direction_stops_established_streams_until_it_heals(probes: Probes) -> None:
    await probes.start()
    for name, receiver in (("cut", "n2"), ("whole", "n3")):
        assert await probes.ask("n1", "dial", name, probes.cluster.address(receiver))
        assert await probes.ask("n1", "exchange", name, "before", PATIENCE_SECONDS)
    await probes.cluster.cut([("n2", "n1")])
    assert not await probes.ask("n1", "exchange", "cut", "during", SILENCE_SECONDS)
    assert await probes.ask("n1", "exchange", "whole", "during", PATIENCE_SECONDS)
    await probes.cluster.cut([])
    assert await probes.ask("n1", "exchange", "cut", "after", PATIENCE_SECONDS)


@_check("cut")
async def no_stream_opens_across_a_cut_in_either_direction(probes: Probes) -> None:
    await probes.start()
    await probes.cluster.cut([("n1", "n2")])
    assert not await probes.ask("n1", "dial", "forth", probes.cluster.address("n2"))
    assert not await probes.ask("n2", "dial", "back", probes.cluster.address("n1"))
    assert await probes.ask("n2", "dial", "aside", probes.cluster.address("n3"))
    await probes.cluster.cut([])
    assert await probes.ask("n1", "dial", "again", probes.cluster.address("n2"))


@_check("cut")
async def clients_are_never_cut(probes: Probes) -> None:
    await probes.start()
    async with probes.stream("n1") as established:
        await probes.cluster.cut(ALL_LINKS)
        assert await exchange(*established, "pid")
        for node in NODES:
            assert await probes.ask(node, "pid")


@_check("cut")
async def a_cut_outlasts_the_processes(probes: Probes) -> None:
    await probes.start()
    await probes.cluster.cut([("n1", "n2")])
    await probes.cluster.kill("n1")
    await probes.cluster.kill("n2")
    await probes.start("n1", "n2")
    await probes.assert_passing(set(ALL_LINKS) - {("n1", "n2")})


@_check("cut")
async def a_cut_of_nodes_that_are_not_there_is_an_error_and_changes_nothing(probes: Probes) -> None:
    await probes.start()
    await probes.cluster.cut([("n1", "n2")])
    await _raises(InjectionError, probes.cluster.cut([("n1", "n9")]))
    await _raises(InjectionError, probes.cluster.cut([("n1", "n1")]))
    await probes.assert_passing(set(ALL_LINKS) - {("n1", "n2")})


async def _raises(kind: type[BaseException], attempt: Awaitable[Any]) -> None:
    try:
        await attempt
    except kind:
        return
    raise AssertionError(f"no {kind.__name__} was raised")


async def _until(condition: Callable[[], bool]) -> None:
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it did not come true"
        await asyncio.sleep(0.01)


async def _ends(reader: asyncio.StreamReader) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        try:
            assert await reader.read() == b""
        except ConnectionResetError:
            pass
