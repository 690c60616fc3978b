"""Beliefs: one test per rule of which news override which (SWIM section 4.2, memberlist state.go).

Each line of a script is a piece of news about member b, given to agent a, and what a believes afterwards.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impl.gossip import LAN, Address, Config, Gossip, MemberChanged, SendDatagram, Warned, wire
from impl.gossip.config import MILLISECOND, SECOND
from impl.gossip.suspicion import Suspicion
from impl.gossip.wire import Alive, Dead, NodeState, PushPull, State, Suspect

VERSIONS = (1, 5, 2, 2, 5, 5)
B = ("10.0.0.2", 7946)


def agent() -> Gossip:
    return Gossip("a", ("10.0.0.1", 7946), {}, LAN, random.Random(1), 0)


def alive(incarnation: int, node: str = "b", last: int = 2, meta: bytes = b"\xff\x80") -> Alive:
    return Alive(incarnation, node, bytes((10, 0, 0, last)), 7946, meta, VERSIONS)


def tell(core: Gossip, *news: wire.PacketMessage, now_ns: int = 0) -> None:
    core.datagram(wire.packet([wire.encode(each) for each in news], checksum=True), B, now_ns)


def merge(
    core: Gossip, state: State, incarnation: int, node: str = "b", last: int = 2, now_ns: int = 0
) -> None:
    """The same as news, through a push/pull."""
    nodes = (NodeState(node, bytes((10, 0, 0, last)), 7946, b"\xff\x80", incarnation, state, VERSIONS),)
    core.stream_request(PushPull(False, nodes, b""), B, now_ns)


def belief(core: Gossip, name: str = "b") -> str:
    member = core.member(name)
    if member is None:
        return "unknown"
    return f"{'suspect' if member.suspect else member.status} {member.incarnation}"


def address(core: Gossip) -> Address:
    member = core.member("b")
    assert member is not None
    return member.address


def gossiped(core: Gossip, seconds: int = 3) -> list[wire.PacketMessage]:
    """What the core tells others within some time."""
    messages: list[wire.PacketMessage] = []
    end_ns = core.deadline_ns + seconds * SECOND
    while core.deadline_ns < end_ns:
        core.tick(core.deadline_ns)
        for effect in core.take():
            if isinstance(effect, SendDatagram):
                messages += wire.decode_packet(effect.data)
    return messages


News = Callable[[int], wire.PacketMessage]


def suspect(incarnation: int, accuser: str = "c") -> Suspect:
    return Suspect(incarnation, "b", accuser)


def dead(incarnation: int, accuser: str = "c") -> Dead:
    return Dead(incarnation, "b", accuser)


def left(incarnation: int) -> Dead:
    return Dead(incarnation, "b", "b")


@pytest.mark.parametrize(
    "script",
    [
        pytest.param([(alive, 1, "alive 1"), (alive, 3, "alive 3"), (alive, 2, "alive 3")], id="newer alive"),
        pytest.param([(suspect, 1, "unknown"), (dead, 1, "unknown")], id="nothing about strangers"),
        pytest.param(
            [(alive, 2, "alive 2"), (suspect, 1, "alive 2"), (suspect, 2, "suspect 2")], id="suspect ≥"
        ),
        pytest.param([(alive, 2, "alive 2"), (dead, 1, "alive 2"), (dead, 2, "failed 2")], id="dead ≥"),
        pytest.param(
            [
                (alive, 1, "alive 1"),
                (suspect, 1, "suspect 1"),
                (alive, 1, "suspect 1"),
                (alive, 2, "alive 2"),
            ],
            id="only a refutation clears a suspect",
        ),
        pytest.param(
            [
                (alive, 1, "alive 1"),
                (suspect, 1, "suspect 1"),
                (suspect, 3, "suspect 3"),
                (alive, 3, "suspect 3"),
            ],
            id="a newer accusation needs a newer refutation",
        ),
        pytest.param(
            [(alive, 1, "alive 1"), (dead, 1, "failed 1"), (alive, 1, "failed 1"), (suspect, 1, "failed 1")],
            id="the dead stay dead",
        ),
        pytest.param(
            [(alive, 1, "alive 1"), (dead, 1, "failed 1"), (dead, 4, "failed 4"), (alive, 3, "failed 4")],
            id="a stale alive does not resurrect who died again later",
        ),
        pytest.param(
            [(alive, 1, "alive 1"), (suspect, 1, "suspect 1"), (dead, 1, "failed 1"), (alive, 2, "alive 2")],
            id="a refutation brings the dead back",
        ),
        pytest.param(
            [(alive, 1, "alive 1"), (left, 1, "left 1"), (dead, 1, "left 1"), (alive, 1, "left 1")],
            id="who said it itself has left",
        ),
    ],
)
def test_news_override_by_incarnation(script: list[tuple[News, int, str]]) -> None:
    core = agent()
    for make, incarnation, expected in script:
        tell(core, make(incarnation))
        assert belief(core) == expected, f"after {make.__name__}({incarnation})"


@given(st.lists(st.tuples(st.sampled_from([alive, suspect, dead, left]), st.integers(1, 5)), max_size=30))
def test_known_incarnations_never_go_back_and_the_dead_do_not_return_without_a_newer_one(
    news: list[tuple[News, int]],
) -> None:
    core = agent()
    known, gone = 0, False
    for make, incarnation in news:
        tell(core, make(incarnation))
        member = core.member("b")
        if member is None:
            continue
        assert member.incarnation >= known
        if gone and member.status not in ("failed", "left"):
            assert make is alive
            assert member.incarnation > known
        known, gone = member.incarnation, member.status in ("failed", "left")


@given(
    st.lists(st.tuples(st.sampled_from([suspect, dead]), st.integers(1, 9)), min_size=1, max_size=9),
    st.randoms(),
)
def test_beliefs_do_not_depend_on_the_order_of_news(
    news: list[tuple[News, int]], shuffler: random.Random
) -> None:
    """Once the refutation of everything has been heard, whenever that was."""
    everything = [*news, (alive, 10)]
    results = []
    for _ in range(2):
        core = agent()
        tell(core, alive(1))
        shuffler.shuffle(everything)
        for make, incarnation in everything:
            tell(core, make(incarnation))
        results.append(belief(core))
    assert results == ["alive 10", "alive 10"]


# --- suspicion


def test_a_suspect_fails_when_its_time_is_up_and_not_before() -> None:
    core = agent()
    tell(core, alive(1), suspect(1))
    core.tick(4 * SECOND - 1)
    assert belief(core) == "suspect 1"
    core.tick(4 * SECOND)
    assert belief(core) == "failed 1"


def test_a_refutation_in_time_saves_the_suspect() -> None:
    core = agent()
    tell(core, alive(1), suspect(1))
    tell(core, alive(2), now_ns=3 * SECOND)
    core.tick(100 * SECOND)
    # Nobody answers pings here, so it may be suspect again, but not failed at the old time.
    changes = [effect.change for effect in core.take() if isinstance(effect, MemberChanged)]
    assert changes[:4] == ["joined", "joined", "suspected", "cleared"]


def four() -> Gossip:
    """Knows b, c, d and e: enough for two confirmations."""
    core = agent()
    tell(core, *(alive(1, node, last) for node, last in (("b", 2), ("c", 3), ("d", 4), ("e", 5))))
    return core


@pytest.mark.parametrize(
    ("accusers", "milliseconds"),
    [("c", 24_000), ("cc", 24_000), ("cd", 11_381), ("cdd", 11_381), ("cde", 4_000), ("cdef", 4_000)],
)
def test_each_other_accuser_shortens_the_suspicion(accusers: str, milliseconds: int) -> None:
    """Lifeguard section IV.B, memberlist suspicion.go `Confirm`: two confirmations expected, 4 s to 24 s."""
    suspicion = Suspicion(accusers[0], 2, 4 * SECOND, 24 * SECOND, 0)
    news = [suspicion.confirm(accuser) for accuser in accusers[1:]]
    assert suspicion.deadline_ns == milliseconds * MILLISECOND
    assert sum(news) == suspicion.confirmations


def test_with_all_confirmations_the_suspect_fails_after_the_shortest_time() -> None:
    core = four()
    tell(core, suspect(1, "c"), suspect(1, "d"), suspect(1, "e"))
    core.tick(4 * SECOND - 1)
    assert belief(core) == "suspect 1"
    core.tick(4 * SECOND)
    assert belief(core) == "failed 1"


def test_a_first_confirmation_is_told_on_and_a_repeated_one_is_not() -> None:
    """memberlist state.go `suspectNode`: confirmations must flow, but not for ever."""
    core = four()
    tell(core, suspect(1, "c"))
    gossiped(core, 1)
    tell(core, suspect(1, "d"), now_ns=2 * SECOND)
    assert suspect(1, "d") in gossiped(core, 1)
    tell(core, suspect(1, "d"), suspect(1, "c"), now_ns=4 * SECOND)
    told = gossiped(core, 1)
    assert suspect(1, "d") not in told


# --- ourselves


def ours(core: Gossip) -> int:
    member = core.member("a")
    assert member is not None
    return member.incarnation


@pytest.mark.parametrize("accusation", [Suspect(7, "a", "c"), Dead(7, "a", "c"), Dead(7, "a", "a")])
def test_we_refute_above_the_accusation_and_doubt_our_health(accusation: wire.PacketMessage) -> None:
    """memberlist #311: a restarted agent is accused at an incarnation far above its own."""
    core = agent()
    tell(core, alive(1))
    tell(core, accusation)
    assert ours(core) == 8
    assert core.health_score == 1
    refutations = [each for each in gossiped(core) if isinstance(each, Alive) and each.node == "a"]
    assert refutations
    assert {each.incarnation for each in refutations} == {8}


def test_an_old_accusation_is_not_refuted_twice() -> None:
    core = agent()
    tell(core, Suspect(1, "a", "c"), Suspect(1, "a", "d"))
    assert ours(core) == 2
    assert core.health_score == 1


def test_who_probes_us_as_a_suspect_at_an_old_incarnation_is_told_the_refutation() -> None:
    core = agent()
    tell(core, alive(1), Suspect(1, "a", "c"))
    core.take()
    tell(core, wire.Ping(9, "a", source_node="b"), Suspect(1, "a", "b"))
    (*_, reminder) = [effect for effect in core.take() if isinstance(effect, SendDatagram)]
    assert reminder.to == B
    message = wire.decode_packet(reminder.data)[0]
    assert isinstance(message, Alive)
    assert (message.node, message.incarnation) == ("a", 2)


def test_an_alive_from_our_life_before_a_restart_is_refuted_if_it_differs() -> None:
    """memberlist state.go `aliveNode`: same incarnation, other meta data."""
    core = agent()
    tell(core, alive(1, "a", last=1, meta=b"\xff\x80"))
    assert ours(core) == 1
    tell(core, alive(1, "a", last=1, meta=b"\xff\x81\xa1x\xa1y"))
    assert ours(core) == 2


# --- push/pull


def test_a_push_pull_that_says_dead_only_makes_suspect() -> None:
    """memberlist state.go `mergeState`: the other side of a healed partition holds everyone here for dead."""
    core = agent()
    tell(core, alive(1))
    merge(core, State.DEAD, 1)
    assert belief(core) == "suspect 1"


def test_a_push_pull_that_says_left_is_believed() -> None:
    core = agent()
    tell(core, alive(1))
    merge(core, State.LEFT, 1)
    assert belief(core) == "left 1"


def test_a_push_pull_with_members_that_we_could_not_understand_is_refused_whole() -> None:
    """memberlist state.go `verifyProtocol`."""
    core = agent()
    stranger = NodeState("b", bytes((10, 0, 0, 2)), 7946, b"", 1, State.ALIVE, (1, 5, 2, 0, 0, 0))
    core.stream_request(PushPull(True, (stranger,), b""), B, 0)
    assert belief(core) == "unknown"
    assert "delegate protocol version" in _warning(core)


# --- names


def _warning(core: Gossip) -> str:
    return " ".join(effect.text for effect in core.take() if isinstance(effect, Warned))


def test_a_name_is_not_given_to_another_address_while_its_owner_lives() -> None:
    """memberlist #189, consul #733: neither hijacked …"""
    core = agent()
    tell(core, alive(1), alive(9, last=7))
    assert address(core) == B
    assert "name conflict" in _warning(core)


def test_a_name_is_free_when_its_owner_left() -> None:
    """… nor blocked for ever. The newcomer begins at incarnation 1."""
    core = agent()
    tell(core, alive(5), left(5), alive(1, last=7))
    assert address(core) == ("10.0.0.7", 7946)
    assert belief(core) == "alive 1"


def test_a_dead_nodes_name_is_free_after_the_reclaim_time() -> None:
    config = Config(dead_node_reclaim_ns=30 * SECOND)
    core = Gossip("a", ("10.0.0.1", 7946), {}, config, random.Random(1), 0)
    tell(core, alive(5), dead(5))
    tell(core, alive(1, last=7), now_ns=30 * SECOND)
    assert belief(core) == "failed 5"
    tell(core, alive(1, last=7), now_ns=30 * SECOND + 1)
    assert belief(core) == "alive 1"


def test_nobody_takes_our_own_name() -> None:
    core = agent()
    tell(core, alive(9, "a", last=7))
    assert ours(core) == 1
    assert "claims our name" in _warning(core)
