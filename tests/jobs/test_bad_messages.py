"""What somebody puts into a queue by hand harms nobody: the worker lives, other jobs run, nothing is imported."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app_kernel import JobContext, RetryLater, get_job_client
from app_kernel.db import create_database
from app_kernel.jobs import JobView
from app_kernel.jobs.queues.backend import Backend
from app_kernel.jobs.queues.redis import RedisBackend
from app_kernel.testing import KernelClient
from tests.jobs.making import finished, ran
from tests.jobs.places import JobPlace, redis, sqlite
from tests.jobs.test_records import PICKLED
from tests.jobs.waiting import until

MODULE_THAT_NOBODY_NEEDS = "antigravity"
"""Of the standard library; importing it would open a browser."""

called: list[Any] = []


async def good(payload: Any, ctx: JobContext) -> Any:
    """Notes that it ran."""
    called.append(payload)
    return payload


async def never(payload: Any) -> None:
    """Is not to be called by a malformed job."""
    called.append("never")


async def later(payload: Any) -> None:
    """Wants to run again at once."""
    raise RetryLater(0)


TASKS = {"good": good, "never": never, "later": later}


@pytest.fixture(autouse=True)
def nothing_called() -> None:
    """Each case begins with an empty note."""
    called.clear()


class RedisHand:
    """Somebody with a Redis client."""

    def __init__(self, backend: RedisBackend) -> None:
        self.redis, self.prefix = backend._redis, backend._prefix

    async def put(self, id: Any, /, score: float = 0, **fields: Any) -> None:
        """A hash as the kernel would write it, but for these fields (None: without it), and its place in the queue."""
        whole = {
            "id": id, "queue": "default", "task": "never", "status": "queued", "rank": 0, "due": 1000, "body": "{}",
            "attempts": 0, "max_attempts": 1, "enqueued_at": 1000, "seq": 1, **fields,
        }  # fmt: skip
        await self.redis.hset(f"{self.prefix}job:{id}", mapping={k: v for k, v in whole.items() if v is not None})
        await self.redis.zadd(f"{self.prefix}all", {id: 1})
        await self.queue(f"{1:015d}:{id}", score)

    async def queue(self, member: Any, score: float = 0) -> None:
        """A member of the queue itself."""
        await self.redis.zadd(f"{self.prefix}ready:default", {member: score})
        await self.redis.publish(f"{self.prefix}wake:default", "")

    async def aside(self) -> list[bytes]:
        """What was put aside."""
        return [bytes(each) for each in await self.redis.zrange(f"{self.prefix}malformed", 0, -1)]


@asynccontextmanager
async def by_hand() -> AsyncIterator[tuple[KernelClient, RedisHand]]:
    """A service that runs its jobs from Redis, and somebody else with access to that."""
    async with redis() as place, place.backend() as backend:
        assert isinstance(backend, RedisBackend)
        async with place.service(TASKS, jobs="worker") as client:
            yield client, RedisHand(backend)


async def assert_others_run() -> None:
    """Jobs that are as they should be run, one after another and together."""
    jobs = get_job_client()
    assert (await ran(jobs, "good", 1)).result == 1
    made = await jobs.enqueue_many("good", list(range(20)))
    assert [(await finished(jobs, each.job_id)).status for each in made] == ["completed"] * 20


async def assert_everybody_is_shown(client: KernelClient) -> None:
    """Lists, figures and routes still answer."""
    root = await client.log_in_as("root@example.com", role="admin")
    answer = await root.get("/jobs?limit=200")
    assert answer.status_code == 200, answer.text
    for each in answer.json()["jobs"]:
        assert (await root.get(f"/jobs/{each['id']}")).status_code == 200
    assert (await root.get("/metrics")).status_code == 200
    assert (await root.get("/readyz")).json()["status"] == "ready"


BODIES = {
    "no JSON": "no json",
    "nothing": "",
    "an array": '["payload"]',
    "text": '"payload"',
    "pickle": PICKLED,
    "bytes that are no text": b"\xff\xfe\x00\x01",
    "a payload with half a surrogate pair": '{"payload":"\\ud800"}',
    "metadata of another kind": '{"metadata":5}',
    "a timeout that is text": '{"timeout":"5"}',
    "a timeout without end": '{"timeout":1e300}',
    "followups of another kind": '{"on_success":5}',
    "a followup with a NUL in its name": '{"on_failure":["a\\u0000",null]}',
    "a request id of another kind": '{"request_id":{"a":1}}',
    "ten megabytes": '{"payload":"' + "x" * 10_000_000 + '"}',
    "a hundred thousand brackets": '{"payload":' + "[" * 100_000 + "]" * 100_000 + "}",
}


@pytest.mark.acceptance("JB9")
@pytest.mark.parametrize("kind", BODIES)
async def test_a_body_that_the_kernel_did_not_write_makes_a_job_dead(kind: str) -> None:
    async with by_hand() as (client, hand):
        await hand.put("bad", body=BODIES[kind], max_attempts=5)
        await assert_others_run()
        view = await finished(get_job_client(), "bad")
        assert (view.status, view.attempt, view.payload) == ("dead", 1, None)
        assert view.error is not None
        assert "The job is malformed: its body is no JSON that the kernel wrote" in view.error
        await assert_everybody_is_shown(client)
    assert "never" not in called


SPOILT: dict[str, dict[str, Any]] = {
    "max_attempts is no number": {"max_attempts": "many"},
    "max_attempts is negative": {"max_attempts": -5},
    "max_attempts is endless": {"max_attempts": "inf"},
    "attempts is no number": {"attempts": "many"},
    "attempts is huge": {"attempts": 2**63 - 1},
    "rank is no number": {"rank": "first"},
    "rank is not a number": {"rank": "nan"},
    "rank is huge": {"rank": "1e300"},
    "due is no number": {"due": "soon"},
    "due is not a number": {"due": "nan"},
    "due is endless": {"due": "inf"},
    "due is huge": {"due": "1e300"},
    "enqueued_at is no number": {"enqueued_at": "then"},
    "enqueued_at is huge": {"enqueued_at": "-1e300"},
    "seq is not a number": {"seq": "nan"},
    "seq is huge": {"seq": 10**30},
    "result is no JSON": {"result": "{"},
    "error is no text": {"error": b"\xff\xfe"},
    "user is no text": {"user_id": b"\xff"},
    "progress is no number": {"progress": "half"},
    "a token of somebody's": {"token": "mine"},
    "it names no queue": {"queue": None},
    "it names another queue": {"queue": "elsewhere"},
    "it names no task": {"task": None},
    "it names a task of bytes": {"task": b"\xff\x00"},
    "it has no rank": {"rank": None},
    "it has no due time": {"due": None},
    "it has no body": {"body": None},
    "it has no id": {"id": None},
    "it has another id": {"id": "other"},
    "it has nothing but its status": dict.fromkeys(
        ("id", "queue", "task", "rank", "due", "body", "attempts", "max_attempts", "enqueued_at", "seq")
    ),
    "its fields are scripts": {"task": "';redis.call('FLUSHALL');--", "queue": "a' .. error() .. '"},
    "everything is bytes": dict.fromkeys(("id", "task", "rank", "due", "body", "max_attempts", "enqueued_at"), b"\xff"),
}


@pytest.mark.acceptance("JB9")
@pytest.mark.parametrize("kind", SPOILT)
async def test_a_job_with_a_spoilt_field_ends_and_is_shown(kind: str) -> None:
    async with by_hand() as (client, hand):
        # A task that is unknown waits for somebody who knows it, so it is tried once here.
        await hand.put("bad", **{"task": "good", "body": '{"has_own_attempts":true}', **SPOILT[kind]})
        await assert_others_run()
        jobs = get_job_client()

        async def settled() -> JobView | None:
            view = await jobs.get("bad")
            return view if view is not None and view.status not in ("queued", "running") else None

        view = await until(settled)
        assert view is not None
        assert view.status in ("completed", "dead", "scheduled")
        await assert_everybody_is_shown(client)
        assert await jobs.list_jobs() != []


LATER = [kind for kind in SPOILT if set(SPOILT[kind]) & {"rank", "due", "queue", "seq", "attempts"}]


@pytest.mark.acceptance("JB9")
@pytest.mark.parametrize("kind", LATER)
async def test_a_spoilt_job_that_runs_again_harms_nobody_either(kind: str) -> None:
    async with by_hand() as (client, hand):
        await hand.put(
            "bad", **{"task": "later", "body": '{"has_own_attempts":true}', "max_attempts": 2, **SPOILT[kind]}
        )
        await assert_others_run()
        await until(lambda: get_job_client().list_jobs(status="dead"))
        await assert_others_run()
        await assert_everybody_is_shown(client)


@pytest.mark.acceptance("JB9")
@pytest.mark.parametrize("kind", SPOILT)
async def test_a_scheduled_job_with_a_spoilt_field_does_not_stop_its_queue(kind: str) -> None:
    async with by_hand() as (client, hand):
        await hand.put("bad", score=-1, **{"task": "good", **SPOILT[kind], "status": "scheduled"})
        await hand.redis.zrem(f"{hand.prefix}ready:default", f"{1:015d}:bad")
        await hand.redis.zadd(f"{hand.prefix}scheduled:default", {"bad": 1, "nobody": 2, b"\xff": 3})
        await assert_others_run()
        assert (await ran(get_job_client(), "good", 7, delay_seconds=0.05)).result == 7
        await assert_everybody_is_shown(client)
        view = await get_job_client().get("bad")
        assert view is not None
        assert view.status != "scheduled" or view.attempt > 0


@pytest.mark.acceptance("JB9")
async def test_what_stands_in_a_queue_and_is_no_job_is_put_aside_and_told(caplog: pytest.LogCaptureFixture) -> None:
    async with by_hand() as (client, hand):
        members = ["nobody", "", "x", PICKLED, f"{7:015d}:ghost", b"\xff" * 40, "y" * 5000]
        for member in members:
            await hand.queue(member, score=-1)
        for name, fill in (("text", hand.redis.set), ("list", hand.redis.rpush), ("set", hand.redis.sadd)):
            await fill(f"{hand.prefix}job:{name}", "x")
            await hand.redis.zadd(f"{hand.prefix}all", {name: 1})
            await hand.queue(f"{1:015d}:{name}")
        await assert_others_run()
        aside = await hand.aside()
        for name in ("text", "list", "set"):
            assert await get_job_client().get(name) is None
            assert f"{1:015d}:{name}".encode() in aside
        assert {member if isinstance(member, bytes) else member.encode() for member in members} <= set(aside)
        await assert_everybody_is_shown(client)
    told = [record for record in caplog.records if record.message == "job_malformed"]
    assert len(told) == len(members) + 3


async def test_of_what_is_put_aside_only_the_latest_thousand_are_kept() -> None:
    async with by_hand() as (_, hand):
        await hand.redis.zadd(f"{hand.prefix}ready:default", {f"x{number}": -1 for number in range(1500)})
        await assert_others_run()
        assert len(await hand.aside()) == 1000


@pytest.mark.acceptance("JB9")
async def test_keys_of_another_kind_than_the_queues_stop_nobody_else() -> None:
    async with by_hand() as (client, hand):
        await hand.redis.hset(f"{hand.prefix}running", mapping={"nobody": "x", b"\xff": b"\xff", "": ""})
        await hand.redis.zadd(f"{hand.prefix}expiring", {"nobody": 1, "text": 2})
        await hand.redis.zadd(f"{hand.prefix}dead:default", {"nobody": 1})
        await hand.redis.sadd(f"{hand.prefix}queues", "a b", b"\xff")
        await hand.redis.hset(f"{hand.prefix}unique", "k", "nobody")
        await assert_others_run()
        assert (await ran(get_job_client(), "good", 3, unique_key="k")).result == 3
        await assert_everybody_is_shown(client)


@pytest.mark.slow
@pytest.mark.acceptance("JB9")
async def test_a_job_whose_end_cannot_be_written_keeps_nobody_from_the_rescue() -> None:
    """The job of a dead worker is found although one before it in the list cannot be ended."""
    async with by_hand() as (_, hand):
        for id in ("a-bad", "z-good"):
            await hand.put(id, status="running", token="gone", task="good", attempts=1, max_attempts=2, body="{}")
            await hand.redis.zrem(f"{hand.prefix}ready:default", f"{1:015d}:{id}")
        await hand.redis.hset(f"{hand.prefix}running", mapping={"a-bad": "gone 0", "z-good": "gone 0"})
        await hand.redis.hset(f"{hand.prefix}job:a-bad", mapping={"attempts": "many", "rank": "nan", "due": "nan"})
        await hand.redis.hdel(f"{hand.prefix}job:a-bad", "queue")
        assert (await finished(get_job_client(), "z-good", 30)).status == "completed"


# In a database, by hand too.


async def insert(place: JobPlace, **fields: Any) -> None:
    """A row as somebody with a database client makes it."""
    row = {
        "id": "bad", "queue": "default", "task": "good", "status": "queued", "rank": 0, "due": 1.0, "body": "{}",
        "max_attempts": 1, "enqueued_at": 1.0, **fields,
    }  # fmt: skip
    database = create_database(place.database_url)
    await database.open()
    try:
        columns = ", ".join(f"[{name}]" for name in row)
        await database.statements.run(
            f"INSERT INTO [kernel_jobs] ({columns}) VALUES ({', '.join('?' * len(row))}) RETURNING [id]",
            tuple(row.values()),
        )
    finally:
        await database.close()


DATABASES = ["sqlite", "postgres"]


@pytest.mark.acceptance("JB9")
@pytest.mark.of_one_place
@pytest.mark.parametrize("place", DATABASES, indirect=True)
async def test_a_row_with_a_body_of_no_kind_becomes_a_dead_job(place: JobPlace) -> None:
    bodies = {kind: body for kind, body in BODIES.items() if isinstance(body, str)}
    async with place.service(TASKS, jobs="worker") as client:
        for kind, body in bodies.items():
            await insert(place, id=kind, body=body, task="never", max_attempts=5)
        await assert_others_run()
        for kind in bodies:
            view = await finished(get_job_client(), kind)
            assert (kind, view.status, view.attempt) == (kind, "dead", 1)
            assert view.error is not None
            assert "its body is no JSON that the kernel wrote" in view.error
        await assert_everybody_is_shown(client)
    assert "never" not in called


WRONG_KINDS: dict[str, dict[str, Any]] = {
    "rank is text": {"rank": "first"},
    "due is text": {"due": "soon"},
    "attempts is text": {"attempts": "many"},
    "max_attempts is text": {"max_attempts": "many"},
    "enqueued_at is text": {"enqueued_at": "then"},
    "due is huge": {"due": 1e300},
    "a body of bytes": {"body": PICKLED},
    "a task of bytes": {"task": b"\xff\x00"},
    "result is no JSON": {"result": "{"},
    "progress is text": {"progress": "half"},
    "everything is text": dict.fromkeys(("rank", "attempts", "max_attempts", "enqueued_at", "body", "task"), "x"),
}


@pytest.mark.acceptance("JB9")
@pytest.mark.parametrize("kind", WRONG_KINDS)
async def test_sqlite_holds_anything_in_any_column_and_the_worker_lives_with_it(kind: str) -> None:
    async with sqlite() as place, place.service(TASKS, jobs="worker") as client:
        await insert(place, **{"body": '{"has_own_attempts":true}', **WRONG_KINDS[kind]})
        await assert_others_run()
        view = await until(lambda: _ended(get_job_client()))
        assert view.status in ("completed", "dead", "scheduled")
        await assert_everybody_is_shown(client)


async def _ended(jobs: Any) -> Any:
    view = await jobs.get("bad")
    return view if view is not None and view.status not in ("queued", "running") else None


@pytest.mark.acceptance("JB9")
@pytest.mark.of_one_place
@pytest.mark.parametrize("place", DATABASES, indirect=True)
@pytest.mark.parametrize("spoilt", [{"status": "odd"}, {"max_attempts": -5}, {"max_attempts": 0}, {"queue": "a b"}])
async def test_a_row_that_no_worker_would_write_stops_nobody(place: JobPlace, spoilt: dict[str, Any]) -> None:
    async with place.service(TASKS, jobs="worker") as client:
        await insert(place, **spoilt)
        await assert_others_run()
        await assert_everybody_is_shown(client)


# Names are looked up among the registered tasks, and nowhere else.


@pytest.mark.acceptance("JB9")
@pytest.mark.parametrize(
    "name",
    ["os.system", "builtins.eval", "subprocess:run", f"{MODULE_THAT_NOBODY_NEEDS}.fly_geohash", "__import__",
     "tests.jobs.test_bad_messages.never", "never.__globals__", "../never", "good\n", "x" * 5000],
)  # fmt: skip
async def test_an_unknown_task_is_never_imported_whatever_its_name(place: JobPlace, name: str, tmp_path: Path) -> None:
    before = set(sys.modules)
    marker = tmp_path / "was_here"
    body = f'{{"payload":"touch {marker}","has_own_attempts":true}}'
    async with place.service(TASKS, jobs="worker") as client:
        backend: Backend = get_job_client().backend
        if isinstance(backend, RedisBackend):
            await RedisHand(backend).put("bad", task=name, body=body)
        else:
            await insert(place, task=name, body=body)
        await assert_others_run()
        view = await finished(get_job_client(), "bad")
        assert (view.status, view.task_name) == ("dead", name)
        assert view.error is not None
        assert f"No task is named {name!r} in this worker" in view.error
        await assert_everybody_is_shown(client)
    assert "never" not in called
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240 - an empty directory
    assert MODULE_THAT_NOBODY_NEEDS not in set(sys.modules) - before
