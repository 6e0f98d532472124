"""Signals between open databases on one file, in one process and in several."""

import asyncio
import socket
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from app_kernel.db.drivers import local_signals
from app_kernel.db.drivers.local_signals import LocalSignals
from tests.faults.children import Child


@pytest.fixture(autouse=True)
def own_runtime_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # Not pytest's own, which is made before: the path of a socket may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="ks-", dir="/tmp") as folder:
        monkeypatch.setattr(tempfile, "gettempdir", lambda: folder)
        yield


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[LocalSignals, LocalSignals]]:
    one, two = LocalSignals(str(tmp_path / "app.db")), LocalSignals(str(tmp_path / "app.db"))
    yield one, two
    one.close()
    two.close()


async def woken(event: asyncio.Event) -> None:
    async with asyncio.timeout(5):
        await event.wait()
    event.clear()


async def test_a_signal_reaches_its_own_process_and_others_and_nobody_else(
    pair: tuple[LocalSignals, LocalSignals], tmp_path: Path
) -> None:
    one, two = pair
    other_file = LocalSignals(str(tmp_path / "other.db"))
    here, there, elsewhere, other_channel = (asyncio.Event() for _ in range(4))
    one.on_signal("outbox", here.set)
    one.on_signal("jobs", other_channel.set)
    two.on_signal("outbox", there.set)
    other_file.on_signal("outbox", elsewhere.set)
    one.signal("outbox")
    await asyncio.gather(woken(here), woken(there))
    two.signal("outbox")
    await asyncio.gather(woken(here), woken(there))
    assert not elsewhere.is_set()
    assert not other_channel.is_set()
    other_file.close()


async def test_a_signal_from_a_thread_wakes_the_loop(pair: tuple[LocalSignals, LocalSignals]) -> None:
    one, two = pair
    here, there = asyncio.Event(), asyncio.Event()
    one.on_signal("outbox", here.set)
    two.on_signal("outbox", there.set)
    thread = threading.Thread(target=one.signal, args=("outbox",))
    thread.start()
    await asyncio.gather(woken(here), woken(there))
    thread.join()
    assert not thread.is_alive()


async def test_a_burst_is_one_call_and_the_last_one_counts(pair: tuple[LocalSignals, LocalSignals]) -> None:
    one, _ = pair
    calls: list[float] = []
    one.on_signal("outbox", lambda: calls.append(time.monotonic()))
    for _ in range(1000):
        one.signal("outbox")
    await asyncio.sleep(0)
    assert len(calls) == 1
    one.signal("outbox")
    await asyncio.sleep(0)
    assert len(calls) == 2


async def test_nobody_is_called_after_the_end(pair: tuple[LocalSignals, LocalSignals]) -> None:
    one, two = pair
    calls: list[str] = []
    heard = asyncio.Event()
    end = one.on_signal("outbox", lambda: calls.append("ended"))
    one.on_signal("outbox", heard.set)
    end()
    end()
    two.signal("outbox")
    await woken(heard)
    assert calls == []


async def test_the_sockets_of_dead_processes_are_gone_when_another_one_listens(
    pair: tuple[LocalSignals, LocalSignals],
) -> None:
    one, two = pair
    one.on_signal("outbox", lambda: None)
    dead = one._directory / "1-1"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as left_behind:
        left_behind.bind(str(dead))
    two.on_signal("outbox", lambda: None)
    assert not dead.exists()
    assert len(list(one._directory.iterdir())) == 2


async def test_a_signal_from_another_process_arrives_and_its_dead_socket_is_removed(tmp_path: Path) -> None:
    path = str(tmp_path / "app.db")
    mine = LocalSignals(path)
    heard = asyncio.Event()
    mine.on_signal("outbox", heard.set)
    with Child("signaller", path, tempfile.gettempdir()) as child:
        await asyncio.to_thread(child.expect, "ready")
        assert len(list(mine._directory.iterdir())) == 2
        child.tell("go")
        await woken(heard)
        mine.signal("outbox")
        await asyncio.to_thread(child.expect, "heard")
        child.kill()
        await asyncio.to_thread(child.wait)
    # The signal may leave a little later, with others.
    mine.signal("outbox")
    async with asyncio.timeout(10):
        while len(list(mine._directory.iterdir())) != 1:  # noqa: ASYNC110 - a directory sets no event
            await asyncio.sleep(0.005)
    mine.close()
    assert not mine._directory.exists()


@pytest.mark.parametrize("what", ["no such sockets", "a directory of others", "too long a path"])
async def test_without_sockets_a_signal_still_reaches_its_own_process(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("x" * 120 if what == "too long a path" else "runtime")
    folder.mkdir()
    if what == "no such sockets":
        monkeypatch.delattr(socket, "AF_UNIX")
    elif what == "a directory of others":
        (folder / f"app-kernel-{local_signals._user()}").mkdir(mode=0o777)
        (folder / f"app-kernel-{local_signals._user()}").chmod(0o777)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(folder))
    one, two = LocalSignals(str(tmp_path / "app.db")), LocalSignals(str(tmp_path / "app.db"))
    here, there = asyncio.Event(), asyncio.Event()
    one.on_signal("outbox", here.set)
    two.on_signal("outbox", there.set)
    one.signal("outbox")
    await woken(here)
    assert not there.is_set()
    one.close()
    two.close()


async def test_a_full_listener_does_not_hold_up_the_sender(pair: tuple[LocalSignals, LocalSignals]) -> None:
    one, two = pair
    calls: list[str] = []
    two.on_signal("outbox", lambda: calls.append("heard"))
    began = time.monotonic()
    for _ in range(20_000):
        one.signal("outbox")
    assert time.monotonic() - began < 5
    await asyncio.sleep(0.05)
    assert calls


@pytest.mark.parametrize("what", ["a link to it", "an open parent", "a linked parent", "an open directory"])
async def test_a_sender_looks_into_no_directory_that_is_not_its_own_alone(what: str, tmp_path: Path) -> None:
    sender = LocalSignals(str(tmp_path / "app.db"))
    parent, victim = sender._directory.parent, Path(tempfile.gettempdir()) / "victim"
    victim.mkdir(mode=0o700)
    places = victim
    if what == "a linked parent":
        parent.symlink_to(victim)
        places = victim / sender._directory.name
        places.mkdir(mode=0o700)
    else:
        parent.mkdir(mode=0o755 if what == "an open parent" else 0o700)
        if what == "an open directory":
            places = sender._directory
            places.mkdir()
            places.chmod(0o755)
        else:
            sender._directory.symlink_to(victim)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as live:
        live.bind(str(places / "live"))
        live.setblocking(False)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stale:
            stale.bind(str(places / "stale"))
        sender.on_signal("outbox", lambda: None)
        sender.signal("outbox")
        sender.close()
        with pytest.raises(BlockingIOError):
            live.recv(99)
    assert sorted(path.name for path in places.iterdir()) == ["live", "stale"]


async def test_a_directory_that_opens_later_is_no_longer_looked_into(pair: tuple[LocalSignals, LocalSignals]) -> None:
    one, two = pair
    one.on_signal("outbox", lambda: None)
    two.on_signal("outbox", lambda: None)
    assert len(one._find_others()) == 1
    one._directory.parent.chmod(0o777)
    assert one._find_others() == ()
    one._directory.parent.chmod(0o700)
    assert len(one._find_others()) == 1
