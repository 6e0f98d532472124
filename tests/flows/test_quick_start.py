"""The contract's Quick Start as a new user runs it: its file, its command, real HTTP, a restart."""

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.live_server import LiveServer, live_server

ROOT = Path(__file__).resolve().parents[2]
QUICK_START = ROOT / "examples" / "widgets" / "main.py"
SETTINGS = {"JWT_SECRET": "my-secret", "DATABASE_PATH": "./data/app.db"}
PASSWORD = "plum tree over water"

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "main.py").write_text(QUICK_START.read_text())
    return tmp_path


def create_user(folder: Path, *arguments: str, **options: Any) -> str:
    """`app-kernel users create ...` under the environment of the service; gives what it printed."""
    command = [str(Path(sys.executable).with_name("app-kernel")), "users", "create", *arguments]
    done = subprocess.run(
        command,
        cwd=folder,
        env={"PATH": "", **SETTINGS},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Caller:
    """Somebody who sends requests, each on a connection of its own."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str) -> httpx2.Response:
        return httpx2.get(self.url + path, headers=self._headers, timeout=30)

    def post(self, path: str, body: Any) -> httpx2.Response:
        return httpx2.post(self.url + path, json=body, headers=self._headers, timeout=30)


def log_in(server: LiveServer, email: str, password: str) -> Caller:
    answer = Caller(server.url).post("/auth/login", {"email": email, "password": password})
    assert answer.status_code == 200, answer.text
    assert answer.json()["token_type"] == "bearer"
    return Caller(server.url, answer.json()["access_token"])


def test_the_quick_start_unchanged(folder: Path) -> None:
    with live_server(folder, **SETTINGS) as server:
        assert (folder / "data" / "app.db").is_file()
        anybody = Caller(server.url)
        register = anybody.post("/auth/register", {"email": "eve@example.com", "password": PASSWORD})
        assert register.status_code == 403
        for answer in (anybody.post("/widgets", {"name": "x"}), anybody.get("/widgets")):
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")

        printed = create_user(folder, "ada@example.com")
        ada = log_in(server, "ada@example.com", re.search(r"password: (\S+)", printed)[1])  # type: ignore[index]
        create_user(folder, "bob@example.com", "--password-stdin", input=PASSWORD + "\n")
        bob = log_in(server, "bob@example.com", PASSWORD)

        me = ada.get("/auth/me").json()
        gear = ada.post("/widgets", {"name": "gear"}).json()
        assert (gear["name"], gear["color"], gear["created_by"]) == ("gear", "blue", me["id"])
        assert gear["updated_by"] == me["id"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", gear["created_at"])
        bolt = bob.post("/widgets", {"name": "bolt", "color": "red"}).json()
        assert [widget["id"] for widget in ada.get("/widgets").json()] == [gear["id"]]
        assert [widget["id"] for widget in bob.get("/widgets").json()] == [bolt["id"]]

        assert anybody.get(f"/widgets/{gear['id']}").json() == gear
        missing = anybody.get("/widgets/none")
        assert (missing.status_code, missing.headers["content-type"]) == (404, "application/problem+json")
        assert ada.post("/widgets", {}).status_code == 422
        assert anybody.get("/healthz").json() == {"status": "ok"}
        assert anybody.get("/readyz").status_code == 200
        assert 'route="/widgets/{id}"' in anybody.get("/metrics").text
        assert anybody.get("/docs").status_code == 200
        # uvicorn raises the signal again when it has shut down, so that its parent sees what ended it.
        assert server.stop() in (0, -signal.SIGTERM)
        lines = server.lines()

    assert [line["event"] for line in lines].count("short_secret") == 1
    assert "my-secret" not in "".join(server.printed)
    assert {line["level"] for line in lines} == {"info", "warning"}

    with live_server(folder, **SETTINGS) as server:
        bob.url = server.url
        assert bob.get(f"/widgets/{gear['id']}").json() == gear
        assert [widget["id"] for widget in bob.get("/widgets").json()] == [bolt["id"]]


def test_with_sign_up_opened_people_sign_up_themselves(folder: Path) -> None:
    with live_server(folder, **SETTINGS, ALLOW_SELF_SIGNUP="true") as server:
        answer = Caller(server.url).post("/auth/register", {"email": "ada@example.com", "password": PASSWORD})
        assert answer.status_code == 201, answer.text
        ada = Caller(server.url, answer.json()["access_token"])
        assert ada.post("/widgets", {"name": "gear"}).json()["created_by"] == answer.json()["user"]["id"]


def test_the_settings_may_stand_in_a_file(folder: Path) -> None:
    (folder / ".env").write_text("JWT_SECRET=my-secret\nDATABASE_PATH=deep/down/app.db\n")
    with live_server(folder) as server:
        assert Caller(server.url).get("/readyz").status_code == 200
    assert (folder / "deep" / "down" / "app.db").is_file()


def test_two_workers_serve_one_database(folder: Path) -> None:
    create_user(folder, "ada@example.com", "--password-stdin", input=PASSWORD + "\n")
    with live_server(folder, "--workers", "2", **SETTINGS) as server:
        ada = log_in(server, "ada@example.com", PASSWORD)
        for number in range(20):
            assert ada.post("/widgets", {"name": f"w{number}"}).status_code == 200
        assert len(ada.get("/widgets").json()) == 20
        server.stop()
