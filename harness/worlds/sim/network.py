"""A simulated network: datagrams and streams between hosts, as a process sees them through its sockets.

Rules
-----
1. A datagram arrives once, after its link's latency and what the link's shape adds to that, unless a
   departure (`departures`) says otherwise, or the link is cut, its target off or nobody listening when it
   arrives: then it is lost without a word. One that is too large is not sent, and its protocol is told.
2. A stream's bytes arrive in order or not at all (`streams`). A connection attempt over a cut, or to a host
   that is off, hangs, and is repeated at TCP's intervals.
3. A host's kernel goes on while a process is paused: it accepts connections and takes in what arrives, of
   datagrams no more than `RECEIVE_BUFFER_BYTES`.
4. Cuts are directed.
5. Clients of the harness come over links of their own, which no fault touches.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from harness.worlds import ORDINARY, Link, Shape
from harness.worlds.sim.chance import Stream
from harness.worlds.sim.departures import Departures
from harness.worlds.sim.endpoints import no_route, no_such_host
from harness.worlds.sim.hosts import ANY_ADDRESS, LOCAL_ADDRESS, Host, Wire
from harness.worlds.sim.loop import Callback, SimulatedLoop
from harness.worlds.sim.process import Process, current_process, harness_context
from harness.worlds.sim.streams import End

Address = tuple[str, int]

MICROSECOND = 1_000
MILLISECOND = 1_000_000
SECOND = 1_000_000_000

LATENCY_NS = (200 * MICROSECOND, 1000 * MICROSECOND)
"""Between two hosts; each directed link has its own, for ever."""
LOCAL_LATENCY_NS = 30 * MICROSECOND
CLIENT_LATENCY_NS = 100 * MICROSECOND

CONNECT_TRIES_NS = (0, 1 * SECOND, 3 * SECOND, 7 * SECOND, 15 * SECOND, 31 * SECOND, 63 * SECOND)
"""When a connection is attempted (Linux: tcp_syn_retries = 6),"""
CONNECT_NS_MAX = 127 * SECOND
"""and when the last attempt has failed."""

DATAGRAM_BYTES_MAX = 65_507
"""What a datagram can carry: 64 KiB, but for the headers."""

RECEIVE_BUFFER_BYTES = 2 * 1024 * 1024
"""Of a datagram socket: what does not fit, while its process is paused, is lost."""


class Network:
    """All hosts, links and what is under way on them."""

    def __init__(self, loop: SimulatedLoop, seed: int, departures: Departures) -> None:
        self.loop = loop
        self.departures = departures
        self.hosts: dict[str, Host] = {}
        self.outside = Host("harness", "10.0.255.254", 0)
        """Where the harness's clients are."""
        self._by_address: dict[str, Host] = {self.outside.address: self.outside}
        self._latencies = Stream(seed, "latency")
        self._cut: frozenset[Link] = frozenset()
        self._shapes: Mapping[Link, Shape] = {}

    def add(self, host: Host) -> None:
        self.hosts[host.name] = host
        self._by_address[host.address] = host

    def wire(self, source: Host, target: Host) -> Wire:
        """From one host to another, or to itself."""
        wire = source.wires.get(target)
        if wire is None:
            wire = self._new_wire(source, target)
            if target is not source:
                wire.back = self._new_wire(target, source)
                wire.back.back = wire
        return wire

    def wires(self) -> list[Wire]:
        """All that were used so far."""
        return [wire for host in (*self.hosts.values(), self.outside) for wire in host.wires.values()]

    def _new_wire(self, source: Host, target: Host) -> Wire:
        wire = source.wires[target] = Wire(source, target, self._latency_ns(source, target))
        link = (source.name, target.name)
        wire.cut, wire.cut_since_ns = link in self._cut, self.loop.now_ns
        wire.take_shape(self._shapes.get(link, ORDINARY))
        return wire

    def _latency_ns(self, source: Host, target: Host) -> int:
        if source is target:
            return LOCAL_LATENCY_NS
        if self.outside in (source, target):
            return CLIENT_LATENCY_NS
        low, high = LATENCY_NS
        return low + self._latencies.below(high - low, source.number << 16 | target.number)

    # --- Faults

    def cut(self, links: Iterable[Link]) -> None:
        """Exactly these links are cut from now on."""
        self._cut = frozenset(links)
        for source in self.hosts.values():
            for target, wire in source.wires.items():
                was, wire.cut = wire.cut, (source.name, target.name) in self._cut
                if wire.cut and not was:
                    wire.cut_since_ns = self.loop.now_ns
                    for end in source.ends:
                        if end.peer.host is target:
                            end.ask()
                            end.peer.ask()

    def shape(self, shapes: Mapping[Link, Shape]) -> None:
        """These links are shaped so from now on, and no others."""
        self._shapes = dict(shapes)
        for source in self.hosts.values():
            for target, wire in source.wires.items():
                wire.take_shape(self._shapes.get((source.name, target.name), ORDINARY))

    def power_off(self, host: Host) -> None:
        """The host stops dead: nothing more leaves it, and it forgets everything."""
        host.up = False
        host.listeners.clear()
        host.sockets.clear()
        for end in list(host.ends):
            end.vanish()

    def process_ended(self, host: Host, process: Process) -> None:
        """The kernel closes what a process leaves behind."""
        for port, listener in list(host.listeners.items()):
            if listener.process is process:
                del host.listeners[port]
        for port, socket in list(host.sockets.items()):
            if socket.process is process:
                del host.sockets[port]
        for end in list(host.ends):
            if end.process is process:
                end.orphan()

    # --- What is under way

    def host_at(self, address: str, local: Host) -> Host:
        """Whose address it is, as seen from a host. Raises OSError if there is none."""
        host = self._by_address.get(address)
        if host is None:
            if address in (LOCAL_ADDRESS, ANY_ADDRESS):
                return local
            raise no_route(address)
        return host

    async def connect(
        self, source: Host, factory: Callable[[], asyncio.BaseProtocol], address: Address
    ) -> tuple[End, asyncio.BaseProtocol]:
        """Open a stream from a host, in the context of whoever calls."""
        wire = self.wire(source, self.host_at(address[0], source))
        began_ns = self.loop.now_ns
        for try_ns in CONNECT_TRIES_NS:
            await self._until(began_ns + try_ns)
            if wire.passes_both_ways():
                await self._until(self.loop.now_ns + wire.latency_ns)
                if wire.passes_both_ways():
                    return await self._connected(wire, factory, address)
        await self._until(began_ns + CONNECT_NS_MAX)
        raise TimeoutError(errno.ETIMEDOUT, _about("connect to", address, errno.ETIMEDOUT))

    async def _connected(
        self, wire: Wire, factory: Callable[[], asyncio.BaseProtocol], address: Address
    ) -> tuple[End, asyncio.BaseProtocol]:
        """The request has come to the target's kernel."""
        source, target = wire.source, wire.target
        listener = target.listener(*address)
        if listener is None:
            await self._until(self.loop.now_ns + wire.back.latency_ns)
            raise ConnectionRefusedError(
                errno.ECONNREFUSED, _about("connect to", address, errno.ECONNREFUSED)
            )
        local = LOCAL_ADDRESS if address[0] == LOCAL_ADDRESS else source.address
        ours = End(self, wire, (local, source.ephemeral_port()), current_process())
        theirs = End(self, wire.back, address, listener.process)
        ours.peer, theirs.peer = theirs, ours
        listener.accept(theirs)
        try:
            await self._until(self.loop.now_ns + wire.back.latency_ns)
            if ours.is_lost():  # again already
                raise ConnectionResetError(errno.ECONNRESET, _about("connect to", address, errno.ECONNRESET))
            protocol = factory()
            ours.begin(protocol)
        except BaseException:  # given up, while the other side has it already
            ours.orphan()
            raise
        return ours, protocol

    async def _until(self, when_ns: int) -> None:
        if when_ns > self.loop.now_ns:
            await asyncio.sleep((when_ns - self.loop.now_ns) / 1e9)


class ProcessNetwork:
    """The network port of one process."""

    def __init__(self, network: Network, host: Host, process: Process) -> None:
        self._network = network
        self._host = host
        self._process = process

    def resolve(self, name: str | None) -> str:
        """The address that a name or an address means. Raises OSError."""
        if name is None or name == "localhost":
            return LOCAL_ADDRESS
        host = self._network.hosts.get(name)
        if host is not None:
            return host.address
        if all(part.isdigit() for part in name.split(".")):
            return name
        raise no_such_host(name)

    async def listen(self, factory: Callable[[], asyncio.Protocol], address: Address) -> Listener:
        """Accept streams at an address; port 0 picks one. OSError if it is taken, or another host's."""
        await self._process.halt_if_dead()
        bound = self._bind(address, self._host.listeners)
        listener = Listener(self._network, self._host, self._process, factory, bound)
        self._host.listeners[bound[1]] = listener
        return listener

    async def connect(self, factory: Callable[[], asyncio.Protocol], address: Address) -> asyncio.Transport:
        """Open a stream. OSError if refused or unreachable."""
        await self._process.halt_if_dead()
        end, _ = await self._network.connect(self._host, factory, address)
        return end

    async def datagrams(
        self,
        factory: Callable[[], asyncio.DatagramProtocol],
        address: Address,
        remote: Address | None = None,
    ) -> asyncio.DatagramTransport:
        """Send and receive datagrams at an address; only to and from `remote`, if one is given."""
        await self._process.halt_if_dead()
        bound = self._bind(address, self._host.sockets)
        protocol = factory()
        socket = DatagramSocket(self._network, self._host, self._process, bound, remote, protocol)
        self._host.sockets[bound[1]] = socket
        protocol.connection_made(socket)
        return socket

    def _bind(self, address: Address, taken: Mapping[int, Any]) -> Address:
        host, port = address
        if host not in (ANY_ADDRESS, LOCAL_ADDRESS, self._host.address):
            raise OSError(errno.EADDRNOTAVAIL, _about("cannot listen on", address, errno.EADDRNOTAVAIL))
        if port in taken:
            raise OSError(errno.EADDRINUSE, _about("cannot listen on", address, errno.EADDRINUSE))
        return host, port or self._host.ephemeral_port()


class Listener:
    """A listening socket."""

    def __init__(
        self,
        network: Network,
        host: Host,
        process: Process,
        factory: Callable[[], asyncio.Protocol],
        address: Address,
    ) -> None:
        self.process = process
        self.address = address
        self._network = network
        self._host = host
        self._factory = factory

    def close(self) -> None:
        if self._host.listeners.get(self.address[1]) is self:
            del self._host.listeners[self.address[1]]

    def accept(self, end: End) -> None:
        """The kernel has a connection: tell the process, once it runs."""
        self._network.loop.call_soon(self._accepted, end, context=end.context)

    def _accepted(self, end: End) -> None:
        if not end.is_lost():
            end.begin(self._factory())


class DatagramSocket(asyncio.DatagramTransport):
    """A bound datagram socket."""

    def __init__(
        self,
        network: Network,
        host: Host,
        process: Process,
        address: Address,
        remote: Address | None,
        protocol: asyncio.DatagramProtocol,
    ) -> None:
        super().__init__({"sockname": address, "peername": remote, "socket": None})
        self.process = process
        self.address = address
        self._network = network
        self._host = host
        self._remote = remote
        self._protocol = protocol
        self._context = process.context.copy()
        self._closed = False
        self._waiting_bytes = 0

    def sendto(self, data: Any, addr: Any = None) -> None:
        if self._closed or not self.process.alive:
            return
        network, source = self._network, self._host
        host, port = self._remote or addr
        try:
            target = network.host_at(host, source)
        except OSError:  # nobody there to take it
            return
        loop, data = network.loop, bytes(data)
        if len(data) > DATAGRAM_BYTES_MAX:
            self._protocol.error_received(OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE)))
            return
        wire = source.wires.get(target) or network.wire(source, target)
        arrival_ns = loop.now_ns + wire.latency_ns
        wire.datagrams += 1
        departure = network.departures.at(wire.datagram_place, wire.datagrams, wire.shape)
        if departure is not None:
            if departure.kind == "lost":
                return
            later_ns = arrival_ns + departure.delay_ns
            if departure.kind == "twice":
                loop.at(later_ns, self._arrive, wire, (host, port), data, context=_KERNEL)
            else:
                arrival_ns = later_ns
        loop.set(Callback(arrival_ns, self._arrive, (wire, (host, port), data), _KERNEL, None))

    def _arrive(self, wire: Wire, address: Address, data: bytes) -> None:
        socket = wire.target.socket(*address)
        if socket is not None and wire.passes():
            local = address[0] if wire.source is wire.target else wire.source.address
            socket.take(data, (local, self.address[1]))

    def take(self, data: bytes, source: Address) -> None:
        """The kernel has a datagram for this socket."""
        if self._remote not in (None, source) or self._waiting_bytes + len(data) > RECEIVE_BUFFER_BYTES:
            return
        self._waiting_bytes += len(data)
        self._network.loop.call_soon(self._deliver, data, source, context=self._context)

    def _deliver(self, data: bytes, source: Address) -> None:
        self._waiting_bytes -= len(data)
        if not self._closed:
            self._protocol.datagram_received(data, source)

    def is_closing(self) -> bool:
        return self._closed

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            if self._host.sockets.get(self.address[1]) is self:
                del self._host.sockets[self.address[1]]
            self._network.loop.call_soon(self._protocol.connection_lost, None, context=self._context)

    abort = close


def _about(what: str, address: Address, number: int) -> str:
    return f"{what} {address[0]}:{address[1]}: {os.strerror(number)}"


_KERNEL = harness_context()
"""Of no process: the network goes on whoever is paused."""
