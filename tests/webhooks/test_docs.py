"""The Python of the how-to pages runs as written."""

import re
from pathlib import Path

import pytest

HOWTO = Path(__file__).parents[2] / "docs" / "howto"


@pytest.mark.parametrize("page", ["send-webhooks.md", "receive-webhooks.md"])
def test_every_block_of_python_runs(page: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python(?: continued)?\n(.*?)^```", (HOWTO / page).read_text(), re.DOTALL | re.MULTILINE)
    assert blocks
    names = {"__name__": "docs"}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{page}:{number}", "exec"), names)
