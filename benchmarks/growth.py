"""How the time to check a history for linearizability grows, from 10,000 operations to 10 million: a drawing.

    python benchmarks/growth.py [docs/growth.svg]

Takes a minute or two, and 4 GB.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from html import escape
from math import log10
from pathlib import Path

from _histories import Kind, generate, history

from checkers._registers import FailedCas
from checkers.linearizable import Linearizable

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
CURVES: tuple[tuple[str, str, FailedCas, Kind], ...] = (
    ("register, 100 clients, 5 % crashed", "#0969da", "dropped", Kind(0, 100, crash_rate=0.05)),
    ("1,000 keys, 100 clients, 5 % crashed", "#8250df", "dropped", Kind(0, 100, 1000, crash_rate=0.05)),
    ("20 % cas, failed ones observed, 10 clients, 1 % crashed", "#bf8700", "observed",
     Kind(0, 10, crash_rate=0.01, cas=0.2)),
    ("5 values over and over, 20 % cas, 10 clients", "#cf222e", "dropped", Kind(0, 10, cas=0.2, values=5)),
)  # fmt: skip
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 760, 420, 70, 20, 20, 60
SECONDS = (-3, 2)
"""Of the vertical axis, as powers of ten; the horizontal one goes from 10^4 to 10^7."""


def draw(path: Path) -> None:
    """Measure, print and draw."""
    Linearizable().check(history(generate(Kind(300, values=3))))
    shapes = axes()
    for number, (name, colour, failed_cas, kind) in enumerate(CURVES):
        points = []
        for size in SIZES:
            made = history(generate(replace(kind, operations=size)))
            began = time.perf_counter()
            verdict = Linearizable(failed_cas=failed_cas, time_limit=300.0).check(made)
            seconds = time.perf_counter() - began
            print(f"{name:<60} {size:>10,} operations {seconds:8.3f} s  {verdict.valid}", flush=True)
            if verdict.valid == "valid":
                points.append((horizontal(size), vertical(seconds)))
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        shapes.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        shapes += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in points]
        y = TOP + 18 + 18 * number
        shapes.append(f'<circle cx="{LEFT + 16}" cy="{y - 4}" r="4" fill="{colour}"/>')
        shapes.append(f'<text x="{LEFT + 26}" y="{y}">{escape(name)}</text>')
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="13" fill="#57606a">\n<rect width="100%" height="100%" fill="#ffffff"/>\n'
        + "\n".join(shapes)
        + "\n</svg>\n"
    )


def axes() -> list[str]:
    shapes = []
    for power in range(SECONDS[0], SECONDS[1] + 1):
        y = vertical(10.0**power)
        shapes.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#d0d7de"/>')
        shapes.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g} s</text>')
    for size in SIZES:
        x = horizontal(size)
        shapes.append(f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#eaeef2"/>')
        anchor = "end" if size == SIZES[-1] else "middle"
        shapes.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="{anchor}">{size:,}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    shapes.append(f'<text x="{middle}" y="{HEIGHT - 14}" text-anchor="middle">operations</text>')
    return shapes


def horizontal(size: float) -> float:
    share = log10(size / SIZES[0]) / log10(SIZES[-1] / SIZES[0])
    return LEFT + (WIDTH - LEFT - RIGHT) * share


def vertical(seconds: float) -> float:
    share = (log10(seconds) - SECONDS[0]) / (SECONDS[1] - SECONDS[0])
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(max(share, 0.0), 1.0)


if __name__ == "__main__":
    draw(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/growth.svg"))
