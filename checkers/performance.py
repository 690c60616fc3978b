"""Latencies and rates over time: figures for the report.

Verifies
    nothing; the verdict is valid if there are figures, and unknown if not.
Does not verify
    any promise about speed: that is for a benchmark, on a machine of known strength.
Algorithm and source
    Quantiles of the latencies, overall and in windows of time, as Jepsen's `checker.perf`.
Complexity
    O(n log n) for n operations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checkers._quantiles import QUANTILES, quantiles
from harness.history import FAIL, OK, History
from harness.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Performance:
    """The checker. Windows are `window` seconds long, or longer, so that there are at most `windows_max`."""

    window: float = 1.0
    windows_max: int = 500

    @property
    def name(self) -> str:
        return "performance"

    def check(self, history: History) -> Verdict:
        operations = history.operations
        done = operations.complete >= 0
        if not done.any() or history.time[-1] <= 0:
            return Verdict(
                checker=self.name,
                valid="unknown",
                summary="There is nothing to measure: no operation was completed.",
            )
        seconds = float(history.time[-1]) / 1e9
        window = max(self.window, seconds / self.windows_max)
        count = int(seconds / window) + 1
        begun = history.time[operations.invoke]
        ended = history.time[np.where(done, operations.complete, 0)]
        latency_ms = (ended - begun) / 1e6
        at = (ended / 1e9 / window).astype(np.int64)
        ok = operations.outcome == OK
        series: dict[str, Any] = {}
        for f in np.unique(operations.f).tolist():
            mine = operations.f == f
            good = mine & ok
            series[history.fs[f]] = {
                "ok": _rates(at[good], count, window),
                "fail": _rates(at[mine & (operations.outcome == FAIL)], count, window),
                "info": _rates(at[mine & done & ~ok & (operations.outcome != FAIL)], count, window),
                "latency ms": quantiles(latency_ms[good]),
                "latency ms over time": _over_time(latency_ms[good], at[good], count),
            }
        overall = quantiles(latency_ms[ok])
        rate = float(ok.sum()) / seconds
        text = ", ".join(f"{_percentile(q)} {ms:.1f} ms" for q, ms in overall.items())
        return Verdict(
            checker=self.name,
            valid="valid",
            summary=f"{rate:.0f} operations a second succeeded; latency {text or 'unknown'}.",
            details={
                "seconds": seconds,
                "ok per second": rate,
                "latency ms": overall,
                "window seconds": window,
                "series": series,
            },
        )


def _percentile(quantile: str) -> str:
    """As people say it: p50, p99, max."""
    return "max" if float(quantile) == 1 else f"p{100 * float(quantile):g}"


def _rates(at: NDArray[np.int64], count: int, window: float) -> list[float]:
    """Operations per second, by the window in which they ended."""
    rates: list[float] = (np.bincount(at, minlength=count) / window).round(3).tolist()
    return rates


def _over_time(
    latency_ms: NDArray[np.float64], at: NDArray[np.int64], count: int
) -> dict[str, list[float | None]]:
    """Each quantile by window; None where nothing ended."""
    order = np.argsort(at, kind="stable")
    groups = np.split(latency_ms[order], np.searchsorted(at[order], np.arange(1, count)))
    by_window = [quantiles(group) for group in groups]
    return {str(q): [found.get(str(q)) for found in by_window] for q in QUANTILES}
