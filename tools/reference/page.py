"""How a generated page looks."""

import inspect
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PAGES = Path(__file__).parents[2] / "docs" / "reference"
_NOTE = "<!-- Written by `python -m tools.reference`; do not edit. -->\n"


def page(title: str, introduction: str, body: str) -> str:
    """A whole page."""
    return f"# {title}\n\n{_NOTE}\n{textwrap.fill(introduction, 120, break_on_hyphens=False)}\n\n{body.rstrip()}\n"


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table; what stands in a cell may have bars."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def first(thing: Any) -> str:
    """The first paragraph of a docstring, on one line."""
    return re.sub(r"\s+", " ", (inspect.getdoc(thing) or "").split("\n\n")[0])
