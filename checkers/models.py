"""Sequential models of objects: what an object's operations do, one after another.

A history is judged against a model by `checkers.linearizable`: by a near-linear algorithm of
`checkers.monitors` if the model and the history have one, else by search.

Rules
-----
1. States are hashable, and equal if and only if no later operation can tell them apart.
2. `step` is a pure function of (state, call). It gives the state after the call, or IMPOSSIBLE if the call
   cannot happen in that state, or not with that result.
3. An operation that failed has not happened, and is not asked about. One that crashed (`info`, or never
   completed) may happen at any time after its invocation, or never: its result is UNKNOWN, and `step` says
   what it does if it happens. A crashed operation in `read_only` is left out.
4. Functions in `read_only` never change the state.
5. Values are equal if their JSON is, but that 1 and 1.0 are one number: true is not 1.

A model of one's own
--------------------
A subclass of Model in a module that Python can import, named as `--model=module:Class`; what follows the
class after one more colon is its argument (`--model=bounds:BoundedQueue:16`):

    from checkers.models import IMPOSSIBLE, Call, Model

    class Ticket(Model):
        '''Hands out 1, 2, 3, ...'''
        functions = frozenset({"next"})
        initial = 0

        def step(self, state, call):
            # A crashed call has no result to disagree with.
            return state + 1 if call.gave(state + 1) else IMPOSSIBLE
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from checkers._values import hashable

IMPOSSIBLE: Final = object()
UNKNOWN: Final = object()


class UnknownModel(ValueError):
    """There is no such model, or it is not one. The message says what there is, or what is wrong with it."""


class ModelFailed(Exception):
    """A model broke the rules, or raised: the message says where. It is the model that wants a fix."""


@dataclass(frozen=True, slots=True)
class Call:
    """One operation, as a model sees it."""

    f: str
    argument: Any
    """The value that it was invoked with."""
    result: Any
    """The value that it completed with; UNKNOWN if it crashed."""
    process: int = -1
    """Who did it, if the model is `by_process`."""

    def gave(self, value: Any) -> bool:
        """Whether the result is this value, or unknown."""
        return self.result is UNKNOWN or hashable(self.result) == hashable(value)


class Model:
    """An object's sequential behaviour."""

    functions: ClassVar[frozenset[str]] = frozenset()
    read_only: ClassVar[frozenset[str]] = frozenset()
    by_process: ClassVar[bool] = False
    """Whether it matters who does what."""
    initial: Hashable = None

    def step(self, state: Any, call: Call) -> Any:
        """The state after the call, or IMPOSSIBLE."""
        raise NotImplementedError


# --- Registers -----------------------------------------------------------------------------------------


class Register(Model):
    """One value, at first null.

    read -> the value; write VALUE. A crashed write may be applied late or never.
    """

    functions = frozenset({"read", "write"})
    read_only = frozenset({"read"})

    def step(self, state: Any, call: Call) -> Any:
        if call.f == "write":
            return hashable(call.argument)
        return state if hashable(call.result) == state else IMPOSSIBLE


class CasRegister(Register):
    """A register with compare-and-set.

    cas [OLD, NEW] replaces OLD by NEW, and fails where the value is another.
    """

    functions = frozenset({"read", "write", "cas"})

    def step(self, state: Any, call: Call) -> Any:
        if call.f != "cas":
            return super().step(state, call)
        old, new = _pair(call, "[old, new]")
        return hashable(new) if hashable(old) == state else IMPOSSIBLE


class MultiRegister(Model):
    """Several registers that are read and written together, as Knossos has them.

    txn [["read", KEY, VALUE], ["write", KEY, VALUE], ...]: all in one moment, one after another; "r" and "w"
    will do. What was read is in the completion's value; a null there agrees with anything. Keys are at first
    null. Of a crashed txn the writes count, and its reads say nothing.
    """

    functions = frozenset({"txn"})
    initial = ()

    def step(self, state: Any, call: Call) -> Any:
        values = dict(state)
        for operation in call.argument if call.result is UNKNOWN else call.result:
            if not isinstance(operation, list | tuple) or len(operation) != 3:
                raise ModelFailed(f"a txn is a list of [function, key, value], not {call.argument!r}"[:200])
            f, key, value = operation
            if f in ("write", "w"):
                values[hashable(key)] = hashable(value)
            elif f not in ("read", "r"):
                raise ModelFailed(f"a multi-register has read and write, not {f!r}")
            elif (
                call.result is not UNKNOWN
                and value is not None
                and values.get(hashable(key)) != hashable(value)
            ):
                return IMPOSSIBLE
        return tuple(sorted(values.items(), key=repr))


class Kv(Model):
    """Strings under keys, as in the key-value service of MIT's 6.824 labs and Porcupine's tests.

    get -> the string, at first empty; put STRING; append STRING. Each key is an object of its own.
    """

    functions = frozenset({"get", "put", "append"})
    read_only = frozenset({"get"})
    initial = ""

    def step(self, state: Any, call: Call) -> Any:
        if call.f == "get":
            return state if call.result == state else IMPOSSIBLE
        if not isinstance(call.argument, str):
            raise ModelFailed(f"{call.f} takes a string, not {call.argument!r}"[:200])
        return call.argument if call.f == "put" else state + call.argument


# --- Locks ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Semaphore(Model):
    """So many permits, whoever has them.

    acquire takes one, release gives one back; none may be given back that was not taken. A crashed acquire or
    release may happen later, or never. `--model=semaphore:3` has three permits.
    """

    permits: int = 1

    functions = frozenset({"acquire", "release"})
    initial = 0

    def step(self, state: Any, call: Call) -> Any:
        held = state + (1 if call.f == "acquire" else -1)
        return held if 0 <= held <= self.permits else IMPOSSIBLE


class Mutex(Semaphore):
    """A lock, whoever holds it: acquire and release take turns. Knossos's mutex."""


@dataclass(frozen=True)
class Lock(Model):
    """A lock that knows its holder: the process that acquired it alone may release it.

    acquire -> with `fenced`, a fencing token, a number greater than that of every earlier holder (null: the
    client did not look); release. With `reentrant`, the holder may acquire it again, gets the same token, and
    must release it as often. A lock whose holder crashed stays held: a process does nothing after a crash.
    (Where leases expire, that is not so: there, `checkers.locks` says what is safe.)
    """

    reentrant: bool = False
    fenced: bool = False

    functions = frozenset({"acquire", "release"})
    by_process = True
    initial = (-1, 0, None, None)  # holder, depth, the newest token of earlier holders, the holder's

    def step(self, state: Any, call: Call) -> Any:
        holder, depth, newest, token = state
        if call.f == "release":
            if holder != call.process:
                return IMPOSSIBLE
            return (
                (holder, depth - 1, newest, token)
                if depth > 1
                else (-1, 0, newest if token is None else token, None)
            )
        fence = call.result if self.fenced and call.result is not UNKNOWN else None
        if fence is not None and type(fence) not in (int, float):
            raise ModelFailed(f"a fencing token is a number, not {fence!r}"[:200])
        again = holder == call.process
        if (holder >= 0 and not again) or (again and not self.reentrant):
            return IMPOSSIBLE
        if fence is None:
            return call.process, depth + 1, newest, token
        if token not in (None, fence) or (token is None and newest is not None and fence <= newest):
            return IMPOSSIBLE
        return call.process, depth + 1, newest, fence


# --- Counters and sets ---------------------------------------------------------------------------------


class Counter(Model):
    """A number, at first 0.

    add N (may be negative); read -> the number. A crashed add may be applied late or never.
    """

    functions = frozenset({"add", "read"})
    read_only = frozenset({"read"})
    initial = 0

    def step(self, state: Any, call: Call) -> Any:
        if call.f == "read":
            return state if call.result == state else IMPOSSIBLE
        if type(call.argument) not in (int, float):
            raise ModelFailed(f"add takes a number, not {call.argument!r}"[:200])
        return state + call.argument


class Set(Model):
    """A set, at first empty.

    add X and remove X -> true or false: whether that changed anything; with any other result it may or may
    not have. contains X -> true or false. read -> all elements. A crashed add or remove may happen late or
    never.
    """

    functions = frozenset({"add", "remove", "contains", "read"})
    read_only = frozenset({"contains", "read"})
    initial = frozenset[Hashable]()

    def step(self, state: Any, call: Call) -> Any:
        if call.f == "read":
            elements = [hashable(element) for element in call.result or ()]
            return state if len(elements) == len(state) and state == set(elements) else IMPOSSIBLE
        element = hashable(call.argument)
        present = element in state
        if call.f == "contains":
            return state if call.result is present else IMPOSSIBLE
        changes = present == (call.f == "remove")
        if type(call.result) is bool and call.result != changes:
            return IMPOSSIBLE
        return state ^ {element} if changes else state


# --- Containers ----------------------------------------------------------------------------------------


class Queue(Model):
    """First in, first out. Knossos's fifo-queue.

    enqueue X; dequeue -> the oldest, or null of an empty queue (a dequeue that *failed* says nothing);
    peek -> the same, without taking it. A crashed enqueue may happen late or never; a crashed dequeue may
    have taken whatever was the oldest at some later moment, or nothing.
    """

    functions = frozenset({"enqueue", "dequeue", "peek"})
    read_only = frozenset({"peek"})
    initial: Hashable = ()
    puts: ClassVar[str] = "enqueue"
    takes: ClassVar[str] = "dequeue"

    def step(self, state: Any, call: Call) -> Any:
        if call.f == self.puts:
            if call.argument is None:
                raise ModelFailed(f"{call.f} null: null is what an empty container gives")
            return self.put(state, hashable(call.argument))
        if call.result is not UNKNOWN and hashable(call.result) != self.next(state):
            return IMPOSSIBLE
        return self.rest(state) if call.f == self.takes else state

    def put(self, state: Any, element: Hashable) -> Any:
        """The container with one more."""
        return (*state, element)

    def next(self, state: Any) -> Any:
        """What is taken next; null if it is empty."""
        return state[0] if state else None

    def rest(self, state: Any) -> Any:
        """The container without that."""
        return state[1:]


class Stack(Queue):
    """Last in, first out.

    push X; pop -> the newest, or null of an empty stack; peek -> the same, without taking it. Crashes as in a
    queue.
    """

    functions = frozenset({"push", "pop", "peek"})
    puts = "push"
    takes = "pop"

    def next(self, state: Any) -> Any:
        return state[-1] if state else None

    def rest(self, state: Any) -> Any:
        return state[:-1]


class PriorityQueue(Queue):
    """The least first.

    insert X, a number or a string; delete-min -> the least, or null of an empty queue; peek -> the same,
    without taking it. Crashes as in a queue.
    """

    functions = frozenset({"insert", "delete-min", "peek"})
    puts = "insert"
    takes = "delete-min"

    def put(self, state: Any, element: Hashable) -> Any:
        try:
            return tuple(sorted((*state, element)))
        except TypeError:
            raise ModelFailed(f"{element!r} has no order among {state!r}"[:200]) from None


class UnorderedQueue(Queue):
    """Any element next: Knossos's unordered-queue.

    enqueue X; dequeue -> an element, or null of an empty queue. Crashes as in a queue; a crashed dequeue may
    have taken any element, so a state is the set of all that the queue may hold.
    """

    functions = frozenset({"enqueue", "dequeue"})
    read_only = frozenset()
    initial = frozenset({()})

    def step(self, state: Any, call: Call) -> Any:
        if call.f == self.puts:
            return frozenset(super(UnorderedQueue, self).step(held, call) for held in state)
        if call.result is UNKNOWN:
            after = {_less(held, element) for held in state for element in held or (None,)}
        else:
            taken = hashable(call.result)
            after = {_less(held, taken) for held in state if taken in (held or (None,))}
        return frozenset(after) if after else IMPOSSIBLE

    def put(self, state: Any, element: Hashable) -> Any:
        return tuple(sorted((*state, element), key=repr))


def _less(held: tuple[Hashable, ...], element: Hashable) -> tuple[Hashable, ...]:
    at = held.index(element) if held else 0
    return held[:at] + held[at + 1 :]


class Log(Model):
    """A log that only grows: its records have offsets 0, 1, 2, ...

    append X -> its offset (null: the client did not look); read OFFSET -> the record there, or null if there
    is none yet; tail -> how many records there are. A crashed append may happen late or never.
    """

    functions = frozenset({"append", "read", "tail"})
    read_only = frozenset({"read", "tail"})
    initial = ()

    def step(self, state: Any, call: Call) -> Any:
        if call.f == "append":
            return (
                (*state, hashable(call.argument))
                if call.result in (None, UNKNOWN, len(state))
                else IMPOSSIBLE
            )
        if call.f == "tail":
            return state if call.result == len(state) else IMPOSSIBLE
        if type(call.argument) is not int or call.argument < 0:
            raise ModelFailed(f"an offset is a number from 0 up, not {call.argument!r}"[:200])
        there = state[call.argument] if call.argument < len(state) else None
        return state if hashable(call.result) == there else IMPOSSIBLE


# --- By name -------------------------------------------------------------------------------------------

MODELS: Mapping[str, Callable[..., Model]] = {
    "register": Register,
    "cas-register": CasRegister,
    "multi-register": MultiRegister,
    "kv": Kv,
    "mutex": Mutex,
    "owner-mutex": Lock,
    "fenced-mutex": lambda: Lock(fenced=True),
    "reentrant-mutex": lambda: Lock(reentrant=True),
    "reentrant-fenced-mutex": lambda: Lock(reentrant=True, fenced=True),
    "counter": Counter,
    "set": Set,
    "queue": Queue,
    "unordered-queue": UnorderedQueue,
    "stack": Stack,
    "priority-queue": PriorityQueue,
    "log": Log,
}
"""By name, as on the command line; and `semaphore:N`, of N permits."""


def model_named(name: str) -> Model:
    """The model of that name, or of a class given as `module:Class`. Raises UnknownModel."""
    known, colon, argument = name.partition(":")
    if name in MODELS:
        return MODELS[name]()
    if known == "semaphore":
        if not argument.isdecimal() or int(argument) < 1:
            raise UnknownModel(f"model {name!r}: it takes the number of its permits, like semaphore:3")
        return Semaphore(int(argument))
    if known in MODELS:
        raise UnknownModel(f"model {name!r}: {known} takes no argument")
    if not colon:
        names = ", ".join([*MODELS, "semaphore:N"])
        raise UnknownModel(f"no model {name!r}; there are {names}, or your own as module:Class")
    return _own(name)


def _own(name: str) -> Model:
    """A model of somebody's own. Raises UnknownModel."""
    module, class_name, *arguments = name.split(":")
    try:
        class_ = getattr(importlib.import_module(module), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UnknownModel(f"model {name!r}: {error}") from error
    if not isinstance(class_, type) or not issubclass(class_, Model):
        raise UnknownModel(f"model {name!r}: {class_name} is not a subclass of checkers.models.Model")
    try:
        model = class_(*arguments)
    except Exception as error:
        raise UnknownModel(f"model {name!r}: it cannot be made: {type(error).__name__}: {error}") from error
    wrong = None
    if not isinstance(model.functions, frozenset) or not model.functions:
        wrong = "`functions` is a frozenset of the functions' names, not empty"
    elif not isinstance(model.read_only, frozenset) or not model.read_only <= model.functions:
        wrong = "`read_only` is a frozenset of those `functions` that never change the state"
    elif class_.step is Model.step:
        wrong = "it has no `step(self, state, call)`"
    else:
        try:
            hash(model.initial)
        except TypeError as error:
            wrong = f"the state `initial` cannot be hashed: {error}"
    if wrong is not None:
        raise UnknownModel(f"model {name!r}: {wrong}")
    return model


def _pair(call: Call, form: str) -> Any:
    if not isinstance(call.argument, list | tuple) or len(call.argument) != 2:
        raise ModelFailed(f"{call.f} takes {form}, not {call.argument!r}"[:200])
    return call.argument
