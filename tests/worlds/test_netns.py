"""The netns world keeps every promise of `Cluster`, and those that are its own."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from harness.worlds import InjectionError, SetupError, conformance, netns, netns_init
from harness.worlds.netns import Netns, NetnsCluster


def test_this_machine_can_do_it() -> None:
    # A failure, not a skip: a machine where these tests do not run has tested nothing.
    assert Netns().missing() is None


@pytest.mark.parametrize("check", conformance.checks_of(Netns()), ids=str)
def test_it_conforms(check: conformance.Check, tmp_path: Path) -> None:
    asyncio.run(check(Netns(), tmp_path))


@pytest.mark.parametrize("check", conformance.checks_of(Netns())[:3], ids=str)
def test_it_conforms_on_uvloop_too(check: conformance.Check, tmp_path: Path) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(check(Netns(), tmp_path))


# Nothing is left


@pytest.mark.parametrize("seconds_after_opening", [0.0, 0.03, 0.06, 0.1, 0.15, 0.25])
def test_kill_9_during_the_boot_leaves_nothing(
    marked_harness: Callable[[], Any], seconds_after_opening: float
) -> None:
    harness = marked_harness()
    harness.await_line("opening")
    time.sleep(seconds_after_opening)
    namespaces = harness.namespaces()
    os.kill(harness.process.pid, signal.SIGKILL)
    harness.process.wait()
    harness.await_nothing_left(namespaces, seconds=2.0)


def test_kill_9_of_a_running_harness_leaves_nothing(marked_harness: Callable[[], Any]) -> None:
    mounts, links = Path("/proc/self/mounts").read_text(), socket.if_nameindex()
    harness = marked_harness()
    harness.await_line("opening")
    harness.await_line("ready")
    assert len(harness.processes()) >= 1 + 2 + 3 * 5  # harness; outer, hub; init, probe and daemon of each
    namespaces = harness.namespaces()
    assert len({ns for ns in namespaces if ns.startswith("net:")}) == 1 + 5
    os.kill(harness.process.pid, signal.SIGKILL)
    harness.process.wait()
    harness.await_nothing_left(namespaces, seconds=2.0)
    assert Path("/proc/self/mounts").read_text() == mounts
    assert socket.if_nameindex() == links


def test_ctrl_c_reaches_the_harness_alone_so_that_it_can_heal_and_collect(
    marked_harness: Callable[[], Any],
) -> None:
    harness = marked_harness()
    harness.await_line("opening")
    harness.await_line("ready")
    namespaces = harness.namespaces()
    os.killpg(harness.process.pid, signal.SIGINT)  # as a terminal does: to its foreground process group
    harness.await_line("all nodes lived until the end")
    harness.process.wait(10)
    harness.await_nothing_left(namespaces, seconds=2.0)


def test_an_error_in_the_middle_of_opening_leaves_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "n2").write_text("a file where a node's folder should be")
        with pytest.raises(SetupError, match="n2"):
            await Netns().open(("n1", "n2"), tmp_path)
        opening = asyncio.ensure_future(Netns().open(("n1", "n3"), tmp_path))
        await asyncio.sleep(0.1)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening

    asyncio.run(scenario())
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert [pid for pid in children if "netns_init" in Path(f"/proc/{pid}/cmdline").read_text()] == []


# What is this world's own


def with_cluster(directory: Path, nodes: int, body: Callable[[NetnsCluster], Any]) -> None:
    async def scenario() -> None:
        cluster = await Netns().open(tuple(f"n{i + 1}" for i in range(nodes)), directory)
        try:
            await body(cluster)
        finally:
            await cluster.close()

    asyncio.run(scenario())


def test_sixty_nodes_reach_each_other(tmp_path: Path) -> None:
    async def body(cluster: NetnsCluster) -> None:
        ended = asyncio.Event()
        cluster.on_exit(lambda record: ended.set())
        listen = "import socket; print(socket.create_server(('', 7000)).accept()[1], flush=True)"
        await cluster.start("n60", [sys.executable, "-S", "-c", listen], {})
        dial = (
            "import socket, time\n"
            "while socket.socket().connect_ex(('10.0.0.60', 7000)) != 0:\n"
            "    time.sleep(0.01)"
        )
        assert (await cluster.run("n1", [sys.executable, "-S", "-c", dial])).returncode == 0
        await asyncio.wait_for(ended.wait(), 10)
        assert "('10.0.0.1', " in (cluster.directory("n60") / "log").read_text()
        everything = [(a, b) for a in cluster.nodes for b in cluster.nodes if a != b]
        await cluster.cut(everything)
        assert (
            await cluster.run("n1", ["timeout", "0.3", sys.executable, "-S", "-c", dial])
        ).returncode == 124

    with_cluster(tmp_path, 60, body)


def test_five_hundred_clients_connect_at_once(tmp_path: Path) -> None:
    async def body(cluster: NetnsCluster) -> None:
        probes = conformance.Probes(cluster, conformance.PROBE_ARGV)
        await probes.start("n1", "n2")
        nodes = ["n1", "n2"] * 250
        before = len(os.listdir("/proc/self/fd"))
        pids = await asyncio.gather(*(probes.ask(node, "pid") for node in nodes))
        assert len(set(pids[0::2])) == len(set(pids[1::2])) == 1
        assert len(os.listdir("/proc/self/fd")) <= before, "sockets leak"

    with_cluster(tmp_path, 2, body)


def test_a_node_has_a_host_name_and_process_ids_of_its_own(tmp_path: Path) -> None:
    async def body(cluster: NetnsCluster) -> None:
        assert (await cluster.run("n2", ["hostname"])).stdout == b"n2\n"
        listed = await cluster.run("n2", ["ls", "/proc"])
        assert sum(name.isdigit() for name in listed.stdout.split()) == 2  # its init, and ls

    with_cluster(tmp_path, 2, body)


def test_a_person_can_enter_a_node_from_outside(tmp_path: Path) -> None:
    async def main() -> None:
        cluster = await Netns().open(("n1", "n2"), tmp_path)
        try:
            for node in cluster.nodes:
                command = f"{cluster.enter(node)} -c 'hostname; hostname -I'"
                shell = await asyncio.create_subprocess_shell(command, stdout=subprocess.PIPE)
                said, _ = await shell.communicate()
                assert said.decode().split() == [node, cluster.address(node)]
        finally:
            await cluster.close()

    asyncio.run(main())


def test_the_end_of_the_helper_is_a_crash_of_every_node_and_no_fault_is_injected_after_it(
    tmp_path: Path,
) -> None:
    async def body(cluster: NetnsCluster) -> None:
        await cluster.start("n1", ["sleep", "1000"], {})
        told = asyncio.Event()
        cluster.on_exit(lambda record: told.set())
        assert cluster._helper is not None
        cluster._helper.kill()
        await asyncio.wait_for(told.wait(), 5)
        assert [(record.node, record.expected) for record in cluster.exits] == [("n1", False)]
        with pytest.raises(InjectionError, match="gone"):
            await cluster.cut([("n1", "n2")])
        with pytest.raises(InjectionError, match="gone"):
            await cluster.kill("n2")

    with_cluster(tmp_path, 2, body)


def test_too_many_nodes_and_repeated_names_are_refused(tmp_path: Path) -> None:
    for nodes in ((), ("n1", "n1"), tuple(f"n{i}" for i in range(254))):
        with pytest.raises(SetupError, match="1 to 253 nodes"):
            asyncio.run(Netns().open(nodes, tmp_path))


# What is missing, and what to do


def probe_after(preparation: str) -> str:
    """What the helper says of a machine that was prepared by this Python code."""
    code = f"{preparation}\nimport sys\nfrom harness.worlds import netns_init\nsys.argv[1:] = ['probe']\n"
    probe = subprocess.run(
        [sys.executable, "-c", f"{code}netns_init.main()"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (probe.returncode, probe.stderr) == (1, "")
    return probe.stdout


def test_it_says_when_user_namespaces_are_used_up() -> None:
    said = probe_after(
        "from harness.worlds import linux, netns_init\n"
        "netns_init._enter_user_namespace()\n"
        "open('/proc/sys/user/max_user_namespaces', 'w').write('0')"
    )
    assert "make a user namespace: " in said
    assert "sudo sysctl user.max_user_namespaces=" in said


def test_it_says_when_network_namespaces_are_used_up() -> None:
    said = probe_after(
        "from harness.worlds import linux, netns_init\n"
        "netns_init._enter_user_namespace()\n"
        "open('/proc/sys/user/max_net_namespaces', 'w').write('0')"
    )
    assert "make network, " in said
    assert "user.max_net_namespaces=" in said


def test_it_says_when_a_container_forbids_it() -> None:
    said = probe_after(
        "import ctypes, errno, platform, struct\n"
        "unshare = {'x86_64': 272, 'aarch64': 97}[platform.machine()]\n"
        # seccomp(2): load the call's number; if it is unshare, EPERM, else allow.
        "code = struct.pack('=HBBIHBBIHBBIHBBI', 0x20, 0, 0, 0, 0x15, 0, 1, unshare,"
        " 6, 0, 0, 0x50000 | errno.EPERM, 6, 0, 0, 0x7FFF0000)\n"
        "filters = ctypes.create_string_buffer(code)\n"
        "program = struct.pack('HxxxxxxP', 4, ctypes.addressof(filters))\n"
        "libc = ctypes.CDLL(None)\n"
        "assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program) == 0"
    )
    assert "make a user namespace: " in said
    assert "--security-opt seccomp=unconfined" in said


@pytest.mark.parametrize(
    ("setting", "value", "remedy"),
    [
        ("unprivileged_userns_clone", "0", "sudo sysctl kernel.unprivileged_userns_clone=1"),
        (
            "apparmor_restrict_unprivileged_userns",
            "1",
            "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ],
)
def test_it_names_the_setting_that_forbids_user_namespaces(
    monkeypatch: pytest.MonkeyPatch, setting: str, value: str, remedy: str
) -> None:
    # The settings exist only on kernels of Debian and Ubuntu, and only a real root may change them.
    monkeypatch.setattr(netns_init, "_reads", lambda path, wanted: path.endswith(setting) and wanted == value)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(netns_init.Impossible, match=remedy), netns_init._attempt("make a user namespace"):
        raise PermissionError(errno.EPERM, "Operation not permitted")


def test_it_says_when_the_library_is_missing() -> None:
    said = probe_after(
        "import ctypes\n"
        "load = ctypes.CDLL\n"
        "def without_nftables(name, *args, **options):\n"
        "    if name and 'nftables' in name:\n"
        "        raise OSError(name + ': cannot open shared object file')\n"
        "    return load(name, *args, **options)\n"
        "ctypes.CDLL = without_nftables"
    )
    assert "sudo apt-get install libnftables1" in said


def test_an_impossible_world_is_an_error_that_names_the_worlds_that_remain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        netns, "_helper", lambda argument: [sys.executable, "-c", "raise SystemExit('no way')"]
    )
    with pytest.raises(SetupError, match=r"(?s)no way.*Worlds that remain: .*--world"):
        asyncio.run(Netns().open(("n1",), tmp_path))
