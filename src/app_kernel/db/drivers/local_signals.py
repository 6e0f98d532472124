"""Signals between the processes of one user on one machine: datagrams to sockets in a directory of the database's.

Best effort throughout: where there are no such sockets, or no private directory for them, a signal reaches only this
process, and those who wait in others find out when they next look.
"""

import asyncio
import errno
import hashlib
import itertools
import os
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

MERGE_SECONDS = 0.02
"""Least time between two signals of one channel to other processes; what comes meanwhile is one signal at its end."""
_LONGEST_CHANNEL = 200
_TICK_NANOSECONDS = 50_000_000
_numbers = itertools.count(1)


class LocalSignals:
    """The signals of one open database; `signal` may be called from any thread."""

    def __init__(self, database_path: str) -> None:
        key = hashlib.sha256(os.path.realpath(database_path).encode("utf-8", "surrogateescape")).hexdigest()[:16]
        self._directory = Path(tempfile.gettempdir()) / f"app-kernel-{_user()}" / key
        self._callbacks: dict[str, list[Callable[[], object]]] = {}
        self._pending: set[str] = set()
        """Channels whose listeners here will be called soon, so that a burst of signals is one call."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listener: socket.socket | None = None
        self._name = ""
        self._sender: socket.socket | None = None
        self._sender_lock = threading.Lock()
        self._listed = -1
        self._others: tuple[str, ...] = ()
        self._sent: dict[str, float] = {}
        """When the latest signal of a channel left for other processes."""
        self._late: set[str] = set()
        """Channels of which a signal to them leaves soon."""

    def signal(self, channel: str) -> None:
        """Wakes whoever listens to `channel`, here and in other processes; never blocks or raises."""
        if channel in self._callbacks and channel not in self._pending and self._loop is not None:
            self._pending.add(channel)
            # RuntimeError: the loop is closed, so nobody listens there any more.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._notify, channel)
        if channel not in self._late and not self._put_off(channel):
            self._tell_others(channel)

    def on_signal(self, channel: str, callback: Callable[[], object]) -> Callable[[], None]:
        """Calls back in the running event loop after a signal; returns what ends that."""
        self._loop = asyncio.get_running_loop()
        self._pending.discard(channel)
        self._callbacks.setdefault(channel, []).append(callback)
        if self._listener is None:
            with suppress(OSError, AttributeError, NotImplementedError):
                self._listen(self._loop)

        def end() -> None:
            listening = self._callbacks.get(channel, [])
            if callback in listening:
                listening.remove(callback)
            if not listening:
                self._callbacks.pop(channel, None)

        return end

    def close(self) -> None:
        """Stops listening and removes what was made for it; call it in the event loop that listens."""
        for channel in tuple(self._late):
            self._tell_late(channel)
        self._callbacks.clear()
        listener, self._listener = self._listener, None
        if listener is not None:
            if self._loop is not None and not self._loop.is_closed():
                self._loop.remove_reader(listener.fileno())
            listener.close()
            with suppress(OSError):
                if _is_private(self._directory.parent):
                    (self._directory / self._name).unlink()
            # Fails while somebody else listens there, and is right to.
            with suppress(OSError):
                self._directory.rmdir()
        with self._sender_lock:
            if self._sender is not None:
                self._sender.close()
            self._sender = None

    def _put_off(self, channel: str) -> bool:
        """Whether the signal leaves later, with those that come until then: looking for the others takes system calls,
        and each save that sends something out gives a signal."""
        left = self._sent.get(channel, float("-inf")) + MERGE_SECONDS - time.monotonic()
        if left <= 0 or self._loop is None:
            return False
        self._late.add(channel)
        try:
            self._loop.call_soon_threadsafe(self._loop.call_later, left, self._tell_late, channel)
        except RuntimeError:  # the loop is closed
            self._late.discard(channel)
            return False
        return True

    def _tell_late(self, channel: str) -> None:
        if channel in self._late:
            # First, so that a signal which comes while this one leaves is another one.
            self._late.discard(channel)
            self._tell_others(channel)

    def _tell_others(self, channel: str) -> None:
        self._sent[channel] = time.monotonic()
        for path in self._find_others():
            self._send(path, channel.encode())

    def _notify(self, channel: str) -> None:
        # First, so that a signal which comes during the calls leads to others.
        self._pending.discard(channel)
        for callback in tuple(self._callbacks.get(channel, ())):
            callback()

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        _make(self._directory.parent)
        if not _is_private(self._directory.parent):
            return
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._name = f"{os.getpid()}-{next(_numbers)}"
        try:
            listener.setblocking(False)
            try:
                self._bind(listener)
            except FileNotFoundError:
                # Another one that stopped listening removed the empty directory just before the socket was in it.
                self._bind(listener)
            loop.add_reader(listener.fileno(), self._receive)
        except BaseException:
            listener.close()
            raise
        self._listener = listener
        self._remove_dead()

    def _remove_dead(self) -> None:
        """Removes the sockets of killed processes, which would stay for ever in the directory of a silent database."""
        for path in self._find_others():
            # An empty datagram names no channel, so it wakes nobody.
            self._send(path, b"")

    def _bind(self, listener: socket.socket) -> None:
        _make(self._directory)
        if not _is_private(self._directory):
            raise PermissionError(errno.EACCES, "not a private directory")
        listener.bind(str(self._directory / self._name))

    def _receive(self) -> None:
        heard: set[str] = set()
        with suppress(OSError):  # nothing more to read
            while self._listener is not None:
                heard.add(self._listener.recv(_LONGEST_CHANNEL).decode("utf-8", "replace"))
        for channel in heard:
            self._notify(channel)

    def _find_others(self) -> tuple[str, ...]:
        """The sockets of other open databases on the same file; listed again when one was added or removed."""
        try:
            # Each time: the parent stands where everybody may make one of this name, or put another in its place.
            if not _is_private(self._directory.parent) or not _is_private(self._directory):
                self._others, self._listed = (), -1
                return ()
            changed = self._directory.stat().st_mtime_ns
            if changed != self._listed:
                self._others = tuple(str(path) for path in self._directory.iterdir() if path.name != self._name)
                # The clock of a file system is coarse: another change in the same tick would show the same time.
                self._listed = changed if time.time_ns() - changed > _TICK_NANOSECONDS else -1
        except OSError:
            self._others = ()
            self._listed = -1
        return self._others

    def _send(self, path: str, data: bytes) -> None:
        try:
            with self._sender_lock:
                if self._sender is None:
                    self._sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                    self._sender.setblocking(False)
                self._sender.sendto(data, path)
        except OSError as exc:
            # Nobody listens there: its process was killed. Any other failure, a full buffer above all, is for nobody.
            if exc.errno == errno.ECONNREFUSED:
                with suppress(OSError):
                    Path(path).unlink()
        except AttributeError:
            return  # a system without such sockets


def _user() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0


def _make(directory: Path) -> None:
    directory.mkdir(mode=0o700, exist_ok=True)


def _is_private(directory: Path) -> bool:
    """Whether it is a directory, this user's own and closed to others, and no link to one; raises OSError without."""
    found = os.lstat(directory)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == _user() and not found.st_mode & 0o077
