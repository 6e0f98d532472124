"""A real OpenID issuer and a GitHub look-alike for tests: an ASGI app in a process of its own on the loopback.

It enforces what a real one does: the client's secret, redirect address, single use of codes, and PKCE. `POST /control`
says who signs in next and what the issuer does wrong; `GET /log` tells what reached it.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import re
import secrets
import time
from typing import Any
from urllib.parse import urlencode

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

CLIENT_ID = "kernel-client"
CLIENT_SECRET = "client-secret-of-the-stub-7f1c"
TOLD = "internal-detail-of-the-provider <script>alert(1)</script>"
"""What a provider says that nobody may see again."""
ADA = {"sub": "ada-1", "email": "ada@example.com", "email_verified": True, "name": "Ada"}
OCTOCAT = {
    "user": {"id": 583231, "login": "octocat", "name": "Octo"},
    "emails": [{"email": "octo@example.com", "primary": True, "verified": True}],
}

KEYS = {
    "first": RSAKey.generate_key(2048, {"kid": "first", "use": "sig"}),
    "second": RSAKey.generate_key(2048, {"kid": "second", "use": "sig"}),
    "stranger": RSAKey.generate_key(2048, {"kid": "first", "use": "sig"}),
    "curve": ECKey.generate_key("P-256", {"kid": "curve", "use": "sig"}),
    "edwards": OKPKey.generate_key("Ed25519", {"kid": "edwards", "use": "sig"}),
}


class State:
    """What the issuer does now; `POST /control` begins anew."""

    def __init__(self, **given: Any) -> None:
        self.user: dict[str, Any] = given.pop("user", ADA)
        self.github: dict[str, Any] = given.pop("github", OCTOCAT)
        self.claims: dict[str, Any] = given.pop("claims", {})
        """Over the ID token's claims; None takes one away."""
        self.header: dict[str, Any] = given.pop("header", {})
        self.key: str = given.pop("key", "first")
        self.published: list[str] = given.pop("published", ["first", "curve", "edwards"])
        self.alg: str = given.pop("alg", "RS256")
        self.document: dict[str, Any] = given.pop("document", {})
        """Over the discovery document."""
        self.answer: dict[str, Any] = given.pop("answer", {})
        """Over the query of the redirect back."""
        self.faults: dict[str, str] = given.pop("faults", {})
        """From a path to what goes wrong there."""
        self.id_token: str | None = given.pop("id_token", None)
        self.bare_token: bool = given.pop("bare_token", False)
        """Whether the ID token has no profile, so that it has to be asked for."""
        self.user_info: dict[str, Any] = given.pop("user_info", {})
        self.codes: dict[str, dict[str, str]] = {}
        self.tokens: set[str] = set()
        self.log: list[str] = []
        assert not given, given


state = State()


async def control(request: Request) -> Response:
    global state  # noqa: PLW0603 - the process has one issuer
    state = State(**await request.json())
    return JSONResponse({})


async def log(request: Request) -> Response:
    return JSONResponse(state.log)


def issuer_of(request: Request) -> str:
    return f"http://{request.headers['host']}"


async def discovery(request: Request) -> Response:
    base = issuer_of(request)
    document = {
        "issuer": base,
        "authorization_endpoint": f"{base}/authorize",
        "token_endpoint": f"{base}/token",
        "jwks_uri": f"{base}/jwks",
        "userinfo_endpoint": f"{base}/userinfo",
        "token_endpoint_auth_methods_supported": ["client_secret_basic"],
    }
    return JSONResponse(changed(document, state.document))


async def jwks(request: Request) -> Response:
    return JSONResponse({"keys": [KEYS[name].as_dict(private=False) for name in state.published]})


async def authorize(request: Request) -> Response:
    """Signs the chosen user in at once and sends the browser back."""
    asked = dict(request.query_params)
    if asked.get("client_id") != CLIENT_ID or asked.get("response_type") != "code":
        return JSONResponse({"error": "invalid_request"}, 400)
    # As strict as OAuth 2.1: a client without PKCE is refused.
    if asked.get("code_challenge_method") != "S256" or not re.fullmatch(r"[\w-]{43}", asked.get("code_challenge", "")):
        return JSONResponse({"error": "invalid_request", "error_description": "PKCE is required"}, 400)
    code = secrets.token_urlsafe(16)
    state.codes[code] = asked
    answer = changed({"code": code, "state": asked.get("state", "")}, state.answer)
    return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(answer)}", 302)


async def token(request: Request) -> Response:
    form = {key: str(value) for key, value in (await request.form()).items()}
    authorization = request.headers.get("authorization", "")
    if authorization.startswith("Basic "):
        client, _, secret = base64.b64decode(authorization[6:]).decode().partition(":")
    else:
        client, secret = form.get("client_id", ""), form.get("client_secret", "")
    if (client, secret) != (CLIENT_ID, CLIENT_SECRET):
        return JSONResponse({"error": "invalid_client", "error_description": TOLD}, 401)
    asked = state.codes.pop(form.get("code", ""), None)
    if asked is None or form.get("grant_type") != "authorization_code" or asked["redirect_uri"] != form["redirect_uri"]:
        return JSONResponse({"error": "invalid_grant", "error_description": TOLD}, 400)
    digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
    if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != asked["code_challenge"]:
        state.log.append("wrong verifier")
        return JSONResponse({"error": "invalid_grant", "error_description": TOLD}, 400)
    access = secrets.token_urlsafe(24)
    state.tokens.add(access)
    answer = {"access_token": access, "token_type": "Bearer", "expires_in": 3600, "refresh_token": "kept-by-nobody"}
    if "openid" in asked.get("scope", ""):
        answer["id_token"] = sign(claims_for(request, asked, access)) if state.id_token is None else state.id_token
    return JSONResponse(answer)


def claims_for(request: Request, asked: dict[str, str], access: str) -> dict[str, Any]:
    now = int(time.time())
    profile = {"sub": state.user["sub"]} if state.bare_token else state.user
    half = hashlib.sha256(access.encode()).digest()[:16]
    claims = {
        "iss": issuer_of(request),
        "aud": CLIENT_ID,
        "iat": now,
        "exp": now + 300,
        "nonce": asked.get("nonce", ""),
        "at_hash": base64.urlsafe_b64encode(half).rstrip(b"=").decode(),
        **profile,
    }
    return changed(claims, state.claims)


def sign(claims: dict[str, Any]) -> str:
    key = KEYS[state.key]
    header = changed({"alg": state.alg, "kid": key.kid}, state.header)
    if state.alg == "none":
        return f"{packed(header)}.{packed(claims)}."
    if state.alg == "HS256":
        # The public key, which everybody can read, taken for a shared secret.
        text = f"{packed(header)}.{packed(claims)}"
        mac = hmac.digest(KEYS["first"].as_pem(private=False), text.encode(), "sha256")
        return f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    if "crit" in header:
        text = f"{packed(header)}.{packed(claims)}"
        signature = key.private_key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{text}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
    if state.alg in ("EdDSA", "Ed25519"):
        claims = {name: value for name, value in claims.items() if name != "at_hash"}
    return jwt.encode(header, claims, key, algorithms=[state.alg])


def packed(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def changed(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**values, **changes}.items() if value is not None}


def bearer(request: Request) -> bool:
    return request.headers.get("authorization", "").removeprefix("Bearer ") in state.tokens


async def userinfo(request: Request) -> Response:
    if not bearer(request):
        return JSONResponse({"error": "invalid_token"}, 401)
    return JSONResponse(changed(state.user, state.user_info))


async def github_user(request: Request) -> Response:
    if not bearer(request):
        return JSONResponse({"message": TOLD}, 401)
    return JSONResponse(state.github["user"])


async def github_emails(request: Request) -> Response:
    if not bearer(request):
        return JSONResponse({"message": TOLD}, 401)
    if state.github["emails"] is None:
        return JSONResponse({"message": TOLD}, 404)
    return JSONResponse(state.github["emails"])


async def elsewhere(request: Request) -> Response:
    return JSONResponse({})


class Faults:
    """Does what a path is told to do wrong, instead of or before what it does."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] in ("/control", "/log"):
            await self.app(scope, receive, send)
            return
        state.log.append(f"{scope['method']} {scope['path']}")
        response = fault(state.faults.get(scope["path"]))
        if response is None:
            await self.app(scope, receive, send)
        elif isinstance(response, Response):
            await response(scope, receive, send)
        else:
            await asyncio.sleep(response)


def fault(kind: str | None) -> Response | float | None:
    headers = {"content-type": "application/json"}
    answers: dict[str, Response] = {
        "500": JSONResponse({"error": TOLD}, 500),
        "400": JSONResponse({"error": "server_error", "error_description": TOLD}, 400),
        "html": Response(f"<html>{TOLD}</html>", 200, media_type="text/html"),
        "text": Response(json.dumps({"error": TOLD}), 200, media_type="text/plain"),
        "broken": Response('{"access_token": ' + json.dumps(TOLD), 200, headers),
        "list": JSONResponse([TOLD]),
        "big": StreamingResponse(flood(160), 200, headers),
        "redirect": RedirectResponse("/elsewhere", 307),
        "gzip": Response(b"\x1f\x8b\x08\x00", 200, {**headers, "content-encoding": "gzip"}),
    }
    if kind == "drip":
        return StreamingResponse(drip(), 200, headers)
    return 30.0 if kind == "slow" else answers.get(kind or "")


async def flood(blocks: int) -> Any:
    """10 MB of JSON."""
    yield b'{"access_token": "'
    for _ in range(blocks):
        state.log.append("64 KB")
        yield b"a" * 65536
    yield b'"}'


async def drip() -> Any:
    """A byte now and then, so that no single read takes too long."""
    for _ in range(300):
        yield b" "
        await asyncio.sleep(0.1)


app = Faults(
    Starlette(
        routes=[
            Route("/control", control, methods=["POST"]),
            Route("/log", log),
            Route("/.well-known/openid-configuration", discovery),
            Route("/jwks", jwks),
            Route("/authorize", authorize),
            Route("/token", token, methods=["POST"]),
            Route("/userinfo", userinfo),
            Route("/api/user", github_user),
            Route("/api/user/emails", github_emails),
            Route("/elsewhere", elsewhere, methods=["GET", "POST"]),
        ]
    )
)
