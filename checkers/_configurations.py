"""The kernel of the search for a linearization: configurations, and the moves between them.

Theory
------
Completions are passed in their order. Before the next one not yet passed (the *frontier*), its operation must
be linearized, after some of the other operations that are open there; nothing that begins later can come
before. So a configuration is (frontier, state, which of the open operations are linearized, how many of the
crashed ones are): its size depends on how many are open at once, not on how long the history is. One that was
met before is not entered again.

Reductions, all exact:
- A read-only operation that is legal now is linearized now: what follows is the same without it.
- Of equal operations (same function, argument and result) that are open, the first to complete goes first;
  the crashed ones, which never complete, go last, by their starts. So of a class of crashed operations, all
  that matters is how many are linearized.
- Crashed operations need not happen: a configuration that is like an earlier one, but has spent more of
  them, is not entered either.
- Of a register, a crashed write or cas is linearized only to make an open operation legal, directly or
  through another crashed one: elsewhere it could come later, or never.
- A value of a register that is written only once is not replaced before all who observe it have begun, nor by
  another than the cas that must replace it.
- A write to a register that is open, and that no operation can observe any more, happens just before the
  next write (not a cas, which sees what was before): it is seen by nobody, and owes nothing any more.

Layout
------
`ops` has a row for each operation that completes, `crashed` one for each class of crashed ones. Times are
frontiers. A configuration is a row of 64-bit words: frontier and state; a bit for each slot (an operation has
one until it completes); and numbers of crashed operations, each in a field with a spare bit on top, so that
two rows are compared a word at a time. `links` has its parent, the move that led to it, and the next older
configuration of the same frontier, state and bits, whose latest is found through the hash table `index`.
Moves not yet made are on a stack.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

READ, WRITE, CAS, FAILED_CAS, TABLE, TABLE_READ_ONLY = range(6)

KIND, OBSERVED, WRITTEN, CLASS, SLOT, RANK, BEGIN, LAST_USE, OP_FIELDS = range(9)
"""Columns of `ops`. RANK: its place among the completions; BEGIN: the first frontier at which it is open;
LAST_USE: of a write to a register, the last frontier at which anybody may observe that it happened."""

FIRST, SIZE, WORD, SHIFT, BITS, CRASHED_FIELDS = range(4, 10)
"""Columns of `crashed` after KIND to CLASS: its operations begin at begins_crashed[FIRST:FIRST+SIZE]; its
number is so many bits of the word (of those that hold numbers), so many bits up."""

LAST_BEGIN, SUCCESSOR, VALUE_FIELDS = range(3)
"""Columns of `values`. Of a value written once: the first frontier at which all who observe it have begun,
and the cas that must replace it (-1: none). Of others: -1, -1."""

PARENT, VIA, OLDER, PLACE, LINK_FIELDS = range(5)
"""Columns of `links`; PLACE: in the index."""

ENTER = -1
"""The move that linearizes nothing. Others: the position of an operation, or -2 - the class of a crashed
one."""

RUNNING, LINEARIZABLE, EXHAUSTED, FULL, MISSING = range(5)
"""What `run` returns: its budget is spent; a linearization is found; no move is left; an array is full; a
step is not in the table."""

(
    COUNT, STACKED, PARKED, SEEDS, ENTERED, FURTHEST, REACHED, LIMIT, FRONTIER, OPEN, STAMP, MISSING_STATE,
    MISSING_CLASS, REGISTERS,
) = range(14)  # fmt: skip
"""Positions in `registers`, so that the search can stop and go on. COUNT: rows in use, of which SEEDS are
there only to begin from; ENTERED: configurations met in stretches that are over. FURTHEST: the row whose
frontier is the furthest, of all in use, and REACHED: the furthest of all. LIMIT: the frontier beyond which
configurations are parked. FRONTIER: the one for which `window` has the OPEN operations, the first to complete
first."""

_ILLEGAL, _UNKNOWN = -1, -2
_EMPTY = -1

Ints = NDArray[np.int64]
Shorts = NDArray[np.int32]
Words = NDArray[np.uint64]


@njit(cache=True, nogil=True)
def run(
    ops: Shorts,
    returns: Shorts,
    begins: Shorts,
    begun: Shorts,
    crashed: Shorts,
    begins_crashed: Shorts,
    makers: Shorts,
    makers_from: Shorts,
    values: Shorts,
    guards: Words,
    configurations: Words,
    links: Shorts,
    index: Shorts,
    stack: Shorts,
    parked: Shorts,
    window: Shorts,
    stamps: Ints,
    demanded: Shorts,
    steps: Ints,
    registers: Ints,
    stretch: int,
    budget: int,
) -> int:
    """Make at most `budget` moves: depth first; or, with a `stretch`, through so many frontiers after the
    other, each time from all configurations that the last stretch ended in."""
    room = len(window) + len(crashed)
    for _ in range(budget):
        if registers[STACKED] == 0:
            if registers[PARKED] == 0:
                return EXHAUSTED
            _begin_stretch(configurations, links, index, stack, parked, guards, registers, stretch)
        row = registers[COUNT]
        if row == len(configurations) or registers[STACKED] + room > len(stack) or 2 * row >= len(index):
            return FULL
        parent, via = stack[registers[STACKED] - 1, 0], stack[registers[STACKED] - 1, 1]
        legal = _linearize(
            parent, via, row, ops, returns, begins, begun, crashed, configurations,
            configurations.shape[1] - len(guards), window, steps, registers,
        )  # fmt: skip
        if legal == _UNKNOWN:
            return MISSING
        registers[STACKED] -= 1
        if legal == _ILLEGAL or not _remember(row, configurations, links, index, guards):
            continue
        links[row, PARENT], links[row, VIA] = parent, via
        registers[COUNT] += 1
        frontier = _frontier(configurations, row)
        if frontier > _frontier(configurations, registers[FURTHEST]):
            registers[FURTHEST] = row
            registers[REACHED] = max(registers[REACHED], frontier)
        if frontier == len(returns):
            return LINEARIZABLE
        if stretch and frontier > registers[LIMIT]:
            parked[registers[PARKED]] = row
            registers[PARKED] += 1
        else:
            _push_moves(
                row, ops, returns, crashed, begins_crashed, makers, makers_from, values, guards,
                configurations, stack, window, stamps, demanded, registers,
            )  # fmt: skip
    return RUNNING


@njit(cache=True, nogil=True)
def _begin_stretch(
    configurations: Words,
    links: Shorts,
    index: Shorts,
    stack: Shorts,
    parked: Shorts,
    guards: Words,
    registers: Ints,
    stretch: int,
) -> None:
    """Go on from what is parked, and forget the rest. Those that have spent the fewest crashed operations go
    first: they make others needless."""
    count = registers[PARKED]
    width = configurations.shape[1] - len(guards)
    spent = np.zeros(count)  # of two that can be compared, the greater one has spent more
    frontier = 1 << 40
    for i in range(count):
        frontier = min(frontier, _frontier(configurations, parked[i]))
        for word in range(width, configurations.shape[1]):
            spent[i] += configurations[parked[i], word]
    seeds = configurations[parked[:count]][np.argsort(-spent, kind="mergesort")]
    for row in range(registers[SEEDS], registers[COUNT]):
        index[links[row, PLACE]] = _EMPTY
    registers[ENTERED] += registers[COUNT] - registers[SEEDS]
    configurations[:count] = seeds
    for row in range(count):
        stack[row, 0], stack[row, 1] = row, ENTER
    registers[PARKED] = registers[FURTHEST] = 0
    registers[COUNT] = registers[SEEDS] = registers[STACKED] = count
    registers[LIMIT] = frontier + stretch - 1


@njit(cache=True, nogil=True)
def _frontier(configurations: Words, row: int) -> int:
    return int(np.int64(configurations[row, 0] >> np.uint64(32)))


@njit(cache=True, nogil=True)
def _state(configurations: Words, row: int) -> int:
    return int(np.int64(configurations[row, 0] & np.uint64(0xFFFFFFFF)))


@njit(cache=True, nogil=True)
def _done(configurations: Words, row: int, slot: int) -> bool:
    """Whether the open operation in the slot is linearized."""
    bits = configurations[row, 1 + (slot >> 6)] >> np.uint64(slot & 63)
    return bool(bits & np.uint64(1))


@njit(cache=True, nogil=True)
def _flip(configurations: Words, row: int, slot: int) -> None:
    configurations[row, 1 + (slot >> 6)] ^= np.uint64(1) << np.uint64(slot & 63)


# --- A move --------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def _linearize(
    parent: int,
    via: int,
    row: int,
    ops: Shorts,
    returns: Shorts,
    begins: Shorts,
    begun: Shorts,
    crashed: Shorts,
    configurations: Words,
    first_word: int,
    window: Shorts,
    steps: Ints,
    registers: Ints,
) -> int:
    """Write the configuration after the move into the row. 0, _ILLEGAL, or _UNKNOWN (nothing is changed)."""
    frontier, state = _frontier(configurations, parent), _state(configurations, parent)
    for word in range(configurations.shape[1]):
        configurations[row, word] = configurations[parent, word]
    _move_window(frontier, ops, returns, begins, begun, window, registers)
    if via != ENTER:
        move = ops[via] if via >= 0 else crashed[-2 - via]
        if move[KIND] == TABLE:
            after = _after(state, move[OBSERVED], steps, registers)
            if after < 0:
                return after
            state = after
        else:
            state = int(np.int64(move[WRITTEN]))
        if via >= 0:
            _flip(configurations, row, ops[via, SLOT])
        else:
            configurations[row, first_word + move[WORD]] += np.uint64(1) << np.uint64(move[SHIFT])
        if move[KIND] == WRITE:
            for i in range(registers[OPEN]):
                op = window[i]
                useless = ops[op, KIND] == WRITE and ops[op, LAST_USE] < frontier
                if useless and not _done(configurations, row, ops[op, SLOT]):
                    _flip(configurations, row, ops[op, SLOT])
    fresh = True
    while fresh:
        # Linearize what is read-only and legal, and pass every completion whose operation is linearized.
        fresh = False
        for i in range(registers[OPEN]):
            op = window[i]
            kind = ops[op, KIND]
            if _done(configurations, row, ops[op, SLOT]):
                continue
            if kind == READ:
                legal = state == ops[op, OBSERVED]
            elif kind == FAILED_CAS:
                legal = state != ops[op, OBSERVED]
            elif kind == TABLE_READ_ONLY:
                after = _after(state, ops[op, OBSERVED], steps, registers)
                if after == _UNKNOWN:
                    return _UNKNOWN
                legal = after >= 0
            else:
                legal = False
            if legal:
                _flip(configurations, row, ops[op, SLOT])
        while frontier < len(returns) and _done(configurations, row, ops[returns[frontier], SLOT]):
            _flip(configurations, row, ops[returns[frontier], SLOT])
            frontier += 1
            fresh = frontier < len(returns)
            if fresh:
                _move_window(frontier, ops, returns, begins, begun, window, registers)
    configurations[row, 0] = (np.uint64(frontier) << np.uint64(32)) | np.uint64(state)
    return 0


@njit(cache=True, nogil=True)
def _move_window(
    to: int, ops: Shorts, returns: Shorts, begins: Shorts, begun: Shorts, window: Shorts, registers: Ints
) -> None:
    """Have the operations in `window` that are open at this frontier."""
    at, count = registers[FRONTIER], registers[OPEN]
    while at < to:
        for i in range(1, count):  # the first has completed
            window[i - 1] = window[i]
        count -= 1
        for place in range(begun[at], begun[at + 1]):
            op = begins[place]
            i = count
            while i > 0 and ops[window[i - 1], RANK] > ops[op, RANK]:
                window[i] = window[i - 1]
                i -= 1
            window[i] = op
            count += 1
        at += 1
    while at > to:
        kept = 0
        for i in range(count):
            if ops[window[i], BEGIN] < at:
                window[kept] = window[i]
                kept += 1
        for i in range(kept, 0, -1):
            window[i] = window[i - 1]
        at -= 1
        window[0] = returns[at]
        count = kept + 1
    registers[FRONTIER], registers[OPEN] = at, count


# --- What was met before -------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def _remember(row: int, configurations: Words, links: Shorts, index: Shorts, guards: Words) -> bool:
    """Enter the row; False if one that is as good was met before."""
    words = configurations.shape[1]
    width = words - len(guards)
    mixed = np.uint64(0)
    for word in range(width):
        mixed = (mixed ^ configurations[row, word]) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(32)
    last = len(index) - 1
    place = np.int64(mixed & np.uint64(last))
    while index[place] != _EMPTY:
        older = index[place]
        same = True
        for word in range(width):
            if configurations[older, word] != configurations[row, word]:
                same = False
                break
        if same:
            break
        place = (place + 1) & last
    latest = older = index[place]
    while older != _EMPTY:
        as_good = True
        for word in range(width, words):
            guard = guards[word - width]
            spent_less = ((configurations[row, word] | guard) - configurations[older, word]) & guard == guard
            as_good = as_good and spent_less
        if as_good:
            return False
        older = links[older, OLDER]
    links[row, OLDER], links[row, PLACE] = latest, place
    index[place] = row
    return True


# --- The moves from a configuration --------------------------------------------------------------------


@njit(cache=True, nogil=True)
def _push_moves(
    row: int,
    ops: Shorts,
    returns: Shorts,
    crashed: Shorts,
    begins_crashed: Shorts,
    makers: Shorts,
    makers_from: Shorts,
    values: Shorts,
    guards: Words,
    configurations: Words,
    stack: Shorts,
    window: Shorts,
    stamps: Ints,
    demanded: Shorts,
    registers: Ints,
) -> None:
    """Put the moves from the row on the stack, the most promising on top: to linearize an operation that is
    open, the first to complete first; then a crashed one."""
    frontier, state = registers[FRONTIER], _state(configurations, row)
    bottom = top = registers[STACKED]
    registers[STAMP] += 1
    stamp = registers[STAMP]
    register = len(values) > 0
    last_begin, successor = -1, -1
    if register:
        last_begin, successor = values[state, LAST_BEGIN], values[state, SUCCESSOR]
    held = last_begin > frontier
    wanting = 0  # how many values open operations wait for
    dislike = False  # a failed cas waits for any other value
    for i in range(registers[OPEN]):
        op = window[i]
        kind, class_ = ops[op, KIND], ops[op, CLASS]
        if _done(configurations, row, ops[op, SLOT]) or stamps[class_] == stamp:
            continue
        stamps[class_] = stamp
        if register and kind in (READ, CAS) and ops[op, OBSERVED] != state:
            wanting = _want(ops[op, OBSERVED], wanting, stamps, demanded, registers)
            continue
        if kind == FAILED_CAS:
            dislike = True
        elif kind not in (READ, TABLE_READ_ONLY) and not held and (successor == -1 or successor == op):
            stack[top, 0], stack[top, 1] = row, op
            top += 1
    first = window[0]
    if register and ops[first, KIND] != WRITE and ops[first, OBSERVED] != state:
        _prefer(ops[first, OBSERVED], ops, stack, bottom, top)
    if len(crashed) and not held and successor == -1:
        top = _push_crashed(
            row, crashed, begins_crashed, makers, makers_from, configurations,
            configurations.shape[1] - len(guards), stack, top, wanting, not register or dislike, stamps,
            demanded, registers,
        )  # fmt: skip
    registers[STACKED] = top
    while bottom < top - 1:
        top -= 1
        stack[bottom, 1], stack[top, 1] = stack[top, 1], stack[bottom, 1]
        bottom += 1


@njit(cache=True, nogil=True)
def _prefer(value: int, ops: Shorts, stack: Shorts, bottom: int, top: int) -> None:
    """Have the first move that makes the value in front."""
    for at in range(bottom, top):
        op = stack[at, 1]
        if ops[op, WRITTEN] == value:
            for i in range(at, bottom, -1):
                stack[i, 1] = stack[i - 1, 1]
            stack[bottom, 1] = op
            return


@njit(cache=True, nogil=True)
def _want(value: int, wanting: int, stamps: Ints, demanded: Shorts, registers: Ints) -> int:
    """Add the value to those demanded, once; returns how many they are."""
    place = len(stamps) - len(demanded) + value
    if stamps[place] == registers[STAMP]:
        return wanting
    stamps[place] = registers[STAMP]
    demanded[wanting] = value
    return wanting + 1


@njit(cache=True, nogil=True)
def _push_crashed(
    row: int,
    crashed: Shorts,
    begins_crashed: Shorts,
    makers: Shorts,
    makers_from: Shorts,
    configurations: Words,
    first_word: int,
    stack: Shorts,
    top: int,
    wanting: int,
    any_will_do: bool,
    stamps: Ints,
    demanded: Shorts,
    registers: Ints,
) -> int:
    """Push the crashed operations that make something demanded, directly or through others; or all."""
    if any_will_do:
        for class_ in range(len(crashed)):
            legal = crashed[class_, KIND] != CAS or crashed[class_, OBSERVED] == _state(configurations, row)
            if legal and _available(
                row, class_, crashed, begins_crashed, configurations, first_word, stamps, registers
            ):
                stack[top, 0], stack[top, 1] = row, -2 - class_
                top += 1
        return top
    at = 0
    while at < wanting:
        for place in range(makers_from[demanded[at]], makers_from[demanded[at] + 1]):
            class_ = makers[place]
            if not _available(
                row, class_, crashed, begins_crashed, configurations, first_word, stamps, registers
            ):
                continue
            observed = crashed[class_, OBSERVED]
            if crashed[class_, KIND] == CAS and observed != _state(configurations, row):
                wanting = _want(observed, wanting, stamps, demanded, registers)
            else:
                stack[top, 0], stack[top, 1] = row, -2 - class_
                top += 1
        at += 1
    return top


@njit(cache=True, nogil=True)
def _available(
    row: int,
    class_: int,
    crashed: Shorts,
    begins_crashed: Shorts,
    configurations: Words,
    first_word: int,
    stamps: Ints,
    registers: Ints,
) -> bool:
    """Whether one of the class has begun and is not spent. An equal operation that is open goes first."""
    move = crashed[class_]
    if stamps[move[CLASS]] == registers[STAMP]:
        return False
    field = configurations[row, first_word + move[WORD]] >> np.uint64(move[SHIFT])
    spent = np.int64(field & ((np.uint64(1) << np.uint64(move[BITS])) - np.uint64(1)))
    return bool(spent < move[SIZE] and begins_crashed[move[FIRST] + spent] <= registers[FRONTIER])


# --- The steps of a model ------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def _after(state: int, class_: int, steps: Ints, registers: Ints) -> int:
    """The state after an operation of the class, _ILLEGAL, or _UNKNOWN."""
    place = _step_place(steps, state, class_)
    if steps[place, 0] == _EMPTY:
        registers[MISSING_STATE], registers[MISSING_CLASS] = state, class_
        return _UNKNOWN
    return int(steps[place, 2])


@njit(cache=True, nogil=True)
def _step_place(steps: Ints, state: int, class_: int) -> int:
    mixed = (np.uint64(state) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(class_)) * np.uint64(
        0xBF58476D1CE4E5B9
    )
    last = len(steps) - 1
    place = np.int64((mixed ^ (mixed >> np.uint64(32))) & np.uint64(last))
    while steps[place, 0] != _EMPTY and (steps[place, 0] != state or steps[place, 1] != class_):
        place = (place + 1) & last
    return int(place)


@njit(cache=True, nogil=True)
def add_step(steps: Ints, state: int, class_: int, after: int) -> None:
    """Enter a step into the table, which has room."""
    place = _step_place(steps, state, class_)
    steps[place, 0], steps[place, 1], steps[place, 2] = state, class_, after


@njit(cache=True, nogil=True)
def grown_steps(steps: Ints) -> Ints:
    """The table with twice the room."""
    larger = np.full((2 * len(steps), 3), _EMPTY, np.int64)
    for place in range(len(steps)):
        if steps[place, 0] != _EMPTY:
            add_step(larger, steps[place, 0], steps[place, 1], steps[place, 2])
    return larger


@njit(cache=True, nogil=True)
def reindex(configurations: Words, links: Shorts, index: Shorts, guards: Words, registers: Ints) -> None:
    """Enter the rows in use into an empty index."""
    for row in range(registers[SEEDS], registers[COUNT]):
        _remember(row, configurations, links, index, guards)
