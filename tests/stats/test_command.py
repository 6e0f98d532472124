"""`app-kernel stats`: what it shows, and what it says when there is nothing to show."""

import asyncio
import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app_kernel.cli import app as cli
from app_kernel.db.database import create_database
from app_kernel.stats.tables import TABLES
from tests.stats.test_stats import collected, deliver, finished, message


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of a service of which nothing is set but its databases."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("DATABASE_", "ADMIN_", "JWT_", "ENVIRONMENT", "SERVICE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DATABASE_PATH", "app.db")
    monkeypatch.setenv("ADMIN_DB_URL", "sqlite:///admin.db")
    return tmp_path


def run(*arguments: str, status: int = 0) -> str:
    done = CliRunner().invoke(cli, ["stats", *arguments])
    assert done.exit_code == status, done.output
    return done.output


def write(*apps: str) -> None:
    """Figures of these services into the admin database."""

    async def work() -> None:
        admin = create_database("sqlite:///admin.db")
        await admin.open()
        await admin.ensure_tables(TABLES)
        events = [finished("/orders/{id}", seconds=0.25), finished("/orders/{id}", 500, 0.5, id="r-slow")]
        for app in apps:
            await deliver(admin, message(collected([*events, finished("/health\x1b[2J", seconds=0.001)]), app=app))
        await admin.close()

    asyncio.run(work())


def test_the_figures_are_an_aligned_table_with_the_slowest_route_first(place: Path) -> None:
    write("one")
    head, first, second = run().splitlines()
    assert head.split()[:4] == ["method", "route", "count", "errors"]
    assert first.split()[:5] == ["GET", "/orders/{id}", "2", "1", "50.0"]
    assert first.endswith("500.0  r-slow")
    assert second.split()[1] == "/health?[2J"
    assert first.index("500.0  r-slow") + 5 == head.index("slowest ms") + len("slowest ms")


def test_json_has_a_line_for_each_route(place: Path) -> None:
    write("one")
    (row,) = map(json.loads, run("--json", "--route", "/orders/{id}", "--sort", "count", "--since", "7d").splitlines())
    assert (row["count"], row["slowest_request_id"]) == (2, "r-slow")


def test_of_several_services_one_is_chosen(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("one", "two")
    assert "one, two" in run(status=2)
    assert "/orders" in run("--app", "two")
    monkeypatch.setenv("SERVICE_NAME", "one")
    assert "/orders" in run()


def test_where_there_is_nothing_it_says_so(place: Path) -> None:
    assert "there is no database" in run(status=1)
    write()
    assert "no figures" in run(status=1)
    assert "no requests in the last 24h" in run("--app", "one")
    write("one")
    assert "no requests since 2026-01-31" in run("--route", "/unknown", "--since", "2026-01-31")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("--since", "yesterday"), "--since"), (("--sort", "name"), "--sort"), (("--limit", "0"), "limit")],
)
def test_a_wrong_use_is_one_line_and_a_status(place: Path, arguments: tuple[str, ...], words: str) -> None:
    write("one")
    assert words in run(*arguments, status=2)
