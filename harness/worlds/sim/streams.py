"""Streams between simulated hosts: what a process has as its transport, and what the kernels do for it.

Rules
-----
1. Bytes arrive in order or not at all. What cannot pass is kept, with all that follows, and sent again at
   TCP's growing intervals; a stream whose peer has acknowledged nothing for `UNACKNOWLEDGED_NS_MAX` breaks,
   as the agents' real sockets do. Its peer learns of that when it sends something itself, or asks.
2. What arrives but cannot be acknowledged has arrived, and the sender's stream breaks all the same.
3. Closing a stream sends what was written, and then the end; so does the death of its process, but for what
   the kernel had not taken yet. If anything that arrived was not read, or if something arrives later, the
   peer gets a reset.
4. A stream that is silent while its peer may be gone asks after it (keep-alive), and breaks if nobody
   answers. So do both ends of a stream over a link that was cut.
5. A host that has lost power says nothing more (what had left it arrives), and answers what comes in for its
   former streams with a reset.

Streams are modelled by segments (one per write), not by packets: there is no congestion, and a peer that does
not read is sent everything all the same.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections import deque
from collections.abc import Iterable
from contextvars import copy_context
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from harness.worlds import ORDINARY
from harness.worlds.sim.hosts import Wire
from harness.worlds.sim.loop import Callback
from harness.worlds.sim.process import Process, harness_context

if TYPE_CHECKING:
    from harness.worlds.sim.network import Network

MILLISECOND = 1_000_000
SECOND = 1_000_000_000

RETRANSMIT_NS_MIN = 200 * MILLISECOND
"""After so long a lost segment is sent again, and then after twice as long each time (TCP_RTO_MIN)."""
UNACKNOWLEDGED_NS_MAX = 5 * SECOND
"""TCP_USER_TIMEOUT, as proconsul sets it."""
IDLE_NS_MAX = 15 * SECOND
"""TCP_KEEPIDLE and TCP_KEEPINTVL, as proconsul sets them: after so long a silence the kernel asks whether the
peer is still there, and if it has heard nothing when it would ask again, the stream breaks."""

SEND_BUFFER_BYTES = 256 * 1024
"""In the kernel: only what exceeds it counts as not yet written."""
HIGH_WATER_BYTES = 64 * 1024
"""asyncio's default limit for what is not yet written."""

DATA, FIN = range(2)
"""Kinds of segments."""


def error(number: int) -> OSError:
    """What a stream breaks with."""
    return OSError(number, os.strerror(number))  # of the subclass that belongs to the number


class End(asyncio.Transport):
    """One end of a stream."""

    peer: End

    def __init__(
        self, network: Network, wire: Wire, address: tuple[str, int], process: Process | None
    ) -> None:
        super().__init__()
        self.host = host = wire.source
        self.wire = wire
        """The way to the peer."""
        self.address = address
        self.process = process
        self.context = copy_context() if process is None else process.context.copy()
        """Of the callbacks of its protocol."""
        self._network = network
        self._loop = network.loop
        self._protocol: asyncio.Protocol | None = None
        self._closing = False
        """The process writes no more."""
        self._closed = False
        """The process has closed it, or been told that it is lost: it reads no more."""
        self._gone = False
        """The kernel knows the stream no more: what comes for it is answered by a reset."""
        self._heard_ns = network.loop.now_ns
        """When anything last came from the peer."""
        # Sending
        self._flight: deque[tuple[int, bytes]] = deque()
        """Segments that have not arrived, in order."""
        self._flight_bytes = 0
        self._sent = 0
        """How many segments have been sent,"""
        self._arrived = 0
        """and how many of them have arrived."""
        self._lost = 0
        """The first that is lost and waits to be sent again; it has arrived if it is not above `_arrived`."""
        self._ended = False
        """Whether a FIN is among those sent,"""
        self._end_arrived = False
        """and among those that have arrived."""
        self._last_arrival_ns = 0
        self._stuck = False
        """The first segment in flight could not pass."""
        self._stuck_since_ns = 0
        self._retransmit_ns = 0
        self._unacknowledged_since_ns: int | None = None
        """Since when something that arrived has not been acknowledged."""
        self._asking = False
        self._writing_paused = False
        self._high, self._low = HIGH_WATER_BYTES, HIGH_WATER_BYTES // 4
        # Receiving
        self._unread: deque[tuple[int, bytes]] = deque()
        self._reading_paused = False
        host.ends[self] = None

    # --- What the process sees

    def begin(self, protocol: asyncio.BaseProtocol) -> None:
        """The process has the stream."""
        self._extra = {"sockname": self.address, "peername": self.peer.address, "socket": None}
        self.set_protocol(protocol)
        protocol.connection_made(self)
        if self._unread:
            self._loop.call_soon(self._deliver, context=self.context)

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._protocol is not None
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        if isinstance(protocol, asyncio.BufferedProtocol):
            raise self._loop.refuse("a stream with a BufferedProtocol", "Protocol")
        self._protocol = cast(asyncio.Protocol, protocol)

    def is_closing(self) -> bool:
        return self._closing

    def is_lost(self) -> bool:
        """Whether there is nothing left for a process to have."""
        return self._closed

    def write(self, data: Any) -> None:
        process = self.process
        if self._ended and not self._closing:
            raise RuntimeError("Cannot call write() after write_eof()")  # in asyncio's words
        if data and not self._closing and not self._ended and (process is None or process.alive):
            self._send(DATA, bytes(data))

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """The peer sees the end, and may go on writing."""
        if not self._closing and self._is_alive():
            self._end()

    def close(self) -> None:
        if not self._closing and self._is_alive():
            self._closing = True
            self._tell_lost(None)
            self._shut()

    def abort(self) -> None:
        """Close without what the kernel does not have yet."""
        if not self._closed and self._is_alive():
            self._closing = True
            self._tell_lost(None)
            self._drop_unsent()
            self._shut()

    def get_write_buffer_size(self) -> int:
        return max(0, self._flight_bytes - SEND_BUFFER_BYTES)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is None:
            high = HIGH_WATER_BYTES if low is None else 4 * low
        self._high, self._low = high, high // 4 if low is None else low
        self._watch_buffer()

    def is_reading(self) -> bool:
        return not self._reading_paused and not self._closing

    def pause_reading(self) -> None:
        self._reading_paused = True

    def resume_reading(self) -> None:
        self._reading_paused = False
        if self._unread:
            self._loop.call_soon(self._deliver, context=self.context)

    def _is_alive(self) -> bool:
        return self.process is None or self.process.alive

    # --- Sending

    def _send(self, kind: int, data: bytes) -> None:
        if self._gone:
            return
        self._flight.append((kind, data))
        self._flight_bytes += len(data)
        self._sent = number = self._sent + 1
        if not self._stuck:
            wire, loop = self.wire, self._loop
            wire.segments += 1
            arrival_ns = loop.now_ns + wire.latency_ns
            if wire.shape is not ORDINARY or self._network.departures.listed is not None:
                arrival_ns += self._lateness(wire)
            # In order: nothing overtakes.
            self._last_arrival_ns = arrival_ns = max(arrival_ns, self._last_arrival_ns)
            loop.set(Callback(arrival_ns, self._arrive, (number,), _KERNEL, None))
        if self._flight_bytes > SEND_BUFFER_BYTES:
            self._watch_buffer()

    def _lateness(self, wire: Wire) -> int:
        departure = self._network.departures.at(wire.segment_place, wire.segments, wire.shape)
        if departure is None or departure.kind == "twice":  # the kernel drops what comes twice
            return 0
        if departure.kind == "late":
            return departure.delay_ns
        if self._lost <= self._arrived:
            self._lost = self._sent
        return RETRANSMIT_NS_MIN

    def _arrive(self, number: int) -> None:
        """The segment of this number is due at the peer's host."""
        while self._arrived < number and self._flight and not self._stuck:
            if self.wire.passes():
                self._pass()
            else:
                self._stuck = True
                self._stuck_since_ns = self._loop.now_ns
                self._retransmit_ns = RETRANSMIT_NS_MIN
                self._loop.at(self._loop.now_ns + RETRANSMIT_NS_MIN, self._retransmit, context=_KERNEL)

    def _pass(self) -> None:
        """The first segment in flight has come to the peer's host."""
        kind, data = self._flight.popleft()
        self._flight_bytes -= len(data)
        self._arrived += 1
        if self._writing_paused:
            self._watch_buffer()
        loop, peer = self._loop, self.peer
        if not self.wire.back.cut:
            if peer._gone:
                self._break(error(errno.ECONNRESET))
                return
            self._heard_ns = loop.now_ns
        elif self._unacknowledged_since_ns is None:
            self._unacknowledged_since_ns = loop.now_ns
            loop.at(loop.now_ns + UNACKNOWLEDGED_NS_MAX, self._check_acknowledged, context=_KERNEL)
        if peer._gone:
            return
        peer._heard_ns = loop.now_ns
        peer._receive(kind, data)
        if kind == FIN:
            self._end_arrived = True
            if peer._end_arrived:  # both ways: the kernels forget it
                self._forget()
                peer._forget()

    def _retransmit(self) -> None:
        if not self._stuck or self._gone:
            return
        loop = self._loop
        if self.wire.passes_both_ways():
            self._stuck = False
            while self._flight:
                self._pass()
        elif loop.now_ns - self._stuck_since_ns >= UNACKNOWLEDGED_NS_MAX:
            self._break(error(errno.ETIMEDOUT))
        else:
            # Only the first is sent again until something is acknowledged, and it may get there all the same.
            if self._flight and self._unacknowledged_since_ns is None and self.wire.passes():
                self._pass()
            self._retransmit_ns *= 2
            again_ns = min(loop.now_ns + self._retransmit_ns, self._stuck_since_ns + UNACKNOWLEDGED_NS_MAX)
            loop.at(again_ns, self._retransmit, context=_KERNEL)

    def _check_acknowledged(self) -> None:
        """Whether an acknowledgement could pass since the first that did not."""
        since_ns, self._unacknowledged_since_ns = self._unacknowledged_since_ns, None
        back = self.wire.back
        if self._gone or since_ns is None:
            return
        if not back.cut:
            if self.peer._gone:
                self._break(error(errno.ECONNRESET))
        elif back.cut_since_ns <= since_ns:
            self._break(error(errno.ETIMEDOUT))
        else:  # healed and cut again meanwhile: it counts from then, should anything have arrived
            self._unacknowledged_since_ns = back.cut_since_ns
            again_ns = back.cut_since_ns + UNACKNOWLEDGED_NS_MAX
            self._loop.at(again_ns, self._check_acknowledged, context=_KERNEL)

    def _watch_buffer(self) -> None:
        """Tell the protocol when to pause and when to go on."""
        size = self.get_write_buffer_size()
        if self._closing or self._protocol is None:
            return
        if not self._writing_paused and size > self._high:
            self._writing_paused = True
            self._loop.call_soon(self._protocol.pause_writing, context=self.context)
        elif self._writing_paused and size <= self._low:
            self._writing_paused = False
            self._loop.call_soon(self._protocol.resume_writing, context=self.context)

    # --- Asking after a silent peer

    def ask(self) -> None:
        """Something has happened that may keep the peer from being heard."""
        if not self._asking and not self._gone:
            self._asking = True
            self._loop.at(self._loop.now_ns + IDLE_NS_MAX, self._probe, context=_KERNEL)

    def _probe(self) -> None:
        """It was silent for a while, or not."""
        loop = self._loop
        if self._gone:
            return
        if loop.now_ns < self._heard_ns + IDLE_NS_MAX:
            loop.at(self._heard_ns + IDLE_NS_MAX, self._probe, context=_KERNEL)
        elif not self.wire.passes_both_ways():
            loop.at(loop.now_ns + IDLE_NS_MAX, self._give_up, self._heard_ns, context=_KERNEL)
        elif self.peer._gone:
            self._break(error(errno.ECONNRESET))
        else:
            self._asking = False

    def _give_up(self, heard_ns: int) -> None:
        """The question was not answered."""
        if not self._gone:
            self._asking = False
            if self._heard_ns == heard_ns:
                self._break(error(errno.ETIMEDOUT))
            else:
                self.ask()

    # --- Receiving

    def _receive(self, kind: int, data: bytes) -> None:
        """The kernel has a segment of the peer's."""
        if self._closed:
            if kind == DATA:
                self._reset()
            return
        self._unread.append((kind, data))
        if not self._reading_paused:
            self._loop.call_soon(self._deliver, context=self.context)

    def _deliver(self) -> None:
        """The process takes in what has come."""
        unread = self._unread
        while unread and not self._reading_paused and self._protocol is not None and not self._closed:
            kind, data = unread.popleft()
            try:
                if kind == DATA:
                    self._protocol.data_received(data)
                elif not self._protocol.eof_received():
                    self.close()
            except Exception as failure:
                self._loop.call_exception_handler(
                    {"message": "a protocol failed", "exception": failure, "transport": self}
                )
                self.abort()

    # --- The end

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._send(FIN, b"")

    def _shut(self) -> None:
        """The process has no more use for it: the kernel ends it in order, if there is nothing unread."""
        if any(kind == DATA for kind, _ in self._unread):
            self._reset()
        else:
            self._end()

    def orphan(self) -> None:
        """Its process is gone, and with it what the kernel did not have yet."""
        self._drop_unsent()
        if self._closed:
            self._end()  # if it is not under way already
        else:
            self._closing = self._closed = True
            self._shut()

    def _drop_unsent(self) -> None:
        """Forget what the process has written and the kernel has not taken."""
        while excess := self.get_write_buffer_size():
            kind, data = self._flight.pop()
            if len(data) > excess:
                self._flight.append((kind, data[:-excess]))
                self._flight_bytes -= excess
                return
            self._flight_bytes -= len(data)
            self._sent -= 1
            self._ended = self._ended and kind != FIN

    def vanish(self) -> None:
        """The host has lost power: what is on its way arrives, but nothing is sent again."""
        self._closing = self._closed = True
        self._drop_unsent()
        flight = self._flight
        self._forget()
        if not self._stuck:
            before_lost = self._lost - self._arrived - 1 if self._lost > self._arrived else None
            self._flight = deque(islice(flight, before_lost))
        self.peer.ask()

    def _reset(self) -> None:
        """Forget it, and tell the peer so."""
        if not self._gone:
            self._forget()
            arrival_ns = max(self._last_arrival_ns, self._loop.now_ns + self.wire.latency_ns)
            self._loop.at(arrival_ns, self._reset_arrives, context=_KERNEL)

    def _reset_arrives(self) -> None:
        if self.wire.passes():
            self.peer._break(error(errno.ECONNRESET))
        else:
            self.peer.ask()

    def _break(self, why: OSError) -> None:
        """The stream is lost, and the process is told."""
        if not self._gone:
            self._forget()
            self.peer.ask()
            self._closing = True
            self._tell_lost(why)

    def _forget(self) -> None:
        self._gone = True
        self._flight = deque()
        self._flight_bytes = 0
        self.host.ends.pop(self, None)

    def _tell_lost(self, why: OSError | None) -> None:
        if not self._closed:
            self._closed = True
            if self._protocol is not None:
                self._loop.call_soon(self._protocol.connection_lost, why, context=self.context)


_KERNEL = harness_context()
"""Of no process: the kernels go on whoever is paused."""
