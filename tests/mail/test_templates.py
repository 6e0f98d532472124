"""The kernel's templates and the application's own."""

import importlib.resources
from pathlib import Path
from typing import Any

import pytest

from app_kernel.core.errors import UndeliverableMail
from app_kernel.mail.message import in_words, one_line
from app_kernel.mail.templates import BUILT_IN, Templates

LINK = "https://shop.example/verify?token=abc&next=%2Fhome"
TIMED = {"service": "Shop", "link": LINK, "expires_minutes": 30}
VALUES: dict[str, dict[str, Any]] = {
    "verify_email": TIMED,
    "reset_password": TIMED,
    "change_email": {**TIMED, "new_email": "new@example.com"},
    "email_changed": {"service": "Shop", "new_email": "new@example.com"},
    "password_changed": {"service": "Shop"},
    "account_exists": {"service": "Shop", "link": LINK},
    "workspace_invite": {
        **TIMED,
        "workspace": "Engines",
        "inviter": "Ada",
        "role": "member",
    },
}


@pytest.mark.parametrize("name", VALUES)
def test_every_mail_of_the_kernel_has_a_subject_a_text_and_html(name: str) -> None:
    values = VALUES[name]
    rendered = Templates(None).render(name, values)
    assert "Shop" in rendered.subject
    assert "\n" not in rendered.subject
    assert rendered.html is not None
    for text in (rendered.text, rendered.html):
        assert "Shop" in text
        assert values.get("new_email", "") in text
        assert "{" not in text.replace("{margin", "")
    if "link" in values:
        assert f"\n{LINK}\n" in rendered.text
        escaped = LINK.replace("&", "&amp;")
        assert f'href="{escaped}"' in rendered.html
        assert f">{escaped}<" in rendered.html
    assert "30 minutes" in rendered.text or "expires_minutes" not in values
    assert "<img" not in rendered.html
    assert "src=" not in rendered.html


@pytest.mark.parametrize("name", VALUES)
def test_a_missing_value_is_an_error_that_names_it(name: str) -> None:
    for missing in VALUES[name]:
        values = {key: value for key, value in VALUES[name].items() if key != missing}
        with pytest.raises(UndeliverableMail, match=f"'{missing}' is undefined"):
            Templates(None).render(name, values)


def test_the_templates_are_in_the_package() -> None:
    folder = importlib.resources.files("app_kernel.mail") / "templates"
    there = {each.name for each in folder.iterdir()}
    wanted = {f"{name}{ending}" for name in VALUES for ending in (".subject.txt", ".txt", ".html")}
    assert wanted | {"base.html", "link.html"} == there


HOSTILE = [
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "{{ 7 * 7 }}{% include 'base.html' %}",
    "Zoë 漢字 🎉",
    "\u202eevil\u202c \u2066x\u2069",
    "Shop\r\nBcc: eve@example.com\r\n\r\nforged",
    "Shop\x00\x1b[31m\u2028\u0085x",
    "مرحبا \u200f!",
]


@pytest.mark.acceptance("OP4")
@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("name", VALUES)
def test_a_value_is_text_wherever_it_stands(name: str, value: str) -> None:
    values = {**VALUES[name], "service": value, **({"new_email": value} if "new_email" in VALUES[name] else {})}
    plain = Templates(None).render(
        name, {**values, "service": "S", **({"new_email": "S"} if "new_email" in values else {})}
    )
    rendered = Templates(None).render(name, values)
    assert rendered.html is not None
    assert plain.html is not None
    assert rendered.html.count("<") == plain.html.count("<")
    assert rendered.text.count("\n") == plain.text.count("\n")
    whole = rendered.subject + rendered.text + rendered.html
    assert not set(whole) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029\x00\x1b\x85\r")
    if "7" in value:
        assert "{{ 7 * 7 }}" in rendered.text


def test_the_directory_of_the_application_wins(tmp_path: Path) -> None:
    (tmp_path / "welcome.subject.txt").write_text("Welcome, {{ name }}")
    (tmp_path / "welcome.txt").write_text("Hello {{ name }}!")
    (tmp_path / "verify_email.txt").write_text("Ours: {{ link }}")
    (tmp_path / "base.html").write_text("<b>Ours</b>{% block body %}{% endblock %}")
    templates = Templates(str(tmp_path))
    assert list(templates.find_problems()) == []
    welcome = templates.render("welcome", {"name": "Zoë <x>"})
    assert (welcome.subject, welcome.text, welcome.html) == ("Welcome, Zoë <x>", "Hello Zoë <x>!\n", None)
    verify = templates.render("verify_email", TIMED)
    assert verify.text == f"Ours: {LINK}\n"
    assert (verify.html or "").startswith("<b>Ours</b>")
    assert verify.subject == "Confirm your email address for Shop"


@pytest.mark.parametrize("name", ["", "../secret", "a/b", "a.b", "nope", "x" * 65, "a\0", "é", None, 5])
def test_a_name_that_is_no_template_is_refused(name: Any, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("canary")
    (tmp_path / "own").mkdir()
    with pytest.raises(UndeliverableMail) as caught:
        Templates(str(tmp_path / "own")).render(name, {})
    assert "canary" not in caught.value.message


@pytest.mark.parametrize("body", ["{% include '../secret.txt' %}", "{% include '/etc/passwd' %}", "{% extends '..' %}"])
def test_a_template_reads_nothing_but_templates(body: str, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("canary")
    own = tmp_path / "own"
    own.mkdir()
    (own / "a.subject.txt").write_text("s")
    (own / "a.txt").write_text(body)
    with pytest.raises(UndeliverableMail):
        Templates(str(own)).render("a", {})


def test_what_fails_in_a_template_does_not_quote_a_value(tmp_path: Path) -> None:
    (tmp_path / "a.subject.txt").write_text("s")
    (tmp_path / "a.txt").write_text("{{ link + 1 }}")
    with pytest.raises(UndeliverableMail) as caught:
        Templates(str(tmp_path)).render("a", {"link": "canary"})
    assert caught.value.message == "The mail template a.txt cannot be rendered: TypeError."
    assert caught.value.__suppress_context__


def test_minutes_read_as_people_say_them() -> None:
    said = [in_words(minutes) for minutes in (1, 30, 60, 90, 120, 1440, 2880, 4320.0)]
    assert said == ["1 minute", "30 minutes", "1 hour", "90 minutes", "2 hours", "24 hours", "2 days", "3 days"]


def test_one_line_is_one_line() -> None:
    assert one_line(" a\r\n\tb\x00\u2028c\u00a0d ") == "a b c d"
    assert BUILT_IN.is_dir()
