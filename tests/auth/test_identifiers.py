import pytest
from hypothesis import given
from hypothesis import strategies as st

from app_kernel.auth.identifiers import account_key, canonical_email, canonical_username, login_key
from app_kernel.core.errors import InvalidEmail, InvalidUsername


@pytest.mark.parametrize(
    ("typed", "canonical"),
    [
        ("ada@example.com", "ada@example.com"),
        ("  Ada@Example.COM \n", "ada@example.com"),
        ("ada+news@example.com", "ada+news@example.com"),
        ("user@M\u00dcNCHEN.de", "user@xn--mnchen-3ya.de"),
        ("user@mu\u0308nchen.de", "user@xn--mnchen-3ya.de"),
        ("jos\u00e9@example.com", "jos\u00e9@example.com"),
        ("JOSE\u0301@example.com", "jos\u00e9@example.com"),
        ("\u212aelvin@example.com", "kelvin@example.com"),
    ],
)
def test_an_email_has_one_canonical_form(typed, canonical):
    assert canonical_email(typed) == canonical


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "ada",
        "@example.com",
        "ada@",
        "ada@example",
        "ada@example.com.",
        "a b@example.com",
        "ada@exa mple.com",
        "ada@@example.com",
        '"ada"@example.com',
        "Ada <ada@example.com>",
        "ada@[127.0.0.1]",
        "ada@localhost",
        "ada@service.local",
        "ada\x00@example.com",
        "ada\r\nBcc: x@example.com",
        "ada@example.com\u202e",
        "a" * 65 + "@example.com",
        "ada@" + "a." * 200 + "com",
        "\ud800@example.com",
    ],
)
def test_what_is_no_email_is_refused_without_being_repeated(typed):
    with pytest.raises(InvalidEmail) as caught:
        canonical_email(typed)
    assert str(caught.value) == "This is not an email address."


def test_the_reserved_test_domain_is_for_tests_only():
    assert canonical_email("ada@shop.test", allow_test_domains=True) == "ada@shop.test"
    with pytest.raises(InvalidEmail):
        canonical_email("ada@shop.test")


@given(st.emails())
def test_the_canonical_form_of_a_canonical_form_is_itself(email):
    try:
        once = canonical_email(email, allow_test_domains=True)
    except InvalidEmail:
        return
    assert canonical_email(once, allow_test_domains=True) == once


@given(st.text(max_size=60))
def test_any_text_is_a_login_identifier_and_never_an_error(text):
    field, value = login_key(text)
    assert field == ("email" if "@" in text else "username")
    assert len(account_key(field, value)) == 64


@pytest.mark.parametrize(("typed", "canonical"), [("Ada.L", "ada.l"), (" a_b-9 ", "a_b-9"), ("x" * 50, "x" * 50)])
def test_a_username_is_lower_case(typed, canonical):
    assert canonical_username(typed) == canonical


@pytest.mark.parametrize("typed", ["ab", "x" * 51, "a b c", "ada@example.com", "\u0430da", "a\x00bc", "-" * 2, ""])
def test_what_is_no_username_is_refused(typed):
    with pytest.raises(InvalidUsername):
        canonical_username(typed)
