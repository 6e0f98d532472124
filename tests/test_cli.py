import asyncio
import logging
import os
import secrets
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
from typer.testing import CliRunner

from app_kernel import UserIdentity
from app_kernel.auth import find_user
from app_kernel.cli import app
from app_kernel.db import connect
from tests.auth.serving import EMAIL, PASSWORD, serving

COMMAND = str(Path(sys.executable).with_name("app-kernel"))


@pytest.fixture(autouse=True)
def empty_place(tmp_path, monkeypatch):
    """A directory without settings, and an environment without any."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("DATABASE_", "JWT_", "ENVIRONMENT", "SERVICE_")):
            monkeypatch.delenv(name)
    # As the command does; a service in the same process may have set another level before.
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.WARNING)
    yield
    root.setLevel(level)


def run(*arguments: str, typed: str = "", status: int = 0) -> str:
    """What the command wrote, on both streams."""
    result = CliRunner().invoke(app, list(arguments), input=typed, catch_exceptions=False)
    assert result.exit_code == status, result.output
    return result.output


def execute(*arguments: str, typed: str | None = None) -> subprocess.CompletedProcess[str]:
    """The installed command, in a process of its own."""
    environment = {"JWT_SECRET": "x" * 40}
    return subprocess.run(
        [COMMAND, *arguments], input=typed, capture_output=True, text=True, env=environment, check=False
    )


def stored() -> UserIdentity | None:
    """The account in the default database."""

    async def look() -> UserIdentity | None:
        async with connect("sqlite:///./data/app.db") as db:
            return await find_user(db, EMAIL)

    return asyncio.run(look())


def sign_in(password: str) -> Any:
    """What a service on the default database answers to a login."""

    async def ask() -> Any:
        async with serving(Path("data/app.db"), allow_self_signup=False) as service:
            return (await service.sign_in(password=password)).json()

    return asyncio.run(ask())


@pytest.mark.acceptance("AU14")
def test_the_first_admin_is_made_once_and_can_sign_in():
    command = ["users", "create", "Ada@Example.com", "--admin", "--name", "Ada"]
    first = execute(*command)
    assert (first.returncode, first.stderr) == (0, "")
    told, password = first.stdout.splitlines()
    assert told == "created ada@example.com with the role admin in ./data/app.db"
    assert password.startswith("password: ")
    again = execute(*command)
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == "app-kernel: An account with this email or username already exists.\n"
    assert sign_in(password.removeprefix("password: "))["user"]["role"] == "admin"


def test_a_given_password_is_read_from_standard_input_and_never_printed():
    written = run("users", "create", EMAIL, "--password-stdin", typed=f"{PASSWORD}\n")
    assert written == "created ada@example.com with the role user in ./data/app.db\n"
    assert sign_in(PASSWORD)["user"]["email"] == EMAIL


def test_the_database_comes_from_the_environment_the_env_file_or_the_option(tmp_path, monkeypatch):
    Path(".env").write_text("DATABASE_PATH=from_env_file.db\n")
    assert "in from_env_file.db" in run("users", "create", EMAIL)
    Path("other.env").write_text("DATABASE_PATH=from_other_file.db\n")
    assert "in from_other_file.db" in run("users", "create", EMAIL, "--env-file", "other.env")
    monkeypatch.setenv("DATABASE_PATH", "from_environment.db")
    assert "in from_environment.db" in run("users", "create", EMAIL)
    assert "in from_option.db" in run("users", "create", EMAIL, "--database-url", "sqlite:///from_option.db")
    assert len(list(tmp_path.glob("from_*.db"))) == 4


@pytest.mark.parametrize(
    ("arguments", "typed", "status", "message"),
    [
        (["nobody"], "", 1, "This is not an email address."),
        ([EMAIL, "--password-stdin"], "", 2, "no password on standard input"),
        ([EMAIL, "--password-stdin"], "\n", 2, "no password on standard input"),
        ([EMAIL, "--password-stdin"], "short\n", 1, "A password needs at least 8 bytes."),
        (
            [EMAIL, "--username", "a b"],
            "",
            1,
            "A username is 3 to 50 characters of a-z, 0-9, dot, underscore and hyphen.",
        ),
        ([EMAIL, "--env-file", "missing.env"], "", 2, "missing.env: there is no such file"),
        ([EMAIL, "--database-url", "nonsense://x"], "", 2, ""),
    ],
)
def test_what_is_refused_is_one_line_and_a_status(arguments, typed, status, message):
    written = run("users", "create", *arguments, typed=typed, status=status)
    assert written.count("\n") == 1
    assert written.startswith("app-kernel: ")
    assert message in written


def test_a_malformed_setting_is_named(monkeypatch):
    monkeypatch.setenv("SESSION_DAYS", "many")
    monkeypatch.setenv("ENVIRONMENT", "staging")
    written = run("users", "create", EMAIL, status=2)
    assert "SESSION_DAYS" in written
    assert "ENVIRONMENT" in written


def test_production_refuses_a_common_password(monkeypatch):
    monkeypatch.setenv("ENVIRONMENT", "production")
    written = run("users", "create", EMAIL, "--password-stdin", typed="password1\n", status=1)
    assert "most common" in written
    assert stored() is None


def test_elsewhere_a_common_password_is_warned_about_on_standard_error():
    done = execute("users", "create", EMAIL, "--password-stdin", typed="password1\n")
    assert done.returncode == 0
    assert "most common" in done.stderr
    assert "password1" not in done.stderr + done.stdout


def test_a_database_that_cannot_be_opened_is_one_line_without_a_traceback(tmp_path):
    (tmp_path / "file").write_text("")
    done = execute("users", "create", EMAIL, "--database-url", "sqlite:///file/app.db")
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_accounts_are_listed_and_changed():
    run("users", "create", EMAIL, "--username", "ada")
    assert run("users", "set-role", "ADA@example.com", "auditor") == "ada@example.com has the role auditor\n"
    assert run("users", "deactivate", "ada") == "ada@example.com is deactivated\n"
    user = stored()
    assert user is not None
    assert run("users", "list") == f"{user.id}  ada@example.com  auditor  deactivated\n"
    assert run("users", "activate", "ada") == "ada@example.com is active\n"
    assert run("users", "set-password", "ada", "--password-stdin", typed=f"{PASSWORD}\n") == "the password is changed\n"
    assert run("users", "set-password", "ada").startswith("password: ")
    for command in (["set-role", "eve", "user"], ["deactivate", "eve"], ["activate", "eve"], ["set-password", "eve"]):
        assert run("users", *command, status=1) == "app-kernel: There is no such account.\n"
    assert "A role is" in run("users", "set-role", "ada", "no role", status=1)


def test_the_version_is_printed():
    assert run("version") == f"{version('app-kernel')}\n"


def test_commands_explain_themselves():
    assert "users" in run("--help")
    assert "--password-stdin" in run("users", "create", "--help")
    run("users", "nonsense", status=2)


def test_accounts_on_a_server_are_made_with_the_settings_of_the_service(postgres_url, monkeypatch):
    parts = urlsplit(postgres_url)
    email = f"{secrets.token_hex(6)}@example.com"
    given = {"TYPE": "postgres", "NAME": parts.path[1:], "HOST": parts.hostname, "PORT": str(parts.port)}
    for name, value in {**given, "USER": parts.username, "PASSWORD": parts.password}.items():
        monkeypatch.setenv(f"DATABASE_{name}", value)
    written = run("users", "create", email, "--admin")
    assert written.startswith(f"created {email} with the role admin in postgres on 127.0.0.1\n")
    assert f"{email}  admin  active" in run("users", "list", "--limit", "10000")
    assert f"{email}  admin  active" in run("users", "list", "--limit", "10000", "--database-url", postgres_url)
    assert run("users", "deactivate", email) == f"{email} is deactivated\n"
    assert parts.password not in written


@pytest.mark.parametrize(
    ("settings", "status", "words"),
    [
        ({"TYPE": "postgres"}, 2, "database_name (DATABASE_PATH): missing"),
        ({"URL": "postgres://me:hunter2@127.0.0.1:1/app"}, 1, "cannot be reached"),
        ({"URL": "postgres://me:hunter2@db:port/app"}, 2, "database_name (DATABASE_PATH): "),
        ({"TYPE": "mysql"}, 2, "database_name (DATABASE_PATH): missing"),
        ({"URL": "mysql://me:hunter2@127.0.0.1:1/app"}, 1, "cannot be reached"),
        ({"URL": "mysql://me:hunter2@db:port/app"}, 2, "database_name (DATABASE_PATH): "),
    ],
)
def test_a_server_that_cannot_be_used_is_one_line_without_its_password(settings, status, words, monkeypatch):
    for name, value in settings.items():
        monkeypatch.setenv(f"DATABASE_{name}", value)
    written = run("users", "create", EMAIL, status=status)
    assert written.startswith("app-kernel: ")
    assert written.count("\n") == 1
    assert words in written
    assert "hunter2" not in written


def test_only_making_an_account_makes_a_database():
    assert "there is no database at" in run("users", "list", status=1)
    assert "there is no database at" in run("users", "deactivate", EMAIL, status=1)
    assert not Path("data").exists()


def outgoing() -> list[tuple[str, str, str]]:
    """The audit events in the outbox of the default database: app, action, command."""

    async def look() -> list[tuple[str, str, str]]:
        async with connect("sqlite:///./data/app.db") as db:
            rows = await db.privileged.execute(
                "SELECT [body] FROM [kernel_outbox] WHERE [topic] = ? ORDER BY [seq]", ("admin:audit_events",)
            )
        bodies = [orjson.loads(row[0]) for row in rows]
        return [(body["app"], body["action"], body["command"]) for body in bodies]

    return asyncio.run(look())


def test_what_a_command_changes_is_recorded_in_the_same_commit(monkeypatch):
    """EV3: without Redis and without the admin database, which is the service's to reach."""
    monkeypatch.setenv("SERVICE_NAME", "books")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    monkeypatch.setenv("ADMIN_DB_URL", "postgres://me:secret@127.0.0.1:1/admin")
    run("users", "create", EMAIL)
    run("users", "set-role", EMAIL, "auditor")
    run("users", "deactivate", EMAIL)
    run("users", "activate", EMAIL)
    run("users", "set-password", EMAIL)
    run("users", "list")
    run("users", "delete", EMAIL)
    assert outgoing() == [
        ("books", "auth.registered", "users create"),
        ("books", "auth.role_changed", "users set-role"),
        ("books", "auth.deactivated", "users deactivate"),
        ("books", "auth.activated", "users activate"),
        ("books", "auth.password_changed", "users set-password"),
        ("books", "auth.deleted", "users delete"),
    ]


def test_a_command_that_is_refused_records_nothing():
    run("users", "create", EMAIL)
    run("users", "create", EMAIL, status=1)
    assert [action for _, action, _ in outgoing()] == ["auth.registered"]


def test_what_was_recorded_for_no_name_is_of_the_service_that_carries_it():
    """EV3: the first admin is made before the service has run, by a command that cannot know its name."""
    run("users", "create", EMAIL, "--admin")
    assert outgoing() == [("", "auth.registered", "users create")]

    async def carried() -> list[Any]:
        async with serving(Path("data/app.db")) as service:
            # The service's name is auth_tests, and the command works while it runs.
            command = [COMMAND, "users", "set-role", EMAIL, "auditor"]
            done = await asyncio.to_thread(subprocess.run, command, check=False, env={"JWT_SECRET": "x" * 40})
            assert done.returncode == 0
            sql = "SELECT [app], [action], [command] FROM [audit_logs] ORDER BY [timestamp]"
            while len(rows := await service.kernel.admin_store().privileged.execute(sql)) < 2:  # noqa: ASYNC110 - the relay
                await asyncio.sleep(0.02)
            return [tuple(row) for row in rows]

    assert asyncio.run(carried()) == [
        ("auth_tests", "auth.registered", "users create"),
        ("auth_tests", "auth.role_changed", "users set-role"),
    ]


def test_a_command_does_what_features_do_with_the_change(monkeypatch):
    monkeypatch.setenv("PERSONAL_WORKSPACES", "true")
    run("users", "create", EMAIL)
    assert ("", "workspace.created", "users create") in outgoing()
    run("users", "delete", EMAIL)
    assert {(action, command) for _, action, command in outgoing()} >= {
        ("workspace.deleted", "users delete"),
        ("auth.deleted", "users delete"),
    }


def test_settings_that_no_service_can_have_are_refused_in_one_line(monkeypatch):
    monkeypatch.setenv("OAUTH_PROVIDERS", '{"x": {}}')
    written = run("users", "create", EMAIL, status=2)
    assert "OAUTH_PROVIDERS" in written
    assert written.count("\n") == 1
    assert not Path("data").exists()
