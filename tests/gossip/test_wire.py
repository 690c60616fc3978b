"""memberlist's messages and framing: what is written, what is read, and that garbage is refused."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from impl.gossip import Malformed, StreamReader, serf_messages, stream, wire
from impl.gossip.serf_messages import EventMessage, Events, JoinIntent, LeaveIntent, UserState

u32 = st.integers(0, 0xFFFF_FFFF)
u16 = st.integers(0, 0xFFFF)
u64 = st.integers(0, 0xFFFF_FFFF_FFFF_FFFF)
names = st.text(min_size=1, max_size=20).filter(lambda name: name.isprintable())
addresses = st.binary(min_size=4, max_size=4) | st.binary(min_size=4, max_size=4).map(
    lambda raw: bytes(10) + b"\xff\xff" + raw
)
metas = st.binary(max_size=512)
versions = st.tuples(*[st.integers(0, 255)] * 6)
pings = st.builds(wire.Ping, u32, st.text(max_size=9), addresses | st.just(b""), u16, st.text(max_size=9))
acks = st.builds(wire.Ack, u32, st.binary(max_size=20))
users = st.builds(wire.User, st.binary(max_size=50))
packet_messages = st.one_of(
    pings,
    st.builds(wire.IndirectPing, u32, addresses, u16, names, st.booleans(), addresses, u16, names),
    acks,
    st.builds(wire.Nack, u32),
    st.builds(wire.Suspect, u32, names, st.text(max_size=9)),
    st.builds(wire.Alive, u32, names, addresses, u16, metas, versions),
    st.builds(wire.Dead, u32, names, st.text(max_size=9)),
    users,
)
node_states = st.builds(
    wire.NodeState, names, addresses, u16, metas, u32, st.sampled_from(wire.State), versions
)
push_pulls = st.builds(
    wire.PushPull, st.booleans(), st.lists(node_states, max_size=5).map(tuple), st.binary(max_size=99)
)
stream_messages = st.one_of(push_pulls, pings, acks, st.builds(wire.ErrorReply, st.text(max_size=50)))


@given(st.lists(packet_messages, min_size=1, max_size=9), st.booleans())
def test_a_packet_is_read_as_it_was_written(messages: list[wire.PacketMessage], checksum: bool) -> None:
    packet = wire.packet([wire.encode(message) for message in messages], checksum)
    assert wire.decode_packet(packet) == messages


@given(stream_messages, st.integers(1, 40))
def test_a_stream_is_read_as_it_was_written_however_it_is_cut(message: wire.StreamMessage, size: int) -> None:
    data = wire.encode(message)
    assert _read_in_pieces(data, size) == message


@given(users, st.integers(1, 9))
def test_a_user_message_on_a_stream_has_its_length_in_front(message: wire.User, size: int) -> None:
    """memberlist net.go `sendUserMsg`."""
    assert _read_in_pieces(stream.encode_user(message.payload), size) == message


def _read_in_pieces(data: bytes, size: int) -> wire.StreamMessage | None:
    reader = StreamReader()
    for start in range(0, len(data), size):
        message = reader.feed(data[start : start + size])
        if message is not None:
            assert start + size >= len(data), "read before its end"
            return message
    return None


def test_an_alive_is_written_as_go_msgpack_reads_it() -> None:
    """go-msgpack 0.5 refuses the bin types, C4 to C6: byte strings are written as raw, like text."""
    alive = wire.Alive(1, "ab", bytes([127, 0, 0, 1]), 7946, b"\xff\x80", (1, 5, 2, 2, 5, 5))
    assert wire.encode(alive) == (
        b"\x04\x86"
        b"\xabIncarnation\x01"
        b"\xa4Node\xa2ab"
        b"\xa4Addr\xa4\x7f\x00\x00\x01"
        b"\xa4Port\xcd\x1f\x0a"
        b"\xa4Meta\xa2\xff\x80"
        b"\xa3Vsn\xa6\x01\x05\x02\x02\x05\x05"
    )


def test_a_compound_has_a_count_and_lengths_in_front() -> None:
    """memberlist util.go `makeCompoundMessage`."""
    assert wire.packet([b"\x08ab", b"\x08c"], checksum=False) == b"\x07\x02\x00\x03\x00\x02\x08ab\x08c"


def test_a_checksum_is_the_ieee_one_of_what_follows() -> None:
    """memberlist net.go `rawSendMsgPacket`."""
    packet = wire.packet([b"\x08ab"], checksum=True)
    assert packet == b"\x0c" + zlib.crc32(b"\x08ab").to_bytes(4, "big") + b"\x08ab"


def test_what_go_compressed_is_read_from_packets_and_streams() -> None:
    """Real agents compress what gets shorter by it, and streams always. Here, an ack by Go's compressor."""
    compressed = bytes.fromhex("0005082a35a54c1c276f0e9c8212260f9b3761c8000b08")
    data = _packed(9, Algo=0, Buf=compressed)
    assert wire.decode_packet(data) == [wire.Ack(7)]
    assert _read_in_pieces(data, 5) == wire.Ack(7)


def test_versions_may_be_an_array_and_text_a_str8() -> None:
    """Newer msgpack libraries write them so; Serf 0.9.4 accepts both."""
    fields = {"Incarnation": 1, "Node": "n" * 40, "Addr": b"\x7f\0\0\1", "Port": 1, "Vsn": [1, 5, 2, 2, 5, 4]}
    (message,) = wire.decode_packet(b"\x04" + msgpack.packb(fields, use_bin_type=True))
    assert message == wire.Alive(1, "n" * 40, b"\x7f\0\0\1", 1, b"", (1, 5, 2, 2, 5, 4))


def _packed(kind: int, **fields: object) -> bytes:
    return bytes((kind,)) + wire.pack(fields)


@pytest.mark.parametrize(
    ("packet", "text"),
    [
        (b"", "empty message"),
        (b"\x0c\x00\x00", "ends within its checksum"),
        (b"\x0c\x00\x00\x00\x00\x08x", "checksum is"),
        (b"\x07", "ends before its count"),
        (b"\x07\x02\x00\x01", "ends within its lengths"),
        (b"\x07\x01\x00\x09\x08", "ends within part 1 of 1"),
        (b"\x07\x01\x00\x00", "empty message"),
        (b"\x07\x01\x00\x02\x07\x00", "message type 7"),
        (b"\x06\x80", "message type 6 in a packet"),
        (b"\x00\x90", "ping: list instead of a map"),
        (b"\x00\xc1", "not msgpack"),
        (b"\x00" + b"\x91" * 5000, "not msgpack"),
        (b"\x00\xdd\xff\xff\xff\xff", "not msgpack"),
        (b"\x00\x80\x00", "not msgpack"),
        (_packed(0, SeqNo=2**32), "SeqNo is 4294967296, not within"),
        (_packed(0, SeqNo=True), "SeqNo is bool, not an integer"),
        (_packed(3, Node=""), "suspect: Node is empty"),
        (_packed(3, Node=b"\xff"), "Node is not UTF-8"),
        (_packed(4, Node="n", Addr=b"123"), "Addr is not an IPv4 address"),
        (_packed(4, Node="n", Addr=b"1234", Meta=b"m" * 513), "Meta is 513 bytes long"),
        (_packed(4, Node="n", Addr=b"1234", Vsn=b"123"), "Vsn is not six small integers"),
        (_packed(9, Algo=1, Buf=b""), "algorithm 1 is not known"),
    ],
)
def test_a_malformed_packet_is_refused_with_what_is_wrong(packet: bytes, text: str) -> None:
    with pytest.raises(Malformed, match=text):
        wire.decode_packet(packet)


@given(st.binary(max_size=200))
def test_garbage_is_malformed_or_a_message(garbage: bytes) -> None:
    for decode in (wire.decode_packet, _read_stream, serf_messages.decode, serf_messages.decode_state):
        _only_malformed(decode, garbage)


@given(st.data())
def test_a_damaged_message_is_malformed_or_a_message(data: st.DataObject) -> None:
    message = wire.packet([wire.encode(data.draw(packet_messages)) for _ in range(2)], checksum=False)
    _only_malformed(wire.decode_packet, data.draw(_damaged(message)))
    _only_malformed(_read_stream, data.draw(_damaged(wire.encode(data.draw(push_pulls)))))


@given(
    st.sampled_from(range(14)),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from([b"SeqNo", b"Node", b"Addr", b"Vsn", b"Buf", b"Nodes", b"UserStateLen"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=9,
    ),
)
def test_well_formed_msgpack_of_the_wrong_shape_is_malformed_or_a_message(kind: int, value: object) -> None:
    data = bytes((kind,)) + msgpack.packb(value, use_bin_type=False)
    for decode in (wire.decode_packet, _read_stream, serf_messages.decode, serf_messages.decode_state):
        _only_malformed(decode, data)


@st.composite
def _damaged(draw: st.DrawFn, original: bytes) -> bytes:
    damaged = bytearray(original)
    for _ in range(draw(st.integers(1, 3))):
        damaged[draw(st.integers(0, len(damaged) - 1))] = draw(st.integers(0, 255))
    return bytes(damaged[: draw(st.integers(1, len(damaged)))])


def _read_stream(data: bytes) -> object:
    return StreamReader().feed(data)


def _only_malformed(decode: Callable[[bytes], object], data: bytes) -> None:
    try:
        decode(data)
    except Malformed as error:
        assert str(error)


def test_a_header_that_promises_much_claims_no_memory() -> None:
    reader = StreamReader()
    assert reader.feed(_packed(6, Nodes=1024 * 1024, UserStateLen=20 * 1024 * 1024)) is None
    with pytest.raises(Malformed, match="Nodes is 1048577"):
        StreamReader().feed(_packed(6, Nodes=1024 * 1024 + 1))


def test_an_endless_stream_is_cut() -> None:
    reader = StreamReader()
    assert reader.feed(_packed(8, UserMsgLen=20 * 1024 * 1024)) is None
    with pytest.raises(Malformed, match="stream of more than"):
        for _ in range(22):
            reader.feed(bytes(1024 * 1024))


def test_a_stream_compressed_twice_is_refused() -> None:
    """Or a few bytes could expand without bound."""
    with pytest.raises(Malformed, match="message type 9 on a stream"):
        # Go's compressor on the one byte 09.
        StreamReader().feed(_packed(9, Algo=0, Buf=bytes.fromhex("00130404")))


@given(
    st.builds(LeaveIntent, u64, names, st.booleans())
    | st.builds(JoinIntent, u64, names)
    | st.builds(EventMessage, u64, st.text(max_size=9), st.binary(max_size=99), st.booleans())
)
def test_serf_messages_are_read_as_they_were_written(message: serf_messages.Message) -> None:
    assert serf_messages.decode(serf_messages.encode(message)) == message


@given(
    st.builds(
        UserState,
        u64,
        st.dictionaries(names, u64, max_size=5),
        st.lists(names, max_size=5).map(tuple),
        u64,
        st.lists(
            st.none()
            | st.builds(
                Events,
                u64,
                st.lists(st.tuples(st.text(max_size=9), st.binary(max_size=9)), max_size=3).map(tuple),
            ),
            max_size=5,
        ).map(tuple),
        u64,
    )
)
def test_serfs_part_of_a_push_pull_is_read_as_it_was_written(state: UserState) -> None:
    assert serf_messages.decode_state(serf_messages.encode_state(state)) == state


@given(st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=9))
def test_tags_are_read_as_they_were_written(tags: dict[str, str]) -> None:
    assert serf_messages.decode_tags(serf_messages.encode_tags(tags)) == tags


def test_meta_data_of_agents_before_tags_are_a_role() -> None:
    """serf.go `decodeTags`: without the magic byte."""
    assert serf_messages.decode_tags(b"web") == {"role": "web"}


def test_only_members_of_ordinary_length_are_remembered() -> None:
    """A peer could else fill the memory with fields that nobody knows."""
    state = wire.NodeState("n1", bytes((10, 0, 0, 1)), 8301, b"", 1, wire.State.ALIVE, (1, 5, 2, 2, 5, 4))
    short = wire.encode_node_state(state)
    fields = msgpack.unpackb(short, raw=True) | {b"Unknown": b"x" * wire.NODE_STATE_BYTES_REMEMBERED}
    long = msgpack.packb(fields, use_bin_type=False)
    assert wire.decode_node_state(long) == wire.decode_node_state(short) == state
    assert wire.decode_node_state(short) is wire.decode_node_state(short)
    assert wire.decode_node_state(long) is not wire.decode_node_state(long)
