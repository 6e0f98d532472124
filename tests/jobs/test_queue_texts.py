"""Ids, keys and bodies are text and nothing else: no character of them means anything to a queue."""

from typing import Any

import orjson
import pytest

from app_kernel import JobRegistry
from app_kernel.core.jobs import FINISHED
from app_kernel.jobs import get_job_client
from app_kernel.jobs.payload import LONGEST_BODY
from app_kernel.jobs.queues.backend import Backend
from app_kernel.jobs.records import Body, JobFilter
from tests.jobs.making import claim, end, enqueue, new, standing, started
from tests.jobs.places import JobPlace

TEXTS = {
    "quotes": """it's "quoted" `so` and ''twice''""",
    "backslashes": r"\ \\ \' \" \n \0 \x00 C:\new",
    "percent": "100% %s %d %(name)s %% %1",
    "sql": "'; DROP TABLE kernel_jobs; -- /* */ [id] ? $1 :name {now} {skip}",
    "lua": "]] .. redis.call('FLUSHALL') .. [[ %d+ %b() ^$ -- ",
    "redis": "*1\r\n$8\r\nFLUSHALL\r\n {braces} user: job: all * ? [a-z]",
    "json": '{"a": [1, null, "\\u0000"]} </script><!--',
    "blanks": "  two at both ends  ",
    "lines": "line\nline\r\ttab",
    "unicode": "Zürich 東京 ﷽ é é \u200b\u202e\ufeff",
    "emoji": "🦑👩‍👩‍👧‍👦🏳️‍🌈",
    "control": "".join(map(chr, range(1, 32))) + "\x7f\x85",
    "number": "0012.50",
    "colons": "job:1:success:2:000000000000001:",
    "long": "ü" * 191,
    "truth": "None",
    "empty looking": "nil",
}


@pytest.fixture(params=TEXTS)
def text(request: pytest.FixtureRequest) -> str:
    return TEXTS[request.param]


async def test_a_job_of_any_text_goes_through_its_life(backend: Backend, text: str) -> None:
    body = Body(payload={text: [text]}, metadata={text: text}).text()
    made = await enqueue(
        backend, text, task="work", body=body, unique_key=text, user_id=text, workspace_id=text
    )  # fmt: skip
    assert (made.id, made.is_new) == (text, True)
    assert (await enqueue(backend, "other", unique_key=text)).id == text
    assert [row.id for row in await backend.find(JobFilter(user_id=text, before=None))] == [text]
    assert await backend.statuses([text]) == {text: "queued"}
    (row,) = await claim(backend)
    assert (row.id, row.body, row.unique_key, row.user_id, row.workspace_id) == (text, body, text, text, text)
    token = row.token or ""
    assert await backend.report(text, token, 0.5, text)
    assert await backend.beat([(text, token)]) == {text: False}
    assert await backend.running() == [(text, token, 1)]
    assert await backend.settle([end(row, "dead", error=text, followups=[new(f"{text}+", body=body)])]) == {text}
    kept = await standing(backend, text)
    assert (kept.status, kept.error, kept.progress_text) == ("dead", text, text)
    assert (await standing(backend, f"{text}+")).body == body
    assert await backend.retry(text) == "queued"
    assert await backend.cancel(text) == "cancelled"


async def test_a_result_of_any_text_comes_back(backend: Backend, text: str) -> None:
    row = await started(backend, "a")
    result = orjson.dumps({text: text}).decode()
    await backend.settle([end(row, result=result)])
    assert (await standing(backend, "a")).result == result


@pytest.mark.parametrize("size", [65_536, LONGEST_BODY], ids=["64 KB", "1 MB"])
async def test_a_large_body_comes_back_as_it_was(backend: Backend, size: int) -> None:
    filler = "'🦑\\\n%" * (size // 10)
    body = filler[: size // 4] + "x" * (size - len(filler[: size // 4].encode()))
    assert len(body.encode()) == size
    row = await started(backend, "a", body=body)
    assert row.body == body
    await backend.settle([end(row, result=body, error=None)])
    assert (await standing(backend, "a")).result == body
    (listed,) = await backend.find(JobFilter())
    assert len(listed.body) < 10


async def test_texts_that_look_alike_are_different_jobs(backend: Backend) -> None:
    alike = ["a", "A", "ä", "a\u0308", "\u00e4 ", " a", "a ", "\uff41", "1", "01", "1.0", "1e0"]
    made = await backend.enqueue([new(id, unique_key=id, user_id=id) for id in alike])
    assert len({each.id for each in made if each.is_new}) == len(set(alike))
    for id in alike:
        assert [row.id for row in await backend.find(JobFilter(user_id=id))] == [id]


@pytest.mark.acceptance("JB9")
async def test_a_handler_gets_any_payload_as_it_was_given(place: JobPlace) -> None:
    registry = JobRegistry()
    got: list[Any] = []

    @registry.task("echo")
    async def echo(payload: Any) -> Any:
        got.append(payload)
        return payload

    payloads: list[Any] = [
        *TEXTS.values(), "", None, True, False, 0, -1, 2**63 - 1, -(2**63), 1.5, -0.0, 1e300, 5e-324, [], {}, [[[]]],
        {"": ""}, {"key": None, "timeout": 1, "queue": "x", "meta": 2, "function": 3, "kwargs": 4, "ctx": 5},
        list(TEXTS.values()), {name: {name: text} for name, text in TEXTS.items()}, "x" * 1_000_000,
    ]  # fmt: skip
    async with place.service(registry, jobs="manual") as client:
        jobs = get_job_client()
        made = await jobs.enqueue_many("echo", payloads)
        await client.jobs.drain()
        assert got == payloads
        assert list(map(type, got)) == list(map(type, payloads))
        for each, payload in zip(made, payloads, strict=True):
            view = await jobs.get(each.job_id)
            assert view is not None
            assert view.status in FINISHED
            assert (view.payload, view.result) == (payload, payload)
