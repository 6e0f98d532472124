import asyncio
import base64
import hashlib
import sys
import threading
from types import SimpleNamespace

import bcrypt
import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.low_level import Type

from app_kernel.auth import hash_password, verify_password
from app_kernel.auth.passwords import DUMMY_HASH, MAX_BYTES, HashingThreads, needs_rehash
from app_kernel.core.errors import ServerBusy, WeakPassword

PASSWORD = "plum tree over water"

pytestmark = pytest.mark.usefixtures("real_passwords")


def pbkdf2(password: str, salt: bytes, iterations: int = 1000) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)


@pytest.mark.acceptance("AU9")
def test_a_new_hash_is_argon2id_at_owasp_cost_with_a_salt_of_its_own():
    first, second = hash_password(PASSWORD), hash_password(PASSWORD)
    parameters = extract_parameters(first)
    assert parameters.type is Type.ID
    assert (parameters.memory_cost, parameters.time_cost, parameters.parallelism) == (19456, 2, 1)
    assert (parameters.salt_len, parameters.hash_len) == (16, 32)
    assert first.split("$")[4] != second.split("$")[4]
    assert verify_password(PASSWORD, first)
    assert not verify_password(PASSWORD + "x", first)
    assert not needs_rehash(first)


@pytest.mark.acceptance("AU9")
@pytest.mark.parametrize("tail", ["\x00rest", "x" * 4000, "\U0001f3b9", " "])
def test_every_byte_of_a_password_counts(tail):
    stem = "k" * 72
    stored = hash_password(stem + tail)
    assert verify_password(stem + tail, stored)
    assert not verify_password(stem, stored)
    assert not verify_password(stem + tail + "\x00", stored)


@pytest.mark.acceptance("AU9")
def test_composed_and_decomposed_accents_are_the_same_password():
    stored = hash_password("cafe\u0301 au lait")
    assert verify_password("caf\u00e9 au lait", stored)
    assert verify_password("\uff43\uff41\uff46\u00e9 au lait", stored)
    assert not verify_password("cafe au lait", stored)


@pytest.mark.acceptance("AU9")
@pytest.mark.parametrize(
    "password", ["k" * (MAX_BYTES + 1), "\u00e9" * (MAX_BYTES // 2 + 1), "\ufdfa" * 200, "\ud800abcdefgh"]
)
def test_a_password_that_is_too_long_or_no_text_is_refused_and_verifies_nothing(password):
    with pytest.raises(WeakPassword):
        hash_password(password)
    assert not verify_password(password, hash_password(PASSWORD))


def test_the_longest_password_works():
    assert verify_password("k" * MAX_BYTES, hash_password("k" * MAX_BYTES))


@pytest.mark.acceptance("AU9")
@pytest.mark.parametrize(
    "stored",
    [
        f"pepper$1000${pbkdf2(PASSWORD, b'pepper').hex()}",
        f"00ff10$1000${pbkdf2(PASSWORD, b'00ff10').hex().upper()}",
        f"00ff10$1000${pbkdf2(PASSWORD, bytes.fromhex('00ff10')).hex()}",
        f"c2FsdHk_$1000${base64.urlsafe_b64encode(pbkdf2(PASSWORD, b'salty?')).decode()}",
        f"c2FsdHk/$1000${base64.b64encode(pbkdf2(PASSWORD, b'salty?')).decode().rstrip('=')}",
        bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode(),
        PasswordHasher(time_cost=1, memory_cost=64).hash(PASSWORD),
    ],
    ids=["text salt", "hex salt as text", "hex salt", "urlsafe base64", "base64 unpadded", "bcrypt", "cheap argon2id"],
)
def test_hashes_of_earlier_kinds_verify_and_ask_to_be_replaced(stored):
    assert verify_password(PASSWORD, stored)
    assert not verify_password(PASSWORD + "x", stored)
    assert not verify_password("", stored)
    assert needs_rehash(stored)


@pytest.mark.acceptance("AU9")
def test_bcrypt_never_matches_half_a_password(monkeypatch):
    stored = bcrypt.hashpw(b"k" * 72, bcrypt.gensalt(4)).decode()

    def cut_off(password: bytes, password_hash: bytes) -> bool:
        """What releases of bcrypt before 5 do."""
        return bcrypt.checkpw(password[:72].partition(b"\0")[0], password_hash)

    for checkpw in (bcrypt.checkpw, cut_off):
        monkeypatch.setitem(sys.modules, "bcrypt", SimpleNamespace(checkpw=checkpw))
        assert verify_password("k" * 72, stored)
        assert not verify_password("k" * 73, stored)
        assert not verify_password("k" * 72 + "\x00x", stored)


def test_without_the_package_a_bcrypt_hash_verifies_nothing_and_the_log_says_why(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "bcrypt", None)
    assert not verify_password(PASSWORD, bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode())
    assert caplog.messages == ["password_hash_unreadable"]


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "$",
        "$$",
        "plain text",
        "$argon2id$v=19$m=19456,t=2,p=1$short",
        "$argon2id$v=19$m=99999999999,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaA",
        "$2b$04$broken",
        "salt$0$" + "00" * 32,
        "salt$-5$" + "00" * 32,
        "salt$1e9$" + "00" * 32,
        "salt$999999999999$" + "00" * 32,
        "salt$1000$",
        "salt$1000$00",
        "$1000$" + "00" * 32,
        "salt$1000$" + "00" * 32 + "$more",
        "s\u00e4lt$1000$\u00e4",
    ],
)
def test_a_hash_that_cannot_be_read_verifies_nothing(stored):
    assert not verify_password(PASSWORD, stored)
    assert needs_rehash(stored)


def test_the_dummy_costs_what_a_real_hash_costs_and_matches_nothing():
    assert not needs_rehash(DUMMY_HASH)
    real, dummy = extract_parameters(hash_password(PASSWORD)), extract_parameters(DUMMY_HASH)
    assert real == dummy
    assert not verify_password("", DUMMY_HASH)


async def test_hashes_wait_in_a_bounded_queue_and_free_their_place():
    threads, gate = HashingThreads(threads=1, queue=2), threading.Event()
    waiting = [asyncio.create_task(threads.run(gate.wait, 5)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(ServerBusy):
        await asyncio.wait_for(threads.run(gate.wait, 5), 10)
    waiting[2].cancel()
    await asyncio.wait([waiting[2]])
    fourth = asyncio.create_task(threads.run(lambda: "done"))
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(waiting[0], waiting[1]) == [True, True]
    assert await fourth == "done"


async def test_the_loop_runs_on_while_a_password_is_hashed():
    threads, entered, gate = HashingThreads(1, 1), threading.Event(), threading.Event()

    def slow() -> str:
        entered.set()
        gate.wait()
        return threading.current_thread().name

    task = asyncio.create_task(threads.run(slow))
    await asyncio.to_thread(entered.wait)
    gate.set()
    assert (await task).startswith("app_kernel-hash")
