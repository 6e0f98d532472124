"""Forged, altered and misused tokens against the running service: every one is a 401 and nothing else."""

import json
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from app_kernel.auth.refresh import RefreshTokens
from app_kernel.auth.tokens import AccessTokens, key_id
from app_kernel.core import clock
from app_kernel.core.clock import new_id
from tests.auth.forging import b64, parts, signed
from tests.auth.serving import SECRET, Service, serving

DAY = 86_400


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with serving(tmp_path / "app.db") as running:
        yield running


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        pytest.fail("something tried to reach the network")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


async def assert_refused(service: Service, tokens: dict[str, str]) -> None:
    accepted = {}
    for what, token in tokens.items():
        answer = await service.call("GET", "/auth/me", headers={"Authorization": b"Bearer " + token.encode()})
        if answer.status_code != 401 or answer.headers["content-type"] != "application/problem+json":
            accepted[what] = answer.status_code
    assert accepted == {}


@pytest.mark.acceptance("AU1")
async def test_algorithms_signatures_and_headers_other_than_ours_are_refused(service, no_network):
    token = (await service.sign_up())["access_token"]
    header, payload = parts(token)
    head, body, signature = token.split(".")
    own = {"alg": "HS256", "typ": "JWT", "kid": header["kid"]}
    assert await service.accepts(signed(own, payload, SECRET))
    forged = {}
    for alg in ("none", "None", "NONE", "nOnE", "", None, "HS384", "HS512", "hs256", ["HS256"], 256):
        forged[f"alg {alg} without signature"] = f"{b64(json.dumps({**own, 'alg': alg}).encode())}.{body}."
        forged[f"alg {alg} with our signature"] = signed({**own, "alg": alg}, payload, SECRET)
    forged["HS512, well made"] = signed({**own, "alg": "HS512"}, payload, SECRET, "sha512")
    pem = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    forged["RS256"] = jwt.encode(payload, pem, "RS256", {"kid": header["kid"]})
    forged["RS256 over the secret"] = signed({**own, "alg": "RS256"}, payload, SECRET)
    forged["ES256"] = jwt.encode(payload, ec.generate_private_key(ec.SECP256R1()), "ES256", {"kid": header["kid"]})
    forged["another secret"] = signed(own, payload, "x" * 40)
    forged["empty secret"] = signed(own, payload, b"")
    forged["empty signature"] = f"{head}.{body}."
    forged["no signature"] = f"{head}.{body}"
    forged["padding"] = token + "="
    forged["cut signature"] = token[:-1]
    forged["four parts"] = f"{token}.{signature}"
    forged["five parts"] = f"{head}.{body}.{signature}.{signature}.{signature}"
    forged["leading dot"] = f".{token}"
    forged["trailing dot"] = f"{token}."
    forged["space inside"] = f"{head}. {body}.{signature}"
    forged["swapped payload"] = f"{head}.{b64(json.dumps({**payload, 'sub': new_id()}).encode())}.{signature}"
    forged["deep header"] = signed("[" * 300, payload, SECRET)
    forged["header as deep as it fits"] = signed("[" * 190, payload, SECRET)
    forged["deep payload"] = signed(own, "[" * 3000, SECRET)
    forged["long digits"] = signed(own, '{"exp":' + "9" * 2900 + "}", SECRET)
    forged["endless"] = "a" * 3000 + "." + "b" * 5000 + "." + signature
    for name, value in {
        "crit": ["exp"],
        "b64": False,
        "jku": "http://127.0.0.1:9/keys",
        "x5u": "http://127.0.0.1:9/cert",
        "x5c": ["AAAA"],
        "jwk": {"kty": "oct", "k": b64(b"x" * 32)},
        "cty": "JWT",
        "zip": "DEF",
    }.items():
        forged[f"header {name}"] = signed({**own, name: value}, payload, SECRET)
        forged[f"header {name} and a key of theirs"] = signed({**own, name: value}, payload, "x" * 32)
    for kid in ("../../dev/null", "' OR 1=1 --", "/etc/passwd", "", None, 0, [], {}, "a" * 300, key_id("x" * 40)):
        forged[f"kid {kid}"] = signed({**own, "kid": kid}, payload, SECRET)
        forged[f"kid {kid}, empty key"] = signed({**own, "kid": kid}, payload, b"")
    forged["no kid"] = signed({"alg": "HS256"}, payload, SECRET)
    forged["header is a list"] = signed([], payload, SECRET)
    forged["payload is a list"] = signed(own, [payload], SECRET)
    forged["payload is no JSON"] = signed(own, "hello", SECRET)
    forged["payload with NaN"] = signed(own, '{"exp": NaN}', SECRET)
    await assert_refused(service, forged)


@pytest.mark.acceptance("AU2")
async def test_each_claim_is_required_and_has_one_type(service):
    token = (await service.sign_up())["access_token"]
    header, payload = parts(token)
    assert await service.accepts(signed(header, payload, SECRET))
    now = int(time.time())
    wrong = {f"no {name}": {k: v for k, v in payload.items() if k != name} for name in payload}
    never = [
        None,
        True,
        False,
        "",
        "x",
        [],
        {},
        -1,
        0,
        1.5,
        1e18,
        10**18,
        10**400,
        -(10**18),
        str(now + DAY),
        float(now + DAY),
    ]
    wrong |= {
        f"{name} {value}": {**payload, name: value}
        for name in ("exp", "iat")
        for value in never
        if (name, value) != ("iat", 0)
    }
    wrong |= {f"nbf {value}": {**payload, "nbf": value} for value in never if value != 0 or value is False}
    wrong |= {
        f"{name} {value}": {**payload, name: value}
        for name in ("sub", "sid", "jti", "iss", "aud", "typ", "role")
        for value in (None, True, 0, 1, [], {}, "", [payload[name]], {"x": payload[name]}, "x" * 256)
    }
    wrong |= {
        f"{name} {value}": {**payload, name: value}
        for name in ("sub", "sid", "iss", "aud", "typ")
        for value in ("other", "*", new_id(), str(payload[name]) + "\x00", str(payload[name]).upper() + " ")
    }
    wrong |= {
        "aud among others": {**payload, "aud": ["other", payload["aud"]]},
        "exp now": {**payload, "exp": now},
        "exp a second ago": {**payload, "exp": now - 1},
        "exp before iat": {**payload, "iat": now + 50, "exp": now + 40},
        "iat beyond the leeway": {**payload, "iat": now + 70},
        "nbf beyond the leeway": {**payload, "nbf": now + 70},
    }
    await assert_refused(service, {what: signed(header, claims, SECRET) for what, claims in wrong.items()})
    for what in ({"iat": now + 40}, {"nbf": now + 40}, {"nbf": 0}, {"iat": 0}, {"note": "more"}):
        assert await service.accepts(signed(header, {**payload, **what}, SECRET)), what


@pytest.mark.acceptance("AU2")
async def test_a_token_of_another_service_with_the_same_secret_is_refused(service):
    user = await service.sign_up()
    payload = parts(user["access_token"])[1]
    other = AccessTokens("another_service", [SECRET])
    stranger = other.issue(payload["sub"], payload["sid"], "user", payload["exp"])
    assert parts(stranger)[1]["aud"] == "another_service"
    await assert_refused(service, {"other service": stranger})


@pytest.mark.acceptance("AU3")
async def test_no_kind_of_token_passes_for_another(service):
    user = await service.sign_up()
    header, payload = parts(user["access_token"])
    kinds = ("refresh", "reset", "verify", "invite", "webhook", "state", "Access", "access ", "")
    others = {kind: signed(header, {**payload, "typ": kind}, SECRET) for kind in kinds}
    others |= {"refresh token": user["refresh_token"], "api key": "sk_live_" + "a" * 40, "nothing": ""}
    await assert_refused(service, others)
    for what, token in {**others, "access token": user["access_token"]}.items():
        if what != "refresh token":
            answer = await service.call("POST", "/auth/refresh", json={"refresh_token": token})
            assert answer.status_code in (401, 422), what
    assert (
        await service.call("POST", "/auth/refresh", json={"refresh_token": user["refresh_token"]})
    ).status_code == 200


@pytest.mark.acceptance("AU3")
@pytest.mark.parametrize("scheme", ["Basic", "Token", "ApiKey", "bearer2", ""])
async def test_only_the_bearer_scheme_carries_an_access_token(service, scheme):
    token = (await service.sign_up())["access_token"]
    assert (await service.call("GET", "/auth/me", headers={"Authorization": f"{scheme} {token}"})).status_code == 401
    assert (await service.call("GET", "/auth/me", headers={"Authorization": f"bEaReR {token}"})).status_code == 200
    for place in ("access_token", "token"):
        assert (await service.call("GET", "/auth/me", params={place: token})).status_code == 401
        assert (await service.call("GET", "/auth/me", headers={"Cookie": f"{place}={token}"})).status_code == 401


async def test_two_authorization_headers_are_refused(service):
    token = (await service.sign_up())["access_token"]
    twice = [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {token}")]
    assert (await service.call("GET", "/auth/me", headers=twice)).status_code == 401


@pytest.mark.acceptance("AU5")
async def test_a_rotated_secret_signs_nobody_out_until_the_old_one_is_removed(tmp_path: Path):
    database, new_secret = tmp_path / "app.db", "second-secret-of-the-tests-0123456789abcdef"
    async with serving(database) as before:
        old = await before.sign_up()
        renewed = (await before.call("POST", "/auth/refresh", json={"refresh_token": old["refresh_token"]})).json()
    async with serving(database, jwt_secret=new_secret, jwt_secret_previous=SECRET) as during:
        assert await during.accepts(old["access_token"])
        # Within the grace the successor that the old secret made is given again.
        again = (await during.call("POST", "/auth/refresh", json={"refresh_token": old["refresh_token"]})).json()
        assert again["refresh_token"] == renewed["refresh_token"]
        new = (await during.call("POST", "/auth/refresh", json={"refresh_token": renewed["refresh_token"]})).json()
        assert parts(new["access_token"])[0]["kid"] == key_id(new_secret)
    async with serving(database, jwt_secret=new_secret) as after:
        assert not await after.accepts(old["access_token"])
        assert await after.accepts(new["access_token"])
        assert (
            await after.call("POST", "/auth/refresh", json={"refresh_token": old["refresh_token"]})
        ).status_code == 401
        assert (
            await after.call("POST", "/auth/refresh", json={"refresh_token": new["refresh_token"]})
        ).status_code == 200


@pytest.mark.acceptance("AU5")
async def test_a_secret_that_leaked_and_was_rotated_makes_no_refresh_token_even_with_the_database(tmp_path: Path):
    """While the old secret is still given, a token made with it is genuine; it is not the one that was issued."""
    new_secret = "second-secret-of-the-tests-0123456789abcdef"
    async with serving(tmp_path / "app.db", jwt_secret=new_secret, jwt_secret_previous=SECRET) as service:
        user = await service.sign_up()
        (session,) = await service.db.privileged.find_entities("kernel_sessions")
        forged = RefreshTokens([SECRET]).derive(session["id"], session["generation"], session["nonce"])
        assert forged != user["refresh_token"]
        assert (await service.post("refresh", refresh_token=forged)).status_code == 401
        assert (await service.post("refresh", refresh_token=user["refresh_token"])).status_code == 200


async def test_expiry_is_strict_and_counts_for_a_remembered_token_too(service):
    with clock.frozen() as time_:
        user = await service.sign_up()
        assert user["expires_in"] == DAY
        assert await service.accepts(user["access_token"])
        time_.advance(parts(user["access_token"])[1]["exp"] - clock.epoch() - 0.5)
        assert await service.accepts(user["access_token"])
        time_.advance(0.5)
        assert not await service.accepts(user["access_token"])
