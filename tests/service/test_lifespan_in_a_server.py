"""Start-up and shutdown as a real server sees them."""

import signal
from pathlib import Path

import pytest

from tests.live_server import LiveServer, live_server, read_all
from tests.small_service import SECRET
from tests.zygote import run

pytestmark = pytest.mark.slow

MAIN = """
import asyncio
from fastapi import APIRouter
from app_kernel import ServiceConfig, create_service
router = APIRouter()
{routes}
config = ServiceConfig(jwt_secret="{secret}", database_name="{database}")
app = create_service("small", routers=[router], config=config{options})
{after}
"""


def write_main(folder: Path, database: str = "app.db", **parts: str) -> None:
    blanks = {"routes": "", "options": "", "after": "", "database": database, "secret": SECRET}
    (folder / "main.py").write_text(MAIN.format(**{**blanks, **parts}))


@pytest.mark.parametrize(
    ("parts", "step", "words"),
    [
        ({"routes": "async def f(): raise OSError('no paper')", "options": ", on_startup=f"}, "on_startup", "no paper"),
        ({"routes": "def seed(db): raise KeyError('seed')", "options": ", db_seed=seed"}, "db_seed", "seed"),
        ({"after": "@app.get('/healthz')\nasync def mine(): ..."}, "routes", "GET /healthz (main.mine)"),
        ({"database": "broken.db"}, "database", ""),
    ],
)  # fmt: skip
def test_a_start_that_fails_is_one_clear_line_and_an_exit_status(
    parts: dict[str, str], step: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "broken.db").write_bytes(b"this is no database" * 1000)
    write_main(tmp_path, **parts)
    done = run("uvicorn", ["main:app", "--port", "0"], cwd=tmp_path, env={"PATH": ""})
    assert done.returncode == 3
    (line,) = [line for line in done.stdout.splitlines() if '"startup_failed"' in line]
    assert f'"step":"{step}"' in line
    assert words in line
    assert "Traceback" not in done.stderr


def test_a_request_under_way_is_finished_while_the_service_is_no_longer_ready(tmp_path: Path) -> None:
    routes = """
begun, ended = asyncio.Event(), asyncio.Event()

@router.get("/slow")
async def slow():
    begun.set()
    await ended.wait()
    return {"ready": app.state.kernel.ready}

@router.get("/begun")
async def wait():
    await begun.wait()
"""
    routes += """
async def watch():
    while app.state.kernel.ready or not begun.is_set():
        await asyncio.sleep(0.01)
    ended.set()

async def start():
    app.state.watcher = asyncio.create_task(watch())
"""
    write_main(tmp_path, routes=routes, options=", on_startup=start")
    with live_server(tmp_path, forked=True) as server:
        with server.connect() as slow:
            slow.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            server.talk(b"GET /begun HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            server.process.send_signal(signal.SIGTERM)
            answer = read_all(slow)
        assert b"200 OK" in answer
        assert b'{"ready":false}' in answer
        server.stop()
        assert [line["event"] for line in server.lines()].count("service_stopping") == 1


def test_a_service_that_is_mounted_without_its_lifespan_says_so(tmp_path: Path) -> None:
    write_main(tmp_path, after="from fastapi import FastAPI\ninner = app\napp = FastAPI()\napp.mount('/inner', inner)")
    with live_server(tmp_path, forked=True) as server:
        answer = server.talk(b"GET /inner/healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"500 Internal Server Error" in answer
        server.stop()
    (line,) = [line for line in server.lines() if line["event"] == "request_failed"]
    assert (line["error"], line["level"]) == ("NoRunningKernel", "error")


@pytest.mark.acceptance("OP5")
def test_a_server_answers_probes_while_its_database_is_away(tmp_path: Path) -> None:
    write_main(tmp_path, database="postgres://me:hunter2@127.0.0.1:1/app")
    with live_server(tmp_path, forked=True) as server:
        assert b"200 OK" in ask(server, "/healthz")
        ready = ask(server, "/readyz")
        assert b"503 Service Unavailable" in ready
        assert b'{"database":"unavailable"}' in ready
        assert b"503 Service Unavailable" in ask(server, "/auth/me")
        assert server.stop() == -signal.SIGTERM
    (line,) = [line for line in server.lines() if line["event"] == "component_not_opened"]
    assert line["component"] == "database"
    assert "hunter2" not in "".join(server.printed)
    assert "Traceback" not in "".join(server.printed)


@pytest.mark.acceptance("OP5")
def test_a_late_start_that_fails_ends_the_server(tmp_path: Path) -> None:
    # The server comes back between two tries; what then fails is the application's own seed.
    after = """
class Later:
    def __init__(self, database):
        self.database, self.tries = database, 0
    async def open(self):
        self.tries += 1
        if self.tries < 3:
            from app_kernel.core.errors import Unavailable
            raise Unavailable
        await self.database.open()
    def __getattr__(self, name):
        return getattr(self.database, name)

from app_kernel.db import create_database
app.state.kernel.db = Later(create_database("sqlite://:memory:"))
"""
    database = "postgres://me@127.0.0.1:1/app"
    write_main(
        tmp_path, database=database, routes="def f(db): raise LookupError('x')", options=", db_seed=f", after=after
    )
    with live_server(tmp_path, forked=True) as server:
        assert server.process.wait(30) != 0
        server.join()
    (line,) = [line for line in server.lines() if line["event"] == "startup_failed"]
    assert (line["step"], line["error"]) == ("db_seed", "LookupError")


def ask(server: LiveServer, path: str) -> bytes:
    return server.talk(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
