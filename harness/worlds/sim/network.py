"""A simulated network: datagrams and streams between hosts, as a process sees them through its sockets.

Rules
-----
1. A datagram arrives once, after its link's latency, unless a departure (`departures`) says otherwise, or its
   link is cut, its target off or nobody listening when it arrives: then it is lost without a word.
2. A stream's bytes arrive in order or not at all. What cannot pass is held and sent again at TCP's growing
   intervals; a stream whose peer has acknowledged nothing for `UNACKNOWLEDGED_NS_MAX` breaks, as the agents'
   real sockets do. A connection attempt over a cut hangs, and is repeated at TCP's intervals.
3. A host's kernel goes on while a process is paused: it accepts connections and takes in what arrives. The
   death of a process closes its streams in order; a host that loses power says nothing, and answers what
   comes in for a stream of its former life with a reset.
4. Cuts are directed. What arrives but cannot be acknowledged has arrived, and the sender's stream breaks.
5. Clients of the harness come over links of their own, which no fault touches.

Streams are modelled by segments (one per write), not by packets: there is no congestion and no window.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextvars import Context, copy_context
from typing import Any, cast

from harness.worlds import ORDINARY, Link, Shape
from harness.worlds.sim.chance import Stream
from harness.worlds.sim.departures import Departures
from harness.worlds.sim.loop import NotSimulated, Process, SimulatedLoop, current_process

Address = tuple[str, int]

MICROSECOND = 1_000
MILLISECOND = 1_000_000
SECOND = 1_000_000_000

LATENCY_NS = (200 * MICROSECOND, 1000 * MICROSECOND)
"""Between two hosts; each directed link has its own, for ever."""
LOCAL_LATENCY_NS = 30 * MICROSECOND
CLIENT_LATENCY_NS = 100 * MICROSECOND

CONNECT_RETRIES_NS = (1 * SECOND, 3 * SECOND, 7 * SECOND, 15 * SECOND, 31 * SECOND, 63 * SECOND)
"""When a connection attempt is repeated (Linux: tcp_syn_retries = 6); it fails at the last."""
RETRANSMIT_NS_MIN = 200 * MILLISECOND
RETRANSMIT_NS_MAX = 2 * SECOND
UNACKNOWLEDGED_NS_MAX = 5 * SECOND
"""TCP_USER_TIMEOUT, as proconsul sets it."""
IDLE_NS_MAX = 15 * SECOND
"""TCP_KEEPIDLE, as proconsul sets it: when the kernel asks whether a silent peer is still there."""

RECEIVE_BUFFER_BYTES = 2 * 1024 * 1024
"""Of a datagram socket: what does not fit, while its process is paused, is lost."""
SEND_BUFFER_BYTES = 256 * 1024
"""Of a stream, in the kernel: only what exceeds it counts as unsent."""
HIGH_WATER_BYTES = 64 * 1024

FIRST_EPHEMERAL_PORT = 32768


class Host:
    """A machine on the network."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self.up = True
        self.listeners: dict[int, Listener] = {}
        self.sockets: dict[int, DatagramSocket] = {}
        self.ends: dict[End, None] = {}
        self.wires: dict[Host, Wire] = {}
        """By target."""
        self._next_port = FIRST_EPHEMERAL_PORT

    def ephemeral_port(self) -> int:
        self._next_port += 1
        return self._next_port


class Wire:
    """One direction between two hosts."""

    __slots__ = (
        "back", "cut", "datagram_place", "datagrams", "latency_ns", "segment_place", "segments",
        "shape",
        "source", "target",
    )  # fmt: skip

    def __init__(self, source: Host, target: Host, latency_ns: int) -> None:
        self.source = source
        self.target = target
        self.latency_ns = latency_ns
        self.cut = False
        self.shape = ORDINARY
        self.datagrams = 0
        """How many were sent so far."""
        self.segments = 0
        self.datagram_place = f"{source.name}>{target.name} datagram"
        self.segment_place = f"{source.name}>{target.name} stream"
        self.back: Wire

    def passes(self) -> bool:
        """Whether what is sent here arrives at present."""
        return self.target.up and not self.cut

    def passes_both_ways(self) -> bool:
        return self.target.up and not self.cut and not self.back.cut


class Network:
    """All hosts, links and what is under way on them."""

    def __init__(self, loop: SimulatedLoop, seed: int, departures: Departures) -> None:
        self.loop = loop
        self.departures = departures
        self.hosts: dict[str, Host] = {}
        self.outside = Host("harness", "10.0.255.254")
        self._by_address: dict[str, Host] = {self.outside.address: self.outside}
        self._latencies = Stream(seed, "latency")

    def add(self, host: Host) -> None:
        self.hosts[host.name] = host
        self._by_address[host.address] = host
        host.wires[host] = Wire(host, host, LOCAL_LATENCY_NS)
        host.wires[host].back = host.wires[host]
        self._connect_hosts(host, self.outside, CLIENT_LATENCY_NS, CLIENT_LATENCY_NS)
        number = len(self.hosts)
        low, high = LATENCY_NS
        for other_number, other in enumerate(list(self.hosts.values())[:-1], 1):
            there = low + self._latencies.below(high - low, number, other_number)
            back = low + self._latencies.below(high - low, other_number, number)
            self._connect_hosts(host, other, there, back)

    def _connect_hosts(self, one: Host, other: Host, there_ns: int, back_ns: int) -> None:
        there, back = Wire(one, other, there_ns), Wire(other, one, back_ns)
        there.back, back.back = back, there
        one.wires[other], other.wires[one] = there, back

    # --- Faults

    def cut(self, links: Iterable[Link]) -> None:
        """Exactly these links are cut from now on."""
        cut = set(links)
        for source in self.hosts.values():
            for target, wire in source.wires.items():
                was, wire.cut = wire.cut, (source.name, target.name) in cut
                if wire.cut and not was:
                    for end in source.ends:
                        if end.peer.host is target:
                            end.watch_silence()

    def shape(self, shapes: Mapping[Link, Shape]) -> None:
        """These links are shaped so from now on, and no others."""
        for source in self.hosts.values():
            for target, wire in source.wires.items():
                wire.shape = shapes.get((source.name, target.name), ORDINARY)

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
        """Raises OSError if there is none."""
        host = self._by_address.get(address)
        if host is None:
            if address in ("127.0.0.1", "0.0.0.0"):
                return local
            raise OSError(errno.EHOSTUNREACH, f"{address}: {os.strerror(errno.EHOSTUNREACH)}")
        return host

    async def connect(
        self, source: Host, factory: Callable[[], asyncio.BaseProtocol], address: Address
    ) -> tuple[End, asyncio.BaseProtocol]:
        """Open a stream from a host, in the context of whoever calls."""
        target = self.host_at(address[0], source)
        wire = source.wires[target]
        began_ns = self.loop.now_ns
        for retry_ns in CONNECT_RETRIES_NS:
            if wire.passes_both_ways():
                await self._pause(wire.latency_ns)
                if wire.passes_both_ways():
                    return await self._connected(wire, factory, address[1])
            await self._pause(max(0, began_ns + retry_ns - self.loop.now_ns))
        raise TimeoutError(errno.ETIMEDOUT, f"connect to {address[0]}:{address[1]}: Connection timed out")

    async def _connected(
        self, wire: Wire, factory: Callable[[], asyncio.BaseProtocol], port: int
    ) -> tuple[End, asyncio.BaseProtocol]:
        """The request has come to the target's kernel."""
        source, target = wire.source, wire.target
        listener = target.listeners.get(port)
        if listener is None:
            await self._pause(wire.back.latency_ns)
            raise ConnectionRefusedError(
                errno.ECONNREFUSED, f"connect to {target.address}:{port}: Connection refused"
            )
        ours = End(self, wire, (source.address, source.ephemeral_port()), current_process())
        theirs = End(self, wire.back, (target.address, port), listener.process)
        ours.peer, theirs.peer = theirs, ours
        listener.accept(theirs)
        try:
            await self._pause(wire.back.latency_ns)
        except BaseException:  # given up, while the other side has it already
            ours.orphan()
            raise
        protocol = factory()
        ours.begin(protocol)
        return ours, protocol

    async def _pause(self, duration_ns: int) -> None:
        await asyncio.sleep(duration_ns / 1e9)


class ProcessNetwork:
    """The network port of one process."""

    def __init__(self, network: Network, host: Host, process: Process) -> None:
        self._network = network
        self._host = host
        self._process = process

    async def listen(self, factory: Callable[[], asyncio.Protocol], address: Address) -> Listener:
        await self._process.halt_if_dead()
        port = self._bind(address, self._host.listeners)
        listener = Listener(self._network, self._host, self._process, factory, (address[0], port))
        self._host.listeners[port] = listener
        return listener

    async def connect(self, factory: Callable[[], asyncio.Protocol], address: Address) -> asyncio.Transport:
        await self._process.halt_if_dead()
        end, _ = await self._network.connect(self._host, factory, address)
        return end

    async def datagrams(
        self, factory: Callable[[], asyncio.DatagramProtocol], address: Address
    ) -> asyncio.DatagramTransport:
        await self._process.halt_if_dead()
        port = self._bind(address, self._host.sockets)
        protocol = factory()
        bound = (self._host.address, port)
        socket = DatagramSocket(self._network, self._host, self._process, bound, protocol)
        self._host.sockets[port] = socket
        protocol.connection_made(socket)
        return socket

    def _bind(self, address: Address, taken: dict[int, Any]) -> int:
        host, port = address
        if host not in ("0.0.0.0", "127.0.0.1", self._host.address):
            why = os.strerror(errno.EADDRNOTAVAIL)
            raise OSError(errno.EADDRNOTAVAIL, f"cannot listen on {host}:{port}: {why}")
        if port in taken:
            why = os.strerror(errno.EADDRINUSE)
            raise OSError(errno.EADDRINUSE, f"cannot listen on {host}:{port}: {why}")
        return port or self._host.ephemeral_port()


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
        self._network.loop.call_soon(self._accepted, end, context=self.process.context)

    def _accepted(self, end: End) -> None:
        end.begin(self._factory())


class DatagramSocket(asyncio.DatagramTransport):
    """A bound datagram socket."""

    def __init__(
        self,
        network: Network,
        host: Host,
        process: Process,
        address: Address,
        protocol: asyncio.DatagramProtocol,
    ) -> None:
        super().__init__({"sockname": address})
        self.process = process
        self._network = network
        self._host = host
        self._address = address
        self._protocol = protocol
        self._closed = False
        self._waiting_bytes = 0

    def sendto(self, data: Any, addr: Any = None) -> None:
        if self._closed or not self.process.alive:
            return
        network, source = self._network, self._host
        try:
            target = network.host_at(addr[0], source)
        except OSError:
            return
        loop, wire, data = network.loop, source.wires[target], bytes(data)
        arrival_ns = loop.now_ns + wire.latency_ns
        wire.datagrams += 1
        departure = network.departures.at(wire.datagram_place, wire.datagrams, wire.shape)
        if departure is not None:
            if departure.kind == "lost":
                return
            later_ns = arrival_ns + departure.delay_ns
            if departure.kind == "twice":
                loop.at(later_ns, self._arrive, wire, addr[1], data, context=_KERNEL)
            else:
                arrival_ns = later_ns
        loop.at(arrival_ns, self._arrive, wire, addr[1], data, context=_KERNEL)

    def _arrive(self, wire: Wire, port: int, data: bytes) -> None:
        socket = wire.target.sockets.get(port)
        if socket is not None and wire.passes():
            socket.take(data, self._address)

    def take(self, data: bytes, source: Address) -> None:
        """The kernel has a datagram for this socket."""
        if self._waiting_bytes + len(data) > RECEIVE_BUFFER_BYTES:
            return
        self._waiting_bytes += len(data)
        self._network.loop.call_soon(self._deliver, data, source, context=self.process.context)

    def _deliver(self, data: bytes, source: Address) -> None:
        self._waiting_bytes -= len(data)
        if not self._closed:
            self._protocol.datagram_received(data, source)

    def is_closing(self) -> bool:
        return self._closed

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            if self._host.sockets.get(self._address[1]) is self:
                del self._host.sockets[self._address[1]]
            self._network.loop.call_soon(self._protocol.connection_lost, None)

    abort = close


DATA, FIN, RESET = range(3)
"""Kinds of segments."""


class End(asyncio.Transport):
    """One end of a stream: the transport that its process has, and what the kernel does for it."""

    peer: End

    def __init__(self, network: Network, wire: Wire, address: Address, process: Process | None) -> None:
        super().__init__()
        self.host = host = wire.source
        self.wire = wire
        """The way to the peer."""
        self.address = address
        self.process = process
        self._network = network
        self._loop = network.loop
        self._context: Context = copy_context() if process is None else process.context
        self._protocol: asyncio.Protocol | None = None
        self._closing = False
        """The process writes no more."""
        self._gone = False
        """The kernel knows the stream no more: what comes for it is answered by a reset."""
        self._finished = False
        """The end of what we send has arrived."""
        self._lost_told = False
        # Sending
        self._last_arrival_ns = 0
        self._held: deque[tuple[int, bytes]] = deque()
        """What could not pass, in order; once there is something, all that follows."""
        self._held_bytes = 0
        self._held_since_ns = 0
        self._retransmit_ns = 0
        self._acknowledgement_awaited = False
        self._silence_watched = False
        self._writing_paused = False
        # Receiving
        self._reading_paused = False
        self._unread: deque[tuple[int, bytes]] = deque()
        host.ends[self] = None

    # --- What the process sees

    def begin(self, protocol: asyncio.BaseProtocol) -> None:
        """The process has the stream."""
        if isinstance(protocol, asyncio.BufferedProtocol):
            raise NotSimulated("BufferedProtocol: use Protocol on simulated streams")
        self._extra = {"sockname": self.address, "peername": self.peer.address, "socket": None}
        self._protocol = cast(asyncio.Protocol, protocol)
        protocol.connection_made(self)

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._protocol is not None
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = cast(asyncio.Protocol, protocol)

    def is_closing(self) -> bool:
        return self._closing

    def write(self, data: Any) -> None:
        if data and not self._closing and self._is_alive():
            self._send(DATA, bytes(data))

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        if not self._closing and self._is_alive():
            self._closing = True
            self._send(FIN, b"")
            self._tell_lost(None)

    def abort(self) -> None:
        if not self._lost_told and self._is_alive():
            self._closing = True
            if not self._gone:
                self._forget()
                self._reset_peer()
            self._tell_lost(None)

    def get_write_buffer_size(self) -> int:
        return max(0, self._held_bytes - SEND_BUFFER_BYTES)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There is one limit, the default."""

    def is_reading(self) -> bool:
        return not self._reading_paused

    def pause_reading(self) -> None:
        self._reading_paused = True

    def resume_reading(self) -> None:
        self._reading_paused = False
        if self._unread:
            self._loop.call_soon(self._deliver, context=self._context)

    def _is_alive(self) -> bool:
        return self.process is None or self.process.alive

    # --- Sending

    def _send(self, kind: int, data: bytes) -> None:
        if self._gone:
            return
        if self._held:
            self._hold(kind, data)
            return
        # In order: nothing overtakes.
        arrival_ns = self._loop.now_ns + self.wire.latency_ns + self._lateness()
        self._last_arrival_ns = max(self._last_arrival_ns, arrival_ns)
        self._loop.at(self._last_arrival_ns, self._arrive, kind, data, context=_KERNEL)

    def _lateness(self) -> int:
        wire = self.wire
        wire.segments += 1
        departure = self._network.departures.at(wire.segment_place, wire.segments, wire.shape)
        if departure is None or departure.kind == "twice":  # the kernel drops what comes twice
            return 0
        return departure.delay_ns if departure.kind == "late" else RETRANSMIT_NS_MIN

    def _arrive(self, kind: int, data: bytes) -> None:
        """A segment of ours has come to the peer's host, if nothing stops it."""
        if self._gone and kind == DATA:
            return
        wire, peer = self.wire, self.peer
        if self._held or not wire.passes():
            self._hold(kind, data)
            return
        if peer._gone:
            if wire.back.passes():
                self._break(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))
            return
        peer._receive(kind, data)
        if kind == FIN:
            self._finished = True
            if peer._finished:  # both ways: the kernels forget it
                self._forget()
                peer._forget()
        elif wire.back.cut and not self._acknowledgement_awaited:
            self._acknowledgement_awaited = True
            when_ns = self._loop.now_ns + UNACKNOWLEDGED_NS_MAX
            self._loop.at(when_ns, self._check_acknowledged, context=_KERNEL)

    def _hold(self, kind: int, data: bytes) -> None:
        if not self._held:
            self._held_since_ns = self._loop.now_ns
            self._retransmit_ns = RETRANSMIT_NS_MIN
            self._loop.at(self._loop.now_ns + self._retransmit_ns, self._retransmit, context=_KERNEL)
        self._held.append((kind, data))
        self._held_bytes += len(data)
        if not self._writing_paused and self.get_write_buffer_size() > HIGH_WATER_BYTES:
            self._writing_paused = True
            if self._protocol is not None:
                self._loop.call_soon(self._protocol.pause_writing, context=self._context)

    def _retransmit(self) -> None:
        if self._gone or not self._held:
            return
        loop = self._loop
        if self.wire.passes_both_ways():
            held, self._held = self._held, deque()
            self._held_bytes = 0
            if self._writing_paused:
                self._writing_paused = False
                if self._protocol is not None and not self._lost_told:
                    loop.call_soon(self._protocol.resume_writing, context=self._context)
            for kind, data in held:
                self._arrive(kind, data)
        elif loop.now_ns - self._held_since_ns >= UNACKNOWLEDGED_NS_MAX:
            self._break(TimeoutError(errno.ETIMEDOUT, "Connection timed out"))
        else:
            self._retransmit_ns = min(2 * self._retransmit_ns, RETRANSMIT_NS_MAX)
            loop.at(loop.now_ns + self._retransmit_ns, self._retransmit, context=_KERNEL)

    def _check_acknowledged(self) -> None:
        self._acknowledgement_awaited = False
        if not self._gone and self.wire.back.cut:
            self._break(TimeoutError(errno.ETIMEDOUT, "Connection timed out"))

    def watch_silence(self) -> None:
        """Something has happened that keeps the peer from being heard: ask after it in a while."""
        if not self._silence_watched and not self._gone:
            self._silence_watched = True
            when_ns = self._loop.now_ns + IDLE_NS_MAX + UNACKNOWLEDGED_NS_MAX
            self._loop.at(when_ns, self._check_silence, context=_KERNEL)

    def _check_silence(self) -> None:
        self._silence_watched = False
        if self._gone:
            return
        if not self.wire.passes_both_ways():
            self._break(TimeoutError(errno.ETIMEDOUT, "Connection timed out"))
        elif self.peer._gone:
            self._break(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))

    # --- Receiving

    def _receive(self, kind: int, data: bytes) -> None:
        """The kernel has a segment of the peer's."""
        if kind == RESET:
            self._break(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))
        elif self.process is not None and not self.process.alive:
            self._forget()
            if kind == DATA:
                self._reset_peer()
        else:
            self._unread.append((kind, data))
            if not self._reading_paused:
                self._loop.call_soon(self._deliver, context=self._context)

    def _deliver(self) -> None:
        """The process takes in what has come."""
        while self._unread and not self._reading_paused:
            kind, data = self._unread.popleft()
            if self._lost_told or self._protocol is None:
                continue
            try:
                if kind == DATA:
                    if not self._closing:
                        self._protocol.data_received(data)
                elif not self._protocol.eof_received():
                    self.close()
            except Exception as error:
                self._loop.call_exception_handler(
                    {"message": "a protocol failed", "exception": error, "transport": self}
                )
                self.abort()

    # --- The end

    def _break(self, error: OSError) -> None:
        """The stream is lost, and the process is told."""
        if not self._gone:
            self._forget()
            self._reset_peer()
        self._closing = True
        self._tell_lost(error)

    def _reset_peer(self) -> None:
        """Tell the peer's kernel, if that is possible; else it finds out by itself."""
        if not self.peer._gone:
            arrival_ns = self._loop.now_ns + self.wire.latency_ns
            self._last_arrival_ns = max(self._last_arrival_ns, arrival_ns)
            self._loop.at(self._last_arrival_ns, self._reset_arrives, context=_KERNEL)
            self.peer.watch_silence()

    def _reset_arrives(self) -> None:
        if not self.peer._gone and self.wire.passes():
            self.peer._receive(RESET, b"")

    def orphan(self) -> None:
        """Its process is gone: the kernel sends what it was given, and ends the stream."""
        if not self._closing:
            self._closing = True
            self._send(FIN, b"")
            self.peer.watch_silence()
        self._lost_told = True

    def vanish(self) -> None:
        """The host has lost power."""
        self._forget()
        self._lost_told = True
        self.peer.watch_silence()

    def _forget(self) -> None:
        self._gone = True
        self._held.clear()
        self._held_bytes = 0
        self.host.ends.pop(self, None)

    def _tell_lost(self, error: OSError | None) -> None:
        if not self._lost_told:
            self._lost_told = True
            self._loop.call_soon(self._lose, error, context=self._context)

    def _lose(self, error: OSError | None) -> None:
        if self._protocol is not None:
            self._protocol.connection_lost(error)


_KERNEL = Context()
"""Of no process: the network goes on whoever is paused."""
