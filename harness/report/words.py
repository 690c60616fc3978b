"""A run in words: its outcome, its operations and its faults, as people say them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from harness.history import OK, OPEN, Op
from harness.store import Outcome, Results

Tone = Literal["good", "bad", "doubt"]

_HEADLINES: Mapping[Outcome, tuple[str, Tone]] = {
    "valid": ("Valid", "good"),
    "invalid": ("A promise was broken", "bad"),
    "unknown": ("Unknown", "doubt"),
    "no liveness": ("Did not recover", "bad"),
    "crashed": ("An agent crashed", "bad"),
    "injection failed": ("A fault could not be injected", "doubt"),
    "setup failed": ("The run could not start", "doubt"),
}
_BROKEN_PROMISES = {
    "linearizable": "Not linearizable",
    "set-full": "Elements of the set are wrong",
    "set-full lost": "Acknowledged writes were lost",
    "set-full stale": "Stale reads",
    "gossip": "Membership is wrong",
    "transactions": "Transactions are not isolated as promised",
}
"""What an invalid verdict of a checker is called, and with the kind of its first evidence, where there is a
better name than the general one."""

FIGURES_MAX = 40
_OUTCOMES = ("", "ok", "fail", "info", "open")
_NOT_JUDGED = "The run ended before it was judged. What was recorded until then is shown below."


def headline(results: Results | None) -> tuple[str, Tone, str]:
    """The outcome in a few words, how to take it, and a sentence that says why."""
    if results is None:
        return "Unfinished", "doubt", _NOT_JUDGED
    words, tone = _HEADLINES[results.outcome]
    if results.outcome == "invalid":
        broken = [one for one in results.verdicts if one.valid == "invalid" and one.outcome == "safety"]
        kinds = [str(one.evidence[0].details.get("kind")) if one.evidence else "" for one in broken]
        names = [
            name
            for one, kind in zip(broken, kinds, strict=True)
            for name in (f"{one.checker} {kind}", one.checker)
        ]
        words = next((_BROKEN_PROMISES[name] for name in names if name in _BROKEN_PROMISES), words)
    why = results.summary
    for verdict in results.verdicts:
        why = why.removeprefix(f"{verdict.checker}: ")
    return words, tone, why[:1].upper() + why[1:]


def value_text(value: Any, limit: int = 48) -> str:
    """A value as the client sees it, at most about `limit` characters long; says what it leaves out."""
    if value is None:
        return "nothing"
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, list) and len(value) > 8:
        shown = ", ".join(value_text(item, limit // 4) for item in value[:4])
        return f"[{shown}, … {len(value):,} in all]"
    if isinstance(value, dict) and value and all(isinstance(item, str) for item in value.values()):
        return _grouped(value, limit)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= limit else f"{text[: limit - 12]}… ({len(text):,} characters)"


def figures(details: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A checker's details as names and values, what is nested under the names on its way; at most
    FIGURES_MAX, and then how many are left out."""
    found = list(_flat("", details))
    left_out = len(found) - FIGURES_MAX
    return found if left_out <= 0 else [*found[:FIGURES_MAX], ("and", f"{left_out:,} more in verdicts.json")]


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for inner, one in value.items():
            yield from _flat(f"{name} · {inner}" if name else str(inner), one)
    elif isinstance(value, list):
        shown = ", ".join(_figure(one) for one in value[:6])
        yield name, (f"{shown}, … {len(value):,} in all" if len(value) > 6 else shown) or "none"
    else:
        yield name, _figure(value)


def _figure(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value_text(value, 200)


def _grouped(value: dict[str, str], limit: int) -> str:
    """A mapping to a few words, from the words' side: "alive: n1 n2 n3, failed: n4"."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name, status in value.items():
        groups[status].append(name)
    text = ", ".join(f"{status}: {' '.join(names)}" for status, names in groups.items())
    if len(text) > limit:
        text = ", ".join(f"{len(names)} {status}" for status, names in groups.items())
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def operation_text(invoke: Op, complete: Op | None, outcome: int) -> str:
    """What a client did, without who and when: "read 4", "write 7", "cas 3 → 4", "r x [1 2], append y 3"."""
    f, argument = invoke.f, invoke.value
    result = complete.value if complete is not None and outcome == OK else None
    if (said := _transaction_text(argument if result is None else result, outcome == OK)) is not None:
        return said
    if f == "cas" and isinstance(argument, list) and len(argument) == 2:
        return f"cas {value_text(argument[0], 20)} → {value_text(argument[1], 20)}"
    if argument is None:
        return f"{f} {value_text(result)}" if outcome == OK else f"{f} …"
    if result is None or result == argument:
        return f"{f} {value_text(argument)}"
    return f"{f} {value_text(argument)} → {value_text(result)}"


def _transaction_text(value: Any, known: bool) -> str | None:
    """None if the value is no list of micro-operations. `known`: what they read is."""
    if not isinstance(value, list) or not value:
        return None
    parts = []
    for micro in value:
        if not isinstance(micro, list) or len(micro) != 3 or micro[0] not in ("r", "w", "append"):
            return None
        f, key, argument = micro
        if isinstance(argument, list):
            ends = argument if len(argument) <= 6 else [argument[0], "…", *argument[-3:]]
            text = f"[{' '.join(map(str, ends))}]"
        else:
            text = value_text(argument, 20) if known or f != "r" else "…"
        parts.append(f"{f} {key} {text}")
    return ", ".join(parts)


def outcome_text(outcome: int) -> str:
    """ "ok", "fail", "info", or "open" of an operation that nothing completed."""
    return _OUTCOMES[outcome]


def outcome_hint(outcome: int, error: str | None) -> str:
    """What there is to say of an operation that is not ok."""
    if outcome == OK:
        return ""
    if outcome == OPEN:
        return "no completion was recorded"
    return f"{outcome_text(outcome)}: {error}" if error else outcome_text(outcome)


def duration_text(seconds: float) -> str:
    """With three significant digits and the unit that fits."""
    if not seconds:
        return "0 s"
    if seconds >= 120:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size * 0.9995:
            scaled = seconds / size
            return f"{scaled:.{0 if scaled >= 99.95 else 1 if scaled >= 9.995 else 2}f} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def moment_text(iso: str) -> str:
    """A local time with its offset, to the second; as it is if it is none."""
    try:
        return datetime.fromisoformat(iso).isoformat(sep=" ", timespec="seconds")
    except ValueError:
        return iso


def size_text(size: int) -> str:
    """Bytes, with the unit that fits."""
    if size < 1024:
        return f"{size} bytes"
    return f"{size / 1024:,.1f} KiB" if size < 1024**2 else f"{size / 1024**2:,.1f} MiB"


def fault_text(nodes: Sequence[str], value: Any) -> str:
    """What a fault did, from the value of its completion (`nemesis` has the forms): who was cut from whom,
    what goes another way, or who was hit."""
    if isinstance(value, dict):
        links = value.get("cut")
        if isinstance(links, list) and all(isinstance(link, list) and len(link) == 2 for link in links):
            return cut_text(nodes, [(str(sender), str(receiver)) for sender, receiver in links])
        shaped = value.get("links")
        if isinstance(shaped, list) and all(isinstance(link, list) and len(link) == 2 for link in shaped):
            return f"{_shape_text(value)} on {_links_text(nodes, shaped)}"
        clocks = value.get("clocks")
        if isinstance(clocks, dict):
            return ", ".join(f"{node} {_clock_text(clock)}" for node, clock in clocks.items()) or "nobody"
        hit = value.get("nodes")
        if isinstance(hit, list):
            how = " ".join(str(value[name]) for name in ("condition", "record", "step") if name in value)
            return (" ".join(map(str, hit)) or "nobody") + (f": {how}" if how else "")
    return "" if value is None else value_text(value)


def _shape_text(shape: Mapping[str, Any]) -> str:
    """How packets go: "5% lost, 10% late by up to 300 ms, 100 ms slower"."""
    parts = [f"{100 * shape[name]:g}% {name}" for name in ("lost", "twice", "late") if shape.get(name)]
    if "delay_ms_max" in shape and shape.get("late"):
        parts[-1] += f" by up to {shape['delay_ms_max']:g} ms"
    if shape.get("latency_ms"):
        parts.append(f"{shape['latency_ms']:g} ms slower")
    return ", ".join(parts) or "ordinary"


def _links_text(nodes: Sequence[str], links: Sequence[Sequence[str]]) -> str:
    if len(links) == len(nodes) * (len(nodes) - 1):
        return "all links"
    few = ", ".join(f"{sender} → {receiver}" for sender, receiver in links)
    return few if len(links) <= 4 else f"{len(links)} links"


def _clock_text(clock: Mapping[str, Any]) -> str:
    """The wall clock's offset and how fast time passes: "+3 s, 0.9 times as fast"."""
    return f"{clock['offset']:+g} s, {clock['rate']:g} times as fast"


def cut_text(nodes: Sequence[str], links: Sequence[tuple[str, str]]) -> str:
    """Directed links that drop everything: "n1 n2 | n3 n4 n5" where whole groups are apart, "n1 ↛ n3" where
    few links are cut, else their number."""
    cut = set(links)
    if not cut:
        return "nothing cut"
    everybody = sorted(
        {*nodes, *(node for link in links for node in link)}, key=lambda node: (len(node), node)
    )
    groups = _groups(everybody, cut)
    apart = {(one, other) for one in everybody for other in everybody if groups[one] != groups[other]}
    if cut == apart:
        members: defaultdict[str, list[str]] = defaultdict(list)
        for node in everybody:
            members[groups[node]].append(node)
        return " | ".join(map(_names, members.values()))
    receivers: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for sender in everybody:
        unreached = tuple(node for node in everybody if (sender, node) in cut)
        if unreached:
            receivers[unreached].append(sender)
    if len(receivers) <= 2:
        return ", ".join(
            f"{_names(senders)} ↛ {_names(unreached)}" for unreached, senders in receivers.items()
        )
    reaches = (f"{one}–{_names(_peers(one, everybody, cut))}" for one in everybody)
    text = "still linked: " + ", ".join(reaches)
    return text if len(text) <= 90 else f"{len(cut)} of {len(everybody) * (len(everybody) - 1)} links cut"


def _peers(node: str, everybody: Iterable[str], cut: set[tuple[str, str]]) -> list[str]:
    return [other for other in everybody if other != node and (node, other) not in cut]


def _groups(everybody: list[str], cut: set[tuple[str, str]]) -> dict[str, str]:
    """For each node the first of those that it is connected with by links whole in both directions."""
    found: dict[str, str] = {}
    for first in everybody:
        reached = [] if first in found else [first]
        while reached:
            node = reached.pop()
            found[node] = first
            reached += [
                other
                for other in everybody
                if other not in found and (node, other) not in cut and (other, node) not in cut
            ]
    return found


def _names(nodes: Sequence[str]) -> str:
    return " ".join(nodes) if len(nodes) <= 6 else f"{' '.join(nodes[:2])} … {nodes[-1]} ({len(nodes)} nodes)"
