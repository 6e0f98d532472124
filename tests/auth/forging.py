"""Tokens made by hand, signed rightly or wrongly, and not by the library under test."""

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    header, payload, _ = token.split(".")
    return json.loads(unb64(header)), json.loads(unb64(payload))


def signed(header: Any, payload: Any, secret: str | bytes, digest: str = "sha256") -> str:
    """A token over JSON values, or over text that is taken as it is."""
    head, body = (
        value.encode() if isinstance(value, str) else json.dumps(value).encode() for value in (header, payload)
    )
    key = secret.encode() if isinstance(secret, str) else secret
    signing_input = f"{b64(head)}.{b64(body)}"
    return f"{signing_input}.{b64(hmac.new(key, signing_input.encode(), getattr(hashlib, digest)).digest())}"
