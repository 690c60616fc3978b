"""The failure detector and the spread of news: one test per rule.

One core is watched; the test plays everyone else, in virtual time. Where no source is named, the rule is in
SWIM sections 3 and 4, and in memberlist's state.go and net.go.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from impl.gossip import (
    LAN,
    Address,
    Config,
    Effect,
    Gossip,
    MemberChanged,
    OpenStream,
    SendDatagram,
    StreamReader,
    Warned,
    wire,
)
from impl.gossip.config import MILLISECOND, SECOND
from impl.gossip.wire import Ack, Alive, IndirectPing, Nack, Ping, PushPull, Suspect

NAMES = "bcdef"
VERSIONS = (1, 5, 2, 2, 5, 5)


def address(name: str) -> Address:
    return (f"10.0.0.{ord(name) - ord('a') + 1}", 7946)


class Play:
    """A core and everything that it did so far."""

    def __init__(self, others: str, config: Config = LAN, versions: wire.Versions = VERSIONS) -> None:
        self.core = Gossip("a", address("a"), {}, config, random.Random(3), 0)
        self.now_ns = 0
        self.sent: list[tuple[Address, wire.PacketMessage]] = []
        self.packets: list[SendDatagram] = []
        self.streams: list[OpenStream] = []
        self.others: list[Effect] = []
        for name in others:
            host = wire.address_bytes(address(name)[0])
            self.receive(Alive(1, name, host, 7946, b"\xff\x80", versions))
        self.run(3 * SECOND, until=lambda: False, answer=NAMES)
        self.forget()

    def forget(self) -> None:
        self.sent, self.packets, self.streams, self.others = [], [], [], []

    def receive(self, *messages: wire.PacketMessage, source: str = "b") -> None:
        packet = wire.packet([wire.encode(message) for message in messages], checksum=False)
        self.core.datagram(packet, address(source), self.now_ns)
        self.collect()

    def collect(self) -> None:
        for effect in self.core.take():
            match effect:
                case SendDatagram():
                    self.packets.append(effect)
                    self.sent += [(effect.to, message) for message in wire.decode_packet(effect.data)]
                case OpenStream():
                    self.streams.append(effect)
                case _:
                    self.others.append(effect)

    def run(self, duration_ns: int, until: Callable[[], bool] = lambda: False, answer: str = "") -> None:
        """Let time pass; those in `answer` answer their pings at once."""
        end_ns = self.now_ns + duration_ns
        while not until() and self.core.deadline_ns <= end_ns:
            self.now_ns = self.core.deadline_ns
            seen = len(self.sent)
            self.core.tick(self.now_ns)
            self.collect()
            for to, message in self.sent[seen:]:
                if isinstance(message, Ping) and message.node in answer and to == address(message.node):
                    self.receive(Ack(message.sequence), source=message.node)
        if not until():
            self.now_ns = end_ns

    def pings(self) -> list[tuple[Address, Ping]]:
        return [(to, message) for to, message in self.sent if isinstance(message, Ping)]

    def until_ping(self) -> tuple[Address, Ping]:
        """Forget the past and go on to the next probe's ping."""
        self.forget()
        self.run(10 * SECOND, until=lambda: bool(self.pings()))
        return self.pings()[0]

    def suspects(self) -> list[str]:
        return [member.name for member in self.core.members() if member.suspect]

    def warnings(self) -> str:
        return "\n".join(effect.text for effect in self.others if isinstance(effect, Warned))


# --- probing


def test_one_member_is_probed_per_interval_each_once_per_round() -> None:
    """SWIM section 4.3: round robin over a list that is shuffled after each round."""
    play = Play("bcde")
    play.run(12 * SECOND, answer=NAMES)
    targets = [ping.node for _, ping in play.pings()]
    assert len(targets) == 12
    # Of any 12 probes in a row, at least two whole rounds of four are in there.
    rounds = [sorted(targets[start : start + 4]) for start in range(12 - 4)]
    assert rounds.count(list("bcde")) >= 2
    assert all(targets.count(name) == pytest.approx(3, abs=1) for name in "bcde")


def test_an_answered_ping_leaves_no_doubt() -> None:
    play = Play("bcd")
    play.run(20 * SECOND, answer=NAMES)
    assert play.suspects() == []
    assert play.core.health_score == 0
    assert not [message for _, message in play.sent if isinstance(message, IndirectPing)]


def test_an_unanswered_ping_is_followed_by_indirect_ones_and_a_stream_after_the_probe_timeout() -> None:
    """memberlist state.go `probeNode`."""
    play = Play("bcdef")
    to, ping = play.until_ping()
    play.run(500 * MILLISECOND - 1)
    assert not play.streams
    play.run(1)
    requests = [(to, message) for to, message in play.sent if isinstance(message, IndirectPing)]
    assert len(requests) == LAN.indirect_checks
    for helper, request in requests:
        assert helper not in (to, address("a"))
        assert (request.sequence, request.node, request.nack) == (ping.sequence, ping.node, True)
        assert (wire.address_of(request.target, request.port)) == to
    (stream,) = play.streams
    assert stream.to == to
    assert stream.timeout_ns == 500 * MILLISECOND
    message = StreamReader().feed(stream.request)
    assert isinstance(message, Ping)
    assert message.sequence == ping.sequence


def test_an_indirect_ack_saves_the_target() -> None:
    """SWIM section 3.1."""
    play = Play("bcde")
    _, ping = play.until_ping()
    play.run(600 * MILLISECOND)
    play.receive(Ack(ping.sequence), source="c")
    play.run(350 * MILLISECOND)
    assert play.suspects() == []


def test_a_target_without_any_ack_is_suspect_at_the_end_of_the_interval() -> None:
    play = Play("bcde")
    _, ping = play.until_ping()
    play.run(1 * SECOND - 1)
    assert play.suspects() == []
    play.run(1)
    assert play.suspects() == [ping.node]


def test_an_ack_counts_by_its_number_and_not_by_its_sender() -> None:
    """A late ack of an earlier ping must not hide a death."""
    play = Play("bcde")
    _, ping = play.until_ping()
    play.receive(Ack(ping.sequence - 1), source=ping.node)
    play.run(1 * SECOND)
    assert play.suspects() == [ping.node]
    play.receive(Ack(ping.sequence), source=ping.node)
    assert play.suspects() == [ping.node], "an ack does not clear a suspicion"


def test_a_stream_that_passes_where_datagrams_do_not_is_a_warning_and_no_suspicion() -> None:
    """memberlist net.go `sendPingAndWaitForAck`."""
    play = Play("bcde")
    _, ping = play.until_ping()
    play.run(600 * MILLISECOND)
    play.core.stream_reply(play.streams[0].token, Ack(ping.sequence), play.now_ns)
    play.run(400 * MILLISECOND)
    assert play.suspects() == []
    assert f"reached {ping.node} by stream but not by datagrams" in play.warnings()


def test_a_refutation_during_the_probe_voids_its_accusation() -> None:
    """The accusation is at the incarnation known when the probe began."""
    play = Play("bcde")
    to, ping = play.until_ping()
    host = wire.address_bytes(to[0])
    play.receive(Alive(2, ping.node, host, 7946, b"\xff\x80", VERSIONS), source="c")
    play.run(1 * SECOND)
    assert play.suspects() == []


def test_a_suspect_is_told_so_when_it_is_probed() -> None:
    """Lifeguard's buddy system."""
    play = Play("bc")
    play.receive(Suspect(1, "b", "c"), source="c")
    while play.until_ping()[1].node != "b":
        pass
    ping, suspicion = wire.decode_packet(play.packets[-1].data)
    assert isinstance(ping, Ping)
    assert suspicion == Suspect(1, "b", "a")


def test_old_peers_get_no_stream_ping_no_nack_request_and_no_checksum() -> None:
    """memberlist protocol versions: 3 brought stream pings, 4 nacks, 5 checksums."""
    play = Play("bcd", versions=(1, 2, 2, 2, 5, 5))
    play.until_ping()
    play.run(1 * SECOND)
    requests = [message for _, message in play.sent if isinstance(message, IndirectPing)]
    assert requests
    assert not any(request.nack for request in requests)
    assert not play.streams
    assert not any(packet.data[0] == wire.Kind.CRC for packet in play.packets)


# --- awareness (Lifeguard section IV.A)


def test_missing_nacks_count_against_our_own_health() -> None:
    """Helpers that are silent put the blame on us: 3 missing nacks, 3 points, and a success takes one off."""
    play = Play("bcdef")
    play.until_ping()
    play.run(1 * SECOND)
    assert play.core.health_score == 3
    _, next_ping = play.pings()[-1]
    play.receive(Ack(next_ping.sequence), source=next_ping.node)
    assert play.core.health_score == 2


def test_nacks_put_the_blame_on_the_target() -> None:
    play = Play("bcdef")
    _, ping = play.until_ping()
    play.run(900 * MILLISECOND)
    for helper in "cde":
        play.receive(Nack(ping.sequence), source=helper)
    play.run(100 * MILLISECOND)
    assert play.suspects() == [ping.node]
    assert play.core.health_score == 0


def test_without_helpers_a_failed_probe_counts_one() -> None:
    play = Play("b")
    play.until_ping()
    play.run(1 * SECOND)
    assert play.core.health_score == 1


def test_bad_health_stretches_the_probe_interval() -> None:
    play = Play("b")
    play.receive(Suspect(1, "a", "b"))
    assert play.core.health_score == 1
    play.until_ping()
    play.run(2 * SECOND - 1)
    assert play.suspects() == []
    play.run(1)
    assert play.suspects() == ["b"]


def test_the_awareness_score_has_a_ceiling() -> None:
    play = Play("b")
    for incarnation in range(1, 30):
        play.receive(Suspect(incarnation, "a", "b"))
    assert play.core.health_score == LAN.awareness_max_multiplier - 1


# --- answering


def test_a_ping_is_answered_to_where_it_says_it_came_from() -> None:
    play = Play("b")
    play.receive(Ping(77, "a", bytes((10, 0, 0, 9)), 999, "z"), source="b")
    assert (("10.0.0.9", 999), Ack(77)) in play.sent
    play.receive(Ping(78, ""), source="c")
    assert (address("c"), Ack(78)) in play.sent


def test_a_ping_for_somebody_else_is_not_answered() -> None:
    """Whoever had our address before is dead."""
    play = Play("b")
    play.receive(Ping(77, "predecessor"), source="b")
    assert not [message for _, message in play.sent if isinstance(message, Ack)]
    assert "ping for predecessor" in play.warnings()
    assert play.core.stream_request(Ping(77, "predecessor"), address("b"), play.now_ns) == b""


def test_a_ping_on_a_stream_is_answered_on_it() -> None:
    play = Play("b")
    assert wire.decode_packet(play.core.stream_request(Ping(77, "a"), address("b"), 0)) == [Ack(77)]


def _relayed(play: Play, nack: bool) -> Ping:
    target = wire.address_bytes(address("c")[0])
    play.receive(IndirectPing(77, target, 7946, "c", nack), source="b")
    (ping,) = [message for to, message in play.sent if isinstance(message, Ping) and to == address("c")]
    return ping


def test_an_indirect_ping_is_done_under_our_own_number_and_its_ack_handed_on() -> None:
    play = Play("bc")
    ping = _relayed(play, nack=True)
    assert ping.sequence != 77
    play.receive(Ack(ping.sequence), source="c")
    assert (address("b"), Ack(77)) in play.sent
    play.run(1 * SECOND, answer=NAMES)
    assert not [message for _, message in play.sent if isinstance(message, Nack)]


@pytest.mark.parametrize("nack", [True, False])
def test_a_nack_is_sent_after_the_probe_timeout_if_it_was_asked_for(nack: bool) -> None:
    play = Play("bc")
    _relayed(play, nack)
    play.run(500 * MILLISECOND - 1, answer="b")
    assert (address("b"), Nack(77)) not in play.sent
    play.run(1, answer="b")
    assert ((address("b"), Nack(77)) in play.sent) == nack


# --- gossip


def test_news_are_told_to_three_random_members_per_gossip_interval_up_to_the_limit() -> None:
    play = Play("bcdef")
    news = Suspect(1, "b", "c")
    play.receive(news, source="c")
    play.run(2 * SECOND, answer=NAMES)
    told = [to for to, message in play.sent if message == news]
    # Six members: four transmissions. One more suspicion is our own, if we probed b.
    assert len(told) == 4
    assert address("a") not in told


def test_every_packet_carries_what_fits_and_never_more() -> None:
    """memberlist net.go `sendMsg`; 75 pieces of news exceed one packet."""
    play = Play("b")
    for number in range(75):
        host = bytes((10, 1, 0, number))
        play.receive(Alive(1, f"node-{number:03}", host, 7946, b"\xff\x80", VERSIONS))
    play.run(5 * SECOND, answer=NAMES)
    assert max(len(packet.data) for packet in play.packets) <= LAN.packet_bytes_max + 5
    told = {message.node for _, message in play.sent if isinstance(message, Alive)}
    assert len(told) == 75


def test_the_dead_are_gossiped_to_for_a_while_and_the_left_are_not() -> None:
    """memberlist state.go `gossip`: whoever is wrongly dead must hear of it to refute."""
    play = Play("bcd")
    play.receive(wire.Dead(1, "b", "c"), wire.Dead(1, "d", "d"), source="c")
    play.run(3 * SECOND, answer="c")
    recipients = {to for to, message in play.sent if not isinstance(message, Ping)}
    assert address("b") in recipients
    assert address("d") not in recipients
    play.run(40 * SECOND, answer="c")
    play.forget()
    play.core.set_tags({"fresh": "news"}, play.now_ns)
    play.run(3 * SECOND, answer="c")
    assert address("b") not in {packet.to for packet in play.packets}


def test_malformed_packets_are_dropped_with_a_warning() -> None:
    play = Play("b")
    play.core.datagram(b"\xff\x00", address("b"), play.now_ns)
    play.collect()
    assert "dropped a packet from 10.0.0.2:7946: message type 255" in play.warnings()


# --- push/pull


def test_everything_is_exchanged_with_one_random_member_per_push_pull_interval() -> None:
    play = Play("bcde")
    play.run(150 * SECOND, answer=NAMES)
    exchanges = list(play.streams)
    assert len(exchanges) == 5
    assert {stream.to for stream in exchanges} <= {address(name) for name in "bcde"}
    message = StreamReader().feed(exchanges[0].request)
    assert isinstance(message, PushPull)
    assert sorted(node.name for node in message.nodes) == list("abcde")


def test_an_exchange_that_failed_is_a_warning() -> None:
    play = Play("bcde")
    play.run(60 * SECOND, until=lambda: bool(play.streams), answer=NAMES)
    play.core.stream_failed(play.streams[0].token, "connection refused", play.now_ns)
    play.collect()
    assert "failed: connection refused" in play.warnings()


def test_the_other_sides_refusal_is_passed_on() -> None:
    play = Play("bcde")
    play.run(60 * SECOND, until=lambda: bool(play.streams), answer=NAMES)
    play.core.stream_reply(play.streams[0].token, wire.ErrorReply("too old"), play.now_ns)
    play.collect()
    assert "the other side says: too old" in play.warnings()


def test_a_push_pull_is_answered_with_what_we_knew_before_it() -> None:
    """memberlist net.go `handleConn`: first our state, then the merge."""
    play = Play("b")
    theirs = wire.NodeState("z", bytes((10, 0, 0, 26)), 7946, b"\xff\x80", 1, wire.State.ALIVE, VERSIONS)
    reply = StreamReader().feed(
        play.core.stream_request(PushPull(True, (theirs,), b""), address("z"), play.now_ns)
    )
    assert isinstance(reply, PushPull)
    assert reply.join
    assert sorted(node.name for node in reply.nodes) == ["a", "b"]
    play.collect()
    joined = [effect.member.name for effect in play.others if isinstance(effect, MemberChanged)]
    assert joined == ["z"]
