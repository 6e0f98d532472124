"""What each sslmode demands of a server, with certificates made for the test."""

import asyncio
import datetime as dt
import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app_kernel.core.errors import ConnectTimeout, Unavailable
from app_kernel.db.url import make_driver
from tests.db.server_tools import with_options
from tests.faults.postgres_server import own_postgres
from tests.faults.tcp_proxy import tcp_proxy
from tools.services import free_port

USED = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


def make_certificate(directory, name, address):
    """A key and a certificate signed by itself, for one host."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    host = x509.IPAddress(ipaddress.ip_address(address)) if address else x509.DNSName("elsewhere.example")
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([host]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (directory / f"{name}.key").write_bytes(key.private_bytes(pem, form, plain))
    (directory / f"{name}.crt").write_bytes(certificate.public_bytes(pem))
    return directory / f"{name}.crt"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tls")
    return {
        "right": make_certificate(directory, "right", "127.0.0.1"),
        "wrong": make_certificate(directory, "wrong", "127.0.0.1"),
        "elsewhere": make_certificate(directory, "elsewhere", None),
    }


@pytest.fixture(scope="module")
def servers(certificates):
    """The same server twice: once with a certificate for its address, once for another host."""
    with own_postgres() as server:

        def use(name):
            for kind in ("key", "crt"):
                text = certificates[name].with_suffix(f".{kind}").read_text()
                path = server._write(f"server.{kind}", text)
                path.chmod(0o600)
            server.settings = {
                "ssl": "on",
                "ssl_cert_file": server.directory / "server.crt",
                "ssl_key_file": server.directory / "server.key",
            }
            server.end()
            server.start_again()
            return server.url

        yield use


async def try_mode(url, mode, authority=None):
    """Whether the connection is encrypted, or the error."""
    options = {"sslmode": mode} | ({"sslrootcert": authority} if authority else {})
    driver = make_driver(with_options(url, **options))
    try:
        await driver.open()
        return (await driver.fetch(USED, ()))[0][0]
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


async def test_a_server_without_tls_is_refused_where_it_is_asked_for(postgres_url):
    assert await try_mode(postgres_url, "prefer") is False
    assert await try_mode(postgres_url, "require") == "refused"


WRONG = {
    "password": ("postgres://kernel:canary@{address}/postgres", "user or the password"),
    "user": ("postgres://canary:x@{address}/postgres", "user"),
    "database": ("postgres://kernel:{password}@{address}/canary", "no database of this name"),
    "port": ("postgres://kernel:canary@127.0.0.1:{free}/postgres", "reached"),
    "host": ("postgres://kernel:canary@canary.invalid/postgres", "reached"),
    "socket": ("postgres://kernel:canary@/postgres?host=/canary", "reached"),
}


@pytest.mark.acceptance("OP7")
@pytest.mark.parametrize("what", WRONG)
async def test_a_server_that_lets_nobody_in_is_named_by_the_reason_only(postgres_url, what):
    url, reason = WRONG[what]
    login, _, address = postgres_url.removeprefix("postgres://").partition("@")
    password, address = login.partition(":")[2], address.partition("/")[0]
    driver = make_driver(url.format(address=address, password=password, free=free_port()))
    with pytest.raises(Unavailable, match=reason) as caught:
        await driver.open()
    assert "canary" not in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)


@pytest.mark.acceptance("DB11")
async def test_a_server_that_accepts_and_says_nothing_is_given_up_in_time():
    async with tcp_proxy(1) as proxy:
        proxy.swallows = True
        driver = make_driver(f"postgres://me:pw@127.0.0.1:{proxy.port}/app?connect_timeout=0.3")
        with pytest.raises(ConnectTimeout):
            await driver.open()


async def test_a_unix_socket_is_a_host_too():
    with own_postgres(unix_socket_directories="/tmp", listen_addresses="") as server:
        login = f"kernel:{server.password}"
        driver = make_driver(f"postgres://{login}@/postgres?host=/tmp&port={server.port}&sslmode=prefer")
        await driver.open()
        assert await driver.fetch("SELECT inet_client_addr() IS NULL", ()) == [(True,)]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await driver.fetch("SELECT pg_sleep(20)", ())
        assert await driver.fetch("SELECT 1", ()) == [(1,)]
        await driver.close()
