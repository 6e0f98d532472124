"""What is remembered of a key, for how long, and who pays for reading it."""

import asyncio
from contextvars import Context as TaskContext
from datetime import UTC, datetime

import pytest

from app_kernel.api_keys import create_api_key, get_api_key, live, store
from app_kernel.api_keys.live import LiveKeys
from app_kernel.auth import deactivate_user
from app_kernel.core.context import Context, in_context
from app_kernel.core.errors import InvalidToken, StorageReadOnly, Unavailable
from app_kernel.core.events import SecurityEvent
from app_kernel.db import get_db_connection
from tests.api_keys.serving import serving

AT = datetime(2026, 5, 5, tzinfo=UTC)


@pytest.fixture
def reads(monkeypatch):
    """The prefixes that were looked up, in order."""
    seen = []
    find = store.find_key

    async def counting(db, prefix):
        seen.append(prefix)
        return await find(db, prefix)

    monkeypatch.setattr(store, "find_key", counting)
    return seen


async def test_a_key_is_read_once_a_second_by_all_who_use_it(reads):
    async with serving("sqlite://:memory:", frozen_at=AT) as service:
        ada = await service.user()
        key = (await create_api_key(service.db, ada.id, name="CI"))["key"]
        checks = [service.live.check(key, get_db_connection) for _ in range(50)]
        assert {auth.user_id for auth in await asyncio.gather(*checks)} == {ada.id}
        assert len(reads) == 1
        service.client.clock.advance(0.99)
        await service.live.check(key, get_db_connection)
        assert len(reads) == 1
        service.client.clock.advance(0.02)
        await service.live.check(key, get_db_connection)
        assert len(reads) == 2
        service.client.clock.advance(-500)  # a clock that moved back keeps nothing
        await service.live.check(key, get_db_connection)
        assert len(reads) == 3


async def test_what_changes_while_a_key_is_read_is_not_remembered_as_it_was(monkeypatch):
    async with serving("sqlite://:memory:") as service:
        ada = await service.user()
        key = await create_api_key(service.db, ada.id, name="CI")
        read, go_on = asyncio.Event(), asyncio.Event()
        find = store.find_key

        async def slowly(db, prefix):
            row = await find(db, prefix)
            read.set()
            await go_on.wait()
            return row

        monkeypatch.setattr(store, "find_key", slowly)
        first = asyncio.create_task(service.live.check(key["key"], get_db_connection))
        await read.wait()
        await store.revoke_key(service.db, key["id"])
        live.forget(key_id=key["id"])
        go_on.set()
        assert (await first).key_id == key["id"]  # it was live when it was asked for
        with pytest.raises(InvalidToken):
            await service.live.check(key["key"], get_db_connection)


async def test_whoever_gives_up_waiting_takes_nobody_else_along(monkeypatch):
    async with serving("sqlite://:memory:") as service:
        ada = await service.user()
        key = await create_api_key(service.db, ada.id, name="CI")
        go_on = asyncio.Event()
        find = store.find_key

        async def slowly(db, prefix):
            await go_on.wait()
            return await find(db, prefix)

        monkeypatch.setattr(store, "find_key", slowly)
        tasks = [asyncio.create_task(service.live.check(key["key"], get_db_connection)) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        go_on.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert [auth.user_id for auth in results[1:]] == [ada.id, ada.id]


async def test_a_key_that_cannot_be_read_is_not_let_in_and_is_read_again(monkeypatch):
    async with serving("sqlite://:memory:") as service:
        ada = await service.user()
        key = await create_api_key(service.db, ada.id, name="CI")
        with monkeypatch.context() as broken:

            async def fail(db, prefix):
                raise Unavailable

            broken.setattr(store, "find_key", fail)
            assert await service.status(key["key"]) == 503
        assert await service.status(key["key"]) == 200


async def test_what_is_remembered_is_bounded_and_holds_no_plaintext(monkeypatch):
    monkeypatch.setattr(live, "CAPACITY", 3)
    async with serving("sqlite://:memory:") as service:
        ada = await service.user()
        keys = [(await create_api_key(service.db, ada.id, name="CI"))["key"] for _ in range(5)]
        for key in keys:
            assert await service.status(key) == 200
        assert len(service.live._known) == 3
        assert not any(key in repr(service.live._known) for key in keys)
        assert service.live._loading == {}


async def test_only_what_changes_a_users_rights_is_read_again_before_its_time(reads):
    async with serving("sqlite://:memory:", frozen_at=AT) as service:
        ada = await service.user()
        key = (await create_api_key(service.db, ada.id, name="CI"))["key"]
        for number, name in enumerate(("auth.login", "auth.role_changed", "auth.deactivated", "workspace.left"), 1):
            await service.kernel.emit(SecurityEvent(name, ada.id, None, {}))
            await service.live.check(key, get_db_connection)
            assert len(reads) == number


async def test_a_change_inside_a_transaction_counts_when_it_is_committed(database):
    async with serving(database) as service:
        ada = await service.user()
        key = (await create_api_key(service.db, ada.id, name="CI"))["key"]

        async def status_from_outside():
            return await asyncio.create_task(service.status(key), context=TaskContext())

        async with service.db.transaction():
            await deactivate_user(service.db, ada.id)
            assert await status_from_outside() == 200  # read again, and still so for everybody else
        assert await status_from_outside() == 401


async def test_a_last_use_that_cannot_be_written_fails_no_request_and_is_said_once(monkeypatch, caplog):
    async with serving("sqlite://:memory:") as service:
        ada = await service.user()
        keys = [(await create_api_key(service.db, ada.id, name="CI"))["key"] for _ in range(3)]

        errors = [StorageReadOnly(), OSError("of the application's own get_db_connection"), StorageReadOnly()]

        async def refuse(db, uses):
            raise errors.pop()

        monkeypatch.setattr(store, "write_uses", refuse)
        for key in keys:
            assert await service.status(key) == 200
            await service.live.uses.flush()
        said = [record for record in caplog.records if record.message == "api_key_uses_not_written"]
        assert len(said) == 1


async def test_two_services_in_one_process_do_not_share_what_they_know():
    async with serving("sqlite://:memory:") as one, serving("sqlite://:memory:") as two:
        ada = await one.user()
        key = await create_api_key_in(one, ada.id)
        assert await one.status(key["key"]) == 200
        assert await two.status(key["key"]) == 401
        await one.live.uses.flush()
        assert (await get_api_key(one.db, key["id"]))["last_used_at"] is not None
        assert one.kernel.port(LiveKeys) is not two.kernel.port(LiveKeys)


async def create_api_key_in(service, user_id):
    with in_context(Context(kernel=service.kernel)):
        return await create_api_key(service.db, user_id, name="CI")
