"""The lease of a SQLite file: one holder among processes and open databases, and free as soon as that one is gone."""

import asyncio
import os
import signal
import stat
import tempfile
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


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o660, 0o666])
async def test_the_lock_file_may_be_opened_by_whoever_may_open_the_database(tmp_path: Path, mode: int) -> None:
    database, lock = tmp_path / "app.db", tmp_path / "app.db-relay.lock"
    database.touch()
    database.chmod(mode)
    held = FileLease.acquire(str(database), "relay")
    assert held is not None
    assert stat.S_IMODE(lock.stat().st_mode) == mode
    assert lock.stat().st_gid == database.stat().st_gid
    await held.release()


async def test_a_lock_file_that_another_version_left_closed_is_opened_by_its_owner(tmp_path: Path) -> None:
    database, lock = tmp_path / "app.db", tmp_path / "app.db-relay.lock"
    database.touch()
    database.chmod(0o660)
    lock.touch()
    lock.chmod(0o600)
    held = FileLease.acquire(str(database), "relay")
    assert held is not None
    assert stat.S_IMODE(lock.stat().st_mode) == 0o660
    await held.release()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be other users")
def test_another_user_of_the_database_takes_over_from_one_that_was_killed() -> None:
    # Not pytest's own directory, which is closed to other users.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o777)
        database = Path(folder) / "app.db"
        database.touch()
        database.chmod(0o666)
        answers = [_acquire_and_die(str(database), user) for user in (1001, 1002, 1001)]
        assert answers == ["held"] * 3
        assert (Path(folder) / "app.db-relay.lock").exists()


def _acquire_and_die(path: str, user: int) -> str:
    """What another user's process was told before it was killed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgid(user)
            os.setuid(user)
            answer = "held" if FileLease.acquire(path, "relay") else "taken"
        except Exception as exc:  # noqa: BLE001 - told to the parent, which expects none
            answer = repr(exc)
        os.write(writing, answer.encode())
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as told:
        return told.read()


@pytest.mark.parametrize("what", ["a link", "a second name", "a file with something in it"])
async def test_a_file_that_somebody_put_in_its_place_is_not_opened_to_others(tmp_path: Path, what: str) -> None:
    database, lock, private = tmp_path / "app.db", tmp_path / "app.db-relay.lock", tmp_path / "private"
    database.touch()
    database.chmod(0o666)
    private.write_text("secret" if what == "a file with something in it" else "")
    private.chmod(0o600)
    if what == "a link":
        lock.symlink_to(private)
        with pytest.raises(Unavailable, match="lock file"):
            FileLease.acquire(str(database), "relay")
    else:
        private.rename(lock) if what != "a second name" else lock.hardlink_to(private)
        held = FileLease.acquire(str(database), "relay")
        assert held is not None
        assert stat.S_IMODE(lock.stat().st_mode) == 0o600
        await held.release()
    assert not private.exists() or stat.S_IMODE(private.stat().st_mode) == 0o600
