"""`app-kernel db check`, `db history` and `db revert`, on each database."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from typer.testing import CliRunner

from app_kernel.cli import app
from app_kernel.cli import databases as commands
from app_kernel.db import connect
from app_kernel.testing import kernel_client
from tests.conformance.backends import BACKENDS, SERVICE_BACKENDS, Place
from tests.small_service import small_app

KINDS: dict[str, Any] = {
    "text": "a\x1bb\x9b\u202e", "price": Decimal("1.5"), "raw": b"\x00\xff", "born": date(2000, 1, 2), "big": 2**70,
    "key": UUID(int=1), "at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "tags": ["x", {"y": 1}], "long": "z" * 500,
}  # fmt: skip


class Case:
    """A place, and the commands on it."""

    def __init__(self, place: Place, redis_url: str | None) -> None:
        self.place = place
        self._redis_url = redis_url

    def service(self) -> FastAPI:
        """A service on it, which on MySQL keeps its jobs in Redis."""
        return small_app(database_name=self.place.url, admin_db_url="sqlite://:memory:", redis_url=self._redis_url)

    def run(self, *arguments: str, typed: str = "", status: int = 0) -> str:
        """What a command wrote, on both streams."""
        url = ["--url", self.place.url]
        result = CliRunner().invoke(app, ["db", *arguments, *url], input=typed, catch_exceptions=False)
        assert result.exit_code == status, result.output
        return result.output

    def lines(self, *arguments: str) -> list[dict[str, Any]]:
        """The lines of JSON that a command wrote."""
        return [json.loads(line) for line in self.run(*arguments, "--json").splitlines()]

    def do(self, work: Callable[[Any], Awaitable[Any]]) -> Any:
        """What the work gives on a handle."""

        async def opened() -> Any:
            async with connect(self.place.url) as db:
                return await work(db)

        return asyncio.run(opened())


@pytest.fixture(params=SERVICE_BACKENDS)
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    """A database in which one widget has three versions, another is deleted and a third is purged."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("DATABASE_", "JWT_", "ENVIRONMENT", "SERVICE_")):
            monkeypatch.delenv(name)

    async def fill(db: Any) -> None:
        await db.save_entity("widgets", {"id": "w1", "name": "first", "size": 1}, comment="made")
        await db.save_entity("widgets", {"id": "w1", "name": "second", **KINDS})
        await db.save_entity("widgets", {"id": "w1", "size": 3, "tags": None})
        await db.save_entity("widgets", {"id": "gone", "name": "deleted"})
        await db.delete_entity("widgets", "gone")
        await db.save_entity("widgets", {"id": "purged", "name": "purged"})
        await db.delete_entity("widgets", "purged", permanent=True)

    made = BACKENDS[request.param]()
    loop = asyncio.new_event_loop()
    redis_url = request.getfixturevalue("redis_url") if request.param == "mysql" else None
    case = Case(loop.run_until_complete(made.__aenter__()), redis_url)
    loop.run_until_complete(case.place.start_anew())
    case.do(fill)
    yield case
    loop.run_until_complete(case.place.start_anew())
    loop.run_until_complete(made.__aexit__(None, None, None))
    loop.close()


def test_a_check_of_a_database_that_is_well_ends_with_0_and_lists_what_is_in_it(case: Case) -> None:
    told = case.run("check")
    assert told.splitlines()[-1] == "nothing is wrong"
    assert "widgets  1 rows, 1 deleted, 7 versions" in told
    assert "  id str, name str, size int, text str, price decimal" in told
    assert "kernel_users" not in told
    shown = json.loads(case.run("check", "--deep", "--json"))
    assert (shown["ok"], shown["deep"], shown["backend"]) == (True, True, case.place.backend)
    assert [table["name"] for table in shown["tables"] if not table["name"].startswith("kernel_")] == ["widgets"]
    case.run("history", "widgets", "w1")


def test_a_check_that_finds_something_says_how_to_mend_it_and_ends_with_1(case: Case) -> None:
    case.do(lambda db: db.execute("INSERT INTO [widgets] ([id], [name]) VALUES ('raw', 'by hand')"))
    told = case.run("check", status=1).splitlines()
    assert told[-1] == "1 thing is wrong"
    assert told[-3].startswith("WRONG [written-raw] widgets: 1 row has no [_version]")
    assert told[-2] == "  Save each of these once with its id: the store then writes down how it found it."
    shown = json.loads(case.run("check", "--json", status=1))
    assert (shown["ok"], shown["findings"][0]["code"]) == (False, "written-raw")
    case.do(lambda db: db.save_entity("widgets", {"id": "raw", "size": 1}))
    assert case.run("check", "--deep").splitlines()[-1] == "nothing is wrong"
    late = (
        "INSERT INTO [kernel_outbox] ([id], [topic], [key], [body], [created_at])"
        " VALUES ('m', ?, '', '{}', '2026-01-01T00:00:00.000000Z')"
    )
    case.do(lambda db: db.execute(late, ("lost\x1b[2J",)))
    assert "WRONG [outbox-late] lost?[2J: Messages wait for " in case.run("check", status=1)


def test_a_service_that_runs_is_checked_with_the_tables_of_its_features(case: Case) -> None:
    async def serve() -> None:
        async with kernel_client(case.service(), database=None):
            told = await asyncio.to_thread(case.run, "check", "--all")
            assert "kernel_users  0 rows" in told
            assert "  unique index ux_kernel_users_email (email)" in told

    asyncio.run(serve())
    on_table = " ON [kernel_users]" if case.place.backend == "mysql" else ""
    case.do(lambda db: db.execute(f"DROP INDEX [ux_kernel_users_email]{on_table}"))
    assert "WRONG [missing-index] kernel_users: The unique index over [email] is not there." in case.run(
        "check", status=1
    )


def test_a_history_shows_each_version_with_what_differs(case: Case) -> None:
    told = case.run("history", "widgets", "w1").splitlines()
    first = told.index('    name: - -> "first"')
    assert told[0].startswith("version 1  create  ")
    assert told[0].endswith('  -  "made"')
    assert first > 0
    assert '    name: "first" -> "second"' in told
    assert '    text: - -> "a\\u001bb??"' in told
    assert f'    long: - -> "{"z" * 99}...' in told
    assert '    price: - -> "1.5"' in told
    assert [line.split("  ")[:2] for line in told if line.startswith("version")] == [
        ["version 1", "create"], ["version 2", "update"], ["version 3", "update"],
    ]  # fmt: skip
    assert told[-2:] == ["    size: 1 -> 3", '    tags: ["x", {"y": 1}] -> -']
    assert [entry["action"] for entry in case.lines("history", "widgets", "purged")] == ["create", "purge"]


def test_a_history_as_json_is_whole_and_a_limit_leaves_the_latest(case: Case) -> None:
    first, second, third = case.lines("history", "widgets", "w1")
    assert (first["version"], first["comment"], first["changes"]["name"]) == (1, "made", [None, "first"])
    assert second["entity"] | {"updated_at": ""} == third["entity"] | {
        "updated_at": "", "size": 1, "tags": ["x", {"y": 1}], "_version": 2,
    }  # fmt: skip
    assert {name: second["entity"][name] for name in ("price", "raw", "born", "big", "key", "long")} == {
        "price": "1.5", "raw": "AP8=", "born": "2000-01-02", "big": 2**70,
        "key": "00000000-0000-0000-0000-000000000001", "long": "z" * 500,
    }  # fmt: skip
    assert case.lines("history", "widgets", "w1", "--limit", "2") == [second, third]
    assert "there is no history of nobody in widgets" in case.run("history", "widgets", "nobody", status=1)
    assert "there is no history of w1 in nothing" in case.run("history", "nothing", "w1", status=1)
    assert "app-kernel: " in case.run("history", "no name", "w1", status=1)


def test_a_revert_shows_what_changes_asks_and_is_a_new_version(case: Case) -> None:
    asked = case.run("revert", "widgets", "w1", "--version", "1", typed="n\n", status=1)
    assert '    name: "second" -> "first"' in asked
    assert "    size: 3 -> 1" in asked
    assert '    price: "1.5" -> -' in asked
    assert "Revert w1 of widgets? [y/N]: n" in asked
    assert "nothing was changed" in asked
    assert len(case.lines("history", "widgets", "w1")) == 3
    done = case.run("revert", "widgets", "w1", "--version", "1", "--comment", "as it was", typed="y\n")
    assert done.endswith("w1 of widgets is version 4 now\n")
    latest = case.lines("history", "widgets", "w1")[-1]
    assert (latest["comment"], latest["entity"]["name"], latest["entity"]["price"]) == ("as it was", "first", None)
    assert case.run("revert", "widgets", "w1", "--version", "1", "--yes") == "nothing differs\n"
    assert len(case.lines("history", "widgets", "w1")) == 4


def test_a_revert_to_an_instant_restores_what_was_deleted_and_makes_what_was_purged(case: Case) -> None:
    made = case.lines("history", "widgets", "gone")[0]["at"]
    assert case.run("revert", "widgets", "gone", "--as-of", made, "--yes").splitlines() == [
        "it is restored, as it was deleted", "gone of widgets is version 3 now",
    ]  # fmt: skip
    told = case.run("revert", "widgets", "purged", "--version", "1", "--yes").splitlines()
    assert told == [
        "it is made again, as it was purged", '    name: - -> "purged"', "purged of widgets is version 3 now",
    ]  # fmt: skip
    assert case.do(lambda db: db.get_entity("widgets", "purged"))["name"] == "purged"


REFUSED: list[tuple[list[str], int, str]] = [
    (["w1"], 2, "give either --version or --as-of"),
    (["w1", "--version", "1", "--as-of", "2026-01-01T00:00Z"], 2, "give either --version or --as-of"),
    (["w1", "--as-of", "yesterday"], 2, "as_of is no ISO 8601 time"),
    (["w1", "--as-of", "2026-01-01T00:00"], 2, "as_of without a time zone is ambiguous"),
    (["w1", "--as-of", "2001-01-01T00:00Z"], 1, "there was no w1 in widgets at 2001-01-01T00:00Z"),
    (["w1", "--version", "9"], 1, "there was no w1 in widgets at version 9"),
    (["purged", "--version", "2"], 1, "there was no purged in widgets at version 2"),
    (["nobody", "--version", "1"], 1, "there was no nobody in widgets at version 1"),
]


def test_a_revert_to_what_there_never_was_is_refused(case: Case) -> None:
    for arguments, status, told in REFUSED:
        assert told in case.run("revert", "widgets", *arguments, "--yes", status=status)
    assert case.do(lambda db: db.get_entity("widgets", "w1"))["_version"] == 3


def test_a_change_between_the_preview_and_the_answer_is_not_reverted(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(_: str) -> bool:
        case.do(lambda db: db.save_entity("widgets", {"id": "w1", "name": "by somebody else"}))
        return True

    monkeypatch.setattr(commands.typer, "confirm", answer)
    told = case.run("revert", "widgets", "w1", "--version", "1", status=1)
    assert "app-kernel: " in told
    assert case.do(lambda db: db.get_entity("widgets", "w1"))["name"] == "by somebody else"


def test_a_revert_leaves_for_the_audit_log_as_the_command_that_made_it(case: Case) -> None:
    case.run("revert", "widgets", "w1", "--version", "1", "--yes")

    async def look(db: Any) -> list[Any]:
        return list(await db.execute("SELECT [body] FROM [kernel_outbox] WHERE [topic] = 'admin:audit_events'"))

    (row,) = case.do(look)
    entry = json.loads(row["body"])
    assert (entry["action"], entry["entity_id"], entry["source"]) == ("update", "w1", "command")
    assert entry["changes"]["size"] == [3, 1]


def test_what_cannot_be_reached_ends_a_check_with_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for url, told in (
        ("sqlite:///missing.db", "missing.db: There is no such database file."),
        ("postgres://nobody@127.0.0.1:1/nothing", "nothing on 127.0.0.1: "),
        ("sqlite://:memory:", "a database in memory is seen by the process alone that opened it"),
    ):
        result = CliRunner().invoke(app, ["db", "check", "--url", url], catch_exceptions=False)
        assert (result.exit_code, told in result.output) == (2, True), result.output
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "text.db").write_text("this is no database, but text that is long enough to be read as one" * 20)
    result = CliRunner().invoke(app, ["db", "check", "--url", "sqlite:///text.db"], catch_exceptions=False)
    assert result.exit_code == 2, result.output
