"""`python -m app_kernel.jobs.worker`: what it needs, what it says at its start, and what it runs."""

import asyncio
import json
import os
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer
from typer.testing import CliRunner

from app_kernel import ServiceConfig, create_service, get_job_client
from app_kernel.audit import get_audit_logs
from app_kernel.jobs.worker import command
from app_kernel.testing import kernel_client
from tests.flows.test_contract_snippets import DEFINING_TASKS
from tests.jobs.making import finished
from tests.jobs.places import JobPlace, sqlite
from tests.jobs.waiting import until
from tests.jobs.worker_process import COMMAND, addresses, environment, refused, worker
from tests.test_metrics import samples
from tools.services import free_port

SECRET = "the-secret-of-the-service-of-this-test-0123"

TASKS = """
import asyncio
from app_kernel import JobRegistry
from app_kernel.db import get_db_connection

registry = JobRegistry()

@registry.task("note")
async def note(payload, ctx):
    async with get_db_connection() as db:
        await db.save_entity("notes", {"text": payload["text"]})
    return ctx.queue_name

@registry.task("wait", queue="emails")
async def wait(payload):
    await asyncio.Event().wait()

@registry.task("boom", max_attempts=1)
def boom(payload):
    raise ValueError("no")
"""

MAIN = f"""
from app_kernel import ServiceConfig, create_service
from tasks import registry

config = ServiceConfig(jwt_secret="{SECRET}", database_name="URL")
app = create_service("shop", tasks=registry, config=config)
not_ours = object()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An application with tasks."""
    (tmp_path / "tasks.py").write_text(TASKS)
    return tmp_path


# The contract.


@pytest.mark.slow
@pytest.mark.acceptance("JB9")
async def test_the_command_of_the_contract_runs_jobs_that_another_process_enqueued(
    place: JobPlace, tmp_path: Path
) -> None:
    (tmp_path / "my_service").mkdir()
    imports = "from app_kernel.db import get_db_connection\n"
    (tmp_path / "my_service/tasks.py").write_text(imports + DEFINING_TASKS)
    async with (
        place.service(None, embedded_worker=False) as client,
        worker(tmp_path, "--tasks", "my_service.tasks", imports=True, **addresses(place)) as process,
    ):
        doc = await client.db.save_entity("documents", {"title": "a", "status": "new"})
        made = await get_job_client().enqueue("process_document", {"doc_id": doc["id"]}, user_id="ada")
        mail = await get_job_client().enqueue("send_email", {"to": "ada@example.com", "subject": "hello"})
        assert (await finished(get_job_client(), made.job_id, 40)).status == "completed"
        assert (await finished(get_job_client(), mail.job_id)).result == {"sent": True}
        saved = await client.db.get_entity("documents", doc["id"])
        assert saved is not None
        assert (saved["status"], saved["title"], saved["updated_by"]) == ("processed", "a", "ada")
        started = await process.said("worker_started")
        assert (await process.stop())[0] == 0
    assert started["tasks"] == ["process_document", "send_email"]
    assert (started["queues"], started["schedules"]) == ({"default": 10, "webhooks": 10}, {})
    where = urlsplit(place.database_url)
    server = f"postgres {where.hostname}:{where.port}{where.path}"
    assert started["database"] == (server if place.name == "postgres" else f"sqlite {where.path[1:]}")
    assert started["kept_in"].startswith({"redis": "redis 127.0.0.1:"}.get(place.name, f"{place.name} "))
    passwords = [each for url in addresses(place).values() if (each := urlsplit(url).password)]
    assert not [each for each in passwords if each in process.text]


# Where its tasks and settings come from.


@pytest.mark.slow
async def test_with_app_it_takes_settings_and_tasks_of_that_service_and_no_environment(folder: Path) -> None:
    async with sqlite() as place:
        (folder / "main.py").write_text(MAIN.replace("URL", place.database_url))
        (folder / "more.py").write_text(TASKS.replace('task("note")', 'task("other")').replace('"wait"', '"more.wait"'))
        (folder / "more.py").write_text((folder / "more.py").read_text().replace('"boom"', '"more.boom"'))
        async with (
            place.service(None, embedded_worker=False) as client,
            worker(folder, "--app", "main:app", "--tasks", "more") as process,
        ):
            for name in ("note", "other"):
                made = await get_job_client().enqueue(name, {"text": name})
                assert (await finished(get_job_client(), made.job_id, 40)).status == "completed"
            assert await client.db.count_entities("notes") == 2
            started = await process.said("worker_started")
            assert started["tasks"] == ["boom", "more.boom", "more.wait", "note", "other", "wait"]
            assert (await process.stop())[0] == 0
            assert SECRET not in process.text
            assert process.complaints() == []


@pytest.mark.slow
async def test_several_modules_of_tasks_and_a_file_with_settings(folder: Path) -> None:
    async with sqlite() as place:
        (folder / "second.py").write_text(
            "from app_kernel import JobRegistry\nmine = JobRegistry()\n"
            '@mine.task("add")\ndef add(a: int, b: int = 1):\n    return a + b\n'
        )
        (folder / ".env").write_text(f"DATABASE_URL={place.database_url}\nWORKER_CONCURRENCY=3\nJWT_SECRET={SECRET}\n")
        async with (
            place.service(None, embedded_worker=False),
            worker(folder, "--tasks", "tasks", "--tasks", "second") as process,
        ):
            made = await get_job_client().enqueue("add", {"a": 2})
            assert (await finished(get_job_client(), made.job_id, 40)).result == 3
            started = await process.said("worker_started")
            assert started["tasks"] == ["add", "boom", "note", "wait"]
            assert started["queues"] == {"default": 3, "emails": 3, "webhooks": 3}
            assert SECRET not in process.text


@pytest.mark.slow
async def test_it_serves_the_named_queues_with_as_many_places_as_each_has(place: JobPlace, folder: Path) -> None:
    options = ("--tasks", "tasks", "--queues", "default:2, emails", "--concurrency", "1")
    async with (
        place.service(None, embedded_worker=False),
        worker(folder, *options, **addresses(place), WORKER_QUEUES="nope:7") as process,
    ):
        assert (await process.said("worker_started"))["queues"] == {"default": 2, "emails": 1}
        jobs = get_job_client()
        for queue, count in (("default", 5), ("emails", 3), ("nope", 1)):
            await jobs.enqueue_many("wait", [{}] * count, queue=queue)

        async def all_begun() -> bool:
            counts = (await jobs.figures()).counts
            return counts.get(("default", "running")) == 2 and counts.get(("emails", "running")) == 1

        assert await until(all_begun)
        counts = (await jobs.figures()).counts
        assert {key: count for key, count in counts.items() if count} == {
            ("default", "running"): 2, ("default", "queued"): 3, ("emails", "running"): 1, ("emails", "queued"): 2,
            ("nope", "queued"): 1,
        }  # fmt: skip


# The health port.


def ask(port: int, path: str, token: str = "") -> tuple[int, str]:
    """Status and body of an answer."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as exc:
        return exc.code, exc.read().decode()


@pytest.mark.slow
async def test_the_health_port_tells_how_the_worker_and_its_jobs_are(place: JobPlace, folder: Path) -> None:
    port = free_port()
    async with (
        place.service(None, embedded_worker=False),
        worker(folder, "--tasks", "tasks", "--health-port", str(port), **addresses(place)) as process,
    ):
        await process.said("worker_started")
        jobs = get_job_client()
        for number in range(3):
            await finished(jobs, (await jobs.enqueue("note", {"text": str(number)})).job_id)
        await finished(jobs, (await jobs.enqueue("boom")).job_id)
        await jobs.enqueue("note", {"text": "later"}, delay_seconds=600)
        assert (await asyncio.to_thread(ask, port, "/healthz"))[0] == 200
        status, ready = await asyncio.to_thread(ask, port, "/readyz")
        assert (status, json.loads(ready)["status"]) == (200, "ready")
        components = json.loads(ready)["components"]
        assert {"database": "ok", "jobs": "ok"}.items() <= components.items()
        assert ("redis" in components) == (place.name == "redis")

        async def metrics() -> str:
            text = (await asyncio.to_thread(ask, port, "/metrics"))[1]
            return text if 'task="boom"' in text else ""

        text = await until(metrics)
        attempts = {labels: count for labels, count in samples(text, "app_kernel_job_attempts_total").items() if count}
        assert attempts == {'outcome="completed",task="note"': 3, 'outcome="dead",task="boom"': 1}
        assert samples(text, "app_kernel_job_run_seconds_count") == {'task="note"': 3, 'task="boom"': 1}
        queues = samples(text, "app_kernel_jobs")
        assert queues['queue="default",status="scheduled"'] == queues['queue="default",status="dead"'] == 1
        for path in ("/jobs", "/docs", "/auth/login", "/"):
            assert (await asyncio.to_thread(ask, port, path))[0] == 404
        assert (await process.stop())[0] == 0


@pytest.mark.slow
async def test_the_figures_of_a_worker_are_as_private_as_those_of_a_service(folder: Path) -> None:
    port, token = free_port(), "token-of-the-metrics"
    async with sqlite() as place:
        variables = {**addresses(place), "METRICS_TOKEN": token, "ENVIRONMENT": "production", "SERVICE_NAME": ""}
        async with worker(folder, "--tasks", "tasks", "--health-port", str(port), **variables) as process:
            await process.said("worker_started")
            assert "SERVICE_NAME" in (await process.said("worker_unnamed"))["use"]
            assert (await asyncio.to_thread(ask, port, "/metrics"))[0] == 401
            assert (await asyncio.to_thread(ask, port, "/metrics", "x"))[0] == 401
            assert (await asyncio.to_thread(ask, port, "/metrics", token))[0] == 200
            assert (await asyncio.to_thread(ask, port, "/healthz"))[0] == 200
            assert token not in process.text


async def test_a_worker_finds_the_name_that_the_service_has_left_in_its_database(folder: Path) -> None:
    async with sqlite() as place:
        config = ServiceConfig(jwt_secret=SECRET, database_name=place.database_url, embedded_worker=False)
        app = create_service("billing", config=config, tasks={"note": lambda payload: None})
        async with (
            kernel_client(app, database=None, jobs="manual") as service,
            worker(folder, "--tasks", "tasks", **addresses(place), SERVICE_NAME="") as process,
        ):
            await process.said("worker_started")
            await get_job_client().enqueue("note", {"text": "done by a job"})

            async def entry() -> list[dict[str, Any]]:
                return await get_audit_logs(service.kernel.admin_store(), app="billing", entity="notes")

            assert (await until(entry))[0]["source"] == "job"
            assert "worker_unnamed" not in process.text


# What it refuses: status 2 and one sentence.

BROKEN = {
    "empty.py": "x = 1\n",
    "no_tasks.py": "from app_kernel import JobRegistry\nregistry = JobRegistry()\n",
    "bad_task.py": "from app_kernel import JobRegistry\nr = JobRegistry()\n@r.task('a b')\ndef a(payload): ...\n",
    "twice.py": TASKS,
    "needs.py": "import a_package_that_is_nowhere\n",
    "bad_app.py": "from app_kernel import ServiceConfig, create_service\ncreate_service('x', config=ServiceConfig())\n",
}
SQLITE = {"DATABASE_PATH": "./app.db"}


REFUSED: list[tuple[tuple[str, ...], dict[str, str], str]] = [
    (("--tasks", "tasks"), {}, "no settings were found, so nobody knows where the jobs are: set DATABASE_URL"),
    (("--tasks", "tasks"), {"JWT_SECRET": SECRET}, "no settings were found"),
    ((), SQLITE, "--tasks: there are no tasks; name a module with a JobRegistry, or use --app"),
    (("--tasks", "nowhere.tasks"), SQLITE, "tasks: the module nowhere.tasks cannot be imported"),
    (("--tasks", "needs"), SQLITE, "cannot be imported (No module named 'a_package_that_is_nowhere')"),
    (("--tasks", "tasks.py"), SQLITE, "tasks: the module tasks.py cannot be imported"),
    (("--tasks", "tasks:registry"), SQLITE, "tasks: 'tasks:registry' is no module path"),
    (("--tasks", ""), SQLITE, "tasks: '' is no module path"),
    (("--tasks", "empty"), SQLITE, "tasks: the module empty has no JobRegistry at its top level"),
    (("--tasks", "no_tasks"), SQLITE, "--tasks: there are no tasks"),
    (("--tasks", "bad_task"), SQLITE, "task 'a b': a name is 1 to 191"),
    (("--tasks", "tasks", "--tasks", "twice"), SQLITE, "task note: two handlers are registered under this name"),
    (("--tasks", "tasks", "--queues", "a b"), SQLITE, "worker_queues: 'a b' is no queue; write name or"),
    (("--tasks", "tasks", "--queues", "a:0"), SQLITE, "'a:0' is no queue"),
    (("--tasks", "tasks", "--queues", "a:x,b"), SQLITE, "'a:x' is no queue"),
    (("--tasks", "tasks", "--concurrency", "0"), SQLITE, "--concurrency"),
    (("--tasks", "tasks", "--health-port", "70000"), SQLITE, "--health-port"),
    (("--tasks", "tasks", "--log-level", "LOUD"), SQLITE, "--log-level: there is no level LOUD"),
    (("--tasks", "tasks", "--nope"), SQLITE, "No such option"),
    (("--app", "nowhere:app"), SQLITE, "--app: nowhere:app is not there"),
    (("--app", "tasks"), SQLITE, "--app: tasks is not there"),
    (("--app", "tasks:nope"), SQLITE, "--app: tasks:nope is not there"),
    (("--app", "tasks:registry"), SQLITE, "--app: tasks:registry was not made by create_service()"),
    (("--app", "bad_app:app"), SQLITE, "jwt_secret (JWT_SECRET): missing"),
    (("--tasks", "tasks"), {"DATABASE_URL": "odd://me:hunter2@x/y"}, "its scheme is none that app_kernel knows"),
    (("--tasks", "tasks"), {"DATABASE_URL": "mysql://me:hunter2@x"}, "the database URL names no database"),
    (("--tasks", "tasks"), {**SQLITE, "REDIS_URL": "http://me:hunter2@x"}, "redis_url (REDIS_URL): is no"),
    (("--tasks", "tasks"), {**SQLITE, "WORKER_CONCURRENCY": "many"}, "WORKER_CONCURRENCY: "),
    (("--tasks", "tasks"), {**SQLITE, "WORKER_QUEUES": "a b"}, "'a b' is no queue"),
    (("--tasks", "tasks"), {"DATABASE_PATH": "."}, "names a directory"),
]  # fmt: skip


def check_refusal(told: str, words: str, folder: Path) -> None:
    """One sentence, and nothing made by it."""
    assert words in " ".join(told.split())
    assert "hunter2" not in told
    assert len(told.strip().splitlines()) == 1 or "Usage: " in told
    assert not (folder / "app.db").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 2, 3, 8, 12, 19])
def test_it_refuses_what_cannot_work_in_one_sentence_with_status_2(number: int, folder: Path) -> None:
    for name, text in BROKEN.items():
        (folder / name).write_text(text)
    options, variables, words = REFUSED[number]
    check_refusal(refused(folder, *options, **variables), words, folder)


@pytest.mark.parametrize(("options", "variables", "words"), REFUSED)
def test_every_refusal_names_what_to_mend(
    options: tuple[str, ...], variables: dict[str, str], words: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, as the ones above show how it ends."""
    for name, text in BROKEN.items():
        (folder / name).write_text(text)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    for name in [name for name in os.environ if name not in environment()]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    cli.command()(command)
    try:
        result = CliRunner().invoke(cli, options)
    finally:
        for name in ("tasks", *(name.removesuffix(".py") for name in BROKEN)):
            sys.modules.pop(name, None)
    assert result.exit_code == 2, (result.output, result.exception)
    check_refusal(result.output, words, folder)


@pytest.mark.slow
async def test_a_health_port_that_is_taken_is_refused_too(folder: Path) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        told = await asyncio.to_thread(refused, folder, "--tasks", "tasks", "--health-port", str(port), **SQLITE)
    assert told.startswith("worker: --health-port: cannot listen there: ")


@pytest.mark.slow
def test_a_module_that_fails_shows_where(folder: Path) -> None:
    (folder / "fails.py").write_text(
        textwrap.dedent("""
        password = "hunter2"
        raise RuntimeError("at import")
    """)
    )
    done = subprocess.run(
        [*COMMAND, "--tasks", "fails"], cwd=folder, env=environment(**SQLITE), capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert 'fails.py", line 3' in done.stderr
    assert "hunter2" not in done.stderr
