"""Our core among agents of HashiCorp's Serf 0.9.4: every promise of the wire, checked by who invented it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from impl.gossip import LeaveFinished, MemberChanged, UserEvent

SERF = shutil.which("serf")

pytestmark = pytest.mark.skipif(
    SERF is None, reason="Debian's `serf` is not installed: interoperability with it is NOT tested"
)

# Any address of 127/8 is ours; the process id keeps apart runs at the same time.
SUBNET = f"127.{os.getpid() // 250 % 250 + 2}.{os.getpid() % 250 + 2}"


class SerfAgent:
    """A real agent, with its log."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.host = f"{SUBNET}.{number}"
        self.rpc = f"{self.host}:7373"
        self.log: list[str] = []
        self.logged = asyncio.Condition()

    async def start(self, *arguments: str) -> None:
        assert SERF is not None
        command = [
            *(SERF, "agent", "-node", self.name, "-bind", f"{self.host}:7946", "-rpc-addr", self.rpc),
            *("-profile", "local", "-tag", f"of={self.name}", "-log-level", "debug", *arguments),
        ]
        self.process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        self.reading = asyncio.create_task(self.read())
        await self.until_logged("Serf agent starting")

    async def read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            async with self.logged:
                self.log.append(line.decode().strip())
                self.logged.notify_all()

    async def until_logged(self, *words: str, seconds: float = 20.0) -> None:
        """Wait for a line of the log that has all these words."""
        try:
            async with asyncio.timeout(seconds), self.logged:
                await self.logged.wait_for(
                    lambda: any(all(word in line for word in words) for line in self.log)
                )
        except TimeoutError:
            tail = "\n".join(self.log[-20:])
            raise AssertionError(f"{self.name} did not log {words} within {seconds} s:\n{tail}") from None

    async def run(self, *arguments: str) -> str:
        """One command of the serf client, at this agent."""
        assert SERF is not None
        command, *rest = arguments
        process = await asyncio.create_subprocess_exec(
            SERF, command, "-rpc-addr", self.rpc, *rest, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await asyncio.wait_for(process.communicate(), 20)
        assert process.returncode == 0, output.decode()
        return output.decode()

    async def member(self, name: str) -> dict[str, Any]:
        """What this agent knows of a member."""
        members = json.loads(await self.run("members", "-format", "json"))["members"]
        found: dict[str, Any] = next(member for member in members if member["name"] == name)
        return found

    async def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()
        await self.reading


@contextlib.asynccontextmanager
async def two_serfs_and_us(socket_agent: Any) -> AsyncIterator[tuple[SerfAgent, SerfAgent, Any]]:
    """Two real agents, joined, and ours, not joined yet."""
    first, second = SerfAgent("first", 1), SerfAgent("second", 2)
    ours = None
    try:
        await first.start()
        await second.start("-join", first.host)
        await first.until_logged("EventMemberJoin", "second")
        ours = socket_agent("ours", (f"{SUBNET}.3", 7946), {"role": "test", "weight": "7"})
        await ours.open()
        yield first, second, ours
    finally:
        if ours is not None:
            await ours.close()
        for agent in (first, second):
            if hasattr(agent, "process"):
                await agent.kill()


async def join(first: SerfAgent, second: SerfAgent, ours: Any) -> None:
    ours.call(ours.core.join, [(first.host, 7946)])
    await ours.until(statuses(ours, first="alive", second="alive", ours="alive"))
    for agent in (first, second):
        await agent.until_logged("EventMemberJoin", "ours")


def statuses(agent: Any, **expected: str) -> Callable[[], bool]:
    def hold() -> bool:
        return {member.name: member.status for member in agent.core.members()} == expected

    return hold


def test_real_agents_see_us_alive_with_our_tags_and_we_see_them_with_theirs(socket_agent: Any) -> None:
    async def scenario() -> None:
        async with two_serfs_and_us(socket_agent) as (first, second, ours):
            await join(first, second, ours)
            for agent in (first, second):
                seen = await agent.member("ours")
                assert seen["status"] == "alive"
                assert seen["tags"] == {"role": "test", "weight": "7"}
                assert seen["protocol"] == {"max": 5, "min": 2, "version": 5}
                ours_seen = ours.core.member(agent.name)
                assert ours_seen.tags == {"of": agent.name}
                assert ours_seen.versions == (1, 5, 2, 2, 5, 5)

    asyncio.run(scenario())


def test_a_killed_real_agent_is_failed_for_us_and_left_after_a_real_force_leave(socket_agent: Any) -> None:
    async def scenario() -> None:
        async with two_serfs_and_us(socket_agent) as (first, second, ours):
            await join(first, second, ours)
            await second.kill()
            await ours.until(statuses(ours, first="alive", second="failed", ours="alive"), seconds=40)
            await first.until_logged("EventMemberFailed", "second", seconds=40)
            await first.run("force-leave", "second")
            await ours.until(statuses(ours, first="alive", second="left", ours="alive"))
            # The survivors did not doubt each other.
            assert not [line for line in first.log if "Suspect ours" in line]
            assert not [
                effect
                for effect in ours.effects
                if isinstance(effect, MemberChanged)
                and effect.change == "suspected"
                and effect.member.name == "first"
            ]

    asyncio.run(scenario())


def test_new_tags_reach_real_agents(socket_agent: Any) -> None:
    async def scenario() -> None:
        async with two_serfs_and_us(socket_agent) as (first, second, ours):
            await join(first, second, ours)
            ours.call(ours.core.set_tags, {"role": "changed"})
            for agent in (first, second):
                await agent.until_logged("EventMemberUpdate", "ours")
                assert (await agent.member("ours"))["tags"] == {"role": "changed"}

    asyncio.run(scenario())


def test_when_we_leave_real_agents_show_us_left_and_when_one_leaves_so_do_we(socket_agent: Any) -> None:
    async def scenario() -> None:
        async with two_serfs_and_us(socket_agent) as (first, second, ours):
            await join(first, second, ours)
            await second.run("leave")
            await ours.until(statuses(ours, first="alive", second="left", ours="alive"))
            ours.call(ours.core.leave)
            await ours.until(lambda: LeaveFinished() in ours.effects)
            await first.until_logged("EventMemberLeave", "ours")
            assert (await first.member("ours"))["status"] == "left"

    asyncio.run(scenario())


def test_user_events_pass_both_ways(socket_agent: Any) -> None:
    async def scenario() -> None:
        async with two_serfs_and_us(socket_agent) as (first, second, ours):
            await join(first, second, ours)
            await first.run("event", "deploy", "v2")

            def received() -> list[tuple[str, bytes]]:
                events = [effect for effect in ours.effects if isinstance(effect, UserEvent)]
                return [(event.name, event.payload) for event in events]

            await ours.until(lambda: received() == [("deploy", b"v2")])
            ours.call(ours.core.fire, "answer", b"done", True)
            for agent in (first, second):
                await agent.until_logged("messageUserEventType: answer")
            assert received() == [("deploy", b"v2"), ("answer", b"done")]

    asyncio.run(scenario())
