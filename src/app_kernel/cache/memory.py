"""What one process caches: bounded in number and in bytes, the least recently used goes first."""

from collections import OrderedDict
from typing import NamedTuple

from app_kernel.cache.invalidations import Invalidation
from app_kernel.cache.keys import matcher
from app_kernel.core.clock import monotonic

MOST_BYTES = 64 << 20


class _Entry(NamedTuple):
    data: bytes
    ends_at: float
    tags: tuple[str, ...]


class MemoryCache:
    """Bytes by key, without I/O: nothing comes between a look and what follows from it."""

    def __init__(self, entries: int, most_bytes: int = MOST_BYTES) -> None:
        self._most = entries
        self._most_bytes = most_bytes
        self._bytes = 0
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._tagged: dict[str, set[str]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> bytes | None:
        """What is kept under a key, None when there is nothing."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.ends_at <= monotonic():
            self._remove(key)
            return None
        self._entries.move_to_end(key)
        return entry.data

    def set(self, key: str, data: bytes, seconds: float, tags: tuple[str, ...] = ()) -> None:
        """Keeps bytes, for so long at most."""
        self._remove(key)
        self._entries[key] = _Entry(data, monotonic() + seconds, tags)
        self._bytes += len(data) + len(key)
        for tag in tags:
            self._tagged.setdefault(tag, set()).add(key)
        while len(self._entries) > self._most or self._bytes > self._most_bytes:
            self._remove(next(iter(self._entries)))

    def drop(self, invalidation: Invalidation) -> None:
        """Forgets what an invalidation concerns."""
        kind, name = invalidation
        if kind == "key":
            self._remove(name)
        elif kind == "tag":
            for key in tuple(self._tagged.get(name, ())):
                self._remove(key)
        elif kind == "pattern":
            fits = matcher(name)
            for key in [key for key in self._entries if fits(key)]:
                self._remove(key)
        else:
            self.clear()

    def clear(self) -> None:
        """Forgets everything."""
        self._entries.clear()
        self._tagged.clear()
        self._bytes = 0

    def _remove(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        self._bytes -= len(entry.data) + len(key)
        for tag in entry.tags:
            keys = self._tagged[tag]
            keys.discard(key)
            if not keys:
                del self._tagged[tag]
