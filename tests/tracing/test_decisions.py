"""What is traced is decided once, before the first span: by the caller, as far as anybody may, else by a share."""

import pytest
from fastapi import APIRouter, WebSocket
from fastapi.testclient import TestClient
from opentelemetry.trace import SpanContext

from app_kernel import ServiceConfig, create_service
from app_kernel.core.context import trace_id
from app_kernel.request_log import read_traceparent
from app_kernel.tracing import allowance, current_traceparent
from tests.tracing.serving import COLLECTOR, SAMPLED, SECRET, TRACE_ID, UNSAMPLED, Service, serving

LATER = f"cc-{TRACE_ID}-00f067aa0ba902b7-01"


def read(*values: str) -> str | None:
    headers = [(b"host", b"x"), *((b"traceparent", value.encode("latin-1")) for value in values)]
    return read_traceparent({"type": "http", "headers": headers})


@pytest.mark.parametrize(
    ("given", "understood"),
    [
        (SAMPLED, SAMPLED),
        (UNSAMPLED, UNSAMPLED),
        (LATER, SAMPLED),
        (f"{LATER}-what-the-future-holds", SAMPLED),
        (f"{SAMPLED}-more", None),
        (f"{LATER}.", None),
        (f"{SAMPLED}\n", None),
        (f"ff-{TRACE_ID}-00f067aa0ba902b7-01", None),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", None),
        (f"00-{TRACE_ID}-{'0' * 16}-01", None),
        (SAMPLED.upper(), None),
        (f"00-{TRACE_ID}-00f067aa0ba902b7-1", None),
        (f"00-{TRACE_ID[:-1]}g-00f067aa0ba902b7-01", None),
        ("", None),
        ("00", None),
    ],
)
def test_a_traceparent_is_read_as_w3c_trace_context_says(given: str, understood: str | None) -> None:
    assert read(given) == understood


def test_two_traceparents_are_none() -> None:
    assert read(SAMPLED, SAMPLED) is None
    assert read() is None


@pytest.fixture
def told() -> APIRouter:
    router = APIRouter()

    @router.get("/told")
    async def get_told() -> list[str | None]:
        return [trace_id(), current_traceparent()]

    @router.websocket("/talk")
    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_json([trace_id(), current_traceparent()])
        await socket.close()

    return router


async def test_the_flag_of_the_caller_decides(monkeypatch: pytest.MonkeyPatch, told: APIRouter) -> None:
    async with serving(monkeypatch, routers=[told], trace_sample_ratio=1) as service:
        unsampled = (await service.call("GET", "/told", headers={"traceparent": UNSAMPLED})).json()
        assert service.spans() == []
        sampled = (await service.call("GET", "/told", headers={"traceparent": SAMPLED})).json()
        assert service.names() == ["GET /told"]
    assert unsampled == [TRACE_ID, UNSAMPLED]
    assert sampled[0] == TRACE_ID
    assert sampled[1].endswith("-01") and sampled[1] != SAMPLED  # noqa: PT018 - the parent is the server's span


@pytest.mark.parametrize("given", ["", "nonsense", f"ff-{TRACE_ID}-00f067aa0ba902b7-01"])
async def test_without_a_caller_that_says_so_the_share_decides_and_every_request_has_a_trace_id(
    monkeypatch: pytest.MonkeyPatch, told: APIRouter, given: str
) -> None:
    headers = {"traceparent": given} if given else {}
    async with serving(monkeypatch, routers=[told], trace_sample_ratio=0) as service:
        first, second = [(await service.call("GET", "/told", headers=headers)).json() for _ in range(2)]
        assert service.spans() == []
        service.tracing._ratio = 1.0
        traced = (await service.call("GET", "/told", headers=headers)).json()
        (span,) = service.spans()
    for trace, traceparent in (first, second):
        assert read(traceparent) == traceparent == f"00-{trace}-{traceparent[36:52]}-00"
    assert len({first[0], second[0], traced[0], TRACE_ID}) == 4
    assert traced == [f"{span.context.trace_id:032x}", f"00-{traced[0]}-{span.context.span_id:016x}-01"]
    assert span.parent is None


async def test_the_share_is_kept(monkeypatch: pytest.MonkeyPatch, told: APIRouter) -> None:
    async with serving(monkeypatch, routers=[told], trace_sample_ratio=0.25) as service:
        for _ in range(200):
            await service.call("GET", "/told")
        traced = len(service.spans())
    assert 15 <= traced <= 95  # as good as certain: 50 are expected, with a deviation of 6


async def test_callers_cannot_force_more_traces_than_a_second_has_room_for(
    monkeypatch: pytest.MonkeyPatch, told: APIRouter
) -> None:
    """A stranger's flag costs spans, so it counts so many times a second; the trace id goes on in any case."""
    now = [100.0]
    monkeypatch.setattr(allowance, "monotonic", lambda: now[0])
    async with serving(monkeypatch, routers=[told], trace_forced_per_second=3) as service:
        answers = [(await service.call("GET", "/told", headers={"traceparent": SAMPLED})).json() for _ in range(20)]
        assert len(service.spans()) == 3
        now[0] += 1
        await service.call("GET", "/told", headers={"traceparent": SAMPLED})
        assert len(service.spans()) == 4
    assert {trace for trace, _ in answers} == {TRACE_ID}
    refused = [traceparent for _, traceparent in answers if traceparent.endswith("-00")]
    assert len(refused) == 17
    # Another parent than the caller's, as its flag was changed.
    assert all(each[36:52] != SAMPLED[36:52] for each in refused)


async def test_a_job_of_a_refused_force_is_not_traced_either(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(monkeypatch, trace_forced_per_second=0) as service:
        await service.call("POST", "/widgets/w1", headers={"traceparent": SAMPLED})
        await service.client.jobs.drain()
        assert service.spans() == []


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("vendor=1,other=two", {"vendor": "1", "other": "two"}),
        (",".join(f"k{number}=v" for number in range(200)), {}),
        ("no-state-at-all", {}),
        ("a=\x00", {}),
    ],
)
async def test_tracestate_goes_on_into_spans_within_its_limits(
    small_service: Service, given: str, kept: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    headers = {"traceparent": SAMPLED, "tracestate": given}
    answer = await small_service.call("GET", "/widgets/w1", headers=headers)
    context: SpanContext = small_service.named("get_entity widgets").context
    assert answer.status_code == 200
    assert dict(context.trace_state) == kept
    # What a stranger sends fills no log.
    assert [record for record in caplog.records if record.name.startswith("opentelemetry")] == []


def test_a_websocket_has_a_trace_id_and_no_span_that_would_last_for_hours(told: APIRouter) -> None:
    config = ServiceConfig(
        jwt_secret=SECRET, database_name="sqlite://:memory:", otlp_endpoint=COLLECTOR, trace_sample_ratio=1
    )
    app = create_service("talks", config=config, routers=[told])
    with TestClient(app) as client, client.websocket_connect("/talk") as socket:
        trace, traceparent = socket.receive_json()
    assert traceparent == f"00-{trace}-{traceparent[36:52]}-00"
