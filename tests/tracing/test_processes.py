"""One trace goes through several processes: a server, a worker apart, and a receiver of webhooks."""

from pathlib import Path
from typing import Any

import httpx2

from tests.jobs.waiting import until
from tests.jobs.worker_process import worker
from tests.live_server import live_server
from tests.redis_beside import redis_beside
from tests.tracing.collector import Collector, collecting
from tests.tracing.serving import SAMPLED, SECRET, TRACE_ID

SERVICE = """
from app_kernel import create_service
from tests.tracing.serving import TASKS, make_router

app = create_service("shop", routers=[make_router()], tasks=TASKS)
"""


async def _found(collector: Collector, name: str) -> list[Any]:
    return collector.named(name)


async def test_a_worker_apart_goes_on_with_the_trace_of_a_server(database: str, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(SERVICE)
    with collecting() as collector:
        settings = {
            "DATABASE_URL": database, "JWT_SECRET": SECRET, "OTLP_ENDPOINT": collector.url, "TRACE_SAMPLE_RATIO": "0",
            "EMBEDDED_WORKER": "false", "OTEL_BSP_SCHEDULE_DELAY": "100", "PYTHONPATH": str(Path(__file__).parents[2]),
            **{name.upper(): url for name, url in redis_beside(database).items()},
        }  # fmt: skip
        with live_server(tmp_path, forked=True, **settings) as server:
            sent = {"traceparent": SAMPLED}
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", headers=sent) as client:
                assert (await client.post("/widgets/w1")).status_code == 200
            async with worker(tmp_path, "--app", "main:app", **settings):
                (ran,) = await until(lambda: _found(collector, "run paint"), 30)
            (served,) = await until(lambda: _found(collector, "POST /widgets/{id}"), 30)
            (enqueued,) = collector.named("enqueue paint")
            saved = collector.named("save_entity widgets")
    (painted,) = [each for each in saved if each.parent_span_id == ran.span_id]
    assert {each.trace_id.hex() for each in (served, enqueued, ran, painted)} == {TRACE_ID}
    assert ran.parent_span_id == enqueued.span_id
    assert collector.services == {"shop"}
