"""Access tokens as the kernel issues them (same algorithm, same claims), checked by hand with PyJWT."""

from __future__ import annotations

import os
import time
import uuid
from typing import Annotated, Any

import jwt
from fastapi import Header, HTTPException

ISSUER = "bench"
AUDIENCE = "bench"
CLAIMS = ["iss", "aud", "sub", "sid", "typ", "role", "iat", "exp", "jti"]
SECRET = "a secret of the benchmarks, longer than thirty-two bytes"


def make_token(user_id: str) -> str:
    """A token that is good for an hour."""
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": user_id,
        "sid": uuid.uuid4().hex,
        "typ": "access",
        "role": "user",
        "iat": now,
        "exp": now + 3600,
        "jti": uuid.uuid4().hex,
    }
    return jwt.encode(claims, _secret(), algorithm="HS256", headers={"kid": "1"})


def current_user(authorization: Annotated[str, Header()] = "") -> str:
    """The id of the token's user; 401 without a good token."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise HTTPException(401)
    try:
        claims: dict[str, Any] = jwt.decode(
            token, _secret(), algorithms=["HS256"], audience=AUDIENCE, issuer=ISSUER, options={"require": CLAIMS}
        )
    except jwt.InvalidTokenError as exc:
        raise HTTPException(401) from exc
    if claims["typ"] != "access":
        raise HTTPException(401)
    return str(claims["sub"])


async def current_user_on_loop(authorization: Annotated[str, Header()] = "") -> str:
    """The same without the thread hop that FastAPI gives a plain function."""
    return current_user(authorization)


def _secret() -> str:
    return os.environ.get("JWT_SECRET", SECRET)
