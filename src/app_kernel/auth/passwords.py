"""Password hashes: argon2id at OWASP's cost (RFC 9106), computed in threads of their own, never on the event loop.

Hashes of an earlier kernel (PBKDF2-SHA256, `salt$iterations$hash`) and of bcrypt verify too; `needs_rehash` says so,
and the login that proves the password replaces them.
"""

import asyncio
import hashlib
import hmac
import importlib
import logging
import os
import re
import secrets
import threading
import unicodedata
from base64 import b64decode, b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, ParamSpec, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from app_kernel.core.errors import ServerBusy, WeakPassword

MEMORY_KIB, PASSES, LANES = 19456, 2, 1
MAX_BYTES = 4096
"""Longest password, in bytes of UTF-8. Nothing is ever cut off: a longer one is refused."""
QUEUE = 64
"""Hashes that may wait for a thread; beyond them the answer is 503 at once instead of a late one (25 ms each)."""

_ITERATIONS = re.compile(r"[1-9][0-9]{0,7}")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})+")
_log = logging.getLogger("app_kernel.auth")
_hasher = PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES, hash_len=32, salt_len=16)

P = ParamSpec("P")
R = TypeVar("R")


def _random_text(size: int) -> str:
    return b64encode(secrets.token_bytes(size)).rstrip(b"=").decode()


DUMMY_HASH = f"$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${_random_text(16)}${_random_text(32)}"
"""Verified where there is no account, so that the answer takes as long as it does for one; no password matches it."""


def hash_password(password: str) -> str:
    """The argon2id hash of a password, with a salt of its own; takes about 25 ms.

    The password is normalised first (NFKC, NIST SP 800-63B-4 3.1.1.2), so that it does not matter how a keyboard
    composes an accent. Raises WeakPassword when it is longer than 4096 bytes or no valid Unicode.
    """
    return _hasher.hash(_encode(password))


def verify_password(password: str, password_hash: str) -> bool:
    """Whether a password belongs to a hash: argon2, bcrypt (where that package is installed) or `salt$iterations$hash`.

    A hash that cannot be read, or a password that no hash could have been made of, is False.
    """
    try:
        normal = _encode(password)
    except WeakPassword:
        return False
    if password_hash.startswith("$argon2"):
        return _verify_argon2(normal, password_hash)
    if password_hash.startswith("$2"):
        return _verify_bcrypt(password.encode(), password_hash)
    return _verify_pbkdf2(password.encode(), password_hash)


def needs_rehash(password_hash: str) -> bool:
    """Whether a hash is of another kind, or costs less, than those made today."""
    try:
        return _hasher.check_needs_rehash(password_hash)
    except InvalidHashError:
        return True


def _encode(password: str) -> bytes:
    try:
        encoded = password.encode()
        # Some characters become eighteen under NFKC, so the bound is checked before and after.
        normal = unicodedata.normalize("NFKC", password).encode() if len(encoded) <= MAX_BYTES else encoded
    except UnicodeEncodeError:
        raise WeakPassword("A password must be valid Unicode text.") from None
    if len(normal) > MAX_BYTES:
        raise WeakPassword(f"A password has at most {MAX_BYTES} bytes.")
    return normal


def _verify_argon2(password: bytes, password_hash: str) -> bool:
    try:
        return _hasher.verify(password_hash, password)
    except (Argon2Error, InvalidHashError):
        return False


def _verify_bcrypt(password: bytes, password_hash: str) -> bool:
    """Passwords that bcrypt would cut off (72 bytes, or a NUL) do not verify: half a password is not the password."""
    if len(password) > 72 or b"\0" in password:
        return False
    try:
        bcrypt: Any = importlib.import_module("bcrypt")
    except ImportError:
        _log.error("password_hash_unreadable", extra={"kind": "bcrypt", "fix": "install the package bcrypt"})
        return False
    try:
        return bool(bcrypt.checkpw(password, password_hash.encode()))
    except ValueError:
        return False


def _verify_pbkdf2(password: bytes, password_hash: str) -> bool:
    """`salt$iterations$hash` with PBKDF2-HMAC-SHA256: the hash in hex or base64, the salt as text, hex or base64."""
    parts = password_hash.split("$")
    if len(parts) != 3 or not _ITERATIONS.fullmatch(parts[1]):
        return False
    expected = _decode_binary(parts[2])
    if expected is None or not 16 <= len(expected) <= 64 or not parts[0]:
        return False
    salts = [parts[0].encode()]
    binary_salt = _decode_binary(parts[0])
    if binary_salt:
        salts.append(binary_salt)
    return any(
        hmac.compare_digest(hashlib.pbkdf2_hmac("sha256", password, salt, int(parts[1]), len(expected)), expected)
        for salt in salts
    )


def _decode_binary(text: str) -> bytes | None:
    if _HEX.fullmatch(text):
        return bytes.fromhex(text)
    try:
        return b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        return None


class HashingThreads:
    """Runs hash functions in a few threads, with a bounded queue before them."""

    def __init__(self, threads: int, queue: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="app_kernel-hash")
        self._places = threading.BoundedSemaphore(threads + queue)

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What the function returns; raises ServerBusy at once when the queue is full."""
        if not self._places.acquire(blocking=False):
            raise ServerBusy
        future = self._executor.submit(function, *args, **kwargs)
        # Also called when the caller went away and the work is cancelled before it began.
        future.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(future)


@cache
def hashing_threads() -> HashingThreads:
    """The threads of this process: as many as cores, at most 4 (each hash holds 19 MiB)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return HashingThreads(min(cores, 4), QUEUE)


async def hash_in_thread(password: str) -> str:
    """As `hash_password`, off the event loop; raises ServerBusy when too many hashes wait."""
    return await hashing_threads().run(hash_password, password)


async def verify_in_thread(password: str, password_hash: str) -> bool:
    """As `verify_password`, off the event loop; raises ServerBusy when too many hashes wait."""
    return await hashing_threads().run(verify_password, password, password_hash)
