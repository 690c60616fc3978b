"""Runs that are followed: ended at the first violation, and the cluster kept for whoever wants to look."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness import generator as gen
from harness.generator import Operation
from harness.history import NEMESIS, Op
from harness.inspection import keep
from harness.judge import judge
from harness.run import Problem
from harness.systems import KV
from harness.verdict import Violation
from harness.worlds import Cluster
from harness.worlds.memory import MemoryCluster

if TYPE_CHECKING:
    from tests.harness.conftest import Bench

READ = Operation("read")


@dataclass
class Suspicious:
    """Calls the first completion from a certain event on a violation."""

    at: int
    name: str = "suspicious"
    gave_up: str | None = None
    seen: list[Op] = field(default_factory=list)

    def event(self, op: Op) -> Violation | None:
        self.seen.append(op)
        if op.index < self.at or op.type == "invoke" or op.process == NEMESIS:
            return None
        return Violation(event=op.index, kind="suspicion", summary="Something is wrong.")


@pytest.fixture
def followed(bench: Bench) -> Bench:
    """Under a partition that would last for ever, and found broken after a while."""
    bench.damage("partition", generator=Operation("start-partition", "one"))
    bench.change(time_limit=60.0)
    bench.workload.final = lambda: gen.each_thread(READ)
    bench.followers = (Suspicious(at=100),)
    return bench


def test_the_first_violation_ends_the_run_and_is_never_green(followed: Bench) -> None:
    result, history = followed.drive()
    (problem,) = result.problems
    assert problem.kind == "violation"
    assert problem.message.startswith("event 10") and problem.message.endswith("Something is wrong.")
    assert followed.observer.phases == ["setup", "main", "close"]
    assert len(history) < 150 and followed.world.closed
    assert judge(history, (), [problem]).outcome == "invalid"


def test_a_follower_sees_every_event_until_then_and_none_after(followed: Bench) -> None:
    (follower,) = followed.followers
    assert isinstance(follower, Suspicious)
    result, history = followed.drive()
    stopped = int(result.problems[0].message.split()[1].rstrip(":"))
    assert [op.index for op in follower.seen] == list(range(stopped + 1))
    assert follower.seen[-1] == history.ops[stopped]


def test_clients_that_wait_for_an_answer_do_not_hold_up_the_end(followed: Bench) -> None:
    async def silent_node(kv: KV, operation: Operation) -> Any:
        if kv._node == "n3":  # type: ignore[attr-defined]
            await asyncio.Event().wait()

    followed.workload.perform = silent_node
    followed.change(operation_timeout=50.0)
    _, history = followed.drive()
    assert history.ops[-1].time < 10e9


def test_the_cluster_is_inspected_as_it_is_with_its_faults(followed: Bench) -> None:
    seen: list[Any] = []

    async def look(broken: str, cluster: Cluster) -> None:
        await asyncio.sleep(0.05)
        seen.append((broken, followed.world.closed, [bool(cut) for cut in followed.world.cuts]))

    followed.inspect = look
    result, _ = followed.drive()
    assert seen == [(result.problems[0].message, False, [True])]
    assert followed.observer.phases == ["setup", "main", "inspect", "close"]
    assert followed.world.closed


def test_ctrl_c_ends_the_inspection_and_no_more(followed: Bench) -> None:
    async def look(broken: str, cluster: Cluster) -> None:
        asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()

    followed.inspect = look
    result, _ = followed.drive()
    assert [problem.kind for problem in result.problems] == ["violation"]
    assert followed.world.closed


def test_an_inspection_that_fails_does_not_keep_the_cluster_from_being_taken_down(followed: Bench) -> None:
    async def stumble(broken: str, cluster: Cluster) -> None:
        raise ZeroDivisionError

    followed.inspect = stumble
    with pytest.raises(ZeroDivisionError):
        followed.drive()
    assert followed.world.closed


def test_a_violation_in_the_final_reads_is_inspected_too(bench: Bench) -> None:
    bench.workload.source = lambda: gen.each_thread(READ)
    bench.workload.final = lambda: gen.repeat(Operation("write", 1))
    bench.followers = (Suspicious(at=60),)
    inspected: list[str] = []

    async def look(broken: str, cluster: Cluster) -> None:
        inspected.append(broken)

    bench.inspect = look
    result, history = bench.drive()
    assert inspected == [problem.message for problem in result.problems]
    assert len(history) < 100
    assert bench.observer.phases[-3:] == ["final", "inspect", "close"]


def test_a_follower_that_fails_is_a_problem_of_the_run(bench: Bench) -> None:
    class Broken(Suspicious):
        def event(self, op: Op) -> Violation | None:
            raise ZeroDivisionError

    bench.followers = (Broken(at=0),)
    result, _ = bench.drive()
    assert any("ZeroDivisionError" in problem.message for problem in result.problems)
    assert isinstance(result.problems[0], Problem) and bench.world.closed


# --- What is said


BROKEN = "event 7: Stale read: 1 was over."


class House(MemoryCluster):
    """A cluster whose nodes have doors."""

    def enter(self, node: str) -> str:
        return f"open {node}"


def kept(cluster: Cluster, terminal: int, said: list[str]) -> Any:
    return keep(BROKEN, cluster, said.append, terminal)


def test_it_says_where_everything_is_and_ends_where_nobody_can_go_there(tmp_path: Path) -> None:
    said: list[str] = []
    asyncio.run(kept(MemoryCluster(("n1", "n2"), tmp_path), 0, said))
    assert said[0] == "Stopped at the first violation, event 7: Stale read: 1 was over."
    assert f"  n2  10.0.0.2  not running  {tmp_path / 'n2'}" in said
    assert "cannot be entered" in said[-1]


def test_without_a_terminal_nobody_is_waited_for(tmp_path: Path) -> None:
    said: list[str] = []
    reading, writing = os.pipe()
    asyncio.run(kept(House(("n1", "n2"), tmp_path), reading, said))
    os.close(reading)
    os.close(writing)
    assert "  a shell on n2: open n2" in said
    assert "no terminal" in said[-1]


def test_on_a_terminal_it_waits_for_enter(tmp_path: Path) -> None:
    said: list[str] = []
    master, terminal = pty.openpty()

    async def main() -> None:
        waiting = asyncio.create_task(kept(House(("n1", "n2"), tmp_path), terminal, said))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        os.write(master, b"\n")
        await asyncio.wait_for(waiting, 5)

    asyncio.run(main())
    os.close(master)
    os.close(terminal)
    assert "until you press Enter or Ctrl-C" in said[-1]
