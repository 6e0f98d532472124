"""docs/howto/prove-tenant-isolation.md: its code runs, and what it says of a hole is what is found."""

import re
from pathlib import Path
from typing import Any

import pytest

from app_kernel.core.config import SHORT_SECRET, ServiceConfig
from app_kernel.testing.callers import CALLERS

HOWTO = Path(__file__).parents[2] / "docs" / "howto"
PAGE = (HOWTO / "prove-tenant-isolation.md").read_text()
BLOCKS = re.findall(r"```python(?: continued)?\n(.*?)```", PAGE, re.DOTALL)


def test_the_code_of_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in BLOCKS:
        exec(block, names)
    assert names["app"].title == "planner"


def test_the_hole_of_the_page_is_found_as_it_says():
    sound = "await db.in_workspace(member.workspace_id).get_entity"
    assert sound in BLOCKS[0]
    with pytest.raises(AssertionError) as caught:
        exec(BLOCKS[0].replace(sound, "await db.get_entity"), {})
    said = str(caught.value)
    assert "2 findings about the isolation of workspaces:" in said
    for words in (
        "[leak] GET /workspaces/{workspace_id}/projects/{project_id} answered 200 with a text of workspace B",
        "(as viewer, member, admin, owner, other_owner)",
        "{project_id} is the other workspace's: GET /work",
    ):
        assert words in said
        assert words.split(" answered")[0] in " ".join(PAGE.split())


def test_the_code_of_the_page_on_testing_runs_too(monkeypatch):
    page = (HOWTO / "test-a-service.md").read_text()
    service, conftest, proof = re.findall(r"```python(?: continued)?\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(service + proof, names)
    assert names["shared"].title == "shared notes"
    monkeypatch.setenv("JWT_SECRET", "")
    exec(conftest, {})
    assert len(ServiceConfig.from_env(None).jwt_secret or "") >= SHORT_SECRET


def test_every_caller_is_named_once():
    assert len(set(CALLERS)) == len(CALLERS)
