"""What a large gossip pool costs, and how fast news spreads in it, beside what SWIM and Serf expect.

    python benchmarks/gossip_scale.py [--agents=100,1000,10000] [--seconds=60] [--seed=1]

`--seconds` is one number for all sizes or one for each. Every size is one pool of `impl.gossip.testing` in a
process of its own: virtual time, LAN parameters, an in-memory network of 0.2 to 1 ms a way. In this order:

1. so many quiet seconds: CPU, and who is suspected although all are well;
2. user events, each fired once the last has reached everyone;
3. one agent joins;
4. agents are killed, all at the same moment (the figures are medians over them); then the peak of memory;
5. so many seconds in another pool where datagrams, but not streams, are lost.

Prints a Markdown table and writes docs/gossip-scale.svg.
"""

from __future__ import annotations

import argparse
import gc
import math
import multiprocessing
import resource
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from impl.gossip import LAN, MemberChanged, UserEvent, formulas
from impl.gossip.config import SECOND
from impl.gossip.effects import Effect, Warned
from impl.gossip.testing import Pool

PICTURE = Path(__file__).parents[1] / "docs" / "gossip-scale.svg"
EVENTS = 5
KILLS = 3
LOSS = 0.1
SHARES = (0.5, 0.99, 1.0)
ALMOST_ALL = 0.9999
"""What Serf's simulator calls converged: conv(x) never is 1."""


@dataclass(frozen=True, slots=True)
class Alarms:
    """What a pool in which all are well said about its members."""

    suspected: int
    failed: int
    by_stream_only: int
    """Probes that only a stream answered: they would have been suspicions in SWIM, which has no streams."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One size. Times are virtual seconds."""

    agents: int
    seconds: int
    cpu_seconds: float
    """Of the processor, for the quiet seconds."""
    peak_mb: float
    spreads: list[list[float]]
    """Per event, when each agent learnt of it, ascending."""
    join: float
    suspected: float
    failed_first: float
    failed_all: float
    quiet: Alarms
    lossy: Alarms


# --- measuring


def follow(
    pool: Pool, subject: Callable[[Effect], str | None], wanted: Mapping[str, int], limit_ns: int
) -> dict[str, list[float]]:
    """Let time pass until so many agents have had each subject: seconds from now to each of them, ascending.

    Looks at each thing that happens once, and not at what the agents believe: that is n² in all.
    """
    start_ns, cursor = pool.now_ns, len(pool.happened)
    seen: set[tuple[str, str]] = set()
    times: dict[str, list[float]] = {name: [] for name in wanted}

    def complete() -> bool:
        nonlocal cursor
        for happened in pool.happened[cursor:]:
            about = subject(happened.effect)
            if about in times and (about, happened.node) not in seen:
                seen.add((about, happened.node))
                times[about].append((happened.time_ns - start_ns) / SECOND)
        cursor = len(pool.happened)
        return all(len(times[name]) >= count for name, count in wanted.items())

    pool.run_until(complete, limit_ns)
    return times


def _change(effect: Effect) -> str | None:
    return f"{effect.change} {effect.member.name}" if isinstance(effect, MemberChanged) else None


def _event(effect: Effect) -> str | None:
    return effect.name if isinstance(effect, UserEvent) else None


def _fire(pool: Pool, node: str, name: str) -> None:
    pool.input(node, lambda core, now_ns: core.fire(name, b"", False, now_ns))


def alarms(pool: Pool, seconds: int) -> Alarms:
    """Let time pass and count what is said, by anybody, against members that are well."""
    cursor = len(pool.happened)
    pool.run(seconds * SECOND)
    effects = [happened.effect for happened in pool.happened[cursor:]]
    changes = [effect.change for effect in effects if isinstance(effect, MemberChanged)]
    warned = [effect for effect in effects if isinstance(effect, Warned)]
    by_stream_only = sum("by stream but not by datagrams" in effect.text for effect in warned)
    return Alarms(changes.count("suspected"), changes.count("failed"), by_stream_only)


def measured(agents: int, seconds: int, seed: int) -> Figures:
    pool = Pool(seed)
    names = pool.start_acquainted(agents)
    pool.run(1 * SECOND)
    gc.freeze()  # what the agents know is there to stay, and not looked through again and again

    began = time.process_time()
    quiet = alarms(pool, seconds)
    cpu_seconds = time.process_time() - began

    spread_ns = formulas.dissemination_bound_ns(LAN, agents + 1)
    spreads = []
    for number in range(EVENTS):
        name = f"event {number}"
        _fire(pool, names[number], name)
        # The origin had it before `follow` looked.
        spreads.append([0.0, *follow(pool, _event, {name: agents - 1}, spread_ns)[name]])

    pool.start("new")
    pool.join("new", names[0])
    join = follow(pool, _change, {"joined new": agents}, spread_ns)["joined new"][-1]

    victims = names[-KILLS:]
    for name in victims:
        pool.kill(name)
    survivors = len(pool.live())
    wanted = {f"suspected {name}": 1 for name in victims} | {f"failed {name}": survivors for name in victims}
    times = follow(pool, _change, wanted, formulas.detection_bound_ns(LAN, agents + 1))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    gc.unfreeze()  # else it would stay for good
    del pool
    gc.collect()
    lossy = Pool(seed, loss=LOSS)
    lossy.start_acquainted(agents)
    return Figures(
        agents=agents,
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        peak_mb=peak_mb,
        spreads=spreads,
        join=join,
        suspected=median(times[f"suspected {name}"][0] for name in victims),
        failed_first=median(times[f"failed {name}"][0] for name in victims),
        failed_all=median(times[f"failed {name}"][-1] for name in victims),
        quiet=quiet,
        lossy=alarms(lossy, seconds),
    )


# --- what is expected


def conv(agents: int, seconds: float) -> float:
    """Serf's simulator: 1 / (1 + (n + 1)·e^(−fanout/2 · x)) of the agents know after x rounds of gossip."""
    rounds = seconds * SECOND / LAN.gossip_interval_ns
    return 1 / (1 + (agents + 1) * math.exp(-0.5 * LAN.gossip_nodes * rounds))


def conv_seconds(agents: int, share: float) -> float:
    """When conv reaches a share."""
    share = min(share, ALMOST_ALL)
    rounds = math.log((agents + 1) * share / (1 - share)) / (0.5 * LAN.gossip_nodes)
    return rounds * LAN.gossip_interval_ns / SECOND


def first_suspicion_seconds() -> float:
    """The median, at any size: probes of one member come at random, one an interval on average, so that half
    of the waits are shorter than ln 2 intervals; then the failed probe lasts one interval."""
    return (math.log(2) + 1) * LAN.probe_interval_ns / SECOND


def stream_only_expected(agents: int, seconds: int) -> float:
    """Probes without an answer by datagram: ping or ack lost, and for each helper one of four datagrams."""
    there = 1 - LOSS
    unanswered = (1 - there**2) * (1 - there**4) ** LAN.indirect_checks
    return agents * unanswered * seconds * SECOND / LAN.probe_interval_ns


# --- showing


def spread(figures: Figures, share: float) -> float:
    """Seconds until so many agents knew, median over the events."""
    index = math.ceil(share * figures.agents) - 1
    return median(times[index] for times in figures.spreads)


def rows(figures: Figures) -> list[tuple[str, str, str]]:
    """What, measured, expected."""
    agents = figures.agents
    shortest_ns = formulas.suspicion_timeout_min_ns(LAN.suspicion_multiplier, agents, LAN.probe_interval_ns)
    suspected = first_suspicion_seconds()
    failed = suspected + shortest_ns / SECOND
    converged = conv_seconds(agents, 1)
    by_stream = stream_only_expected(agents, figures.seconds)
    quiet, lossy = figures.quiet, figures.lossy
    return [
        (
            "CPU an agent and virtual second",
            f"{figures.cpu_seconds / agents / figures.seconds * 1e6:.0f} µs",
            "",
        ),
        ("CPU a virtual second of the pool", f"{figures.cpu_seconds / figures.seconds:.2f} s", ""),
        ("peak memory of the process", f"{figures.peak_mb:.0f} MB", ""),
        ("user event known to 50 %", f"{spread(figures, 0.5):.2f} s", f"{conv_seconds(agents, 0.5):.2f} s"),
        ("to 99 %", f"{spread(figures, 0.99):.2f} s", f"{conv_seconds(agents, 0.99):.2f} s"),
        ("to all", f"{spread(figures, 1):.2f} s", f"{converged:.2f} s"),
        ("joining agent known to all", f"{figures.join:.2f} s", f"{converged:.2f} s"),
        ("kill to first suspicion", f"{figures.suspected:.2f} s", f"{suspected:.2f} s"),
        ("kill to failed at the first", f"{figures.failed_first:.2f} s", f"{failed:.2f} s"),
        ("kill to failed at all", f"{figures.failed_all:.2f} s", f"{failed + converged:.2f} s"),
        ("virtual seconds without a fault", f"{figures.seconds}", ""),
        ("no loss: suspected, failed", f"{quiet.suspected}, {quiet.failed}", "0, 0"),
        (f"{LOSS:.0%} loss: suspected, failed", f"{lossy.suspected}, {lossy.failed}", "0, 0"),
        (f"{LOSS:.0%} loss: saved by a stream", f"{lossy.by_stream_only}", f"{by_stream:.0f}"),
    ]


def table(sizes: Sequence[Figures]) -> str:
    """Two columns a size."""
    lines = [
        "| | " + " | ".join(f"{size.agents:,} agents | expected" for size in sizes) + " |",
        "|---" + "|--:" * (2 * len(sizes)) + "|",
    ]
    for columns in zip(*map(rows, sizes), strict=True):
        cells = [cell for _, found, expected in columns for cell in (found, expected)]
        lines.append(f"| {columns[0][0]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


WIDTH, HEIGHT, LEFT, TOP, GAP = 220, 150, 48, 78, 34
SPAN = 2.5
"""The panels' width, in seconds."""

STYLE = """
svg { color: #24292f; font: 12px system-ui, sans-serif; }
@media (prefers-color-scheme: dark) { svg { color: #e6edf3; } }
text { fill: currentColor; }
.axis { stroke: currentColor; stroke-opacity: 0.55; fill: none; }
.grid { stroke: currentColor; stroke-opacity: 0.15; }
.measured { stroke: #2f81f7; stroke-width: 2; fill: none; }
.expected { stroke: currentColor; stroke-width: 1.5; stroke-dasharray: 5 4; fill: none; }
"""
# As an <img>, a picture inherits no colour from its page: hence the media query beside currentColor.


def _line(kind: str, share: Callable[[float], float]) -> str:
    """The graph of a function of seconds, within a panel."""
    steps = 125
    points = (
        f"{WIDTH * step / steps:.1f},{HEIGHT * (1 - share(SPAN * step / steps)):.1f}"
        for step in range(steps + 1)
    )
    return f'<polyline class="{kind}" points="{" ".join(points)}"/>'


def panel(figures: Figures, left: int) -> list[str]:
    """One size: all its events as one curve, for they differ by less than a round."""
    times = sorted(seconds for event in figures.spreads for seconds in event)
    lines = [f'<g transform="translate({left} {TOP})">', f'<text y="-10">{figures.agents:,} agents</text>']
    for percent in (0, 50, 100):
        y = HEIGHT * (1 - percent / 100)
        lines.append(f'<path class="grid" d="M0 {y:g}H{WIDTH}"/>')
        if left == LEFT:
            lines.append(f'<text x="-6" y="{y + 4:g}" text-anchor="end">{percent} %</text>')
    for tick in range(int(2 * SPAN) + 1):
        x = WIDTH * tick / (2 * SPAN)
        lines.append(f'<path class="axis" d="M{x:g} {HEIGHT}v4"/>')
        if tick % 2 == 0:
            label = f"{tick // 2} s"
            lines.append(f'<text x="{x:g}" y="{HEIGHT + 18}" text-anchor="middle">{label}</text>')
    return [
        *lines,
        f'<path class="axis" d="M0 0V{HEIGHT}H{WIDTH}"/>',
        _line("expected", lambda seconds: conv(figures.agents, seconds)),
        _line("measured", lambda seconds: bisect_right(times, seconds) / len(times)),
        "</g>",
    ]


def picture(sizes: Sequence[Figures]) -> str:
    """A panel a size: the share of agents that know of a user event, over time."""
    width = LEFT + len(sizes) * (WIDTH + GAP)
    height = TOP + HEIGHT + 28
    panels = [
        line for number, size in enumerate(sizes) for line in panel(size, LEFT + number * (WIDTH + GAP))
    ]
    title = "Agents that know of a user event, by time since it was fired"
    key = (("measured", "measured", LEFT), ("expected", "Serf’s conv(x)", LEFT + 110))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
            f"<title>{title}</title>",
            f"<style>{STYLE}</style>",
            f'<text x="{LEFT}" y="18" font-weight="600">{title}</text>',
            *(
                f'<path class="{kind}" d="M{x} 33h24"/><text x="{x + 30}" y="37">{name}</text>'
                for kind, name, x in key
            ),
            *panels,
            "</svg>\n",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--agents", default="100,1000")
    parser.add_argument("--seconds", default="60")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    agents = [int(number) for number in options.agents.split(",")]
    seconds = [int(number) for number in options.seconds.split(",")]
    if len(seconds) == 1:
        seconds *= len(agents)
    if len(seconds) != len(agents):
        parser.error(
            f"--seconds has {len(seconds)} numbers for {len(agents)} sizes: give one, or one for each"
        )
    if min(agents) <= max(EVENTS, KILLS) or min(seconds) < 1:
        parser.error(f"--agents must be above {max(EVENTS, KILLS)}, --seconds at least 1")

    # A process a size, one at a time, because the peak of memory is the process's.
    fresh = multiprocessing.get_context("spawn")
    sizes = []
    with ProcessPoolExecutor(1, mp_context=fresh, max_tasks_per_child=1) as executor:
        for figures in executor.map(measured, agents, seconds, [options.seed] * len(agents)):
            sizes.append(figures)
            print("\n".join(map(" | ".join, rows(figures))), end="\n\n", flush=True)
    PICTURE.write_text(picture(sizes))
    print(table(sizes))


if __name__ == "__main__":
    main()
