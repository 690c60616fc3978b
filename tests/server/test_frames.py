"""Streams cut into frames, whatever pieces they come in, and whoever is at the other end."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from impl.server.frames import FRAME_BYTES_MAX, RAFT, RPC, Frames


class Wire(asyncio.Transport):
    """What one end writes."""

    def __init__(self, peername: tuple[str, int] | None = ("127.0.0.1", 1)) -> None:
        super().__init__({"peername": peername})
        self.written = bytearray()
        self.aborted = False

    def write(self, data: Any) -> None:
        self.written += data

    def writelines(self, list_of_data: Any) -> None:
        self.written += b"".join(list_of_data)

    def abort(self) -> None:
        self.aborted = True

    def get_write_buffer_size(self) -> int:
        return len(self.written)


def open_pair(kind: int) -> tuple[Frames, Wire, Frames, Wire, list[bytes]]:
    """Our end, what it writes, the peer's end, what it writes, and the frames that the peer received."""
    ours, peers = Frames(kind), Frames()
    our_wire, peers_wire = Wire(), Wire()
    received: list[bytes] = []
    peers.received = received.append
    ours.connection_made(our_wire)
    peers.connection_made(peers_wire)
    return ours, our_wire, peers, peers_wire, received


@given(
    payloads=st.lists(st.binary(max_size=300), max_size=8),
    cuts=st.lists(st.integers(min_value=1, max_value=50), min_size=1, max_size=20),
)
def test_frames_arrive_whole_and_in_order_however_the_stream_is_cut(
    payloads: list[bytes], cuts: list[int]
) -> None:
    ours, our_wire, peers, _, received = open_pair(RAFT)
    for payload in payloads:
        ours.send(payload)
    stream, position, turn = bytes(our_wire.written), 0, 0
    while position < len(stream):
        step = cuts[turn % len(cuts)]
        peers.data_received(stream[position : position + step])
        position, turn = position + step, turn + 1
    assert peers.kind == RAFT
    assert received == payloads


def test_the_first_byte_says_what_the_connection_is_for() -> None:
    for kind in (RPC, RAFT):
        _, our_wire, peers, _, _ = open_pair(kind)
        assert our_wire.written == bytes((kind,))
        peers.data_received(bytes(our_wire.written))
        assert peers.kind == kind


def test_a_frame_too_long_to_be_true_closes_the_connection_at_its_length() -> None:
    _, _, peers, peers_wire, received = open_pair(RPC)
    peers.data_received(bytes((RPC,)) + struct.pack(">I", FRAME_BYTES_MAX + 1))
    assert peers_wire.aborted
    peers.data_received(b"more of it")
    assert received == []


def test_the_longest_frame_is_taken() -> None:
    ours, our_wire, peers, peers_wire, received = open_pair(RPC)
    ours.send(bytes(FRAME_BYTES_MAX))
    peers.data_received(bytes(our_wire.written))
    assert [len(frame) for frame in received] == [FRAME_BYTES_MAX]
    assert not peers_wire.aborted


def test_nothing_is_received_behind_a_frame_that_was_rejected() -> None:
    ours, our_wire, peers, _, received = open_pair(RPC)

    def reject(frame: bytes) -> None:
        received.append(frame)
        peers.reject("as told")

    peers.received = reject
    for payload in (b"bad", b"after"):
        ours.send(payload)
    peers.data_received(bytes(our_wire.written))
    assert received == [b"bad"]


def test_a_peer_that_was_gone_before_we_looked_does_no_harm() -> None:
    frames = Frames()
    frames.connection_made(Wire(peername=None))
    assert frames.is_open


def test_what_is_sent_into_a_lost_connection_is_lost() -> None:
    ours, our_wire, _, _, _ = open_pair(RPC)
    lost: list[None] = []
    ours.lost = lambda: lost.append(None)
    ours.connection_lost(None)
    ours.send(b"too late")
    assert our_wire.written == bytes((RPC,))
    assert not ours.is_open
    assert ours.unsent_bytes == 0
    assert lost == [None]
