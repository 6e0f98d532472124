"""Which handler runs under which name."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any, TypeVar

from app_kernel.core.errors import ConfigurationError
from app_kernel.core.jobs import (
    DEFAULT_ATTEMPTS,
    DEFAULT_QUEUE,
    DEFAULT_RESULT_TTL,
    DEFAULT_TIMEOUT,
    LONGEST_TIMEOUT,
    Task,
)
from app_kernel.jobs.cron import check_cron
from app_kernel.jobs.handlers import check_handler

F = TypeVar("F", bound=Callable[..., Any])

LONGEST_NAME = 191
LONGEST_KEPT = 366 * 86400.0
MOST_ATTEMPTS = 1000
HIGHEST_PRIORITY = 100
is_queue_name = re.compile(r"[A-Za-z0-9_.-]{1,64}").fullmatch
_is_task_name = re.compile(r"[A-Za-z0-9_.:-]{1,191}").fullmatch
_KERNEL = f"{__name__.partition('.')[0]}."
_is_module_path = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*").fullmatch


class JobRegistry:
    """The background tasks of an application, by name.

    `@registry.task("send_email")` adds a handler: `async def`, or plain `def`, which then runs in a thread. It takes
    `payload` and `ctx`, in any order or only one of them; a parameter with another name is given `payload[name]`.
    """

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}

    @property
    def tasks(self) -> Mapping[str, Task]:
        """The tasks by name."""
        return dict(self._tasks)

    def task(  # noqa: PLR0913 - one keyword for each option of a task, all optional
        self,
        name: str | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        max_attempts: int = DEFAULT_ATTEMPTS,
        queue: str = DEFAULT_QUEUE,
        priority: int = 0,
        retry_delay: float = 1.0,
        max_retry_delay: float = 300.0,
        result_ttl: float = DEFAULT_RESULT_TTL,
        cron: str | None = None,
        timezone: str = "UTC",
    ) -> Callable[[F], F]:
        """Registers the decorated function as the handler of a task; its own name is the task's if none is given.

        `timeout` is in seconds, for one attempt. Failed attempts are repeated up to `max_attempts` runs, after a random
        wait below `retry_delay` seconds, doubled each time, at most `max_retry_delay`. `cron` (five fields) runs it by
        itself, in `timezone`. Raises ConfigurationError for an option that cannot be.
        """

        given: object = name
        if given is not None and not isinstance(given, str):
            raise ConfigurationError(['task(): a name is text; write @registry.task("name")'])

        def decorate(handler: F) -> F:
            self.register(
                getattr(handler, "__name__", "") if name is None else name,
                handler,
                timeout=timeout,
                max_attempts=max_attempts,
                queue=queue,
                priority=priority,
                retry_delay=retry_delay,
                max_retry_delay=max_retry_delay,
                result_ttl=result_ttl,
                cron=cron,
                timezone=timezone,
            )
            return handler

        return decorate

    def register(
        self,
        name: str,
        handler: Callable[..., Any],
        *,
        timeout: float = DEFAULT_TIMEOUT,
        max_attempts: int = DEFAULT_ATTEMPTS,
        **options: Any,
    ) -> None:
        """Registers a handler; the options are those of `task`. Raises ConfigurationError."""
        self.add(name, Task(handler=handler, timeout=timeout, max_attempts=max_attempts, **options))

    def add(self, name: str, task: Task) -> None:
        """Registers a task as it is; raises ConfigurationError for a name that is taken, and for a bad option."""
        if name in self._tasks and self._tasks[name].handler != task.handler:
            raise ConfigurationError([f"task {name}: two handlers are registered under this name"])
        problems = list(find_problems(name, task))
        if problems:
            raise ConfigurationError(problems)
        self._tasks[name] = task


def own_tasks(tasks: Mapping[str, Task]) -> dict[str, Task]:
    """Those that are not the kernel's, such as `mail.deliver`: what an application's author knows of."""
    return {
        name: task
        for name, task in tasks.items()
        if not str(getattr(task.handler, "__module__", "")).startswith(_KERNEL)
    }


def find_problems(name: Any, task: Task) -> Iterable[str]:
    """What is wrong with a task, one sentence each."""
    if not isinstance(name, str) or not _is_task_name(name):
        yield f"task {name!r}: a name is 1 to {LONGEST_NAME} of A-Z a-z 0-9 _ . : -"
    if not is_number(task.timeout) or not 0 < task.timeout <= LONGEST_TIMEOUT:
        yield f"task {name}: timeout is a number of seconds from above 0 to {LONGEST_TIMEOUT:.0f}"
    if type(task.max_attempts) is not int or not 1 <= task.max_attempts <= MOST_ATTEMPTS:
        yield f"task {name}: max_attempts is 1 to {MOST_ATTEMPTS}"
    if type(task.priority) is not int or not -HIGHEST_PRIORITY <= task.priority <= HIGHEST_PRIORITY:
        yield f"task {name}: priority is -{HIGHEST_PRIORITY} to {HIGHEST_PRIORITY}; the highest runs first"
    queue: object = task.queue
    if not isinstance(queue, str) or not is_queue_name(queue):
        yield f"task {name}: a queue's name is 1 to 64 of A-Z a-z 0-9 _ . -"
    for option in ("retry_delay", "max_retry_delay", "result_ttl"):
        value = getattr(task, option)
        if not is_number(value) or not 0 <= value <= LONGEST_KEPT:
            yield f"task {name}: {option} is a number of seconds from 0 to {LONGEST_KEPT:.0f}"
    if task.cron is not None:
        yield from (f"task {name}: {problem}" for problem in check_cron(task.cron, task.timezone))
    yield from (f"task {name}: {problem}" for problem in check_handler(task.handler))


def is_number(value: object) -> bool:
    """Whether it is a finite number, and no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def collect_tasks(given: Any) -> dict[str, Task]:
    """The tasks of a JobRegistry, of several, of a module (by path) with registries in it, or of a dict of handlers.

    Raises ConfigurationError when there is no such module, and when it holds no registry.
    """
    if given is None:
        return {}
    registry = JobRegistry()
    if isinstance(given, JobRegistry):
        found: Iterable[Mapping[str, Any]] = [given.tasks]
    elif isinstance(given, str):
        found = [each.tasks for each in _registries_in(given)]
    elif isinstance(given, Mapping):
        found = [given]
    elif isinstance(given, Iterable):
        found = [collect_tasks(each) for each in given]
    else:
        kind = type(given).__name__
        raise ConfigurationError([f"tasks: type {kind} is no JobRegistry, module path or dict of handlers"])
    for tasks in found:
        for name, task in tasks.items():
            registry.add(name, task if isinstance(task, Task) else Task(handler=task))
    return dict(registry.tasks)


def _registries_in(path: str) -> list[JobRegistry]:
    if not _is_module_path(path):
        raise ConfigurationError([f"tasks: {path!r} is no module path; write it with dots, such as my_service.tasks"])
    try:
        module = import_module(path)
    except ImportError as exc:
        raise ConfigurationError([f"tasks: the module {path} cannot be imported ({exc})"]) from exc
    found = {id(value): value for value in vars(module).values() if isinstance(value, JobRegistry)}
    if not found:
        raise ConfigurationError([f"tasks: the module {path} has no JobRegistry at its top level"])
    return list(found.values())
