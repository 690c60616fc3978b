"""asyncio's own ways to the network, which lead simulated processes to the simulated one.

So a program that uses `asyncio.start_server`, `asyncio.open_connection` or the loop's methods below them runs
as it is. Hosts are addresses in dotted form, names of nodes, or localhost. What the simulated network has not
(TLS, sockets of one's own, threads, pipes, children) is refused by name, never ignored.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from harness.worlds.sim.process import NotSimulated, current_process

if TYPE_CHECKING:
    from harness.worlds.sim.network import Listener, ProcessNetwork

_CHANGES_NOTHING = frozenset(
    {"backlog", "family", "flags", "keep_alive", "proto", "reuse_address", "reuse_port", "start_serving"}
)
"""Options that make no difference here."""


class Endpoints(asyncio.BaseEventLoop):
    """The part of an event loop that makes connections, servers and datagram endpoints."""

    def refuse(self, call: str, use: str) -> NotSimulated:
        """The exception to raise when somebody calls what there is not, who should use something else."""
        raise NotImplementedError

    async def create_connection(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.Protocol],
        host: str | None = None,
        port: int | None = None,
        **options: Any,
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        network = self._network("create_connection", options)
        transport = await network.connect(protocol_factory, (network.resolve(host), port or 0))
        return transport, transport.get_protocol()

    async def create_server(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.Protocol],
        host: str | None = None,
        port: int | None = None,
        **options: Any,
    ) -> Server:
        network = self._network("create_server", options)
        return Server(self, await network.listen(protocol_factory, (_own(network, host), port or 0)))

    async def create_datagram_endpoint(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.DatagramProtocol],
        local_addr: tuple[str, int] | None = None,
        remote_addr: tuple[str, int] | None = None,
        **options: Any,
    ) -> tuple[asyncio.DatagramTransport, asyncio.DatagramProtocol]:
        network = self._network("create_datagram_endpoint", options)
        host, port = local_addr or (None, 0)
        remote = None if remote_addr is None else (network.resolve(remote_addr[0]), remote_addr[1])
        protocol = protocol_factory()
        transport = await network.datagrams(lambda: protocol, (_own(network, host), port), remote)
        return transport, protocol

    async def getaddrinfo(
        self,
        host: str | bytes | None,
        port: str | bytes | int | None,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 (asyncio's name)
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        network = self._network("getaddrinfo", {})
        name = host.decode() if isinstance(host, bytes) else host
        kind = socket.SocketKind(type) if type else socket.SOCK_STREAM
        return [(socket.AF_INET, kind, proto, "", (network.resolve(name), int(port or 0)))]

    def _network(self, call: str, options: dict[str, Any]) -> ProcessNetwork:
        """The network of the process whose code is running."""
        process = current_process()
        if process is None or process.network is None:
            raise self.refuse(call, "Cluster.connect, from outside of the processes")
        for name, value in options.items():
            if value and name not in _CHANGES_NOTHING:
                raise self.refuse(f"{call}({name}=...)", "plain streams and datagrams")
        return process.network


def _own(network: ProcessNetwork, host: str | None) -> str:
    """The address to bind to."""
    return "0.0.0.0" if host in (None, "", "::") else network.resolve(host)


_REFUSED = {
    "create_connection and create_server": (
        "connect_accepted_socket", "create_unix_connection", "create_unix_server", "sendfile", "start_tls",
        "sock_accept", "sock_connect", "sock_recv", "sock_recv_into", "sock_recvfrom", "sock_recvfrom_into",
        "sock_sendall", "sock_sendfile", "sock_sendto", "add_reader", "add_writer", "connect_read_pipe",
        "connect_write_pipe",
    ),
    "addresses": ("getnameinfo",),
    "nothing: it has no children": ("subprocess_exec", "subprocess_shell"),
    "tasks: there are no threads": ("run_in_executor",),
    "asyncio's own tasks": ("set_task_factory",),
}  # fmt: skip
"""What there is not in a simulation, by what to use instead."""


def _refusing(name: str, use: str) -> Callable[..., NoReturn]:
    def refused(self: Endpoints, *args: Any, **kwargs: Any) -> NoReturn:
        raise self.refuse(f"loop.{name}", use)

    return refused


for _use, _names in _REFUSED.items():
    for _name in _names:
        setattr(Endpoints, _name, _refusing(_name, _use))


class Server(asyncio.AbstractServer):
    """What `create_server` returns: a listener, as asyncio shows one."""

    def __init__(self, loop: asyncio.AbstractEventLoop, listener: Listener) -> None:
        self._loop = loop
        self._listener: Listener | None = listener
        self.sockets = (Bound(listener.address),)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def is_serving(self) -> bool:
        return self._listener is not None

    def close(self) -> None:
        """Accept no more; streams that are open live on."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def start_serving(self) -> None:
        """It does from the beginning."""

    async def serve_forever(self) -> None:
        if self._listener is None:
            raise RuntimeError("the server is closed")
        try:
            await self._loop.create_future()
        finally:
            self.close()

    async def wait_closed(self) -> None:
        """Closing takes no time."""


class Bound:
    """A bound socket, of which one can learn the address."""

    family = socket.AF_INET

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address

    def getsockname(self) -> tuple[str, int]:
        return self._address


def no_such_host(name: str) -> OSError:
    """What resolving an unknown name raises."""
    return socket.gaierror(socket.EAI_NONAME, f"{name}: Name or service not known")


def no_route(address: str) -> OSError:
    """What sending to an address that nobody has raises."""
    return OSError(errno.EHOSTUNREACH, f"{address}: No route to host")
