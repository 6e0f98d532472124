"""What the settings of mail may be, and what is said of those that may not."""

import json
from pathlib import Path
from typing import Any

import pytest

from app_kernel import ConfigurationError, ServiceConfig
from app_kernel.core.own_address import is_loopback
from app_kernel.mail import create_feature
from app_kernel.mail.settings import Sender, find_problems, mail_domain, read_sender, read_smtp_url

SECRET = "secret-of-the-mail-tests-0123456789abcdef"
PASSWORD = "canary-Pa55word"
GOOD = {"jwt_secret": SECRET, "smtp_url": "smtp://mail.example", "mail_from": "post@shop.example"}


def problems(**settings: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        create_feature(ServiceConfig(**{**GOOD, **settings}))
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mail.example:587", "begins with neither"),
        (f"http://u:{PASSWORD}@mail.example", "begins with neither"),
        ("smtp://", "names no host"),
        (f"smtp://u:{PASSWORD}@mail.example:0", "port is not 1 to 65535"),
        (f"smtp://u:{PASSWORD}@mail.example:99999", "cannot be read"),
        (f"smtp://u:{PASSWORD}#x@mail.example", "cannot be read"),
        (f"smtp://u:{PASSWORD}/x@mail.example", "cannot be read"),
        (f"smtp://u:{PASSWORD}@mail.example/path", "path or fragment"),
        (f"smtp://u:{PASSWORD}@ma il.example", "control character"),
        (f"smtp://u:{PASSWORD}@mail.example\r\n", "control character"),
        (f"smtp://u:{PASSWORD}@mäil.example", "no host name"),
        ("smtp://user@mail.example", "alone"),
        (f"smtp://:{PASSWORD}@mail.example", "alone"),
        (f"smtp://u:{PASSWORD}@mail.example?timeout=0", "timeout is a number"),
        (f"smtp://u:{PASSWORD}@mail.example?timeout=x", "timeout is a number"),
        (f"smtp://u:{PASSWORD}@mail.example?verify=no", "unknown option"),
        (f"smtp://u:{PASSWORD}@mail.example?tls=maybe", "tls is none or required"),
        (f"smtps://u:{PASSWORD}@mail.example?tls=none", "for smtp:// only"),
        (f"smtp://u:{PASSWORD}@mail.example?ca_file=/nowhere.pem", "ca_file is no file"),
    ],
)
def test_a_url_that_names_no_mail_server_is_refused_without_its_password(url: str, words: str) -> None:
    found = problems(smtp_url=url)
    assert [each for each in found if each.startswith("smtp_url (SMTP_URL): ") and words in each], found
    assert "canary" not in str(found)


@pytest.mark.parametrize(
    ("url", "host", "port", "start_tls"),
    [
        ("smtp://mail.example", "mail.example", 587, None),
        ("smtp://u:p@mail.example:25", "mail.example", 25, True),
        ("smtp://u:p@mail.example?tls=none", "mail.example", 587, False),
        ("smtp://mail.example?tls=required", "mail.example", 587, True),
        ("smtp://u:p@127.0.0.1:1025", "127.0.0.1", 1025, None),
        ("smtp://u:p@localhost", "localhost", 587, None),
        ("smtp://u:p@[::1]:25", "::1", 25, None),
        ("smtps://u:p@mail.example", "mail.example", 465, False),
    ],
)
def test_credentials_leave_this_machine_through_tls_only(
    url: str, host: str, port: int, start_tls: bool | None
) -> None:
    server, found = read_smtp_url(url)
    assert found == []
    assert server is not None
    assert (server.host, server.port, server.start_tls) == (host, port, start_tls)
    assert server.use_tls is url.startswith("smtps:")


def test_user_and_password_are_percent_decoded_and_not_shown() -> None:
    server, _ = read_smtp_url("smtp://post%40shop.example:p%40ss%2F%23@mail.example")
    assert server is not None
    assert (server.user, server.password) == ("post@shop.example", "p@ss/#")
    assert "p@ss" not in repr(server)


@pytest.mark.parametrize(
    "text", ["", "no address", "a@b@c", "post@", "Shop <post@shop.example", "a@b.c\r\nBcc: x@y.z", "N\nB <a@b.ce>"]
)
def test_a_sender_that_is_no_address_is_refused(text: str) -> None:
    found = problems(mail_from=text) if text else problems(mail_from=None)
    assert [each for each in found if each.startswith("mail_from (MAIL_FROM): ")], found


def test_a_sender_may_have_a_name() -> None:
    assert read_sender("Shöp, Inc. <post@shöp.example>") == Sender("Shöp, Inc.", "post@xn--shp-tna.example")
    assert read_sender('"Shöp, Inc." <post@shop.example>') == Sender("Shöp, Inc.", "post@shop.example")
    assert read_sender(" post@shop.example ") == Sender("", "post@shop.example")


@pytest.mark.parametrize("name", ["public_url", "verify_email_url", "reset_password_url"])
@pytest.mark.parametrize(
    "url",
    [
        "shop.example",
        "ftp://shop.example",
        "javascript:alert(1)",
        "https://",
        "https://shop.example/#x",
        "https://a b",
        "https://shop.example/#",
        "https://u:canary@shop.example",
        "https://shop.example\r\n",
        "https://a:99999",
    ],
)
def test_an_address_of_a_page_is_a_plain_url(name: str, url: str) -> None:
    (found,) = problems(**{name: url})
    assert found.startswith(f"{name} ({name.upper()}): ")
    assert "canary" not in found


def test_pages_may_have_a_query_and_the_base_may_not() -> None:
    url = "https://shop.example/app?page=reset"
    assert create_feature(ServiceConfig(**GOOD, reset_password_url=url, verify_email_url=url)) is not None
    assert "has a query" in problems(public_url=url)[0]


def test_every_problem_is_told_at_once() -> None:
    found = problems(smtp_url="smtp://", mail_from="nobody", public_url="x", mail_templates="/nowhere/at/all")
    assert [each.split(" ")[0] for each in found] == ["public_url", "smtp_url", "mail_from", "mail_templates"]


def test_confirming_addresses_in_production_needs_a_mail_server_and_the_address_of_the_service() -> None:
    given = {"jwt_secret": SECRET, "environment": "production", "email_verification": "required"}
    with pytest.raises(ConfigurationError) as caught:
        create_feature(ServiceConfig(**given))
    assert [each.split(" ")[0] for each in caught.value.problems] == ["smtp_url", "public_url"]
    assert create_feature(ServiceConfig(**{**given, **GOOD, "public_url": "https://a.example"})) is not None
    assert create_feature(ServiceConfig(**{**given, "environment": "development"})) is not None


def test_without_any_secret_there_is_no_mail_and_a_mail_server_is_refused() -> None:
    assert create_feature(ServiceConfig(auth_enabled=False)) is None
    (found,) = problems(jwt_secret=None, auth_enabled=False)
    assert found.startswith("encryption_key (ENCRYPTION_KEY): missing")
    assert create_feature(ServiceConfig(**{**GOOD, "jwt_secret": None, "encryption_key": SECRET})) is not None


def test_templates_that_do_not_compile_are_named_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "welcome.txt").write_text("Hello\n{% if %}\n")
    (tmp_path / "bye.subject.txt").write_text("Bye")
    (tmp_path / "odd.html").write_bytes(b"\xff\xfe")
    found = problems(mail_templates=str(tmp_path))
    assert "welcome.txt, line 2" in json.dumps(found)
    assert "there is no bye.txt beside it" in json.dumps(found)
    assert "odd.html: cannot be read" in json.dumps(found)
    assert len(found) == 3


@pytest.mark.parametrize(
    ("settings", "domain"),
    [
        ({"public_url": "https://api.shop.example:8443/x"}, "api.shop.example"),
        ({"public_url": "http://192.0.2.1"}, "shop.example"),
        ({"public_url": "http://[::1]:8000"}, "shop.example"),
        ({}, "shop.example"),
        ({"mail_from": None, "smtp_url": None}, "localhost"),
    ],
)
def test_ids_of_mails_carry_the_domain_of_the_service_or_of_the_sender(settings: dict[str, Any], domain: str) -> None:
    assert mail_domain(ServiceConfig(**{**GOOD, **settings})) == domain


def test_this_machine_has_several_names() -> None:
    names = ["localhost", "a.localhost", "127.0.0.1", "127.8.8.8", "::1", "mail.example", "localhost.example"]
    assert [is_loopback(name) for name in names] == [True, True, True, True, True, False, False]


@pytest.mark.parametrize("more", [{"email_verification": "required"}, {"smtp_url": "smtps://mail.example.com"}])
def test_production_needs_to_know_where_links_lead(more: dict[str, str]) -> None:
    options = {"jwt_secret": "s" * 40, "environment": "production", "mail_from": "a@example.com", **more}
    problems = find_problems(ServiceConfig(**options))
    assert [problem for problem in problems if problem.startswith("public_url (PUBLIC_URL): missing")] != []
    assert find_problems(ServiceConfig(**options, auth_enabled=False)) == []
