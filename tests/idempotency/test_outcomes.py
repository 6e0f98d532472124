"""What becomes of a key when its request is still under way, fails, streams, or its process dies."""

import asyncio
from collections import Counter

import pytest

from app_kernel.core import clock
from app_kernel.core.errors import ConnectionLost
from app_kernel.idempotency import claims, gate, store
from tests.idempotency.serving import Service, serving

ORDER = {"item": "gear"}


@pytest.mark.acceptance("RL5")
@pytest.mark.parametrize("path", ["/orders", "/once"])
async def test_of_100_requests_at_once_one_runs_and_the_others_get_409_or_its_answer(
    service: Service, url: str, token: str, path: str
) -> None:
    async with serving(url) as other:  # as of another process: nothing is shared but the database
        both = [service, other]
        answers = await asyncio.gather(*(both[n % 2].post(path, token, "k", json=ORDER) for n in range(100)))
        statuses = Counter(answer.status_code for answer in answers)
        assert statuses.keys() <= {201, 409}, statuses
        assert len({answer.content for answer in answers if answer.status_code == 201}) == 1
        assert service.shop.ran + other.shop.ran == {path.strip("/"): 1}
        for each in both:
            assert (await each.post(path, token, "k", json=ORDER)).headers["idempotency-replayed"] == "true"


@pytest.mark.acceptance("RL5")
async def test_a_twin_of_a_request_under_way_is_told_when_to_try_again(service: Service, token: str) -> None:
    first = asyncio.create_task(service.post("/slow", token, "k"))
    await service.shop.entered.wait()
    twin = await service.post("/slow", token, "k")
    assert (twin.status_code, twin.headers["retry-after"]) == (409, "1")
    assert "under way" in twin.json()["detail"]
    service.shop.may_go_on.set()
    assert (await first).json() == {"number": 1}
    assert (await service.post("/slow", token, "k")).json() == {"number": 1}


async def test_a_handler_that_takes_long_keeps_its_claim(
    service: Service, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "BEAT", 0.01)
    renewed = asyncio.Event()
    change = store.change_key

    async def noted(*args: object) -> object:
        try:
            return await change(*args)
        finally:
            renewed.set()

    with clock.frozen() as frozen:
        first = asyncio.create_task(service.post("/slow", token, "k"))
        await service.shop.entered.wait()
        frozen.advance(14)
        monkeypatch.setattr(store, "change_key", noted)
        await renewed.wait()
        frozen.advance(14)
        assert "under way" in (await service.post("/slow", token, "k")).json()["detail"]
        service.shop.may_go_on.set()
        assert (await first).json() == {"number": 1}


@pytest.mark.acceptance("RL5")
async def test_after_a_500_of_a_plain_handler_the_outcome_is_unknown(service: Service, token: str) -> None:
    assert (await service.post("/broken", token, "k")).status_code == 500
    for _ in range(2):
        answer = await service.post("/broken", token, "k")
        assert answer.status_code == 409
        assert "unknown" in answer.json()["detail"]
    assert service.shop.ran["broken"] == 1
    assert (await service.post("/broken", token, "new")).status_code == 500


@pytest.mark.acceptance("RL5")
@pytest.mark.parametrize("after", ["raise", "answer 503", "unserialisable"])
async def test_after_a_5xx_of_an_idempotent_handler_nothing_is_left_and_a_retry_runs(
    service: Service, token: str, after: str
) -> None:
    service.shop.after = after
    failed = await service.post("/once/then", token, "k", json=ORDER)
    assert failed.status_code == (503 if after == "answer 503" else 500)
    assert await service.db.count_entities("orders") == 0
    service.shop.after = ""
    assert (await service.post("/once/then", token, "k", json=ORDER)).json() == {"number": 2}
    assert (await service.post("/once/then", token, "k", json=ORDER)).json() == {"number": 2}
    assert await service.db.count_entities("orders") == 1


async def test_a_refusal_raised_by_an_idempotent_handler_takes_its_work_back_and_is_kept(
    service: Service, token: str
) -> None:
    service.shop.after = "refuse"
    answers = [await service.post("/once/then", token, "k", json=ORDER) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [409, 409]
    assert answers[0].content == answers[1].content
    assert service.shop.ran["then"] == 1
    assert await service.db.count_entities("orders") == 0


@pytest.mark.parametrize(
    ("path", "after", "status"),
    [
        ("/once/then", "raise", 500),
        ("/once/then", "refuse", 409),
        ("/once/then", "answer 503", 503),
        ("/once/then", "say 503", 503),
        ("/once/then", "answer 429", 429),
        ("/once/then", "stream 503", 503),
        ("/once/then", "unserialisable", 500),
        ("/once/valid", "answer nonsense", 500),
    ],
)
async def test_an_idempotent_handler_is_one_transaction_without_a_key_too(
    service: Service, token: str, path: str, after: str, status: int
) -> None:
    service.shop.after = after
    assert (await service.post(path, token, json=ORDER)).status_code == status
    assert await service.db.count_entities("orders") == 0
    service.shop.after = ""
    assert (await service.post(path, token, json=ORDER)).status_code == 200
    assert await service.db.count_entities("orders") == 1


@pytest.mark.parametrize("key", [None, "k"])
async def test_an_idempotent_read_or_one_of_nobody_is_one_transaction_too(service: Service, key: str | None) -> None:
    for after, status, rows in (("answer 503", 503, 0), ("", 200, 1)):
        service.shop.after = after
        assert (await service.call("GET", "/once/read", None, key)).status_code == status
        assert await service.db.count_entities("orders") == rows


async def test_what_an_idempotent_handler_streams_without_a_key_follows_its_commit(
    service: Service, token: str
) -> None:
    service.shop.after = "stream"
    answer = await service.post("/once/then", token, json=ORDER)
    assert (answer.status_code, answer.content) == (200, b"one two")
    assert await service.db.count_entities("orders") == 1


@pytest.mark.parametrize("after", ["answer 429", "raise 429", "raise 409 for now", "stream 503"])
async def test_an_idempotent_handler_that_asks_to_try_again_keeps_nothing_and_is_carried_out_anew(
    service: Service, token: str, after: str
) -> None:
    service.shop.after = after
    first = await service.post("/once/then", token, "k", json=ORDER)
    assert first.status_code in (409, 429, 503)
    assert await service.db.count_entities("orders") == 0
    service.shop.after = ""
    assert (await service.post("/once/then", token, "k", json=ORDER)).json() == {"number": 2}
    assert (await service.post("/once/then", token, "k", json=ORDER)).json() == {"number": 2}
    assert await service.db.count_entities("orders") == 1


async def test_a_plain_handler_that_asks_to_try_again_uses_its_key_up_and_a_repeat_promises_nothing(
    service: Service, token: str
) -> None:
    first, again = [await service.post("/crowded", token, "k") for _ in range(2)]
    assert (first.status_code, first.headers["retry-after"]) == (429, "1")
    assert (again.status_code, again.headers.get("retry-after")) == (429, None)
    assert again.headers["idempotency-replayed"] == "true"
    assert service.shop.ran["crowded"] == 1


@pytest.mark.acceptance("RL5")
@pytest.mark.parametrize("path", ["/stream", "/once/then"])
async def test_a_stream_is_sent_once_and_a_repeat_is_told_that_it_is_not_kept(
    service: Service, token: str, path: str
) -> None:
    service.shop.after = "stream"
    first = await service.post(path, token, "k", json=ORDER)
    assert (first.status_code, first.content) == (200, b"one two")
    second = await service.post(path, token, "k", json=ORDER)
    assert second.status_code == 409
    assert "not kept" in second.json()["detail"]
    assert sum(service.shop.ran.values()) == 1
    assert await service.db.count_entities("orders") == (0 if path == "/stream" else 1)


async def test_after_a_stream_that_broke_off_the_outcome_is_unknown(service: Service, token: str) -> None:
    await _ignore_failure(service.post("/torn-stream", token, "k"))
    answer = await service.post("/torn-stream", token, "k")
    assert (answer.status_code, service.shop.ran["torn-stream"]) == (409, 1)
    assert "unknown" in answer.json()["detail"]


async def test_a_handler_that_is_a_generator_takes_no_key(service: Service, token: str) -> None:
    answer = await service.post("/generator", token, "k")
    assert (answer.status_code, service.shop.ran["generator"]) == (400, 0)
    assert (await service.post("/generator", token)).status_code == 200


@pytest.mark.acceptance("RL5")
async def test_1_mb_is_kept_and_a_byte_more_is_not(service: Service, token: str) -> None:
    for size, repeated in ((1024 * 1024, 200), (1024 * 1024 + 1, 409)):
        first = await service.post(f"/large?size={size}", token, str(size))
        second = await service.post(f"/large?size={size}", token, str(size))
        assert (first.status_code, len(first.content), second.status_code) == (200, size, repeated)
        assert repeated == 409 or second.content == first.content
    assert service.shop.ran["large"] == 2


@pytest.mark.acceptance("RL5")
async def test_the_claim_of_a_dead_process_is_unknown_for_a_plain_handler(service: Service, token: str) -> None:
    with clock.frozen() as frozen:
        await _die_in(service, "/slow", token)
        service.shop.may_go_on.set()
        assert "under way" in (await service.post("/slow", token, "k", json=ORDER)).json()["detail"]
        frozen.advance(claims.LEASE.total_seconds())
        answer = await service.post("/slow", token, "k", json=ORDER)
    assert (answer.status_code, service.shop.ran["slow"]) == (409, 1)
    assert "unknown" in answer.json()["detail"]


@pytest.mark.acceptance("RL5")
async def test_the_claim_of_a_dead_process_is_taken_over_for_an_idempotent_handler(
    service: Service, token: str
) -> None:
    service.shop.after = "wait"
    with clock.frozen() as frozen:
        await _die_in(service, "/once/then", token)
        service.shop.after = ""
        assert (await service.post("/once/then", token, "k", json=ORDER)).status_code == 409
        frozen.advance(claims.LEASE.total_seconds())
        assert (await service.post("/once/then", token, "k", json=ORDER)).json() == {"number": 2}
    assert await service.db.count_entities("orders") == 1


@pytest.mark.acceptance("RL5")
async def test_who_lost_the_claim_meanwhile_commits_nothing(
    service: Service, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle, stolen = gate.settle_claim, []

    async def settle_late(db: object, claim: claims.Claim, answer: str | None) -> bool:
        stolen.append(claim)
        return await settle(db, claims.Claim(claim.id, "the token of a claim that was lost", True, claim.keep), answer)

    monkeypatch.setattr(gate, "settle_claim", settle_late)
    answer = await service.post("/once", token, "k", json=ORDER)
    assert (answer.status_code, len(stolen)) == (409, 1)
    assert await service.db.count_entities("orders") == 0


async def test_a_taken_over_claim_is_settled_by_its_new_owner_only(service: Service) -> None:
    wanted = claims.Wanted("an id", ["print"], True, claims.LEASE * 100)
    with clock.frozen() as frozen:
        first = await claims.claim_key(service.db, wanted)
        frozen.advance(claims.LEASE.total_seconds())
        second = await claims.claim_key(service.db, wanted)
    assert isinstance(first, claims.Claim)
    assert isinstance(second, claims.Claim)
    await claims.break_claim(service.db, first)
    await claims.renew_claim(service.db, first)
    assert not await claims.settle_claim(service.db, first, "of the first")
    assert await claims.settle_claim(service.db, second, "of the second")
    assert await claims.claim_key(service.db, wanted) == "of the second"


async def test_a_transaction_that_cannot_be_committed_is_an_error_and_a_retry_runs(
    service: Service, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*args: object) -> bool:
        raise ConnectionLost

    with monkeypatch.context() as broken:
        broken.setattr(gate, "settle_claim", fail)
        assert (await service.post("/once", token, "k", json=ORDER)).status_code == 503
    assert await service.db.count_entities("orders") == 0
    assert (await service.post("/once", token, "k", json=ORDER)).status_code == 201
    assert await service.db.count_entities("orders") == 1


async def test_a_plain_answer_that_cannot_be_kept_is_sent_all_the_same(
    service: Service, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*args: object) -> bool:
        raise ConnectionLost

    with monkeypatch.context() as broken:
        broken.setattr(gate, "settle_claim", fail)
        assert (await service.post("/orders", token, "k", json=ORDER)).status_code == 201
    assert (await service.post("/orders", token, "k", json=ORDER)).status_code == 409
    assert service.shop.ran["orders"] == 1


async def _die_in(service: Service, path: str, token: str) -> None:
    """Ends a request in its handler as a process that dies would: nothing is noted, and the database takes back."""
    request = asyncio.create_task(service.post(path, token, "k", json=ORDER))
    await service.shop.entered.wait()
    request.cancel()
    await asyncio.wait((request,))
    assert request.cancelled()


async def _ignore_failure(request: object) -> None:
    try:
        await request  # type: ignore[misc]
    except Exception:  # noqa: BLE001 - the connection breaks off, as it should
        return
