"""A replicated counter: one total, and a copy of it on every node.

    python counter.py --node n1 --peers n1=10.0.0.1:7000,n2=10.0.0.2:7000,n3=10.0.0.3:7000

The first of the peers is the primary. It makes all additions, and acknowledges one when every node has the
new total; other nodes pass additions on to it. So every node can answer reads by itself, at once, and what it
says includes all that was acknowledged before. A node that starts asks the others what the total is: it lives
as long as one of them does.

The protocol is a line of JSON for a line of JSON, the same for clients and nodes:

    {"do": "add", "amount": 1}    -> {"total": 8}
    {"do": "read"}                -> {"total": 8}
    {"do": "take", "total": 8}    -> {"total": 8}    from the primary: the total is at least this
    {"do": "tell"}                -> {"total": 8}    from a node that starts
                                  -> {"refused": "..."} it was not done    {"error": "..."} nobody knows
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Mapping
from typing import Any

PATIENCE = 1.0
"""Seconds until a node that does not answer is asked again."""

Address = tuple[str, int]


class Counter:
    """One node."""

    def __init__(self, node: str, peers: Mapping[str, Address]) -> None:
        self.node = node
        self.peers = peers
        self.primary = next(iter(peers))
        self.others = [name for name in peers if name != node]
        self.total = 0
        self.serving = False

    async def run(self) -> None:
        """Listen, catch up with the others, serve until the end of days."""
        server = await asyncio.start_server(self.answer, "0.0.0.0", self.peers[self.node][1])
        await asyncio.gather(*(self.catch_up(name) for name in self.others))
        self.serving = True
        print(f"{self.node} serves, the total is {self.total}", flush=True)
        await server.serve_forever()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's requests, one after the other."""
        try:
            while line := await reader.readline():
                reply = await self.do(json.loads(line))
                writer.write(json.dumps(reply).encode() + b"\n")
                await writer.drain()
        except ConnectionError:
            pass  # whoever asked has gone
        finally:
            writer.close()

    async def do(self, request: dict[str, Any]) -> dict[str, Any]:
        match request:
            case {"do": "take", "total": total}:
                self.total = max(self.total, total)  # the network may bring them late
            case {"do": "tell"}:
                pass
            case _ if not self.serving:
                return {"refused": "starting"}
            case {"do": "add"} if self.node != self.primary:
                return await self.pass_on(request)
            case {"do": "add", "amount": amount}:
                return {"total": await self.add(amount)}
            case {"do": "read"}:
                pass
            case _:
                return {"refused": f"no such request: {request}"}
        return {"total": self.total}

    # --- Additions

    async def add(self, amount: int) -> int:
        """The total after the addition, which every node has by then."""
        total = self.total + amount
        # Everyone else first: who reads the new total here must not read an older one elsewhere afterwards.
        await self.replicate(total)
        self.total = total
        return total

    async def replicate(self, total: int) -> None:
        """Return once all others have this total."""
        request = {"do": "take", "total": total}
        await asyncio.gather(*(self.insist(name, request) for name in self.others))

    async def pass_on(self, request: dict[str, Any]) -> dict[str, Any]:
        """Have the primary do it. Never twice: it may have been done though no answer came."""
        try:
            return await self.ask(self.primary, request)
        except ConnectionRefusedError:
            return {"refused": "the primary is down"}
        except OSError as error:
            return {"error": f"no answer from the primary: {error!r}"}

    # --- Other nodes

    async def catch_up(self, name: str) -> None:
        answer = await self.insist(name, {"do": "tell"})
        self.total = max(self.total, answer["total"])

    async def insist(self, name: str, request: dict[str, Any]) -> dict[str, Any]:
        """Ask until there is an answer."""
        while True:
            try:
                return await self.ask(name, request)
            except OSError:  # TimeoutError is one
                await asyncio.sleep(0.1)

    async def ask(self, name: str, request: dict[str, Any]) -> dict[str, Any]:
        """Ask once. Raises OSError if no answer comes."""
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(*self.peers[name])
            try:
                writer.write(json.dumps(request).encode() + b"\n")
                line = await reader.readline()
            finally:
                writer.close()
        if not line:
            raise ConnectionResetError("closed without an answer")
        answer: dict[str, Any] = json.loads(line)
        return answer


def address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return host, int(port)


async def main(counter: type[Counter] = Counter) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--node", required=True)
    parser.add_argument("--peers", required=True, help="NAME=HOST:PORT,... the primary first")
    options = parser.parse_args()
    peers = dict(peer.split("=") for peer in options.peers.split(","))
    await counter(options.node, {name: address(peer) for name, peer in peers.items()}).run()


if __name__ == "__main__":
    asyncio.run(main())
