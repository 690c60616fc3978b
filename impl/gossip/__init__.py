"""Membership and failure detection: memberlist (SWIM + Lifeguard) and Serf on it, without I/O.

The shell owns sockets and clock and drives one `Gossip`:

    gossip = Gossip(name, address, tags, LAN, random, now_ns)
    gossip.join([("10.0.0.1", 8301)], now_ns)
    gossip.tick(now_ns)                                 the clock reached gossip.deadline_ns
    gossip.datagram(data, source, now_ns)               a datagram came in
    message = StreamReader().feed(data)                 bytes of a stream, until there is a message:
    gossip.stream_request(message, source, now_ns)      came on a peer's stream: returns the answer
    gossip.stream_reply(token, message, now_ns)         came on the stream of OpenStream(token)
    gossip.stream_failed(token, reason, now_ns)         nothing came on it
    for effect in gossip.take(): ...                    after any of these; sets gossip.deadline_ns anew

Times are integer nanoseconds of one monotonic clock. Nothing here reads a clock, opens a socket or draws
randomness other than from the `random.Random` it was given.

Sources: SWIM (Das, Gupta, Motivala 2002), Lifeguard (Dadgar, Phillips, Currey 2017, arXiv:1707.00788),
hashicorp/memberlist and hashicorp/serf, whose wire protocol this speaks.
"""

from .config import LAN, LOCAL, WAN, Config
from .effects import (
    Address,
    Change,
    Effect,
    JoinFinished,
    LeaveFinished,
    Member,
    MemberChanged,
    OpenStream,
    SendDatagram,
    Status,
    UserEvent,
    Warned,
)
from .errors import InvalidName, Malformed, TooLarge
from .serf import Gossip
from .stream import StreamReader

__all__ = [
    "LAN",
    "LOCAL",
    "WAN",
    "Address",
    "Change",
    "Config",
    "Effect",
    "Gossip",
    "InvalidName",
    "JoinFinished",
    "LeaveFinished",
    "Malformed",
    "Member",
    "MemberChanged",
    "OpenStream",
    "SendDatagram",
    "Status",
    "StreamReader",
    "TooLarge",
    "UserEvent",
    "Warned",
]
