"""Commands, order, snapshots: what the state machine promises to the log."""

from __future__ import annotations

import msgspec
import pytest

from impl.state import (
    Command,
    CompareAndDelete,
    CompareAndSet,
    Delete,
    DeleteTree,
    GarbledCommand,
    GarbledSnapshot,
    IndexOutOfOrder,
    Operation,
    ReapTombstones,
    Set,
    StateMachine,
    Transaction,
    decode_command,
    encode_command,
)

COMMANDS: list[tuple[Command, str]] = [
    (Set("a", b"\0\xff", 7), "84a474797065a3736574a36b6579a161a576616c7565c40200ffa5666c61677307"),
    (
        CompareAndSet("a", b"", 3, 2**64 - 1),
        "85a474797065a3636173a36b6579a161a576616c7565c400ac6d6f646966795f696e64657803a5666c616773cf"
        "ffffffffffffffff",
    ),
    (Delete("é"), "82a474797065a664656c657465a36b6579a2c3a9"),
    (
        CompareAndDelete("a", 3),
        "83a474797065aa64656c6574652d636173a36b6579a161ac6d6f646966795f696e64657803",
    ),
    (DeleteTree("a/"), "82a474797065ab64656c6574652d74726565a6707265666978a2612f"),
    (ReapTombstones(9), "82a474797065af726561702d746f6d6273746f6e6573a5696e64657809"),
    (
        Transaction((Operation("check-index", "a", index=3), Operation("set", "b", b"1", 7))),
        "82a474797065a374786eaa6f7065726174696f6e739283a476657262ab636865636b2d696e646578a36b6579a161"
        "a5696e6465780384a476657262a3736574a36b6579a162a576616c7565c40131a5666c61677307",
    ),
]


@pytest.fixture
def state() -> StateMachine:
    machine = StateMachine()
    commands: list[Command] = [Set("a", b"1"), Set("b/1", b"2"), Set("b/2", b"3", 4), Delete("b/1")]
    for index, command in enumerate(commands, 1):
        machine.apply(index, encode_command(command))
    return machine


@pytest.mark.parametrize(("command", "encoded"), COMMANDS)
def test_the_encoding_of_a_command_is_this(command: Command, encoded: str) -> None:
    assert encode_command(command).hex() == encoded
    assert decode_command(bytes.fromhex(encoded)) == command


def test_a_field_of_a_later_version_does_no_harm() -> None:
    later = {"type": "set", "key": "a", "value": b"1", "flags": 0, "colour": "green"}
    assert decode_command(msgspec.msgpack.encode(later)) == Set("a", b"1")


GARBLED = [
    b"",
    b"\xff" * 9,
    encode_command(Set("a", b"1"))[:-1],
    encode_command(Set("a", b"1")) + b"\0",
    msgspec.msgpack.encode({"type": "explode"}),
    msgspec.msgpack.encode({"type": "set", "key": "a"}),
    msgspec.msgpack.encode({"type": "set", "key": "a", "value": b"1", "flags": -1}),
    msgspec.msgpack.encode({"type": "cas", "key": "a", "value": b"1", "modify_index": "1"}),
]


@pytest.mark.parametrize("data", GARBLED)
def test_a_garbled_command_is_refused_and_changes_nothing(state: StateMachine, data: bytes) -> None:
    before = state.digest()
    with pytest.raises(GarbledCommand) as refusal:
        state.apply(5, data)
    assert refusal.value.index == 5
    assert state.digest() == before


def test_no_index_is_applied_twice_or_late(state: StateMachine) -> None:
    before = state.digest()
    for index in (4, 3, 0):
        with pytest.raises(IndexOutOfOrder):
            state.apply(index, encode_command(Set("a", b"x")))
        with pytest.raises(IndexOutOfOrder):
            state.advance(index)
    assert state.digest() == before


def test_entries_that_are_no_commands_only_move_last_applied(state: StateMachine) -> None:
    state.advance(9)
    assert (state.last_applied, state.kv.table_index) == (9, 4)


def test_a_restored_snapshot_is_the_same_state_with_nothing_left_of_before(state: StateMachine) -> None:
    other = StateMachine()
    other.apply(77, encode_command(Set("only here", b"")))
    other.restore(state.snapshot())
    assert other.digest() == state.digest()
    assert other.last_applied == 4
    assert other.kv.keys("") == (4, ["a", "b/2"])
    assert other.kv.get_tree("b/")[0] == 4
    other.apply(5, encode_command(Set("c", b"")))
    state.apply(5, encode_command(Set("c", b"")))
    assert other.digest() == state.digest()


def test_a_view_stays_as_it_was_while_the_state_machine_goes_on(state: StateMachine) -> None:
    expected = state.snapshot()
    view = state.view()
    state.apply(5, encode_command(Set("a", b"changed")))
    state.apply(6, encode_command(DeleteTree("")))
    assert view.encode() == expected


def test_snapshots_larger_than_a_chunk_come_back_whole() -> None:
    machine, other = StateMachine(), StateMachine()
    for index in range(1, 1500):
        machine.apply(index, encode_command(Set(f"key {index % 700}", b"%d" % index)))
    for index in range(1500, 1900):
        machine.apply(index, encode_command(Delete(f"key {index - 1500}")))
    other.restore(machine.snapshot())
    assert other.digest() == machine.digest()
    assert (len(other.kv), other.kv.tombstone_count) == (300, 400)


def test_every_truncated_snapshot_is_refused_and_changes_nothing(state: StateMachine) -> None:
    snapshot = state.snapshot()
    before = state.digest()
    for size in range(len(snapshot)):
        with pytest.raises(GarbledSnapshot):
            state.restore(snapshot[:size])
    for wrong in (snapshot + snapshot, snapshot + b"\0", snapshot.replace(b"version\x01", b"version\x02")):
        with pytest.raises(GarbledSnapshot):
            state.restore(wrong)
    assert state.digest() == before


def test_the_encoding_of_a_snapshot_is_this(state: StateMachine) -> None:
    assert state.snapshot().hex(" ", -8).split() == GOLDEN_SNAPSHOT.split()


def test_digests_differ_where_states_do(state: StateMachine) -> None:
    digests = {state.digest()}
    commands: list[Command] = [Set("a", b"1"), Set("a", b"2"), Set("a", b"2", 1), ReapTombstones(4)]
    for index, command in enumerate(commands, 5):
        state.apply(index, encode_command(command))
        digests.add(state.digest())
    assert len(digests) == 5


GOLDEN_SNAPSHOT = """
3800000085a77665 7273696f6e01ac6c 6173745f6170706c 69656404a5706169 727302aa746f6d62 73746f6e657301ab
7461626c655f696e 6465780419000000 9297a161c4013100 010100c097a3622f 32c4013304030300 c0070000009192a3
622f3104
"""
