"""The methods that figures tell apart: every one that has a meaning of its own, and none that is made up."""

import re

from app_kernel.core.events import RequestFinished
from app_kernel.stats.figures import Collected
from tests.small_service import call, http_scope, serving

# RFC 9110, RFC 5789 and the QUERY that OpenTelemetry's conventions name beside them.
STANDARD = {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
MADE_UP = {"BREW", "get", "TRACES"}


async def test_figures_name_every_standard_method() -> None:
    async with serving() as client:
        for method in sorted(STANDARD | MADE_UP):
            await call(client.app, http_scope(method, "/nowhere"))
        text = (await client.get("/metrics")).text
    told = re.findall(r'^app_kernel_http_requests_total{method="(.*?)"', text, re.MULTILINE)
    assert set(told) == {*STANDARD, "OTHER"}


def test_the_figures_by_hour_name_every_standard_method() -> None:
    made = Collected()
    for method in STANDARD | MADE_UP:
        made.count(RequestFinished(method, "/a", "/a", 200, 0.1, None, "r1"))
    assert {method for _, method, _ in made.take()} == {*STANDARD, "OTHER"}
