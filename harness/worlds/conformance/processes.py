"""What every world must do with processes: start, stop, kill and pause them, and run commands."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

from harness.worlds import CAPABILITIES, Exit, InjectionError, SetupError, Shape
from harness.worlds.conformance import suite
from harness.worlds.conformance.suite import (
    DAEMON_PORT,
    NODES,
    PROBE_PORT,
    Probes,
    check,
    discard,
    ends,
    exchange,
    raises,
    until,
)

# --- Processes


@check()
async def a_started_process_serves_clients_and_has_its_environment(probes: Probes) -> None:
    await probes.start()
    for node in NODES:
        assert probes.cluster.running(node)
        assert await probes.ask(node, "environment", "PROBE_OF") == node
        assert await probes.ask(node, "environment", "PATH"), "the harness's environment must be below it"


@check()
async def output_goes_to_the_end_of_the_nodes_log(probes: Probes) -> None:
    await probes.start("n1")
    await probes.cluster.kill("n1")
    await probes.start("n1")
    log = (probes.cluster.directory("n1") / "log").read_text()
    assert log.count("probe serves\n") == 2, log


@check()
async def a_node_runs_one_process(probes: Probes) -> None:
    await probes.start("n1")
    pid = await probes.ask("n1", "pid")
    await raises(SetupError, probes.start("n1"))
    assert await probes.ask("n1", "pid") == pid


@check()
async def a_program_that_does_not_exist_is_an_error(probes: Probes) -> None:
    await raises(SetupError, probes.cluster.start("n1", ["/no/such/program"], {}))
    assert not probes.cluster.running("n1")
    await probes.start("n1")


@check()
async def stop_lets_the_process_end_itself(probes: Probes) -> None:
    await probes.start("n1", "n2")
    await probes.cluster.stop("n1")
    assert not probes.cluster.running("n1")
    assert await probes.refuses("n1")
    assert "asked to stop" in (probes.cluster.directory("n1") / "log").read_text()
    assert probes.cluster.exits == [Exit("n1", "exit status 0", expected=True)]
    assert probes.cluster.running("n2")


@check()
async def stop_kills_what_does_not_end_itself(probes: Probes) -> None:
    await probes.start("n1", arguments=["stubborn"])
    await probes.cluster.stop("n1", timeout=suite.SILENCE_SECONDS)
    assert await probes.refuses("n1")
    assert "asked to stop" in (probes.cluster.directory("n1") / "log").read_text()
    assert probes.cluster.exits == [Exit("n1", "killed by SIGKILL", expected=True)]


@check()
async def an_end_that_nobody_asked_for_is_reported_at_once(probes: Probes) -> None:
    told: asyncio.Queue[Exit] = asyncio.Queue()
    probes.cluster.on_exit(told.put_nowait)
    await probes.start("n1", "n2")
    await raises(ConnectionResetError, probes.ask("n1", "exit", 3))
    await raises(ConnectionResetError, probes.ask("n2", "abort"))
    async with asyncio.timeout(suite.PATIENCE_SECONDS):
        records = [await told.get(), await told.get()]
    assert {(record.node, record.status) for record in records} == {
        ("n1", "exit status 3"),
        ("n2", "killed by SIGABRT"),
    }
    assert not any(record.expected for record in records)
    assert probes.cluster.exits == records
    assert not probes.cluster.running("n1")


@check("commands")
async def a_command_runs_on_the_node_to_its_end(probes: Probes) -> None:
    script = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(4)"
    completed = await probes.cluster.run("n1", [sys.executable, "-S", "-c", script])
    assert (completed.returncode, completed.stdout, completed.stderr) == (4, b"out\n", b"err\n")
    await probes.start("n2")
    reach = f"import socket; socket.create_connection(('{probes.cluster.address('n2')}', {PROBE_PORT}), 5)"
    assert (await probes.cluster.run("n1", [sys.executable, "-S", "-c", reach])).returncode == 0
    assert probes.cluster.exits == [], "a command is not the node's process"


@check("commands")
async def a_command_that_does_not_end_is_killed(probes: Probes) -> None:
    await raises(TimeoutError, probes.cluster.run("n1", ["sleep", "1000"], timeout=suite.SILENCE_SECONDS))
    await raises(SetupError, probes.cluster.run("n1", ["/no/such/program"]))


@check()
async def closing_ends_everything_and_may_be_repeated(probes: Probes) -> None:
    await probes.start("n1")
    async with probes.stream("n1") as (reader, _):
        await probes.cluster.close()
        await ends(reader)
    assert not probes.cluster.running("n1")
    await probes.cluster.close()
    assert "probe serves" in (probes.cluster.directory("n1") / "log").read_text(), "logs stay"


@check("commands")
async def closing_ends_what_processes_left_running(probes: Probes) -> None:
    await probes.start("n1")
    await probes.ask("n1", "daemon")
    await probes.ask("n1", "pid", port=DAEMON_PORT)
    async with probes.stream("n1", DAEMON_PORT) as (reader, _):
        await probes.cluster.close()
        await ends(reader)


@check()
async def a_world_does_what_it_says_and_refuses_the_rest(probes: Probes) -> None:
    cluster = probes.cluster
    assert cluster.capabilities <= CAPABILITIES.keys()
    attempts: dict[str, Callable[[], Awaitable[None]]] = {
        "commands": lambda: discard(cluster.run("n1", ["true"])),
        "kill": lambda: cluster.kill("n1"),
        "pause": lambda: cluster.pause("n1"),
        "cut": lambda: cluster.cut([("n1", "n2")]),
        "power": lambda: cluster.power_off("n1"),
        "crash point": lambda: cluster.set_trap("n1", "written", "any"),
        "shape": lambda: cluster.shape({("n1", "n2"): Shape(lost=0.5)}),
        "clock": lambda: cluster.set_clock("n1", 1.0, 1.0),
        "disk": lambda: cluster.set_disk("n1", "slow"),
    }
    assert attempts.keys() == CAPABILITIES.keys()
    for capability in CAPABILITIES.keys() - cluster.capabilities:
        await raises((SetupError, InjectionError), attempts[capability]())


# --- Kill


@check("kill")
async def a_killed_node_is_gone_when_kill_returns(probes: Probes) -> None:
    await probes.start()
    await probes.cluster.kill("n1")
    assert not probes.cluster.running("n1")
    assert await probes.refuses("n1")
    assert probes.cluster.exits == [Exit("n1", "killed by SIGKILL", expected=True)]
    assert await probes.ask("n2", "pid")
    assert await probes.ask("n3", "pid")


@check("kill", "commands")
async def kill_reaches_daemons_that_ignore_every_signal_they_can(probes: Probes) -> None:
    await probes.start("n1")
    await probes.ask("n1", "daemon")
    assert await probes.ask("n1", "pid", port=DAEMON_PORT)
    await probes.cluster.kill("n1")
    assert await probes.refuses("n1", DAEMON_PORT)


@check("kill", "commands")
async def kill_catches_up_with_processes_that_keep_forking(probes: Probes) -> None:
    hops = probes.cluster.directory("n1") / "data" / "hops"
    await probes.start("n1")
    await probes.ask("n1", "run_away")
    await until(lambda: hops.exists() and hops.stat().st_size > 10)
    await probes.cluster.kill("n1")
    size = hops.stat().st_size
    await asyncio.sleep(suite.SILENCE_SECONDS)
    assert hops.stat().st_size == size


@check("kill")
async def data_survives_a_kill(probes: Probes) -> None:
    await probes.start("n1")
    await probes.ask("n1", "append", "kept")
    await probes.cluster.kill("n1")
    await probes.start("n1")
    assert await probes.ask("n1", "read") == "kept"


@check("kill")
async def killing_a_node_where_nothing_runs_does_nothing(probes: Probes) -> None:
    await probes.cluster.kill("n1")
    await probes.cluster.stop("n1")
    assert probes.cluster.exits == []


# --- Pause


@check("pause")
async def a_paused_node_is_silent_and_answers_when_resumed(probes: Probes) -> None:
    await probes.start()
    async with probes.stream("n1") as stream:
        await _is_paused_and_resumed(probes, stream)
    assert probes.cluster.exits == []


@check("pause", "commands")
async def pause_and_resume_reach_daemons(probes: Probes) -> None:
    await probes.start()
    await probes.ask("n1", "daemon")
    await probes.ask("n1", "pid", port=DAEMON_PORT)
    async with probes.stream("n1", DAEMON_PORT) as stream:
        await _is_paused_and_resumed(probes, stream)


async def _is_paused_and_resumed(
    probes: Probes, stream: tuple[asyncio.StreamReader, asyncio.StreamWriter]
) -> None:
    await probes.cluster.pause("n1")
    assert probes.cluster.running("n1")
    answer = asyncio.ensure_future(exchange(*stream, "pid"))
    done, _ = await asyncio.wait([answer], timeout=suite.SILENCE_SECONDS)
    assert not done, "a paused process answered"
    assert await probes.ask("n2", "pid"), "other nodes must go on"
    await probes.cluster.resume("n1")
    async with asyncio.timeout(suite.PATIENCE_SECONDS):
        await answer


@check("pause", "commands")
async def pause_holds_processes_that_keep_forking(probes: Probes) -> None:
    hops = probes.cluster.directory("n1") / "data" / "hops"
    await probes.start("n1")
    await probes.ask("n1", "run_away")
    await until(lambda: hops.exists() and hops.stat().st_size > 10)
    await probes.cluster.pause("n1")
    size = hops.stat().st_size
    await asyncio.sleep(suite.SILENCE_SECONDS)
    assert hops.stat().st_size == size
    await probes.cluster.resume("n1")
    await until(lambda: hops.stat().st_size > size)


@check("pause")
async def a_paused_node_can_be_paused_again_and_killed(probes: Probes) -> None:
    await probes.start("n1")
    await probes.cluster.pause("n1")
    await probes.cluster.pause("n1")
    await probes.cluster.kill("n1")
    assert await probes.refuses("n1")
    await probes.start("n1")


@check("pause")
async def pausing_a_node_where_nothing_runs_is_an_error(probes: Probes) -> None:
    await raises(InjectionError, probes.cluster.pause("n1"))
    await probes.cluster.resume("n1")
