"""The quick start and the READMEs of the examples, done as they say by somebody who knows nothing else."""

import json
from pathlib import Path

import pytest

from tests.page_reader import reading

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
INSTALLED = {
    "python3 -m venv .venv && . .venv/bin/activate": "",
    "pip install '/path/to/app_kernel[testing]' pytest pytest-asyncio": "",
}
"""Making an environment takes a registry and a minute; these tests run in one that is made."""

pytestmark = pytest.mark.slow


def copied(example: str, folder: Path) -> Path:
    """A folder with an example's code, where its database may be made."""
    for path in (*(EXAMPLES / example).glob("*.py"), *(EXAMPLES / example).glob("*.html")):
        (folder / path.name).write_text(path.read_text())
    return folder


def test_the_quick_start_leads_from_an_empty_folder_to_a_tested_service(tmp_path: Path) -> None:
    with reading(ROOT / "docs" / "quickstart.md", tmp_path, INSTALLED) as reader:
        for _ in range(3):
            assert reader.read() == []
        created, widget, listed = reader.read()
        assert "ada@example.com" in created
        assert json.loads(listed) == [json.loads(widget)]
        healthy = "\n".join(reader.read())
        assert '{"status":"ok"}' in healthy
        assert 'app_kernel_http_requests_total{method="POST",route="/widgets",status="200"} 1.0' in healthy
        assert any(line.startswith("1 passed") for line in reader.read())
        reader.stop()
        assert reader.read() == []
        told = "\n".join(reader.read())
        assert "make_widgets  default" in told
        assert "version 1  create" in told
        assert "auth.login" in told
        assert reader.is_done()


def test_the_readme_of_widgets(tmp_path: Path) -> None:
    with reading(EXAMPLES / "widgets" / "README.md", copied("widgets", tmp_path)) as reader:
        assert reader.read() == []
        *_, answers = reader.read()
        assert answers.count('"name":"gear"') == 2
        assert reader.is_done()


def test_the_readme_of_jobs(tmp_path: Path) -> None:
    with reading(EXAMPLES / "jobs" / "README.md", copied("jobs", tmp_path)) as reader:
        assert reader.read() == []
        *reports, jobs = reader.read()
        assert [json.loads(report)["region"] for report in reports] == ["north", "south", "atlantis"]
        assert jobs.count('"task_name":"build_report"') == 3
        report, *told = reader.read()
        assert json.loads(report)["job"]["status"] in {"queued", "running", "completed"}
        assert f"report:{json.loads(report)['id']}  build_report  default" in "\n".join(told)
        reader.stop()
        assert [reader.read(), reader.read()] == [[], []]
        assert reader.is_done()


def test_the_readme_of_notes(tmp_path: Path) -> None:
    with reading(EXAMPLES / "notes" / "README.md", copied("notes", tmp_path)) as reader:
        assert reader.read() == []
        assert "a mail is on its way" in "".join(reader.read())
        assert reader.is_done()
