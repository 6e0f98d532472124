"""A database URL is understood whole or refused by name, and what it holds is never repeated."""

import subprocess
import sys

import pytest

from app_kernel.core.errors import InvalidDatabaseUrl
from app_kernel.db.drivers.postgres import PostgresDriver
from app_kernel.db.drivers.postgres_options import PostgresOptions, parse_postgres_url
from app_kernel.db.drivers.sqlite import SqliteDriver
from app_kernel.db.url import make_driver

SECRET = "canary-7f3a"


def test_a_plain_url_has_the_documented_defaults():
    assert parse_postgres_url("postgres://me:secret@db.example:6543/app") == PostgresOptions(
        host="db.example",
        port=6543,
        user="me",
        password="secret",
        database="app",
        pool_size=10,
        connect_timeout=5,
        pool_timeout=5,
        statement_timeout=30,
        sslmode="prefer",
        sslrootcert=None,
        pgbouncer=False,
        application_name="app_kernel",
        schema=None,
    )


def test_every_option_is_read():
    options = parse_postgres_url(
        "postgresql://db/app?pool_size=3&connect_timeout=1.5&pool_timeout=2&statement_timeout=60&sslmode=verify-full"
        "&sslrootcert=/etc/ca.pem&pgbouncer=true&application_name=my%20app&schema=kernel_admin"
    )
    assert (options.pool_size, options.connect_timeout, options.pool_timeout) == (3, 1.5, 2)
    assert (options.statement_timeout, options.sslmode, options.sslrootcert) == (60, "verify-full", "/etc/ca.pem")
    assert (options.pgbouncer, options.application_name, options.schema) == (True, "my app", "kernel_admin")
    assert (options.user, options.password, options.port) == (None, None, 5432)


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("postgres://db/app", "db", 5432),
        ("postgres://[::1]/app", "::1", 5432),
        ("postgres://[fe80::1]:6000/app", "fe80::1", 6000),
        ("postgres://127.0.0.1:1/app", "127.0.0.1", 1),
        ("postgres:///app?host=/run/postgresql", "/run/postgresql", 5432),
        ("postgres://me:pw@/app?host=%2Frun%2Fpostgresql&port=6000", "/run/postgresql", 6000),
        ("POSTGRES://db/app", "db", 5432),
    ],
)
def test_hosts_are_names_addresses_and_sockets(url, host, port):
    options = parse_postgres_url(url)
    assert (options.host, options.port, options.database) == (host, port, "app")


def test_user_password_and_database_are_percent_decoded():
    options = parse_postgres_url("postgres://m%40e:p%2Fw%3A%23%3F%25%20@db/my%2Fapp")
    assert (options.user, options.password, options.database) == ("m@e", "p/w:#?% ", "my/app")


BAD = {
    "no host": ("postgres:///app", "host"),
    "no database": ("postgres://me:{secret}@db", "database"),
    "no database but a slash": ("postgres://me:{secret}@db/", "database"),
    "a port that is no number": ("postgres://me:pw@db:{secret}/app", "port"),
    "a port that is zero": ("postgres://me:{secret}@db:0/app", "port"),
    "a port that is too large": ("postgres://me:{secret}@db:65536/app", "port"),
    "an unclosed address": ("postgres://me:{secret}@[::1/app", "host"),
    "a bare # in the password": ("postgres://me:a#{secret}@db/app", "percent-encoded"),
    "a bare slash in the password": ("postgres://me:a/{secret}@db/app", "percent-encoded"),
    "two hosts": ("postgres://me:{secret}@a,b/app", "several hosts"),
    "a host twice": ("postgres://me:{secret}@db/app?host=/run", "two hosts"),
    "a port twice": ("postgres://me:{secret}@db:1/app?port=2", "two ports"),
    "a NUL": ("postgres://me:{secret}%00@db/app", "NUL"),
    "no UTF-8": ("postgres://me:{secret}%ff@db/app", "UTF-8"),
    "an unknown option": ("postgres://me:{secret}@db/app?poolsize=3", "poolsize"),
    "an option twice": ("postgres://me:{secret}@db/app?pool_size=3&pool_size=4", "twice"),
    "an option without a value": ("postgres://me:{secret}@db/app?schema=", "schema"),
    "a pool of nothing": ("postgres://me:{secret}@db/app?pool_size=0", "pool_size"),
    "a pool of words": ("postgres://me:{secret}@db/app?pool_size=ten", "pool_size"),
    "no time at all": ("postgres://me:{secret}@db/app?connect_timeout=0", "connect_timeout"),
    "endless time": ("postgres://me:{secret}@db/app?statement_timeout=inf", "statement_timeout"),
    "no number of seconds": ("postgres://me:{secret}@db/app?pool_timeout=nan", "pool_timeout"),
    "an unknown sslmode": ("postgres://me:{secret}@db/app?sslmode=allow", "verify-full"),
    "no switch": ("postgres://me:{secret}@db/app?pgbouncer=maybe", "pgbouncer"),
    "a schema of SQL": ('postgres://me:{secret}@db/app?schema=a"b', "schema"),
    "a schema that is too long": (f"postgres://me:{{secret}}@db/app?schema={'a' * 64}", "schema"),
    "no such authority": ("postgres://me:{secret}@db/app?sslmode=require&sslrootcert=/nope", "sslrootcert"),
    "another scheme": ("http://me:{secret}@db/app", "database URL"),
}


@pytest.mark.acceptance("OP7")
@pytest.mark.parametrize("case", BAD)
def test_a_url_that_is_no_good_is_refused_by_name_and_never_repeated(case):
    url, word = BAD[case]
    with pytest.raises(InvalidDatabaseUrl, match=word) as caught:
        make_driver(url.format(secret=SECRET))
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None or SECRET not in str(caught.value.__cause__)
    assert caught.value.__suppress_context__ or SECRET not in str(caught.value.__context__)


def test_what_options_show_of_themselves_has_no_password_and_no_host():
    shown = repr(parse_postgres_url(f"postgres://{SECRET}:{SECRET}@{SECRET}/app?sslrootcert=/{SECRET}"))
    assert SECRET not in shown


def test_each_scheme_has_its_driver():
    assert isinstance(make_driver("postgres://db/app"), PostgresDriver)
    assert isinstance(make_driver("postgresql://db/app"), PostgresDriver)
    assert isinstance(make_driver("sqlite:///app.db"), SqliteDriver)


WITHOUT_ASYNCPG = """
import sys
sys.modules["asyncpg"] = None
import app_kernel
from app_kernel.db.url import make_driver
make_driver("sqlite:///x.db")
assert not [name for name in sys.modules if name.startswith("asyncpg.")]
try:
    make_driver("postgres://me:{secret}@db/app")
except app_kernel.KernelError if hasattr(app_kernel, "KernelError") else ValueError as exc:
    print(type(exc).__name__, exc)
"""


def test_without_asyncpg_everything_else_works_and_the_error_says_what_to_install():
    script = WITHOUT_ASYNCPG.replace("{secret}", SECRET)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("InvalidDatabaseUrl")
    assert "pip install app-kernel[postgres]" in done.stdout
    assert SECRET not in done.stdout


def test_asyncpg_is_loaded_for_postgres_only():
    script = (
        "import sys, app_kernel\nfrom app_kernel.db.url import make_driver\nmake_driver('sqlite:///x.db')\n"
        "assert 'asyncpg' not in sys.modules\nmake_driver('postgres://db/app')\nassert 'asyncpg' in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
