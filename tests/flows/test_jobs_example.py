"""examples/jobs as a new user runs it: in the test kit, in one process, and with the worker in a process of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app_kernel import get_job_client
from app_kernel.testing import KernelClient, kernel_client
from tests.live_server import live_server

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "jobs"
PASSWORD = "plum tree over water"
SETTINGS = {"JWT_SECRET": "a-secret-for-the-example-of-32-bytes"}


@pytest.fixture
async def client(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[KernelClient]:
    """The example in the test kit; other examples have modules of the same names."""
    monkeypatch.syspath_prepend(EXAMPLE)
    monkeypatch.setenv("JWT_SECRET", SETTINGS["JWT_SECRET"])
    for name in ("main", "tasks"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    app = import_module("main").app
    try:
        async with kernel_client(app, frozen_at=datetime(2026, 1, 1, tzinfo=UTC)) as client:
            yield client
    finally:
        for name in ("main", "tasks"):
            del sys.modules[name]


async def order(user: Any, region: str, **more: str) -> str:
    """The id of a new report."""
    answer = await user.post("/reports", json={"region": region, **more})
    assert answer.status_code == 202, answer.text
    assert answer.json()["status"] == "ordered"
    return str(answer.json()["id"])


async def test_a_report_is_made_by_its_job_and_shows_how_that_stands(client: KernelClient) -> None:
    ada = await client.log_in_as("ada@example.com")
    id = await order(ada, "north")
    waiting = (await ada.get(f"/reports/{id}")).json()
    assert waiting["job"] == {"status": "queued", "progress": 0, "doing": None}
    await client.jobs.assert_enqueued("build_report", {"report_id": id}, times=1, id=f"report:{id}")

    (job,) = await client.jobs.drain()
    assert job.result == {"total": 1347}
    ready = (await ada.get(f"/reports/{id}")).json()
    assert (ready["status"], ready["total"], ready["updated_by"]) == ("ready", 1347, ada.user.id)
    assert ready["job"] == {"status": "completed", "progress": 1, "doing": "quarter 4 of 4"}


async def test_urgent_reports_come_first(client: KernelClient) -> None:
    ada = await client.log_in_as("ada@example.com")
    usual, urgent = await order(ada, "north"), await order(ada, "north", urgency="high")
    assert [job.id for job in await client.jobs.drain()] == [f"report:{urgent}", f"report:{usual}"]


async def test_figures_that_cannot_be_had_now_are_asked_for_again(client: KernelClient) -> None:
    ada = await client.log_in_as("ada@example.com")
    id = await order(ada, "south")
    (failed,) = await client.jobs.drain()
    assert failed.status == "scheduled"
    assert "SourceAway: no figures of south now" in (failed.error or "")
    client.clock.advance(1)
    (done,) = await client.jobs.drain()
    assert (done.status, done.attempt, done.max_attempts) == ("completed", 2, 3)
    assert (await ada.get(f"/reports/{id}")).json()["total"] == 675


async def test_a_report_that_cannot_be_made_is_marked_as_failed(client: KernelClient) -> None:
    ada = await client.log_in_as("ada@example.com")
    id = await order(ada, "atlantis")
    dead, told = await client.jobs.drain()
    assert (dead.status, dead.attempt) == ("dead", 1)
    assert (told.task_name, told.status) == ("report_failed", "completed")
    assert (await ada.get(f"/reports/{id}")).json()["status"] == "failed"


async def test_a_report_belongs_to_who_ordered_it(client: KernelClient) -> None:
    ada, bob = await client.log_in_as("ada@example.com"), await client.log_in_as("bob@example.com")
    id = await order(ada, "north")
    assert (await bob.get(f"/reports/{id}")).status_code == 404
    assert (await bob.get(f"/jobs/report:{id}")).status_code == 404
    assert (await client.post("/reports", json={"region": "north"})).status_code == 401
    await client.jobs.assert_enqueued("build_report", times=1)


async def test_the_nightly_task_removes_what_is_older_than_thirty_days(client: KernelClient) -> None:
    ada = await client.log_in_as("ada@example.com")
    old = await order(ada, "north")
    client.clock.advance(timedelta(days=31).total_seconds())
    new = (await client.db.save_entity("reports", {"region": "south"}))["id"]
    await get_job_client().enqueue("remove_old_reports", priority=1)
    removed, *_ = await client.jobs.drain()
    assert removed.result == {"removed": 1}
    assert await client.db.get_entity("reports", old) is None
    assert await client.db.get_entity("reports", new) is not None


class Ada:
    """Somebody who signed up at a running service."""

    def __init__(self, url: str) -> None:
        given = {"email": "ada@example.com", "password": PASSWORD}
        answer = httpx2.post(f"{url}/auth/register", json=given, timeout=30)
        assert answer.status_code == 201, answer.text
        self._url = url
        self._headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}

    def order(self, region: str) -> str:
        answer = httpx2.post(f"{self._url}/reports", json={"region": region}, headers=self._headers, timeout=30)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def report(self, id: str) -> dict[str, Any]:
        answer = httpx2.get(f"{self._url}/reports/{id}", headers=self._headers, timeout=30)
        assert answer.status_code == 200, answer.text
        report: dict[str, Any] = answer.json()
        return report

    def wait_for(self, id: str, status: str, seconds: float = 30) -> dict[str, Any]:
        """The report once it has this status."""
        deadline = time.monotonic() + seconds
        while (report := self.report(id))["status"] != status:
            assert time.monotonic() < deadline, report
            time.sleep(0.05)
        return report


@contextmanager
def worker(folder: Path, *options: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """`python -m app_kernel.jobs.worker` in a folder; its output is read by whoever wants it."""
    environment = {"PATH": os.environ["PATH"], **variables}
    process = subprocess.Popen(
        [sys.executable, "-m", "app_kernel.jobs.worker", *options],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


def folder_of(tmp_path: Path) -> Path:
    """A copy of the example, where its database may be made."""
    for name in ("main.py", "tasks.py"):
        (tmp_path / name).write_text((EXAMPLE / name).read_text())
    return tmp_path


@pytest.mark.slow
def test_one_command_serves_it_and_runs_its_jobs(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    with live_server(folder, **SETTINGS, ALLOW_SELF_SIGNUP="true") as server:
        ada = Ada(server.url)
        north, south, atlantis = (ada.order(region) for region in ("north", "south", "atlantis"))
        assert ada.wait_for(north, "ready")["total"] == 1347
        assert ada.wait_for(south, "ready")["total"] == 675
        assert ada.wait_for(atlantis, "failed")["job"]["status"] == "dead"
        listed = run(folder, "list")
        assert f"report:{atlantis}  build_report  default  dead  1/3" in listed
        assert "remove_old_reports  default  scheduled" in listed
        assert '"total":675' in run(folder, "show", f"report:{south}")
        assert server.stop() in (0, -signal.SIGTERM)
    assert (folder / "data" / "app.db").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--tasks", "tasks"), ("--app", "main:app")], ids=["tasks", "app"])
def test_the_worker_runs_apart(tmp_path: Path, options: tuple[str, ...]) -> None:
    folder = folder_of(tmp_path)
    with live_server(folder, **SETTINGS, ALLOW_SELF_SIGNUP="true", EMBEDDED_WORKER="false") as server:
        ada = Ada(server.url)
        before = ada.order("south")
        with worker(folder, *options, **SETTINGS, DATABASE_PATH="./data/app.db") as process:
            assert ada.wait_for(before, "ready")["total"] == 675
            assert ada.wait_for(ada.order("north"), "ready")["job"]["status"] == "completed"
            process.send_signal(signal.SIGTERM)
            said, _ = process.communicate(timeout=30)
        assert process.returncode == 0, said
        assert '"event":"worker_started"' in said
        waiting = ada.order("north")
        assert ada.report(waiting)["job"]["status"] == "queued"
        with worker(folder, *options, **SETTINGS, DATABASE_PATH="./data/app.db"):
            assert ada.wait_for(waiting, "ready")["total"] == 1347


def run(folder: Path, *arguments: str) -> str:
    """What `app-kernel jobs ...` prints in a folder, without any settings: the default database."""
    command = [str(Path(sys.executable).with_name("app-kernel")), "jobs", *arguments]
    done = subprocess.run(
        command, cwd=folder, env={"PATH": ""}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readme_of_the_example_names_what_is_there() -> None:
    text = (EXAMPLE / "README.md").read_text()
    for command in ("uvicorn main:app", "python -m app_kernel.jobs.worker --tasks tasks", "app-kernel jobs list"):
        assert command in text
