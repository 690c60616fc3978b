"""Generators: operations over time, as immutable values.

Rules
-----
1. A generator is a value. `op(context)` says what to do next and does nothing; it returns
   `(operation, next)`, `PENDING` (nothing now: ask again after the next event) or `None` (exhausted).
2. An operation may lie in the future (`operation.time > context.time`). Whoever asked then waits, forgets
   `next`, and asks again: an event may have come in between.
3. `update(context, event)` tells a generator of an invocation or completion; it returns the generator to go
   on with. Generators hear of events that they did not cause.
4. Time is integer nanoseconds since the run began. Durations given by people are seconds, as in asyncio.
5. Randomness comes out of `context.random` alone. `keyed(name, ...)` gives a generator a stream of its own,
   so that a change in one part of a test does not reshuffle the others.

Theory of operation
-------------------
A *thread* is a place in the run that does one operation at a time: the clients' threads are 0 up to
concurrency - 1, and one is called "nemesis". A *process* is the logical identity of a thread: after an
operation of unknown outcome, a client's thread goes on as process + concurrency, so thread = process mod
concurrency. The context knows which threads are free; sets of threads are bit masks (bit i for thread i, bit
`concurrency` for the nemesis), so that narrowing a context to some threads is one `&`.

Wherever a generator is expected, these literals are too (`lift` turns them into generators):

- `None`: exhausted.
- an `Operation`: once; time and a free process are filled in.
- an iterable: each of its elements, one after another.
- a function of no argument, or of the context: what it returns, which is any of these; when that is exhausted
  the function is called again, until it returns None.

The model is Jepsen's `jepsen.generator` (github.com/jepsen-io/generator), and so are the combinators' names
and meanings; where one differs, its docstring says so. `harness.generator.simulate` runs any generator in
virtual time. As in Jepsen, code reads best with `from harness import generator as gen`.
"""

from __future__ import annotations

from harness.generator.choice import (
    any_of,
    clients,
    each_process,
    each_thread,
    flip_flop,
    mix,
    nemesis,
    on_threads,
    reserve,
    shortest_any,
)
from harness.generator.combinators import (
    concat,
    concurrency_limit,
    cycle,
    f_map,
    filter_operations,
    keyed,
    limit,
    map_operations,
    on_update,
    once,
    phases,
    process_limit,
    repeat,
    synchronize,
    then,
    trace,
    until_ok,
    validate,
)
from harness.generator.core import (
    EXHAUSTED,
    PENDING,
    SECOND,
    Context,
    Generator,
    GeneratorError,
    Operation,
    Pending,
    Source,
    Step,
    Streams,
    Thread,
    fill,
    lift,
)
from harness.generator.timing import (
    cycle_times,
    delay,
    log,
    nanoseconds,
    sleep,
    stagger,
    time_limit,
)

__all__ = [
    "EXHAUSTED",
    "PENDING",
    "SECOND",
    "Context",
    "Generator",
    "GeneratorError",
    "Operation",
    "Pending",
    "Source",
    "Step",
    "Streams",
    "Thread",
    "any_of",
    "clients",
    "concat",
    "concurrency_limit",
    "cycle",
    "cycle_times",
    "delay",
    "each_process",
    "each_thread",
    "f_map",
    "fill",
    "filter_operations",
    "flip_flop",
    "keyed",
    "lift",
    "limit",
    "log",
    "map_operations",
    "mix",
    "nanoseconds",
    "nemesis",
    "on_threads",
    "on_update",
    "once",
    "phases",
    "process_limit",
    "repeat",
    "reserve",
    "shortest_any",
    "sleep",
    "stagger",
    "synchronize",
    "then",
    "time_limit",
    "trace",
    "until_ok",
    "validate",
]
