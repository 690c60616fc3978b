"""What an order to a nemesis says when it spells out what to do, in place of a specification: whether it can
be done, and whether it has hit anything.

A specification means something in any cluster. A value in full (what a completion says: the package `nemesis`
has the table) names nodes, links and numbers, and comes from a file that somebody may have written by hand: a
node that is not there would be hit by nothing, and that would count as a fault.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any, Literal

import msgspec

from harness.worlds import CrashStep, DiskCondition, Shape

Seconds = Annotated[float, msgspec.Meta(ge=0)]


class _Links(msgspec.Struct):
    cut: list[tuple[str, str]]


class _Nodes(msgspec.Struct):
    nodes: list[str]


class _Traps(_Nodes):
    step: CrashStep
    record: str
    boot: Seconds
    again: bool
    heirless: bool = False
    leader: str | None = None
    absence: Seconds | None = None


class _Shaped(msgspec.Struct):
    links: Literal["all", "one", "half"] | list[tuple[str, str]]


class _Clock(msgspec.Struct, forbid_unknown_fields=True):
    offset: float
    rate: Annotated[float, msgspec.Meta(gt=0)]


class _Clocks(msgspec.Struct):
    clocks: dict[str, _Clock]


class _Damage(_Nodes):
    condition: DiskCondition | Literal["rotten", "misdirected"]


_IN_FULL: Mapping[str, type[msgspec.Struct]] = {
    "start-partition": _Links,
    "start-network": _Shaped,
    "start-clock": _Clocks,
    "start-disk": _Damage,
    "start-pause": _Nodes,
    "start-crash-point": _Traps,
    "start-power": _Nodes,
    "start-kill": _Nodes,
}
"""What is needed of a value; what else is in it (`target`, `note`, ...) is for the history alone."""


def wrong(f: str, value: Any, nodes: Collection[str]) -> str | None:
    """Why a value in full cannot be done to these nodes; None if it can, or is no value in full."""
    kind = _IN_FULL.get(f)
    if kind is None or not isinstance(value, Mapping):
        return None
    try:
        order = msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        return str(error)
    match order:
        case _Links():
            return _wrong_links(order.cut, nodes)
        case _Shaped():
            if not isinstance(order.links, str) and (why := _wrong_links(order.links, nodes)):
                return why
            try:
                Shape(**{name: item for name, item in value.items() if name != "links"})
            except (TypeError, ValueError) as error:
                return str(error)
            return None
        case _Clocks():
            return _wrong_nodes(order.clocks, nodes)
        case _Traps() if order.leader is not None and order.absence is None:
            return "a leader that is killed needs its `absence`, in seconds"
        case _Traps() if order.leader is not None:
            return _wrong_nodes([*order.nodes, order.leader], nodes)
        case _Nodes():
            return _wrong_nodes(order.nodes, nodes)
    raise AssertionError(order)


def hits(value: Any) -> bool:
    """Whether a fault that was done, as its completion says it, was done to anything.

    Who was to be hit may not have been running, and what was to rot may not have been there.
    """
    if not isinstance(value, Mapping):
        return True
    damaged = value.get("damaged")
    if isinstance(damaged, Mapping):
        return any(what is not None for what in damaged.values())
    whom = [value[name] for name in ("cut", "links", "nodes", "clocks", "leader") if name in value]
    return not whom or any(whom)


def _wrong_links(links: Iterable[tuple[str, str]], nodes: Collection[str]) -> str | None:
    for sender, receiver in links:
        if sender == receiver or sender not in nodes or receiver not in nodes:
            return f"there is no link from {sender} to {receiver}"
    return None


def _wrong_nodes(named: Iterable[str], nodes: Collection[str]) -> str | None:
    for node in named:
        if node not in nodes:
            return f"there is no node {node}"
    return None
