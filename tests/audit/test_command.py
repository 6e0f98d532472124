"""`app-kernel audit` in a terminal."""

import asyncio
import os
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from app_kernel.audit import TABLES
from app_kernel.audit.sink import write_events
from app_kernel.cli import app
from app_kernel.core.outbox import Message
from app_kernel.db import create_database


def event(name: str, minute: int, **body: Any) -> Message:
    at = f"2026-01-01T00:{minute:02}:00.000000Z"
    return Message("admin:audit_events", {"app": name, "action": "update", "timestamp": at, **body})


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("DATABASE_", "JWT_", "ENVIRONMENT", "SERVICE_", "ADMIN_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'app.db'}")

    async def fill() -> None:
        database = create_database(f"sqlite:///{tmp_path / 'app_admin.db'}")
        await database.open()
        await database.ensure_tables(TABLES)
        db = database.connection()
        changes = {"status": ["a", "b"], "n": [1, 2]}
        events = [
            event(
                "books", 1, entity="books", entity_id="a\x1b[31m\x9b1m", changes=changes, user_id="u1", source="request"
            ),
            event("books", 2, action="auth.login"),
            event("films", 3),
        ]
        async with db.transaction():
            await write_events(db, events)
        await database.close()

    asyncio.run(fill())


def run(*arguments: str, status: int = 0) -> str:
    done = CliRunner().invoke(app, ["audit", *arguments])
    assert done.exit_code == status, done.output
    return done.output


def test_entries_are_listed_and_exported_for_one_service() -> None:
    assert run("list", "--app", "books") == (
        "2026-01-01T00:02:00.000000Z  auth.login  -  -  -\n"
        "2026-01-01T00:01:00.000000Z  update  books/a?[31m?1m  u1  request  status,n\n"
    )
    [line] = run("list", "--app", "books", "--json", "--action", "auth.*").splitlines()
    assert orjson.loads(line)["action"] == "auth.login"
    shown = run("list", "--app", "books", "--json", "--user", "u1").rstrip("\n")
    assert (shown.isprintable(), orjson.loads(shown)["entity_id"]) == (True, "a\x1b[31m\x9b1m")
    assert run("list", "--app", "books", "--user", "u1", "--entity", "books", "--since", "2026-01-02") == (
        "no entry matches\n"
    )
    assert len(run("export", "--app", "books").splitlines()) == 3
    exported = run("export", "--app", "films", "--format", "json", "--until", "2026-01-01").splitlines()
    assert [orjson.loads(each)["app"] for each in exported] == ["films"]


def test_what_cannot_be_told_is_one_line_and_status_2(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "choose one with --app (books, films)" in run("list", status=2)
    assert "since is a date" in run("list", "--app", "books", "--since", "soon", status=2)
    assert "--format: there is no xml" in run("export", "--format", "xml", status=2)
    monkeypatch.setenv("SERVICE_NAME", "films")
    assert len(run("list").splitlines()) == 1
