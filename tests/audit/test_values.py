"""Whatever a value is, its change is saved and told of: as JSON, without secrets, and of bounded size."""

import enum
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import pytest

from app_kernel.audit.recorder import ChangeRecorder
from app_kernel.audit.values import LARGEST_EVENT, LONGEST_TEXT, Redaction, plain
from app_kernel.core.events import EntityChanged
from app_kernel.core.redaction import REDACTED, is_secret_name, without_credentials
from app_kernel.db.origin import message_values

HIDDEN = [REDACTED, REDACTED]


class Colour(enum.Enum):
    RED = "red"


class Unreadable:
    def __str__(self) -> str:
        raise RuntimeError("never")


def shown(value: Any, redaction: Redaction | None = None) -> Any:
    told = plain(value, redaction or Redaction(), [LARGEST_EVENT])
    orjson.dumps(told)  # whatever it was, it is JSON now
    return told


def changes(entity: str = "things", redact: tuple[str, ...] = (), **row: Any) -> dict[str, Any]:
    change = EntityChanged(entity, "a", 1, "create", None, row, "2026-01-01T00:00:00.000000Z", *(None,) * 5)
    [message] = ChangeRecorder("app", Redaction(redact))(change)
    assert message_values([message])
    told: dict[str, Any] = message.body["changes"]
    return told


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (datetime.fromisoformat("2026-01-02T03:04:05+02:00"), "2026-01-02T01:04:05.000000Z"),
        (datetime.fromisoformat("2026-01-02T00:00:00"), "2026-01-02T00:00:00"),
        (date(2026, 1, 2), "2026-01-02"),
        (time(3, 4), "03:04:00"),
        (Decimal("1.50"), "1.50"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (b"\xff", "/w=="),
        (2**64, str(2**64)),
        (-(2**63), -(2**63)),
        (1 << 20_000, {"omitted": True, "bits": 20_001}),
        ("half \ud800", "half ?"),
        ({"a": ("x", {1: {2}})}, {"a": ["x", {"1": [2]}]}),
        ({"\ud800": 1}, {"?": 1}),
        (Colour.RED, "red"),
        (Unreadable(), {"omitted": True, "type": "Unreadable"}),
        (True, True),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.acceptance("EV6")
def test_every_value_has_its_json(value: Any, expected: Any) -> None:
    """EV6: datetime, bytes, Decimal and what no JSON is."""
    assert shown(value) == expected


@pytest.mark.acceptance("EV6")
def test_what_holds_itself_is_shown_once() -> None:
    """EV6: circular values."""
    ring: dict[str, Any] = {"name": "ring"}
    ring["self"] = ring
    ring["list"] = [ring, 1]
    again = {"omitted": True, "fields": 3}  # it is shown where it is met first
    assert shown(ring) == {"name": "ring", "self": again, "list": [again, 1]}
    shared = {"x": 1}
    assert shown([shared, shared]) == [{"x": 1}, {"x": 1}]
    deep: Any = "end"
    for _ in range(500):
        deep = [deep]
    assert "omitted" in orjson.dumps(shown(deep)).decode()


@pytest.mark.acceptance("EV6")
def test_what_is_too_large_is_left_out_and_says_so() -> None:
    """EV6: a megabyte is kept, old and new; an event stays below a few of them."""
    text = "x" * 1_000_000
    assert changes(a=text, b=text) == {"a": [None, text], "b": [None, text]}
    long = "x" * (LONGEST_TEXT + 1)
    assert changes(a=long)["a"] == [None, {"omitted": True, "characters": LONGEST_TEXT + 1}]
    assert changes(a=long.encode())["a"] == [None, {"omitted": True, "bytes": LONGEST_TEXT + 1}]
    many = changes(**{f"f{number}": text for number in range(8)})
    kept = [name for name, (_, new) in many.items() if new == text]
    assert len(kept) == 4
    assert many["f7"] == [None, {"omitted": True, "characters": 1_000_000}]
    assert changes(a=[0] * LARGEST_EVENT)["a"] == [None, {"omitted": True, "items": LARGEST_EVENT}]
    wide = {f"k{number}": "y" * 60 for number in range(40_000)}
    told = changes(a=wide, b=wide, c="short", d="of more than a few characters", e=[wide, "x"])
    assert told == {
        "a": [None, wide],
        "b": [None, {"omitted": True, "fields": 40_000}],
        "c": [None, "short"],
        "d": [None, "of more than a few characters"],
        "e": [None, {"omitted": True, "items": 2}],
    }


@pytest.mark.parametrize(
    "name",
    [
        "password", "passwd", "password_hash", "newPassword", "passphrase", "secret", "client_secret", "token",
        "access_token", "refreshToken", "api_key", "apiKey", "api-key", "private_key", "Authorization", "cookie",
        "credentials", "ssn", "user_ssn", "card_number", "cardNumber", "cvv", "cvc", "otp", "otpCode", "login_otp",
        "totp", "key_hash", "recovery_codes", "jwt", "dsn", "signing_key", "pin_code",
    ],
)  # fmt: skip
@pytest.mark.acceptance("EV4")
def test_a_name_that_says_secret_hides_its_value(name: str) -> None:
    """EV4: the field stays, its values do not, at whatever depth."""
    assert changes(**{name: "canary-1"}) == {name: HIDDEN}
    assert changes(data={"deep": [{name: "canary-1", "ok": 1}]}) == {
        "data": [None, {"deep": [{name: REDACTED, "ok": 1}]}]
    }


@pytest.mark.parametrize(
    "name",
    ["footprint", "author", "passenger", "secretary", "api_key_id", "token_count", "password_changed_at", "key", "hash",
     "session", "card", "pinned", "discard_number_of", "description"],
)  # fmt: skip
def test_a_name_that_only_sounds_like_one_hides_nothing(name: str) -> None:
    assert not is_secret_name(name)
    assert changes(**{name: "value"}) == {name: [None, "value"]}


def test_flags_instants_and_counts_of_tokens_are_no_secrets() -> None:
    row = {"has_password": True, "tokens": 1500, "token_rate": 0.5, "password_changed": date(2026, 1, 1)}
    assert changes(**row) == {
        "has_password": [None, True],
        "tokens": [None, 1500],
        "token_rate": [None, 0.5],
        "password_changed": [None, "2026-01-01"],
    }
    assert changes(cvv=123, card_number=4111111111111111) == {"cvv": HIDDEN, "card_number": HIDDEN}
    assert changes(sms_token=123456, loginToken=123456) == {"sms_token": HIDDEN, "loginToken": HIDDEN}
    assert changes(usage={"tokens": 7}) == {"usage": [None, {"tokens": 7}]}


@pytest.mark.acceptance("EV4")
def test_fields_that_the_service_names_are_hidden_whatever_they_hold() -> None:
    """EV4: configured fields, of all entities or of one."""
    redact = ("Salary", "people.email")
    assert changes("people", redact, salary=1, email="a@b.c", name="x") == {
        "salary": HIDDEN,
        "email": HIDDEN,
        "name": [None, "x"],
    }
    assert changes("firms", redact, salary=True, email="a@b.c") == {"salary": HIDDEN, "email": [None, "a@b.c"]}
    assert changes("firms", redact, data={"salary": 1}) == {"data": [None, {"salary": REDACTED}]}


@pytest.mark.parametrize(
    "text",
    [
        "sk_live_a1b2c3d4e5f6", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nx\n",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NSJ9.abc_def-123",
    ],
)  # fmt: skip
@pytest.mark.acceptance("EV4")
def test_a_text_that_looks_like_a_credential_is_hidden_and_the_rest_stays(text: str) -> None:
    """EV4: credentials in fields that nobody would look for them in."""
    assert changes(note=f"use {text}") == {"note": [None, f"use {REDACTED}"]}
    assert changes(note={"x": [text]}) == {"note": [None, {"x": [REDACTED]}]}
    assert without_credentials("risk_analysis of the task_force, hey Jude, whsec") == (
        "risk_analysis of the task_force, hey Jude, whsec"
    )


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("postgresql://app:pass@word@db:5432/x", f"postgresql://{REDACTED}@db:5432/x"),
        ("redis://:canary@cache", f"redis://{REDACTED}@cache"),
        ("curl -H 'Authorization: Bearer AbCdEfGh12345678'", f"curl -H 'Authorization: Bearer {REDACTED}'"),
        ("see https://example.com:8443/@ada, or mail ada@example.com", None),
        ("bearer responsibilities", None),
    ],
)
@pytest.mark.acceptance("EV4")
def test_the_password_of_an_address_and_a_bearer_token_are_hidden(text: str, left: str | None) -> None:
    """EV4: what a settings page saves as one text."""
    assert changes(note=text) == {"note": [None, left or text]}
    assert [*changes(note={text: 1})["note"][1]] == [left or text]


def test_a_comment_of_any_length_and_an_actor_of_any_kind_are_texts() -> None:
    """The sink takes nothing else, so that the change would end as a dead letter."""
    who = {"actor_id": UUID(int=7), "comment": "x" * (LONGEST_TEXT + 1)}
    rest = dict.fromkeys(("request_id", "address", "workspace_id"))
    change = EntityChanged("things", "a", 1, "create", None, {}, "2026-01-01T00:00:00.000000Z", **who, **rest)
    [message] = ChangeRecorder("app")(change)
    assert message.body["user_id"] == "00000000-0000-0000-0000-000000000007"
    assert message.body["reason"] == f"[omitted: {LONGEST_TEXT + 1} characters]"


def test_both_sides_of_a_change_are_hidden() -> None:
    before, after = {"password": None, "n": 1}, {"password": "canary-1", "n": 2}
    change = EntityChanged("things", "a", 2, "update", before, after, "2026-01-01T00:00:00.000000Z", *(None,) * 5)
    [message] = ChangeRecorder("app")(change)
    assert message.body["changes"] == {"password": HIDDEN, "n": [1, 2]}


def test_an_id_and_a_key_of_any_length_can_be_sent() -> None:
    id = "x" * 900
    change = EntityChanged("things", id, 1, "create", None, {"id": id}, "2026-01-01T00:00:00.000000Z", *(None,) * 5)
    [message] = ChangeRecorder("app")(change)
    assert (len(message.key), message.body["entity_id"]) == (500, id)
    assert message_values([message])
