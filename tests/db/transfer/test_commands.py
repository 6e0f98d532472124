"""`app-kernel db backup`, `restore` and `copy`: what they print, how they end, and that no password is seen."""

import asyncio
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from app_kernel.cli import app
from app_kernel.core.database_urls import admin_url_beside
from app_kernel.db import connect

COMMAND = str(Path(sys.executable).with_name("app-kernel"))


def run(*arguments: str, status: int = 0, env: dict[str, str] | None = None) -> tuple[str, str]:
    """What the command wrote on its two streams."""
    result = CliRunner().invoke(app, ["db", *arguments], env=env, catch_exceptions=False)
    assert result.exit_code == status, result.output
    return result.stdout, result.stderr


@pytest.fixture
def urls(tmp_path, monkeypatch):
    """Two files, the first with a row and an admin database beside it."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("DATABASE_", "COPY_"))]:
        monkeypatch.delenv(name)
    return f"sqlite:///{tmp_path}/app.db", f"sqlite:///{tmp_path}/new.db"


async def _fill(url: str) -> None:
    async with connect(url) as db:
        await db.save_entities("things", [{"id": f"t{n}", "n": n} for n in range(3)])
    async with connect(admin_url_beside(url)) as db:
        await db.save_entity("reports", {"id": "r"})


@pytest.fixture
def filled(urls):
    asyncio.run(_fill(urls[0]))
    return urls


# The commands run an event loop of their own, so these tests have none.
def test_backup_and_restore_tell_what_they_did(filled):
    source, target = filled
    shown, told = run("backup", "app.akb", "--url", source)
    assert shown.startswith("app.akb: 5 tables, 6 rows, ")
    # Not a terminal: one line for each table that has rows.
    assert told.splitlines() == ["back up things: 3", "back up things_history: 3"]
    shown, told = run("restore", "app.akb", "--url", target)
    assert shown.splitlines()[-1] == "equal: 5 tables, 6 rows"
    assert "do not run services on both" in told
    assert "exists already" in run("backup", "app.akb", "--url", source, status=1)[1]
    assert "The target is not empty: it has things" in run("restore", "app.akb", "--url", target, status=1)[1]
    Path("app.akb").write_bytes(Path("app.akb").read_bytes()[:-1])
    assert "no whole backup" in run("restore", "app.akb", "--url", "sqlite:///third.db", status=1)[1]
    assert "There is no database at" in run("backup", "x.akb", "--url", "sqlite:///nowhere.db", status=1)[1]
    assert not Path("nowhere.db").exists()


def test_json_is_one_document(filled):
    source, target = filled
    written = orjson.loads(run("backup", "app.akb", "--url", source, "--json")[0])
    assert {each["name"]: each["rows"] for each in written["tables"] if each["rows"]} == {
        "things": 3,
        "things_history": 3,
    }
    copied = orjson.loads(run("copy", source, target, "--json")[0])
    hashes = {each["name"]: each["hash"] for each in copied["databases"][0]["tables"]}
    assert {each["name"]: each["hash"] for each in written["tables"]} == hashes
    assert orjson.loads(run("backup", "plain.db", "--plain", "--url", source, "--json")[0])["bytes"] > 0


def test_the_admin_database_beside_is_copied_too(filled):
    source, target = filled
    shown, _ = run("copy", source, target)
    assert "reports  1  " in shown
    assert Path("new_admin.db").is_file()
    run("copy", source, "sqlite:///alone.db", "--no-admin")
    assert not Path("alone_admin.db").exists()
    run("copy", source, "sqlite:///other.db", "--admin-to", "sqlite:///elsewhere.db")
    assert Path("elsewhere.db").is_file()


def test_urls_may_stand_in_the_environment(filled):
    source, target = filled
    shown, _ = run("copy", "--no-admin", env={"COPY_FROM_URL": source, "COPY_TO_URL": target})
    assert "things  3  " in shown


def test_wrong_use_ends_with_2_and_shows_no_password(filled):
    source, target = filled
    for arguments in (("copy", "postgres://user:s3cr3t@", target), ("copy", source, "nonsense://user:s3cr3t@x/y")):
        shown, told = run(*arguments, "--no-admin", status=2)
        assert "s3cr3t" not in shown + told
        assert told.startswith("app-kernel: ")
    shown, told = run("copy", "postgres://user:s3cr3t@127.0.0.1:1/x", target, "--no-admin", status=1)
    assert "s3cr3t" not in shown + told
    assert "same database" in run("copy", source, source, "--no-admin", status=1)[1]


def test_a_watch_goes_on_until_it_is_told_to_end(filled):
    """A process of its own, because signals are what ends it."""
    source, target = filled
    arguments = [COMMAND, "db", "copy", source, target, "--no-admin", "--watch"]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        seen = _read_until(process.stderr.fileno(), b"0 rows copied, 0 changed")
        assert b"round: 6 rows copied, 0 changed" in seen
        process.send_signal(signal.SIGTERM)
        shown = process.stdout.read()
        assert process.wait(30) == 0
    assert shown.splitlines()[-1] == b"equal: 5 tables, 6 rows"


def _read_until(stream: int, wanted: bytes) -> bytes:
    seen, deadline = b"", time.monotonic() + 60
    while wanted not in seen:
        assert select.select([stream], [], [], deadline - time.monotonic())[0], seen
        part = os.read(stream, 4096)
        assert part, seen
        seen += part
    return seen


def test_until_equal_ends_by_itself(filled):
    source, target = filled
    shown, told = run("copy", source, target, "--no-admin", "--until-equal")
    assert "round: 6 rows copied, 0 changed" in told
    assert "round: 0 rows copied, 0 changed" in told
    assert shown.splitlines()[-1] == "equal: 5 tables, 6 rows"
