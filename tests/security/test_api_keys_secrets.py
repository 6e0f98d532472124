"""The plaintext of a key is given once and stands nowhere; guessing keys leads nowhere and costs next to nothing."""

import hashlib
import hmac
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from app_kernel.api_keys import (
    create_api_key,
    looks_like_api_key,
    rename_api_key,
    revoke_api_key,
    store,
    wrong_keys,
)
from app_kernel.api_keys.key_text import ALPHABET, checksum_of, make_key
from app_kernel.api_keys.tables import API_KEYS, USES
from app_kernel.api_keys.wrong_keys import LIMIT
from app_kernel.auth import set_role
from app_kernel.core.context import Context, in_context
from app_kernel.core.errors import InvalidToken, RateLimited
from app_kernel.db import get_db_connection
from app_kernel.encryption import key_ring
from app_kernel.idempotency.tables import KEYS as KEPT_ANSWERS
from tests.api_keys.serving import Service, fresh_database, serving
from tests.conformance.backends import SERVICE_BACKENDS
from tests.conformance.mysql_place import contents

SOAK = os.environ.get("APP_KERNEL_SOAK") == "1"
KEYS = 10_000 if SOAK else 100
GUESSES = 1_000_000 if SOAK else 1_000
AT = datetime(2026, 7, 1, tzinfo=UTC)


@pytest.fixture(params=SERVICE_BACKENDS)
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    async with fresh_database(request, tmp_path) as url:
        yield url


async def dump(url: str) -> str:
    """Everything that the database holds: the bytes of a SQLite file and its log, or every row of a schema."""
    if url.startswith("sqlite"):
        path = Path(url.removeprefix("sqlite:///"))
        return "".join(file.read_bytes().decode("latin-1") for file in path.parent.glob(f"{path.name}*"))
    if url.startswith("mysql"):
        return await contents(url)
    schema = parse_qs(urlsplit(url).query)["schema"][0]
    connection = await asyncpg.connect(url.partition("?")[0])
    try:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = $1", schema)
        rows = [
            str(row[0])
            for table in tables
            for row in await connection.fetch(f'SELECT t::text FROM "{schema}"."{table[0]}" t')
        ]
        return "\n".join(rows)
    finally:
        await connection.close()


def mistyped(key: str) -> str:
    """The key with a wrong character in its secret part and the checksum that fits."""
    body = key[:30] + ("a" if key[30] != "a" else "b") + key[31:52]
    return body + checksum_of(body)


@pytest.mark.soak
@pytest.mark.acceptance("AK2")
async def test_no_plaintext_stands_in_the_database_the_log_the_metrics_or_an_error(
    database, capfd, caplog, monkeypatch
):
    caplog.set_level("DEBUG")
    answers = []
    async with serving(database, log_level="DEBUG") as service:
        keys = []
        for number in range(-(-KEYS // 100)):
            user = await service.user(f"user{number}@example.com")
            keys += [await create_api_key(service.db, user.id, name="CI") for _ in range(min(KEYS, 100))]
        for key in keys[:: max(1, KEYS // 50)]:
            good = await service.call("GET", "/whoami", key["key"])
            assert good.status_code == 200
            number = keys.index(key)
            wrong = await service.call(
                "GET", "/whoami", mistyped(key["key"]), address=f"198.51.100.{number * 100 // KEYS}"
            )
            assert wrong.status_code == 401
            answers += [good.text, wrong.text, (await service.call("GET", "/people-only", key["key"])).text]
        await revoke_api_key(service.db, keys[0]["id"])
        answers.append((await service.call("GET", "/whoami", keys[0]["key"])).text)

        async def fail(db, prefix):
            raise RuntimeError("the cause stands in the log")

        with monkeypatch.context() as broken:
            broken.setattr(store, "find_key", fail)
            failed = await service.call("GET", "/whoami", keys[1]["key"], address="203.0.113.9")
            service.live.forget(key_id=keys[1]["id"])
            failed = await service.call("GET", "/whoami", keys[1]["key"], address="203.0.113.9")
        assert failed.status_code == 500
        await service.live.uses.flush()
        metrics = (await service.call("GET", "/metrics")).text
        events = repr(service.events)
        dumped = await dump(database)
    printed = "".join(capfd.readouterr())
    places = {
        "database": dumped,
        "log": printed + caplog.text,
        "metrics": metrics,
        "answers": "".join([*answers, failed.text]),
        "events": events,
    }
    assert "the cause stands in the log" in printed
    assert all(key["prefix"] in dumped for key in keys[:50]), "the dump holds the keys' rows"
    for place, text in places.items():
        found = [key["id"] for key in keys if key["key"] in text or key["key"][20:52] in text]
        assert found == [], f"{len(found)} of {len(keys)} keys stand in the {place}"


@pytest.mark.acceptance("AK2")
async def test_what_is_stored_is_a_keyed_hash_that_nobody_makes_without_the_secret(database):
    async with serving(database) as service:
        ada = await service.user()
        key = await create_api_key(service.db, ada.id, name="CI")
        row = await service.db.privileged.get_entity(API_KEYS, key["id"])
        text = key["key"].encode()
        assert row["key_hash"] == key_ring(service.kernel.config).mac("api_keys", text)
        assert row["prefix"] == key["key"][:20]
        plain = {hashlib.new(name, text).hexdigest() for name in ("md5", "sha1", "sha256", "sha3_256", "blake2s")}
        assert row["key_hash"] not in plain
        # Somebody who can write a row still has no key, as a hash of their own making is not accepted.
        forged = make_key()
        values = {"prefix": forged[:20], "key_hash": hashlib.sha256(forged.encode()).hexdigest()}
        await service.db.privileged.save_entity(API_KEYS, {"id": key["id"], **values})
        assert await service.status(forged) == 401
        for table in (API_KEYS, USES):
            assert (
                await service.db.privileged.find_entities(f"{table}_history") == []
            )  # a history would keep old hashes


@pytest.mark.acceptance("AK2")
async def test_the_answer_that_shows_a_key_is_kept_nowhere_also_for_a_request_that_may_be_sent_twice(database):
    async with serving(database) as service:
        await service.user()
        token = await service.token()
        once = [("Idempotency-Key", "make-it-once")]
        made = await service.call("POST", "/api-keys", token, json={"name": "CI"}, headers=once)
        again = await service.call("POST", "/api-keys", token, json={"name": "CI"}, headers=once)
        assert (made.status_code, again.status_code) == (201, 409)
        assert "key" not in again.json()
        rows = await service.db.privileged.find_entities(KEPT_ANSWERS)
        assert [row["answer"] for row in rows] == [None]


@pytest.mark.acceptance("AK2")
async def test_hashes_are_compared_in_constant_time_and_also_where_there_is_no_such_key(monkeypatch):
    compared = []
    compare = hmac.compare_digest

    def spy(first, second):
        compared.append((first, second))
        return compare(first, second)

    async with serving("sqlite://:memory:", jwt_secret_previous="an older secret that is long enough") as service:
        ada = await service.user()
        key = (await create_api_key(service.db, ada.id, name="CI"))["key"]
        monkeypatch.setattr("app_kernel.api_keys.live.hmac.compare_digest", spy)
        for text, status in ((key, 200), (mistyped(key), 401), (make_key(), 401)):
            compared.clear()
            assert await service.status(text) == status
            assert len(compared) == 2  # both secrets of the ring, fitting or not
            assert all(len(first) == len(second) == 64 for first, second in compared)


@asynccontextmanager
async def nowhere() -> AsyncIterator[None]:
    raise AssertionError("the database was asked")
    yield


@pytest.mark.acceptance("AK2")
async def test_text_that_is_no_key_is_refused_without_asking_the_database(small):
    key = make_key()
    wrong = [key[:-1] + ("a" if key[-1] != "a" else "b"), key[:-1], key + "a", "sk_live_", "sk_", "", "\x00", "é" * 58]
    wrong += [key[:15] + char + key[16:] for char in "!/ '\"\n"]
    for number, text in enumerate(wrong):
        with in_context(Context(kernel=small.kernel, address=f"198.51.100.{number}")), pytest.raises(InvalidToken):
            await small.live.check(text, nowhere)
    with in_context(Context(kernel=small.kernel)), pytest.raises(AssertionError, match="the database was asked"):
        await small.live.check(key, nowhere)


@pytest.fixture
async def small() -> AsyncIterator[Service]:
    async with serving("sqlite://:memory:", frozen_at=AT) as service:
        yield service


@pytest.mark.soak
@pytest.mark.acceptance("AK2")
async def test_guesses_are_throttled_by_address_and_never_succeed(small, monkeypatch):
    ada = await small.user()
    key = (await create_api_key(small.db, ada.id, name="CI"))["key"]
    assert await small.status(key) == 200
    reads = 0
    find = store.find_key

    async def counting(db, prefix):
        nonlocal reads
        reads += 1
        return await find(db, prefix)

    monkeypatch.setattr(store, "find_key", counting)
    dice = random.Random(7)
    refused, waits = 0, set()
    throttled = 0
    address = "198.51.100.7"
    for number in range(GUESSES):
        tail = "".join(dice.choices(ALPHABET, k=32))
        body = key[:20] + tail
        guess = body + checksum_of(body) if number % 2 else body + tail[:6]
        with in_context(Context(kernel=small.kernel, address=address)):
            try:
                await small.live.check(guess, get_db_connection)
                raise AssertionError("a guess was accepted")
            except InvalidToken:
                refused += 1
            except RateLimited as limited:
                throttled += 1
                waits.add(limited.retry_after)
    assert (refused, throttled) == (LIMIT, GUESSES - LIMIT)
    assert waits <= set(range(1, 61))
    assert reads <= LIMIT // 2 + 1
    assert small.names().count("api_key.refused") <= LIMIT + 1  # nor does the log grow with the guesses

    # Over HTTP it is 429 with Retry-After; others are not held back, nor is a key that this address used before.
    limited = await small.call("GET", "/whoami", mistyped(key), address=address)
    assert (limited.status_code, int(limited.headers["retry-after"]) > 0) == (429, True)
    other = await create_api_key(small.db, ada.id, name="elsewhere")
    assert await small.status(other["key"], address="203.0.113.1") == 200
    assert await small.status(key, address=address) == 200
    assert await small.status(other["key"], address=address) == 200
    fresh = await create_api_key(small.db, ada.id, name="not seen before")
    assert await small.status(fresh["key"], address=address) == 429
    small.client.clock.advance(61)
    assert await small.status(fresh["key"], address=address) == 200


@pytest.mark.acceptance("AK2")
async def test_addresses_of_one_subscriber_count_together_and_are_remembered_in_bounds(small, monkeypatch):
    monkeypatch.setattr(wrong_keys, "CAPACITY", 5)
    for number in range(LIMIT):
        assert await small.status("sk_live_wrong", address=f"2001:db8:1:2::{number:x}") == 401
    assert await small.status("sk_live_wrong", address="2001:db8:1:2:ffff::1") == 429
    assert await small.status("sk_live_wrong", address="2001:db8:1:3::1") == 401
    for number in range(8):
        for _ in range(LIMIT + 1):
            context = Context(kernel=small.kernel, address=f"198.51.100.{number}")
            with in_context(context), pytest.raises((InvalidToken, RateLimited)):
                await small.live.check("sk_live_wrong", nowhere)
    assert len(small.live._wrong._held_back) == 5


@pytest.mark.acceptance("AK2")
async def test_a_key_that_was_accepted_is_not_held_back_with_its_address_whatever_changes(small):
    ada = await small.user(role="admin")
    key = await create_api_key(small.db, ada.id, name="CI")
    assert await small.status(key["key"]) == 200
    for _ in range(LIMIT):
        assert await small.status(make_key()) == 401
    assert await small.status(make_key()) == 429
    await rename_api_key(small.db, key["id"], "another name")
    assert await small.status(key["key"]) == 200
    await set_role(small.db, ada.id, "user")
    assert await small.status(key["key"]) == 200


@pytest.mark.acceptance("AK2")
async def test_an_ended_key_that_is_still_sent_holds_back_itself_and_nobody_else(small, monkeypatch):
    """A forgotten job behind an address must not shut out all others there; nor does it cost a look each time."""
    ada = await small.user()
    ended = await create_api_key(small.db, ada.id, name="old job")
    expiring = await create_api_key(small.db, ada.id, name="older job", expires_in_days=1)
    small.client.clock.advance(86_401)
    await revoke_api_key(small.db, ended["id"])
    looks, find = [], store.find_key

    async def counting(db, prefix):
        looks.append(prefix)
        return await find(db, prefix)

    monkeypatch.setattr(store, "find_key", counting)
    for key in (ended["key"], expiring["key"]):
        looks.clear()
        assert [await small.status(key) for _ in range(LIMIT + 20)] == [401] * LIMIT + [429] * 20
        assert len(looks) <= LIMIT + 1
        assert await small.status(key, address="203.0.113.1") == 401
    assert small.names().count("api_key.refused") == 2 * (LIMIT + 1) + 2
    fresh = await create_api_key(small.db, ada.id, name="new job")
    assert await small.status(fresh["key"]) == 200
    assert await small.status(make_key()) == 401


@pytest.mark.acceptance("AK2")
async def test_every_refusal_says_the_same_and_the_reason_is_for_the_log_only(database):
    async with serving(database, frozen_at=AT) as service:
        ada = await service.user()
        expired = await create_api_key(service.db, ada.id, name="CI", expires_in_days=1)
        revoked = await create_api_key(service.db, ada.id, name="CI")
        await revoke_api_key(service.db, revoked["id"])
        service.client.clock.advance(86_400)
        texts = [expired["key"], revoked["key"], mistyped(revoked["key"]), make_key(), "sk_live_nothing"]
        answers = [(await service.call("GET", "/whoami", text)).json() for text in texts]
        for answer in answers:
            del answer["request_id"]
        assert answers == [answers[0]] * len(texts)
        reasons = [event.detail["reason"] for event in service.events if event.name == "api_key.refused"]
        assert reasons == ["expired", "revoked", "unknown", "unknown", "malformed"]


@pytest.mark.acceptance("AK2")
def test_keys_come_from_a_source_that_nobody_predicts():
    random.seed(1)
    first = [make_key() for _ in range(50)]
    random.seed(1)
    second = [make_key() for _ in range(50)]
    assert not set(first) & set(second)
    assert all(looks_like_api_key(key) for key in first)
    seen = set("".join(key[8:52] for key in (*first, *second)))
    assert seen == set(ALPHABET)
