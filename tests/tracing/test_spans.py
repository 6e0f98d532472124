"""One trace id goes through request, store, job and webhook, and spans tell of each by OpenTelemetry's conventions."""

import asyncio

import pytest
from fastapi import APIRouter, Depends
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from app_kernel import get_job_client
from app_kernel.core.context import current_context
from app_kernel.core.ports import EntityStore
from app_kernel.db import db_connection
from app_kernel.tracing import current_traceparent, span
from tests.tracing.serving import SAMPLED, TRACE_ID, UNSAMPLED, Boom, Service, serving


def parent_of(spans: list[ReadableSpan], child: ReadableSpan) -> str:
    """The name of its parent; `remote` for one of another process."""
    if child.parent is None:
        return ""
    found = [each.name for each in spans if each.context.span_id == child.parent.span_id]
    return found[0] if found else "remote"


async def test_one_trace_goes_through_request_store_job_and_webhook(service: Service) -> None:
    secret = await service.webhook()
    answer = await service.call("POST", "/widgets/w1", headers={"traceparent": SAMPLED})
    (webhook,) = await service.client.webhooks()
    spans = service.spans()
    assert answer.status_code == 200
    assert {f"{each.context.trace_id:032x}" for each in spans} == {TRACE_ID}
    tree = {each.name: parent_of(spans, each) for each in spans}
    assert tree["POST /widgets/{id}"] == "remote"
    assert tree["transaction"] in ("POST /widgets/{id}", "run webhooks.deliver")
    assert "save_entity widgets" in tree
    assert tree["run paint"] == "enqueue paint"
    assert tree["run webhooks.deliver"] == "transaction"
    assert tree["send webhook"] == "run webhooks.deliver"
    sent = next(each for each in spans if each.name == "send webhook")
    assert webhook.headers["traceparent"] == f"00-{TRACE_ID}-{sent.context.span_id:016x}-01"
    assert webhook.verify(secret) is not None


async def test_spans_say_what_openTelemetry_asks_for(service: Service, database: str) -> None:  # noqa: N802
    ada = await service.client.log_in_as("ada@example.com")
    await ada.post("/widgets/w1?secret=canary", headers={"traceparent": SAMPLED})
    await service.client.jobs.drain()
    # MariaDB under the scheme that both have.
    system = {"sqlite": "sqlite", "postgres": "postgresql", "mysql": "mariadb"}[database.partition(":")[0]]
    request, saved = service.named("POST /widgets/{id}"), service.spans()
    attributes = dict(request.attributes or {})
    assert attributes.pop("app_kernel.request.id")
    assert attributes == {
        "http.request.method": "POST", "url.scheme": "http", "url.path": "/widgets/w1", "http.route": "/widgets/{id}",
        "http.response.status_code": 200, "user.id": ada.user.id,
    }  # fmt: skip
    assert (request.kind, request.status.status_code) == (SpanKind.SERVER, StatusCode.UNSET)
    (save, *_) = [each for each in saved if each.name == "save_entity widgets"]
    assert save.kind is SpanKind.CLIENT
    assert dict(save.attributes or {}) == {
        "db.system.name": system, "db.operation.name": "save_entity", "db.collection.name": "widgets",
    }  # fmt: skip
    enqueued, ran = service.named("enqueue paint"), service.named("run paint")
    assert (enqueued.kind, ran.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    for each, operation in ((enqueued, "send"), (ran, "process")):
        told = dict(each.attributes or {})
        assert (told["messaging.operation.type"], told["messaging.destination.name"]) == (operation, "default")
    resource = dict(request.resource.attributes)
    assert (resource["service.name"], resource["service.version"]) == ("traced", "7.1")
    assert resource["deployment.environment.name"] == "development"


async def test_what_fails_is_marked_with_the_type_of_its_exception_and_never_with_its_text(service: Service) -> None:
    """EV4: no text that may hold a secret leaves with a span."""
    answer = await service.call("GET", "/boom/x", headers={"traceparent": SAMPLED})
    request = service.named("GET /boom/{id}")
    assert answer.status_code == 500
    assert (request.status.status_code, (request.attributes or {})["error.type"]) == (StatusCode.ERROR, "Boom")
    assert request.status.description is None
    assert list(request.events) == []
    told = "\n".join(each.to_json() for each in service.spans())
    assert "canary" not in told


async def test_no_secret_of_a_request_is_in_its_spans(service: Service) -> None:
    """EV4: passwords, tokens, bodies, values, URLs of webhooks, keys: nothing of them is in a span."""
    await service.webhook()
    credentials = {"email": "eve@example.com", "password": "canary-password-0123456789"}
    traced = {"traceparent": SAMPLED}
    ada = await service.client.log_in_as(credentials["email"], password=credentials["password"])
    await service.call("POST", "/auth/login", json=credentials, headers=traced)
    await service.call("POST", "/auth/login", json={**credentials, "password": "canary-wrong"}, headers=traced)
    await ada.post("/widgets/w1?token=canary-query", headers={**traced, "X-Note": "canary-header"})
    await service.db.save_entity("widgets", {"id": "w1", "label": "canary-value"})
    await service.client.webhooks()
    told = "\n".join(each.to_json() for each in service.spans())
    token = ada.headers["Authorization"].removeprefix("Bearer ")
    assert "save_entity" in told
    assert "canary" not in told
    assert token not in told


async def test_a_job_that_nobody_traced_begins_a_trace_and_is_marked_when_it_fails(service: Service) -> None:
    service.tracing._ratio = 1.0
    await get_job_client().enqueue("explode", max_attempts=1)
    await service.client.jobs.drain()
    ran = service.named("run explode")
    assert (ran.status.status_code, (ran.attributes or {})["error.type"]) == (StatusCode.ERROR, "Boom")
    assert "canary" not in ran.to_json()


async def test_spans_of_verbs_that_run_side_by_side_are_siblings(service: Service) -> None:
    await service.call("GET", "/parallel", headers={"traceparent": SAMPLED})
    spans = service.spans()
    reads = [each for each in spans if each.name == "get_entity widgets"]
    assert [parent_of(spans, each) for each in reads] == ["GET /parallel"] * 3


async def test_spans_of_the_application_are_children_of_the_kernels_and_go_the_same_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    router, tracer = APIRouter(), trace.get_tracer("shop")

    @tracer.start_as_current_span("decorated")
    async def decorated() -> str | None:
        await asyncio.sleep(0)
        return current_traceparent()

    @router.get("/own")
    async def get_own() -> str | None:
        with span("by the kernel", attributes={"items": 3}), tracer.start_as_current_span("by the application") as own:
            own.set_attribute("shop.items", 3)
            return await decorated()

    async with serving(monkeypatch, routers=[router]) as service:
        told = (await service.call("GET", "/own", headers={"traceparent": SAMPLED})).json()
        await service.call("GET", "/own", headers={"traceparent": UNSAMPLED})
        spans = service.spans()
    tree = {each.name: parent_of(spans, each) for each in spans}
    assert tree == {
        "GET /own": "remote", "by the kernel": "GET /own", "by the application": "by the kernel",
        "decorated": "by the application",
    }  # fmt: skip
    decorated_span = next(each for each in spans if each.name == "decorated")
    assert told == f"00-{TRACE_ID}-{decorated_span.context.span_id:016x}-01"


async def test_a_span_around_a_block_that_fails_is_marked_and_lets_it_through(monkeypatch: pytest.MonkeyPatch) -> None:
    router = APIRouter()

    @router.get("/fails")
    async def get_fails() -> None:
        with span("pricing"):
            raise Boom("canary")

    async with serving(monkeypatch, routers=[router]) as service:
        answer = await service.call("GET", "/fails", headers={"traceparent": SAMPLED})
        made = service.named("pricing")
    assert answer.status_code == 500
    assert (made.status.status_code, (made.attributes or {})["error.type"]) == (StatusCode.ERROR, "Boom")
    assert not made.events


async def test_nothing_of_a_trace_is_left_when_its_request_has_ended(service: Service) -> None:
    await service.call("GET", "/widgets/w1", headers={"traceparent": SAMPLED})
    assert not trace.get_current_span().get_span_context().is_valid
    assert current_context().span is None
    await service.call("GET", "/widgets/w1")
    assert service.names().count("GET /widgets/{id}") == 1


async def test_a_task_that_outlives_its_request_makes_no_spans_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a loop that the first request starts, which would be traced, and keep its spans, for ever."""
    answered, router, tasks = asyncio.Event(), APIRouter(), []

    @router.get("/starts")
    async def get_starts(db: EntityStore = Depends(db_connection)) -> None:
        async def go_on() -> tuple[object, str | None]:
            await answered.wait()
            await db.get_entity("widgets", "w1")
            return current_context().span, current_traceparent()

        tasks.append(asyncio.create_task(go_on()))

    async with serving(monkeypatch, routers=[router]) as service:
        await service.call("GET", "/starts", headers={"traceparent": SAMPLED})
        answered.set()
        ((span_left, traceparent),) = await asyncio.gather(*tasks)
        assert service.names() == ["GET /starts"]
    assert span_left is None
    assert traceparent is not None
    assert traceparent[3:35] == TRACE_ID


@pytest.mark.parametrize("traceparent", [SAMPLED, UNSAMPLED])
async def test_a_kind_that_there_is_none_of_is_refused_whether_or_not_a_request_is_traced(
    monkeypatch: pytest.MonkeyPatch, traceparent: str
) -> None:
    router = APIRouter()

    @router.get("/wrong")
    async def get_wrong() -> bool:
        with pytest.raises(ValueError, match="internal, server, client, producer, consumer"):
            span("x", kind="servr")  # type: ignore[arg-type]
        return True

    async with serving(monkeypatch, routers=[router]) as service:
        assert (await service.call("GET", "/wrong", headers={"traceparent": traceparent})).json() is True


async def test_two_services_of_a_process_send_their_spans_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    tracer, router = trace.get_tracer("shop"), APIRouter()

    @router.get("/own")
    async def get_own() -> None:
        with tracer.start_as_current_span("own"):
            pass

    async with (
        serving(monkeypatch, name="one", routers=[router]) as one,
        serving(monkeypatch, name="two", routers=[router]) as two,
    ):
        for service, path in ((one, "/own"), (two, "/own"), (two, "/widgets/w2")):
            await service.call("GET", path, headers={"traceparent": SAMPLED})
        found = {each: each.names() for each in (one, two)}
        names = {each.resource.attributes["service.name"] for each in one.spans()}
    assert found[one] == ["GET /own", "own"]
    assert found[two] == ["GET /own", "own", "GET /widgets/{id}", "get_entity widgets"]
    assert names == {"one"}


async def test_without_a_place_for_spans_a_trace_is_passed_on_and_none_is_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(monkeypatch, otlp_endpoint=None, trace_sample_ratio=1) as service:
        await service.webhook()
        await service.call("POST", "/widgets/w1", headers={"traceparent": SAMPLED})
        await service.call("POST", "/widgets/w2")
        sent = await service.client.webhooks()
        spans = service.spans()
    assert spans == []
    assert [each.headers.get("traceparent") for each in sent] == [SAMPLED, None]
