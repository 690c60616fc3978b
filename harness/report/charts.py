"""The charts: Bokeh models made here, the many points filled in by the browser.

Why Bokeh: it is a well-kept library whose Python wheel carries its script, so a page needs no network and
this repository no copy of it. Why the points come later: what one sees of 100,000 operations is at most one
mark per pixel, so `page.js` reduces them to the pixels of the stretch that is shown, each time that changes
(outcomes apart, offending ones never merged). That is exact at every zoom and quick without a GPU.

All charts share one horizontal range: zooming into one zooms into all. Colours are not set here: a glyph's
first tag names a CSS variable (`ok`, `fail`, ...) which `page.js` reads for light and dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.report import series
from harness.report.words import duration_text

if TYPE_CHECKING:
    from bokeh.models import ColumnDataSource, Range1d
    from bokeh.plotting import figure

    from harness.store import MarkRecord

# Bokeh takes longer to import than a command line should take to start: it is imported inside functions.

MARKERS = ("circle", "square", "triangle", "diamond")
"""Of the scatter's points, by function: the first ones, in order; the rest have the last."""
_BORDER_LEFT = 84
_TIP = (
    '<div style="max-width:26rem;font:13px/1.45 system-ui,sans-serif"><b>@what</b><br>@when<br>'
    '<span style="opacity:.8">@who @hint</span></div>'
)


def document(
    seconds: float,
    operations: series.Operations,
    faults: Sequence[series.Fault],
    marks: Sequence[MarkRecord],
    rates: series.Rates,
    bands: Sequence[series.Band],
    nodes: Sequence[str],
) -> dict[str, Any]:
    """A Bokeh document as JSON values; its roots are named as the page's chart elements."""
    from bokeh.document import Document
    from bokeh.models import ColumnDataSource, Range1d

    whole = max(seconds, 1e-6)
    span = Range1d(start=0, end=whole, bounds=(-0.02 * whole, 1.02 * whole), name="span", min_interval=2e-6)
    damage = [
        ColumnDataSource(
            {
                "left": [fault.start for fault in faults if fault.mark == number],
                "right": [fault.end for fault in faults if fault.mark == number],
                "what": [f"{mark.name}: {fault.text}" for fault in faults if fault.mark == number],
                "when": [_when(fault.start, fault.end) for fault in faults if fault.mark == number],
                "text": [fault.text for fault in faults if fault.mark == number],
            }
        )
        for number, mark in enumerate(marks)
    ]
    charts = _Charts(span, marks, damage)
    roots = []
    if any(faults):
        roots.append(charts.faults())
    if len(operations.start):
        roots += [
            charts.latency(operations),
            charts.quantiles(rates),
            charts.rate(rates),
            charts.timeline(operations),
        ]
    if bands:
        roots.append(charts.membership(bands, nodes))
    doc = Document(title="splitbrain")
    with doc.models.freeze():  # models are shared: collect them once, not once per root
        for root in roots:
            doc.add_root(root)
    return dict(doc.to_json(deferred=False))


class _Charts:
    """Figures over one horizontal range, with the same faults shaded."""

    def __init__(self, span: Range1d, marks: Sequence[MarkRecord], damage: list[ColumnDataSource]) -> None:
        self.span = span
        self.marks = marks
        self.damage = damage

    def faults(self) -> figure:
        """One lane per kind of fault; the words are hidden by the browser where they do not fit."""
        lanes = [number for number, source in enumerate(self.damage) if len(source.data["left"])]
        plot = self._figure(
            "faults", 24 * len(lanes) + 54, y_range=(-0.5, len(lanes) - 0.5), label="", shade=False
        )
        drawn = []
        for lane, number in enumerate(reversed(lanes)):
            source = self.damage[number]
            rows = len(source.data["left"])
            source.data.update(top=[lane + 0.4] * rows, bottom=[lane - 0.4] * rows, middle=[lane] * rows)
            colour = self.marks[number].colour
            bars = plot.quad(
                left="left", right="right", top="top", bottom="bottom", source=source,
                fill_color=colour, fill_alpha=0.32, line_color=colour,
            )  # fmt: skip
            words = plot.text(
                x="left", y="middle", text="shown", source=source, x_offset=5, text_font_size="12px",
                text_baseline="middle",
            )  # fmt: skip
            words.glyph.tags = ["text"]
            source.data["shown"] = [""] * rows
            source.name = "fault-words"
            drawn.append(bars)
        self._hover(plot, drawn, "<b>@what</b><br>@when")
        plot.yaxis.ticker = list(range(len(lanes)))
        plot.yaxis.major_label_overrides = {
            lane: self.marks[number].name for lane, number in enumerate(reversed(lanes))
        }
        plot.ygrid.visible = False
        return plot

    def latency(self, operations: series.Operations) -> figure:
        """Every operation: from invocation to completion, over the time of its completion."""
        took = operations.end - operations.start
        took = took[took > 0]
        low, high = (float(took.min()), float(took.max())) if len(took) else (1e-3, 1.0)
        plot = self._figure("latency", 300, y_range=(low / 1.5, high * 1.5), label="latency", log=True)
        plot.image_rgba(
            "image",
            "x",
            "y",
            "dw",
            "dh",
            source=self._empty("latency-density", "image", "x", "y", "dw", "dh"),
        )
        points = []
        for outcome, size in (("ok", 4), ("fail", 6), ("info", 6), ("offence", 12)):
            source = self._empty(f"latency-{outcome}", "x", "y", "marker")
            renderer = plot.scatter(
                "x", "y", marker="marker", size=size, source=source,
                fill_alpha=0.55 if outcome == "ok" else 0.9,
                line_width=2 if outcome == "offence" else 0.5,
            )  # fmt: skip
            renderer.glyph.tags = [outcome]
            points.append(renderer)
        self._hover(plot, points, _TIP)
        return plot

    def quantiles(self, rates: series.Rates) -> figure:
        finite = np.concatenate(
            [values[np.isfinite(values) & (values > 0)] for values in rates.quantiles.values()]
        )
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (1e-3, 1.0)
        plot = self._figure("quantiles", 190, y_range=(low / 1.5, high * 1.5), label="latency", log=True)
        middle = (rates.edges[1:] + rates.edges[:-1]) / 2
        for (name, values), dash in zip(rates.quantiles.items(), ([], [], [6, 3], [2, 2]), strict=True):
            line = plot.line(middle, np.maximum(values, low / 10), line_width=2, line_dash=dash)
            # A bin between two empty ones has no line to be on.
            points = plot.scatter("x", "y", size=3, source=line.data_source)
            line.glyph.tags = points.glyph.tags = [name]
        return plot

    def rate(self, rates: series.Rates) -> figure:
        high = max(1.0, *(float(values.max()) for values in (rates.ok, rates.fail, rates.info)))
        plot = self._figure("rate", 190, y_range=(0, high * 1.08), label="operations per second")
        edges = np.repeat(rates.edges, 2)[1:-1]
        for outcome in ("ok", "fail", "info"):
            line = plot.line(
                edges, np.repeat(getattr(rates, outcome), 2), line_width=2 if outcome == "ok" else 1.5
            )
            line.glyph.tags = [outcome]
        return plot

    def timeline(self, operations: series.Operations) -> figure:
        """A row per client thread, a bar per operation from invocation to completion."""
        from bokeh.models import FixedTicker

        count = len(operations.rows)
        height = int(min(max(count * 18, 160), max(480, count * 8))) + 44
        plot = self._figure("timeline", height, y_range=(count - 0.5, -0.5), label="")
        bars = []
        for outcome in ("ok", "fail", "info", "offence"):
            source = self._empty(f"timeline-{outcome}", "left", "right", "top", "bottom")
            renderer = plot.quad(
                left="left", right="right", top="top", bottom="bottom", source=source,
                line_width=2 if outcome == "offence" else 0.5,
            )  # fmt: skip
            renderer.glyph.tags = [outcome]
            bars.append(renderer)
        flags = plot.scatter(
            "x", "y", marker="inverted_triangle", size=11, source=self._empty("timeline-flag", "x", "y")
        )  # fmt: skip
        flags.glyph.tags = ["offence"]
        plot.text(
            "left", "middle", "text", text_color="ink",
            source=self._empty("timeline-words", "left", "middle", "text", "ink"),
            x_offset=4, text_baseline="middle", text_font_size="11px",
        )  # fmt: skip
        self._hover(plot, [*bars, flags], _TIP)
        first: dict[str, int] = {}
        for row, node in enumerate(operations.rows):
            first.setdefault(node, row)
        starts = [*first.values(), count]
        centres = [(a + b - 1) / 2 for a, b in pairwise(starts)]
        every = len(centres) // 40 + 1
        plot.yaxis.ticker = centres[::every]
        plot.yaxis.major_label_overrides = dict(zip(centres, first, strict=True))
        plot.ygrid.ticker = FixedTicker(ticks=[row - 0.5 for row in starts[1:-1]])
        return plot

    def membership(self, bands: Sequence[series.Band], nodes: Sequence[str]) -> figure:
        """A group per target, a line per observer; or a line per target in a large cluster."""
        from bokeh.models import ColumnDataSource, FactorRange

        single = len(nodes) > series.OBSERVERS_MAX
        pairs = {(band.target, band.observer) for band in bands}
        order = {node: place for place, node in enumerate(nodes)}
        ordered = sorted(pairs, key=lambda pair: [(order.get(name, len(order)), name) for name in pair])
        factors: list[Any] = [target for target, _ in ordered] if single else ordered
        rows = FactorRange(factors=factors[::-1], range_padding=0.02, group_padding=0.7)
        height = max(120, len(factors) * (14 if single else 17) + (0 if single else 8 * len(nodes))) + 44
        plot = self._figure("membership", height, y_range=rows, label="")
        drawn = []
        for status in series.STATUSES:
            chosen = [band for band in bands if _known(band.status) == status]
            source = ColumnDataSource(
                {
                    "y": [band.target if single else (band.target, band.observer) for band in chosen],
                    "left": [band.start for band in chosen],
                    "right": [band.end for band in chosen],
                    "what": [f"{band.observer} sees {band.target}: {band.status}" for band in chosen],
                    "when": [_when(band.start, band.end) for band in chosen],
                }
            )
            bars = plot.hbar(
                y="y", left="left", right="right", height=0.82, source=source, line_width=0,
                hatch_pattern={"suspect": "/", "failed": "x"}.get(status, " "), hatch_scale=7,
                hatch_alpha=0.2, hatch_weight=1, hatch_color="black",
            )  # fmt: skip
            bars.glyph.tags = [status]
            drawn.append(bars)
        self._hover(plot, drawn, "<b>@what</b><br>@when")
        plot.ygrid.visible = False
        if not single:
            axis = plot.yaxis[0]
            axis.update(
                group_text_font_size="12px", group_text_font_style="bold", separator_line_alpha=0,
                group_label_orientation="horizontal", major_label_text_font_size="10px",
            )  # fmt: skip
        return plot

    def _figure(
        self, name: str, height: int, *, y_range: Any, label: str, log: bool = False,
        shade: bool = True,
    ) -> figure:  # fmt: skip
        from bokeh.models import BasicTickFormatter, BoxZoomTool, FixedTicker, WheelZoomTool
        from bokeh.plotting import figure

        plot = figure(
            name=name, height=height, sizing_mode="stretch_width", x_range=self.span, y_range=y_range,
            y_axis_type="log" if log else "auto", toolbar_location=None, output_backend="canvas",
            tools=[BoxZoomTool(dimensions="width"), WheelZoomTool(dimensions="width", modifiers="ctrl")],
            min_border_left=_BORDER_LEFT, min_border_right=14, min_border_top=6, min_border_bottom=4,
            background_fill_alpha=0, border_fill_alpha=0, outline_line_color=None,
            x_axis_label="time since the run began (s)", y_axis_label=label or None,
        )  # fmt: skip
        plot.xaxis.formatter = BasicTickFormatter(use_scientific=False)
        plot.xgrid.visible = False
        plot.axis.axis_label_text_font_style = "normal"
        plot.axis.axis_label_text_font_size = "12px"
        plot.axis.axis_label_text_font = plot.axis.major_label_text_font = "system-ui, sans-serif"
        plot.axis.major_label_text_font_size = "12px"
        plot.axis.minor_tick_line_color = None
        plot.yaxis.axis_line_color = None
        plot.yaxis.major_tick_line_color = None
        if log:
            decades = [10.0**power for power in range(-9, 5)]
            plot.yaxis.ticker = plot.ygrid.ticker = FixedTicker(ticks=decades)
            plot.yaxis.major_label_overrides = {decade: _tick(decade) for decade in decades}
        if shade:
            for mark, source in zip(self.marks, self.damage, strict=True):
                if len(source.data["left"]):
                    plot.vstrip(
                        x0="left", x1="right", source=source, fill_color=mark.colour, fill_alpha=0.13,
                        line_color=mark.colour, line_alpha=0.35, level="underlay",
                    )  # fmt: skip
        return plot

    def _hover(self, plot: figure, renderers: list[Any], tooltips: str) -> None:
        from bokeh.models import HoverTool

        plot.add_tools(HoverTool(renderers=renderers, tooltips=tooltips, point_policy="follow_mouse"))

    def _empty(self, name: str, *columns: str) -> ColumnDataSource:
        from bokeh.models import ColumnDataSource

        return ColumnDataSource(
            {column: [] for column in (*columns, "what", "when", "who", "hint")}, name=name
        )


def _known(status: str) -> str:
    return status if status in series.STATUSES else "unknown"


def _tick(decade: float) -> str:
    unit, size = next(
        one for one in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)) if decade >= one[1] * 0.99
    )
    return f"{decade / size:.0f} {unit}"


def _when(start: float, end: float) -> str:
    return f"{start:.3f} s to {end:.3f} s ({duration_text(end - start)})"
