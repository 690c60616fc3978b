"""Machines on a network, and what is between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.worlds import ORDINARY, Shape

if TYPE_CHECKING:
    from harness.worlds.sim.network import DatagramSocket, Listener
    from harness.worlds.sim.streams import End

MILLISECOND = 1_000_000

EPHEMERAL_PORTS = (32768, 60999)
"""Those that a host picks by itself (Linux's ip_local_port_range)."""

ANY_ADDRESS = "0.0.0.0"
LOCAL_ADDRESS = "127.0.0.1"


class Host:
    """A machine: whether it is on, and what is open on it."""

    def __init__(self, name: str, address: str, number: int) -> None:
        self.name = name
        self.address = address
        self.number = number
        self.up = True
        self.listeners: dict[int, Listener] = {}
        self.sockets: dict[int, DatagramSocket] = {}
        self.ends: dict[End, None] = {}
        self.wires: dict[Host, Wire] = {}
        """By target, of those that were used so far."""
        self._last_port = EPHEMERAL_PORTS[1]

    def ephemeral_port(self) -> int:
        """One that nobody listens on."""
        low, high = EPHEMERAL_PORTS
        while True:
            self._last_port = self._last_port + 1 if self._last_port < high else low
            if self._last_port not in self.listeners and self._last_port not in self.sockets:
                return self._last_port

    def listener(self, address: str, port: int) -> Listener | None:
        """Who takes streams that were opened to this address of the host's."""
        found = self.listeners.get(port)
        return found if found is not None and _takes(found.address[0], address) else None

    def socket(self, address: str, port: int) -> DatagramSocket | None:
        """Who takes datagrams that were sent to this address of the host's."""
        found = self.sockets.get(port)
        return found if found is not None and _takes(found.address[0], address) else None


def _takes(bound: str, address: str) -> bool:
    return bound in (ANY_ADDRESS, address)


class Wire:
    """One direction between two hosts."""

    __slots__ = (
        "back", "cut", "cut_since_ns", "datagram_place", "datagrams", "latency_ns", "ordinary_latency_ns",
        "segment_place", "segments", "shape", "source", "target",
    )  # fmt: skip

    def __init__(self, source: Host, target: Host, latency_ns: int) -> None:
        self.source = source
        self.target = target
        self.latency_ns = self.ordinary_latency_ns = latency_ns
        self.cut = False
        self.cut_since_ns = 0
        self.shape = ORDINARY
        self.datagrams = 0
        """How many were sent so far."""
        self.segments = 0
        self.datagram_place = f"{source.name}>{target.name} datagram"
        self.segment_place = f"{source.name}>{target.name} stream"
        self.back = self
        """The other direction."""

    def take_shape(self, shape: Shape) -> None:
        """What is sent from now on goes so."""
        self.shape = shape
        self.latency_ns = self.ordinary_latency_ns + round(shape.latency_ms * MILLISECOND)

    def passes(self) -> bool:
        """Whether what is sent here arrives at present."""
        return self.target.up and not self.cut

    def passes_both_ways(self) -> bool:
        return self.target.up and not self.cut and not self.back.cut
