"""Where a service is for a browser: what a client writes into Host decides nothing that another one follows."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app_kernel import ServiceConfig
from app_kernel.core.own_address import is_local_host, is_origin_of_host, origin_of, own_base, own_path

FOREIGN = [
    "evil.example", "localhost.evil.example", "evil.example@localhost", "evil.example\\@localhost",
    "localhost@evil.example", "localhost/../x", "localhost#@evil.example", "localhost?x", "localhost:80@evil.example",
    "localhost:", "localhost:x", " localhost", "localhost ", "localhost\t", "127.0.0.1.evil.example", "127.0.0.2",
    "[::1", "::1", "[::1]evil", "", "[", "0", "localhost:123456", "localh\u00f6st", "testserver.evil.example",
]  # fmt: skip


def scope(*hosts: str, **more: Any) -> dict[str, Any]:
    headers = [(b"host", host.encode("latin-1")) for host in hosts]
    return {"type": "http", "scheme": "http", "headers": headers, "root_path": "", **more}


@pytest.mark.parametrize("host", FOREIGN)
def test_a_host_that_is_not_plainly_this_machine_is_foreign(host: str) -> None:
    assert not is_local_host(host)
    assert own_base(ServiceConfig(), scope(host)) is None


@given(st.text(alphabet=st.characters(max_codepoint=255), max_size=20), st.sampled_from(["localhost", "127.0.0.1"]))
def test_nothing_around_a_local_name_makes_it_lead_elsewhere(text: str, name: str) -> None:
    for host in (text + name, name + text):
        if is_local_host(host):
            rest = host.lower().partition(name)[2]
            assert rest == "" or (rest[0] == ":" and rest[1:].isdecimal() and rest[1:].isascii())


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:65535", "testserver"])
def test_this_machine_will_do_outside_production_alone(host: str) -> None:
    assert own_base(ServiceConfig(), scope(host, root_path="/backend")) == f"http://{host}/backend"
    production = ServiceConfig(environment="production", cors_origins=["https://app.example"], jwt_secret="s" * 32)
    assert own_base(production, scope(host)) is None
    assert own_base(ServiceConfig(), scope(host, host)) is None


def test_the_public_address_comes_before_everything() -> None:
    config = ServiceConfig(public_url="https://example.com/backend/")
    assert own_base(config, scope("evil.example", root_path="/x")) == "https://example.com/backend"
    assert own_path(config, scope("evil.example", root_path="/x")) == "/backend"
    assert own_path(ServiceConfig(), scope("localhost", root_path="/x")) == "/x"


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://App.Example.com", "https://app.example.com"),
        ("https://app.example.com:443/x?y", "https://app.example.com"),
        ("http://app.example.com:80", "http://app.example.com"),
        ("https://app.example.com:8443", "https://app.example.com:8443"),
        ("http://[::1]:8000/", "http://[::1]:8000"),
        ("", None),
        ("app.example.com", None),
        ("ftp://app.example.com", None),
        ("http://[", None),
        ("http://host:port", None),
    ],
)
def test_an_origin_is_spelt_as_browsers_spell_it(url: str, origin: str | None) -> None:
    assert origin_of(url) == origin


def test_an_origin_is_of_a_host_by_name_and_port_and_over_tls_by_scheme() -> None:
    assert is_origin_of_host("http://app.example:81", "APP.example:81", secure=False)
    assert is_origin_of_host("https://app.example", "app.example", secure=True)
    assert not is_origin_of_host("http://app.example", "app.example", secure=True)
    for origin in ("null", "", "http://app.example:82", "http://app.example/", "http://x@app.example", "http://["):
        assert not is_origin_of_host(origin, "app.example", secure=False)
    assert not is_origin_of_host("http://", "", secure=False)
