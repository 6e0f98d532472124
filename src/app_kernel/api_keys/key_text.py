"""How an API key is spelled: a prefix that scanners know, a public part to find it by, a secret, and a checksum.

    sk_live_ | 12 public | 32 secret | 6 checksum       all base62 (0-9A-Za-z), 58 characters

The checksum is the CRC-32 (as in zlib and PNG, ISO 3309) of the 52 characters before it, written in base62 with the
most significant digit first. It tells a key from text that only looks like one, without a database and without
protecting anything: the secret part does that, with 190 bits from the operating system's random source.
"""

import re
import secrets
import string
import zlib

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
MARK = "sk_live_"
PUBLIC_LENGTH = 12
SECRET_LENGTH = 32
CHECKSUM_LENGTH = 6
PREFIX_LENGTH = len(MARK) + PUBLIC_LENGTH

API_KEY_PATTERN = r"\bsk_live_[0-9A-Za-z]{50}\b"
"""What secret scanners look for. `looks_like_api_key` sorts out what is no key: the last 6 characters must be the
CRC-32 of the 52 before them in base62 (0-9A-Za-z, most significant digit first, filled up with 0)."""

_whole = re.compile(r"sk_live_[0-9A-Za-z]{50}", re.ASCII).fullmatch


def make_key() -> str:
    """A new key in plaintext."""
    body = MARK + "".join(secrets.choice(ALPHABET) for _ in range(PUBLIC_LENGTH + SECRET_LENGTH))
    return body + checksum_of(body)


def checksum_of(body: str) -> str:
    """The checksum of the 52 characters before it."""
    left, digits = zlib.crc32(body.encode()), ""
    for _ in range(CHECKSUM_LENGTH):
        left, digit = divmod(left, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits


def looks_like_api_key(text: str) -> bool:
    """Whether text is spelled like a key of this kernel, checksum included; whether it is live it cannot tell."""
    return _whole(text) is not None and checksum_of(text[:-CHECKSUM_LENGTH]) == text[-CHECKSUM_LENGTH:]


def prefix_of(key: str) -> str:
    """The public part of a key, by which it is found and shown."""
    return key[:PREFIX_LENGTH]
