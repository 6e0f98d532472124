"""Several workers of one server show the figures of all of them, whichever answers."""

import http.client
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.live_server import LiveServer, live_server

MAIN = """
import os
from fastapi import APIRouter
from app_kernel import ServiceConfig, create_service
router = APIRouter()
@router.get("/who")
async def who() -> int:
    return os.getpid()
app = create_service(
    "workers", routers=[router],
    config=ServiceConfig(auth_enabled=False, database_name="sqlite:///app.db", log_level="ERROR"),
)
"""


def get(server: LiveServer, path: str) -> str:
    """Over a connection of its own, so that any worker may take it; again where the one that took it was killed."""
    for _ in range(50):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            answer = connection.getresponse()
            assert answer.status == 200
            return answer.read().decode()
        except (ConnectionError, http.client.BadStatusLine):
            time.sleep(0.02)
        finally:
            connection.close()
    raise AssertionError("no worker answers")


def value(text: str, name: str) -> float:
    return sum(float(found) for found in re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE))


def counted(text: str) -> float:
    return value(text, 'app_kernel_http_requests_total{method="GET",route="/who",status="200"}'.replace("{", r"\{"))


class Asking:
    """Who has answered, and how often."""

    def __init__(self, server: LiveServer) -> None:
        self.server = server
        self.count = 0
        self.seen: set[int] = set()

    def until(self, done: Callable[[set[int]], bool], at_least: int = 0) -> None:
        """Asks until it is so."""
        deadline, begun = time.monotonic() + 60, self.count
        while not done(self.seen) or self.count < begun + at_least:
            assert time.monotonic() < deadline, f"only {self.seen} answer"
            self.seen.add(int(get(self.server, "/who")))
            self.count += 1


def test_the_figures_of_three_workers_are_exact_also_after_one_was_killed(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(MAIN)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with live_server(tmp_path, "--workers", "3", TMPDIR=str(temporary)) as server:
        asking = Asking(server)
        asking.until(lambda seen: len(seen) == 3, at_least=60)
        # Whichever answers: of 12 answers it is one and the same with a probability of 1 to 177,147.
        assert {counted(get(server, "/metrics")) for _ in range(12)} == {asking.count}
        first = set(asking.seen)
        victim = first.pop()
        os.kill(victim, signal.SIGKILL)
        asking.until(lambda seen: len(seen) == 4, at_least=60)
        pages = [get(server, "/metrics") for _ in range(12)]
        assert {counted(page) for page in pages} == {asking.count}
        seconds = {
            value(page, r'app_kernel_http_request_duration_seconds_count\{method="GET",route="/who"\}')
            for page in pages
        }
        assert seconds == {asking.count}
        # The gauges of the dead one are gone; each of the others tells of itself once a second.
        check_in_time(lambda: value(get(server, "/metrics"), "app_kernel_ready_processes") == 3)
        assert_private_and_tidy(temporary, victim)
        assert server.stop() == 0
    assert list(temporary.glob("*/*/counter_archive.db"))


def check_in_time(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def assert_private_and_tidy(temporary: Path, victim: int) -> None:
    (base,) = temporary.glob("app-kernel-metrics-*")
    (place,) = base.iterdir()
    assert {folder.stat().st_mode & 0o777 for folder in (base, place)} == {0o700}
    assert list(place.glob(f"*_{victim}-*.db")) == []
