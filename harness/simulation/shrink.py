"""Makes a failing scenario small: fewer departures, faults, operations, nodes and clients, and rounder times.

Rules
-----
1. A smaller scenario counts if it fails in the same way (`failure`): another bug found on the way is another
   bug.
2. Every pass is deterministic and so is their order: the same scenario shrinks to the same, every time. The
   budget is a number of runs, not of seconds.
3. What is listed and did not happen, because the run had ended before or took another way, is no part of the
   scenario: departures that were not met in a successful run are left out at once.
4. Passes are repeated until none of them makes anything smaller: first those that leave something out, then
   also those that make it easier to read.
5. Everything that an agent hears may make it draw, as a write puts off an election to another random time. So
   without an operation or a fault all that follows may be different, and the failure be missed by chance.
   Once nothing can be left out otherwise, what fails without it under some other `entropy` can be, too.

Lists are made smaller by delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing
Input", TSE 2002): ever smaller parts are left out. Chance does not reshuffle what is left
(`harness.worlds.sim.chance`), which is why this works at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import msgspec

from harness.simulation.scenario import Fault, Scenario, Simulated, simulate

RUNS_MAX = 1500
"""How many runs a shrink may take: some minutes."""


ENTROPIES = 8
"""How many others a smaller scenario is tried with (rule 5)."""


PARTS_MAX = 64
"""Into how many parts departures are divided at most: there may be thousands."""


class NotFailing(Exception):
    """There is nothing to shrink: the scenario does not fail."""


@dataclass
class Shrinking:
    """One scenario on its way to being small."""

    best: Scenario
    failure: str
    runs_max: int = RUNS_MAX
    on_progress: Callable[[Scenario, int], None] = lambda scenario, runs: None
    entropies: range = range(0)
    """What a smaller scenario is also tried with."""
    runs: int = 0
    seen: set[bytes] = field(default_factory=set)
    """What was tried already."""

    def try_(self, candidate: Scenario) -> bool:
        """Whether the candidate fails in the same way; if so, it is the best from now on."""
        key = blake2b(msgspec.json.encode(candidate)).digest()  # there may be thousands, of megabytes each
        if self.runs >= self.runs_max or key in self.seen:
            return False
        self.seen.add(key)
        self.runs += 1
        played = _play(candidate)
        if played is None or played.failure != self.failure:
            return False
        met = {(departed.place, departed.number) for departed in played.scenario.departures}
        self.best = msgspec.structs.replace(
            candidate, departures=[one for one in candidate.departures if (one.place, one.number) in met]
        )
        self.on_progress(self.best, self.runs)
        return True

    def change(self, **fields: Any) -> bool:
        """Try the best with other values; False if they are the same."""
        candidate = msgspec.structs.replace(self.best, **fields)
        return candidate != self.best and self.try_(candidate)

    def reduce(self, candidate: Scenario) -> bool:
        """Whether the candidate, which lacks something, fails in the same way, under whatever entropy."""
        return self.try_(candidate) or any(
            self.try_(msgspec.structs.replace(candidate, entropy=entropy)) for entropy in self.entropies
        )

    def leave_out(self, **fields: Any) -> bool:
        """The same for the best with other values, which must be smaller ones."""
        return self.reduce(msgspec.structs.replace(self.best, **fields))


def _play(scenario: Scenario) -> Simulated | None:
    """Run it; None if it makes no sense any more."""
    try:
        return simulate(scenario)
    except (ValueError, KeyError):
        return None


def shrink(
    scenario: Scenario,
    *,
    runs_max: int = RUNS_MAX,
    on_progress: Callable[[Scenario, int], None] = lambda scenario, runs: None,
) -> Scenario:
    """The smallest scenario found that fails as this one does. Raises NotFailing."""
    played = simulate(scenario)
    if played.failure is None:
        raise NotFailing("the scenario does not fail: there is nothing to shrink")
    state = Shrinking(
        msgspec.structs.replace(scenario, failure=played.failure), played.failure, runs_max, on_progress
    )
    _cut_the_end(state, played)
    _repeat(state, _REDUCTIONS)
    state.entropies = range(ENTROPIES)
    _repeat(state, _REDUCTIONS)
    state.entropies = range(0)
    _repeat(state, (*_SIMPLIFICATIONS, *_REDUCTIONS))
    return state.best


def _repeat(state: Shrinking, passes: Sequence[Callable[[Shrinking], None]]) -> None:
    before = None
    while state.best != before and state.runs < state.runs_max:
        before = state.best
        for one in passes:
            one(state)


# --- Passes -------------------------------------------------------------------------------------------------


def _cut_the_end(state: Shrinking, played: Simulated) -> None:
    """What came after the failure was seen has nothing to do with it."""
    last_ns = int(played.history.time[-1]) if len(played.history) else 0
    events = [
        event for verdict in played.results.verdicts for one in verdict.evidence for event in one.operations
    ]
    if state.failure.startswith("invalid") and events:
        last_ns = played.history.ops[max(events)].time
    end = last_ns / 1e9
    state.change(
        operations=[one for one in state.best.operations if one.at <= end],
        faults=[one for one in state.best.faults if one.at <= end],
        time_limit=min(state.best.time_limit, round(end + 0.1, 1)),
    )


def _drop_the_rest_of_the_run(state: Shrinking) -> None:
    state.change(final=False)
    state.change(left_out=[])


def _drop_departures(state: Shrinking) -> None:
    """All of one place, then ever smaller parts: of many, single ones must wait until there are fewer."""
    for place in dict.fromkeys(one.place for one in state.best.departures):
        kept = [one for one in state.best.departures if one.place != place]
        if len(kept) < len(state.best.departures):
            state.change(departures=kept)
    _fewer(state, "departures", state.change, size_min=len(state.best.departures) // PARTS_MAX)


def _drop_faults(state: Shrinking) -> None:
    _fewer(state, "faults", state.leave_out)


def _drop_operations(state: Shrinking) -> None:
    for key in dict.fromkeys(one.key for one in state.best.operations):
        kept = [one for one in state.best.operations if one.key == key]
        if len(kept) < len(state.best.operations):
            state.leave_out(operations=kept)
    _fewer(state, "operations", state.leave_out)


def _fewer(state: Shrinking, field: str, leave_out: Callable[..., bool], size_min: int = 0) -> None:
    """Leave out parts of a list, first all of it, then ever smaller ones, of more items than `size_min`."""
    if not getattr(state.best, field) or leave_out(**{field: []}):
        return
    size = (len(getattr(state.best, field)) + 1) // 2
    while size > size_min:
        position = 0
        while position < len(getattr(state.best, field)):
            items = getattr(state.best, field)
            if not leave_out(**{field: [*items[:position], *items[position + size :]]}):
                position += size
        size //= 2


def _soften_faults(state: Shrinking) -> None:
    """Fewer links, nodes and clocks in each fault."""
    for position, fault in enumerate(state.best.faults):
        if not isinstance(fault.value, dict):
            continue
        for name in ("cut", "nodes", "links"):
            if len(fault.value.get(name) or ()) > 1:
                _fewer_in_fault(state, position, name)


def _fewer_in_fault(state: Shrinking, position: int, name: str) -> None:
    at = 0
    while True:
        fault = state.best.faults[position]
        items = fault.value[name]
        if at >= len(items) or len(items) == 1:
            return
        value = {**fault.value, name: [*items[:at], *items[at + 1 :]]}
        faults = list(state.best.faults)
        faults[position] = Fault(fault.at, fault.f, value)
        if not state.change(faults=faults):
            at += 1


def _drop_nodes(state: Shrinking) -> None:
    """A cluster of three, or of fewer client agents, if that will do."""
    while state.best.nodes > 3:
        if not any(state.reduce(smaller) for smaller in _without_a_node(state.best)):
            return


def _without_a_node(scenario: Scenario) -> Iterator[Scenario]:
    """The scenario with each node taken out in turn (two servers at once, to keep their number odd)."""
    names = [f"n{number}" for number in range(1, scenario.nodes + 1)]
    if scenario.servers < scenario.nodes:
        gone = [{name} for name in reversed(names[scenario.servers :])]
    else:
        gone = [{one, other} for one in reversed(names) for other in names if one > other]
    for nodes in gone:
        kept = [name for name in names if name not in nodes]
        yield _renamed(scenario, kept, len([name for name in kept if name in names[: scenario.servers]]))


def _renamed(scenario: Scenario, kept: Sequence[str], servers: int) -> Scenario:
    """Only these nodes, as n1, n2, ...; what others did or suffered is left out."""
    new = {name: f"n{number}" for number, name in enumerate(kept, 1)}
    count = len(kept)
    threads: dict[int, int] = {}
    for one in scenario.operations:
        node = f"n{one.thread % scenario.nodes + 1}"
        if node in new and one.thread not in threads:
            threads[one.thread] = _next_thread(threads, kept.index(node), count)
    departures = []
    for departed in scenario.departures:
        where, what = departed.place.split(" ")
        ends = where.split(">")
        if all(end in new for end in ends):
            place = f"{'>'.join(new[end] for end in ends)} {what}"
            departures.append(msgspec.structs.replace(departed, place=place))
    return msgspec.structs.replace(
        scenario,
        nodes=count,
        servers=servers,
        concurrency=max(threads.values(), default=0) + 1,
        left_out=[new[name] for name in scenario.left_out if name in new],
        operations=[
            msgspec.structs.replace(one, thread=threads[one.thread])
            for one in scenario.operations
            if one.thread in threads
        ],
        faults=[
            Fault(fault.at, fault.f, _renamed_value(fault.value, new)) for fault in scenario.faults
        ],
        departures=departures,
    )  # fmt: skip


def _next_thread(threads: dict[int, int], place: int, nodes: int) -> int:
    """The lowest thread of the node in this place that is not among the new ones."""
    return place + nodes * sum(thread % nodes == place for thread in threads.values())


def _renamed_value(value: Any, new: dict[str, str]) -> Any:
    """A fault's value for the nodes that are left."""
    if not isinstance(value, dict):
        return value
    renamed = dict(value)
    for name in ("cut", "links"):
        if name in value:
            renamed[name] = [
                [new[end] for end in link] for link in value[name] if all(e in new for e in link)
            ]
    if "nodes" in value:
        renamed["nodes"] = [new[name] for name in value["nodes"] if name in new]
    if "leader" in value:
        renamed["leader"] = new.get(value["leader"])
    for name in ("clocks", "damaged"):
        if name in value:
            renamed[name] = {new[node]: item for node, item in value[name].items() if node in new}
    return renamed


def _drop_clients(state: Shrinking) -> None:
    """As few clients as the operations need, each with the same node."""
    scenario = state.best
    threads: dict[int, int] = {}
    for one in scenario.operations:
        if one.thread not in threads:
            threads[one.thread] = _next_thread(threads, one.thread % scenario.nodes, scenario.nodes)
    state.change(
        concurrency=max(threads.values(), default=0) + 1,
        operations=[
            msgspec.structs.replace(one, thread=threads[one.thread]) for one in scenario.operations
        ],
    )  # fmt: skip


def _merge_clients(state: Shrinking) -> None:
    """An operation of one client by another one of the same node, or of another."""
    for position in range(len(state.best.operations)):
        for thread in range(state.best.operations[position].thread):
            operations = list(state.best.operations)
            operations[position] = msgspec.structs.replace(operations[position], thread=thread)
            if state.change(operations=operations):
                break


def _begin_at_once(state: Shrinking) -> None:
    """What comes first comes right at the start."""
    first = min(map(_at, (*state.best.operations, *state.best.faults)), default=0.0)
    state.change(
        operations=[_moved(one, -first) for one in state.best.operations],
        faults=[_moved(one, -first) for one in state.best.faults],
    )


def _round_times(state: Shrinking) -> None:
    """Times that are easy to read, as few digits as will do."""
    for digits in (1, 2, 3):
        state.change(
            operations=[_rounded(one, digits) for one in state.best.operations],
            faults=[_rounded(one, digits) for one in state.best.faults],
        )
        for name in ("faults", "operations"):
            for position in range(len(getattr(state.best, name))):
                items: list[Any] = list(getattr(state.best, name))
                if items[position] == _rounded(items[position], digits - 1):
                    continue
                items[position] = _rounded(items[position], digits)
                state.change(**{name: sorted(items, key=_at)})


def _at(item: Any) -> float:
    at: float = item.at
    return at


def _moved(item: Any, seconds: float) -> Any:
    changed: Any = msgspec.structs.replace(item, at=_at(item) + seconds)
    return changed


def _rounded(item: Any, digits: int) -> Any:
    changed: Any = msgspec.structs.replace(item, at=round(_at(item), digits))
    return changed


def _shorten(state: Shrinking) -> None:
    """No more time than is needed."""
    last = max(map(_at, (*state.best.operations, *state.best.faults)), default=0.0)
    for time_limit in (round(last + 0.1, 1), round(last + 1.0), round(last + 2.0)):
        if time_limit < state.best.time_limit and state.change(time_limit=float(time_limit)):
            return


_REDUCTIONS: Sequence[Callable[[Shrinking], None]] = (
    _drop_faults,
    _drop_the_rest_of_the_run,
    _drop_nodes,
    _drop_operations,
    _drop_departures,
    _drop_clients,
)

_SIMPLIFICATIONS: Sequence[Callable[[Shrinking], None]] = (
    _soften_faults,
    _merge_clients,
    _drop_clients,
    _begin_at_once,
    _shorten,
    _round_times,
)
