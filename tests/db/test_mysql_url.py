"""A URL of MySQL or MariaDB is understood whole or refused by name, and what it holds is never repeated."""

import subprocess
import sys

import pytest

from app_kernel.core.errors import InvalidDatabaseUrl
from app_kernel.db.drivers.mysql_options import MySqlOptions, parse_mysql_url
from app_kernel.db.url import make_driver

SECRET = "canary-7f3a"


def test_a_plain_url_has_the_documented_defaults():
    assert parse_mysql_url("mysql://me:secret@db.example:3307/app") == MySqlOptions(
        host="db.example",
        port=3307,
        user="me",
        password="secret",
        database="app",
        unix_socket=None,
        pool_size=10,
        connect_timeout=5,
        pool_timeout=5,
        statement_timeout=30,
        sslmode="prefer",
        sslrootcert=None,
        application_name="app_kernel",
        create=False,
    )


def test_every_option_is_read():
    options = parse_mysql_url(
        "mariadb://db/app?pool_size=3&connect_timeout=1.5&pool_timeout=2&statement_timeout=60&sslmode=verify-full"
        "&sslrootcert=/etc/ca.pem&application_name=my%20app&create=true&charset=utf8mb4"
    )
    assert (options.pool_size, options.connect_timeout, options.pool_timeout) == (3, 1.5, 2)
    assert (options.statement_timeout, options.sslmode, options.sslrootcert) == (60, "verify-full", "/etc/ca.pem")
    assert (options.application_name, options.create) == ("my app", True)
    assert (options.user, options.password, options.port) == (None, None, 3306)


@pytest.mark.parametrize(
    ("url", "host", "port", "socket"),
    [
        ("mysql://db/app", "db", 3306, None),
        ("mariadb://db/app", "db", 3306, None),
        ("MYSQL://db/app", "db", 3306, None),
        ("mysql+asyncmy://db/app", "db", 3306, None),
        ("mariadb+pymysql://db/app", "db", 3306, None),
        ("mysql://[fe80::1]:6000/app", "fe80::1", 6000, None),
        ("mysql:///app?host=db&port=6000", "db", 6000, None),
        ("mysql:///app?unix_socket=/run/my.sock", "localhost", 3306, "/run/my.sock"),
        ("mysql://me:pw@localhost/app?unix_socket=%2Frun%2Fmy.sock", "localhost", 3306, "/run/my.sock"),
        ("mysql:///app?host=/run/my.sock", "localhost", 3306, "/run/my.sock"),
    ],
)
def test_hosts_are_names_addresses_and_sockets(url, host, port, socket):
    options = parse_mysql_url(url)
    assert (options.host, options.port, options.unix_socket, options.database) == (host, port, socket, "app")


@pytest.mark.parametrize(
    ("query", "mode", "authority"),
    [
        ("", "prefer", None),
        ("sslmode=disable", "disable", None),
        ("ssl-mode=DISABLED", "disable", None),
        ("ssl_mode=preferred", "prefer", None),
        ("ssl-mode=REQUIRED", "require", None),
        ("ssl-mode=VERIFY_CA&ssl-ca=/ca.pem", "verify-ca", "/ca.pem"),
        ("ssl-mode=VERIFY_IDENTITY&ssl_ca=/ca.pem", "verify-full", "/ca.pem"),
        ("ssl-mode=require", "require", None),
        ("ssl-ca=/ca.pem", "verify-ca", "/ca.pem"),
        ("ssl-mode=REQUIRED&ssl-ca=/ca.pem", "verify-ca", "/ca.pem"),
    ],
)
def test_tls_is_asked_for_in_our_words_and_in_those_of_mysql(query, mode, authority):
    options = parse_mysql_url(f"mysql://db/app?{query}")
    assert (options.sslmode, options.sslrootcert) == (mode, authority)


def test_user_password_and_database_are_percent_decoded():
    options = parse_mysql_url("mysql://m%40e:p%2Fw%3A%23%3F%25%20%C3%A4@db/my%20app")
    assert (options.user, options.password, options.database) == ("m@e", "p/w:#?% ä", "my app")


BAD = {
    "no host": ("mysql:///app", "host"),
    "no database": ("mysql://me:{secret}@db", "names no database"),
    "no database but a slash": ("mysql://me:{secret}@db/", "names no database"),
    "a database with a slash": ("mysql://me:{secret}@db/{secret}%2Fapp", "slash"),
    "a database with a NUL": ("mysql://me:{secret}@db/{secret}%00", "NUL"),
    "a database with a long name": (f"mysql://me:{{secret}}@db/{'a' * 65}", "64"),
    "a port that is no number": ("mysql://me:pw@db:{secret}/app", "port"),
    "a port twice": ("mysql://me:{secret}@db:1/app?port=2", "two ports"),
    "a host twice": ("mysql://me:{secret}@db/app?host=other", "two hosts"),
    "two hosts": ("mysql://me:{secret}@a,b/app", "several hosts"),
    "a host and a socket": ("mysql://me:{secret}@db/app?unix_socket=/run/{secret}", "a host and a socket"),
    "a socket that is no path": ("mysql:///app?unix_socket={secret}", "unix_socket"),
    "a bare slash in the password": ("mysql://me:a/{secret}@db/app", "percent-encoded"),
    "an unknown option": ("mysql://me:{secret}@db/app?pgbouncer=true", "pgbouncer"),
    "an option twice": ("mysql://me:{secret}@db/app?ssl-mode=REQUIRED&sslmode=require", "twice"),
    "an option without a value": ("mysql://me:{secret}@db/app?create=", "create"),
    "no switch": ("mysql://me:{secret}@db/app?create={secret}", "create"),
    "a pool of nothing": ("mysql://me:{secret}@db/app?pool_size=0", "pool_size"),
    "no time at all": ("mysql://me:{secret}@db/app?statement_timeout=0", "statement_timeout"),
    "an unknown sslmode": ("mysql://me:{secret}@db/app?ssl-mode={secret}", "verify-full"),
    "an authority that is not asked": ("mysql://me:{secret}@db/app?ssl-mode=PREFERRED&ssl-ca=/{secret}", "not asked"),
    "another character set": ("mysql://me:{secret}@db/app?charset=latin1", "utf8mb4"),
}


@pytest.mark.acceptance("OP7")
@pytest.mark.parametrize("case", BAD)
def test_a_url_that_is_no_good_is_refused_by_name_and_never_repeated(case):
    url, word = BAD[case]
    with pytest.raises(InvalidDatabaseUrl, match=word) as caught:
        make_driver(url.format(secret=SECRET))
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__ or SECRET not in str(caught.value.__context__)


def test_a_name_of_64_characters_is_not_too_long():
    assert parse_mysql_url(f"mysql://db/{'%C3%A4' * 64}").database == "ä" * 64


def test_what_options_show_of_themselves_has_no_password_and_no_place():
    shown = repr(parse_mysql_url(f"mysql://{SECRET}:{SECRET}@{SECRET}/app?ssl-ca=/{SECRET}"))
    shown += repr(parse_mysql_url(f"mysql://{SECRET}:{SECRET}@/app?unix_socket=/{SECRET}"))
    assert SECRET not in shown


WITHOUT_ASYNCMY = """
import sys
sys.modules["asyncmy"] = None
import app_kernel
from app_kernel.db.url import make_driver
make_driver("sqlite:///x.db")
make_driver("postgres://db/app")
try:
    make_driver("mysql://me:{secret}@db/app")
except app_kernel.KernelError if hasattr(app_kernel, "KernelError") else ValueError as exc:
    print(type(exc).__name__, exc)
"""


def test_without_asyncmy_everything_else_works_and_the_error_says_what_to_install():
    script = WITHOUT_ASYNCMY.replace("{secret}", SECRET)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "InvalidDatabaseUrl MySQL needs the package asyncmy: pip install app-kernel[mysql]\n"


def test_asyncmy_is_loaded_for_mysql_only():
    script = (
        "import sys, app_kernel\nfrom app_kernel.db.url import make_driver\nmake_driver('postgres://db/app')\n"
        "assert 'asyncmy' not in sys.modules\nmake_driver('mysql://db/app')\nassert 'asyncmy' in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
