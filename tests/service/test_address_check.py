"""Addresses of databases and of Redis that cannot be right are refused without connecting, their passwords unseen."""

import sys
from pathlib import Path
from typing import Any

import pytest

from app_kernel import ServiceConfig
from app_kernel.service.address_check import find_admin_problems
from app_kernel.service.preflight import find_problems
from tests.small_service import SECRET

CANARY = "hunter2-canary"
SHOP = {"database_type": "postgres", "database_name": "shop"}
STORE = {"database_type": "mysql", "database_name": "store"}
LOGIN = {"database_user": "me", "database_password": CANARY}

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"database_type": "postgres"}, "database_name (DATABASE_PATH): missing"),
    ({"database_type": "postgres", "database_name": " "}, "database_name (DATABASE_PATH): missing"),
    ({**SHOP, "database_name": "a\0b"}, "database_name (DATABASE_PATH): has a NUL"),
    ({**SHOP, **LOGIN, "database_host": f"me:{CANARY}@db"}, "database_host (DATABASE_HOST): is neither a host name"),
    ({**SHOP, "database_host": "db/app"}, "database_host (DATABASE_HOST): is neither"),
    ({**SHOP, "database_host": "two words"}, "database_host (DATABASE_HOST): is neither"),
    ({**SHOP, "database_password": CANARY}, "database_password (DATABASE_PASSWORD): is set without database_user"),
    ({"database_host": "db"}, "database_host (DATABASE_HOST): is for a server, and database_type"),
    ({"database_port": 5433}, "database_port (DATABASE_PORT): is for a server"),
    ({"database_user": "me"}, "database_user (DATABASE_USER): is for a server"),
    ({"database_password": CANARY}, "database_password (DATABASE_PASSWORD): is for a server"),
    ({"database_type": "mysql"}, "database_name (DATABASE_PATH): missing"),
    ({**STORE, **LOGIN, "database_name": "a/b"}, "database_name (DATABASE_PATH): the database's name has a slash"),
    ({**STORE, **LOGIN, "database_name": "a" * 65}, "database_name (DATABASE_PATH): the database's name is longer"),
    ({**STORE, **LOGIN, "database_host": f"me:{CANARY}@db"}, "database_host (DATABASE_HOST): is neither a host name"),
    ({**STORE, "database_password": CANARY}, "database_password (DATABASE_PASSWORD): is set without database_user"),
    ({"database_name": f"mariadb://me:{CANARY}@db"}, "database_name (DATABASE_PATH): the database URL names no"),
    ({"database_name": f"mysql://me:{CANARY}@db/app?schema=x"}, "database_name (DATABASE_PATH): unknown option schema"),
    ({"database_name": f"postgres://me:{CANARY}@db:notaport/app"}, "database_name (DATABASE_PATH): "),
    ({"database_name": f"postgres://me:{CANARY}@db:5432"}, "database_name (DATABASE_PATH): "),
    ({"database_name": f"postgres://me:{CANARY}@db/app?pool_size=none"}, "database_name (DATABASE_PATH): "),
    ({"database_name": f"postgres://me:{CANARY}@db/app?colour=red"}, "database_name (DATABASE_PATH): "),
    ({"admin_db_url": "admin.db"}, "admin_db_url (ADMIN_DB_URL): its scheme is none that app_kernel knows"),
    ({"admin_db_url": f"mysql://me:{CANARY}@db:x/app"}, "admin_db_url (ADMIN_DB_URL): "),
    (
        {
            "database_name": f"mysql://me:{CANARY}@db/app",
            "admin_db_url": f"mariadb://me:{CANARY}@db:3306/app?pool_size=2",
        },
        "ADMIN_DB_URL): is the app database itself",
    ),
    ({"admin_db_url": f"postgres://me:{CANARY}@db:x/app"}, "admin_db_url (ADMIN_DB_URL): "),
    ({"admin_db_url": f"sqlite:///{__file__}/a.db"}, "admin_db_url (ADMIN_DB_URL): a part of its path is a file"),
    ({"database_name": "one.db", "admin_db_url": "sqlite:///./one.db"}, "ADMIN_DB_URL): is the app database itself"),
    (
        {"database_name": f"postgres://me:{CANARY}@db/app", "admin_db_url": f"postgres://me:{CANARY}@db:5432/app"},
        "ADMIN_DB_URL): is the app database itself",
    ),
    ({"redis_url": "localhost:6379"}, "redis_url (REDIS_URL): is no Redis URL"),
    ({"redis_url": f"http://:{CANARY}@db"}, "redis_url (REDIS_URL): is no Redis URL"),
    ({"redis_url": f"redis://:{CANARY}@db:port"}, "redis_url (REDIS_URL): its port or host cannot be read"),
    ({"redis_url": f"redis://:{CANARY}@db:99999"}, "redis_url (REDIS_URL): its port or host cannot be read"),
    ({"redis_url": f"redis://:{CANARY}@[::1"}, "redis_url (REDIS_URL): its port or host cannot be read"),
    ({"redis_url": f"redis://:{CANARY}@db:0"}, "redis_url (REDIS_URL): its host or port is missing"),
    ({"redis_url": f"redis://:{CANARY}@"}, "redis_url (REDIS_URL): its host or port is missing"),
    ({"redis_url": "redis://"}, "redis_url (REDIS_URL): its host or port is missing"),
    ({"redis_url": "redis://a b"}, "redis_url (REDIS_URL): its host or port is missing"),
    ({"redis_url": f"redis://:{CANARY}@db/name"}, "redis_url (REDIS_URL): its path is no number"),
    ({"redis_url": f"redis://:{CANARY}@db/-1"}, "redis_url (REDIS_URL): its path is no number"),
    ({"redis_url": f"redis://:{CANARY}#{CANARY}@db"}, "REDIS_URL): "),
    ({"redis_url": f"redis://db/0?{CANARY}=1"}, "redis_url (REDIS_URL): has an option that app_kernel does not know"),
    ({"redis_url": "redis://db/0?socket_timeout=soon"}, "its option socket_timeout must be a number"),
    ({"redis_url": "unix://"}, "redis_url (REDIS_URL): names no socket"),
]
RIGHT: list[dict[str, Any]] = [
    SHOP,
    {**SHOP, **LOGIN, "database_host": "db.internal", "database_port": 6000, "database_pool_size": 5},
    {**SHOP, "database_host": "10.0.0.7"},
    STORE,
    {**STORE, **LOGIN, "database_host": "db.internal", "database_port": 6000, "database_pool_size": 5},
    {**STORE, "database_host": "/run/mysqld/mysqld.sock"},
    {"database_name": f"mysql://me:{CANARY}@db/app", "database_pool_size": 5},
    {"database_name": "mariadb://db/app", "admin_db_url": "mariadb://db/app_admin?create=true"},
    {"database_name": "mysql://db/app", "admin_db_url": "postgres://db/app"},
    {**SHOP, "database_host": "::1"},
    {"database_name": f"postgres://me:{CANARY}@db:5432/app", "database_pool_size": 5},
    {"database_name": "postgresql://db/app", "database_host": "not-looked-at"},
    {"admin_db_url": "sqlite:///admin.db"},
    {"admin_db_url": f"postgres://me:{CANARY}@db/app"},
    {"database_name": "postgres://db/app", "admin_db_url": "postgres://db/app?schema=kernel_admin"},
    {"database_name": "postgres://db/app", "admin_db_url": "sqlite:///admin.db"},
    {"database_name": ":memory:", "admin_db_url": "sqlite://:memory:"},
    {
        "name": "my_app",
        "database_name": "app.db",
        "admin_db_url": "sqlite:///admin.db",
        "redis_url": "redis://localhost:6379",
    },
    {"redis_url": "redis://localhost"},
    {"redis_url": f"redis://me:{CANARY}@localhost:6379/1?socket_timeout=0.5"},
    {"redis_url": "redis://[::1]:6379"},
    {"redis_url": "rediss://redis.internal:6380/0?ssl_cert_reqs=required"},
    {"redis_url": "unix:///run/redis.sock?db=1"},
]


def problems_of(settings: dict[str, Any]) -> list[str]:
    return find_problems(ServiceConfig(**{"jwt_secret": SECRET, **settings}))


@pytest.mark.acceptance("OP7")
@pytest.mark.parametrize(("settings", "words"), WRONG)
def test_an_address_that_cannot_be_right_is_refused_without_its_password(settings: dict[str, Any], words: str) -> None:
    (problem,) = problems_of(settings)
    assert words in problem
    assert CANARY not in problem


@pytest.mark.parametrize("settings", RIGHT)
def test_a_good_address_is_accepted(settings: dict[str, Any]) -> None:
    assert problems_of(settings) == []


@pytest.mark.acceptance("OP7")
@pytest.mark.parametrize(
    ("settings", "package", "problem"),
    [
        (
            {"redis_url": "redis://localhost"},
            "redis",
            "redis_url (REDIS_URL): the package redis is not installed; pip install 'app-kernel[redis]'",
        ),
        (
            SHOP,
            "asyncpg",
            "database_name (DATABASE_PATH): the package asyncpg is not installed; pip install 'app-kernel[postgres]'",
        ),
        (
            STORE,
            "asyncmy",
            "database_name (DATABASE_PATH): the package asyncmy is not installed; pip install 'app-kernel[mysql]'",
        ),
        (
            {"admin_db_url": "postgres://db/app"},
            "asyncpg",
            "admin_db_url (ADMIN_DB_URL): the package asyncpg is not installed; pip install 'app-kernel[postgres]'",
        ),
    ],
)
def test_a_driver_that_is_missing_is_one_line_that_says_what_to_install(
    settings: dict[str, Any], package: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert problems_of(settings) == [problem]


def test_an_admin_database_whose_name_would_be_too_long_asks_for_one_of_its_own() -> None:
    config = ServiceConfig(jwt_secret=SECRET, **{**STORE, "database_name": "a" * 60})
    (problem,) = find_admin_problems(config)
    assert problem.startswith("admin_db_url (ADMIN_DB_URL): is not set, and the one beside the app database cannot be")
    assert problem.endswith("longer than 64 characters.")
    assert find_admin_problems(config.with_values(admin_db_url="mysql://db/admin")) == []


@pytest.mark.acceptance("OP7")
def test_all_wrong_addresses_are_in_one_list() -> None:
    wrong = {"database_type": "mysql", "database_name": "x/y", "admin_db_url": "x", "redis_url": "x"}
    assert [problem.partition(" ")[0] for problem in problems_of(wrong)] == [
        "database_name",
        "admin_db_url",
        "redis_url",
    ]


def test_nothing_is_made_by_looking(tmp_path: Path) -> None:
    settings = {
        "database_name": str(tmp_path / "deep" / "app.db"),
        "admin_db_url": f"sqlite:///{tmp_path}/other/admin.db",
    }
    assert problems_of(settings) == []
    assert list(tmp_path.iterdir()) == []
