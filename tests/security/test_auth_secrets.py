"""A service does not start with secrets that protect nothing, and says so in one line that shows none of them."""

from itertools import combinations
from typing import Any

import pytest

from app_kernel import ConfigurationError, ServiceConfig, create_service

GOOD = "a-good-secret-of-the-tests-0123456789abcdef"
CANARY = "hunter2-canary"
KEYS = ("jwt_secret", "jwt_secret_previous", "encryption_key", "encryption_key_previous", "metrics_token")
PRODUCTION: dict[str, Any] = {"environment": "production", "cors_origins": ["https://app.example.com"]}


def refusal(**settings: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        create_service("secrets", config=ServiceConfig(**settings))
    assert isinstance(caught.value, SystemExit)
    assert CANARY not in str(caught.value)
    assert GOOD not in str(caught.value)
    return caught.value.problems


@pytest.mark.acceptance("AU4")
@pytest.mark.parametrize("pair", list(combinations(KEYS, 2)), ids="-".join)
@pytest.mark.parametrize("surroundings", [{}, PRODUCTION], ids=["development", "production"])
def test_one_secret_does_not_serve_two_purposes(pair: tuple[str, str], surroundings: dict[str, Any]) -> None:
    same = "the-same-secret-twice-0123456789abcdef-0123"
    (problem,) = refusal(**{"jwt_secret": GOOD, **surroundings, **dict.fromkeys(pair, same)})
    assert problem.startswith(f"{pair[1]} ({pair[1].upper()}): is the same as {pair[0]}")
    assert same not in problem
    assert "\n" not in problem


@pytest.mark.acceptance("AU4")
@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("blank", ["", " ", "\t\n ", "\u00a0" * 40])
def test_a_blank_secret_is_refused_everywhere(name: str, blank: str) -> None:
    for surroundings in ({}, {"debug": True}, PRODUCTION):
        (problem,) = refusal(**{"jwt_secret": GOOD, **surroundings, name: blank})
        assert problem.startswith(f"{name} ({name.upper()}): is blank")


@pytest.mark.acceptance("AU4")
@pytest.mark.parametrize("name", ["jwt_secret", "jwt_secret_previous", "encryption_key"])
@pytest.mark.parametrize("short", [CANARY, "x" * 31, "secret", "changeme"])
def test_a_short_secret_is_refused_in_production(name: str, short: str) -> None:
    (problem,) = refusal(**{"jwt_secret": GOOD, **PRODUCTION, name: short})
    assert problem.startswith(f"{name} ({name.upper()}): under 32 bytes")
    assert "token_urlsafe" in problem
    # Bytes count, not characters: these are sixteen that make thirty-two.
    create_service("secrets", config=ServiceConfig(**{"jwt_secret": GOOD, **PRODUCTION, name: "\u00e9" * 16}))


@pytest.mark.acceptance("AU4")
@pytest.mark.parametrize("surroundings", [{}, PRODUCTION, {**PRODUCTION, "encryption_key": GOOD}])
def test_without_a_secret_nothing_starts(surroundings: dict[str, Any]) -> None:
    (problem,) = refusal(**surroundings)
    assert problem.startswith("jwt_secret (JWT_SECRET): missing")


@pytest.mark.acceptance("AU4")
@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "JWT_SECRET): missing"),
        ({"JWT_SECRET": "   "}, "is blank"),
        ({"JWT_SECRET": CANARY}, "under 32 bytes"),
        ({"JWT_SECRET": GOOD, "ENCRYPTION_KEY": CANARY}, "ENCRYPTION_KEY): under 32 bytes"),
        ({"JWT_SECRET": GOOD, "ENCRYPTION_KEY": GOOD}, "is the same as jwt_secret"),
    ],
)
def test_the_same_from_the_environment(variables: dict[str, str], words: str) -> None:
    surroundings = {"ENVIRONMENT": "production", "CORS_ORIGINS": "https://app.example.com"}
    with pytest.raises(ConfigurationError) as caught:
        create_service("secrets", config=ServiceConfig.from_env(None, {**surroundings, **variables}))
    (problem,) = caught.value.problems
    assert words in problem
    assert CANARY not in str(caught.value)
