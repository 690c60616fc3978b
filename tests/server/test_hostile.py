"""Whatever comes in on the server port and the gossip port, the agent goes on."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from typing import Any

import msgspec
import pytest

from impl.raft import AppendEntries, encode_message
from impl.server import agent as agent_module
from impl.server import routing
from impl.server.frames import RAFT, RPC
from impl.server.requests import Failure, KVApply, RequestFailed
from impl.server.rpc import Clients
from impl.state import Set, encode_command

pytestmark = pytest.mark.anyio

GOSSIP_PORT, SERVER_PORT = 8301, 8300


def garbage() -> list[bytes]:
    """Of every kind: random, cut short, too long, well-formed to this depth and no further."""
    source = random.Random(8300)
    frames = [source.randbytes(source.randrange(1, 200)) for _ in range(60)]
    frames += [bytes((kind,)) + source.randbytes(50) for kind in range(16) for _ in range(4)]
    for kind in (RPC, RAFT):
        frames += [
            bytes((kind,)),
            bytes((kind,)) + b"\x00\x00\x00\x00",
            bytes((kind,)) + b"\xff\xff\xff\xff",
            bytes((kind,)) + struct.pack(">I", 5) + b"\x93\x01\xc2\x81\xa4",
            bytes((kind,)) + struct.pack(">I", 100_000) + b"\x91" * 100_000,  # nested without end
            bytes((kind,)) + struct.pack(">I", 3) + msgspec.msgpack.encode([1, 2])[:3],
        ]
    frames += [
        b"GET /v1/status/leader HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00" * 10_000,
    ]
    return frames


async def throw(host: str, port: int, data: bytes) -> None:
    """Connect, send, and wait until the other end closes or has had its time."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        async with asyncio.timeout(0.2):
            writer.write(data)
            writer.write_eof()
            await reader.read()
    except (OSError, TimeoutError):
        pass  # it was thrown out, or ignored
    finally:
        writer.close()


async def test_garbage_on_every_port_harms_nothing(cluster: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with cluster(1) as c:
        server = await c.leader()
        await server.put("key", b"value")
        async with asyncio.TaskGroup() as group:
            for data in garbage():
                for port in (SERVER_PORT, GOSSIP_PORT):
                    group.create_task(throw(server.host, port, data))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            for data in garbage():
                datagrams.sendto(data[:60_000], (server.host, GOSSIP_PORT))
        assert await server.put("key", b"still here")
        assert await server.get("key", consistency="consistent") == b"still here"
        assert server.statuses() == {"s1": "alive"}
        assert not server.agent._driver.failed.done()
        assert not [record for record in caplog.records if record.exc_info], "nothing was caught unawares"
        assert any("closed the connection with" in record.getMessage() for record in caplog.records)


async def test_who_hangs_up_at_once_harms_nothing(cluster: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with cluster(1) as c:
        server = await c.leader()
        for _ in range(50):
            for port in (SERVER_PORT, GOSSIP_PORT):
                with socket.socket() as stream:
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    stream.connect((server.host, port))
        assert await server.put("key", b"value")
        assert not [record for record in caplog.records if record.exc_info]


async def test_who_never_says_what_he_came_for_is_sent_away(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_module, "FIRST_BYTE_TIMEOUT_NS", 50_000_000)
    async with cluster(1) as c:
        server = await c.leader()
        reader, writer = await asyncio.open_connection(server.host, SERVER_PORT)
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        writer.close()
        assert not server.agent._connections


async def test_who_takes_a_connection_and_never_answers_is_given_up(cluster: Any) -> None:
    """As an agent does that is paused. Else nothing would ever be tried again after it."""
    silence = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silence.wait()
        writer.close()

    async with cluster(1) as c:
        [node] = c.nodes
        listener = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        async with listener, asyncio.timeout(10):
            with pytest.raises(RequestFailed, match="no answer"):
                await node.agent.join([f"127.0.0.1:{port}"])
            silence.set()


async def test_what_is_no_command_is_refused_and_never_replicated(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would end every server that applies it, and again whenever it is started; or fit into no frame."""
    monkeypatch.setattr(routing, "COMMAND_BYTES_MAX", 1000)
    too_long = encode_command(Set("key", bytes(1000)))
    async with cluster(3) as c:
        leader = await c.leader()
        clients = Clients(leader.agent._ports)
        for node in c.servers:
            for forwarded in (False, True):
                for garbage in (b"", b"\xc1", msgspec.msgpack.encode({"type": "set", "key": 1}), too_long):
                    call = clients.call(
                        (node.host, SERVER_PORT), KVApply(garbage), forwarded, timeout_ns=5_000_000_000
                    )
                    reply = await call
                    assert isinstance(reply, Failure)
                    assert ("at most 1000" if garbage is too_long else "not a command") in reply.text
        clients.close()
        assert await leader.put("key", b"value")
        assert not any(node.agent._driver.failed.done() for node in c.servers)


async def test_a_message_for_another_server_is_dropped(cluster: Any) -> None:
    """Such as one for whoever had this address before."""
    async with cluster(1) as c:
        server = await c.leader()
        term = server.raft("term")
        message = encode_message(AppendEntries("stranger", "somebody else", 10**6, 0, 0, (), 0, 1, 0))
        await throw(server.host, SERVER_PORT, bytes((RAFT,)) + struct.pack(">I", len(message)) + message)
        assert await server.put("key", b"value")
        assert server.raft("term") == term
