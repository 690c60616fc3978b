"""One run: a test on a cluster, to a history.

Rules
-----
1. A client never guesses. A timeout or a lost connection is `info`; only `Refused` is `fail`.
2. After an `info` the client is closed, and its thread goes on with a new one as process + concurrency.
   Threads do not move: thread t talks to nodes[t mod n], always.
3. A client that cannot be opened gives `fail`: nothing was sent.
4. Everything that was damaged is healed before the final reads, however the main phase ended.
5. Trouble of the harness itself (a fault not injected, a bug in a client) is never silent and never green:
   it is a `Problem` of the result.

Theory of operation
-------------------
    setup      the world is opened, the system started and awaited
    main       clients and nemesis, for the test's time limit
    heal       the nemesis package's final generator: cuts healed, processes resumed and started again
    core       of some packages: a few nodes are taken out again, and the rest has to recover without them
    recovery   the clients go on where they were, until every node has answered again (or its bound is over)
    final      the workload's final generator
    close      clients are closed, the world is taken down; logs are in its folder

A world that looks inside, or a follower of what clients see, may find a promise broken: everything stops
then, as it is, for whoever wants to look at it (`inspect`), and nothing but the close follows.

Whatever ends the main phase early (Ctrl-C, a fault that was not injected, a bug in a generator), the heal
follows; only a second Ctrl-C skips it, and the world is taken down even then.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from harness import generator as gen
from harness.generator import Generator, GeneratorError, Operation, Source, Thread
from harness.history import Op
from harness.interpreter import Interpreter
from harness.recorder import Recorder, Unwritable
from harness.systems import tail_of_log
from harness.test import Environment, Follower, Script, Test
from harness.worlds import Cluster, InjectionError, SetupError, World, WorldError

ProblemKind = Literal[
    "violation", "setup", "injection", "crash", "harness", "no-success", "recovery", "interrupted"
]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something about the run itself that keeps it from being green (but for "interrupted")."""

    kind: ProblemKind
    """violation: the world or a follower saw a promise broken · setup: the system did not come up ·
    injection: a fault was not injected or not healed · crash: an agent ended on its own ·
    harness: a bug in a client, generator or nemesis · no-success: a function was tried and never succeeded ·
    recovery: it did not serve again after the heal ·
    interrupted: somebody pressed Ctrl-C (what was recorded is judged as it is)."""
    message: str


@dataclass(frozen=True, slots=True)
class Result:
    """What a run left besides its history."""

    counts: Mapping[str, Mapping[str, int]]
    """Of clients' operations, per function: how many were begun ("invoke") and ended "ok", "fail", "info"."""
    problems: tuple[Problem, ...]
    seconds: float
    """From the first operation to the last."""


class Observer(Protocol):
    """Who watches a run while it goes on. Called on the event loop: must be quick."""

    def phase(self, name: str) -> None:
        """setup, main, heal, recovery, final, inspect or close begins."""
        ...

    def event(self, event: Op) -> None: ...


class Frozen(Exception):
    """A promise was seen broken: there is nothing more to be done."""


SETUP_TIMEOUT = 60.0
"""Seconds within which the system must serve."""

FINAL_TIMEOUT = 30.0
"""Seconds that the final operations may take together."""


Inspect = Callable[[str, Cluster], Coroutine[Any, Any, None]]
"""Looks at a cluster that broke a promise just now, told in words; Ctrl-C cancels it."""


async def run(
    test: Test,
    world: World,
    directory: Path,
    observer: Observer,
    *,
    followers: Sequence[Follower] = (),
    inspect: Inspect | None = None,
) -> Result:
    """Run the test. `directory` exists; gets `history.jsonl` and `nodes/`.

    Trouble with the run is in `Result.problems`. Raises `harness.recorder.Unwritable` if the history cannot
    be written, and asyncio.CancelledError if cancelled (as by Ctrl-C during the set-up, or a second one
    later); the world is taken down then too.
    """
    return await _Run(test, world, directory, observer, followers, inspect).run()


def run_in(
    test: Test,
    world: World,
    directory: Path,
    observer: Observer,
    *,
    followers: Sequence[Follower] = (),
    inspect: Inspect | None = None,
) -> Sequence[Problem]:
    """`run` on the world's own event loop; returns the problems. That the world gave up is one, too."""
    running = run(test, world, directory, observer, followers=followers, inspect=inspect)
    try:
        return world.run(running).problems
    except WorldError as error:
        return (Problem("harness", f"{type(error).__name__}: {error}"),)


class _Run:
    """The state of one run."""

    def __init__(
        self,
        test: Test,
        world: World,
        directory: Path,
        observer: Observer,
        followers: Sequence[Follower],
        inspect: Inspect | None,
    ) -> None:
        self.test = test
        self.world = world
        self.directory = directory
        self.observer = observer
        self.followers = followers
        self.inspect = inspect
        self.inspection: asyncio.Task[None] | None = None
        self.problems: list[Problem] = []
        self.interrupted = False
        self.phase = ""
        self.healing = False
        self.reducing = False
        self.interpreter: Interpreter | None = None
        self.seen_bugs: set[str] = set()
        self.left_out: frozenset[str] = frozenset()
        """Nodes that the core has to do without."""
        self.starting: asyncio.Task[None] | None = None

    async def run(self) -> Result:
        recorder = Recorder(self.directory / "history.jsonl", on_event=self._event, on_error=self._unwritable)
        try:
            with self._interruptible():
                await self._on_cluster(recorder)
        finally:
            recorder.close()
        self._judge_success(recorder.counts)
        return Result(recorder.counts, tuple(self.problems), recorder.now() / 1e9)

    async def _on_cluster(self, recorder: Recorder) -> None:
        self._begin("setup")
        cluster: Cluster | None = None
        try:
            cluster = await self.world.open(self.test.nodes, self._nodes_directory(), self.test.seed)
            cluster.on_violation(self._violated)
            try:
                await self._start_system(cluster)
                await self._operate(cluster, recorder)
            except Frozen:
                pass  # it is among the problems
            await self._inspect(cluster)
        except (SetupError, InjectionError) as error:  # after the set-up, the interpreter has the latter
            self._problem("setup", str(error))
        finally:
            self._begin("close")
            if cluster is not None:
                self._judge_exits(cluster)
                await cluster.close()

    def _begin(self, phase: str) -> None:
        self.phase = phase
        self.observer.phase(phase)

    async def _inspect(self, cluster: Cluster) -> None:
        """Leave everything as it is while somebody looks at it, if a promise was broken."""
        broken = next((problem for problem in self.problems if problem.kind == "violation"), None)
        if broken is None or self.inspect is None:
            return
        self._begin("inspect")
        self.inspection = asyncio.create_task(self.inspect(broken.message, cluster))
        try:
            await asyncio.wait([self.inspection])
            if not self.inspection.cancelled():
                self.inspection.result()
        finally:
            self.inspection.cancel()
            self.inspection = None

    def _nodes_directory(self) -> Path:
        directory = self.directory / "nodes"
        try:
            directory.mkdir()
        except OSError as error:
            raise Unwritable(f"{directory}: {error.strerror}") from error
        return directory

    async def _start_system(self, cluster: Cluster) -> None:
        system, options = self.test.system, self.test.options

        async def start() -> None:
            await asyncio.gather(*(system.start(cluster, options, node) for node in cluster.nodes))
            await system.await_ready(cluster, options, SETUP_TIMEOUT)

        self.starting = asyncio.create_task(start())
        try:
            await self.starting
        except asyncio.CancelledError:
            if self._is_frozen():
                raise Frozen from None
            self.starting.cancel()
            raise

    async def _operate(self, cluster: Cluster, recorder: Recorder) -> None:
        """Everything from the first operation to the last."""
        test = self.test
        environment = Environment(cluster, test.system, test.options, test.random("nemesis"))
        interpreter = self.interpreter = Interpreter(
            concurrency=test.concurrency,
            seed=test.seed,
            operation_timeout=test.operation_timeout,
            recorder=recorder,
            node=test.node,
            open_client=lambda node: test.workload.open(test, cluster, node),
            nemesis=lambda operation: self._inject(environment, operation),
            on_bug=self._bug,
            on_injection_failure=self._not_injected,
        )
        clients: Generator | None = None
        recorder.begin()
        try:
            try:
                clients = await self._main(interpreter)
            finally:
                await self._heal(interpreter)
            if clients is not None and self.test.nemesis.core is not None and not self._given_up():
                clients = await self._recover_without(interpreter, recorder, clients)
            if clients is not None and not self._given_up():
                await self._recover(interpreter, recorder, clients)
            if not self._given_up() and (test.script is None or test.script.final):
                await self._finish(interpreter, recorder)
        finally:
            await interpreter.close()

    async def _inject(self, environment: Environment, operation: Operation) -> Any:
        value = await self.test.nemesis.nemesis.invoke(environment, operation)
        if self.reducing:
            self.left_out |= frozenset(value["nodes"])
        return value

    async def _main(self, interpreter: Interpreter) -> Generator | None:
        """Clients and nemesis together. Returns what is left of the clients' generator."""
        test = self.test
        self._begin("main")
        script = test.script
        if script is None:
            paced = gen.keyed("clients", gen.stagger(1 / test.rate, test.workload.generator(test)))
            script = Script(paced, test.nemesis.generator, final=True)
        clients, nemesis = gen.clients(script.operations), gen.nemesis(script.faults)
        left = await self._phase(
            interpreter,
            gen.any_of(clients, nemesis),
            deadline=gen.nanoseconds(test.time_limit),
            await_clients=test.script is None,
        )
        stopped = self.interrupted or self._given_up()
        if left is not None and test.script is not None and not stopped:
            # A fault that was begun in time was perhaps done later: a leader had to be awaited.
            await self._phase(interpreter, gen.nemesis(left))
        return None if left is None else gen.clients(left)

    async def _heal(self, interpreter: Interpreter) -> None:
        """Undo all damage. Nothing stops this but cancellation: not Ctrl-C, not a part of it that fails."""
        if self._is_frozen():
            return
        self._begin("heal")
        self.healing = True
        try:
            # Where clients still wait for answers, it may be the heal that brings them.
            undo = gen.nemesis(self.test.nemesis.final_generator)
            await self._phase(interpreter, undo, await_clients=False)
        finally:
            self.healing = False

    async def _recover_without(
        self, interpreter: Interpreter, recorder: Recorder, clients: Generator
    ) -> Generator | None:
        """Take some nodes out, have the others recover, and bring them back."""
        self._begin("core")
        self.reducing = True
        try:
            await self._phase(interpreter, gen.nemesis(self.test.nemesis.core), await_clients=False)
        finally:
            self.reducing = False
        left = None if self._given_up() else await self._recover(interpreter, recorder, clients)
        self.left_out = frozenset()
        await self._heal(interpreter)
        return left

    async def _recover(
        self, interpreter: Interpreter, recorder: Recorder, clients: Generator
    ) -> Generator | None:
        """Let the clients go on until every node that has any has answered one. Returns what is left."""
        test = self.test
        self._begin("recovery")
        healed = recorder.now()
        at_least = healed
        if not self.interrupted:
            at_least += gen.nanoseconds(test.workload.recovery_seconds(test))
        bound = test.system.recovery_bound(test.options)
        silent = {test.node(thread) for thread in range(test.concurrency)} - self.left_out

        def recovered(event: Op) -> bool:
            if event.type == "ok" and event.node is not None:
                silent.discard(event.node)
            return not silent and event.time >= at_least

        # The operation that shows the recovery may itself take as long as an operation may.
        deadline = max(at_least, healed + gen.nanoseconds(bound + test.operation_timeout))
        left = await self._phase(interpreter, clients, deadline=deadline, stop_when=recovered)
        if test.script is not None and silent and not self._given_up() and recorder.now() < deadline:
            # The script has ended, and what it leaves open is to be found out.
            probe = gen.each_thread(gen.until_ok(gen.repeat(test.workload.probe())))
            paced = gen.stagger(1 / test.rate, gen.on_threads(self._talks_to(silent), probe))
            await self._phase(interpreter, paced, deadline=deadline, stop_when=recovered)
        if left is not None and silent and not self.interrupted and recorder.now() >= deadline:
            seconds = (recorder.now() - healed) / 1e9
            without = f", without {', '.join(sorted(self.left_out))}" if self.left_out else ""
            self._problem(
                "recovery",
                f"no operation succeeded on {', '.join(sorted(silent))} in the {seconds:.1f} s after "
                f"the last heal{without}; {test.system.name} promises {bound:g} s",
            )
        return None if left is None else gen.clients(left)

    def _talks_to(self, nodes: Set[str]) -> Callable[[Thread], bool]:
        return lambda thread: isinstance(thread, int) and self.test.node(thread) in nodes

    async def _finish(self, interpreter: Interpreter, recorder: Recorder) -> None:
        """The final operations, at the test's rate: what retries must not flood a node that is down."""
        test = self.test
        self._begin("final")
        final = gen.clients(
            gen.keyed("final", gen.stagger(1 / test.rate, test.workload.final_generator(test)))
        )
        deadline = recorder.now() + gen.nanoseconds(FINAL_TIMEOUT)
        await self._phase(interpreter, final, deadline=deadline)

    async def _phase(
        self,
        interpreter: Interpreter,
        source: Source,
        *,
        deadline: int | None = None,
        stop_when: Callable[[Op], bool] | None = None,
        await_clients: bool = True,
    ) -> Generator | None:
        """Drive a source; a bug in it is a problem, and gives None."""
        try:
            return await interpreter.run(
                source,
                purpose=self.phase,
                deadline=deadline,
                stop_when=stop_when,
                await_clients=await_clients,
            )
        except (Unwritable, Frozen):
            raise
        except Exception as error:
            what = str(error) if isinstance(error, GeneratorError) else f"{type(error).__name__}: {error}"
            self._problem("harness", f"a generator, or a value that cannot be recorded: {what}")
            return None

    # --- What goes wrong -------------------------------------------------------------------------------

    def _problem(self, kind: ProblemKind, message: str) -> None:
        self.problems.append(Problem(kind, message))

    def _given_up(self) -> bool:
        """Whether what the cluster would still say is worth nothing: what was injected is not known."""
        return any(problem.kind in ("injection", "harness", "violation") for problem in self.problems)

    def _is_frozen(self) -> bool:
        return any(problem.kind == "violation" for problem in self.problems)

    def _event(self, event: Op) -> None:
        self.observer.event(event)
        for follower in self.followers:
            violation = follower.event(event)
            if violation is not None:
                self.followers = ()
                self._violated(f"event {violation.event}: {violation.summary}")
                return

    def _violated(self, what: str) -> None:
        self._problem("violation", what)
        if self.interpreter is not None:
            self.interpreter.fail(Frozen())
        elif self.starting is not None:
            self.starting.cancel()

    def _bug(self, message: str) -> None:
        if message not in self.seen_bugs:  # once each: a client may run into its bug a thousand times
            self.seen_bugs.add(message)
            self._problem("harness", message)

    def _not_injected(self, message: str) -> None:
        self._problem("injection", message)
        self._stop()

    def _stop(self) -> None:
        """Begin no more operations in this phase, unless it heals."""
        if self.interpreter is not None and not self.healing:
            self.interpreter.stop()

    def _unwritable(self, error: Unwritable) -> None:
        if self.interpreter is not None:
            self.interpreter.fail(error)

    def _judge_exits(self, cluster: Cluster) -> None:
        for exit_ in cluster.exits:
            if not exit_.expected:
                log = cluster.directory(exit_.node) / "log"
                said = tail_of_log(cluster, exit_.node, 1).strip()
                self._problem("crash", f"{exit_.node} ended on its own: {exit_.status} (log: {log}) {said}")

    def _judge_success(self, counts: Mapping[str, Mapping[str, int]]) -> None:
        if not counts and not any(problem.kind == "setup" for problem in self.problems):
            self._problem("no-success", "no operation was attempted")
        for f, count in counts.items():
            if not count["ok"]:
                self._problem("no-success", f"none of {count['invoke']} {f} operations succeeded")

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Let the first Ctrl-C end the operations in order, and the second one everything."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None

        def interrupt() -> None:
            if self.inspection is not None:
                self.inspection.cancel()
                return
            if self.interpreter is None or self.interrupted:
                task.cancel()
                return
            self.interrupted = True
            self._problem("interrupted", "stopped by Ctrl-C before its time was over")
            self._stop()

        try:
            loop.add_signal_handler(signal.SIGINT, interrupt)
        except (ValueError, RuntimeError, NotImplementedError):
            yield  # not the main thread, or a loop without signals: whoever made it deals with Ctrl-C
            return
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGINT)
