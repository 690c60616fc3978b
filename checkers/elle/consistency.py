"""Which anomaly breaks which promise: the lattice of transactional consistency models, as data.

Rules
-----
1. A model that holds makes every weaker model hold; an anomaly that is found makes every anomaly that it
   implies found too. So a model is ruled out by any anomaly that implies one that the model, or a weaker one,
   forbids.
2. The tables say what the literature says, with the reading that Elle gives it (elle.consistency-model), so
   that both name the same models for the same history.

Sources: Adya, "Weak Consistency" (1999); Adya, Liskov & O'Neil, "Generalized Isolation Level Definitions"
(2000); Cerone, Bernardi & Gotsman, "A Framework for Transactional Consistency Models with Atomic Visibility"
(2015); Cerone & Gotsman, "Analysing Snapshot Isolation" (2016); Bailis et al., "Highly Available
Transactions" (2013); Daudjee & Salem, "Lazy Database Replication with Snapshot Isolation" (2006); Kingsbury
& Alvaro, "Elle" (VLDB 2020).

Suffixes: a plain anomaly is a cycle of dependencies between transactions; "-process" means that the order of
one client's transactions is needed as well, "-realtime" that one transaction was over before another began.
"-item" says that no predicate is involved: none ever is, for lists and registers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

SYNONYMS: Mapping[str, str] = {
    "PL-1": "read-uncommitted",
    "PL-2": "read-committed",
    "PL-2+": "consistent-view",
    "PL-2L": "monotonic-view",
    "PL-CS": "cursor-stability",
    "PL-FCV": "forward-consistent-view",
    "PL-MSR": "monotonic-snapshot-read",
    "PL-2.99": "repeatable-read",
    "PL-3U": "update-serializable",
    "PL-SI": "snapshot-isolation",
    "PL-3": "serializable",
    "conflict-serializable": "serializable",
    "PL-SS": "strict-serializable",
    "strong-serializable": "strict-serializable",
    "strong-session-PL-1": "strong-session-read-uncommitted",
    "strong-session-PL-2": "strong-session-read-committed",
    "strong-PL-1": "strong-read-uncommitted",
    "strong-PL-2": "strong-read-committed",
}
"""Other names of the models below."""

WEAKER: Mapping[str, tuple[str, ...]] = {
    "read-uncommitted": (),
    "read-committed": ("read-uncommitted",),
    "monotonic-view": ("read-committed",),
    "monotonic-snapshot-read": ("read-committed",),
    "monotonic-atomic-view": ("read-committed",),
    "cursor-stability": ("read-committed",),
    "consistent-view": ("cursor-stability", "monotonic-view"),
    "forward-consistent-view": ("consistent-view",),
    "read-atomic": ("monotonic-atomic-view",),
    "ROLA": ("read-atomic",),
    "causal-cerone": ("read-atomic",),
    "prefix": ("causal-cerone",),
    "parallel-snapshot-isolation": ("causal-cerone", "ROLA"),
    "repeatable-read": ("cursor-stability", "monotonic-atomic-view"),
    "update-serializable": ("forward-consistent-view",),
    "snapshot-isolation": (
        "forward-consistent-view",
        "monotonic-atomic-view",
        "monotonic-snapshot-read",
        "parallel-snapshot-isolation",
        "prefix",
    ),
    "view-serializable": (),
    "serializable": ("repeatable-read", "update-serializable", "snapshot-isolation", "view-serializable"),
    "strong-session-read-uncommitted": ("read-uncommitted",),
    "strong-session-read-committed": ("read-committed", "strong-session-read-uncommitted"),
    "strong-session-snapshot-isolation": ("snapshot-isolation", "strong-session-read-committed"),
    "strong-session-serializable": ("serializable", "strong-session-snapshot-isolation"),
    "strong-read-uncommitted": ("strong-session-read-uncommitted",),
    "strong-read-committed": ("strong-session-read-committed", "strong-read-uncommitted"),
    "strong-snapshot-isolation": ("strong-session-snapshot-isolation", "strong-read-committed"),
    "1SR": (),
    "session-serializable": ("1SR",),
    "strict-serializable": (
        "strong-session-serializable",
        "strong-snapshot-isolation",
        "session-serializable",
        "linearizable",
    ),
    "linearizable": ("sequential",),
    "sequential": ("causal",),
    "causal": ("writes-follow-reads", "PRAM"),
    "PRAM": ("monotonic-reads", "monotonic-writes", "read-your-writes"),
    "writes-follow-reads": (),
    "monotonic-reads": (),
    "monotonic-writes": (),
    "read-your-writes": (),
}
"""The models that each implies."""

FORBIDS: Mapping[str, tuple[str, ...]] = {
    "read-uncommitted": ("G0", "duplicate-elements", "cyclic-versions", "PL-1-cycle-exists"),
    "read-committed": ("G1", "PL-2-cycle-exists"),
    "monotonic-view": ("G1", "G-monotonic"),
    "monotonic-snapshot-read": ("G1", "G-MSR"),
    "cursor-stability": ("G1", "G-cursor", "lost-update"),
    "consistent-view": ("G1", "G-single"),
    "forward-consistent-view": ("G1", "GSIb"),
    "read-atomic": ("internal", "G1a", "future-read"),
    "ROLA": ("lost-update",),
    "causal-cerone": ("internal", "G1a"),
    "prefix": ("internal", "G1a"),
    "parallel-snapshot-isolation": ("internal", "G1a"),
    "repeatable-read": ("G1", "G2-item", "lost-update", "PL-2.99-cycle-exists"),
    "update-serializable": ("G1", "G-update"),
    "snapshot-isolation": ("internal", "G1", "GSI", "G-nonadjacent", "PL-SI-cycle-exists"),
    "serializable": ("internal", "G1", "G2", "predicate-read-miss", "PL-3-cycle-exists"),
    "strong-session-read-uncommitted": ("G0-process", "strong-session-PL-1-cycle-exists"),
    "strong-session-read-committed": ("G1c-process", "strong-session-PL-2-cycle-exists"),
    "strong-session-snapshot-isolation": (
        "internal",
        "G1-process",
        "G-nonadjacent-process",
        "strong-session-snapshot-isolation-cycle-exists",
    ),
    "strong-session-serializable": ("G1-process", "G2-process", "strong-session-serializable-cycle-exists"),
    "strong-read-uncommitted": ("G0-realtime", "strong-PL-1-cycle-exists"),
    "strong-read-committed": ("G1c-realtime", "strong-PL-2-cycle-exists"),
    "strong-snapshot-isolation": (
        "internal",
        "G1-realtime",
        "G-nonadjacent-realtime",
        "strong-snapshot-isolation-cycle-exists",
    ),
    "strict-serializable": ("G1", "G1c-realtime", "G2-realtime", "PL-SS-cycle-exists"),
}
"""The anomalies that each forbids, beyond what its weaker models do."""


def _with_suffixes(plain: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """The same implications among the variants; and each variant implies the next wider one, since a client
    does one transaction after the other."""
    implied = {}
    for anomaly, others in plain.items():
        for suffix, wider in (("", "-process"), ("-process", "-realtime"), ("-realtime", None)):
            up = () if wider is None else (anomaly + wider,)
            implied[anomaly + suffix] = (*(other + suffix for other in others), *up)
    return implied


ANOMALY_IMPLIES: Mapping[str, tuple[str, ...]] = {
    **_with_suffixes(
        {
            "G0": ("G1c",),
            "G1c": ("G1",),
            "G1": (),
            "G-single-item": ("G-single", "G-nonadjacent-item"),
            "G-single": ("G-nonadjacent",),
            "G-nonadjacent-item": ("G-nonadjacent", "G2-item"),
            "G-nonadjacent": ("G2",),
            "G2-item": ("G2",),
            "G2": (),
        }
    ),
    "G1a": ("G1",),
    "G1b": ("G1",),
    "GSIa": ("GSI",),
    "GSIb": ("GSI",),
    "garbage-read": ("G1a",),
    "incompatible-order": ("G1a",),
    "dirty-update": ("G1a",),
    "future-read": ("G1c",),
    "lost-update": ("write-skew", "G2-item"),
    "write-skew": ("G2",),
}
"""The anomalies that each implies: whoever forbids those forbids it."""
# A cycle with one anti-dependency in the dependency graph is one in the start-ordered graph too (Adya).
ANOMALY_IMPLIES = {**ANOMALY_IMPLIES, "G-single": (*ANOMALY_IMPLIES["G-single"], "GSIb")}

CYCLE_EXISTS: Mapping[tuple[str, str], str] = {
    ("G0", ""): "PL-1-cycle-exists",
    ("G1c", ""): "PL-2-cycle-exists",
    ("G-nonadjacent", ""): "PL-SI-cycle-exists",
    ("G2", ""): "PL-3-cycle-exists",
    ("G0", "-process"): "strong-session-PL-1-cycle-exists",
    ("G1c", "-process"): "strong-session-PL-2-cycle-exists",
    ("G-nonadjacent", "-process"): "strong-session-snapshot-isolation-cycle-exists",
    ("G2", "-process"): "strong-session-serializable-cycle-exists",
    ("G0", "-realtime"): "strong-PL-1-cycle-exists",
    ("G1c", "-realtime"): "strong-PL-2-cycle-exists",
    ("G-nonadjacent", "-realtime"): "strong-snapshot-isolation-cycle-exists",
    ("G2", "-realtime"): "PL-SS-cycle-exists",
}
"""What is said where the kind of cycle is proven to exist, and the search for one to show ran out of time."""

MODELS = tuple(WEAKER)
_EVERY = {name for names in FORBIDS.values() for name in names}
ANOMALIES = tuple(sorted({*ANOMALY_IMPLIES, *_EVERY}))


class UnknownName(ValueError):
    """No such consistency model or anomaly. The message lists those there are."""


def model(name: str) -> str:
    """The name by which the tables know the model. Raises UnknownName."""
    known = SYNONYMS.get(name, name)
    if known not in WEAKER:
        names = ", ".join(sorted({*MODELS, *SYNONYMS}))
        raise UnknownName(f"no consistency model {name!r}; there are {names}")
    return known


def forbidden(models: Iterable[str], anomalies: Iterable[str] = ()) -> set[str]:
    """Every anomaly that breaks one of the models, or is or implies one of the anomalies.

    Raises UnknownName.
    """
    direct = set(anomalies)
    if strange := direct - set(ANOMALIES):
        raise UnknownName(f"no anomaly {min(strange)!r}; there are {', '.join(ANOMALIES)}")
    for name in _reach(map(model, models), WEAKER):
        direct.update(FORBIDS.get(name, ()))
    return _reach(direct, _IMPLIED_BY)


def implied(anomalies: Iterable[str]) -> set[str]:
    """The anomalies themselves, and all that are there as well if they are."""
    return _reach(anomalies, ANOMALY_IMPLIES)


def boundary(anomalies: Iterable[str]) -> tuple[list[str], list[str]]:
    """The weakest models that the anomalies rule out, and the stronger ones that go with them."""
    present = implied(anomalies)
    broken = {name for name, names in FORBIDS.items() if present.intersection(names)}
    impossible = _reach(broken, _STRONGER)
    weakest = {name for name in impossible if not impossible & (_reach([name], WEAKER) - {name})}
    return sorted(weakest), sorted(impossible - weakest)


def _reach(start: Iterable[str], graph: Mapping[str, tuple[str, ...]]) -> set[str]:
    found: set[str] = set()
    left = list(start)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += graph.get(name, ())
    return found


def _reversed(graph: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    turned: dict[str, list[str]] = {}
    for name, others in graph.items():
        for other in others:
            turned.setdefault(other, []).append(name)
    return {name: tuple(others) for name, others in turned.items()}


_IMPLIED_BY = _reversed(ANOMALY_IMPLIES)
_STRONGER = _reversed(WEAKER)
