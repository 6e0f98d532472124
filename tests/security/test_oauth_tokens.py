"""What an issuer, or somebody in its place, may get wrong about who signed in: each is refused."""

import base64
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from hypothesis import given
from hypothesis import strategies as st

from app_kernel.oauth.id_token import TokenRefused, read_keys, verify_id_token
from tests.oauth.provider import CLIENT_ID, KEYS, packed
from tests.oauth.serving import Service

pytestmark = pytest.mark.acceptance("OA4")

GOOD: dict[str, dict[str, Any]] = {
    "RS256": {},
    "PS256": {"alg": "PS256"},
    "ES256": {"alg": "ES256", "key": "curve"},
    "EdDSA": {"alg": "EdDSA", "key": "edwards"},
    "Ed25519": {"alg": "Ed25519", "key": "edwards"},
    "no at_hash": {"claims": {"at_hash": None}},
    "two audiences and azp": {"claims": {"aud": [CLIENT_ID, "other"], "azp": CLIENT_ID}},
    "one audience in a list": {"claims": {"aud": [CLIENT_ID]}},
    "no kid and one key": {"header": {"kid": None}, "published": ["first"]},
    "iss where it is promised": {"document": {"authorization_response_iss_parameter_supported": True}, "answer": "iss"},
    "iss where it is not promised": {"answer": "iss"},
}

WRONG: dict[str, dict[str, Any]] = {
    "another nonce": {"claims": {"nonce": "n" * 43}},
    "no nonce": {"claims": {"nonce": None}},
    "empty nonce": {"claims": {"nonce": ""}},
    "nonce in a list": {"claims": {"nonce": ["n"]}},
    "another issuer": {"claims": {"iss": "https://accounts.evil.example"}},
    "no issuer": {"claims": {"iss": None}},
    "issuer with a slash": {"claims": {"iss": "slash"}},
    "another audience": {"claims": {"aud": "other-client"}},
    "no audience": {"claims": {"aud": None}},
    "other audiences": {"claims": {"aud": ["other", "another"]}},
    "two audiences without azp": {"claims": {"aud": [CLIENT_ID, "other"]}},
    "two audiences and another azp": {"claims": {"aud": [CLIENT_ID, "other"], "azp": "other"}},
    "another azp": {"claims": {"azp": "other"}},
    "expired": {"claims": {"exp": 1_700_000_000}},
    "no expiry": {"claims": {"exp": None}},
    "expiry as text": {"claims": {"exp": "2999-01-01"}},
    "issued in the future": {"claims": {"iat": 4_000_000_000}},
    "no time of issue": {"claims": {"iat": None}},
    "not valid yet": {"claims": {"nbf": 4_000_000_000}},
    "another at_hash": {"claims": {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}},
    "no subject": {"claims": {"sub": None}},
    "empty subject": {"claims": {"sub": ""}},
    "subject that is a number": {"claims": {"sub": 1}},
    "long subject": {"claims": {"sub": "s" * 256}},
    "signed by a stranger": {"key": "stranger"},
    "alg none": {"alg": "none"},
    "alg none with a kid": {"alg": "none", "header": {"kid": "first"}},
    "alg None": {"alg": "none", "header": {"alg": "None"}},
    "HS256 with the public key": {"alg": "HS256"},
    "RS512, which is not on the list": {"alg": "RS512", "claims": {"at_hash": None}},
    "algorithm of another kind of key": {"header": {"kid": "curve"}},
    "unknown key": {"key": "second"},
    "no kid and several keys": {"header": {"kid": None}},
    "key in the header": {"key": "second", "header": {"jwk": KEYS["second"].as_dict(private=False)}},
    "critical header": {"header": {"crit": ["exp"], "exp": 1}},
    "no token": {"id_token": ""},
    "text": {"id_token": "abc"},
    "dots": {"id_token": ".."},
    "five parts": {"id_token": "a.b.c.d.e"},
    "huge token": {"id_token": "a" * 70_000},
    "iss of another": {"answer": {"iss": "https://evil.example"}},
    "iss empty": {"answer": {"iss": ""}},
    "iss missing where it is promised": {"document": {"authorization_response_iss_parameter_supported": True}},
    "code of nobody": {"answer": {"code": "invented"}},
    "no code": {"answer": {"code": None}},
    "user info of another": {"bare_token": True, "user_info": {"sub": "eve-1"}},
}


def settle(how: dict[str, Any], url: str) -> dict[str, Any]:
    """Puts the issuer's own address in, which a table cannot know."""
    settled = dict(how)
    if settled.get("answer") == "iss":
        settled["answer"] = {"iss": url}
    if settled.get("claims") == {"iss": "slash"}:
        settled["claims"] = {"iss": f"{url}/"}
    return settled


async def test_every_good_token_signs_in(light: Service) -> None:
    for what, how in GOOD.items():
        await forget_keys(light)
        light.provider.behave(**settle(how, light.provider.url))
        answer = await light.browser().sign_in()
        assert answer.status_code == 200, (what, answer.text)


async def test_every_wrong_token_is_refused(light: Service) -> None:
    accepted = []
    for what, how in WRONG.items():
        await forget_keys(light)
        light.provider.behave(**settle(how, light.provider.url))
        answer = await light.browser().sign_in()
        if answer.status_code != 400 or answer.json()["title"] != "Bad Request":
            accepted.append((what, answer.status_code, answer.text))
    assert accepted == []
    reasons = light.reasons()
    assert len(reasons) == len(WRONG)
    assert {reason.partition("_token_")[0] for reason in reasons} == {"id", "issuer", "code", "provider", "user_info"}
    assert await light.sessions() == 0
    assert await light.users() == 0


async def forget_keys(service: Service) -> None:
    """What the service knows of the issuer, as after a start."""
    from app_kernel.oauth.flow import OAuth

    provider: Any = service.kernel.port(OAuth)._providers["stub"]
    provider._discovered = provider._keys = None


async def test_pkce_goes_along_and_the_provider_gets_its_verifier(light: Service) -> None:
    browser = light.browser()
    for name in ("stub", "github"):
        started = await browser.start(name)
        asked = {key: values[0] for key, values in parse_qs(urlsplit(started.headers["location"]).query).items()}
        assert asked["code_challenge_method"] == "S256"
        assert len(asked["code_challenge"]) == 43
        assert len(asked["state"]) == 43
        assert ("nonce" in asked) == (name == "stub")
        # The stub refuses a code whose verifier is missing or another one.
        assert (await browser.come_back(await browser.at_provider(started))).status_code == 200
    assert "wrong verifier" not in light.provider.log()


async def test_a_code_of_another_sign_in_does_not_fit(light: Service) -> None:
    """Code injection: the attacker's code in the victim's return, or the other way round (RFC 9700, 4.5)."""
    victim, attacker = light.browser(), light.browser()
    own = await victim.at_provider(await victim.start())
    stolen = parse_qs(urlsplit(await attacker.at_provider(await attacker.start())).query)["code"][0]
    state = parse_qs(urlsplit(own).query)["state"][0]
    answer = await victim.http.get("/auth/oauth/stub/callback", params={"code": stolen, "state": state})
    assert answer.status_code == 400
    assert "wrong verifier" in light.provider.log()


async def test_keys_that_rotate_are_found_and_a_flood_of_unknown_ones_is_not_passed_on(
    light: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await light.browser().sign_in()).status_code == 200
    light.provider.behave(key="second", published=["second"])
    for _ in range(3):
        assert (await light.browser().sign_in()).status_code == 400
    assert light.provider.log().count("GET /jwks") == 0
    monkeypatch.setattr("app_kernel.oauth.oidc.KEYS_PAUSE_SECONDS", 0.0)
    assert (await light.browser().sign_in()).status_code == 200
    assert light.provider.log().count("GET /jwks") == 1


async def test_an_issuer_is_discovered_when_it_is_first_used_and_once(light: Service) -> None:
    assert light.provider.log() == []
    for _ in range(3):
        assert (await light.browser().sign_in()).status_code == 200
    log = light.provider.log()
    assert log.count("GET /.well-known/openid-configuration") == 1
    assert log.count("GET /jwks") == 1


WRONG_DOCUMENTS: list[dict[str, Any]] = [
    {"issuer": "https://evil.example"},
    {"issuer": None},
    {"token_endpoint": "http://evil.example/token"},
    {"token_endpoint": None},
    {"authorization_endpoint": "javascript:alert(1)"},
    {"jwks_uri": "file:///etc/passwd"},
    {"userinfo_endpoint": "http://169.254.169.254/latest"},
]


async def test_a_discovery_document_of_somebody_else_is_not_used(light: Service) -> None:
    for document in WRONG_DOCUMENTS:
        light.provider.behave(document=document)
        answer = await light.browser().start()
        assert answer.status_code == 502, document
        assert "evil" not in answer.text


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"keys": None},
        {"keys": [1, {}, {"kty": "oct", "k": "c2VjcmV0"}, {"kty": "RSA", "n": "AQ", "e": "AQAB"}]},
    ],
)
def test_keys_that_must_not_sign_are_left_out(document: Any) -> None:
    keys = read_keys(document)
    assert list(keys) == []
    with pytest.raises(TokenRefused):
        verify_id_token("e30.e30.e30", keys, issuer="i", client_id="c", nonce="n", access_token=None)


def test_a_key_for_encryption_and_a_short_one_are_left_out() -> None:
    import warnings

    from joserfc.jwk import RSAKey

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        short = RSAKey.generate_key(1024).as_dict(private=False)
    sealing = {**KEYS["first"].as_dict(private=False), "use": "enc"}
    good = KEYS["second"].as_dict(private=False)
    assert [key.kid for key in read_keys({"keys": [short, sealing, good]})] == ["second"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)
HEADERS = ["alg", "kid", "typ", "crit", "jwk", "b64", "zip", "x5c"]
CLAIMS = ["iss", "aud", "sub", "exp", "iat", "nbf", "nonce", "azp", "at_hash", "amr", "auth_time"]


@given(st.dictionaries(st.sampled_from(HEADERS), JSON), st.dictionaries(st.sampled_from(CLAIMS), JSON), st.booleans())
def test_whatever_a_token_says_it_is_refused_and_breaks_nothing(
    header: dict[str, Any], claims: dict[str, Any], signed: bool
) -> None:
    keys = read_keys({"keys": [KEYS["first"].as_dict(private=False), KEYS["curve"].as_dict(private=False)]})
    now = int(time.time())
    good = {"iss": "i", "aud": "c", "sub": "s", "exp": now + 60, "iat": now, "nonce": "n" * 43}
    text = f"{packed({'alg': 'RS256', 'kid': 'first', **header})}.{packed({**good, **claims, 'nonce': 'x'})}"
    signature = KEYS["first"].private_key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()) if signed else b"a"
    token = f"{text}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
    with pytest.raises(TokenRefused):
        verify_id_token(token, keys, issuer="i", client_id="c", nonce="n" * 43, access_token="t")


@given(JSON, st.dictionaries(st.sampled_from(["kty", "n", "e", "crv", "x", "y", "use", "kid", "alg"]), JSON))
def test_whatever_a_key_set_says_it_breaks_nothing(document: Any, key: dict[str, Any]) -> None:
    assert list(read_keys(document)) == []
    for kind in ("RSA", "EC", "OKP"):
        assert list(read_keys({"keys": [{**key, "kty": kind}]})) == []
