"""The routes under /jobs: one's own jobs and nobody else's, all of them for admins, and only the documented answers."""

from typing import Any

import pytest
from fastapi import APIRouter, Depends

from app_kernel import JobContext, get_current_user, get_job_client
from app_kernel.core.errors import QueueUnavailable
from app_kernel.testing import KernelClient
from tests.jobs.places import JobPlace
from tests.small_service import serving

SECRET_WORDS = "hunter2"


async def note(payload: Any, ctx: JobContext) -> Any:
    """Gives back what it got."""
    await ctx.progress(0.5, "half")
    return payload


async def fail(payload: Any) -> None:
    """Fails with a text that only the service should see."""
    raise ValueError(f"wrong\n{SECRET_WORDS}: at /srv/app")


TASKS = {"note": note, "fail": fail}

router = APIRouter()


@router.post("/start/{task}")
async def start(task: str, user: Any = Depends(get_current_user)) -> str:
    """Enqueues as the caller."""
    return (await get_job_client().enqueue(task, {"by": user.email}, max_attempts=1)).job_id


async def people(client: KernelClient) -> tuple[KernelClient, KernelClient, KernelClient]:
    """Two users and an admin."""
    return (
        await client.log_in_as("ada@example.com"),
        await client.log_in_as("eve@example.com"),
        await client.log_in_as("root@example.com", role="admin"),
    )


REQUESTS = [("GET", "/jobs/{id}"), ("POST", "/jobs/{id}/cancel"), ("POST", "/jobs/{id}/retry")]


@pytest.mark.acceptance("JB10")
async def test_a_job_of_somebody_else_does_not_exist(place: JobPlace) -> None:
    async with place.service(TASKS, router) as client:
        ada, eve, root = await people(client)
        queued = (await ada.post("/start/note")).json()
        dead = (await ada.post("/start/fail")).json()
        await get_job_client().cancel(queued)
        await client.jobs.drain()
        waiting = (await ada.post("/start/note")).json()
        nobodys = (await get_job_client().enqueue("note", 1)).job_id
        before = await client.jobs.enqueued()
        for id in (queued, dead, waiting, nobodys):
            for method, path in REQUESTS:
                answers = [await each.request(method, path.format(id=id)) for each in (client, eve)]
                assert [answer.status_code for answer in answers] == [401, 404]
                assert answers[0].headers["WWW-Authenticate"] == "Bearer"
                unknown = await eve.request(method, path.format(id="unknown"))
                bodies = [{k: v for k, v in each.json().items() if k != "request_id"} for each in (answers[1], unknown)]
                assert bodies[0] == bodies[1]
        assert await client.jobs.enqueued() == before
        # Nobody's job is nobody's: only an admin sees it.
        assert [(await each.get(f"/jobs/{nobodys}")).status_code for each in (ada, root)] == [404, 200]
        for id in (queued, dead, waiting):
            assert [(await each.get(f"/jobs/{id}")).status_code for each in (ada, root)] == [200, 200]


@pytest.mark.acceptance("JB10")
async def test_the_list_shows_only_ones_own_whatever_is_asked_for(place: JobPlace) -> None:
    async with place.service(TASKS, router) as client:
        ada, eve, root = await people(client)
        ids = [(await each.post("/start/note")).json() for each in (ada, eve, ada, eve)]
        nobodys = (await get_job_client().enqueue("note", 1)).job_id
        assert (await client.get("/jobs")).status_code == 401

        async def listed(who: KernelClient, query: str = "") -> list[str]:
            answer = await who.get(f"/jobs{query}")
            assert answer.status_code == 200, answer.text
            return [each["id"] for each in answer.json()["jobs"]]

        assert await listed(ada) == [ids[2], ids[0]]
        assert await listed(eve) == [ids[3], ids[1]]
        assert await listed(root) == [nobodys, *reversed(ids)]
        tries = [f"?user_id={eve.user.id}", "?task=note", "?status=queued", "?queue=default", f"?before={ids[3]}"]
        for query in tries:
            assert set(await listed(ada, query)) <= {ids[0], ids[2]}
        # The id of somebody else's job is no place in one's own list.
        assert await listed(ada, f"?before={ids[3]}") == []


@pytest.mark.acceptance("JB10")
async def test_the_owner_cancels_and_runs_again_and_so_does_an_admin(place: JobPlace) -> None:
    async with place.service(TASKS, router) as client:
        ada, _, root = await people(client)
        for who in (ada, root):
            id = (await ada.post("/start/note")).json()
            cancelled = await who.post(f"/jobs/{id}/cancel")
            assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
            assert (await who.post(f"/jobs/{id}/cancel")).json()["status"] == "cancelled"
            again = await who.post(f"/jobs/{id}/retry")
            assert (again.status_code, again.json()["status"]) == (200, "queued")
            refused = await who.post(f"/jobs/{id}/retry")
            assert refused.status_code == 409
            assert refused.json()["detail"] == "Only a dead or cancelled job can be retried; this one is queued."
            await client.jobs.drain()
            done = (await who.get(f"/jobs/{id}")).json()
            assert (done["status"], done["result"], done["progress"]) == ("completed", {"by": "ada@example.com"}, 1)
            late = await who.post(f"/jobs/{id}/cancel")
            assert (late.status_code, late.json()["detail"]) == (409, "The job is completed already.")
            assert late.headers["content-type"] == "application/problem+json"


async def test_a_job_is_shown_whole_and_in_the_list_without_what_it_carries() -> None:
    async with serving(router, tasks=TASKS) as client:
        ada = await client.log_in_as("ada@example.com")
        id = (await ada.post("/start/note")).json()
        whole = (await ada.get(f"/jobs/{id}")).json()
        (listed,) = (await ada.get("/jobs")).json()["jobs"]
        assert whole.keys() - listed.keys() == {"payload", "metadata", "result"}
        assert {name: whole[name] for name in listed} == listed
        assert (whole["user_id"], whole["payload"], whole["attempt"]) == (ada.user.id, {"by": "ada@example.com"}, 0)
        assert not {"token", "worker", "body", "unique_key"} & whole.keys()


@pytest.mark.acceptance("JB10")
async def test_a_traceback_is_for_admins_and_the_owner_sees_what_kind_of_error_it_was(place: JobPlace) -> None:
    async with place.service(TASKS, router) as client:
        ada, _, root = await people(client)
        id = (await ada.post("/start/fail")).json()
        await client.jobs.drain()
        for path in (f"/jobs/{id}", "/jobs"):
            for who, sees_all in ((ada, False), (root, True)):
                text = (await who.get(path)).text
                assert (SECRET_WORDS in text, "Traceback" in text, "test_routes.py" in text) == (sees_all,) * 3
        assert (await ada.get(f"/jobs/{id}")).json()["error"] == "ValueError"
        again = await ada.post(f"/jobs/{id}/retry")
        assert SECRET_WORDS not in again.text
        assert SECRET_WORDS not in (await ada.post(f"/jobs/{id}/cancel")).text


async def test_pages_are_followed_by_their_last_id(place: JobPlace) -> None:
    async with place.service(TASKS, router) as client:
        ada, eve, _ = await people(client)
        mine = [(await ada.post("/start/note")).json() for _ in range(3)]
        await eve.post("/start/note")
        mine += [(await ada.post("/start/note")).json() for _ in range(2)]
        found: list[str] = []
        query, pages = "?limit=2", 0
        while query:
            page = (await ada.get(f"/jobs{query}")).json()
            found += [each["id"] for each in page["jobs"]]
            pages += 1
            query = f"?limit=2&before={page['next_before']}" if page["next_before"] else ""
        assert (found, pages) == (mine[::-1], 3)
        assert (await ada.get("/jobs?limit=200")).json()["next_before"] is None
        assert (await ada.get("/jobs?before=unknown")).json() == {"jobs": [], "next_before": None}


async def test_the_list_is_narrowed_by_status_queue_and_task(place: JobPlace) -> None:
    async with place.service(TASKS, router) as client:
        ada, _, _ = await people(client)
        dead = (await ada.post("/start/fail")).json()
        await client.jobs.drain()
        waits = (await ada.post("/start/note")).json()

        async def listed(query: str) -> list[str]:
            return [each["id"] for each in (await ada.get(f"/jobs?{query}")).json()["jobs"]]

        assert await listed("status=dead") == await listed("task=fail") == [dead]
        assert await listed("status=queued&queue=default&task=note") == [waits]
        assert await listed("queue=emails") == await listed("task=Note") == []


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=201", "limit=-1", "limit=x", "limit=1.5", "limit=", "status=done", "status=", "status=QUEUED",
     "task=" + "x" * 192, "queue=" + "x" * 192, "before=" + "x" * 256],
)  # fmt: skip
async def test_a_query_that_cannot_be_is_422_and_names_the_parameter(query: str) -> None:
    async with serving(router, tasks=TASKS) as client:
        ada = await client.log_in_as("ada@example.com")
        answer = await ada.get(f"/jobs?{query}")
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        assert query.partition("=")[0] in answer.text
        assert (await client.get(f"/jobs?{query}")).status_code == 401


@pytest.mark.acceptance("JB10")
@pytest.mark.parametrize("text", ["%00", "a%00b", "%ff", "%ed%a0%80", "%27%3B--", "..%2f..", "%F0%9F%98%80", "x" * 255])
async def test_odd_texts_are_looked_for_in_vain(place: JobPlace, text: str) -> None:
    async with place.service(TASKS, router) as client:
        ada, _, root = await people(client)
        await ada.post("/start/note")
        for who in (ada, root):
            for method, path in REQUESTS:
                assert (await who.request(method, path.format(id=text))).status_code == 404
            for name in ("before", "task", "queue"):
                answer = await who.get(f"/jobs?{name}={text[:191]}")
                assert (answer.status_code, answer.json()["jobs"]) == (200, [])
        assert (await ada.get("/jobs/" + "x" * 256)).status_code == 422


async def test_every_answer_that_occurs_is_documented_and_the_other_way_round() -> None:
    async with serving(router, tasks=TASKS) as client:
        ada, _, _ = await people(client)
        paths = (await client.get("/openapi.json")).json()["paths"]
        documented = {
            (method.upper(), path): set(operation["responses"])
            for path, operations in paths.items()
            if path.startswith("/jobs")
            for method, operation in operations.items()
        }
        done = (await ada.post("/start/note")).json()
        await client.jobs.drain()
        waits = (await ada.post("/start/note")).json()
        occur: dict[tuple[str, str], set[str]] = {key: set() for key in documented}

        async def ask(method: str, path: str, who: KernelClient, **names: str) -> None:
            answer = await who.request(method, path.format(**names))
            occur[method, path.partition("?")[0]].add(str(answer.status_code))

        await ask("GET", "/jobs", ada)
        await ask("GET", "/jobs", client)
        await ask("GET", "/jobs?limit=0", ada)
        for method, path in REQUESTS:
            for id in (waits, done, "unknown", "x" * 256):
                await ask(method, path, ada, id=id)
            await ask(method, path, client, id=waits)
        away(client)
        await ask("GET", "/jobs", ada)
        for method, path in REQUESTS:
            await ask(method, path, ada, id=waits)
        assert set(documented) == {("GET", "/jobs"), *REQUESTS}
        for key, statuses in documented.items():
            # 4XX stands for what may end any request, such as one that is too large.
            assert "4XX" in statuses
            assert statuses - {"4XX"} == occur[key]
            assert "422" in occur[key]


def away(client: KernelClient) -> None:
    """Lets the queue of a service answer nothing more."""

    async def refuse(*_: Any) -> Any:
        raise QueueUnavailable

    backend: Any = get_job_client().backend
    for name in ("get", "find", "cancel", "retry"):
        setattr(backend, name, refuse)


async def test_a_queue_that_is_away_is_503_and_says_when_to_come_back() -> None:
    async with serving(router, tasks=TASKS) as client:
        ada = await client.log_in_as("ada@example.com")
        id = (await ada.post("/start/note")).json()
        away(client)
        answer = await ada.get(f"/jobs/{id}")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_there_are_no_other_routes(method: str) -> None:
    async with serving(router, tasks=TASKS) as client:
        ada = await client.log_in_as("ada@example.com")
        for path in ("/jobs", "/jobs/x", "/jobs/x/cancel"):
            assert (await ada.request(method, path)).status_code == 405
        assert (await ada.post("/jobs", json={"task": "note"})).status_code == 405
        assert (await ada.get("/jobs/x/cancel")).status_code == 405


async def test_the_prefix_of_the_service_goes_before_them() -> None:
    async with serving(router, tasks=TASKS, api_prefix="/api") as client:
        ada = await client.log_in_as("ada@example.com")
        id = (await ada.post("/api/start/note")).json()
        assert (await ada.get(f"/api/jobs/{id}")).json()["id"] == id
        assert (await ada.get(f"/jobs/{id}")).status_code == 404


async def test_without_auth_there_are_none() -> None:
    async with serving(APIRouter(), tasks=TASKS, auth_enabled=False) as client:
        made = await get_job_client().enqueue("note", 1)
        for path in ("/jobs", f"/jobs/{made.job_id}"):
            assert (await client.get(path)).status_code == 404
        assert not [path for path in (await client.get("/openapi.json")).json()["paths"] if "jobs" in path]


async def test_an_account_that_was_shut_out_sees_nothing_more() -> None:
    from app_kernel.auth import deactivate_user

    async with serving(router, tasks=TASKS) as client:
        ada = await client.log_in_as("ada@example.com")
        id = (await ada.post("/start/note")).json()
        await deactivate_user(client.db, ada.user.id)
        assert (await ada.get(f"/jobs/{id}")).status_code == 401
        assert (await ada.post(f"/jobs/{id}/cancel")).status_code == 401
        assert [view.status for view in await client.jobs.enqueued()] == ["queued"]
