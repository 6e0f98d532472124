"""Every secret of the settings is known to the logs, as it stands in a URL and as it is meant."""

from app_kernel import ServiceConfig
from app_kernel.core.secret_settings import KEYS, secret_values

KEY = "k-0123456789abcdef0123456789abcdef-"


def test_keys_and_passwords_are_all_named() -> None:
    config = ServiceConfig(
        **{name: KEY + name for name in KEYS},
        database_name="postgres://app:db%2Fpass-4711@db.example.com/app",
        admin_db_url="postgres://app:admin-pass-4711@db.example.com/admin",
        redis_url="redis://:redis-pass-4711@cache.example.com",
        smtp_url="smtp://app:smtp%40pass-4711@mail.example.com",
        database_password="plain-pass-4711",
        oauth_providers={"google": {"client_id": "id", "client_secret": "client-pass-4711"}},
    )
    told = set(secret_values(config))
    assert {KEY + name for name in KEYS} <= told
    assert {"plain-pass-4711", "client-pass-4711", "redis-pass-4711", "admin-pass-4711"} <= told
    assert {"db%2Fpass-4711", "db/pass-4711", "smtp%40pass-4711", "smtp@pass-4711"} <= told


def test_what_is_no_secret_is_not_hidden() -> None:
    config = ServiceConfig(database_name="./data/a:b@c.db", redis_url="redis://postgres:postgres@localhost:6379")
    assert [value for value in secret_values(config) if value] == []
