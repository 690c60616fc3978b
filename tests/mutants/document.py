"""Sections of a Markdown file that programs write: each replaces its own and leaves the others alone."""

from __future__ import annotations

import re
from pathlib import Path

IN_WHOLE_AGENTS = "In whole agents"
"""What `benchmarks.simulated_mutants` writes of docs/mutants.md; `benchmarks.mutants` writes the rest."""


def replace_section(text: str, heading: str, body: str) -> str:
    """The text with this body under the heading `## heading`: in place of what was there, or at the end."""
    section = f"## {heading}\n\n{body.strip()}\n"
    found = re.search(rf"^## {re.escape(heading)}\n.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if found is None:
        return f"{text.rstrip()}\n\n{section}".lstrip()
    rest = text[found.end() :]
    return f"{text[: found.start()]}{section}{chr(10) if rest else ''}{rest}"


def section(text: str, heading: str) -> str | None:
    """What is under the heading, if there is such."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return None if found is None else found[1].strip()


def put(path: Path, heading: str, body: str) -> None:
    """Write the section into the file, which need not be there."""
    path.write_text(replace_section(path.read_text() if path.exists() else "", heading, body))
