"""Every Python block of the documentation runs as it stands, each in a process and a directory of its own."""

import ast
import os
import re
from pathlib import Path

import pytest

from tests import zygote

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)

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


def test_the_readme_shows_the_example_that_make_run_serves() -> None:
    shown = BLOCK.findall((ROOT / "README.md").read_text())[0]
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
