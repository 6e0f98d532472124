"""docs/howto/look-into-a-database.md: its commands run as they stand there, and every code of the source is in it."""

import asyncio
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app_kernel.cli import app
from app_kernel.db import connect, inspection

PAGE = (Path(__file__).parents[3] / "docs" / "howto" / "look-into-a-database.md").read_text()


async def make(url: str) -> None:
    async with connect(url) as db:
        for name in ("first", "second", "third"):
            await db.save_entity("widgets", {"id": "w1", "name": name})


def test_the_commands_of_the_page_run_as_they_stand_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    url = "sqlite:///app.db"
    monkeypatch.setenv("DATABASE_URL", url)
    asyncio.run(make(url))
    asyncio.run(make("sqlite:///app_admin.db"))
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    commands = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    assert len(commands) == 10
    for program, *arguments in commands:
        assert program == "app-kernel"
        result = CliRunner().invoke(app, arguments, input="y\n", catch_exceptions=False)
        # The instant of the example is before or after everything, as the clock has it.
        expected = {0, 1} if "--as-of" in arguments else {0}
        assert result.exit_code in expected, result.output


def test_the_example_of_something_wrong_is_what_is_printed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'app.db'}"
    asyncio.run(make(url))

    async def write_raw() -> None:
        async with connect(url) as db:
            await db.execute("INSERT INTO [widgets] ([id], [name]) VALUES ('raw', 'by hand')")

    asyncio.run(write_raw())
    result = CliRunner().invoke(app, ["db", "check", "--url", url], catch_exceptions=False)
    (example,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    assert result.output.endswith(example)


def test_every_code_is_on_the_page_and_none_that_there_is_not() -> None:
    sources = "".join(path.read_text() for path in Path(inspection.__file__).parent.glob("*.py"))
    codes = set(re.findall(r'Finding\(\s*"([a-z-]+)"', sources)) | {"broken-view", "broken-trigger"}
    table = {
        code for row in re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE) for code in re.findall(r"`([a-z-]+)`", row)
    }
    notes = set(
        re.findall(r"`([a-z-]+)`", PAGE.partition("Notes are printed too")[2].partition("The same from Python")[0])
    )
    assert len(codes) > 30
    assert table | notes == codes
