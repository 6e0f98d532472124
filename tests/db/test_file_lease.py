"""The lease of a SQLite file: one holder among processes and open databases, and free as soon as that one is gone."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from app_kernel.core.errors import Unavailable
from app_kernel.db.database import create_database
from app_kernel.db.drivers.file_lease import FileLease
from tests.faults.children import Child


async def test_two_open_databases_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    one, two = (create_database(f"sqlite:///{tmp_path / 'app.db'}") for _ in range(2))
    await one.open()
    await two.open()
    held = await one.driver.acquire_lease("relay")
    assert held is not None
    assert await held.renew()
    assert await two.driver.acquire_lease("relay") is None
    assert await one.driver.acquire_lease("relay") is None
    other = await two.driver.acquire_lease("another")
    assert other is not None
    await other.release()
    await held.release()
    await held.release()
    assert not await held.renew()
    taken = await two.driver.acquire_lease("relay")
    assert taken is not None
    await taken.release()
    await one.close()
    await two.close()
    assert await asyncio.to_thread(os.listdir, tmp_path) == ["app.db"]


async def test_one_file_under_two_names_is_one_lease(tmp_path: Path) -> None:
    (tmp_path / "app.db").touch()
    (tmp_path / "link.db").symlink_to(tmp_path / "app.db")
    held = FileLease.acquire(str(tmp_path / "app.db"), "relay")
    assert held is not None
    assert FileLease.acquire(str(tmp_path / "link.db"), "relay") is None
    await held.release()


async def test_databases_in_memory_do_not_share_a_lease() -> None:
    one, two = create_database("sqlite://:memory:"), create_database("sqlite://:memory:")
    await one.open()
    await two.open()
    leases = [await each.driver.acquire_lease("relay") for each in (one, two)]
    assert None not in leases
    for lease in leases:
        assert lease is not None
        await lease.release()
    await one.close()
    await two.close()


async def test_a_killed_holder_gives_it_back_at_once(tmp_path: Path) -> None:
    path = str(tmp_path / "app.db")
    with Child("lease_holder", path) as child:
        assert child.expect("held")["held"]
        assert FileLease.acquire(path, "relay") is None
        child.kill()
        child.wait()
        held = FileLease.acquire(path, "relay")
    assert held is not None
    await held.release()


async def test_a_forked_child_neither_keeps_nor_releases_it(tmp_path: Path) -> None:
    path = str(tmp_path / "app.db")
    with Child("lease_holder", path, "fork") as child:
        orphan = child.expect("held")["forked"]
        try:
            child.kill()
            child.wait()
            held = FileLease.acquire(path, "relay")
            assert held is not None, "the child that was forked still has the lock"
            await held.release()
        finally:
            os.kill(orphan, signal.SIGKILL)


async def test_a_lease_whose_file_was_removed_is_lost(tmp_path: Path) -> None:
    held = FileLease.acquire(str(tmp_path / "app.db"), "relay")
    assert held is not None
    (tmp_path / "app.db-relay.lock").unlink()
    assert not await held.renew()
    await held.release()


async def test_a_directory_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="lock file"):
        await asyncio.to_thread(FileLease.acquire, str(tmp_path / "gone" / "app.db"), "relay")
