"""Request figures, and who may read them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi import APIRouter

from app_kernel import FEATURES, Feature
from app_kernel.core.events import RequestFinished
from tests.small_service import SECRET, call, http_scope, serving

TOKEN = "metrics-token-of-the-tests"

router = APIRouter(prefix="/items")


@router.get("/{id}")
async def item(id: str) -> str:
    return id


def samples(text: str, name: str) -> dict[str, float]:
    return {found[1]: float(found[2]) for found in re.finditer(rf"^{name}{{(.*)}} (\S+)$", text, re.MULTILINE)}


async def test_requests_are_counted_by_route_template_and_timed() -> None:
    async with serving(router, api_prefix="/api") as client:
        for number in range(5):
            await client.get(f"/api/items/{number}")
        await client.get("/nowhere/1")
        await client.get("/nowhere/2")
        text = (await client.get("/metrics")).text
    counts = samples(text, "app_kernel_http_requests_total")
    assert counts['method="GET",route="/api/items/{id}",status="200"'] == 5
    assert counts['method="GET",route="",status="404"'] == 2
    seconds = samples(text, "app_kernel_http_request_duration_seconds_count")
    assert seconds['method="GET",route="/api/items/{id}"'] == 5


async def test_invented_methods_make_no_series_of_their_own() -> None:
    async with serving(router) as client:
        for number in range(50):
            await call(client.app, http_scope(f"X{number}", "/items/1"))
        text = (await client.get("/metrics")).text
    counts = samples(text, "app_kernel_http_requests_total")
    assert {key: count for key, count in counts.items() if "X" in key} == {}
    assert sum(count for key, count in counts.items() if 'method="OTHER"' in key) == 50


async def test_two_services_in_a_process_do_not_mix() -> None:
    async with serving(router) as one, serving(router) as two:
        await one.get("/items/1")
        assert "/items" in (await one.get("/metrics")).text
        assert "/items" not in (await two.get("/metrics")).text


async def test_a_listener_that_fails_is_counted_and_harms_nobody() -> None:
    def fail(kernel: object, event: object) -> None:
        raise RuntimeError("listener")

    async with serving(router, features=[*FEATURES, Feature(name="mine", listeners={RequestFinished: fail})]) as client:
        assert (await client.get("/items/1")).status_code == 200
        text = (await client.get("/metrics")).text
    assert "app_kernel_listener_failures_total 1.0" in text


@pytest.mark.parametrize(
    ("settings", "headers", "status"),
    [
        ({}, {}, 200),
        ({"metrics_token": TOKEN}, {}, 401),
        ({"metrics_token": TOKEN}, {"Authorization": f"Bearer {TOKEN}"}, 200),
        ({"metrics_token": TOKEN}, {"Authorization": f"bearer {TOKEN}"}, 200),
        ({"metrics_token": TOKEN}, {"Authorization": f"Bearer {TOKEN}x"}, 401),
        ({"metrics_token": TOKEN}, {"Authorization": f"Basic {TOKEN}"}, 401),
        ({"metrics_token": TOKEN}, {"Authorization": "Bearer é"}, 401),
        ({"environment": "production"}, {}, 401),
        ({"environment": "production"}, {"Authorization": "Bearer "}, 401),
        ({"environment": "production", "metrics_token": TOKEN}, {"Authorization": f"Bearer {TOKEN}"}, 200),
    ],
)
@pytest.mark.acceptance("OP8")
async def test_who_may_read_them(settings: dict[str, str], headers: dict[str, str], status: int) -> None:
    async with serving(router, jwt_secret=SECRET, cors_origins=["https://app.example"], **settings) as client:
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        assert (await client.get("/metrics", headers=encoded)).status_code == status


async def test_an_admin_may_read_them_and_another_user_may_not() -> None:
    async with serving(router, metrics_token=TOKEN) as client:
        admin, user = await client.log_in_as("root@example.com", "admin"), await client.log_in_as("ada@example.com")
        assert (await admin.get("/metrics")).status_code == 200
        assert (await user.get("/metrics")).status_code == 403


WORKER = """
import asyncio, sys
from app_kernel import ServiceConfig, create_service
from app_kernel.testing import kernel_client
app = create_service("many", config=ServiceConfig(auth_enabled=False))
async def main():
    async with kernel_client(app) as client:
        for _ in range(int(sys.argv[1])):
            await client.get("/healthz")
        print((await client.get("/metrics")).text)
asyncio.run(main())
"""


def test_several_processes_show_the_figures_of_all_of_them(tmp_path: Path) -> None:
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PATH": ""}
    for count in ("3", "4"):
        done = subprocess.run(
            [sys.executable, "-c", WORKER, count],
            check=False,
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
    counts = samples(done.stdout, "app_kernel_http_requests_total")
    assert counts['method="GET",route="/healthz",status="200"'] == 7
