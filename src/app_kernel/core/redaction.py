"""What names and texts give away that a value is a secret; shared by what writes values down: logs and audit."""

import re
from functools import lru_cache

REDACTED = "[redacted]"

SECRET_WORDS = r"passw|secret|token|authorization|cookie|api[-_]?key|dsn|credential|private[-_]?key"  # noqa: S105 - none
"""In the name of whatever holds a secret; without regard to case."""

_MORE_WORDS = (
    r"passphrase|(?<![a-z])(?:pwd|ssn|jwt|totp|cvv2?|cvc)(?![a-z])|social[-_]?security|(?<!dis)card[-_]?n(?:o|um)"
    r"|(?:access|signing|encryption|master)[-_]?key|key[-_]?hash|(?:recovery|backup|pin|mfa)[-_]?code|bearer"
)
_SECRET_NAME = re.compile(f"(?:{SECRET_WORDS}|{_MORE_WORDS})", re.IGNORECASE)
# With regard to case: `otpCode` is one, and `footprint` is none.
_ONE_TIME = re.compile(r"(?<![a-zA-Z])(?:otp|OTP|Otp)(?![a-z])|[a-z]Otp(?![a-z])")
_TELLS_ABOUT_ONE = re.compile(r"[-_](?:id|at|count|type)$", re.IGNORECASE)
"""`api_key_id` names a key and is none."""
_SECRETARY = re.compile(r"secretar", re.IGNORECASE)

SHORTEST_CREDENTIAL = 12
# Each begins with a text that is searched for as fast as memory is read, and takes no longer than a text is long.
_CREDENTIALS = tuple(
    (begin, re.compile(re.escape(begin) + rest), shown)
    for begin, rest, shown in (
        ("sk_", r"(?<!\wsk_)[a-z]{1,20}+_\w++", REDACTED),
        ("whsec_", r"(?<!\wwhsec_)[\w+/=-]++", REDACTED),
        ("eyJ", r"(?<![\w-]eyJ)[\w-]{8,4096}+\.[\w-]++\.[\w-]*+", REDACTED),
        (
            "-----BEGIN ",
            r"[A-Z ]{0,30}PRIVATE KEY-----[^-]*+(?:-----END [A-Z ]{0,30}PRIVATE KEY-----)?",
            REDACTED,
        ),
        # The user and password of an address, and what follows `Bearer` if that is no word.
        ("://", r"[^\s\"'<>?#:@/]{0,256}+:[^\s\"'<>?#/]{1,256}(?=@)", f"://{REDACTED}"),
        ("earer ", r"(?=[A-Za-z._~+/=-]{0,256}+[0-9])[\w.~+/=-]{16,}+", f"earer {REDACTED}"),
    )
)


@lru_cache(maxsize=8192)
def is_secret_name(name: str) -> bool:
    """Whether what has this name holds a secret: a password, token, key, cookie, card or one-time code."""
    if not (_SECRET_NAME.search(name) or _ONE_TIME.search(name)):
        return False
    return not (_TELLS_ABOUT_ONE.search(name) or _SECRETARY.search(name))


def without_credentials(text: str) -> str:
    """The text without what is written out in it of API keys, webhook secrets, signed and bearer tokens, private keys,
    and the user and password in an address."""
    # A search for a plain text is much cheaper than one for a pattern, and most texts have none of these.
    if (
        "sk_" in text
        or "whsec_" in text
        or "eyJ" in text
        or "PRIVATE KEY" in text
        or "earer " in text
        or ("://" in text and "@" in text)
    ):
        for begin, pattern, shown in _CREDENTIALS:
            if begin in text:
                text = pattern.sub(shown, text)
    return text
