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
_CREDENTIAL = re.compile(
    r"(?<!\w)sk_[a-z]{1,20}+_\w++"
    r"|(?<!\w)whsec_[\w+/=-]++"
    r"|(?<![\w-])eyJ[\w-]{8,4096}+\.[\w-]++\.[\w-]*+"
    r"|-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[^-]*+(?:-----END [A-Z ]{0,30}PRIVATE KEY-----)?"
)


@lru_cache(maxsize=8192)
def is_secret_name(name: str) -> bool:
    """Whether what has this name holds a secret: a password, token, key, cookie, card or one-time code."""
    if not (_SECRET_NAME.search(name) or _ONE_TIME.search(name)):
        return False
    return not (_TELLS_ABOUT_ONE.search(name) or _SECRETARY.search(name))


def without_credentials(text: str) -> str:
    """The text without API keys, webhook secrets, signed tokens and private keys that are written out in it."""
    # A search for a plain text is much cheaper than one for a pattern, and most texts have none of these.
    if "sk_" in text or "whsec_" in text or "eyJ" in text or "PRIVATE KEY" in text:
        return _CREDENTIAL.sub(REDACTED, text)
    return text
