"""What each sslmode demands of a server, with certificates made for the test."""

from urllib.parse import urlsplit

import pytest

from app_kernel.core.errors import ConnectTimeout, Unavailable
from app_kernel.db.url import make_driver
from tests.db.certificates import make_certificates
from tests.db.server_places import SERVERS, shared_server
from tests.db.server_tools import with_options
from tests.faults.mysql_server import own_mariadb
from tests.faults.postgres_server import own_postgres
from tests.faults.tcp_proxy import tcp_proxy
from tools.services import free_port

USED = {
    "postgres": "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
    "mysql": "SELECT variable_value <> '' FROM information_schema.session_status WHERE variable_name = 'Ssl_cipher'",
}
OWN = {"postgres": own_postgres, "mysql": own_mariadb}


def tls_settings(server):
    """The settings by which a server has the certificate in its directory."""
    certificate, key = server.directory / "server.crt", server.directory / "server.key"
    if server.name == "mysql":
        return {"ssl_cert": certificate, "ssl_key": key}
    return {"ssl": "on", "ssl_cert_file": certificate, "ssl_key_file": key}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module", params=SERVERS)
def servers(request, certificates):
    """The same server twice: once with a certificate for its address, once for another host."""
    with OWN[request.param]() as server:

        def use(name):
            for kind in ("key", "crt"):
                path = server._write(f"server.{kind}", certificates[name].with_suffix(f".{kind}").read_text())
                path.chmod(0o600)
            server.settings = tls_settings(server)
            server.end(server.as_a_crash)
            server.start_again()
            return server.url

        yield use


async def try_mode(url, mode, authority=None):
    """Whether the connection is encrypted, or the error."""
    options = {"sslmode": mode} | ({"sslrootcert": authority} if authority else {})
    driver = make_driver(with_options(url, **options))
    try:
        await driver.open()
        return bool((await driver.fetch(USED[driver.dialect.name], ()))[0][0])
    except Unavailable as exc:
        return "refused" if "TLS" in exc.message and "127.0.0.1" not in exc.message else exc.message
    finally:
        await driver.close()


@pytest.mark.slow
async def test_each_mode_demands_what_it_says(servers, certificates):
    url = servers("right")
    right, wrong = certificates["right"], certificates["wrong"]
    assert await try_mode(url, "disable") is False
    assert await try_mode(url, "prefer") is True
    assert await try_mode(url, "require") is True
    assert await try_mode(url, "require", right) is True
    assert await try_mode(url, "require", wrong) == "refused"
    for mode in ("verify-ca", "verify-full"):
        assert await try_mode(url, mode, right) is True
        assert await try_mode(url, mode, wrong) == "refused"
        assert await try_mode(url, mode) == "refused"
    url = servers("elsewhere")
    assert await try_mode(url, "verify-ca", certificates["elsewhere"]) is True
    assert await try_mode(url, "verify-full", certificates["elsewhere"]) == "refused"


@pytest.fixture(params=SERVERS)
def server(request):
    return shared_server(request)


async def test_a_server_without_tls_is_refused_where_it_is_asked_for(server):
    assert await try_mode(server.url, "prefer") is False
    assert await try_mode(server.url, "require") == "refused"


WRONG = {
    "password": ("{scheme}://kernel:canary@{address}/{name}", "user or the password"),
    "user": ("{scheme}://canary:x@{address}/{name}", "user"),
    "database": ("{scheme}://kernel:{password}@{address}/canary", "no database of this name"),
    "port": ("{scheme}://kernel:canary@127.0.0.1:{free}/{name}", "reached"),
    "host": ("{scheme}://kernel:canary@canary.invalid/{name}", "reached"),
    "socket": ("{scheme}://kernel:canary@/{name}?host=/canary", "reached"),
}


@pytest.mark.acceptance("OP7")
@pytest.mark.parametrize("what", WRONG)
async def test_a_server_that_lets_nobody_in_is_named_by_the_reason_only(server, what):
    url, reason = WRONG[what]
    parts = urlsplit(server.url)
    given = {"scheme": parts.scheme, "address": f"{parts.hostname}:{parts.port}", "password": parts.password}
    driver = make_driver(url.format(**given, name=parts.path[1:], free=free_port()))
    with pytest.raises(Unavailable, match=reason) as caught:
        await driver.open()
    assert "canary" not in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)


@pytest.mark.acceptance("DB11")
@pytest.mark.parametrize("scheme", SERVERS)
async def test_a_server_that_accepts_and_says_nothing_is_given_up_in_time(scheme):
    async with tcp_proxy(1) as proxy:
        proxy.swallows = True
        driver = make_driver(f"{scheme}://me:pw@127.0.0.1:{proxy.port}/app?connect_timeout=0.3")
        with pytest.raises(ConnectTimeout):
            await driver.open()
