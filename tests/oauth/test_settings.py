"""What is wrong with the settings is said at start, in sentences; what is right costs nothing before it is used."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app_kernel import ServiceConfig
from app_kernel.core import clock
from app_kernel.core.errors import ConfigurationError
from app_kernel.oauth import feature
from app_kernel.oauth.flow import ERROR_WORDS, OTHER_ERROR
from app_kernel.oauth.settings import read_providers
from app_kernel.oauth.wiring import CONFIRMED
from tests.oauth.serving import SECRET, Service, StubProvider, serving

GUIDE = (Path(__file__).parent.parent.parent / "docs" / "howto" / "sign-in-with.md").read_text()
CLIENT = {"client_id": "id-of-the-client", "client_secret": "a-secret-of-the-client"}
OIDC = {"issuer": "https://login.example.com", **CLIENT}
ENTERPRISE = {
    "authorize_url": "https://git.example.com/login/oauth/authorize",
    "token_url": "https://git.example.com/login/oauth/access_token",
    "api_url": "https://git.example.com/api/v3/",
    **CLIENT,
}


def config(providers: Any, **more: Any) -> ServiceConfig:
    return ServiceConfig(**{"jwt_secret": SECRET, "oauth_providers": providers, **more})


def problems(providers: Any, **more: Any) -> list[str]:
    try:
        feature.create_feature(config(providers, **more))
    except ConfigurationError as exc:
        return list(exc.problems)
    return []


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"google": {"client_id": "a"}}, "needs a client_secret"),
    ({"google": {"client_secret": "a"}}, "needs a client_id"),
    ({"google": {}}, "needs a client_id"),
    ({"google": {**CLIENT, "client_secret": " "}}, "needs a client_secret"),
    ({"google": {**CLIENT, "client_id": 7}}, "needs a client_id"),
    ({"google": {**CLIENT, "client_secret": "a\nb"}}, "needs a client_secret"),
    ({"google": {**CLIENT, "tenant": "x"}}, "has the option 'tenant', which there is not"),
    ({"accounts": OIDC}, "cannot be a provider's name"),
    ({"exchange": OIDC}, "cannot be a provider's name"),
    ({"Google": OIDC}, "cannot be a provider's name"),
    ({"a/b": OIDC}, "cannot be a provider's name"),
    ({"": OIDC}, "cannot be a provider's name"),
    ({"a" * 33: OIDC}, "cannot be a provider's name"),
    ({"work": CLIENT}, "needs an issuer"),
    ({"work": {**OIDC, "issuer": "http://login.example.com"}}, "must begin with https://"),
    ({"work": {**OIDC, "issuer": "login.example.com"}}, "must be an absolute URL"),
    ({"work": {**OIDC, "issuer": None}}, "must be an absolute URL"),
    ({"work": {**OIDC, "issuer": "https://login.example.com/#x"}}, "must be an absolute URL"),
    ({"work": {**OIDC, "token_url": "https://login.example.com/token"}}, "has both issuer and token_url"),
    ({"work": {**OIDC, "scopes": ["email"]}}, "has scopes without openid"),
    ({"work": {**OIDC, "scopes": [1]}}, "has scopes without openid"),
    ({"work": {**OIDC, "scopes": []}}, "has scopes that are not a list of words"),
    ({"work": {**OIDC, "scopes": {"openid": True}}}, "has scopes that are not a list of words"),
    ({"work": {**OIDC, "scopes": ["openid", 'a"b']}}, "has scopes that are not a list of words"),
    ({"git": {key: value for key, value in ENTERPRISE.items() if key != "api_url"}}, "needs api_url too"),
    ({"git": {**ENTERPRISE, "api_url": "http://git.example.com"}}, "has an api_url that must begin with https://"),
]


@pytest.mark.parametrize(("providers", "said"), WRONG)
def test_what_is_wrong_with_a_provider_is_said_in_a_sentence_without_its_secret(
    providers: dict[str, Any], said: str
) -> None:
    found = problems(providers)
    assert any(said in problem for problem in found), found
    assert CLIENT["client_secret"] not in str(found)


def test_providers_that_are_right_are_read() -> None:
    given = {"google": CLIENT, "github": CLIENT, "work": {**OIDC, "scopes": "openid  email"}, "git": ENTERPRISE}
    assert problems(given) == []
    read = read_providers(config(given))
    assert read["google"].issuer == "https://accounts.google.com"
    assert read["google"].scopes == "openid email profile"
    assert read["github"].addresses["token_url"] == "https://github.com/login/oauth/access_token"
    assert read["github"].scopes == "read:user user:email"
    assert read["work"].scopes == "openid email"
    assert read["git"].issuer == read["git"].addresses["api_url"] == "https://git.example.com/api/v3"


def test_production_needs_to_know_where_browsers_reach_it() -> None:
    production = {"environment": "production", "cors_origins": []}
    assert any("public_url: missing" in problem for problem in problems({"google": CLIENT}, **production))
    for url in ("http://api.example.com", "api.example.com"):
        assert any("public_url" in problem for problem in problems({"google": CLIENT}, public_url=url, **production))
    assert problems({"google": CLIENT}, public_url="https://api.example.com/v1", **production) == []
    local = {"work": {**OIDC, "issuer": "http://127.0.0.1:9000"}}
    assert problems(local) == []
    found = problems(local, public_url="https://api.example.com", **production)
    assert any("must begin with https:// in production" in problem for problem in found)


def test_signing_in_elsewhere_needs_accounts() -> None:
    assert any("auth_enabled is off" in problem for problem in problems({"google": CLIENT}, auth_enabled=False))


def test_the_extra_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature, "find_spec", lambda name: None if name == "joserfc" else object())
    assert any("pip install 'app-kernel[oauth]'" in problem for problem in problems({"google": CLIENT}))
    assert feature.create_feature(config({})) is None


def test_a_service_without_providers_imports_none_of_the_libraries() -> None:
    script = """
import sys
from app_kernel import ServiceConfig, create_service
create_service("plain", config=ServiceConfig(jwt_secret="s" * 32, database_name="sqlite://:memory:"))
print([name for name in ("authlib", "joserfc", "httpx2", "cryptography") if name in sys.modules])
"""
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert printed.splitlines()[-1] == "[]"


async def test_the_routes_are_documented_with_their_answers(light: Service) -> None:
    paths = (await light.client.get("/openapi.json")).json()["paths"]
    mine = {path: set(verbs) for path, verbs in paths.items() if path.startswith("/auth/oauth")}
    assert mine == {
        "/auth/oauth/accounts": {"get"},
        "/auth/oauth/exchange": {"post"},
        "/auth/oauth/{provider}": {"get", "delete"},
        "/auth/oauth/{provider}/callback": {"get"},
        "/auth/oauth/{provider}/link": {"post"},
    }
    assert {"303", "400", "403", "404", "409", "502"} <= set(
        paths["/auth/oauth/{provider}/callback"]["get"]["responses"]
    )


async def test_the_callback_is_below_the_prefix_of_the_service(provider: StubProvider) -> None:
    async with serving(provider, api_prefix="/api", public_url="http://127.0.0.1:8000") as service:
        browser = service.browser()
        started = await browser.http.get("/api/auth/oauth/stub")
        back = await browser.at_provider(started)
        assert back.startswith("http://127.0.0.1:8000/api/auth/oauth/stub/callback?")
        assert (await browser.come_back(back)).status_code == 200


async def test_codes_and_states_that_are_over_go_as_new_ones_come(service: Service) -> None:
    from datetime import timedelta

    from app_kernel.oauth import store
    from app_kernel.oauth.tables import CODES

    for number in range(8):
        await store.claim_once(service.db, f"old-{number}", 60)
    with clock.frozen(clock.now() + timedelta(hours=1)):
        for number in range(3):
            assert await store.claim_once(service.db, f"new-{number}", 60)
        assert not await store.claim_once(service.db, "new-0", 60)
    left = await service.db.privileged.find_entities(CODES, order_by="[hash]")
    assert [row["hash"] for row in left] == ["new-0", "new-1", "new-2"]


def test_the_guide_runs_and_says_what_the_code_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    block = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)[0]
    for name in re.findall(r'environ\["(\w+)"\]', block):
        monkeypatch.setenv(name, f"{name}-0123456789-0123456789-0123456789")
    names: dict[str, Any] = {}
    exec(block, names)
    assert names["app"].title == "shop"
    words = {*ERROR_WORDS.values(), OTHER_ERROR}
    assert [word for word in words if f"`{word}`" not in GUIDE] == []
    source = "".join(path.read_text() for path in Path(feature.__file__).parent.glob("*.py"))
    reasons = set(re.findall(r'ProviderFailed\("(\w+)"\)', source)) | {"timeout", "connection", "refused", "malformed"}
    assert [reason for reason in reasons if f"`{reason}`" not in GUIDE] == []
    assert {"auth.email_verified", "auth.password_reset"} == CONFIRMED
