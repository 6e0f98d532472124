"""The worker: runs the background jobs of a service in a process of its own.

    python -m app_kernel.jobs.worker --tasks my_service.tasks

It takes its settings from the environment, as the service does, or with `--app main:app` from the application. Several
may run at once; killed at any instant, they lose nothing. SIGTERM drains: no further job is begun, and the process ends
with 0 as soon as the last one has ended; what still runs after the grace time is given back. A second signal gives back
at once. Wrong use is 2.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
import uvicorn

from app_kernel.core.config import ServiceConfig
from app_kernel.core.errors import ConfigurationError, InvalidDatabaseUrl
from app_kernel.core.feature import Feature
from app_kernel.core.kernel import Kernel
from app_kernel.core.secret_settings import secret_values
from app_kernel.features import FEATURES
from app_kernel.jobs.feature import jobs_of
from app_kernel.jobs.hosting import queues_of
from app_kernel.jobs.registry import collect_tasks, own_tasks
from app_kernel.logs import configure_logging, get_logger
from app_kernel.service.address_check import find_address_problems
from app_kernel.service.create import compose, find_queue_problems, make_kernel
from app_kernel.service.headless import done_or_ended, opened_kernel, probes_of
from app_kernel.service.naming import find_name
from app_kernel.service.preflight import UNNAMED, complete

WRONG_USE = 2
LAST_SECONDS = 1.0
_PLACES = ("database_name", "database_type", "redis_url")
"""Settings without any of which nobody has said where the jobs are."""

_NO_TASKS = "--tasks: there are no tasks; name a module with a JobRegistry, or use --app"
_NO_SETTINGS = (
    "no settings were found, so nobody knows where the jobs are: set DATABASE_URL (or DATABASE_PATH) and REDIS_URL as"
    " for the service, put them into .env here, or pass --app main:app"
)

_NO_NAME = (
    "no service has started on this database yet; until the worker is started again, what jobs do is audited and"
    " metered as of an app called unnamed, and they have a cache of their own"
)

_log = get_logger("app_kernel.worker")


class JobWorker:
    """One worker process over a kernel, until `end`."""

    def __init__(
        self, kernel: Kernel, queues: Sequence[str], concurrency: int | None, health: tuple[str, int] | None
    ) -> None:
        self._kernel = kernel
        self._health = health
        config = kernel.config
        self._jobs = jobs_of(kernel)
        self._jobs.mode = "manual"
        if not self._jobs.tasks:
            raise ConfigurationError([_NO_TASKS])
        self._queues = queues_of(
            queues or config.worker_queues, concurrency or config.worker_concurrency, self._jobs.tasks
        )
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Drains; called again, gives back at once what runs."""
        if self._ending.is_set() and self._jobs.runner is not None:
            self._jobs.runner.hurry()
        self._ending.set()

    async def run(self) -> None:
        """Works until told to end."""
        async with self._answering_probes(), opened_kernel(self._kernel, self._ending) as is_open:
            if is_open:
                async with self._jobs.working(self._jobs.backend, self._queues):
                    self._say_started()
                    await self._ending.wait()
                    _log.info("worker_stopping", running=self._jobs.runner.held if self._jobs.runner else 0)
        _log.info("worker_ended")

    def _say_started(self) -> None:
        database, own = self._jobs.place, own_tasks(self._jobs.tasks)
        _log.info(
            "worker_started",
            database=database,
            kept_in=self._jobs.backend.describe(),
            queues=self._queues,
            tasks=sorted(own),
            kernel_tasks=sorted(self._jobs.tasks.keys() - own.keys()),
            schedules={name: task.cron for name, task in self._jobs.tasks.items() if task.cron},
        )
        if self._kernel.name == UNNAMED:
            _log.warning("worker_unnamed", reason=_NO_NAME, use="SERVICE_NAME as for the service, or --app")

    @asynccontextmanager
    async def _answering_probes(self) -> AsyncIterator[None]:
        """/healthz, /readyz and /metrics on a port of the worker's own, where one is asked for."""
        if self._health is None:
            yield
            return
        # Bound here, because uvicorn would end the process, without a sentence, for a port that is taken.
        try:
            listener = socket.create_server(self._health)
        except OSError as exc:
            raise ConfigurationError([f"--health-port: cannot listen there: {exc.strerror}"]) from exc
        server = _Server(uvicorn.Config(probes_of(self._kernel), log_config=None, lifespan="off"))
        serving = asyncio.create_task(server.serve([listener]))
        try:
            yield
        finally:
            server.should_exit = True
            await asyncio.wait([serving])
            listener.close()


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, which would take the place of the worker's."""

    def capture_signals(self) -> Any:
        return nullcontext()


def kernel_of(app: str | None, tasks: Sequence[str], name: str | None = None) -> Kernel:
    """The kernel of an application, or of the environment's settings, with these tasks added.

    `name` is the service's where the settings give none.

    Raises ConfigurationError for settings or modules that are no good.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    own = collect_tasks(list(tasks))
    if app is not None:
        found: Kernel = _application(app).state.kernel
        extra = (Feature(name="worker_tasks", tasks=own),) if own else ()
        return make_kernel(found.config, [*found.features, *extra])
    config = ServiceConfig.from_env()
    if not config.model_fields_set & set(_PLACES) and not config.problems:
        raise ConfigurationError([_NO_SETTINGS])
    problems = [*config.problems, *find_address_problems(config)]
    settled = complete(config, config.name or name)
    features, more = compose(FEATURES, settled, (), own)
    problems += find_queue_problems(features, settled)
    if problems or more:
        raise ConfigurationError([*problems, *more])
    if not own:
        raise ConfigurationError([_NO_TASKS])
    return make_kernel(settled, features)


async def _found_name(config: ServiceConfig) -> str | None:
    """The name that the service has left in its database, after as many tries as that takes."""
    ending, names = asyncio.Event(), list[str | None]()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)

    async def look() -> None:
        names.append(await find_name(config))

    if not await done_or_ended(ending, "database", look):
        raise typer.Exit(0)
    return names[0]


def _application(path: str) -> Any:
    module, _, name = path.partition(":")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as exc:
        raise ConfigurationError([f"--app: {path} is not there ({exc}); write module:name"]) from exc
    if getattr(getattr(found, "state", None), "kernel", None) is None:
        raise ConfigurationError([f"--app: {path} was not made by create_service()"])
    return found


async def work(kernel: Kernel, queues: Sequence[str], concurrency: int | None, health: tuple[str, int] | None) -> None:
    """Runs one worker until SIGTERM or SIGINT."""
    worker = JobWorker(kernel, queues, concurrency, health)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.end)
    await worker.run()
    await _leave_nobody()


async def _leave_nobody() -> None:
    """Ends the process although a handler takes no notice of its cancellation: the loop would wait for it for ever."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        _, left = await asyncio.wait(left, timeout=LAST_SECONDS)
    if left or not await _threads_have_ended():
        _log.error("worker_left_handlers", count=len(left), reason="they do not end although they were cancelled")
        sys.stdout.flush()
        os._exit(0)


async def _threads_have_ended() -> bool:
    """Whether nothing that handlers gave to `asyncio.to_thread` still runs; the loop would wait for that too."""
    ending = asyncio.create_task(asyncio.get_running_loop().shutdown_default_executor())
    done, _ = await asyncio.wait([ending], timeout=LAST_SECONDS)
    return bool(done)


def command(
    *,
    tasks: Annotated[
        list[str] | None,
        typer.Option("--tasks", help="A module with a JobRegistry: my_service.tasks. May be repeated."),
    ] = None,
    app: Annotated[str | None, typer.Option("--app", help="Take settings and tasks of this service: main:app.")] = None,
    queues: Annotated[
        str | None, typer.Option("--queues", help="Queues to serve: default,emails:2. Else those of the tasks.")
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", min=1, max=1000, help="Jobs of a queue at a time.")
    ] = None,
    health_port: Annotated[
        int | None, typer.Option("--health-port", min=1, max=65535, help="Serve /healthz, /readyz, /metrics here.")
    ] = None,
    health_host: Annotated[str, typer.Option("--health-host", help="The address for that.")] = "127.0.0.1",
    log_level: Annotated[str | None, typer.Option("--log-level", help="The least level that is logged.")] = None,
) -> None:
    """Runs the background jobs of a service."""
    if log_level is not None and log_level not in logging.getLevelNamesMapping():
        _fail(f"--log-level: there is no level {log_level}")
    try:
        kernel = kernel_of(app, tasks or [])
        config = kernel.config
        configure_logging(log_level or config.log_level, secret_values(config))
        named = [part.strip() for part in (queues or "").split(",") if part.strip()]
        health = None if health_port is None else (health_host, health_port)
        JobWorker(kernel, named, concurrency, health)  # what is wrong with these is told before anything is opened
        if kernel.name == UNNAMED:
            # Many give the name in code alone. What jobs do is to be found under it all the same.
            kernel = kernel_of(app, tasks or [], asyncio.run(_found_name(config)))
        asyncio.run(work(kernel, named, concurrency, health))
    except ConfigurationError as exc:
        _fail("; ".join(exc.problems))
    except InvalidDatabaseUrl as exc:
        _fail(exc.message)


def _fail(message: str) -> NoReturn:
    typer.echo(f"worker: {message}", err=True)
    raise typer.Exit(WRONG_USE)


def main() -> None:
    """The command line."""
    # No pretty tracebacks: they show local variables, and those hold passwords.
    cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    cli.command()(command)
    cli()


if __name__ == "__main__":
    main()
