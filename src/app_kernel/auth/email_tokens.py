"""The tokens in mailed links: 256 random bits, kept as a hash, each for one purpose, one use and a short time.

They travel in the fragment of a link (RFC 3986, 3.5), which browsers send to no server and put into no Referer.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeAlias

Purpose: TypeAlias = Literal["verify", "change", "reset", "choose"]
"""`verify` confirms the account's address, `change` a new one, `reset` lets whoever reads mail there set a password;
`choose` is not mailed: it lets who just confirmed an address set the first password that is known to be theirs.
"""

PREFIXES: dict[Purpose, str] = {"verify": "ev_", "change": "ec_", "reset": "pr_", "choose": "pc_"}
LIFETIMES: dict[Purpose, timedelta] = {
    "verify": timedelta(hours=24),
    "change": timedelta(hours=1),
    "reset": timedelta(hours=1),
    "choose": timedelta(minutes=15),
}

MOST_PER_HOUR = 5
"""Mails that strangers may cause for one account in an hour: who knows an address must not flood its mailbox."""

_SHAPE = re.compile(r"(e[vc]|p[rc])_[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class EmailToken:
    """A new token and the form of it that is stored."""

    text: str
    token_hash: str


def new_email_token(purpose: Purpose) -> EmailToken:
    """A token that was never given before."""
    text = f"{PREFIXES[purpose]}{secrets.token_urlsafe(32)}"
    return EmailToken(text, hash_email_token(text))


def hash_email_token(text: str) -> str:
    """The stored form: SHA-256 in hex; 256 random bits need no slow hash."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def purpose_of(text: str) -> Purpose | None:
    """What a token is for, by its shape alone; None when it is no such token."""
    if not _SHAPE.fullmatch(text):
        return None
    return next(purpose for purpose, prefix in PREFIXES.items() if text.startswith(prefix))
