"""What a registry takes, what it refuses and with which words, and in which forms tasks may be given."""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app_kernel import ConfigurationError, JobRegistry, create_service
from app_kernel.core.jobs import Task
from app_kernel.jobs import collect_tasks
from app_kernel.jobs.registry import LONGEST_KEPT
from tests.small_service import SECRET, small_app


async def handler(payload: dict[str, Any]) -> None:
    """Does nothing."""


async def other(payload: dict[str, Any]) -> None:
    """Does nothing, elsewhere."""


def refusal(**options: Any) -> str:
    """The one problem that a task with these options has."""
    registry = JobRegistry()
    with pytest.raises(ConfigurationError) as caught:
        registry.register(options.pop("name", "mine"), options.pop("handler", handler), **options)
    assert registry.tasks == {}
    (problem,) = caught.value.problems
    return problem


def test_a_decorated_function_stays_as_it_is_and_is_registered_under_the_given_name() -> None:
    registry = JobRegistry()
    given = registry.task("send_email", timeout=5, max_attempts=7)(handler)
    assert given is handler
    task = registry.tasks["send_email"]
    assert (task.handler, task.timeout, task.max_attempts) == (handler, 5, 7)


def test_without_a_name_the_function_gives_its_own() -> None:
    registry = JobRegistry()
    registry.task()(handler)
    assert list(registry.tasks) == ["handler"]


def test_every_option_of_the_decorator_arrives() -> None:
    registry = JobRegistry()
    options = {
        "timeout": 1.5, "max_attempts": 9, "queue": "emails", "priority": -3, "retry_delay": 0.5, "max_retry_delay": 7,
        "result_ttl": 0, "cron": "*/5 * * * *", "timezone": "Europe/Zurich",
    }  # fmt: skip
    registry.task("a", **options)(handler)
    registry.register("b", handler, **options)
    assert registry.tasks["a"] == registry.tasks["b"] == Task(handler=handler, **options)


def test_the_view_of_the_tasks_changes_nothing() -> None:
    registry = JobRegistry()
    registry.register("a", handler)
    registry.tasks.clear()  # type: ignore[attr-defined]  # a Mapping has no such method, its copy here does
    assert list(registry.tasks) == ["a"]


@pytest.mark.parametrize("name", ["", " ", "a b", "a/b", "é", "a\n", "x" * 192, 5, None, b"a"])
def test_a_name_that_no_task_can_have_is_refused(name: Any) -> None:
    assert refusal(name=name) == f"task {name!r}: a name is 1 to 191 of A-Z a-z 0-9 _ . : -"


@pytest.mark.parametrize("name", ["a", "webhooks.deliver", "a:b-c_D.9", "x" * 191])
def test_a_name_of_usual_characters_is_taken(name: str) -> None:
    registry = JobRegistry()
    registry.register(name, handler)
    assert list(registry.tasks) == [name]


@pytest.mark.parametrize("given", [handler, 5, b"name", ["name"]])
def test_the_decorator_without_parentheses_says_how_to_write_it(given: Any) -> None:
    with pytest.raises(ConfigurationError, match=r'write @registry\.task\("name"\)'):
        JobRegistry().task(given)


def test_an_empty_name_is_not_taken_for_a_missing_one() -> None:
    with pytest.raises(ConfigurationError, match="a name is 1 to 191"):
        JobRegistry().task("")(handler)


def test_a_function_without_a_name_needs_one() -> None:
    with pytest.raises(ConfigurationError, match="a name is 1 to 191"):
        JobRegistry().task()(partial(handler))


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 7 * 86400 + 1, "5", None, True])
def test_a_timeout_is_seconds(timeout: Any) -> None:
    assert refusal(timeout=timeout) == "task mine: timeout is a number of seconds from above 0 to 604800"


@pytest.mark.parametrize("attempts", [0, -1, 1001, 1.0, "3", None, True])
def test_max_attempts_is_a_whole_number(attempts: Any) -> None:
    assert refusal(max_attempts=attempts) == "task mine: max_attempts is 1 to 1000"


@pytest.mark.parametrize("priority", [101, -101, 1.0, "1", None, False])
def test_a_priority_is_bounded(priority: Any) -> None:
    assert refusal(priority=priority) == "task mine: priority is -100 to 100; the highest runs first"


@pytest.mark.parametrize("queue", ["", "a b", "a:2", "é", "x" * 65, 5, None, b"a"])
def test_a_queue_has_a_usual_name(queue: Any) -> None:
    assert refusal(queue=queue) == "task mine: a queue's name is 1 to 64 of A-Z a-z 0-9 _ . -"


@pytest.mark.parametrize("option", ["retry_delay", "max_retry_delay", "result_ttl"])
@pytest.mark.parametrize("seconds", [-0.1, float("nan"), float("inf"), 1e300, LONGEST_KEPT + 1, "1", None, True])
def test_delays_and_lifetimes_are_seconds(option: str, seconds: Any) -> None:
    assert refusal(**{option: seconds}) == f"task mine: {option} is a number of seconds from 0 to {LONGEST_KEPT:.0f}"


def generator(payload: Any) -> Iterator[None]:
    yield None


async def asynchronous_generator(payload: Any) -> Any:
    yield None


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (None, "its handler is no function but a NoneType"),
        ("my_module.send", "its handler is no function but a str"),
        (generator, "its handler is a generator; a handler returns its result"),
        (asynchronous_generator, "its handler is a generator; a handler returns its result"),
        (Task(handler=handler), "its handler is no function but a Task"),
    ],
)
def test_what_cannot_be_called_is_no_handler(bad: Any, words: str) -> None:
    assert refusal(handler=bad) == f"task mine: {words}"


def test_every_problem_of_a_task_is_said_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        JobRegistry().register("a b", None, timeout=0, priority=1000, queue="")  # type: ignore[arg-type]  # on purpose
    assert len(caught.value.problems) == 5


def test_an_option_that_does_not_exist_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="retries"):
        JobRegistry().register("a", handler, retries=3)


def test_two_handlers_of_one_name_are_refused() -> None:
    registry = JobRegistry()
    registry.register("a", handler)
    with pytest.raises(ConfigurationError, match="task a: two handlers are registered under this name"):
        registry.register("a", other)
    assert registry.tasks["a"].handler is handler


class Mailer:
    """Handlers that are methods."""

    async def send(self, payload: dict[str, Any]) -> None:
        """Does nothing."""


def test_registering_the_same_handler_again_is_harmless_and_the_last_options_count() -> None:
    registry, mailer = JobRegistry(), Mailer()
    for attempts in (1, 2):
        registry.register("a", handler, max_attempts=attempts)
        registry.register("method", mailer.send, max_attempts=attempts)
    assert {task.max_attempts for task in registry.tasks.values()} == {2}


# The forms in which tasks are given.

MODULE = """
from app_kernel import JobRegistry
from {other} import shared

registry, more = JobRegistry(), JobRegistry()
again = registry

@registry.task("one")
async def one(payload): ...

@more.task("two")
def two(payload): ...
"""
SHARED = """
from app_kernel import JobRegistry

shared = JobRegistry()

@shared.task("three")
async def three(payload): ...
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package of an application's with tasks in it, gone afterwards."""
    folder = tmp_path / "shop_of_a_test"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "tasks.py").write_text(MODULE.format(other="shop_of_a_test.shared"))
    (folder / "shared.py").write_text(SHARED)
    (folder / "nothing.py").write_text("x = 1\n")
    (folder / "needs.py").write_text("import a_package_that_is_nowhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder.name
    for name in [name for name in sys.modules if name.partition(".")[0] == folder.name]:
        del sys.modules[name]


def test_none_is_no_task() -> None:
    assert collect_tasks(None) == collect_tasks([]) == collect_tasks({}) == collect_tasks(JobRegistry()) == {}


def test_a_module_gives_every_registry_at_its_top_level(package: str) -> None:
    assert sorted(collect_tasks(f"{package}.tasks")) == ["one", "three", "two"]


def test_all_forms_together_are_one_set_of_tasks(package: str) -> None:
    registry = JobRegistry()
    registry.register("mine", handler, max_attempts=1)
    given = [registry, f"{package}.tasks", f"{package}.shared", {"plain": handler, "made": Task(handler=other)}]
    tasks = collect_tasks(given)
    assert sorted(tasks) == ["made", "mine", "one", "plain", "three", "two"]
    assert (tasks["mine"].max_attempts, tasks["plain"].max_attempts) == (1, 3)
    assert collect_tasks(tuple(given)) == collect_tasks(iter(given)) == tasks


def test_a_dict_is_checked_like_a_registry() -> None:
    with pytest.raises(ConfigurationError, match="no function but a str"):
        collect_tasks({"a": "module.function"})
    with pytest.raises(ConfigurationError, match="a name is 1 to 191"):
        collect_tasks({"a b": handler})


def test_two_handlers_of_one_name_in_two_registries_are_refused() -> None:
    one, two = JobRegistry(), JobRegistry()
    one.register("a", handler)
    two.register("a", other)
    with pytest.raises(ConfigurationError, match="task a: two handlers"):
        collect_tasks([one, two])
    two = JobRegistry()
    two.register("a", handler)
    assert list(collect_tasks([one, two, {"a": handler}])) == ["a"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nowhere.tasks", "the module nowhere.tasks cannot be imported"),
        ("{}.absent", "absent cannot be imported"),
        ("{}.tasks:registry", "is no module path; write it with dots, such as my_service.tasks"),
        ("{}/tasks.py", "is no module path"),
        ("{}.needs", r"cannot be imported \(No module named 'a_package_that_is_nowhere'\)"),
        ("{}.nothing", "has no JobRegistry at its top level"),
        ("", "'' is no module path"),
        (".tasks", "'.tasks' is no module path"),
    ],
)
def test_a_path_without_tasks_is_refused_by_name(path: str, words: str, package: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        collect_tasks(path.format(package))


@pytest.mark.parametrize("given", [5, handler, 1.5, object()])
def test_anything_else_is_refused_by_its_type(given: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"type {type(given).__name__} is no JobRegistry, module path or dict"):
        collect_tasks(given)


def test_a_service_lists_what_is_wrong_with_its_tasks_beside_the_rest() -> None:
    with pytest.raises(ConfigurationError) as caught:
        small_app(tasks="nowhere.tasks", jwt_secret=None)
    problems = caught.value.problems
    assert any(problem.startswith("tasks: the module nowhere.tasks cannot be imported") for problem in problems)
    assert any(problem.startswith("jwt_secret") for problem in problems)


def test_a_service_without_the_feature_jobs_takes_no_tasks() -> None:
    with pytest.raises(ConfigurationError, match="which need the feature jobs"):
        small_app(tasks={"a": handler}, features=[], auth_enabled=False)


@pytest.mark.parametrize("queues", [["a b"], ["a:"], ["a:0"], ["a:x"], ["a:²"], ["a:1001"], [":3"]])
def test_queues_that_cannot_be_served_are_refused_at_start(queues: list[str]) -> None:
    with pytest.raises(ConfigurationError, match=r"worker_queues \(WORKER_QUEUES\)|worker_queues: "):
        small_app(worker_queues=queues)


def test_the_public_names_are_where_the_contract_has_them() -> None:
    import app_kernel

    assert {"JobContext", "JobRegistry", "get_job_client"} <= set(app_kernel.__all__)
    assert create_service("x", config=app_kernel.ServiceConfig(jwt_secret=SECRET, database_name="sqlite://:memory:"))
