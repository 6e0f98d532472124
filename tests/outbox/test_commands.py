"""The outbox from a terminal: what waits, what died, and sending it again."""

import asyncio
from pathlib import Path

from click.testing import Result
from typer.testing import CliRunner

from app_kernel.cli import app
from app_kernel.core.outbox import Message
from app_kernel.db.outbox.rows import OutboxRows
from tests.outbox.carrying import numbered, opened, send


async def run(*arguments: str) -> Result:
    """Runs a command of `app-kernel outbox`; it starts an event loop of its own."""
    return await asyncio.to_thread(CliRunner().invoke, app, ["outbox", *arguments])


async def test_what_waits_and_what_died_is_shown_and_sent_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'app.db'}"
    async with opened(url) as (database,):
        await send(database, *numbered(range(3), topic="test:b"), Message("test:a", {}, id="m1"))
        rows = OutboxRows(database.driver)
        await rows.bury((await rows.unsent("test:a", 0, 1))[0].seq, "ValueError: no")
    status = await run("status", "--database-url", url)
    assert status.output.startswith("test:b  3  20")
    dead = await run("dead", "--database-url", url)
    assert dead.output.startswith("m1  test:a  20")
    assert dead.output.endswith("  ValueError: no\n")
    again = await run("retry", "m1", "--database-url", url)
    assert (again.exit_code, again.output) == (0, "m1 is on its way again\n")
    assert (await run("retry", "m1", "--database-url", url)).exit_code == 1
    async with opened(url) as (database,):
        assert await OutboxRows(database.driver).topics() == ["test:a", "test:b"]


async def test_the_admin_database_is_the_one_beside_the_file(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path / 'app_admin.db'}") as (database,):
        await send(database, *numbered([1], topic="admin:a"))
    status = await run("status", "--admin", "--database-url", f"sqlite:///{tmp_path / 'app.db'}")
    assert status.output.startswith("admin:a  1  20")
    async with opened(f"sqlite:///{tmp_path / 'app_admin.db'}") as (database,):
        tables = await database.connection().privileged.execute(
            "SELECT [name] FROM sqlite_master WHERE [name] = ?", ("kernel_users",)
        )
    assert tables == [], "accounts belong to the app's database"
