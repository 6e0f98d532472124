"""The reference says what the code says, every link leads somewhere, and docs/README.md leads to every page."""

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import app_kernel
from app_kernel.db.drivers import mysql_options, postgres_options
from tools.reference import PAGES, PUBLIC_MODULES, RENDERERS
from tools.reference.python_api import WIRING

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
INDEX = ROOT / "docs" / "README.md"
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)")
PLACELESS = {"app_kernel.cli", "app_kernel.metrics", "app_kernel.oauth", "app_kernel.service"}
"""Packages of which applications import nothing; `create_service` is of `app_kernel`."""


def links(document: Path) -> list[tuple[Path, str]]:
    """Where the relative links of a page lead, each with its heading."""
    found = LINK.findall(document.read_text())
    return [
        (document.parent / target if target else document, heading)
        for target, heading in found
        if not target.startswith(("http://", "https://", "mailto:"))
    ]


def headings(document: Path) -> set[str]:
    """The names under which the headings of a page can be linked."""
    found = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("name", RENDERERS)
def test_the_reference_page_is_what_the_code_says(name: str) -> None:
    assert (PAGES / name).read_text() == RENDERERS[name](), f"run `python -m tools.reference` and commit {name}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    broken = [str(target) for target, _ in links(document) if not target.exists()]
    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_to_a_heading_finds_it(document: Path) -> None:
    broken = [
        f"{target.name}#{heading}"
        for target, heading in links(document)
        if heading and target.suffix == ".md" and target.exists() and heading not in headings(target)
    ]
    assert broken == []


def test_the_index_of_the_documentation_has_every_page() -> None:
    linked = {target.resolve() for target, _ in links(INDEX)}
    pages = {path for path in (ROOT / "docs").rglob("*.md") if path != INDEX}
    decisions = {path for path in pages if path.parent.name == "adr"}
    assert {str(path.relative_to(ROOT)) for path in pages - decisions - linked} == set()
    # Decisions are many and are listed on one page, which the index names.
    listed = {target.resolve() for target, _ in links(ROOT / "docs" / "architecture.md")}
    assert decisions
    assert decisions - listed == set()
    assert ROOT / "docs" / "architecture.md" in linked


def test_the_examples_are_in_the_index() -> None:
    linked = {target.resolve() for target, _ in links(INDEX)}
    assert set((ROOT / "examples").glob("*/README.md")) - linked == set()


GLOSSARY = re.findall(r"^\*\*([^*]+)\*\*: (.+)$", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)


def test_the_glossary_is_in_the_order_of_the_alphabet_and_short() -> None:
    terms = [term for term, _ in GLOSSARY]
    assert len(terms) > 50
    assert terms == sorted(set(terms), key=str.lower)
    for term, meaning in GLOSSARY:
        assert meaning.endswith("."), term
        assert len(re.findall(r"[.:;](?: |$)", meaning)) <= 4, term


def test_every_term_of_the_glossary_is_used_elsewhere() -> None:
    pages = [page for page in (ROOT / "docs").rglob("*.md") if page.name != "glossary.md"]
    text = " ".join(word for page in pages for word in page.read_text().split())
    assert [term for term, _ in GLOSSARY if not re.search(rf"(?<![a-z]){term}", text, re.IGNORECASE)] == []


def test_every_public_name_is_in_the_reference() -> None:
    page = (PAGES / "python.md").read_text()
    sections = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    packages = {f"app_kernel.{each.name}" for each in pkgutil.iter_modules(app_kernel.__path__) if each.ispkg}
    assert packages - {"app_kernel.core"} - set(PUBLIC_MODULES) <= PLACELESS
    for path in PUBLIC_MODULES:
        names = set(getattr(importlib.import_module(path), "__all__", ()))
        listed = set(re.findall(r"^- `(?:async (?:with )?)?(\w+)", sections[path], re.MULTILINE))
        assert names - listed <= WIRING, path


def test_every_option_of_a_database_url_is_in_the_reference() -> None:
    page = (PAGES / "store.md").read_text()
    table = page.partition("Options of a server's URL")[2].partition("\n\n")[2].partition("\n\n")[0]
    cells = re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)
    documented = {name for cell in cells for name in re.findall(r"\w+", cell)}
    assert documented == postgres_options._OPTIONS | mysql_options._OPTIONS


def test_what_is_wiring_is_in_no_other_page() -> None:
    pages = [page for page in (ROOT / "docs").rglob("*.md") if page.parent.name != "adr"]
    text = "\n".join(page.read_text() for page in pages)
    code = {name for names in re.findall(r"from app_kernel\S* import ([\w, ]+)", text) for name in names.split(", ")}
    assert code
    assert code & WIRING == set()
