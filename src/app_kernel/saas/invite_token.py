"""The token of an invite: 256 random bits, kept as a hash, for one use and some days."""

import hashlib
import re
import secrets

MARK = "wi_"
_shape = re.compile(r"wi_[A-Za-z0-9_-]{43}", re.ASCII).fullmatch


def new_token() -> str:
    """A token that was never given before."""
    return MARK + secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """The stored form: SHA-256 in hex; 256 random bits need no slow hash."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def is_token(text: object) -> bool:
    """Whether this is text of the shape of a token."""
    return isinstance(text, str) and _shape(text) is not None
