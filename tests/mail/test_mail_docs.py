"""The page on mail says what the code says, and its examples run."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from app_kernel.mail.store import KEPT
from app_kernel.mail.tasks import WAITS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "howto" / "send-mail.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("code", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_runs_as_it_stands(code: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_line_of_the_log_is_explained() -> None:
    events: set[str] = set()
    for path in (ROOT / "src" / "app_kernel" / "mail").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("_log."):
                events.add(ast.literal_eval(node.args[0]))
    table = PAGE.partition("| log line |")[2]
    assert set(re.findall(r"`(mail_\w+)`", table)) == events


def test_the_figures_are_those_of_the_code() -> None:
    assert f"the newest {KEPT}" in PAGE
    assert WAITS == (2, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14400)
    assert "about 2, 5 and 15 seconds, 1, 5, 15 and 30 minutes, 1, 2 and 4 hours: eight hours in all" in PAGE
    assert 7.5 < sum(WAITS) / 3600 < 8.5
    for name in sorted((ROOT / "src" / "app_kernel" / "mail" / "templates").glob("*.subject.txt")):
        assert f"`{name.name.removesuffix('.subject.txt')}`" in PAGE
