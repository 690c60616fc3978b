"""The simulated network: datagrams and connections, as processes see them."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from harness.worlds import Shape
from harness.worlds.sim.departures import Departure
from harness.worlds.sim.hosts import EPHEMERAL_PORTS, Host
from harness.worlds.sim.loop import NotSimulated
from harness.worlds.sim.network import (
    CLIENT_LATENCY_NS,
    DATAGRAM_BYTES_MAX,
    LATENCY_NS,
    LOCAL_LATENCY_NS,
    RECEIVE_BUFFER_BYTES,
)

if TYPE_CHECKING:
    from tests.worlds.sim.conftest import Net, OnNet

SECOND = 1_000_000_000
MILLISECOND = 1_000_000


# --- Datagrams


def test_a_datagram_arrives_once_after_its_links_latency_with_its_sender(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        sender, receiver = await net.bind("n1"), await net.bind("n2")
        await net.until(1)
        sender.send("n2", "hello")
        await net.until(2)
        latency_ns = net.network.wire(net.network.hosts["n1"], net.network.hosts["n2"]).latency_ns
        assert receiver.received == [((SECOND + latency_ns) / SECOND, "hello")]
        assert receiver.sources == [("10.0.0.1", 7001)]
        assert LATENCY_NS[0] <= latency_ns < LATENCY_NS[1]

    on_net(scenario)


def test_every_direction_of_every_link_has_a_latency_of_its_own_that_depends_on_nothing_else(
    on_net: OnNet,
) -> None:
    async def scenario(net: Net) -> list[int]:
        hosts = net.network.hosts
        pairs = [(a, b) for a in hosts for b in hosts if a != b]
        if order:
            pairs.reverse()
        latencies = {pair: net.network.wire(hosts[pair[0]], hosts[pair[1]]).latency_ns for pair in pairs}
        assert net.network.wire(hosts["n1"], hosts["n1"]).latency_ns == LOCAL_LATENCY_NS
        assert net.network.wire(net.network.outside, hosts["n1"]).latency_ns == CLIENT_LATENCY_NS
        assert net.network.wire(hosts["n1"], net.network.outside).latency_ns == CLIENT_LATENCY_NS
        return [latencies[pair] for pair in sorted(pairs)]

    order = 0
    latencies = on_net(scenario)
    assert len(set(latencies)) == 6
    order = 1
    assert on_net(scenario) == latencies


def test_departures_lose_double_and_delay_single_datagrams(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        sender, receiver = await net.bind("n1"), await net.bind("n2")
        other = await net.bind("n3")
        for text in "abcdef":
            sender.send("n2", text)
            sender.send("n3", text)
            other.send("n2", text.upper())
        await net.until(1)
        heard = [text for text in receiver.heard() if text.islower()]
        assert heard == ["a", "c", "e", "f", "d", "c"]
        times = dict(receiver.received)
        late, again, first = (
            [when for when, text in receiver.received if text == wanted] for wanted in ("d", "c", "a")
        )
        assert late[0] - first[0] == pytest.approx(0.02, abs=1e-9)
        assert again[1] - again[0] == pytest.approx(0.03, abs=1e-9)
        assert [text for text in receiver.heard() if text.isupper()] == list("ABCDEF")
        assert other.heard() == list("abcdef")
        assert times

    on_net(
        scenario,
        {
            ("n1>n2 datagram", 2): Departure("lost"),
            ("n1>n2 datagram", 3): Departure("twice", 30 * MILLISECOND),
            ("n1>n2 datagram", 4): Departure("late", 20 * MILLISECOND),
        },
    )


def test_a_shape_makes_departures_on_its_own_link_and_only_while_it_lasts(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        sender, receiver = await net.bind("n1"), await net.bind("n2")
        net.network.shape({("n2", "n1"): Shape(lost=1), ("n1", "n3"): Shape(lost=1)})
        sender.send("n2", "other links")
        net.network.shape({("n1", "n2"): Shape(lost=1)})
        sender.send("n2", "lost")
        net.network.shape({})
        sender.send("n2", "ordinary again")
        await net.until(1)
        assert receiver.heard() == ["other links", "ordinary again"]
        assert net.network.departures.happened == {("n1>n2 datagram", 2): Departure("lost")}

    on_net(scenario)


def test_a_shapes_latency_is_added_and_departs_from_nothing(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        sender, receiver = await net.bind("n1"), await net.bind("n2")
        net.network.shape({("n1", "n2"): Shape(latency_ms=300)})
        sender.send("n2", "slow")
        await net.until(0.3)
        assert receiver.heard() == []
        net.network.shape({})
        sender.send("n2", "ordinary again")
        await net.until(0.302)
        assert receiver.heard() == ["slow", "ordinary again"]
        assert net.network.departures.happened == {}

    on_net(scenario)


def test_a_link_that_is_shaped_or_cut_before_it_is_first_used_is_so_when_it_is(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        net.network.shape({("n1", "n2"): Shape(lost=1)})
        net.cut("n1>n3")
        sender, receiver, other = await net.bind("n1"), await net.bind("n2"), await net.bind("n3")
        sender.send("n2", "lost")
        sender.send("n3", "cut")
        other.send("n1", "passes")
        await net.until(1)
        assert (receiver.heard(), other.heard(), sender.heard()) == ([], [], ["passes"])

    on_net(scenario)


def test_cuts_are_directed_and_count_when_a_datagram_arrives(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        one, two = await net.bind("n1"), await net.bind("n2")
        net.cut("n1>n2")
        one.send("n2", "sent before the heal")
        two.send("n1", "the other way")
        await asyncio.sleep(0)
        net.cut()
        await net.until(1)
        assert (one.heard(), two.heard()) == (["the other way"], ["sent before the heal"])
        one.send("n2", "sent before the cut")
        await asyncio.sleep(0)
        net.cut("n1>n2")
        await net.until(2)
        assert two.heard() == ["sent before the heal"]

    on_net(scenario)


def test_what_nobody_can_take_is_lost_without_a_word(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        sender, receiver = await net.bind("n1"), await net.bind("n2")
        sender.send("n2", "no such port", port=9)
        sender.send("n9", "no such host")
        net.power_off("n3")
        sender.send("n3", "off")
        receiver.transport.close()
        sender.send("n2", "closed")
        await net.until(1)
        net.start("n2")
        again = await net.bind("n2")
        sender.send("n2", "somebody again")
        await net.until(2)
        assert (again.heard(), receiver.heard()) == (["somebody again"], [])

    on_net(scenario)


def test_the_kernel_takes_datagrams_for_a_paused_process_as_far_as_its_buffer_goes(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        sender, receiver = await net.bind("n1"), await net.bind("n2")
        net.pause("n2")
        size = 32 * 1024
        for number in range(100):
            sender.send("n2", chr(number) * size)
        await net.until(1)
        assert not receiver.received
        net.resume("n2")
        await net.until(2)
        room = RECEIVE_BUFFER_BYTES // size
        assert [text[0] for text in receiver.heard()] == [chr(number) for number in range(room)]
        sender.send("n2", "room again")
        await net.until(3)
        assert receiver.heard()[-1] == "room again"

    on_net(scenario)


def test_a_datagram_that_is_too_large_is_not_sent_and_its_sender_is_told(on_net: OnNet) -> None:
    class Sender(asyncio.DatagramProtocol):
        def error_received(self, exc: Exception) -> None:
            told.append(exc)

    told: list[Any] = []

    async def scenario(net: Net) -> None:
        receiver, address = await net.bind("n2"), ("10.0.0.2", 7001)
        socket = await net.on("n1", net.port("n1").datagrams(Sender, ("0.0.0.0", 7001)))
        socket.sendto(b"a" * DATAGRAM_BYTES_MAX, address)
        socket.sendto(b"b" * (DATAGRAM_BYTES_MAX + 1), address)
        await net.until(1)
        assert receiver.heard() == ["a" * DATAGRAM_BYTES_MAX]
        assert [error.errno for error in told] == [errno.EMSGSIZE]

    on_net(scenario)


def test_a_dead_process_sends_nothing_and_hears_nothing(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        one, two = await net.bind("n1"), await net.bind("n2")
        one.send("n2", "under way")
        net.kill("n1")
        one.send("n2", "posthumous")
        two.send("n1", "too late")
        await net.until(1)
        assert (one.heard(), two.heard()) == ([], ["under way"])
        net.start("n1")
        await net.bind("n1")  # the kernel has closed the dead one's socket

    on_net(scenario)


def test_a_connected_datagram_socket_hears_its_peer_alone(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        one = await net.bind("n1", to="n2")
        two, three = await net.bind("n2"), await net.bind("n3")
        one.transport.sendto(b"hello")
        three.send("n1", "who are you?")
        two.send("n1", "hello yourself")
        await net.until(1)
        assert (one.heard(), two.heard(), three.heard()) == (["hello yourself"], ["hello"], [])

    on_net(scenario)


# --- Addresses


def test_an_address_that_is_taken_or_not_ones_own_cannot_be_listened_on(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        await net.serve("n1")
        await net.bind("n1", 7000)  # datagrams have ports of their own
        await net.serve("n2")
        for again in (net.serve("n1"), net.bind("n1", 7000)):
            with pytest.raises(
                OSError, match=r"cannot listen on 0\.0\.0\.0:7000: Address already in use"
            ) as taken:
                await again
            assert taken.value.errno == errno.EADDRINUSE
        with pytest.raises(OSError, match=r"cannot listen on 10\.0\.0\.2:1") as foreign:
            await net.on("n1", net.port("n1").listen(asyncio.Protocol, ("10.0.0.2", 1)))
        assert foreign.value.errno == errno.EADDRNOTAVAIL
        net.kill("n1")
        net.start("n1")
        await net.serve("n1")

    on_net(scenario)


def test_port_0_picks_one_that_is_free_and_a_closed_listener_takes_no_more(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        one, other = [await net.port("n1").listen(asyncio.Protocol, ("10.0.0.1", 0)) for _ in range(2)]
        low, high = EPHEMERAL_PORTS
        assert low <= one.address[1] <= high
        assert one.address[1] != other.address[1]
        await net.dial("n2", "n1", one.address[1])
        one.close()
        one.close()
        with pytest.raises(ConnectionRefusedError):
            await net.dial("n2", "n1", one.address[1])
        await net.dial("n2", "n1", other.address[1])

    on_net(scenario)


def test_picked_ports_come_round_again_and_pass_over_those_in_use() -> None:
    host = Host("n1", "10.0.0.1", 1)
    low, high = EPHEMERAL_PORTS
    host.listeners[low + 1] = host.sockets[low + 2] = None  # type: ignore[assignment]
    picked = [host.ephemeral_port() for _ in range(high - low)]
    assert picked[:2] == [low, low + 3]
    assert picked[-1] == low
    assert set(picked) == set(range(low, high + 1)) - {low + 1, low + 2}


def test_what_listens_on_the_local_address_alone_cannot_be_reached_from_elsewhere(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        await net.on("n1", net.port("n1").listen(asyncio.Protocol, ("127.0.0.1", 80)))
        peers: list[Any] = []
        await net.on("n1", net.port("n1").listen(lambda: peers[0], ("10.0.0.1", 81)))
        peers.append(asyncio.Protocol())
        local = await net.on("n1", net.port("n1").connect(asyncio.Protocol, ("127.0.0.1", 80)))
        assert local.get_extra_info("peername") == ("127.0.0.1", 80)
        assert local.get_extra_info("sockname")[0] == "127.0.0.1"
        for host, address in (("n2", ("10.0.0.1", 80)), ("n1", ("10.0.0.1", 80)), ("n1", ("127.0.0.1", 81))):
            with pytest.raises(ConnectionRefusedError, match=f"connect to {address[0]}:{address[1]}: Conn"):
                await net.on(host, net.port(host).connect(asyncio.Protocol, address))

    on_net(scenario)


# --- Opening streams


def test_a_connection_takes_a_round_trip_and_both_ends_know_each_others_address(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        accepted = await net.serve("n2")
        await net.until(1)
        dialled = await net.dial("n1", "n2")
        there = net.network.wire(net.network.hosts["n1"], net.network.hosts["n2"])
        assert net.loop.now_ns == SECOND + there.latency_ns + there.back.latency_ns
        ours, theirs = dialled.transport, accepted[0].transport
        assert ours.get_extra_info("peername") == theirs.get_extra_info("sockname") == ("10.0.0.2", 7000)
        assert theirs.get_extra_info("peername") == ours.get_extra_info("sockname")
        assert ours.get_extra_info("sockname")[0] == "10.0.0.1"
        assert ours.get_extra_info("no such thing", "default") == "default"

    on_net(scenario)


def test_where_nobody_listens_a_connection_is_refused_after_a_round_trip(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        with pytest.raises(
            ConnectionRefusedError, match=r"connect to 10\.0\.0\.2:7000: Connection refused"
        ) as no:
            await net.dial("n1", "n2")
        assert no.value.errno == errno.ECONNREFUSED
        there = net.network.wire(net.network.hosts["n1"], net.network.hosts["n2"])
        assert net.loop.now_ns == there.latency_ns + there.back.latency_ns
        with pytest.raises(OSError, match=r"10\.0\.0\.9: No route to host"):
            await net.dial("n1", "n9")

    on_net(scenario)


@pytest.mark.parametrize("cut", ["n1>n2", "n2>n1"])
def test_a_connection_attempt_over_a_cut_hangs_until_one_of_tcps_repetitions_passes(
    cut: str, on_net: OnNet
) -> None:
    async def scenario(net: Net) -> None:
        await net.serve("n2")
        net.cut(cut)
        net.loop.call_later(4, net.cut)
        await net.dial("n1", "n2")
        assert 7.0 < net.loop.time() < 7.003

    on_net(scenario)


def test_a_connection_attempt_that_never_passes_fails_after_two_minutes(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        net.power_off("n2")
        with pytest.raises(TimeoutError, match=r"connect to 10\.0\.0\.2:7000: Connection timed out") as late:
            await net.dial("n1", "n2")
        assert late.value.errno == errno.ETIMEDOUT
        assert net.loop.time() == 127

    on_net(scenario)


def test_a_connection_attempt_to_a_host_that_comes_back_is_answered(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        await net.serve("n2")
        net.power_off("n2")
        net.loop.call_later(2, net.start, "n2")
        with pytest.raises(ConnectionRefusedError):
            await net.dial("n1", "n2")
        assert 3.0 < net.loop.time() < 3.003

    on_net(scenario)


def test_a_connection_that_its_caller_gives_up_ends_for_the_other_side(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        accepted = await net.serve("n2")
        there = net.network.wire(net.network.hosts["n1"], net.network.hosts["n2"])
        dialling = asyncio.create_task(net.dial("n1", "n2"))
        await asyncio.sleep((there.latency_ns + 1000) / SECOND)
        dialling.cancel()
        await net.until(1)
        assert accepted[0].heard() == ["end", "lost"]
        assert not net.network.hosts["n1"].ends
        assert not net.network.hosts["n2"].ends

    on_net(scenario)


def test_the_kernel_of_a_paused_process_accepts_connections_and_takes_what_comes(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        accepted = await net.serve("n2")
        net.pause("n2")
        dialled = await net.dial("n1", "n2")
        dialled.transport.write(b"hello")
        dialled.transport.close()
        await net.until(20)
        assert (accepted, dialled.heard()) == ([], ["lost"])
        net.resume("n2")
        await net.until(21)
        assert accepted[0].heard() == ["hello", "end", "lost"]

    on_net(scenario)


def test_a_connection_that_was_not_accepted_when_the_process_died_is_reset_if_anything_was_sent(
    on_net: OnNet,
) -> None:
    async def scenario(net: Net) -> None:
        accepted = await net.serve("n2")
        net.pause("n2")
        silent, told = await net.dial("n1", "n2"), await net.dial("n1", "n2")
        told.transport.write(b"hello")
        await net.until(1)
        net.kill("n2")
        await net.until(2)
        assert not accepted
        assert silent.heard() == ["end", "lost"]
        assert told.heard() == ["lost: ConnectionResetError"]

    on_net(scenario)


def test_clients_of_the_harness_are_never_cut(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        accepted = await net.serve("n1")
        net.cut(*(f"{a}>{b}" for a in ("n1", "n2", "n3") for b in ("n1", "n2", "n3") if a != b))
        transport, _ = await net.network.connect(net.network.outside, asyncio.Protocol, ("10.0.0.1", 7000))
        transport.write(b"hello")
        await net.until(1)
        assert accepted[0].received == b"hello"

    on_net(scenario)


# --- asyncio's own ways to the network


def test_asyncios_streams_and_servers_lead_to_the_simulated_network(on_net: OnNet) -> None:
    async def serve(net: Net) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while line := await reader.readline():
                writer.write(line.upper())
                await writer.drain()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(answer, "", 7000, backlog=5, reuse_address=True)
        assert server.sockets[0].getsockname() == ("0.0.0.0", 7000)
        assert server.is_serving()
        assert server.get_loop() is net.loop
        async with server:
            await server.serve_forever()

    async def ask(host: str) -> bytes:
        reader, writer = await asyncio.open_connection(host, 7000)
        writer.write(b"hello\n")
        answer = await reader.readline()
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        return answer

    async def scenario(net: Net) -> None:
        server = net.loop.start(net.processes["n2"], serve(net))
        for host in ("n2", "10.0.0.2"):
            assert await net.on("n1", ask(host)) == b"HELLO\n"
        for host in ("localhost", "127.0.0.1", "n2"):
            assert await net.on("n2", ask(host)) == b"HELLO\n"
        with pytest.raises(socket.gaierror, match="n9: Name or service not known"):
            await net.on("n1", ask("n9"))
        server.cancel()
        await net.until(10)
        with pytest.raises(ConnectionRefusedError):
            await net.on("n1", ask("n2"))

    on_net(scenario)


def test_asyncios_datagram_endpoints_and_name_look_ups_do_too(on_net: OnNet) -> None:
    async def scenario(net: Net) -> None:
        receiver = await net.bind("n2")

        async def send() -> None:
            transport, _ = await net.loop.create_datagram_endpoint(
                asyncio.DatagramProtocol, remote_addr=("n2", 7001)
            )
            transport.sendto(b"connected")
            transport, _ = await net.loop.create_datagram_endpoint(
                asyncio.DatagramProtocol, local_addr=("n1", 7777)
            )
            transport.sendto(b"bound", ("10.0.0.2", 7001))
            found = await net.loop.getaddrinfo("n2", 80, type=socket.SOCK_DGRAM)
            assert found == [(socket.AF_INET, socket.SOCK_DGRAM, 0, "", ("10.0.0.2", 80))]

        await net.on("n1", send())
        await net.until(1)
        assert receiver.heard() == ["connected", "bound"]
        assert receiver.sources[1] == ("10.0.0.1", 7777)

    on_net(scenario)


@pytest.mark.parametrize("option", ["ssl", "sock", "local_addr"])
def test_options_that_the_simulated_network_does_not_have_are_refused_by_name(
    option: str, on_net: OnNet
) -> None:
    async def connect(net: Net) -> None:
        value: Any = ssl.create_default_context() if option == "ssl" else ("", 1)
        await net.loop.create_connection(asyncio.Protocol, "n2", 1, **{option: value})

    async def scenario(net: Net) -> None:
        await net.on("n1", connect(net))

    with pytest.raises(
        NotSimulated, match=rf"n1 calls create_connection\({option}=\.\.\.\) at .*test_network"
    ):
        on_net(scenario)
