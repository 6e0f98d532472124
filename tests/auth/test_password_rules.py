import pytest

from app_kernel import ServiceConfig
from app_kernel.auth.accounts import new_account
from app_kernel.auth.password_rules import check_password_length, common_passwords, find_weakness
from app_kernel.auth.schemas import RegisterRequest
from app_kernel.core.errors import WeakPassword

CONTEXT = ["widget_service", "ada.lovelace", "ada"]


@pytest.mark.acceptance("AU12")
@pytest.mark.parametrize(
    "password",
    [
        "password",
        "Password1",
        "PASSWORD123!",
        "12345678",
        "qwertyuiop",
        "1qaz2wsx",
        "iloveyou",
        "letmein2024",
        "dragon!!",
        "aaaaaaaa",
        "abababab",
        "zzzzzzzzzzzzzzzzzzzz",
        "\uff50\uff41\uff53\uff53\uff57\uff4f\uff52\uff44",
        "widget_service",
        "WidgetService2026",
        "ada.lovelace",
        "AdaLovelace1815",
        "ada12345678",
    ],
)
def test_the_first_guesses_of_anybody_are_weak(password):
    assert find_weakness(password, CONTEXT) is not None


@pytest.mark.acceptance("AU12")
@pytest.mark.parametrize(
    "password",
    [
        "plum tree over water",
        "k" * 32 + "qx" * 20,
        "\U0001f3b9\U0001f33b\U0001f40d\U0001f9ed",
        "   spaces   inside   ",
        "adalovelacewrotethefirstprogram",
        "no-digits-no-capitals",
        "83917465029",
    ],
)
def test_no_composition_is_asked_for(password):
    assert find_weakness(password, CONTEXT) is None
    check_password_length(password, 8)


def test_every_entry_of_the_list_is_refused_in_any_case():
    common = common_passwords()
    assert len(common) >= 3000
    assert all(entry == entry.casefold() == entry.strip() for entry in common)
    assert all(find_weakness(entry.upper(), []) for entry in common)


@pytest.mark.acceptance("AU12")
@pytest.mark.parametrize(
    ("password", "refused"),
    [("1234567", True), ("12345678", False), ("\u00e9" * 4, False), ("k" * 4096, False), ("k" * 4097, True)],
)
def test_length_counts_in_bytes(password, refused):
    if refused:
        with pytest.raises(WeakPassword, match=r"at (least|most)"):
            check_password_length(password, 8)
    else:
        check_password_length(password, 8)


PRODUCTION = ServiceConfig(name="widget_service", environment="production", jwt_secret="x" * 40)


@pytest.mark.acceptance("AU12")
def test_in_production_the_three_thousand_most_common_passwords_make_no_account():
    long_enough = [entry for entry in sorted(common_passwords()) if len(entry.encode()) >= 8]
    assert len(long_enough) >= 3000
    for entry in long_enough:
        with pytest.raises(WeakPassword, match="most common"):
            new_account(PRODUCTION, "grace@example.com", entry)


@pytest.mark.acceptance("AU12")
@pytest.mark.parametrize(
    ("password", "accepted"),
    [
        ("widget_service", False),
        ("Widget Service!1", False),
        ("ada.lovelace", False),
        ("AdaLovelace1815", False),
        ("countess99", False),
        ("w" * 30 + " and " + "q" * 30, True),
        ("k" * 60 + "qxzj", True),
        ("\U0001f3b9\U0001f33b\U0001f40d", True),
        ("one two three four five", True),
        ("         x        y", True),
    ],
)
def test_in_production_no_rule_but_length_and_likelihood_counts(password, accepted):
    names = {"username": "countess", "name": "Ada"}
    if accepted:
        assert new_account(PRODUCTION, "ada.lovelace@example.com", password, **names)["role"] == "user"
    else:
        with pytest.raises(WeakPassword, match="name of the service or of the account"):
            new_account(PRODUCTION, "ada.lovelace@example.com", password, **names)


def test_the_document_excludes_no_password_that_is_long_enough_in_bytes():
    shown = RegisterRequest.model_json_schema()["properties"]["password"]
    shortest = "\U0001f3b9\U0001f33b"
    check_password_length(shortest, 8)
    assert (len(shortest), shown["format"]) == (shown["minLength"], "password")
    with pytest.raises(WeakPassword):
        check_password_length(shortest[:-1], 8)
