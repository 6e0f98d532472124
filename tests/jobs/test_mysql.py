"""On MySQL jobs are in Redis alone: without it nothing that has jobs starts; with it they leave with the commit."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app_kernel import ServiceConfig, create_service, health, request_log
from app_kernel.cli import app
from app_kernel.core.errors import ConfigurationError
from app_kernel.db import create_database
from app_kernel.jobs import get_job_client, open_client
from app_kernel.jobs.queues.database import DatabaseBackend
from app_kernel.jobs.worker import kernel_of
from tests.conformance.mysql_place import empty_database
from tests.jobs.places import SECRET, JobPlace, mysql
from tests.jobs.waiting import until

URL = "mysql://someone@127.0.0.1:1/app"
TOLD = (
    "redis_url (REDIS_URL): missing; background jobs on MySQL need Redis: set it, or use PostgreSQL or SQLite, which"
    " keep jobs themselves"
)


def config(**settings: Any) -> ServiceConfig:
    return ServiceConfig(**{"jwt_secret": SECRET, "database_name": URL, **settings})


@pytest.mark.parametrize("settings", [{}, {"database_name": "app", "database_type": "mysql"}], ids=["a URL", "parts"])
def test_a_service_on_mysql_without_redis_says_what_it_needs_among_all_that_is_wrong(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        create_service(config=config(cors_origins=["nowhere"], **settings))
    assert sum(TOLD in problem for problem in refused.value.problems) == 1
    others = [problem for problem in refused.value.problems if TOLD not in problem]
    assert [problem.partition(" ")[0].partition(":")[0] for problem in others] == ["name", "cors_origins"]


def test_with_redis_or_without_jobs_it_may_start() -> None:
    with_redis = create_service("app", config=config(redis_url="redis://127.0.0.1:1/0"))
    without = create_service("app", config=config(), features=[request_log.create_feature, health.create_feature])
    jobs = [any(each.name == "jobs" for each in app.state.kernel.features) for app in (with_redis, without)]
    assert jobs == [True, False]


def test_a_worker_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"DATABASE_URL": URL, "JWT_SECRET": SECRET, "SERVICE_NAME": "app"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match="background jobs on MySQL need Redis"):
        kernel_of(None, ["tests.jobs.test_one_commit"])


def test_commands_about_jobs_say_the_same_and_others_need_no_redis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["jobs", "list", "--database-url", URL])
    assert (result.exit_code, result.stderr) == (2, f"app-kernel: {TOLD}\n")
    # It gets as far as the server, which is not there.
    result = CliRunner().invoke(app, ["outbox", "status", "--database-url", URL])
    assert result.exit_code == 1
    assert "Redis" not in result.stderr


async def test_no_queue_opens_in_a_mysql_database() -> None:
    async with empty_database() as url:
        database = create_database(url)
        await database.open()
        try:
            with pytest.raises(ConfigurationError, match="need Redis"):
                await DatabaseBackend(database.statements).open()
            with pytest.raises(ConfigurationError, match="need Redis"):
                async with open_client(database.statements, None):
                    pass
        finally:
            await database.close()


@pytest.fixture
async def place() -> Any:
    async with mysql() as fresh:
        yield fresh


async def test_a_job_is_remembered_until_it_is_done_and_ids_are_told_apart_to_the_byte(place: JobPlace) -> None:
    ran: list[str] = []

    async def note(payload: dict[str, Any]) -> None:
        ran.append(payload["text"])

    async with place.service({"note": note}) as client:
        queue = get_job_client()
        ids = ["one", "One", "one ", "onë"]
        async with client.db.transaction():
            for id in ids:
                await queue.enqueue("note", {"text": id}, job_id=id)

        async def outstanding() -> bool:
            return (await queue.figures()).outstanding == len(ids)

        await until(outstanding)
        await client.jobs.drain()
        assert sorted(ran) == sorted(ids)

        async def forgotten() -> bool:
            return (await queue.figures()).outstanding == 0

        await until(forgotten)
