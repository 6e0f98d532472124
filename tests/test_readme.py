"""Every Python block of the documentation runs as it stands, each in a process and a directory of its own.

Blocks of shell are checked by tests/test_shell_blocks.py; whole pages are followed in tests/flows.
"""

import ast
import json
import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import zygote
from tests.page_reader import FENCE

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN_AS_A_WHOLE = {
    "cache.md": "cache/test_docs.py",
    "prove-tenant-isolation.md": "testing/test_isolation_docs.py",
    "quickstart.md": "flows/test_pages_as_read.py",
    "send-webhooks.md": "webhooks/test_docs.py",
    "test-a-service.md": "testing/test_isolation_docs.py",
}
"""Pages with blocks that need those before them (`python continued`), and the tests that run these pages."""

BLOCKS = [
    pytest.param(source, id=f"{document.relative_to(ROOT)}-{number}")
    for document in DOCUMENTS
    for number, source in enumerate(BLOCK.findall(document.read_text()), 1)
]


def test_there_are_blocks_to_run() -> None:
    assert len(BLOCKS) >= 5


@pytest.mark.parametrize("source", BLOCKS)
def test_a_block_of_the_documentation_runs(source: str, tmp_path: Path) -> None:
    script = tmp_path / "block.py"
    script.write_text(source)
    providers = ("GOOGLE", "GITHUB", "WORK")
    clients = {f"{name}_CLIENT_{part}": "invented" for name in providers for part in ("ID", "SECRET")}
    environment = {"PATH": os.environ["PATH"], "JWT_SECRET": "a-secret-for-the-documentation-of-32-bytes", **clients}
    done = zygote.run("block", [], cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]


def test_pages_whose_blocks_belong_together_are_run_by_a_test_of_their_own() -> None:
    continued = {document.name for document in DOCUMENTS if "```python continued\n" in document.read_text()}
    assert continued == set(RUN_AS_A_WHOLE)
    for page, test in RUN_AS_A_WHOLE.items():
        assert f'"{page}"' in (ROOT / "tests" / test).read_text()


@pytest.mark.parametrize(("language", "read"), [("json", json.loads), ("toml", tomllib.loads)])
def test_data_in_the_documentation_can_be_read(language: str, read: Callable[[str], object]) -> None:
    found = [
        block
        for document in DOCUMENTS
        for language_of, block in FENCE.findall(document.read_text())
        if language_of == language
    ]
    assert [read(block) for block in found]


@pytest.mark.parametrize("document", ["README.md", "docs/quickstart.md"])
def test_a_page_shows_the_example_that_make_run_serves(document: str) -> None:
    shown = BLOCK.findall((ROOT / document).read_text())[0]
    served = (ROOT / "examples" / "widgets" / "main.py").read_text()
    assert _code(shown) == _code(served)


def _code(source: str) -> list[str]:
    """What the source does, without its comments, its layout and the order of what it imports."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            node.names.sort(key=lambda alias: alias.name)
    imports = sorted(ast.dump(node) for node in tree.body if isinstance(node, ast.ImportFrom))
    return imports + [ast.dump(node) for node in tree.body if not isinstance(node, ast.ImportFrom)]
