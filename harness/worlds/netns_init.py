"""The init of the `netns` world: makes its namespaces, wires them, and answers for the hub.

Theory of operation
-------------------
The harness has threads, so it can neither unshare a user namespace nor go in and out of others. It starts
this program instead, and talks to it and to the init of each node (`netns_node`) over one SEQPACKET socket
each. Three generations of processes come of it:

    harness ── outer ── pid 1, in the hub's network ─┬─ pid 1 of n1, in n1's network ── n1's agent
                                                     └─ pid 1 of n2, in n2's network ── n2's agent

The outer process makes the user, network, mount, pid, uts and ipc namespaces and then only waits: that it
has ended means that the kernel has ended everything below. The hub holds a bridge, with one port for each
node and 10.0.0.254 on itself; sockets made here reach every node from outside the bridge's forwarding path,
which is where cuts are. So no cut touches a client.

Nothing outlives the harness: a process that loses its parent dies by PR_SET_PDEATHSIG (the harness's thread
for the outer one, the outer one for pid 1), pid 1 also ends at the end of the harness's socket, pid 1's death
kills its pid namespace, and namespaces without processes take interfaces, mounts and rules with them. Nothing
is bound to a name in the file system.

Requests to the hub, JSON as in `netns_node`; the first makes the world:

    {"op": "boot", "parent": pid, "nodes": [{"name": "n1", "directory": path, "address": a, "fd": fd}, ...]}
    {"op": "socket"}                          answer carries a TCP socket of the hub's network
    {"op": "cut", "links": [[0, 1], ...]}     drop what node 0 sends node 1, and nothing else

Cuts are a set of (port in, port out) in one nftables rule of the bridge's forward hook: directed, whatever
the addresses and the protocol, replaced in one transaction, beyond reach of the nodes. ARP alone passes: it
carries nobody's data, and neighbour entries that time out during a cut would delay the heal.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypedDict

from harness.worlds import linux, netns_node

if TYPE_CHECKING:
    from harness.worlds.nft import Nftables

HUB_ADDRESS = "10.0.0.254"
PREFIX_LENGTH = 24

_RULES = """
add table bridge splitbrain
add set bridge splitbrain cut { type ifname . ifname; }
add chain bridge splitbrain forward { type filter hook forward priority 0; policy accept; }
add rule bridge splitbrain forward ether type arp accept
add rule bridge splitbrain forward iifname . oifname @cut counter drop
"""


class NodeSpec(TypedDict):
    """What the harness says of a node."""

    name: str
    directory: str
    address: str
    fd: int
    """This process's file descriptor of the node's control socket."""


class Impossible(Exception):
    """This machine does not allow the world, or lacks something for it. The message says what to do."""


def main() -> None:
    """`python -m harness.worlds.netns_init FD`, with the hub's control socket; or `probe`."""
    if sys.argv[1:] == ["probe"]:
        _probe()
    control = socket.socket(fileno=int(sys.argv[1]))
    request = json.loads(control.recv(netns_node.MESSAGE_BYTES_MAX))
    try:
        hub = boot(request["parent"], request["nodes"])
    except Impossible as error:
        control.send(json.dumps({"error": str(error)}).encode())
        sys.exit(1)
    control.send(b'{"ok": true}')
    hub.serve(control)


def _probe() -> NoReturn:
    """Make a world of two nodes, cut it, end it. Prints why that is impossible, if it is."""
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
    nodes: list[NodeSpec] = [
        {"name": f"n{i + 1}", "directory": "/", "address": f"10.0.0.{i + 1}", "fd": inner.fileno()}
        for i, (inner, _) in enumerate(pairs)
    ]
    try:
        boot(os.getppid(), nodes).cut([(0, 1)])
    except Impossible as error:
        print(error)  # noqa: T201 (stdout is this program's answer)
        sys.exit(1)
    sys.exit(0)


def boot(parent: int, nodes: Sequence[NodeSpec]) -> Hub:
    """Make the world. Returns in pid 1 of it; the calling process waits for that outside, and never returns.

    Raises Impossible, in either.
    """
    linux.die_with_parent()
    if os.getppid() != parent:
        sys.exit("the harness ended while this process started")
    _enter_user_namespace()
    flags = (
        linux.CLONE_NEWNET | linux.CLONE_NEWNS | linux.CLONE_NEWPID | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC
    )
    with _attempt("make network, mount, pid, uts and ipc namespaces"):
        linux.unshare(flags)
    linux.die_with_parent()  # the id maps have cleared it
    child = os.fork()
    if child:
        _close_all_but()  # the end of a control socket tells the harness that pid 1 is gone
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    linux.die_with_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    with _attempt("mount /proc for a pid namespace"):
        linux.mount("none", "/", None, linux.MS_REC | linux.MS_PRIVATE)
        linux.mount("proc", "/proc", "proc")
    return Hub(nodes)


def _enter_user_namespace() -> None:
    """Become root of a new user namespace.

    Root keeps all its ids, and so its access to other users' files; anyone else is mapped alone, and so is
    a root without that right. It is a right in the parent namespace, so a child that stays there writes.
    """
    alone = IdMaps(f"0 {os.geteuid()} 1", f"0 {os.getegid()} 1", "deny")
    choices = [_all_ids(), alone] if os.geteuid() == 0 else [alone]
    gate_read, gate_write = os.pipe()
    mapper = os.fork()
    if mapper == 0:
        os.close(gate_write)
        if os.read(gate_read, 1) == b"":
            os._exit(0)
        try:
            _write_id_maps(Path(f"/proc/{os.getppid()}"), choices)
        except OSError as error:
            os._exit(error.errno or 1)
        os._exit(0)
    with _attempt("make a user namespace"):
        linux.unshare(linux.CLONE_NEWUSER)
    os.write(gate_write, b".")
    os.close(gate_read)
    os.close(gate_write)
    _, status = os.waitpid(mapper, 0)
    with _attempt("map user ids into a user namespace"):
        if code := os.waitstatus_to_exitcode(status):
            raise OSError(code, os.strerror(code))


class IdMaps(NamedTuple):
    """What goes into the files of a process that map its ids, as user_namespaces(7) has it."""

    uid: str
    """Lines of first id inside, first id outside, count."""
    gid: str
    setgroups: str | None
    """ "deny" where the map takes no right: nobody may leave a group that is denied something."""


def _all_ids() -> IdMaps:
    def same(path: str) -> str:
        extents = [line.split() for line in Path(path).read_text().splitlines()]
        return "".join(f"{first} {first} {count}\n" for first, _, count in extents)

    return IdMaps(same("/proc/self/uid_map"), same("/proc/self/gid_map"), None)


def _write_id_maps(process: Path, choices: Sequence[IdMaps]) -> None:
    """Write the first that the kernel permits."""
    for maps in choices:
        try:
            if maps.setgroups is not None:
                (process / "setgroups").write_text(maps.setgroups)
            (process / "uid_map").write_text(maps.uid)
            (process / "gid_map").write_text(maps.gid)
            return
        except PermissionError:
            if maps is choices[-1]:
                raise


def _fork_node(node: NodeSpec) -> tuple[int, int]:
    """Start the node's init; its pid, and a pipe that says null when it is ready, or errno and words."""
    said, say = os.pipe()
    own = os.open("/proc/self/ns/pid", os.O_RDONLY)
    with _attempt("make a pid namespace for a node"):
        linux.unshare(linux.CLONE_NEWPID)
    pid = os.fork()
    if pid == 0:
        _close_all_but(node["fd"], say)
        try:
            netns_node.enter(node["name"], node["directory"])
        except OSError as error:
            os.write(say, json.dumps([error.errno, str(error)]).encode())
            os._exit(1)
        os.write(say, b"null")
        os.close(say)
        netns_node.serve(socket.socket(fileno=node["fd"]))
    linux.setns(own, linux.CLONE_NEWPID)
    os.close(own)
    os.close(say)
    os.close(node["fd"])
    return pid, said


def _close_all_but(*keep: int) -> None:
    first = 3
    for fd in (*sorted(keep), os.sysconf("SC_OPEN_MAX")):
        os.closerange(first, fd)
        first = fd + 1


def _wire(pids: Sequence[int], addresses: Sequence[str]) -> None:
    """Make the bridge, and a link from it to the network namespace of each process."""
    # Imported here, after the nodes were forked: it takes 0.1 s and 20 MB, and they need none of it.
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        with IPRoute() as hub:
            hub.link("add", ifname="br0", kind="bridge", state="up")
            bridge = socket.if_nametoindex("br0")
            hub.addr("add", index=bridge, address=HUB_ADDRESS, prefixlen=PREFIX_LENGTH)
            for i, (pid, address) in enumerate(zip(pids, addresses, strict=True)):
                there = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
                peer = {"ifname": "eth0", "net_ns_fd": there}
                hub.link("add", ifname=_port(i), kind="veth", master=bridge, state="up", peer=peer)
                linux.setns(there, linux.CLONE_NEWNET)
                os.close(there)
                with IPRoute() as node:
                    eth0 = socket.if_nametoindex("eth0")
                    node.addr("add", index=eth0, address=address, prefixlen=PREFIX_LENGTH)
                    node.link("set", index=eth0, state="up")
                    node.link("set", index=socket.if_nametoindex("lo"), state="up")
                linux.setns(here, linux.CLONE_NEWNET)
    except NetlinkError as error:
        raise Impossible(
            f"the kernel refuses to make a bridge with veth links: {error}. "
            "Load its modules: sudo modprobe -a bridge veth"
        ) from error
    finally:
        os.close(here)


def _open_nftables() -> Nftables:
    # Imported here for the same reason.
    from harness.worlds.nft import Nftables, NftablesError

    try:
        nft = Nftables()
    except OSError as error:
        raise Impossible(
            f"libnftables is not installed ({error}). Install it: sudo apt-get install libnftables1"
        ) from error
    try:
        nft.run(_RULES)
    except NftablesError as error:
        raise Impossible(
            f"the kernel refuses nftables rules on a bridge: {error}. "
            "Load its modules: sudo modprobe -a nf_tables nft_meta_bridge"
        ) from error
    return nft


class Hub:
    """The network between the nodes, from its middle. Lives in pid 1 of the world."""

    def __init__(self, nodes: Sequence[NodeSpec]) -> None:
        started = [_fork_node(node) for node in nodes]
        for _, said in started:
            with _attempt("make the namespaces of a node"):
                if error := json.loads(os.read(said, 4096)):
                    raise OSError(*error)
            os.close(said)
        _wire([pid for pid, _ in started], [node["address"] for node in nodes])
        self._nft = _open_nftables()

    def cut(self, links: Sequence[tuple[int, int]]) -> None:
        """Make these (sender, receiver) pairs the only ones cut. NftablesError: nothing has changed."""
        commands = "flush set bridge splitbrain cut\n"
        if links:
            pairs = ", ".join(f'"{_port(sender)}" . "{_port(receiver)}"' for sender, receiver in links)
            commands += f"add element bridge splitbrain cut {{ {pairs} }}\n"
        self._nft.run(commands)

    def serve(self, control: socket.socket) -> NoReturn:
        """Answer requests until the harness is gone; then end, and the world with it."""
        from harness.worlds.nft import NftablesError

        while message := control.recv(netns_node.MESSAGE_BYTES_MAX):
            request = json.loads(message)
            try:
                match request["op"]:
                    case "socket":
                        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as made:
                            socket.send_fds(control, [b'{"ok": true}'], [made.fileno()])
                        continue
                    case "cut":
                        self.cut(request["links"])
                    case op:
                        raise OSError(f"unknown request {op!r}")
            except (NftablesError, OSError) as error:
                control.send(json.dumps({"error": str(error)}).encode())
            else:
                control.send(b'{"ok": true}')
        os._exit(0)


def _port(node: int) -> str:
    """The name of the bridge's port to the node."""
    return f"v{node}"


@contextmanager
def _attempt(action: str) -> Iterator[None]:
    """Turn the kernel's refusal of a step of the boot into what the user can do about it."""
    try:
        yield
    except OSError as error:
        raise Impossible(
            f"the kernel refuses to {action}: {error.strerror}. {_remedy(error.errno)}"
        ) from error


def _remedy(error: int | None) -> str:
    if error in (errno.EINVAL, errno.ENOSYS):
        return "It was built without these namespaces: another kernel is needed."
    if error in (errno.ENOSPC, errno.EUSERS):
        return (
            "A limit on their number is reached; `sysctl user` shows them all. "
            "Raise them: sudo sysctl user.max_user_namespaces=10000 user.max_net_namespaces=10000"
        )
    if _reads("/proc/sys/kernel/unprivileged_userns_clone", "0"):
        return "Allow it to ordinary users: sudo sysctl kernel.unprivileged_userns_clone=1. Or run as root."
    if os.geteuid() != 0 and _reads("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"):
        return (
            "AppArmor restricts user namespaces to programs with a profile. Allow them to all: "
            "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0. Or run as root."
        )
    if "Seccomp:\t2" in Path("/proc/self/status").read_text():
        return (
            "This looks like a container whose seccomp profile or masked /proc forbids it. Start it with "
            "--security-opt seccomp=unconfined --security-opt systempaths=unconfined --security-opt "
            "apparmor=unconfined, or with --privileged."
        )
    return "Try as root; in a container, start it with --privileged."


def _reads(path: str, value: str) -> bool:
    try:
        return Path(path).read_text().strip() == value
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    main()
