"""Spans reach a collector by OTLP, and one that is down or hangs costs the requests nothing and the logs one line."""

import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app_kernel import ServiceConfig, create_service, get_job_client
from app_kernel.core import tracing
from app_kernel.core.errors import ConfigurationError
from app_kernel.core.secret_settings import secret_values
from app_kernel.core.tracing import Tracing
from app_kernel.testing import kernel_client
from app_kernel.tracing import spans
from tests.tracing.collector import Collector, collecting
from tests.tracing.serving import SAMPLED, SECRET, TASKS, TRACE_ID, UNSAMPLED, make_router

KEY = "collector-key-0123456789"


def make_app(endpoint: str | None, tasks: dict[str, Any] = TASKS, **settings: Any) -> FastAPI:
    config = ServiceConfig(
        jwt_secret=SECRET, database_name="sqlite://:memory:", otlp_endpoint=endpoint, trace_sample_ratio=1, **settings
    )
    return create_service("exporting", config=config, routers=[make_router()], tasks=tasks)


def flush(app: FastAPI) -> None:
    decides: Any = app.state.kernel.port(Tracing)
    decides._provider.force_flush()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@pytest.mark.parametrize("path", ["", "/", "/v1/traces"])
async def test_spans_reach_the_collector_with_the_key_that_it_wants(collector: Collector, path: str) -> None:
    app = make_app(collector.url + path, otlp_headers={"X-Api-Key": KEY})
    async with kernel_client(app) as client:
        await client.get("/widgets/w1", headers={"traceparent": SAMPLED})
    (request,) = collector.named("GET /widgets/{id}")
    assert request.trace_id.hex() == TRACE_ID
    assert collector.services == {"exporting"}
    assert set(collector.paths) == {"/v1/traces"}
    assert {headers["x-api-key"] for headers in collector.headers} == {KEY}


async def test_the_end_of_a_service_sends_what_has_not_left(collector: Collector) -> None:
    app = make_app(collector.url)
    async with kernel_client(app) as client:
        await client.get("/widgets/w1")
        assert collector.spans == []
    assert len(collector.named("GET /widgets/{id}")) == 1


async def test_a_collector_that_hangs_holds_up_neither_requests_nor_the_end(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spans, "LAST_WORDS", 0.2)
    collector.gate.clear()
    async with kernel_client(make_app(collector.url)) as client:
        answers = [(await client.get("/widgets/w1")).status_code for _ in range(5)]
        begun = time.monotonic()
    assert answers == [200] * 5
    assert time.monotonic() - begun < 4


@pytest.mark.parametrize("trouble", ["closed", "refuses"])
async def test_a_collector_that_does_not_take_spans_is_told_of_once(
    collector: Collector, trouble: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}"
        app = make_app(closed if trouble == "closed" else collector.url, otlp_headers={"X-Api-Key": KEY})
        collector.status = 400
        async with kernel_client(app) as client:
            # As it is while the service stops: no try is repeated, so that the test need not wait for them.
            decides: Any = app.state.kernel.port(Tracing)
            exporter = decides._provider._active_span_processor._span_processors[0].span_exporter
            if trouble == "closed":
                exporter.shutdown()
            for _ in range(3):
                assert (await client.get("/widgets/w1")).status_code == 200
                flush(app)
            collector.status = 200
            if trouble == "refuses":
                await client.get("/widgets/w1")
                flush(app)
    told = [record.message for record in caplog.records if "trace" in record.message]
    assert told == ["traces_not_sent"] + (["traces_sent_again"] if trouble == "refuses" else [])
    printed = capfd.readouterr()
    assert KEY not in printed.out + printed.err
    assert "Traceback" not in printed.err


@pytest.mark.parametrize(
    "endpoint",
    [
        "collector:4318",
        "ftp://collector",
        "http://",
        "http://user:canary@collector",
        "http://c/?key=canary",
        "http://c:x",
    ],
)
def test_an_address_that_nothing_can_be_sent_to_is_refused_and_not_repeated(endpoint: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        make_app(endpoint)
    (problem,) = raised.value.problems
    assert "otlp_endpoint" in problem.lower()
    assert "canary" not in str(raised.value)


def test_headers_that_are_none_are_refused_and_those_that_are_belong_to_the_secrets() -> None:
    with pytest.raises(ConfigurationError, match="otlp_headers"):
        make_app("http://collector", otlp_headers={"bad name": "x"})
    with pytest.raises(ConfigurationError, match="otlp_headers"):
        make_app("http://collector", otlp_headers={"key": "canary\r\nEvil: 1"})
    config = ServiceConfig.from_env(None, {"OTLP_HEADERS": f'{{"x-key": "{KEY}"}}', "OTLP_ENDPOINT": "http://c"})
    assert config.otlp_headers == {"x-key": KEY}
    assert KEY in secret_values(config)
    assert KEY not in repr(config)


def test_without_the_sdk_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigurationError, match=r"app-kernel\[otel\]"):
        make_app("http://collector")
    assert make_app(None) is not None


@pytest.fixture
def own_provider(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """A provider that the application has installed for the process, for as long as the test lasts."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return exporter


async def test_an_applications_own_provider_gets_the_kernels_spans(own_provider: InMemorySpanExporter) -> None:
    async with kernel_client(make_app(None, trace_slow_seconds=0.000001)) as client:
        await client.get("/widgets/w1", headers={"traceparent": SAMPLED})
        names = [each.name for each in own_provider.get_finished_spans()]
    assert names == ["get_entity widgets", "GET /widgets/{id}"]


async def own_span() -> bool:
    with trace.get_tracer("shop").start_as_current_span("own") as own:
        return own.is_recording()


async def test_its_own_spans_begin_no_trace_in_what_is_not_traced(own_provider: InMemorySpanExporter) -> None:
    app = make_app(None, tasks={"own": own_span})

    @app.get("/own")
    async def get_own() -> bool:
        await get_job_client().enqueue("own")
        return await own_span()

    async with kernel_client(app) as client:
        untraced = (await client.get("/own", headers={"traceparent": UNSAMPLED})).json()
        await client.jobs.drain()
        assert list(own_provider.get_finished_spans()) == []
        traced = (await client.get("/own", headers={"traceparent": SAMPLED})).json()
        await client.jobs.drain()
    assert (untraced, traced) == (False, True)
    own = [each for each in own_provider.get_finished_spans() if each.name == "own"]
    assert [f"{each.context.trace_id:032x}" for each in own] == [TRACE_ID] * 2


class Failing(SpanProcessor):
    """What an application may have added, with a fault of its own."""

    at = ""

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        if self.at == "start":
            raise OSError("canary")

    def on_end(self, span: Any) -> None:
        if self.at == "end":
            raise OSError("canary")


@pytest.mark.parametrize("at", ["start", "end"])
async def test_a_provider_that_fails_harms_neither_requests_nor_jobs_and_is_told_of_once(
    own_provider: InMemorySpanExporter, at: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing: Any = Failing()
    trace.get_tracer_provider().add_span_processor(failing)  # type: ignore[attr-defined]
    monkeypatch.setattr(tracing, "_told", float("-inf"))
    async with kernel_client(make_app(None)) as client:
        failing.at = at
        answer = await client.post("/widgets/w1", headers={"traceparent": SAMPLED})
        await client.jobs.drain()
        failing.at = ""
        assert (answer.status_code, answer.json()["id"]) == (200, "w1")
        assert (await client.db.get_entity("widgets", "w1"))["label"] == "blue"
    assert [record.message for record in caplog.records if "span" in record.message] == ["span_failed"]
    assert "canary" not in caplog.text
