"""Gossip cores with one known bug each. The numbers are those of docs/mutants.md."""

from __future__ import annotations

import zlib

from impl.gossip import Gossip, SendDatagram
from impl.gossip.memberlist import _Probe
from impl.gossip.serf_messages import LeaveIntent
from impl.gossip.table import Node
from impl.gossip.wire import Ack, Alive, Dead, Kind, NodeState

# ---- Beliefs


class RefutesFromItsOwnIncarnation(Gossip):
    """63. A refutation counts on from the member's own incarnation, however high the accusation's was."""

    def _refute(self, accused_incarnation: int) -> None:
        super()._refute(self._me.incarnation)


class ForgetsLaterDeaths(Gossip):
    """64. That the dead died at a higher incarnation is not remembered: older news bring them back."""

    def _dead(self, news: Dead) -> None:
        node = self._table.get(news.node)
        if node is None or not node.gone:
            super()._dead(news)


class BelievesOldLife(Gossip):
    """65. Alive overrides suspect and dead at the same incarnation."""

    def _alive_is_news(self, node: Node, news: Alive) -> bool:
        return news.incarnation >= node.incarnation


class BuriesByHearsay(Gossip):
    """71. Whom the other side of a push/pull calls dead is dead here as well, without a suspicion."""

    def _merge_dead(self, state: NodeState) -> None:
        self._dead(Dead(state.incarnation, state.name, self.name))


class TakesLeavingForFailing(Gossip):
    """73. Who leaves is counted among the failed."""

    def _dead(self, news: Dead) -> None:
        super()._dead(Dead(news.incarnation, news.node, self.name if news.node != self.name else news.node))

    def _leave_intent(self, intent: LeaveIntent) -> bool:
        return intent.node == self.name and super()._leave_intent(intent)


class LetsNamesBeTaken(Gossip):
    """77. A name is believed to live wherever somebody says so, while its owner is alive elsewhere."""

    def _may_move(self, node: Node) -> bool:
        return True


class NeverLetsNamesMove(Gossip):
    """77. A name whose owner has left is never believed to live at another address."""

    def _may_move(self, node: Node) -> bool:
        return False


# ---- Probes


class NoIndirectProbes(Gossip):
    """67. Nobody else is asked to probe."""

    def _indirect_probe(self, probe: _Probe) -> None:
        pass


class TakesAnyAck(Gossip):
    """68. An ack ends the probe under way, whichever it answers."""

    def _take_ack(self, ack: Ack) -> None:
        sequence = ack.sequence if self._probe is None else self._probe.sequence
        super()._take_ack(Ack(sequence))


class NeverDoubtsItself(Gossip):
    """69. No awareness score (Lifeguard): who is slow itself goes on accusing others at full speed."""

    def _change_health(self, delta: int) -> None:
        pass


# ---- Broadcasts


class SaysThingsOnce(Gossip):
    """74. A broadcast is sent once by each member, however many there are."""

    def _retransmit_limit(self) -> int:
        return 1


class WritesCountsInOneByte(Gossip):
    """75. More than 255 messages go into a packet, whose count has one byte."""

    def _take_broadcasts(self, bytes_free: int, count_max: int) -> list[bytes]:
        return super()._take_broadcasts(bytes_free, 10_000)

    def _send_parts(self, to: tuple[str, int], parts: list[bytes], node: Node | None) -> None:
        if len(parts) <= 255:
            super()._send_parts(to, parts, node)
            return
        lengths = b"".join(len(part).to_bytes(2, "big") for part in parts)
        body = bytes((Kind.COMPOUND, len(parts) & 0xFF)) + lengths + b"".join(parts)
        packet = bytes((Kind.CRC,)) + zlib.crc32(body).to_bytes(4, "big") + body
        self._effects.append(SendDatagram(to, packet))
