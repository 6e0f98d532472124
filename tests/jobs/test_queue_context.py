"""A job runs on behalf of who enqueued it: rows, lines and further jobs say so."""

import asyncio
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends

from app_kernel import JobContext, JobRegistry, UserIdentity, acting_as, get_current_user, get_job_client, get_logger
from app_kernel.core.context import current_context
from app_kernel.db import get_db_connection
from tests.jobs.making import finished, ran
from tests.jobs.places import JobPlace

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Service:
    """A route that enqueues, and tasks that tell what they know."""

    def __init__(self) -> None:
        self.router = APIRouter()
        self.registry = JobRegistry()
        self.seen: dict[str, tuple[JobContext, Any]] = {}

        @self.router.post("/enqueue/{task}")
        async def enqueue(task: str, user: Annotated[UserIdentity, Depends(get_current_user)]) -> dict[str, str]:
            return {"job_id": (await get_job_client().enqueue(task)).job_id}

        @self.router.post("/anonymous/{task}")
        async def anonymous(task: str) -> dict[str, str]:
            return {"job_id": (await get_job_client().enqueue(task)).job_id}

        async def see(ctx: JobContext) -> None:
            known = current_context()
            self.seen[ctx.task_name] = (
                ctx, (known.actor_id, known.workspace_id, known.request_id, known.traceparent, known.job_id)
            )  # fmt: skip
            async with get_db_connection() as db:
                await db.save_entity("notes", {"text": ctx.task_name})

        self.registry.register("see", see)

        @self.registry.task("plain")
        def plain(ctx: JobContext) -> None:
            known = current_context()
            self.seen["plain"] = (
                ctx, (known.actor_id, known.workspace_id, known.request_id, known.traceparent, known.job_id)
            )  # fmt: skip

        @self.registry.task("chain")
        async def chain() -> None:
            await get_job_client().enqueue("see")


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.mark.parametrize("task", ["see", "plain"])
async def test_a_job_of_a_request_knows_its_user_its_request_and_its_trace(
    place: JobPlace, service: Service, task: str
) -> None:
    async with place.service(service.registry, service.router) as client:
        ada = await client.log_in_as("ada@example.com")
        headers = {"X-Request-ID": "request-1", "traceparent": TRACE}
        answer = await ada.post(f"/enqueue/{task}", headers=headers)
        (view,) = await client.jobs.drain()
        notes = await client.db.find_entities("notes")
    assert view.id == answer.json()["job_id"]
    ctx, known = service.seen[task]
    assert (ctx.user_id, ctx.workspace_id, ctx.request_id, ctx.traceparent) == (ada.user.id, None, "request-1", TRACE)
    assert known == (ada.user.id, None, "request-1", TRACE, view.id)
    assert (view.user_id, view.status) == (ada.user.id, "completed")
    if task == "see":
        assert [(note["created_by"], note["updated_by"]) for note in notes] == [(ada.user.id, ada.user.id)]


async def test_a_job_that_a_job_enqueues_is_of_the_same_user_request_and_trace(
    place: JobPlace, service: Service
) -> None:
    async with place.service(service.registry, service.router) as client:
        ada = await client.log_in_as("ada@example.com")
        await ada.post("/enqueue/chain", headers={"X-Request-ID": "request-2", "traceparent": TRACE})
        await client.jobs.drain()
        (note,) = await client.db.find_entities("notes")
    _, known = service.seen["see"]
    assert known[:4] == (ada.user.id, None, "request-2", TRACE)
    assert note["created_by"] == ada.user.id


async def test_a_job_of_nobody_is_of_nobody(place: JobPlace, service: Service) -> None:
    async with place.service(service.registry, service.router) as client:
        answer = await client.post("/anonymous/see")
        (view,) = await client.jobs.drain()
        (note,) = await client.db.find_entities("notes")
    ctx, known = service.seen["see"]
    assert (ctx.user_id, view.user_id, note["created_by"]) == (None, None, None)
    assert known == (None, None, answer.headers["X-Request-ID"], None, view.id)


async def test_one_job_sees_nothing_of_another_that_runs_beside_it(place: JobPlace) -> None:
    registry = JobRegistry()
    together = asyncio.Barrier(2)

    @registry.task("work")
    async def work(ctx: JobContext) -> list[Any]:
        await together.wait()
        known = current_context()
        return [known.actor_id, known.workspace_id, known.job_id == ctx.job_id, ctx.metadata]

    async with place.working(registry) as jobs:
        made = []
        for user, workspace in (("ada", "home"), ("bob", "office")):
            with acting_as(user, workspace):
                made.append(await jobs.enqueue("work", metadata={"of": user}))
        views = [await finished(jobs, each.job_id) for each in made]
    assert [view.result for view in views] == [
        ["ada", "home", True, {"of": "ada"}], ["bob", "office", True, {"of": "bob"}],
    ]  # fmt: skip
    assert [(view.user_id, view.workspace_id) for view in views] == [("ada", "home"), ("bob", "office")]


async def test_who_is_named_counts_before_who_enqueues(place: JobPlace, service: Service) -> None:
    async with place.working(service.registry) as jobs:
        with acting_as("ada", "home"):
            view = await ran(jobs, "see", user_id="bob")
    ctx, known = service.seen["see"]
    assert (view.user_id, ctx.user_id, ctx.workspace_id) == ("bob", "bob", "home")
    assert known[:2] == ("bob", "home")


async def test_a_handler_is_told_everything_of_its_job(place: JobPlace) -> None:
    registry = JobRegistry()
    seen: list[JobContext] = []

    @registry.task("work", queue="own", max_attempts=4)
    async def work(ctx: JobContext) -> None:
        seen.append(ctx)

    async with place.working(registry) as jobs:
        view = await ran(jobs, "work", metadata={"n": [1, {"ü": None}]})
    (ctx,) = seen
    assert (ctx.job_id, ctx.task_name, ctx.queue_name) == (view.id, "work", "own")
    assert (ctx.attempt, ctx.max_attempts, ctx.cancelled) == (1, 4, False)
    assert ctx.metadata == view.metadata == {"n": [1, {"ü": None}]}
    assert ctx.enqueued_at is not None
    assert ctx.started_at is not None
    assert ctx.enqueued_at <= ctx.started_at
    assert ctx.started_at.utcoffset() is not None


async def test_the_lines_of_a_job_carry_its_request(
    place: JobPlace, service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    @service.registry.task("say")
    async def say() -> None:
        get_logger("mine").info("said_by_the_handler")

    async with place.service(service.registry, service.router) as client:
        await client.post("/anonymous/say", headers={"X-Request-ID": "request-3"})
        (view,) = await client.jobs.drain()
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "said_by_the_handler" in line]
    assert "request-3" in line
    assert view.id in line
