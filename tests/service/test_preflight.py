"""Wrong settings: one refusal that lists them all, at once, without a secret in it."""

import multiprocessing
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from app_kernel import ConfigurationError, ServiceConfig, create_service
from app_kernel.service.preflight import find_problems
from tests.small_service import SECRET, events, log_lines

CANARY = "hunter2-canary"
PRODUCTION = {"environment": "production", "cors_origins": ["https://app.example"], "jwt_secret": SECRET}

# What is wrong with each of these settings, in words that must come up.
ARGUMENTS: list[tuple[dict[str, Any], str]] = [
    ({"jwt_secret": None}, "jwt_secret (JWT_SECRET): missing"),
    ({"jwt_secret": "   "}, "jwt_secret (JWT_SECRET): is blank"),
    ({"jwt_secret": "", "debug": True}, "jwt_secret (JWT_SECRET): is blank"),
    ({**PRODUCTION, "jwt_secret": CANARY}, "under 32 bytes"),
    ({**PRODUCTION, "jwt_secret_previous": CANARY}, "jwt_secret_previous (JWT_SECRET_PREVIOUS): under 32 bytes"),
    ({**PRODUCTION, "jwt_secret": None}, "jwt_secret (JWT_SECRET): missing"),
    ({**PRODUCTION, "debug": True}, "debug (DEBUG): refused in production"),
    ({**PRODUCTION, "cors_origins": ["*"]}, "cors_origins (CORS_ORIGINS): `*` is refused in production"),
    ({"environment": "production", "jwt_secret": SECRET}, "`*` is refused in production"),
    ({"jwt_secret_previous": SECRET}, "the same as jwt_secret"),
    ({"metrics_token": SECRET}, "metrics_token (METRICS_TOKEN): is the same as jwt_secret"),
    ({"metrics_token": " "}, "metrics_token (METRICS_TOKEN): is blank"),
    ({"cors_origins": ["*", "https://app.example"]}, "`*` excludes named origins"),
    ({"cors_origins": ["https://app.example/"]}, "is no origin"),
    ({"cors_origins": ["app.example"]}, "'app.example' is no origin"),
    ({"cors_origins": ["https://app.example/path"]}, "is no origin"),
    ({"cors_origins": ["https://app.example:99999"]}, "is no origin"),
    ({"cors_origins": ["https://*.example"]}, "is no origin"),
    ({"cors_origins": ["null"]}, "is no origin"),
    ({"cors_origins": [f"https://me:{CANARY}@app.example"]}, "an entry is no origin"),
    ({"trusted_proxies": ["10.0.0.0/33"]}, "neither an address nor a network"),
    ({"trusted_proxies": ["proxy.local"]}, "neither an address nor a network"),
    ({**PRODUCTION, "trusted_proxies": ["0.0.0.0/0"]}, "lets every client choose the address"),
    ({**PRODUCTION, "trusted_proxies": ["10.0.0.1", "::/0"]}, "lets every client choose the address"),
    ({"database_type": "mysql", "redis_url": "redis://db"}, "database_name (DATABASE_PATH): missing"),
    ({"database_name": f"mysql://me:{CANARY}@db", "redis_url": "redis://db"}, "the database URL names no database"),
    ({"database_name": f"oracle://me:{CANARY}@db/app"}, "its scheme is none that app_kernel knows"),
    ({"database_name": "sqlite://relative.db"}, "three slashes"),
    ({"database_name": "sqlite:///app.db?mode=ro"}, "unknown option mode"),
    ({"database_name": "sqlite:///app.db?synchronous=OFF"}, "FULL or NORMAL"),
    ({"database_name": "a\0b.db"}, "NUL"),
    ({"database_name": "/"}, "names a directory"),
    ({"database_name": __file__ + "/app.db"}, "a part of its path is a file"),
    ({"oauth_providers": {"google": {"client_secret": CANARY}}}, "'google' needs a client_id"),
    (
        {"database_type": "postgres", "database_name": "./data/app.db"},
        "has a slash in it, as a path, and database_type is postgres",
    ),
]

# The same through the environment, where a value may be malformed too.
ENVIRONMENTS: list[tuple[dict[str, str], str]] = [
    ({"ENVIRONMENT": "prod"}, "ENVIRONMENT"),
    ({"DEBUG": "maybe"}, "DEBUG"),
    ({"JWT_EXPIRY_HOURS": "soon"}, "JWT_EXPIRY_HOURS"),
    ({"JWT_EXPIRY_HOURS": "-1"}, "JWT_EXPIRY_HOURS"),
    ({"DATABASE_TYPE": "mongodb"}, "DATABASE_TYPE"),
    ({"DATABASE_TYPE": "postgres"}, "DATABASE_PATH"),
    ({"DATABASE_PORT": "psql", "DATABASE_TYPE": "postgres", "DATABASE_NAME": "x"}, "DATABASE_PORT"),
    ({"DATABASE_PORT": "70000"}, "DATABASE_PORT"),
    ({"DATABASE_POOL_SIZE": "0"}, "DATABASE_POOL_SIZE"),
    ({"DATABASE_HOST": "x" * 300}, "DATABASE_HOST"),
    ({"DATABASE_PASSWORD": CANARY}, "DATABASE_PASSWORD"),
    ({"ADMIN_DB_URL": f"oracle://me:{CANARY}@db/app"}, "ADMIN_DB_URL"),
    ({"REDIS_URL": f"me:{CANARY}@db"}, "REDIS_URL"),
    ({"LOG_LEVEL": "LOUD"}, "LOG_LEVEL"),
    ({"MAX_BODY_BYTES": "0"}, "MAX_BODY_BYTES"),
    ({"OAUTH_PROVIDERS": "{"}, "OAUTH_PROVIDERS"),
    ({"OAUTH_PROVIDERS": '{"github": [1]}'}, "oauth_providers (OAUTH_PROVIDERS).github: input should be"),
    ({"RATE_LIMIT_REQUESTS": "many"}, "RATE_LIMIT_REQUESTS"),
    ({"CORS_ORIGINS": "https://a.example, b"}, "CORS_ORIGINS"),
    ({"DATABASE_URL": f"mysql://me:{CANARY}@db/app?schema=x"}, "unknown option schema"),
    ({"DATABASE_PATH": "/dev/null/app.db"}, "a part of its path is a file"),
    ({"JWT_SECRET": "", "REDIS_URL": f"redis://:{CANARY}@db"}, "JWT_SECRET"),
]


def refusal(**options: Any) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        create_service("small", **options)
    return caught.value


@pytest.mark.acceptance("OP7")
@pytest.mark.parametrize(("settings", "words"), ARGUMENTS)
def test_a_wrong_setting_is_refused_by_name_and_without_its_secrets(settings: dict[str, Any], words: str) -> None:
    error = refusal(config=ServiceConfig(**{"jwt_secret": SECRET, **settings}))
    assert words in str(error)
    assert len(error.problems) == 1
    assert CANARY not in str(error)
    assert SECRET not in str(error)


@pytest.mark.acceptance("OP7")
@pytest.mark.parametrize(("variables", "words"), ENVIRONMENTS)
def test_a_wrong_variable_is_refused_by_its_name(variables: dict[str, str], words: str) -> None:
    error = refusal(config=ServiceConfig.from_env(None, {"JWT_SECRET": SECRET, **variables}))
    assert words in str(error)
    assert CANARY not in str(error)


@pytest.mark.acceptance("OP7")
def test_everything_that_is_wrong_is_in_one_message() -> None:
    variables: dict[str, str] = {"JWT_SECRET": SECRET}
    for each, _ in ENVIRONMENTS[:-3]:
        variables |= each
    error = refusal(config=ServiceConfig.from_env(None, variables), tasks=[], api_prefix="api/")
    assert len(error.problems) >= 11
    assert isinstance(error, SystemExit)
    assert error.code == str(error)


def test_good_settings_have_no_problems(tmp_path: Path) -> None:
    good = ServiceConfig(**PRODUCTION, database_name=str(tmp_path / "new" / "deep" / "app.db"))
    assert find_problems(good) == []
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "origin", ["http://localhost:3000", "https://a.b-c.example", "http://[::1]:80", "tauri://localhost"]
)
def test_origins_that_are_fine(origin: str) -> None:
    assert find_problems(ServiceConfig(jwt_secret=SECRET, cors_origins=[origin])) == []


def test_a_directory_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Tests may run as root, who may write everywhere.
    monkeypatch.setattr("app_kernel.service.address_check.os.access", lambda path, mode: Path(path) != tmp_path)
    error = refusal(config=ServiceConfig(jwt_secret=SECRET, database_name=str(tmp_path / "new" / "app.db")))
    assert "the directory cannot be written by this user" in str(error)


@pytest.mark.parametrize(
    ("argument", "setting", "words"),
    [
        (None, None, "name: missing"),
        ("one", "two", "'one' and the settings say 'two'"),
        (" ", None, "name: is blank"),
        ("", None, "name: is blank"),
    ],
)
def test_a_service_needs_one_name(argument: str | None, setting: str | None, words: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(words)):
        create_service(argument, config=ServiceConfig(name=setting, jwt_secret=SECRET))


@pytest.mark.parametrize(("argument", "setting"), [("one", None), (None, "one"), ("one", "one")])
def test_the_name_may_stand_in_either_place(argument: str | None, setting: str | None) -> None:
    app = create_service(argument, config=ServiceConfig(name=setting, jwt_secret=SECRET))
    assert app.state.kernel.name == app.title == "one"


def test_without_auth_no_secret_is_needed() -> None:
    app = create_service("small", config=ServiceConfig(auth_enabled=False))
    assert app.state.kernel.config.jwt_secret is None


def test_a_short_secret_warns_once_and_does_not_show_it(capsys: pytest.CaptureFixture[str]) -> None:
    create_service("small", config=ServiceConfig(jwt_secret="my-secret"))
    lines = log_lines(capsys)
    assert [line["level"] for line in events(lines, "short_secret")] == ["warning"]
    assert "my-secret" not in str(lines)


def test_in_debug_mode_a_missing_secret_is_a_random_one_and_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    config = ServiceConfig(debug=True)
    secrets = {create_service("small", config=config).state.kernel.config.jwt_secret for _ in range(2)}
    assert len(secrets) == 2
    assert len(events(log_lines(capsys), "random_secret")) == 2


def refuse_in_a_worker(connection: Any) -> None:
    sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - the process ends with it
    try:
        create_service("small", config=ServiceConfig())
    except SystemExit as exc:
        connection.send(exc.code)


def test_a_worker_process_ends_with_the_status_that_tells_its_supervisor_not_to_start_it_again() -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    worker = context.Process(target=refuse_in_a_worker, args=(theirs,))
    worker.start()
    try:
        assert ours.poll(30)
        assert ours.recv() == 3
    finally:
        worker.join(10)


MAIN = 'from app_kernel import create_service\napp = create_service("small")\n'


def refused_command(tmp_path: Path, *command: str) -> tuple[subprocess.CompletedProcess[str], float]:
    (tmp_path / "main.py").write_text(MAIN)
    environment = {"ENVIRONMENT": "production", "JWT_SECRET": CANARY, "REDIS_URL": f"http://:{CANARY}@x", "PATH": ""}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    for words in ("under 32 bytes", "`*` is refused in production", "is no Redis URL"):
        assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert CANARY not in done.stdout + done.stderr
    return done, time.monotonic() - began


@pytest.mark.slow
@pytest.mark.acceptance("OP7")
@pytest.mark.parametrize("command", [["main"], ["uvicorn", "main:app"]], ids=["python", "uvicorn"])
def test_a_command_ends_at_once_with_one_message(command: list[str], tmp_path: Path) -> None:
    done, seconds = refused_command(tmp_path, *command)
    assert done.returncode == 1
    assert done.stderr.count("cannot start") == 1
    assert seconds < 3 * slowdown()


@pytest.mark.slow
@pytest.mark.acceptance("OP7")
def test_workers_are_not_started_again_and_again(tmp_path: Path) -> None:
    # How long it takes, and the status 0, are those of uvicorn's supervisor, which waits up to 5 s for a dead worker.
    done, _ = refused_command(tmp_path, "uvicorn", "main:app", "--port", free_port(), "--workers", "2")
    assert 1 <= done.stderr.count("cannot start") <= 2
    assert "stopping the parent process" in done.stderr


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def slowdown() -> float:
    """How much slower than on an idle machine things may be: other work may run beside this test."""
    return max(1.0, os.getloadavg()[0])


@pytest.mark.parametrize("name", ["what?.db", "50%25.db", "a b#c.db", "ünï.db"])
async def test_the_name_of_a_database_is_a_path_and_nothing_else(name: str, tmp_path: Path) -> None:
    config = ServiceConfig(jwt_secret=SECRET, database_name=str(tmp_path / name))
    app = create_service("paths", config=config)
    async with app.router.lifespan_context(app):
        assert _databases_in(tmp_path) == sorted([name, name.replace(".db", "_admin.db")])


def _databases_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.glob("*.db"))


def test_every_setting_is_named_by_its_field_and_its_variable() -> None:
    environ = {"JWT_SECRET": "", "INVITE_DAYS": "0", "DEBUG": "true", "ENVIRONMENT": "production", "ROLE_SCOPES": "{"}
    environ |= {"WEBHOOK_ENTITY_EVENTS": "a b"}
    error = refusal(config=ServiceConfig.from_env(None, environ))
    named = {problem.partition(":")[0] for problem in error.problems}
    wanted = ("invite_days", "debug", "role_scopes", "webhook_entity_events", "jwt_secret")
    assert {f"{name} ({name.upper()})" for name in wanted} <= named
    assert "invite_days (INVITE_DAYS): input should be greater than 0" in error.problems
