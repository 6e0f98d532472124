"""What a request with an Idempotency-Key is: its key, whose it is, and what it asks for."""

import hashlib
import re
from collections.abc import Iterable

from starlette.types import Scope

from app_kernel.core.context import current_context
from app_kernel.core.errors import InvalidIdempotencyKey

HEADER = b"idempotency-key"
METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
MAX_KEY = 255
MAX_PARTS = 2_000
"""A form with more parts is taken as it is, so that describing it stays cheap; FastAPI refuses it anyway."""

_BOUNDARY = re.compile(
    rb""";[ \t]*+boundary=(?:"([a-z0-9'()+_,./:=? -]{0,69}[a-z0-9'()+_,./:=?-])"|([a-z0-9'()+_,./:=?-]{1,70}))"""
    rb"[ \t]*+(?:;|\Z)",
    re.IGNORECASE,
)
"""The parameter of RFC 2046, 5.1.1: 1 to 70 characters of its alphabet, and no space at the end."""
_NAMED = re.compile(rb";[ \t]*+boundary", re.IGNORECASE)
_AFTER_BOUNDARY = (b"\r\n", b"--", b" ", b"\t")


def read_key(scope: Scope) -> bytes:
    """The key of a request that has the header; raises InvalidIdempotencyKey."""
    values: list[bytes] = [value for name, value in scope["headers"] if name == HEADER]
    key = values[0]
    if len(values) > 1 or not 0 < len(key) <= MAX_KEY or not all(0x21 <= byte <= 0x7E for byte in key):
        raise InvalidIdempotencyKey
    return key


def describe(scope: Scope, body: bytes) -> bytes:
    """The hash of everything that makes the request another one: method, path, query, content type and body."""
    content_type = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
    content_type, parts = _without_boundary(content_type, body)
    return _hash((scope["method"].encode(), _text(scope["path"]), scope["query_string"], content_type, *parts))


def identify(scope: Scope, key: bytes) -> str | None:
    """The hash of the key and of whose it is: the user or API key that the route let in, in one workspace.

    None for an anonymous caller: nobody can tell one of them from another.
    """
    context = current_context()
    if context.user is not None:
        owner = ("user", context.user.id)
    elif context.api_key_id is not None:
        owner = ("api_key", context.api_key_id)
    else:
        return None
    workspace = context.workspace_id or _named_workspace(scope)
    return _hash((*map(_text, (*owner, workspace)), key)).hex()


def _named_workspace(scope: Scope) -> str:
    """The workspace that the request names where no route has looked at it: in its path, or in a header."""
    named = scope.get("path_params", {}).get("workspace_id")
    if named is not None:
        return str(named)
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-workspace-id"), "")


def _without_boundary(content_type: bytes, body: bytes) -> tuple[bytes, list[bytes]]:
    """A form as its content type and its parts without the boundary, which clients make up anew for each attempt.

    What is no plain form is its content type and one part. Takes time linear in the length of both.
    """
    whole = content_type, [body]
    if content_type[:10].lower() != b"multipart/" or len(_NAMED.findall(content_type)) != 1:
        return whole
    found = _BOUNDARY.search(content_type)
    if found is None:
        return whole
    group = found.lastindex or 0
    line = b"--" + found[group]
    parts = body.split(b"\r\n" + line, MAX_PARTS)
    if parts[0].startswith(line):
        parts[:1] = [b"", parts[0][len(line) :]]
    # Where the boundary stands in a value, nobody but the parser can tell what it is.
    if len(parts) > MAX_PARTS or not all(part.startswith(_AFTER_BOUNDARY) for part in parts[1:]):
        return whole
    return content_type[: found.start(group)] + content_type[found.end(group) :], parts


def _text(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _hash(parts: Iterable[bytes]) -> bytes:
    """SHA-256 of the parts, each behind its length, so that no two lists of parts give the same bytes."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()
