"""One run: how operations end, what follows what, and what is never green. All in memory."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from harness import generator as gen
from harness.generator import Context, Operation
from harness.history import NEMESIS, History, Op, Versioned
from harness.recorder import Unwritable
from harness.run import Problem, Result
from harness.systems import KV, Indeterminate, Options, Refused
from harness.systems.memory import Memory as MemorySystem
from harness.test import Environment, Package, Script
from harness.worlds import Cluster, InjectionError, SetupError

if TYPE_CHECKING:
    from tests.harness.conftest import Bench

READ = Operation("read")
WRITE = Operation("write", 1)


def kinds(result: Result) -> list[str]:
    return [problem.kind for problem in result.problems]


def clients(history: History) -> list[Op]:
    return [event for event in history.ops if event.process != NEMESIS]


# --- How an operation ends


def test_a_healthy_run_is_all_ok_and_without_problems(bench: Bench) -> None:
    result, history = bench.drive()
    assert result.problems == ()
    assert {event.type for event in history.ops} == {"invoke", "ok"}
    assert {event.node for event in history.ops} == set(bench.test.nodes)
    assert bench.observer.phases == ["setup", "main", "heal", "recovery", "final", "close"]
    assert bench.world.closed


def test_the_counts_are_those_of_the_history(bench: Bench) -> None:
    result, history = bench.drive()
    for f, count in result.counts.items():
        for kind, number in count.items():
            assert number == sum(event.f == f and event.type == kind for event in history.ops)


def test_a_version_that_a_client_knows_is_recorded(bench: Bench) -> None:
    async def tell_version(kv: KV, operation: Operation) -> Any:
        return Versioned(1, 17)

    bench.workload.perform = tell_version
    _, history = bench.drive()
    assert {(event.value, event.version) for event in history.ops if event.type == "ok"} == {(1, 17)}
    assert {event.version for event in history.ops if event.type == "invoke"} == {None}


def test_refused_is_fail_and_the_process_goes_on(bench: Bench) -> None:
    async def refuse_writes(kv: KV, operation: Operation) -> Any:
        if operation.f == "write":
            raise Refused("no space")

    bench.workload.perform = refuse_writes
    _, history = bench.drive()
    failed = [event for event in history.ops if event.type == "fail"]
    assert failed and {event.error for event in failed} == {"no space"}
    assert {event.process for event in history.ops} <= set(range(10))
    assert len(bench.workload.opened) == 10


def test_after_an_info_the_thread_is_another_process_with_a_new_client_of_the_same_node(bench: Bench) -> None:
    async def doubt_writes(kv: KV, operation: Operation) -> Any:
        if operation.f == "write":
            raise Indeterminate("connection reset")

    bench.workload.perform = doubt_writes
    _, history = bench.drive()
    crashed = [event for event in history.ops if event.type == "info"]
    assert crashed and {event.error for event in crashed} == {"connection reset"}
    for event in crashed:
        assert isinstance(event.process, int)
        assert all(later.process != event.process for later in history.ops[event.index + 1 :])
        successor = event.process + 10
        heirs = {later.node for later in history.ops[event.index + 1 :] if later.process == successor}
        assert heirs <= {event.node}
    for invocation in history.ops:
        assert isinstance(invocation.process, int)
        assert invocation.node == bench.test.node(invocation.process % 10)
    closed = [client for client in bench.workload.opened if client.closed]
    assert len(closed) == len(bench.workload.opened) == len({event.process for event in history.ops})


def test_no_answer_in_time_is_info(bench: Bench) -> None:
    async def hang(kv: KV, operation: Operation) -> Any:
        await asyncio.Event().wait()

    bench.workload.perform = hang
    bench.workload.source = lambda: gen.each_thread(READ)
    result, history = bench.drive()
    ends = [event for event in history.ops if event.type == "info"]
    assert {event.error for event in ends} == {"no answer within 0.2 s"}
    for invocation, completion in history.pairs():
        assert completion is not None and 0.2e9 <= completion.time - invocation.time < 0.6e9
    assert "no-success" in kinds(result)


@pytest.mark.parametrize(
    "error", [Refused("not up"), ConnectionRefusedError("not up"), Indeterminate("not up")]
)
def test_a_client_that_cannot_be_opened_is_fail_for_nothing_was_sent(bench: Bench, error: Exception) -> None:
    class Closed(MemorySystem):
        async def kv(self, cluster: Cluster, options: Options, node: str) -> KV:
            raise error

    bench.change(system=Closed())
    bench.workload.source = lambda: gen.each_thread(READ)
    result, history = bench.drive()
    assert {event.type for event in history.ops} == {"invoke", "fail"}
    assert {event.error for event in history.ops if event.type == "fail"} == {"no client: not up"}
    assert {event.process for event in history.ops} <= set(range(10))
    assert "no-success" in kinds(result)


def test_opening_a_client_has_a_time_limit_too(bench: Bench) -> None:
    class Slow(MemorySystem):
        async def kv(self, cluster: Cluster, options: Options, node: str) -> KV:
            await asyncio.Event().wait()
            raise AssertionError

    bench.change(system=Slow())
    bench.workload.source = lambda: gen.each_thread(READ)
    _, history = bench.drive()
    assert {event.type for event in history.ops} == {"invoke", "fail"}


def test_a_bug_in_a_client_is_info_and_never_green(bench: Bench) -> None:
    async def stumble(kv: KV, operation: Operation) -> Any:
        if operation.f == "write":
            raise KeyError("oops")

    bench.workload.perform = stumble
    result, history = bench.drive()
    assert any(event.type == "info" and "KeyError" in (event.error or "") for event in history.ops)
    assert any(p.kind == "harness" and "KeyError: 'oops'" in p.message for p in result.problems)


def test_a_value_that_cannot_be_recorded_is_a_problem_not_a_hang(bench: Bench) -> None:
    async def strange(kv: KV, operation: Operation) -> Any:
        return object()

    bench.workload.perform = strange
    result, _ = bench.drive()
    assert "harness" in kinds(result) and bench.world.closed


# --- What follows what


def test_history_is_dense_and_in_order_of_time(bench: Bench) -> None:
    bench.damage("partition,kill")
    _, history = (
        bench.drive()
    )  # reading it checks that indices are dense and processes do one thing at a time
    times = [event.time for event in history.ops]
    assert times == sorted(times)
    assert len(history.nemesis) >= 8 and all(done is not None for _, done in history.nemesis)


def test_the_final_operations_come_after_heal_and_recovery(bench: Bench) -> None:
    bench.damage("partition")
    bench.workload.source = lambda: gen.repeat(WRITE)
    bench.workload.final = lambda: gen.each_thread(READ)
    _, history = bench.drive()
    heal = history.nemesis[-1][1]
    assert heal is not None
    reads = [event.index for event in history.ops if event.f == "read"]
    recovered = {
        event.node
        for event in clients(history)[: reads[0]]
        if event.type == "ok" and event.index > heal.index
    }
    assert min(reads) > heal.index
    assert recovered == set(bench.test.nodes)


def test_recovery_goes_on_as_long_as_the_workload_wants(bench: Bench) -> None:
    bench.workload.recovery = 0.3
    _, history = bench.drive()
    assert 0.6e9 <= history.ops[-1].time < 1.2e9


def test_clients_go_on_where_they_were_during_recovery(bench: Bench) -> None:
    """Values stay unique: the generator is not begun anew."""
    bench.workload.source = lambda: (Operation("write", value) for value in range(10**9))
    bench.workload.recovery = 0.2
    _, history = bench.drive()
    written = [event.value for event in history.ops if event.type == "invoke"]
    assert written == list(range(len(written)))


def test_a_sleeping_nemesis_does_not_hold_up_the_end(bench: Bench) -> None:
    bench.change(nemesis=faulty(generator=gen.sleep(60.0)))
    _, history = bench.drive()
    assert history.ops[-1].time < 1e9


def test_the_end_of_the_main_phase_waits_for_what_is_under_way(bench: Bench) -> None:
    async def slowly(kv: KV, operation: Operation) -> Any:
        await asyncio.sleep(0.1)

    bench.workload.perform = slowly
    _, history = bench.drive()
    assert all(completion is not None for _, completion in history.pairs())


# --- What goes wrong


DAMAGE = Operation("damage")


class Faulty:
    """A nemesis that does what it is told to."""

    fs = frozenset({"damage", "undo"})

    def __init__(self, damage: Callable[[Environment], Any]) -> None:
        self.damage = damage

    async def invoke(self, environment: Environment, operation: Operation) -> Any:
        if operation.f == "damage":
            return self.damage(environment)
        await environment.cluster.cut(())
        return "undone"


def faulty(
    damage: Callable[[Environment], Any] = lambda environment: None,
    generator: gen.Source = DAMAGE,
) -> Package:
    return Package("faulty", frozenset(), Faulty(damage), generator, Operation("undo"), ())


def test_a_fault_that_was_not_injected_ends_the_run_heals_and_is_told(bench: Bench) -> None:
    def fail(environment: Environment) -> None:
        raise InjectionError("nft: permission denied")

    bench.change(nemesis=faulty(fail), time_limit=30.0)
    bench.workload.final = lambda: gen.each_thread(READ)
    result, history = bench.drive()
    assert result.problems == (Problem("injection", "damage: nft: permission denied"),)
    assert history.ops[-1].time < 5e9
    assert history.nemesis[-1][1].value == "undone"  # type: ignore[union-attr]
    assert "final" not in bench.observer.phases


def test_a_bug_in_a_nemesis_is_a_fault_not_injected(bench: Bench) -> None:
    def stumble(environment: Environment) -> None:
        raise KeyError("oops")

    bench.change(nemesis=faulty(stumble))
    result, _ = bench.drive()
    assert kinds(result) == ["injection"] and "KeyError" in result.problems[0].message


def test_a_heal_that_fails_does_not_keep_the_others_from_healing(bench: Bench) -> None:
    class Stuck(MemorySystem):
        async def start(self, cluster: Cluster, options: Options, node: str) -> None:
            if "started" in cluster.state and node == "n2":  # type: ignore[attr-defined]
                raise SetupError("port in use")
            await super().start(cluster, options, node)

        async def await_ready(self, cluster: Cluster, options: Options, timeout: float) -> None:
            cluster.state["started"] = True  # type: ignore[attr-defined]

    bench.change(system=Stuck())
    final = [Operation("stop-kill"), Operation("stop-partition")]
    faults = [Operation("start-partition", "leader"), Operation("start-kill", "all")]
    bench.damage("all", generator=faults, final_generator=final)
    result, _ = bench.drive()
    assert "injection" in kinds(result)
    assert bench.world.cuts[-1] == frozenset()


@pytest.mark.parametrize("when", ["at once", "later", "in update"])
def test_whatever_a_generator_raises_the_final_heal_runs(bench: Bench, when: str) -> None:
    def explode(context: Context) -> Operation:
        if when == "at once" or context.time > 0.15e9:
            raise ZeroDivisionError
        return READ

    def explode_on(source: gen.Generator, context: Context, event: Op) -> gen.Source:
        if context.time > 0.15e9:
            raise ZeroDivisionError
        return source

    if when == "in update":
        bench.workload.source = lambda: gen.on_update(explode_on, gen.repeat(READ))
    else:
        bench.workload.source = lambda: explode
    bench.damage("partition", generator=Operation("start-partition", "one"))
    result, _ = bench.drive()
    assert any("ZeroDivisionError" in p.message and p.kind == "harness" for p in result.problems)
    assert bench.world.cuts[-1] == frozenset()
    assert bench.world.closed


def test_no_operation_at_all_is_never_green(bench: Bench) -> None:
    bench.workload.source = lambda: None
    result, _ = bench.drive()
    assert result.problems == (Problem("no-success", "no operation was attempted"),)


def test_a_function_that_never_succeeded_is_never_green(bench: Bench) -> None:
    async def refuse_writes(kv: KV, operation: Operation) -> Any:
        if operation.f == "write":
            raise Refused("no")

    bench.workload.perform = refuse_writes
    result, _ = bench.drive()
    (problem,) = result.problems
    assert problem.kind == "no-success" and "write operations succeeded" in problem.message


def test_an_agent_that_ends_on_its_own_is_a_crash(bench: Bench) -> None:
    bench.damage("kill")
    bench.change(options=Options(nodes=bench.test.nodes, servers=5, extra={"fault": "crash"}))
    result, _ = bench.drive()
    assert "crash" in kinds(result)
    assert any("ended on its own: exit status 1 (log: " in problem.message for problem in result.problems)


def test_an_agent_that_is_killed_on_purpose_is_no_crash(bench: Bench) -> None:
    bench.damage("kill")
    result, _ = bench.drive()
    assert result.problems == ()


def test_a_system_that_does_not_come_up_is_a_setup_problem(bench: Bench) -> None:
    class Dead(MemorySystem):
        async def await_ready(self, cluster: Cluster, options: Options, timeout: float) -> None:
            raise SetupError("no leader within 60 s")

    bench.change(system=Dead())
    result, history = bench.drive()
    assert result.problems == (Problem("setup", "no leader within 60 s"),)
    assert len(history) == 0 and bench.world.closed


def test_a_node_that_stays_silent_after_the_heal_is_no_recovery(bench: Bench) -> None:
    async def silent_node(kv: KV, operation: Operation) -> Any:
        if kv._node == "n3":  # type: ignore[attr-defined]
            raise Refused("still recovering")

    class Quick(MemorySystem):
        def recovery_bound(self, options: Options) -> float:
            return 0.3

    bench.change(system=Quick())
    bench.workload.perform = silent_node
    result, _ = bench.drive()
    assert kinds(result) == ["recovery"]
    assert "succeeded on n3 in the" in result.problems[0].message


# --- How it is stopped


def test_ctrl_c_ends_the_operations_heals_and_does_the_final_reads(bench: Bench) -> None:
    bench.damage("partition", generator=Operation("start-partition", "one"))
    bench.change(time_limit=60.0)
    bench.workload.final = lambda: gen.each_thread(Operation("read"))
    bench.workload.source = lambda: gen.repeat(WRITE)

    def interrupt(event: Op) -> None:
        if event.index == 100:
            os.kill(os.getpid(), signal.SIGINT)

    bench.observer.on_event = interrupt
    result, history = bench.drive()
    assert kinds(result) == ["interrupted"]
    assert bench.world.cuts[-1] == frozenset()
    assert [event.f for event in clients(history)][-1] == "read"
    assert history.ops[-1].time < 10e9


@pytest.mark.parametrize("why", ["interrupted", "injection"])
def test_a_script_that_is_stopped_injects_nothing_more(bench: Bench, why: str) -> None:
    def stop(environment: Environment) -> None:
        if why == "injection":
            raise InjectionError("nft: permission denied")
        os.kill(os.getpid(), signal.SIGINT)

    faults = [Operation("damage", time=int(at * 1e9)) for at in (0.1, 0.5)]
    bench.change(nemesis=faulty(stop), time_limit=30.0, script=Script(gen.each_thread(READ), faults, True))
    result, history = bench.drive()
    assert kinds(result) == [why]
    assert [operation.f for operation, _ in history.nemesis] == ["damage", "undo"]


def test_a_second_ctrl_c_ends_everything_but_takes_the_world_down(bench: Bench) -> None:
    async def hang(kv: KV, operation: Operation) -> Any:
        await asyncio.Event().wait()

    bench.workload.perform = hang
    bench.change(time_limit=60.0, operation_timeout=60.0)

    def interrupt(event: Op) -> None:
        if event.index == 4:
            for seconds in (0.0, 0.2):
                asyncio.get_running_loop().call_later(seconds, os.kill, os.getpid(), signal.SIGINT)

    bench.observer.on_event = interrupt
    with pytest.raises(asyncio.CancelledError):
        bench.drive()
    assert bench.world.closed
    assert len(bench.history()) >= 5


def test_ctrl_c_during_the_set_up_ends_it(bench: Bench) -> None:
    class Slow(MemorySystem):
        async def await_ready(self, cluster: Cluster, options: Options, timeout: float) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()

    bench.change(system=Slow())
    with pytest.raises(asyncio.CancelledError):
        bench.drive()
    assert bench.world.closed


def test_final_operations_that_retry_do_not_flood_a_node_that_is_down(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse_reads(kv: KV, operation: Operation) -> Any:
        if operation.f == "read":
            raise Refused("down")

    monkeypatch.setattr("harness.run.FINAL_TIMEOUT", 0.5)
    bench.workload.perform = refuse_reads
    bench.workload.source = lambda: gen.repeat(WRITE)
    bench.workload.final = lambda: gen.each_thread(gen.until_ok(gen.repeat(READ)))
    bench.change(rate=100.0)
    _, history = bench.drive()
    reads = sum(event.f == "read" and event.type == "invoke" for event in history.ops)
    assert 10 < reads < 100


def test_cancellation_heals_and_takes_the_world_down(bench: Bench) -> None:
    bench.damage("partition", generator=Operation("start-partition", "one"))
    bench.change(time_limit=60.0)

    async def main() -> None:
        async with asyncio.timeout(0.3):
            await bench.start()

    with pytest.raises(TimeoutError):
        asyncio.run(main())
    assert len(bench.world.cuts) == 2 and bench.world.cuts[-1] == frozenset()
    assert bench.world.closed
    assert len(bench.history()) > 0


def test_a_history_that_cannot_be_written_stops_the_run_after_healing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    left = [5]

    def full(file: int, data: bytes) -> int:
        if b'"type"' not in bytes(data):
            return write(file, data)
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data)

    monkeypatch.setattr("harness.recorder.os.write", full)
    bench.damage("partition")
    bench.change(time_limit=60.0)
    with pytest.raises(Unwritable, match=r"history.jsonl: No space left on device"):
        asyncio.run(bench.start())
    assert bench.world.closed
