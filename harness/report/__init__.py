"""The report: one self-contained page of a run, from what is in its folder.

Rules
-----
1. The page needs no network and cannot use one: its Content-Security-Policy forbids every request, and every
   script but the two that were put in here (by their hashes).
2. The verdict comes first, as plain HTML that is there before any script runs; so does the evidence, as SVG.
   Charts follow when the browser is idle.
3. Whatever a client read, an agent logged or a nemesis said is text: escaped by the template, and set by the
   script as text, never as markup.
4. Whatever is missing, damaged or too long to show is said in words in its place; the page never fails.

Parts: `folder` (what is there), `words`, `evidence` (small pictures), `linearization` and `cycle`
(interactive ones), `series` and `charts` (Bokeh), `logs`; page.html, pictures.html, page.css and page.js.
`python -m harness.report.screenshot` makes a picture of a page.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.report import words
from harness.report.folder import Run, load

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from harness.report import series

__all__ = ["write"]

_HERE = Path(__file__).parent


def write(directory: Path) -> Path:
    """Write `report.html` into a run's folder and return its path.

    Takes whatever the folder holds. NotADirectoryError if there is none; OSError if the page cannot be
    written.
    """
    path = directory / "report.html"
    text = page(load(directory))
    # Replaced as a whole: whoever has the page open never reloads half of it.
    unfinished = directory / "report.html.tmp"
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
    return path


def page(run: Run) -> str:
    """The page of a run."""
    # Imported here: both take longer than a command line should take to start.
    from bokeh.resources import Resources
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "duration": words.duration_text,
        "size": words.size_text,
        "moment": words.moment_text,
        "figures": words.figures,
        "count": lambda number: f"{number:,}",
    }
    data, shown = _content(run)
    scripts = {
        "bokeh": Resources(mode="inline", components=["bokeh"]).js_raw[0] if "charts" in data else "",
        "page": (_HERE / "page.js").read_text(encoding="utf-8"),
    }
    word, tone, why = words.headline(run.results)
    return environment.get_template("page.html").render(
        run=run,
        test=run.test,
        results=run.results,
        word=word,
        tone=tone,
        why=why,
        command=shlex.join(run.test.command) if run.test is not None else "",
        policy="; ".join(
            [
                "default-src 'none'",
                "script-src " + " ".join(_hash(script) for script in scripts.values() if script),
                "style-src 'unsafe-inline'",
                "img-src data:",
                "base-uri 'none'",
                "form-action 'none'",
            ]
        ),
        style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup(scripts["page"]),
        bokeh=_packed(scripts["bokeh"].encode()),
        data=_packed(_json(data)),
        **shown,
    )


def _content(run: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the page's script gets, and what the template gets."""
    from harness.report import cycle, evidence, linearization, logs, series

    history = run.history
    seconds = series.seconds(history) if history is not None else 0.0
    data: dict[str, Any] = {"seconds": seconds}
    shown: dict[str, Any] = {
        "seconds": seconds, "marks": [], "functions": [], "latencies": [], "operations": 0, "ended": {},
        "pictures": [], "has": dict.fromkeys(("faults", "operations", "membership"), False), "events": 0,
    }  # fmt: skip
    if history is not None:
        shown |= _history_content(run, data)
    pictures = []
    for verdict in run.results.verdicts if run.results is not None else []:
        for one in verdict.evidence:
            drawn = evidence.picture(history, one) if history is not None else None
            order, cyclic = linearization.picture(history, one), cycle.picture(history, one)
            pictures.append((verdict, one, drawn, order, cyclic))
    if "operations" in data:
        data["operations"]["offending"] = sorted(
            {
                place
                for verdict, _, drawn, *_ in pictures
                if drawn and verdict.valid == "invalid"
                for place in drawn.places
            }
        )
    shown["pictures"] = pictures
    found = [logs.read(path, node, len(run.logs), run.began, seconds) for node, path in run.logs]
    shown["logs"] = found
    shown["levels"] = logs.LEVELS
    data["logs"] = [
        {"node": log.node, "lines": log.lines, "levels": log.levels, "times": log.times, "head": log.head,
         "omitted": words.size_text(log.omitted) if log.omitted else "", "path": log.path}
        for log in found
    ]  # fmt: skip
    return data, shown


def _history_content(run: Run, data: dict[str, Any]) -> dict[str, Any]:
    """What of `_content` comes from the history: fills `data`, returns what the template gets."""
    from harness.report import charts, series

    assert run.history is not None
    history, nodes = run.history, run.nodes
    marks = run.test.marks if run.test is not None else []
    operations = series.operations(history, run.test, nodes)
    faults = series.faults(history, marks, nodes)
    bands = series.membership(history, nodes)
    latencies = series.latencies(history)
    if len(history):
        data["charts"] = charts.document(
            series.seconds(history), operations, faults, marks, series.rates(history), bands, nodes
        )
        data["operations"] = {
            **_times(operations), "outcome": _column(operations.outcome), "f": _column(operations.f),
            "process": _column(operations.process), "row": _column(operations.row),
            "fs": operations.fs, "rows": operations.rows, "text": operations.text, "hints": operations.hints,
            "markers": list(charts.MARKERS),
        }  # fmt: skip
    used = {operations.fs[code] for code in set(operations.f.tolist())}
    return {
        "marks": [mark for number, mark in enumerate(marks) if any(fault.mark == number for fault in faults)],
        "functions": [(code, f) for code, f in enumerate(operations.fs) if f in used],
        "latencies": latencies,
        "operations": len(operations.start),
        "events": len(history),
        "ended": {
            outcome: sum(getattr(row, outcome) for row in latencies if row.f != "all" or len(latencies) == 1)
            for outcome in ("ok", "fail", "info")
        },
        "has": {"faults": bool(faults), "operations": bool(len(operations.start)), "membership": bool(bands)},
    }


def _times(operations: series.Operations) -> dict[str, dict[str, str]]:
    """Start (from the previous operation's) and duration in whole microseconds: small numbers pack well."""
    import numpy as np

    start, end = (np.rint(times * 1e6).astype(np.int64) for times in (operations.start, operations.end))
    return {
        "since": _column(np.diff(start, prepend=0).astype(np.uint32)),
        "took": _column((end - start).astype(np.uint32)),
    }


def _column(values: NDArray[np.generic]) -> dict[str, str]:
    return {"type": values.dtype.name, "base64": base64.b64encode(values.tobytes()).decode()}


def _json(data: dict[str, Any]) -> bytes:
    import msgspec

    return msgspec.json.encode(data)


def _packed(data: bytes) -> str:
    """gzip in base64: a third of the size, and nothing that a browser could take for markup."""
    return base64.b64encode(gzip.compress(data, compresslevel=6, mtime=0)).decode()


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
