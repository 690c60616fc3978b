"""Checkers that judge a bare history, by name: those that are no model of linearizability.

`splitbrain check --model=NAME` knows them beside the models in `checkers.models`. What follows the name after
a colon is its argument: `bank:100` (the total), `long-fork:3` (keys of a group),
`list-append:snapshot-isolation` (the consistency models that are promised, several by comma),
`delivery:at-least-once,producer` (what is promised of each element, and of several), `unique-ids:increasing`,
`locks:fencing` or `locks:15` (how many seconds a lease lasts),
`sessions:monotonic-reads,causal` (the guarantees), `servers:one-sequence` (versions number the writes to all
keys together), `staleness:0.5`, `watch:1,10`, `gossip:10,20,30` and `rumours:2` (seconds: the bound; wake and
settle, with `,stale` if answers may be; detect, converge and, if it is to be judged, remember; spread),
`coordinates:0.2,0.5` (median and 95th percentile).
"""

from __future__ import annotations

from checkers import Checker

NAMES = (
    "list-append",
    "rw-register",
    "bank",
    "long-fork",
    "comments",
    "sequential",
    "set-full",
    "set-final",
    "counter-bounds",
    "delivery",
    "unique-ids",
    "locks",
    "sessions",
    "servers",
    "staleness",
    "watch",
    "gossip",
    "rumours",
    "coordinates",
)


def checker_named(name: str, elle_command: str | None = None) -> Checker | None:
    """None if there is no such checker. `elle_command`: what judges transactions, instead of elle-py.

    Raises ValueError if the checker cannot make sense of its argument.
    """
    kind, _, argument = name.partition(":")
    match kind:
        case "list-append" | "rw-register":
            from checkers.elle import consistency
            from checkers.transactions import Transactions

            models = [consistency.model(one) for one in (argument or "strict-serializable").split(",")]
            return Transactions(kind, models, elle_command)
        case "bank":
            from checkers.bank import Bank

            return Bank(int(_numbers(argument, "TOTAL")[0]) if argument else None)
        case "long-fork":
            from checkers.long_fork import LongFork

            return LongFork(int(_numbers(argument or "0", "KEYS")[0]))
        case "comments":
            from checkers.comments import Comments

            _one_of(argument)
            return Comments()
        case "sequential":
            from checkers.sequential import Sequential

            _one_of(argument)
            return Sequential()
        case "set-full":
            from checkers.set_full import SetFull

            return SetFull(linearizable=_one_of(argument, "linearizable"))
        case "set-final":
            from checkers.set import Set

            _one_of(argument)
            return Set()
        case "counter-bounds":
            from checkers.counter import Counter

            _one_of(argument)
            return Counter()
        case "delivery":
            from checkers.delivery import delivery

            return delivery(argument)
        case "unique-ids":
            from checkers.unique_ids import UniqueIds

            return UniqueIds(increasing=_one_of(argument, "increasing"))
        case "locks":
            from checkers.locks import Locks

            if argument in ("", "fencing"):
                return Locks(fencing=argument == "fencing")
            return Locks(lease_seconds=_numbers(argument, "LEASE")[0])
        case "sessions":
            from checkers.sessions import SINGLE, Sessions

            return Sessions(argument.split(",") if argument else SINGLE)
        case "servers":
            from checkers.servers import Servers

            return Servers(one_sequence=_one_of(argument, "one-sequence"))
        case "staleness":
            from checkers.staleness import Staleness

            return Staleness(_numbers(argument, "SECONDS")[0] if argument else None)
        case "watch":
            from checkers.watch import Watch

            bounds = "" if argument == "stale" else argument.removesuffix(",stale")
            wake, settle = _numbers(bounds or "1,10", "WAKE,SETTLE")
            return Watch(wake, settle, fresh=not argument.endswith("stale"))
        case "gossip":
            from checkers.gossip import Gossip

            detect, converge, *remember = _numbers(argument, "DETECT,CONVERGE[,REMEMBER]")
            return Gossip(detect, converge, remember=remember[0] if remember else 0.0)
        case "rumours":
            from checkers.rumours import Rumours

            (spread,) = _numbers(argument, "SPREAD")
            return Rumours(spread)
        case "coordinates":
            from checkers.coordinates import Coordinates

            median, p95 = _numbers(argument, "MEDIAN,P95")
            return Coordinates(median, p95)
        case _:
            return None


def _one_of(argument: str, word: str = "") -> bool:
    """Whether the argument is this word; there may be none at all, but no other one."""
    if argument not in ("", word):
        known = f"may only be {word!r}" if word else "must be nothing"
        raise ValueError(f"what follows the colon {known}, not {argument!r}")
    return argument != ""


def _numbers(argument: str, names: str) -> list[float]:
    """The numbers of an argument, as many as there are names; those in brackets may be left out."""
    try:
        numbers = [float(number) for number in argument.split(",")]
    except ValueError:
        numbers = []
    least = names.partition("[")[0].count(",") + 1
    if not least <= len(numbers) <= names.count(",") + 1:
        raise ValueError(f"what follows the colon must be {names}, not {argument!r}")
    return numbers
