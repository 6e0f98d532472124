"""Which passwords may be chosen: length and a blocklist, no composition rules (NIST SP 800-63B-4, 3.1.1.2)."""

import unicodedata
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

from app_kernel.auth.passwords import MAX_BYTES
from app_kernel.core.errors import WeakPassword

TAIL = 4
"""How many digits or signs around a common word still make it the common word: dragon2024, password!1."""
CONTEXT_TAIL = 8
"""The same around the name of the service or account, which an attacker of this account tries first."""


def check_password_length(password: str, least: int) -> None:
    """Raises WeakPassword unless the password has `least` to 4096 bytes of UTF-8."""
    size = len(password.encode("utf-8", "surrogatepass"))
    if size < least:
        raise WeakPassword(f"A password needs at least {least} bytes.")
    if size > MAX_BYTES:
        raise WeakPassword(f"A password has at most {MAX_BYTES} bytes.")


def find_weakness(password: str, context: Iterable[str]) -> str | None:
    """Why a password would be among the first guesses, as a sentence for its owner, or None.

    `context` holds the words that belong to this account: the service's name, the email's local part, the username.
    Case does not count, nor do a few digits or signs around the word.
    """
    folded = unicodedata.normalize("NFKC", password).casefold()
    bare = _letters(folded)
    common = common_passwords()
    if folded in common or (_is_word_with_tail(folded, bare, TAIL) and bare in common):
        return "This password is one of the most common ones; choose another."
    if len(set(folded)) <= 2:
        return "This password repeats one or two characters; choose another."
    for word in context:
        name = word.casefold()
        if folded == name or (bare == _letters(name) and _is_word_with_tail(folded, bare, CONTEXT_TAIL)):
            return "This password is made of the name of the service or of the account; choose another."
    return None


@cache
def common_passwords() -> frozenset[str]:
    """The blocklist, in case-folded form."""
    text = (files("app_kernel.auth") / "common_passwords.txt").read_text(encoding="utf-8")
    return frozenset(text.splitlines())


def _letters(text: str) -> str:
    return "".join(char for char in text if char.isalpha())


def _is_word_with_tail(folded: str, letters: str, tail: int) -> bool:
    return len(letters) >= 3 and len(folded) - len(letters) <= tail
