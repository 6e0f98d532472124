"""The settings: what the environment gives, and which addresses follow from it."""

import pytest

from app_kernel import ServiceConfig

CANARY = "hunter2-canary"
PARTS = {"DATABASE_TYPE": "postgres", "DATABASE_NAME": "shop", "DATABASE_USER": "me", "DATABASE_PASSWORD": CANARY}

MYSQL = {**PARTS, "DATABASE_TYPE": "mysql"}


def of(**variables: str) -> ServiceConfig:
    return ServiceConfig.from_env(None, variables)


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, "sqlite:///./data/app.db"),
        ({"DATABASE_PATH": "/srv/a b.db"}, "sqlite:////srv/a%20b.db"),
        ({"DATABASE_NAME": "one.db"}, "sqlite:///one.db"),
        ({"DATABASE_NAME": "one.db", "DATABASE_PATH": "two.db"}, "sqlite:///two.db"),
        ({"DATABASE_PATH": "two.db", "DATABASE_URL": " postgres://db/app "}, "postgres://db/app"),
        ({**PARTS, "DATABASE_URL": "sqlite:///one.db"}, "sqlite:///one.db"),
        (PARTS, f"postgres://me:{CANARY}@localhost:5432/shop"),
        ({**PARTS, "DATABASE_HOST": "db", "DATABASE_PORT": "6000"}, f"postgres://me:{CANARY}@db:6000/shop"),
        ({**PARTS, "DATABASE_HOST": "::1"}, f"postgres://me:{CANARY}@[::1]:5432/shop"),
        ({**PARTS, "DATABASE_PASSWORD": "p@ss/w:rd?#%"}, "postgres://me:p%40ss%2Fw%3Ard%3F%23%25@localhost:5432/shop"),
        ({**PARTS, "DATABASE_PASSWORD": " "}, "postgres://me:%20@localhost:5432/shop"),
        ({**PARTS, "DATABASE_NAME": "a/b c"}, f"postgres://me:{CANARY}@localhost:5432/a%2Fb%20c"),
        (
            {"DATABASE_TYPE": "postgres", "DATABASE_NAME": "shop", "DATABASE_HOST": "/run/pg"},
            "postgres:///shop?host=%2Frun%2Fpg&port=5432",
        ),
        ({**PARTS, "DATABASE_POOL_SIZE": "7"}, f"postgres://me:{CANARY}@localhost:5432/shop?pool_size=7"),
        ({"DATABASE_URL": "postgres://db/app?a=b", "DATABASE_POOL_SIZE": "7"}, "postgres://db/app?a=b&pool_size=7"),
        ({"DATABASE_URL": "postgres://db/app?pool_size=3", "DATABASE_POOL_SIZE": "7"}, "postgres://db/app?pool_size=3"),
        ({"DATABASE_URL": "sqlite:///a.db", "DATABASE_POOL_SIZE": "7"}, "sqlite:///a.db"),
        (MYSQL, f"mysql://me:{CANARY}@localhost:3306/shop"),
        ({**MYSQL, "DATABASE_HOST": "db", "DATABASE_PORT": "6000"}, f"mysql://me:{CANARY}@db:6000/shop"),
        ({**MYSQL, "DATABASE_HOST": "::1"}, f"mysql://me:{CANARY}@[::1]:3306/shop"),
        ({**MYSQL, "DATABASE_HOST": "/run/my.sock"}, f"mysql://me:{CANARY}@/shop?unix_socket=%2Frun%2Fmy.sock"),
        ({**MYSQL, "DATABASE_PASSWORD": "p@ss/w:rd?#%"}, "mysql://me:p%40ss%2Fw%3Ard%3F%23%25@localhost:3306/shop"),
        ({**MYSQL, "DATABASE_POOL_SIZE": "7"}, f"mysql://me:{CANARY}@localhost:3306/shop?pool_size=7"),
        ({"DATABASE_URL": "mariadb://db/app?a=b", "DATABASE_POOL_SIZE": "7"}, "mariadb://db/app?a=b&pool_size=7"),
    ],
)
def test_the_app_database_follows_from_the_environment(variables: dict[str, str], url: str) -> None:
    config = of(**variables)
    assert config.problems == ()
    assert config.database_url == url


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, "sqlite:///./data/app_admin.db"),
        ({"DATABASE_PATH": "/srv/shop.v2.sqlite"}, "sqlite:////srv/shop.v2_admin.sqlite"),
        ({"DATABASE_PATH": "app"}, "sqlite:///app_admin"),
        ({"DATABASE_PATH": "50%25 ü?.db"}, "sqlite:///50%2525%20%C3%BC%3F_admin.db"),
        ({"DATABASE_URL": "sqlite:///a.db?synchronous=NORMAL"}, "sqlite:///a_admin.db?synchronous=NORMAL"),
        ({"DATABASE_URL": "sqlite://:memory:"}, "sqlite://:memory:"),
        ({"DATABASE_URL": "postgres://db/app"}, "postgres://db/app?pool_size=3&schema=kernel_admin"),
        (
            {"DATABASE_URL": "postgresql://db/app?schema=own&pool_size=30"},
            "postgresql://db/app?pool_size=3&schema=kernel_admin",
        ),
        ({"DATABASE_URL": "postgres://db/app", "ADMIN_DB_URL": "sqlite:///admin.db"}, "sqlite:///admin.db"),
        (PARTS, f"postgres://me:{CANARY}@localhost:5432/shop?pool_size=3&schema=kernel_admin"),
        (MYSQL, f"mysql://me:{CANARY}@localhost:3306/shop_admin?pool_size=3&create=true"),
        (
            {"DATABASE_URL": "mariadb://db/a%20b?sslmode=require&pool_size=30"},
            "mariadb://db/a%20b_admin?sslmode=require&pool_size=3&create=true",
        ),
        ({"DATABASE_URL": "mysql://db"}, "mysql://db"),
    ],
)
def test_the_admin_database_is_the_one_that_is_set_or_the_one_beside_the_apps(
    variables: dict[str, str], url: str
) -> None:
    assert of(**variables).resolved_admin_db_url == url


def test_the_settings_as_text_show_no_password() -> None:
    config = of(**PARTS, ADMIN_DB_URL=f"postgres://me:{CANARY}@db/app", REDIS_URL=f"redis://:{CANARY}@db")
    assert CANARY not in f"{config!r} {config}"
