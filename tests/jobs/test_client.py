"""Enqueueing and looking after jobs: every option, every bad value of one, and what the refusals say."""

import asyncio
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from app_kernel import KernelError, acting_as, get_job_client
from app_kernel.core.errors import (
    AmbiguousKernel,
    InvalidJob,
    JobConflict,
    JobNotFound,
    NoRunningKernel,
    UnknownTask,
)
from app_kernel.jobs import JobClient, jobs_of
from app_kernel.testing import kernel_client
from tests.jobs.places import JobPlace
from tests.small_service import small_app

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


async def note(payload: Any = None) -> Any:
    """Gives back what it got."""
    return payload


async def fail(payload: Any = None) -> None:
    """Fails for good."""
    raise ValueError("no")


TASKS = {"note": note, "fail": fail}


# Bad values.

LONG = "x" * 192
BAD_OPTIONS: list[tuple[str, Any, str]] = [
    *(("user_id", each, "user_id is text of 1 to 191 characters") for each in ("", LONG, 5, b"u", ["u"])),
    *(("job_id", each, "job_id is text of 1 to 191 characters") for each in ("", LONG, 5, True)),
    *(("unique_key", each, "unique_key is text of 1 to 191 characters") for each in ("", LONG, 5, {})),
    *((name, "a\0", f"{name}: has a NUL in it") for name in ("user_id", "job_id", "unique_key")),
    *((name, "\ud800", f"{name}: .*surrogate") for name in ("user_id", "job_id", "unique_key")),
    *(("priority", each, "priority is -100 to 100; the highest runs first") for each in (101, -101, 1.0, "1", True)),
    *(
        ("delay_seconds", each, "delay_seconds is a number from 0 to 31622400")
        for each in (-1, -0.001, float("nan"), float("inf"), 366 * 86400 + 1, "5", True, timedelta(seconds=5))
    ),
    *(
        ("run_at", each, "run_at is an aware datetime, or ISO 8601 text with an offset")
        for each in (NOON.replace(tzinfo=None), date(2026, 1, 1), "2026-01-01T00:00:00", "tomorrow", "", 5, True, b"x")
    ),
    ("run_at", datetime(9999, 12, 31, 23, 59, tzinfo=timezone(-timedelta(hours=12))), "run_at is an aware datetime"),
    ("run_at", datetime.now(UTC) + timedelta(days=367), "run_at is more than a year from now"),
    *(
        ("timeout", each, "timeout is a number of seconds from above 0 to 604800")
        for each in (0, -1, float("nan"), 7 * 86400 + 1, "5", True)
    ),
    *(("max_attempts", each, "max_attempts is 1 to 1000") for each in (0, -1, 1001, 1.0, "3", True)),
    *(("metadata", each, "metadata is a dict") for each in ("a", 5, ["a"], [], True, b"x")),
    ("metadata", {"at": NOON}, "metadata.at: datetime is no JSON"),
    ("metadata", {1: "a"}, "metadata: the key 1 is no text"),
    *(
        (name, each, f"{name} is the name of a task, or")
        for name in ("on_success", "on_failure")
        for each in (5, ("note", {}, {}), [], {"task": "note"}, (5, {}), (note, {}), note, b"note", True)
    ),
    ("on_success", ("note", NOON), "on_success: datetime is no JSON"),
    ("on_failure", ("note", {"a": b""}), "on_failure.a: bytes is no JSON"),
    *(("queue", each, "A queue's name is 1 to 64 of") for each in ("", "a b", "a:2", "x" * 65, 5, "\0", True)),
]


@pytest.mark.acceptance("JB9")
async def test_a_bad_option_is_refused_by_name_and_enqueues_nothing(place: JobPlace) -> None:
    async with place.service(TASKS) as client:
        jobs = get_job_client()
        for name, value, words in BAD_OPTIONS:
            with pytest.raises(InvalidJob, match=words):
                await jobs.enqueue("note", {}, **{name: value})
            if name not in ("job_id", "unique_key"):
                with pytest.raises(InvalidJob, match=words):
                    await jobs.enqueue_many("note", [{}, {}], **{name: value})
        with pytest.raises(InvalidJob, match="Give either delay_seconds or run_at"):
            await jobs.enqueue("note", delay_seconds=1, run_at=datetime.now(UTC))
        with pytest.raises(TypeError):
            await jobs.enqueue("note", {}, retries=3)  # type: ignore[call-arg]  # on purpose
        assert await client.jobs.enqueued() == []


@pytest.mark.parametrize("options", [{"retries": 3}, {"job_id": "a"}, {"unique_key": "a"}])
async def test_enqueue_many_says_what_it_does_not_take(options: dict[str, Any]) -> None:
    async with kernel_client(small_app(tasks=TASKS)):
        with pytest.raises(InvalidJob, match=r"enqueue_many\(\) does not take"):
            await get_job_client().enqueue_many("note", [1], **options)


@pytest.mark.parametrize("payloads", ["text", b"bytes", {"a": 1}, 5, None])
async def test_enqueue_many_takes_a_list_and_no_single_payload(payloads: Any) -> None:
    async with kernel_client(small_app(tasks=TASKS)) as client:
        with pytest.raises(InvalidJob, match="a list of payloads, one for each job"):
            await get_job_client().enqueue_many("note", payloads)
        assert await client.jobs.enqueued() == []


# Unknown tasks.


@pytest.mark.acceptance("JB9")
@pytest.mark.parametrize("name", ["nope", "os.system", "app_kernel.jobs", "Note", "note "])
async def test_a_task_that_the_service_does_not_have_is_named_beside_those_that_it_has(name: str) -> None:
    async with kernel_client(small_app(tasks=TASKS)) as client:
        jobs = get_job_client()
        words = f"There is no task '{name}'; this service has fail, note."
        with pytest.raises(UnknownTask) as caught:
            await jobs.enqueue(name, {})
        assert caught.value.message == words
        for option in ("on_success", "on_failure"):
            with pytest.raises(UnknownTask, match="There is no task"):
                await jobs.enqueue("note", {}, **{option: name})
        with pytest.raises(UnknownTask):
            await jobs.enqueue_many(name, [{}])
        assert await client.jobs.enqueued() == []


@pytest.mark.parametrize("name", [None, 5, b"note", "", "x" * 192, note])
async def test_a_task_is_named_by_text(name: Any) -> None:
    async with kernel_client(small_app(tasks=TASKS)):
        with pytest.raises(UnknownTask, match="A task has a name, given as text"):
            await get_job_client().enqueue(name, {})


async def test_the_embedded_worker_without_tasks_says_what_to_do() -> None:
    async with kernel_client(small_app()):
        with pytest.raises(UnknownTask) as caught:
            await get_job_client().enqueue("send_email", {})
    for words in ("'send_email'", "create_service(tasks=...)", "python -m app_kernel.jobs.worker", "EMBEDDED_WORKER"):
        assert words in caught.value.message


async def test_a_service_whose_worker_is_apart_takes_any_name_but_no_half_text(place: JobPlace) -> None:
    async with place.service(None, embedded_worker=False) as client:
        jobs = get_job_client()
        made = await jobs.enqueue("somebody.elses", {"a": 1}, on_success="anothers", priority=5)
        assert (made.task_name, made.status, made.queue_name) == ("somebody.elses", "queued", "default")
        for name in ("a\0", "\ud800"):
            with pytest.raises(InvalidJob, match="name: "):
                await jobs.enqueue(name, {})
        assert [view.task_name for view in await client.jobs.enqueued()] == ["somebody.elses"]


async def test_a_service_whose_worker_is_apart_but_that_has_tasks_of_its_own_knows_them_all(place: JobPlace) -> None:
    async with place.service(TASKS, embedded_worker=False):
        with pytest.raises(UnknownTask, match="this service has fail, note"):
            await get_job_client().enqueue("nope", {})


# Before, after, and beside.


async def test_before_the_start_and_after_the_end_nothing_is_taken() -> None:
    app = small_app(tasks=TASKS)
    with pytest.raises(NoRunningKernel, match="lifespan"):
        get_job_client()
    jobs = jobs_of(app.state.kernel)
    with pytest.raises(NoRunningKernel, match="the service has not started, or has ended"):
        await jobs.enqueue("note", {})
    async with kernel_client(app):
        await jobs.enqueue("note", {})
    for call in (jobs.enqueue("note", {}), jobs.get("x"), jobs.list_jobs(), jobs.cancel("x"), jobs.figures()):
        with pytest.raises(NoRunningKernel):
            await call
    with pytest.raises(NoRunningKernel):
        get_job_client()


async def test_of_two_services_in_a_process_each_has_its_own_jobs() -> None:
    from fastapi import APIRouter

    router = APIRouter()

    @router.post("/go/{name}")
    async def go(name: str) -> str:
        return (await get_job_client().enqueue("note", {"for": name})).job_id

    async with (
        kernel_client(small_app(router, tasks=TASKS)) as one,
        kernel_client(small_app(router, tasks=TASKS)) as two,
    ):
        with pytest.raises(AmbiguousKernel):
            get_job_client()
        ids = [(await client.post(f"/go/{number}")).json() for number, client in enumerate((one, two))]
        assert [view.id for view in await one.jobs.enqueued()] == ids[:1]
        assert [view.id for view in await two.jobs.enqueued()] == ids[1:]
        (ran,) = await two.jobs.drain()
        assert (ran.id, ran.result) == (ids[1], {"for": "1"})
        assert [view.status for view in await one.jobs.enqueued()] == ["queued"]


# What each option does.


async def test_the_answer_says_what_became_of_it(place: JobPlace) -> None:
    async with place.service(TASKS) as client:
        jobs = get_job_client()
        made = await jobs.enqueue("note", {"a": 1})
        assert (made.task_name, made.status, made.queue_name, made.deduplicated) == ("note", "queued", "default", False)
        later = await jobs.enqueue("note", {}, delay_seconds=60, queue="emails", job_id="mine")
        assert (later.job_id, later.status, later.queue_name) == ("mine", "scheduled", "emails")
        again = await jobs.enqueue("fail", {}, job_id="mine")
        assert (again.job_id, again.task_name, again.status, again.deduplicated) == ("mine", "note", "scheduled", True)
        view = await jobs.get(made.job_id)
        assert view is not None
        assert (view.payload, view.metadata, view.result, view.error) == ({"a": 1}, {}, None, None)
        assert (view.attempt, view.max_attempts, view.progress, view.cancelling) == (0, 3, 0.0, False)
        assert view.started_at is view.finished_at is None
        assert len(await client.jobs.enqueued()) == 2


async def test_every_option_is_kept_with_the_job(place: JobPlace) -> None:
    async with place.service(TASKS) as client:
        jobs = get_job_client()
        at = datetime.now(UTC) + timedelta(hours=1)
        options: dict[str, Any] = {
            "user_id": "ada", "job_id": "j-1/é", "priority": 7, "timeout": 1.5, "max_attempts": 9, "unique_key": "k",
            "metadata": {"tag": [1]}, "queue": "emails", "run_at": at, "on_success": "note",
            "on_failure": ("note", {"x": 1}),
        }  # fmt: skip
        await jobs.enqueue("fail", [1], **options)
        view = await client.jobs.assert_enqueued(
            "fail", [1], id="j-1/é", priority=7, max_attempts=9, unique_key="k", queue_name="emails", user_id="ada",
            metadata={"tag": [1]}, status="scheduled",
        )  # fmt: skip
        assert datetime.fromisoformat(view.run_at) - at < timedelta(milliseconds=2)
        text = await jobs.enqueue("note", run_at="2020-01-01T00:00:00+02:00")
        past = await jobs.get(text.job_id)
        assert past is not None
        assert past.run_at == "2019-12-31T22:00:00.000000Z"
        assert [ran.id for ran in await client.jobs.drain()] == [text.job_id]


async def test_who_enqueues_is_who_acts_unless_another_one_is_named(place: JobPlace) -> None:
    async with place.service(TASKS) as client:
        jobs = get_job_client()
        with acting_as("ada", workspace_id="w1"):
            await jobs.enqueue("note", 1)
            await jobs.enqueue("note", 2, user_id="grace")
        await jobs.enqueue("note", 3)
        views = await client.jobs.enqueued("note")
    assert [(view.user_id, view.workspace_id) for view in views] == [("ada", "w1"), ("grace", "w1"), (None, None)]


async def test_many_are_enqueued_in_one_step_in_their_order(place: JobPlace) -> None:
    async with place.service(TASKS) as client:
        jobs = get_job_client()
        assert await jobs.enqueue_many("note", []) == []
        made = await jobs.enqueue_many("note", list(range(1234)), priority=3, user_id="ada", metadata={"a": 1})
        assert len({each.job_id for each in made}) == 1234
        assert {(each.status, each.deduplicated) for each in made} == {("queued", False)}
        assert (await jobs.figures()).counts == {("default", "queued"): 1234}
        latest = await jobs.list_jobs(limit=1000)
        assert [view.id for view in latest] == [each.job_id for each in reversed(made)][:1000]
        async with client.db.transaction():
            inside = await jobs.enqueue_many("note", iter((7, 8)), delay_seconds=60)  # type: ignore[arg-type]  # taken
        assert [each.status for each in inside] == ["scheduled"] * 2


# Looking after jobs.


async def test_what_is_not_there_is_none_or_not_found(place: JobPlace) -> None:
    async with place.service(TASKS):
        jobs = get_job_client()
        for id in ("none", "", "x" * 5000, "a'b\"; --", "é\U0001f600", "a\0b", "\ud800"):
            assert await jobs.get(id) is None
            with pytest.raises(JobNotFound, match="There is no such job"):
                await jobs.cancel(id)
            with pytest.raises(JobNotFound):
                await jobs.retry(id)


async def test_jobs_are_listed_by_what_is_asked_for(place: JobPlace) -> None:
    async with place.service(TASKS) as client:
        jobs = get_job_client()
        await jobs.enqueue("note", 1, job_id="c", user_id="ada")
        await jobs.enqueue("fail", 2, job_id="b", user_id="ada", max_attempts=1)
        await client.jobs.drain()
        await jobs.enqueue("note", 3, job_id="a", user_id="grace", queue="emails", delay_seconds=60)
        await jobs.enqueue("note", 4, job_id="d")

        async def ids(**wanted: Any) -> list[str]:
            return [view.id for view in await jobs.list_jobs(**wanted)]

        assert await ids() == ["d", "a", "b", "c"]
        assert await ids(limit=2) == ["d", "a"]
        assert await ids(limit=2, before="a") == ["b", "c"]
        assert await ids(before="c") == await ids(before="nobody") == await ids(limit=0) == []
        assert await ids(task="note") == ["d", "a", "c"]
        assert await ids(user_id="ada") == ["b", "c"]
        assert await ids(queue="emails") == ["a"]
        assert [await ids(status=each) for each in ("completed", "dead", "scheduled", "queued", "running")] == [
            ["c"], ["b"], ["a"], ["d"], [],
        ]  # fmt: skip
        assert await ids(status="dead", queue="default", user_id="ada", task="fail") == ["b"]
        assert await ids(status="dead", queue="emails") == await ids(user_id="ada", task="nope") == []
        assert all(view.payload is None and view.metadata == {} for view in await jobs.list_jobs())


async def test_jobs_of_one_instant_are_listed_in_the_order_of_their_arrival(place: JobPlace) -> None:
    async with place.service(TASKS, frozen_at=NOON):
        jobs = get_job_client()
        for id in ("z", "a", "m"):
            await jobs.enqueue("note", job_id=id, user_id="ada")
        assert [view.id for view in await jobs.list_jobs()] == ["m", "a", "z"]
        assert [view.id for view in await jobs.list_jobs(user_id="ada", before="m", limit=1)] == ["a"]


@pytest.mark.parametrize("limit", [-1, 1001, 1.0, "5", None, True])
async def test_a_bad_limit_or_status_is_refused(limit: Any) -> None:
    async with kernel_client(small_app(tasks=TASKS)):
        with pytest.raises(InvalidJob, match="limit is 0 to 1000"):
            await get_job_client().list_jobs(limit=limit)
        with pytest.raises(InvalidJob, match="status is one of scheduled, queued, running, completed, dead, cancelled"):
            await get_job_client().list_jobs(status="done")  # type: ignore[arg-type]  # on purpose


async def test_what_cannot_be_cancelled_or_retried_says_why_and_stays_as_it_is(place: JobPlace) -> None:
    async with place.service(TASKS) as client:
        jobs = get_job_client()
        done = (await jobs.enqueue("note")).job_id
        dead = (await jobs.enqueue("fail", max_attempts=1)).job_id
        await client.jobs.drain()
        waits = (await jobs.enqueue("note", delay_seconds=60)).job_id
        before = [await jobs.get(each) for each in (done, dead, waits)]
        for id, status in ((done, "completed"), (dead, "dead")):
            with pytest.raises(JobConflict, match=f"The job is {status} already"):
                await jobs.cancel(id)
        for id, status in ((done, "completed"), (waits, "scheduled")):
            with pytest.raises(JobConflict, match=f"Only a dead or cancelled job can be retried; this one is {status}"):
                await jobs.retry(id)
        assert [await jobs.get(each) for each in (done, dead, waits)] == before
        assert (await jobs.cancel(waits)).status == "cancelled"
        assert (await jobs.cancel(waits)).status == "cancelled"
        assert (await jobs.retry(waits)).status == "queued"
        await asyncio.sleep(0.002)  # of two jobs due in one millisecond, the one that was enqueued first runs first
        assert (await jobs.retry(dead)).status == "queued"
        assert [view.id for view in await client.jobs.drain()] == [waits, dead]


async def test_a_unique_key_that_another_job_has_by_now_keeps_a_dead_one_dead(place: JobPlace) -> None:
    async with place.service(TASKS) as client:
        jobs = get_job_client()
        dead = (await jobs.enqueue("fail", max_attempts=1, unique_key="k")).job_id
        await client.jobs.drain()
        other = await jobs.enqueue("note", unique_key="k")
        assert (other.deduplicated, (await jobs.enqueue("note", unique_key="k")).job_id) == (False, other.job_id)
        with pytest.raises(JobConflict, match="Another unfinished job has the unique key of this one"):
            await jobs.retry(dead)
        await client.jobs.drain()
        assert (await jobs.retry(dead)).status == "queued"


async def test_a_paused_queue_is_enqueued_to_and_not_run(place: JobPlace) -> None:
    async with place.service(TASKS) as client:
        jobs = get_job_client()
        await jobs.pause("emails")
        await jobs.pause("emails")
        await jobs.enqueue("note", 1, queue="emails")
        await jobs.enqueue("note", 2)
        assert [view.payload for view in await client.jobs.drain()] == [2]
        assert (await jobs.figures()).paused == ("emails",)
        await jobs.resume("emails")
        assert [view.payload for view in await client.jobs.drain()] == [1]
        for name in ("", "a b", 5, None):
            with pytest.raises(InvalidJob, match="A queue's name"):
                await jobs.pause(name)  # type: ignore[arg-type]  # on purpose
            with pytest.raises(InvalidJob, match="A queue's name"):
                await jobs.resume(name)  # type: ignore[arg-type]  # on purpose


def test_every_error_of_jobs_is_one_of_the_kernels() -> None:
    assert issubclass(InvalidJob, KernelError)
    assert (InvalidJob.status, JobNotFound.status, JobConflict.status) == (422, 404, 409)
    assert issubclass(InvalidJob, ValueError)
    assert JobClient({}).knows_all is False
