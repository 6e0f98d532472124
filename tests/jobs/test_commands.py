"""`app-kernel jobs`: looking after jobs from a terminal, wherever they are kept."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app_kernel import DoNotRetry, get_job_client
from app_kernel.cli import app
from app_kernel.jobs import JobClient
from tests.jobs.places import JobPlace
from tests.jobs.waiting import until
from tools.services import free_port


async def note(payload: Any) -> Any:
    """Gives back what it got."""
    return payload


async def fail(payload: Any) -> None:
    """Fails for good."""
    raise DoNotRetry("no way\nand more of it")


async def odd(payload: Any) -> None:
    """Fails with what a terminal would act on."""
    raise DoNotRetry("\x1b[2J\x9b1m\r\u202egone")


TASKS = {"note": note, "fail": fail, "odd": odd}


@pytest.fixture(autouse=True)
def empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory without settings, and an environment without any."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("DATABASE_", "REDIS_", "JWT_", "ENVIRONMENT", "SERVICE_", "WORKER_")):
            monkeypatch.delenv(name)


async def run(*arguments: str, status: int = 0) -> str:
    """What a command of `app-kernel jobs` wrote, on both streams; it starts an event loop of its own."""
    result = await asyncio.to_thread(CliRunner().invoke, app, ["jobs", *arguments])
    assert result.exit_code == status, (result.output, result.exception)
    # The service of the test logs into the same output.
    return "".join(line for line in result.output.splitlines(keepends=True) if not line.startswith('{"timestamp"'))


async def at(place: JobPlace, *arguments: str, status: int = 0) -> str:
    """The same, of the jobs of a place."""
    where = ["--database-url", place.database_url]
    return await run(*arguments, *where, *(["--redis-url", place.redis_url] if place.redis_url else []), status=status)


async def three(client: Any) -> tuple[str, str, str]:
    """A completed, a dead and a scheduled job."""
    jobs = get_job_client()
    done = (await jobs.enqueue("note", {"a": [1, "é"]}, user_id="ada", metadata={"b": 2})).job_id
    dead = (await jobs.enqueue("fail", queue="emails", priority=3)).job_id
    await client.jobs.drain()
    return done, dead, (await jobs.enqueue("note", delay_seconds=3600)).job_id


async def test_jobs_are_listed_one_a_line(place: JobPlace) -> None:
    async with place.service(TASKS) as client:
        done, dead, waits = await three(client)
        lines = (await at(place, "list")).splitlines()
        assert [line.split("  ")[:5] for line in lines] == [
            [waits, "note", "default", "scheduled", "0/3"],
            [dead, "fail", "emails", "dead", "1/3"],
            [done, "note", "default", "completed", "1/3"],
        ]
        assert lines[1].endswith("Z  app_kernel.core.jobs.DoNotRetry: no way")
        assert [line.split("  ")[0] for line in (await at(place, "list", "--limit", "2")).splitlines()] == [waits, dead]
        for option, value, ids in (
            ("--status", "dead", [dead]), ("--queue", "emails", [dead]), ("--task", "note", [waits, done]),
            ("--status", "running", []), ("--task", "nope", []),
        ):  # fmt: skip
            assert [line.split("  ")[0] for line in (await at(place, "list", option, value)).splitlines()] == ids


async def test_jobs_are_listed_as_json_and_one_is_shown_whole(place: JobPlace) -> None:
    async with place.service(TASKS) as client:
        done, dead, _ = await three(client)
        listed = [json.loads(line) for line in (await at(place, "list", "--json")).splitlines()]
        assert [each["id"] for each in listed][1:] == [dead, done]
        assert listed[2]["payload"] is None
        shown = json.loads(await at(place, "show", done))
        assert (shown["payload"], shown["result"], shown["metadata"]) == ({"a": [1, "é"]}, {"a": [1, "é"]}, {"b": 2})
        assert (shown["user_id"], shown["status"], shown["attempt"]) == ("ada", "completed", 1)
        failed = json.loads(await at(place, "show", dead))
        assert "Traceback" in failed["error"]
        assert "and more of it" in failed["error"]
        assert (failed["priority"], failed["queue_name"]) == (3, "emails")


async def test_a_dead_job_is_retried_and_a_waiting_one_cancelled(place: JobPlace) -> None:
    async with place.service(TASKS) as client:
        done, dead, waits = await three(client)
        assert await at(place, "retry", dead) == f"{dead} is queued\n"
        assert await at(place, "cancel", waits) == f"{waits} is cancelled\n"
        assert await at(place, "cancel", waits) == f"{waits} is cancelled\n"
        assert [view.id for view in await client.jobs.drain()] == [dead]
        for arguments, words in (
            (("cancel", done), "The job is completed already."),
            (("cancel", dead), "The job is dead already."),
            (("retry", done), "Only a dead or cancelled job can be retried; this one is completed."),
        ):
            assert await at(place, *arguments, status=1) == f"app-kernel: {words}\n"


async def test_a_running_job_is_asked_to_end(place: JobPlace) -> None:
    begun = asyncio.Event()

    async def endless(payload: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with place.service({"endless": endless}, jobs="worker"):
        id = (await get_job_client().enqueue("endless")).job_id
        async with asyncio.timeout(10):
            await begun.wait()
        # It may have ended before the command looks at it again.
        assert await at(place, "cancel", id) in {f"{id} is asked to end\n", f"{id} is cancelled\n"}
        await until(lambda: get_job_client().list_jobs(status="cancelled"))


async def test_a_paused_queue_waits_until_it_is_resumed(place: JobPlace) -> None:
    async with place.service(TASKS, jobs="worker"):
        jobs = get_job_client()
        assert await at(place, "pause") == "default is paused\n"
        assert await at(place, "pause", "emails") == "emails is paused\n"
        id = (await jobs.enqueue("note", 1)).job_id
        assert (await jobs.figures()).paused == ("default", "emails")
        stats = await at(place, "stats")
        assert "default  queued 1  scheduled 0  running 0  dead 0  oldest " in stats
        assert stats.splitlines()[1] == "emails  queued 0  scheduled 0  running 0  dead 0  oldest 0 s  paused"
        assert (await _view(jobs, id)).status == "queued"
        assert await at(place, "resume") == "default goes on\n"
        await until(lambda: _is_completed(jobs, id))


async def test_the_figures_of_each_queue_are_shown(place: JobPlace) -> None:
    async with place.service(TASKS) as client:
        assert await at(place, "stats") == ""
        await three(client)
        await get_job_client().enqueue("note", queue="emails")
        lines = [json.loads(line) for line in (await at(place, "stats", "--json")).splitlines()]
        for line in lines:
            assert 0 <= line.pop("oldest_seconds") < 60
        assert lines == [
            {"queue": "default", "queued": 0, "scheduled": 1, "running": 0, "dead": 0, "paused": False},
            {"queue": "emails", "queued": 1, "scheduled": 0, "running": 0, "dead": 1, "paused": False},
        ]


async def test_a_job_that_is_not_there_is_one_line_and_status_1(place: JobPlace) -> None:
    async with place.service(TASKS):
        assert await at(place, "show", "nope", status=1) == "app-kernel: there is no job nope, or no longer\n"
        for command in ("retry", "cancel"):
            assert await at(place, command, "nope", status=1) == "app-kernel: There is no such job.\n"


async def test_what_a_terminal_would_act_on_is_not_written(place: JobPlace) -> None:
    async with place.service(TASKS) as client:
        await get_job_client().enqueue("odd")
        await client.jobs.drain()
        (line,) = (await at(place, "list")).splitlines()
        assert line.endswith("app_kernel.core.jobs.DoNotRetry: ?[2J?1m??gone")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("list", "--status", "done"), "--status: there is no status done; use one of scheduled, queued, running"),
        (("list", "--limit", "0"), "--limit"),
        (("list", "--limit", "1001"), "--limit"),
        (("list", "--limit", "x"), "--limit"),
        (("list", "--nope"), "No such option"),
        (("show",), "Missing argument"),
        (("retry",), "Missing argument"),
        (("cancel",), "Missing argument"),
        (("nope",), "No such command"),
        (("pause", "a b"), "A queue's name is 1 to 64 of"),
        (("resume", ""), "A queue's name is 1 to 64 of"),
        (("stats", "--redis-url", "nonsense"), "the address of Redis is no Redis URL"),
        (("stats", "--redis-url", "redis://127.0.0.1:x/0"), "the address of Redis its port or host cannot be read"),
        (("stats", "--database-url", "odd://x"), "database_name (DATABASE_PATH): its scheme is none"),
        (("stats", "--database-url", "mysql://root:hunter2@x"), "the database URL names no database"),
        (("stats", "--env-file", "nowhere.env"), "nowhere.env: there is no such file"),
    ],
)  # fmt: skip
async def test_wrong_use_is_status_2(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/app.db").touch()
    written = await run(*arguments, status=2)
    assert words in written
    assert "Traceback" not in written
    assert "hunter2" not in written


async def test_no_database_is_made_by_looking(tmp_path: Path) -> None:
    for command in (("list",), ("show", "x"), ("stats",), ("pause",)):
        assert await run(*command, status=1) == "app-kernel: there is no database at ./data/app.db\n"
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240 - an empty directory


async def test_what_is_away_is_one_line_without_a_password(place: JobPlace) -> None:
    port = free_port()
    if place.redis_url is not None:
        async with place.service(TASKS):
            where = ["--redis-url", f"redis://:hunter2@127.0.0.1:{port}/0", "--database-url", place.database_url]
            written = await run("stats", *where, status=1)
            assert written.startswith("app-kernel: The job queue does not answer")
    else:
        written = await run("stats", "--database-url", f"postgres://me:hunter2@127.0.0.1:{port}/app", status=1)
        assert "cannot be reached" in written
    assert written.count("\n") == 1
    assert "hunter2" not in written


async def test_the_environment_says_where_jobs_are(
    place: JobPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with place.service(TASKS) as client:
        done, _, _ = await three(client)
        monkeypatch.setenv("DATABASE_URL", place.database_url)
        if place.redis_url is not None:
            monkeypatch.setenv("REDIS_URL", place.redis_url)
        assert json.loads(await run("show", done))["status"] == "completed"
        monkeypatch.delenv("DATABASE_URL")
        monkeypatch.delenv("REDIS_URL", raising=False)
        lines = [f"DATABASE_URL={place.database_url}", *([f"REDIS_URL={place.redis_url}"] if place.redis_url else [])]
        (tmp_path / "mine.env").write_text("\n".join(lines))
        assert json.loads(await run("show", done, "--env-file", "mine.env"))["status"] == "completed"


async def _view(jobs: JobClient, id: str) -> Any:
    return await jobs.get(id)


async def _is_completed(jobs: JobClient, id: str) -> bool:
    return bool((await _view(jobs, id)).status == "completed")
