"""Background jobs from a terminal: `app-kernel jobs`."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, Any, TypeAlias, TypeVar, get_args

import orjson
import typer

from app_kernel.cli.running import (
    DEFAULT_ENV_FILE,
    REFUSED,
    WRONG_USE,
    DatabaseUrl,
    EnvFile,
    fail,
    run_in_database,
    settings,
)
from app_kernel.core.database_urls import MYSQL_SCHEMES, backend_of
from app_kernel.core.errors import InvalidJob
from app_kernel.core.jobs import JobView, Status
from app_kernel.core.ports import Database
from app_kernel.jobs import NEEDS_REDIS, JobClient, open_client, raised
from app_kernel.redis_wire import create_redis
from app_kernel.service.address_check import find_redis_problems, labelled

R = TypeVar("R")

jobs = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Background jobs of a service.")

JobId: TypeAlias = Annotated[str, typer.Argument(metavar="ID", help="The job's id.")]
QueueName: TypeAlias = Annotated[str, typer.Argument(metavar="QUEUE", help="The queue's name.")]
RedisUrl: TypeAlias = Annotated[
    str | None, typer.Option("--redis-url", help="The Redis that holds the jobs; else that of REDIS_URL, if it is set.")
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@jobs.command("list")
def show_jobs(
    *,
    status: Annotated[str | None, typer.Option("--status", help=f"Only these: {', '.join(get_args(Status))}.")] = None,
    queue: Annotated[str | None, typer.Option("--queue", help="Only of this queue.")] = None,
    task: Annotated[str | None, typer.Option("--task", help="Only of this task.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 50,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    redis_url: RedisUrl = None,
    env_file: EnvFile = DEFAULT_ENV_FILE,
) -> None:
    """Lists jobs, the latest first: id, task, queue, status, attempts, when it was enqueued, and why it failed."""
    if status is not None and status not in get_args(Status):
        fail(f"--status: there is no status {status}; use one of {', '.join(get_args(Status))}", WRONG_USE)

    async def work(client: JobClient) -> list[JobView]:
        return await client.list_jobs(status=status, queue=queue, task=task, limit=limit)  # type: ignore[arg-type]  # looked at above

    for view in _run(work, database_url, redis_url, env_file):
        if as_json:
            _print_json(asdict(view))
            continue
        reason = raised(view.error)[:120] if view.error else ""
        tries = f"{view.attempt}/{view.max_attempts}"
        line = "  ".join((view.id, view.task_name, view.queue_name, view.status, tries, view.enqueued_at, reason))
        # Much of it was chosen by others, and a terminal acts on what it cannot show.
        typer.echo("".join(each if each.isprintable() else "?" for each in line).rstrip())


@jobs.command("show")
def show_job(
    job_id: JobId, *, database_url: DatabaseUrl = None, redis_url: RedisUrl = None, env_file: EnvFile = DEFAULT_ENV_FILE
) -> None:
    """Shows one job as JSON: its payload, result, progress, and the traceback of its latest failure."""
    view = _run(lambda client: client.get(job_id), database_url, redis_url, env_file)
    if view is None:
        fail(f"there is no job {job_id}, or no longer", REFUSED)
    _print_json(asdict(view))


@jobs.command("retry")
def retry_job(
    job_id: JobId, *, database_url: DatabaseUrl = None, redis_url: RedisUrl = None, env_file: EnvFile = DEFAULT_ENV_FILE
) -> None:
    """Runs a dead or cancelled job again, with all its attempts."""
    view = _run(lambda client: client.retry(job_id), database_url, redis_url, env_file, "jobs retry")
    typer.echo(f"{view.id} is {view.status}")


@jobs.command("cancel")
def cancel_job(
    job_id: JobId, *, database_url: DatabaseUrl = None, redis_url: RedisUrl = None, env_file: EnvFile = DEFAULT_ENV_FILE
) -> None:
    """Cancels a job that waits at once, and asks a running one to end."""
    view = _run(lambda client: client.cancel(job_id), database_url, redis_url, env_file, "jobs cancel")
    typer.echo(f"{view.id} is {'asked to end' if view.cancelling else view.status}")


@jobs.command("pause")
def pause_queue(
    queue: QueueName = "default",
    *,
    database_url: DatabaseUrl = None,
    redis_url: RedisUrl = None,
    env_file: EnvFile = DEFAULT_ENV_FILE,
) -> None:
    """Starts no job of a queue any more, on any worker, until `resume`; those that run go on."""
    _run(lambda client: client.pause(queue), database_url, redis_url, env_file, "jobs pause")
    typer.echo(f"{queue} is paused")


@jobs.command("resume")
def resume_queue(
    queue: QueueName = "default",
    *,
    database_url: DatabaseUrl = None,
    redis_url: RedisUrl = None,
    env_file: EnvFile = DEFAULT_ENV_FILE,
) -> None:
    """Ends a pause."""
    _run(lambda client: client.resume(queue), database_url, redis_url, env_file, "jobs resume")
    typer.echo(f"{queue} goes on")


@jobs.command("stats")
def show_stats(
    *,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    redis_url: RedisUrl = None,
    env_file: EnvFile = DEFAULT_ENV_FILE,
) -> None:
    """Shows each queue: how many jobs are queued, scheduled, running and dead, and for how long the oldest is due."""
    figures = _run(lambda client: client.figures(), database_url, redis_url, env_file)
    for queue in sorted({queue for queue, _ in figures.counts} | set(figures.paused)):
        counts = {each: figures.counts.get((queue, each), 0) for each in ("queued", "scheduled", "running", "dead")}
        oldest = round(figures.oldest_seconds.get(queue, 0.0), 3)
        if as_json:
            _print_json({"queue": queue, **counts, "oldest_seconds": oldest, "paused": queue in figures.paused})
            continue
        told = "  ".join(f"{each} {count}" for each, count in counts.items())
        typer.echo(f"{queue}  {told}  oldest {oldest:g} s{'  paused' if queue in figures.paused else ''}")


def _run(
    work: Callable[[JobClient], Awaitable[R]],
    database_url: str | None,
    redis_url: str | None,
    env_file: Any,
    command: str | None = None,
) -> R:
    """`command` names one that changes something."""
    config = settings(database_url, env_file)
    redis_at = redis_url or config.redis_url
    if redis_at is not None and (problems := list(find_redis_problems(redis_at))):
        fail(f"the address of Redis {'; '.join(problems)}", WRONG_USE)
    if redis_at is None and backend_of(config.database_url) in MYSQL_SCHEMES:
        fail(labelled(NEEDS_REDIS), WRONG_USE)

    async def with_client(database: Database) -> R:
        redis = create_redis(redis_at, "cli") if redis_at is not None else None
        try:
            async with open_client(database.statements, redis) as client:
                return await work(client)
        except InvalidJob as exc:
            fail(exc.message, WRONG_USE)
        finally:
            if redis is not None:
                await redis.aclose()

    return run_in_database(config, with_client, command=command)


def _print_json(value: Any) -> None:
    typer.echo(orjson.dumps(value).decode())
