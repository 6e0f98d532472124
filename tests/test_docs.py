"""The reference says what the code says: a setting, error, event, metric, command or route missing there is red."""

import re
from pathlib import Path

import pytest

from tools.reference import PAGES, RENDERERS

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("name", RENDERERS)
def test_the_reference_page_is_what_the_code_says(name: str) -> None:
    assert (PAGES / name).read_text() == RENDERERS[name](), f"run `python -m tools.reference` and commit {name}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    broken = [
        target
        for target in LINK.findall(document.read_text())
        if not target.startswith(("http://", "https://", "mailto:")) and not (document.parent / target).exists()
    ]
    assert broken == []
