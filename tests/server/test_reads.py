"""What each consistency promises, across cuts and changes of leadership."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest

from impl.server.requests import Done, KVApply, Options, RequestFailed, TxnRead
from impl.state import Failed, Operation, Outcome, Transaction, encode_command
from impl.system import SystemClock

pytestmark = pytest.mark.anyio


async def test_a_leader_that_is_cut_off_answers_no_consistent_read(cluster: Any) -> None:
    async with cluster(3, rpc_hold_timeout_ns=500_000_000) as c:
        old = await c.leader()
        await old.put("key", b"old")
        await c.isolate(old)
        # At once: it still thinks that it leads.
        with pytest.raises(RequestFailed, match=r"^No cluster leader$"):
            await old.get("key", consistency="consistent")


async def test_a_leader_that_is_cut_off_answers_default_reads_only_while_its_lease_lasts(
    cluster: Any, eventually: Any
) -> None:
    async with cluster(3, rpc_hold_timeout_ns=500_000_000) as c:
        old = await c.leader()
        await old.put("key", b"old")
        await c.isolate(old)
        assert await old.get("key") == b"old"
        await eventually(lambda: not old.leads, "its lease runs out")
        with pytest.raises(RequestFailed, match=r"^No cluster leader$"):
            await old.get("key")


async def test_by_the_time_another_leads_the_old_leaders_lease_is_over(cluster: Any, eventually: Any) -> None:
    async with cluster(3) as c:
        old = await c.leader()
        others = c.followers
        await old.put("key", b"old")
        await c.isolate(old)
        await eventually(lambda: any(node.leads for node in others), "another is elected")
        assert not old.leads


async def test_a_stale_read_is_answered_without_a_leader_and_says_how_old_it_may_be(
    cluster: Any, eventually: Any
) -> None:
    async with cluster(3) as c:
        leader = await c.leader()
        follower = c.followers[0]
        await leader.put("key", b"value")
        await eventually(lambda: follower.raft("applied_index") == leader.raft("applied_index"), "replicated")
        assert (await follower.query("key", consistency="stale")).known_leader
        await c.isolate(follower)
        await eventually(lambda: follower.agent.stats()["consul"]["leader_addr"] == "", "it notices")
        first = await follower.query("key", consistency="stale")
        assert first.pairs[0].value == b"value"
        assert not first.known_leader
        assert first.last_contact_ms >= 300, "it was without a word for the election timeout at least"
        await asyncio.sleep(0.1)
        assert (
            await follower.query("key", consistency="stale")
        ).last_contact_ms >= first.last_contact_ms + 100


async def test_a_leader_that_stepped_down_is_as_old_as_its_leadership_is_over(
    cluster: Any, eventually: Any
) -> None:
    """It may never have heard any leader but itself."""
    async with cluster(3) as c:
        old = await c.leader()
        await old.put("key", b"value")
        await c.isolate(old)
        await eventually(lambda: not old.leads, "it steps down")
        reply = await old.query("key", consistency="stale")
        assert reply.pairs[0].value == b"value"
        assert reply.last_contact_ms < 10_000


async def test_a_stale_read_may_miss_what_a_consistent_one_sees(cluster: Any) -> None:
    async with cluster(3) as c:
        leader = await c.leader()
        follower = c.followers[0]
        await c.switch.cut(leader.host, follower.host)
        await leader.put("key", b"value")
        assert await leader.get("key", consistency="consistent") == b"value"
        assert await follower.get("key", consistency="stale") is None


async def test_an_answer_that_is_too_stale_is_fetched_from_the_leader(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cluster(3) as c:
        await c.leader()
        follower = c.followers[0]
        monkeypatch.setattr(follower.agent._driver, "leader_contact_age_ns", lambda: 1_000_000_000)
        here = await follower.query("key", consistency="stale", max_stale_ns=2_000_000_000)
        assert here.last_contact_ms == 1000
        from_leader = await follower.query("key", consistency="stale", max_stale_ns=500_000_000)
        assert from_leader.last_contact_ms == 0


async def test_a_server_that_never_heard_a_leader_answers_no_stale_read(cluster: Any) -> None:
    """Nobody could say how old its answer is."""
    async with cluster(3, rpc_hold_timeout_ns=500_000_000) as c:
        leader = await c.leader()
        await leader.put("key", b"value")
        await c.stop()
        await c.nodes[0].start()
        with pytest.raises(RequestFailed, match=r"^No cluster leader$"):
            await c.nodes[0].get("key", consistency="stale")


async def test_an_index_is_never_zero(cluster: Any) -> None:
    async with cluster(1) as c:
        leader = await c.leader()
        assert (await leader.query("missing")).index == 1


# --- Blocking queries


async def test_a_change_anywhere_wakes_those_who_wait_on_any_server(cluster: Any) -> None:
    async with cluster(3, clients=1) as c:
        leader = await c.leader()
        await leader.put("key", b"old")
        index = (await leader.query("key")).index
        waiting = [
            asyncio.ensure_future(node.query("key", min_index=index, consistency=consistency))
            for node in c.nodes
            for consistency in ("default", "consistent")
        ]
        waiting += [
            asyncio.ensure_future(node.query("key", min_index=index, consistency="stale"))
            for node in c.servers
        ]
        done, _ = await asyncio.wait(waiting, timeout=0.2)
        assert not done
        await c.followers[0].put("unrelated", b"value")
        done, _ = await asyncio.wait(waiting, timeout=0.2)
        assert not done
        await c.followers[0].put("key", b"new")
        async with asyncio.timeout(5):
            for reply in await asyncio.gather(*waiting):
                assert reply.pairs[0].value == b"new"
                assert reply.index > index


async def test_a_query_that_waits_in_vain_is_answered_with_what_there_is(cluster: Any) -> None:
    async with cluster(1) as c:
        leader = await c.leader()
        await leader.put("key", b"value")
        index = (await leader.query("key")).index
        started = asyncio.get_running_loop().time()
        reply = await leader.query("key", min_index=index, wait_ns=200_000_000)
        waited = asyncio.get_running_loop().time() - started
        assert (reply.index, reply.pairs[0].value) == (index, b"value")
        assert waited >= 0.2


async def test_a_wait_ends_in_time_however_long_the_process_stood_still_as_it_began(cluster: Any) -> None:
    class Halting(SystemClock):
        """The process is kept from running for a moment after each look at the clock."""

        def monotonic_ns(self) -> int:
            now_ns = super().monotonic_ns()
            time.sleep(0.02)
            return now_ns

    async with cluster(1) as c:
        leader = await c.leader()
        await leader.put("key", b"value")
        index = (await leader.query("key")).index
        queries = leader.agent._router._queries
        queries._ports = replace(queries._ports, clock=Halting())
        async with asyncio.timeout(5):
            reply = await leader.query("key", min_index=index, wait_ns=100_000_000)
        assert (reply.index, reply.pairs[0].value) == (index, b"value")


async def test_no_change_falls_between_looking_and_waiting(cluster: Any) -> None:
    """Writes and blocking queries race; whoever follows the index misses no last state."""
    async with cluster(1) as c:
        leader = await c.leader()
        last = b"last"

        async def follow() -> None:
            index = 1
            while True:
                reply = await leader.query("key", min_index=index)
                if reply.pairs and reply.pairs[0].value == last:
                    return
                index = reply.index

        followers = [asyncio.ensure_future(follow()) for _ in range(20)]
        for number in range(200):
            await leader.put("key", b"%d" % number)
        await leader.put("key", last)
        async with asyncio.timeout(5):
            await asyncio.gather(*followers)


async def test_who_waits_at_a_leader_that_loses_it_is_served_by_the_next(
    cluster: Any, eventually: Any
) -> None:
    async with cluster(3, clients=1) as c:
        leader = await c.leader()
        client = c["c1"]
        await client.put("key", b"old")
        index = (await client.query("key")).index
        waiting = asyncio.ensure_future(client.query("key", min_index=index))
        asker = asyncio.ensure_future(c.followers[0].query("key", min_index=index, consistency="consistent"))
        await asyncio.sleep(0.1)
        await leader.stop()
        successor = await c.leader()
        await successor.put("key", b"new")
        async with asyncio.timeout(10):
            assert (await waiting).pairs[0].value == b"new"
            assert (await asker).pairs[0].value == b"new"


async def test_a_restored_snapshot_wakes_those_who_wait(cluster: Any, eventually: Any) -> None:
    settings = {
        "raft_snapshot_threshold": 20,
        "raft_snapshot_interval_ns": 50_000_000,
        "raft_trailing_logs": 5,
    }
    async with cluster(3, **settings) as c:
        leader = await c.leader()
        await leader.put("key", b"old")
        behind = c.followers[0]
        await eventually(lambda: behind.raft("applied_index") == leader.raft("applied_index"), "replicated")
        index = (await behind.query("key", consistency="stale")).index
        waiting = asyncio.ensure_future(behind.query("key", consistency="stale", min_index=index))
        await c.isolate(behind)
        leader = await c.leader()
        await leader.put("key", b"new")
        for number in range(60):
            await leader.put(f"key{number}", b"value")
        await eventually(lambda: int(leader.raft("last_snapshot_index")) > 30, "the log is gone")
        await c.switch.heal()
        async with asyncio.timeout(10):
            assert (await waiting).pairs[0].value == b"new"


async def test_a_query_that_was_given_up_leaves_no_watch_behind(cluster: Any) -> None:
    async with cluster(1) as c:
        leader = await c.leader()
        await leader.put("key", b"value")
        waiting = asyncio.ensure_future(leader.query("key", min_index=10**9))
        watches = leader.agent._driver.machine.watches
        await asyncio.sleep(0.01)
        assert len(watches) == 1
        waiting.cancel()
        await asyncio.wait([waiting])
        assert len(watches) == 0


async def test_a_transaction_is_done_by_the_leader_whoever_is_asked(cluster: Any) -> None:
    async with cluster(3, clients=1) as c:
        await c.leader()
        for number, node in enumerate(c.nodes):
            done = await node.agent.request(transaction(Operation("set", f"{number}", b"new")))
            assert [pair.key for pair in done.result.pairs] == [f"{number}"]
        done = await c["c1"].agent.request(transaction(Operation("get", "missing"), Operation("set", "0")))
        assert done == Done(Outcome(failures=(Failed(0, 'key "missing" doesn\'t exist'),)))
        assert await c["c1"].get("0") == b"new"


async def test_transactions_that_only_read_keep_to_the_consistency_that_they_are_asked_with(
    cluster: Any, eventually: Any
) -> None:
    async with cluster(3, rpc_hold_timeout_ns=500_000_000) as c:
        old = await c.leader()
        await old.put("key", b"old")
        get = (Operation("get", "key"),)
        await c.isolate(old)
        with pytest.raises(RequestFailed, match=r"^No cluster leader$"):
            await old.agent.request(TxnRead(get, Options(consistency="consistent")))
        await eventually(lambda: not old.leads, "its lease runs out")
        with pytest.raises(RequestFailed, match=r"^No cluster leader$"):
            await old.agent.request(TxnRead(get))
        stale = await old.agent.request(TxnRead(get, Options(consistency="stale")))
        assert [pair.value for pair in stale.outcome.pairs] == [b"old"]


def transaction(*operations: Operation) -> KVApply:
    return KVApply(encode_command(Transaction(operations)))
