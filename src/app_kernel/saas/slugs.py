"""The short name of a workspace that may stand in addresses: what it may be, and what becomes of a name."""

import re
import secrets
import string
import unicodedata

from app_kernel.core.errors import InvalidWorkspace

MAX_SLUG = 50
MAX_NAME = 100

_SUFFIX = string.ascii_lowercase + string.digits
_SUFFIX_LENGTH = 6
_DERIVED = MAX_SLUG - _SUFFIX_LENGTH - 1
_slug = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", re.ASCII).fullmatch
_unprintable = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]").search
"""Control characters, line ends, and what makes text read in another order than it is written."""
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and symbols that show nothing."""


def check_name(name: object) -> str:
    """A name without space around it; raises InvalidWorkspace for one that is too long or unprintable."""
    text = name.strip() if isinstance(name, str) else ""
    if len(text) > MAX_NAME or _unprintable(text) or not any(map(_shows, text)):
        raise InvalidWorkspace(f"The name of a workspace is 1 to {MAX_NAME} printable characters.")
    return text


def _shows(character: str) -> bool:
    """Whether a character alone can be seen: no mark, space, or character of format."""
    return unicodedata.category(character)[0] in "LNPS" and character not in _BLANK


def check_slug(slug: object) -> str:
    """The slug; raises InvalidWorkspace for what cannot be one."""
    if not isinstance(slug, str) or len(slug) > MAX_SLUG or not _slug(slug):
        raise InvalidWorkspace(
            f"A slug is 1 to {MAX_SLUG} lower-case letters, digits and dashes, with no dash at its ends."
        )
    return slug


def slug_of(name: str) -> str:
    """What a name becomes: `Café Zoë & Co.` gives `cafe-zoe-co`; a name without Latin letters gives `workspace`."""
    folded = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", folded)[:_DERIVED].strip("-") or "workspace"


def another(slug: str) -> str:
    """A slug like this one, with six random characters behind it."""
    return f"{slug[:_DERIVED].rstrip('-')}-{''.join(secrets.choice(_SUFFIX) for _ in range(_SUFFIX_LENGTH))}"
